"""The journal on disk: what is damaged, newer or not ours is refused whole."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import JournalMismatchError, StorageError
from orchestrator.store import PlanWriter, open_saved
from orchestrator.store.tables import (
    SCHEMA_VERSION,
    TABLES,
    check_whole,
    connect,
    crc,
    find_damage,
    put,
    read_meta,
    set_durable,
)
from orchestrator.store.transfer import columns
from tests.store.journal_makers import SAMPLES, dump, fill, line, make_journal, sample_journal

FLIPS = 300
TAILS = 120


def reopened(path: Path) -> dict[str, list[Any]] | None:
    """Everything in a journal; None when it was refused in one of the two ways allowed."""
    try:
        with closing(connect(path)) as connection:
            check_whole(connection, path)
            return dump(connection)
    except (StorageError, JournalMismatchError):
        return None


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A closed journal with something in every table."""
    path = tmp_path / "journal.db"
    sample_journal(path).close()
    return path


# -- rows ---------------------------------------------------------------------------------------


def test_there_is_a_sample_for_every_table() -> None:
    """A new table joins these tests by itself, or breaks them."""
    assert {table: len(row) for table, row in SAMPLES.items()} == {
        table: len(columns) for table, columns in TABLES.items()
    }


CELLS = [(table, name) for table in TABLES for name in columns(table)]


@pytest.mark.parametrize(("table", "column"), CELLS, ids=[f"{one}.{two}" for one, two in CELLS])
def test_any_changed_value_of_any_row_is_found(tmp_path: Path, table: str, column: str) -> None:
    """[P23] One value of one row, the checksum's own included; the table is named."""
    path = tmp_path / "journal.db"
    connection = make_journal([])
    fill(connection)
    check_whole(connection, path)
    connection.execute(f"UPDATE {table} SET {column} = coalesce({column}, 0) || '1'")  # noqa: S608

    with (
        closing(connection),
        pytest.raises(StorageError, match=f"a row of {table} fails its checksum"),
    ):
        check_whole(connection, path)


VALUE = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)


@given(st.lists(VALUE, min_size=1, max_size=8), st.data())
def test_a_checksum_changes_with_every_value(row: list[Any], data: st.DataObject) -> None:
    """[P23] Another value, or another type of the same digits, is another checksum."""
    place = data.draw(st.integers(0, len(row) - 1))
    other = data.draw(VALUE)
    changed = [*row[:place], other, *row[place + 1 :]]

    assert (crc(changed) == crc(row)) is (changed == row)
    assert crc(row) != crc([*row, None])


@given(st.lists(VALUE, min_size=2, max_size=2))
def test_what_was_put_is_read_back_with_its_checksum(values: list[Any]) -> None:
    """Whatever a text holds, NUL included, the row is the same after the disk."""
    connection = make_journal([])
    row = (1, *values[:1], "x", *values[1:])
    put(connection, "restored", row)
    (kept,) = connection.execute("SELECT * FROM restored")
    connection.close()

    same_types = isinstance(values[0], str | None) and isinstance(values[1], int | None)
    assert kept[-1] == crc(row)
    if same_types:
        assert kept[:-1] == row


# -- files --------------------------------------------------------------------------------------


def test_a_whole_journal_is_opened(whole: Path) -> None:
    """Written, closed, opened: the same rows, and its facts."""
    connection = connect(whole)
    check_whole(connection, whole)

    assert read_meta(connection) == {"facts": SAMPLES["meta"][1]}
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    connection.close()


def flipped(raw: bytes, place: int, bit: int) -> bytes:
    """The same bytes but for one bit."""
    return raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :]


def test_a_flipped_bit_is_refused_or_harmless(whole: Path) -> None:
    """[P23][P25] In header, names of tables, rows: refused, or the true rows; never others."""
    true_rows = reopened(whole)
    assert true_rows is not None
    raw = whole.read_bytes()
    used = [place for place, byte in enumerate(raw) if byte]
    chance = random.Random(1)
    flips = [(place, bit) for place in [*range(112), *range(1_000, 4_096, 17)] for bit in (0, 3, 7)]
    flips += [(chance.choice(used), chance.randrange(8)) for _ in range(FLIPS)]
    refused = 0
    for place, bit in flips:
        whole.write_bytes(flipped(raw, place, bit))
        rows = reopened(whole)
        refused += rows is None
        assert rows in (None, true_rows), f"byte {place}, bit {bit}"
    assert refused > FLIPS // 2


