"""Which runs there are: registered or not, wherever they lie, in the order of their beginning."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from orchestrator.errors import OrchestratorError, StorageError, UsageError
from orchestrator.store import PlanWriter, registry
from orchestrator.store.registry import (
    REGISTRY,
    find_by_id,
    forget,
    known_runs,
    missing_runs,
    newest_runs,
    register,
)
from orchestrator.store.run_dir import RunDirectory, make_run_directory
from tests.store.journal_makers import line, run_record

ID = "20261123T230501Z-7f3a"
LATER_ID = "20261124T000000Z-0001"


def finished(state: Path, run_id: str) -> RunDirectory:
    """A run directory that has a journal, and no line in the registry."""
    made = make_run_directory(state / "runs" / run_id)
    made.journal.write_bytes(b"journal")
    return made


def elsewhere(state: Path, path: Path, run_id: str) -> Path:
    """A registered run in a directory of its own, with a journal that says so."""
    made = make_run_directory(path)
    made.journal.unlink(missing_ok=True)
    writer = PlanWriter(made.journal)
    writer.take([line(1, 7)])
    writer.finish(run_record(run_id=run_id)).close()
    register(state, run_id, path, durable=False)
    return path


def ids(state: Path) -> list[str]:
    """Every run, newest first."""
    return [run.run_id for run in known_runs(state)]


# -- the file -----------------------------------------------------------------------------------


def test_a_run_elsewhere_is_found_by_its_id(tmp_path: Path) -> None:
    """--run-dir chose a place outside: its id, or the end, leads there; the registry is made."""
    path = elsewhere(tmp_path / "new" / "state", tmp_path / "nightly", ID)

    assert {find_by_id(tmp_path / "new" / "state", text).path for text in (ID, "7f3a")} == {path}


def test_the_order_is_that_of_the_beginning_not_of_the_clock(tmp_path: Path) -> None:
    """The clock was set back between two runs; what was never registered comes first, by id."""
    for run_id in (LATER_ID, ID, "20250101T000000Z-0000", "20270101T000000Z-0000"):
        finished(tmp_path, run_id)
    (tmp_path / "runs" / "tmp").mkdir()
    (tmp_path / "runs" / "20280101T000000Z-0000").touch()  # no directory, no run
    for run_id in (LATER_ID, ID):
        register(tmp_path, run_id, tmp_path / "runs" / run_id, durable=True)

    assert ids(tmp_path) == [ID, LATER_ID, "20270101T000000Z-0000", "20250101T000000Z-0000"]
    assert [run.run_id for run in newest_runs(tmp_path, 2)] == [ID, LATER_ID]


def test_the_registry_is_readable_by_nobody_else(tmp_path: Path) -> None:
    """0600 whatever the umask says, and put right where it was not; 0660 below setgid."""
    private, shared = tmp_path / "private", tmp_path / "shared"
    for place in (private, shared):
        place.mkdir()
    shared.chmod(0o2770)
    (private / REGISTRY).touch(0o644)
    before = os.umask(0o077)
    try:
        for place in (private, shared):
            register(place, ID, tmp_path / "x", durable=False)
    finally:
        os.umask(before)

    modes = [stat.S_IMODE((place / REGISTRY).stat().st_mode) for place in (private, shared)]
    assert modes == [0o600, 0o660]


def test_a_run_whose_directory_is_gone_is_no_run(tmp_path: Path) -> None:
    """Somebody deleted it: nothing to say, and the others are there."""
    path = elsewhere(tmp_path, tmp_path / "nightly", ID)
    elsewhere(tmp_path, tmp_path / "other", LATER_ID)
    (path / "journal.db").unlink()
    path.rmdir()

    assert ids(tmp_path) == [LATER_ID]
    with pytest.raises(UsageError, match="there is no run"):
        find_by_id(tmp_path, ID)


def test_a_directory_that_was_emptied_and_used_again_is_the_newest_run_alone(
    tmp_path: Path,
) -> None:
    """The first id leads nowhere, and never to another run."""
    elsewhere(tmp_path, tmp_path / "nightly", ID)
    (tmp_path / "nightly" / "journal.db").unlink()
    elsewhere(tmp_path, tmp_path / "nightly", LATER_ID)

    assert ids(tmp_path) == [LATER_ID]


def test_an_id_never_leads_to_another_run_in_its_directory(tmp_path: Path) -> None:
    """The directory was used again by a run of another state directory."""
    elsewhere(tmp_path / "a", tmp_path / "nightly", ID)
    (tmp_path / "nightly" / "journal.db").unlink()
    elsewhere(tmp_path / "b", tmp_path / "nightly", LATER_ID)

    with pytest.raises(UsageError, match="there is no run"):
        find_by_id(tmp_path / "a", ID)


def test_a_run_elsewhere_that_cannot_be_read_is_still_found(tmp_path: Path) -> None:
    """Whoever opens it says what is wrong with it."""
    path = elsewhere(tmp_path, tmp_path / "nightly", ID)
    (path / "journal.db").write_bytes(b"damaged")

    assert find_by_id(tmp_path, ID).path == path


def test_a_torn_line_hurts_no_other(tmp_path: Path) -> None:
    """The disk was full in the middle of one: the next begins on a line of its own."""
    elsewhere(tmp_path, tmp_path / "a", ID)
    with (tmp_path / REGISTRY).open("a") as file:
        file.write('{"run_id": "20261123T2306')
    elsewhere(tmp_path, tmp_path / "b", LATER_ID)

    assert ids(tmp_path) == [LATER_ID, ID]
    assert (tmp_path / REGISTRY).read_bytes().count(b"\n") == 3


HOSTILE = [
    b"[]",
    b"7",
    b'{"run_id": 7}',
    b'{"run_id": "../../etc"}',
    b'{"run_id": "20261123T230502Z-0000", "run_dir": "relative"}',
    b'{"run_id": "20261123T230502Z-0000", "run_dir": "/a\\u0000b"}',
    b"[" * 100_000,
    b"\xff\xfe",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_line_that_is_none_of_ours_is_passed_over(tmp_path: Path, hostile: bytes) -> None:
    """Wrong types, paths that lead nowhere, JSON without an end."""
    elsewhere(tmp_path, tmp_path / "nightly", ID)
    with (tmp_path / REGISTRY).open("ab") as file:
        file.write(hostile + b"\n")

    assert ids(tmp_path) == [ID]


def test_a_register_that_is_too_long_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody of the group has made it so; its beginning is read."""
    monkeypatch.setattr(registry, "_BYTES_MAX", 200)
    path = elsewhere(tmp_path, tmp_path / "nightly", ID)
    elsewhere(tmp_path, tmp_path / f"{'x' * 200}", LATER_ID)

    assert [run.directory.path for run in known_runs(tmp_path)] == [path]


