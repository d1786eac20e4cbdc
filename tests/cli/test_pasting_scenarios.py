"""Every command that a stop prints is pasted into a shell, one ending for each place that says one.

The settings are in a directory with a space in its name, and nothing is in the environment: what a
command lacks when it is pasted shows itself as a usage error. What a test does not paste itself,
the desk pastes at its end (tests/cli/desk.py); `promised` says how that may end.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from orchestrator.simulator.faults import HANG, LIE, FaultPlan, Outage, with_codes
from orchestrator.simulator.scenarios import DRILL_VDN, SECRET_KEY
from tests.cli.desk import STUBBORN, Desk, a_scenario, names
from tests.cli.makers import ROOT

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

BUSY = with_codes("0200006")
EMERGENCY = f"pause-all --vdn {DRILL_VDN} --yes"
#: a file that grows beyond 100 KiB is refused, as on a full disk
SMALL_DISK = "ulimit -f 200; "


# -- lists ---------------------------------------------------------------------------------------


def test_what_failed_is_tried_again_and_nothing_else(desk: Desk) -> None:
    """The list of failures, its path quoted: one row, one more attempt."""
    server = desk.serve(a_scenario(fault=BUSY))
    said = desk.run(f"pause {desk.list_of(1, 2, 3)} --no-verify")
    assert (said.code, names(said.commands)) == (1, ["pause"]), said.text
    puts = server.ledger.puts[STUBBORN]

    again = desk.paste(said.commands[0])

    assert (again.code, names(again.commands)) == (1, ["pause"]), again.text
    assert "1 line: 0 stopped" in again.text
    assert server.ledger.puts[STUBBORN] > puts
    assert not (desk.folder / "failed.csv").exists()


def test_a_list_that_ran_out_of_time_is_continued(desk: Desk) -> None:
    """--deadline 0: nothing is attempted, then all of it."""
    desk.serve()
    said = desk.run(f"pause {desk.list_of(1, 2, 3)} --deadline 0")
    assert (said.code, names(said.commands)) == (1, ["continue"]), said.text

    again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert "3 stopped" in again.text


def test_refused_credentials_are_named_and_the_run_continued(desk: Desk) -> None:
    """Where the key is from; with the right one the printed line finishes the work."""
    desk.serve()
    (desk.folder / "my files" / "sk").write_text("another-secret-key")
    said = desk.run(f"pause {desk.list_of(1, 2)}")
    assert said.code == 3, said.text
    assert names(said.commands) == ["continue"]
    assert "my files/sk" in said.text
    (desk.folder / "my files" / "sk").write_text(SECRET_KEY)
    desk.promised = {"continue": {0}}


@pytest.mark.parametrize("how", ["away", "failing"])
def test_a_server_that_is_away_leads_to_a_check_and_on(desk: Desk, how: str) -> None:
    """Nobody listens, or it takes nothing; the printed lines find that out again."""
    server = desk.serve()
    if how == "away":
        desk.configure("http://127.0.0.1:9")
    else:
        server.handler.faults = FaultPlan(outages=(Outage(BUSY),))
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

        assert names(said.commands) == ["continue", "init"], said.text

        again = desk.paste(f"{said.commands[0]} --ca-file ca.pem")

        # at a terminal `init` shows the certificate and asks; no is an answer
        desk.answers |= {"https://HOST:28080": "", "Is this the server's certificate?": "n"}
        desk.promised = {"continue": {4}, "check": {4}, "init": {7}}
        desk.finish()
    assert again.code == 4, again.text
    assert "is not trusted" in said.text
    # but for how the run before it had ended
    assert "is not trusted" not in again.text.partition(" continuing run ")[2].partition("\n")[2]


@pytest.mark.parametrize("words", ["pause 'my list.csv'", EMERGENCY])
def test_a_disk_that_is_full_again_later_lets_the_run_be_finished(desk: Desk, words: str) -> None:
    """No byte more for the journal: exit 5; with room the printed lines finish the work."""
    desk.list_of(*range(1, 301))
    desk.serve(a_scenario(size=300))
    said = desk.paste(f"{SMALL_DISK}{desk.program} {words} {desk.connection}")
    assert said.code == 5, said.text[-2000:]
    assert said.commands or "is quiet" in said.text, said.text[-2000:]
    desk.promised = {"continue": {0}}


@pytest.mark.parametrize(
    ("words", "content", "code", "fits"),
    [
        ("pause list.csv --skip-invalid", "1234,1\n1234,x\n", 1, ""),
        ("pause list.csv", "1234,1\n1234,x\n", 2, "--skip-invalid"),
        ("pause list.csv", '[{"vdn_id": 1234, "campaign_id": 1}]', 2, "--format json"),
        ("pause list.csv", "1\n2\n", 2, "--vdn 1234"),
        ("pause list.csv --max-campaigns 1", "1234,1\n1234,2\n", 7, "--max-campaigns 2"),
        ("pause list.csv --rate 200 --dry-run", "1234,1\n1234,2\n", 0, ""),
        ("pause", "", 2, ""),
        ("pause .", "", 2, ""),
    ],
)
def test_a_list_that_is_refused_says_what_lets_it_pass(
    desk: Desk, words: str, content: str, code: int, fits: str
) -> None:
    """The flag that the hint names, with its value, makes the same line work."""
    (desk.folder / "list.csv").write_text(content)
    desk.serve()
    said = desk.run(words)
    assert said.code == code, said.text
    if not fits:
        return
    assert fits.split(maxsplit=1)[0] in said.text

    changed = desk.run(f"{words.partition(' --')[0]} {fits}")

    assert changed.code == (1 if "skip" in fits else 0), changed.text


def test_a_list_that_nobody_types_is_piped_in(desk: Desk) -> None:
    """Stdin is a terminal: the printed pipe works with whatever makes the list in front of it."""
    desk.serve()
    desk.filled["…"] = "printf '1234,1\\n'"

    said = desk.run("pause - --format csv", terminal=True)

    assert (said.code, names(said.commands)) == (2, ["pause"]), said.text
    desk.promised = {"pause": {0}}


def test_a_directory_of_another_night_leads_to_its_report(desk: Desk) -> None:
    """The same list in the same directory, 13 hours later: refused, and the old result is shown."""
    desk.serve()
    line = f"pause {desk.list_of(1)} --run-dir night"
    assert desk.run(line).code == 0
    assert desk.run(line).code == 0
    desk.wait_hours(13)

    said = desk.run(line)

    assert (said.code, names(said.commands)) == (7, ["report"]), said.text
    assert desk.run(line.replace("night", "'night {date}'")).code == 0
    desk.promised = {"report": {0}}


# -- emergencies -----------------------------------------------------------------------------------


def test_an_interrupted_emergency_is_continued(desk: Desk) -> None:
    """Not begun a second time: the same run ends quiet."""
    server = desk.serve(a_scenario(fault=HANG))
    said = desk.interrupt(EMERGENCY, server, signal.SIGTERM)
    assert (said.code, names(said.commands)) == (143, ["continue"]), said.text
    server.handler.faults = FaultPlan()

    again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert "is quiet" in again.text
    assert len(desk.run_names) == 1


def test_an_emergency_that_was_left_at_once_is_continued(desk: Desk) -> None:
    """Ctrl-C twice: the last words name the line that finishes it."""
    server = desk.serve(a_scenario(fault=HANG))
    said = desk.interrupt(EMERGENCY, server, signal.SIGINT, signal.SIGINT)
    assert (said.code, names(said.commands)) == (130, ["continue"]), said.text
    server.handler.faults = FaultPlan()
    desk.promised = {"continue": {0}}


def test_an_emergency_without_a_journal_is_begun_anew(desk: Desk) -> None:
    """No byte for it on the disk, and not quiet: there is no run to continue; the VDN again."""
    server = desk.serve(a_scenario(fault=LIE))
    line = f"{desk.program} {EMERGENCY} --deadline 4 {desk.connection}"
    said = desk.paste(f"ulimit -f 20; {line}")
    assert said.code in {5, 6}, said.text
    assert names(said.commands) == ["pause-all"], said.text
    server.handler.faults = FaultPlan()
    desk.promised = {"pause-all": {0}}


def test_a_run_that_nobody_confirmed_asks_again(desk: Desk) -> None:
    """Killed at the question: `continue` of it names the emergency itself."""
    server = desk.serve()
    desk.answers = {}
    process, terminal = desk.at_a_question(f"pause-all --vdn {DRILL_VDN}")
    process.kill()
    process.wait()
    os.close(terminal)
    desk.answers = {"press Enter: ": str(DRILL_VDN)}

    passed_over = desk.run("continue last")
    said = desk.run(f"continue {desk.run_names[0]}")

    assert passed_over.code == 2, passed_over.text
    assert (said.code, names(said.commands)) == (7, ["pause-all"]), said.text
    assert not server.ledger.puts
    desk.promised = {"pause-all": {0}}


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
    desk.serve()
    said = desk.run(f"pause {desk.list_of(1, 2)} --deadline 0")
    wrong = desk.run("continue nothing")
    assert (said.code, wrong.code) == (1, 2), said.text
    assert said.commands[0].startswith(f"{desk.program} continue ")
    assert wrong.commands[0].startswith(f"{desk.program} runs ")

    assert desk.paste(said.commands[0]).code == 0


# -- what the scenarios need ---------------------------------------------------------------------


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
