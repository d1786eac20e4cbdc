"""After quiet: a hold watches over it, and calls in progress are counted.

What is not proven at the end of a hold gets a minute more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.engine.passes import make_pass
from orchestrator.errors import StorageError
from orchestrator.policy.quiet import REGAIN_S
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.engine.emergency import Emergency
    from orchestrator.engine.silence import CallCounter
    from orchestrator.engine.vdns import Vdn
    from orchestrator.store import RunRecord

#: seconds between two looks at a quiet VDN that is being held; one round's time where that is more
_HOLD_LOOK_S = 2.0


async def hold_and_count(
    emergency: Emergency,
    record: RunRecord,
    counter: CallCounter,
    note_proof: Callable[[], Awaitable[None]],
) -> None:
    """Count calls, beside the hold where one was asked for.

    Raises:
        StoppedError: the run is ending.
    """
    context = emergency.context
    context.lift_deadline()
    counter.is_holding = record.hold_s > 0
    counting = asyncio.create_task(counter.run())
    context.stopping.on_stop(counting.cancel)
    try:
        if record.hold_s:
            await hold(emergency, record)
            counter.is_holding = False
        if all(vdn.is_quiet for vdn in emergency.vdns.values()):
            context.progress.phase, context.progress.notice = "quiet, counting calls", ""
            # From here on nothing can change the proof: a kill must not lose it.
            await note_proof()
            await asyncio.wait({counting})
    finally:
        counting.cancel()
        await asyncio.wait({counting})


async def hold(emergency: Emergency, record: RunRecord) -> None:
    """Watch over quiet: what starts is paused, also past the deadline.

    Raises:
        StoppedError: the run is ending.
    """
    context = emergency.context
    clock, stopping = context.clock, context.stopping
    context.lift_deadline()
    context.progress.phase = "holding"
    began_s = clock.now_s() - record.held_s
    until_s = began_s + record.hold_s
    # not more than a third of the rate, all VDNs together
    rate_per_s = context.progress.ceiling_per_s or 1.0
    look_again_s = max(_HOLD_LOOK_S, 3 * len(emergency.vdns) / rate_per_s)

    async def watch(vdn: Vdn) -> None:
        while clock.now_s() < until_s:
            if not vdn.is_quiet:
                vdn.end = None
                await emergency.advance(vdn)
                continue
            assert vdn.proof.newest is not None
            due_s = min(vdn.proof.newest.ended_s + look_again_s, until_s)
            await stopping.pause(max(0.0, due_s - clock.now_s()))
            if clock.now_s() < until_s:
                await make_pass(emergency, vdn)

    async def count() -> None:
        while clock.now_s() < until_s and not stopping.is_stopping:
            try:
                await context.journal.note(held_s=clock.now_s() - began_s)
            except StorageError as error:  # in a cluster: another worker has it now
                stopping.stop(Ended.STORAGE, str(error))
            await stopping.sleep(min(_HOLD_LOOK_S, until_s - clock.now_s()))

    counting = asyncio.create_task(count())
    try:
        with context.progress.waiting("hold", until_s, "watching for another"):
            await emergency.each(watch, emergency.vdns.values())
    finally:
        counting.cancel()
    await _regain(emergency, until_s + REGAIN_S)


async def _regain(emergency: Emergency, until_s: float) -> None:
    """After the hold, look for up to a minute at what is not proven."""
    context = emergency.context

    async def prove(vdn: Vdn) -> None:
        while not vdn.is_quiet and context.clock.now_s() < until_s:
            vdn.end = None
            await emergency.advance(vdn)

    context.stopping.check()
    while not await emergency.prove_together(until_s=until_s):
        if context.clock.now_s() >= until_s:
            return
        await emergency.each(prove, emergency.vdns.values())
        context.stopping.check()
