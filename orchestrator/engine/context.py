"""The parts of one run that every campaign needs, gathered once."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.engine.dispatcher import Dispatcher
from orchestrator.log import Events, Level
from orchestrator.model import Action, CampaignRef
from orchestrator.policy.auth import VdnAccess
from orchestrator.policy.decide import Outcome
from orchestrator.policy.quiet import LagMeter, gap_between_s
from orchestrator.reports.rows import UNSTOPPED, RunKind
from orchestrator.reports.summary import SIGNAL_EXIT_CODES, Ended
from orchestrator.store import OutcomeRecord, Standing, Store
from orchestrator.store.rate_file import share_rate

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.engine.options import FailureLimit
    from orchestrator.engine.progress import Progress
    from orchestrator.engine.run import Environment, RunSpec
    from orchestrator.engine.stop import Stopping
    from orchestrator.engine.vdns import Vdn


#: seconds that answers get after a signal; with the last look and the report it is 9 at most
_DRAIN_S = 3.0


class RanOut(NamedTuple):
    """A campaign whose attempts were spent in the first round."""

    at_s: float
    #: useful answers to others before its first failure
    useful_before: int


@dataclass(slots=True)
class RunContext:
    """The parts of one run."""

    action: Action
    dispatcher: Dispatcher
    journal: Store
    stopping: Stopping
    progress: Progress
    clock: Clock
    events: Events
    #: None: as often as it takes
    max_attempts: int | None
    #: what counts as done is confirmed by a later look before it stands; else (pause-all,
    #: --no-verify) a state is read at once when only it can decide
    verifies: bool
    #: how far the listings lag behind, as far as this run has seen it
    lag: LagMeter = field(default_factory=LagMeter)
    #: restore: a campaign that is listed as started before this instant may be one that the undone
    #: run has just stopped, wall-clock milliseconds
    doubted_until_ms: int = 0
    #: the largest lag that earlier runs saw of this server, seconds
    earlier_lag_s: float = 0.0
    #: ends the watch for the deadline, which bounds only the time until quiet
    lift_deadline: Callable[[], object] = lambda: None
    #: called before an intent is recorded: a restore marks the undone run's journal
    before_intent: Callable[[CampaignRef], Awaitable[None]] | None = None
    #: failures that end the run; None: no number does
    max_failures: FailureLimit | None = None
    failures: int = 0
    #: seconds that the server may fail before the run gives up
    patience_s: float = math.inf
    #: campaigns that ran out of attempts, by their place in the plan
    ran_out: dict[int, RanOut] = field(default_factory=dict)
    #: what is known of each VDN in an emergency; empty for a list
    vdns: dict[int, Vdn] = field(default_factory=dict)
    #: nothing is sent to a campaign whose state was not seen (restore)
    look_is_required: bool = False
    #: VDNs whose look failed in this process
    unseen_vdns: set[int] = field(default_factory=set)
    #: which VDNs refuse us
    access: VdnAccess = field(default_factory=lambda: VdnAccess(emergency=False))
    #: VDNs whose newest listing answered 403
    denied_listings: set[int] = field(default_factory=set)
    #: something unforeseen was raised; the run ends as a bug
    bugs: list[str] = field(default_factory=list)

    @property
    def gap_s(self) -> float:
        """Seconds between two looks that are to confirm each other."""
        return gap_between_s(seen_s=self.lag.lag_s, earlier_s=self.earlier_lag_s)

    def is_still_accepted(self, ref: CampaignRef) -> bool:
        """Whether our acceptance of a campaign's pause holds, as far as the listings know."""
        vdn = self.vdns.get(ref.vdn_id)
        return vdn is None or vdn.is_still_accepted(ref)

    def is_pointless(self, key: Hashable) -> bool:
        """Whether a PUT has lost its sense since it was asked for."""
        if not isinstance(key, CampaignRef):
            return False
        vdn = self.vdns.get(key.vdn_id)
        return key.vdn_id in self.access.closed or (vdn is not None and key in vdn.called_off)

    def begin_last_look(self, stopping: Stopping) -> None:
        """Let reads go on under another reason to end; the breakers begin anew."""
        self.stopping = stopping
        self.dispatcher.begin_anew(stopping)

    async def complete(self, *outcome_records: OutcomeRecord, confirms: bool = False) -> None:
        """Put outcomes on record, then count them; what a look `confirms` was counted before."""
        if outcome_records:
            await self.journal.complete(outcome_records)
            for one in outcome_records:
                self.tell(one, confirms=confirms)

    def tell(self, outcome_record: OutcomeRecord, *, confirms: bool = False) -> None:
        """Count an outcome that is on record."""
        decision = outcome_record.decision
        if confirms:
            self.progress.checked += 1
        elif outcome_record.standing != Standing.RETRY_LATER or decision.outcome is Outcome.DENIED:
            self.progress.outcomes[decision.outcome] += 1
            if self.events.shows(Level.INFO):
                self.events.info(
                    "campaign.settled",
                    vdn_id=outcome_record.ref.vdn_id,
                    campaign_id=outcome_record.ref.campaign_id,
                    outcome=decision.outcome.value,
                    evidence=decision.evidence.value,
                    error=outcome_record.error,
                )
        vdn = self.vdns.get(outcome_record.ref.vdn_id)
        if vdn is not None:
            vdn.note_settled(outcome_record)
        is_failure = outcome_record.standing == Standing.FINAL and decision.outcome in UNSTOPPED
        if self.max_failures is not None and is_failure:
            self.failures += 1
            if self.max_failures.reached(failures=self.failures, campaigns=self.progress.campaigns):
                self.stopping.stop(Ended.MAX_FAILURES, f"{self.failures} campaigns failed")


def build_context(environment: Environment, spec: RunSpec, journal: Store) -> RunContext:
    """Make the parts of a run."""
    settings, clock = spec.settings, environment.clock
    progress, stopping = environment.progress, environment.stopping
    progress.ceiling_per_s = settings.pace.rate_per_s
    progress.concurrency = settings.pace.concurrency
    emergency = spec.kind is RunKind.PAUSE_ALL
    dispatcher = Dispatcher(
        environment.make_transport(settings),
        settings,
        clock,
        stopping,
        progress,
        environment.events,
        emergency=emergency,
    )
    if environment.shared_rate is not None:
        dispatcher.departures.shared = environment.shared_rate(dispatcher)
    elif environment.shares_rate:
        dispatcher.departures.shared = share_rate(
            settings,
            clock,
            emergency=emergency,
            warn=lambda reason: environment.events.warning("rate.not_shared", reason=reason),
        )
    context = RunContext(
        action=Action.RESUME if spec.kind is RunKind.RESTORE else Action.PAUSE,
        dispatcher=dispatcher,
        journal=journal,
        stopping=stopping,
        progress=progress,
        clock=clock,
        events=environment.events,
        max_attempts=settings.retry.max_attempts,
        verifies=not emergency and spec.journal.record().is_verified,
        access=VdnAccess(emergency=emergency),
        patience_s=math.inf if emergency else settings.retry.patience_s,
        max_failures=spec.max_failures,
    )
    stopping.on_stop(lambda: _note_stop(context))
    dispatcher.is_pointless = context.is_pointless
    return context


def _note_stop(context: RunContext) -> None:
    """After a signal answers are not waited for as long as usual."""
    context.progress.ending = context.stopping.why
    if context.stopping.ended in SIGNAL_EXIT_CODES:
        context.dispatcher.drain_within(_DRAIN_S)
