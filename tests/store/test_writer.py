"""Who touches the database: groups, order, failures of operations and of the disk."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StorageError
from orchestrator.store import writer as writer_module
from orchestrator.store.tables import connect, put, set_durable
from orchestrator.store.writer import InlineWriter, Keeper, Rows, ThreadWriter
from tests.store.journal_makers import make_journal

Make = Callable[..., Any]

# A thread of its own is nothing that virtual time knows of.
pytestmark = pytest.mark.sockets


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty journal on disk."""
    path = tmp_path / "run" / "journal.db"
    path.parent.mkdir()
    make_journal([], path).close()
    return path


@pytest.fixture(params=[ThreadWriter, InlineWriter])
async def make(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Make]:
    """Makes a writer on that journal, of either kind, and closes it."""
    made = []

    def make_writer(*, keep_going: bool = False, pages: int | None = None) -> Any:
        connection = connect(path)
        set_durable(connection)
        if pages is not None:
            # The disk is full soon: SQLite says so in the same words.
            (used,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count = {used + pages}")
        made.append(request.param(Keeper(connection, path, keep_going=keep_going)))
        return made[-1]

    yield make_writer
    for writer in made:
        await writer.close()


def note(key: str, value: str = "") -> Callable[[sqlite3.Connection], str]:
    """An operation that notes a fact and returns its key."""

    def operation(connection: sqlite3.Connection) -> str:
        put(connection, "meta", (key, value))
        return key

    return operation


def keys(connection: sqlite3.Connection) -> list[str]:
    """The facts that were noted, in order."""
    rows = connection.execute("SELECT key FROM meta WHERE key <> 'facts' ORDER BY rowid")
    return [key for (key,) in rows]


def on_disk(path: Path) -> list[str]:
    """The facts that another process would read by now."""
    with closing(connect(path)) as other:
        return keys(other)


def fails_after_writing(connection: sqlite3.Connection) -> None:
    """An operation with a bug behind its first write."""
    put(connection, "meta", ("half", ""))
    raise LookupError("a bug")


# -- both kinds ---------------------------------------------------------------------------------


async def test_an_operation_that_reads_sees_the_rows_before_it_and_none_after(
    make: Make,
) -> None:
    """Rows, a reading operation, rows again, submitted in one go: it sees the first ones only."""
    writer = make()

    first = writer.submit(Rows((("meta", ("1", "")),)))
    between = writer.submit(keys)
    second = writer.submit(Rows((("meta", ("2", "")),)))
    after = writer.submit(keys)
    await asyncio.gather(first, second)

    assert (await between, await after) == (["1"], ["1", "2"])


async def test_the_last_of_two_rows_with_one_key_stays(make: Make) -> None:
    """An intent and its answer in one group: the answer is what the journal holds."""
    writer = make()
    same = [writer.submit(Rows((("meta", ("key", value)),))) for value in ("intended", "answered")]
    await asyncio.gather(*same)

    found = await writer.read(
        lambda db: db.execute("SELECT value FROM meta WHERE key = 'key'").fetchall()
    )

    assert found == [("answered",)]


OWN_FAULTS: list[tuple[Callable[[sqlite3.Connection], object], type[Exception]]] = [
    (fails_after_writing, LookupError),
    (lambda db: db.execute("INSERT INTO meta SELECT * FROM meta"), sqlite3.IntegrityError),
    (lambda db: db.execute("INSERT INTO meta VALUES (?, ?, ?)", (object(), 2, 3)), sqlite3.Error),
]


@pytest.mark.parametrize(("operation", "fault"), OWN_FAULTS)
@pytest.mark.parametrize("keep_going", [False, True])
async def test_an_operation_that_raises_fails_alone(
    make: Make,
    path: Path,
    operation: Callable[[sqlite3.Connection], object],
    fault: type[Exception],
    *,
    keep_going: bool,
) -> None:
    """Its neighbours are written, its own half is not, and the journal lives on."""
    writer = make(keep_going=keep_going)

    found = await asyncio.gather(
        writer.submit(note("1")),
        writer.submit(operation),
        writer.submit(note("2")),
        return_exceptions=True,
    )

    assert [found[0], found[2]] == ["1", "2"]
    assert isinstance(found[1], fault)
    assert writer.failure is None
    assert on_disk(path) == ["1", "2"]
    assert await writer.read(keys) == ["1", "2"]


async def test_a_read_that_raises_is_told_to_its_reader(make: Make) -> None:
    """A bug as it is, a disk as a StorageError; neither ends the journal."""
    writer = make()

    with pytest.raises(LookupError):
        await writer.read(fails_after_writing)
    with pytest.raises(StorageError, match="cannot be read"):
        await writer.read(lambda db: db.execute("SELECT * FROM gone").fetchall())

    assert writer.failure is None


async def test_a_full_disk_ends_a_batch_journal(make: Make, path: Path) -> None:
    """[P16] Every later write is refused, however small; reads work; all confirmed is there."""
    writer = make(pages=4)
    confirmed: list[str] = []
    while writer.failure is None:
        with contextlib.suppress(StorageError):
            confirmed += [await writer.submit(note(f"{len(confirmed)}", "x" * 500))]

    for _ in range(2):
        with pytest.raises(StorageError, match="full") as told:
            await writer.submit(note("small"))
        assert told.value is writer.failure

    assert writer.failure.exit_code == 5
    assert "continue" in writer.failure.advice
    assert await writer.read(keys) == confirmed
    assert on_disk(path) == confirmed
    assert len(confirmed) > 5


async def test_an_emergency_goes_on_in_memory(make: Make, path: Path) -> None:
    """[P16] No write fails, all from before is there, also of an earlier process; it is known."""
    await make().submit(note("earlier"))
    writer = make(keep_going=True, pages=4)
    assert writer.failure is None

    confirmed = [await writer.submit(note(f"{number}", "x" * 500)) for number in range(200)]

    first_failure = writer.failure
    assert "full" in str(first_failure)
    assert await writer.read(keys) == ["earlier", *confirmed]
    assert await writer.submit(note("more")) == "more"
    assert writer.failure is first_failure
    kept = on_disk(path)[1:]
    assert kept == confirmed[: len(kept)]
    assert 5 < len(kept) < 200


async def test_an_emergency_survives_a_disk_that_is_gone(make: Make, path: Path) -> None:
    """[P18][P22] Neither written nor read any more: what was known is known."""
    writer = make(keep_going=True)
    await writer.submit(note("1"))
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE meta")

    assert await writer.submit(note("2")) == "2"
    assert await writer.read(keys) == ["1", "2"]
    assert "no such table" in str(writer.failure)


GONE: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "replaced": lambda path: (path.rename(path.with_name("old")), path.write_bytes(b"new")),
    "its directory renamed": lambda path: path.parent.rename(path.parent.with_name("elsewhere")),
    "its directory a file": lambda path: (
        path.parent.rename(path.parent.with_name("elsewhere")),
        path.parent.write_bytes(b""),
    ),
}


