"""What a process knows of one campaign while it works on it, and the outcome that it supports.

Why an attempt failed is asked here too: was it the server, the VDN, or this campaign?
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.engine.lookup import try_read
from orchestrator.engine.reconcile import known_campaign, standing_of, unseen_record
from orchestrator.isales.listing import read_details
from orchestrator.isales.requests import details
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import CampaignRef
from orchestrator.policy.decide import COURSES, SUCCESSES, Decision, History, Outcome, decide_unseen
from orchestrator.policy.retry import ENOUGH_FOR_THE_BREAKER, counts_against_limit
from orchestrator.store import OutcomeRecord, Standing

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.policy.plan import Planned


#: 403 to so many different campaigns in a row is looked into by a read of their VDN
_FORBIDDEN_ROW = 5


@dataclass(slots=True)
class Case:
    """What this process remembers of one campaign while it works on it."""

    planned: Planned
    #: an outcome may stand
    reopens: bool
    #: attempts that may fail; None: as often as it takes
    budget: int | None
    #: of the last attempt, over all processes of the run
    number: int = 0
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

    @property
    def is_spent(self) -> bool:
        """Whether no attempt is left that may fail."""
        return self.budget is not None and self.tries_used >= self.budget

    async def remember(self, context: RunContext) -> None:
        """Take in what the journal knows of earlier rounds and processes; doubts still count.

        A place in the work limit is held, and given back if this fails.
        """
        with context.dispatcher.work_limit.given_back_on_failure():
            self.number = await context.journal.attempts_made(self.planned.seq)
            known = await known_campaign(context, self.planned.ref) if self.number else None
        if known is not None:
            self.sent = known.history.attempts
            self.doubted = known.history.doubted
            self.accepted_before = known.history.accepted
            self.accepted_at_ms = known.accepted_at_ms
            self.is_still_accepted = context.is_still_accepted(self.planned.ref)

    def history(self, verdict: Verdict) -> History:
        """What is known of its attempts, the last of them answered so."""
        return History(
            before=self.planned.before,
            attempts=self.sent,
            doubted=self.doubted,
            accepted=self.accepted or self._is_old_listing(verdict),
            last=verdict.kind,
        )

    def _is_old_listing(self, verdict: Verdict) -> bool:
        """0200011 after our acceptance: it is suspended, and a listing that denies it is old."""
        is_wrong_state = verdict.kind is Kind.WRONG_STATE
        return self.accepted_before and self.is_still_accepted and is_wrong_state

    def needs_reading(self, context: RunContext, verdict: Verdict) -> bool:
        """Whether its state must be read at once for this verdict."""
        if context.verifies:
            return False
        return decide_unseen(context.action, self.history(verdict)).needs_state

    def record(
        self,
        context: RunContext,
        verdict: Verdict,
        decision: Decision,
        *,
        standing: Standing | None = None,
    ) -> OutcomeRecord:
        """The record of a decision that no look stands behind."""
        if decision.outcome is Outcome.DENIED:
            # Nothing is known of the campaign: with the right key, `continue` takes it up again.
            standing = Standing.RETRY_LATER
        return unseen_record(
            context,
            self.planned,
            decision,
            standing or standing_of(context, decision),
            "" if decision.outcome in SUCCESSES else verdict.reason,
            # It came to rest with the answer that accepted it, not with one that says so again.
            self.accepted_at_ms if self._is_old_listing(verdict) else None,
        )


# -- why an attempt failed --------------------------------------------------------------------


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
