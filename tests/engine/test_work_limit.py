"""Slots for campaigns at work: order, how many ahead, and what a caller who leaves gives back."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.engine.pool import WorkLimit


async def taken_at_once(work_limit: WorkLimit, wanted: int) -> tuple[int, list[asyncio.Task[None]]]:
    """How many of so many callers have a slot when all have asked."""
    callers = [asyncio.create_task(work_limit.acquire()) for _ in range(wanted)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return sum(one.done() for one in callers), callers


async def leave(callers: list[asyncio.Task[None]]) -> None:
    for one in callers:
        one.cancel()
    await asyncio.gather(*callers, return_exceptions=True)


@pytest.mark.parametrize(
    ("in_flight", "at_work", "is_paced"),
    [
        (1, 1, False), (8, 8, False), (9, 10, False), (32, 56, False), (64, 96, False),
        (20, 20, True),
    ],
)  # fmt: skip
async def test_a_few_are_ahead_of_those_in_flight(
    in_flight: int, at_work: int, *, is_paced: bool
) -> None:
    """As many as are in flight beyond eight, 32 at the most; none while the pace holds us back."""
    taken, callers = await taken_at_once(WorkLimit(in_flight, is_paced=lambda: is_paced), 200)
    await leave(callers)

    assert taken == at_work


async def test_a_caller_that_gives_up_leaves_its_place_to_the_next() -> None:
    """The first in line is cancelled before its turn, the second as its turn has just come."""
    work_limit = WorkLimit(1, is_paced=lambda: False)
    await work_limit.acquire()
    first, second, third = (asyncio.create_task(work_limit.acquire()) for _ in range(3))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.sleep(0)
    work_limit.release()
    second.cancel()
    await asyncio.wait([first, second, third])

    assert (first.cancelled(), second.cancelled(), third.cancelled()) == (True, True, False)


async def test_a_slot_given_back_while_the_pace_holds_is_not_given_on_beyond_those_in_flight() -> (
    None
):
    """Ten at work, the pace begins to hold: one comes back, and nobody new is begun."""
    paced = False
    work_limit = WorkLimit(9, is_paced=lambda: paced)
    for _ in range(10):
        await work_limit.acquire()
    waiting = asyncio.create_task(work_limit.acquire())
    await asyncio.sleep(0)

    paced = True
    work_limit.release()
    await asyncio.sleep(0)
    assert not waiting.done()
    work_limit.release()
    await asyncio.wait_for(waiting, 1)


async def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    """The pace has let go, so there is room ahead: it goes to whoever asked first."""
    paced = True
    work_limit = WorkLimit(10, is_paced=lambda: paced)
    _, callers = await taken_at_once(work_limit, 11)
    paced = False

    newcomer = asyncio.create_task(work_limit.acquire())
    await asyncio.sleep(0)
    waited = not newcomer.done()
    work_limit.release()
    await asyncio.sleep(0)
    first_served = callers[-1].done()
    await leave([*callers, newcomer])

    assert waited
    assert first_served


async def test_what_was_begun_first_goes_first() -> None:
    """Two share one place, both ask twice: the older one's campaigns are at work before."""
    older = WorkLimit(1, is_paced=lambda: False)
    younger = WorkLimit(1, is_paced=lambda: False, beside=older)
    got: list[str] = []

    async def ask(work_limit: WorkLimit, name: str) -> None:
        async with work_limit:
            got.append(name)

    async with younger:
        callers = [
            asyncio.create_task(ask(*one))
            for one in ((younger, "a"), (older, "b"), (younger, "c"), (older, "d"))
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*callers)

    assert got == ["b", "d", "a", "c"]


async def test_what_is_over_keeps_no_place_from_the_others() -> None:
    """A bug gave nothing back: the next one has its turn all the same."""
    root = WorkLimit(1, is_paced=lambda: False)
    buggy, other = (WorkLimit(1, is_paced=lambda: False, beside=root) for _ in range(2))
    await buggy.acquire()
    taken, callers = await taken_at_once(other, 1)
    assert taken == 0

    buggy.close()
    await asyncio.gather(*callers)
    other.release()
    assert (await taken_at_once(root, 1))[0] == 1
