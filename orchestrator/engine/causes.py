"""Why an attempt failed: the server, the VDN, or this campaign?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.engine.lookup import try_read
from orchestrator.isales.pages import read_details
from orchestrator.isales.requests import details
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.policy.decide import COURSES
from orchestrator.policy.retry import ENOUGH_FOR_THE_BREAKER, counts_against_limit

if TYPE_CHECKING:
    from orchestrator.engine.case import Case
    from orchestrator.engine.context import RunContext
    from orchestrator.model import CampaignRef

#: 403 to so many different campaigns in a row is looked into by a read of their VDN
_FORBIDDEN_ROW = 5


def is_one_of_the_last(context: RunContext) -> bool:
    """Whether so few campaigns are left that their failures do not open the breaker."""
    return context.max_attempts is not None and context.progress.left < ENOUGH_FOR_THE_BREAKER


async def look_into(context: RunContext, case: Case, verdict: Verdict) -> None:
    """A failed attempt that may be repeated: is it the server, the VDN, or this campaign?"""
    if case.useful_before is None:
        case.useful_before = context.progress.useful_changes
    case.failures += 1
    if case.free_repeat or context.stopping.is_stopping:
        return
    vdn_id = case.planned.ref.vdn_id
    if verdict.kind is Kind.UNREADABLE and context.dispatcher.unreadable.is_enough:
        await _read_what_was_unreadable(context)
    works: bool | None = None
    if is_one_of_the_last(context) or (
        verdict.kind is Kind.FORBIDDEN
        and vdn_id in context.access.opened
        and context.access.row_of(vdn_id) >= _FORBIDDEN_ROW
    ):
        works = await _reads_work(context, case.planned.ref)
        breakers = context.dispatcher.breakers
        if not works:
            breakers.hold_back(breakers.changes, verdict)
        elif breakers.changes.is_open:
            breakers.note_change_works()
    case.tries_used += counts_against_limit(
        breaker_open=context.dispatcher.breakers.changes.is_open,
        probe=case.probed,
        left=context.progress.left if context.max_attempts is not None else ENOUGH_FOR_THE_BREAKER,
        read_works=works,
    )


async def _reads_work(context: RunContext, ref: CampaignRef) -> bool:
    # A listing would show others too, and what is not taken in must not be asked for.
    exchange = await try_read(context.dispatcher, details(ref), key=("read", ref))
    return exchange.verdict.kind in {Kind.ACCEPTED, Kind.NOT_FOUND}


async def _read_what_was_unreadable(context: RunContext) -> None:
    """Five answers in a row could not be read: whether their PUTs took effect decides."""
    refs = context.dispatcher.unreadable.take()
    target = COURSES[context.action].target
    done: list[CampaignRef] = []
    for ref in refs:
        exchange = await try_read(context.dispatcher, details(ref), key=("read", ref))
        seen = read_details(exchange.answer, ref=ref)
        if not isinstance(seen, Verdict) and seen.status is target:
            done.append(ref)
    if refs:
        context.dispatcher.note_unreadable_states(done)
