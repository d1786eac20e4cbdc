"""One campaign from its first attempt to its outcome: the only user of tenacity.

The order of one attempt is design.md §8 to the letter:
breaker → intent durable → connection → pacer slot → stop and breaker check → sign → send → answer
→ verdict → answer and outcome durable.

Rule 1: an attempt that succeeds at once never meets tenacity.
Rule 2: a backoff holds no slot: the slot is given back with every answer.
Rule 3: an intent whose PUT never left is closed as not sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from orchestrator.core.campaign import Status
from orchestrator.core.outcome import (
    COURSES,
    SUCCESSES,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
    decide_unseen,
)
from orchestrator.core.requests import change, details, listing
from orchestrator.core.retry import ENOUGH_FOR_THE_BREAKER, is_charged, last_wait_s
from orchestrator.core.sightings import read_details
from orchestrator.core.verdict import FROM_THE_API, Kind, Repeat, Verdict
from orchestrator.edges.isales_client import NotSentError
from orchestrator.edges.journal import Intent, Settlement, attempts_made, known_campaigns
from orchestrator.run.stopping import StoppedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.core.campaign import CampaignRef, Sighting
    from orchestrator.core.plan import Planned
    from orchestrator.edges.journal import Known
    from orchestrator.run.rig import Rig
    from orchestrator.run.sending import Heard

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
    """What this process remembers of one campaign while it is being settled."""

    planned: Planned
    #: number of the last attempt, over all lives
    number: int
    #: an outcome may stand
    reopens: bool
    #: attempts that may fail; None: as often as it takes
    budget: int | None
    sent: int = 0
    charged: int = 0
    failures: int = 0
    doubted: bool = False
    accepted: bool = False
    #: accepted in an earlier round or life; it may have been started again since
    accepted_before: bool = False
    #: … when that was, wall-clock milliseconds
    accepted_at_ms: int | None = None
    #: … and no complete look has shown it at rest since, so that nobody can have started it again
    is_still_accepted: bool = True
    disagreements: int = 0
    #: a refused status that shows as startable has been tried once more
    raced: bool = False
    failing_since_s: float | None = None
    useful_before: int = 0
    #: its outcome is on record
    settled: bool = False
    #: the last failure was a 401 or a cure: repeat without charge or backoff
    free_repeat: bool = False
    #: the last attempt was the breaker's probe
    probed: bool = False


async def settle_one(  # noqa: PLR0913 - how often, and what is known before
    rig: Rig,
    planned: Planned,
    *,
    attempts_before: int = 0,
    last_round: bool = False,
    budget: int | None = None,
    is_open: bool = False,
) -> None:
    """Bring one campaign to its outcome, or leave it open when the run ends first.

    A slot is held on entry and given back on return, whatever happens.

    Args:
        rig: the parts of the run.
        planned: the campaign.
        attempts_before: the number of its last attempt so far.
        last_round: what runs out of attempts now gets no more.
        budget: attempts that may fail; None: as many as the settings say.
        is_open: it has no outcome that stands, so that the journal need not look for one.
    """
    most = rig.max_attempts if budget is None else budget
    case = _Case(planned, number=attempts_before, reopens=not is_open, budget=most)
    useful_before = rig.first_failures.pop(planned.seq, None)
    if useful_before is not None:
        # It failed in an earlier round: what others achieved since then explains its failures.
        case.failing_since_s, case.useful_before = rig.clock.now_s(), useful_before
    if attempts_before:
        await _remember(rig, case)
    try:
        if last_round:
            await _wait_for_the_last(rig, case)
        verdict = await _attempt(rig, case)
        if case.settled:
            return
        if _is_repeated(rig, case, verdict):
            verdict = await _repeat(rig, case, verdict)
        if _is_repeated(rig, case, verdict):
            await _run_out(rig, case, verdict, last_round=last_round)
        elif _needs_reading(rig, case, verdict):
            await _conclude_by_reading(rig, case, verdict)
        elif verdict.kind is Kind.UNREADABLE and not case.settled:
            decision = decide_unseen(rig.action, _history(case, verdict))
            await rig.settle(_settlement(rig, case, verdict, decision))
    except StoppedError:
        rig.events.debug("campaign.left_open", seq=planned.seq, **_identity(planned))


async def _remember(rig: Rig, case: _Case) -> None:
    """Take in what the journal knows of earlier rounds and lives: a doubt then is a doubt now."""
    with rig.sender.slots.given_back_on_failure():
        known = await known_campaign(rig, case.planned.ref)
    if known is not None:
        case.sent = known.history.attempts
        case.doubted = known.history.doubted
        case.accepted_before = known.history.accepted
        case.accepted_at_ms = known.accepted_at_ms
        case.is_still_accepted = rig.is_still_accepted(case.planned.ref)


async def last_attempt_number(rig: Rig, planned: Planned) -> int:
    """The number of a campaign's last attempt; a slot is held, and given back if this fails."""
    with rig.sender.slots.given_back_on_failure():
        return await rig.journal.read(lambda db: attempts_made(db, planned.seq))


