"""What a run writes down, and when it may go on.

Rule 1: an intent is awaited before its PUT leaves; an outcome before it is reported. What was seen
        before is on the disk by then too, but costs no fsync of its own.
Rule 2: a look made after an intent never replaces the state before.
Rule 3: an answer and the outcome that it decides are one commit.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from orchestrator.store.tables import Row, put, put_many, reopen
from orchestrator.store.writer import Rows, Unsynced

if TYPE_CHECKING:
    import asyncio
    import sqlite3
    from collections.abc import Callable, Sequence

    from orchestrator.errors import StorageError
    from orchestrator.isales.verdict import Verdict
    from orchestrator.model import CampaignRef, ObservedState, Status
    from orchestrator.policy.decide import Decision
    from orchestrator.store.writer import Writer

T = TypeVar("T")


class OutcomeRecord(NamedTuple):
    """One campaign's outcome as it goes on record."""

    seq: int
    ref: CampaignRef
    decision: Decision
    #: stands, needs_state, exhausted
    standing: str
    settled_at_ms: int
    state_after: Status | None = None
    seen_at_ms: int | None = None
    may_start: str = ""
    error: str = ""


class Intent(NamedTuple):
    """A PUT that is about to leave."""

    seq: int
    number: int
    #: the status known just before it
    before: Status | None
    at_ms: int
    #: it may have an outcome that stands
    reopens: bool = True


