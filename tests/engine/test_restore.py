"""restore: start again exactly what a run turned off."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import pausing_all
from orchestrator.engine.options import PauseAllOptions
from orchestrator.engine.results import RunResult
from orchestrator.errors import RefusedError
from orchestrator.model import Status
from orchestrator.reports.next_steps import next_step
from orchestrator.reports.summary import Ended
from orchestrator.reports.undo import undo_lines
from orchestrator.simulator import faults
from orchestrator.simulator.faults import FaultPlan, mixed
from orchestrator.simulator.reads import Lag, ListingFaults
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.world import Campaign, World
from orchestrator.store import MarkState, open_saved
from orchestrator.store.marks import read_marks
from tests.fakes import START_MS, VDN, Sent, Stage, folder_of, ref, started, started_refs

ONE = ref(1)


async def paused(stage: Stage, **wanted: Any) -> Path:
    """A finished pause of everything."""
    return folder_of(await stage.pause(**wanted))


async def killed_after_ten(stage: Stage, run_dir: Path) -> Path:
    """A restore that was killed at its tenth start; its directory."""
    return await stage.killed(stage.restore(run_dir), lambda _: len(resumed(stage)) == 10)


def resumed(stage: Stage) -> set[int]:
    """The campaigns that were sent a start."""
    return {
        one.ref.campaign_id
        for one in stage.server.sent
        if one.kind is Kind.RESUME and one.ref is not None
    }


@pytest.mark.parametrize("command", [Stage.pause, Stage.pause_all])
async def test_exactly_what_the_run_changed_is_started(
    tmp_path: Path, command: Callable[[Stage], Awaitable[RunResult]]
) -> None:
    """Of 40, ten were suspended before and five completed: 25 are started, the others left."""
    members = [
        Campaign(
            n, Status.SUSPENDED if n <= 10 else Status.COMPLETED if n <= 15 else Status.STARTED
        )
        for n in range(1, 41)
    ]
    stage = Stage(tmp_path, World({VDN: members}))

    result = await stage.restore(await command(stage))

    assert result.exit_code == 0
    assert result.counts == {"restored": 25}
    assert resumed(stage) == set(range(16, 41))
    assert {one.campaign_id for one in started_refs(stage.world)} == set(range(16, 41))


async def test_restoring_twice_starts_nothing_twice(tmp_path: Path) -> None:
    """After the restore one was stopped by hand, one completed: the second leaves all alone."""
    stage = Stage(tmp_path, started(20))
    run_dir = await paused(stage)
    await stage.restore(run_dir)
    stage.world.set_status(ONE, Status.SUSPENDED)
    stage.world.set_status(ref(2), Status.COMPLETED)
    sent = len(stage.server.puts)

    tried = await stage.restore(run_dir, dry_run=True)
    again = await stage.restore(run_dir)

    assert (tried.counts, tried.exit_code) == ({"left_alone": 20}, 0)
    assert (again.counts, again.exit_code) == ({"left_alone": 20}, 0)
    assert again.line == "20 lines: 20 started again before, by another restore."
    states = [row["state_after"] for row in stage.rows(again)]
    assert states[:3] == ["suspended", "completed", "started"]
    assert len(stage.server.puts) == sent
    assert stage.world.status_of(ONE) is Status.SUSPENDED


async def test_what_operators_changed_meanwhile_is_respected(tmp_path: Path) -> None:
    """One started by somebody, one completed: no PUT for either, both rightly not started by us."""
    stage = Stage(tmp_path, started(20))
    run_dir = await paused(stage)
    stage.world.set_status(ref(1), Status.STARTED)
    stage.world.set_status(ref(2), Status.COMPLETED)

    result = await stage.restore(run_dir)

    assert result.counts == {"restored": 18, "already_running": 1, "not_running": 1}
    assert result.exit_code == 0
    assert resumed(stage).isdisjoint({1, 2})


async def test_what_was_only_inferred_is_left_alone_unless_wanted(tmp_path: Path) -> None:
    """A lost answer without a look before: `inferred`, started with --include-inferred only."""
    stage = Stage(tmp_path, started(5), faults=FaultPlan(scripted={ONE: [faults.ANSWER_LOST]}))
    run_dir = await paused(stage, verify=False)

    careful = await stage.restore(run_dir)
    assert careful.counts == {"restored": 4, "left_alone": 1}
    bold = await stage.restore(run_dir, include_inferred=True)

    assert bold.counts == {"restored": 1, "left_alone": 4}


async def test_a_killed_restore_is_continued_without_starting_any_twice(tmp_path: Path) -> None:
    """[P03] killed after 10 of 30 starts, continued: what was perhaps sent is left, exit 1."""
    stage = Stage(tmp_path, started(30))
    run_dir = await paused(stage)
    restoring = await killed_after_ten(stage, run_dir)

    result = await stage.continue_run(restoring)

    unknown = result.counts.get("unknown", 0)
    assert result.counts["restored"] == 30 - unknown
    assert unknown <= 8
    assert (result.exit_code, len(started_refs(stage.world))) == (1, 30 - unknown)
    assert {stage.server.ledger.effects[one] for one in stage.world.refs()} <= {1, 2}
    named = [row["error"] for row in stage.rows(result) if row["outcome"] == "unknown"]
    assert all("--include-inferred" in error for error in named)

    again = await stage.restore(run_dir, include_inferred=True)

    assert again.counts == {"restored": unknown, "left_alone": 30 - unknown}
    assert {stage.server.ledger.effects[one] for one in stage.world.refs()} == {2}


async def half_restored(stage: Stage, run_dir: Path) -> Path:
    """A restore that SIGINT ends after ten starts; its directory."""

    def interrupt(_: Sent) -> None:
        if len(resumed(stage)) == 10:
            assert stage.stopping is not None
            stage.stopping.stop(Ended.SIGNAL_INT, "SIGINT received")

    stage.server.on_sent = interrupt
    ended = await stage.restore(run_dir)
    stage.server.on_sent = None
    assert ended.exit_code == 130
    return folder_of(ended)


async def test_an_interrupted_restore_leaves_no_doubt_about_what_it_has_not_sent(
    tmp_path: Path,
) -> None:
    """Marked and called off: the next restore simply starts it."""
    stage = Stage(tmp_path, started(30))
    run_dir = await paused(stage)
    await half_restored(stage, run_dir)
    before = len(resumed(stage))

    result = await stage.restore(run_dir)

    assert result.exit_code == 0
    assert result.counts == {"restored": 30 - before, "left_alone": before}


async def test_what_another_restore_has_started_since_is_not_started_again(tmp_path: Path) -> None:
    """Interrupted, restored anew, stopped by hand on purpose: continue leaves all of it alone."""
    stage = Stage(tmp_path, started(30))
    run_dir = await paused(stage)
    interrupted = await half_restored(stage, run_dir)
    await stage.restore(run_dir)
    for one in stage.world.refs():
        stage.world.set_status(one, Status.SUSPENDED, at_s=stage.clock.now_s())
    sent = len(stage.server.sent)

    result = await stage.continue_run(interrupted)

    assert {one.kind for one in stage.server.sent[sent:]} <= {Kind.LIST, Kind.DETAILS}
    assert result.counts["left_alone"] > 0
    assert started_refs(stage.world) == []


async def test_with_faults_each_is_started_once(tmp_path: Path) -> None:
    """[S46] 30 % mixed faults on the starts: all restored, each took effect once."""
    stage = Stage(tmp_path, started(60))
    run_dir = await paused(stage)
    stage.server.handler.faults = FaultPlan(seed=4, rates=mixed(0.3))

    result = await stage.restore(run_dir)

    assert result.counts == {"restored": 60}
    assert len(started_refs(stage.world)) == 60
    assert {stage.server.ledger.effects[one] for one in stage.world.refs()} == {2}


async def test_what_cannot_be_looked_at_is_left_as_it_is(tmp_path: Path) -> None:
    """Listing and reading fail for ever: nothing is started blindly, exit 1."""
    stage = Stage(tmp_path, started(10))
    run_dir = await paused(stage)
    stage.server.handler.faults = FaultPlan(
        listing_faults={VDN: ListingFaults(answered=0)},
        read_rates={"gateway_error": 1.0},
        max_consecutive=10**6,
    )

    result = await stage.restore(run_dir)

    assert resumed(stage) == set()
    assert result.exit_code != 0


async def test_an_old_run_is_not_simply_undone(tmp_path: Path) -> None:
    """[P27] last written a day ago: refused with nothing sent, unless --even-if-old."""
    stage = Stage(tmp_path, started(5))
    run_dir = await paused(stage)
    for path in run_dir.iterdir():
        os.utime(path, (START_MS / 1000 - 90_000,) * 2)

    with pytest.raises(RefusedError):
        await stage.restore(run_dir)

    assert resumed(stage) == set()
    assert (await stage.restore(run_dir, even_if_old=True)).exit_code == 0


@pytest.mark.parametrize("is_known", [True, False])
async def test_what_a_killed_list_may_have_paused_is_no_secret(
    tmp_path: Path, *, is_known: bool
) -> None:
    """Killed with eight answers under way, then restored: all run again that were seen running.

    Without a look before, the eight have their rows as `left_alone`: they are only inferred.
    """
    stage = Stage(tmp_path, started(20), back_s=0.5)

    def kill(sent: Sent) -> None:
        if len(stage.server.puts) == 14:
            asyncio.get_running_loop().call_later(0.1, stage.kill)

    stage.server.on_sent = kill
    assert await stage.until_killed(stage.pause(verify=is_known)) is None
    stage.server.on_sent = None
    stopped = set(stage.world.refs()) - set(started_refs(stage.world))
    assert len(stopped) >= 14
    (run_dir,) = stage.run_dirs()

    result = await stage.restore(run_dir)

    left = stopped - set(started_refs(stage.world))
    told = {one for one, outcome in stage.outcomes(result).items() if outcome == "left_alone"}
    assert left == told
    assert bool(left) is not is_known


async def test_a_stop_that_is_not_listed_yet_is_undone_all_the_same(tmp_path: Path) -> None:
    """Listings 20 s behind, which no run has seen: listed as started so soon is not believed."""
    stage = Stage(tmp_path, started(5), faults=FaultPlan(lags=(Lag(20.0),)))
    stop = await stage.pause(verify=False)

    result = await stage.restore(stop)

    assert result.counts == {"restored": 5}
    assert len(started_refs(stage.world)) == 5


async def test_a_kill_leaves_few_starts_in_doubt(tmp_path: Path) -> None:
    """64 requests in flight are wanted: eight are marked at a time, since none is sent again."""
    stage = Stage(tmp_path, started(60), concurrency=64, rate_per_s=1_000)
    run_dir = await paused(stage)

    await stage.killed(stage.restore(run_dir), lambda _: len(resumed(stage)) == 8)

    marks = read_marks(run_dir, {}).values()
    assert 1 <= sum(mark.state is MarkState.INTENDED for mark in marks) <= 8


# -- a newer stop -------------------------------------------------------------------------------


async def test_a_restore_that_a_newer_stop_overtakes_names_it(tmp_path: Path) -> None:
    """19 of 20 are paused again while the restore goes on: the stop is named, and who to ask."""
    stage = Stage(tmp_path, started(20))
    run_dir = await paused(stage)
    stops: list[asyncio.Task[Any]] = []

    def stop(_: Sent) -> None:
        if len(resumed(stage)) == 20 and not stops:
            stops.append(
                asyncio.create_task(
                    pausing_all.pause_all(
                        stage.settings(emergency=True),
                        PauseAllOptions((VDN,), reason="wrong list again"),
                        stage.birth(),
                        confirm=None,
                    )
                )
            )

    stage.server.on_sent = stop
    # the last start takes a second: the others are paused again before the restore looks
    stage.server.handler.faults = FaultPlan(scripted={ref(20): [faults.DATABASE_ERROR] * 4})
    result = await stage.restore(run_dir)
    newer = await stops[0]

    assert newer.counts == {"paused": 19}
    assert result.counts == {"failed": 19, "restored": 1}
    why = f"stopped again by run {newer.run_id} (pause-all by "
    errors = [row["error"] for row in stage.rows(result) if row["outcome"] == "failed"]
    assert all(why in error and "; reason: wrong list again)" in error for error in errors)
    assert "19 failed (suspended again since)" in result.line
    assert "s old" not in result.line
    assert result.facts.lag_s == 0
    following = next_step(result.facts, result.tally)
    assert following.startswith(f"Next: ask before anything is started: 19 were {why}")
    assert "restore" not in following


async def test_what_was_stopped_again_since_is_not_called_started(tmp_path: Path) -> None:
    """Restored, then stopped by a newer run: left alone as that, and the newer run is to undo."""
    stage = Stage(tmp_path, started(20))
    run_dir = await paused(stage)
    first = await stage.restore(run_dir)
    newer = await stage.pause([ref(1), ref(2)])

    result = await stage.restore(run_dir)

    why = f"restored before from run {run_dir.name} by run {first.run_id}"
    assert stage.row(result, ref(1))["error"] == f"{why}, stopped again since by run {newer.run_id}"
    assert stage.row(result, ref(3))["error"] == why
    assert result.undo is not None
    assert result.undo.started_before == 18
    assert [number for _, number, _ in result.undo.stay_off] == [2]
    assert f"`orchestrator restore {newer.run_id}` starts again" in "".join(undo_lines(result.undo))
    assert "18 started again before, by another restore, 2 left alone" in result.line

    assert (await stage.restore(newer)).counts == {"restored": 2}
    again = await stage.restore(run_dir)
    assert again.undo is not None
    assert (again.undo.started_before, again.undo.stopped_again_by) == (20, ())


async def test_starts_without_effect_are_laid_to_no_stop_that_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody stopped them again: not the run that is undone; an older one is not even read."""
    stage = Stage(tmp_path, started(4))
    older = await stage.pause()
    await stage.restore(older)
    run_dir = await paused(stage)
    stage.server.handler.faults = FaultPlan(always=dict.fromkeys(stage.world.refs(), faults.LIE))
    opened: list[Path] = []

    def counted(path: Path, **how: Any) -> Any:
        opened.append(path.parent)
        return open_saved(path, **how)

    monkeypatch.setattr("orchestrator.engine.stops.open_saved", counted)
    result = await stage.restore(run_dir)

    assert result.counts == {"failed": 4}
    assert not [row for row in stage.rows(result) if "stopped again" in row["error"]]
    assert opened.count(folder_of(older)) == 1  # for the question


