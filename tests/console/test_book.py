"""The list of runs: read once for all viewers, and never older than it may be."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.console import book
from orchestrator.console.book import PAGE, RunBook
from orchestrator.engine.run_list import RunLine, line_of
from orchestrator.store.registry import KnownRun, register
from tests.fakes import VDN, Stage, VirtualClock, started


def fill(state: Path, number: int, *, verdict: str = "complete") -> list[str]:
    """So many runs of which a summary says everything, oldest first."""
    began = datetime(2026, 11, 23, tzinfo=UTC)
    ids = [f"{began + timedelta(minutes=one):%Y%m%dT%H%M%SZ}-0000" for one in range(number)]
    for one, run_id in enumerate(ids):
        folder = state / "runs" / run_id
        folder.mkdir(parents=True)
        (folder / "journal.db").touch()
        told = {
            "schema": 1, "run_id": run_id, "action": "pause", "verdict": verdict, "exit_code": 0,
            "reason": f"list{one}x", "operator": "ana", "server": "https://isales.example.com",
            "started_at": "2026-11-23T23:05:01.123Z", "counts": {"paused": 1},
            "by_vdn": {str(1 + one % 7): {}},
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(told) + "\n")
        register(state, run_id, folder.absolute(), durable=False)
    return ids


class Counting:
    """Which runs were read, and how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: list[str] = []
        monkeypatch.setattr(book, "line_of", self)

    def __call__(self, run: KnownRun) -> RunLine | None:
        self.reads.append(run.run_id)
        return line_of(run)


async def test_a_page_without_a_filter_reads_only_its_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 130 runs the second page reads 50, and the next time none."""
    ids, counting = fill(tmp_path, 130), Counting(monkeypatch)
    runs = RunBook(tmp_path, VirtualClock())

    second = runs.search(vdn=None, text="", number=2)
    assert [line.run_id for line in second.lines] == ids[79:29:-1]
    assert (second.number, second.pages, second.runs) == (2, 3, 130)
    assert len(counting.reads) == PAGE

    runs.search(vdn=None, text="", number=2)
    assert len(counting.reads) == PAGE


async def test_what_is_over_is_read_once_however_often_it_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By VDN and by words; all words must occur."""
    ids, counting = fill(tmp_path, 30), Counting(monkeypatch)
    runs = RunBook(tmp_path, VirtualClock())

    assert [one.run_id for one in runs.search(vdn=7, text="", number=1).lines] == [
        ids[27], ids[20], ids[13], ids[6],
    ]  # fmt: skip
    assert runs.search(vdn=None, text="LIST2", number=1).runs == 11
    assert runs.search(vdn=7, text="ana list27x", number=9).number == 1
    assert runs.search(vdn=None, text="bob", number=1).runs == 0
    assert len(counting.reads) == 30


async def test_a_run_that_may_change_is_read_again_when_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incomplete run keeps its line until its summary is another."""
    (run_id,), counting = fill(tmp_path, 1, verdict="incomplete"), Counting(monkeypatch)
    runs = RunBook(tmp_path, VirtualClock())
    for _ in range(3):
        assert runs.newest(5)[0].verdict == "incomplete"
    assert len(counting.reads) == 1

    summary = tmp_path / "runs" / run_id / "summary.json"
    summary.write_text(summary.read_text().replace("incomplete", "complete"))
    assert runs.newest(5)[0].verdict == "complete"


async def test_a_new_run_is_in_the_list_at_once(tmp_path: Path) -> None:
    """Live runs come first, then the newest; dry runs are left to the history."""
    stage = Stage(tmp_path, started(2))
    runs = RunBook(tmp_path / "state", stage.clock)
    assert runs.newest(5) == ()

    first = await stage.pause_all(VDN)
    dry = await stage.pause_all(VDN, dry_run=True)
    assert [line.run_id for line in runs.newest(5)] == [first.run_id]
    found = runs.search(vdn=None, text="", number=1).lines
    assert {line.run_id for line in found} == {first.run_id, dry.run_id}


async def test_a_run_that_was_deleted_is_gone(tmp_path: Path) -> None:
    """`runs --prune` by somebody else."""
    ids = fill(tmp_path, 2)
    clock = VirtualClock()
    runs = RunBook(tmp_path, clock)
    assert runs.search(vdn=None, text="ana", number=1).runs == 2

    for name in ("journal.db", "summary.json"):
        (tmp_path / "runs" / ids[0] / name).unlink()
    (tmp_path / "runs" / ids[0]).rmdir()
    assert [one.run_id for one in runs.search(vdn=None, text="ana", number=1).lines] == [ids[1]]
