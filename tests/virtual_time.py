"""An event loop in which waiting costs nothing and deadlines stay exact.

- The clock moves only when nothing is ready to run; it then jumps to the next timer.
- While a thread works for the loop, the clock stands still, so no thread is overtaken (shutting
  down the default executor counts as work too).
- a socket cannot live here, because the world outside does not jump along: a test that opens one,
  or starts a process, is marked `sockets` and runs on the real loop.
- When nothing is ready, nothing is scheduled and no thread is at work, the test has hung; it is
  told so in words after a few real seconds.

Every async test runs in this loop unless it is marked `sockets` (tests/conftest.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: seconds of real time in which a thread the loop was not told of may still wake it
HANG_S = 10.0


class HungError(RuntimeError):
    """Nothing will ever happen again in this loop."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop whose clock starts at 0 and jumps over every wait."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._busy_threads = 0
        self._own_executor: ThreadPoolExecutor | None = None
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Seconds since the loop was made, all of them skipped."""
        return self._now_s

    @property
    def threads_are_busy(self) -> bool:
        """Whether a thread owes this loop an answer."""
        return self._busy_threads > 0

    def jump(self, wait_s: float) -> None:
        """Let `wait_s` seconds have passed."""
        self._now_s += wait_s

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Run `func` in a thread, with the clock standing still until it has returned."""
        if executor is None:
            if self._own_executor is None:
                self._own_executor = ThreadPoolExecutor(thread_name_prefix="virtual")
                self.set_default_executor(self._own_executor)
            executor = self._own_executor
        self._busy_threads += 1
        promise = executor.submit(func, *args)
        answer = asyncio.wrap_future(promise, loop=self)
        # Added after wrap_future's own callback: the answer is queued first, then the count falls.
        promise.add_done_callback(self._thread_returned)
        return answer

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the threads, which counts as a thread at work."""
        self._busy_threads += 1
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._busy_threads -= 1

    def _thread_returned(self, _: Future[Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
            self.call_soon_threadsafe(self._forget_one_thread)

    def _forget_one_thread(self) -> None:
        self._busy_threads -= 1


class _JumpingSelector(selectors.BaseSelector):
    """Asks the real selector without waiting, and moves the loop's clock instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()
        self._self_pipe: Any = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self._self_pipe is None:  # the first one is the loop's own, by which threads wake it
            self._self_pipe = fileobj
        elif fileobj is not self._self_pipe:
            msg = "a socket or a child process in virtual time: mark the test `sockets`"
            raise RuntimeError(msg)
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop.threads_are_busy:
            return self._real.select(None)
        if timeout is None:
            ready = self._real.select(HANG_S)
            if not ready:
                msg = (
                    "nothing is ready, nothing is scheduled, no thread is at work: this test hangs"
                )
                raise HungError(msg)
            return ready
        self._loop.jump(timeout)
        return ready

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


def now_s() -> float:
    """Virtual seconds since the test's loop was made."""
    return asyncio.get_running_loop().time()
