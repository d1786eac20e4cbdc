"""Builds the plan: the whole list into `journal.db.part`, checked, indexed, then renamed.

The part becomes the journal by a rename after an fsync, and one later commit shows that the disk
has room for SQLite's log too. The list is streamed; only the first problems and their number are
kept in memory. Duplicates are found by sorting once.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import Problem, RefusedError, StorageError
from orchestrator.isales.strict_json import storable
from orchestrator.policy.decide import Changed, Evidence, Outcome
from orchestrator.policy.plan import PlanCounts
from orchestrator.store.base import Restorable, Standing
from orchestrator.store.run_dir import create_file
from orchestrator.store.run_record import RunRecord, to_meta
from orchestrator.store.sqlite import Journal
from orchestrator.store.tables import (
    STEPS_BETWEEN_LOOKS,
    Row,
    create_tables,
    index_plan,
    put,
    put_many,
    set_durable,
)
from orchestrator.store.writer import memory_connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from orchestrator.manifest.entry import ManifestLine
    from orchestrator.model import CampaignRef

_CHUNK = 5_000
_SHOWN_PROBLEMS = 20
#: memory that SQLite may use while it sorts, in KiB (negative: KiB, not pages)
#: page cache and sorter take as much each: 60 MB at the peak of 10,000,000 lines instead of 106, at
#: no cost in time
_CACHE_KIB = -8_000

#: a start that a killed restore may have sent
_PERHAPS_STARTED = (Outcome.UNKNOWN, Evidence.NONE, Changed.MAYBE, Standing.NEEDS_READ)


@dataclass(slots=True)
class Refused:
    """The bad lines of a list: the first ones in full, and how many there are."""

    shown: list[Problem] = field(default_factory=list)
    total: int = 0

    def add(self, line: ManifestLine) -> None:
        """Take one bad line in."""
        self.total += 1
        if len(self.shown) < _SHOWN_PROBLEMS:
            self.shown.append(Problem(line.place, line.problem))


class Reason(NamedTuple):
    """Why a campaign is not simply started by a restore."""

    text: str
    #: a killed restore may have started it: its state is looked at, and it gets no PUT
    is_doubt: bool = False


class PlanWriter:
    """`journal.db.part` while it is being built; `finish` turns it into the journal."""

    def __init__(
        self, path: Path | None, *, is_unwanted: Callable[[], bool] = lambda: False
    ) -> None:
        """Begin a part next to `path` (the journal to be), or in memory when there is no disk.

        `is_unwanted` is asked now and then; true ends what is being done with a StorageError.

        Raises:
            StorageError: the part cannot be created.
            RefusedError: there is a journal already; another process has worked here meanwhile.
        """
        if path is not None and path.exists():
            raise RefusedError(
                f"{path} has just been made by another process. Nothing was sent.",
                advice="run the same command again: it continues that run or shows its result",
            )
        self._path = path
        self._part = path.with_name(path.name + ".part") if path else None
        try:
            self.connection = self._open()
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the journal cannot be created: {error}") from error
        try:
            self.connection.set_progress_handler(is_unwanted, STEPS_BETWEEN_LOOKS)
            self.connection.execute(f"PRAGMA cache_size = {_CACHE_KIB}")
            create_tables(self.connection)
        except sqlite3.Error as error:
            self.discard()
            raise StorageError(f"the journal cannot be created: {error}") from error

    def _open(self) -> sqlite3.Connection:
        if self._part is None:
            return memory_connection()
        os.close(create_file(self._part))
        connection = sqlite3.connect(self._part, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        return connection

    def take(self, lines: Iterable[ManifestLine]) -> tuple[PlanCounts, Refused]:
        """Store every line, find the duplicates.

        Raises:
            StorageError: the disk is full or failing.
        """
        refused = Refused()
        try:
            self.connection.execute("BEGIN")
            total = self._store(lines, refused)
            index_plan(self.connection)
            duplicates = self._mark_duplicates()
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"the plan cannot be stored: {error}") from error
        campaigns = total - duplicates - refused.total
        return PlanCounts(total, campaigns, duplicates, refused.total), refused

    def take_restorable(
        self,
        candidates: Iterable[Restorable],
        left_alone: Mapping[CampaignRef, Reason],
        *,
        at_ms: int,
    ) -> None:
        """Store what a run changed, as the plan of its restore; some of it has its outcome already.

        Raises:
            StorageError: the disk is full or failing.
        """
        try:
            self.connection.execute("BEGIN")
            for seq, one in enumerate(candidates, start=1):
                ref = one.ref
                put(self.connection, "plan", (seq, seq, ref.vdn_id, ref.campaign_id, "", "", ""))
                reason = left_alone.get(ref)
                if reason is not None:
                    outcome = (Outcome.LEFT_ALONE, Evidence.NONE, Changed.NO, Standing.FINAL)
                    if reason.is_doubt:
                        outcome = _PERHAPS_STARTED
                    told = (one.value for one in outcome)
                    row = (seq, 1, *told, None, None, at_ms, "", reason.text)
                    put(self.connection, "outcomes", row)
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"the plan cannot be stored: {error}") from error

    def _store(self, lines: Iterable[ManifestLine], refused: Refused) -> int:
        total = 0
        rows: list[Row] = []
        for line in lines:
            total += 1
            if line.ref is None:
                refused.add(line)
                texts = (line.vdn_text, line.campaign_text, line.problem)
                rows.append((total, line.line, None, None, *map(storable, texts)))
            else:
                rows.append((total, line.line, line.ref.vdn_id, line.ref.campaign_id, "", "", ""))
            if len(rows) >= _CHUNK:
                put_many(self.connection, "plan", rows)
                rows.clear()
        put_many(self.connection, "plan", rows)
        return total

    def _mark_duplicates(self) -> int:
        # The groups come from the index in its order, and only theirs are looked at any further:
        # 0.3 µs a line. A window over all rows takes 4 µs, since the line is not in the index.
        repeated = self.connection.execute(
            "SELECT later.seq, earliest.line FROM (SELECT vdn_id, campaign_id, min(seq) AS seq"
            " FROM plan INDEXED BY plan_by_campaign WHERE problem = ''"
            " GROUP BY vdn_id, campaign_id HAVING count(*) > 1) AS same"
            " CROSS JOIN plan AS earliest ON earliest.seq = same.seq"
            " CROSS JOIN plan AS later INDEXED BY plan_by_campaign"
            " ON later.problem = '' AND later.vdn_id = same.vdn_id"
            " AND later.campaign_id = same.campaign_id AND later.seq > same.seq"
        )
        total = 0
        while chunk := repeated.fetchmany(_CHUNK):
            put_many(self.connection, "duplicates", chunk)
            total += len(chunk)
        return total

    def discard(self) -> None:
        """Leave nothing behind: the list was refused."""
        self.connection.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def finish(self, record: RunRecord | None = None) -> Journal:
        """Write down what the run is, make it durable, rename it; returns the open journal.

        Raises:
            StorageError: it cannot be made durable.
        """
        meta = to_meta(record) if record else {}
        try:
            self.connection.execute("BEGIN")
            for row in meta.items():
                put(self.connection, "meta", row)
            self.connection.execute("COMMIT")
            index_plan(self.connection)
            if self._part is None or self._path is None:
                self.connection.set_progress_handler(None, 0)
                return Journal(self.connection)
            # in the part, so that the fsync below is the only one that this costs
            self.connection.execute("PRAGMA journal_mode = WAL")
            self.connection.close()
            _sync(self._part)
            self._part.rename(self._path)
            return Journal(_open_for_commits(self._path, meta), self._path)
        except (sqlite3.Error, OSError) as error:
            raise StorageError(f"the journal cannot be stored: {error}") from error


def try_out(path: Path) -> None:
    """See that a journal can be made here and written to; it stays until the caller removes it.

    Raises:
        StorageError: it cannot.
        RefusedError: there is a journal already.
    """
    with closing(PlanWriter(path).finish()) as journal:
        try:
            put(journal.connection, "meta", ("check", ""))  # a commit like any other
        except sqlite3.Error as error:
            raise StorageError(f"the journal {path} cannot be written: {error}") from error


def _open_for_commits(path: Path, meta: Mapping[str, str]) -> sqlite3.Connection:
    """Open a new journal and see that it can be written to; nothing of that is left if it cannot.

    The next commit fsyncs the log and, since the log is new, the directory with both their names:
    so an emergency waits for three fsyncs, no more, before its first PUT.
    """
    connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for row in meta.items():
            put(connection, "meta", row)
        connection.execute("COMMIT")
        set_durable(connection)
    except BaseException:
        connection.close()
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)
        raise
    return connection


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
