"""C campaigns at work at a time, fed from a stream, so that the list is never in memory.

One is at work for each request in flight, and a few ahead: they commit their intents and outcomes
meanwhile; without them, commits of 5 ms cost 64 requests of 50 ms 15 % of their throughput. At low
concurrency, or while requests wait for the pacer, the rate limit dominates: no work is prepared
ahead, because an intent that has not been sent when the process is killed counts as perhaps sent.

At most C requests are in flight, and MAX_BACKING_OFF campaigns wait for a repeat. A bug in one
campaign does not stop the others. When the run is ending, nothing new begins.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self, cast

from orchestrator.errors import StorageError
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.policy.plan import Planned

#: requests in flight ahead of which nobody is at work: the default of `pace.concurrency`
_FEW = 8
#: enough for two commits' worth of campaigns at 3,000 a second
_AHEAD_MAX = 32
#: campaigns that may wait for their next attempt at a time
MAX_BACKING_OFF = 1_000
#: seconds between two looks at whether there is room again
_ROOM_S = 0.05


class _Places:
    """What is taken, and who waits: by age of the work, then in line."""

    def __init__(self) -> None:
        self.taken = 0
        self.waiting: list[tuple[int, int, asyncio.Future[None], WorkLimit]] = []
        self.numbers = itertools.count()


class WorkLimit:
    """Places for campaigns at work."""

    def __init__(
        self, in_flight: int, *, is_paced: Callable[[], bool], beside: WorkLimit | None = None
    ) -> None:
        """All are free.

        Args:
            in_flight: requests in flight at most, at least 1.
            is_paced: whether requests wait for the pacer now.
            beside: other work in this process, begun before: both share its places, and what
                was begun first goes first.
        """
        self._least = in_flight
        self._most = in_flight + min(max(0, in_flight - _FEW), _AHEAD_MAX)
        self._is_paced = is_paced
        self._places: _Places = _Places() if beside is None else beside._places  # noqa: SLF001 - ours
        self._age = next(self._places.numbers)
        self._own = 0

    async def acquire(self) -> None:
        """Take a place as soon as there is one."""
        places = self._places
        if not places.waiting and self._is_free():
            self._take(1)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(places.waiting, (self._age, next(places.numbers), turn, self))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given to us, and we are going
            raise

    def release(self) -> None:
        """Give a place back."""
        self._give_back(1)

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for a place, of whatever work."""
        return any(not turn.done() for *_, turn, _ in self._places.waiting)

    def close(self) -> None:
        """Its work is over: what was not given back, by a bug or a stop, is free for the others."""
        self._give_back(self._own)

    def _take(self, number: int) -> None:
        self._own += number
        self._places.taken += number

    def _give_back(self, number: int) -> None:
        self._take(-number)
        places = self._places
        while places.waiting and self._is_free():
            *_, turn, limit = heapq.heappop(places.waiting)
            if not turn.done():
                limit._take(1)  # noqa: SLF001 - ours
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
        return self._places.taken < (self._least if self._is_paced() else self._most)

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()


async def run_pool(
    context: RunContext,
    source: AsyncIterator[Planned],
    complete: Callable[[Planned], Awaitable[None]],
) -> None:
    """Bring every campaign of the source to its outcome, C at a time; returns when all are done.

    `complete` is called with a place in the work limit, and gives it back.
    """
    begun: set[asyncio.Task[None]] = set()
    try:
        async for planned in source:
            while (
                context.progress.backing_off >= MAX_BACKING_OFF and not context.stopping.is_stopping
            ):
                await context.stopping.sleep(_ROOM_S)
            await context.dispatcher.work_limit.acquire()
            if context.stopping.is_stopping:
                context.dispatcher.work_limit.release()
                break
            if planned.ref.vdn_id in context.access.closed:
                context.dispatcher.work_limit.release()
                continue
            begun.add(asyncio.create_task(_guarded(context, planned, complete, begun)))
        while begun:
            ended, _ = await asyncio.wait(begun)
            begun -= ended
    finally:
        for one in begun:
            one.cancel()


async def _guarded(
    context: RunContext,
    planned: Planned,
    complete: Callable[[Planned], Awaitable[None]],
    begun: set[asyncio.Task[None]],
) -> None:
    try:
        await complete(planned)
    except StorageError as error:
        context.stopping.stop(Ended.STORAGE, str(error))
    except Exception as error:  # noqa: BLE001 - the last line of defence; it is reported, not swallowed
        ref = planned.ref
        note_bug(context, error, f"campaign {ref.campaign_id} of VDN {ref.vdn_id}")
    finally:
        # No callback for it: that would be one more step of the loop for each campaign.
        begun.discard(cast("asyncio.Task[None]", asyncio.current_task()))


def note_bug(context: RunContext, error: BaseException, where: str) -> None:
    """Record something unforeseen; a lack of memory ends the run, anything else lets it go on."""
    context.bugs.append(f"{where}: {type(error).__name__}: {error}")
    context.events.error(
        "run.bug", where=where, error=f"{type(error).__name__}: {error}", cause=error
    )
    if isinstance(error, MemoryError):
        context.stopping.stop(Ended.BUG, "out of memory")
