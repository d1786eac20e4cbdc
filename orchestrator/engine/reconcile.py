"""What a look says of a campaign, beside what is on record: before its PUT, after it, at the end.

Only judgements and the reads they need; who looks, when and how often is decided by looks.py and
verify.py. docs/spec/evidence.md, rules 3, 5 and 9; docs/spec/contracts.md,
"Outcomes", 5.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import ask
from orchestrator.isales.listing import read_details
from orchestrator.isales.requests import details
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import Action, CampaignRef, ObservedState, Status
from orchestrator.policy.decide import (
    COURSES,
    SUCCESSES,
    Changed,
    Decision,
    Evidence,
    Outcome,
    decide_seen,
    decide_untouched,
    is_contradicted,
)
from orchestrator.store import Known, OutcomeRecord, Standing

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.policy.plan import Planned

#: of a campaign that a killed restore may have started
PERHAPS_STARTED = (
    "this restore was interrupted and may have started it, so it was not started again;"
    " --include-inferred starts it"
)
_UNREAD = "; its state could not be read: "
_CONTRADICTED = "listed as unchanged when the run ended"
_LEFT_RUNNING = "the run ended before this campaign was settled; the last look showed it unchanged"


class When(Enum):
    """When a look is had."""

    BEFORE = auto()
    AFTER = auto()
    AT_END = auto()


# -- reading ----------------------------------------------------------------------------------


async def read_state(context: RunContext, ref: CampaignRef) -> ObservedState | Verdict:
    """Read one campaign's state; the verdict instead when it cannot be read."""
    exchange = await ask(context.dispatcher, details(ref), key=("read", ref))
    return read_details(exchange.answer, ref=ref)


async def known_campaign(context: RunContext, ref: CampaignRef) -> Known | None:
    """What the journal knows of one campaign; None when it is not in the plan."""
    known = await context.journal.known(vdn_id=ref.vdn_id, campaign_ids=[ref.campaign_id])
    return known[0] if known else None


async def known_rows(
    context: RunContext, rows: Sequence[ObservedState]
) -> list[tuple[Known, ObservedState]]:
    """Rows of one VDN that are in the plan, each with what the journal knows of it, in order."""
    if not rows:
        return []
    by_ref = {row.ref: row for row in rows}
    ids = [ref.campaign_id for ref in by_ref]
    known = await context.journal.known(vdn_id=rows[0].ref.vdn_id, campaign_ids=ids)
    return [(one, by_ref[one.ref]) for one in known]


# -- judging ----------------------------------------------------------------------------------


def reconcile(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence, when: When
) -> OutcomeRecord | None:
    """What goes on record after a look, LISTED or READ; None when the look changes nothing.

    BEFORE decides what needs no PUT, and what an earlier process left in doubt; AFTER confirms an
    outcome, or says that it is contradicted; AT_END decides what the end of the run left in doubt.
    """
    if when is When.AFTER:
        return _confirmed(context, known, seen, evidence)
    in_doubt = known.outcome is Outcome.UNKNOWN or (
        known.outcome is None and known.history.attempts > 0
    )
    is_open = known.standing not in {Standing.FINAL, Standing.UNCHECKED}
    if is_open and (when is When.BEFORE or in_doubt):
        return _decided(context, known, seen, evidence, when)
    if was_perhaps_sent(context, known):
        is_taken_back = seen.status is not COURSES[context.action].target
        is_first = known.standing is Standing.UNCHECKED and is_taken_back
        return perhaps_sent_record(context, known, seen) if is_first else None
    if when is When.AT_END:
        return contradiction(context, known, seen, _CONTRADICTED)
    return contradiction(context, known, seen) if known.standing is Standing.UNCHECKED else None


def _decided(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence, when: When
) -> OutcomeRecord | None:
    """What has no outcome that stands."""
    if was_perhaps_sent(context, known):
        return perhaps_sent_record(context, known, seen)
    history, error = known.history, known.error
    is_unchanged = seen.status is COURSES[context.action].source
    # With its attempts left: this process, or `continue`, takes it up again.
    standing = Standing.RETRY_LATER
    if history.attempts == 0:
        decision = decide_untouched(context.action, seen.status, evidence)
        if decision.outcome is Outcome.UNATTEMPTED:
            return None
        standing = standing_of(context, decision)
    elif not is_unchanged and not (seen.status is None and when is When.BEFORE):
        decision = decide_seen(context.action, history, seen.status, evidence)
        standing = standing_of(context, decision)
    elif when is When.AT_END:
        error = error or _LEFT_RUNNING
        decision = Decision(Outcome.UNATTEMPTED)
        if known.outcome is not None:
            decision = decide_seen(context.action, history, seen.status, evidence)
        elif history.doubted:
            # What is still on its way may take effect after this look.
            decision = Decision(Outcome.FAILED, changed=Changed.MAYBE)
    elif known.standing is Standing.NEEDS_READ:
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
    else:
        return None
    return look_record(context, known.seq, decision, seen, error, standing=standing)


