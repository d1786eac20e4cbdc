"""Building the plan: the whole list into a part, checked, then renamed; or nothing left behind."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import Problem, RefusedError, StorageError
from orchestrator.manifest.entry import ManifestLine
from orchestrator.model import Action, CampaignRef
from orchestrator.policy.decide import Changed, Outcome
from orchestrator.policy.plan import PlanCounts
from orchestrator.store import PlanWriter, Reason, Restorable, Standing, planning
from orchestrator.store.histories import report_rows
from orchestrator.store.queries import pending, undecided
from orchestrator.store.run_record import to_meta
from orchestrator.store.tables import check_whole, connect, read_meta
from tests.store.journal_makers import bad_line, line, run_record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is to be."""
    return tmp_path / "journal.db"


def part_of(path: Path) -> Path:
    """The part that becomes the journal."""
    return path.with_name("journal.db.part")


# -- what is in it ------------------------------------------------------------------------------


def test_every_line_has_its_row_in_order(path: Path) -> None:
    """Good lines as numbers, bad ones as they were written."""
    plan = PlanWriter(path)
    counts, refused = plan.take([line(2, 146), bad_line(3, "12e3"), line(4, 147, vdn_id=9)])
    connection = plan.finish(run_record()).connection

    assert counts == PlanCounts(lines=3, campaigns=2, duplicates=0, invalid=1)
    assert (refused.total, refused.shown) == (1, [Problem("3", "is not a campaign id")])
    assert [row[:-1] for row in connection.execute("SELECT * FROM plan ORDER BY seq")] == [
        (1, 2, 1234, 146, "", "", ""),
        (2, 3, None, None, "1234", "12e3", "is not a campaign id"),
        (3, 4, 9, 147, "", "", ""),
    ]
    assert read_meta(connection) == to_meta(run_record())
    check_whole(connection, path)
    connection.close()


ENTRIES = st.lists(st.none() | st.tuples(st.integers(1, 2), st.integers(1, 4)), max_size=30)


@given(ENTRIES, st.integers(1, 7))
def test_duplicates_are_all_but_the_first_of_each(
    entries: list[tuple[int, int] | None], chunk: int
) -> None:
    """Any list, stored in chunks of any size: as a dictionary would have found them."""
    first: dict[tuple[int, int], int] = {}
    wanted = []
    for seq, entry in enumerate(entries, start=1):
        if entry is not None and first.setdefault(entry, seq) != seq:
            wanted.append((seq, first[entry] + 10))
    plan = PlanWriter(None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "_CHUNK", chunk)
        counts, refused = plan.take(
            line(seq + 10, entry[1], vdn_id=entry[0]) if entry else bad_line(seq + 10)
            for seq, entry in enumerate(entries, start=1)
        )
    connection = plan.finish(run_record()).connection

    found = connection.execute("SELECT seq, first_line FROM duplicates ORDER BY seq").fetchall()
    assert found == wanted
    assert counts == PlanCounts(len(entries), len(first), len(wanted), entries.count(None))
    assert refused.total == entries.count(None)
    connection.close()


def test_the_first_twenty_problems_are_kept_and_all_are_counted() -> None:
    """A list of a million bad lines must not fill the memory."""
    plan = PlanWriter(None)
    _, refused = plan.take(bad_line(one, problem=f"no {one}") for one in range(1, 51))
    plan.discard()

    assert refused.shown == [Problem(f"{one}", f"no {one}") for one in range(1, 21)]
    assert refused.total == 50


def test_text_that_is_no_text_can_be_stored() -> None:
    """Half a character in a JSON list is reported as a row like any other bad line."""
    plan = PlanWriter(None)
    plan.take([bad_line(1, "\ud800 and \x00", problem="\udcff is not a campaign id")])

    (row,) = plan.connection.execute("SELECT campaign_text, problem FROM plan")
    plan.discard()
    assert row == ("? and \x00", "? is not a campaign id")


# -- whole or not at all ------------------------------------------------------------------------


