"""Completes the commands in our messages, so that each works when it is pasted.

A message names a command as `orchestrator …` in backticks, or at the end of a line after "Next: "
or "again: "; advice may be a command alone. Here it gets what is missing: how we were called, and
the flags of this call that say which server and whose key. Text of others is not passed through.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.cli.flags import SHARED, Flag
from orchestrator.cli.table import COMMANDS

PROGRAM = "orchestrator"
#: flags that say which server, who, and where settings are; none of them takes a secret
_CONNECTION = (
    *("--config", "--base-url", "--ca-file", "--access-key", "--secret-key-file", "--operator"),
    "--vdn",
)
#: after `init` the others stand in the file that this one names
_WRITTEN_BY_INIT = ("--config",)
#: which campaigns a restore was to leave off: the same again must not start them
_CHOSEN = ("--only", "--except")
_SELECTION = (*_CHOSEN, "--include-inferred", "--even-if-old")
#: shows another run, and the chosen campaigns may not be its own
_LOOK = "--dry-run"
#: a quoted part may hold anything; outside of one a command ends with its sentence
_QUOTED = r"'[^']*'|\"[^\"]*\""
_IN_TICKS = re.compile(rf"`(… \| )?{PROGRAM}( (?:{_QUOTED}|[^`'\"])+)`")
_AT_THE_END = re.compile(
    rf"(^|Next: |again: ){PROGRAM}((?: (?:{_QUOTED}|[^\s`'\"(;])+)+)(?=$| {{2}}| \(|;)"
)


class Calling(NamedTuple):
    """How this process was called, as far as the next command needs it."""

    #: ready to be pasted: `orchestrator`, `./do orchestrator`, `python3 -m orchestrator`
    program: str = PROGRAM
    #: the name of the command; empty when there is none
    command: str = ""
    #: its flags as they were given, in order; the value of one that takes none is None
    given: tuple[tuple[str, str | None], ...] = ()


def calling_of(tokens: Sequence[str], *, is_called: bool) -> Calling:
    """How this process was called; `is_called`: as a program of its own, not by a test."""
    program = PROGRAM
    if is_called:
        program = program_of(
            sys.argv[0],
            sys.orig_argv[0],
            wrapper=os.environ.get("DO_CALLED_AS", ""),
            on_path=shutil.which(PROGRAM) or "",
        )
    name = _command_in(tokens)
    return Calling(program, name, flags_in(tokens[len(name.split()) :], name))


def program_of(first: str, python: str, *, wrapper: str, on_path: str) -> str:
    """Say how this program is called again from the same place.

    Args:
        first: `sys.argv[0]`.
        python: the interpreter, as it was called.
        wrapper: the path of the script that called us for its user; empty: none.
        on_path: where a shell finds `orchestrator`; empty: nowhere.
    """
    if wrapper:
        # without a slash it was given to a shell, and a shell takes `do` for its own word
        shell = "" if "/" in wrapper else "sh "
        return f"{shell}{shlex.quote(wrapper)} {PROGRAM}"
    if first.endswith("__main__.py"):
        return f"{shlex.quote(python)} -m {PROGRAM}"
    if first.rpartition("/")[2] == PROGRAM and "/" in first and first != on_path:
        return shlex.quote(first)
    return PROGRAM


def _command_in(tokens: Sequence[str]) -> str:
    """The command that a line begins with; empty: none."""
    return next((one for one in (" ".join(tokens[:2]), *tokens[:1]) if one in COMMANDS), "")


def _flags_of(command: str) -> dict[str, Flag]:
    return {flag.name: flag for flag in (*COMMANDS[command].flags, *SHARED)} if command else {}


def flags_in(tokens: Sequence[str], command: str) -> tuple[tuple[str, str | None], ...]:
    """The flags of a line that the next command may need; `tokens` stand after its command."""
    takes = _flags_of(command)
    found: list[tuple[str, str | None]] = []
    rest = iter(tokens)
    for token in rest:
        if token == "--":  # noqa: S105 - no password
            break
        flag, is_given, value = token.partition("=")
        takes_value = flag in takes and takes[flag].value
        taken = (value if is_given else next(rest, "")) if takes_value else None
        # whoever writes a password into a URL is refused, and it is not shown
        is_open = not (flag == "--base-url" and "@" in (taken or ""))
        if flag in (*_CONNECTION, *_SELECTION) and flag in takes and is_open:
            found.append((flag, taken))
    return tuple(found)


def pasted(text: str, calling: Calling) -> str:
    """Complete every command that a message of ours names."""
    ticked = _IN_TICKS.sub(lambda found: f"`{found[1] or ''}{_completed(found[2], calling)}`", text)
    return _AT_THE_END.sub(lambda found: f"{found[1]}{_completed(found[2], calling)}", ticked)


def named(text: str, calling: Calling) -> str:
    """A help text with the program as it was called; its examples get no flags."""
    known = "|".join(sorted({name.split()[0] for name in COMMANDS} | {"help", "COMMAND"}))
    return re.sub(rf"\b{PROGRAM} (?=(?:{known})\b|--)", lambda _found: f"{calling.program} ", text)


def _completed(line: str, calling: Calling) -> str:
    whole = f"{calling.program}{line}"
    try:
        tokens = shlex.split(line)
    except ValueError:
        return whole
    name = _command_in(tokens)
    if not name or "--help" in tokens:
        return whole
    present = {token.partition("=")[0] for token in tokens}
    takes = _flags_of(name)
    foreign = _CHOSEN if _LOOK in present else ()
    needed = _WRITTEN_BY_INIT if calling.command == "init" else _CONNECTION
    more = []
    for flag, value in calling.given:
        is_wanted = flag in needed or (name == calling.command and flag not in foreign)
        if flag in present or flag not in takes or not is_wanted:
            continue
        if flag == "--vdn" and takes[flag].action != "append":
            present.add(flag)
        more.append(flag if value is None else f"{flag} {shlex.quote(value)}")
    return " ".join([whole, *more])
