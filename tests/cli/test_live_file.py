"""live.json: what other processes may read of a live run, and that it is in nobody's way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.cli.live_file import keep_live_file, live_document
from orchestrator.cli.progress_line import Pulse
from orchestrator.engine.progress import Progress
from orchestrator.policy.decide import Outcome
from orchestrator.store.run_dir import RunDirectory
from tests.cli.test_progress_line import NOT_STOPPED, NOW_S, USUAL, progress
from tests.fakes import VirtualClock


@asynccontextmanager
async def kept(found: Progress) -> AsyncIterator[VirtualClock]:
    """While the file is kept."""
    clock = VirtualClock()
    keeping = asyncio.create_task(keep_live_file(found, clock))
    try:
        yield clock
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


def read(folder: Path) -> dict[str, Any]:
    """What stands in the file."""
    told: dict[str, Any] = json.loads((folder / "live.json").read_text())
    return told


def names_in(folder: Path) -> list[str]:
    """What lies there."""
    return sorted(one.name for one in folder.iterdir())


def run_in(folder: Path) -> Progress:
    """A run with a journal in this folder."""
    (folder / "journal.db").touch()
    return progress(folder=folder, run_id="20261123T230501Z-7f3a")


async def test_the_file_is_new_each_second_and_gone_at_the_end(tmp_path: Path) -> None:
    """After 3.5 virtual seconds the fourth version; afterwards nothing but the journal."""
    found = run_in(tmp_path)
    async with kept(found) as clock:
        await clock.sleep(2.5)
        found.outcomes[Outcome.PAUSED] += 96
        await clock.sleep(1.0)
        told = read(tmp_path)
        assert (told["seq"], told["done"], told["total"]) == (4, 1_300, 3_000)
        assert told["run_id"] == "20261123T230501Z-7f3a"

    assert names_in(tmp_path) == ["journal.db"]


async def test_a_command_that_is_no_run_leaves_no_file(tmp_path: Path) -> None:
    """`status` has no directory, and a run has none before it begins."""
    async with kept(progress()) as clock:
        await clock.sleep(5)

    assert names_in(tmp_path) == []


async def test_a_directory_that_was_discarded_stays_gone(tmp_path: Path) -> None:
    """Of a run that nobody has confirmed nothing stays, and nothing comes back."""
    folder = tmp_path / "run"
    folder.mkdir()
    async with kept(run_in(folder)) as clock:
        await clock.sleep(1.5)
        RunDirectory(folder).discard()
        await clock.sleep(3)

    assert names_in(tmp_path) == []


async def test_a_disk_that_takes_nothing_does_not_end_the_run(tmp_path: Path) -> None:
    """The name is taken by a folder: no error, and the next second is tried again."""
    found = run_in(tmp_path)
    (tmp_path / "live.json").mkdir()
    async with kept(found) as clock:
        await clock.sleep(2.5)
        (tmp_path / "live.json").rmdir()
        await clock.sleep(1)
        assert read(tmp_path)["seq"] == 4


async def test_what_a_kill_left_behind_is_replaced(tmp_path: Path) -> None:
    """A link in place of the next version is not followed."""
    found = run_in(tmp_path)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".live.json").symlink_to(precious)
    (tmp_path / "live.json").write_text("old")
    async with kept(found) as clock:
        await clock.sleep(0.5)
        assert read(tmp_path)["seq"] == 1

    assert precious.read_text() == "mine"


def test_the_document_has_the_line_and_its_numbers() -> None:
    """Done, not stopped, rate and ceiling, breaker, time left, requests by kind and result."""
    found = progress(outcomes=NOT_STOPPED, breaker="HTTP 500\x1b[31m")
    found.answers["change", "accepted"] = 1_161
    found.answers["read", "accepted"] = 30
    told = live_document(found, USUAL, seq=7, now_s=NOW_S, at_ms=1_000)

    assert told["line"].startswith("pausing 1,200/3,000 · ")
    assert {key: told[key] for key in ("seq", "at_ms", "total", "done", "not_stopped")} == {
        "seq": 7, "at_ms": 1_000, "total": 3_000, "done": 1_200, "not_stopped": 39,
    }  # fmt: skip
    assert (told["rate_per_s"], told["ceiling_per_s"]) == (9.8, 10.0)
    assert told["breaker"] == r"HTTP 500\x1b[31m"
    assert told["requests"] == [["change", "accepted", 1_161], ["read", "accepted", 30]]


def test_what_is_in_doubt_is_checking_and_not_missing() -> None:
    """As on the live line."""
    found = progress()
    found.outcomes[Outcome.UNKNOWN] = 3
    told = live_document(found, Pulse(), seq=1, now_s=NOW_S, at_ms=0)

    assert (told["not_stopped"], told["checking"]) == (0, 3)
