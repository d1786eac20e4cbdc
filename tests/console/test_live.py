"""How far a live run is: one document for all viewers, however its numbers come about."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.live_file import live_document
from orchestrator.clock import SystemClock
from orchestrator.console import live
from orchestrator.console.cluster import ClusterRuns
from orchestrator.console.shared import Once, Shared
from orchestrator.console.site import Site
from orchestrator.policy.decide import Outcome
from orchestrator.store.run_dir import RunDirectory
from tests.cli.test_progress_line import NOW_S, USUAL, progress
from tests.fakes import VDN, Stage, VirtualClock, started

PAUSED = {Outcome.PAUSED: 10}


@dataclass
class Scene:
    """A run that this process holds, and a console that looks at it."""

    run_id: str
    directory: RunDirectory
    clock: VirtualClock
    shared: Shared

    def tell(self, outcomes: dict[Outcome, int] = PAUSED, **more: object) -> None:
        """Leave numbers as the command does."""
        found = progress(campaigns=40, outcomes=Counter(outcomes), **more)
        told = live_document(found, USUAL, seq=1, now_s=NOW_S, at_ms=self.clock.wall_ms())
        self.write(json.dumps(told))

    def write(self, text: str) -> None:
        """Leave this."""
        (self.directory.path / "live.json").write_text(text)

    async def look(self) -> dict[str, Any]:
        """What a viewer gets a second later."""
        await self.clock.sleep(1)
        view = await self.shared.live(self.run_id)
        assert view is not None
        return {"seq": view.seq, **view.shown}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A run of 40 campaigns that somebody works on."""
    stage = Stage(tmp_path, started(40))
    result = await stage.pause_all(VDN, reason="wrong list")
    assert result.run_dir is not None
    directory = RunDirectory(result.run_dir)
    directory.hold(since="2026-11-23T23:05:01Z", host="jump1")
    site = Site(settings=stage.settings(), connection=(), clock=stage.clock)
    try:
        yield Scene(result.run_id, directory, stage.clock, Shared(site, ClusterRuns(site)))
    finally:
        directory.release()


async def test_the_numbers_of_the_command_are_shown(scene: Scene) -> None:
    """Total, percent, not stopped, rate and ceiling, breaker, time left; no flag is proposed."""
    scene.tell(notice="VDN 7: 40 campaigns: about 90 s; `--rate 20` would take 45 s (a)")
    told = await scene.look()

    assert told["heading"] == f"Stopping VDN {VDN}: pausing, 10 of 40"
    assert told["progress"] == "10 of 40 (25 %)"
    assert (told["done"], told["total"], told["not_yet"]) == (10, 40, "30")
    assert (told["rate"], told["breaker"]) == ("9.8 of 10 a second", "closed")
    assert told["time_left"] == "about 3 s"
    assert told["line"] == (
        "10 paused · 12 repeats · limited by the rate limit · VDN 7: 40 campaigns: about 90 s (a)"
    )
    assert told["age"] == ""


async def test_what_failed_is_not_stopped_yet_either(scene: Scene) -> None:
    """Of 40 campaigns 10 are paused, 2 failed and one is in doubt: 30 are not stopped yet."""
    scene.tell({**PAUSED, Outcome.FAILED: 2, Outcome.UNKNOWN: 1})

    assert (await scene.look())["not_yet"] == "30, of which 2 failed"


async def test_an_open_breaker_and_an_end_are_said(scene: Scene) -> None:
    """With their reasons, for the eye and for a screen reader."""
    scene.tell(breaker="HTTP 500", ending="SIGINT received")
    told = await scene.look()

    assert told["breaker"] == "open, probing: HTTP 500"
    assert told["heading"] == "Ending: SIGINT received, 10 of 40"
    assert "the server is failing" in told["status"]


async def test_all_viewers_of_half_a_second_share_one_look(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fifty of them read the file once; the next look is half a second later."""
    reads = []
    read = live.read_live_file

    def counted(folder: Path) -> dict[str, Any] | None:
        reads.append(folder)
        return read(folder)

    monkeypatch.setattr(live, "read_live_file", counted)
    scene.tell()
    for _ in range(50):
        await scene.shared.live(scene.run_id)
        await scene.clock.sleep(0.009)
    assert len(reads) == 1

    await scene.clock.sleep(0.1)
    await scene.shared.live(scene.run_id)
    assert len(reads) == 2


async def test_a_document_has_a_new_number_only_when_it_says_something_new(scene: Scene) -> None:
    """So that whoever has it already is told so in an empty answer."""
    scene.tell()
    first = await scene.look()
    scene.tell()
    second = await scene.look()
    scene.tell(in_flight=8, repeats=13)
    third = await scene.look()

    assert first == second
    assert third["seq"] != first["seq"]


async def test_numbers_that_age_are_said_to_be_old(scene: Scene) -> None:
    """A suspended process leaves the file as it was; a fresh one has no age."""
    scene.tell()
    await scene.clock.sleep(11)
    told = await scene.look()

    assert told["age"] == "data is 12 s old"
    assert "the data is old" in told["status"]


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        '{"phase": "pausing"}',
        '{"phase": 1, "total": "many", "done": null}',
        '{"phase": "pausing", "total": 1, "done": 1, "counts": [], "ceiling_per_s": 1}',
        '{"phase": "pausing", "total": Infinity, "done": 1}',
        "[" * 100_000,
        "x" * 1_000_000,
    ],
)
async def test_without_usable_numbers_the_journal_is_read(scene: Scene, text: str | None) -> None:
    """A run of a Python program leaves none; of another version they may mean anything."""
    if text is not None:
        scene.write(text)
    told = await scene.look()

    assert (told["done"], told["total"]) == (40, 40)
    assert told["line"] == "40 paused"
    assert told["breaker"].startswith("not known")


async def test_numbers_are_not_read_through_a_link(scene: Scene, tmp_path: Path) -> None:
    """Nor from a pipe, which would keep every viewer waiting."""
    scene.tell()
    (scene.directory.path / "live.json").rename(tmp_path / "elsewhere")
    (scene.directory.path / "live.json").symlink_to(tmp_path / "elsewhere")

    assert (await scene.look())["breaker"].startswith("not known")


async def test_hostile_words_in_the_numbers_are_made_visible(scene: Scene) -> None:
    """Nothing turns the page round, whoever wrote into the file."""
    scene.tell(phase="pau\u202esing\x1b[31m")

    assert r"pau\u202esing\x1b[31m" in (await scene.look())["heading"]


async def test_a_run_that_has_ended_is_not_live_whatever_is_left_behind(scene: Scene) -> None:
    """A kill leaves live.json: the lock decides, not the file."""
    scene.tell()
    scene.directory.release()
    await scene.clock.sleep(1)
    assert await scene.shared.live(scene.run_id) is None

    scene.directory.hold(since="2026-11-23T23:05:01Z", host="jump1")
    assert (await scene.look())["live"] is True


async def test_what_was_asked_for_after_a_change_was_not_read_before_it() -> None:
    """A note that was added while somebody else's page of a long run was read is on the next."""
    notes, begun, goes_on = ["one"], threading.Event(), threading.Event()

    def read(_: str, __: int) -> int:
        number = len(notes)
        begun.set()
        assert goes_on.wait(10)
        return number

    run = Once(read, SystemClock(), 8)
    before = asyncio.create_task(run.get("x", within_s=0))
    await asyncio.to_thread(begun.wait, 10)
    notes.append("two")
    after = asyncio.create_task(run.get("x", within_s=0))
    await asyncio.sleep(0)
    goes_on.set()

    assert [await before, await after] == [1, 2]
