"""The machine's clock keeps its few promises."""

from __future__ import annotations

import asyncio

from orchestrator.clock import Clock, SystemClock


async def test_the_present_is_the_loops_own() -> None:
    """Timers of the loop and our intervals can be compared."""
    clock: Clock = SystemClock()
    loop = asyncio.get_running_loop()

    assert loop.time() <= clock.now_s() <= loop.time()


async def test_the_wall_clock_counts_milliseconds_since_the_epoch() -> None:
    """Between the years 2020 and 2100."""
    assert 1_577_836_800_000 < SystemClock().wall_ms() < 4_102_444_800_000


async def test_a_sleep_of_zero_lets_others_run() -> None:
    """A callback that was ready before runs in between."""
    ran: list[str] = []
    asyncio.get_running_loop().call_soon(ran.append, "other")

    await SystemClock().sleep(0)

    assert ran == ["other"]


def test_chance_is_at_least_zero_and_below_one() -> None:
    """A thousand draws, not all the same."""
    draws = {SystemClock().chance() for _ in range(1000)}

    assert all(0.0 <= draw < 1.0 for draw in draws)
    assert len(draws) > 1
