"""The rows of a run on their way between a journal in SQLite and the cluster's PostgreSQL.

Rows travel as they are, checksum included, so what arrives is checked as a journal's rows are. Who
writes names its epoch, and the statement that puts the rows puts none when that is not the newest.
"""

from __future__ import annotations

import functools
import re
import sqlite3
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import StorageError
from orchestrator.reports.summary import Ended
from orchestrator.store.base import ProcessRecord
from orchestrator.store.queries import life_row, process_of
from orchestrator.store.tables import TABLES, Row, crc, create_tables, index_plan, put

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import psycopg


#: what belongs to a chunk, or to the run as a whole, with the rest of its key
_OF_CHUNK = {"meta": ("key",), "sweeps": ("number",), "lives": ("life",)}
#: what belongs to a line of the list
_OF_LINE = {
    "plan": ("seq",),
    "duplicates": ("seq",),
    "looks": ("seq",),
    "attempts": ("seq", "number"),
    "outcomes": ("seq",),
}
_KEYS = _OF_CHUNK | _OF_LINE
#: what is on record of a run, besides its parts
TABLES_OF_RUN = tuple(_KEYS)
#: a line of the plan that stands for a campaign
IS_CAMPAIGN = (
    "p.problem = '' AND NOT EXISTS"
    " (SELECT FROM orchestrator.duplicates d WHERE d.run = p.run AND d.seq = p.seq)"
)
#: rows that are fetched, copied or put at a time
_AT_ONCE = 5_000

_IS_PUT = [f"EXISTS (SELECT 1 FROM temp.put_{table})" for table in _KEYS]  # noqa: S608 - ours
#: PostgreSQL keeps no NUL in a text, and names on a server may hold one
_MARK = "\x1a"
_MARKED_ESCAPES = {r"\u0000": r"\u001a0", r"\u001a": r"\u001a1"}
_ESCAPED = re.compile(r"\\(?:u[0-9a-f]{4}|.)")

#: the processes that worked on chunks, who ended last at the end; one that was killed has no end
_WORKERS = (
    "SELECT min(started_at_ms), pid, host,"
    " CASE WHEN (array_agg(ended ORDER BY started_at_ms DESC, lo DESC))[1] IS NOT NULL"
    " THEN max(ended_at_ms) END, (array_agg(ended ORDER BY started_at_ms DESC, lo DESC))[1],"
    " sum(departures)::bigint, max(worst_1s),"
    # its chunks overlap
    " least(sum(busy_ms)::bigint, max(ended_at_ms) - min(started_at_ms))"
    " FROM orchestrator.lives WHERE run = %s AND lo > 0 GROUP BY host, pid"
    " ORDER BY max(ended_at_ms) NULLS FIRST"
)
#: what holds for a run if it holds for one of its chunks: the largest counts
_LARGEST = (
    "SELECT key, max(value::float8)::numeric(20, 3)::text FROM orchestrator.meta"
    " WHERE run = %s AND key IN ('lag_s', 'clock_offset_s') GROUP BY key"
)
#: when the last chunk was done, NULL while one is open; and the most PUTs of all workers in a
#: second, by their own clocks
_THROUGH = (
    "SELECT CASE WHEN bool_and(done_at IS NOT NULL)"
    " THEN (extract(epoch FROM max(done_at)) * 1000)::bigint END, (SELECT max(together) FROM"
    " (SELECT count(*) OVER (ORDER BY sent_at_ms RANGE BETWEEN 999 PRECEDING AND CURRENT ROW)"
    " AS together FROM orchestrator.attempts WHERE run = %s AND sent_at_ms IS NOT NULL) AS counted)"
    " FROM orchestrator.chunk WHERE run = %s AND lo > 0"
)


class Step(IntEnum):
    """What a part does; of a VDN of several chunks they are done in this order."""

    #: one look at all of it
    LOOK = 1
    #: a chunk of it; one that is alone in its VDN looks and verifies by itself
    SEND = 0
    #: one verification of all of it
    VERIFY = 2
    #: a pause-all, from its discovery to its proof: all its VDNs, because one mind proves them
    EMERGENCY = 3


