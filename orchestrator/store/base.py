"""What the engine needs of a store: records and enums in, records and enums out.

Rule 1: an intent is awaited before its PUT leaves; an outcome before it is reported. What was seen
        before is on the disk by then too, but costs no fsync of its own.
Rule 2: a look made after an intent never replaces the state before.
Rule 3: an answer and the outcome that it decides are one commit.
Rule 4: reads come in order with the writes before them.

Every method of a `Store` hands in its work at once and returns what to await.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar, Unpack

from orchestrator.policy.decide import Decision, Evidence, History, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from orchestrator.errors import StorageError
    from orchestrator.isales.verdict import Verdict
    from orchestrator.model import CampaignRef, ObservedState, Status
    from orchestrator.policy.plan import Planned
    from orchestrator.reports.rows import ReportRow, SweepRecord
    from orchestrator.reports.summary import Ended
    from orchestrator.store.run_record import Notes, RunRecord

T = TypeVar("T")


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


class Reading(Protocol):
    """What there is to do, and what is known of it."""

    def pending(self, *, vdn_id: int, after: int, limit: int) -> Awaitable[list[Planned]]:
        """The next campaigns of a VDN without an outcome, in order."""

    def undecided(self, standing: Standing, *, after: int, limit: int) -> Awaitable[list[Planned]]:
        """The next campaigns whose outcome has this standing, in order; never final ones."""

    def unlisted(
        self, *, vdn_id: int, seen_before_ms: int, after: int, limit: int
    ) -> Awaitable[list[Known]]:
        """Campaigns whose outcome a listing could not confirm and a single read still can."""

    def doubtful(self) -> Awaitable[list[Known]]:
        """Campaigns of which only their state can show what became of them, as a run ends."""

    def known(self, *, vdn_id: int, campaign_ids: Iterable[int]) -> Awaitable[list[Known]]:
        """Those of these campaigns that are in the plan, in its order."""

    def known_of_vdn(self, vdn_id: int) -> Awaitable[list[Known]]:
        """All of one VDN; for pause-all and restore, whose plans are short."""

    def attempts_made(self, seq: int) -> Awaitable[int]:
        """The number of the last attempt on a campaign, 0 without one."""

    def first_seen_ms(self, vdn_id: int) -> Awaitable[int | None]:
        """When a look last showed what needs a second one; None: none did."""

    def has_retries(self, vdn_id: int) -> Awaitable[bool]:
        """Whether a campaign of a VDN still gets its one more attempt."""

    def vdn_counts(self) -> Awaitable[list[VdnCount]]:
        """Every VDN of the plan, in order of first appearance."""

    def open_vdn_counts(self) -> Awaitable[list[VdnCount]]:
        """The VDNs of the plan that have something not final, and how much of it."""

    def restorable(self) -> Awaitable[list[Restorable]]:
        """The campaigns that this run has changed so far, in order."""


class Recording(Protocol):
    """What a run writes down."""

    def begin_process(self, begun: ProcessRecord) -> Awaitable[int]:
        """Count this process as one more of the run; returns its number."""

    def end_process(self, ended: ProcessRecord, **notes: Unpack[Notes]) -> Awaitable[None]:
        """Record how this process ended, and what else is noted at the end."""

    def note(self, **notes: Unpack[Notes]) -> Awaitable[None]:
        """Record facts about the run; of its rates the highest stays."""

    def saw(
        self, observed_states: Sequence[tuple[int, ObservedState]], *, at_ms: int
    ) -> Awaitable[None]:
        """Record states before: kept for campaigns without a look and without a PUT of ours."""

    def named(self, names: Sequence[tuple[int, str]]) -> Awaitable[None]:
        """Record names of campaigns that nobody looked at; their state before stays unknown."""

    def discovered(
        self, observed_states: Sequence[ObservedState], *, at_ms: int
    ) -> Awaitable[dict[CampaignRef, int]]:
        """Add campaigns to the plan of a pause-all, with the state before; returns their places."""

    def record_intent(self, intent: Intent) -> Awaitable[None]:
        """Record that a PUT is about to leave; await this before it does.

        An outcome that was final until now is so no longer: a kill leaves the campaign in doubt.
        """

    def not_sent(self, intent: Intent, verdict: Verdict | None = None) -> Awaitable[None]:
        """Close an intent whose PUT never left; the verdict says why, if anything went wrong."""

    def record_answer(
        self,
        intent: Intent,
        verdict: Verdict,
        *,
        sent_at_ms: int | None,
        answered_at_ms: int | None,
        outcome_record: OutcomeRecord | None = None,
    ) -> Awaitable[None]:
        """Record an answer and, in the same commit, the outcome that it decides."""

    def complete(self, outcome_records: Sequence[OutcomeRecord]) -> Awaitable[None]:
        """Record outcomes; the last one of a campaign counts."""

    def record_pass(self, made: SweepRecord) -> Awaitable[None]:
        """Record one check pass of a pause-all."""


class Saved(Protocol):
    """A run as it is on record, for reports; every method reads at once and may take a while."""

    def record(self) -> RunRecord:
        """What is on record of the run as a whole.

        Raises:
            StorageError: it is not the record of a run.
        """

    def processes(self) -> list[ProcessRecord]:
        """Every process that worked on this run, oldest first."""

    def passes(self) -> tuple[SweepRecord, ...]:
        """The check passes of a pause-all, in order."""

    def sent_per_s(self) -> dict[int, int]:
        """Seconds since the epoch in which PUTs left, and how many did."""

    def counts(self) -> dict[str, int]:
        """Recorded outcomes and their numbers: cheap; the report counts its own rows."""

    def lines(self) -> int:
        """How many lines the list has; duplicates and invalid ones count."""

    def vdns(self) -> tuple[int, ...]:
        """The VDNs of the plan, in order of their numbers."""

    def unverified(self) -> int:
        """How many campaigns count as done, and could not be checked."""

    def may_have_changed(self) -> bool:
        """Whether the run turned something off, or may have: an answer was lost, or a kill."""

    def restorable(self) -> list[Restorable]:
        """The campaigns that the run changed, in order."""

    def marks(self) -> dict[CampaignRef, Mark]:
        """What restores of earlier versions wrote into the journal of the run that they undid."""

    def rows(self) -> Iterator[ReportRow]:
        """The report, one row per line of the list, in order; streamed."""


class Journal(Saved, Protocol):
    """A run on record that nobody works on yet."""

    def start(self, *, keep_going: bool) -> Store:
        """Let this process work on it; with `keep_going`, in memory when the disk fails.

        Raises:
            StorageError: it cannot be read.
        """

    def close(self) -> None:
        """Let go of it."""


class Store(Reading, Recording, Protocol):
    """One run's store, held by the process that works on it."""

    #: the number of the process that writes
    process: int

    @property
    def failure(self) -> StorageError | None:
        """Why the run is not on the disk any more, None while it is."""

    def read(self, operation: Callable[[Saved], T]) -> Awaitable[T]:
        """Make something of the whole record, such as a report, beside the loop."""

    def find_damage(self) -> Awaitable[StorageError | None]:
        """Read back what was written, as somebody would who opens it tomorrow; None: all well."""

    async def close(self) -> None:
        """Finish what was handed in and let go of the store."""