def test_a_shortened_journal_is_refused(whole: Path) -> None:
    """[P23] Cut anywhere, also at a page's end."""
    raw = whole.read_bytes()
    chance = random.Random(5)
    for size in {0, 1, 99, 100, 512, *range(0, len(raw), 4_096)} | {
        chance.randrange(len(raw)) for _ in range(40)
    }:
        whole.write_bytes(raw[:size])
        assert reopened(whole) is None, size


# -- the log beside it --------------------------------------------------------------------------


@pytest.fixture
def torn(tmp_path: Path) -> tuple[Path, bytes, list[dict[str, list[Any]]]]:
    """A journal whose last commits are only in its log: path, the log, the rows after each."""
    living = tmp_path / "living" / "journal.db"
    living.parent.mkdir()
    connection = sample_journal(living)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    states = [dump(connection)]
    for number in range(2, 12):
        connection.execute("BEGIN IMMEDIATE")
        put(connection, "attempts", (number, *SAMPLES["attempts"][1:]))
        put(connection, "outcomes", (number, *SAMPLES["outcomes"][1:]))
        connection.execute("COMMIT")
        states.append(dump(connection))
    path = tmp_path / "journal.db"
    shutil.copy(living, path)
    log = living.with_name("journal.db-wal").read_bytes()
    connection.close()
    return path, log, states


def left(path: Path, log: bytes) -> dict[str, list[Any]] | None:
    """What is read of a journal with this log, as a killed process leaves it."""
    path.with_name("journal.db-shm").unlink(missing_ok=True)
    path.with_name("journal.db-wal").write_bytes(log)
    return reopened(path)


def test_a_torn_log_gives_a_prefix(torn: tuple[Path, bytes, list[Any]]) -> None:
    """[P05][P24] Cut anywhere: some commits, whole and in order; garbage behind them is none."""
    path, log, states = torn
    raw = path.read_bytes()
    chance = random.Random(6)
    seen = set()
    for size in [0, 31, 32, len(log) - 1, *(chance.randrange(len(log)) for _ in range(TAILS))]:
        path.write_bytes(raw)
        rows = left(path, log[:size])
        assert rows in states, size
        seen.add(states.index(rows))
    assert len(seen) > 5
    for tail in (b"", b"\0" * 5_000, b"\xff" * 123, chance.randbytes(9_000)):
        path.write_bytes(raw)
        assert left(path, log + tail) == states[-1]


def test_a_flipped_bit_in_the_log_or_beside_it_gives_a_prefix(
    torn: tuple[Path, bytes, list[Any]],
) -> None:
    """[P23][P24] SQLite's checksums end the log there; a damaged file forgets no log."""
    path, log, states = torn
    raw = path.read_bytes()
    chance = random.Random(8)
    used = [place for place, byte in enumerate(raw) if byte]
    for place in [*range(32), *(chance.randrange(len(log)) for _ in range(TAILS))]:
        path.write_bytes(raw)
        rows = left(path, flipped(log, place, chance.randrange(8)))
        assert rows in [None, *states], f"byte {place} of the log"
    for place in [*range(100), *chance.sample(used, TAILS)]:
        path.write_bytes(flipped(raw, place, chance.randrange(8)))
        assert left(path, log) in (None, states[-1]), f"byte {place}"


# -- not ours -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, 99])
def test_another_version_is_refused_and_both_are_named(whole: Path, version: int) -> None:
    """[P25] Exit 2: an older orchestrator does not guess at a newer journal."""
    connection = sqlite3.connect(whole)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()

    with pytest.raises(
        JournalMismatchError, match=f"format {version}.*format {SCHEMA_VERSION}"
    ) as told:
        connect(whole)

    assert told.value.exit_code == 2


def _another_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE songs (name)")


@pytest.mark.parametrize(
    "make",
    [
        _another_database,
        Path.touch,
        lambda path: path.write_bytes(b"vdn_id,campaign_id\n1,2\n" * 100),
        lambda path: path.write_bytes(b"\0" * 8_192),
    ],
    ids=["another database", "an empty file", "a list", "zeros"],
)
def test_another_file_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """Whatever stands under the name of a journal and is none."""
    path = tmp_path / "journal.db"
    make(path)

    with pytest.raises((StorageError, JournalMismatchError), match=r"journal\.db"):
        connect(path)


