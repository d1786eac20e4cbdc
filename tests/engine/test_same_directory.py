"""The same --run-dir again: continued, shown again, or refused; and `{date}` in its name."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from math import inf
from pathlib import Path

import pytest

from orchestrator.engine.pausing_all import Findings
from orchestrator.errors import JournalMismatchError, ManifestError, RefusedError
from orchestrator.policy.decide import Outcome
from orchestrator.reports.summary import Ended
from orchestrator.store.registry import known_runs
from tests.fakes import VDN, Stage, ref, several, started

HOUR_MS = 3_600_000
DATED = "night-{date}"


def pass_time(stage: Stage, hours: float) -> None:
    """Let the wall clock go on."""
    stage.clock.jump_ms += round(hours * HOUR_MS)


def dated(stage: Stage, *, days: int = 0) -> Path:
    """The directory of a night, counted from the stage's first."""
    first = datetime.fromtimestamp(stage.clock.start_ms / 1000, UTC)
    return stage.folder / f"night-{(first + timedelta(days=days)).date()}"


async def killed(stage: Stage, refs: list[int] | None = None) -> Path:
    """A run in tonight's directory that ends at its second PUT; written to at the stage's time."""
    wanted = None if refs is None else [ref(one) for one in refs]
    run = stage.pause(wanted, run_dir=stage.folder / DATED)
    return written(stage, await stage.killed(run, lambda _: len(stage.server.puts) == 2))


def written(stage: Stage, run_dir: Path, *, hours_ago: float = 0) -> Path:
    """A run directory, as if its journal was written to then, by the stage's time."""
    for path in run_dir.glob("journal.db*"):
        os.utime(path, (stage.clock.wall_ms() / 1000 - hours_ago * 3600,) * 2)
    return run_dir


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_result_of_another_night_is_refused(tmp_path: Path, *, dry_run: bool) -> None:
    """A nightly job with a fixed directory would silently do nothing: exit 7 after 12 hours.

    A rehearsal has no process; its beginning counts.
    """
    stage = Stage(tmp_path, started(3))
    first = await stage.pause(run_dir=tmp_path / "nightly", dry_run=dry_run)
    sent = len(stage.server.sent)
    pass_time(stage, 11.9)
    again = await stage.pause(run_dir=tmp_path / "nightly", dry_run=dry_run)
    pass_time(stage, 0.2)
    with pytest.raises(RefusedError, match="ended 12 hours ago") as refused:
        await stage.pause(run_dir=tmp_path / "nightly", dry_run=dry_run)

    assert (again.run_id, again.repeated) == (first.run_id, True)
    assert "{date}" in refused.value.advice
    assert first.run_id in refused.value.advice
    assert len(stage.server.sent) == sent


async def test_a_dry_run_does_not_keep_the_night_from_its_directory(tmp_path: Path) -> None:
    """`the same command without --dry-run` works as it says."""
    stage = Stage(tmp_path, started(3))
    await stage.pause(run_dir=tmp_path / "nightly", dry_run=True)

    result = await stage.pause(run_dir=tmp_path / "nightly")

    assert (result.exit_code, result.counts) == (0, {"paused": 3})


async def test_a_slip_in_the_url_does_not_keep_the_night_from_its_directory(
    tmp_path: Path,
) -> None:
    """Nothing has ever left for the other server; what has left keeps its directory."""
    stage = Stage(tmp_path, started(3))
    wrong = Stage(tmp_path, started(3), settings={"server.base_url": "http://127.0.0.9:1"})
    wrong.server.unreachable.append((0.0, inf))
    run_dir = tmp_path / "nightly"
    await wrong.pause(run_dir=run_dir, deadline_s=5)

    result = await stage.pause(run_dir=run_dir)

    assert (result.exit_code, result.counts) == (0, {"paused": 3})
    with pytest.raises(JournalMismatchError):
        await wrong.pause(run_dir=run_dir)


