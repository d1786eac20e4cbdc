"""The run that a restore undoes: left as it is, marked beside, explained before anything starts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import restore as restoring
from orchestrator.engine.options import RestoreOptions
from orchestrator.engine.pausing_all import Findings
from orchestrator.engine.saved import add_note_to, report_again
from orchestrator.errors import RefusedError, StorageError, UsageError
from orchestrator.model import Status
from orchestrator.reports.undo import undo_lines
from orchestrator.simulator.routes import Kind
from orchestrator.store import MarkState
from orchestrator.store.marks import MARKS, read_marks
from orchestrator.store.run_dir import RunDirectory
from tests.fakes import VDN, Stage, folder_of, several, started, started_refs
from tests.store.test_formats import copied

EVIDENCE = ("journal.db", "results.csv")


async def paused(stage: Stage, **wanted: Any) -> Path:
    """A finished pause of everything."""
    return folder_of(await stage.pause(**wanted))


async def killed_restore(stage: Stage, run_dir: Path, *, starts: int = 2) -> Path:
    """A restore that was killed after so many starts; its directory."""
    return await stage.killed(stage.restore(run_dir), lambda _: puts(stage) == starts)


def state_of(folder: Path) -> dict[str, tuple[str, int, int]]:
    """What must not change: bytes, file and time of the evidence; nothing of SQLite's is beside."""
    assert not [path.name for path in folder.iterdir() if path.name.startswith("journal.db-")]
    return {
        name: (
            hashlib.sha256((folder / name).read_bytes()).hexdigest(),
            (folder / name).stat().st_ino,
            (folder / name).stat().st_mtime_ns,
        )
        for name in EVIDENCE
    }


def puts(stage: Stage) -> int:
    """How many starts were sent."""
    return sum(one.kind is Kind.RESUME for one in stage.server.sent)


async def test_the_evidence_stays_byte_for_byte(tmp_path: Path) -> None:
    """Dry run, restore, a second one, a note and a report later: same bytes, files and times."""
    stage = Stage(tmp_path, started(12))
    run_dir = await paused(stage)
    before = state_of(run_dir)

    await stage.restore(run_dir, dry_run=True)
    assert not (run_dir / MARKS).exists()
    await stage.restore(run_dir, limit=4)
    await stage.restore(run_dir)
    add_note_to(RunDirectory(run_dir), "ticket 4711", operator="ada", at_ms=1_000)
    report_again(RunDirectory(run_dir), fallback=None)
    await stage.continue_run(run_dir)

    assert state_of(run_dir) == before
    marks = read_marks(run_dir, {})
    assert {mark.state for mark in marks.values()} == {MarkState.RESTORED}
    assert len(marks) == 12


async def test_where_marks_cannot_be_written_nothing_is_sent(tmp_path: Path) -> None:
    """A directory stands in their place: exit 5, no start, and no run is left behind."""
    stage = Stage(tmp_path, started(5))
    run_dir = await paused(stage)
    (run_dir / MARKS).mkdir()
    runs = stage.run_dirs()

    with pytest.raises(StorageError, match="Nothing was sent"):
        await stage.restore(run_dir)

    assert (puts(stage), stage.run_dirs()) == (0, runs)


async def test_where_marks_cannot_be_read_a_restore_is_not_continued(tmp_path: Path) -> None:
    """Nobody knows what was started: exit 5, and it is said that nothing was sent, and what helps.

    Whether somebody has stopped since is asked first, and reads them too.
    """
    stage = Stage(tmp_path, started(12))
    run_dir = await paused(stage)
    killed = await killed_restore(stage, run_dir)
    (run_dir / MARKS).unlink()
    (run_dir / MARKS).mkdir()
    sent = puts(stage)

    with pytest.raises(StorageError, match=r"cannot be read: .* Nothing was sent\.$") as failure:
        await stage.continue_run(killed)

    assert "correct the rights" in failure.value.advice
    assert puts(stage) == sent


