"""What stands around the real command: streams, paths, disks, rights. None of it stops the stop."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.stage import SHORT_GAP, VDN, a_stage
from tests.harness.surroundings import disk

pytestmark = pytest.mark.sockets

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
#: an emergency in the state directory
EMERGENCY = ("pause-all", "--vdn", str(VDN), "--yes")
#: capabilities by which root passes over the rights of files
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_PR_CAPBSET_DROP = 24


def heed_rights() -> None:
    """Let the rights of files hold for root too, as they do for everybody else."""
    if os.geteuid() == 0:
        for one in (_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, one, 0, 0, 0)


def instead_of(standard: int, descriptor: int) -> Callable[[], None]:
    """Let a child have this descriptor as one of its standard streams."""

    def replace() -> None:
        os.dup2(descriptor, standard)

    return replace


async def test_a_stderr_that_nobody_reads_holds_nobody_up(tmp_path: Path) -> None:
    """A pipe that is full, and -vv: lines are lost, time is not."""
    reading, writing = os.pipe()
    async with a_stage(tmp_path, campaigns=400) as stage:
        words = stage.pause_words("-vv", "--rate", "1000")
        child = await stage.begin(*words, before=instead_of(2, writing))
        os.close(writing)
        ended = await child.ended()
        os.close(reading)

        assert (ended.code, stage.outcomes()) == (0, {"paused": 400})


@pytest.mark.parametrize("emergency", [True, False])
async def test_a_stdout_that_nobody_reads_holds_nobody_up_for_ever(
    tmp_path: Path, *, emergency: bool
) -> None:
    """A full pipe whose reader has stopped: the run ends, says so, and exits as it ended."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(writing, bytes(4096)):
            pass
    os.set_blocking(writing, True)
    async with a_stage(tmp_path, campaigns=4) as stage:
        words = stage.pause_all_words("--json") if emergency else stage.pause_words()
        patience = "from orchestrator.cli import output\noutput.RESULT_PATIENCE_S = 0.1\n"
        ended = await stage.run(*words, program=patience + SHORT_GAP, stdout=writing)
        os.close(writing)
        os.close(reading)

        assert (ended.code, stage.running()) == (0, 0)
        assert "stdout cannot be written (nobody reads it)" in ended.err


@pytest.mark.parametrize("emergency", [True, False])
@pytest.mark.parametrize("granted", [0, 1, 4])
async def test_a_process_that_gets_no_threads_does_without(
    tmp_path: Path, granted: int, *, emergency: bool
) -> None:
    """`ulimit -u`, a container's limit, memory that ends: the journal is written all the same."""
    no_threads = f"""
import threading
start, left = threading.Thread.start, {granted}
def refuse(thread):
    global left
    if left < 1:
        raise RuntimeError("can't start new thread")
    left -= 1
    return start(thread)
threading.Thread.start = refuse
"""
    async with a_stage(tmp_path, campaigns=4) as stage:
        words = stage.pause_all_words() if emergency else stage.pause_words()
        ended = await stage.run(*words, program=no_threads + SHORT_GAP)

        assert (ended.code, stage.running()) == (0, 0), ended.err
        assert stage.outcomes() == {"paused": 4}


async def test_too_little_memory_is_no_bug(tmp_path: Path) -> None:
    """`ulimit -d` of 10 MB: the limit is named, exit 5."""
    async with a_stage(tmp_path, campaigns=1) as stage:
        limit = (10 << 20, 10 << 20)
        ended = await stage.run(
            *stage.pause_words(), before=lambda: resource.setrlimit(resource.RLIMIT_DATA, limit)
        )

        assert ended.code == 5
        assert "too little memory" in ended.err


