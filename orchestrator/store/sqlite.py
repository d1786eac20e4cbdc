"""One run on SQLite: on record, and as the process has it that works on it.

The words of the format differ from the product's where the format is older: a process is a life, a
check pass of a pause-all a sweep, the state before a look.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from orchestrator.errors import StorageError
from orchestrator.model import Action, CampaignRef, ObservedState
from orchestrator.reports.rows import ReportRow, RunKind, SweepRecord
from orchestrator.store import queries
from orchestrator.store.histories import report_rows
from orchestrator.store.run_record import RunRecord, from_meta, noted
from orchestrator.store.tables import (
    Row,
    check_whole,
    connect,
    connect_to_read,
    find_damage,
    put,
    put_many,
    read_meta,
    reopen,
    set_durable,
)
from orchestrator.store.writer import InlineWriter, Keeper, Rows, ThreadWriter, Unsynced

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.isales.verdict import Verdict
    from orchestrator.store.base import Intent, OutcomeRecord, ProcessRecord

P = ParamSpec("P")
T = TypeVar("T")


def _says(query: Callable[[sqlite3.Connection], T]) -> Callable[[Saved], T]:
    """A query as a method of a run on record."""
    return lambda self: query(self.connection)


class Saved:
    """A run as it is on record, for reports; every method reads at once and may take a while."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def record(self) -> RunRecord:
        """What is on record of the run as a whole.

        Raises:
            StorageError: it is not the record of a run.
        """
        try:
            return from_meta(read_meta(self.connection))
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(f"the journal does not say what its run is: {error}") from error

    processes = _says(queries.processes)
    passes = _says(queries.passes)
    sent_per_s = _says(queries.sent_per_s)
    counts = _says(queries.counts)
    lines = _says(queries.lines)
    vdns = _says(queries.vdns)
    unverified = _says(queries.unverified)
    may_have_changed = _says(queries.may_have_changed)
    restorable = _says(queries.restorable)
    marks = _says(queries.marks)

    def rows(self) -> Iterator[ReportRow]:
        """The report, one row per line of the list, in order; streamed."""
        record = self.record()
        action = Action.RESUME if record.kind is RunKind.RESTORE else Action.PAUSE
        return report_rows(
            self.connection, action=action, run_id=record.run_id, planned_only=record.dry_run
        )


