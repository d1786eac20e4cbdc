"""`pause-all --cluster`, as people type it: whoever dies, somebody goes on, and quiet is quiet."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.settings.secret import Secret
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from orchestrator.store.database import connect
from orchestrator.store.transfer import EMERGENCY_LO
from tests.e2e.stage import SHORT_GAP, VDN, Child, Stage
from tests.postgres import PostgresServer

pytestmark = [pytest.mark.sockets, pytest.mark.slow]
OTHER = 9


@asynccontextmanager
async def a_stage(
    folder: Path, env: dict[str, str], *, campaigns: int, workers: int
) -> AsyncIterator[Stage]:
    """Two VDNs that dial, a cluster, its workers."""
    members = {vdn: [Campaign(one) for one in range(1, campaigns + 1)] for vdn in (VDN, OTHER)}
    members[VDN].append(Campaign(1000, Status.SUSPENDED))
    simulator = Simulator(World(members), signature=SignatureCheck(ACCESS_KEY, SECRET_KEY))
    async with simulator:
        stage = Stage(folder, simulator)
        try:
            for number in range(workers):
                await a_worker(stage, env, number)
            yield stage
        finally:
            for child in stage.children:
                if child.process.returncode is None:
                    child.process.kill()
                    await child.process.communicate()


async def a_worker(stage: Stage, env: dict[str, str], number: int) -> Child:
    """One more worker, with a state directory of its own, that waits for chunks."""
    log = stage.folder / f"worker-{number}.log"
    state = {"ORCHESTRATOR_STATE_DIR": str(stage.folder / f"worker-{number}")}
    with log.open("wb") as file:
        out = file.fileno()
        worker = await stage.begin(
            "worker", env=env | state, program=SHORT_GAP, stdout=out, stderr=out
        )
    await stage.until(lambda: "waiting for chunks" in log.read_text("utf-8"))
    return worker


def words(stage: Stage, *more: str) -> tuple[str, ...]:
    """`pause-all --cluster` of both VDNs."""
    return stage.pause_all_words("--vdn", str(OTHER), "--cluster", *more)


async def midway(stage: Stage, env: dict[str, str]) -> Child:
    """An emergency that was given, in the middle of it."""
    given = await stage.begin(*words(stage, "--rate", "20"), env=env, program=SHORT_GAP)
    await stage.until_puts(20)
    return given


async def killed(child: Child) -> Child:
    """Kill -9."""
    child.send(signal.SIGKILL)
    await child.ended()
    return child


def holder_of(env: dict[str, str]) -> str:
    """Who has the emergency; empty: nobody, or it is over."""
    with connect(Secret(env["ORCHESTRATOR_DATABASE_URL"])) as connection:
        found = connection.execute(
            "SELECT holder FROM orchestrator.chunk WHERE lo = %s AND done_at IS NULL",
            (EMERGENCY_LO,),
        ).fetchone()
    return str(found[0] or "") if found else ""


async def until_taken_over(stage: Stage, env: dict[str, str], dead: Child) -> Child:
    """Another process has what this one had; returns it."""
    pid = f":{dead.process.pid}:"
    await stage.until(lambda: bool(holder := holder_of(env)) and pid not in holder)
    return next(one for one in stage.children if f":{one.process.pid}:" in holder_of(env))


async def test_two_vdns_are_stopped_proven_and_undone_from_any_machine(
    env: dict[str, str], tmp_path: Path
) -> None:
    """Two workers stand by. Quiet for both, one process; listed, noted, undone elsewhere."""
    async with a_stage(tmp_path, env, campaigns=20, workers=2) as stage:
        ended = await stage.run(*words(stage, "--reason", "drill"), env=env, program=SHORT_GAP)
        running, rows = stage.running(), stage.rows()
        there = env | {"ORCHESTRATOR_STATE_DIR": str(tmp_path / "elsewhere")}
        listed = await stage.run("runs", "--json", env=there)
        reported = await stage.run("report", "last", "--json", env=there)
        noted = await stage.run("note", "last", "found it", env=there)
        restored = await stage.run("restore", "last", "--yes", env=there)

        assert (ended.code, running) == (0, 0), ended.err
        assert f"VDN {VDN} is quiet" in ended.out
        assert f"VDN {OTHER} is quiet" in ended.out
        assert {row["outcome"] for row in rows} == {"paused"}
        assert [row["line"] for row in rows] == [str(one) for one in range(1, 41)]
        summary = stage.summary()
        assert summary["verdict"] == "quiet"
        assert isinstance(processes := summary["processes"], list)
        assert [one["ended"] for one in processes] == ["finished"]
        [line] = json.loads(listed.out)
        assert (line["verdict"], line["exit_code"], line["reason"]) == ("quiet", 0, "drill")
        told = json.loads(reported.out)
        for key in ("sweeps", "by_vdn", "counts", "verdict", "processes", "not_covered"):
            assert told[key] == summary[key]
        assert (noted.code, restored.code) == (0, 0)
        world = stage.simulator.world
        assert stage.running() == 40
        assert world.status_of(CampaignRef(VDN, 1000)) is Status.SUSPENDED


async def test_whoever_gave_it_and_who_went_on_may_both_be_killed(
    env: dict[str, str], tmp_path: Path
) -> None:
    """Kill -9 twice, each in the middle: another goes on; nothing is paused twice."""
    async with a_stage(tmp_path, env, campaigns=60, workers=2) as stage:
        given = await killed(await midway(stage, env))
        second = await until_taken_over(stage, env, given)
        await stage.until_puts(60)
        second.send(signal.SIGKILL)
        await second.process.wait()
        third = await until_taken_over(stage, env, second)
        followed = await stage.run("continue", str(stage.run_dir), env=env, program=SHORT_GAP)

        assert third.process.returncode is None
        assert (followed.code, stage.running(), stage.outcomes()) == (0, 0, {"paused": 120})
        assert stage.effects() == 1
        assert stage.summary()["verdict"] == "quiet"
        puts = stage.simulator.ledger.puts.values()
        assert sum(puts) <= 120 + 2 * 8  # at most what was in flight is repeated


async def test_workers_of_another_server_leave_it_to_those_of_its_own(
    env: dict[str, str], tmp_path: Path
) -> None:
    """Three of another server, one of ours, kill -9 where it was given: taken over all the same."""
    other = env | {"ORCHESTRATOR_BASE_URL": "https://other.example:28080"}
    async with a_stage(tmp_path, env, campaigns=30, workers=1) as stage:
        for number in range(1, 4):
            await a_worker(stage, other, number)
        await killed(await midway(stage, env))
        await stage.until(lambda: stage.running() == 0)
        followed = await stage.run("continue", str(stage.run_dir), env=env, program=SHORT_GAP)

        assert (followed.code, stage.effects()) == (0, 1)


async def test_a_worker_that_is_full_of_lists_takes_it_over_all_the_same(
    env: dict[str, str], tmp_path: Path
) -> None:
    """It has chunks of a list at work and more wait; the list is done as well."""
    async with a_stage(tmp_path, env, campaigns=20, workers=1) as stage:
        world = stage.simulator.world
        lists = range(1, 7)
        for vdn_id in lists:
            for number in range(1, 13):
                world.add(vdn_id, Campaign(number))
        lines = [f"{vdn_id},{number}" for vdn_id in lists for number in range(1, 13)]
        stage.manifest.write_text("\n".join(["vdn_id,campaign_id", *lines, ""]), "ascii")
        list_dir = ("--run-dir", str(tmp_path / "list-run"), "--rate", "10")
        submitted = await stage.begin(
            "pause", str(stage.manifest), "--cluster", *list_dir, env=env, program=SHORT_GAP
        )
        await stage.until_puts(5)
        given = await stage.begin(*words(stage, "--rate", "10"), env=env, program=SHORT_GAP)
        await stage.until(lambda: stopped(stage) > 0)
        await killed(given)
        await until_taken_over(stage, env, given)
        await stage.until(lambda: stopped(stage) == 40)
        done = await submitted.ended()

        assert (done.code, stage.running(), stage.effects()) == (0, 0, 1)


def stopped(stage: Stage) -> int:
    """Campaigns that the emergency is about and that were changed."""
    return sum(ref.vdn_id in (VDN, OTHER) for ref in stage.simulator.ledger.effects)


async def test_without_any_worker_continue_goes_on_after_a_kill(
    env: dict[str, str], tmp_path: Path
) -> None:
    """Kill -9 to the only process, from another machine `continue`: it takes it over itself."""
    async with a_stage(tmp_path, env, campaigns=30, workers=0) as stage:
        await killed(await midway(stage, env))
        there = env | {"ORCHESTRATOR_STATE_DIR": str(tmp_path / "elsewhere")}
        early = await stage.run("restore", "last", "--yes", env=there)
        done = await stage.run("continue", "last", env=there, program=SHORT_GAP)

        assert (early.code, "the cluster works on run" in early.err) == (7, True)
        assert (done.code, stage.running(), stage.effects()) == (0, 0, 1)
        assert f"VDN {OTHER} is quiet" in done.out


async def test_ctrl_c_of_who_only_follows_stops_nothing(
    env: dict[str, str], tmp_path: Path
) -> None:
    """`continue` on another machine while it is at work: exit 130, how to end it; it goes on."""
    async with a_stage(tmp_path, env, campaigns=60, workers=0) as stage:
        given = await stage.begin(*words(stage, "--rate", "12"), env=env, program=SHORT_GAP)
        await stage.until_puts(5)
        there = env | {"ORCHESTRATOR_STATE_DIR": str(tmp_path / "elsewhere")}
        # a terminal would show what it does; the first sign of it here is a line after 10 s
        follower = await stage.begin("continue", "last", env=there)
        await stage.until(lambda: bool(list((tmp_path / "elsewhere" / "runs").glob("*/live.json"))))
        follower.send(signal.SIGINT)
        left = await follower.ended()
        ended = await given.ended()

        assert left.code == 130
        assert "goes on with it" in left.err
        assert "orchestrator stop 2" in left.err
        assert (ended.code, stage.running(), stage.effects()) == (0, 0, 1)


async def test_ctrl_c_ends_it_for_all(env: dict[str, str], tmp_path: Path) -> None:
    """SIGINT while a worker stands by: exit 130, no worker goes on; `continue` does."""
    async with a_stage(tmp_path, env, campaigns=40, workers=1) as stage:
        given = await midway(stage, env)
        given.send(signal.SIGINT)
        ended = await given.ended()
        left, holder = stage.running(), holder_of(env)
        done = await stage.run("continue", str(stage.run_dir), env=env, program=SHORT_GAP)

        assert (ended.code, holder) == (130, "")
        assert 0 < left < 80
        assert (done.code, stage.running(), stage.effects()) == (0, 0, 1)


async def test_what_was_ended_early_can_be_undone(env: dict[str, str], tmp_path: Path) -> None:
    """`stop` from another machine, then `restore` there: exactly what had been paused by then."""
    async with a_stage(tmp_path, env, campaigns=60, workers=1) as stage:
        given = await stage.begin(*words(stage, "--rate", "8"), env=env, program=SHORT_GAP)
        await stage.until_puts(10)
        there = env | {"ORCHESTRATOR_STATE_DIR": str(tmp_path / "elsewhere")}
        run_id = json.loads((await stage.run("runs", "--json", env=there)).out)[0]["run_id"]
        stopped = await stage.run("stop", run_id, env=there)
        ended = await given.ended()
        left = stage.running()
        restored = await stage.run("restore", run_id, "--yes", env=there)

        assert (stopped.code, ended.code) == (0, 130)
        assert 0 < left < 120
        assert restored.code == 0, restored.err
        assert stage.running() == 120


async def test_a_machine_that_stands_still_is_passed_over_and_follows(
    env: dict[str, str], tmp_path: Path
) -> None:
    """SIGSTOP for longer than its lease: a worker has it; awake again it sends nothing, reports."""
    async with a_stage(tmp_path, env, campaigns=60, workers=1) as stage:
        given = await midway(stage, env)
        given.send(signal.SIGSTOP)
        await until_taken_over(stage, env, given)
        given.send(signal.SIGCONT)
        ended = await given.ended()

        assert (ended.code, stage.running(), stage.effects()) == (0, 0, 1), ended.err
        assert stage.summary()["verdict"] == "quiet"
        assert "following it" in ended.err
        assert "going on with run" in (tmp_path / "worker-0.log").read_text("utf-8")


async def test_ctrl_c_while_postgresql_is_away_says_that_a_worker_may_go_on(
    own_server: PostgresServer, own_env: dict[str, str], tmp_path: Path
) -> None:
    """It ends with 130 and says how to end the stop; it is as it says: a worker goes on."""
    async with a_stage(tmp_path, own_env, campaigns=40, workers=1) as stage:
        given = await midway(stage, own_env)
        own_server.stop()
        given.send(signal.SIGINT)
        ended = await given.ended()
        own_server.start()
        await stage.until(lambda: stage.running() == 0)

        assert ended.code == 130
        assert "a worker may go on with it" in ended.err
        assert "orchestrator stop 2" in ended.err


async def test_a_dry_run_needs_no_cluster(tmp_path: Path) -> None:
    """It lists, and asks no database."""
    async with Simulator(World({VDN: [Campaign(1)], OTHER: []})) as simulator:
        stage = Stage(tmp_path, simulator)
        nowhere = {"ORCHESTRATOR_DATABASE_URL": "postgresql://t@127.0.0.1:1/x"}
        ended = await stage.run(*words(stage, "--dry-run"), env=nowhere)

        assert ended.code == 0, ended.err
        assert stage.outcomes() == {"planned": 1}


@pytest.mark.parametrize("database", ["postgresql://t@127.0.0.1:1/x", "", "no tables"])
async def test_without_a_database_it_says_how_to_stop_all_the_same(
    database: str, server: PostgresServer, tmp_path: Path
) -> None:
    """Nobody listens, none is set, it was never made: nothing is sent, and what works is named."""
    url = server.make_bare_database().reveal() if database == "no tables" else database
    simulator = Simulator(World({VDN: [Campaign(1)]}))
    async with simulator:
        stage = Stage(tmp_path, simulator)
        ended = await stage.run(*words(stage), env={"ORCHESTRATOR_DATABASE_URL": url})

        assert ended.code == (5 if "t@" in database else 2)
        assert "Nothing was sent; campaigns are still dialling." in ended.err
        assert f"pause-all --vdn {VDN} --vdn {OTHER}" in ended.err
        assert "--cluster" not in ended.err
        assert stage.simulator.ledger.total == 0
        assert not stage.run_dir.exists()
