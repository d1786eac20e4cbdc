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
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from orchestrator.core.outcome import (
    SUCCESSES,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
    decide_unseen,
)
from orchestrator.core.requests import change, details
from orchestrator.core.retry import is_charged
from orchestrator.core.sightings import read_details
from orchestrator.core.verdict import Kind, Repeat, Verdict
from orchestrator.edges.isales_client import NotSentError
from orchestrator.edges.journal import Intent, Settlement, attempts_made, known_campaigns
from orchestrator.run.stopping import StoppedError

if TYPE_CHECKING:
    from orchestrator.core.campaign import CampaignRef, Sighting
    from orchestrator.core.plan import Planned
    from orchestrator.edges.journal import Known
    from orchestrator.run.rig import Rig
    from orchestrator.run.sending import Heard

#: the request cannot have reached the API
_NEVER_LEFT = frozenset({Kind.UNREACHABLE, Kind.TLS_REFUSED})
#: says nothing of whether the VDN is open to us
_CLOSED_TO_US = frozenset({Kind.FORBIDDEN, Kind.UNAUTHORIZED})


@dataclass(slots=True)
class _Case:
    """What this process remembers of one campaign while it is being settled."""

    planned: Planned
    #: number of the last attempt, over all lives
    number: int
    #: an outcome may stand
    reopens: bool
    sent: int = 0
    charged: int = 0
    failures: int = 0
    doubted: bool = False
    accepted: bool = False
    #: accepted in an earlier round or life; it may have been started again since
    accepted_before: bool = False
    disagreements: int = 0
    #: a refused status that shows as startable has been tried once more
    raced: bool = False
    failing_since_s: float | None = None
    useful_before: int = 0
    #: its outcome is on record
    settled: bool = False
    #: the last failure was a 401 or a cure: repeat without charge or backoff
    free_repeat: bool = False


async def settle_one(
    rig: Rig,
    planned: Planned,
    *,
    attempts_before: int = 0,
    last_round: bool = False,
    is_open: bool = False,
) -> None:
    """Bring one campaign to its outcome, or leave it open when the run ends first.

    A slot is held on entry and given back on return, whatever happens.

    Args:
        rig: the parts of the run.
        planned: the campaign.
        attempts_before: the number of its last attempt so far.
        last_round: what runs out of attempts now gets no more.
        is_open: it has no outcome that stands, so that the journal need not look for one.
    """
    case = _Case(planned, number=attempts_before, reopens=not is_open)
    useful_before = rig.first_failures.pop(planned.seq, None)
    if useful_before is not None:
        # It failed in an earlier round: what others achieved since then explains its failures.
        case.failing_since_s, case.useful_before = rig.clock.now_s(), useful_before
    if attempts_before:
        await _remember(rig, case)
    try:
        verdict = await _attempt(rig, case)
        if case.settled:
            return
        if _is_repeated(rig, case, verdict):
            verdict = await _repeat(rig, case, verdict)
        if _is_repeated(rig, case, verdict):
            await _run_out(rig, case, verdict, last_round=last_round)
        elif _needs_reading(rig, case, verdict):
            await _conclude_by_reading(rig, case, verdict)
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


async def read_state(rig: Rig, planned: Planned) -> Sighting | Verdict:
    """Read one campaign's state; the verdict instead when it cannot be read."""
    heard = await rig.sender.ask(details(planned.ref), key=("read", planned.ref))
    return read_details(heard.answer, ref=planned.ref)


async def _repeat(rig: Rig, case: _Case, first: Verdict) -> Verdict:
    """Drive the repeats; the first verdict stands in for the first call."""
    waiting: list[Verdict] = [first]

    async def again() -> Verdict:
        if waiting:
            return waiting.pop()
        rig.progress.repeats += 1
        await rig.sender.slots.acquire()
        return await _attempt(rig, case)

    retrying = AsyncRetrying(
        retry=retry_if_result(lambda verdict: _is_repeated(rig, case, verdict)),
        wait=lambda _: 0.0 if case.free_repeat else rig.sender.backoff_s(max(1, case.failures)),
        stop=lambda _: _is_spent(rig, case),
        sleep=lambda wait_s: _back_off(rig, wait_s),
        retry_error_callback=_last_verdict,
    )
    verdict: Verdict = await retrying(again)
    return verdict


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
    if verdict.kind is Kind.UNAUTHORIZED:
        return not rig.stopping.is_stopping
    if verdict.repeat is Repeat.NEVER:
        return False
    if verdict.repeat is Repeat.ONCE:
        return case.disagreements <= 1
    return True