@pytest.mark.parametrize("kind", ["file", "link", "pipe", "full", "finished"])
async def test_an_emergency_whose_run_dir_cannot_be_used_is_recorded_elsewhere(
    tmp_path: Path, kind: str
) -> None:
    """A file, a link, a pipe, somebody's folder, a run that is over: a directory beside it."""
    async with a_stage(tmp_path, campaigns=4) as stage:
        wanted = stage.run_dir
        if kind == "file":
            wanted.write_text("mine")
        elif kind == "link":
            (tmp_path / "target").mkdir()
            wanted.symlink_to(tmp_path / "target")
        elif kind == "pipe":
            os.mkfifo(wanted)
        elif kind == "full":
            wanted.mkdir()
            (wanted / "letter.txt").write_text("mine")
        else:
            await stage.run("pause", str(stage.manifest), "--dry-run", "--run-dir", str(wanted))
        ended = await stage.run(*stage.pause_all_words(), program=SHORT_GAP)

        assert (ended.code, stage.running()) == (0, 0), ended.err
        assert "; so this run is recorded in /" in ended.err
        assert f"report: {wanted}-2/results.csv" in ended.err


async def test_a_list_says_of_a_disk_that_nothing_was_sent_and_what_helps(tmp_path: Path) -> None:
    """No file may grow: no word about `report`, since there is no run."""
    async with a_stage(tmp_path, campaigns=1) as stage:
        ended = await stage.run(
            *stage.pause_words(),
            before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
        )
    assert ended.code == 5
    assert "Nothing was sent." in ended.err
    assert "hint: make room there, or choose another place with --run-dir" in ended.err


@pytest.mark.parametrize("emergency", [True, False])
async def test_a_log_that_is_a_pipe_without_a_reader_is_passed_over(
    tmp_path: Path, *, emergency: bool
) -> None:
    """`--log-file` names a FIFO: one warning, events on stderr, exit 0."""
    async with a_stage(tmp_path, campaigns=4) as stage:
        os.mkfifo(tmp_path / "log")
        words = stage.pause_all_words() if emergency else stage.pause_words()
        ended = await stage.run(*words, "--log-file", str(tmp_path / "log"), program=SHORT_GAP)

        assert (ended.code, stage.running()) == (0, 0)
        assert "a pipe or a socket that nobody reads" in ended.err


@pytest.mark.parametrize("emergency", [True, False])
async def test_a_working_directory_that_was_removed_is_not_needed(
    tmp_path: Path, *, emergency: bool
) -> None:
    """All paths are whole: exit 0."""
    gone = tmp_path / "gone"
    gone.mkdir()

    def leave() -> None:
        os.chdir(gone)
        gone.rmdir()

    async with a_stage(tmp_path, campaigns=4) as stage:
        words = EMERGENCY if emergency else ("pause", str(stage.manifest))
        ended = await stage.run(*words, program=SHORT_GAP, before=leave)

        assert (ended.code, stage.running()) == (0, 0), ended.err


async def test_a_relative_path_without_a_working_directory_is_named(tmp_path: Path) -> None:
    """A list is refused with exit 2; an emergency goes to the state directory."""
    gone = tmp_path / "gone"

    def leave() -> None:
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()

    async with a_stage(tmp_path, campaigns=4) as stage:
        a_list = await stage.run("pause", str(stage.manifest), "--run-dir", "run", before=leave)
        stopped = await stage.run(*EMERGENCY, "--run-dir", "run", program=SHORT_GAP, before=leave)

        assert a_list.code == 2
        assert "run is relative, and the working directory has been removed" in a_list.err
        assert (stopped.code, stage.running()) == (0, 0)
        assert "; so this run is recorded in /" in stopped.err
        assert "Nothing was sent" not in stopped.err


