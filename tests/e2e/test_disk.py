"""Disks that are full, slow, gone or read-only, and other things that fail inside the process."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.makers import ROOT
from tests.e2e.stage import SHORT_GAP, Stage, a_stage

pytestmark = pytest.mark.sockets

#: no file may grow beyond so many bytes: a full disk for whoever is not root, too
_FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"
#: commits of the journal (not of the plan) do what `act` says, with their number in `nth`
_COMMITS = """
import errno, os, sqlite3, time
class Connection(sqlite3.Connection):
    nth, journal = 0, False
    def execute(self, sql, *rest):
        if sql == "COMMIT" and self.journal:
            self.nth += 1
            nth = self.nth
            {act}
        return super().execute(sql, *rest)
def connect(path, *rest, **more):
    made = real(path, *rest, factory=Connection, **more)
    made.journal = str(path).endswith("journal.db")
    return made
real, sqlite3.connect = sqlite3.connect, connect
"""
_EIO = _COMMITS.format(act='if nth >= 12: raise sqlite3.OperationalError("disk I/O error")')


def intents(stage: Stage) -> int:
    """Attempts in the journal that may have reached the wire."""
    with closing(sqlite3.connect(stage.run_dir / "journal.db")) as journal:
        (number,) = journal.execute(
            "SELECT count(*) FROM attempts WHERE state <> 'not_sent'"
        ).fetchone()
    return int(number)


@pytest.mark.parametrize(
    ("name", "program"),
    [("full [P16]", _FULL.format(size=120_000)), ("EIO in fsync [P18]", _EIO)],
)
async def test_a_list_stops_before_the_put_whose_intent_cannot_be_stored(
    tmp_path: Path, name: str, program: str
) -> None:
    """Exit 5; every PUT that arrived has its intent; continue finishes it [P16, P18]."""
    async with a_stage(tmp_path, campaigns=300) as stage:
        ended = await stage.run(*stage.pause_words("--rate", "500"), program=program)
        arrived = stage.puts()
        kept = intents(stage)
        again = await stage.run("continue", str(stage.run_dir), "--rate", "500")

        assert ended.code == 5, name
        assert "journal" in ended.err
        assert "Traceback" not in ended.err
        assert arrived < 300
        assert kept >= arrived
        assert (again.code, stage.running(), stage.effects()) == (0, 0, 1)


@pytest.mark.parametrize(
    ("name", "program"),
    [("full [P16]", _FULL.format(size=70_000)), ("EIO in fsync [P18]", _EIO)],
)
async def test_an_emergency_goes_on_without_its_disk(
    tmp_path: Path, name: str, program: str
) -> None:
    """Everything is paused, the rows are on stdout, exit 5 [P16, P18]."""
    async with a_stage(tmp_path, campaigns=60) as stage:
        ended = await stage.run(*stage.pause_all_words(), program=program + SHORT_GAP)

        assert (ended.code, stage.running()) == (5, 0), name
        assert ended.out.count(",paused,") + ended.out.count('"paused"') >= 60, ended.out
        assert "Traceback" not in ended.err


async def test_a_report_that_cannot_be_stored_goes_to_stdout_and_is_made_again(
    tmp_path: Path,
) -> None:
    """The disk refuses the files: rows on stdout, exit 5, `report` repairs [P17]."""
    program = """
import errno, os
def rename(source, target, **more):
    if str(target).endswith(".csv"): raise OSError(errno.ENOSPC, "No space left on device")
    return real(source, target, **more)
real, os.rename = os.rename, rename
"""
    async with a_stage(tmp_path, campaigns=8) as stage:
        ended = await stage.run(*stage.pause_words(), program=program)
        files = {path.name for path in stage.run_dir.iterdir()}
        again = await stage.run("report", str(stage.run_dir))

        assert ended.code == 5
        assert ended.out.count('"paused"') >= 8
        assert "results.csv" not in files
        assert "report: " not in ended.err  # nobody is pointed to what is not there
        assert (again.code, stage.outcomes()) == (0, {"paused": 8})


async def test_a_short_write_is_completed(tmp_path: Path) -> None:
    """Every write of the report takes 3,000 bytes at most; nothing is missing [P19, P20]."""
    program = """
import io
from orchestrator.reports import files as report_files
class Short(io.FileIO):
    def write(self, chunk, /):
        return super().write(bytes(chunk[:3000]))
