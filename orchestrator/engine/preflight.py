"""The look before the first PUT: what each campaign was before this run touched it.

A campaign that is in the target status gets no request. The state before is recorded once; a look
after an intent only decides doubts. A look that fails keeps no campaign from being paused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import few_of_many, read_listing
from orchestrator.engine.verify import contradiction, was_perhaps_sent
from orchestrator.engine.worker import known_rows, read_state, seen_settlement, standing_of
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import ObservedState
from orchestrator.policy.decide import (
    COURSES,
    Changed,
    Decision,
    Evidence,
    Outcome,
    decide_seen,
    decide_untouched,
)
from orchestrator.policy.plan import reads_are_cheaper
from orchestrator.store import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.engine.context import RunContext
    from orchestrator.store import Known, OutcomeRecord, VdnCount

_CHUNK = 200
#: of a campaign that a killed restore may have started
PERHAPS_STARTED = (
    "this restore was interrupted and may have started it before; it was not started again;"
    " --include-inferred starts it"
)


async def look_first(context: RunContext, share: VdnCount) -> str:
    """Record the state of a VDN's campaigns before they are touched; returns what went wrong.

    Raises:
        StoppedError: the run is ending.
    """

    async def take(rows: Sequence[ObservedState]) -> None:
        await _note_states(context, rows, Evidence.LISTED)

    seen = await read_listing(
        context, vdn_id=share.vdn_id, status=0, take=take, enough=few_of_many(share)
    )
    if seen.complete:
        return ""
    cheaper = reads_are_cheaper(campaigns=share.campaigns, total_size=seen.total_size or 0)
    if cheaper:
        return await _read_each(context, share)
    return seen.problem


async def _read_each(context: RunContext, share: VdnCount) -> str:
    after = 0
    problem = ""
    while True:
        chunk = await context.journal.pending(vdn_id=share.vdn_id, after=after, limit=_CHUNK)
        if not chunk:
            return problem
        after = chunk[-1].seq
        found = await asyncio.gather(*(read_state(context, planned) for planned in chunk))
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
    outcome_records = [
        outcome_record
        for one, seen in known
        if (outcome_record := _settle_by_look(context, one, seen, evidence))
    ]
    await context.settle(*outcome_records)
    contradicted = [
        outcome_record
        for one, seen in known
        if one.standing is Standing.UNCHECKED
        and (outcome_record := contradiction(context, one, seen))
    ]
    await context.settle(*contradicted, confirms=True)


def _settle_by_look(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence
) -> OutcomeRecord | None:
    if known.standing in {Standing.FINAL, Standing.UNCHECKED}:
        return None
    if was_perhaps_sent(context.action, known, process=context.journal.process):
        return settle_perhaps_sent(context, known, seen)
    if known.history.attempts == 0:
        decision = decide_untouched(context.action, seen.status)
        if decision.outcome is Outcome.UNATTEMPTED:
            return None
        decision = Decision(decision.outcome, evidence)
        return seen_settlement(
            context, known.seq, decision, seen, known.error, standing=standing_of(context, decision)
        )
    if seen.status is COURSES[context.action].source or seen.status is None:
        if known.standing != Standing.NEEDS_READ:
            return None
        # Looked at again by a later process and still to be done: it gets its attempts.
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
        return seen_settlement(
            context, known.seq, decision, seen, known.error, standing=Standing.RETRY_LATER
        )
    decision = decide_seen(context.action, known.history, seen.status, evidence)
    return seen_settlement(
        context, known.seq, decision, seen, known.error, standing=standing_of(context, decision)
    )


def settle_perhaps_sent(context: RunContext, known: Known, seen: ObservedState) -> OutcomeRecord:
    """Decide a start that a killed process may have sent: it is never sent again."""
    course = COURSES[context.action]
    reason = known.error or PERHAPS_STARTED
    if seen.status is course.target:
        decision = Decision(course.done, Evidence.INFERRED, Changed.YES)
        return seen_settlement(
            context, known.seq, decision, seen, reason, standing=Standing.UNCHECKED
        )
    decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
    return seen_settlement(context, known.seq, decision, seen, reason, standing=Standing.NEEDS_READ)
