"""`continue`: what earlier processes decided stays; what they left in doubt is remembered."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.results import RunResult
from orchestrator.errors import RefusedError
from orchestrator.model import Status
from orchestrator.reports.summary import Ended
from orchestrator.simulator import faults
from orchestrator.simulator.faults import FaultPlan, Outage
from orchestrator.simulator.reads import ListingFaults
from orchestrator.simulator.routes import CHANGES, Kind
from orchestrator.store import Store, open_saved
from tests.fakes import START_MS, VDN, Sent, Stage, ref, started, started_refs

ONE = ref(1)


def rate_of(result: RunResult) -> dict[str, float]:
    """What the summary says of the pace."""
    rate = result.summary["rate"]
    assert isinstance(rate, dict)
    return rate


def at_put(stage: Stage, number: int) -> Callable[[Sent], bool]:
    """Whether so many PUTs have left."""
    return lambda _: len(stage.server.puts) >= number


async def killed_at(stage: Stage, put: int, **wanted: Any) -> Path:
    """Pause everything and die when the PUT of this number has reached the server."""

    def watch(sent: Sent) -> None:
        if len(stage.server.puts) == put and sent.is_change:
            asyncio.get_running_loop().call_later(stage.server.there_s + 1e-6, stage.kill)

    stage.server.on_sent = watch
    assert await stage.until_killed(stage.pause(**wanted)) is None
    stage.server.on_sent = None
    (run_dir,) = stage.run_dirs()
    return run_dir


@pytest.mark.parametrize("put", [1, 17, 40])
async def test_a_killed_run_is_finished_by_continue(tmp_path: Path, put: int) -> None:
    """[P02, P03, P04] killed between effect and answer: all paused, all known to be ours."""
    stage = Stage(tmp_path, started(40))
    run_dir = await killed_at(stage, put)

    result = await stage.continue_run(run_dir)

    assert result.counts == {"paused": 40}
    assert {row["changed"] for row in stage.rows(result)} == {"yes"}
    assert {row["state_before"] for row in stage.rows(result)} == {"started"}
    assert all(stage.server.ledger.effects[one] == 1 for one in stage.world.refs())


async def test_what_was_settled_gets_no_put_in_a_later_life(tmp_path: Path) -> None:
    """[P27] paused in process 1 and started by an operator since: `still_running`, no PUT."""
    stage = Stage(tmp_path, started(40))
    run_dir = await killed_at(stage, 30)
    stage.world.set_status(ONE, Status.STARTED)
    before = len(stage.server.puts_to(ONE))

    result = await stage.continue_run(run_dir)

    assert stage.row(result, ONE)["outcome"] == "still_running"
    assert stage.row(result, ONE)["changed"] == "yes"
    assert len(stage.server.puts_to(ONE)) == before
    assert stage.world.status_of(ONE) is Status.STARTED


async def test_a_doubt_of_an_earlier_life_is_remembered_when_the_look_fails(tmp_path: Path) -> None:
    """[P03] killed with a PUT in flight, no listing: ours, not `already_paused`."""
    stage = Stage(tmp_path, started(40))
    run_dir = await killed_at(stage, 1, verify=False)
    pending = [one.ref for one in stage.server.puts]
    stage.server.handler.faults = FaultPlan(
        listing_faults={VDN: ListingFaults(answered=0)},
    )

    result = await stage.continue_run(run_dir)

    assert pending == [ONE]
    row = stage.row(result, ONE)
    assert (row["outcome"], row["changed"]) == ("paused", "yes")


async def test_a_doubt_of_the_first_round_is_remembered_in_the_last(tmp_path: Path) -> None:
    """[S26] --no-verify: five landed 500s, then 0200011 in the last round: ours."""
    stage = Stage(
        tmp_path,
        started(40),
        faults=FaultPlan(scripted={ONE: [faults.with_http(500, effect=True)] * 5}),
    )

    result = await stage.pause(verify=False)

    row = stage.row(result, ONE)
    assert (row["outcome"], row["changed"]) == ("paused", "yes")


async def test_five_kills_in_a_row_converge(tmp_path: Path) -> None:
    """[P07] killed in every process, also while continuing: the sixth finishes it."""
    stage = Stage(tmp_path, started(60))
    run_dir = await killed_at(stage, 5)
    for number in (9, 15, 22, 40):
        await stage.killed(stage.continue_run(run_dir), at_put(stage, number))

    result = await stage.continue_run(run_dir)

    assert result.counts == {"paused": 60}
    assert {row["changed"] for row in stage.rows(result)} == {"yes"}


async def test_looking_at_a_killed_run_does_not_make_it_younger(tmp_path: Path) -> None:
    """[P27] `runs`, or `continue` itself on its way, reads the log that the kill has left."""
    stage = Stage(tmp_path, started(10))
    run_dir = await killed_at(stage, 3)
    log = run_dir / "journal.db-wal"
    with closing(sqlite3.connect(run_dir / "journal.db")) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA user_version = {version}")
        left = log.read_bytes()
    log.write_bytes(left)  # what only a process that is not asked first leaves behind
    for path in run_dir.iterdir():
        os.utime(path, (START_MS / 1000 - 90_000,) * 2)

    with open_saved(run_dir / "journal.db") as saved:
        assert saved.record().run_id

    assert not log.exists()
    sent = len(stage.server.sent)
    with pytest.raises(RefusedError, match="hours ago"):
        await stage.continue_run(run_dir)
    assert len(stage.server.sent) == sent
    assert (await stage.continue_run(run_dir, even_if_old=True)).exit_code == 0


async def test_continue_of_an_emergency_is_an_emergency(tmp_path: Path) -> None:
    """[P03, P27] started between two processes: paused again, and quiet is proven."""
    stage = Stage(tmp_path, started(50))
    run_dir = await stage.killed(stage.pause_all(VDN), at_put(stage, 30))
    stage.world.set_status(ONE, Status.STARTED)
    before = len(stage.server.puts_to(ONE))

    result = await stage.continue_run(run_dir)

    assert len(stage.server.puts_to(ONE)) == before + 1
    assert result.counts == {"paused": 50}
    assert {row["changed"] for row in stage.rows(result)} == {"yes"}
    assert started_refs(stage.world) == []
    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert Kind.PAUSE in {one.kind for one in stage.server.sent}


async def test_a_life_that_only_looked_does_not_keep_the_next_one_from_pausing(
    tmp_path: Path,
) -> None:
    """[P07] killed right after reading what a killed process left open: all are paused later."""
    stage = Stage(tmp_path, started(30))
    run_dir = await stage.killed(stage.pause_all(VDN), at_put(stage, 10))

    def late(sent: Sent) -> bool:
        read = [one.ref for one in stage.server.sent if one.kind is Kind.DETAILS]
        return sent.kind is Kind.DETAILS and len(read) == 5

    # the listing fails, so what was left open is read one by one
    stage.server.handler.faults = FaultPlan(
        listing_faults={VDN: ListingFaults(answered=0)},
        outages=(Outage(faults.RESET, kinds=frozenset(CHANGES)),),
    )
    await stage.killed(stage.continue_run(run_dir), late)
    stage.server.handler.faults = FaultPlan()

    result = await stage.continue_run(run_dir)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert result.counts == {"paused": 30}


async def test_a_doubt_after_the_attempts_ran_out_is_in_the_report(tmp_path: Path) -> None:
    """[N15] five 429, then in the last round a lost answer and a stop: `unknown`, maybe changed."""
    script = [faults.THROTTLED] * 5 + [faults.ANSWER_LOST]
    stage = Stage(tmp_path, started(40), faults=FaultPlan(scripted={ONE: script}))

    def stop(sent: Sent) -> None:
        if sent.ref == ONE and len(stage.server.puts_to(ONE)) == 6 and stage.stopping is not None:
            stage.stopping.stop(Ended.SIGNAL_INT, "told to")

    stage.server.on_sent = stop

    first = await stage.pause()

    assert stage.server.ledger.effects[ONE] == 1
    row = stage.row(first, ONE)
    assert (row["outcome"], row["changed"]) == ("unknown", "maybe")
    stage.server.on_sent = None
    row = stage.row(await stage.continue_run(first), ONE)
    assert (row["outcome"], row["changed"]) == ("paused", "yes")


async def test_a_journal_that_cannot_be_read_ends_the_run_and_does_not_hang_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every slot is given back: exit 5, and the rows add up."""
    stage = Stage(tmp_path, started(40))
    run_dir = await killed_at(stage, 5)

    def fail(*_: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Store, "attempts_made", lambda store, _seq: store.ask(fail))
    async with asyncio.timeout(3600):
        result = await stage.continue_run(run_dir)

    assert result.exit_code == 5
    assert sum(result.counts.values()) == 40


