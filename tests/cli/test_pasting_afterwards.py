"""Every command that is printed before and after a stop is pasted into a shell (desk.py)."""

from __future__ import annotations

import json
import re
import shlex
import signal

import pytest

from orchestrator.cli.parser import Parser, find_command
from orchestrator.cli.table import COMMANDS, EXAMPLES
from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import HANG, FaultPlan, with_codes
from orchestrator.simulator.scenarios import ACCESS_KEY, DRILL_VDN, SECRET_KEY
from orchestrator.store.run_dir import HOLDER
from tests.cli.desk import MODULE, STUBBORN, Desk, a_scenario, alike, names, until_stuck
from tests.cli.printed import NOT_PASTED, REACHED, places

pytestmark = [pytest.mark.sockets, pytest.mark.slow]

BUSY = with_codes("0200006")
AWAY = "http://127.0.0.1:9"


# -- restore -------------------------------------------------------------------------------------


def test_a_restore_is_repeated_with_its_exceptions(desk: Desk) -> None:
    """Campaign 2 will not start, 3 is excluded: the printed line leaves 3 off again."""
    server = desk.serve()
    assert desk.run(f"pause {desk.list_of(1, 2, 3)} --no-verify").code == 0
    server.handler.faults = FaultPlan(always={STUBBORN: BUSY})
    guilty = desk.list_of(3)
    said = desk.run(f"restore last --yes --except {guilty}")
    assert (said.code, names(said.commands)) == (1, ["restore"]), said.text
    assert f"--except {guilty}" in said.commands[0]
    server.handler.faults = FaultPlan()

    desk.promised = {"restore": {0}}
    desk.finish()

    assert server.world.status_of(CampaignRef(DRILL_VDN, 2)) is Status.STARTED
    assert server.world.status_of(CampaignRef(DRILL_VDN, 3)) is Status.SUSPENDED


def test_another_run_that_stopped_more_is_shown_whatever_was_excepted(desk: Desk) -> None:
    """Two stops of one VDN: the exceptions of this restore are no flags for the other run."""
    desk.serve()
    assert desk.run(f"pause {desk.list_of(1, 2)} --no-verify").code == 0
    assert desk.run(f"pause {desk.list_of(3)} --no-verify").code == 0
    said = desk.run("restore last --yes --except 3")
    typed = desk.run(f"restore {desk.run_names[0]} --yes --except 1 --limit 1")

    assert said.code == 0, said.text
    assert typed.code == 0, typed.text
    assert "--dry-run" in said.commands[0], said.text
    desk.promised = {"restore": {0}}


def test_a_restore_that_was_killed_asks_for_a_look(desk: Desk) -> None:
    """Killed with a PUT in flight: what is not known is left off, until somebody has looked."""
    server = desk.serve()
    assert desk.run(f"pause {desk.list_of(1, 2)} --no-verify").code == 0
    puts = server.ledger.puts[STUBBORN]
    server.handler.faults = FaultPlan(always={STUBBORN: HANG})
    process = desk.begin(f"{MODULE} restore last --yes {desk.connection}")
    until_stuck(server, more_than=puts)
    process.kill()
    process.communicate()
    said = desk.run(f"restore {desk.run_names[0]} --yes")
    server.handler.faults = FaultPlan()
    assert said.code == 1, said.text
    assert "--include-inferred" in said.text, said.text
    desk.promised = {"restore": {0}}


def test_a_restore_that_was_overtaken_by_a_stop_is_asked_for_anew(desk: Desk) -> None:
    """Interrupted, and somebody stops the VDN: `continue` is refused, `restore` asks."""
    server = desk.serve()
    assert desk.run(f"pause {desk.list_of(1, 2)} --no-verify").code == 0
    server.handler.faults = FaultPlan(always={STUBBORN: HANG})
    puts = server.ledger.puts[STUBBORN]
    process = desk.begin(f"{MODULE} restore last --yes {desk.connection}")
    until_stuck(server, more_than=puts)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    server.handler.faults = FaultPlan()
    assert desk.run(f"pause {desk.list_of(1, 2, 3)} --no-verify").code == 0

    refused = desk.run(f"continue {desk.run_names[1]}")

    assert (refused.code, names(refused.commands)) == (7, ["restore"]), refused.text
    desk.promised = {"restore": {0, 1}}


