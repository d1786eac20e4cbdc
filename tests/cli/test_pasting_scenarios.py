"""Every command that a stop prints is pasted into a shell, from many endings of real runs.

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

from orchestrator.simulator.faults import FORBIDDEN, HANG, LIE, FaultPlan, Outage, with_codes
from orchestrator.simulator.lies import with_lies
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.scenarios import DRILL_VDN, SECRET_KEY
from orchestrator.simulator.world import Drift
from tests.cli.desk import STUBBORN, Desk, a_scenario, names
from tests.cli.makers import ROOT

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

BUSY = with_codes("0200006")
DENIED = FaultPlan(outages=(Outage(FORBIDDEN),))
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


@pytest.mark.parametrize("words", ["--vdn 1234 --format csv", "--vdn 1234 --run-dir 'a run'"])
def test_a_list_of_bare_ids_is_tried_again_as_the_rows_that_failed(desk: Desk, words: str) -> None:
    """failed.csv has a VDN column, and --vdn is repeated beside it."""
    server = desk.serve(a_scenario(fault=BUSY))
    (desk.folder / "ids.txt").write_text("1\n2\n")
    said = desk.run(f"pause ids.txt --no-verify {words}")
    assert (said.code, names(said.commands)) == (1, ["pause"]), said.text
    server.handler.faults = FaultPlan()

    again = desk.paste(said.commands[0])

    assert again.code == 0, again.text


def test_what_is_not_there_is_not_tried_again(desk: Desk) -> None:
    """not_found, and all stopped: nothing to do, no command, no list of failures where none is."""
    desk.serve()
    stopped = desk.run(f"pause {desk.list_of(1, 2)} --run-dir all")
    missing = desk.run(f"pause {desk.list_of(1, 999)}")

    assert (stopped.code, stopped.commands) == (0, []), stopped.text
    assert (missing.code, missing.commands) == (1, []), missing.text
    assert not (desk.folder / "all" / "failed.csv").exists()


def test_a_list_that_ran_out_of_time_is_continued(desk: Desk) -> None:
    """--deadline 0: nothing is attempted, then all of it."""
    desk.serve()
    said = desk.run(f"pause {desk.list_of(1, 2, 3)} --deadline 0")
    assert (said.code, names(said.commands)) == (1, ["continue"]), said.text

    again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert "3 stopped" in again.text


@pytest.mark.parametrize("signals", [(signal.SIGTERM,), (signal.SIGINT, signal.SIGINT)])
def test_an_interrupted_list_is_continued(desk: Desk, signals: tuple[int, ...]) -> None:
    """Once, and twice in a row: the line that is printed finishes it."""
    server = desk.serve(a_scenario(fault=HANG))
    said = desk.interrupt(f"pause {desk.list_of(1, 2, 3)}", server, *signals)
    assert names(said.commands) == ["continue"], said.text
    server.handler.faults = FaultPlan()

    again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert "3 lines: 3 stopped" in again.text


def test_refused_credentials_lead_to_a_check_and_on(desk: Desk) -> None:
    """The printed check names a VDN; both reach the server with the key that was given."""
    desk.serve()
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


@pytest.mark.parametrize("words", [EMERGENCY, "pause 'my list.csv'"])
def test_a_key_that_may_not_pause_is_asked_about_and_the_run_continued(
    desk: Desk, words: str
) -> None:
    """403 to everything, then the right is granted: the printed lines finish the work."""
    desk.list_of(1, 2)
    server = desk.serve()
    server.handler.faults = DENIED
    said = desk.run(words)
    assert said.code == 3, said.text
    assert names(said.commands)[-1] == "continue"
    server.handler.faults = FaultPlan()
    desk.promised = {"continue": {0}}


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


def test_too_many_failures_are_looked_at_and_the_run_continued(desk: Desk) -> None:
    """--max-failures 1: the list of failures is there, and `continue` does the rest."""
    desk.serve(a_scenario(size=40))
    listed = desk.list_of(*range(901, 905), *range(1, 41))
    said = desk.run(f"pause {listed} --max-failures 2 --concurrency 1 --no-verify")
    assert said.code == 4, said.text
    assert set(names(said.commands)) == {"continue"}
    (failures,) = desk.state.glob("*/failed.csv")
    assert f"look at {failures}" in said.text.replace("'", "")
    desk.promised = {"continue": {1, 4}}


def test_a_pause_without_effect_leads_on(desk: Desk) -> None:
    """Accepted and still running: the printed line tries that campaign again."""
    server = desk.serve(a_scenario(fault=LIE))
    said = desk.run(f"pause {desk.list_of(1, 2)} --deadline 6")
    assert said.code == 1, said.text
    assert "still running" in said.text, said.text
    server.handler.faults = FaultPlan()
    desk.promised = {"pause": {0}, "continue": {0, 1}}
    assert said.commands, said.text


def test_a_list_whose_looks_fail_is_continued(desk: Desk) -> None:
    """Listings and details fail from the first on: `continue` finds out, and finishes."""
    server = desk.serve()
    server.handler.faults = FaultPlan(
        outages=(Outage(BUSY, kinds=frozenset({Kind.LIST, Kind.DETAILS})),)
    )
    said = desk.run(f"pause {desk.list_of(1, 2)} --deadline 5")
    assert names(said.commands) == ["continue"], said.text
    server.handler.faults = FaultPlan()
    desk.promised = {"continue": {0}}


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


def test_a_mistyped_vdn_is_never_repeated(desk: Desk) -> None:
    """It has no campaigns: check the number, no command."""
    desk.serve()
    said = desk.run("pause-all --vdn 4321 --yes")

    assert (said.code, said.commands) == (6, []), said.text
    assert "check the VDN number" in said.text


def test_an_emergency_that_is_not_quiet_is_repeated_where_it_is_not(desk: Desk) -> None:
    """One campaign will not stop: the same VDN again, at a terminal, once the server is well."""
    server = desk.serve(a_scenario(fault=LIE))
    said = desk.run(f"{EMERGENCY} --deadline 5")
    assert said.code == 6, said.text
    assert said.commands
    server.handler.faults = FaultPlan()
    desk.promised = {"pause-all": {0}, "continue": {0}}


def test_an_emergency_without_a_journal_is_begun_anew(desk: Desk) -> None:
    """No byte for it on the disk, and not quiet: there is no run to continue; the VDN again."""
    server = desk.serve(a_scenario(fault=LIE))
    line = f"{desk.program} {EMERGENCY} --deadline 4 {desk.connection}"
    said = desk.paste(f"ulimit -f 20; {line}")
    assert said.code in {5, 6}, said.text
    assert names(said.commands) == ["pause-all"], said.text
    server.handler.faults = FaultPlan()
    desk.promised = {"pause-all": {0}}


def test_a_hold_that_is_broken_off_is_continued(desk: Desk) -> None:
    """Something starts while it watches, and a signal ends it."""
    scenario = a_scenario(fault=HANG)
    server = desk.serve(scenario)
    said = desk.interrupt(f"{EMERGENCY} --hold 2", server, signal.SIGTERM)
    server.handler.faults = FaultPlan()
    assert (said.code, names(said.commands)) == (143, ["continue"]), said.text
    desk.promised = {"continue": {0}}


def test_a_hold_in_which_something_starts_says_the_same_as_any_other(desk: Desk) -> None:
    """It is paused again, the VDN is quiet, and no command is left to paste."""
    scenario = a_scenario()
    scenario.world.will_happen(Drift(STUBBORN, after_pause_s=1.0, times=1))
    desk.serve(scenario)

    said = desk.run(f"{EMERGENCY} --hold 4")

    assert (said.code, said.commands) == (0, []), said.text


def test_listings_that_fail_are_asked_for_again(desk: Desk) -> None:
    """No proof without listings: the printed line proves it when they come."""
    server = desk.serve(with_lies(a_scenario(), "listings=500"))
    said = desk.run(f"{EMERGENCY} --deadline 3")
    assert said.code in {4, 6}, said.text
    assert said.commands, said.text
    server.handler.faults = FaultPlan()
    desk.promised = {"pause-all": {0}, "continue": {0}, "check": {0}}


def test_nobody_confirms_without_a_terminal(desk: Desk) -> None:
    """Exit 7; --yes, or the same line at a terminal, does it."""
    desk.serve()
    line = f"pause-all --vdn {DRILL_VDN}"
    refused = desk.run(line)
    assert refused.code == 7, refused.text
    assert refused.advised == ["--yes"]

    assert desk.run(line, terminal=True).code == 0
    assert desk.run(f"{line} --yes").code == 0


def test_a_run_that_nobody_confirmed_asks_again(desk: Desk) -> None:
    """Killed at the question: `continue` of it names the emergency itself."""
    desk.serve()
    desk.answers = {}
    process, terminal = desk.at_a_question(f"pause-all --vdn {DRILL_VDN}")
    process.kill()
    process.wait()
    os.close(terminal)
    desk.answers = {"press Enter: ": str(DRILL_VDN)}
    if not desk.state.is_dir() or not desk.run_names:
        pytest.skip("a question leaves no run behind")

    said = desk.run(f"continue {desk.run_names[0]}")

    assert (said.code, names(said.commands)) == (7, ["pause-all"]), said.text
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