@pytest.mark.parametrize("emergency", [True, False])
async def test_a_state_directory_need_not_be_utf_8(tmp_path: Path, *, emergency: bool) -> None:
    """A byte that is no UTF-8: a whole run, found by `report last`; `check` leaves it alone."""
    state = os.fsdecode(os.fsencode(tmp_path) + b"/st\xe9")
    async with a_stage(tmp_path, campaigns=4) as stage:
        words = EMERGENCY if emergency else ("pause", str(stage.manifest))
        env = {"ORCHESTRATOR_STATE_DIR": state}
        ended = await stage.run(*words, program=SHORT_GAP, env=env)
        before = sorted(os.listdir(f"{state}/runs"))  # noqa: PTH208 - a path that is no UTF-8
        checked = await stage.run("check", "--vdn", str(VDN), env=env)
        again = await stage.run("report", "last", env=env)

        assert (ended.code, stage.running(), again.code) == (0, 0, 0), ended.err + again.err
        assert "a journal can be written in" in checked.out
        assert sorted(os.listdir(f"{state}/runs")) == before  # noqa: PTH208


@pytest.mark.parametrize("emergency", [True, False])
async def test_a_home_that_may_not_be_entered_is_not_needed(
    tmp_path: Path, *, emergency: bool
) -> None:
    """All settings come from the environment: a warning, and exit 0."""
    home = tmp_path / "home"
    home.mkdir(mode=0)
    async with a_stage(tmp_path, campaigns=4) as stage:
        words = EMERGENCY if emergency else ("pause", str(stage.manifest))
        ended = await stage.run(
            *words, program=SHORT_GAP, env={"HOME": str(home)}, before=heed_rights
        )
        home.chmod(0o700)

        assert (ended.code, stage.running()) == (0, 0), ended.err
        assert "config.toml cannot be reached (Permission denied)" in ended.err


@pytest.mark.parametrize("umask", [0o777, 0o277, 0o700, 0o000])
async def test_what_an_odd_umask_made_is_of_use_to_later_runs(tmp_path: Path, umask: int) -> None:
    """State directory, runs and log were made under it; the next run needs all of them."""

    def odd() -> None:
        heed_rights()
        os.umask(umask)

    async with a_stage(tmp_path, campaigns=4) as stage:
        words = ("pause", str(stage.manifest), "--log-file", str(tmp_path / "log"), "-v")
        first = await stage.run(*words, before=odd)
        second = await stage.run(*words, before=heed_rights)
        listed = await stage.run("runs", before=heed_rights)

        assert (first.code, second.code, listed.code) == (0, 0, 0), first.err + second.err
        assert listed.out.count("complete") == 2
        assert "cannot be written" not in first.err + second.err
        modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*")}
        assert modes == {0o700, 0o600}


async def test_a_state_directory_that_everybody_may_write_is_put_right(tmp_path: Path) -> None:
    """It was made with mode 0777 by somebody: others could put runs among ours, to be restored."""
    (tmp_path / "state" / "runs").mkdir(parents=True)
    for place in (tmp_path / "state", tmp_path / "state" / "runs"):
        place.chmod(0o777)
    async with a_stage(tmp_path, campaigns=2) as stage:
        ended = await stage.run("pause", str(stage.manifest))

        assert ended.code == 0
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o775
        assert (tmp_path / "state" / "runs").stat().st_mode & 0o777 == 0o775


@needs_root
async def test_a_state_directory_of_another_user_is_refused_to_a_list_alone(
    tmp_path: Path,
) -> None:
    """Its owner could exchange every run in it; an emergency keeps its journal in memory."""
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, 54_321, 54_321)
    async with a_stage(tmp_path, campaigns=4) as stage:
        a_list = await stage.run("pause", str(stage.manifest))
        sent = stage.simulator.ledger.total
        stopped = await stage.run(*EMERGENCY, program=SHORT_GAP)

        assert (a_list.code, sent) == (2, 0)
        assert f"{state} belongs to another user (uid 54321)" in a_list.err
        assert (stopped.code, stage.running()) == (5, 0)
        assert stopped.out.count('"paused"') == 4


