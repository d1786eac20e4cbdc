"""What `runs --prune` deletes, and all that it must not."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from orchestrator.engine.pruning import Pruned, prune
from orchestrator.engine.results import RunResult
from orchestrator.engine.run_list import list_runs
from orchestrator.store.run_dir import RunDirectory
from tests.fakes import VDN, Stage, folder_of, ref, started

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
    written_s = NOW_MS / 1000 - days * DAY_S
    for path in folder_of(run).glob("journal.db*"):
        os.utime(path, (written_s, written_s))
    return folder_of(run)


async def restored(stage: Stage) -> tuple[RunResult, RunResult]:
    """A stop, and the restore that undid all of it."""
    stop = await stage.pause_all(VDN)
    return stop, await stage.restore(stop)


async def over(stage: Stage) -> Path:
    """A run that turned nothing off, old enough to be deleted."""
    return aged(await stage.pause([ref(99)]))


async def test_old_runs_that_are_over_are_deleted(tmp_path: Path) -> None:
    """A restored stop and its restore, a dry run, a run that turned nothing off; shown before."""
    stage = Stage(tmp_path, started(3))
    runs = [*await restored(stage), await stage.pause(dry_run=True), await stage.pause([ref(99)])]
    folders = [aged(run) for run in runs]

    shown = pruned(stage, delete=False)
    assert all((path / "journal.db").exists() for path in folders)
    done = pruned(stage)

    assert shown == done
    assert [run.run_id for run in done.deletable] == [run.run_id for run in runs]
    assert done.kept == ()
    assert [path for path in folders if path.exists()] == []
    assert list_runs(stage.settings().state_dir) == []


async def test_a_run_that_is_not_old_enough_is_not_spoken_of(tmp_path: Path) -> None:
    """Written to 89 days ago, although it began earlier."""
    stage = Stage(tmp_path, started(3))
    folder = aged(await stage.pause([ref(99)]), days=89)

    assert pruned(stage) == ((), ())
    assert folder.exists()


async def _restored_in_part(stage: Stage) -> Path:
    stop = await stage.pause_all(VDN)
    await stage.restore(stop, limit=2)
    return folder_of(stop)


async def _killed(stage: Stage) -> Path:
    return await stage.killed(stage.pause())


async def _linked(stage: Stage) -> Path:
    folder = await over(stage)
    elsewhere = folder.rename(stage.folder / "elsewhere")
    folder.symlink_to(elsewhere)
    return folder


async def _with_a_link(stage: Stage) -> Path:
    folder = await over(stage)
    (folder / "summary.json").rename(stage.folder / "precious")
    (folder / "summary.json").symlink_to(stage.folder / "precious")
    return folder


async def _damaged(stage: Stage) -> Path:
    folder = stage.settings().state_dir / "runs" / "20250101T000000Z-0000"
    folder.mkdir(parents=True)
    (folder / "journal.db").write_bytes(b"not a journal")
    return folder


async def _of_a_disk_that_failed(stage: Stage) -> Path:
    stop, _ = await restored(stage)
    (folder_of(stop) / "journal.db.incomplete").touch()
    return folder_of(stop)


def _with(foreign: str) -> Callable[[Stage], Awaitable[Path]]:
    async def make(stage: Stage) -> Path:
        run = await stage.pause([ref(99)], run_dir=stage.folder / "mine")
        (folder_of(run) / foreign).touch()
        return folder_of(run)

    return make


KEPT: dict[str, tuple[Callable[[Stage], Awaitable[Path]], str]] = {
    "not all of it was restored": (_restored_in_part, "1 campaign that it turned off was not rest"),
    "it can be continued": (_killed, "it is unfinished"),
    "an auditor left a remark": (_with("notes.txt"), "its directory holds notes.txt, which is not"),
    "somebody's copy": (_with("results.csv.bak"), "holds results.csv.bak"),
    "somebody's editor": (_with(".results.csv.swp"), "holds .results.csv.swp"),
    "it leads elsewhere": (_linked, "symbolic link"),
    "its summary leads elsewhere": (_with_a_link, "holds summary.json"),
    "nobody knows what it turned off": (_damaged, "its journal cannot be read"),
    "what came after is not recorded": (_of_a_disk_that_failed, "its disk failed, so it is not kn"),
}


@pytest.mark.parametrize("what", KEPT)
async def test_a_run_that_somebody_may_need_stays_whole(tmp_path: Path, what: str) -> None:
    """With the reason; its files are as they were."""
    make, why = KEPT[what]
    stage = Stage(tmp_path, started(3))
    folder = aged(await make(stage))
    before = sorted(folder.iterdir())

    (kept,) = pruned(stage).kept

    assert why in kept.why
    assert sorted(folder.iterdir()) == before


async def test_a_live_run_stays(tmp_path: Path) -> None:
    """Somebody works on it, whatever its journal says."""
    stage = Stage(tmp_path, started(3))
    held = RunDirectory(await over(stage))
    held.hold(since="2026-11-23T23:05:01Z", host="jump1")

    assert [kept.why for kept in pruned(stage).kept] == ["a process works on it"]
    held.release()


async def test_what_cannot_be_deleted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal goes last: a run that is left in part is still listed, and goes next time."""
    stage = Stage(tmp_path, started(3))
    folder = await over(stage)
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