def is_disputed(context: RunContext, known: Known, seen: ObservedState) -> bool:
    """Whether a look contradicts the outcome on record."""
    return known.outcome is not None and is_contradicted(
        context.action, known.history, known.outcome, seen.status
    )


def contradiction(
    context: RunContext, known: Known, seen: ObservedState, reason: str = ""
) -> OutcomeRecord | None:
    """What stands of an outcome on record that a look contradicts; None: it does not.

    0200011 after our acceptance stays while no look has agreed: the server itself says that it is
    suspended, and the listing is older. In an emergency it stays until a complete pass has shown it
    at rest, and the lag of the listings is over.
    """
    history = known.history
    is_old = history.accepted and history.last is Kind.WRONG_STATE
    is_old = is_old and context.is_still_accepted(known.ref)
    if (is_old and known.evidence is Evidence.ACCEPTED) or not is_disputed(context, known, seen):
        return None
    return _contradicted(context, known, seen, reason or known.error)


def decide_contradicted(action: Action, known: Known) -> Decision:
    """What stands while a look contradicts what we know: the worse of the two."""
    course = COURSES[action]
    if known.history.accepted:
        return Decision(course.undone, Evidence.ACCEPTED, Changed.YES)
    if known.history.attempts == 0:
        return Decision(Outcome.UNATTEMPTED)
    return decide_seen(action, known.history, course.source, Evidence.LISTED)


def _contradicted(
    context: RunContext, known: Known, seen: ObservedState, reason: str
) -> OutcomeRecord:
    """What stands meanwhile; what got no PUT yet gets one."""
    decision = decide_contradicted(context.action, known)
    standing = Standing.UNCHECKED if known.history.attempts else Standing.RETRY_LATER
    return look_record(context, known.seq, decision, seen, reason, standing=standing)


def _confirmed(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence
) -> OutcomeRecord | None:
    if known.outcome is None:
        return None
    if was_perhaps_sent(context, known):
        return _perhaps_sent_again(context, known, seen, evidence)
    if is_disputed(context, known, seen):
        return _contradicted(context, known, seen, known.error)
    decision = Decision(known.outcome, known.evidence, changed_by(known))
    if known.history.attempts == 0:
        if known.outcome not in SUCCESSES:
            return None
        decision = Decision(known.outcome, known.evidence)
        if seen.status is COURSES[context.action].target:
            decision = Decision(known.outcome, evidence)
        elif (
            seen.status in {Status.NOT_STARTED, Status.COMPLETED}
            and known.outcome is not Outcome.LEFT_ALONE
        ):
            decision = Decision(Outcome.NOT_RUNNING, evidence)
    elif seen.status is not None:
        decision = decide_seen(context.action, known.history, seen.status, evidence)
    return confirmation(context, known, decision, seen)


def changed_by(known: Known) -> Changed:
    """Whether we changed a campaign, as its attempts say."""
    history = known.history
    return Changed.YES if history.accepted else Changed.MAYBE if history.doubted else Changed.NO


# -- perhaps sent by a killed process (rule 9) ------------------------------------------------


def was_perhaps_sent(context: RunContext, known: Known) -> bool:
    """Whether a start of this campaign may have been sent by a process that was killed."""
    if context.action is not Action.RESUME or known.history.accepted:
        return False
    if known.history.attempts == 0:
        return known.outcome is Outcome.UNKNOWN or (
            known.outcome is Outcome.RESTORED and known.evidence is Evidence.INFERRED
        )
    return any(one < context.journal.process for one in known.doubted_by)


def perhaps_sent_record(context: RunContext, known: Known, seen: ObservedState) -> OutcomeRecord:
    """The first look at a start that a killed process may have sent: it is never sent again."""
    reason = known.error or PERHAPS_STARTED
    decision, standing = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE), Standing.NEEDS_READ
    if seen.status is COURSES[context.action].target:
        decision = Decision(COURSES[context.action].done, Evidence.INFERRED, Changed.YES)
        standing = Standing.UNCHECKED
    return look_record(context, known.seq, decision, seen, reason, standing=standing)


def _perhaps_sent_again(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence
) -> OutcomeRecord:
    """The second look at it: two that agree decide."""
    course = COURSES[context.action]
    if seen.status is course.target:
        decision = Decision(course.done, Evidence.INFERRED, Changed.YES)
        agree = known.outcome is course.done
        return confirmation(context, known, decision, seen, None if agree else Standing.UNCHECKED)
    if seen.status is course.source:
        # reads may be behind: the look as the run ends sees it once more
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
        return confirmation(context, known, decision, seen, Standing.NEEDS_READ)
    return confirmation(context, known, Decision(Outcome.NOT_RUNNING, evidence), seen)


