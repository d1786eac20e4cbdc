"""Slices of a rate that several machines share: at most R in any second, emergencies first."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.policy.pacer import GUARD_S, TICK_S
from orchestrator.policy.slices import LATE_S, SLICE_S, Slice, Slots, window_s

NOW_S = 1000.0
# -- a worker's side ------------------------------------------------------------------------------


def slots(trip_s: float = 0.0, **changes: Any) -> Slots:
    """Slots after one answer that came at NOW_S."""
    made = Slots()
    answer = Slice(50.0, 0.010, 0.002, 3, 0.0, yields=False)._replace(**changes)
    made.record(answer, asked_s=NOW_S - trip_s, now_s=NOW_S, chance=0.5)
    return made


def test_departures_leave_one_by_one() -> None:
    """From the answer on: 10, 12 and 14 ms later; then it is worth asking again."""
    made = slots()
    left = []
    now_s = NOW_S
    for _ in range(3):
        now_s += made.take(now_s)
        assert made.take(now_s) == 0.0
        left.append(now_s - NOW_S)

    assert left == pytest.approx([0.010, 0.012, 0.014])
    assert made.take(now_s) == TICK_S


def test_what_is_late_does_not_leave() -> None:
    """A frozen worker, or an answer that took longer than LATE_S: thrown away, and counted."""
    frozen, slow = slots(), slots(trip_s=LATE_S + 0.001)

    assert (frozen.held, slow.held) == (3, 3)
    assert frozen.take(NOW_S + 12.0) > 0.0
    assert slow.take(NOW_S + 0.010) > 0.0
    assert (frozen.lost, slow.lost) == (3, 1)


def test_more_is_asked_for_at_half() -> None:
    """Six wait and three are held: three more. Five wait: not yet. Too soon: none."""
    made = slots()

    assert [made.wanted(NOW_S, waiting=waiting) for waiting in (6, 5, 1)] == [3, 0, 0]
    made.hold_off(NOW_S + 1)
    made.hold_off(NOW_S + 0.5)
    assert made.wanted(NOW_S + 0.9, waiting=6) == 0
    assert made.wanted(NOW_S + 1.0, waiting=6) == 6


def test_who_gets_none_asks_again_when_told_and_not_with_all_others() -> None:
    """After 20 ms, and half of what chance may add."""
    made = slots(given=0, again_s=0.020)
    due_s = NOW_S + 0.020 + SLICE_S / 2

    assert made.take(NOW_S) == pytest.approx(due_s - NOW_S)
    assert [made.wanted(at_s, waiting=1) for at_s in (due_s - 0.001, due_s + 0.001)] == [0, 1]


def test_a_clock_that_leapt_forward_gives_nothing() -> None:
    """What was given before it, and what is given after it, would be for the same time."""
    made = slots()
    answer = Slice(53.0, 0.0, 0.002, 5, 0.0, yields=False)
    made.record(answer, asked_s=NOW_S + 1.0, now_s=NOW_S + 1.001, chance=0.0)

    assert made.lost == 5
    made.take(NOW_S + 1.5)
    assert made.wanted(NOW_S + 2.0, waiting=1) == 0
    assert made.wanted(NOW_S + 2.1, waiting=1) == 1


# -- both, many workers ---------------------------------------------------------------------------


def test_the_guard_stands_between_the_last_of_one_second_and_the_next() -> None:
    """Departure n + L leaves a second and a guard after n, the one late and the other not."""
    assert window_s(400) - LATE_S == pytest.approx(1.0 + GUARD_S)