#: above the number of a line: the step of a part
STEP_BITS = 40
_LINE = (1 << STEP_BITS) - 1
#: beyond every line of a list
NO_END = 2**62

#: the one part of an emergency
EMERGENCY_LO = Step.EMERGENCY << STEP_BITS

#: When, how and why a run ended before it was through. An emergency is undone without being
#: through, so it has not ended while somebody still settles what is in flight.
_EARLY_END = (
    "SELECT (extract(epoch FROM r.ended_at) * 1000)::bigint, CASE WHEN NOT EXISTS"  # noqa: S608
    f" (SELECT FROM orchestrator.chunk c WHERE c.run = r.run AND c.lo = {EMERGENCY_LO}"
    " AND c.done_at IS NULL AND c.holder IS NOT NULL AND c.lease_until > clock_timestamp())"
    " THEN r.ended END, r.why FROM orchestrator.run r WHERE r.run = %s"
)


class Part(NamedTuple):
    """A run, or a chunk of it, as one worker has it."""

    run: int
    #: 0: the run as a whole; else its first line, and above STEP_BITS its step
    lo: int
    hi: int
    #: None: every VDN
    vdn_id: int | None
    epoch: int
    #: a chunk of several: others look at its VDN before, and verify it after
    is_of_many: bool = False

    @property
    def step(self) -> Step:
        """What is done with it."""
        return Step(self.lo >> STEP_BITS)

    @property
    def notes_lo(self) -> int:
        """Whose notes and passes are its own: an emergency's are those of its run as a whole."""
        return self.lo or EMERGENCY_LO


def columns(table: str) -> list[str]:
    """The columns that a row of a journal has, its checksum last."""
    return [one.split(" ", 1)[0] for one in TABLES[table]] + ["crc"]


def _owner(table: str) -> list[str]:
    return ["run", "lo"] if table in _OF_CHUNK else ["run"]


def _put_rows(table: str, keys: Sequence[str]) -> str:
    pairs = ", ".join(f"'{name}', one.{name}" for name in columns(table))
    return (
        f"SELECT json_group_array(json_object({pairs}))"  # noqa: S608 - our own names
        f" FROM temp.put_{table} JOIN main.{table} one USING ({', '.join(keys)})"
    )


_PUT_ROWS = {table: _put_rows(table, keys) for table, keys in _KEYS.items()}


def _types(table: str) -> list[str]:
    kinds = [one.split(" ")[1] for one in TABLES[table]]
    return ["text" if kind == "TEXT" else "bigint" for kind in kinds] + ["bigint"]


def _marked(value: Any) -> Any:
    if isinstance(value, str) and ("\0" in value or _MARK in value):
        return value.replace(_MARK, f"{_MARK}1").replace("\0", f"{_MARK}0")
    return value


def _marked_json(text: str) -> str:
    if r"\u0000" not in text and r"\u001a" not in text:
        return text
    return _ESCAPED.sub(lambda found: _MARKED_ESCAPES.get(found[0], found[0]), text)


def _unmarked(value: Any) -> Any:
    if isinstance(value, str) and _MARK in value:
        return value.replace(f"{_MARK}0", "\0").replace(f"{_MARK}1", _MARK)
    return value


# -- to PostgreSQL ----------------------------------------------------------------------------


def copy_run(journal: sqlite3.Connection, to: psycopg.Connection[Any], run: int) -> None:
    """Copy a whole journal; in a transaction of the caller's."""
    for table in _KEYS:
        names, owner = columns(table), _owner(table)
        target = f"COPY orchestrator.{table} ({', '.join([*owner, *names])}) FROM STDIN"
        rows = journal.execute(f"SELECT {', '.join(names)} FROM {table}")  # noqa: S608 - ours
        whose = (run, 0)[: len(owner)]
        with to.cursor() as cursor, cursor.copy(target.encode()) as copy:
            for row in rows:
                copy.write_row((*whose, *map(_marked, row)))


def follow(journal: sqlite3.Connection) -> None:
    """From here on remember which rows of a journal are put."""
    for table, keys in _KEYS.items():
        names = ", ".join(keys)
        journal.execute(f"CREATE TEMP TABLE put_{table} ({names}, PRIMARY KEY ({names}))")
        new = ", ".join(f"NEW.{key}" for key in keys)
        journal.execute(
            f"CREATE TEMP TRIGGER note_{table} AFTER INSERT ON main.{table} BEGIN"  # noqa: S608 - ours
            f" INSERT OR IGNORE INTO put_{table} VALUES ({new}); END"
        )