class Journal:
    """The durable record of one run, written through one writer."""

    def __init__(self, writer: Writer, *, process: int = 1) -> None:
        self._writer = writer
        self.process = process

    @property
    def failure(self) -> StorageError | None:
        """Why the journal is not on the disk any more, None while it is."""
        return self._writer.failure

    def read(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Run a reading function of `queries` in order with the writes before it."""
        return self._writer.read(operation)

    async def close(self) -> None:
        """Finish and let go of the database."""
        await self._writer.close()

    def note(self, key: str, value: str) -> asyncio.Future[None]:
        """Record a fact about the run."""
        return self._put("meta", (key, value))

    def begin_life(self, *, started_at_ms: int, pid: int, host: str) -> asyncio.Future[int]:
        """Count this process as one more process of the run; returns its number."""

        def begin(connection: sqlite3.Connection) -> int:
            (last,) = connection.execute("SELECT coalesce(max(life), 0) FROM lives").fetchone()
            self.process = int(last) + 1
            row: Row = (self.process, started_at_ms, None, None, pid, host, 0, 0, 0)
            put(connection, "lives", row)
            return self.process

        return self._writer.submit(Unsynced(begin))

    def end_life(  # noqa: PLR0913 - the columns of one row
        self,
        *,
        started_at_ms: int,
        ended_at_ms: int,
        ended: str,
        pid: int,
        host: str,
        departures: int,
        worst_1s: int,
        busy_ms: int,
    ) -> asyncio.Future[None]:
        """Record how this process ended."""
        row = (self.process, started_at_ms, ended_at_ms, ended, pid, host, departures, worst_1s)
        return self._put("lives", (*row, busy_ms))

    def saw(
        self, observed_states: Sequence[tuple[int, ObservedState]], *, at_ms: int
    ) -> asyncio.Future[None]:
        """Record states before: kept for campaigns without a look and without a PUT of ours."""
        rows = [
            (seq, int(seen.status) if seen.status else None, seen.name, seen.begin_time, at_ms)
            for seq, seen in observed_states
        ]

        def keep_first(connection: sqlite3.Connection) -> None:
            touched = _touched(connection, [seq for seq, _ in observed_states])
            put_many(connection, "looks", [row for row in rows if row[0] not in touched])

        return self._writer.submit(Unsynced(keep_first))

    def named(self, names: Sequence[tuple[int, str]]) -> asyncio.Future[None]:
        """Record names of campaigns that nobody looked at; their state before stays unknown."""

        def keep_first(connection: sqlite3.Connection) -> None:
            named = _named(connection, [seq for seq, _ in names])
            rows: list[Row] = [
                (seq, None, name, "", None) for seq, name in names if seq not in named
            ]
            put_many(connection, "looks", rows)

        return self._writer.submit(Unsynced(keep_first))

    def discovered(
        self, observed_states: Sequence[ObservedState], *, at_ms: int
    ) -> asyncio.Future[dict[CampaignRef, int]]:
        """Add campaigns to the plan of a pause-all, with the state before; returns their places."""

        def add(connection: sqlite3.Connection) -> dict[CampaignRef, int]:
            (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM plan").fetchone()
            places: dict[CampaignRef, int] = {}
            for seq, seen in enumerate(observed_states, start=int(last) + 1):
                ref = seen.ref
                put(connection, "plan", (seq, seq, ref.vdn_id, ref.campaign_id, "", "", ""))
                status = int(seen.status) if seen.status else None
                put(connection, "looks", (seq, status, seen.name, seen.begin_time, at_ms))
                places[ref] = seq
            return places

        return self._writer.submit(Unsynced(add))

    def intend(self, intent: Intent) -> asyncio.Future[None]:
        """Record that a PUT is about to leave; await this before it does.

        An outcome that stood until now does so no longer: a kill leaves the campaign in doubt.
        """
        attempt = self._attempt(intent, state="intended")
        if not intent.reopens:
            return self._put("attempts", attempt)

        def begin(connection: sqlite3.Connection) -> None:
            put(connection, "attempts", attempt)
            reopen(connection, intent.seq)

        return self._writer.submit(begin)

    def not_sent(self, intent: Intent, verdict: Verdict | None = None) -> asyncio.Future[None]:
        """Close an intent whose PUT never left; the verdict says why, if anything went wrong."""
        answer: Row = (None,) * 8
        if verdict is not None:
            answer = (None, None, verdict.kind.value, 0, "", "", None, verdict.reason)
        return self._put("attempts", self._attempt(intent, state="not_sent", answer=answer))

    def answered(
        self,
        intent: Intent,
        verdict: Verdict,
        *,
        sent_at_ms: int | None,
        answered_at_ms: int | None,
        outcome_record: OutcomeRecord | None = None,
    ) -> asyncio.Future[None]:
        """Record an answer and, in the same commit, the outcome that it decides."""
        attempt = self._attempt(
            intent,
            state="answered",
            answer=(
                sent_at_ms,
                answered_at_ms,
                str(verdict.kind),
                int(verdict.in_doubt),
                verdict.code,
                verdict.desc,
                verdict.http_status,
                verdict.reason,
            ),
        )
        if outcome_record is None:
            return self._put("attempts", attempt)
        outcome = self._outcome(outcome_record)
        return self._writer.submit(Rows((("attempts", attempt), ("outcomes", outcome))))

    def settle(self, outcome_records: Sequence[OutcomeRecord]) -> asyncio.Future[None]:
        """Record outcomes."""
        return self._writer.submit(
            Rows(("outcomes", self._outcome(one)) for one in outcome_records)
        )

    def swept(self, row: Row) -> asyncio.Future[None]:
        """Record one check pass of a pause-all; the row is without its number."""

        def add(connection: sqlite3.Connection) -> None:
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM sweeps").fetchone()
            put(connection, "sweeps", (int(last) + 1, *row))

        return self._writer.submit(add)

    def mark_restored(
        self, seq: int, *, run_id: str, state: str, at_ms: int
    ) -> asyncio.Future[None]:
        """In the undone run's journal: a campaign that a restore starts, or did not start."""
        return self._put("restored", (seq, run_id, state, at_ms))

    def _put(self, table: str, row: Row) -> asyncio.Future[None]:
        return self._writer.submit(Rows(((table, row),)))

    def _attempt(self, intent: Intent, *, state: str, answer: Row = (None,) * 8) -> Row:
        sent_at_ms, answered_at_ms, *judged = answer
        before = int(intent.before) if intent.before else None
        return (
            intent.seq,
            intent.number,
            self.process,
            before,
            intent.at_ms,
            state,
            sent_at_ms,
            answered_at_ms,
            *judged,
        )

    def _outcome(self, one: OutcomeRecord) -> Row:
        return (
            one.seq,
            self.process,
            str(one.decision.outcome),
            str(one.decision.evidence),
            str(one.decision.changed),
            one.standing,
            int(one.state_after) if one.state_after else None,
            one.seen_at_ms,
            one.settled_at_ms,
            one.may_start,
            one.error,
        )


def _touched(connection: sqlite3.Connection, seqs: Sequence[int]) -> set[int]:
    """Those that somebody has looked at, or of which a PUT of ours has left, or may have left."""
    found = connection.execute(
        "WITH asked AS (SELECT value AS seq FROM json_each(?))"
        " SELECT l.seq FROM asked JOIN looks l ON l.seq = asked.seq WHERE seen_at_ms IS NOT NULL"
        " UNION ALL"
        " SELECT a.seq FROM asked JOIN attempts a ON a.seq = asked.seq WHERE state <> 'not_sent'",
        (json.dumps(seqs),),
    )
    return {seq for (seq,) in found}


def _named(connection: sqlite3.Connection, seqs: Sequence[int]) -> set[int]:
    found = connection.execute(
        "SELECT seq FROM looks WHERE seq IN (SELECT value FROM json_each(?))", (json.dumps(seqs),)
    )
    return {seq for (seq,) in found}
