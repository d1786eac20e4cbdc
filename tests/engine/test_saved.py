"""What the list of runs says, and which run is meant by `last`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.engine.saved import find_undoable, list_runs
from orchestrator.errors import UsageError
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.store.run_dir import runs_in
from tests.fakes import VDN, Stage, started

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_dry_run_is_listed_as_planned(tmp_path: Path) -> None:
    """It never had a process, which is no interruption."""
    stage = Stage(tmp_path, started(3))

    await stage.pause(dry_run=True)

    assert [line.verdict for line in list_runs(stage.settings().state_dir)] == ["planned"]


async def test_last_passes_over_dry_runs_and_restores(tmp_path: Path) -> None:
    """Paused, tried dry, restored: `restore last` still means the run that paused."""
    stage = Stage(tmp_path, started(3))
    paused = await stage.pause_all(VDN)
    assert paused.run_dir is not None
    await stage.restore(paused.run_dir, dry_run=True)
    await stage.restore(paused.run_dir)

    found = find_undoable(stage.settings().state_dir, "last")

    assert found.path == paused.run_dir


async def test_last_passes_over_runs_that_turned_nothing_off(tmp_path: Path) -> None:
    """Paused, once more to be sure, and with a wrong key: `restore last` means the first."""
    stage = Stage(tmp_path, started(3))
    paused = await stage.pause_all(VDN)
    again = await stage.pause_all(VDN)
    locked_out = Stage(tmp_path, started(3), signature=SignatureCheck("AK", "another"))
    refused = await locked_out.pause()

    found = find_undoable(stage.settings().state_dir, "last")

    assert paused.run_dir is not None
    assert (again.exit_code, refused.exit_code) == (0, 3)
    assert found.path == paused.run_dir


async def test_last_does_not_pass_over_a_run_that_was_killed_with_a_put_under_way(
    tmp_path: Path,
) -> None:
    """It may have turned something off; an older run would be the wrong one."""
    stage = Stage(tmp_path, started(3))
    paused = await stage.pause_all(VDN)
    killed = Stage(tmp_path, started(3))
    killed.server.on_sent = lambda sent: killed.kill() if sent.is_change else None
    assert await killed.until_killed(killed.pause()) is None

    found = find_undoable(stage.settings().state_dir, "last")

    assert found.path == runs_in(stage.settings().state_dir)[0].path
    assert found.path != paused.run_dir


async def test_a_run_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """An older run would start campaigns that nobody asked for."""
    stage = Stage(tmp_path, started(3))
    await stage.pause_all(VDN)
    state_dir = stage.settings().state_dir
    damaged = state_dir / "runs" / "29991231T000000Z-0000"
    damaged.mkdir()
    (damaged / "journal.db").write_bytes(b"not a journal")

    assert find_undoable(state_dir, "last").path == damaged


def test_without_any_run_last_is_refused(tmp_path: Path) -> None:
    """The usual words."""
    with pytest.raises(UsageError, match="there is no run last"):
        find_undoable(tmp_path, "last")


async def test_a_second_restore_tried_dry_says_what_is_left_alone(tmp_path: Path) -> None:
    """All three were started again: none is planned, and three are left alone."""
    stage = Stage(tmp_path, started(3))
    paused = await stage.pause_all(VDN)
    assert paused.run_dir is not None
    await stage.restore(paused.run_dir)

    again = await stage.restore(paused.run_dir, dry_run=True)

    assert (dict(again.counts), again.exit_code) == ({"left_alone": 3}, 0)


async def test_the_summary_names_every_process_and_the_clock_of_the_server(tmp_path: Path) -> None:
    """One process that finished; our clock is an hour behind the server's."""
    stage = Stage(tmp_path, started(3))
    stage.clock.jump_ms = -3_600_000

    result = await stage.pause_all(VDN)

    processes = result.summary["processes"]
    assert isinstance(processes, list)
    assert [one["ended"] for one in processes] == ["finished"]
    assert result.summary["clock_offset_s"] == pytest.approx(3600, abs=1)


async def test_the_mean_rate_is_never_said_to_be_above_the_ceiling(tmp_path: Path) -> None:
    """Eleven requests within the second of ten intervals: 10 a second, not 11."""
    stage = Stage(tmp_path, started(40))

    result = await stage.pause()

    rate = result.summary["rate"]
    assert isinstance(rate, dict)
    assert rate["mean_per_s"] <= rate["ceiling_per_s"]
