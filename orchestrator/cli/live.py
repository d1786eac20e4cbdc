"""How far a run is, as one line: live on a terminal, now and then elsewhere.

rich is loaded in a thread after the first request has left. While a live line is shown, only this
file writes to stderr; events pass through it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.cli import output
from orchestrator.policy.plan import spoken_s
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.engine.progress import Progress

#: seconds between two lines off a terminal, and between two paintings on one
PLAIN_EVERY_S = 5.0
LIVE_EVERY_S = 0.2
#: seconds over which the present rate is measured
_WINDOW_S = 3.0
#: what an outcome is called while the run may still look at it
_NOT_FINAL = {"unknown": "to be checked"}
#: part of the ceiling from which the rate is the limit
_NEARLY = 0.9


@dataclass(slots=True)
class Pulse:
    """Samples of a run's progress, from which its speed is computed."""

    _looks: deque[tuple[float, int, int]] = field(default_factory=deque)
    requests_per_s: float = 0.0
    settled_per_s: float = 0.0

    def look(self, progress: Progress, *, now_s: float) -> None:
        """Take one sample at a moment in monotonic seconds."""
        self._looks.append((now_s, progress.requests, progress.settled))
        while len(self._looks) > 2 and now_s - self._looks[1][0] >= _WINDOW_S:
            self._looks.popleft()
        first_s, requests, settled = self._looks[0]
        passed_s = now_s - first_s
        if passed_s > 0:
            self.requests_per_s = (progress.requests - requests) / passed_s
            self.settled_per_s = max(0.0, (progress.settled - settled) / passed_s)


def progress_line(progress: Progress, pulse: Pulse) -> str:
    """Say in one line how far a run is.

    "pausing 1,204/3,000 · 1,100 paused, 104 already paused · 9.8/s of 10 (limited by --rate)
    · 12 repeats · about 3 min left"
    """
    parts = [_done(progress)]
    counts = ", ".join(
        f"{number:,} {_NOT_FINAL.get(outcome, outcome.value.replace('_', ' '))}"
        for outcome, number in progress.outcomes.most_common()
        if number
    )
    if counts:
        parts.append(counts)
    if progress.ending:
        parts.append(f"ending: {for_terminal(progress.ending, limit=80)}")
        parts.append(f"{progress.in_flight:,} in flight")
        return " · ".join(parts)
    parts.append(_pace(progress, pulse))
    if progress.repeats:
        parts.append(f"{progress.repeats:,} repeat{'s' if progress.repeats > 1 else ''}")
    if progress.backing_off:
        parts.append(f"{progress.backing_off:,} waiting to repeat")
    if progress.breaker:
        parts.append(f"server failing, probing: {for_terminal(progress.breaker, limit=80)}")
    else:
        left = _time_left(progress, pulse)
        if left:
            parts.append(left)
    if progress.notice:
        parts.append(for_terminal(progress.notice, limit=160))
    return " · ".join(parts)


def _done(progress: Progress) -> str:
    if progress.phase == "checking" and progress.campaigns:
        return f"checking {progress.checked:,}/{progress.campaigns:,}"
    if not progress.campaigns:
        return progress.phase
    done = progress.campaigns + progress.reopened - progress.left
    return f"{progress.phase} {done:,}/{progress.campaigns + progress.reopened:,}"


def _pace(progress: Progress, pulse: Pulse) -> str:
    text = f"{pulse.requests_per_s:.1f}/s of {progress.ceiling_per_s:g}"
    if progress.breaker or not progress.requests:
        return text
    if progress.yields:
        return f"{text} (an emergency goes first)"
    if progress.in_line and progress.sharing:
        others = "another run" if progress.sharing == 1 else f"{progress.sharing} other runs"
        return f"{text} (shared with {others})"
    if progress.in_line and progress.is_slowed:
        return f"{text} (slower: the server is too busy)"
    if progress.in_line or pulse.requests_per_s >= _NEARLY * progress.ceiling_per_s:
        return f"{text} (limited by --rate)"
    if progress.concurrency and progress.in_flight >= progress.concurrency:
        return f"{text} (limited by --concurrency {progress.concurrency})"
    return text


def _time_left(progress: Progress, pulse: Pulse) -> str:
    if not progress.campaigns or not progress.left:
        return ""
    per_s = pulse.settled_per_s or progress.ceiling_per_s
    return f"about {spoken_s(progress.left / per_s)} left" if per_s > 0 else ""


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
        """Show this as the live line, cut to the width of the terminal."""
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


def is_terminal(stream: object) -> bool:
    """Whether a stream is a terminal; a closed one is none."""
    try:
        return bool(stream is not None and stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False


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
    while True:
        pulse.look(progress, now_s=clock.now_s())
        if progress.requests and not screen.question:
            if not screen.is_open:
                await screen.open()
            screen.paint(progress_line(progress, pulse))
        await clock.sleep(LIVE_EVERY_S)


async def _show_plain(progress: Progress, pulse: Pulse, clock: Clock) -> None:
    while True:
        pulse.look(progress, now_s=clock.now_s())
        await clock.sleep(PLAIN_EVERY_S)
        pulse.look(progress, now_s=clock.now_s())
        output.say(progress_line(progress, pulse))


def _make_live() -> Any:
    from rich.console import Console  # noqa: PLC0415 - see above
    from rich.live import Live  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    return Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)


def _one_line(line: str) -> Any:
    from rich.text import Text  # noqa: PLC0415 - see above

    return Text(line, no_wrap=True, overflow="ellipsis")
