"""What the engine tells a store and learns from it: records and enums.

Rule 1: an intent is awaited before its PUT leaves; an outcome before it is reported. What was seen
        before is on the disk by then too, but costs no fsync of its own.
Rule 2: a look made after an intent never replaces the state before.
Rule 3: an answer and the outcome that it decides are one commit.
Rule 4: reads come in order with the writes before them.

Every method of a `Store` (sqlite.py) hands in its work at once and returns what to await.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.policy.decide import Decision, Evidence, History, Outcome

if TYPE_CHECKING:
    from orchestrator.model import CampaignRef, Status
    from orchestrator.reports.summary import Ended


class Standing(StrEnum):
    """How firm an outcome on record is; the values are those of the format on disk."""

    FINAL = "stands"
    #: to be confirmed by a later look
    UNCHECKED = "unchecked"
    #: only the campaign's state decides
    NEEDS_READ = "needs_state"
    #: out of attempts, or refused: gets one more round, in this process or the next
    RETRY_LATER = "exhausted"


class MarkState(StrEnum):
    """What a restore did with a campaign of the run that it undoes."""

    #: it may have been started
    INTENDED = "intended"
    RESTORED = "restored"
    #: it was not started
    CLEARED = "cleared"


class Mark(NamedTuple):
    """What a restore wrote of one campaign beside the journal of the run that it undoes."""

    state: MarkState
    #: the restore
    run_id: str


class Intent(NamedTuple):
    """A PUT that is about to leave."""

    seq: int
    number: int
    #: the status known just before it
    before: Status | None
    at_ms: int
    #: it may have an outcome that is final
    reopens: bool = True


class OutcomeRecord(NamedTuple):
    """One campaign's outcome as it goes on record."""

    seq: int
    ref: CampaignRef
    decision: Decision
    standing: Standing
    settled_at_ms: int
    state_after: Status | None = None
    seen_at_ms: int | None = None
    may_start: str = ""
    error: str = ""


class Known(NamedTuple):
    """One campaign of the plan as the store knows it."""

    seq: int
    ref: CampaignRef
    history: History
    #: None: it has no outcome yet
    outcome: Outcome | None = None
    evidence: Evidence = Evidence.NONE
    #: None without an outcome
    standing: Standing | None = None
    error: str = ""
    #: its name is on record
    named: bool = False
    settled_at_ms: int | None = None
    #: when a PUT of ours was last accepted
    accepted_at_ms: int | None = None
    #: the process of the last attempt; 0 without one
    tried_by: int = 0
    #: the processes in which a PUT of ours was left in doubt
    doubted_by: frozenset[int] = frozenset()


class Restorable(NamedTuple):
    """One campaign that a run turned off."""

    seq: int
    ref: CampaignRef
    #: it was in doubt, and the state before was not known: it may have been somebody else
    inferred: bool
    #: as the server calls it; empty when not seen
    name: str = ""


class VdnCount(NamedTuple):
    """How much of the plan belongs to one VDN, in order of first appearance."""

    vdn_id: int
    campaigns: int


class ProcessRecord(NamedTuple):
    """One process that worked on the run; its number counts from 1."""

    started_at_ms: int
    pid: int
    host: str
    #: None: it works, or was killed
    ended_at_ms: int | None = None
    ended: Ended | None = None
    #: requests that left, in all and in the busiest second
    departures: int = 0
    worst_1s: int = 0
    #: from the first request to the last
    busy_ms: int = 0