class Journal(Saved):
    """An open journal: a run on record, until `start` makes it the store of a process."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None = None) -> None:
        super().__init__(connection)
        #: None: it is in memory
        self.path = path

    def start(self, *, keep_going: bool) -> Store:
        """Let this process work on it; with `keep_going`, in memory when the disk fails.

        Raises:
            StorageError: it cannot be read.
        """
        keeper = self._keeper(keep_going=keep_going)
        writer: InlineWriter
        try:
            writer = ThreadWriter(keeper)
        except RuntimeError:  # no thread can be started
            writer = InlineWriter(keeper)
        return Store(writer, self.path)

    def _keeper(self, *, keep_going: bool) -> Keeper:
        return Keeper(self.connection, self.path, keep_going=keep_going)

    def close(self) -> None:
        self.connection.close()


@contextlib.contextmanager
def open_saved(
    path: Path, *, whole: bool = False, is_unwanted: Callable[[], bool] = lambda: False
) -> Iterator[Saved]:
    """A journal to be read, and closed in the end; one that has come to rest stays untouched.

    Args:
        path: its file.
        whole: check every row of it first.
        is_unwanted: asked now and then; true ends that check with a StorageError.

    Raises:
        StorageError, JournalMismatchError: as `connect`; or it cannot be read.
    """
    with _as_old_as_before(path), contextlib.closing(connect_to_read(path)) as connection:
        if whole:
            check_whole(connection, path, is_unwanted=is_unwanted)
        try:
            yield Saved(connection)
        except sqlite3.Error as error:
            raise StorageError(f"the journal {path} cannot be read: {error}") from error


@contextlib.contextmanager
def _as_old_as_before(path: Path) -> Iterator[None]:
    """Reading what a kill has left moves the log into the journal; it was last written before."""
    log = path.with_name(f"{path.name}-wal")
    written_ns = 0
    with contextlib.suppress(OSError):
        written_ns = log.stat().st_mtime_ns  # without a log nothing is moved
        written_ns = max(written_ns, path.stat().st_mtime_ns)
    try:
        yield
    finally:
        if written_ns and not log.exists():
            with contextlib.suppress(OSError):
                os.utime(path, ns=(written_ns, written_ns))


def open_to_continue(path: Path, *, is_unwanted: Callable[[], bool]) -> Journal:
    """An existing journal, checked from end to end, for a process that goes on with it.

    `is_unwanted` is asked now and then; true ends the check with a StorageError.

    Raises:
        StorageError, JournalMismatchError: as `connect`.
    """
    connection = connect(path)
    try:
        check_whole(connection, path, is_unwanted=is_unwanted)
        set_durable(connection)
    except BaseException:
        connection.close()
        raise
    return Journal(connection, path)


def _asks(
    query: Callable[Concatenate[sqlite3.Connection, P], T],
) -> Callable[Concatenate[Store, P], asyncio.Future[T]]:
    """A query as a method that awaits its turn among the writes."""

    def ask(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        return self.ask(lambda connection: query(connection, *args, **kwargs))

    return ask


class Store:
    """The store of the process that works on a run."""

    def __init__(self, writer: InlineWriter, path: Path | None = None) -> None:
        self._writer = writer
        self._path = path
        #: the number of the process that writes
        self.process = 1

    # -- what it asks -------------------------------------------------------------------------

    pending = _asks(queries.pending)
    undecided = _asks(queries.undecided)
    unlisted = _asks(queries.unlisted)
    doubtful = _asks(queries.doubtful)
    known = _asks(queries.known)
    known_of_vdn = _asks(queries.known_of_vdn)
    attempts_made = _asks(queries.attempts_made)
    first_seen_ms = _asks(queries.first_seen_ms)
    has_retries = _asks(queries.has_retries)
    vdn_counts = _asks(queries.vdn_counts)
    open_vdn_counts = _asks(queries.open_vdn_counts)
    restorable = _asks(queries.restorable)

    def ask(self, query: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        """Ask in order with the writes before."""
        return self._writer.read(query)

    def read(self, operation: Callable[[Saved], T]) -> asyncio.Future[T]:
        """Make something of the whole record, such as a report, beside the loop."""
        return self.ask(lambda connection: operation(Saved(connection)))

    # -- what it writes down ------------------------------------------------------------------

    def begin_process(self, begun: ProcessRecord) -> asyncio.Future[int]:
        """Count this process as one more of the run; returns its number."""

        def begin(connection: sqlite3.Connection) -> int:
            (last,) = connection.execute("SELECT coalesce(max(life), 0) FROM lives").fetchone()
            self.process = int(last) + 1
            put(connection, "lives", queries.life_row(self.process, begun))
            return self.process

        return self._writer.submit(Unsynced(begin))

    def end_process(self, ended: ProcessRecord, **notes: Any) -> asyncio.Future[None]:
        """Record how this process ended, and what else is noted at the end."""

        def end(connection: sqlite3.Connection) -> None:
            put(connection, "lives", queries.life_row(self.process, ended))
            _note(connection, notes)

        return self._writer.submit(end)

    def note(self, **notes: Any) -> asyncio.Future[None]:
        """Record facts about the run; of its rates the highest stays."""
        return self._writer.submit(partial(_note, notes=notes))

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

    def record_intent(self, intent: Intent) -> asyncio.Future[None]:
        """Record that a PUT is about to leave; await this before it does.

        An outcome that was final until now is so no longer: a kill leaves the campaign in doubt.
        """
        attempt = _attempt(self.process, intent, "intended")
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
        return self._put("attempts", _attempt(self.process, intent, "not_sent", answer))

    def record_answer(
        self,
        intent: Intent,
        verdict: Verdict,
        *,
        sent_at_ms: int | None,
        answered_at_ms: int | None,
        outcome_record: OutcomeRecord | None = None,
    ) -> asyncio.Future[None]:
        """Record an answer and, in the same commit, the outcome that it decides."""
        answer = (sent_at_ms, answered_at_ms, verdict.kind.value, int(verdict.in_doubt),
                  verdict.code, verdict.desc, verdict.http_status, verdict.reason)  # fmt: skip
        attempt = _attempt(self.process, intent, "answered", answer)
        if outcome_record is None:
            return self._put("attempts", attempt)
        outcome = _outcome(self.process, outcome_record)
        return self._writer.submit(Rows((("attempts", attempt), ("outcomes", outcome))))

    def complete(self, outcome_records: Sequence[OutcomeRecord]) -> asyncio.Future[None]:
        """Record outcomes; the last one of a campaign counts."""
        return self._writer.submit(
            Rows(("outcomes", _outcome(self.process, one)) for one in outcome_records)
        )

    def record_pass(self, made: SweepRecord) -> asyncio.Future[None]:
        """Record one check pass of a pause-all."""

        def add(connection: sqlite3.Connection) -> None:
            (last,) = connection.execute("SELECT coalesce(max(number), 0) FROM sweeps").fetchone()
            row = (int(one) if isinstance(one, bool) else one for one in made)
            put(connection, "sweeps", (int(last) + 1, *row))

        return self._writer.submit(add)

    def _put(self, table: str, row: Row) -> asyncio.Future[None]:
        return self._writer.submit(Rows(((table, row),)))

    # -- around it ----------------------------------------------------------------------------

    @property
    def failure(self) -> StorageError | None:
        """Why the run is not on the disk any more, None while it is."""
        return self._writer.failure

    def find_damage(self) -> asyncio.Future[StorageError | None]:
        """Read back what was written, as somebody would who opens it tomorrow; None: all well."""
        return self.ask(partial(find_damage, path=self._path, process=self.process))

    async def close(self) -> None:
        await self._writer.close()


def _note(connection: sqlite3.Connection, notes: Mapping[str, Any]) -> None:
    for row in noted(notes, read_meta(connection)).items():
        put(connection, "meta", row)


def _attempt(process: int, intent: Intent, state: str, answer: Row = (None,) * 8) -> Row:
    before = int(intent.before) if intent.before else None
    return (intent.seq, intent.number, process, before, intent.at_ms, state, *answer)


def _outcome(process: int, one: OutcomeRecord) -> Row:
    decided = one.decision
    state_after = int(one.state_after) if one.state_after else None
    return (one.seq, process, decided.outcome.value, decided.evidence.value, decided.changed.value,
            one.standing.value, state_after, one.seen_at_ms, one.settled_at_ms, one.may_start,
            one.error)  # fmt: skip


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