async def test_each_night_has_a_directory_of_its_own(tmp_path: Path) -> None:
    """`{date}` is the machine's date; the second night does its work. A text will do as a path."""
    stage = Stage(tmp_path, started(3))
    wanted = str(tmp_path / DATED)

    first = await stage.pause(run_dir=wanted)
    pass_time(stage, 24)
    second = await stage.pause(run_dir=wanted)

    assert (first.run_dir, second.run_dir) == (dated(stage), dated(stage, days=1))
    assert (first.repeated, second.repeated) == (False, False)
    assert [run.run_id for run in known_runs(stage.settings().state_dir)] == [
        second.run_id,
        first.run_id,
    ]


async def test_after_midnight_yesterdays_unfinished_run_is_continued(tmp_path: Path) -> None:
    """The scheduler's retry comes at 01:00: the run goes on, and no directory is made for today."""
    stage = Stage(tmp_path, started(3))
    folder = await killed(stage)
    pass_time(stage, 2)

    result = await stage.pause(run_dir=tmp_path / DATED)

    assert (result.run_dir, result.counts) == (folder, {"paused": 3})
    assert not dated(stage, days=1).exists()


async def _another_list(stage: Stage) -> Stage:
    await killed(stage, [1, 2])
    return stage


async def _another_server(stage: Stage) -> Stage:
    await killed(stage)
    return Stage(stage.folder, started(3), settings={"server.base_url": "http://127.0.0.9:1"})


async def _another_night(stage: Stage) -> Stage:
    await killed(stage)
    pass_time(stage, 18)
    return stage


async def _damaged(stage: Stage) -> Stage:
    dated(stage).mkdir()
    (dated(stage) / "journal.db").write_bytes(b"not a journal")
    written(stage, dated(stage))
    return stage


async def _finished(stage: Stage) -> Stage:
    await stage.pause(run_dir=stage.folder / DATED)
    return stage


@pytest.mark.parametrize(
    "yesterday", [_another_list, _another_server, _another_night, _damaged, _finished]
)
async def test_any_other_run_of_yesterday_is_left_alone(
    tmp_path: Path, yesterday: Callable[[Stage], Awaitable[Stage]]
) -> None:
    """Two hours later, after midnight, a new run begins in today's directory."""
    first = Stage(tmp_path, started(3))
    stage = await yesterday(first)
    pass_time(stage, 2)

    result = await stage.pause(run_dir=tmp_path / DATED)

    assert (result.run_dir, result.repeated) == (dated(first, days=1), False)


async def test_a_directory_may_be_given_as_text(tmp_path: Path) -> None:
    """The library takes what the command line takes, for every command."""
    stage = Stage(tmp_path, started(3))

    stop = await stage.pause_all(VDN, run_dir=str(tmp_path / "stop"))
    undone = await stage.restore(stop, run_dir=str(tmp_path / "undo"))

    assert (stop.run_dir, undone.run_dir) == (tmp_path / "stop", tmp_path / "undo")


async def test_a_registration_that_fails_stops_nothing(tmp_path: Path) -> None:
    """The registry is a directory: a warning, and the emergency is made."""
    stage = Stage(tmp_path, started(3))
    (stage.settings().state_dir / "runs.jsonl").mkdir(parents=True)

    stop = await stage.pause_all(VDN, run_dir=tmp_path / "stop")

    assert stop.exit_code == 0
    assert stage.events.counts["run.not_registered"] == 1


async def test_a_refused_list_leaves_no_run_behind(tmp_path: Path) -> None:
    """Nothing is registered of what never began."""
    stage = Stage(tmp_path, started(3))
    bad = tmp_path / "bad.csv"
    bad.write_text("vdn_id,campaign_id\n1234,x\n")

    with pytest.raises(ManifestError):
        await stage.pause(manifest=bad, run_dir=tmp_path / "nightly")

    assert not (stage.settings().state_dir / "runs.jsonl").exists()


# -- what is said of it -------------------------------------------------------------------------


