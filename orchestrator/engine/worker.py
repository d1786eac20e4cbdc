"""One campaign from its first attempt to its outcome; the only user of tenacity.

The order of one attempt (docs/spec/behaviour.md): breaker, intent durable, connection, rate limit,
stop and breaker check, sign, send, answer, verdict, answer and outcome durable. A backoff leaves
the work limit; an intent whose PUT never left is closed as not sent.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from orchestrator.engine.context import RanOut
from orchestrator.engine.lookup import try_read
from orchestrator.engine.reconcile import known_campaign, look_record, read_state, standing_of
from orchestrator.engine.stop import StoppedError
from orchestrator.isales.client import NotSentError
from orchestrator.isales.pages import read_details
from orchestrator.isales.requests import change, details
from orchestrator.isales.verdict import FROM_THE_API, Kind, Repeat, Verdict
from orchestrator.policy.decide import (
    COURSES,
    SUCCESSES,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
    decide_unseen,
)
from orchestrator.policy.retry import ENOUGH_FOR_THE_BREAKER, counts_against_limit, last_wait_s
from orchestrator.store import Intent, OutcomeRecord, Standing

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from orchestrator.engine.context import RunContext
    from orchestrator.engine.dispatcher import Exchange
    from orchestrator.model import CampaignRef, ObservedState
    from orchestrator.policy.plan import Planned

#: the request cannot have reached the API
_NEVER_LEFT = frozenset({Kind.UNREACHABLE, Kind.TLS_REFUSED})
#: 403 to so many different campaigns in a row is looked into by a read of their VDN
_FORBIDDEN_ROW = 5
#: in an emergency each failure in a row adds so much to the least wait, up to the most, seconds
_STUBBORN_STEP_S = 0.05
_STUBBORN_MOST_S = 5.0
#: a wait that is worth a word on the live line, seconds
_WORTH_TELLING_S = 2.0


@dataclass(slots=True)
class _Case:
    """What this process remembers of one campaign while it works on it."""

    planned: Planned
    #: number of the last attempt, over all processes of the run
    number: int
    #: an outcome may stand
    reopens: bool
    #: attempts that may fail; None: as often as it takes
    budget: int | None
    sent: int = 0
    tries_used: int = 0
    failures: int = 0
    doubted: bool = False
    accepted: bool = False
    #: accepted in an earlier round or process; it may have been started again since
    accepted_before: bool = False
    #: … when that was, wall-clock milliseconds
    accepted_at_ms: int | None = None
    #: … and no complete look has shown it at rest since, so that nobody can have started it again
    is_still_accepted: bool = True
    disagreements: int = 0
    #: a refused status that shows as startable has been tried once more
    raced: bool = False
    #: useful answers to others before its first failure; None: it has not failed
    useful_before: int | None = None
    #: its outcome is on record
    settled: bool = False
    #: the last failure was a 401 with a correction: repeat without counting it, at once
    free_repeat: bool = False
    #: the last attempt was the breaker's probe
    probed: bool = False


async def complete_campaign(  # noqa: PLR0913 - how often, and what is known before
    context: RunContext,
    planned: Planned,
    *,
    attempts_before: int = 0,
    last_round: bool = False,
    budget: int | None = None,
    is_open: bool = False,
) -> None:
    """Bring one campaign to its outcome, or leave it open when the run ends first.

    A place in the work limit is held on entry and given back on return, whatever happens.

    Args:
        context: the parts of the run.
        planned: the campaign.
        attempts_before: the number of its last attempt so far.
        last_round: what runs out of attempts now gets no more.
        budget: attempts that may fail; None: as many as the settings say.
        is_open: it has no outcome that stands, so that the journal need not look for one.
    """
    most = context.max_attempts if budget is None else budget
    case = _Case(planned, number=attempts_before, reopens=not is_open, budget=most)
    ran_out = context.ran_out.pop(planned.seq, None)
    if ran_out is not None:
        # It failed in an earlier round: what others achieved since then explains its failures.
        case.useful_before = ran_out.useful_before
    if attempts_before:
        await _remember(context, case)
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
        elif _needs_reading(context, case, verdict):
            await _conclude_by_reading(context, case, verdict)
        elif verdict.kind is Kind.UNREADABLE and not case.settled:
            decision = decide_unseen(context.action, _history(case, verdict))
            await context.complete(_unseen_record(context, case, verdict, decision))
    except StoppedError:
        context.events.debug("campaign.left_open", seq=planned.seq, **_identity(planned))


async def _remember(context: RunContext, case: _Case) -> None:
    """Take in what the journal knows of earlier rounds and processes; their doubts still count."""
    with context.dispatcher.work_limit.given_back_on_failure():
        known = await known_campaign(context, case.planned.ref)
    if known is not None:
        case.sent = known.history.attempts
        case.doubted = known.history.doubted
        case.accepted_before = known.history.accepted
        case.accepted_at_ms = known.accepted_at_ms
        case.is_still_accepted = context.is_still_accepted(case.planned.ref)


async def last_attempt_number(context: RunContext, planned: Planned) -> int:
    """The number of a campaign's last attempt; a place is held, and given back if this fails."""
    with context.dispatcher.work_limit.given_back_on_failure():
        return await context.journal.attempts_made(planned.seq)