def test_a_path_that_is_no_text_is_found_again(tmp_path: Path) -> None:
    """A byte that is not UTF-8 in the name of the directory."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/night\xe9"))

    elsewhere(tmp_path, odd, ID)

    assert find_by_id(tmp_path, ID).path == odd


@pytest.mark.parametrize("kind", ["directory", "fifo", "link"])
def test_what_is_no_file_is_neither_read_nor_written(tmp_path: Path, kind: str) -> None:
    """It never waits, and follows no link; the run is told why it is not registered."""
    place = tmp_path / REGISTRY
    if kind == "directory":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(tmp_path / "victim")

    with pytest.raises(OrchestratorError, match=REGISTRY):
        register(tmp_path, ID, tmp_path / "nightly", durable=True)
    with pytest.raises(StorageError, match=REGISTRY):
        forget(tmp_path, ID)
    assert ids(tmp_path) == []
    assert not (tmp_path / "victim").exists()


def test_a_run_of_the_state_directory_is_registered_without_its_path(tmp_path: Path) -> None:
    """The state directory may be moved."""
    register(tmp_path, ID, finished(tmp_path, ID).path, durable=False)

    assert json.loads((tmp_path / REGISTRY).read_text()) == {"run_id": ID}


# -- by a path or an id -------------------------------------------------------------------------


def test_a_run_is_found_in_four_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path, by id, by a unique end of it, and by its name from the directory above."""
    first, last = finished(tmp_path, ID), finished(tmp_path, LATER_ID)
    make_run_directory(tmp_path / "runs" / "20261125T000000Z-ffff")  # has no journal yet
    named = make_run_directory(tmp_path / "runs" / "tonight")
    named.journal.touch()
    monkeypatch.chdir(first.path.parent)

    found = {
        text: find_by_id(tmp_path, text).path
        for text in (str(first.path), f"./{ID}", ID, "7f3a", "1Z-7f3a", LATER_ID, "0001", "tonight")
    }

    assert found == {
        str(first.path): first.path,
        f"./{ID}": first.path,
        ID: first.path,
        "7f3a": first.path,
        "1Z-7f3a": first.path,
        LATER_ID: last.path,
        "0001": last.path,
        "tonight": named.path,
    }


NOT_FOUND = [
    ("ffff", "there is no run ffff"),
    ("", "there is no run"),
    ("last!", "there is no run"),
    ("./nowhere", "is not a run directory"),
    ("/", "is not a run directory"),
    ("x" * 5_000, "there is no run"),
    ("../" + "x" * 5_000, "is not a run directory"),
]


@pytest.mark.parametrize(("text", "told"), NOT_FOUND)
def test_what_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    """Exit 2, also for names that no file can have; an empty name is never where we stand."""
    here = finished(tmp_path, ID)
    monkeypatch.chdir(here.path)

    with pytest.raises(UsageError, match=told):
        find_by_id(tmp_path, text)


def test_an_end_of_several_runs_is_refused(tmp_path: Path) -> None:
    """The candidates are named, newest first."""
    for run_id in ("20260101T000000Z-aaff", "20260102T000000Z-bbff", ID):
        finished(tmp_path, run_id)

    with pytest.raises(
        UsageError,
        match=r"ff is the end of 2 run ids .20260102T000000Z-bbff, 20260101T000000Z-aaff",
    ):
        find_by_id(tmp_path, "ff")


def test_a_run_that_is_gone_on_purpose_is_not_missing(tmp_path: Path) -> None:
    """Moved away: missing; forgotten: neither missing nor known; again at its place: known."""
    path = elsewhere(tmp_path, tmp_path / "nightly", ID)
    finished(tmp_path, LATER_ID)
    path.rename(tmp_path / "away")

    assert [run.place for run in missing_runs(tmp_path)] == [str(path)]
    assert list(missing_runs(tmp_path, newer_than=ID)) == []
    forget(tmp_path, ID)
    assert list(missing_runs(tmp_path)) == []
    assert ids(tmp_path) == [LATER_ID]
    elsewhere(tmp_path, path, ID)
    assert ids(tmp_path) == [ID, LATER_ID]
