"""Help, version and completion: at once, complete, and the emergency first."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.cli.flags import EXIT_CODES, SHARED
from orchestrator.cli.main import main
from orchestrator.cli.table import COMMANDS
from orchestrator.version import VERSION


@pytest.mark.parametrize("asking", [[], ["--help"], ["-h"], ["help"]])
def test_help_begins_with_the_emergency(
    asking: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line is what to type at 3 a.m.; commands, examples, exit codes follow."""
    assert main(asking) == 0

    out, err = capsys.readouterr()
    assert out.startswith("In an emergency: orchestrator pause-all --vdn N\n")
    assert all(f"\n  {command} " in out for command in COMMANDS)
    assert all(f"\n  {code} " in out for code in EXIT_CODES)
    assert "examples:" in out
    assert err == ""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("form", ["{} --help", "{} -h", "{} -vh", "help {}", "{} --bogus --help"])
def test_every_command_explains_itself(
    command: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage, the flags of every command, an example and exit codes, however it is asked."""
    words = form.format(command).split()
    if "-vh" in words:  # read with the rest of the line, so that has to be complete
        words += ["last"] * sum(flag.is_argument for flag in COMMANDS[command].flags)
        words = [
            word.replace("last", "bash") if command == "completion" else word for word in words
        ]
    assert main(words) == 0

    out, err = capsys.readouterr()
    assert out.startswith("In an emergency: orchestrator pause-all --vdn N\n")
    assert f"usage: orchestrator {command}" in out
    for flag in SHARED:
        assert f"\n  {flag.name} " in out or f", {flag.name} " in out
    assert f"  orchestrator {command}" in out.partition("examples:")[2]
    assert "exit codes:\n  0 " in out
    assert max(map(len, out.splitlines())) <= 105
    assert err == ""


def test_help_texts_begin_in_lower_case_and_end_without_a_full_stop() -> None:
    """Abbreviations such as VDN keep their capitals."""
    texts = [*EXIT_CODES.values(), *(flag.help for flag in SHARED)]
    for command in COMMANDS.values():
        texts += [command.does, *command.codes.values(), *(flag.help for flag in command.flags)]

    assert [text for text in texts if text.endswith(".") or text[0:2].istitle()] == []


def test_version_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """One line on stdout."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"orchestrator {VERSION}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_the_commands_and_their_flags(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script for a shell is on stdout and knows `pause-all` and `--max-failures`."""
    assert main(["completion", shell]) == 0

    out = capsys.readouterr().out
    assert "pause-all" in out
    assert "max-failures" in out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("pause-all --y", "--yes"), ("cluster i", "init"), ("config s", "show"), ("config i", "")],
)
def test_the_completion_of_bash_completes(
    typed: str, offered: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A flag, and the second word of a command of two, in a real shell."""
    before, _, word = typed.rpartition(" ")
    main(["completion", "bash"])
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    ask = f""". {script}
        COMP_WORDS=(orchestrator {typed}) COMP_CWORD=2
        _shtab_orchestrator orchestrator {word} {before}
        echo "${{COMPREPLY[@]}}" """

    done = subprocess.run(
        ["bash", "-c", ask], check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.strip() == offered