def test_the_journal_has_its_name_only_when_it_is_finished(path: Path) -> None:
    """[P01] No journal, nothing sent: until then there is a part, and afterwards none."""
    plan = PlanWriter(path)
    names = [sorted(one.name for one in path.parent.iterdir())]
    plan.take([line(1, 1)])
    names.append(sorted(one.name for one in path.parent.iterdir()))
    plan.finish().close()
    names.append(sorted(one.name for one in path.parent.iterdir()))

    assert names == [["journal.db.part"], ["journal.db.part"], ["journal.db"]]


def test_it_is_on_the_disk_before_it_has_its_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[P08] fsync of the part, then the rename; the first commit fsyncs log and directory."""
    steps = []
    real_sync = os.fsync

    def sync(descriptor: int) -> None:
        name = os.path.realpath(f"/proc/self/fd/{descriptor}")
        steps.append((os.path.basename(name), path.exists()))  # noqa: PTH119
        real_sync(descriptor)

    monkeypatch.setattr(os, "fsync", sync)

    PlanWriter(path).finish().close()

    assert steps == [("journal.db.part", False)]


@pytest.mark.parametrize("fails", [False, True])
def test_a_list_that_is_refused_or_fails_leaves_nothing_behind(path: Path, *, fails: bool) -> None:
    """An error of the list's own goes through; discarding twice is harmless."""

    def lines() -> Iterator[ManifestLine]:
        yield bad_line(1)
        if fails:
            raise LookupError

    plan = PlanWriter(path)
    with pytest.raises(LookupError) if fails else contextlib.nullcontext():
        plan.take(lines())
    plan.discard()
    plan.discard()

    assert not list(path.parent.iterdir())


# -- where it stands ----------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize(("shared", "mode"), [(False, 0o600), (True, 0o660)])
def test_a_journal_has_the_rights_of_its_directory(
    path: Path, umask: int, mode: int, *, shared: bool
) -> None:
    """[Z13] Private, or its group's below a setgid directory, whatever the umask; its log too."""
    path.parent.chmod(0o2770 if shared else 0o700)
    before = os.umask(umask)
    try:
        plan = PlanWriter(path)
        modes = [stat.S_IMODE(part_of(path).stat().st_mode)]
        connection = plan.finish(run_record()).connection
        connection.execute("INSERT INTO meta VALUES ('a', 'b', 0)")
        modes += [stat.S_IMODE(one.stat().st_mode) for one in path.parent.glob("journal.db*")]
        connection.close()
    finally:
        os.umask(before)

    assert modes == [mode] * 4


def test_a_link_in_place_of_the_part_is_not_followed(path: Path) -> None:
    """[P01][Z12] Nor is half a plan of yesterday worth anything: either is replaced."""
    victim = path.with_name("victim")
    victim.write_text("precious")
    part_of(path).symlink_to(victim)

    PlanWriter(path).finish().close()

    assert victim.read_text() == "precious"
    assert path.is_file()
    assert not path.is_symlink()


def test_a_link_that_appears_in_between_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[Z12] Put there after the old part was removed: exit 5, and the link's target stays."""
    victim = path.with_name("victim")
    really_open = os.open

    def open_too_late(name: Path, flags: int, mode: int) -> int:
        part_of(path).symlink_to(victim)
        return really_open(name, flags, mode)

    monkeypatch.setattr(os, "open", open_too_late)

    with pytest.raises(StorageError, match="cannot be created"):
        PlanWriter(path)

    assert not victim.exists()


def test_a_journal_that_is_there_is_never_replaced(path: Path) -> None:
    """[X01] Another process finished here between our look and our lock: exit 7."""
    PlanWriter(path).finish(run_record()).close()

    with pytest.raises(RefusedError, match="another process") as told:
        PlanWriter(path)

    assert told.value.exit_code == 7
    connection = connect(path)
    assert read_meta(connection) == to_meta(run_record())
    connection.close()
    assert not part_of(path).exists()


# -- disks --------------------------------------------------------------------------------------


def full_soon(plan: PlanWriter, pages: int) -> None:
    """Let the disk be full after so many pages."""
    (used,) = plan.connection.execute("PRAGMA page_count").fetchone()
    plan.connection.execute(f"PRAGMA max_page_count = {used + pages}")