async def test_what_a_newer_run_turned_off_too_is_its_to_undo(tmp_path: Path) -> None:
    """Started by hand, then stopped by a newer run: no restore has marked it, and it stays off."""
    stage = Stage(tmp_path, started(4))
    run_dir = await paused(stage)
    for one in (ref(1), ref(2)):
        stage.world.set_status(one, Status.STARTED)
    newer = await stage.pause([ref(1), ref(2)])

    result = await stage.restore(run_dir)

    assert result.counts == {"restored": 2, "left_alone": 2}
    assert stage.row(result, ref(1))["error"] == f"stopped again since by run {newer.run_id}"
    assert set(started_refs(stage.world)) == {ref(3), ref(4)}
    assert result.undo is not None
    assert result.undo.stopped_again_by == (newer.run_id,)


async def test_an_older_stop_is_no_newer_one_where_the_run_is_not_registered(
    tmp_path: Path,
) -> None:
    """Its directory was brought here, or could not be noted: all that it turned off is started."""
    stage = Stage(tmp_path, started(4))
    older = await stage.pause([ref(1), ref(2)])
    for one in (ref(1), ref(2)):
        stage.world.set_status(one, Status.STARTED)
    run_dir = await paused(stage, run_dir=tmp_path / "elsewhere")
    registry = tmp_path / "state" / "runs.jsonl"
    registry.write_text(registry.read_text().splitlines(keepends=True)[0])

    result = await stage.restore(run_dir)

    assert older.run_id in registry.read_text()
    assert result.counts == {"restored": 4}


async def test_what_a_killed_restore_started_is_its_doing(tmp_path: Path) -> None:
    """[P03] --include-inferred after a kill: what runs is inferred to be ours, no mark is open."""
    stage = Stage(tmp_path, started(30))
    run_dir = await paused(stage)
    await killed_after_ten(stage, run_dir)
    await asyncio.sleep(1)  # what had left arrives
    perhaps = {
        one
        for one, mark in read_marks(run_dir, {}).items()
        if mark.state is MarkState.INTENDED and one in started_refs(stage.world)
    }
    assert perhaps

    result = await stage.restore(run_dir, include_inferred=True)

    rows = {one: stage.row(result, one) for one in perhaps}
    assert {(row["outcome"], row["evidence"]) for row in rows.values()} == {
        ("restored", "inferred")
    }
    assert result.counts == {"restored": 30}
    assert {mark.state for mark in read_marks(run_dir, {}).values()} == {MarkState.RESTORED}
    assert {stage.server.ledger.effects[one] for one in stage.world.refs()} == {2}
