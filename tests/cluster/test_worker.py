"""Workers as people start them, two of them: whatever ends one, the report is exact.

How workers bear kills, freezes and cuts at every instant: test_model.py and `./do cluster-faults`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.settings.secret import Secret
from orchestrator.simulator.ledger import fullest_window
from orchestrator.store.database import connect
from tests.cluster.makers import broken
from tests.e2e.stage import Child, Stage, a_stage
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.sockets, pytest.mark.slow]
RATE = 40
CAMPAIGNS = 160
_SMALL_CHUNKS = "from orchestrator.cluster import following\nfollowing.CHUNK = 20"
#: each request that leaves is noted: the instants of all processes of a machine are comparable
_NOTED = """
import os
from orchestrator.store.pace import SharedPace
acquire = SharedPace.acquire
file = open(f"departures-{os.getpid()}", "a", buffering=1)
def noted(self, *, now_s, own_wait_s=0.0):
    wait_s = acquire(self, now_s=now_s, own_wait_s=own_wait_s)
    if wait_s == 0.0:
        file.write(f"{now_s!r}\\n")
    return wait_s
SharedPace.acquire = noted
"""


@asynccontextmanager
async def at_work(
    folder: Path, env: dict[str, str], *, workers: int = 2, program: str = _NOTED, rate: int = RATE
) -> AsyncIterator[tuple[Stage, list[Child], Child]]:
    """A list in eight chunks, workers, and whoever follows; in the end it is paused, and exact."""
    async with a_stage(folder, campaigns=CAMPAIGNS) as stage:
        made = [await stage.begin("worker", env=env, program=program) for _ in range(workers)]
        words = stage.pause_words("--cluster", "--rate", str(rate))
        follower = await stage.begin(*words, env=env, program=_SMALL_CHUNKS)
        yield stage, made, follower


async def check(stage: Stage, follower: Child, *, sent_twice: int) -> None:
    """Every line is paused; who was settled was sent nothing more; at most R left in a second."""
    ended = await follower.ended()
    assert (ended.code, stage.outcomes()) == (0, {"paused": CAMPAIGNS}), ended.err
    assert (stage.running(), stage.effects()) == (0, 1)
    assert [row["line"] for row in stage.rows()] == [str(one + 2) for one in range(CAMPAIGNS)]
    assert sum(one > 1 for one in stage.simulator.ledger.puts.values()) <= sent_twice
    files = stage.folder.glob("departures-*")
    left = sorted(float(one) for file in files for one in file.read_text().split())
    assert 0 < fullest_window(left, 1.0) <= RATE


async def test_a_worker_that_is_killed_is_replaced(env: dict[str, str], tmp_path: Path) -> None:
    """Kill -9 to one of two: nothing is sent twice but what was in flight, and R is kept."""
    async with at_work(tmp_path, env) as (stage, workers, follower):
        await stage.until_puts(30)
        workers[0].send(signal.SIGKILL)
        await check(stage, follower, sent_twice=8)
        processes: Any = stage.summary()["processes"]
        assert len(processes) == 2


async def test_a_worker_that_is_told_to_end_hands_back(env: dict[str, str], tmp_path: Path) -> None:
    """SIGTERM: it finishes what is in flight and is gone; nothing is sent twice."""
    async with at_work(tmp_path, env, workers=1) as (stage, [told], follower):
        await stage.until_puts(30)
        told.send(signal.SIGTERM)
        ended = await told.ended()
        with connect(Secret(env["ORCHESTRATOR_DATABASE_URL"])) as connection:
            held = connection.execute(
                "SELECT count(*) FROM orchestrator.chunk WHERE holder IS NOT NULL AND lo > 0"
            ).fetchone()
        await stage.begin("worker", env=env, program=_NOTED)
        await check(stage, follower, sent_twice=0)
        assert (ended.code, held) == (0, (0,))


async def test_postgresql_may_crash_and_a_worker_that_is_told_to_end_does_not_wait_for_it(
    own_server: PostgresServer, own_env: dict[str, str], tmp_path: Path
) -> None:
    """Away: nothing leaves, and who gets a SIGTERM is gone all the same; the other looks first."""
    async with at_work(tmp_path, own_env) as (stage, workers, follower):
        await stage.until_puts(30)
        await asyncio.to_thread(own_server.stop)
        await asyncio.sleep(1.0)  # what had been given may leave
        before = stage.simulator.ledger.total
        workers[0].send(signal.SIGTERM)
        told = await workers[0].ended()
        await asyncio.sleep(1.0)
        assert (told.code, stage.simulator.ledger.total) == (0, before)
        await asyncio.to_thread(own_server.start)
        await check(stage, follower, sent_twice=16)


async def test_a_bug_in_renewing_ends_the_run(env: dict[str, str], tmp_path: Path) -> None:
    """Nothing may leave without a lease: its campaigns would wait for ever, and the worker too."""
    bug = broken("orchestrator.cluster.worker", "renew")
    # each chunk lasts for long enough to be renewed
    async with at_work(tmp_path, env, workers=1, program=bug, rate=5) as (stage, _, follower):
        ended = await follower.ended()
        assert (ended.code, stage.summary()["verdict"]) == (70, "ended_early")
        assert "RuntimeError('it is odd')" in ended.err
