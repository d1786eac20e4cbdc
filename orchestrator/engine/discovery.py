"""Finding what runs: pausing starts with the first page while the rest is read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import read_listing
from orchestrator.engine.reconcile import known_campaign, note_state
from orchestrator.isales.listing import MAY_RUN, Listing
from orchestrator.model import ObservedState, Status
from orchestrator.policy.decide import Evidence
from orchestrator.policy.plan import Planned, feasibility
from orchestrator.policy.quiet import LARGE_PAGES

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.emergency import Emergency
    from orchestrator.engine.vdns import Vdn

#: how long the second page may wait for the first PUT, and how often it looks
_FIRST_CHANGE_S = 5.0
_TURN_S = 0.002
#: first names that an operator is shown before confirming
_NAMES_SHOWN = 5
#: times that an unfiltered listing is read again when only its count is wrong
_REREADS = 2


async def discover_all(emergency: Emergency, vdn: Vdn) -> None:
    """Read both listings: what the filter does not show may run all the same."""
    await discover(emergency, vdn)
    seen = await read_whole(emergency, vdn)
    if not vdn.is_told:
        _tell_feasibility(emergency, vdn, seen)


async def discover(emergency: Emergency, vdn: Vdn) -> None:
    """Read the started campaigns, handing each page to the pool as it comes.

    From the last page to the first: on a list that shrinks while it is read a campaign can
    only move towards pages that are still to come.
    """
    context = emergency.context
    began_s = context.clock.now_s()

    async def take(rows: Sequence[ObservedState], asked_s: float) -> None:
        await take_started(emergency, vdn, rows, began_s, asked_s)
        if rows and emergency.confirmed.is_set():
            await _until_first_change(emergency)

    def enough(seen: Listing) -> bool:
        if seen.total_size or seen.ids:
            _tell_feasibility(emergency, vdn, seen)
        return False

    seen = await read_listing(
        context,
        vdn_id=vdn.vdn_id,
        status=Status.STARTED,
        take=take,
        enough=enough,
        backwards=True,
        proves=True,
    )
    vdn.filtered_pages = max(1, seen.pages)
    if seen.problem:
        vdn.problem = seen.problem
        context.events.info("discovery.incomplete", vdn_id=vdn.vdn_id, reason=seen.problem)


async def read_whole(emergency: Emergency, vdn: Vdn) -> Listing:
    """Read every campaign of a VDN; again, where only the count is wrong."""
    for _ in range(_REREADS):
        seen = await _read_whole_once(emergency, vdn)
        if not seen.is_miscounted:
            return seen
    return await _read_whole_once(emergency, vdn)


async def _read_whole_once(emergency: Emergency, vdn: Vdn) -> Listing:
    clock = emergency.context.clock
    began_s, now_text = clock.now_s(), clock.local_text()
    # Later only what is new to us is paused at once: the filtered listing is still to be read.
    is_first = vdn.pages is None
    may_start: list[str] = []
    rested: list[ObservedState] = []
    counts: Counter[Status | None] = Counter()

    async def take(rows: Sequence[ObservedState], asked_s: float) -> None:
        started = []
        for row in rows:
            counts[row.status] += 1
            if row.status is Status.NOT_STARTED and row.begin_time > now_text:
                may_start.append(row.begin_time)
            if row.status not in MAY_RUN and row.ref in vdn.unstopped:
                rested.append(row)
            if row.status is Status.STARTED and (is_first or row.ref not in vdn.places):
                started.append(row)
        await take_started(emergency, vdn, started, began_s, asked_s)

    seen = await read_listing(
        emergency.context, vdn_id=vdn.vdn_id, status=0, take=take, proves=True
    )
    vdn.pages = max(vdn.pages or 1, seen.pages_expected)
    vdn.proof.is_large = vdn.pages > LARGE_PAGES
    if seen.complete or len(may_start) > len(vdn.may_start):
        vdn.may_start = may_start
    vdn.counts = counts
    await note_rested(emergency.context, vdn, rested, Evidence.LISTED)
    if seen.complete and seen.ids:
        vdn.whole_s, vdn.whole_ms = clock.now_s(), clock.wall_ms()
    return seen


async def _until_first_change(emergency: Emergency) -> None:
    """The first PUT goes before the second page is asked for, unless it cannot go."""
    context, dispatcher = emergency.context, emergency.context.dispatcher
    give_up_s = context.clock.now_s() + _FIRST_CHANGE_S
    while not (
        dispatcher.has_sent_a_change
        or dispatcher.breakers.changes.is_open
        or context.stopping.is_stopping
        or context.clock.now_s() > give_up_s
    ):
        await emergency.alarm.sleep(_TURN_S)


def _tell_feasibility(emergency: Emergency, vdn: Vdn, seen: Listing) -> None:
    is_first, vdn.is_told = not vdn.is_told, True
    running = len(seen.started())
    if seen.status and seen.total_size is not None:
        running = seen.total_size
    rate_per_s = emergency.context.progress.ceiling_per_s
    told = feasibility(running=running, rate_per_s=rate_per_s, more=seen.total_size is None)
    names = [row.name for row in seen.started()[:_NAMES_SHOWN] if row.name]
    if not running:
        told = f"could not be listed: {vdn.problem}" if vdn.problem else "nothing is running"
    line = f"VDN {vdn.vdn_id}: {told}" + (f" ({', '.join(names)}, …)" if names else "")
    if is_first:
        emergency.findings.append(line)
    emergency.context.progress.notice = line
    emergency.alarm.ring()


async def take_started(
    emergency: Emergency,
    vdn: Vdn,
    rows: Iterable[ObservedState],
    began_s: float,
    asked_s: float,
) -> None:
    """Begin what a look shows as started, where a PUT is due.

    After an acceptance of ours since the look `began_s` no PUT is due; one since the page of these
    rows was asked for is newer than what they show.
    """
    if emergency.only_reads:
        return
    context = emergency.context
    started = [row for row in rows if row.status in MAY_RUN]
    fresh = {row.ref: row for row in started if row.ref not in vdn.places}
    if fresh:
        found = tuple(fresh.values())
        vdn.places |= await context.journal.discovered(found, at_ms=context.clock.wall_ms())
        context.progress.campaigns += len(fresh)
    now_s = context.clock.now_s()
    for row in started:
        tries = vdn.tries_of(row.ref)
        if -math.inf < tries.accepted_s < asked_s:
            vdn.contradicted[row.ref] = row, asked_s
        if row.ref not in vdn.open and tries.accepted_s < began_s and tries.due_s <= now_s:
            begin(emergency, vdn, row, is_new=row.ref in fresh)


def begin(emergency: Emergency, vdn: Vdn, row: ObservedState, *, is_new: bool = False) -> None:
    """Let the pool pause one campaign, unless it is at it; a new one was found just now."""
    if row.ref in vdn.open:
        return
    is_reopened = not is_new and row.ref not in vdn.left_open
    vdn.left_open.discard(row.ref)
    vdn.called_off.discard(row.ref)
    emergency.context.progress.reopened += is_reopened
    vdn.open.add(row.ref)
    emergency.wanted.set()
    vdn.waiting.append(Planned(vdn.places[row.ref], row.ref, row.status))
    emergency.alarm.ring()


async def note_rested(
    context: RunContext, vdn: Vdn, rows: Iterable[ObservedState], evidence: Evidence
) -> None:
    """Campaigns that we had not stopped have come to rest: their state decides."""
    for row in rows:
        if row.ref not in vdn.open:
            known = await known_campaign(context, row.ref)
            vdn.unstopped.discard(row.ref)
            if known is not None:
                await note_state(context, known, row, evidence)
