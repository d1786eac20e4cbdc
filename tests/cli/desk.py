"""A desk to paste at: a folder with settings, a server, a shell; it remembers what was printed.

What a scenario has not pasted itself, the desk pastes at its end, in the same surroundings, until
no command is left that was not tried. A command whose end nobody has promised is a failure.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.cli.table import COMMANDS
from orchestrator.model import CampaignRef
from orchestrator.simulator.faults import Fault, FaultPlan
from orchestrator.simulator.scenarios import ACCESS_KEY, DRILL_VDN, SECRET_KEY, Scenario
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.world import Campaign, World
from tests.cli.makers import ROOT, served

PYTHON = shlex.quote(sys.executable)
MODULE = f"{PYTHON} -m orchestrator"
STUBBORN = CampaignRef(DRILL_VDN, 2)
QUESTION = "press Enter: "

#: what stands in capitals where a user puts something → where it comes from
PLACEHOLDERS = {
    "FILE": "a file of the user's own, such as the authority's certificate",
    "LIST": "the list that the user wants to pause",
    "N": "the number of the VDN",
    "HEX": "the SHA-256 that the server's administrator tells",
    "HOST": "the name of the server",
    "AK": "the access key that the server's administrator gave",
    "DAYS": "how old is old",
    "…": "whatever writes the list",
}
#: texts in backticks that are no commands of this program, or not to be pasted
_OTHERS = re.compile(
    r"last|stop|data|kill -CONT \d+|check --notify|--rate [0-9.]+|pause|openssl .*|default backend"
)
#: ends of commands that change nothing where all is well; whatever else is printed is promised
READS: Mapping[str, frozenset[int]] = {
    "runs": frozenset({0}),
    "--help": frozenset({0}),
    "--version": frozenset({0}),
    "check": frozenset({0}),
}
_NAMES = "|".join(sorted({name.split()[0] for name in COMMANDS}, key=len, reverse=True))
#: a command as a message has it, with or without what makes it complete
_MENTION = re.compile(rf"\borchestrator (?:(?:{_NAMES})\b|--help|--version)")
_PRINTED = re.compile(
    r"`([^`]*orchestrator [^`]+)`"
    r"|(?:Next|Try the [0-9,]+ again|hint|In an emergency):"
    r" ([^`\n]*?orchestrator [^`;\n]+?)(?=;|  |$)"
    r"|^  (\S[^`\n]*?orchestrator [^`;\n]+?)$",
    re.MULTILINE,
)
_RUN_ID = re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{4}\b")
_CAPITALS = re.compile(r"(?<![\w/.{'-])[A-Z]{1,8}2?(?![\w/.}'])")
_PAINT = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: more are a circle
_MOST_PASTES = 12
#: what every process runs first: the proof of an emergency waits for less than its five seconds
_START = "from orchestrator.policy import quiet\nquiet.GAP_S = 0.2\n"


@dataclass
class Said:
    """What a command printed, and how it ended."""

    line: str
    code: int
    text: str

    @property
    def commands(self) -> list[str]:
        """Every printed command, once; help shows examples, which are no messages."""
        if "--help" in self.line:
            return []
        text = re.sub(r"^\{.*\}$", "", self.text, flags=re.MULTILINE)
        found = [one or two or three for one, two, three in _PRINTED.findall(text)]
        mentions = len(_MENTION.findall(text))
        assert mentions == len(_MENTION.findall("\n".join(found))), f"not as a command: {text}"
        for other in re.findall(r"`([^`\n]*)`", text):
            assert other in found or _OTHERS.fullmatch(other), f"what is `{other}`? {text}"
        return list(dict.fromkeys(found))

    @property
    def advised(self) -> list[str]:
        """The flags that a hint says to add."""
        hints = " ".join(re.findall(r"^hint: (.*)$", self.text, re.MULTILINE))
        return re.findall(r"(?<!`)(?<!\S)--[a-z-]+", re.sub(r"`[^`]*`", "", hints))


@dataclass
class Desk:
    """A folder with settings, and a shell in it."""

    folder: Path
    program: str = MODULE
    cwd: Path | None = None
    connection: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    heard: list[Said] = field(default_factory=list)
    #: commands that were pasted, as `alike` has them
    tried: set[str] = field(default_factory=set)
    #: command → how it may end when it is pasted
    promised: dict[str, set[int]] = field(default_factory=dict)
    #: what a user fills in
    filled: dict[str, str] = field(default_factory=lambda: {"N": str(DRILL_VDN)})
    #: what a user answers at a terminal
    answers: dict[str, str] = field(default_factory=lambda: {QUESTION: str(DRILL_VDN)})
    served: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.with_start("")

    @property
    def state(self) -> Path:
        """Where the runs are."""
        return self.folder / "my files" / "state" / "runs"

    @property
    def run_names(self) -> list[str]:
        """The runs that there are, oldest first."""
        return sorted(one.name for one in self.state.iterdir())

    def serve(self, scenario: Scenario | None = None) -> Simulator:
        """Serve a scenario until the desk is left, and write settings for it."""
        server = self.served.enter_context(served(scenario or a_scenario()))
        self.configure(server.base_url)
        return server

    def configure(self, base_url: str) -> None:
        """Write settings with short waits, as a user has them: the secret in a file beside."""
        place = self.folder / "my files"
        place.mkdir(exist_ok=True)
        secret = place / "sk"
        secret.touch(mode=0o600)
        secret.write_text(SECRET_KEY)
        (place / "eu.toml").write_text(
            f'[server]\nbase_url = "{base_url}"\n[credentials]\nsecret_key_file = "sk"\n'
            '[state]\ndir = "state"\n[pace]\nrate_per_s = 200\n[retry]\nmax_attempts = 1\n'
            "backoff_base_s = 0.01\nbackoff_cap_s = 0.05\npatience_s = 0.3\n"
        )
        shown = os.path.relpath(place, self.cwd) if self.cwd else "my files"
        self.connection = f"--config '{shown}/eu.toml' --access-key {ACCESS_KEY}"

    def list_of(self, *ids: object, name: str = "my list.csv") -> str:
        """A list of these campaigns; its name as a shell takes it."""
        path = self.folder / name
        path.write_text("".join(f"{DRILL_VDN},{one}\n" for one in ids))
        return shlex.quote(str(path))

    # -- pasting ---------------------------------------------------------------------------------

    def begin(self, line: str, terminal: int | None = None) -> subprocess.Popen[str]:
        """Paste a line into a shell; without a terminal nobody can type."""
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
        return subprocess.Popen(
            ["sh", "-c", line if {"|", ";"} & set(line) else f"exec {line}"],
            cwd=self.cwd or self.folder,
            env={
                **kept,
                "HOME": str(self.folder),
                # else `init` by root writes the settings of the whole machine
                "XDG_CONFIG_HOME": str(self.folder / "config"),
                "PYTHONPATH": f"{self.folder / 'start'}:{ROOT}",
                **self.environ,
            },
            stdin=subprocess.DEVNULL if terminal is None else terminal,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.STDOUT,
            start_new_session=terminal is not None,
            preexec_fn=None if terminal is None else _own_terminal,  # noqa: PLW1509 - one call
            text=True,
        )

    def paste(self, line: str, *, terminal: bool = False) -> Said:
        """Run a printed line as it is; only what is in capitals is filled in."""
        self.tried.add(alike(line))
        whole = line
        for name, value in self.filled.items():
            whole = _filled_in(whole, name, value)
        if terminal:
            return self.hear(line, *self._at_a_terminal(whole))
        return self.hear(line, *_until_its_end(self.begin(whole)))

    def hear(self, line: str, code: int, text: str) -> Said:
        """Remember what a command printed; no bug, no usage that only argparse would speak of."""
        said = Said(line, code, text)
        self.heard.append(said)
        assert "Traceback" not in text, text
        assert SECRET_KEY not in text.replace(f"SECRET_KEY={SECRET_KEY}", ""), text
        return said

    def run(self, words: str, *, terminal: bool = False) -> Said:
        """Run a command with the flags that say which server."""
        return self.paste(f"{self.program} {words} {self.connection}", terminal=terminal)

    def interrupt(self, words: str, server: Simulator, *signals: int) -> Said:
        """Run a command, and send these signals when a request hangs."""
        line = f"{self.program} {words} {self.connection}"
        process = self.begin(line)
        until_stuck(server)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        return self.hear(line, *_until_its_end(process))

    def with_start(self, code: str) -> None:
        """Let every process run this before anything else."""
        (self.folder / "start").mkdir(exist_ok=True)
        (self.folder / "start" / "sitecustomize.py").write_text(_START + code)

    def wait_hours(self, hours: int) -> None:
        """Let it be so many hours later."""
        self.with_start(
            "import time\nbefore, before_ns = time.time, time.time_ns\n"
            f"time.time = lambda: before() + {hours * 3600}\n"
            f"time.time_ns = lambda: before_ns() + {hours * 3600 * 10**9}\n"
        )

    def at_a_question(self, words: str) -> tuple[subprocess.Popen[str], int]:
        """Run a command at a terminal until it asks; its process, and our end of the terminal."""
        ours, theirs = pty.openpty()
        process = self.begin(f"{self.program} {words} {self.connection}", theirs)
        os.close(theirs)
        seen = ""
        while QUESTION not in seen:
            seen += os.read(ours, 65536).decode("utf-8", "replace")
        return process, ours

    def _at_a_terminal(self, line: str) -> tuple[int, str]:
        """Paste a line into a terminal, and answer what is asked."""
        ours, theirs = pty.openpty()
        process = self.begin(line, theirs)
        os.close(theirs)
        guard = threading.Timer(60, process.kill)
        guard.start()
        seen, heard = "", 0
        with suppress(OSError):  # EIO: nobody writes there any more
            while piece := os.read(ours, 65536):
                seen += piece.decode("utf-8", "replace")
                for prompt, answer in self.answers.items():
                    if prompt in seen[heard:]:
                        heard = len(seen)
                        os.write(ours, f"{answer}\n".encode())
        code = process.wait()
        guard.cancel()
        os.close(ours)
        return code, _PAINT.sub("", seen).replace("\r\n", "\n").replace("\r", "\n")

    # -- the end ---------------------------------------------------------------------------------

    def finish(self) -> None:
        """Paste every command that was printed and is not tried yet."""
        pastes = 0
        for said in self.heard:  # it grows meanwhile
            for command in said.commands:
                _only_known_placeholders(command, said)
                if alike(command) in self.tried:
                    continue
                pastes += 1
                assert pastes <= _MOST_PASTES, f"there is no end to it: {command}"
                self._keep_promise(command)
            for word in _CAPITALS.findall(_flags_of_hints(said.text)):
                assert word in PLACEHOLDERS, f"what is {word}? {said.text}"

    def _keep_promise(self, command: str) -> None:
        name = name_of(command)
        may_end = self.promised.get(name) or READS.get(name)
        assert may_end, f"nobody says how this ends: {command}"
        asks = name in {"restore", "pause-all", "init"}
        is_free = asks and not {"--yes", "--dry-run"} & set(shlex.split(command))
        said = self.paste(command, terminal=is_free)
        assert said.code in may_end, f"{command}\n{said.code}, not {may_end}: {said.text}"


def a_scenario(size: int = 3, fault: Fault | None = None) -> Scenario:
    """So many started campaigns; the second may have a fault of its own."""
    world = World({DRILL_VDN: [Campaign(number) for number in range(1, size + 1)]})
    return Scenario("test", world, FaultPlan(always={STUBBORN: fault} if fault else {}))


def name_of(command: str) -> str:
    """Which command it is."""
    found = _MENTION.search(command)
    assert found, command
    return "--help" if "--help" in command else found[0].split()[1]


def names(commands: list[str]) -> list[str]:
    """Which commands they are."""
    return [name_of(one) for one in commands]


def until_stuck(server: Simulator, *, more_than: int = 0) -> None:
    """Wait until the PUT that will not be answered has arrived."""
    until_s = time.monotonic() + 20
    while server.ledger.puts[STUBBORN] <= more_than:
        assert time.monotonic() < until_s
        time.sleep(0.02)


def _filled_in(line: str, name: str, value: str) -> str:
    """The line with a value where its placeholder stands as a word of its own."""
    return re.sub(rf"(?<!\S){re.escape(name)}(?!\S)", lambda _: value, line)


def _own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # what /dev/tty stands for


def _until_its_end(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        text, _ = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        pytest.fail(f"60 s are not enough: {text}")
    return process.returncode, text


def alike(line: str) -> str:
    """The line without what differs from run to run."""
    return _RUN_ID.sub("RUN", line)


def _only_known_placeholders(command: str, said: Said) -> None:
    given = set(shlex.split(said.line)) if said.line.count("'") % 2 == 0 else set()
    for word in _CAPITALS.findall(_RUN_ID.sub("", command)):
        assert word in PLACEHOLDERS or word in given, f"what is {word}? {command}"


def _flags_of_hints(text: str) -> str:
    """The flags with their values that hints name outside of commands."""
    hints = re.findall(r"^hint: (.*)$", text, re.MULTILINE)
    return " ".join(re.findall(r"--[a-z-]+ (\S+)", re.sub(r"`[^`]*`", "", " ".join(hints))))
