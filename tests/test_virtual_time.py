"""Virtual time keeps its promises: exact, free, and never ahead of a thread."""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import virtual_time
from tests.virtual_time import HungError, VirtualTimeLoop, now_s


async def test_an_hour_passes_in_no_time() -> None:
    """A sleep of an hour ends at second 3,600 of the loop's clock, which began at 0."""
    assert now_s() == 0.0

    await asyncio.sleep(3600)

    assert now_s() == pytest.approx(3600.0, abs=1e-6)


async def test_a_timeout_fires_at_its_second_and_not_before() -> None:
    """asyncio.timeout(3600) lets 3,599 s of work pass, and ends 3,601 s of it at 3,600."""
    async with asyncio.timeout(3600):
        await asyncio.sleep(3599)
    began_s = now_s()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3600):
            await asyncio.sleep(3601)

    assert now_s() - began_s == pytest.approx(3600.0, abs=1e-6)


async def test_a_thread_is_not_overtaken_by_a_timer() -> None:
    """A thread that answers after a real pause beats a timer of a thousandth of a second."""
    pause = threading.Event()

    async with asyncio.timeout(0.001):
        answered = await asyncio.to_thread(pause.wait, 0.02)

    assert answered is False
    assert now_s() == 0.0


async def test_time_moves_on_when_the_thread_has_answered() -> None:
    """Thread, sleep, thread: only the sleep shows on the clock, own executors included."""
    with ThreadPoolExecutor(1) as executor:
        loop = asyncio.get_running_loop()
        for _ in range(50):
            await loop.run_in_executor(executor, threading.get_ident)
            await asyncio.sleep(2)

    assert now_s() == pytest.approx(100.0, abs=1e-6)


def test_a_hang_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait that nothing can end raises instead of hanging the suite."""
    monkeypatch.setattr(virtual_time, "HANG_S", 0.01)

    async def wait_for_nothing() -> None:
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, pytest.raises(HungError):
        runner.run(wait_for_nothing())


async def test_a_socket_is_refused_in_virtual_time() -> None:
    """Opening a socket without the mark fails at once and says which mark is missing."""
    left, right = socket.socketpair()
    with left, right, pytest.raises(RuntimeError, match="sockets"):
        asyncio.get_running_loop().add_reader(left, print)
