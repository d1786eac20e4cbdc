"""The journal's format on disk: tables, row checksums, opening and checking.

Rule 1: every row ends in a CRC over its own values, because SQLite does not notice a flipped bit.
Rule 2: a journal that is damaged, newer than we are, or not ours is refused whole, never half-read.
Rule 3: `synchronous=FULL` and WAL: what a commit returned for is on the disk.
"""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator.errors import JournalMismatchError, StorageError

SCHEMA_VERSION = 1
#: "CPOJ": a SQLite file with another id is not a journal
APPLICATION_ID = 0x43504F4A

_COLUMNS = {
    "meta": "key TEXT PRIMARY KEY, value TEXT",
    # one row per manifest line, in order; pause-all adds one per campaign that it finds
    "plan": "seq INTEGER PRIMARY KEY, line INTEGER, vdn_id INTEGER, campaign_id INTEGER,"
    " vdn_text TEXT, campaign_text TEXT, problem TEXT",
    "duplicates": "seq INTEGER PRIMARY KEY, first_line INTEGER",
    # the state before our first intent; status NULL: only the name is known
    "looks": "seq INTEGER PRIMARY KEY, status INTEGER, name TEXT, begin_time TEXT,"
    " seen_at_ms INTEGER",
    # before: the status known just before this attempt; state: intended, answered, not_sent
    "attempts": "seq INTEGER, number INTEGER, life INTEGER, before INTEGER, intent_at_ms INTEGER,"
    " state TEXT, sent_at_ms INTEGER, answered_at_ms INTEGER, kind TEXT, in_doubt INTEGER,"
    " code TEXT, descr TEXT, http_status INTEGER, reason TEXT",
    # standing: stands, unchecked (to be confirmed by a look), needs_state (only a look decides),
    # exhausted (gets one more round)
    "outcomes": "seq INTEGER PRIMARY KEY, life INTEGER, outcome TEXT, evidence TEXT, changed TEXT,"
    " standing TEXT, state_after INTEGER, seen_at_ms INTEGER, settled_at_ms INTEGER,"
    " may_start TEXT, error TEXT",
    "sweeps": "number INTEGER PRIMARY KEY, vdn_id INTEGER, started_at_ms INTEGER,"
    " ended_at_ms INTEGER, pages INTEGER, rows INTEGER, total_size INTEGER, started INTEGER,"
    " complete INTEGER, problem TEXT",
    "lives": "life INTEGER PRIMARY KEY, started_at_ms INTEGER, ended_at_ms INTEGER, ended TEXT,"
    " pid INTEGER, host TEXT, departures INTEGER, worst_1s INTEGER, busy_ms INTEGER",
    # only in journals of earlier versions: what a restore of this run has started (marks.py)
    "restored": "seq INTEGER PRIMARY KEY, run_id TEXT, state TEXT, at_ms INTEGER",
}
#: table → its columns, primary key first; the last column of each is the row's CRC
TABLES = {name: tuple(columns.split(", ")) for name, columns in _COLUMNS.items()}

#: rows of one statement, the largest first. SQLite is asked once for each statement, and each time
#: the journal's thread lets go of the interpreter and has to get it back
_AT_ONCE = (32, 8, 1)
_INSERT = {
    (name, rows): f"INSERT OR REPLACE INTO {name} VALUES "  # noqa: S608 - our own
    + ", ".join([f"(?{',?' * len(columns)})"] * rows)
    for name, columns in TABLES.items()
    for rows in _AT_ONCE
}

#: steps of SQLite between two looks at whether its answer is still wanted: some milliseconds
STEPS_BETWEEN_LOOKS = 100_000

#: the values of one row, without its checksum
Row = tuple[int | str | None, ...]


def crc(row: Sequence[int | str | None]) -> int:
    """The checksum of one row's values, without the checksum column."""
    return zlib.crc32(repr(tuple(row)).encode("utf-8", "surrogatepass"))