# -- records ----------------------------------------------------------------------------------


def standing_of(context: RunContext, decision: Decision) -> Standing:
    """How firm a decision is that no second look has confirmed."""
    if decision.needs_state:
        return Standing.NEEDS_READ
    is_done = decision.outcome in SUCCESSES
    return Standing.UNCHECKED if context.verifies and is_done else Standing.FINAL


def unseen_record(  # noqa: PLR0913, PLR0917 - the parts of a record
    context: RunContext,
    one: Known | Planned,
    decision: Decision,
    standing: Standing,
    error: str,
    at_ms: int | None = None,
) -> OutcomeRecord:
    """The record of a decision that no look stands behind; of now, unless it was at rest before."""
    settled_at_ms = context.clock.wall_ms() if at_ms is None else at_ms
    return OutcomeRecord(one.seq, one.ref, decision, standing, settled_at_ms, error=error)


def look_record(  # noqa: PLR0913 - a decision and what it rests on
    context: RunContext,
    seq: int,
    decision: Decision,
    seen: ObservedState,
    reason: str,
    *,
    standing: Standing | None = None,
) -> OutcomeRecord:
    """The record of a decision that rests on a state that was seen; `reason` says what failed."""
    now_ms = context.clock.wall_ms()
    may_start = ""
    if decision.outcome is Outcome.NOT_RUNNING and seen.begin_time:
        may_start = "yes" if seen.begin_time > context.clock.local_text() else "no"
    return OutcomeRecord(
        seq=seq,
        ref=seen.ref,
        decision=decision,
        standing=standing or (Standing.NEEDS_READ if decision.needs_state else Standing.FINAL),
        settled_at_ms=now_ms,
        state_after=seen.status,
        seen_at_ms=now_ms,
        may_start=may_start,
        # what is left alone says why, whatever a look shows
        error="" if decision.outcome in SUCCESSES - {Outcome.LEFT_ALONE} else reason,
    )


def confirmation(
    context: RunContext,
    known: Known,
    decision: Decision,
    seen: ObservedState,
    standing: Standing | None = None,
) -> OutcomeRecord:
    """The record of a later look: one that confirms does not move the moment of rest."""
    made = look_record(context, known.seq, decision, seen, known.error, standing=standing)
    at_rest_ms = None
    if decision.outcome in SUCCESSES:
        at_rest_ms = known.accepted_at_ms
        if at_rest_ms is None and known.outcome in SUCCESSES:
            at_rest_ms = known.settled_at_ms
    return made if at_rest_ms is None else made._replace(settled_at_ms=at_rest_ms)


async def complete_unread(context: RunContext, known: Known, verdict: Verdict) -> None:
    """Its state could not be read: what is known without it stands, until it can be read."""
    standing = Standing.FINAL
    if known.standing == Standing.UNCHECKED and verdict.kind is Kind.NOT_FOUND and known.outcome:
        # It is gone: nothing of it can run.
        decision = Decision(known.outcome, known.evidence, changed_by(known))
        reason = known.error
    elif known.standing != Standing.NEEDS_READ:
        return
    elif verdict.kind is Kind.NOT_FOUND:
        decision = Decision(Outcome.NOT_FOUND)
        reason = verdict.reason
    else:
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
        reason = f"{known.error.partition(_UNREAD)[0]}{_UNREAD}{verdict.reason}"
        standing = Standing.NEEDS_READ
    made = unseen_record(context, known, decision, standing, reason, known.settled_at_ms)
    await context.complete(made, confirms=True)


async def decide_by_state(
    context: RunContext, planned: Planned, *, acted_on: Container[Status | None] = ()
) -> ObservedState | None:
    """Let a campaign's state decide what its attempts came to; returns what was seen, if anything.

    In the states `acted_on` the caller goes on with it, and nothing is recorded: an outcome on
    record would keep a later process from it if this one is killed now.

    Raises:
        StoppedError: the run is ending.
    """
    seen = await read_state(context, planned.ref)
    known = await known_campaign(context, planned.ref)
    if known is None:
        return None
    if isinstance(seen, Verdict):
        await complete_unread(context, known, seen)
        return None
    if seen.status in acted_on:
        return seen
    await note_state(context, known, seen, Evidence.READ)
    return seen


async def note_state(
    context: RunContext, known: Known, seen: ObservedState, evidence: Evidence, reason: str = ""
) -> None:
    """Let a state that was seen decide what the attempts came to, whatever was on record.

    `reason` says what failed, where the record does not.
    """
    decision = decide_seen(context.action, known.history, seen.status, evidence)
    outcome_record = look_record(context, known.seq, decision, seen, known.error or reason)
    await context.complete(outcome_record, confirms=known.outcome is not None)
