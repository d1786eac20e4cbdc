"""One campaign from its first attempt to its outcome; the only user of tenacity.

The order of one attempt (docs/spec/behaviour.md): breaker, intent durable, connection, rate limit,
stop and breaker check, sign, send, answer, verdict, answer and outcome durable. A backoff leaves
the work limit; an intent whose PUT never left is closed as not sent.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from orchestrator.engine.case import Case, is_one_of_the_last, look_into
from orchestrator.engine.context import RanOut, RunContext
from orchestrator.engine.reconcile import look_record, read_state, unseen_record
from orchestrator.engine.stop import StoppedError
from orchestrator.isales.client import NotSentError
from orchestrator.isales.requests import change
from orchestrator.isales.verdict import FROM_THE_API, Kind, Repeat, Verdict
from orchestrator.model import CampaignRef, ObservedState
from orchestrator.policy.decide import (
    Decision,
    Evidence,
    Outcome,
    decide_seen,
    decide_unseen,
)
from orchestrator.policy.retry import last_wait_s
from orchestrator.store import Intent, Standing

if TYPE_CHECKING:
    from orchestrator.engine.dispatcher import Exchange
    from orchestrator.policy.plan import Planned

#: the request cannot have reached the API
_NEVER_LEFT = frozenset({Kind.UNREACHABLE, Kind.TLS_REFUSED})
#: in an emergency each failure in a row adds so much to the least wait, up to the most, seconds
_STUBBORN_STEP_S = 0.05
_STUBBORN_MOST_S = 5.0
#: a wait that is worth a word on the live line, seconds
_WORTH_TELLING_S = 2.0


async def complete_campaign(
    context: RunContext,
    planned: Planned,
    *,
    is_new: bool = False,
    last_round: bool = True,
    budget: int | None = None,
) -> None:
    """Bring one campaign to its outcome, or leave it open when the run ends first.

    A place in the work limit is held on entry and given back on return, whatever happens.

    Args:
        context: the parts of the run.
        planned: the campaign.
        is_new: nobody has tried it, so that the journal need not be asked.
        last_round: what runs out of attempts now gets no more; it may have an outcome that stands.
        budget: attempts that may fail; None: as many as the settings say.
    """
    most = context.max_attempts if budget is None else budget
    case = Case(planned, reopens=last_round, budget=most)
    ran_out = context.ran_out.pop(planned.seq, None)
    if ran_out is not None:
        # It failed in an earlier round: what others achieved since then explains its failures.
        case.useful_before = ran_out.useful_before
    if not is_new:
        await case.remember(context)
    try:
        if ran_out is not None:
            await _wait_for_the_last(context, case, ran_out.at_s)
        verdict = await _attempt(context, case)
        if case.settled:
            return
        if _is_repeated(context, case, verdict):
            verdict = await _repeat(context, case, verdict)
        if _is_repeated(context, case, verdict):
            await _run_out(context, case, verdict, last_round=last_round)
        elif case.needs_reading(context, verdict):
            await _conclude_by_reading(context, case, verdict)
        elif verdict.kind is Kind.UNREADABLE and not case.settled:
            decision = decide_unseen(context.action, case.history(verdict))
            await context.complete(case.record(context, verdict, decision))
    except StoppedError:
        ref = planned.ref
        context.events.debug(
            "campaign.left_open",
            seq=planned.seq,
            vdn_id=ref.vdn_id,
            campaign_id=ref.campaign_id,
        )


async def _wait_for_the_last(context: RunContext, case: Case, ran_out_s: float) -> None:
    """The one more attempt of the last few campaigns stands apart from those before it.

    A place in the work limit is held on entry and on return; not while it waits.
    """
    if context.max_attempts is None or not is_one_of_the_last(context):
        return
    wait_s = last_wait_s(
        failed=context.max_attempts,
        max_attempts=context.max_attempts,
        patience_s=context.patience_s,
    )
    left_s = ran_out_s + wait_s - context.clock.now_s()
    if left_s <= 0:
        return
    context.dispatcher.work_limit.release()
    try:
        with _told(context, case, left_s):
            await _back_off(context, left_s)
    finally:
        await context.dispatcher.work_limit.acquire()


async def _repeat(context: RunContext, case: Case, first: Verdict) -> Verdict:
    """Drive the repeats; the first verdict stands in for the first call."""
    waiting: list[Verdict] = [first]
    last = first

    async def again() -> Verdict:
        nonlocal last
        if waiting:
            return waiting.pop()
        if last.kind is Kind.UNREADABLE and context.dispatcher.unreadable.trusts_states:
            return last  # found out meanwhile: the PUT works, and the state decides
        context.progress.repeats += 1
        await context.dispatcher.work_limit.acquire()
        last = await _attempt(context, case)
        return last

    async def back_off(wait_s: float) -> None:
        with _told(context, case, wait_s):
            await _back_off(context, wait_s)

    retrying = AsyncRetrying(
        retry=retry_if_result(lambda verdict: _is_repeated(context, case, verdict)),
        wait=lambda _: _wait_s(context, case),
        stop=lambda _: case.is_spent,
        sleep=back_off,
        retry_error_callback=_last_verdict,
    )
    verdict: Verdict = await retrying(again)
    return verdict


def _wait_s(context: RunContext, case: Case) -> float:
    """Seconds before the next attempt."""
    if case.free_repeat:
        return 0.0
    wait_s = context.dispatcher.backoff_s(max(1, case.failures))
    if context.max_attempts is None:
        # Nothing is given up in an emergency; what fails for minutes is not hammered either.
        wait_s = max(wait_s, min(_STUBBORN_MOST_S, case.failures * _STUBBORN_STEP_S))
    if context.max_attempts is not None and is_one_of_the_last(context) and case.tries_used:
        wait_s = last_wait_s(
            failed=case.tries_used, max_attempts=context.max_attempts, patience_s=context.patience_s
        )
    return wait_s


def _told(context: RunContext, case: Case, wait_s: float) -> AbstractContextManager[None]:
    """Let people know of a wait while it lasts, if it is worth a word."""
    if wait_s < _WORTH_TELLING_S:
        return nullcontext()
    ref = case.planned.ref
    of = f" of {context.max_attempts + 1}" if context.max_attempts is not None else ""
    after = f" before trying campaign {ref.campaign_id} again (attempt {case.number + 1}{of})"
    return context.progress.waiting(ref, context.clock.now_s() + wait_s, "waiting", after)


def _last_verdict(state: RetryCallState) -> Verdict:
    outcome = state.outcome
    assert outcome is not None
    verdict: Verdict = outcome.result()
    return verdict


async def _back_off(context: RunContext, wait_s: float) -> None:
    context.progress.backing_off += 1
    context.dispatcher.breakers.changes_waiting += 1
    try:
        await context.stopping.sleep(wait_s)
    finally:
        context.progress.backing_off -= 1
        context.dispatcher.breakers.changes_waiting -= 1
    context.stopping.check()


def _is_repeated(context: RunContext, case: Case, verdict: Verdict) -> bool:
    """Whether the same PUT is to be sent again, attempts permitting."""
    if verdict.kind is Kind.UNAUTHORIZED and context.stopping.is_stopping:
        return False
    if verdict.kind is Kind.UNREADABLE and context.dispatcher.unreadable.trusts_states:
        return False
    if verdict.kind is Kind.FORBIDDEN and context.max_attempts is None:
        return False  # an emergency tries it again with its next look, and holds up nobody else
    if verdict.repeat is Repeat.NEVER:
        return False
    if verdict.repeat is Repeat.ONCE:
        return case.disagreements <= 1
    return True


# -- one attempt ------------------------------------------------------------------------------


async def _attempt(context: RunContext, case: Case) -> Verdict:
    """One PUT that leaves, from the breaker to the answer on record; gives its place back."""
    try:
        while True:
            verdict = await _try_to_send(context, case)
            if verdict is not None:
                break
    finally:
        context.dispatcher.work_limit.release()
    if verdict.repeat is Repeat.WHILE_ATTEMPTS_LAST and not case.settled:
        await look_into(context, case, verdict)
    return verdict


async def _try_to_send(context: RunContext, case: Case) -> Verdict | None:
    """One permit and, unless it is called off, one PUT; None when it was called off."""
    dispatcher = context.dispatcher
    ref = case.planned.ref
    async with dispatcher.permit(ref, change=True) as permit:
        if context.before_intent is not None:
            await context.before_intent(ref)
        case.number += 1
        planned = case.planned
        now_ms = context.clock.wall_ms()
        intent = Intent(planned.seq, case.number, planned.before, now_ms, case.reopens)
        await context.journal.record_intent(intent)
        try:
            exchange = await dispatcher.exchange(
                change(context.action, ref), permit, campaign_specific=_is_explained(context, case)
            )
        except NotSentError:
            await context.journal.not_sent(intent)
            context.stopping.check()
            return None
        verdict = exchange.verdict
        case.free_repeat = False
        case.probed = permit.probe
        if verdict.kind is Kind.UNAUTHORIZED and dispatcher.recover(exchange):
            case.free_repeat = True
            if dispatcher.auth_state.generation == exchange.generation:
                dispatcher.breakers.hold_back(permit.breaker, verdict)
        await _record(context, case, intent, exchange)
        return verdict


def _is_explained(context: RunContext, case: Case) -> bool:
    """A failure of this campaign says nothing new: others succeeded since its first failure."""
    return case.useful_before is not None and context.progress.useful_changes > case.useful_before


async def _record(context: RunContext, case: Case, intent: Intent, exchange: Exchange) -> None:
    verdict = exchange.verdict
    if verdict.kind in _NEVER_LEFT:
        await context.journal.not_sent(intent, verdict)
        return
    case.sent += 1
    case.doubted = case.doubted or verdict.in_doubt
    case.accepted = case.accepted or verdict.kind is Kind.ACCEPTED
    case.disagreements += verdict.kind is Kind.CODES_DISAGREE
    outcome_record = None
    if not _is_repeated(context, case, verdict):
        decision = decide_unseen(context.action, case.history(verdict))
        if not (decision.needs_state and not context.verifies):
            outcome_record = case.record(context, verdict, decision)
    # Before the record is awaited: what waits for the pacer meanwhile must not leave.
    _note_access(context, case.planned.ref, verdict)
    await context.journal.record_answer(
        intent,
        verdict,
        sent_at_ms=exchange.answer.sent_at_ms,
        answered_at_ms=exchange.answer.answered_at_ms,
        outcome_record=outcome_record,
    )
    vdn = context.vdns.get(case.planned.ref.vdn_id)
    if vdn is not None:
        vdn.note_answer(case.planned.ref, verdict)
    if outcome_record:
        case.settled = True
        context.tell(outcome_record)


def _note_access(context: RunContext, ref: CampaignRef, verdict: Verdict) -> None:
    if verdict.kind in FROM_THE_API:
        context.access.note_answered(ref.vdn_id)
    elif verdict.kind is Kind.FORBIDDEN and context.access.note_refused(
        ref, now_s=context.clock.now_s()
    ):
        context.dispatcher.breakers.refusal = verdict
        context.events.warning("vdn.denied", vdn_id=ref.vdn_id, reason=verdict.reason)


# -- outcomes ---------------------------------------------------------------------------------


async def _run_out(context: RunContext, case: Case, verdict: Verdict, *, last_round: bool) -> None:
    """The attempts are spent: once more at the end of the run, then this is the outcome."""
    decision = decide_unseen(context.action, case.history(verdict))
    if case.sent == 0:
        decision = Decision(Outcome.FAILED)
    if last_round and decision.needs_state and not context.verifies:
        await _conclude_by_reading(context, case, verdict)
        return
    standing = None if last_round else Standing.RETRY_LATER
    if not last_round:
        now_s = context.clock.now_s()
        context.ran_out[case.planned.seq] = RanOut(now_s, case.useful_before or 0)
    await context.complete(case.record(context, verdict, decision, standing=standing))


async def _conclude_by_reading(context: RunContext, case: Case, verdict: Verdict) -> None:
    """Let the state decide; a refused status that shows as startable is tried once more."""
    seen = await read_state(context, case.planned.ref)
    if _may_be_raced(context, case, verdict, seen):
        case.raced = True
        await context.dispatcher.work_limit.acquire()
        verdict = await _attempt(context, case)
        if verdict.kind is Kind.ACCEPTED:
            return
        seen = await read_state(context, case.planned.ref)
    history = case.history(verdict)
    if isinstance(seen, Verdict):
        decision = decide_unseen(context.action, history)
        if seen.kind is Kind.NOT_FOUND:
            decision = Decision(Outcome.NOT_FOUND)
        standing = Standing.NEEDS_READ if decision.needs_state else Standing.FINAL
        reason = f"{verdict.reason}; its state could not be read: {seen.reason}"
        await context.complete(unseen_record(context, case.planned, decision, standing, reason))
        return
    history = history._replace(accepted=case.accepted or case.accepted_before)
    decision = decide_seen(context.action, history, seen.status, Evidence.READ)
    await context.complete(look_record(context, case.planned.seq, decision, seen, verdict.reason))


def _may_be_raced(
    context: RunContext, case: Case, verdict: Verdict, seen: ObservedState | Verdict
) -> bool:
    if isinstance(seen, Verdict) or case.raced or verdict.kind is not Kind.WRONG_STATE:
        return False
    return (
        decide_seen(context.action, case.history(verdict), seen.status, Evidence.READ).outcome
        is Outcome.FAILED
    )