async def known_campaign(rig: Rig, ref: CampaignRef) -> Known | None:
    """What the journal knows of one campaign; None when it is not in the plan."""
    known = await rig.journal.read(
        lambda db: known_campaigns(db, vdn_id=ref.vdn_id, campaign_ids=[ref.campaign_id])
    )
    return known[0] if known else None


async def known_rows(rig: Rig, rows: Sequence[Sighting]) -> list[tuple[Known, Sighting]]:
    """Rows of one VDN that are in the plan, each with what the journal knows of it, in order."""
    if not rows:
        return []
    by_ref = {row.ref: row for row in rows}
    ids = [ref.campaign_id for ref in by_ref]
    known = await rig.journal.read(
        partial(known_campaigns, vdn_id=rows[0].ref.vdn_id, campaign_ids=ids)
    )
    return [(one, by_ref[one.ref]) for one in known]


async def read_state(rig: Rig, planned: Planned) -> Sighting | Verdict:
    """Read one campaign's state; the verdict instead when it cannot be read."""
    heard = await rig.sender.ask(details(planned.ref), key=("read", planned.ref))
    return read_details(heard.answer, ref=planned.ref)


async def _wait_for_the_last(rig: Rig, case: _Case) -> None:
    """The one more attempt of the last few campaigns stands apart from those before it.

    A slot is held on entry and on return; not while it waits.
    """
    ran_out_s = rig.ran_out_s.pop(case.planned.seq, None)
    if ran_out_s is None or rig.max_attempts is None or not _is_one_of_the_last(rig):
        return
    wait_s = last_wait_s(
        failed=rig.max_attempts, max_attempts=rig.max_attempts, patience_s=rig.patience_s
    )
    left_s = ran_out_s + wait_s - rig.clock.now_s()
    if left_s <= 0:
        return
    rig.sender.slots.release()
    try:
        _tell_wait(rig, case, left_s)
        await _back_off(rig, left_s)
    finally:
        await rig.sender.slots.acquire()


def _is_one_of_the_last(rig: Rig) -> bool:
    return rig.max_attempts is not None and rig.progress.left < ENOUGH_FOR_THE_BREAKER


async def _repeat(rig: Rig, case: _Case, first: Verdict) -> Verdict:
    """Drive the repeats; the first verdict stands in for the first call."""
    waiting: list[Verdict] = [first]
    last = first

    async def again() -> Verdict:
        nonlocal last
        if waiting:
            return waiting.pop()
        if last.kind is Kind.UNREADABLE and rig.sender.trusts_states:
            return last  # found out meanwhile: the PUT works, and the state decides
        rig.progress.repeats += 1
        await rig.sender.slots.acquire()
        last = await _attempt(rig, case)
        return last

    retrying = AsyncRetrying(
        retry=retry_if_result(lambda verdict: _is_repeated(rig, case, verdict)),
        wait=lambda _: _wait_s(rig, case),
        stop=lambda _: _is_spent(case),
        sleep=lambda wait_s: _back_off(rig, wait_s),
        retry_error_callback=_last_verdict,
    )
    verdict: Verdict = await retrying(again)
    return verdict


