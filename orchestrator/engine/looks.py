"""The look before the first PUT, and the one as a run ends; verify.py has those in between.

Before: a campaign that is in the target status gets no request; the state before is recorded once,
and a look after an intent only decides doubts; one that fails keeps no campaign from being paused.
At the end: what is in doubt is read before the report, and only reads are sent. It takes LOOK_S at
most, after a signal SIGNAL_LOOK_S, because a supervisor kills soon after. docs/spec/contracts.md,
"Outcomes", 5.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import read_list
from orchestrator.engine.reconcile import When, known_rows, read_state, reconcile
from orchestrator.engine.stop import StoppedError, Stopping
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import ObservedState
from orchestrator.policy.decide import Evidence
from orchestrator.policy.plan import reads_are_cheaper
from orchestrator.reports.summary import REFUSED, SIGNAL_EXIT_CODES, Ended
from orchestrator.store import Known, Standing, VdnCount

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext

_CHUNK = 200
#: seconds that the look may take
LOOK_S = 10.0
SIGNAL_LOOK_S = 5.0

#: there is nobody to ask, or nothing to write the answer to
_NO_LOOK = REFUSED | {Ended.STORAGE, Ended.BUG}


# -- before the first PUT ---------------------------------------------------------------------


async def look_first(context: RunContext, count: VdnCount) -> str:
    """Record the state of a VDN's campaigns before they are touched; returns what went wrong.

    Raises:
        StoppedError: the run is ending.
    """
    seen = await read_list(context, count, partial(_note_states, context))
    if seen.complete:
        return ""
    if reads_are_cheaper(campaigns=count.campaigns, total_size=seen.total_size or 0):
        return await _read_each(context, count)
    return seen.problem


async def _read_each(context: RunContext, count: VdnCount) -> str:
    problem, vdn_id, after = "", count.vdn_id, 0
    while chunk := await context.journal.pending(vdn_id=vdn_id, after=after, limit=_CHUNK):
        after = chunk[-1].seq
        found = await asyncio.gather(*(read_state(context, planned.ref) for planned in chunk))
        await _note_states(
            context, [one for one in found if isinstance(one, ObservedState)], Evidence.READ
        )
        for one in found:
            if isinstance(one, Verdict) and one.kind is not Kind.NOT_FOUND:
                problem = one.reason
    return problem


async def _note_states(
    context: RunContext, rows: Sequence[ObservedState], evidence: Evidence = Evidence.LISTED
) -> None:
    """Record the state before; decide what is in its target status, and what is in doubt."""
    known = await known_rows(context, rows)
    if known:
        saw = [(one.seq, seen) for one, seen in known]
        await context.journal.saw(saw, at_ms=context.clock.wall_ms())
    for is_checked in (False, True):
        made = [
            reconcile(context, one, seen, evidence, When.BEFORE)
            for one, seen in known
            if (one.standing is Standing.UNCHECKED) is is_checked
        ]
        await context.complete(*(one for one in made if one is not None), confirms=is_checked)


# -- as the run ends --------------------------------------------------------------------------


async def look_at_doubts(context: RunContext) -> None:
    """Let the states decide what the run's end left in doubt."""
    ended = context.stopping.ended
    if ended in _NO_LOOK or context.bugs:
        return
    doubts: dict[int, dict[int, Known]] = defaultdict(dict)
    for one in await context.journal.doubtful():
        doubts[one.ref.vdn_id][one.ref.campaign_id] = one
    for vdn_id in (vdn.vdn_id for vdn in context.vdns.values() if vdn.may_run_unproven):
        for one in await context.journal.known_of_vdn(vdn_id):
            doubts[vdn_id].setdefault(one.ref.campaign_id, one)
    limit_s = SIGNAL_LOOK_S if ended in SIGNAL_EXIT_CODES else LOOK_S
    if not doubts or context.dispatcher.pacer.wait_s(now_s=context.clock.now_s()) >= limit_s:
        return  # nothing to ask, or the server has asked for longer silence than there is time
    stopping = context.stopping
    # Everything that waits or sends asks whether the run is ending; reads may go on for a moment.
    context.begin_last_look(Stopping())
    try:
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*(_look_at(context, vdn_id, of) for vdn_id, of in doubts.items()))
    except (TimeoutError, StoppedError):
        context.events.warning("last_look.cut_short", limit_s=limit_s)
    finally:
        context.begin_last_look(stopping)


async def _look_at(context: RunContext, vdn_id: int, doubts: dict[int, Known]) -> None:
    """One listing of a VDN, and single reads of what it does not show or where they are fewer."""

    async def take(rows: Sequence[ObservedState]) -> None:
        known = await known_rows(context, rows)
        for one, _ in known:
            doubts.pop(one.ref.campaign_id, None)
        await _complete(context, known, Evidence.LISTED)

    await read_list(context, VdnCount(vdn_id, len(doubts)), take)

    async def read(one: Known) -> None:
        seen = await read_state(context, one.ref)
        if isinstance(seen, ObservedState):
            await _complete(context, [(one, seen)], Evidence.READ)

    await asyncio.gather(*(read(one) for one in tuple(doubts.values())))


async def _complete(
    context: RunContext, pairs: Sequence[tuple[Known, ObservedState]], evidence: Evidence
) -> None:
    made = [reconcile(context, known, seen, evidence, When.AT_END) for known, seen in pairs]
    await context.complete(*(one for one in made if one is not None), confirms=True)
