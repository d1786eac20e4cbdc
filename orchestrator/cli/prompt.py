"""The question before something is changed without a list: the operator types the VDN number.

Only --yes replaces the typing. Without a terminal and without --yes the answer is no, before
anything is sent or listed. The listing goes on while the operator types.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING, Final

from orchestrator.cli import output
from orchestrator.errors import RefusedError
from orchestrator.streams import is_terminal
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Asks for the VDN numbers at the terminal, once; `await question(findings)` is the answer.

    `aim` is what is about to happen, such as "pause all of it"; `otherwise` what is so while
    nobody has confirmed. The question stays the last line: what is said meanwhile goes above it.
    """

    def __init__(self, aim: str, screen: Screen, stopping: Stopping, *, otherwise: str) -> None:
        self._aim = aim
        self._screen = screen
        self._stopping = stopping
        self._otherwise = otherwise

    async def __call__(self, findings: Findings) -> bool:
        """Show what was found, as it comes, and read one line.

        Raises:
            RefusedError: something else was typed, or nothing.
            NotBegunError: a signal came before the answer.
        """
        from orchestrator.engine.begin import check_wanted  # noqa: PLC0415 - nobody waits for it

        vdns = findings.vdns
        if not vdns:
            return True  # nothing would be changed, so there is nothing to ask
        output.say(f"server  {for_terminal(findings.server)}")
        output.say(f"VDN     {' '.join(map(str, vdns))}")
        shown = _show_lines(findings, 0, output.say)
        what = "the VDN number" if len(vdns) == 1 else "all VDN numbers"
        answer = self._start_reading()
        self._screen.ask(f"To {self._aim}, type {what} and press Enter: ")
        try:
            while not answer.done():
                await asyncio.wait({answer}, timeout=_LOOK_EVERY_S)
                if not answer.done():
                    shown = _show_lines(findings, shown, self._screen.say)
            typed = answer.result()
        except asyncio.CancelledError:
            self._screen.answered(is_line_open=True)
            raise
        finally:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._screen.answered(is_line_open=not (typed or "").endswith("\n"))
        if typed is not None and is_confirmed(typed, vdns):
            return True
        check_wanted(self._stopping, otherwise=self._otherwise)
        raise RefusedError(
            f"not confirmed: {_what_was_typed(typed)}, and {' '.join(map(str, vdns))} was expected."
            f" Nothing was sent; {self._otherwise}.",
            advice="see which number is right; then the same command again, and type it",
        )

    def _start_reading(self) -> asyncio.Future[str | None]:
        """Read one line when there is one; the loop goes on, and no thread is left behind.

        A terminal hands over whole lines, so one read is one answer; None: there will be none.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[str | None] = loop.create_future()
        descriptor = sys.stdin.fileno()

        def give(text: str | None) -> None:
            if not answer.done():
                answer.set_result(text)

        def read() -> None:
            try:
                typed = os.read(descriptor, _ANSWER_MAX_BYTES)
            except OSError:
                give(None)  # the terminal is gone: nobody has confirmed
            else:
                give(typed.decode("utf-8", "replace"))

        loop.add_reader(descriptor, read)
        self._stopping.on_stop(lambda: give(None))
        return answer


def _what_was_typed(typed: str | None) -> str:
    if typed is None:
        return "the terminal was closed"
    if not typed:
        return "the input ended"
    words = typed.strip()
    return f"{for_terminal(words, limit=80)} was typed" if words else "nothing was typed"


def _show_lines(findings: Findings, shown: int, say: Callable[[str], None]) -> int:
    for line in findings.lines[shown:]:
        say(output.with_commands(for_terminal(line)))
    return len(findings.lines)
