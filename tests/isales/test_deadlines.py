"""Time limits under one timer: who is late, who is not, and whose cancellation it was."""

from __future__ import annotations

import asyncio
import math

import pytest

from orchestrator.isales.deadlines import Deadline, Deadlines


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def wait_under(all_of_them: Deadlines, *, limit_s: float, wait_s: float) -> float:
    """Wait under a limit; when it ended, seconds from the start."""
    began_s = now_s()
    with Deadline(all_of_them) as deadline:
        deadline.move(began_s + limit_s)
        await asyncio.sleep(wait_s)
    return now_s() - began_s


async def test_a_limit_that_passes_is_a_timeout() -> None:
    """An hour's wait under ten seconds: TimeoutError, after ten."""
    began_s = now_s()

    with pytest.raises(TimeoutError):
        await wait_under(Deadlines(), limit_s=10, wait_s=3600)

    assert now_s() - began_s == pytest.approx(10)


async def test_each_has_its_own_limit() -> None:
    """A hundred under one timer, begun in any order: each ends when it should."""
    all_of_them = Deadlines()
    limits_s = [(number * 37) % 100 + 1 for number in range(100)]
    ends: dict[int, float] = {}

    async def one(limit_s: int) -> None:
        began_s = now_s()
        with pytest.raises(TimeoutError):
            await wait_under(all_of_them, limit_s=limit_s, wait_s=3600)
        ends[limit_s] = now_s() - began_s

    await asyncio.gather(*(one(limit_s) for limit_s in limits_s))

    assert ends == pytest.approx({limit_s: limit_s for limit_s in limits_s})


async def test_a_limit_can_be_moved_and_taken_away() -> None:
    """One second, then none, then five from the third on: it ends at eight."""
    began_s = now_s()

    async def wait() -> None:
        with Deadline(Deadlines()) as deadline:
            deadline.move(began_s + 1)
            deadline.move(math.inf)
            await asyncio.sleep(3)
            deadline.move(began_s + 8)
            await asyncio.sleep(3600)

    with pytest.raises(TimeoutError):
        await wait()

    assert now_s() - began_s == pytest.approx(8)


async def test_whoever_is_in_time_hears_nothing_of_it() -> None:
    """A second's wait under two: it ends as it would, and nothing comes after."""
    assert await wait_under(Deadlines(), limit_s=2, wait_s=1) == pytest.approx(1)
    await asyncio.sleep(10)


async def test_a_cancellation_from_outside_stays_one() -> None:
    """Cancelled by its owner before the limit: CancelledError, not TimeoutError."""
    waiting = asyncio.create_task(wait_under(Deadlines(), limit_s=10, wait_s=3600))
    await asyncio.sleep(1)

    waiting.cancel()

    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_a_cancellation_together_with_the_limit_is_not_lost() -> None:
    """Cancelled by its owner in the very step in which the limit passes: CancelledError."""
    expired: list[Deadline] = []

    async def wait() -> None:
        with Deadline(Deadlines()) as deadline:
            expired.append(deadline)
            await asyncio.sleep(3600)

    waiting = asyncio.create_task(wait())
    await asyncio.sleep(1)

    expired[0].expire()
    waiting.cancel()

    await asyncio.wait([waiting])
    assert waiting.cancelled()


async def test_outside_of_a_task_there_is_no_limit() -> None:
    """A callback of the loop has nothing that could be cancelled: refused in words."""
    raised: list[BaseException] = []

    def callback() -> None:
        try:
            with Deadline(Deadlines()):
                pass
        except RuntimeError as error:
            raised.append(error)

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert [str(error) for error in raised] == ["a deadline is used outside of a task"]
