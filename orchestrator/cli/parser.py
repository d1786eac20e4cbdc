"""Reads command lines with argparse, by table.py; says how one is written.

A parser is made for the command that is called, all of them for shell completion only. argparse
neither prints nor exits here: what it refuses is said by usage.py.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

from orchestrator.cli import usage, values
from orchestrator.cli.flags import EXIT_CODES, SHARED, Flag
from orchestrator.cli.table import COMMANDS, EXAMPLES
from orchestrator.errors import UsageError

HELP_FLAGS = ("-h", "--help")
#: what argparse says of a line → our words
_OURS = {
    "the following arguments are required: (.*)": r"\1 is missing",
    "argument (.*): expected one argument": r"\1 needs a value",
    "argument (.*): ignored explicit argument .*": r"\1 takes no value",
}
EMERGENCY = "In an emergency: orchestrator pause-all --vdn N"


class Parser(argparse.ArgumentParser):
    """Reads the line of one command, or refuses it in our words."""

    def __init__(self, name: str) -> None:
        command = COMMANDS[name]
        places = "".join(f"{flag.called} " for flag in command.flags if flag.is_argument)
        super().__init__(
            usage=f"orchestrator {name} {places}[FLAGS]",
            description="\n".join([command.does, *textwrap.wrap(command.note, 96)]),
            epilog=_ends(command.examples, command.codes),
            formatter_class=_Formatter,
            add_help=False,
            allow_abbrev=False,
        )
        self.color = False  # Python 3.14 paints its help
        self.name = name
        _fill(self, name)

    def read(self, tokens: Sequence[str]) -> argparse.Namespace:
        """Read what stands after the name of the command.

        Raises:
            UsageError: it cannot be acted on.
        """
        try:
            given, extra = self.parse_known_args(tokens)
            if extra:
                self.error(usage.too_many(extra[0], self._option_string_actions))
        except UsageError as error:
            known = self._option_string_actions
            raise usage.wrong_line(error, self.name, tokens, known) from error
        return given

    def error(self, message: str) -> NoReturn:
        for pattern, words in _OURS.items():
            message = re.sub(pattern, words, message)
        raise UsageError(message)

    def format_help(self) -> str:
        return f"{EMERGENCY}\n\n{super().format_help()}"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """The same on every terminal and on every Python."""

    def __init__(self, prog: str, **more: Any) -> None:
        super().__init__(prog, max_help_position=30, width=98, **more)


class _Once(argparse.Action):
    """Stores a value; a flag that is given twice is refused."""

    def __call__(
        self,
        _parser: object,
        namespace: argparse.Namespace,
        given: object,
        option: str | None = None,
    ) -> None:
        if option and getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(None, f"{option} is given twice")
        setattr(namespace, self.dest, given)


def find_command(tokens: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Split a line into the name of its command and what stands after it.

    Raises:
        UsageError: there is no such command.
    """
    two = " ".join(tokens[:2])
    if two in COMMANDS:
        return two, tokens[2:]
    if tokens[0] in COMMANDS:
        return tokens[0], tokens[1:]
    of_two = next((name for name in COMMANDS if name.startswith(f"{tokens[0]} ")), "")
    if of_two and (len(tokens) == 1 or tokens[1] in HELP_FLAGS):
        return of_two, ["--help"]
    raise usage.unknown_command([two] if of_two else tokens, COMMANDS)


def main_help() -> str:
    """The text of `orchestrator --help`."""
    commands = "\n".join(_rows({name: command.does for name, command in COMMANDS.items()}))
    return f"""{EMERGENCY}

Stop the dialling of outbound campaigns on a CC-iSales server, and prove it stopped.

usage: orchestrator COMMAND [ARGUMENTS] [FLAGS]

commands:
{commands}

After the command: {", ".join(flag.name for flag in SHARED[:6])},
{", ".join(flag.name for flag in SHARED[6:])}.  Before it: --version, --help.
The secret key itself has no flag: --secret-key-file names a file that holds it.
`orchestrator help COMMAND` shows what a command takes.

{_ends(EXAMPLES, EXIT_CODES)}
"""


def whole_parser() -> argparse.ArgumentParser:
    """A parser of all commands, for shell completion."""
    whole = argparse.ArgumentParser(prog="orchestrator", add_help=False)
    places = {"": whole.add_subparsers()}
    for first, words in {"config": "settings", "cluster": "runs on many machines"}.items():
        parser = places[""].add_parser(first, help=words, add_help=False)
        places[first] = parser.add_subparsers()
    import shtab  # noqa: PLC0415 - for `completion` alone

    kinds = {"FILE": shtab.FILE, "LIST": shtab.FILE, "DIR": shtab.DIR, "RUN": shtab.DIR}
    for name, command in COMMANDS.items():
        group, _, last = name.rpartition(" ")
        one = places[group].add_parser(last, help=command.does, add_help=False)
        for action in _fill(one, name):
            if action.metavar in kinds:
                action.complete = kinds[action.metavar]  # type: ignore[attr-defined] # for shtab
    return whole


def _fill(parser: argparse.ArgumentParser, name: str) -> list[argparse.Action]:
    arguments = parser.add_argument_group("arguments")
    own = parser.add_argument_group("flags")
    shared = parser.add_argument_group("flags of every command")
    flags = COMMANDS[name].flags
    return [_add(arguments if flag.is_argument else own, flag) for flag in flags] + [
        _add(shared, flag) for flag in SHARED
    ]


def _add(group: argparse._ArgumentGroup, flag: Flag) -> argparse.Action:
    how: dict[str, Any] = {"help": flag.help.replace("%", "%%")}
    if flag.dest:
        how["dest"] = flag.dest
    if not flag.value:
        names = HELP_FLAGS if flag.name == "--help" else (flag.name,)
        return group.add_argument(*names, action=flag.action or "store_true", **how)
    choices = tuple(flag.value.split("|")) if "|" in flag.value else ()
    how["metavar"] = flag.called if flag.is_argument else flag.value
    how["action"] = flag.action or _Once
    how["type"] = partial(flag.read, flag.called)
    if choices:
        how["choices"] = choices
        how["type"] = partial(values.one_of, flag.called, known=choices)
    return group.add_argument(flag.name, **how)


def _ends(examples: Sequence[str], codes: Mapping[str, str]) -> str:
    shown = (f"  {line}" for line in examples)
    return "\n".join(["examples:", *shown, "", "exit codes:", *_rows(codes)])


def _rows(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:<{width}}  {text}" for name, text in rows.items()]
