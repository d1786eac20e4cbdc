"""The list of runs: its pages, what is looked for in it, and the newest of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestrator.console import book
from orchestrator.console.book import PAGE, newest, search, stop_of
from orchestrator.console.site import fingerprint_of
from orchestrator.engine.run_list import RunLine, line_of
from orchestrator.store.registry import KnownRun, register
from tests.fakes import VDN, Stage, started


def fill(state: Path, number: int) -> list[str]:
    """So many runs of which a summary says everything, oldest first."""
    began = datetime(2026, 11, 23, tzinfo=UTC)
    ids = [f"{began + timedelta(minutes=one):%Y%m%dT%H%M%SZ}-0000" for one in range(number)]
    for one, run_id in enumerate(ids):
        folder = state / "runs" / run_id
        folder.mkdir(parents=True)
        (folder / "journal.db").touch()
        told = {
            "schema": 1, "run_id": run_id, "action": "pause", "verdict": "complete", "exit_code": 0,
            "reason": f"list{one}x", "operator": "ana", "server": "https://isales.example.com",
            "started_at": "2026-11-23T23:05:01.123Z", "counts": {"paused": 1},
            "by_vdn": {str(1 + one % 7): {}},
        }  # fmt: skip
        (folder / "summary.json").write_text(json.dumps(told) + "\n")
        register(state, run_id, folder.absolute(), durable=False)
    return ids


def test_a_page_without_a_filter_reads_only_its_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 130 runs the second page reads 50; a page that is not there is the last one."""
    ids, reads = fill(tmp_path, 130), list[str]()

    def counting(run: KnownRun) -> RunLine | None:
        reads.append(run.run_id)
        return line_of(run)

    monkeypatch.setattr(book, "line_of", counting)
    second = search(tmp_path, vdn=None, text="", number=2)

    assert [line.run_id for line in second.lines] == ids[79:29:-1]
    assert (second.number, second.pages, second.runs) == (2, 3, 130)
    assert len(reads) == PAGE
    assert search(tmp_path, vdn=None, text="", number=9).number == 3


@pytest.mark.parametrize(
    ("vdn", "text", "found"),
    [
        (7, "", [27, 20, 13, 6]),
        (None, "LIST2", [*range(29, 19, -1), 2]),
        (7, "ana list27x", [27]),
        (None, "bob", []),
    ],
)
def test_runs_are_found_by_vdn_and_words(
    tmp_path: Path, vdn: int | None, text: str, found: list[int]
) -> None:
    """All words must occur, in any case."""
    ids = fill(tmp_path, 30)

    lines = search(tmp_path, vdn=vdn, text=text, number=1).lines

    assert [one.run_id for one in lines] == [ids[one] for one in found]


async def test_live_runs_come_first_and_dry_runs_are_left_to_the_history(tmp_path: Path) -> None:
    """Those of other machines are live too."""
    stage = Stage(tmp_path, started(2))
    state = tmp_path / "state"
    assert newest(state) == ()

    first = await stage.pause_all(VDN)
    dry = await stage.pause_all(VDN, dry_run=True)
    second = await stage.pause_all(VDN)

    assert [line.run_id for line in newest(state)] == [second.run_id, first.run_id]
    assert newest(state, frozenset({first.run_id}))[0].run_id == first.run_id
    found = search(state, vdn=None, text="", number=1).lines
    assert {line.run_id for line in found} == {first.run_id, dry.run_id, second.run_id}


@pytest.mark.parametrize(
    ("change", "is_found"),
    [
        ({}, True),
        ({"live": False}, False),
        ({"kind": "restore"}, False),
        ({"may_change": False}, False),
        ({"vdns": (8,)}, False),
        ({"server": "https://test.example.com"}, False),
    ],
)
def test_a_live_stop_of_a_vdn_is_found(change: dict[str, Any], *, is_found: bool) -> None:
    """A rehearsal, a question that nobody has answered and another server's stop are none."""
    url = "https://isales.example.com"
    line = RunLine("x", "/x", "pause-all", "running", 0, live=True, vdns=(7,), server=url)
    lines = [line._replace(**change)]

    assert (stop_of(7, fingerprint_of(url), lines) is lines[0]) is is_found