def followed(journal: sqlite3.Connection) -> dict[str, str]:
    """The rows that have been put since the last `forget`, as they are now, in JSON."""
    # nearly always one or two tables
    is_put = journal.execute(f"SELECT {', '.join(_IS_PUT)}").fetchone()
    return {
        table: journal.execute(_PUT_ROWS[table]).fetchone()[0]
        for table, is_one in zip(_KEYS, is_put, strict=True)
        if is_one
    }


def forget(journal: sqlite3.Connection, tables: Iterable[str]) -> None:
    """What was put into these tables is in PostgreSQL."""
    for table in tables:
        journal.execute(f"DELETE FROM temp.put_{table}")  # noqa: S608 - ours


def put_rows(
    to: psycopg.Connection[Any], part: Part, rows: dict[str, str], *, synced: bool
) -> bool:
    """Put rows in one statement, which is one commit; repeated, it changes nothing.

    One statement leaves no transaction open that a frozen worker could hold others up with. One
    text for all rows of a table is half the work of an array for each column.

    Returns:
        False: a newer epoch has this part, and nothing was put.
    """
    arguments: list[Any] = [part.run, part.lo, part.epoch]
    for table, some in rows.items():
        arguments += [*(part.run, part.lo)[: len(_owner(table))], _marked_json(some)]
    found = to.execute(_statement(tuple(rows), synced), arguments).fetchone()
    return found is not None and found[0] == 1


@functools.cache
def _statement(tables: tuple[str, ...], synced: bool) -> bytes:  # noqa: FBT001 - a cached key
    puts = "".join(f", put_{table} AS ({_insert(table)})" for table in tables)
    lazily = "" if synced else ", set_config('synchronous_commit', 'off', true)"
    return (
        "WITH held AS (SELECT FROM orchestrator.chunk"  # noqa: S608 - our own names
        f" WHERE run = %s AND lo = %s AND epoch = %s FOR SHARE){puts}"
        f" SELECT (SELECT count(*) FROM held){lazily}"
    ).encode()


def _insert(table: str) -> str:
    names, types = columns(table), _types(table)
    leading = _owner(table)
    key = [*leading, *_KEYS[table]]
    new = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name not in key)
    typed = ", ".join(f"{name} {kind}" for name, kind in zip(names, types, strict=True))
    return (
        f"INSERT INTO orchestrator.{table} ({', '.join([*leading, *names])})"  # noqa: S608 - ours
        f" SELECT {', '.join(['%s::bigint'] * len(leading))}, new.*"
        f" FROM json_to_recordset(%s::json) AS new({typed})"
        " WHERE EXISTS (SELECT FROM held)"
        f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET {new}"
    )


# -- from PostgreSQL --------------------------------------------------------------------------


def load(source: psycopg.Connection[Any], part: Part, *, path: str = ":memory:") -> Any:
    """Make a journal in SQLite of a run, or of the campaigns of one of its chunks.

    Raises:
        StorageError: a row is damaged.
    """
    journal = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
    try:
        create_tables(journal)
        journal.execute("BEGIN")
        with source.transaction():
            source.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for table in _OF_LINE:
                marks = ", ".join("?" * len(columns(table)))
                rows = (_checked(table, row) for row in _rows_of_lines(source, part, table))
                journal.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608
            _load_notes(journal, source, part)
            _load_processes(journal, source, part)
            for row in _rows_of_chunk(source, part._replace(lo=part.notes_lo), "sweeps"):
                put(journal, "sweeps", row[1:])
        journal.execute("COMMIT")
        index_plan(journal)
    except BaseException:
        journal.close()
        raise
    return journal


def _checked(table: str, row: Row) -> Row:
    if crc(row[:-1]) == row[-1]:
        return row
    # marked, or damaged: what is marked is rare, and to look at every text is dear
    row = tuple(map(_unmarked, row))
    if crc(row[:-1]) != row[-1]:
        raise StorageError(
            f"the cluster's database is damaged: a row of {table} fails its checksum"
            f" (line {row[0]}). Nothing was sent.",
            advice="keep the database for examination and pause the list again in a new run:"
            " what is suspended already is left alone",
        )
    return row


