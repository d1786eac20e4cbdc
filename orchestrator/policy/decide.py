"""How a campaign ended: outcomes, evidence, and the decision between them.

Rule 1: two questions, kept apart: is it stopped? (success) and did we change it? (undo).
Rule 2: `unknown` is never counted as `failed`.
Rule 3: a match on Outcome names every member, so a new one breaks the build until placed.
Source: docs/spec/contracts.md, "Outcomes".
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from orchestrator.isales.verdict import Kind
from orchestrator.model import Action, Status


class Outcome(StrEnum):
    """How one line of the list ended."""

    PAUSED = "paused"
    ALREADY_PAUSED = "already_paused"
    NOT_RUNNING = "not_running"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    DENIED = "denied"
    FAILED = "failed"
    UNKNOWN = "unknown"
    STILL_RUNNING = "still_running"
    UNATTEMPTED = "unattempted"
    INVALID = "invalid"
    DUPLICATE = "duplicate"
    PLANNED = "planned"
    #: restore only: started again by us
    RESTORED = "restored"
    #: restore only: started by somebody meanwhile
    ALREADY_RUNNING = "already_running"
    #: restore only: restored from that run before, or excluded
    LEFT_ALONE = "left_alone"


class Evidence(StrEnum):
    """Why we believe the outcome."""

    ACCEPTED = "accepted"
    LISTED = "listed"
    READ = "read"
    INFERRED = "inferred"
    NONE = "none"


class Changed(StrEnum):
    """Whether this run changed the campaign."""

    YES = "yes"
    NO = "no"
    MAYBE = "maybe"


#: success: stopped (pause), or started again or rightly not (restore)
SUCCESSES = frozenset(
    {
        Outcome.PAUSED,
        Outcome.ALREADY_PAUSED,
        Outcome.NOT_RUNNING,
        Outcome.RESTORED,
        Outcome.ALREADY_RUNNING,
        Outcome.LEFT_ALONE,
    }
)

#: lines that are not campaigns to act on: neither success nor failure
NOT_COUNTED = frozenset({Outcome.INVALID, Outcome.DUPLICATE, Outcome.PLANNED})


class Course(NamedTuple):
    """What one action calls its ends: from which status it moves campaigns, and to which."""

    source: Status
    target: Status
    done: Outcome
    already: Outcome
    #: accepted, yet seen in the source status again
    undone: Outcome


COURSES = {
    Action.PAUSE: Course(
        source=Status.STARTED,
        target=Status.SUSPENDED,
        done=Outcome.PAUSED,
        already=Outcome.ALREADY_PAUSED,
        undone=Outcome.STILL_RUNNING,
    ),
    Action.RESUME: Course(
        source=Status.SUSPENDED,
        target=Status.STARTED,
        done=Outcome.RESTORED,
        already=Outcome.ALREADY_RUNNING,
        undone=Outcome.FAILED,
    ),
}


class History(NamedTuple):
    """What the journal knows of our attempts on one campaign."""

    #: the status seen before our first intent, None when nobody saw it
    before: Status | None = None
    #: attempts that left, or may have left
    attempts: int = 0
    #: one of them was in doubt
    doubted: bool = False
    accepted: bool = False
    #: the kind of the last answer, None without one
    last: Kind | None = None


class Decision(NamedTuple):
    """An outcome with its reason to be believed."""

    outcome: Outcome
    evidence: Evidence = Evidence.NONE
    changed: Changed = Changed.NO
    #: only the campaign's state can turn this into an outcome that stands
    needs_state: bool = False


#: how an answer ends a campaign that is known (or feared) to be as it was
_REFUSALS = {
    Kind.NOT_FOUND: Outcome.NOT_FOUND,
    Kind.REJECTED: Outcome.REJECTED,
    Kind.CODE_UNKNOWN: Outcome.REJECTED,
    Kind.UNAUTHORIZED: Outcome.DENIED,
    Kind.FORBIDDEN: Outcome.DENIED,
}


def decide_unseen(action: Action, history: History) -> Decision:
    """Decide without a look at the state after our attempts."""
    course = COURSES[action]
    if history.accepted:
        return Decision(course.done, Evidence.ACCEPTED, Changed.YES)
    if history.attempts == 0:
        return decide_untouched(action, history.before)
    if history.last is Kind.NOT_FOUND:
        return Decision(Outcome.NOT_FOUND)
    if history.doubted or history.last is Kind.WRONG_STATE:
        return Decision(Outcome.UNKNOWN, changed=Changed.MAYBE, needs_state=True)
    return Decision(_refusal(history))


def decide_untouched(
    action: Action, seen: Status | None, evidence: Evidence = Evidence.LISTED
) -> Decision:
    """Decide for a campaign that was only looked at: what needs no PUT, and what got none."""
    course = COURSES[action]
    if seen is course.target:
        return Decision(course.already, evidence)
    if action is Action.RESUME and seen in {Status.NOT_STARTED, Status.COMPLETED}:
        return Decision(Outcome.NOT_RUNNING, evidence)
    return Decision(Outcome.UNATTEMPTED)


def decide_seen(
    action: Action, history: History, now: Status | None, evidence: Evidence
) -> Decision:
    """Decide with the state that was seen after our last attempt; None: none that we know."""
    course = COURSES[action]
    if now is None:
        return decide_unseen(action, history)
    if now is course.target:
        return _at_target(course, history, evidence)
    if history.accepted:
        if now is course.source:
            return Decision(course.undone, Evidence.ACCEPTED, Changed.YES)
        return Decision(course.done, Evidence.ACCEPTED, Changed.YES)
    if history.attempts == 0:
        return decide_untouched(action, now, evidence)
    if now is not course.source:
        return Decision(Outcome.NOT_RUNNING, evidence)
    return Decision(_refusal(history))


def is_contradicted(action: Action, history: History, outcome: Outcome, now: Status | None) -> bool:
    """Whether a look disagrees with what we know, so that it needs time and another look.

    Seen where we started from, though the PUT was accepted, or refused for its state, or may have
    arrived, or though it was seen done before: the age of an answer is not the age of the state.
    """
    course = COURSES[action]
    if now is not course.source:
        return False
    if history.attempts:
        return history.accepted or history.doubted or history.last is Kind.WRONG_STATE
    return outcome in {course.done, course.already}


def _at_target(course: Course, history: History, evidence: Evidence) -> Decision:
    if history.accepted:
        return Decision(course.done, evidence, Changed.YES)
    if not history.doubted or history.before is course.target:
        return Decision(course.already, evidence)
    if history.before is course.source:
        return Decision(course.done, evidence, Changed.YES)
    return Decision(course.done, Evidence.INFERRED, Changed.YES)


def _refusal(history: History) -> Outcome:
    if history.last is None:
        return Outcome.FAILED
    return _REFUSALS.get(history.last, Outcome.FAILED)
