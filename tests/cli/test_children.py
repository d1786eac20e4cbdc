"""The real command as a process: streams that are gone, terminals, signals."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import HANG, FaultPlan
from orchestrator.simulator.scenarios import DRILL_VDN, healthy
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.world import Campaign, World
from tests.cli.makers import child, environment, served, write_list

pytestmark = pytest.mark.sockets


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One healthy server for the whole module."""
    with served() as running:
        yield running


class Terminal:
    """A child with a terminal for stdin and stderr; stdout is a pipe."""

    def __init__(
        self, *arguments: str, env: Mapping[str, str], before: Callable[[], None] | None = None
    ) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *arguments],
            env=dict(env),
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            start_new_session=True,
            preexec_fn=before,  # noqa: PLW1509 - one system call, no lock
        )
        os.close(slave)
        self.seen = ""

    def read_until(self, text: str, *, timeout_s: float = 20.0) -> None:
        """Wait until the terminal shows this."""
        until_s = time.monotonic() + timeout_s
        while text not in self.seen:
            assert time.monotonic() < until_s, self.seen
            self._read(0.1)

    def type(self, text: str) -> None:
        """Type a line."""
        self.press(f"{text}\n")

    def press(self, keys: str) -> None:
        """Press these keys."""
        os.write(self.master, keys.encode())

    def end(self) -> tuple[int, str]:
        """Wait for the end: exit code and stdout."""
        assert self.process.stdout is not None
        while self.process.poll() is None:
            self._read(0.05)
        out = self.process.stdout.read().decode()
        self.process.stdout.close()
        self._read(0.0)
        os.close(self.master)
        return self.process.returncode, out

    def _read(self, wait_s: float) -> None:
        readable, _, _ = select.select([self.master], [], [], wait_s)
        if readable:
            with suppress(OSError):
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")


def _started(simulator: Simulator) -> int:
    return simulator.world.counts(DRILL_VDN)[Status.STARTED]


def test_a_reader_that_left_is_one_warning(simulator: Simulator, workplace: Path) -> None:
    """`| true`, `>&-`, `>/dev/full`: the exit code stays the run's [P34]."""
    line = f"{sys.executable} -m orchestrator pause {write_list(workplace, 1234002)} -q"
    script = f"{{ {line}; echo $? >code; }} | true"
    script += "".join(f"; {line} >{gone}; echo $? >>code" for gone in ("&-", "/dev/full"))
    done = subprocess.run(
        ["sh", "-c", script],
        env=environment(workplace, simulator.base_url),
        cwd=workplace,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (workplace / "code").read_text() == "0\n0\n0\n"
    assert done.stderr.count("warning: stdout cannot be written") == 3
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_typed_vdn_confirms_the_emergency(workplace: Path) -> None:
    """[Z24] Server, VDN, names, time needed; the question once, last; the number starts it."""
    with served() as dialling:
        env = environment(workplace, dialling.base_url, TERM="xterm")
        terminal = Terminal("pause-all", "--vdn", "1234", "--rate", "200", env=env)
        terminal.read_until("press Enter: ")
        asked = terminal.seen.splitlines()
        terminal.read_until("offer 1")
        assert not dialling.ledger.puts
        terminal.type("1234")
        code, out = terminal.end()

        assert code == 0, terminal.seen
        assert [line.split()[0] for line in asked[-4:]] == ["server", "VDN", "VDN", "To"]
        assert "campaigns at" in asked[-2]
        assert asked[-1].startswith("To pause all of it, type the VDN number")
        assert terminal.seen.count("press Enter") == 1
        assert re.match(r"VDN 1234 is quiet: ", out)
        assert "127.0.0.1" in terminal.seen
        assert _started(dialling) == 0


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("1243\n", "1243 was typed, and 1234 was expected"),
        ("y\n", "y was typed, and 1234 was expected"),
        ("\n", "nothing was typed, and 1234 was expected"),
        ("\x04", "the input ended, and 1234 was expected"),
    ],
)
def test_a_wrong_answer_is_no_confirmation(
    typed: str, said: str, simulator: Simulator, workplace: Path
) -> None:
    """[Z24] [C13] Another number, `y`, nothing, Ctrl-D: exit 7, no PUT, no run to continue."""
    puts = dict(simulator.ledger.puts)
    env = environment(workplace, simulator.base_url, TERM="dumb")
    terminal = Terminal("pause-all", "--vdn", "1234", env=env)
    terminal.read_until("type the VDN number")
    terminal.press(typed)
    code, out = terminal.end()

    assert (code, out) == (7, "")
    assert simulator.ledger.puts == puts
    assert f"\nerror: not confirmed: {said}. Nothing was sent" in terminal.seen
    assert list((workplace / "state" / "runs").iterdir()) == []