def _is_spent(rig: Rig, case: _Case) -> bool:
    return rig.max_attempts is not None and case.charged >= rig.max_attempts


# -- one attempt ------------------------------------------------------------------------------


async def _attempt(rig: Rig, case: _Case) -> Verdict:
    """One PUT that leaves, from the breaker to the answer on record; gives the slot back."""
    try:
        while True:
            verdict = await _try_to_send(rig, case)
            if verdict is not None:
                return verdict
    finally:
        rig.sender.slots.release()


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
        if verdict.kind is Kind.UNAUTHORIZED:
            if sender.cure(heard):
                case.free_repeat = sender.signer.generation != heard.generation
                if not case.free_repeat:
                    sender.note_outage(admission, verdict)
        else:
            _charge(rig, case, verdict, probe=admission.probe)
        await _record(rig, case, intent, heard)
        return verdict
    finally:
        sender.leave(admission)


def _is_explained(rig: Rig, case: _Case) -> bool:
    """A failure of this campaign says nothing new: others succeeded since its first failure."""
    return case.failing_since_s is not None and rig.progress.useful_changes > case.useful_before


def _charge(rig: Rig, case: _Case, verdict: Verdict, *, probe: bool) -> None:
    if verdict.repeat is not Repeat.WHILE_ATTEMPTS_LAST:
        return
    now_s = rig.clock.now_s()
    if case.failing_since_s is None:
        case.failing_since_s = now_s
        case.useful_before = rig.progress.useful_changes
    case.failures += 1
    case.charged += is_charged(
        breaker_open=rig.sender.changes.is_open,
        probe=probe,
        left=rig.progress.left,
        succeeded_since=rig.progress.useful_changes > case.useful_before,
        failing_for_s=now_s - case.failing_since_s,
    )


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
    if verdict.kind is Kind.FORBIDDEN:
        # Before the record is awaited: what waits for its slot meanwhile must not leave.
        _deny_vdn(rig, case.planned.ref.vdn_id, verdict)
    await rig.journal.answered(
        intent,
        verdict,
        sent_at_ms=heard.answer.sent_at_ms,
        answered_at_ms=heard.answer.answered_at_ms,
        settlement=settlement,
    )
    if verdict.kind not in _CLOSED_TO_US and not verdict.foreign:
        rig.open_vdns.add(case.planned.ref.vdn_id)
    if settlement:
        case.settled = True
        rig.tell(settlement)


def _deny_vdn(rig: Rig, vdn_id: int, verdict: Verdict) -> None:
    if vdn_id not in rig.denied_vdns:
        rig.denied_vdns.add(vdn_id)
        rig.sender.refusal = verdict
        rig.events.warning("vdn.denied", vdn_id=vdn_id, reason=verdict.reason)


# -- outcomes ---------------------------------------------------------------------------------


def _history(case: _Case, verdict: Verdict) -> History:
    return History(
        before=case.planned.before,
        attempts=case.sent,
        doubted=case.doubted,
        accepted=case.accepted,
        last=verdict.kind,
    )


def _settlement(
    rig: Rig, case: _Case, verdict: Verdict, decision: Decision, *, standing: str = ""
) -> Settlement:
    reason = "" if decision.outcome in SUCCESSES else verdict.reason
    if decision.outcome is Outcome.DENIED:
        # Nothing is known of the campaign: with the right key, `continue` takes it up again.
        standing = "exhausted"
    return Settlement(
        seq=case.planned.seq,
        ref=case.planned.ref,
        decision=decision,
        standing=standing or ("needs_state" if decision.needs_state else "stands"),
        settled_at_ms=rig.clock.wall_ms(),
        error=reason,
    )


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
