"""How many campaigns are at work: one for each request in flight, and a few ahead.

Those ahead commit their intents and outcomes meanwhile; without them, commits of 5 ms cost 64
requests of 50 ms 15 % of their throughput. At low concurrency, or while requests wait for the
pacer, the rate limit dominates: no work is prepared ahead, because an intent that has not been sent
when the process is killed counts as perhaps sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: requests in flight ahead of which nobody is at work: the default of `pace.concurrency`
_FEW = 8
#: enough for two commits' worth of campaigns at 3,000 a second
_AHEAD_MAX = 32


class WorkLimit:
    """Places for campaigns at work."""

    def __init__(self, in_flight: int, *, is_paced: Callable[[], bool]) -> None:
        """All are free.

        Args:
            in_flight: requests in flight at most, at least 1.
            is_paced: whether requests wait for the pacer now.
        """
        self._least = in_flight
        self._most = in_flight + min(max(0, in_flight - _FEW), _AHEAD_MAX)
        self._is_paced = is_paced
        self._taken = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def acquire(self) -> None:
        """Take a place as soon as there is one."""
        if not self._waiting and self._is_free():
            self._taken += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given to us, and we are going
            raise

    def release(self) -> None:
        """Give a place back."""
        self._taken -= 1
        while self._waiting and self._is_free():
            turn = self._waiting.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    @contextmanager
    def given_back_on_failure(self) -> Iterator[None]:
        """Around what is awaited while a place is held that somebody else will give back."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def _is_free(self) -> bool:
        return self._taken < (self._least if self._is_paced() else self._most)

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()
