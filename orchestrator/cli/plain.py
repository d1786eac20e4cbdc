"""Reads a plain command line without cyclopts: importing that takes 110 ms, a lone PUT takes 200.

Only what has one possible meaning is read here; in any doubt cyclopts decides. The result is what
cyclopts would give from the same annotations (tests/cli/test_plain.py compares them).
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from orchestrator.cli.flags import Flag, Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: the commands whose first request waits for nothing, and how many arguments they have
_COMMANDS = {"pause": ("pause", 1), "pause-all": ("pause_all", 0)}
#: words that cyclopts may take for something else than text
_DOUBTFUL = re.compile(r"[-\[{].*|none|null|\s*", re.IGNORECASE | re.DOTALL)


class Call(NamedTuple):
    """A command with its arguments."""

    command: Callable[..., int]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


def read(tokens: Sequence[str]) -> Call | None:
    """The call that a command line means; None when cyclopts has to read it."""
    if tokens[0] not in _COMMANDS:
        return None
    name, wanted = _COMMANDS[tokens[0]]
    command = getattr(import_module(f"orchestrator.cli.{name}"), name)
    own = _kinds(command.__annotations__)
    shared = _kinds(Shared.__annotations__)
    arguments: list[str] = []
    given: dict[str, Any] = {}
    common: dict[str, Any] = {}
    rest = iter(tokens[1:])
    for token in rest:
        known, into = (own, given) if token in own else (shared, common)
        if token in known:
            field, kind = known[token]
            if not _take(into, field, kind, rest):
                return None
        elif _DOUBTFUL.fullmatch(token):
            return None
        else:
            arguments.append(token)
    if len(arguments) != wanted:
        return None
    if common:
        given["shared"] = Shared(**common)
    return Call(command, tuple(arguments), given)


def _take(into: dict[str, Any], field: str, kind: Any, rest: Iterator[str]) -> bool:
    """Take one flag with its value, if it has one; False when it is not plain."""
    kinds = get_args(kind) or (kind,)
    if field in into and list[str] not in kinds:
        return False
    if kind is bool:
        into[field] = True
    elif kind is int:
        into[field] = 1
    else:
        text = next(rest, "")
        if _DOUBTFUL.fullmatch(text):
            return False
        if list[str] in kinds:
            into[field] = [*into.get(field, []), text]
        else:
            into[field] = Path(text) if Path in kinds else text
    return True


def _kinds(annotations: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Flag → the parameter that it fills, and of what kind that is."""
    return {
        str(said.said["name"]): (field, annotation.__origin__)
        for field, annotation in annotations.items()
        for said in getattr(annotation, "__metadata__", ())
        if isinstance(said, Flag) and str(said.said.get("name", "")).startswith("-")
    }
