"""The question before something is changed without a list: the operator types the VDN number.

Only --yes replaces the typing. Without a terminal and without --yes the answer is no, before
anything is sent or listed. The listing goes on while the operator types.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.cli import output
from orchestrator.cli.live import is_terminal
from orchestrator.errors import RefusedError
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from orchestrator.cli.live import Screen
    from orchestrator.engine.pausing_all import Findings
    from orchestrator.engine.stop import Stopping

#: seconds between two looks at what the listing has found
_LOOK_EVERY_S: Final = 0.1
_ANSWER_MAX_BYTES: Final = 4096


def refuse_without_terminal(command: str, *, confirmed: bool) -> None:
    """Refuse a command that has to ask and has no terminal.

    Raises:
        RefusedError: there is no terminal, and no --yes.
    """
    if confirmed or (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        return
    raise RefusedError(
        f"{command} was not confirmed: there is no terminal to type the VDN number at, and no"
        " --yes. Nothing was sent; nothing has changed.",
        advice="add --yes, or run it at a terminal",
    )


def is_confirmed(answer: str, vdns: tuple[int, ...]) -> bool:
    """Whether an answer names exactly these VDNs, in any order."""
    typed = [word for word in re.split(r"[\s,]+", answer.strip()) if word]
    return bool(vdns) and sorted(typed) == sorted(str(one) for one in vdns)


class Question:
    """Asks for the VDN numbers at the terminal; `await question(findings)` is the answer."""

    def __init__(self, verb: str, screen: Screen, stopping: Stopping) -> None:
        """Prepare to ask.

        Args:
            verb: what is about to happen, such as "pause everything that runs in".
            screen: told not to paint while somebody types.
            stopping: a signal ends the question.
        """
        self._verb = verb
        self._screen = screen
        self._stopping = stopping

    async def __call__(self, findings: Findings) -> bool:
        """Show what was found, as it comes, and read one line."""
        self._screen.asking = True
        try:
            return await self._ask(findings)
        finally:
            self._screen.asking = False

    async def _ask(self, findings: Findings) -> bool:
        vdns = findings.vdns
        if not vdns:
            return True  # nothing would be changed, so there is nothing to ask
        names = " ".join(str(one) for one in vdns)
        output.say(f"server  {for_terminal(findings.server)}")
        output.say(f"VDN     {names}")
        what = "the VDN number" if len(vdns) == 1 else "all VDN numbers, separated by spaces,"
        prompt = f"To {self._verb} VDN {names}, type {what} and press Enter: "
        answer = self._start_reading()
        try:
            shown = _show_lines(findings, 0)
            _prompt(prompt)
            while not answer.done():
                await asyncio.wait({answer}, timeout=_LOOK_EVERY_S)
                if len(findings.lines) > shown and not answer.done():
                    _prompt("\n")
                    shown = _show_lines(findings, shown)
                    _prompt(prompt)
            return is_confirmed(answer.result(), vdns)
        finally:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())

    def _start_reading(self) -> asyncio.Future[str]:
        """Read one line when there is one; the loop goes on, and no thread is left behind.

        A terminal hands over whole lines, so one read is one answer.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str] = loop.create_future()
        descriptor = sys.stdin.fileno()

        def give(text: str) -> None:
            if not answer.done():
                answer.set_result(text)

        def read() -> None:
            try:
                typed = os.read(descriptor, _ANSWER_MAX_BYTES)
            except OSError:
                typed = b""  # the terminal is gone: nobody has confirmed
            give(typed.decode("utf-8", "replace"))

        loop.add_reader(descriptor, read)
        self._stopping.on_stop(lambda: give(""))
        return answer


def _show_lines(findings: Findings, shown: int) -> int:
    for line in findings.lines[shown:]:
        output.say(f"        {for_terminal(line)}")
    return len(findings.lines)


def _prompt(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
