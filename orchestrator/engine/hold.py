"""After quiet: a hold watches over it, and calls in progress are counted.

What is not proven at the end of a hold gets a minute more.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.engine.passes import make_pass
from orchestrator.engine.stop import StoppedError
from orchestrator.errors import StorageError
from orchestrator.policy.quiet import REGAIN_S
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from orchestrator.engine.emergency import Emergency
    from orchestrator.engine.vdns import Vdn

#: seconds between two looks at a quiet VDN that is being held; one round's time where that is more
_HOLD_LOOK_S = 2.0


async def after_quiet(emergency: Emergency) -> None:
    """Hold quiet where that was asked for, and count calls beside it where CC-CMS is configured.

    Raises:
        StoppedError: the run is ending.
    """
    if emergency.count_calls is None:
        if emergency.hold_s:
            await hold(emergency)
        return
    context = emergency.context
    context.lift_deadline()
    if not emergency.hold_s:
        await _begin_counting_alone(emergency)
    counting = asyncio.create_task(_count(emergency))
    context.stopping.on_stop(lambda: _call_off(counting))
    try:
        if emergency.hold_s:
            emergency.is_holding = True
            await hold(emergency)
            emergency.is_holding = False
            if not all(map(emergency.vdns.is_quiet, emergency.vdns.by_id.values())):
                return
            await _begin_counting_alone(emergency)
        await asyncio.wait({counting})
    finally:
        emergency.is_holding = False
        counting.cancel()
        await asyncio.wait({counting})


async def _begin_counting_alone(emergency: Emergency) -> None:
    """From here on nothing can change the proof: a kill must not lose it."""
    progress = emergency.context.progress
    progress.phase, progress.notice = "quiet, counting calls", ""
    if emergency.note_proof is not None:
        await emergency.note_proof()


def _call_off(counting: asyncio.Task[None]) -> None:
    counting.cancel()


async def _count(emergency: Emergency) -> None:
    assert emergency.count_calls is not None
    with contextlib.suppress(StoppedError):
        try:
            await emergency.count_calls()
        except StorageError as error:  # in a cluster: another worker has it now
            emergency.context.stopping.stop(Ended.STORAGE, str(error))


async def hold(emergency: Emergency) -> None:
    """Watch over quiet: what starts is paused, also past the deadline."""
    context = emergency.context
    context.lift_deadline()
    context.progress.phase = "holding"
    began_s = context.clock.now_s() - emergency.held_s
    until_s = began_s + emergency.hold_s

    async def watch(vdn: Vdn) -> None:
        while context.clock.now_s() < until_s:
            if not emergency.vdns.is_quiet(vdn):
                vdn.end = None
                await emergency.advance(vdn)
                continue
            newest = vdn.proof.newest
            assert newest is not None
            due_s = min(newest.ended_s + _hold_look_s(emergency), until_s)
            if context.clock.now_s() < due_s:
                await emergency.context.stopping.pause(due_s - context.clock.now_s())
            if context.clock.now_s() < until_s:
                await make_pass(emergency, vdn)

    async def count() -> None:
        while context.clock.now_s() < until_s and not context.stopping.is_stopping:
            try:
                await context.journal.note(held_s=context.clock.now_s() - began_s)
            except StorageError as error:  # in a cluster: another worker has it now
                context.stopping.stop(Ended.STORAGE, str(error))
            await context.stopping.sleep(min(_HOLD_LOOK_S, until_s - context.clock.now_s()))

    counting = asyncio.create_task(count())
    try:
        with context.progress.waiting("hold", until_s, "watching for another"):
            await emergency.each(watch, emergency.vdns.by_id.values())
    finally:
        counting.cancel()
    await _regain(emergency, until_s + REGAIN_S)


async def _regain(emergency: Emergency, until_s: float) -> None:
    """After the hold, look for up to a minute at what is not proven."""

    async def prove(vdn: Vdn) -> None:
        while not emergency.vdns.is_quiet(vdn) and emergency.context.clock.now_s() < until_s:
            vdn.end = None
            await emergency.advance(vdn)

    emergency.context.stopping.check()
    while not await emergency.prove_together(until_s=until_s):
        if emergency.context.clock.now_s() >= until_s:
            return
        await emergency.each(prove, emergency.vdns.by_id.values())
        emergency.context.stopping.check()


def _hold_look_s(emergency: Emergency) -> float:
    """Seconds between two looks: not more than a third of the rate, all VDNs together."""
    rate_per_s = emergency.context.progress.ceiling_per_s or 1.0
    return max(_HOLD_LOOK_S, 3 * len(emergency.vdns.by_id) / rate_per_s)
