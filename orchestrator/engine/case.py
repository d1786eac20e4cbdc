"""What a process knows of one campaign while it works on it, and the outcome that it supports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.engine.reconcile import known_campaign, standing_of, unseen_record
from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import SUCCESSES, History, Outcome, decide_unseen
from orchestrator.store import Standing

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.isales.verdict import Verdict
    from orchestrator.policy.decide import Decision
    from orchestrator.policy.plan import Planned
    from orchestrator.store import OutcomeRecord


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
