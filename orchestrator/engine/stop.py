"""When a run must end, and how everything that waits learns of it.

The first reason counts. Every wait of the engine is a sleep here, so that a stop wakes all of them.
After a stop nothing new is sent; whoever sent a request awaits its answer.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from orchestrator.reports.summary import Ended

#: a shorter wait may be lost in the rounding of the clock, and whoever waits for an instant would
#: ask again and again without time passing
_LEAST_S = 1e-6

_SIGNALS = {
    signal.SIGINT: Ended.SIGNAL_INT,
    signal.SIGTERM: Ended.SIGNAL_TERM,
    signal.SIGHUP: Ended.SIGNAL_HUP,
}


class StoppedError(Exception):
    """The run is ending: whoever was waiting gives up what it was about to do."""


class Alarm:
    """A sleep that can be ended early."""

    def __init__(self) -> None:
        # a dict for its order: who slept first wakes first, and a seed repeats a run exactly
        self._sleepers: dict[asyncio.Future[None], None] = {}

    async def sleep(self, wait_s: float | None) -> None:
        """Wait so many seconds, or until `ring`; None waits for `ring` alone."""
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        self._sleepers[sleeper] = None
        timer = None if wait_s is None else loop.call_later(max(_LEAST_S, wait_s), _wake, sleeper)
        try:
            await sleeper
        finally:
            self._sleepers.pop(sleeper, None)
            if timer is not None:
                timer.cancel()

    def ring(self) -> None:
        """Wake everybody who sleeps here."""
        for sleeper in tuple(self._sleepers):
            _wake(sleeper)


class Stopping:
    """Why and whether the run is ending."""

    def __init__(self) -> None:
        self.ended: Ended = Ended.FINISHED
        #: the reason in words for people; empty while the run goes on
        self.why = ""
        self._stopping = False
        self._alarm = Alarm()
        self._listeners: list[Callable[[], object]] = []

    @property
    def is_stopping(self) -> bool:
        """Whether nothing new may be sent."""
        return self._stopping

    def stop(self, ended: Ended, why: str) -> None:
        """End the run for this reason, unless it is ending already."""
        if self._stopping:
            return
        self._stopping = True
        self.ended = ended
        self.why = why
        self._alarm.ring()
        for listener in self._listeners:
            listener()

    def on_stop(self, listener: Callable[[], object]) -> None:
        """Call this when the run begins to end."""
        self._listeners.append(listener)

    def check(self) -> None:
        """Give up here when the run is ending.

        Raises:
            StoppedError: it is.
        """
        if self._stopping:
            raise StoppedError

    async def sleep(self, wait_s: float | None) -> None:
        """Wait so many seconds; returns early when the run is ending."""
        if not self._stopping:
            await self._alarm.sleep(wait_s)

    async def pause(self, wait_s: float) -> None:
        """Wait so many seconds, or give up when the run is ending.

        Raises:
            StoppedError: it is.
        """
        self.check()
        await self.sleep(wait_s)
        self.check()


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


def heed_signals(
    stopping: Stopping,
    *,
    hangup_ends: bool,
    taken: Callable[[str], None],
    leave: Callable[[int], None],
) -> None:
    """Let the first SIGINT, SIGTERM (and SIGHUP) end the run, the second one leave at once.

    A SIGHUP that was ignored at the start stays ignored; in a pause-all none ends it.

    Args:
        stopping: learns of the first.
        hangup_ends: whether a lost terminal ends the run.
        taken: called with the name of the first.
        leave: called with the exit code on the second signal; must not return.
    """
    loop = asyncio.get_running_loop()
    # Not `stopping.ended`: the run may be ending for another reason already.
    is_second = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal is_second
        if is_second:
            leave(128 + number)
        is_second = True
        stopping.stop(_SIGNALS[number], f"{number.name} received")
        taken(number.name)

    for number in _SIGNALS:
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        if number is signal.SIGHUP and not hangup_ends:
            # a dropped ssh connection does not stop an emergency
            loop.add_signal_handler(number, lambda: None)
        else:
            loop.add_signal_handler(number, on_signal, number)