def test_a_stop_that_was_restored_since_is_asked_for_anew(desk: Desk) -> None:
    """Interrupted and restored: `continue` is refused, `pause-all` lists what runs, and asks."""
    server = desk.serve()
    server.handler.faults = FaultPlan(always={STUBBORN: HANG})
    puts = server.ledger.puts[STUBBORN]
    process = desk.begin(f"{MODULE} pause-all --vdn {DRILL_VDN} --yes {desk.connection}")
    until_stuck(server, more_than=puts)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    server.handler.faults = FaultPlan()
    assert desk.run("restore last --only 1 --yes").code == 0

    refused = desk.run(f"continue {desk.run_names[0]}")

    assert (refused.code, names(refused.commands)) == (7, ["pause-all"]), refused.text
    assert desk.run("continue last").code == 2
    again = desk.paste(refused.commands[0], terminal=True)
    assert again.code == 0, again.text


def test_what_cannot_be_undone_leads_to_the_list_of_runs(desk: Desk) -> None:
    """A restore and a dry run: the list shows what can."""
    desk.serve()
    assert desk.run(f"pause {desk.list_of(1)} --no-verify --run-dir one").code == 0
    assert desk.run("restore one --yes --run-dir two").code == 0
    assert desk.run(f"pause {desk.list_of(1)} --dry-run --run-dir three").code == 0

    for name in ("two", "three"):
        said = desk.run(f"restore {name} --yes")
        assert (said.code, names(said.commands)) == (2, ["runs"]), said.text
    assert desk.run("restore one").advised == ["--yes"]


def test_an_old_stop_leads_to_the_newer_one(desk: Desk) -> None:
    """Restored and stopped again: the first run leaves it alone, the second one starts it."""
    desk.serve()
    assert desk.run(f"pause {desk.list_of(1, 2)} --no-verify --run-dir one").code == 0
    assert desk.run("restore one --yes --run-dir two").code == 0
    assert desk.run(f"pause {desk.list_of(1, 2)} --no-verify --run-dir three").code == 0

    said = desk.run("restore one --dry-run")

    assert (said.code, names(said.commands)) == (0, ["restore"]), said.text
    desk.promised = {"restore": {0}}


def test_a_page_without_relatives_leads_to_the_list_of_runs(desk: Desk) -> None:
    """Nothing was restored or repeated: `--with last` has nothing to show."""
    desk.serve()
    assert desk.run(f"pause {desk.list_of(1)} --no-verify").code == 0

    said = desk.run("report last --with last --html page.html")

    assert (said.code, names(said.commands)) == (2, ["runs"]), said.text


# -- runs that somebody works on -----------------------------------------------------------------


def test_a_run_that_is_worked_on_can_be_ended(desk: Desk) -> None:
    """A second process is refused, and named is the command that ends the first."""
    server = desk.serve(a_scenario(fault=HANG))
    first = desk.begin(f"{MODULE} pause {desk.list_of(1, 2, 3)} {desk.connection}")
    until_stuck(server)
    (live,) = desk.run_names
    said = desk.run(f"continue {live}")  # `last` passes over what is worked on
    reported = desk.run("report last")
    assert desk.run("runs").code == 0
    stopped = desk.paste(said.commands[0])
    first.communicate(timeout=60)
    server.handler.faults = FaultPlan()

    assert stopped.code == 0, stopped.text
    assert (said.code, names(said.commands)) == (7, ["stop"]), said.text
    assert (reported.code, names(reported.commands)) == (7, ["runs"]), reported.text
    desk.promised = {"continue": {0}}


def test_a_run_that_does_not_end_at_once_is_looked_up(desk: Desk) -> None:
    """Suspended: the line that wakes it; slow: `runs`; elsewhere: `stop`, to be pasted there."""
    server = desk.serve(a_scenario(fault=HANG))
    first = desk.begin(f"{MODULE} pause {desk.list_of(1, 2, 3)} {desk.connection}")
    until_stuck(server)
    (holder,) = desk.state.glob(f"*/{HOLDER}")
    told = holder.read_text()
    holder.write_text(json.dumps({**json.loads(told), "host": "elsewhere"}))
    elsewhere = desk.run("stop last")
    desk.promised = {"stop": {7}}
    desk.finish()
    holder.write_text(told)
    desk.with_start(
        "from orchestrator.engine.stop_run import stop_run\n"
        "stop_run.__kwdefaults__['wait_s'] = 0.5\n"
    )
    first.send_signal(signal.SIGSTOP)
    frozen = desk.run("stop last")
    woken = desk.paste(re.findall(r"`(kill -CONT \d+)`", frozen.text)[0])
    slow = desk.run("stop last")
    first.communicate(timeout=60)

    assert (elsewhere.code, names(elsewhere.commands)) == (7, ["stop"]), elsewhere.text
    assert (frozen.code, woken.code) == (1, 0), frozen.text
    assert (slow.code, names(slow.commands)) == (1, ["runs"]), slow.text


