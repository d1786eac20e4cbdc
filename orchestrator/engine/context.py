"""The parts of one run that every campaign needs, gathered once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.log import Level
from orchestrator.policy.auth import VdnAccess
from orchestrator.policy.decide import Outcome
from orchestrator.policy.quiet import LagMeter, gap_between_s
from orchestrator.store import Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from orchestrator.clock import Clock
    from orchestrator.engine.dispatcher import Dispatcher
    from orchestrator.engine.progress import Progress
    from orchestrator.engine.stop import Stopping
    from orchestrator.isales.verdict import Verdict
    from orchestrator.log import Events
    from orchestrator.model import Action, CampaignRef
    from orchestrator.store import OutcomeRecord, Store


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
    before_intent: Callable[[int], Awaitable[None]] | None = None
    #: called with every outcome on record
    after_settled: Callable[[OutcomeRecord], None] | None = None
    #: called with every answer to a PUT, once it is on record
    after_answer: Callable[[CampaignRef, Verdict], None] | None = None
    #: seconds that the server may fail before the run gives up
    patience_s: float = math.inf
    #: campaigns that ran out of attempts, by their place in the plan
    ran_out: dict[int, RanOut] = field(default_factory=dict)
    #: VDNs that an emergency could not prove quiet: a last look is had at their campaigns
    unproven_vdns: Callable[[], Iterable[int]] = tuple
    #: PUTs that have lost their sense since they were asked for
    is_pointless: Callable[[CampaignRef], bool] = lambda _: False
    #: whether our acceptance of a campaign's pause still holds, as far as the listings know
    is_still_accepted: Callable[[CampaignRef], bool] = lambda _: True
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

    def begin_last_look(self, stopping: Stopping) -> None:
        """Let reads go on under another reason to end; the breakers begin anew."""
        self.stopping = stopping
        self.dispatcher.begin_anew(stopping)

    async def complete(self, *outcome_records: OutcomeRecord, confirms: bool = False) -> None:
        """Put outcomes on record, then count them.

        Args:
            outcome_records: the outcomes.
            confirms: the campaigns have been counted before.
        """
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
        if self.after_settled is not None:
            self.after_settled(outcome_record)
