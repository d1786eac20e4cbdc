"""Every command that a message prints is pasted into a shell, from many endings of real runs.

The settings are in a directory with a space in its name, and nothing is in the environment: what a
command lacks when it is pasted shows itself as a usage error.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

from orchestrator.cli.table import COMMANDS
from orchestrator.model import CampaignRef
from orchestrator.simulator.faults import HANG, FaultPlan, with_codes
from orchestrator.simulator.scenarios import ACCESS_KEY, DRILL_VDN, SECRET_KEY, Scenario
from orchestrator.simulator.world import Campaign, World
from tests.cli.makers import ROOT, served

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.simulator.faults import Fault
    from orchestrator.simulator.server import Simulator

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

PYTHON = shlex.quote(sys.executable)
MODULE = f"{PYTHON} -m orchestrator"
STUBBORN = CampaignRef(DRILL_VDN, 2)
_NAMES = "|".join(sorted({name.split()[0] for name in COMMANDS} | {"stop", "note", "init"}))
#: a command as a message has it, with or without what makes it complete
_MENTION = re.compile(rf"\borchestrator (?:(?:{_NAMES})\b|--help)")
_PRINTED = re.compile(
    r"`([^`]*orchestrator [^`]+)`"
    r"|(?:Next|Try the [0-9,]+ again|hint): ([^`]*?orchestrator [^`;]+?)(?=;|$)",
    re.MULTILINE,
)


@dataclass
class Said:
    """What a command printed, and how it ended."""

    code: int
    text: str

    @property
    def commands(self) -> list[str]:
        """Every printed command, once; one with an ellipsis is an example in words."""
        found = [first or second for first, second in _PRINTED.findall(self.text)]
        whole = "\n".join(found)
        mentions = len(_MENTION.findall(self.text))
        assert mentions == len(_MENTION.findall(whole)), f"not as a command: {self.text}"
        return [one for one in dict.fromkeys(found) if "…" not in one]


@dataclass
class Desk:
    """A folder with settings, and a shell in it."""

    folder: Path
    program: str = MODULE
    cwd: Path | None = None
    connection: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)

    def configure(self, base_url: str) -> None:
        """Write settings with short waits, as a user has them: the secret in a file beside."""
        place = self.folder / "my files"
        place.mkdir(exist_ok=True)
        secret = place / "sk"
        secret.touch(mode=0o600)
        secret.write_text(SECRET_KEY)
        (place / "eu.toml").write_text(
            f'[server]\nbase_url = "{base_url}"\n[credentials]\nsecret_key_file = "sk"\n'
            f'[state]\ndir = "state"\n[pace]\nrate_per_s = 200\n[retry]\nmax_attempts = 1\n'
            "backoff_base_s = 0.01\nbackoff_cap_s = 0.05\npatience_s = 0.3\n"
        )
        shown = os.path.relpath(place, self.cwd) if self.cwd else "my files"
        self.connection = f"--config '{shown}/eu.toml' --access-key {ACCESS_KEY}"

    def list_of(self, *ids: int) -> str:
        """A list of these campaigns; its name as a shell takes it."""
        path = self.folder / "my list.csv"
        path.write_text("".join(f"{DRILL_VDN},{one}\n" for one in ids))
        return shlex.quote(str(path))

    def begin(self, line: str) -> subprocess.Popen[str]:
        """Paste a line into a shell."""
        kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}}
        return subprocess.Popen(
            ["sh", "-c", f"exec {line}"],
            cwd=self.cwd or self.folder,
            env={**kept, "HOME": str(self.folder), "PYTHONPATH": str(ROOT), **self.environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def paste(self, line: str) -> Said:
        """Run a printed line as it is."""
        process = self.begin(line)
        text, _ = process.communicate(timeout=60)
        return Said(process.returncode, text)

    def run(self, words: str) -> Said:
        """Run a command with the flags that say which server."""
        return self.paste(f"{self.program} {words} {self.connection}")

    def interrupt(self, words: str, server: Simulator, *signals: int) -> Said:
        """Run a command, and send these signals when a request hangs."""
        process = self.begin(f"{self.program} {words} {self.connection}")
        until_stuck(server)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        text, _ = process.communicate(timeout=60)
        return Said(process.returncode, text)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A user who knows nothing but the settings file."""
    return Desk(tmp_path)


