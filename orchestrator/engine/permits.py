"""Leave to send: one breaker for changes, one for reads, which wait while changes are held."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.engine.stop import Alarm, StoppedError, Stopping
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.policy.breaker import Breaker, Pass
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.engine.progress import Progress
    from orchestrator.log import Events
    from orchestrator.settings.schema import RetrySettings

#: the middle of this range is the breaker's first probe: 0.25 s
_PROBE_BASE_S = 0.5
#: the longest range between probes; its middle is what a recovery may go unnoticed
_PROBE_CAP_S = 6.0
#: a list waits so long for reads that fail while nothing else does, seconds
READS_WAIT_S = 600.0


@dataclass(slots=True)
class Permit:
    """Leave to send one request."""

    key: Hashable
    breaker: Breaker
    probe: bool = False
    #: it may leave although the breaker is open
    past_breaker: bool = False
    alone: bool = False
    #: the answer (or its absence) has been reported to the breaker
    told: bool = False

    @property
    def is_held(self) -> bool:
        """Whether the breaker has opened since."""
        return self.breaker.is_open and not (self.probe or self.past_breaker)


@dataclass(slots=True)
class Breakers:
    """Both breakers of a run, and what they say to people."""

    retry: RetrySettings
    clock: Clock
    stopping: Stopping
    progress: Progress
    events: Events
    #: rings when a breaker closes
    alarm: Alarm
    #: nothing is given up for what may be an outage
    emergency: bool
    changes: Breaker = field(init=False)
    reads: Breaker = field(init=False)
    #: PUTs that wait at the breaker or in a backoff
    changes_waiting: int = 0
    #: when a PUT last had an answer that shows that the server works, monotonic seconds
    change_worked_s: float = -math.inf
    #: what made the run give up, for the last words
    refusal: Verdict | None = None

    def __post_init__(self) -> None:
        """Both are closed."""
        self.changes, self.reads = self._new_breaker(), self._new_breaker()

    def _new_breaker(self) -> Breaker:
        cap_s = min(_PROBE_CAP_S, 2 * self.retry.backoff_cap_s or _PROBE_CAP_S)
        patience_s = math.inf if self.emergency else self.retry.patience_s
        return Breaker(probe_base_s=_PROBE_BASE_S, probe_cap_s=cap_s, patience_s=patience_s)

    def begin_anew(self, stopping: Stopping) -> None:
        """Both are closed, and another reason ends what waits."""
        self.stopping = stopping
        self.changes = self.changes.renewed()
        self.reads = self.reads.renewed()

    async def permit(self, key: Hashable, *, change: bool) -> Permit:
        """Wait until the breaker lets this request be prepared.

        Raises:
            StoppedError: the run is ending.
        """
        breaker = self.changes if change else self.reads
        # Nearly always nothing holds it, and then there is nothing to await.
        if not (breaker.is_open or self.changes.is_open or self.stopping.is_stopping):
            return Permit(key, breaker)
        self.changes_waiting += change
        try:
            while True:
                self.stopping.check()
                permit = self._try(key, breaker, change=change)
                if isinstance(permit, Permit):
                    return permit
                await self.alarm.sleep(permit)
        finally:
            self.changes_waiting -= change

    def _try(self, key: Hashable, breaker: Breaker, *, change: bool) -> Permit | float:
        """A permit, or the seconds after which to ask again."""
        now_s = self.clock.now_s()
        if not change and self.changes.is_open and self.changes_waiting:
            return 1.0
        if not change and self._only_reads_fail():
            return Permit(key, breaker, past_breaker=True)
        allowed = breaker.may_pass(now_s=now_s, ref=key)
        if allowed is Pass.GO:
            return Permit(key, breaker)
        if isinstance(allowed, Pass):
            self.events.debug("breaker.probe_sent", waiting=self.progress.left)
            return Permit(key, breaker, probe=True)
        if self._gives_up(breaker, now_s):
            raise StoppedError
        return allowed.wait_s

    def _gives_up(self, breaker: Breaker, now_s: float) -> bool:
        """End the run when the patience is over."""
        if not breaker.out_of_patience(now_s) or self._is_unreached_emergency():
            return False
        refused = self.refusal is not None and self.refusal.kind is Kind.UNAUTHORIZED
        self.stopping.stop(Ended.CREDENTIALS if refused else Ended.SERVER, self.last_words)
        return True

    def _is_unreached_emergency(self) -> bool:
        """Only the deadline ends an emergency that cannot reach its server."""
        is_unreached = self.refusal is not None and self.refusal.kind is Kind.UNREACHABLE
        return self.emergency and is_unreached

    def _only_reads_fail(self) -> bool:
        """PUTs have been answered since reads stopped to be: a look may fail, and costs no run.

        A check, when no PUT is left to tell, waits a while. A pause-all cannot do without listings,
        so it waits for them as long as it takes.
        """
        since_s = self.reads.opened_since_s
        if since_s is None or self.emergency or self.changes.is_open:
            return False
        return self.change_worked_s >= since_s or self.clock.now_s() >= since_s + READS_WAIT_S

    @property
    def last_words(self) -> str:
        """Why the patience is over."""
        reason = f": {self.refusal.reason}" if self.refusal else ""
        return f"no useful answer for {self.retry.patience_s:g} s{reason}"

    def give_back(self, permit: Permit) -> None:
        """A probe that was not sent, or showed nothing, lets another go."""
        if permit.probe and not permit.told:
            permit.breaker.probe_cancelled(now_s=self.clock.now_s())
            self.alarm.ring()

    # -- what answers say ---------------------------------------------------------------------

    def note_success(self, permit: Permit, now_s: float) -> None:
        """The server works, whatever it said of the campaign."""
        was_open = permit.breaker.is_open
        permit.breaker.record_success(now_s=now_s)
        permit.told = True
        if permit.breaker is self.changes:
            self.progress.useful_changes += 1
            self.change_worked_s = now_s
        if was_open:
            self._tell_closed()

    def note_failure(
        self, permit: Permit, verdict: Verdict, now_s: float, *, campaign_specific: bool
    ) -> None:
        """The failure may be the server's."""
        was_open = permit.breaker.is_open
        permit.breaker.record_failure(
            ref=permit.key, now_s=now_s, campaign_specific=campaign_specific
        )
        permit.told = True
        self.refusal = verdict
        if permit.breaker.is_open and not was_open:
            self._tell_opened(verdict.reason)
        if permit.probe:
            self.alarm.ring()
        if permit.probe and permit.breaker is self.changes:
            # a lone campaign asks again so late that the next probe is always due by then
            self._gives_up(self.changes, now_s)

    def hold_back(self, breaker: Breaker, verdict: Verdict) -> None:
        """Send single probes from now on: something has shown that the server is failing."""
        was_open = breaker.is_open
        breaker.outage(now_s=self.clock.now_s())
        self.refusal = verdict
        if was_open:
            self.progress.breaker = verdict.reason
        else:
            self._tell_opened(verdict.reason)

    def note_change_works(self) -> None:
        """It is known in another way that PUTs take effect."""
        was_open = self.changes.is_open
        self.changes.record_success(now_s=self.clock.now_s())
        if was_open:
            self._tell_closed()

    def _tell_opened(self, reason: str) -> None:
        self.progress.breaker = reason
        self.events.warning("breaker.opened", reason=reason)

    def _tell_closed(self) -> None:
        self.progress.breaker = ""
        self.events.info("breaker.closed")
        self.alarm.ring()
