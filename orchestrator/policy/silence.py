"""When stopped campaigns are silent, whom to ask next, and when counting calls has no sense.

Rule 1: a campaign is silent when it was read as 0 twice in a row since it was stopped.
Rule 2: who is silent is not asked again; nor is who gave no number three times in a row.
Rule 3: three failed requests in a row end the counting.
Rule 4: who is stopped anew begins anew.
A total is made of the newest number of each campaign: no number is not 0.
Source: docs/spec/behaviour.md, "Silence".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.model import CampaignRef

T = TypeVar("T")

#: seconds between two rounds at least, and after a failed request
ROUND_S = 2.0
#: seconds for which calls are counted, from the last campaign that was stopped
COUNT_S = 600.0
#: part of the rate that may ask for calls
CALLS_SHARE = 0.5

_ZEROS = 2
_MISSES_MAX = 3
_FAILURES_MAX = 3


@dataclass(slots=True)
class _Readings:
    """What is known of one campaign's calls since it was stopped."""

    latest: int | None = None
    #: readings of 0, and readings without a number, in a row
    zeros: int = 0
    misses: int = 0


@dataclass(slots=True)
class Silence:
    """The calls in progress of the campaigns that a run has stopped."""

    #: why counting has ended early; empty while it goes on
    problem: str = ""
    _readings: dict[CampaignRef, _Readings] = field(default_factory=dict)
    _failures: int = 0

    def begin(self, refs: Iterable[CampaignRef]) -> None:
        """These campaigns have just been stopped."""
        for ref in refs:
            self._readings[ref] = _Readings()

    def due(self) -> list[CampaignRef]:
        """Whom to ask in the next round, in order; nobody: counting is over."""
        if self.problem:
            return []
        return [ref for ref, known in self._readings.items() if not _is_through(known)]

    def note(
        self, ref: CampaignRef, in_progress: int | None, *, problem: str = "", failed: bool = False
    ) -> None:
        """A campaign was asked about; None: no number came, or the request `failed`."""
        known = self._readings[ref]
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= _FAILURES_MAX:
            self.problem = problem
        if in_progress is None:
            known.misses += 1
            known.zeros = 0
            return
        known.latest, known.misses = in_progress, 0
        known.zeros = 0 if in_progress else known.zeros + 1

    @property
    def is_counted(self) -> bool:
        """Whether every campaign was asked about at least once."""
        return all(one.latest is not None or one.misses for one in self._readings.values())

    @property
    def is_silent(self) -> bool:
        """Whether every campaign is silent, and there is one."""
        return bool(self._readings) and all(one.zeros >= _ZEROS for one in self._readings.values())

    @property
    def campaigns(self) -> int:
        """How many campaigns are counted."""
        return len(self._readings)

    @property
    def unread(self) -> int:
        """How many of them give no number."""
        return sum(
            one.latest is None or one.misses >= _MISSES_MAX for one in self._readings.values()
        )

    def by_vdn(self) -> dict[int, int]:
        """The calls in progress of each VDN of which a number is known."""
        totals: Counter[int] = Counter()
        for ref, known in self._readings.items():
            if known.latest is not None:
                totals[ref.vdn_id] += known.latest
        return dict(totals)


def _is_through(known: _Readings) -> bool:
    return known.zeros >= _ZEROS or known.misses >= _MISSES_MAX


def thin(rounds: list[T], *, most: int) -> None:
    """Keep so many rounds, two at least: the first, the newest, and some of those in between."""
    if len(rounds) > max(2, most):
        del rounds[1:-1:2]