def _wait_s(rig: Rig, case: _Case) -> float:
    """Seconds before the next attempt."""
    if case.free_repeat:
        return 0.0
    wait_s = rig.sender.backoff_s(max(1, case.failures))
    if rig.max_attempts is None:
        # Nothing is given up in an emergency; what fails for minutes is not hammered either.
        wait_s = max(wait_s, min(_STUBBORN_MOST_S, case.failures * _STUBBORN_STEP_S))
    if rig.max_attempts is not None and _is_one_of_the_last(rig) and case.charged:
        wait_s = last_wait_s(
            failed=case.charged, max_attempts=rig.max_attempts, patience_s=rig.patience_s
        )
    _tell_wait(rig, case, wait_s)
    return wait_s


def _tell_wait(rig: Rig, case: _Case, wait_s: float) -> None:
    if wait_s >= _WORTH_TELLING_S:
        of = f" of {rig.max_attempts + 1}" if rig.max_attempts is not None else ""
        rig.progress.notice = (
            f"waiting {wait_s:.0f} s before trying campaign {case.planned.ref.campaign_id} again"
            f" (attempt {case.number + 1}{of})"
        )


def _last_verdict(state: RetryCallState) -> Verdict:
    outcome = state.outcome
    assert outcome is not None
    verdict: Verdict = outcome.result()
    return verdict


async def _back_off(rig: Rig, wait_s: float) -> None:
    rig.progress.backing_off += 1
    rig.sender.changes_waiting += 1
    try:
        await rig.stopping.sleep(wait_s)
    finally:
        rig.progress.backing_off -= 1
        rig.sender.changes_waiting -= 1
    rig.stopping.check()


def _is_repeated(rig: Rig, case: _Case, verdict: Verdict) -> bool:
    """Whether the same PUT is to be sent again, attempts permitting."""
    if verdict.kind is Kind.UNAUTHORIZED and rig.stopping.is_stopping:
        return False
    if verdict.kind is Kind.UNREADABLE and rig.sender.trusts_states:
        return False
    if verdict.kind is Kind.FORBIDDEN and rig.max_attempts is None:
        return False  # an emergency tries it again with its next look, and holds up nobody else
    if verdict.repeat is Repeat.NEVER:
        return False
    if verdict.repeat is Repeat.ONCE:
        return case.disagreements <= 1
    return True


def _is_spent(case: _Case) -> bool:
    return case.budget is not None and case.charged >= case.budget


# -- one attempt ------------------------------------------------------------------------------


async def _attempt(rig: Rig, case: _Case) -> Verdict:
    """One PUT that leaves, from the breaker to the answer on record; gives the slot back."""
    try:
        while True:
            verdict = await _try_to_send(rig, case)
            if verdict is not None:
                break
    finally:
        rig.sender.slots.release()
    if verdict.repeat is Repeat.WHILE_ATTEMPTS_LAST and not case.settled:
        await _look_into(rig, case, verdict)
    return verdict


async def _try_to_send(rig: Rig, case: _Case) -> Verdict | None:
    """One admission and, unless it is called off, one PUT; None when it was called off."""
    sender = rig.sender
    ref = case.planned.ref
    admission = await sender.admit(ref, change=True)
    try:
        if rig.before_intent is not None:
            await rig.before_intent(case.planned.seq)
        case.number += 1
        planned = case.planned
        now_ms = rig.clock.wall_ms()
        intent = Intent(planned.seq, case.number, planned.before, now_ms, case.reopens)
        await rig.journal.intend(intent)
        try:
            heard = await sender.exchange(
                change(rig.action, ref), admission, explained=_is_explained(rig, case)
            )
        except NotSentError:
            await rig.journal.not_sent(intent)
            rig.stopping.check()
            return None
        verdict = heard.verdict
        case.free_repeat = False
        case.probed = admission.probe
        if verdict.kind is Kind.UNAUTHORIZED and sender.cure(heard):
            case.free_repeat = True
            if sender.signer.generation == heard.generation:
                sender.note_outage(admission, verdict)
        await _record(rig, case, intent, heard)
        return verdict
    finally:
        sender.leave(admission)


def _is_explained(rig: Rig, case: _Case) -> bool:
    """A failure of this campaign says nothing new: others succeeded since its first failure."""
    return case.failing_since_s is not None and rig.progress.useful_changes > case.useful_before