async def test_a_disk_that_fails_at_the_marks_ends_the_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first mark is not on the disk: no start has left, exit 5."""
    stage = Stage(tmp_path, started(5))
    run_dir = await paused(stage)

    def full(*_: object) -> None:
        raise StorageError("marks.jsonl cannot be written: No space left on device")

    monkeypatch.setattr("orchestrator.store.grown_file.GrownFile.append", full)
    result = await stage.restore(run_dir)

    assert (result.exit_code, puts(stage)) == (5, 0)
    assert started_refs(stage.world) == []


async def test_what_was_perhaps_started_is_known_from_the_marks_alone(tmp_path: Path) -> None:
    """[P03] killed in mid-restore, and its own directory lost: nothing is started twice."""
    stage = Stage(tmp_path, started(20))
    run_dir = await paused(stage)
    killed = await killed_restore(stage, run_dir, starts=6)
    shutil.rmtree(killed)
    await asyncio.sleep(1)  # what had left arrives
    perhaps = set(read_marks(run_dir, {}))
    for one in perhaps:
        stage.world.set_status(one, Status.SUSPENDED)
    sent = puts(stage)

    result = await stage.restore(run_dir)

    assert result.counts == {"restored": 20 - len(perhaps), "unknown": len(perhaps)}
    assert puts(stage) == sent + 20 - len(perhaps)
    (row, *_) = (row for row in stage.rows(result) if row["outcome"] == "unknown")
    assert f"restore {killed.name} was interrupted" in row["error"]


def test_marks_in_a_journal_of_an_earlier_version_count(tmp_path: Path) -> None:
    """Restored by an earlier version: the marks are in that run's journal, and are read there."""
    from orchestrator.store import open_saved

    directory = copied("pause-all", tmp_path)
    with open_saved(directory.journal) as saved:
        marks = read_marks(directory.path, saved.marks())
        candidates = saved.restorable()

    assert {one.ref for one in candidates} <= set(marks)
    assert {mark.state for mark in marks.values()} == {MarkState.RESTORED}


# -- why, and which -----------------------------------------------------------------------------


async def test_every_campaign_that_stays_off_has_its_reason(tmp_path: Path) -> None:
    """In the rows; and the summary names the source run and what was chosen."""
    stage = Stage(tmp_path, several({1: 4, 2: 4}))
    run_dir = await paused(stage)
    first = await stage.restore(run_dir, only=frozenset({(1, 10_001)}), only_from="1/10001")

    result = await stage.restore(
        run_dir,
        except_=frozenset({(1, 10_002)}),
        except_from="guilty.csv",
        vdns=frozenset({1}),
        limit=1,
    )

    assert (first.counts, result.counts) == (
        {"restored": 1, "left_alone": 7},
        {"restored": 1, "left_alone": 7},
    )
    assert puts(stage) == len(started_refs(stage.world)) == 2
    reasons = {row["campaign_id"]: row["error"] for row in stage.rows(result) if row["error"]}
    assert reasons["10001"] == f"restored before from run {run_dir.name} by run {first.run_id}"
    assert reasons["10002"] == "excluded by --except guilty.csv"
    assert sorted(reasons.values()).count("not in --vdn 1") == 4
    assert sorted(reasons.values()).count("over --limit 1") == 1
    assert {row["error"] for row in stage.rows(first)} == {"", "not in --only 1/10001"}
    assert result.summary["source_run"] == run_dir.name
    assert result.summary["selection"] == {
        "only": None,
        "except": {"list": "guilty.csv", "campaigns": 1},
        "vdns": [1],
        "limit": 1,
    }


async def test_a_campaign_that_the_run_never_turned_off_is_named(tmp_path: Path) -> None:
    """A slip in --except would let the guilty one start: it is said before anything is."""
    stage = Stage(tmp_path, started(3))
    run_dir = await paused(stage)

    await stage.restore(run_dir, except_=frozenset({(VDN, 99), (VDN, 1)}), dry_run=True)

    (event,) = stage.events.named("selection.not_turned_off")
    assert (event["flag"], event["number"], event["campaigns"]) == ("--except", 1, f"{VDN}/99")


async def test_the_question_says_what_will_start_and_what_more_was_turned_off(
    tmp_path: Path,
) -> None:
    """Of 10, one is excluded: nine will start; a second run stopped three more in this VDN."""
    stage = Stage(tmp_path, started(13))
    refs = stage.world.refs()
    run_dir = await paused(stage, refs=refs[:10], reason="wrong list")
    other = await paused(stage, refs=refs[10:])
    asked: list[Findings] = []

    async def no(findings: Findings) -> bool:
        asked.append(findings)
        return False

    options = RestoreOptions(
        except_=frozenset({(refs[0].vdn_id, refs[0].campaign_id)}), except_from="1"
    )
    with pytest.raises(RefusedError, match="Nothing was sent"):
        await restoring.restore(
            RunDirectory(run_dir), stage.settings(), options, stage.birth(), confirm=no
        )

    first, starting, off, more = asked[0].lines
    assert (asked[0].vdns, "wrong list" in first, run_dir.name in first) == ((VDN,), True, True)
    assert starting.startswith("9 campaigns will start (")
    assert off == "1 stays off: excluded by --except 1 (campaign 1)"
    assert more.startswith(f"3 more were turned off by run {other.name} (pause at ")
    assert puts(stage) == 0


