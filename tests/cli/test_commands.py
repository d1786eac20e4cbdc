"""The commands in this process, against the simulator on a real socket."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.main import main
from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import FaultPlan, Outage, with_http
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.scenarios import DRILL_VDN, SECRET_KEY
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.signature import Form
from tests.cli.makers import FAST, puts, write_list

pytestmark = pytest.mark.sockets


def test_pause_prints_the_unstopped_and_the_verdict_last(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two pause, one is unknown: exit 1; results on stdout, the rest on stderr."""
    code = main(["pause", str(write_list(workplace, 1234001, 1234002, 99)), *FAST])

    out, err = capsys.readouterr()
    assert code == 1
    unstopped, verdict = out.splitlines()
    assert unstopped.startswith("VDN 1234 campaign 99: not found")
    assert verdict.startswith("3 lines: 2 stopped (2 paused), 1 not stopped: 1 not found")
    assert "report: " in err
    assert simulator.world.status_of(CampaignRef(DRILL_VDN, 1234001)) is Status.SUSPENDED


def test_json_is_one_line_and_carries_the_run_directory(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of the table: the summary and `run_dir`; with -q nothing else."""
    code = main(["pause", str(write_list(workplace, 1234001)), "--json", "-q", *FAST])

    out, err = capsys.readouterr()
    assert err == ""
    document = json.loads(out)
    assert code == document["exit_code"] == 0
    assert out.count("\n") == 1
    assert document["counts"] == {"paused": 1}
    assert document["run_dir"].startswith(str(workplace))


def test_a_dry_run_needs_no_server_and_sends_nothing(
    simulator: Simulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """No credentials, exit 0, rows `planned`."""
    for name in ("BASE_URL", "ACCESS_KEY", "SECRET_KEY"):
        monkeypatch.delenv(f"ORCHESTRATOR_{name}")

    code = main(["pause", str(write_list(workplace, 1234001)), "--dry-run", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert (code, document["verdict"], document["counts"]) == (0, "planned", {"planned": 1})
    assert simulator.ledger.total == 0


def test_a_bad_list_is_refused_with_every_problem(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two bad lines: both named with line and reason, exit 2, no request."""
    code = main(["pause", str(write_list(workplace, 1234001, "1e5", "x"))])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "2 unusable entries. Nothing was sent." in err
    assert "campaigns.csv:3: " in err
    assert "campaigns.csv:4: " in err
    assert simulator.ledger.total == 0


def test_verbose_logs_events_as_json_and_never_the_secret(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """-vv --debug --log-format json --log-file: every line is JSON, the secret is in none."""
    log = workplace / "run.log"
    line = ["pause", str(write_list(workplace, 1234001)), "-vv", "--debug", *FAST]

    code = main([*line, "--log-format", "json", "--log-file", str(log)])

    events = [json.loads(one) for one in log.read_text(encoding="utf-8").splitlines()]
    assert code == 0
    assert any(event["event"] == "campaign.settled" for event in events)
    everything = log.read_text() + "".join(capsys.readouterr())
    assert SECRET_KEY not in everything


@pytest.mark.parametrize(("volume", "debug"), [("", False), ("-q", False), ("-vv", True)])
def test_a_log_file_holds_info_events_whatever_is_shown(
    simulator: Simulator, workplace: Path, volume: str, *, debug: bool
) -> None:
    """Without a flag, with -q, and with -vv, which adds debug events."""
    log = workplace / "run.log"
    line = ["pause", str(write_list(workplace, 1234001)), *FAST, *([volume] if volume else [])]

    assert main([*line, "--log-format", "json", "--log-file", str(log)]) == 0

    events = [json.loads(one) for one in log.read_text(encoding="utf-8").splitlines()]
    assert {"campaign.settled"} <= {event["event"] for event in events}
    assert ("debug" in {event["level"] for event in events}) <= debug


@pytest.mark.parametrize(
    ("log", "why"), [("missing/run.log", ""), ("link", "it is a symbolic link")]
)
def test_a_log_file_that_cannot_be_written_is_one_warning(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str], log: str, why: str
) -> None:
    """Pausing goes on, the exit code is the run's [P34]; a link is called one."""
    (workplace / "link").symlink_to(workplace / "elsewhere.log")
    line = ["pause", str(write_list(workplace, 1234001)), *FAST]

    assert main([*line, "--log-file", str(workplace / log)]) == 0

    err = capsys.readouterr().err
    assert err.count("warning: ") == 1
    assert why in err


def test_a_run_is_listed_told_again_and_continued_without_a_request(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`runs`, `report last`, `continue ID`: the same verdict line, nothing sent."""
    main(["pause", str(write_list(workplace, 1234001)), "--reason", "wrong list", *FAST])
    line = capsys.readouterr().out
    sent = simulator.ledger.total

    assert main(["report", "last"]) == 0
    told_again = capsys.readouterr()
    assert told_again.out == line
    assert main(["runs"]) == 0
    table = capsys.readouterr().out
    assert re.search(r" pause +1234 .* complete +0 +1 paused +wrong list$", table, re.MULTILINE)
    assert main(["runs", "--json", "--vdn", "1234", "--limit", "1"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["action"], told["verdict"], told["live"]) == ("pause", "complete", False)
    assert (told["vdns"], told["exit_code"], told["reason"]) == ([1234], 0, "wrong list")
    started = told["started_at"][11:16]
    assert f"last: run {told['run_id']} (pause, VDN 1234, {started}Z)\n" in told_again.err
    assert main(["continue", told["run_id"]]) == 0
    assert capsys.readouterr().out == line
    assert main(["continue", "last"]) == 2
    assert "there is no unfinished run that nobody works on" in capsys.readouterr().err
    assert simulator.ledger.total == sent


def test_the_nights_run_is_found_wherever_its_directory_lies(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--run-dir`, then a rehearsal: `last`, the id and `runs` lead to the night's run."""
    night = workplace / "spool" / "nightly"
    line = ["pause", str(write_list(workplace, 1234001)), "--json", *FAST]
    main([*line, "--run-dir", str(night)])
    run_id = json.loads(capsys.readouterr().out)["run_id"]
    main([*line, "--dry-run"])
    capsys.readouterr()

    for run in ("last", run_id, run_id[-7:]):
        assert main(["report", run, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["run_dir"] == str(night)
    main(["runs"])
    shown = capsys.readouterr().out
    assert run_id in shown
    assert "planned" not in shown
    main(["runs", "--all"])
    assert "planned" in capsys.readouterr().out
    assert main(["restore", "last", "--yes", "--json", *FAST]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == {"restored": 1}


def test_a_result_that_is_shown_again_says_so(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scheduler sees by `replayed` whether this call did the work."""
    line = ["pause", str(write_list(workplace, 1234001)), "--json", *FAST]
    line += ["--run-dir", str(workplace / "nightly")]

    documents = []
    for _ in range(2):
        assert main(line) == 0
        documents.append(json.loads(capsys.readouterr().out))

    assert [document["replayed"] for document in documents] == [False, True]
    assert [list(document)[-1] for document in documents] == ["replayed"] * 2


def test_prune_shows_first_and_deletes_with_yes(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An old rehearsal goes, an old stop that nobody restored stays."""
    main(["pause", str(write_list(workplace, 1234001)), *FAST])
    main(["pause", str(write_list(workplace, 1234001)), "--dry-run", *FAST])
    folders = sorted((workplace / "state" / "runs").iterdir())
    for folder in folders:
        os.utime(folder / "journal.db", (1, 1))
    capsys.readouterr()
    line = ["runs", "--prune", "--older-than", "30"]

    assert main(line) == 0
    shown = capsys.readouterr().out
    assert main([*line, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert all(folder.exists() for folder in folders)
    assert main([*line, "--yes"]) == 0
    done = capsys.readouterr().out

    stop, rehearsal = folders
    assert f"to delete  {rehearsal.name}" in shown
    assert "would delete 1 run, last written to over 30 days ago; --yes deletes." in shown
    assert "1 stays: 1 campaign that it turned off was not restored" in shown
    assert [run["run_id"] for run in document["runs"]] == [rehearsal.name]
    assert [run["run_id"] for run in document["kept"]] == [stop.name]
    assert (document["deleted"], f"deleted  {rehearsal.name}" in done) == (False, True)
    assert (stop.exists(), rehearsal.exists()) == (True, False)


def test_restore_starts_again_what_was_paused(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two were paused; the guilty one of --except stays off."""
    main(["pause", str(write_list(workplace, 1234001, 1234002)), *FAST])
    guilty = workplace / "guilty.csv"
    guilty.write_text("1234,1234002\n", encoding="utf-8")
    capsys.readouterr()

    code = main(["restore", "last", "--yes", "--except", str(guilty), "--json", *FAST])

    document = json.loads(capsys.readouterr().out)
    assert code == 0
    assert document["counts"] == {"restored": 1, "left_alone": 1}
    assert simulator.world.status_of(CampaignRef(DRILL_VDN, 1234001)) is Status.STARTED
    assert simulator.world.status_of(CampaignRef(DRILL_VDN, 1234002)) is Status.SUSPENDED


def test_pause_all_dry_run_needs_no_confirmation_and_changes_nothing(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would be paused is listed; not one PUT."""
    assert main(["pause-all", "--vdn", "1234", "--dry-run", *FAST]) == 0

    assert "would be paused" in capsys.readouterr().out
    assert puts(simulator) == 0


@pytest.mark.parametrize("variable", [None, "1"])
@pytest.mark.parametrize("words", [["pause-all", "--vdn", "1234"], ["restore", "last"]])
def test_without_a_terminal_and_without_yes_nothing_is_sent(
    words: list[str],
    variable: str | None,
    simulator: Simulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 7, not a single request, and ORCHESTRATOR_YES changes nothing [C13]."""
    if variable:
        monkeypatch.setenv("ORCHESTRATOR_YES", variable)
    if "restore" in words:
        main(["pause", str(write_list(workplace, 1234001)), *FAST])
        capsys.readouterr()
    sent = simulator.ledger.total

    code = main(words)

    out, err = capsys.readouterr()
    assert (code, out) == (7, "")
    assert "hint: add --yes" in err
    assert simulator.ledger.total == sent


def test_config_show_names_origins_and_masks_the_secret(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Flag before environment before default [C09]."""
    assert main(["config", "show", "--json", "--access-key", "AK2"]) == 0

    out = capsys.readouterr().out
    shown: dict[str, Any] = json.loads(out)
    assert shown["credentials.access_key"] == {"value": "AK2", "origin": "--access-key"}
    assert shown["server.base_url"]["origin"] == "ORCHESTRATOR_BASE_URL"
    assert shown["pace.rate_per_s"] == {"value": "10", "origin": "default"}
    assert shown["credentials.secret_key"]["value"] == "***"
    assert SECRET_KEY not in out


# -- check ------------------------------------------------------------------------------------


def test_check_says_that_an_emergency_would_work(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every step with time and verdict, how long a stop takes, and nothing but GETs."""
    monkeypatch.setenv("ORCHESTRATOR_RATE_PER_S", "50")

    code = main(["check", "--vdn", "1234"])

    out = capsys.readouterr().out
    assert code == 0
    assert out.endswith("An emergency would work now.\n")
    assert "campaigns at 50 requests/s: about 1 s" in out
    assert puts(simulator) == 0
    assert set(simulator.ledger.by_kind) <= {Kind.LIST, Kind.DETAILS}


@pytest.mark.parametrize(
    ("name", "value", "code", "step"),
    [
        ("ORCHESTRATOR_SECRET_KEY", "wrong", 3, "listing"),
        ("ORCHESTRATOR_SECRET_KEY", "", 2, "secret key"),
        ("ORCHESTRATOR_BASE_URL", "", 2, "settings"),
        ("ORCHESTRATOR_BASE_URL", "http://127.0.0.1:1", 4, "TCP"),
    ],
)
def test_check_exits_with_what_would_fail(
    name: str,
    value: str,
    code: int,
    step: str,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Settings 2, credentials 3, unreachable 4; the step is named."""
    monkeypatch.setenv("ORCHESTRATOR_RATE_PER_S", "50")
    monkeypatch.setenv(name, value)

    assert main(["check", "--vdn", "1234", "--json"]) == code

    document = json.loads(capsys.readouterr().out)
    failed = [one["name"] for one in document["steps"] if one["finding"] == "FAIL"]
    assert failed[0] == step
    assert document["exit_code"] == code


def test_check_of_an_empty_vdn_or_of_none_is_not_a_success(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped VDN proves nothing; without one the signature was not tried."""
    monkeypatch.setenv("ORCHESTRATOR_RATE_PER_S", "50")

    assert main(["check", "--vdn", "1243"]) == 1
    assert "is it the right one?" in capsys.readouterr().out
    assert main(["check"]) == 1
    assert "skipped: give --vdn N" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("server", "secret", "code", "said"),
    [
        pytest.param(
            {"blank_query_line": Form.KEEP},
            SECRET_KEY,
            0,
            r"set signing\.blank_query_line = true \(now false\)",
            id="switch A",
        ),
        pytest.param(
            {"millis": Form.KEEP},
            SECRET_KEY,
            0,
            r"set signing\.millis = true \(now false\)",
            id="switch B",
        ),
        pytest.param(
            {},
            "wrong",
            3,
            r"Host 127\.0\.0\.1:\d+.* must not drop or map the port in Host, nor strip a prefix",
            id="a proxy may be the cause of a 401",
        ),
        pytest.param(
            {"clock_offset_s": 3600.0},
            SECRET_KEY,
            0,
            r"WARN .* clock .* 3[56]\d\d s behind the server's",
            id="a clock an hour late",
        ),
    ],
)
def test_check_names_what_the_signature_lacks(
    server: dict[str, Any],
    secret: str,
    code: int,
    said: str,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The setting and its other value; what a proxy may have done; how far the clock is off."""
    monkeypatch.setenv("ORCHESTRATOR_RATE_PER_S", "50")
    monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY", secret)
    assert simulator.handler.signature is not None
    simulator.handler.signature = replace(simulator.handler.signature, **server)

    assert main(["check", "--vdn", "1234"]) == code
    assert re.search(said, capsys.readouterr().out, re.DOTALL)


def test_demo_adds_up_and_agrees_with_its_simulator(capsys: pytest.CaptureFixture[str]) -> None:
    """102 lines, faults and all; exit 0 although two campaigns do not exist."""
    assert main(["demo"]) == 0

    out = capsys.readouterr().out
    assert "102 lines, 102 rows: the rows add up." in out
    assert "it agrees with every row" in out
    assert "2 not stopped: 2 not found" in out


def test_the_simulator_asks_for_nothing_but_a_free_port(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """A port that is taken is said in two lines, exit 5."""
    code = main(["simulate", "--port", str(simulator.port)])

    assert code == 5
    assert "hint: choose another --port" in capsys.readouterr().err


def test_an_emergency_without_a_disk_never_says_that_nothing_was_sent(
    simulator: Simulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The state directory is a file: all is stopped, exit 5, and no report is pointed to."""
    (workplace / "file").write_text("")
    monkeypatch.setenv("ORCHESTRATOR_STATE_DIR", str(workplace / "file"))

    assert main(["pause-all", "--vdn", "1234", "--yes", *FAST]) == 5

    out, err = capsys.readouterr()
    assert "the run directory" in err
    assert "Nothing was sent" not in out + err
    assert "report: " not in err
    assert puts(simulator) == 32


def test_a_firewall_is_quoted_and_not_taken_for_a_wrong_key(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """403 with a page from the start: exit 3, its words, and no "correct the credentials"."""
    page = b"<html><title>Blocked</title><body>Your address 203.0.113.9 is not allowed</body>"

    simulator.handler.faults = FaultPlan(outages=(Outage(with_http(403, body=page)),))

    assert main(["pause", str(write_list(workplace, 1234001, 1234002)), *FAST]) == 3

    out, err = capsys.readouterr()
    assert "Blocked Your address … is not allowed" in err
    assert "firewall" in out
    assert "firewall" in err
    assert "correct the credentials" not in out + err
    assert "secret key" not in out + err


def test_refused_keys_are_told_by_their_places_while_these_are_known(
    simulator: Simulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A `report` of it needs no keys: it does not say that they are "from not set"."""
    monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY", "wrong-" + SECRET_KEY)
    assert main(["pause", str(write_list(workplace, 1234001)), *FAST]) == 3
    first = capsys.readouterr()
    monkeypatch.delenv("ORCHESTRATOR_SECRET_KEY")
    monkeypatch.delenv("ORCHESTRATOR_ACCESS_KEY")
    assert main(["report", "last"]) == 3
    again = capsys.readouterr()

    assert "the secret key is from ORCHESTRATOR_SECRET_KEY: correct the wrong one" in first.out
    assert "correct the credentials" in again.out
    assert "not set" not in again.out + again.err
    assert not puts(simulator)


def test_status_shows_what_runs_and_leaves_nothing_behind(
    simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """VDN 1234, a VDN without campaigns, and none named: exit 0, 1 and 2; no PUT, no directory."""
    assert main(["status", "--vdn", "1234"]) == 0
    assert " started, " in capsys.readouterr().out
    assert main(["status", "--vdn", "1243", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["vdns"][0]["problem"] == "no campaigns"
    assert main(["status"]) == 2
    assert "server.vdns" in capsys.readouterr().err
    assert main(["status", "--vdn", "1234", "--base-url", "http://127.0.0.1:1"]) == 4
    err = capsys.readouterr().err
    assert "hint: correct the URL http://127.0.0.1:1 (from --base-url)" in err
    assert "orchestrator check" not in err
    assert not (workplace / "state").exists()
    assert puts(simulator) == 0