@needs_root
async def test_root_takes_no_run_directory_of_another_user(tmp_path: Path) -> None:
    """Refused to a list, to `continue` and `report`; an emergency goes beside it."""
    async with a_stage(tmp_path, campaigns=4) as stage:
        stage.run_dir.mkdir()
        os.chown(stage.run_dir, 54_321, 54_321)
        a_list = await stage.run(*stage.pause_words())
        stopped = await stage.run(*stage.pause_all_words(), program=SHORT_GAP)
        made = stage.run_dir.with_name(f"{stage.run_dir.name}-2")
        os.chown(made, 54_321, 54_321)
        others = [await stage.run(one, str(made)) for one in ("continue", "report")]

        assert a_list.code == 2
        assert "belongs to another user (uid 54321), and we run as root" in a_list.err
        assert (stopped.code, stage.running()) == (0, 0)
        assert [one.code for one in others] == [2, 2]


async def test_a_silent_stdin_does_not_hold_up_a_stop(tmp_path: Path) -> None:
    """`pause -` waits for a list that never comes; SIGTERM ends it, nothing is left behind."""
    reading, writing = os.pipe()
    async with a_stage(tmp_path, campaigns=1) as stage:
        words = ("pause", "-", "--format", "csv")
        child = await stage.begin(*words, before=instead_of(0, reading))
        runs = tmp_path / "state" / "runs"
        await stage.until(lambda: any(runs.glob("*/journal.db.part")))
        child.send(signal.SIGTERM)
        ended = await child.ended()
        os.close(writing)
        os.close(reading)

        assert ended.code == 143
        assert "SIGTERM received before anything was sent; nothing has changed" in ended.err
        assert list(runs.iterdir()) == []


async def test_a_stop_while_a_long_list_is_planned_leaves_nothing_behind(tmp_path: Path) -> None:
    """700,000 lines are being read: SIGINT ends it before a tenth of them is through."""
    (tmp_path / "long.csv").write_text("".join(f"{VDN},{one}\n" for one in range(1, 700_001)))
    async with a_stage(tmp_path, campaigns=1) as stage:
        child = await stage.begin("pause", str(tmp_path / "long.csv"))
        runs = tmp_path / "state" / "runs"
        await stage.until(lambda: any(runs.glob("*/journal.db.part")))
        child.send(signal.SIGINT)
        ended = await child.ended()

        assert (ended.code, stage.simulator.ledger.total) == (130, 0)
        assert list(runs.iterdir()) == []


#: fsyncs so far, in `synced`: our own, and those of SQLite's commits (a new log costs one for its
#: directory too); when the first PUT is made they are written down
_COUNTS = """
import os, sqlite3
import orchestrator.engine.worker as module
synced = []
class Connection(sqlite3.Connection):
    full, journal = True, False
    def execute(self, sql, *rest):
        if sql.startswith("PRAGMA synchronous"): self.full = sql.endswith("FULL")
        if self.journal and self.full:
            if sql == "COMMIT": synced.append("log")
            if sql == "PRAGMA journal_mode = WAL": synced.append("mode")
        return super().execute(sql, *rest)
def connect(path, *rest, **more):
    made = real_connect(path, *rest, factory=Connection, **more)
    made.journal = "journal.db" in str(path)
    return made
def fsync(descriptor):
    synced.append(os.path.basename(os.path.realpath(f"/proc/self/fd/{descriptor}")))
    real_fsync(descriptor)
def signed(*rest, **more):
    if more["method"] == "PUT" and not os.path.exists("synced"):
        open("synced", "w").write(" ".join(synced))
    return real_signed(*rest, **more)
import orchestrator.engine.departures as sending
real_connect, sqlite3.connect = sqlite3.connect, connect
real_fsync, os.fsync = os.fsync, fsync
real_signed, sending.authorization = sending.authorization, signed
"""


