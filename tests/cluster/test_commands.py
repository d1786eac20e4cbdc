"""The commands of the cluster, as people type them: a database, workers, a list, its undo."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.settings.secret import Secret
from orchestrator.simulator.faults import FORBIDDEN, FaultPlan, Outage, with_codes, with_http
from orchestrator.store.database import connect
from tests.cluster.makers import broken
from tests.e2e.stage import SHORT_GAP, VDN, Stage, a_stage
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.sockets, pytest.mark.slow]


def cluster_words(stage: Stage) -> tuple[str, ...]:
    """`pause` of the whole list by the cluster."""
    return stage.pause_words("--cluster", "--rate", "40")


async def test_a_list_is_paused_by_workers_and_restored_from_its_directory(
    server: PostgresServer, tmp_path: Path
) -> None:
    """Init twice, two workers, a list, the same again, its exact undo; a worker ends by SIGTERM."""
    env = {"ORCHESTRATOR_DATABASE_URL": server.make_bare_database().reveal()}
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
        submitter = await stage.begin(*cluster_words(stage), env=env)
        database = connect_to(env)
        await stage.until(lambda: has_chunks(database))
        submitter.send(signal.SIGKILL)
        await submitter.ended()
        refused = await stage.run("restore", "last", "--yes", env=env)
        blind = await stage.run("continue", "last")
        follower = await stage.begin("continue", "last", env=env)
        worker = await stage.begin("worker", env=env)
        followed = await follower.ended()
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

    The submitter reads the note, too. With the database away what is here is shown, and that
    something may be missing.
    """
    async with a_stage(tmp_path, campaigns=20) as stage:
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
        at_home = await stage.run("report", "last", "--json", env=env)
        restored = await stage.run("restore", "last", "--yes", env=there)
        nowhere = {"ORCHESTRATOR_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
        listed = await stage.run("runs", "--json", env=there | nowhere)
        alone = await stage.run("note", "last", "later", env=env | nowhere)

        assert [one["text"] for one in json.loads(at_home.out)["notes"]] == ["found it"]
        assert (alone.code, "other machines see the note after" in alone.err) == (0, True)
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
        follower = await stage.begin(*cluster_words(stage), env=env)
        database = connect_to(env)
        await stage.until(lambda: has_chunks(database))
        follower.send(signal.SIGINT)
        ended = await follower.ended()

        assert ended.code == 130
        assert "the cluster goes on with it" in ended.err
        assert "continue" in ended.err


async def test_without_a_database_there_is_no_cluster(tmp_path: Path) -> None:
    """Refused before the list is read, and the setting that is missing is named."""
    async with a_stage(tmp_path, campaigns=1) as stage:
        ended = await stage.run(*stage.pause_words("--cluster"))

        assert ended.code == 2
        assert "cluster.database_url is not set" in ended.err
        assert stage.simulator.ledger.total == 0


async def test_a_deadline_holds_for_all_workers(env: dict[str, str], tmp_path: Path) -> None:
    """Two workers at 10 a second, 3 s: as on one machine exit 1, the rest unattempted, then on."""
    async with a_stage(tmp_path, campaigns=70) as stage:
        for _ in range(2):
            await stage.begin("worker", env=env)
        words = stage.pause_words("--cluster", "--rate", "10", "--deadline", "3", "--no-verify")
        ended = await stage.run(*words, env=env)
        arrived, report = stage.puts(), stage.outcomes()
        done = await stage.run("continue", "last", env=env)

        assert ended.code == 1
        assert "Out of time" in ended.out
        assert 0 < report["paused"] == arrived <= 31
        assert report["paused"] + report["unattempted"] == 70
        assert (done.code, stage.running(), stage.effects()) == (0, 0, 1)


async def test_a_deadline_needs_no_worker(env: dict[str, str], tmp_path: Path) -> None:
    """Nobody is there to send or to count: whoever follows ends it."""
    async with a_stage(tmp_path, campaigns=5) as stage:
        ended = await stage.run(*stage.pause_words("--cluster", "--deadline", "1"), env=env)

        assert (ended.code, stage.outcomes(), stage.puts()) == (1, {"unattempted": 5}, 0)


@pytest.mark.parametrize("limit", ["8", "4%"])
async def test_failures_count_over_all_workers(
    limit: str, env: dict[str, str], tmp_path: Path
) -> None:
    """[S14] Eight of 200 by two workers: exit 4, a second's worth more at most, a sentence."""
    refused = {CampaignRef(VDN, one): with_codes("0200001") for one in range(1, 201)}
    faults = FaultPlan(always=refused)
    async with a_stage(tmp_path, campaigns=200, faults=faults) as stage:
        for _ in range(2):
            await stage.begin("worker", env=env)
        words = stage.pause_words("--cluster", "--rate", "40", "--max-failures", limit)
        ended = await stage.run(*words, env=env)
        report = stage.outcomes()

        assert ended.code == 4
        assert "Ended early" in ended.out
        assert 8 <= report["rejected"] <= 8 + 40
        assert report["rejected"] + report["unattempted"] == 200


async def test_a_worker_whose_keys_are_refused_ends(env: dict[str, str], tmp_path: Path) -> None:
    """After a few requests, exit 3: a key that is tried for ever gets locked. Another goes on."""
    async with a_stage(tmp_path, campaigns=5) as stage:
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
        await stage.begin("worker", env=env)
        followed = await stage.run(*cluster_words(stage), env=env)

        assert (followed.code, stage.outcomes()) == (1, {"denied": 30})


async def test_a_server_that_fails_for_too_long_ends_the_run(
    env: dict[str, str], tmp_path: Path
) -> None:
    """Beyond the worker's patience: exit 4, as a run on one machine."""
    broken = FaultPlan(outages=(Outage(with_http(500)),))
    (tmp_path / "short.toml").write_text("[retry]\npatience_s = 1\n")
    async with a_stage(tmp_path, campaigns=10, faults=broken) as stage:
        worker = await stage.begin("worker", "--config", str(tmp_path / "short.toml"), env=env)
        followed = await stage.run(*cluster_words(stage), env=env)
        worker.process.kill()

        assert (followed.code, stage.running()) == (4, 10)
        assert "no useful answer for 1 s" in followed.err


async def test_a_bug_in_a_chunk_ends_the_run(env: dict[str, str], tmp_path: Path) -> None:
    """No worker could get further: exit 70 with what it was; a worker without it goes on."""
    bug = broken("orchestrator.cluster.part_work", "open_part")
    async with a_stage(tmp_path, campaigns=10) as stage:
        worker = await stage.begin("worker", env=env, program=bug)
        followed = await stage.run(*cluster_words(stage), env=env)
        why, report = stage.summary()["verdict"], stage.outcomes()
        worker.send(signal.SIGTERM)
        ended = await worker.ended()
        await stage.begin("worker", env=env)
        done = await stage.run("continue", "last", env=env)

        assert (followed.code, why, report) == (70, "ended_early", {"unattempted": 10})
        assert "RuntimeError: it is odd" in ended.err
        assert ended.code == 0
        assert (done.code, stage.running(), stage.effects()) == (0, 0, 1)


async def test_a_bug_of_a_worker_is_its_end(env: dict[str, str], tmp_path: Path) -> None:
    """It does not stay half alive: exit 70, what it was; another worker does the work."""
    bug = broken("orchestrator.cluster.worker", "end_overdue")
    async with a_stage(tmp_path, campaigns=10) as stage:
        ended = await stage.run("worker", env=env, program=bug)
        await stage.begin("worker", env=env)
        followed = await stage.run(*cluster_words(stage), env=env)

        assert ended.code == 70
        assert "it is odd" in ended.err
        assert (followed.code, stage.outcomes()) == (0, {"paused": 10})


async def test_stop_ends_a_run_of_the_cluster(env: dict[str, str], tmp_path: Path) -> None:
    """In the middle: its follower reports what was done, exit 130; `continue` does the rest."""
    async with a_stage(tmp_path, campaigns=60) as stage:
        await stage.begin("worker", env=env)
        slowly = stage.pause_words("--cluster", "--rate", "10")
        follower = await stage.begin(*slowly, env=env)
        await stage.until_puts(10)
        stopped = await stage.run("stop", "last", env=env)
        ended = await follower.ended()
        left = stage.running()
        done = await stage.run("continue", "last", "--even-if-old", env=env)

        assert (stopped.code, ended.code, left > 0) == (0, 130, True)
        assert "continue" in stopped.out
        assert (done.code, stage.running(), stage.effects()) == (0, 0, 1)


async def test_an_emergency_needs_no_database(tmp_path: Path) -> None:
    """A machine that takes connections and says nothing: quiet is proven, and it is said once."""
    held = list[asyncio.StreamWriter]()
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    env = {"ORCHESTRATOR_DATABASE_URL": f"postgresql://127.0.0.1:{port}/x"}
    async with silent, a_stage(tmp_path, campaigns=5) as stage:
        ended = await stage.run(*stage.pause_all_words(), env=env, program=SHORT_GAP)
        for one in held:
            one.transport.abort()
        await asyncio.sleep(0)  # an aborted transport lets go of its socket in the next turn

        assert (ended.code, stage.running()) == (0, 0)
        assert ended.err.count("the rate is not shared with other runs") == 1


def connect_to(env: dict[str, str]) -> Secret:
    """The database, for a look."""
    return Secret(env["ORCHESTRATOR_DATABASE_URL"])


def has_chunks(database: Secret) -> bool:
    """Whether a run has arrived."""
    with connect(database) as connection:
        found = connection.execute("SELECT count(*) FROM orchestrator.chunk").fetchone()
    return found is not None and found[0] > 1


async def test_two_machines_that_restore_a_run_start_nothing_twice(
    own_server: PostgresServer, own_env: dict[str, str], tmp_path: Path
) -> None:
    """Five by one, five others by the other, the rest by the first; nothing while it is away."""
    here, there = own_env, {**own_env, "ORCHESTRATOR_STATE_DIR": str(tmp_path / "there")}
    async with a_stage(tmp_path, campaigns=20) as stage:
        await stage.begin("worker", env=here)
        await stage.run(*cluster_words(stage), env=here)
        run_id = str(stage.summary()["run_id"])
        words = ("restore", run_id, "--yes")
        codes = [(await stage.run(*words, "--limit", "5", env=env)).code for env in (there, here)]
        started = stage.running()
        own_server.stop()
        away = await stage.run(*words, env=there)
        own_server.start()
        last = await stage.run(*words, env=there)

        assert (codes, started) == ([0, 0], 10)
        assert (away.code, last.code) == (5, 0)
        assert "Nothing was sent" in away.err
        assert stage.running() == 20
        # each was paused once and started once
        assert set(stage.simulator.ledger.puts.values()) == {2}