def _take_lines(plan: PlanWriter) -> None:
    plan.take(line(one, one // 2 + 1) for one in range(1, 3_000))


def _take_restorable(plan: PlanWriter) -> None:
    changed = [Restorable(one, CampaignRef(1, one), inferred=False) for one in range(1, 2_000)]
    plan.take_restorable(changed, {}, at_ms=1_000)


@pytest.mark.parametrize(
    ("pages", "take"),
    [(0, _take_lines), (20, _take_lines), (40, _take_lines), (0, _take_restorable)],
)
def test_a_full_disk_ends_the_plan(
    path: Path, pages: int, take: Callable[[PlanWriter], None]
) -> None:
    """[P16] While the rows, the index or the duplicates are stored: exit 5, nothing stays."""
    plan = PlanWriter(path)
    full_soon(plan, pages)

    with pytest.raises(StorageError, match=r"plan cannot be stored: .*full"):
        take(plan)
    plan.discard()

    assert not list(path.parent.iterdir())


def test_a_full_disk_at_the_end_leaves_no_journal(path: Path) -> None:
    """[P16] The facts do not fit any more: there is no journal, so nothing is sent."""
    plan = PlanWriter(path)
    plan.take([line(1, 1)])
    full_soon(plan, 0)

    with pytest.raises(StorageError, match="journal cannot be stored"):
        plan.finish(run_record(reason="x" * 100_000))
    plan.discard()

    assert not path.exists()


def test_a_failing_fsync_leaves_no_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[P18] What may not be on the disk does not get the name of a journal."""

    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)

    with pytest.raises(StorageError, match="Input/output error"):
        PlanWriter(path).finish()

    assert not path.exists()
    assert part_of(path).exists()


def test_a_journal_that_cannot_be_made_durable_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[P18] It has its name already; whoever gives it up lets go of it too."""
    opened: list[sqlite3.Connection] = []

    def fail(connection: sqlite3.Connection) -> None:
        opened.append(connection)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(planning, "set_durable", fail)
    plan = PlanWriter(path)

    with pytest.raises(StorageError, match="disk I/O error"):
        plan.finish()
    plan.discard()

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")


def test_a_place_that_takes_no_file_is_a_storage_error(tmp_path: Path) -> None:
    """A directory that is missing, or where the part would have to be."""
    (tmp_path / "journal.db.part").mkdir()

    for path in (tmp_path / "gone" / "journal.db", tmp_path / "journal.db"):
        with pytest.raises(StorageError, match="cannot be created"):
            PlanWriter(path)


# -- restore ------------------------------------------------------------------------------------


def test_the_plan_of_a_restore_is_what_a_run_changed(path: Path) -> None:
    """In its order; what is left alone is settled, and what may be started waits for a look."""
    changed = [Restorable(7, CampaignRef(1234, 5), inferred=False),
               Restorable(9, CampaignRef(9, 5), inferred=True),
               Restorable(11, CampaignRef(9, 6), inferred=False)]  # fmt: skip
    reasons = {CampaignRef(9, 5): Reason("excluded by --except"),
               CampaignRef(9, 6): Reason("perhaps started by run r1", is_doubt=True)}  # fmt: skip
    plan = PlanWriter(path)
    plan.take_restorable(changed, reasons, at_ms=1_000)
    connection = plan.finish(run_record()).connection
    check_whole(connection, path)

    found = pending(connection, vdn_id=1234, after=0, limit=9)
    rows = list(report_rows(connection, action=Action.RESUME, run_id="r2"))

    assert [one.ref for one in found] == [CampaignRef(1234, 5)]
    assert pending(connection, vdn_id=9, after=0, limit=9) == []
    assert [(row.vdn_id, row.outcome, row.changed, row.error) for row in rows][1:] == [
        ("9", Outcome.LEFT_ALONE, Changed.NO, "excluded by --except"),
        ("9", Outcome.UNKNOWN, Changed.MAYBE, "perhaps started by run r1"),
    ]
    doubtful = undecided(connection, Standing.NEEDS_READ, after=0, limit=9)
    assert [one.ref for one in doubtful] == [CampaignRef(9, 6)]
    connection.close()
