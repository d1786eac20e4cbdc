"""Shows how far a run is: a live line on a terminal, a line now and then elsewhere.

rich is loaded in a thread after the first request has left. While a live line is shown, only this
file writes to stderr; events pass through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any

from orchestrator.cli import output
from orchestrator.cli.progress_line import Pulse, progress_line
from orchestrator.reports.rows import iso_time
from orchestrator.streams import is_terminal

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.engine.progress import Progress

#: seconds between two lines off a terminal, and between two paintings on one
PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 0.2
#: seconds without a request after which the line is shown all the same
SILENT_S = 2.0


class Screen:
    """stderr while a run goes on: a live line at the bottom, everything else above it."""

    def __init__(self) -> None:
        #: the question that somebody is answering: no live line meanwhile
        self.question = ""
        self._live: Any = None

    @property
    def is_terminal(self) -> bool:
        """Whether a live line may be shown: a terminal that can, and is allowed to."""
        return is_terminal(sys.stderr) and os.environ.get("TERM", "") not in {"", "dumb"}

    def write(self, text: str) -> int:
        """Write events above the live line; they end in a line break."""
        if self._live is None:
            if sys.stderr is not None:
                sys.stderr.write(self._above_question(text) if self.question else text)
        elif text.strip():
            self._live.console.out(text.rstrip("\n"), highlight=False)
        return len(text)

    def flush(self) -> None:
        """Hand over what was written."""
        if sys.stderr is not None:
            sys.stderr.flush()

    def say(self, line: str) -> None:
        """Print one line for people, above whatever stays at the bottom."""
        with contextlib.suppress(OSError, ValueError):
            self.write(output.masked(line) + "\n")
            self.flush()

    def ask(self, question: str) -> None:
        """Put a question as the last line; it stays there until it is answered."""
        self.close()
        with contextlib.suppress(OSError, ValueError):
            self.write(question)
            self.flush()
        self.question = question

    def answered(self, *, is_line_open: bool) -> None:
        """End the question; nothing may be glued to it."""
        self.question = ""
        if is_line_open:
            self.say("")

    def _above_question(self, text: str) -> str:
        """Insert lines above the question, with what was typed of an answer so far."""
        lines = text.rstrip("\n").split("\n")
        if not self.is_terminal:
            return "\n" + "\n".join(lines) + f"\n{self.question}"
        width = _columns() - 1
        lines = [line[: width if line.isascii() else width // 2] for line in lines]
        # down and up: there is a line below; keep the place; insert a line and write it; go back
        return "".join(f"\x1bD\x1bM\x1b7\r\x1b[L{line}\x1b8\x1b[B" for line in lines)

    @property
    def is_open(self) -> bool:
        """Whether a live line is shown."""
        return self._live is not None

    async def open(self) -> None:
        """Begin a live line, unless a question came meanwhile."""
        live = await asyncio.to_thread(_make_live)
        if not self.question:
            live.start()
            self._live = live

    def paint(self, line: str) -> None:
        """Show this as the live line; wide characters may still have to be cut."""
        if self._live is None:
            return
        with contextlib.suppress(OSError, ValueError):
            self._live.update(_one_line(line), refresh=True)

    def close(self) -> None:
        """Take the live line away."""
        if self._live is not None:
            live, self._live = self._live, None
            with contextlib.suppress(OSError, ValueError):
                live.stop()


def _columns() -> int:
    try:
        return os.get_terminal_size(2).columns or 80
    except OSError:
        return 80


async def show(progress: Progress, screen: Screen, clock: Clock) -> None:
    """Show how far the run is until cancelled."""
    pulse = Pulse()
    try:
        if screen.is_terminal:
            await _show_live(progress, pulse, screen, clock)
        else:
            await _show_plain(progress, pulse, clock)
    finally:
        screen.close()


async def _show_live(progress: Progress, pulse: Pulse, screen: Screen, clock: Clock) -> None:
    began_s = clock.now_s()
    while True:
        now_s = clock.now_s()
        pulse.look(progress, now_s=now_s)
        # the first request does not wait for it; one that cannot leave is not waited for in silence
        is_due = progress.requests or now_s - began_s > SILENT_S
        if is_due and not screen.question:
            if not screen.is_open:
                await screen.open()
            screen.paint(progress_line(progress, pulse, now_s=now_s, width=_columns()))
        await clock.sleep(LIVE_EVERY_S)


async def _show_plain(progress: Progress, pulse: Pulse, clock: Clock) -> None:
    while True:
        pulse.look(progress, now_s=clock.now_s())
        await clock.sleep(PLAIN_EVERY_S)
        now_s = clock.now_s()
        pulse.look(progress, now_s=now_s)
        at = iso_time(clock.wall_ms())[11:19]
        output.say(f"{at}Z {progress_line(progress, pulse, now_s=now_s)}")


def _make_live() -> Any:
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.live import Live  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    return Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)


def _one_line(line: str) -> Any:
    from rich.text import Text  # noqa: PLC0415 - see above

    return Text(line, no_wrap=True, overflow="ellipsis")