def test_a_run_that_nobody_works_on_is_not_stopped_but_finished_or_shown(desk: Desk) -> None:
    """Killed: `continue`; ended: `report`; a VDN is no run: the emergency."""
    server = desk.serve(a_scenario(fault=HANG))
    first = desk.begin(f"{MODULE} pause {desk.list_of(1, 2, 3)} {desk.connection}")
    until_stuck(server)
    first.kill()
    first.communicate()
    server.handler.faults = FaultPlan()
    (run,) = desk.run_names

    killed = desk.run(f"stop {run}")
    assert (killed.code, names(killed.commands)) == (7, ["continue"]), killed.text
    assert desk.paste(killed.commands[0]).code == 0
    ended = desk.run(f"stop {run}")
    assert (ended.code, names(ended.commands)) == (7, ["report"]), ended.text
    nothing = desk.run("stop last")
    assert (nothing.code, names(nothing.commands)) == (2, ["runs"]), nothing.text
    vdn = desk.run(f"stop {DRILL_VDN}")
    assert (vdn.code, names(vdn.commands)) == (2, ["pause-all"]), vdn.text
    desk.promised = {"report": {0}, "pause-all": {0}}


# -- what reads ----------------------------------------------------------------------------------


def test_a_report_that_cannot_be_written_is_made_again(desk: Desk) -> None:
    """A directory in the way: `report` of that very run, once it is gone."""
    desk.serve()
    assert desk.run(f"pause {desk.list_of(1)} --run-dir 'a run' --no-verify").code == 0
    results = desk.folder / "a run" / "results.csv"
    results.unlink()
    results.mkdir()
    said = desk.run("report 'a run/'")
    assert (said.code, names(said.commands)) == (5, ["report"]), said.text
    results.rmdir()

    again = desk.paste(said.commands[0])

    assert again.code == 0, again.text
    assert results.is_file()


def test_the_morning_after_is_read_without_a_command_that_does_not_work(desk: Desk) -> None:
    """`runs`, `note`, `report` with page and workbook, `status`, `check`, `runs --prune`."""
    desk.serve()
    assert desk.run(f"pause {desk.list_of(1, 999)} --no-verify").code == 1
    first = desk.run_names[0]
    assert desk.run("restore last --yes").code == 0
    assert desk.run("pause-all --vdn 1234 --yes --dry-run").code == 0
    assert desk.run(f"pause-all --vdn {DRILL_VDN} --yes").code == 0
    codes = {
        line: desk.run(line).code
        for line in (
            "runs --all",
            "runs --prune --older-than 1",
            "note last 'ticket 4711'",
            f"report {first} --html page.html --with last",
            f"status --vdn {DRILL_VDN}",
            f"status --vdn {DRILL_VDN} --prove",
            f"check --vdn {DRILL_VDN}",
            "check",
            "config show",
            "restore last --dry-run",
        )
    }
    assert codes.pop("check") == 1
    assert codes.pop(f"report {first} --html page.html --with last") == 1
    assert set(codes.values()) == {0}, codes
    assert (desk.folder / "page.html").is_file()
    desk.promised = {"pause": {1}, "status": {0}, "restore": {0}}
    desk.finish()
    desk.wait_hours(48)
    assert desk.run("runs --prune --older-than 1").code == 0
    old = desk.run("restore last --yes")
    assert (old.code, old.advised) == (7, ["--even-if-old"]), old.text
    assert desk.run("restore last --dry-run --even-if-old").code == 0


def test_a_status_that_is_not_quiet_or_cannot_be_read_leads_on(desk: Desk) -> None:
    """Something runs: exit 6; the server is away: the check that is named says why."""
    server = desk.serve()
    running = desk.run(f"status --vdn {DRILL_VDN} --prove")
    assert running.code == 6, running.text
    unnamed = desk.run("status")
    assert (unnamed.code, names(unnamed.commands)) == (2, ["status"]), unnamed.text
    desk.configure(AWAY)
    away = desk.run(f"status --vdn {DRILL_VDN}")
    assert (away.code, names(away.commands)) == (4, ["check"]), away.text
    assert desk.paste(away.commands[0]).code == 4
    desk.configure(server.base_url)
    desk.promised = {"status": {0}, "pause-all": {0}}


