"""Runs of the cluster at a console that has not submitted them: seen, ended, undone, noted.

The database is real, and so are the workers where something is sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.console.shared import SHARED
from orchestrator.model import Status
from orchestrator.settings.secret import Secret
from orchestrator.store.database import connect
from tests import postgres
from tests.console.consoles import JANE, Browser, console, place, site_of, until
from tests.console.test_views import page_of
from tests.e2e.stage import VDN, Child, Stage, a_stage
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

RIGHTS: dict[str, Any] = {"console__restorers": (JANE,)}


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A PostgreSQL of one test, to be killed."""
    postgres.need()
    made = postgres.PostgresServer()
    yield made
    made.close()


@dataclass
class Scene:
    """A run of the cluster that another machine has submitted, and a console here."""

    stage: Stage
    server: PostgresServer
    database: str
    browser: Browser
    run_id: str

    @property
    def base(self) -> str:
        """The page of the run."""
        return f"/runs/{self.run_id}"

    async def worker(self) -> Child:
        """One more worker."""
        return await self.stage.begin("worker", env={"ORCHESTRATOR_DATABASE_URL": self.database})

    async def until_shown(self, words: str, path: str = "/") -> str:
        """Wait until a page says this; returns what it says."""
        async with asyncio.timeout(40):
            while True:
                text = page_of(await self.browser.get(path)).text
                if words in text:
                    return text
                await asyncio.sleep(0.2)


@asynccontextmanager
async def a_scene(
    server: PostgresServer, folder: Path, *, campaigns: int, rate: str = "100"
) -> AsyncIterator[Scene]:
    """The submitter is gone by now; nobody works on its run yet."""
    database = server.make_bare_database().reveal()
    env = {"ORCHESTRATOR_DATABASE_URL": database}
    here = folder / "here"
    here.mkdir()
    with place(here):
        async with a_stage(folder, campaigns=campaigns) as stage:
            await stage.run("cluster", "init", env=env)
            words = stage.pause_words("--cluster", "--rate", rate, "--reason", "nightly")
            submitter = await stage.begin(*words, env=env)
            run_id = list[str]()

            def has_arrived() -> bool:
                with connect(Secret(database)) as connection:
                    found = connection.execute("SELECT run_id FROM orchestrator.run").fetchone()
                run_id.extend(found or ())
                return bool(run_id)

            await until(has_arrived)
            submitter.send(signal.SIGKILL)
            await submitter.ended()
            url = stage.simulator.base_url
            site = site_of(here, url, cluster__database_url=Secret(database), **RIGHTS)
            # what the console starts finds the cluster as the console does
            os.environ.update(env)
            async with console(site) as browser:
                yield Scene(stage, server, database, browser, run_id[0])


