"""Errors as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.cli.output import columns, complain
from orchestrator.errors import ManifestError, Problem


def test_the_first_twenty_problems_of_a_list_are_named_and_the_rest_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Twenty-three bad lines, twenty of them with place and reason."""
    problems = tuple(Problem(str(line), "campaign id is empty") for line in range(2, 22))

    complain(ManifestError("list.csv", problems, total=23))

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: list.csv: 23 unusable entries. Nothing was sent."
    assert lines[1] == "  list.csv:2: campaign id is empty"
    assert lines[20] == "  list.csv:21: campaign id is empty"
    assert lines[21] == "  … and 3 more"
    assert lines[22].startswith("hint: correct the list")
    assert len(lines) == 23


def test_a_table_is_aligned_and_has_no_trailing_blanks() -> None:
    """Every column as wide as its widest cell."""
    assert columns([("KEY", "VALUE"), ("long key", "1"), ("k", "")]) == [
        "KEY       VALUE",
        "long key  1",
        "k",
    ]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.json"])
def test_a_secret_file_that_is_taken_for_a_list_is_not_read_out(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The key is longer than what a message shows of a line: its beginning is masked as well."""
    secret = "wJalrXUtnFEMI0K7MDENGbPxRfiCYEXAMPLEKEY" * 3
    monkeypatch.setenv("ORCHESTRATOR_SECRET_KEY", secret)
    monkeypatch.setenv("ORCHESTRATOR_BASE_URL", "http://127.0.0.1:9")
    (workplace / name).write_text(f"{secret}\n")

    assert main(["pause", str(workplace / name), "--vdn", "1"]) == 2

    out, err = capsys.readouterr()
    assert secret[:10] not in out + err
