"""Help, version and completion: at once, complete, and the emergency first."""

from __future__ import annotations

import pytest

from orchestrator.cli.app import COMMANDS
from orchestrator.cli.help_text import EXIT_CODES
from orchestrator.cli.main import main
from orchestrator.version import VERSION


@pytest.mark.parametrize("asking", [[], ["--help"], ["-h"]])
def test_help_begins_with_the_emergency(
    asking: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line is what to type at 3 a.m.; commands, examples, exit codes follow."""
    assert main(asking) == 0

    out, err = capsys.readouterr()
    assert out.startswith("In an emergency: orchestrator pause-all --vdn N\n")
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert all(f"\n  {code} " in out for code in EXIT_CODES)
    assert "Examples:" in out
    assert err == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Usage, the flags of every command, an example and exit codes."""
    assert main([*command.split(), "--help"]) == 0

    out, _ = capsys.readouterr()
    assert out.startswith("In an emergency: orchestrator pause-all --vdn N\n")
    assert f"Usage: orchestrator {command}" in out
    for flag in ("-v", "-q", "--debug", "--log-format", "--log-file", "--config", "--base-url"):
        assert f"\n  {flag} " in out
    assert f"  orchestrator {command}" in out.partition("Examples:")[2]
    assert "Exit codes:\n  0 " in out
    assert "--no-" not in out.replace("--no-verify", "")


def test_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"orchestrator {VERSION}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script for a shell is on stdout and knows `pause-all`."""
    assert main(["completion", shell]) == 0
    assert "pause-all" in capsys.readouterr().out