async def test_a_run_of_the_cluster_is_seen_and_ended_from_any_machine(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """Waiting, at work with its numbers, ended at the console; the rest by `continue` there."""
    async with a_scene(own_server, tmp_path, campaigns=300, rate="20") as scene:
        home = await scene.until_shown("list paused · VDN 1234 · cluster")
        moves = json.loads((await scene.browser.get("/live")).text)
        waiting = page_of(await scene.browser.get(scene.base)).text
        await scene.worker()
        await scene.until_shown("paused", scene.base)
        going = await scene.until_shown("1 worker of the cluster", scene.base)
        rows = page_of(await scene.browser.get(f"{scene.base}/rows")).text
        listed = await scene.until_shown(" paused", "/runs")
        ended = await scene.browser.post(f"{scene.base}/end")
        after = await scene.until_shown("Continue this run", scene.base)
        left = scene.stage.running()
        puts = scene.stage.puts()
        order = "1" * 32
        await scene.browser.post(f"{scene.base}/continue", {"order": order})
        await scene.until_shown("300 lines: 300 stopped", scene.base)

        assert "running" in home
        assert moves["runs"] == scene.run_id
        assert "nightly" in home
        assert "no worker of the cluster yet, 0 of 300" in waiting
        assert "list paused by the cluster" in going
        assert "At work" not in rows
        assert "running" in listed
        assert (ended.status, ended.location) == (303, scene.base)
        assert "Interrupted" in after
        assert 0 < left == 300 - puts
        assert (scene.stage.running(), scene.stage.effects()) == (0, 1)


async def test_a_run_of_the_cluster_is_noted_and_undone_from_any_machine(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """Through: its files, a note, a preview that knows of other machines, the exact undo."""
    async with a_scene(own_server, tmp_path, campaigns=20) as scene:
        await scene.until_shown("cluster")
        early = await scene.browser.get(f"{scene.base}/restore")
        await scene.worker()
        through = await scene.until_shown("20 lines: 20 stopped", scene.base)
        files = await scene.until_shown("results.csv", scene.base)
        noted = await scene.browser.post(f"{scene.base}/note", {"text": "ticket 4711"})
        with_note = page_of(await scene.browser.get(scene.base)).text
        there = {"ORCHESTRATOR_DATABASE_URL": scene.database}
        await scene.stage.run("continue", "last", env=there)
        await scene.stage.run("note", scene.run_id, "seen by joe", env=there)
        both = await scene.until_shown("seen by joe", scene.base)
        told = json.loads((scene.stage.run_dir / "summary.json").read_text())["notes"]
        words = ("restore", scene.run_id, "--yes", "--limit", "5")
        elsewhere = await scene.stage.run(*words, env=there)
        preview = page_of(await scene.browser.get(f"{scene.base}/restore")).text
        order = {"order": "2" * 32, "typed": str(VDN), "vdn": str(VDN)}
        restored = await scene.browser.post(f"{scene.base}/restore", order)
        world = scene.stage.simulator.world
        await until(lambda: world.counts()[Status.STARTED] == 20)

        assert early.status == 409
        assert "is known when it is through" in early.text
        assert "Everything" not in through
        assert "summary.json" in files
        assert noted.status == 303
        assert "ticket 4711" in with_note
        assert "ticket 4711" in both
        assert [one["text"] for one in told] == ["ticket 4711", "seen by joe"]
        assert elsewhere.code == 0
        assert "15 campaigns" in preview
        assert restored.status == 303
        assert set(scene.stage.simulator.ledger.puts.values()) == {2}


async def test_the_red_button_needs_no_database(own_server: PostgresServer, tmp_path: Path) -> None:
    """It dies: a sentence says so, what was known stays; a stop from here goes on as ever."""
    async with a_scene(own_server, tmp_path, campaigns=20) as scene:
        await scene.until_shown("cluster")
        own_server.stop()
        told = await scene.until_shown("may be missing here")
        run = page_of(await scene.browser.get(scene.base)).text
        unended = await scene.browser.post(f"{scene.base}/end")
        stopped = await scene.browser.stop(VDN)
        await until(lambda: scene.stage.running() == 0)
        local = await scene.until_shown("quiet")
        own_server.start()
        await scene.until_shown("list paused · VDN 1234 · cluster")
        async with asyncio.timeout(60):
            while scene.browser.app[SHARED].cluster.problem:
                await asyncio.sleep(0.2)
                await scene.browser.get("/")

        assert "Stopping from here needs no database" in told
        assert "may be missing here" in run
        assert unended.status == 409
        assert "database" in unended.text
        assert stopped.status == 303
        assert "emergency stop" in local


async def test_a_silent_database_keeps_no_page_waiting(tmp_path: Path) -> None:
    """It takes connections and says nothing: pages and orders come all the same."""
    held = list[asyncio.StreamWriter]()
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    with place(tmp_path):
        url = Secret(f"postgresql://127.0.0.1:{port}/x")
        async with silent, console(site_of(tmp_path, cluster__database_url=url)) as browser:
            async with asyncio.timeout(60.0):
                first = await browser.get("/")
                order = await browser.get("/stop?vdn=1234")
                history = await browser.get("/runs")
            for one in held:
                one.transport.abort()
            await asyncio.sleep(0)

    assert [one.status for one in (first, order, history)] == [200] * 3


async def test_without_a_cluster_nothing_is_asked(tmp_path: Path) -> None:
    """No setting, no sentence, no thread."""
    with place(tmp_path):
        async with console(site_of(tmp_path)) as browser:
            home = page_of(await browser.get("/")).text

    assert "cluster" not in home
