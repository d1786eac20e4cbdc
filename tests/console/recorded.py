"""Runs on record for the pages: made in virtual time, before the console of a test begins."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.engine.results import RunResult
from orchestrator.simulator.world import Campaign, World
from tests.fakes import VDN, Stage, after, both, started
from tests.virtual_time import VirtualTimeLoop

T = TypeVar("T")


def at_once(story: Coroutine[Any, Any, T]) -> T:
    """Live a story in virtual time, in a thread: the test has a loop of its own."""

    def live() -> T:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(story)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(live).result()


def stopped(folder: Path, size: int = 3, *, reason: str = "wrong list") -> RunResult:
    """A VDN that was stopped and proven quiet."""
    return at_once(Stage(folder, started(size)).pause_all(VDN, reason=reason))


def stopped_named(folder: Path, *names: str, reason: str = "") -> RunResult:
    """The same, with campaigns of these names."""
    world = World({VDN: [Campaign(number, name=name) for number, name in enumerate(names, 1)]})
    return at_once(Stage(folder, world).pause_all(VDN, reason=reason))


def cut_off(folder: Path, size: int = 60) -> Path:
    """A stop that was killed after half a second; its directory."""
    stage = Stage(folder, started(size), rate_per_s=20)

    async def story() -> None:
        killed = after(1.0, lambda: stage.processes[-1].kill())  # noqa: PLW0108 - not born yet
        try:
            await both(stage.pause_all(VDN), killed)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()

    at_once(story())
    (path,) = stage.run_dirs()
    return path
