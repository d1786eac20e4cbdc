"""The present, waiting, and chance: the only file that may ask for them.

Intervals are measured on `now_s`; `wall_ms` is for people, signatures and the journal.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the product may know about time and chance."""

    def now_s(self) -> float:
        """Seconds on the running loop's clock, which never goes back; its zero means nothing."""
        ...

    def wall_ms(self) -> int:
        """Milliseconds since the epoch, UTC; may jump either way."""
        ...

    def local_text(self) -> str:
        """Our local time as the server writes begin times: `yyyy-MM-dd HH:mm:ss`."""
        ...

    async def sleep(self, wait_s: float) -> None:
        """Wait that many seconds; zero lets others run once."""
        ...

    def chance(self) -> float:
        """A number in [0, 1)."""
        ...


class SystemClock:
    """The machine's own clock and chance."""

    __slots__ = ()

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def local_text(self) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S")

    async def sleep(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)

    def chance(self) -> float:
        return random.random()
