"""Which run is meant by `last`."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.engine.finding import Last, find_belonging, find_run
from orchestrator.engine.pausing_all import Findings
from orchestrator.engine.results import RunResult
from orchestrator.errors import RefusedError, UsageError
from orchestrator.model import Status
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.store.registry import find_by_id, register
from orchestrator.store.run_dir import RunDirectory
from tests.fakes import VDN, Stage, folder_of, ref, several, started


def last(stage: Stage, meaning: Last, *, server: str = "") -> Path:
    """The directory of the run that `last` is."""
    return find_run(stage.settings().state_dir, "last", meaning, server=server).path


async def killed_stop(stage: Stage) -> Path:
    """A pause-all of the VDN that was killed when its tenth PUT was sent."""
    wanted = len(stage.server.puts) + 10
    return await stage.killed(stage.pause_all(VDN), lambda _: len(stage.server.puts) == wanted)


async def refuse(_: Findings) -> bool:
    """The number was not typed."""
    return False


def locked_out(stage: Stage) -> Stage:
    """The same state directory, with a key that the server refuses."""
    return Stage(stage.folder, started(3), signature=SignatureCheck("AK", "another"))


# -- what `last` is: each makes runs, and returns the one that is meant -------------------------


async def _passes_over_dry_runs_and_restores(stage: Stage) -> Path:
    paused = await stage.pause_all(VDN)
    await stage.restore(paused, dry_run=True)
    await stage.restore(paused)
    return folder_of(paused)


async def _passes_over_what_turned_nothing_off(stage: Stage) -> Path:
    paused = await stage.pause_all(VDN)
    again = await stage.pause_all(VDN)
    refused = await locked_out(stage).pause()
    assert (again.exit_code, refused.exit_code) == (0, 3)
    return folder_of(paused)


async def _does_not_pass_over_a_put_under_way(stage: Stage) -> Path:
    await stage.pause_all(VDN)
    killed = Stage(stage.folder, started(3))
    return await killed.killed(killed.pause())


async def _does_not_pass_over_a_damaged_run(stage: Stage) -> Path:
    await stage.pause_all(VDN)
    state_dir = stage.settings().state_dir
    damaged = state_dir / "runs" / "29991231T000000Z-0000"
    damaged.mkdir()
    (damaged / "journal.db").write_bytes(b"not a journal")
    register(state_dir, damaged.name, damaged, durable=False)
    return damaged


async def _real_is_no_dry_run(stage: Stage) -> Path:
    real = await stage.pause()
    await stage.pause(dry_run=True)
    await stage.pause_all(VDN, dry_run=True)
    return folder_of(real)


async def _unfinished_passes_over_finished_ones(stage: Stage) -> Path:
    killed = await stage.killed(stage.pause())
    await stage.pause_all(VDN)
    await stage.pause(dry_run=True)
    return killed


async def _unfinished_passes_over_what_nobody_confirmed(stage: Stage) -> Path:
    killed = await stage.killed(stage.pause())
    refused = await locked_out(stage).pause_all(VDN, confirm=refuse)
    assert refused.exit_code == 3  # before the question
    return killed


async def _is_by_the_order_of_registration(stage: Stage) -> Path:
    await stage.pause()
    stage.clock.jump_ms = -3_600_000  # the clock was set back between two runs
    newest = folder_of(await stage.pause())
    assert stage.run_dirs()[0] == newest
    return newest


async def _misses_nothing_that_was_taken_away(stage: Stage) -> Path:
    paused = await stage.pause([ref(1)])
    with pytest.raises(RefusedError):
        await stage.pause_all(VDN, confirm=refuse)
    return folder_of(paused)


LASTS = [
    (Last.UNDOABLE, _passes_over_dry_runs_and_restores),
    (Last.UNDOABLE, _passes_over_what_turned_nothing_off),
    (Last.UNDOABLE, _does_not_pass_over_a_put_under_way),
    (Last.UNDOABLE, _does_not_pass_over_a_damaged_run),
    (Last.REAL, _real_is_no_dry_run),
    (Last.UNFINISHED, _unfinished_passes_over_finished_ones),
    (Last.UNFINISHED, _unfinished_passes_over_what_nobody_confirmed),
    (Last.REAL, _is_by_the_order_of_registration),
    (Last.REAL, _misses_nothing_that_was_taken_away),
]


@pytest.mark.parametrize(("meaning", "made"), LASTS)
async def test_last_is_the_run_that_is_meant(
    tmp_path: Path, meaning: Last, made: Callable[[Stage], Awaitable[Path]]
) -> None:
    """An older run would start, or go on with, what nobody asked for; nothing is said of it."""
    stage = Stage(tmp_path, started(3))
    said: list[str] = []

    wanted = await made(stage)
    found = find_run(stage.settings().state_dir, "last", meaning, passed_over=said.append)

    assert (found.path, said) == (wanted, [])


@pytest.mark.parametrize("meaning", Last)
def test_without_any_run_last_is_refused(tmp_path: Path, meaning: Last) -> None:
    """It says what there is none of."""
    with pytest.raises(UsageError, match=f"there is {meaning.value} in"):
        find_run(tmp_path, "last", meaning)


async def test_last_unfinished_run_is_not_one_that_somebody_works_on(tmp_path: Path) -> None:
    """A live run is not to be continued; it is the one to be stopped."""
    stage = Stage(tmp_path, started(3))
    killed = await stage.killed(stage.pause())
    held = RunDirectory(killed)
    held.hold(since="2026-11-23T23:05:01Z", host="jump1")

    with pytest.raises(UsageError, match="no unfinished run that nobody works on"):
        last(stage, Last.UNFINISHED)
    assert last(stage, Last.LIVE) == killed
    held.release()
    assert last(stage, Last.UNFINISHED) == killed
    with pytest.raises(UsageError, match="no run that a process works on"):
        last(stage, Last.LIVE)


async def test_last_is_a_run_of_the_server_that_is_named(tmp_path: Path) -> None:
    """Yesterday's test server was used last; with --config production that is not meant."""
    stage = Stage(tmp_path, started(3))
    here = await stage.pause()
    other = Stage(tmp_path, started(3), settings={"server.base_url": "http://127.0.0.9:1"})
    there = await other.pause()

    assert last(stage, Last.REAL) == there.run_dir
    assert last(stage, Last.REAL, server=stage.settings().server.base_url) == here.run_dir
    with pytest.raises(UsageError, match="of http://127"):
        last(stage, Last.REAL, server="http://127.0.0.8:1")