async def _look_into(rig: Rig, case: _Case, verdict: Verdict) -> None:
    """A failed attempt that may be repeated: is it the server, the VDN, or this campaign?"""
    now_s = rig.clock.now_s()
    if case.failing_since_s is None:
        case.failing_since_s = now_s
        case.useful_before = rig.progress.useful_changes
    case.failures += 1
    if case.free_repeat or rig.stopping.is_stopping:
        return
    vdn_id = case.planned.ref.vdn_id
    if verdict.kind is Kind.UNREADABLE and rig.sender.is_unreadable_row:
        await _read_what_was_unreadable(rig)
    works: bool | None = None
    if _is_one_of_the_last(rig) or (
        verdict.kind is Kind.FORBIDDEN
        and vdn_id in rig.access.opened
        and rig.access.row_of(vdn_id) >= _FORBIDDEN_ROW
    ):
        works = await _reads_work(rig, vdn_id)
        rig.sender.note_look(works=works, verdict=verdict)
    case.charged += is_charged(
        breaker_open=rig.sender.changes.is_open,
        probe=case.probed,
        left=rig.progress.left if rig.max_attempts is not None else ENOUGH_FOR_THE_BREAKER,
        read_works=works,
    )


async def _reads_work(rig: Rig, vdn_id: int) -> bool:
    request = listing(vdn_id, status=Status.STARTED, page=1)
    heard = await rig.sender.try_read(request, key=("listing", vdn_id))
    return heard.verdict.kind is Kind.ACCEPTED


async def _read_what_was_unreadable(rig: Rig) -> None:
    """Five answers in a row could not be read: whether their PUTs took effect decides."""
    refs = rig.sender.take_unreadable_row()
    target = COURSES[rig.action].target
    done: list[CampaignRef] = []
    for ref in refs:
        heard = await rig.sender.try_read(details(ref), key=("read", ref))
        seen = read_details(heard.answer, ref=ref)
        if not isinstance(seen, Verdict) and seen.status is target:
            done.append(ref)
    if refs:
        rig.sender.note_unreadable(done)


async def _record(rig: Rig, case: _Case, intent: Intent, heard: Heard) -> None:
    verdict = heard.verdict
    if verdict.kind in _NEVER_LEFT:
        await rig.journal.not_sent(intent, verdict)
        return
    case.sent += 1
    case.doubted = case.doubted or verdict.in_doubt
    case.accepted = case.accepted or verdict.kind is Kind.ACCEPTED
    case.disagreements += verdict.kind is Kind.CODES_DISAGREE
    settlement = None
    if not _is_repeated(rig, case, verdict):
        decision = decide_unseen(rig.action, _history(case, verdict))
        if not (decision.needs_state and rig.decide_by_reading):
            settlement = _settlement(rig, case, verdict, decision)
    # Before the record is awaited: what waits for its slot meanwhile must not leave.
    _note_access(rig, case.planned.ref, verdict)
    await rig.journal.answered(
        intent,
        verdict,
        sent_at_ms=heard.answer.sent_at_ms,
        answered_at_ms=heard.answer.answered_at_ms,
        settlement=settlement,
    )
    if rig.after_answer is not None:
        rig.after_answer(case.planned.ref, verdict)
    if settlement:
        case.settled = True
        rig.tell(settlement)


def _note_access(rig: Rig, ref: CampaignRef, verdict: Verdict) -> None:
    if verdict.kind in FROM_THE_API:
        rig.access.note_answered(ref.vdn_id)
    elif verdict.kind is Kind.FORBIDDEN and rig.access.note_refused(ref, now_s=rig.clock.now_s()):
        rig.sender.refusal = verdict
        rig.events.warning("vdn.denied", vdn_id=ref.vdn_id, reason=verdict.reason)


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


def _settlement(
    rig: Rig, case: _Case, verdict: Verdict, decision: Decision, *, standing: str = ""
) -> Settlement:
    reason = "" if decision.outcome in SUCCESSES else verdict.reason
    if decision.outcome is Outcome.DENIED:
        # Nothing is known of the campaign: with the right key, `continue` takes it up again.
        standing = "exhausted"
    # It came to rest with the answer that accepted it, not with the one that says so again.
    at_rest_ms = case.accepted_at_ms if _is_old_listing(case, verdict) else None
    return Settlement(
        seq=case.planned.seq,
        ref=case.planned.ref,
        decision=decision,
        standing=standing or standing_of(rig, decision),
        settled_at_ms=rig.clock.wall_ms() if at_rest_ms is None else at_rest_ms,
        error=reason,
    )