def a_scenario(size: int = 3, fault: Fault | None = None) -> Scenario:
    """So many started campaigns; the second may have a fault of its own."""
    world = World({DRILL_VDN: [Campaign(number) for number in range(1, size + 1)]})
    return Scenario("test", world, FaultPlan(always={STUBBORN: fault} if fault else {}))


BUSY = with_codes("0200006")


def names(commands: list[str]) -> list[str]:
    """Which commands they are."""
    return [found[0].split()[1] for one in commands if (found := _MENTION.findall(one))]


# -- lists ---------------------------------------------------------------------------------------


def test_what_failed_is_tried_again_and_nothing_else(desk: Desk) -> None:
    """The list of failures, its path quoted: one row, one more attempt."""
    with served(a_scenario(fault=BUSY)) as server:
        desk.configure(server.base_url)
        said = desk.run(f"pause {desk.list_of(1, 2, 3)}")
        assert (said.code, names(said.commands)) == (1, ["pause"]), said.text
        puts = server.ledger.puts(STUBBORN)

        again = desk.paste(said.commands[0])

        assert (again.code, names(again.commands)) == (1, ["pause"]), again.text
        assert "1 line: 0 stopped" in again.text
        assert server.ledger.puts(STUBBORN) > puts
        assert not (desk.folder / "failed.csv").exists()


def test_what_is_not_there_is_not_tried_again(desk: Desk) -> None:
    """not_found, and all stopped: nothing to do, no command, no list of failures where none is."""
    with served(a_scenario()) as server:
        desk.configure(server.base_url)
        stopped = desk.run(f"pause {desk.list_of(1, 2)} --run-dir all")
        missing = desk.run(f"pause {desk.list_of(1, 999)}")

    assert (stopped.code, stopped.commands) == (0, []), stopped.text
    assert (missing.code, missing.commands) == (1, []), missing.text
    assert not (desk.folder / "all" / "failed.csv").exists()


def test_a_list_that_ran_out_of_time_is_continued(desk: Desk) -> None:
    """--deadline 0: nothing is attempted, then all of it."""
    with served(a_scenario()) as server:
        desk.configure(server.base_url)
        said = desk.run(f"pause {desk.list_of(1, 2, 3)} --deadline 0")
        assert (said.code, names(said.commands)) == (1, ["continue"]), said.text

        again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert "3 stopped" in again.text


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)])
def test_an_interrupted_list_is_continued(desk: Desk, signals: tuple[int, ...]) -> None:
    """Once, and twice in a row: the line that is printed finishes it."""
    with served(a_scenario(fault=HANG)) as server:
        desk.configure(server.base_url)
        said = desk.interrupt(f"pause {desk.list_of(1, 2, 3)}", server, *signals)
        assert names(said.commands) == ["continue"], said.text
        server.handler.faults = FaultPlan()

        again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert "3 lines: 3 stopped" in again.text


def test_refused_credentials_lead_to_a_check_and_on(desk: Desk) -> None:
    """The printed check names a VDN; both reach the server with the key that was given."""
    with served(a_scenario()) as server:
        desk.configure(server.base_url)
        (desk.folder / "my files" / "sk").write_text("another-secret-key")
        said = desk.run(f"pause {desk.list_of(1, 2)}")
        assert said.code == 3, said.text
        assert set(names(said.commands)) == {"check", "continue"}
        assert "my files/sk" in said.text
        refused = [desk.paste(one).code for one in said.commands]
        (desk.folder / "my files" / "sk").write_text(SECRET_KEY)
        accepted = [desk.paste(one) for one in said.commands]

    assert set(refused) == {3}
    assert [one.code for one in accepted] == [0] * len(accepted), [one.text for one in accepted]


