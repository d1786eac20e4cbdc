"""The look after the last answer of a VDN: confirm, decide, correct.

One listing per VDN and look covers every row; what it misses is read singly, and what could not be
reached stays unchecked. Contradictions get time before one PUT more, and after the last PUT comes a
look. docs/spec/evidence.md, rules 3, 4, 5 and 9.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import few_of_many, read_listing
from orchestrator.engine.permits import READS_WAIT_S
from orchestrator.engine.pool import run_pool
from orchestrator.engine.worker import (
    known_campaign,
    known_rows,
    last_attempt_number,
    read_state,
    seen_settlement,
    settle_one,
)
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import Action, CampaignRef, ObservedState, Status
from orchestrator.policy.decide import (
    COURSES,
    SUCCESSES,
    Changed,
    Decision,
    Evidence,
    Outcome,
    decide_seen,
    is_contradicted,
)
from orchestrator.policy.plan import Planned
from orchestrator.store import OutcomeRecord, Standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Iterable, Sequence

    from orchestrator.engine.context import RunContext
    from orchestrator.isales.listing import Listing
    from orchestrator.store import Known, VdnCount

_CHUNK = 200
#: seconds between the looks at what contradicts itself
WAITS_S = (1.0, 2.0, 4.0, 8.0, 15.0)
#: seconds between looks at what may only be listed as started
_DOUBT_WAITS_S = (3.0, 7.0, 15.0)
#: rounds of PUTs after a look
ROUNDS = 3
#: seconds before a listing that could not be read is asked for again
_LISTING_AGAIN_S = (1.0, 3.0)
#: single reads in a row that may fail before the rest is not tried
_UNREAD_ROW = 8
#: suspects that are read one by one when the listing does not work
_FEW_SUSPECTS = 50


@dataclass(slots=True)
class _Verification:
    """The looks at one VDN after its last answer."""

    context: RunContext
    share: VdnCount
    #: what contradicts itself: as it is on record, and as it was seen
    suspects: dict[CampaignRef, tuple[Known, ObservedState]] = field(default_factory=dict)
    #: seen done by one look, and not by the next: these get their first PUT
    fresh: dict[CampaignRef, Known] = field(default_factory=dict)
    #: perhaps sent by a killed process, and two looks do not agree yet
    disagreeing: set[CampaignRef] = field(default_factory=set)
    #: a PUT has left since the last look
    needs_look: bool = False
    #: listed as started so soon after the stop that nobody can know
    doubted: set[CampaignRef] = field(default_factory=set)
    #: had their one PUT more
    paused_again: set[CampaignRef] = field(default_factory=set)
    #: 0200011 to the one PUT more: the listing is older than our acceptance
    outdated: set[CampaignRef] = field(default_factory=set)

    async def run(self) -> None:
        """Bring every row of the VDN to what can be known of it.

        Raises:
            StoppedError: the run is ending.
        """
        await self._wait_for_second_look()
        await self._look()
        for _ in range(ROUNDS):
            if not self.disagreeing:
                break
            await self.context.stopping.pause(self.context.gap_s)
            await self._look()
        await self._outlast_doubts()
        for number in range(1, ROUNDS + 1):
            await self._give_time()
            if number < ROUNDS:
                await self._put_again(self._due())
            if not self.needs_look:
                break
            await self._look()
        await self._settle_suspects()

    async def _settle_suspects(self) -> None:
        """What still contradicts itself stays as the last look had it."""
        await self.context.settle(
            *(
                self._settlement(known, decide_contradicted(self.context.action, known), seen)
                for known, seen in self.suspects.values()
            ),
            confirms=True,
        )

    # -- looks --------------------------------------------------------------------------------

    async def _outlast_doubts(self) -> None:
        """Restored soon after the stop: what is listed as started may only be listed so."""
        waits_s = iter(_DOUBT_WAITS_S)
        while self.doubted:
            await self._put_again(tuple(self.fresh.values()))
            left_s = (self.context.doubted_until_ms - self.context.clock.wall_ms()) / 1000
            wait_s = next(waits_s, _DOUBT_WAITS_S[-1])
            self.context.progress.notice = (
                f"VDN {self.share.vdn_id}: {len(self.doubted)} campaigns are listed as started, so"
                f" soon after the stop; looking again in {wait_s:g} s"
            )
            await self.context.stopping.pause(min(wait_s, max(0.0, left_s) + 0.01))
            self.doubted.clear()
            await self._look()

    async def _wait_for_second_look(self) -> None:
        context = self.context
        seen_ms = await context.journal.first_seen_ms(self.share.vdn_id)
        if seen_ms is None:
            return
        age_s = max(0.0, (context.clock.wall_ms() - seen_ms) / 1000)
        await self.context.stopping.pause(max(0.0, context.gap_s - age_s))

    async def _look(self) -> None:
        """One look at every row: the listing, and single reads for what it does not show."""
        self.needs_look = False
        began_ms = self.context.clock.wall_ms()
        seen = await self._listing(began_ms)
        await self._read_singly(began_ms, is_listed=seen.complete or bool(seen.ids))

    async def _listing(self, began_ms: int) -> Listing:
        context = self.context

        async def take(rows: Sequence[ObservedState]) -> None:
            await self._take(rows, Evidence.LISTED, began_ms=began_ms)

        waits_s = iter(_LISTING_AGAIN_S)
        while True:
            seen = await read_listing(
                context,
                vdn_id=self.share.vdn_id,
                status=0,
                take=take,
                enough=few_of_many(self.share),
            )
            is_partial = not seen.complete and not seen.problem.startswith("only the first page")
            if not is_partial:
                return seen
            wait_s = next(waits_s, None)
            if wait_s is None:
                context.progress.notice = (
                    f"VDN {self.share.vdn_id}: its listing could not be checked: {seen.problem}"
                )
                context.events.warning(
                    "check.failed", vdn_id=self.share.vdn_id, reason=seen.problem
                )
                return seen
            await self.context.stopping.pause(wait_s)

    async def _read_singly(self, began_ms: int, *, is_listed: bool) -> None:
        """Read one by one what the listing did not show."""
        context = self.context
        until_s = context.clock.now_s() + READS_WAIT_S
        after, unread = 0, 0
        while context.clock.now_s() < until_s and unread < _UNREAD_ROW:
            chunk = await context.journal.unlisted(
                vdn_id=self.share.vdn_id,
                seen_before_ms=began_ms,
                after=after,
                limit=_CHUNK if is_listed else _UNREAD_ROW,
            )
            if not chunk:
                return
            after = chunk[-1].seq
            wanted = [one for one in chunk if one.ref not in self.outdated]
            found = await asyncio.gather(
                *(read_state(context, Planned(one.seq, one.ref)) for one in wanted)
            )
            rows = [one for one in found if isinstance(one, ObservedState)]
            await self._take(rows, Evidence.READ, began_ms=began_ms)
            for one, seen in zip(wanted, found, strict=True):
                if not isinstance(seen, Verdict):
                    unread = 0
                    continue
                unread = 0 if seen.kind is Kind.NOT_FOUND else unread + 1
                await settle_unread(context, one, seen)

    async def _take(
        self, rows: Sequence[ObservedState], evidence: Evidence, *, began_ms: int
    ) -> None:
        """Confirm, decide or suspect the rows of one look."""
        context = self.context
        known = await known_rows(context, rows)
        unnamed = [(one.seq, seen.name) for one, seen in known if not one.named]
        if unnamed:
            await context.journal.named(unnamed)
        outcome_records = [
            outcome_record
            for one, seen in known
            if (outcome_record := self._judge(one, seen, evidence, began_ms))
        ]
        await context.settle(*outcome_records, confirms=True)

    def _judge(
        self, known: Known, seen: ObservedState, evidence: Evidence, began_ms: int
    ) -> OutcomeRecord | None:
        context = self.context
        if known.outcome is None or known.ref in self.outdated:
            return None
        self._measure_lag(known, seen.status, began_ms)
        if was_perhaps_sent(context.action, known, process=context.journal.process):
            return self._judge_perhaps_sent(known, seen, evidence)
        if is_contradicted(context.action, known.history, known.outcome, seen.status):
            if known.history.attempts == 0:
                self.fresh[known.ref] = known
            else:
                self.suspects[known.ref] = known, seen
            return _contradicted(context, known, seen, known.error)
        self.suspects.pop(known.ref, None)
        confirmed = _confirmed(context, known, seen, evidence)
        if confirmed is None:
            return None
        is_doubted = (
            confirmed.outcome is Outcome.ALREADY_RUNNING and began_ms < context.doubted_until_ms
        )
        if is_doubted:
            self.doubted.add(known.ref)
        unchecked = Standing.UNCHECKED if is_doubted else None
        return self._settlement(known, confirmed, seen, standing=unchecked)

    def _judge_perhaps_sent(
        self, known: Known, seen: ObservedState, evidence: Evidence
    ) -> OutcomeRecord | None:
        """A start that another process may have sent: two looks that agree decide."""
        target = COURSES[self.context.action].target
        if seen.status is target:
            decision = Decision(Outcome.RESTORED, Evidence.INFERRED, Changed.YES)
            if known.outcome is Outcome.RESTORED:
                self.disagreeing.discard(known.ref)
                return self._settlement(known, decision, seen)
            self.disagreeing.add(known.ref)
            return self._settlement(known, decision, seen, standing=Standing.UNCHECKED)
        self.disagreeing.discard(known.ref)
        if seen.status is COURSES[self.context.action].source:
            decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
            return self._settlement(known, decision, seen, standing=Standing.FINAL)
        return self._settlement(known, Decision(Outcome.NOT_RUNNING, evidence), seen)

    def _settlement(
        self,
        known: Known,
        decision: Decision,
        seen: ObservedState,
        *,
        standing: Standing | None = None,
    ) -> OutcomeRecord:
        """What goes on record; a look that confirms does not move the moment of rest."""
        made = seen_settlement(
            self.context, known.seq, decision, seen, known.error, standing=standing
        )
        at_rest_ms = None
        if decision.outcome in SUCCESSES:
            at_rest_ms = known.accepted_at_ms
            if at_rest_ms is None and known.outcome in SUCCESSES:
                at_rest_ms = known.settled_at_ms
        return made if at_rest_ms is None else made._replace(settled_at_ms=at_rest_ms)

    def _measure_lag(self, known: Known, status: Status | None, began_ms: int) -> None:
        if known.accepted_at_ms is None or known.standing != Standing.UNCHECKED:
            return
        context = self.context
        now_s, now_ms = context.clock.now_s(), context.clock.wall_ms()
        source = COURSES[context.action].source
        if known.ref not in self.suspects and status is not source:
            return
        context.lag.accepted_once(
            known.ref, at_s=now_s - max(0, now_ms - known.accepted_at_ms) / 1000
        )
        context.lag.look(
            (known.ref,),
            started=(known.ref,) if status is source else (),
            complete=True,
            began_s=now_s - max(0, now_ms - began_ms) / 1000,
            ended_s=now_s,
        )

    # -- what contradicts itself --------------------------------------------------------------

    async def _give_time(self) -> None:
        """Look again after growing waits, until a complete look ends the contradictions."""
        context = self.context
        waited_s = 0.0
        for wait_s in WAITS_S:
            await self._put_again(tuple(self.fresh.values()))
            if not self.suspects:
                return
            names = f"{len(self.suspects)} campaigns" if len(self.suspects) > 1 else "1 campaign"
            context.progress.notice = (
                f"VDN {self.share.vdn_id}: {names} listed as not done though accepted;"
                f" looking again in {wait_s:g} s"
            )
            await self.context.stopping.pause(wait_s)
            waited_s += wait_s
            if await self._are_some_cleared():
                await self._look()
            self._drop_doubts(waited_s)
        await self._put_again(tuple(self.fresh.values()))

    async def _are_some_cleared(self) -> bool:
        """Whether a filtered listing does not show one of the suspects any more."""
        context = self.context
        source = COURSES[context.action].source
        began_ms = context.clock.wall_ms()

        async def take(rows: Sequence[ObservedState]) -> None:
            await self._take(rows, Evidence.LISTED, began_ms=began_ms)

        seen = await read_listing(
            context,
            vdn_id=self.share.vdn_id,
            status=source,
            take=take,
            enough=few_of_many(self.share),
        )
        if seen.complete:
            return any(ref.campaign_id not in seen.ids for ref in self.suspects)
        if len(self.suspects) > _FEW_SUSPECTS:
            return False
        found = await asyncio.gather(
            *(read_state(context, Planned(one.seq, one.ref)) for one, _ in self.suspects.values())
        )
        rows = [one for one in found if isinstance(one, ObservedState)]
        await self._take(rows, Evidence.READ, began_ms=began_ms)
        return False

    def _drop_doubts(self, waited_s: float) -> None:
        """What was never accepted, nor refused for its state, needs no longer wait than a gap."""
        if waited_s < self.context.gap_s:
            return
        for ref, (known, _) in tuple(self.suspects.items()):
            history = known.history
            if not (history.accepted or history.last is Kind.WRONG_STATE):
                del self.suspects[ref]

    def _due(self) -> list[Known]:
        """Which of the suspects get a PUT now."""
        return [one for one, _ in self.suspects.values() if self._gets_a_put(one)]

    def _gets_a_put(self, known: Known) -> bool:
        return (
            self.context.action is Action.PAUSE
            and known.tried_by == self.context.journal.process
            and known.ref not in self.paused_again
        )

    async def _put_again(self, again: Sequence[Known]) -> None:
        if not again:
            return
        context = self.context
        self.needs_look = True
        context.events.warning(
            "campaigns.started_again", vdn_id=self.share.vdn_id, number=len(again)
        )
        self.paused_again.update(one.ref for one in again if one.history.attempts)
        for known in again:
            self.suspects.pop(known.ref, None)
            self.fresh.pop(known.ref, None)
        context.progress.reopened += len(again)
        source = COURSES[context.action].source
        wanted = [Planned(one.seq, one.ref, source) for one in again]
        await run_pool(context, _each(wanted), self._put_once_more)
        accepted = {one.ref for one in again if one.history.accepted}
        for one in wanted:
            now = await known_campaign(context, one.ref)
            if now and one.ref in accepted and now.history.last is Kind.WRONG_STATE:
                self.outdated.add(one.ref)
                await self._note_outdated(now)

    async def _note_outdated(self, known: Known) -> None:
        """It is suspended: the server says so; only the listing does not know yet."""
        context = self.context
        course = COURSES[context.action]
        await context.settle(
            OutcomeRecord(
                seq=known.seq,
                ref=known.ref,
                decision=Decision(course.done, Evidence.ACCEPTED, Changed.YES),
                standing=Standing.UNCHECKED,
                settled_at_ms=known.accepted_at_ms or context.clock.wall_ms(),
            ),
            confirms=True,
        )

    async def _put_once_more(self, planned: Planned) -> None:
        number = await last_attempt_number(self.context, planned)
        await settle_one(self.context, planned, attempts_before=number, last_round=True)


async def verify_vdn(context: RunContext, share: VdnCount) -> None:
    """Confirm, decide and correct every row of one VDN by its state now.

    Raises:
        StoppedError: the run is ending.
    """
    await _Verification(context, share).run()


async def _each(campaigns: Iterable[Planned]) -> AsyncIterator[Planned]:
    for planned in campaigns:
        yield planned


def was_perhaps_sent(action: Action, known: Known, *, process: int) -> bool:
    """Whether a start of this campaign may have been sent by a process that was killed."""
    if action is not Action.RESUME or known.history.accepted:
        return False
    if known.history.attempts == 0:
        return known.outcome is Outcome.UNKNOWN or (
            known.outcome is Outcome.RESTORED and known.evidence is Evidence.INFERRED
        )
    return any(one < process for one in known.doubted_by)


def decide_contradicted(action: Action, known: Known) -> Decision:
    """What stands while a look contradicts what we know: the worse of the two."""
    course = COURSES[action]
    if known.history.accepted:
        return Decision(course.undone, Evidence.ACCEPTED, Changed.YES)
    if known.history.attempts == 0:
        return Decision(Outcome.UNATTEMPTED)
    return decide_seen(action, known.history, course.source, Evidence.LISTED)


def contradiction(
    context: RunContext, known: Known, seen: ObservedState, reason: str = ""
) -> OutcomeRecord | None:
    """What stands of an outcome on record that a look contradicts; None: it does not.

    0200011 after our acceptance stays while no look has agreed: the server itself says that it is
    suspended, and the listing is older.
    """
    history = known.history
    is_old = history.accepted and history.last is Kind.WRONG_STATE
    if known.outcome is None or (is_old and known.evidence is Evidence.ACCEPTED):
        return None
    if not is_contradicted(context.action, history, known.outcome, seen.status):
        return None
    return _contradicted(context, known, seen, reason or known.error)


def _contradicted(
    context: RunContext, known: Known, seen: ObservedState, reason: str
) -> OutcomeRecord:
    """What stands meanwhile; what got no PUT yet gets one."""
    decision = decide_contradicted(context.action, known)
    standing = Standing.UNCHECKED if known.history.attempts else Standing.RETRY_LATER
    return seen_settlement(context, known.seq, decision, seen, reason, standing=standing)


def _confirmed(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence
) -> Decision | None:
    """What stands after this look; None when there is nothing on record to confirm."""
    if known.outcome is None:
        return None
    if known.history.attempts == 0:
        return _confirmed_untouched(context, known, seen, evidence)
    if seen.status is None:
        return Decision(known.outcome, known.evidence, _changed(known))
    return decide_seen(context.action, known.history, seen.status, evidence)


def _confirmed_untouched(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence
) -> Decision | None:
    """A campaign that got no PUT: confirmed by its state."""
    if known.outcome not in SUCCESSES:
        return None
    if seen.status is COURSES[context.action].target:
        return Decision(known.outcome, evidence)
    if seen.status in {Status.NOT_STARTED, Status.COMPLETED}:
        return Decision(Outcome.NOT_RUNNING, evidence)
    return Decision(known.outcome, known.evidence)


def _changed(known: Known) -> Changed:
    history = known.history
    return Changed.YES if history.accepted else Changed.MAYBE if history.doubted else Changed.NO


async def settle_unread(context: RunContext, known: Known, verdict: Verdict) -> None:
    """Its state could not be read: what is known without it stands."""
    if known.standing == Standing.UNCHECKED and verdict.kind is Kind.NOT_FOUND and known.outcome:
        # It is gone: nothing of it can run.
        decision = Decision(known.outcome, known.evidence, _changed(known))
        reason = known.error
    elif known.standing != Standing.NEEDS_READ:
        return
    elif verdict.kind is Kind.NOT_FOUND:
        decision = Decision(Outcome.NOT_FOUND)
        reason = verdict.reason
    else:
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
        reason = f"{known.error}; its state could not be read: {verdict.reason}"
    await context.settle(
        OutcomeRecord(
            seq=known.seq,
            ref=known.ref,
            decision=decision,
            standing=Standing.FINAL,
            settled_at_ms=known.settled_at_ms or context.clock.wall_ms(),
            error=reason,
        ),
        confirms=True,
    )


async def decide_by_state(
    context: RunContext, planned: Planned, *, acted_on: Container[Status | None] = ()
) -> ObservedState | None:
    """Let a campaign's state decide what its attempts came to; returns what was seen, if anything.

    Args:
        context: the parts of the run.
        planned: the campaign.
        acted_on: in these states the caller goes on with it, and nothing is recorded: an outcome
            on record would keep a later process from it if this one is killed now.

    Raises:
        StoppedError: the run is ending.
    """
    seen = await read_state(context, planned)
    known = await known_campaign(context, planned.ref)
    if known is None:
        return None
    if isinstance(seen, Verdict):
        await settle_unread(context, known, seen)
        return None
    if seen.status in acted_on:
        return seen
    decision = decide_seen(context.action, known.history, seen.status, Evidence.READ)
    outcome_record = seen_settlement(context, planned.seq, decision, seen, known.error)
    await context.settle(outcome_record, confirms=known.outcome is not None)
    return seen
