"""A run in the cluster's PostgreSQL: what `base` promises, kept there.

A process works on a copy of its part in SQLite (transfer.py): the engine's questions are answered
by that copy, and what a commit puts into it is put into PostgreSQL before anybody is told that it
is on record. So there is one set of questions. A chunk's copy holds its campaigns alone, and the
engine that works on it needs to know of no others
(docs/decisions/0031-a-chunk-is-a-small-journal.md).

While PostgreSQL is away nothing is on record, so nothing leaves; it is tried again for as long as
it takes. A newer epoch ends that at once.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import psycopg

from orchestrator.errors import FencedError, RefusedError, StorageError
from orchestrator.policy.leases import LEASE_S
from orchestrator.store.cluster_runs import Limits, limit_run
from orchestrator.store.database import Kept, failure_of, opened
from orchestrator.store.run_dir import create_file
from orchestrator.store.sqlite import Journal, Saved
from orchestrator.store.transfer import (
    EMERGENCY_LO,
    IS_CAMPAIGN,
    NO_END,
    STEP_BITS,
    Part,
    Step,
    copy_run,
    follow,
    followed,
    forget,
    load,
    put_rows,
)
from orchestrator.store.writer import Keeper, Operations, Unsynced, apply_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.settings.secret import Secret

#: seconds before a database that was away is tried again: the first time, and at most
_AGAIN_S, _AGAIN_AT_MOST_S = 0.05, 1.0


class PostgresKeeper(Keeper):
    """Puts into PostgreSQL what is put into the copy of a part."""

    def __init__(self, journal: PostgresJournal, worth: int) -> None:
        super().__init__(journal.connection, None)
        self.worth = worth
        self._journal = journal
        self._database = Kept(journal.url)
        follow(journal.connection)

    def apply(self, operations: Operations) -> list[Any]:
        if self.failure is None:
            try:
                results = apply_all(self._disk, operations)
                rows = followed(self._disk)
                if rows:
                    synced = not all(isinstance(one, Unsynced) for one in operations)
                    self._put(rows, synced=synced)
                    forget(self._disk, rows)
            except sqlite3.Error as error:
                self.failure = StorageError(f"the copy of the run failed: {error}")
            except StorageError as error:
                self.failure = error
            else:
                return results
        return [self.failure] * len(operations)

    def _put(self, rows: dict[str, Any], *, synced: bool) -> None:
        """Put rows, as often as it takes.

        Raises:
            FencedError: another worker has this part now.
            StorageError: the database refuses them, or nobody wants to wait any longer.
        """
        wait_s = _AGAIN_S
        while True:
            try:
                if not self._database.do(
                    lambda database: put_rows(database, self._journal.part, rows, synced=synced)
                ):
                    raise FencedError
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                if self._journal.given_up.wait(wait_s):
                    raise failure_of(error) from error
                wait_s = min(2 * wait_s, _AGAIN_AT_MOST_S)
            except psycopg.Error as error:
                raise failure_of(error) from error
            else:
                return

    def close(self) -> None:
        self._database.close()
        super().close()


class PostgresJournal(Journal):
    """A part of a run in PostgreSQL that this process has claimed."""

    def __init__(self, copy: sqlite3.Connection, url: Secret, part: Part, worth: int) -> None:
        super().__init__(copy)
        self.part = part
        self.url = url
        self._worth = worth
        #: nobody waits for the database any longer: what is not on record by now fails
        self.given_up = threading.Event()

    def _keeper(self, *, keep_going: bool) -> PostgresKeeper:
        # who is to go on without the database does not work in a cluster
        del keep_going
        return PostgresKeeper(self, self._worth)


def add_run(  # noqa: PLR0913 - what a run is put in with
    url: Secret,
    journal: Journal,
    *,
    chunk_size: int,
    emergency: bool,
    limits: Limits | None = None,
    holder: str = "",
) -> int:
    """Put a new run into PostgreSQL, cut into chunks; all or nothing. Returns its number.

    Args:
        url: the database.
        journal: the run with its plan.
        chunk_size: campaigns in a chunk, at most; each is of one VDN.
        emergency: its chunks go before those of lists.
        limits: what ends it before it is through; a deadline counts from now.
        holder: has all of it from the beginning: a pause-all, which is one part; else nobody.

    Raises:
        StorageError, JournalMismatchError: the database.
        RefusedError: there is such a run already.
    """
    run_id = journal.record().run_id
    with opened(url) as connection, connection.transaction():
        found = connection.execute(
            "INSERT INTO orchestrator.run (run_id, emergency) VALUES (%s, %s)"
            " ON CONFLICT (run_id) DO NOTHING RETURNING run",
            (run_id, emergency),
        ).fetchone()
        if found is None:
            raise RefusedError(
                f"the cluster has a run {run_id} already. Nothing was sent.",
                advice=f"`orchestrator continue {run_id}` follows it",
            )
        (run,) = found
        copy_run(journal.connection, connection, run)
        connection.execute(
            "INSERT INTO orchestrator.chunk (run, lo, hi) VALUES (%s, 0, %s)", (run, NO_END)
        )
        connection.execute(
            "INSERT INTO orchestrator.chunk (run, lo, hi, vdn)"  # noqa: S608 - ours
            " SELECT %(run)s, min(seq), max(seq), vdn_id FROM (SELECT seq, vdn_id,"
            " (row_number() OVER (PARTITION BY vdn_id ORDER BY seq) - 1) / %(size)s AS part"
            f" FROM orchestrator.plan p WHERE run = %(run)s AND {IS_CAMPAIGN}) AS numbered"
            " GROUP BY vdn_id, part".encode(),
            {"run": run, "size": chunk_size},
        )
        if holder:
            connection.execute(
                "INSERT INTO orchestrator.chunk (run, lo, hi, epoch, holder, lease_until) VALUES"
                " (%s, %s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s))",
                (*emergency_part(run)[:3], emergency_part(run).epoch, holder, LEASE_S),
            )
        if journal.record().verify:
            # the look and the verification of a VDN belong to none of its chunks
            for step in (Step.LOOK, Step.VERIFY):
                connection.execute(
                    "INSERT INTO orchestrator.chunk (run, lo, hi, vdn)"  # noqa: S608 - ours
                    " SELECT run, min(lo) + %(step)s, max(hi), vdn FROM orchestrator.chunk"
                    f" WHERE run = %(run)s AND lo > 0 AND lo >> {STEP_BITS} = {Step.SEND}"
                    " GROUP BY run, vdn HAVING count(*) > 1".encode(),
                    {"run": run, "step": step << STEP_BITS},
                )
        if limits is not None:
            limit_run(connection, run, limits)
    return int(run)


def emergency_part(run: int) -> Part:
    """The one part of a pause-all, as who has added it has it."""
    return Part(run, EMERGENCY_LO, NO_END, None, 1)


def find_run(connection: psycopg.Connection[Any], run_id: str) -> int | None:
    """The number of a run, None if it is not in the cluster."""
    found = connection.execute(
        "SELECT run FROM orchestrator.run WHERE run_id = %s", (run_id,)
    ).fetchone()
    return int(found[0]) if found else None


@contextlib.contextmanager
def open_saved_run(url: Secret, run: int) -> Iterator[Saved]:
    """A run to be read, as it stood at one instant, whoever works on it.

    Raises:
        StorageError, JournalMismatchError: as `opened`; or a row is damaged.
    """
    with opened(url) as connection:
        # a file that SQLite removes itself: a long list need not fit into memory
        copy = load(connection, Part(run, 0, NO_END, None, 0), path="")
    with contextlib.closing(copy):
        yield Saved(copy)


def save_run(url: Secret, run: int, path: Path) -> None:
    """Copy all that is on record of a run into a journal, in place of the one that is there.

    Raises:
        StorageError, JournalMismatchError: as `opened`; or a row is damaged, the copy not written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        os.close(create_file(part))
        with opened(url) as connection:
            load(connection, Part(run, 0, NO_END, None, 0), path=str(part)).close()
        part.replace(path)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise StorageError(f"the run cannot be copied to {path}: {error}") from error


def open_part(url: Secret, part: Part, *, concurrency: int = 1) -> PostgresJournal:
    """A part that has been claimed, for the engine with so many requests in flight at once.

    When half of them wait for a commit, it is made.

    Raises:
        StorageError, JournalMismatchError: as `opened`; or a row is damaged.
    """
    with opened(url) as connection:
        return PostgresJournal(load(connection, part), url, part, max(1, concurrency // 2))
