"""What `runs --prune` deletes, and all that it must not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.engine.pruning import Pruned, prune
from orchestrator.engine.results import RunResult
from orchestrator.engine.run_list import list_runs
from orchestrator.store.run_dir import RunDirectory
from tests.fakes import VDN, Stage, ref, started

NOW_MS = 1_790_000_000_000
DAY_S = 24 * 3600


def pruned(stage: Stage, *, days: int = 90, delete: bool = True) -> Pruned:
    """Delete what was last written to more than 90 days ago."""
    return prune(
        stage.settings().state_dir,
        older_than_days=days,
        now_ms=NOW_MS,
        host="jump1",
        delete=delete,
    )


def aged(run: RunResult | Path, *, days: float = 91) -> Path:
    """The directory of a run, as if its journal had been written to so long ago."""
    folder = run if not hasattr(run, "run_dir") else run.run_dir
    assert folder is not None
    written_s = NOW_MS / 1000 - days * DAY_S
    for path in folder.glob("journal.db*"):
        os.utime(path, (written_s, written_s))
    return folder


async def restored(stage: Stage) -> tuple[RunResult, RunResult]:
    """A stop, and the restore that undid all of it."""
    stop = await stage.pause_all(VDN)
    assert stop.run_dir is not None
    return stop, await stage.restore(stop.run_dir)


async def test_old_runs_that_are_over_are_deleted(tmp_path: Path) -> None:
    """A restored stop and its restore, a dry run, a run that turned nothing off."""
    stage = Stage(tmp_path, started(3))
    runs = [*await restored(stage), await stage.pause(dry_run=True), await stage.pause([ref(99)])]
    folders = [aged(run) for run in runs]

    done = pruned(stage)

    assert [run.run_id for run in done.deletable] == [run.run_id for run in runs]
    assert done.kept == ()
    assert [path for path in folders if path.exists()] == []
    assert list_runs(stage.settings().state_dir) == []


async def test_without_yes_nothing_is_deleted(tmp_path: Path) -> None:
    """The same runs are shown, and are there afterwards."""
    stage = Stage(tmp_path, started(3))
    stop, undone = await restored(stage)
    folders = [aged(stop), aged(undone)]

    shown = pruned(stage, delete=False)

    assert [path.name for path in folders if (path / "journal.db").exists()] == [
        run.run_id for run in shown.deletable
    ]
    assert shown.deletable == pruned(stage).deletable


async def test_a_run_that_is_not_old_enough_is_not_spoken_of(tmp_path: Path) -> None:
    """Written to 89 days ago, although it began earlier."""
    stage = Stage(tmp_path, started(3))
    folder = aged(await stage.pause([ref(99)]), days=89)

    assert pruned(stage) == ((), ())
    assert folder.exists()


async def test_a_stop_that_was_not_restored_completely_stays(tmp_path: Path) -> None:
    """Two of three were started again: the third can still be."""
    stage = Stage(tmp_path, started(3))
    stop = await stage.pause_all(VDN)
    assert stop.run_dir is not None
    await stage.restore(stop.run_dir, limit=2)
    aged(stop)

    (kept,) = pruned(stage).kept

    assert kept.why == "1 campaign that it turned off was not restored"
    assert (stop.run_dir / "journal.db").exists()


async def test_a_killed_run_stays(tmp_path: Path) -> None:
    """It can be continued, and may have turned something off."""
    stage = Stage(tmp_path, started(3))
    stage.server.on_sent = lambda sent: stage.kill() if sent.is_change else None
    assert await stage.until_killed(stage.pause()) is None
    (folder,) = stage.run_dirs()
    aged(folder)

    assert [kept.why for kept in pruned(stage).kept] == ["it is unfinished"]


async def test_a_live_run_stays(tmp_path: Path) -> None:
    """Somebody works on it, whatever its journal says."""
    stage = Stage(tmp_path, started(3))
    folder = aged(await stage.pause([ref(99)]))
    held = RunDirectory(folder)
    held.hold(since="2026-11-23T23:05:01Z", host="jump1")

    assert [kept.why for kept in pruned(stage).kept] == ["a process works on it"]
    held.release()


@pytest.mark.parametrize("foreign", ["notes.txt", "results.csv.bak", ".results.csv.swp"])
async def test_a_directory_with_foreign_files_stays_whole(tmp_path: Path, foreign: str) -> None:
    """--run-dir was somebody's folder, or an auditor left a remark."""
    stage = Stage(tmp_path, started(3))
    run = await stage.pause([ref(99)], run_dir=tmp_path / "mine")
    folder = aged(run)
    (folder / foreign).touch()
    before = sorted(folder.iterdir())

    (kept,) = pruned(stage).kept

    assert foreign in kept.why
    assert sorted(folder.iterdir()) == before


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A run's name in the state directory that leads elsewhere."""
    stage = Stage(tmp_path, started(3))
    folder = aged(await stage.pause([ref(99)]))
    elsewhere = folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(elsewhere)

    (kept,) = pruned(stage).kept

    assert "symbolic link" in kept.why
    assert (elsewhere / "journal.db").exists()


async def test_a_link_in_its_place_stays_whole(tmp_path: Path) -> None:
    """summary.json leads to somebody's file."""
    stage = Stage(tmp_path, started(3))
    folder = aged(await stage.pause([ref(99)]))
    (folder / "summary.json").rename(tmp_path / "precious")
    (folder / "summary.json").symlink_to(tmp_path / "precious")

    (kept,) = pruned(stage).kept

    assert "summary.json" in kept.why
    assert (tmp_path / "precious").exists()


async def test_a_run_that_cannot_be_read_stays(tmp_path: Path) -> None:
    """Nobody knows what it turned off."""
    stage = Stage(tmp_path, started(3))
    folder = stage.settings().state_dir / "runs" / "20250101T000000Z-0000"
    folder.mkdir(parents=True)
    (folder / "journal.db").write_bytes(b"not a journal")
    aged(folder)

    (kept,) = pruned(stage).kept

    assert "cannot be read" in kept.why


async def test_an_emergency_whose_disk_failed_stays(tmp_path: Path) -> None:
    """What it paused after that is not in its journal."""
    stage = Stage(tmp_path, started(3))
    stop, _ = await restored(stage)
    folder = aged(stop)
    (folder / "journal.db.incomplete").touch()

    assert [kept.why for kept in pruned(stage).kept] == [
        "its disk failed, so it is not known what it turned off"
    ]


async def test_what_cannot_be_deleted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal goes last: a run that is left in part is still listed, and goes next time."""
    stage = Stage(tmp_path, started(3))
    folder = aged(await stage.pause([ref(99)]))
    unlink = type(folder).unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if path.name == "journal.db":
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "unlink", refuse)
        (kept,) = pruned(stage).kept

    assert kept.why == "it cannot be deleted: Permission denied"
    assert [run.line.path for run in list_runs(stage.settings().state_dir)] == [folder]
    aged(folder)
    assert pruned(stage).kept == ()
    assert not folder.exists()