async def test_an_accept_that_comes_too_late_is_said(tmp_path: Path) -> None:
    """A finished run keeps its exit code: one event, and none where it was begun like that."""
    stage = Stage(tmp_path, started(3))
    refs = [ref(1), ref(99)]
    place = tmp_path / "nightly"
    first = await stage.pause(refs, run_dir=place)

    again = await stage.pause(refs, run_dir=place, accept=frozenset({Outcome.NOT_FOUND}))
    await stage.pause(refs, run_dir=place)

    assert (first.exit_code, again.exit_code, again.repeated) == (1, 1, True)
    assert stage.events.named("accept.ignored") == [
        {"run_id": first.run_id, "outcomes": "not_found"}
    ]


async def test_a_run_that_is_taken_up_again_is_announced(tmp_path: Path) -> None:
    """Which run, since when, and how it was interrupted: killed, or ended early."""
    stage = Stage(tmp_path, started(5))
    run_dir = await killed(stage)

    def interrupt(_: object) -> None:
        assert stage.stopping is not None
        stage.stopping.stop(Ended.SIGNAL_INT, "SIGINT received")

    stage.server.on_sent = interrupt
    await stage.continue_run(run_dir)
    stage.server.on_sent = None
    await stage.continue_run(run_dir)
    await stage.continue_run(run_dir)

    first, second = stage.events.named("run.continued")
    (process, *_) = json.loads((run_dir / "summary.json").read_text())["processes"]
    assert (first["action"], first["run_id"]) == ("pause", second["run_id"])
    since = f"{process['started_at'][:19]}Z"
    assert (
        first["how"]
        == f"whose process {process['pid']} on stage, at work since {since}, was killed"
    )
    assert str(second["how"]).startswith("which ended early at 2025-11-23T23:05:")
    assert str(second["how"]).endswith("Z (SIGINT received)")


async def killed_stop(stage: Stage, *vdns: int) -> Path:
    """A pause-all that is killed at its second PUT; written to at the stage's time."""
    run = stage.pause_all(*vdns, run_dir=stage.folder / "stop")
    return written(stage, await stage.killed(run, lambda _: len(stage.server.puts) == 2))


async def test_an_emergency_goes_on_with_its_unfinished_run(tmp_path: Path) -> None:
    """An arrow-up at 3 a.m.: one run, several processes; whoever would be asked is asked again."""
    stage = Stage(tmp_path, started(6))
    killed_run = await killed_stop(stage)
    sent = len(stage.server.puts)

    async def refuse(_: Findings) -> bool:
        return False

    with pytest.raises(RefusedError, match="not confirmed"):
        await stage.pause_all(run_dir=killed_run, confirm=refuse)
    assert len(stage.server.puts) == sent
    again = await stage.pause_all(run_dir=written(stage, killed_run))

    assert (again.run_dir, again.exit_code) == (killed_run, 0)
    assert len(again.facts.processes) == 3
    assert again.counts == {"paused": 6}


@pytest.mark.parametrize("kind", ["finished", "other VDN", "old", "list"])
async def test_an_emergency_begins_beside_any_other_run(tmp_path: Path, kind: str) -> None:
    """Its directory is named after the one that was wanted, and what is there stays as it is."""
    stage = Stage(tmp_path, several({1: 3, 2: 3}))
    wanted = stage.folder / "stop"
    if kind == "finished":
        await stage.pause_all(1, run_dir=wanted)
    elif kind == "list":
        await stage.pause(stage.world.refs()[:1], run_dir=wanted)
    else:
        await killed_stop(stage, 2 if kind == "other VDN" else 1)
        written(stage, wanted, hours_ago=25 if kind == "old" else 0)
    before = (wanted / "journal.db").read_bytes()

    result = await stage.pause_all(1, run_dir=wanted)

    assert (result.run_dir, result.exit_code) == (wanted.with_name("stop-2"), 0)
    assert (wanted / "journal.db").read_bytes() == before