async def test_last_unfinished_run_passes_over_a_restore_that_a_stop_has_overtaken(
    tmp_path: Path,
) -> None:
    """A killed list, a killed restore of another, a newer stop: the list is continued, and why."""
    stage = Stage(tmp_path, several({1: 5, 2: 5}))
    killed = await stage.killed(
        stage.pause([each for each in stage.world.refs() if each.vdn_id == 1])
    )
    stopped = await stage.pause_all(2)
    await stage.killed(stage.restore(stopped))
    for each in stage.world.refs():
        stage.world.set_status(each, Status.STARTED)
    newer = await stage.pause_all(2)
    said: list[str] = []

    found = find_run(
        stage.settings().state_dir, "last", Last.UNFINISHED, passed_over=said.append
    ).path

    assert found == killed
    (why,) = said
    assert why.startswith("`last` passes over run ")
    assert f": run {newer.run_id} has stopped campaigns of VDN 2 since" in why


async def test_a_newer_run_whose_directory_was_moved_is_named(tmp_path: Path) -> None:
    """`last` means the one before, and says which run is registered where nothing is."""
    stage = Stage(tmp_path, started(3))
    paused = await stage.pause([ref(1)])
    moved = await stage.pause([ref(2)], run_dir=tmp_path / "nightly")
    (tmp_path / "nightly").rename(tmp_path / "away")
    said: list[str] = []
    state_dir = stage.settings().state_dir

    found = find_run(state_dir, "last", Last.UNDOABLE, passed_over=said.append).path

    assert found == paused.run_dir
    (why,) = said
    assert why == (
        f"run {moved.run_id}, which is newer, is registered at {tmp_path / 'nightly'}, which is"
        " gone; `last` passes over it"
    )
    shutil.rmtree(found)
    with pytest.raises(UsageError, match=f"and run {moved.run_id} is registered at .* more like"):
        find_run(state_dir, "last", Last.UNDOABLE)