@pytest.mark.parametrize("how", GONE)
async def test_a_journal_that_lost_its_file_is_noticed(make: Make, path: Path, how: str) -> None:
    """[P22] A commit into a file that nobody can find again is no commit."""
    writer = make()
    await writer.submit(note("1"))
    GONE[how](path)

    with pytest.raises(StorageError, match="removed or replaced"):
        await writer.submit(note("2"))

    assert "removed or replaced" in str(writer.failure)


def test_a_journal_that_cannot_be_copied_is_a_storage_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An emergency learns it before it begins; the copy that was begun is not left open."""
    connection = make_journal([])
    connection.close()
    copy = sqlite3.connect(":memory:")
    monkeypatch.setattr(writer_module, "memory_connection", lambda: copy)

    with pytest.raises(StorageError, match="cannot be read"):
        Keeper(connection, None, keep_going=True)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        copy.execute("SELECT 1")


# -- the thread ---------------------------------------------------------------------------------


class Gate:
    """An operation that keeps the writer busy until it is let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.let_go = threading.Event()

    def __call__(self, _connection: sqlite3.Connection) -> None:
        self.reached.set()
        assert self.let_go.wait(timeout=30)


@pytest.fixture
async def busy(path: Path) -> AsyncIterator[tuple[ThreadWriter, Gate]]:
    """A thread writer that is busy until the gate opens."""
    connection = connect(path)
    set_durable(connection)
    writer = ThreadWriter(Keeper(connection, path))
    gate = Gate()
    held = writer.submit(gate)
    await asyncio.to_thread(gate.reached.wait, 30)
    yield writer, gate
    gate.let_go.set()
    await writer.close()
    await held


Busy = tuple[ThreadWriter, Gate]


async def test_what_waits_together_is_written_in_order(busy: Busy) -> None:
    """Twelve hundred writes behind a busy writer."""
    writer, gate = busy
    waiting = [writer.submit(note(f"{number}")) for number in range(1_200)]
    gate.let_go.set()

    written = await asyncio.gather(*waiting)

    assert written == [f"{number}" for number in range(1_200)]
    assert await writer.read(keys) == written


async def test_nothing_is_confirmed_before_its_commit(busy: Busy, path: Path) -> None:
    """While the last of a group is still being applied, the first of it is not done."""
    writer, gate = busy
    second = Gate()
    first = writer.submit(note("first"))
    last = writer.submit(second)
    gate.let_go.set()
    await asyncio.to_thread(second.reached.wait, 30)
    await asyncio.sleep(0)

    before = (first.done(), on_disk(path))
    second.let_go.set()
    await asyncio.gather(first, last)

    assert before == (False, [])
    assert on_disk(path) == ["first"]


async def test_whoever_stops_waiting_does_not_stop_the_write(busy: Busy) -> None:
    """[X07] A cancelled wait: the intent is written all the same, and others get their answers."""
    writer, gate = busy
    given_up = writer.submit(note("given up"))
    other = writer.submit(note("other"))
    given_up.cancel()
    gate.let_go.set()

    assert await other == "other"
    assert await writer.read(keys) == ["given up", "other"]


async def test_closing_finishes_what_was_submitted(busy: Busy, path: Path) -> None:
    """Nothing that was handed in is lost, reads included."""
    writer, gate = busy
    written = [writer.submit(note("1")), writer.submit(note("2"))]
    read = writer.read(keys)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    gate.let_go.set()
    await closing

    assert [one.result() for one in written] == ["1", "2"]
    assert read.result() == ["1", "2"]
    assert on_disk(path) == ["1", "2"]


async def test_a_closed_journal_says_so_instead_of_hanging(path: Path) -> None:
    """A write or a read after the end is refused at once."""
    writer = ThreadWriter(Keeper(connect(path), path))
    await writer.close()
    await writer.close()

    for late in (writer.submit(note("late")), writer.read(keys)):
        with pytest.raises(StorageError, match="closed"):
            await late
    assert on_disk(path) == []


def test_a_loop_that_has_closed_loses_no_write(path: Path) -> None:
    """Left at once by a second signal: what was handed in is on the disk all the same."""
    gate = Gate()

    async def submit_and_leave() -> ThreadWriter:
        writer = ThreadWriter(Keeper(connect(path), path))
        _ = writer.submit(gate), writer.submit(note("late"))
        return writer

    writer = asyncio.run(submit_and_leave())
    gate.let_go.set()
    asyncio.run(writer.close())

    assert on_disk(path) == ["late"]
