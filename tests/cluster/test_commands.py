"""The commands of the cluster, as people type them: a database, workers, a list, its undo."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import pytest

from orchestrator.model import Status
from orchestrator.settings.secret import Secret
from orchestrator.simulator.faults import FORBIDDEN, FaultPlan, Outage
from orchestrator.store.database import connect
from tests.e2e.stage import Stage, a_stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.postgres import PostgresServer

pytestmark = [pytest.mark.sockets, pytest.mark.slow]


@pytest.fixture
def env(server: PostgresServer) -> dict[str, str]:
    """Where the cluster is."""
    url = server.make_bare_database()
    return {"ORCHESTRATOR_DATABASE_URL": url.reveal()}


def cluster_words(stage: Stage) -> tuple[str, ...]:
    """`pause` of the whole list by the cluster."""
    return stage.pause_words("--cluster", "--rate", "40")


async def test_a_list_is_paused_by_workers_and_restored_from_its_directory(
    env: dict[str, str], tmp_path: Path
) -> None:
    """Init twice, two workers, a list, the same again, its exact undo; a worker ends by SIGTERM."""
    async with a_stage(tmp_path, campaigns=40) as stage:
        made = [await stage.run("cluster", "init", env=env) for _ in range(2)]
        workers = [await stage.begin("worker", env=env) for _ in range(2)]
        paused = await stage.run(*cluster_words(stage), env=env)
        again = await stage.run(*cluster_words(stage), env=env)
        running = stage.running()
        report = stage.outcomes()
        restored = await stage.run("restore", str(stage.run_dir), "--yes", env=env)
        for worker in workers:
            worker.send(signal.SIGTERM)
        ended = [await worker.ended() for worker in workers]

        assert [one.code for one in made] == [0, 0]
        assert "are made" in made[0].out
        assert "are there" in made[1].out
        assert (paused.code, running, report) == (0, 0, {"paused": 40})
        assert again.code == 0
        assert "already finished" in again.err
        assert restored.code == 0
        assert stage.simulator.world.counts()[Status.STARTED] == 40
        assert [one.code for one in ended] == [0, 0]
        assert env["ORCHESTRATOR_DATABASE_URL"] not in f"{paused}{ended}{made}"


async def test_whoever_follows_may_be_killed(env: dict[str, str], tmp_path: Path) -> None:
    """SIGKILL to the submitter: the run is in the cluster; `continue` follows it, nothing is lost.

    Before it is through, nothing here pretends to know what it turned off.
    """
    async with a_stage(tmp_path, campaigns=30) as stage:
        await stage.run("cluster", "init", env=env)
        submitter = await stage.begin(*cluster_words(stage), env=env)
        database = connect_to(env)
        await stage.until(lambda: has_chunks(database))
        submitter.send(signal.SIGKILL)
        await submitter.ended()
        refused = await stage.run("restore", "last", "--yes", env=env)
        blind = await stage.run("continue", "last")
        worker = await stage.begin("worker", env=env)
        followed = await stage.run("continue", "last", env=env)
        worker.send(signal.SIGTERM)
        await worker.ended()

        assert refused.code == 7
        assert "the cluster works on run" in refused.err
        assert blind.code == 2
        assert "cluster.database_url" in blind.err
        assert followed.code == 0
        assert (stage.running(), stage.outcomes()) == (0, {"paused": 30})
        assert stage.effects() == 1


async def test_a_run_is_found_from_any_machine(env: dict[str, str], tmp_path: Path) -> None:
    """Another state directory: listed while it waits, then reported, noted, and undone exactly.

    With the database away what is here is shown, and that something may be missing.
    """
    async with a_stage(tmp_path, campaigns=20) as stage:
        await stage.run("cluster", "init", env=env)
        submitter = await stage.begin(*cluster_words(stage), env=env)
        await stage.until(lambda: has_chunks(connect_to(env)))
        there = env | {"ORCHESTRATOR_STATE_DIR": str(tmp_path / "elsewhere")}
        waiting = await stage.run("runs", "--json", env=there)
        early = await stage.run("restore", "last", "--yes", env=there)
        worker = await stage.begin("worker", env=env)
        await submitter.ended()
        worker.send(signal.SIGTERM)
        await worker.ended()
        reported = await stage.run("report", "last", "--json", env=there)
        noted = await stage.run("note", "last", "found it", env=there)
        restored = await stage.run("restore", "last", "--yes", env=there)
        away = there | {"ORCHESTRATOR_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
        listed = await stage.run("runs", "--json", env=away)

        assert [one["counts"] for one in json.loads(waiting.out)] == [{}]
        assert (early.code, "the cluster works on run" in early.err) == (7, True)
        assert json.loads(reported.out)["counts"] == {"paused": 20}
        assert [one.code for one in (reported, noted, restored)] == [0, 0, 0]
        assert stage.running() == 20
        assert "may be missing here" in listed.err
        assert len(json.loads(listed.out)) == 2


async def test_ctrl_c_ends_the_following_alone(env: dict[str, str], tmp_path: Path) -> None:
    """No worker: it waits. SIGINT: 130, and it is said that the cluster goes on."""
    async with a_stage(tmp_path, campaigns=5) as stage:
        await stage.run("cluster", "init", env=env)
        follower = await stage.begin(*cluster_words(stage), env=env)
        database = connect_to(env)
        await stage.until(lambda: has_chunks(database))
        follower.send(signal.SIGINT)
        ended = await follower.ended()

        assert ended.code == 130
        assert "the cluster goes on with it" in ended.err
        assert "continue" in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--cluster",), "cluster.database_url is not set"),
     (("--cluster", "--deadline", "5"), "--deadline"),
     (("--cluster", "--max-failures", "5"), "--max-failures")],
)  # fmt: skip
async def test_what_the_cluster_cannot_do_is_refused(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    """Before the list is read: no database, or a limit over the whole run."""
    async with a_stage(tmp_path, campaigns=1) as stage:
        ended = await stage.run(*stage.pause_words(*words))

        assert ended.code == 2
        assert said in ended.err
        assert stage.simulator.ledger.total == 0


async def test_a_worker_whose_keys_are_refused_ends(env: dict[str, str], tmp_path: Path) -> None:
    """After a few requests, exit 3: a key that is tried for ever gets locked. Another goes on."""
    async with a_stage(tmp_path, campaigns=5) as stage:
        await stage.run("cluster", "init", env=env)
        follower = await stage.begin(*cluster_words(stage), env=env)
        refused = await stage.run("worker", env=env | {"ORCHESTRATOR_SECRET_KEY": "other"})
        asked = stage.simulator.ledger.total
        await stage.begin("worker", env=env)
        followed = await follower.ended()

        assert refused.code == 3
        assert asked < 20
        assert (followed.code, stage.outcomes()) == (0, {"paused": 5})


async def test_a_vdn_that_is_refused_ends_as_denied(env: dict[str, str], tmp_path: Path) -> None:
    """403 for all of it but the first look: each campaign has its row, nobody tries for ever."""
    faults = FaultPlan(outages=(Outage(FORBIDDEN, first_request=2),))
    async with a_stage(tmp_path, campaigns=30, faults=faults) as stage:
        await stage.run("cluster", "init", env=env)
        await stage.begin("worker", env=env)
        followed = await stage.run(*cluster_words(stage), env=env)

        assert (followed.code, stage.outcomes()) == (1, {"denied": 30})


async def test_an_emergency_needs_no_database(tmp_path: Path) -> None:
    """cluster.database_url names a machine that takes connections and says nothing: not even asked.

    So it waits for it no time at all; nor where nobody listens there.
    """
    asked = list[int]()
    silent = await asyncio.start_server(lambda *_: asked.append(1), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    env = {"ORCHESTRATOR_DATABASE_URL": f"postgresql://127.0.0.1:{port}/x"}
    async with silent, a_stage(tmp_path, campaigns=5) as stage:
        ended = await stage.run(*stage.pause_all_words(), env=env)

        assert ended.code == 0
        assert stage.running() == 0
        assert asked == []


def connect_to(env: dict[str, str]) -> Secret:
    """The database, for a look."""
    return Secret(env["ORCHESTRATOR_DATABASE_URL"])


def has_chunks(database: Secret) -> bool:
    """Whether a run has arrived."""
    with connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM orchestrator.chunk").fetchone()
    return found is not None and found[0] > 1
