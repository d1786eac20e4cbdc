"""The look after the last answer of a VDN: confirm, decide, correct.

One listing per VDN and look covers every row; what it misses is read singly, and what could not be
reached stays unchecked. Contradictions get time before one PUT more, and after the last PUT comes a
look. docs/spec/evidence.md, rules 3, 4, 5 and 9.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import read_list
from orchestrator.engine.permits import READS_WAIT_S
from orchestrator.engine.pool import run_pool
from orchestrator.engine.reconcile import (
    When,
    complete_unread,
    confirmation,
    decide_contradicted,
    is_disputed,
    known_campaign,
    known_rows,
    read_state,
    reconcile,
    unseen_record,
    was_perhaps_sent,
)
from orchestrator.engine.worker import complete_campaign
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import Action, CampaignRef, ObservedState, Status
from orchestrator.policy.decide import COURSES, Changed, Decision, Evidence, History, Outcome
from orchestrator.policy.plan import Planned
from orchestrator.store import Known, OutcomeRecord, Standing, VdnCount

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.isales.listing import Listing

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
    count: VdnCount
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
    #: shown as before by the newest complete filtered listing, and no PUT has left since: the other
    #: listing, which may be older, does not clear them
    still_shown: set[CampaignRef] = field(default_factory=set)
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
            due = self._due() if number < ROUNDS else []
            await self._put_again(due)
            if not self.needs_look:
                break
            if due:  # what was started again once may be again
                why = f"VDN {self.count.vdn_id}: {len(due)} paused once more; looking again in"
                await self._pause(self.context.gap_s, why)
            await self._look()
        # What still contradicts itself stays as the last look had it.
        action = self.context.action
        stand = [
            confirmation(self.context, known, decide_contradicted(action, known), seen)
            for known, seen in self.suspects.values()
        ]
        await self.context.complete(*stand, confirms=True)

    # -- looks --------------------------------------------------------------------------------

    async def _outlast_doubts(self) -> None:
        """Restored soon after the stop: what is listed as started may only be listed so."""
        waits_s = iter(_DOUBT_WAITS_S)
        while self.doubted:
            await self._put_again(tuple(self.fresh.values()))
            left_s = (self.context.doubted_until_ms - self.context.clock.wall_ms()) / 1000
            wait_s = next(waits_s, _DOUBT_WAITS_S[-1])
            wait_s = min(wait_s, max(0.0, left_s) + 0.01)
            why = (
                f"VDN {self.count.vdn_id}: {len(self.doubted)} campaigns are listed as started, so"
                " soon after the stop; looking again in"
            )
            await self._pause(wait_s, why)
            self.doubted.clear()
            await self._look()

    async def _wait_for_second_look(self) -> None:
        context = self.context
        seen_ms = await context.journal.first_seen_ms(self.count.vdn_id)
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
        take = partial(self._take, evidence=Evidence.LISTED, began_ms=began_ms)
        waits_s = iter(_LISTING_AGAIN_S)
        while True:
            seen = await read_list(context, self.count, take)
            is_partial = not seen.complete and not seen.problem.startswith("only the first page")
            if not is_partial:
                return seen
            wait_s = next(waits_s, None)
            if wait_s is None:
                context.progress.notice = (
                    f"VDN {self.count.vdn_id}: its listing could not be checked: {seen.problem}"
                )
                context.events.warning(
                    "check.failed", vdn_id=self.count.vdn_id, reason=seen.problem
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
                vdn_id=self.count.vdn_id,
                seen_before_ms=began_ms,
                after=after,
                limit=_CHUNK if is_listed else _UNREAD_ROW,
            )
            if not chunk:
                return
            after = chunk[-1].seq
            wanted = [one for one in chunk if one.ref not in self.outdated]
            found = await asyncio.gather(*(read_state(context, one.ref) for one in wanted))
            rows = [one for one in found if isinstance(one, ObservedState)]
            await self._take(rows, Evidence.READ, began_ms=began_ms)
            for one, seen in zip(wanted, found, strict=True):
                if not isinstance(seen, Verdict):
                    unread = 0
                    continue
                unread = 0 if seen.kind is Kind.NOT_FOUND else unread + 1
                await complete_unread(context, one, seen)

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
        await context.complete(*outcome_records, confirms=True)

    def _judge(
        self, known: Known, seen: ObservedState, evidence: Evidence, began_ms: int
    ) -> OutcomeRecord | None:
        """What goes on record after this look; remembers what needs another one."""
        context = self.context
        if known.outcome is None or known.ref in self.outdated:
            return None
        self._measure_lag(known, seen.status, began_ms)
        made = reconcile(context, known, seen, evidence, When.AFTER)
        if was_perhaps_sent(context, known):
            is_first = seen.status is Status.STARTED and known.outcome is not Outcome.RESTORED
            (self.disagreeing.add if is_first else self.disagreeing.discard)(known.ref)
        elif is_disputed(context, known, seen):
            if known.history.attempts == 0:
                self.fresh[known.ref] = known
            else:
                self.suspects[known.ref] = known, seen
        elif known.ref in self.still_shown and evidence is Evidence.LISTED:
            return None
        else:
            self.suspects.pop(known.ref, None)
            is_already = made is not None and made.decision.outcome is Outcome.ALREADY_RUNNING
            if made is not None and is_already and began_ms < context.doubted_until_ms:
                self.doubted.add(known.ref)
                return made._replace(standing=Standing.UNCHECKED)
        return made

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
        waited_s = 0.0
        for wait_s in WAITS_S:
            await self._put_again(tuple(self.fresh.values()))
            if not self.suspects:
                return
            names = f"{len(self.suspects)} campaigns" if len(self.suspects) > 1 else "1 campaign"
            why = (
                f"VDN {self.count.vdn_id}: {names} accepted, and listed as before; looking again in"
            )
            await self._pause(wait_s, why)
            waited_s += wait_s
            if await self._are_some_cleared():
                await self._look()
            self._drop_doubts(waited_s)
        await self._put_again(tuple(self.fresh.values()))

    async def _pause(self, wait_s: float, why: str) -> None:
        """Wait, and let people know what for."""
        until_s = self.context.clock.now_s() + wait_s
        with self.context.progress.waiting(("verify", self.count.vdn_id), until_s, why):
            await self.context.stopping.pause(wait_s)

    async def _are_some_cleared(self) -> bool:
        """Whether a filtered listing does not show one of the suspects any more."""
        context = self.context
        source = COURSES[context.action].source
        began_ms = context.clock.wall_ms()
        shown: set[CampaignRef] = set()

        async def take(rows: Sequence[ObservedState]) -> None:
            shown.update(row.ref for row in rows if row.status is source)
            await self._take(rows, Evidence.LISTED, began_ms=began_ms)

        seen = await read_list(context, self.count, take, status=source)
        if seen.complete:
            self.still_shown = self.suspects.keys() & shown
            return len(self.still_shown) < len(self.suspects)
        if len(self.suspects) > _FEW_SUSPECTS:
            return False
        found = await asyncio.gather(
            *(read_state(context, one.ref) for one, _ in self.suspects.values())
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
        context = self.context
        return [
            one
            for one, _ in self.suspects.values()
            if context.action is Action.PAUSE
            and one.tried_by == context.journal.process
            and one.ref not in self.paused_again
        ]

    async def _put_again(self, again: Sequence[Known]) -> None:
        if not again:
            return
        context = self.context
        self.needs_look = True
        context.events.warning(
            "campaigns.started_again", vdn_id=self.count.vdn_id, number=len(again)
        )
        self.paused_again.update(one.ref for one in again if one.history.attempts)
        for known in again:
            self.suspects.pop(known.ref, None)
            self.fresh.pop(known.ref, None)
            self.still_shown.discard(known.ref)
        context.progress.reopened += len(again)
        source = COURSES[context.action].source
        wanted = [Planned(one.seq, one.ref, source) for one in again]
        await run_pool(context, _each(wanted), partial(complete_campaign, context))
        for one in again:
            now = await known_campaign(context, one.ref)
            if now and _is_outdated(one.history, now.history):
                self.outdated.add(one.ref)
                # It is suspended: the server says so; only the listing does not know yet.
                decision = Decision(COURSES[context.action].done, Evidence.ACCEPTED, Changed.YES)
                made = unseen_record(
                    context, now, decision, Standing.UNCHECKED, "", now.accepted_at_ms
                )
                await context.complete(made, confirms=True)


def _is_outdated(before: History, now: History) -> bool:
    """Whether 0200011 to the PUT more says that the listing is older than our acceptance.

    It does not where a PUT in doubt came before it: that one may have suspended it just now.
    """
    if not before.accepted or now.last is not Kind.WRONG_STATE:
        return False
    return now.attempts == before.attempts + 1 or not now.doubted


async def verify_vdn(context: RunContext, count: VdnCount) -> None:
    """Confirm, decide and correct every row of one VDN by its state now.

    Raises:
        StoppedError: the run is ending.
    """
    await _Verification(context, count).run()


async def _each(campaigns: Iterable[Planned]) -> AsyncIterator[Planned]:
    for planned in campaigns:
        yield planned