def test_a_missing_journal_is_not_made(tmp_path: Path) -> None:
    """Opening is not creating."""
    with pytest.raises(StorageError, match="cannot be opened"):
        connect(tmp_path / "journal.db")

    assert not list(tmp_path.iterdir())


def test_changed_tables_are_refused(whole: Path) -> None:
    """[P23] A column of another name would only be missed in the middle of a run."""
    connection = sqlite3.connect(whole)
    connection.execute("ALTER TABLE looks RENAME COLUMN status TO statut")
    connection.close()

    assert reopened(whole) is None


def test_odd_characters_in_a_path_are_no_options(tmp_path: Path) -> None:
    """SQLite opens by URI, in which these mean something."""
    folder = tmp_path / "50%25 of #1?mode=ro&x"
    folder.mkdir()
    path = folder / "journal.db"
    sample_journal(path).close()

    assert reopened(path) is not None
    assert not (tmp_path / "50% of ").exists()


@pytest.mark.parametrize("facts", [None, "{}", "[]", "{", '{"kind": "pause", "accept": []}'])
def test_a_journal_that_does_not_say_what_its_run_is_is_refused(
    tmp_path: Path, facts: str | None
) -> None:
    """Whole, and yet nothing to report or to go on with."""
    path = tmp_path / "journal.db"
    with closing(PlanWriter(path).finish()) as journal:
        if facts is not None:
            put(journal.connection, "meta", ("facts", facts))

    with open_saved(path, whole=True) as saved, pytest.raises(StorageError, match="what its run"):
        saved.record()


# -- read back before the end --------------------------------------------------------------------


def emptied(path: Path) -> None:
    """[docs/spec/evidence.md, rule 1] Truncated in place: the same file, nothing in it."""
    with path.open("r+b") as journal:
        journal.truncate(0)


def shortened(path: Path) -> None:
    """Half of it is gone."""
    with path.open("r+b") as journal:
        journal.truncate(path.stat().st_size // 2)


def replaced(path: Path) -> None:
    """Another journal lies there, with as many rows of a plan."""
    path.unlink()
    make_journal([line(one, one) for one in range(1, 40)], path).close()


@pytest.mark.parametrize("change", [emptied, shortened, replaced, Path.unlink])
def test_a_journal_that_was_changed_meanwhile_is_found_damaged(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Nothing could be restored from it, so no good end is said; the one that writes notices."""
    path = tmp_path / "journal.db"
    with closing(sample_journal(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        change(path)

        damage = find_damage(connection, path=path, process=1)

    assert damage is not None
    assert str(path) in str(damage)


@pytest.mark.parametrize("kept", [0, 4, 10, 20])
def test_a_hole_in_the_log_is_found_before_a_good_end_is_said(tmp_path: Path, kept: int) -> None:
    """The log is cut under the run, which writes on behind the hole: what is missing is pages."""
    path = tmp_path / "journal.db"
    with closing(make_journal([line(one, one) for one in range(1, 400)], path)) as connection:
        set_durable(connection)
        put(connection, "lives", SAMPLES["lives"])
        log = path.with_name("journal.db-wal")
        for number in range(398):
            if number == 300:
                with log.open("r+b") as file:
                    file.truncate(kept * 4096)
            seq = number * 1009 % 399 + 1
            put(connection, "outcomes", (seq, *SAMPLES["outcomes"][1:]))

        damage = find_damage(connection, path=path, process=1)

    assert damage is not None or reopened(path) is not None


def test_what_another_program_has_done_is_found_before_a_good_end_is_said(tmp_path: Path) -> None:
    """Whole as it was written; not with another newest process, nor an outcome set right."""
    path = tmp_path / "journal.db"
    with closing(sample_journal(path)) as connection:
        assert find_damage(connection, path=path, process=1) is None
        assert "this process is not in it" in str(find_damage(connection, path=path, process=2))
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE outcomes SET outcome = 'paused'")
        damage = find_damage(connection, path=path, process=1)

    assert "a row of outcomes fails its checksum" in str(damage)