async def _wait_for_the_last(context: RunContext, case: _Case, ran_out_s: float) -> None:
    """The one more attempt of the last few campaigns stands apart from those before it.

    A place in the work limit is held on entry and on return; not while it waits.
    """
    if context.max_attempts is None or not _is_one_of_the_last(context):
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


def _is_one_of_the_last(context: RunContext) -> bool:
    return context.max_attempts is not None and context.progress.left < ENOUGH_FOR_THE_BREAKER


async def _repeat(context: RunContext, case: _Case, first: Verdict) -> Verdict:
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
        stop=lambda _: _is_spent(case),
        sleep=back_off,
        retry_error_callback=_last_verdict,
    )
    verdict: Verdict = await retrying(again)
    return verdict


def _wait_s(context: RunContext, case: _Case) -> float:
    """Seconds before the next attempt."""
    if case.free_repeat:
        return 0.0
    wait_s = context.dispatcher.backoff_s(max(1, case.failures))
    if context.max_attempts is None:
        # Nothing is given up in an emergency; what fails for minutes is not hammered either.
        wait_s = max(wait_s, min(_STUBBORN_MOST_S, case.failures * _STUBBORN_STEP_S))
    if context.max_attempts is not None and _is_one_of_the_last(context) and case.tries_used:
        wait_s = last_wait_s(
            failed=case.tries_used, max_attempts=context.max_attempts, patience_s=context.patience_s
        )
    return wait_s


def _told(context: RunContext, case: _Case, wait_s: float) -> AbstractContextManager[None]:
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


def _is_repeated(context: RunContext, case: _Case, verdict: Verdict) -> bool:
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


def _is_spent(case: _Case) -> bool:
    return case.budget is not None and case.tries_used >= case.budget


# -- one attempt ------------------------------------------------------------------------------


async def _attempt(context: RunContext, case: _Case) -> Verdict:
    """One PUT that leaves, from the breaker to the answer on record; gives its place back."""
    try:
        while True:
            verdict = await _try_to_send(context, case)
            if verdict is not None:
                break
    finally:
        context.dispatcher.work_limit.release()
    if verdict.repeat is Repeat.WHILE_ATTEMPTS_LAST and not case.settled:
        await _look_into(context, case, verdict)
    return verdict


async def _try_to_send(context: RunContext, case: _Case) -> Verdict | None:
    """One permit and, unless it is called off, one PUT; None when it was called off."""
    dispatcher = context.dispatcher
    ref = case.planned.ref
    async with dispatcher.permit(ref, change=True) as permit:
        if context.before_intent is not None:
            await context.before_intent(case.planned.seq)
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


def _is_explained(context: RunContext, case: _Case) -> bool:
    """A failure of this campaign says nothing new: others succeeded since its first failure."""
    return case.useful_before is not None and context.progress.useful_changes > case.useful_before


