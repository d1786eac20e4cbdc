"""Questions with a default in brackets; a wrong answer is explained and asked again.

Each has a flag. Where nobody can be asked, what is missing is collected, so that all of it can be
named at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.cli.values import refuse
from orchestrator.model import Refusal
from orchestrator.settings.files import working_directory
from orchestrator.settings.schema import SPECS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.settings.setting import Setting

_ANSWER_MAX_BYTES = 4096


class Questions:
    """What is asked, and what came of it; flags, and the settings before, are known by TOML key."""

    def __init__(
        self, flags: Mapping[str, object], before: Mapping[str, object], *, can_ask: bool
    ) -> None:
        self.can_ask = can_ask
        #: flags without which nobody can go on
        self.missing: list[str] = []
        self.flags = flags
        self._before = before

    def setting(
        self, key: str, label: str, *, flag: str = "", usual: str = "", needed: bool = False
    ) -> object:
        """One setting: from its flag, an answer, or what is known; None: it is left out.

        `usual` is in force where it is left out; with `needed` nothing is, and it may not be.
        """
        row = SPECS[key]
        flag = flag or row.flag
        known = self.known(key, flag=flag)
        if not self.can_ask or self.flags.get(key) is not None:
            if needed and known is None:
                self.missing.append(f"{flag} {row.metavar}".rstrip())
            return known
        shown = usual if known is None else row.shown(known)
        return self.answer(
            f"{label} [{shown}]" if shown else label,
            lambda text: _read(row, text) if text else _kept(known, needed=needed),
        )

    def known(self, key: str, *, flag: str = "") -> object:
        """What nobody has to be asked for: the flag, the settings that are there, the variable.

        Raises:
            UsageError: the flag or the variable cannot be used.
        """
        row = SPECS[key]
        given, origin = self.flags.get(key), flag or row.flag
        if given is None:
            if self._before.get(key):
                return self._before[key]
            given, origin = os.environ.get(row.variable) or None, row.variable
        if given is None:
            return None
        value = _read(row, given)
        if isinstance(value, Refusal):
            raise refuse(origin, value.reason)
        return value

    def answer(self, label: str, read: Callable[[str], object]) -> object:
        """Ask until the answer can be read."""
        while True:
            value = read(ask(f"{label}: ").strip())
            if not isinstance(value, Refusal):
                return value
            explain(value)

    def yes(self, question: str) -> bool:
        """Ask for a yes or a no, written out: Enter alone is neither."""
        known = {"yes": True, "y": True, "no": False, "n": False}
        found = self.answer(
            f"{question} [yes/no]",
            lambda text: known.get(text.lower(), Refusal("must be yes or no")),
        )
        return found is True


def explain(refusal: Refusal) -> None:
    """Say why an answer cannot be used."""
    reason = refusal.reason
    output.say(f"  it {'is ' if reason.startswith('not ') else ''}{reason}")


def ask(prompt: str) -> str:
    """Read one line at the terminal, which hands over whole lines.

    Raises:
        KeyboardInterrupt: the input has ended.
    """
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(output.masked(prompt))
        sys.stderr.flush()
    try:
        typed = os.read(sys.stdin.fileno(), _ANSWER_MAX_BYTES)
    except OSError:
        typed = b""  # the terminal is gone
    if not typed:
        raise KeyboardInterrupt
    # what is no text is refused like every wrong answer
    return typed.decode("utf-8", "surrogateescape")


def _kept(known: object, *, needed: bool) -> object:
    return Refusal("is needed") if needed and known is None else known


def _read(row: Setting, given: object) -> object:
    """Read an answer; a path is written out from here, because the file lies elsewhere."""
    if isinstance(given, str) and isinstance(row.default, tuple):
        given = given.replace(",", " ").split()
    value = row.read(given, is_text=isinstance(given, str))
    if not row.is_path or isinstance(value, Refusal):
        return value
    try:
        str(value).encode()
    except UnicodeEncodeError:
        return Refusal("must be a path in UTF-8: a settings file is")
    return value if str(value).startswith("~") else str(working_directory() / Path(str(value)))