def opened(file, mode, buffering=-1, **more):
    if mode == "w":
        return io.TextIOWrapper(io.BufferedWriter(Short(file, "w"), buffering), **more)
    return open(file, mode, buffering, **more)
report_files.open = opened
"""
    async with a_stage(tmp_path, campaigns=60) as stage:
        ended = await stage.run(*stage.pause_words("--rate", "500"), program=program)

        assert (ended.code, len(stage.rows())) == (0, 60)


@pytest.mark.parametrize("loss", ["unlinked", "replaced"])
async def test_a_journal_that_disappears_while_the_run_goes_on_is_noticed(
    tmp_path: Path, loss: str
) -> None:
    """Its name is gone, or another file has it: the list stops, exit 5 [P22]."""
    async with a_stage(tmp_path, campaigns=200) as stage:
        child = await stage.begin(*stage.pause_words())
        await stage.until_puts(10)
        journal = stage.run_dir / "journal.db"
        if loss == "replaced":
            (stage.run_dir / "other").write_bytes(journal.read_bytes())
            (stage.run_dir / "other").rename(journal)
        else:
            journal.unlink()
        ended = await child.ended()

        assert ended.code == 5
        assert "removed or replaced" in ended.err
        assert stage.puts() < 200


async def test_a_slow_disk_slows_the_sending_and_blames_nobody(tmp_path: Path) -> None:
    """Every commit takes 0.1 s: nothing times out, nothing is repeated, exit 0 [P32]."""
    program = _COMMITS.format(act="time.sleep(0.1)")
    async with a_stage(tmp_path, campaigns=24) as stage:
        ended = await stage.run(*stage.pause_words(), program=program)

        assert (ended.code, stage.outcomes(), stage.puts()) == (0, {"paused": 24}, 24)


_BREAKS = """
import orchestrator.engine.worker as module
real = module.change
def change(action, ref):
    if ref.campaign_id == 5: raise {error}
    return real(action, ref)
module.change = change
"""


async def test_a_lack_of_memory_ends_the_run_with_its_report(tmp_path: Path) -> None:
    """MemoryError in one campaign: exit 70, the report says which were not tried [P15]."""
    async with a_stage(tmp_path, campaigns=40) as stage:
        ended = await stage.run(*stage.pause_words(), program=_BREAKS.format(error="MemoryError()"))

        assert ended.code == 70
        assert len(stage.rows()) == 40
        assert stage.rows()[4]["stopped"] == "no"


@pytest.mark.parametrize(
    ("python", "env", "umask"),
    [
        (("-O",), {"LC_ALL": "C", "LANG": "C"}, 0o777),
        (("-I",), {"TZ": "America/St_Johns", "HOME": ""}, 0),
    ],
)
async def test_the_interpreters_options_and_the_environment_change_nothing(
    tmp_path: Path, python: tuple[str, ...], env: dict[str, str], umask: int
) -> None:
    """-O, -I, C locale, no HOME, odd umask and zone: same report, 0600, UTC [P30, P35]."""
    async with a_stage(tmp_path, campaigns=6) as stage:
        program = f"import os, sys; os.umask({umask}); sys.path.insert(0, {str(ROOT)!r})"
        ended = await stage.run(*stage.pause_words(), python=python, env=env, program=program)

        assert (ended.code, stage.outcomes()) == (0, {"paused": 6}), ended.err
        modes = {path.name: path.stat().st_mode & 0o777 for path in stage.run_dir.iterdir()}
        assert set(modes.values()) == {0o600}, modes
        assert all(row["settled_at"].endswith("Z") for row in stage.rows())


async def test_a_program_that_the_process_starts_inherits_nothing_of_the_run(
    tmp_path: Path,
) -> None:
    """Lock, journal and connections are closed on exec [P31]."""
    program = f"""
import json, os, subprocess, sys
import orchestrator.engine.worker as module
real, asked = module.change, []
def change(action, ref):
    if not asked:
        asked.append(ref)
        # descriptors that a child without close_fds would get
        kept = [number for number in range(3, 256) if inherited(number)]
        open({str(tmp_path / "kept.json")!r}, "w").write(json.dumps(kept))
    return real(action, ref)
def inherited(number):
    try: return os.get_inheritable(number)
    except OSError: return False
module.change = change
"""
    async with a_stage(tmp_path, campaigns=3) as stage:
        ended = await stage.run(*stage.pause_words(), program=program)

        assert (ended.code, json.loads((tmp_path / "kept.json").read_text())) == (0, [])
