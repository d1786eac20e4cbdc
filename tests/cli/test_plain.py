"""A plain command line means what cyclopts reads in it, or is left to cyclopts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from cyclopts import CycloptsError
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli import plain
from orchestrator.cli.app import make_app
from orchestrator.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = [
    ["pause", "list.csv"],
    ["pause", "list.csv", "-q", "--rate", "100"],
    ["pause", "--vdn", "12", "list.csv", "--skip-invalid", "--accept", "a", "--accept", "b"],
    ["pause", "list.csv", "--run-dir", "x/y", "-v", "--debug", "--log-file", "f", "--json"],
    ["pause", "list with a space.csv", "--reason", "wrong list, 23 November"],
    ["pause-all", "--vdn", "1", "--yes"],
    ["pause-all", "--vdn", "1", "--vdn", "2", "--hold", "5", "--config", "c.toml", "--reason", "x"],
]
NOT_PLAIN = [
    ["pause"],
    ["pause", "a", "b"],
    ["pause", "-"],
    ["pause", ""],
    ["pause", "none"],
    ["pause", "list.csv", "--rate"],
    ["pause", "list.csv", "--rate", "-1"],
    ["pause", "list.csv", "--rate", "1", "--rate", "2"],
    ["pause", "list.csv", "--rate=5"],
    ["pause", "list.csv", "-vv"],
    ["pause", "list.csv", "-v", "-v"],
    ["pause", "list.csv", "--", "x"],
    ["pause", "list.csv", "--secret", "x"],
    ["pause-all", "1"],
    ["pause-all", "--vdn", '["1", "2"]'],
    ["restore", "last"],
]
_WORDS = [
    *("--vdn", "--rate", "--accept", "--run-dir", "--reason", "--config", "--hold", "--yes", "-q"),
    *(
        "-v",
        "--debug",
        "--json",
        "--dry-run",
        "1",
        "list.csv",
        "a b",
        "",
        "none",
        "NULL",
        "-",
        "--",
    ),
    *("[1]", "{}", "--rate=5", "-1", "true", "0x1", " x ", "--no-verify", "~", "a=b", "é", "\n"),
]


def _cyclopts(tokens: list[str]) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    command, bound, _ = make_app().parse_args(tokens, print_error=False, exit_on_error=False)
    return command, bound.args, bound.kwargs


@pytest.mark.parametrize("tokens", PLAIN, ids=" ".join)
def test_a_plain_line_is_read_as_cyclopts_reads_it(tokens: list[str]) -> None:
    """The same command with the same values, of the same types."""
    assert plain.read(tokens) == plain.Call(*_cyclopts(tokens))


@pytest.mark.parametrize("tokens", NOT_PLAIN, ids=" ".join)
def test_what_is_not_plain_is_left_to_cyclopts(tokens: list[str]) -> None:
    """An odd value, a repeated flag, an unknown one: nobody guesses."""
    assert plain.read(tokens) is None


@given(st.sampled_from(["pause", "pause-all"]), st.lists(st.sampled_from(_WORDS), max_size=6))
def test_no_line_is_read_otherwise_than_by_cyclopts(command: str, words: list[str]) -> None:
    """Six words in any order: the same call, or none at all; never one that cyclopts refuses."""
    tokens = [command, *words]
    call = plain.read(tokens)
    if call is None:
        return
    try:
        expected = plain.Call(*_cyclopts(tokens))
    except CycloptsError as error:
        raise AssertionError(f"cyclopts refuses {tokens}: {error}") from error
    assert call == expected


def test_a_plain_line_is_acted_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list that is not there, in the words of the command: exit 2."""
    assert main(["pause", str(tmp_path / "none.csv"), "--dry-run"]) == 2
    assert "none.csv" in capsys.readouterr().err