def put(connection: sqlite3.Connection, table: str, row: Row) -> None:
    """Insert or replace one row with its checksum."""
    connection.execute(_INSERT[table, 1], (*row, crc(row)))


def put_many(connection: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    """Insert or replace many rows with their checksums."""
    done = 0
    for size in _AT_ONCE:
        while len(rows) - done >= size:
            values: list[int | str | None] = []
            for row in rows[done : done + size]:
                values += row
                values.append(crc(row))
            connection.execute(_INSERT[table, size], values)
            done += size


def reopen(connection: sqlite3.Connection, seq: int) -> None:
    """Let the outcome of a campaign that is tried once more wait for its state."""
    outcome = connection.execute(
        "SELECT * FROM outcomes WHERE seq = ? AND standing IN ('stands', 'unchecked')", (seq,)
    ).fetchone()
    if outcome is not None:
        columns = [column.split(" ", 1)[0] for column in TABLES["outcomes"]]
        row = dict(zip(columns, outcome, strict=False))
        row |= {"outcome": "unknown", "evidence": "none", "changed": "maybe"}
        row["standing"] = "needs_state"
        put(connection, "outcomes", tuple(row.values()))


def create_tables(connection: sqlite3.Connection) -> None:
    """Make an empty journal in an empty database."""
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    for name, columns in TABLES.items():
        keyed = "PRIMARY KEY (seq, number)" if name == "attempts" else ""
        body = ", ".join(part for part in (*columns, "crc INTEGER", keyed) if part)
        rowid = " WITHOUT ROWID" if name == "attempts" else ""
        connection.execute(f"CREATE TABLE {name} ({body}){rowid}")
    connection.execute(
        "CREATE INDEX outcomes_open ON outcomes (standing) WHERE standing <> 'stands'"
    )


def index_plan(connection: sqlite3.Connection) -> None:
    """Index the plan; after a bulk load, since sorting once is quicker."""
    connection.execute(
        "CREATE INDEX IF NOT EXISTS plan_by_campaign ON plan (vdn_id, campaign_id)"
        " WHERE problem = ''"
    )
    # In this one the rows of a VDN stand in the order of the list: they are handed out in chunks,
    # and without it SQLite would sort the whole VDN for each chunk.
    connection.execute("CREATE INDEX IF NOT EXISTS plan_by_vdn ON plan (vdn_id) WHERE problem = ''")


def set_durable(connection: sqlite3.Connection) -> None:
    """From here on a commit returns when its rows are on the disk."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open an existing journal for reading: one that has come to rest without a file beside it.

    Where there is a log, its run works or was killed, and what it holds belongs to the journal.

    Raises:
        StorageError, JournalMismatchError: as `connect`.
    """
    at_rest = not path.with_name(f"{path.name}-wal").exists()
    return connect(path, "mode=ro&immutable=1" if at_rest else "mode=rw")


def connect(path: Path, how: str = "mode=rw") -> sqlite3.Connection:
    """Open an existing journal, refusing what is not one of ours.

    Raises:
        StorageError: it cannot be opened, or is damaged.
        JournalMismatchError: not a journal, or one of another version.
    """
    with contextlib.ExitStack() as undo:
        try:
            connection = sqlite3.connect(
                f"file:{_quoted(path)}?{how}",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
            undo.callback(connection.close)
            _check_kind(connection, path)
        except sqlite3.OperationalError as error:
            raise StorageError(f"the journal {path} cannot be opened: {error}") from error
        except sqlite3.DatabaseError as error:
            raise _damaged(path, str(error)) from error
        undo.pop_all()
    return connection


def check_whole(
    connection: sqlite3.Connection, path: Path, *, is_unwanted: Callable[[], bool] = lambda: False
) -> None:
    """Read everything once: SQLite's own check, then the checksum of every row.

    Raises:
        StorageError: the journal is damaged, and the text says where; or its check is unwanted.
    """
    connection.set_progress_handler(is_unwanted, STEPS_BETWEEN_LOOKS)
    try:
        finding = _bad_page(connection)
        if finding:
            raise _damaged(path, finding)
        if _schema(connection) != _own_schema():
            raise _damaged(path, "its tables are not those of a journal")
        for name in TABLES:
            for row in connection.execute(f"SELECT * FROM {name}"):  # noqa: S608 - our own table names
                if row[-1] != crc(row[:-1]):
                    raise _damaged(path, f"a row of {name} fails its checksum (key {row[0]})")
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error
    except UnicodeDecodeError as error:
        raise _damaged(path, "a text is not UTF-8") from error
    finally:
        connection.set_progress_handler(None, 0)


#: rows of each table whose checksums are read back
_LAST_ROWS = 100
_READ_BACK = {"plan": "seq", "attempts": "seq", "outcomes": "seq", "lives": "life"}


def find_damage(
    connection: sqlite3.Connection, *, path: Path | None, process: int
) -> StorageError | None:
    """Read the journal back from its file, as somebody would who opens it tomorrow.

    The write-ahead log goes into the file first: a hole in the log shows only there. Returns what
    is wrong; None when its pages hold together and numbers and last rows are as this process wrote
    them, or there is no file.
    """
    if path is None:
        return None
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        with contextlib.closing(connect(path)) as other:
            finding = _bad_page(other)
            if finding:
                return _damaged_meanwhile(path, finding)
            for name, key in _READ_BACK.items():
                count = f"SELECT count(*) FROM {name}"  # noqa: S608 - our own table names
                found, wanted = (one.execute(count).fetchone() for one in (other, connection))
                if found != wanted:
                    return _damaged_meanwhile(path, f"{name} has {found[0]} rows, not {wanted[0]}")
                last = f"SELECT * FROM {name} ORDER BY {key} DESC LIMIT {_LAST_ROWS}"  # noqa: S608
                if any(row[-1] != crc(row[:-1]) for row in other.execute(last)):
                    return _damaged_meanwhile(path, f"a row of {name} fails its checksum")
            newest = other.execute("SELECT max(life) FROM lives").fetchone()
            if newest != (process,):
                return _damaged_meanwhile(path, "this process is not in it")
    except (sqlite3.Error, StorageError, JournalMismatchError) as error:
        return _damaged_meanwhile(path, str(error))
    return None


def _bad_page(connection: sqlite3.Connection) -> str:
    """What SQLite finds first, reading every page, without its heading; empty: nothing."""
    (finding,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if finding == "ok":
        return ""
    return " ".join(finding.removeprefix("*** in database main ***").split())


def _damaged_meanwhile(path: Path, finding: str) -> StorageError:
    return StorageError(
        f"the journal {path} was changed by something else while the run went on: {finding}",
        advice="keep the directory for examination; what was paused cannot be restored from it",
    )


def read_meta(connection: sqlite3.Connection) -> dict[str, str]:
    """Everything the journal says about its run."""
    return dict(connection.execute("SELECT key, value FROM meta"))


def _check_kind(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise JournalMismatchError(f"{path} is not a journal of the orchestrator")
    if version != SCHEMA_VERSION:
        raise JournalMismatchError(
            f"{path} was written in format {version}, this version reads format {SCHEMA_VERSION}",
            advice="use the version of the orchestrator that wrote it",
        )


def _schema(connection: sqlite3.Connection) -> set[tuple[str | None, ...]]:
    return set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


def _own_schema() -> set[tuple[str | None, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:")) as model:
        create_tables(model)
        index_plan(model)
        return _schema(model)


def _damaged(path: Path, finding: str) -> StorageError:
    return StorageError(
        f"the journal {path} is damaged: {finding}. Nothing was sent.",
        advice="keep the directory for examination and pause the list again in a new run:"
        " what is suspended already is left alone",
    )


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
