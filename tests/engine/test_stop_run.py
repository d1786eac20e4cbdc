"""`stop RUN`: one signal to the process that holds the lock, and to no other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.engine.stop_run import Reaction, _wait, stop_run
from orchestrator.errors import RefusedError
from orchestrator.store.run_dir import RunDirectory
from orchestrator.streams import raise_descriptor_limit
from tests.cli.makers import ROOT
from tests.fakes import VDN, Stage, started

pytestmark = pytest.mark.sockets

#: holds a run directory; says each signal, and ends at the first or never
HOLD = """
import os, signal, sys
from pathlib import Path
from orchestrator.store.run_dir import RunDirectory
directory = RunDirectory(Path(sys.argv[1]))
directory.hold(since="now", host=os.uname().nodename)
def heed(number, frame):
    print("signal", flush=True)
    if sys.argv[2] == "ends":
        directory.release()
        os._exit(0)
    directory.note_ending("SIGINT received")
signal.signal(signal.SIGINT, heed)
print("ready", flush=True)
while True:
    signal.pause()
"""


@contextmanager
def held(directory: RunDirectory, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that works on this run."""
    words = [sys.executable, "-c", HOLD, str(directory.path), how]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """A run directory without a journal."""
    (tmp_path / "run").mkdir(mode=0o700)
    return RunDirectory(tmp_path / "run")


def holder_says(directory: RunDirectory, **changes: object) -> None:
    """Let the holder file say something else."""
    path = directory.path / "holder.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_the_process_that_holds_the_lock_gets_one_signal(directory: RunDirectory) -> None:
    """It ends at once; without a journal there is no result to show."""
    with held(directory, "ends") as process:
        halt = stop_run(directory)

        assert (halt.reaction, halt.was_ending, halt.result) == (Reaction.ENDED, "", None)
        assert process.wait() == 0


def test_a_second_stop_sends_no_second_signal(directory: RunDirectory) -> None:
    """The run drains: the second says so; a second signal would cut it off."""
    with held(directory, "drains") as process:
        assert process.stdout is not None
        first = stop_run(directory, wait_s=0.4)
        assert process.stdout.readline() == "signal\n"
        second = stop_run(directory, wait_s=0.4)
        process.kill()

        assert (first.reaction, first.was_ending) == (Reaction.STILL_ENDING, "")
        assert (second.reaction, second.was_ending) == (Reaction.STILL_ENDING, "SIGINT received")
        assert process.stdout.read() == ""


def test_a_suspended_process_is_named_and_not_killed(directory: RunDirectory) -> None:
    """SIGSTOP: it does not react; awake again it ends by the one signal that waited."""
    with held(directory, "ends") as process:
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)

        halt, again = stop_run(directory), stop_run(directory)

        assert (halt.reaction, halt.pid) == (Reaction.FROZEN, process.pid)
        assert (halt.was_ending, again.was_ending) == ("", "by `stop`")
        process.send_signal(signal.SIGCONT)
        assert process.wait() == 0


def test_a_process_that_does_not_hold_the_lock_is_left_alone(directory: RunDirectory) -> None:
    """The holder file names us, as after a pid was used again; we get no signal."""
    with held(directory, "ends") as process:
        holder_says(directory, pid=os.getpid())

        with pytest.raises(RefusedError, match="does not hold it"):
            stop_run(directory)

        assert process.poll() is None


def test_another_host_and_a_missing_word_are_refused(directory: RunDirectory) -> None:
    """Numbers of processes mean nothing there; without the file nobody knows whose it is."""
    with held(directory, "ends") as process:
        holder_says(directory, host="elsewhere")
        with pytest.raises(RefusedError, match="on elsewhere since now, and this is"):
            stop_run(directory)
        holder_says(directory, host=os.uname().nodename, pid=2**30)
        with pytest.raises(RefusedError, match="cannot be reached"):
            stop_run(directory)
        (directory.path / "holder.json").unlink()
        with pytest.raises(RefusedError, match="not written there whose"):
            stop_run(directory)

        assert process.poll() is None


def test_a_handle_above_a_thousand_is_waited_for(directory: RunDirectory) -> None:
    """A console with so many visitors ends a run all the same; `select` takes 1,024 at most."""
    raise_descriptor_limit()
    child = subprocess.Popen([sys.executable, "-c", ""])
    low = os.pidfd_open(child.pid)
    handle = os.dup2(low, 1_500, inheritable=False)
    try:
        child.wait()

        assert _wait(handle, directory, wait_s=20)
    finally:
        os.close(low)
        os.close(handle)


async def test_a_run_that_has_ended_is_refused_with_its_end(tmp_path: Path) -> None:
    """A leftover holder file changes nothing: nobody holds the lock."""
    result = await Stage(tmp_path, started(3)).pause_all(VDN)
    assert result.run_dir is not None
    leftover = {"pid": os.getpid(), "host": os.uname().nodename, "since": "now"}
    (result.run_dir / "holder.json").write_text(json.dumps(leftover))

    with pytest.raises(RefusedError, match=r"it ended at .*Z \(finished\)"):
        stop_run(RunDirectory(result.run_dir))
