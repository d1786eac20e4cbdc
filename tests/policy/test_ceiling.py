"""Whose turn it is, when several runs share one ceiling."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.policy.ceiling import LATE_S, Claim, Turn, next_turn
from orchestrator.policy.pacer import GUARD_S, SLACK_S

NOW_S = 1000.0
WINDOW_S = 1.0 + GUARD_S
INTERVAL_S = WINDOW_S / 10


def claim(rate_per_s: float = 10, *, emergency: bool = False, **times: float) -> Claim:
    """A run that has sent something just now, unless told otherwise."""
    return Claim(rate_per_s, emergency, **({"left_s": NOW_S - 0.1} | times))


def waiting(since_s: float = NOW_S - 1, asks_at_s: float = NOW_S, **more: Any) -> Claim:
    """A run that waits, and will ask about now."""
    return claim(since_s=since_s, asks_at_s=asks_at_s, **more)


ME = Claim(10, emergency=False, since_s=NOW_S)


def turn(*others: Claim, mine: Claim = ME, slot_s: float = -math.inf, left: float = 0.0) -> Turn:
    """The decision at NOW_S; the departure L back left `left` seconds ago, 0.0: there was none."""
    back_s = NOW_S - left if left else -math.inf
    return next_turn(mine, others, now_s=NOW_S, slot_s=slot_s, left_s=lambda _: back_s)


IDLE = [
    (),
    (claim(left_s=NOW_S - WINDOW_S - 0.001),),
    (claim(left_s=-math.inf),),
    (waiting(asks_at_s=NOW_S - LATE_S - 0.001, left_s=NOW_S - 60),),
    (claim(0.5, left_s=NOW_S - 2.02),),
]


@pytest.mark.parametrize("others", IDLE)
def test_a_lone_run_is_left_to_its_own_pacer(others: tuple[Claim, ...]) -> None:
    """Nobody else waits or has just left: no wait, whatever the log says."""
    assert turn(*others, slot_s=NOW_S, left=0.1) == Turn(0.0, NOW_S)


@pytest.mark.parametrize(
    ("slot_s", "left", "wait_s"),
    [
        (-math.inf, 0.0, 0.0),
        (NOW_S - INTERVAL_S, 0.0, 0.0),
        (NOW_S - INTERVAL_S + 0.02, 0.0, 0.02),
        (-math.inf, WINDOW_S, 0.0),
        (-math.inf, WINDOW_S - 0.3, 0.3),
        (NOW_S, WINDOW_S - 0.3, 0.3),
        (NOW_S - INTERVAL_S + 1e-7, 0.0, 0.0),
    ],
)
def test_departures_keep_the_window_and_the_spacing(
    slot_s: float, left: float, wait_s: float
) -> None:
    """The later of the two laws; less than a microsecond is nothing."""
    made = turn(claim(), slot_s=slot_s, left=left)

    assert made.wait_s == pytest.approx(wait_s)
    assert (made.others, made.yields) == (1, False)


@pytest.mark.parametrize(
    ("others", "ahead"),
    [
        ([waiting()], 1),
        ([waiting(), waiting(NOW_S - 2)], 2),
        ([waiting(NOW_S + 0.001)], 0),
        ([waiting(asks_at_s=NOW_S + 3 * INTERVAL_S)], 0),
        ([waiting(asks_at_s=NOW_S - LATE_S - 0.001)], 0),
        ([claim()], 0),
        ([waiting(NOW_S + 0.001, emergency=True)], 1),
    ],
)
def test_who_has_waited_longest_goes_first_and_an_emergency_before_all(
    others: list[Claim], ahead: int
) -> None:
    """Each that comes first costs one interval; who does not wait or is late is passed over."""
    assert turn(*others).wait_s == pytest.approx(ahead * INTERVAL_S)


def test_an_emergency_waits_for_nobody_and_a_batch_run_knows_that_it_yields() -> None:
    """It has the next slot; between two emergencies the older wait counts."""
    emergency = ME._replace(emergency=True)

    assert turn(waiting(), mine=emergency) == Turn(0.0, NOW_S - SLACK_S, 1, yields=False)
    assert turn(waiting(emergency=True), mine=emergency).wait_s == pytest.approx(INTERVAL_S)
    assert turn(claim(emergency=True)).yields


def test_a_batch_run_behind_an_emergency_does_not_ask_all_the_time() -> None:
    """At 2,000/s an interval is half a millisecond; it asks a hundred times a second."""
    fast = waiting(rate_per_s=2000, emergency=True)

    assert turn(fast, mine=ME._replace(rate_per_s=2000)).wait_s == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("mine", "other", "interval_s"),
    [(10, 40, WINDOW_S / 40), (40, 10, WINDOW_S / 40), (0.5, 0.25, 2 + GUARD_S), (1, 1, WINDOW_S)],
)
def test_the_ceiling_is_the_highest_rate(mine: float, other: float, interval_s: float) -> None:
    """Below one a second the window is longer."""
    made = turn(claim(other), mine=ME._replace(rate_per_s=mine), slot_s=NOW_S)

    assert made.wait_s == pytest.approx(interval_s)


@given(slot_s=st.floats(NOW_S - 5, NOW_S + 1), left=st.floats(0.01, 5))
def test_lateness_is_forgiven_for_the_slack_only(slot_s: float, left: float) -> None:
    """Property: the next slot is never earlier than an interval after the last, or the slack."""
    made = turn(claim(), slot_s=slot_s, left=left)

    assert made.slot_s >= max(slot_s + INTERVAL_S, NOW_S - SLACK_S)
    assert made.slot_s <= max(slot_s + INTERVAL_S, NOW_S - SLACK_S, NOW_S - left + WINDOW_S)