def _rows_of_lines(source: psycopg.Connection[Any], part: Part, table: str) -> Iterator[Row]:
    names = ", ".join(f"one.{name}" for name in columns(table))
    order = ", ".join(f"one.{key}" for key in _KEYS[table])
    chosen, arguments = f"orchestrator.{table} one WHERE one.run = %s", [part.run]
    if part.vdn_id is not None:
        chosen = (
            "orchestrator.plan p"
            f" JOIN orchestrator.{table} one ON one.run = p.run AND one.seq = p.seq"
            f" WHERE p.run = %s AND p.vdn_id = %s AND p.seq BETWEEN %s AND %s AND {IS_CAMPAIGN}"
        )
        arguments += [part.vdn_id, part.lo & _LINE, part.hi]
    return _raw_rows(source, f"SELECT {names} FROM {chosen} ORDER BY {order}", arguments)  # noqa: S608


def _rows_of_chunk(source: psycopg.Connection[Any], part: Part, table: str) -> Iterator[Row]:
    """Of the part itself, behind its lo, without checksum."""
    names, keys = ", ".join(columns(table)[:-1]), ", ".join(_KEYS[table])
    return _rows(
        source,
        f"SELECT lo, {names} FROM orchestrator.{table} WHERE run = %s AND lo = %s ORDER BY {keys}",  # noqa: S608
        [part.run, part.lo],
    )


def _load_notes(journal: sqlite3.Connection, source: psycopg.Connection[Any], part: Part) -> None:
    """The facts of the run, and the notes of the part over those of the run."""
    rows = _rows(
        source,
        "SELECT key, value FROM orchestrator.meta WHERE run = %s AND lo IN (0, %s) ORDER BY lo",
        [part.run, part.notes_lo],
    )
    for row in rows:
        put(journal, "meta", row)
    if part.lo == 0:
        for row in _rows(source, _LARGEST, [part.run]):
            put(journal, "meta", row)


def _load_processes(
    journal: sqlite3.Connection, source: psycopg.Connection[Any], part: Part
) -> None:
    """The processes that worked on the part; of a run, one for each process of its chunks too."""
    last = 0
    for row in _rows_of_chunk(source, part, "lives"):
        put(journal, "lives", row[1:])
        last = int(row[1] or 0)
    if part.lo != 0:
        return
    workers = [process_of(row) for row in _rows(source, _WORKERS, [part.run])]
    ended_ms, ended, why = next(_rows(source, _EARLY_END, [part.run]))
    done_ms, together = next(_rows(source, _THROUGH, [part.run, part.run]))
    end: dict[str, Any] = {"ended_at_ms": None, "ended": None}  # some part of it is open
    if ended is not None:
        # what single workers wrote last is no end of the run
        end = {"ended_at_ms": ended_ms, "ended": Ended(str(ended))}
        put(journal, "meta", ("why", why))
        workers = workers or [ProcessRecord(int(ended_ms or 0), 0, "")]
    elif done_ms is not None and workers:
        # whatever became of single workers, the run is through
        ended_ms, worst_1s = workers[-1].ended_at_ms or int(done_ms), workers[-1].worst_1s
        end = {"ended_at_ms": ended_ms, "ended": Ended.FINISHED}
        end["worst_1s"] = max(worst_1s, int(together or 0))
    if workers:
        workers[-1] = workers[-1]._replace(**end)
    for number, one in enumerate(workers, start=last + 1):
        put(journal, "lives", life_row(number, one))


def _rows(source: psycopg.Connection[Any], query: str, arguments: Sequence[Any]) -> Iterator[Row]:
    for row in _raw_rows(source, query, arguments):
        yield tuple(map(_unmarked, row))


def _raw_rows(
    source: psycopg.Connection[Any], query: str, arguments: Sequence[Any]
) -> Iterator[Row]:
    with source.cursor("rows", binary=True) as cursor:
        cursor.itersize = _AT_ONCE
        cursor.execute(query.encode(), arguments)
        yield from cursor
