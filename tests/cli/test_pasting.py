"""A command in a message is completed so that it works when it is pasted."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.pasting import Calling, flags_in, named, pasted, program_of

RUN = "20261123T230501Z-7f3a"


def _calling(
    *given: tuple[str, str | None], program: str = "./do orchestrator", command: str = "pause"
) -> Calling:
    return Calling(program, command, given)


def test_what_init_has_written_is_not_said_again() -> None:
    """The line for the emergency card is short; its own command again keeps every flag."""
    flags = (("--config", "test"), ("--base-url", "https://h"), ("--ca-file", "ca.pem"))
    calling = Calling("orchestrator", "init", flags)

    card = pasted("`orchestrator pause-all --vdn 1234`", calling)
    again = pasted("`orchestrator init`", calling)

    assert card == "`orchestrator pause-all --vdn 1234 --config test`"
    assert again == "`orchestrator init --config test --base-url https://h --ca-file ca.pem`"


CONFIG = ("--config", "my files/eu.toml")
DONE = "--config 'my files/eu.toml'"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        # realistic
        (
            f"Next: orchestrator continue {RUN}",
            f"Next: ./do orchestrator continue {RUN} {DONE}",
        ),
        (
            f"ask for the right key, then `orchestrator continue {RUN}`; it waits",
            f"ask for the right key, then `./do orchestrator continue {RUN} {DONE}`; it waits",
        ),
        (
            "Try the 2 again: orchestrator pause '/var/my runs/failed.csv'",
            f"Try the 2 again: ./do orchestrator pause '/var/my runs/failed.csv' {DONE}",
        ),
        (
            "orchestrator init   (or add --base-url https://HOST:28080)",
            f"./do orchestrator init {DONE}   (or add --base-url https://HOST:28080)",
        ),
        ("orchestrator pause --help", "./do orchestrator pause --help"),
        ("orchestrator --help", "./do orchestrator --help"),
        (
            "run `orchestrator check`, then `orchestrator config show`",
            f"run `./do orchestrator check {DONE}`, then `./do orchestrator config show {DONE}`",
        ),
        (
            f"Next: orchestrator continue {RUN}; if the URL is wrong, correct it",
            f"Next: ./do orchestrator continue {RUN} {DONE}; if the URL is wrong, correct it",
        ),
        # what is no command stays as it is
        ("a bug in the orchestrator: it", "a bug in the orchestrator: it"),
        ("type the VDN number, or add --yes", "type the VDN number, or add --yes"),
        # pathological
        ("`orchestrator pause 'a`b.csv'`", f"`./do orchestrator pause 'a`b.csv' {DONE}`"),
        ("Next: orchestrator continue it's", "Next: orchestrator continue it's"),
    ],
)
def test_commands_get_the_program_and_the_flags_of_this_call(said: str, expected: str) -> None:
    """In backticks, after `Next:` and `again:`, and where the advice is a command alone."""
    assert pasted(said, _calling(CONFIG)) == expected


def test_a_command_that_a_shell_cannot_read_gets_no_flags() -> None:
    """A quotation mark that is never closed: nobody knows where a flag could stand."""
    said = '`orchestrator pause "a\\"`'

    assert pasted(said, _calling(CONFIG)) == '`./do orchestrator pause "a\\"`'


@pytest.mark.parametrize(
    ("said", "given_flags", "command", "expected"),
    [
        # a flag that the message has is not added, whoever wins
        ("`orchestrator check --vdn 7`", (("--vdn", "1"),), "pause-all", "check --vdn 7"),
        (
            "`orchestrator check --base-url=x`",
            (("--base-url", "y"),),
            "pause",
            "check --base-url=x",
        ),
        # one --vdn where a command takes one, each where it takes several
        ("`orchestrator check`", (("--vdn", "1"), ("--vdn", "2")), "pause-all", "check --vdn 1"),
        (
            "`orchestrator restore last`",
            (("--vdn", "1"), ("--vdn", "2")),
            "pause-all",
            "restore last --vdn 1 --vdn 2",
        ),
        # what the command does not take
        ("`orchestrator continue last`", (("--vdn", "1"),), "pause", "continue last"),
        # a selection belongs to the same command only
        (
            "`orchestrator restore last`",
            (("--except", "a b.csv"), ("--include-inferred", None)),
            "restore",
            "restore last --except 'a b.csv' --include-inferred",
        ),
        ("`orchestrator restore last`", (("--except", "guilty.csv"),), "pause", "restore last"),
        # nor to the look at another run, which may not have turned them off
        (
            "`orchestrator restore 7f3a --dry-run`",
            (("--except", "1005"), ("--config", "eu")),
            "restore",
            "restore 7f3a --dry-run --config eu",
        ),
    ],
)
def test_only_flags_that_belong_are_added(
    said: str, given_flags: tuple[tuple[str, str | None], ...], command: str, expected: str
) -> None:
    """Those that the named command takes, none twice, no selection of another command."""
    calling = _calling(*given_flags, program="orchestrator", command=command)

    assert pasted(said, calling) == f"`orchestrator {expected}`"


@given(value=st.text(min_size=1, alphabet=st.characters(exclude_characters="\0")))
def test_a_shell_reads_back_what_was_given(value: str) -> None:
    """Whatever a path holds, the pasted line has it as one word."""
    line = pasted("Next: orchestrator continue last", _calling(("--config", value)))

    assert shlex.split(line.removeprefix("Next: "))[2:] == ["continue", "last", "--config", value]


def test_flags_are_taken_from_the_line_as_they_were_given() -> None:
    """Both ways of writing them; nothing of others, nothing after `--`."""
    tokens = ["a.csv", "--config=x y.toml", "--run-dir", "here", "-q", "--vdn", "7", "--yes"]

    assert flags_in([*tokens, "--", "--config", "z"], "pause") == (
        ("--config", "x y.toml"),
        ("--vdn", "7"),
    )
    assert flags_in(["last", "--include-inferred"], "restore") == (("--include-inferred", None),)
    assert flags_in(["--vdn", "7"], "continue") == ()


def test_a_password_in_a_url_is_not_shown_again() -> None:
    """Such a URL is refused; the next command is not completed with it."""
    assert flags_in(["--base-url", "https://u:secret@host"], "pause") == ()


@pytest.mark.parametrize(
    ("first", "wrapper", "on_path", "expected"),
    [
        ("/home/me/x/orchestrator/__main__.py", "./do", "", "./do orchestrator"),
        ("/x/orchestrator/__main__.py", "../my clone/do", "", "'../my clone/do' orchestrator"),
        ("/x/orchestrator/__main__.py", "do", "", "sh do orchestrator"),
        ("/x/orchestrator/__main__.py", "", "", "python3 -m orchestrator"),
        ("/usr/bin/orchestrator", "", "/usr/bin/orchestrator", "orchestrator"),
        (".venv/bin/orchestrator", "", "", ".venv/bin/orchestrator"),
        ("/opt/my tools/orchestrator", "", "/usr/bin/orchestrator", "'/opt/my tools/orchestrator'"),
        ("-c", "", "", "orchestrator"),
    ],
)
def test_the_program_is_named_as_it_was_called(
    first: str, wrapper: str, on_path: str, expected: str
) -> None:
    """A clone's `./do`, a module, a command on the PATH, a command with its path."""
    assert program_of(first, "python3", wrapper=wrapper, on_path=on_path) == expected


def test_a_help_text_names_the_program_and_no_flags() -> None:
    """Examples are examples; prose that has the word stays."""
    text = "In an emergency: orchestrator pause-all --vdn N\na bug in the orchestrator (it is told)"

    assert named(text, _calling(CONFIG)) == text.replace(
        "orchestrator pause", "./do orchestrator pause"
    )
