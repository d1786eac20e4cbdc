"""What the list of runs says, from the journals or from the summaries beside them."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.run_list import RunLine, list_runs
from orchestrator.store.run_dir import RunDirectory
from tests.fakes import VDN, Stage, folder_of, ref, started


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The journals that are opened from now on."""
    names: list[str] = []
    connect: Any = sqlite3.connect

    def counted(database: str, *args: Any, **more: Any) -> Any:
        names.append(str(database))
        return connect(database, *args, **more)

    monkeypatch.setattr(sqlite3, "connect", counted)
    return names


def lines(stage: Stage, **wanted: Any) -> list[RunLine]:
    """The list, newest first."""
    return [one.line for one in list_runs(stage.settings().state_dir, **wanted)]


async def test_a_dry_run_is_listed_as_planned(tmp_path: Path) -> None:
    """It never had a process, which is no interruption."""
    stage = Stage(tmp_path, started(3))

    await stage.pause(dry_run=True)

    assert [line.verdict for line in lines(stage)] == ["planned"]
    assert lines(stage, dry_runs=False) == []


async def test_a_line_says_what_the_run_was(tmp_path: Path) -> None:
    """Who, why, where, and how it ended; a run elsewhere too."""
    stage = Stage(tmp_path, started(3))
    result = await stage.pause(run_dir=tmp_path / "nightly", reason="wrong list")

    (line,) = lines(stage)

    assert (line.run_id, line.path, line.kind) == (result.run_id, tmp_path / "nightly", "pause")
    assert (line.vdns, line.reason, line.verdict, line.exit_code) == (
        (VDN,),
        "wrong list",
        "complete",
        0,
    )
    assert (line.counts, line.operator) == ({"paused": 3}, result.summary["operator"])


async def test_journal_and_summary_say_the_same(tmp_path: Path) -> None:
    """Every kind of run: without its summary the line is the same."""
    stage = Stage(tmp_path, started(3))
    await stage.pause([ref(1), ref(99)])
    paused = await stage.pause_all(VDN)
    await stage.restore(paused)
    await stage.pause(dry_run=True)
    from_summaries = lines(stage)
    for path in stage.run_dirs():
        (path / "summary.json").unlink()

    from_journals = lines(stage)

    # a dry run has no process that could note an exit code, and no outcome on record
    told = [line._replace(is_over=True) for line in from_summaries]
    assert from_journals[1:] == told[1:]
    assert from_journals[0]._replace(exit_code=0, counts={"planned": 3}) == told[0]


async def test_finished_runs_are_listed_without_opening_a_journal(
    tmp_path: Path, opened: list[str]
) -> None:
    """Ten thousand of them take a second; --limit reads no further than it must."""
    stage = Stage(tmp_path, started(3))
    for _ in range(4):
        await stage.pause_all(VDN)
    opened.clear()

    assert len(lines(stage, vdn=VDN)) == 4
    assert len(lines(stage, limit=2)) == 2
    assert lines(stage, vdn=77) == []
    assert opened == []


def changed(change: dict[str, object]) -> Callable[[Path], object]:
    """Tells a lie in a summary, which is otherwise one."""
    return lambda path: path.write_text(
        json.dumps(json.loads(path.read_text()) | {"reason": "a lie"} | change)
    )


def _link(path: Path) -> None:
    path.symlink_to(path.rename(path.parent.parent / "elsewhere.json"))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


DISTRUSTED: dict[str, Callable[[Path], object]] = {
    "another run's": changed({"run_id": "20250101T000000Z-0000"}),
    "of another format": changed({"schema": 99}),
    "with a foreign verdict": changed({"verdict": "splendid"}),
    "without counts": changed({"counts": None}),
    "with a foreign VDN": changed({"by_vdn": {"x": {}}}),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(b"{"),
    "a list": lambda path: path.write_bytes(b"[]"),
    "no text": lambda path: path.write_bytes(b"\xff"),
    "too deep": lambda path: path.write_bytes(b"[" * 100_000),
    "a fifo, which nobody waits for": _fifo,
    "a link, which nobody follows": _link,
    "a directory": _directory,
}


