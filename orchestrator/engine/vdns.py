"""What is known of a VDN in an emergency, and what answers and outcomes say of its campaigns."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.engine.reconcile import known_campaign, note_state
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.policy.auth import CLOSED_AFTER_S
from orchestrator.policy.decide import SUCCESSES, Evidence
from orchestrator.policy.quiet import Effect, QuietProof, Tries
from orchestrator.reports.summary import VdnProof
from orchestrator.store import Known, OutcomeRecord, Standing

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.policy.plan import Planned

#: attempts without an answer after which a campaign does not hold up the proof of the others
STALLED = 3
#: a 403 or a refusal in words: the server has decided
_REFUSALS = frozenset(
    {Kind.WRONG_STATE, Kind.NOT_FOUND, Kind.REJECTED, Kind.CODE_UNKNOWN, Kind.FORBIDDEN}
)


class End(StrEnum):
    """Why a VDN is not worked on any more, other than by a proof."""

    STILL_RUNNING = "still_running"
    NO_CAMPAIGNS = "no_campaigns"
    CLOSED = "closed"


@dataclass(slots=True)
class Vdn:
    """What is known of one VDN in this process."""

    vdn_id: int
    context: RunContext
    proof: QuietProof = field(default_factory=QuietProof)
    #: every campaign found started → its place in the journal
    places: dict[CampaignRef, int] = field(default_factory=dict)
    #: waiting to be begun
    waiting: deque[Planned] = field(default_factory=deque)
    #: begun or waiting, not yet come to rest
    open: set[CampaignRef] = field(default_factory=set)
    #: our PUTs to each campaign since it was last seen at rest
    tries: dict[CampaignRef, Tries] = field(default_factory=dict)
    #: when our PUT to each campaign was last accepted in this process, monotonic seconds
    accepted_s: dict[CampaignRef, float] = field(default_factory=dict)
    #: accepted by an earlier process, and not seen at rest since
    accepted_before: set[CampaignRef] = field(default_factory=set)
    #: came to rest without being stopped: last seen started, as far as anybody knows
    unstopped: set[CampaignRef] = field(default_factory=set)
    #: does not answer, and a look shows it at rest: no more PUTs
    called_off: set[CampaignRef] = field(default_factory=set)
    #: left open by an earlier process: looked at before they are sent again
    left_open: set[CampaignRef] = field(default_factory=set)
    #: PUTs that were answered so far
    puts: int = 0
    #: pages of the filtered listing when it was last read for newcomers
    filtered_pages: int = 1
    #: pages of the unfiltered listing; None: not read yet
    pages: int | None = None
    #: campaigns of each state in the unfiltered listing when it was last read; None: unreadable
    counts: Counter[Status | None] = field(default_factory=Counter)
    #: campaigns that one of the two listings of the newest pass shows as started, and one does not
    disputed: int = 0
    #: when the unfiltered listing was last complete, monotonic seconds and wall-clock milliseconds
    whole_s: float = -math.inf
    whole_ms: int | None = None
    #: passes in a row that could prove nothing
    failed_passes: int = 0
    #: complete looks in a row that showed no campaign at all
    empty_looks: int = 0
    #: begin times that are ahead
    may_start: list[str] = field(default_factory=list)
    #: since when listings of it are refused with 403, monotonic seconds
    refused_since_s: float | None = None
    #: why quiet is not proven, in words
    problem: str = ""
    #: what the newest pass showed as started
    started: dict[CampaignRef, ObservedState] = field(default_factory=dict)
    #: accepted, and then shown as started by a page that was asked for later; and when that was
    contradicted: dict[CampaignRef, tuple[ObservedState, float]] = field(default_factory=dict)
    #: the operator has seen how much there is to do
    is_told: bool = False
    end: End | None = None

    # -- its campaigns ------------------------------------------------------------------------

    def tries_of(self, ref: CampaignRef) -> Tries:
        """Our PUTs to one campaign."""
        return self.tries.setdefault(ref, Tries())

    def is_at_work(self) -> bool:
        """Whether a PUT is pending or in flight that a pass must wait for."""
        return any(self.tries_of(ref).unheard < STALLED for ref in self.open)

    def is_still_accepted(self, ref: CampaignRef) -> bool:
        """Whether a listing that shows it started may be older than our acceptance.

        No complete look has shown it at rest since; or one has, and another replica is behind.
        """
        was_accepted = self.tries_of(ref).was_accepted or ref in self.accepted_before
        return was_accepted or self.is_lately_accepted(ref)

    def is_lately_accepted(self, ref: CampaignRef) -> bool:
        """Whether our PUT was accepted within the lag that listings may have."""
        accepted_s = self.accepted_s.get(ref, -math.inf)
        return self.context.clock.now_s() < accepted_s + self.context.gap_s

    def note_answer(self, ref: CampaignRef, verdict: Verdict) -> None:
        """A PUT was answered."""
        now_s = self.context.clock.now_s()
        effect = Effect.UNHEARD
        if verdict.kind is Kind.ACCEPTED:
            effect = Effect.ACCEPTED
            self.accepted_s[ref] = now_s
            self.context.lag.accepted(ref, at_s=now_s)
        elif verdict.kind is Kind.WRONG_STATE and self.is_still_accepted(ref):
            effect = Effect.OLD_LISTING
        elif verdict.kind in _REFUSALS:
            effect = Effect.REFUSED
        self.tries_of(ref).note(effect, now_s=now_s)
        self.puts += 1
        if effect is not Effect.OLD_LISTING:
            self.proof.disturb()
        if effect is Effect.UNHEARD:
            self.context.dispatcher.alarm.ring()

    def note_settled(self, outcome_record: OutcomeRecord) -> None:
        """An outcome is on record: remember who is not stopped."""
        if outcome_record.decision.outcome in SUCCESSES:
            self.unstopped.discard(outcome_record.ref)
        else:
            self.unstopped.add(outcome_record.ref)

    def remember(self, known: Sequence[Known]) -> None:
        """Take in what earlier processes of this run found."""
        for one in known:
            self.places[one.ref] = one.seq
            if one.standing is not Standing.FINAL:
                self.left_open.add(one.ref)
            elif one.outcome not in SUCCESSES:
                self.unstopped.add(one.ref)
            if one.history.accepted:
                self.accepted_before.add(one.ref)

    # -- the whole of it ----------------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """Whether the passes so far prove it."""
        return not self.open and self.proof.is_quiet(self.context.gap_s)

    @property
    def is_through(self) -> bool:
        """Whether there is nothing more to do but to keep it quiet."""
        return self.end is not None or self.is_quiet

    @property
    def may_run_unproven(self) -> bool:
        """Whether something of ours may run although it was paused."""
        return bool(self.puts or self.accepted_before) and not self.is_quiet

    def age_s(self, now_s: float) -> float:
        """Seconds since the end of the newest pass."""
        newest = self.proof.newest
        return math.inf if newest is None else now_s - newest.ended_s

    def is_closed(self) -> bool:
        """Whether the server refuses us access to it."""
        if self.vdn_id in self.context.access.closed:
            return True
        if self.vdn_id not in self.context.denied_listings or self.places:
            self.refused_since_s = None
            return False
        now_s = self.context.clock.now_s()
        self.refused_since_s = now_s if self.refused_since_s is None else self.refused_since_s
        return now_s - self.refused_since_s >= CLOSED_AFTER_S

    def on_record(self, hold_s: float) -> VdnProof:
        """What goes on record of it; gaps count where it was held."""
        is_quiet = self.is_quiet
        first, newest, clean = self.proof.first, self.proof.newest, self.proof.clean
        moment_ms = newest.began_ms if newest else None
        local = time.strftime("%H:%M", time.localtime(moment_ms / 1000)) if moment_ms else ""
        return VdnProof(
            vdn_id=self.vdn_id,
            quiet_since_ms=first.ended_ms if is_quiet and first else None,
            again_at_ms=clean.began_ms if is_quiet and clean else None,
            started=0 if is_quiet else len(self.started),
            seen_at_ms=newest.ended_ms if newest else None,
            local_time=local,
            problem="" if is_quiet else self.problem,
            no_campaigns=self.end is End.NO_CAMPAIGNS,
            may_start=len(self.may_start),
            first_start=min(self.may_start, default=""),
            whole_at_ms=self.whole_ms,
            longest_gap_s=self.proof.longest_gap_s if hold_s else 0.0,
        )

    async def note_still_running(self) -> None:
        """At the end: what the newest look shows as started is not stopped, whatever was answered.

        0200011 after our acceptance is an exception: the server itself says that it is suspended.
        """
        newest = self.proof.newest
        for ref, row in self.started.items():
            tries = self.tries_of(ref)
            is_newer = newest is not None and tries.accepted_s >= newest.began_s
            is_old = tries.listing_is_old and not tries.is_started_again
            if not is_old and not (is_newer and tries.accepted == 1):
                await self._note_started(row)
        for ref, (row, asked_s) in self.contradicted.items():
            tries = self.tries_of(ref)
            known = await known_campaign(self.context, ref)
            is_seen = known is not None and known.evidence in {Evidence.LISTED, Evidence.READ}
            if tries.accepted_s < asked_s and not (tries.listing_is_old or is_seen):
                await self._note_started(row)

    async def _note_started(self, row: ObservedState) -> None:
        known = await known_campaign(self.context, row.ref)
        if known is not None and known.outcome is not None:
            reason = "accepted, and a later listing shows it started"
            await note_state(self.context, known, row, Evidence.LISTED, reason)
