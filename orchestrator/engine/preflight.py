"""The look before the first PUT: what each campaign was before this run touched it.

A campaign that is in the target status gets no request. The state before is recorded once; a look
after an intent only decides doubts. A look that fails keeps no campaign from being paused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import few_of_many, read_listing
from orchestrator.engine.reconcile import When, known_rows, read_state, reconcile
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import ObservedState
from orchestrator.policy.decide import Evidence
from orchestrator.policy.plan import reads_are_cheaper
from orchestrator.store import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.engine.context import RunContext
    from orchestrator.store import VdnCount

_CHUNK = 200


async def look_first(context: RunContext, count: VdnCount) -> str:
    """Record the state of a VDN's campaigns before they are touched; returns what went wrong.

    Raises:
        StoppedError: the run is ending.
    """

    async def take(rows: Sequence[ObservedState], _asked_s: float) -> None:
        await _note_states(context, rows, Evidence.LISTED)

    seen = await read_listing(
        context, vdn_id=count.vdn_id, status=0, take=take, enough=few_of_many(count)
    )
    if seen.complete:
        return ""
    cheaper = reads_are_cheaper(campaigns=count.campaigns, total_size=seen.total_size or 0)
    if cheaper:
        return await _read_each(context, count)
    return seen.problem


async def _read_each(context: RunContext, count: VdnCount) -> str:
    after = 0
    problem = ""
    while True:
        chunk = await context.journal.pending(vdn_id=count.vdn_id, after=after, limit=_CHUNK)
        if not chunk:
            return problem
        after = chunk[-1].seq
        found = await asyncio.gather(*(read_state(context, planned.ref) for planned in chunk))
        await _note_states(
            context, [one for one in found if isinstance(one, ObservedState)], Evidence.READ
        )
        for one in found:
            if isinstance(one, Verdict) and one.kind is not Kind.NOT_FOUND:
                problem = one.reason


async def _note_states(
    context: RunContext, rows: Sequence[ObservedState], evidence: Evidence
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