async def test_an_emergency_waits_for_three_fsyncs_before_its_first_put(tmp_path: Path) -> None:
    """The journal, its log with the first intent, and the directory with both their names."""
    async with a_stage(tmp_path, campaigns=1) as stage:
        ended = await stage.run(*stage.pause_all_words(), program=_COUNTS + SHORT_GAP, cwd=tmp_path)

        assert ended.code == 0, ended.err
        # SQLite fsyncs a new log's directory in the same commit: that is the third
        assert (tmp_path / "synced").read_text().split() == ["journal.db.part", "log"]


@pytest.mark.parametrize("how", ["full", "killed", "well"])
async def test_what_a_full_disk_kept_from_the_journal_is_said_by_continue(
    tmp_path: Path, how: str
) -> None:
    """The disk fills during an emergency; whoever continues, reports or restores learns of it."""
    programs: dict[str, Callable[[], str]] = {
        "full": lambda: (
            "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (70000, 70000))"
        ),
        "killed": str,
        "well": str,
    }
    async with a_stage(tmp_path, campaigns=60) as stage:
        words = stage.pause_all_words("--rate", "100")
        child = await stage.begin(*words, program=programs[how]() + SHORT_GAP)
        if how == "killed":
            await stage.until_puts(10)
            child.send(signal.SIGKILL)
        first = await child.ended()
        names = {path.name for path in stage.run_dir.iterdir()}
        again = await stage.run("continue", str(stage.run_dir), program=SHORT_GAP)
        report = await stage.run("report", str(stage.run_dir))
        undone = await stage.run("restore", str(stage.run_dir), "--dry-run")

        left = {path.name for path in stage.run_dir.iterdir()}
        assert stage.running() == 0
        assert "journal.db.open" not in left
        if how == "full":
            assert first.code == 5
            assert "journal.db.incomplete" in names & left
            assert (again.code, report.code) == (5, 5)
            for one in (again, report):
                assert "campaigns that it paused then may be missing here" in one.out
            assert "lacks something: its disk failed" in undone.err
        else:
            assert ("journal.db.open" in names) == (how == "killed")
            assert ("the journal of this run may lack something" in again.err) == (how == "killed")
            assert (again.code, report.code) == (0, 0)
            assert "may be missing" not in again.out + report.out


@pytest.mark.parametrize(("kib", "works"), [(0, False), (84, False), (1024, True)])
async def test_check_writes_a_journal_as_an_emergency_does(
    tmp_path: Path, kib: int, *, works: bool
) -> None:
    """84 KiB hold a journal, but not the index of its log: `check` says so and leaves nothing."""
    async with a_stage(tmp_path, campaigns=4) as stage:
        with disk(tmp_path, kib) as (state, limit):
            env = {"ORCHESTRATOR_STATE_DIR": str(state)}
            ended = await stage.run("check", "--vdn", str(VDN), env=env, before=limit)

            assert ended.code == (0 if works else 1), ended.out
            assert ("a journal can be written in" in ended.out) == works
            assert ("a run could not be recorded there" in ended.out) != works
            assert not state.exists()


@pytest.mark.parametrize("emergency", [True, False])
async def test_what_no_request_got_through_is_said_when_the_deadline_strikes(
    tmp_path: Path, *, emergency: bool
) -> None:
    """A URL with https where nobody speaks TLS: the deadline alone is no cause."""
    async with a_stage(tmp_path, campaigns=1) as stage:
        (tmp_path / "quick.toml").write_text("[server]\nconnect_timeout_s = 0.1\n")
        words = stage.pause_all_words() if emergency else stage.pause_words()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            host, port = silent.getsockname()
            ended = await stage.run(
                *words,
                *("--config", str(tmp_path / "quick.toml"), "--deadline", "5"),
                env={"ORCHESTRATOR_BASE_URL": f"https://{host}:{port}"},
            )

        assert ended.code == (6 if emergency else 1)
        assert f"{host}:{port}: no connection (name, TCP and TLS) within 0.1 s" in ended.out
