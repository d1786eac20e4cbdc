"""Whether the server may be asked: wait behind single probes, give nothing up.

Rule 1: what opens, closes and probes is in the table of `Breaker`; callers only report.
Rule 2: one stubborn campaign says nothing about the server: only *different* ones open it.
Rule 3: while it is open one request at most, the probe, is sent; the next is spaced from its end.
Rule 4: before the run gives up, a probe is sent: a machine that was suspended asks first.
Rule 5: there is one prober at a time, so the spacing needs no chance.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from enum import Enum, auto
from typing import Final, NamedTuple

#: so many different campaigns must fail in a row to open it
_THRESHOLD = 5
#: 2**64 times any base is above any cap
_DOUBLINGS_MAX = 64


class Pass(Enum):
    """Leave to send."""

    #: the breaker is closed
    GO = auto()
    #: the caller is the single probe: it must report, or call `probe_cancelled`
    PROBE = auto()


class Hold(NamedTuple):
    """Nothing may be sent; ask again after that many seconds, or when a probe has reported."""

    wait_s: float


class _State(Enum):
    CLOSED = auto()
    OPEN = auto()
    PROBING = auto()


class Breaker:
    """Holds everything back while the server gives no useful answers.

    *Row*: the different campaigns whose unexplained failures came since the last useful answer.
    *Spacing*: the middle of a full-jitter range that doubles from base to cap. With base 0.2 and
    cap 10: 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, … seconds; with cap 1: 0.1, 0.2, 0.4, 0.5, 0.5, …

    | in | event | to | and |
    |---|---|---|---|
    | CLOSED | may_pass | CLOSED | GO |
    | CLOSED | useful | CLOSED | the row is empty |
    | CLOSED | useless, campaign_specific | CLOSED | |
    | CLOSED | useless, row shorter than the threshold with it | CLOSED | the row grows |
    | CLOSED | useless, row as long as the threshold with it | OPEN | first spacing starts |
    | CLOSED | outage | OPEN | first spacing starts |
    | CLOSED | probe_cancelled (closed meanwhile) | CLOSED | |
    | OPEN | may_pass, spacing over | PROBING | PROBE |
    | OPEN | may_pass, spacing not over | OPEN | Hold |
    | OPEN | useless, outage, probe_cancelled (from before it opened) | OPEN | |
    | OPEN | useful (from before it opened: still, it works) | CLOSED | the row is empty |
    | PROBING | may_pass | PROBING | Hold |
    | PROBING | useless of the probe | OPEN | next, doubled spacing starts |
    | PROBING | useless of another, outage | PROBING | |
    | PROBING | probe_cancelled | OPEN | the same spacing starts again |
    | PROBING | useful | CLOSED | the row is empty |
    """

    def __init__(self, *, probe_base_s: float, probe_cap_s: float, patience_s: float) -> None:
        """Begin closed.

        Args:
            probe_base_s: the range whose middle is the first spacing, seconds, above 0.
            probe_cap_s: the range never grows beyond it, seconds, above 0.
            patience_s: how long it may stay open before the run should stop, seconds.
        """
        assert 0 < probe_base_s < math.inf
        assert 0 < probe_cap_s < math.inf
        assert patience_s >= 0
        self._base_s: Final = probe_base_s
        self._cap_s: Final = probe_cap_s
        self.patience_s: Final = patience_s
        self._state = _State.CLOSED
        self._row: set[Hashable] = set()
        self._failed_in_a_row = 0
        self._probe_due_s = 0.0
        self._probe_ref: Hashable = None
        #: when it opened; None while it is closed
        self.opened_since_s: float | None = None

    def renewed(self) -> Breaker:
        """A closed one with the same numbers."""
        return Breaker(
            probe_base_s=self._base_s,
            probe_cap_s=self._cap_s,
            patience_s=self.patience_s,
        )

    @property
    def is_open(self) -> bool:
        """Whether everything but a probe is held back."""
        return self._state is not _State.CLOSED

    @property
    def is_failing(self) -> bool:
        """Whether the newest answers were failures."""
        return self.is_open or bool(self._row)

    def may_pass(self, *, now_s: float, ref: Hashable) -> Pass | Hold:
        """Ask to send.

        Args:
            now_s: the present, seconds, on a clock that never runs back.
            ref: whose request it would be. Tells, should it become the probe, its failure from
                those of requests that were in flight when the breaker opened.

        Returns:
            GO, PROBE, or a Hold whose wait ends no later than the patience does.
        """
        if self._state is _State.CLOSED:
            return Pass.GO
        if self._state is _State.OPEN and now_s >= self._probe_due_s:
            self._state = _State.PROBING
            self._probe_ref = ref
            return Pass.PROBE
        # Its report wakes who waits for a probe: a thousand askers need not ask often.
        probing = self._state is _State.PROBING
        wait_s = self._cap_s / 2 if probing else self._probe_due_s - now_s
        patience_left_s = self._patience_end_s() - now_s
        return Hold(min(wait_s, patience_left_s) if patience_left_s > 0 else wait_s)

    def record_success(self, *, now_s: float) -> None:  # noqa: ARG002 - every event comes with its time
        """Report an answer that shows that the server works, whatever it says of its campaign."""
        self._state = _State.CLOSED
        self._row.clear()
        self.opened_since_s = None

    def record_failure(self, *, ref: Hashable, now_s: float, campaign_specific: bool) -> None:
        """Report a failure that may be the server's; the same `ref` twice in a row counts once.

        `campaign_specific`: another campaign succeeded since this one failed first, so the server
        works. A probe's failure is a failed probe in any case.
        """
        if self._state is _State.CLOSED:
            if not campaign_specific:
                self._row.add(ref)
                if len(self._row) >= _THRESHOLD:
                    self._open(now_s)
        elif self._state is _State.PROBING and self._probe_ref == ref:
            self._failed_in_a_row += 1
            self._wait_for_probe(now_s)

    def outage(self, *, now_s: float) -> None:
        """Open at once: something has shown that the server is not itself."""
        if self._state is _State.CLOSED:
            self._open(now_s)

    def probe_cancelled(self, *, now_s: float) -> None:
        """The probe was not sent, or showed nothing: another may go after the same spacing."""
        if self._state is _State.PROBING:
            self._wait_for_probe(now_s)

    def out_of_patience(self, now_s: float) -> bool:
        """Whether it has been open for `patience_s`, with no probe out and none due.

        So the run ends on the word of a probe, and a machine that was stopped for an hour asks the
        server before it gives up.
        """
        return (
            self._state is _State.OPEN
            and now_s >= self._patience_end_s()
            and now_s < self._probe_due_s
        )

    def _open(self, now_s: float) -> None:
        self.opened_since_s = now_s
        self._failed_in_a_row = 0
        self._wait_for_probe(now_s)

    def _wait_for_probe(self, now_s: float) -> None:
        self._state = _State.OPEN
        self._probe_due_s = now_s + self._spacing_s()

    def _spacing_s(self) -> float:
        doublings = min(self._failed_in_a_row, _DOUBLINGS_MAX)
        return min(self._cap_s, self._base_s * 2.0**doublings) / 2

    def _patience_end_s(self) -> float:
        assert self.opened_since_s is not None
        return self.opened_since_s + self.patience_s