def test_where_nothing_runs_nothing_is_asked(workplace: Path) -> None:
    """All is suspended: the proof is made at once."""
    world = World({DRILL_VDN: [Campaign(1234001, Status.SUSPENDED)]})
    scenario = replace(healthy(seed=1), world=world)
    with served(scenario) as resting:
        env = environment(workplace, resting.base_url, TERM="xterm")
        terminal = Terminal("pause-all", "--vdn", "1234", "--rate", "200", env=env)
        code, out = terminal.end()

    assert (code, terminal.seen.count("press Enter")) == (0, 0)
    assert out.startswith("VDN 1234 is quiet: ")


def test_ctrl_c_at_the_question_sends_nothing(simulator: Simulator, workplace: Path) -> None:
    """SIGINT instead of an answer: no PUT, and not success."""
    puts = dict(simulator.ledger.puts)
    env = environment(workplace, simulator.base_url, TERM="dumb")
    terminal = Terminal("pause-all", "--vdn", "1234", env=env)
    terminal.read_until("type the VDN number")
    terminal.process.send_signal(signal.SIGINT)
    code, _ = terminal.end()

    assert code == 130
    assert simulator.ledger.puts == puts
    assert "SIGINT received before anything was sent; campaigns are still dialling" in terminal.seen
    assert "report:" not in terminal.seen
    assert "Traceback" not in terminal.seen
    assert list((workplace / "state" / "runs").iterdir()) == []


def test_a_second_ctrl_c_leaves_the_terminal_as_it_was(workplace: Path) -> None:
    """The first is acknowledged, the second gives the cursor back and says what can be done."""
    scenario = healthy(seed=1)
    hanging = CampaignRef(DRILL_VDN, 1234003)
    scenario = replace(scenario, faults=FaultPlan(always={hanging: HANG}))
    with served(scenario) as simulator:
        path = str(write_list(workplace, 1234001, 1234003))
        env = environment(workplace, simulator.base_url, TERM="xterm")
        terminal = Terminal("pause", path, env=env)
        terminal.read_until("\x1b[?25l")
        while not simulator.ledger.puts[hanging]:
            terminal.read_until("")
        terminal.process.send_signal(signal.SIGINT)
        terminal.read_until("SIGINT received: stopping after the")
        terminal.read_until("ending: SIGINT received")
        terminal.process.send_signal(signal.SIGINT)
        code, out = terminal.end()

    assert (code, out) == (130, "")
    assert terminal.seen.rindex("\x1b[?25h") > terminal.seen.rindex("\x1b[?25l")
    (run,) = (workplace / "state" / "runs").iterdir()
    next_command = f"{shlex.quote(sys.executable)} -m orchestrator continue {run.name}"
    assert f"quit at once; `{next_command}` finishes it" in terminal.seen


def test_a_list_comes_through_stdin(simulator: Simulator, workplace: Path) -> None:
    """`pause - --format csv --vdn N --json`."""
    env = environment(workplace, simulator.base_url)

    done = child(
        "pause", "-", "--format", "csv", "--vdn", "1234", "--json", env=env, stdin="1234003\n"
    )

    assert done.code == 0, done.err
    assert json.loads(done.out)["manifest"]["lines"] == 1


def test_a_live_line_only_where_something_can_be_painted(
    simulator: Simulator, workplace: Path
) -> None:
    """A terminal gets control characters, TERM=dumb none; NO_COLOR leaves no colour."""
    path = str(write_list(workplace, *range(1234001, 1234013)))
    arguments = ("pause", path, "--rate", "10")
    painted = Terminal(
        *arguments, env=environment(workplace, simulator.base_url, TERM="xterm", NO_COLOR="1")
    )
    plain = Terminal(*arguments, env=environment(workplace, simulator.base_url, TERM="dumb"))

    assert painted.end()[0] in {0, 1}
    assert plain.end()[0] in {0, 1}
    assert "/s of 10" in painted.seen
    assert "\x1b[" in painted.seen
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", painted.seen)
    assert "\x1b" not in plain.seen


def test_the_simulator_runs_until_told_to_stop(workplace: Path) -> None:
    """It says where it listens and what to type; SIGINT ends it with exit 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "simulate", "--port", "0"],
        env=environment(workplace),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(7)]
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 0
    process.stdout.close()
    assert lines[0].startswith("simulator listening on http://127.0.0.1:")
    assert lines[-1] == f"  {shlex.quote(sys.executable)} -m orchestrator pause-all --vdn 1234\n"