@pytest.mark.parametrize("what", DISTRUSTED)
async def test_a_summary_that_is_not_this_runs_is_not_believed(
    tmp_path: Path, opened: list[str], what: str
) -> None:
    """The journal is the truth, with --vdn too."""
    stage = Stage(tmp_path, started(3))
    result = await stage.pause()
    before = lines(stage)
    DISTRUSTED[what](folder_of(result) / "summary.json")
    opened.clear()

    assert lines(stage) == before
    assert len(opened) == 1
    assert lines(stage, vdn=VDN) == before
    assert lines(stage, vdn=77) == []


async def test_a_journal_that_was_written_to_since_is_read(
    tmp_path: Path, opened: list[str]
) -> None:
    """The summary is that of an earlier process."""
    stage = Stage(tmp_path, started(3))
    result = await stage.pause()
    summary = folder_of(result) / "summary.json"
    long_ago_s = summary.stat().st_mtime - 60
    os.utime(summary, (long_ago_s, long_ago_s))
    opened.clear()

    assert [line.verdict for line in lines(stage)] == ["complete"]
    assert len(opened) == 1


async def test_a_killed_run_is_interrupted_and_has_no_exit_code(tmp_path: Path) -> None:
    """Nothing is known of the code that its shell saw; while it is held it runs."""
    stage = Stage(tmp_path, started(3))
    await stage.killed(stage.pause())

    (line,) = lines(stage)

    assert (line.verdict, line.exit_code, line.vdns) == ("interrupted", None, (VDN,))
    held = RunDirectory(line.path)
    held.hold(since="2026-11-23T23:05:01Z", host="jump1")
    (live,) = lines(stage)
    assert (live.verdict, live.live, "jump1" in live.holder) == ("running", True, True)
    held.release()


async def test_a_run_that_cannot_be_read_is_listed_whatever_is_asked_for(tmp_path: Path) -> None:
    """It may be the one that somebody looks for."""
    stage = Stage(tmp_path, started(3))
    damaged = stage.settings().state_dir / "runs" / "29991231T000000Z-0000"
    damaged.mkdir(parents=True)
    (damaged / "journal.db").write_bytes(b"not a journal")

    (line,) = lines(stage, vdn=VDN, dry_runs=False)

    assert (line.run_id, line.verdict) == (damaged.name, "unreadable")
    assert line.problem


async def test_parent_and_repeats_are_shown(tmp_path: Path) -> None:
    """failed.csv is a list: the run made of it names its parent, and is named there."""
    stage = Stage(tmp_path, started(3))
    first = await stage.pause([ref(1), ref(98), ref(99)])

    again = await stage.pause(manifest=folder_of(first) / "failed.csv")
    once_more = await stage.pause(manifest=folder_of(first) / "failed.csv")

    found = {one.line.run_id: one for one in list_runs(stage.settings().state_dir)}
    assert again.summary["parent_run"] == first.run_id
    assert found[again.run_id].line.parent_run == first.run_id
    assert found[first.run_id].repeated_by == (again.run_id, once_more.run_id)
    assert "parent_run" not in first.summary


async def test_a_list_of_another_servers_run_is_no_repeat(tmp_path: Path) -> None:
    """Nor one that names two runs, or one that nobody knows."""
    stage = Stage(tmp_path, started(3))
    first = await stage.pause([ref(98), ref(99)])
    failed = folder_of(first) / "failed.csv"
    unknown = tmp_path / "unknown.csv"
    unknown.write_text(failed.read_text().replace(first.run_id, "20250101T000000Z-0000"))
    mixed = tmp_path / "mixed.csv"
    mixed.write_text(failed.read_text().replace(first.run_id, "20250101T000000Z-0000", 1))
    other = Stage(tmp_path, started(3), settings={"server.base_url": "http://127.0.0.9:1"})

    results = [
        await stage.pause(manifest=unknown),
        await stage.pause(manifest=mixed),
        await other.pause(manifest=failed),
        await stage.pause(),
    ]

    assert ["parent_run" in result.summary for result in results] == [False] * 4