async def test_what_belongs_on_a_page_is_found_in_its_order(tmp_path: Path) -> None:
    """A list, its repeat, and the restore of the repeat; `last` is that restore."""
    world = started(4)
    stage = Stage(tmp_path, world)
    first = await stage.pause(world.refs()[:2])
    failed = tmp_path / "failed.csv"
    failed.write_text(
        f"vdn_id,campaign_id,run_id\n{VDN},3,{first.run_id}\n{VDN},4,{first.run_id}\n"
    )
    repeat = await stage.pause(manifest=failed)
    undo = await stage.restore(repeat)
    await stage.restore(repeat, dry_run=True)
    await stage.pause_all(VDN)

    def found(run: RunResult, *texts: str) -> list[str]:
        state_dir = stage.settings().state_dir
        runs = find_belonging(state_dir, RunDirectory(folder_of(run)), texts)
        return [one.path.name for one in runs]

    assert found(first) == []
    assert found(first, "last") == [undo.run_id]
    assert found(first, undo.run_id, repeat.run_id) == [repeat.run_id, undo.run_id]
    assert found(undo, repeat.run_id, first.run_id) == [first.run_id, repeat.run_id]


async def test_what_undoes_other_runs_is_not_looked_up_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look-up reads the whole register: a thousand later restores would take ten seconds."""
    stage = Stage(tmp_path, started(4))
    own = await stage.pause([ref(1)])
    undo = await stage.restore(own)
    other = await stage.pause([ref(2), ref(3), ref(4)])
    for _ in range(3):
        await stage.restore(other, limit=1)
    looked_up: list[str] = []

    def counted(state_dir: Path, text: str) -> RunDirectory:
        looked_up.append(text)
        return find_by_id(state_dir, text)

    monkeypatch.setattr("orchestrator.engine.finding.find_by_id", counted)
    state_dir = stage.settings().state_dir
    (found,) = find_belonging(state_dir, RunDirectory(folder_of(own)), ["last"])

    assert (found.path, looked_up) == (undo.run_dir, [])


async def test_what_does_not_belong_on_a_page_is_refused(tmp_path: Path) -> None:
    """The restore of another stop, another stop, a dry run, the run itself, one named twice."""
    stage = Stage(tmp_path, started(4))
    first = await stage.pause_all(VDN)
    undo = await stage.restore(first)
    tried = await stage.restore(first, dry_run=True)
    second = await stage.pause_all(VDN)
    run = RunDirectory(folder_of(second))
    state_dir = stage.settings().state_dir

    for texts, why in (
        ([undo.run_id], f"{undo.run_id} does not belong to run {second.run_id}: it undoes run"),
        ([first.run_id], "it is another run"),
        ([tried.run_id], "it was a dry run"),
        ([second.run_id], "twice"),
        (["last"], "no run undoes or repeats run"),
    ):
        with pytest.raises(UsageError, match=why):
            find_belonging(state_dir, run, texts)
    with pytest.raises(UsageError, match="twice"):
        find_belonging(state_dir, RunDirectory(folder_of(first)), [undo.run_id, str(undo.run_dir)])


async def test_a_stop_goes_on_after_restores_that_do_not_concern_it(tmp_path: Path) -> None:
    """Tried dry, a restore of another VDN, and one before it: it is continued to its proof."""
    stage = Stage(tmp_path, several({VDN: 30, VDN + 1: 3}))
    first = await stage.pause_all(VDN)
    other = await stage.pause_all(VDN + 1)
    await stage.restore(first)
    stop = await killed_stop(stage)
    await stage.restore(stop, dry_run=True)
    await stage.restore(other)

    result = await stage.continue_run(stop)

    assert result.exit_code == 0
