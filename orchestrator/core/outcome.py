"""How a campaign ended: outcomes, evidence, and the decision between them.

Rule 1: two questions, kept apart: is it stopped? (success) and did we change it? (undo).
Rule 2: `unknown` is never folded into `failed`.
Rule 3: a match on Outcome names every member, so a new one breaks the build until placed.
Source: the tables of design.md §6.
"""

from __future__ import annotations

from enum import StrEnum


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