async def test_a_run_that_was_restored_is_no_other_half(tmp_path: Path) -> None:
    """Both halves of a stop are undone one after the other: the second hears of no rest."""
    stage = Stage(tmp_path, started(6))
    refs = stage.world.refs()
    one, two = await paused(stage, refs=refs[:3]), await paused(stage, refs=refs[3:])

    first = await stage.restore(one)
    second = await stage.restore(two)

    assert first.undo is not None
    assert second.undo is not None
    assert [(other.run_id, other.campaigns) for other in first.undo.others] == [(two.name, 3)]
    assert second.undo.others == ()


async def test_where_nothing_will_start_nobody_is_asked(tmp_path: Path) -> None:
    """All restored before: the findings have no VDN, so the question answers itself."""
    stage = Stage(tmp_path, started(2))
    run_dir = await paused(stage)
    await stage.restore(run_dir)
    asked: list[Findings] = []

    async def yes(findings: Findings) -> bool:
        asked.append(findings)
        return True

    result = await restoring.restore(
        RunDirectory(run_dir), stage.settings(), RestoreOptions(), stage.birth(), confirm=yes
    )

    assert (asked[0].vdns, "nothing will start" in asked[0].lines) == ((), True)
    assert result.undo is not None
    assert undo_lines(result.undo)[2] == "2 were started again before, by another restore"


# -- what was moved, deleted, or is another's ---------------------------------------------------


async def test_a_restore_whose_source_is_deleted_is_not_continued(tmp_path: Path) -> None:
    """Without the marks nobody knows what may start: exit 2, the path is named, nothing is sent."""
    stage = Stage(tmp_path, started(12))
    run_dir = await paused(stage)
    killed = await killed_restore(stage, run_dir)
    shutil.rmtree(run_dir)
    sent = puts(stage)

    with pytest.raises(UsageError, match=r"is gone: .* Nothing was sent") as refusal:
        await stage.continue_run(killed)

    assert str(run_dir) in str(refusal.value)
    assert puts(stage) == sent
    assert report_again(RunDirectory(killed), fallback=None).exit_code == 143


async def test_a_source_that_moved_into_the_state_directory_is_found(tmp_path: Path) -> None:
    """It was made with --run-dir elsewhere, and tidied up since: found by its id."""
    stage = Stage(tmp_path, started(6))
    run_dir = await paused(stage, run_dir=tmp_path / "elsewhere")
    killed = await killed_restore(stage, run_dir)
    run_id = json.loads((run_dir / "summary.json").read_text())["run_id"]
    run_dir.rename(killed.with_name(run_id))

    result = await stage.continue_run(killed)

    assert result.counts.get("restored", 0) + result.counts.get("unknown", 0) == 6


# -- notes --------------------------------------------------------------------------------------


async def test_notes_are_added_to_the_summary_and_to_a_live_run(tmp_path: Path) -> None:
    """Two notes in order; while somebody works there, the file alone: the end will tell it."""
    stage = Stage(tmp_path, started(2))
    run_dir = await paused(stage)
    directory = RunDirectory(run_dir)
    add_note_to(directory, "ticket 4711", operator="ada", at_ms=1_000)
    add_note_to(directory, "by mistake", operator="bob", at_ms=2_000)

    def told() -> list[str]:
        return [one["text"] for one in json.loads((run_dir / "summary.json").read_text())["notes"]]

    assert told() == ["ticket 4711", "by mistake"]
    holder = RunDirectory(run_dir)
    holder.hold(since="now", host="here")
    add_note_to(directory, "while it works", operator="ada", at_ms=3_000)
    assert told() == ["ticket 4711", "by mistake"]
    holder.release()
    report_again(directory, fallback=None)
    assert told() == ["ticket 4711", "by mistake", "while it works"]


async def test_a_note_that_cannot_be_told_is_kept(tmp_path: Path) -> None:
    """The journal is damaged: exit 5 says that the note is there all the same."""
    stage = Stage(tmp_path, started(2))
    run_dir = await paused(stage)
    (run_dir / "journal.db").write_bytes(b"no journal")

    with pytest.raises(StorageError, match="the note is added"):
        add_note_to(RunDirectory(run_dir), "ticket 4711", operator="ada", at_ms=1_000)

    assert "ticket 4711" in (run_dir / "notes.jsonl").read_text()
    with pytest.raises(UsageError, match="empty"):
        add_note_to(RunDirectory(run_dir), " \n", operator="ada", at_ms=1_000)


async def test_notes_that_cannot_be_read_do_not_cost_the_report(tmp_path: Path) -> None:
    """A directory stands in their place: the rows are written, and it is said."""
    stage = Stage(tmp_path, started(2))
    run_dir = await paused(stage)
    (run_dir / "notes.jsonl").mkdir()
    (run_dir / "results.csv").unlink()

    with pytest.raises(StorageError, match=r"notes\.jsonl"):
        report_again(RunDirectory(run_dir), fallback=None)

    assert (run_dir / "results.csv").is_file()
