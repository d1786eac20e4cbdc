"""How far the server's clock is ahead of ours, as its `Date` headers show it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from orchestrator.policy.retry import date_ms

#: the newest so many are kept: a clock that is set in mid-run shows soon
_KEPT = 15
#: Date has whole seconds: half of one is missing on average
_CUT_OFF_MS = 500


@dataclass(slots=True)
class ServerClock:
    """The differences that were seen; one is taken for each second of the server."""

    _offsets_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    _last: str = ""

    def note(self, date: str | None, *, sent_ms: int | None, now_ms: int) -> None:
        """Take in one answer.

        Args:
            date: its Date header.
            sent_ms: when its request left, on our wall clock; None: not known.
            now_ms: our wall clock.
        """
        if not date or date == self._last:
            return
        self._last = date
        server_ms = date_ms(date)
        if server_ms is not None:
            between_ms = (now_ms + (now_ms if sent_ms is None else sent_ms)) / 2
            self._offsets_ms.append(server_ms + _CUT_OFF_MS - between_ms)

    @property
    def offset_s(self) -> float | None:
        """Seconds by which the server's clock is ahead; None when no Date was seen."""
        if not self._offsets_ms:
            return None
        # not statistics.median, whose import takes longer than the first PUT may
        ordered = sorted(self._offsets_ms)
        return round(ordered[len(ordered) // 2] / 1000, 1)
