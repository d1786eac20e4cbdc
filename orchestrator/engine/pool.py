"""C campaigns at work at a time, fed from a stream, so that the list is never in memory.

At most C requests are in flight, and MAX_BACKING_OFF campaigns wait for a repeat. A bug in one
campaign does not stop the others. When the run is ending, nothing new begins.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from orchestrator.errors import StorageError
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from orchestrator.engine.context import RunContext
    from orchestrator.policy.plan import Planned

#: campaigns that may wait for their next attempt at a time
MAX_BACKING_OFF = 1_000
#: seconds between two looks at whether there is room again
_ROOM_S = 0.05


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
            if context.progress.backing_off >= MAX_BACKING_OFF:
                await _room(context)
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


async def _room(context: RunContext) -> None:
    while context.progress.backing_off >= MAX_BACKING_OFF and not context.stopping.is_stopping:
        await context.stopping.sleep(_ROOM_S)


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