def test_a_server_that_is_away_leads_to_a_check_and_on(desk: Desk) -> None:
    """Nobody listens; the printed lines find that out again, and work when somebody does."""
    desk.configure("http://127.0.0.1:9")
    said = desk.run(f"pause {desk.list_of(1)}")
    assert said.code == 4, said.text
    assert set(names(said.commands)) == {"check", "continue"}

    assert [desk.paste(one).code for one in said.commands] == [4] * len(said.commands)


def test_an_untrusted_certificate_is_trusted_with_the_flag_that_is_named(desk: Desk) -> None:
    """The printed `continue`, with --ca-file and the authority's file, gets past the handshake."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(desk.folder / "ca.pem")
    with tls_server(authority) as port:
        desk.configure(f"https://127.0.0.1:{port}")
        said = desk.run(f"pause {desk.list_of(1)}")
        assert said.code == 4, said.text
        assert "--ca-file" in said.text
        assert "PEM" in said.text

        again = desk.paste(f"{said.commands[-1]} --ca-file ca.pem")

    assert again.code == 4, again.text
    assert "is not trusted" in said.text
    # but for how the run before it had ended
    assert "is not trusted" not in again.text.partition(" continuing run ")[2].partition("\n")[2]


def test_a_report_that_cannot_be_written_is_made_again(desk: Desk) -> None:
    """A directory in the way: `report` of that very run, once it is gone."""
    with served(a_scenario()) as server:
        desk.configure(server.base_url)
        assert desk.run(f"pause {desk.list_of(1)} --run-dir 'a run'").code == 0
        results = desk.folder / "a run" / "results.csv"
        results.unlink()
        results.mkdir()
        said = desk.run("report 'a run/'")
        assert (said.code, names(said.commands)) == (5, ["report"]), said.text
        results.rmdir()

        again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert results.is_file()


# -- emergencies -----------------------------------------------------------------------------------


def test_an_interrupted_emergency_is_continued(desk: Desk) -> None:
    """Not begun a second time: the same run ends quiet."""
    with served(a_scenario(fault=HANG)) as server:
        desk.configure(server.base_url)
        said = desk.interrupt(f"pause-all --vdn {DRILL_VDN} --yes", server, signal.SIGTERM)
        assert (said.code, names(said.commands)) == (143, ["continue"]), said.text
        server.handler.faults = FaultPlan()

        again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert "is quiet" in again.text
    assert len(list((desk.folder / "my files" / "state" / "runs").iterdir())) == 1


def test_a_mistyped_vdn_is_never_repeated(desk: Desk) -> None:
    """It has no campaigns: check the number, no command."""
    with served(a_scenario()) as server:
        desk.configure(server.base_url)
        said = desk.run("pause-all --vdn 4321 --yes")

    assert (said.code, said.commands) == (6, []), said.text
    assert "check the VDN number" in said.text


# -- afterwards ------------------------------------------------------------------------------------


def test_a_restore_is_repeated_with_its_exceptions(desk: Desk) -> None:
    """Campaign 2 will not start, 3 is excluded: the printed line leaves 3 off again."""
    with served(a_scenario()) as server:
        desk.configure(server.base_url)
        assert desk.run(f"pause {desk.list_of(1, 2, 3)}").code == 0
        server.handler.faults = FaultPlan(always={STUBBORN: BUSY})
        guilty = desk.list_of(3)
        said = desk.run(f"restore last --yes --except {guilty}")
        assert (said.code, names(said.commands)) == (1, ["restore"]), said.text
        assert f"--except {guilty}" in said.commands[0]

        again = desk.paste(f"{said.commands[0]} --yes")

    assert again.code == 1, again.text
    before = "1 started again before, by another restore, 1 left alone, 1 not started again"
    assert before in again.text


def test_a_run_that_is_worked_on_can_be_ended(desk: Desk) -> None:
    """A second process is refused, and named is the command that ends the first."""
    with served(a_scenario(fault=HANG)) as server:
        desk.configure(server.base_url)
        first = desk.begin(f"{MODULE} pause {desk.list_of(1, 2, 3)} {desk.connection}")
        until_stuck(server)
        (live,) = (desk.folder / "my files" / "state" / "runs").iterdir()
        said = desk.run(f"continue {live.name}")  # `last` passes over what is worked on
        said_again = desk.run("report last")
        if "stop" in COMMANDS:
            assert desk.paste(said.commands[0]).code == 0
        else:
            first.send_signal(signal.SIGINT)
        first.communicate(timeout=60)

    assert (said.code, names(said.commands)) == (7, ["stop"]), said.text
    assert (said_again.code, names(said_again.commands)) == (7, ["runs"]), said_again.text
    assert desk.paste(said_again.commands[0]).code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("pause x.csv --frobnicate", ["--help"]),
        ("pause --list x.csv", ["pause", "--help"]),
        ("resum last", ["--help"]),
        ("undo last", ["--help", "--help"]),
        ("restore 0bad --yes", ["runs"]),
        ("report 0bad", ["runs"]),
        ("continue 0bad", ["runs"]),
        ("pause missing.csv", []),
        ("restore last --except missing.csv --yes", []),
    ],
)
def test_a_wrong_line_leads_to_one_that_works(desk: Desk, words: str, named: list[str]) -> None:
    """Help, or the list of runs; nobody is told that campaigns are dialling."""
    desk.configure("http://127.0.0.1:9")
    said = desk.run(words)

    assert said.code == 2, said.text
    assert "dialling" not in said.text
    assert ".." not in said.text.replace("missing.csv", "")
    for one in said.commands:
        assert desk.paste(one).code == (2 if "LIST" in one else 0), one


# -- how it was called ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["./do", "do by its path", "installed", "on the PATH"])
def test_the_printed_line_is_called_as_the_first_was(desk: Desk, way: str) -> None:
    """A clone's ./do there and from elsewhere, an installed command by its path and its name."""
    scripts = Path(sys.executable).parent
    if "do" in way and not (scripts.parent / ".ready").exists():
        pytest.skip("these tests do not run in the environment of ./do")
    elsewhere = [one for one in os.environ["PATH"].split(":") if one != str(scripts)]
    python = {"PYTHON": os.environ["PYTHON"]} if "PYTHON" in os.environ else {}
    desk.environ = {"PATH": ":".join(elsewhere), **python}
    match way:
        case "./do":
            desk.program, desk.cwd = "./do orchestrator", ROOT
        case "do by its path":
            desk.program = f"{shlex.quote(str(ROOT / 'do'))} orchestrator"
        case "installed":
            desk.program = shlex.quote(str(scripts / "orchestrator"))
        case _:
            desk.program = "orchestrator"
            desk.environ = {"PATH": ":".join([str(scripts), *elsewhere])}
    with served(a_scenario(fault=BUSY)) as server:
        desk.configure(server.base_url)
        said = desk.run(f"pause {desk.list_of(1, 2)}")
        assert said.code == 1, said.text
        assert said.commands[0].startswith(f"{desk.program} pause ")

        again = desk.paste(said.commands[0])

    assert again.code == 1, again.text


# -- what the scenarios need ---------------------------------------------------------------------


def until_stuck(server: Simulator) -> None:
    """Wait until the PUT that will not be answered has arrived."""
    until_s = time.monotonic() + 20
    while not server.ledger.puts(STUBBORN):
        assert time.monotonic() < until_s
        time.sleep(0.02)


@contextmanager
def tls_server(authority: trustme.CA) -> Iterator[int]:
    """Shakes hands with whoever trusts it, and hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    # closed here too: one that has gone already is never wrapped
                    with suppress(OSError), connection:
                        context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)