async def _look_into(context: RunContext, case: _Case, verdict: Verdict) -> None:
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
    if _is_one_of_the_last(context) or (
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


async def _record(context: RunContext, case: _Case, intent: Intent, exchange: Exchange) -> None:
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
        decision = decide_unseen(context.action, _history(case, verdict))
        if not (decision.needs_state and not context.verifies):
            outcome_record = _unseen_record(context, case, verdict, decision)
    # Before the record is awaited: what waits for the pacer meanwhile must not leave.
    _note_access(context, case.planned.ref, verdict)
    await context.journal.record_answer(
        intent,
        verdict,
        sent_at_ms=exchange.answer.sent_at_ms,
        answered_at_ms=exchange.answer.answered_at_ms,
        outcome_record=outcome_record,
    )
    if context.after_answer is not None:
        context.after_answer(case.planned.ref, verdict)
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


def _is_old_listing(case: _Case, verdict: Verdict) -> bool:
    """0200011 after our acceptance: it is suspended, and the listing that says otherwise is old."""
    return case.accepted_before and case.is_still_accepted and verdict.kind is Kind.WRONG_STATE


def _history(case: _Case, verdict: Verdict) -> History:
    return History(
        before=case.planned.before,
        attempts=case.sent,
        doubted=case.doubted,
        accepted=case.accepted or _is_old_listing(case, verdict),
        last=verdict.kind,
    )


def _unseen_record(
    context: RunContext,
    case: _Case,
    verdict: Verdict,
    decision: Decision,
    *,
    standing: Standing | None = None,
) -> OutcomeRecord:
    reason = "" if decision.outcome in SUCCESSES else verdict.reason
    if decision.outcome is Outcome.DENIED:
        # Nothing is known of the campaign: with the right key, `continue` takes it up again.
        standing = Standing.RETRY_LATER
    # It came to rest with the answer that accepted it, not with the one that says so again.
    at_rest_ms = case.accepted_at_ms if _is_old_listing(case, verdict) else None
    return OutcomeRecord(
        seq=case.planned.seq,
        ref=case.planned.ref,
        decision=decision,
        standing=standing or standing_of(context, decision),
        settled_at_ms=context.clock.wall_ms() if at_rest_ms is None else at_rest_ms,
        error=reason,
    )


def _needs_reading(context: RunContext, case: _Case, verdict: Verdict) -> bool:
    """Whether the state must be read at once for this verdict."""
    if context.verifies:
        return False
    return decide_unseen(context.action, _history(case, verdict)).needs_state


async def _run_out(context: RunContext, case: _Case, verdict: Verdict, *, last_round: bool) -> None:
    """The attempts are spent: once more at the end of the run, then this is the outcome."""
    decision = decide_unseen(context.action, _history(case, verdict))
    if case.sent == 0:
        decision = Decision(Outcome.FAILED)
    if last_round and decision.needs_state and not context.verifies:
        await _conclude_by_reading(context, case, verdict)
        return
    standing = None if last_round else Standing.RETRY_LATER
    if not last_round:
        now_s = context.clock.now_s()
        context.ran_out[case.planned.seq] = RanOut(now_s, case.useful_before or 0)
    await context.complete(_unseen_record(context, case, verdict, decision, standing=standing))


async def _conclude_by_reading(context: RunContext, case: _Case, verdict: Verdict) -> None:
    """Let the state decide; a refused status that shows as startable is tried once more."""
    seen = await read_state(context, case.planned.ref)
    if _may_be_raced(context, case, verdict, seen):
        case.raced = True
        await context.dispatcher.work_limit.acquire()
        verdict = await _attempt(context, case)
        if verdict.kind is Kind.ACCEPTED:
            return
        seen = await read_state(context, case.planned.ref)
    history = _history(case, verdict)
    if isinstance(seen, Verdict):
        decision = decide_unseen(context.action, history)
        if seen.kind is Kind.NOT_FOUND:
            decision = Decision(Outcome.NOT_FOUND)
        reason = f"{verdict.reason}; its state could not be read: {seen.reason}"
        await context.complete(
            OutcomeRecord(
                seq=case.planned.seq,
                ref=case.planned.ref,
                decision=decision,
                standing=Standing.NEEDS_READ if decision.needs_state else Standing.FINAL,
                settled_at_ms=context.clock.wall_ms(),
                error=reason,
            )
        )
        return
    history = history._replace(accepted=case.accepted or case.accepted_before)
    decision = decide_seen(context.action, history, seen.status, Evidence.READ)
    await context.complete(look_record(context, case.planned.seq, decision, seen, verdict.reason))


def _may_be_raced(
    context: RunContext, case: _Case, verdict: Verdict, seen: ObservedState | Verdict
) -> bool:
    if isinstance(seen, Verdict) or case.raced or verdict.kind is not Kind.WRONG_STATE:
        return False
    return (
        decide_seen(context.action, _history(case, verdict), seen.status, Evidence.READ).outcome
        is Outcome.FAILED
    )


def _identity(planned: Planned) -> dict[str, int]:
    return {"vdn_id": planned.ref.vdn_id, "campaign_id": planned.ref.campaign_id}