# -- wrong lines ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("pause x.csv --frobnicate", ["--help"]),
        ("pause --list x.csv", ["pause", "--help"]),
        ("resum last", ["--help"]),
        ("undo last", ["--help"]),
        ("version", ["--version", "--help"]),
        ("restore 0bad --yes", ["runs"]),
        ("report 0bad", ["runs"]),
    ],
)
def test_a_wrong_line_leads_to_one_that_works(desk: Desk, words: str, named: list[str]) -> None:
    """Help, or the list of runs; nobody is told that campaigns are dialling."""
    desk.configure(AWAY)
    desk.filled["LIST"] = desk.list_of(1)
    desk.promised = {"pause": {4}, "continue": {4}, "check": {4}}

    said = desk.run(words)

    assert said.code == 2, said.text
    assert names(said.commands) == named, said.text
    assert "dialling" not in said.text
    assert ".." not in said.text.replace("missing.csv", "")


def test_a_bug_is_followed_by_the_runs_that_are_on_record(desk: Desk) -> None:
    """Something that nobody foresaw, and too little memory: `runs` works all the same."""
    desk.configure(AWAY)
    for trouble in ("RuntimeError('never')", "MemoryError()"):
        desk.with_start(
            "import sys\nif 'note' in sys.argv:\n"
            "    import orchestrator.cli.runner as runner\n"
            f"    def fail(given, **how): raise {trouble}\n"
            "    runner.load = fail\n"
        )
        said = desk.run("note last x")
        assert (said.code, names(said.commands)) == (70 if "never" in trouble else 5, ["runs"])


# -- the first minute ----------------------------------------------------------------------------


def test_a_newcomer_is_led_to_init_and_to_the_emergency(desk: Desk) -> None:
    """No server: `init`, at a terminal or with all its flags; its last line stops a VDN."""
    server = desk.serve()
    desk.connection = ""
    key = "'my files/sk'"
    said = desk.run(f"pause-all --vdn {DRILL_VDN} --yes")
    assert (said.code, names(said.commands)) == (2, ["init"]), said.text
    assert {"--base-url", "--access-key"} <= set(said.advised)
    desk.answers |= {
        "https://HOST:28080": server.base_url,
        "Name of the server": "",
        "Access key": ACCESS_KEY,
        "Secret key (SK)": SECRET_KEY,
        "Who is at work": "",
        "Directory of the runs": "",
        "VDNs that matter": str(DRILL_VDN),
    }
    lacking = desk.run("init --yes")
    assert (lacking.code, names(lacking.commands)) == (2, ["init"]), lacking.text
    named = desk.run("check --config uk")
    assert (named.code, names(named.commands)) == (2, ["init"]), named.text
    flags = f"--base-url {server.base_url} --access-key {ACCESS_KEY} --secret-key-file {key}"
    ready = desk.run(f"init --yes --config test {flags} --vdn {DRILL_VDN}")
    assert ready.code == 0, ready.text

    again = desk.paste(ready.commands[-1], terminal=True)

    assert again.code == 0, again.text
    desk.promised = {"init": {0}, "pause-all": {0}}


def test_the_simulator_and_the_demo_say_what_works(desk: Desk) -> None:
    """What `simulate` prints is typed in another terminal; what `demo` says is what it runs."""
    process = desk.begin(f"{MODULE} simulate --port 0")
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or "pause-all" not in lines[-1]:
        lines.append(process.stdout.readline())
    exports = re.findall(r"export (\w+)=(\S+)", "".join(lines))
    desk.hear(f"{MODULE} simulate --port 0", 0, "".join(lines))
    desk.environ = {**desk.environ, **dict(exports)}
    desk.promised = {"pause-all": {0}}
    desk.finish()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)

    demo = desk.paste(f"{MODULE} demo")

    assert demo.code == 0, demo.text
    assert f"`{MODULE} pause " in demo.text
    # its server is gone by now; it says what it does, and advises nothing
    desk.tried.update(map(alike, demo.commands))


# -- nothing escapes -----------------------------------------------------------------------------


def test_every_place_that_names_a_command_has_a_scenario() -> None:
    """A new message that names a command needs a scenario that prints it: add it to printed.py."""
    ours = {one for one in places() if not one.startswith(("cli/table: ", "cli/flags: "))}

    assert ours == set(REACHED) | set(NOT_PASTED)


def test_every_example_in_a_help_text_can_be_read() -> None:
    """Not run, but no flag of it is unknown or lacks its value."""
    examples = [*EXAMPLES, *(one for command in COMMANDS.values() for one in command.examples)]
    for example in examples:
        words = re.split(r"\borchestrator ", example.partition(" > ")[0])[-1]
        name, rest = find_command(shlex.split(words))
        Parser(name).read(rest)
