"""`restore` and `note` as people type them, against the simulator on a real socket."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.table import COMMANDS
from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.scenarios import DRILL_VDN
from orchestrator.simulator.server import Simulator
from tests.cli.makers import FAST, write_list

pytestmark = pytest.mark.sockets

IDS = (1234001, 1234002, 1234003)


@pytest.fixture
def stopped(simulator: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]) -> Simulator:
    """Three campaigns that a run has paused."""
    listed = str(write_list(workplace, *IDS))
    assert main(["pause", listed, "--reason", "wrong list", *FAST]) == 0
    capsys.readouterr()
    return simulator


def status(simulator: Simulator, campaign_id: int) -> Status | None:
    """As the server has it."""
    return simulator.world.status_of(CampaignRef(DRILL_VDN, campaign_id))


def test_ids_may_be_typed_and_the_dry_run_says_what_will_start(
    stopped: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a VDN, which the run has only one of."""
    assert main(["restore", "last", "--dry-run", "--except", "1234002"]) == 0

    out, err = capsys.readouterr()
    assert "2 campaigns will start (" in err
    assert "1 stays off: excluded by --except 1234002" in err
    assert "reason: wrong list" in err
    assert out.startswith("3 lines: 2 planned, 1 left alone. Nothing was sent.")


@pytest.mark.parametrize("flag", ["--except", "--only"])
def test_a_slip_in_a_typed_id_starts_nothing(
    stopped: Simulator, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    """Two digits swapped, and the guilty one would start: exit 2, with --yes too."""
    assert main(["restore", "last", "--yes", flag, "1234002,77"]) == 2

    assert "did not turn off 1234/77. Nothing was sent." in capsys.readouterr().err
    assert status(stopped, 1234001) is Status.SUSPENDED


def test_an_id_that_another_run_turned_off_is_no_slip_and_that_run_is_named(
    stopped: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed and repeated by arrow-up, a stop is two runs; the guilty one is in the first."""
    stopped.world.set_status(CampaignRef(DRILL_VDN, 1234003), Status.STARTED)
    assert main(["pause", str(write_list(workplace, 1234003)), *FAST]) == 0
    first = capsys.readouterr().err

    assert main(["restore", "last", "--yes", "--except", "1234002"]) == 2

    hint = capsys.readouterr().err.partition("hint: run ")[2]
    assert hint.partition(" did: ")[0] not in first
    assert " did: only a restore of that run starts it, so leave it out; see " in hint


def test_a_restore_of_typed_ids_starts_those_and_no_others(
    stopped: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """--only 1234/1234003: one runs, and the summary says how it was chosen."""
    words = ["restore", "last", "--yes", "--only", "1234/1234003", "--json", *FAST]
    assert main(words) == 0

    told = json.loads(capsys.readouterr().out)
    assert status(stopped, 1234003) is Status.STARTED
    assert status(stopped, 1234001) is Status.SUSPENDED
    assert told["selection"]["only"] == {"list": "1234/1234003", "campaigns": 1}
    assert told["counts"] == {"restored": 1, "left_alone": 2}


def test_a_repeated_restore_does_not_say_that_nothing_runs(
    stopped: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    """Everything was started by the first: exit 0, and the sentence says so."""
    assert main(["restore", "last", "--yes", *FAST]) == 0
    capsys.readouterr()

    assert main(["restore", "last", "--yes", *FAST]) == 0

    out, _ = capsys.readouterr()
    assert out == "3 lines: 3 started again before, by another restore.\n"


def test_server_and_keys_are_those_of_the_run(
    stopped: Simulator,
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The morning after, in another shell: neither address nor access key nor key file is set."""
    key = workplace / "sk"
    key.touch(mode=0o600)
    key.write_text(os.environ["ORCHESTRATOR_SECRET_KEY"], encoding="ascii")
    monkeypatch.delenv("ORCHESTRATOR_SECRET_KEY")
    monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY_FILE", str(key))
    assert main(["pause", str(write_list(workplace, 1234010)), *FAST]) == 0
    for name in ("BASE_URL", "ACCESS_KEY", "SECRET_KEY_FILE"):
        monkeypatch.delenv(f"ORCHESTRATOR_{name}")
    capsys.readouterr()

    code = main(["restore", "last", "--yes", *FAST])

    assert code == 0, capsys.readouterr().err
    assert status(stopped, 1234010) is Status.STARTED


def test_a_note_is_told_and_never_harms_the_terminal(
    stopped: Simulator, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two notes in summary.json, in order; an empty one is refused."""
    assert main(["note", "last", "ticket 4711"]) == 0
    assert re.match(r"run \S+: noted at 2\S+Z by \S+\n", capsys.readouterr().out)
    assert main(["note", "last", "bad\x1b[2J", "--json"]) == 0
    out, _ = capsys.readouterr()
    added = json.loads(out)
    assert (added["text"], "\x1b" in out) == ("bad\x1b[2J", False)
    assert main(["report", "last", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [note["text"] for note in told["notes"]] == ["ticket 4711", "bad\x1b[2J"]
    assert main(["note", "last", "  "]) == 2
    assert "the note is empty" in capsys.readouterr().err


def test_the_exit_codes_of_a_restore_are_in_its_own_sense() -> None:
    """Nothing of quiet, of lists and of stopping; 0 says that campaigns run."""
    codes = COMMANDS["restore"].codes

    assert "6" not in codes
    assert "runs" in codes["0"]
    assert not any(word in codes["0"] for word in ("stopped", "quiet", "--accept"))