def standing_of(rig: Rig, decision: Decision) -> str:
    """How firm a decision is that no second look has confirmed."""
    if decision.needs_state:
        return "needs_state"
    return "unchecked" if rig.verifies and decision.outcome in SUCCESSES else "stands"


def _needs_reading(rig: Rig, case: _Case, verdict: Verdict) -> bool:
    """Whether the state must be read at once for this verdict."""
    if not rig.decide_by_reading:
        return False
    return decide_unseen(rig.action, _history(case, verdict)).needs_state


async def _run_out(rig: Rig, case: _Case, verdict: Verdict, *, last_round: bool) -> None:
    """The attempts are spent: once more at the end of the run, then this is the outcome."""
    decision = decide_unseen(rig.action, _history(case, verdict))
    if case.sent == 0:
        decision = Decision(Outcome.FAILED)
    if not last_round:
        rig.ran_out_s[case.planned.seq] = rig.clock.now_s()
    if last_round and decision.needs_state and rig.decide_by_reading:
        await _conclude_by_reading(rig, case, verdict)
        return
    standing = "" if last_round else "exhausted"
    if not last_round:
        rig.first_failures[case.planned.seq] = case.useful_before
    await rig.settle(_settlement(rig, case, verdict, decision, standing=standing))


async def _conclude_by_reading(rig: Rig, case: _Case, verdict: Verdict) -> None:
    """Let the state decide; a refused status that shows as startable is tried once more."""
    seen = await read_state(rig, case.planned)
    if _may_be_raced(rig, case, verdict, seen):
        case.raced = True
        await rig.sender.slots.acquire()
        verdict = await _attempt(rig, case)
        if verdict.kind is Kind.ACCEPTED:
            return
        seen = await read_state(rig, case.planned)
    history = _history(case, verdict)
    if isinstance(seen, Verdict):
        decision = decide_unseen(rig.action, history)
        if seen.kind is Kind.NOT_FOUND:
            decision = Decision(Outcome.NOT_FOUND)
        reason = f"{verdict.reason}; its state could not be read: {seen.reason}"
        await rig.settle(
            Settlement(
                seq=case.planned.seq,
                ref=case.planned.ref,
                decision=decision,
                standing="stands",
                settled_at_ms=rig.clock.wall_ms(),
                error=reason,
            )
        )
        return
    history = history._replace(accepted=case.accepted or case.accepted_before)
    decision = decide_seen(rig.action, history, seen.status, Evidence.READ)
    await rig.settle(seen_settlement(rig, case.planned.seq, decision, seen, verdict.reason))


def _may_be_raced(rig: Rig, case: _Case, verdict: Verdict, seen: Sighting | Verdict) -> bool:
    if isinstance(seen, Verdict) or case.raced or verdict.kind is not Kind.WRONG_STATE:
        return False
    return (
        decide_seen(rig.action, _history(case, verdict), seen.status, Evidence.READ).outcome
        is Outcome.FAILED
    )


def seen_settlement(  # noqa: PLR0913 - a decision and what it rests on
    rig: Rig, seq: int, decision: Decision, seen: Sighting, reason: str, *, standing: str = ""
) -> Settlement:
    """The settlement of a decision that rests on a sighting; `reason` explains what failed."""
    now_ms = rig.clock.wall_ms()
    return Settlement(
        seq=seq,
        ref=seen.ref,
        decision=decision,
        standing=standing or ("needs_state" if decision.needs_state else "stands"),
        settled_at_ms=now_ms,
        state_after=seen.status,
        seen_at_ms=now_ms,
        may_start=may_start(rig, decision.outcome, seen),
        error="" if decision.outcome in SUCCESSES else reason,
    )


def may_start(rig: Rig, outcome: Outcome, seen: Sighting) -> str:
    """Whether a campaign that does not run has its begin time ahead (by our local clock)."""
    if outcome is not Outcome.NOT_RUNNING or not seen.begin_time:
        return ""
    return "yes" if seen.begin_time > rig.clock.local_text() else "no"


def _identity(planned: Planned) -> dict[str, int]:
    return {"vdn_id": planned.ref.vdn_id, "campaign_id": planned.ref.campaign_id}