async def test_a_rate_given_with_the_same_run_dir_again_is_the_one_that_counts(
    tmp_path: Path,
) -> None:
    """Ten a second was too slow: with 200 the other 35 campaigns take no 3 s, and it is told so."""
    stage = Stage(tmp_path, started(40), rate_per_s=10)
    run_dir = await killed_at(stage, 5)
    faster = Stage(tmp_path, stage.world, rate_per_s=200)
    began_s = faster.clock.now_s()

    result = await faster.pause(run_dir=run_dir, manifest=tmp_path / "list.csv")

    assert result.counts == {"paused": 40}
    assert faster.clock.now_s() - began_s < 3
    assert rate_of(result)["ceiling_per_s"] == 200
    assert rate_of(result)["worst_1s"] > 10


async def test_the_rate_told_is_the_highest_of_all_lives(tmp_path: Path) -> None:
    """Slow, then fast, then slow again: the busiest second of all processes is not above it."""
    stage = Stage(tmp_path, started(40), rate_per_s=100)
    run_dir = await killed_at(stage, 30)
    slow = await stage.continue_run(run_dir, rate_per_s=7.0, deadline_s=0.5)
    fast = await stage.continue_run(run_dir, rate_per_s=50.0)

    assert rate_of(slow)["ceiling_per_s"] == 7
    rate = rate_of(fast)
    assert rate["ceiling_per_s"] == 50
    assert rate["worst_1s"] <= 50
