"""The pacer's laws: the window, even spacing, small bursts, throttling; all in made-up time."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.policy.pacer import GUARD_S, Pacer, SendRecord

#: what the pacer forgives a clock's rounding, twice
TICK_S = 2e-6
RATES = (0.5, 1, 7, 10, 50, 400, 2_000, 20_000)


def on_time(due_s: float) -> float:
    """A timer without fault."""
    return due_s


def late_timers(seed: int, *, late_up_to_s: float = 0.001) -> Callable[[float], float]:
    """Timers that fire after the next whole millisecond, up to so much later."""
    chance = random.Random(seed)
    return lambda due_s: math.ceil(due_s * 1000) / 1000 + chance.random() * late_up_to_s


def leave(pacer: Pacer, *, now_s: float) -> SendRecord:
    """Let a request leave at an instant at which one may."""
    left = pacer.acquire(now_s=now_s)
    assert isinstance(left, SendRecord)
    return left


def send_all(
    pacer: Pacer,
    *,
    until_s: float,
    from_s: float = 0.0,
    wake_s: Callable[[float], float] = on_time,
) -> list[float]:
    """Departures of a caller for whom work always waits, 1 µs of work each."""
    now_s = from_s
    left_s: list[float] = []
    while now_s < until_s:
        wait_s = pacer.wait_s(now_s=now_s)
        if wait_s > 0:
            now_s = wake_s(now_s + wait_s)
        else:
            leave(pacer, now_s=now_s)
            left_s.append(now_s)
            now_s += 1e-6
    return left_s


def at_once(pacer: Pacer, *, now_s: float) -> int:
    """How many may leave in this very instant."""
    count = 0
    while pacer.wait_s(now_s=now_s) == 0:
        leave(pacer, now_s=now_s)
        count += 1
    return count


def worst_second(times_s: list[float]) -> int:
    """The definition, spelt out: the fullest [t, t + 1 s) that begins at a departure."""
    return fullest(times_s, 1)


def fullest(times_s: list[float], window_s: float) -> int:
    """The same for any window; the times must be sorted."""
    return max(bisect_left(times_s, t + window_s) - n for n, t in enumerate(times_s))


def assert_window_law(times_s: list[float], rate_per_s: float) -> None:
    """Departure n + floor(R) leaves a window after departure n."""
    limit = max(1, math.floor(rate_per_s))
    window_s = max(1, 1 / rate_per_s) + GUARD_S
    for first, beyond in zip(times_s, times_s[limit:], strict=False):
        assert beyond - first >= window_s - TICK_S


# ------------------------------------------------------------------------------------ the window


def test_who_may_not_leave_is_told_how_long_to_wait() -> None:
    """`acquire` says what `wait_s` says, and such a departure is not recorded."""
    pacer = Pacer(10)
    assert at_once(pacer, now_s=0.0) == 2
    wait_s = pacer.wait_s(now_s=0.0)

    assert pacer.acquire(now_s=0.0) == wait_s > 0
    assert pacer.departed == 2


@pytest.mark.parametrize("rate_per_s", RATES)
def test_the_rate_is_kept_and_used(rate_per_s: float) -> None:
    """With timers up to 2 ms late: never more than R in a second, and 98 % of R or more."""
    pacer = Pacer(rate_per_s)

    times_s = send_all(pacer, until_s=max(3, 40 / rate_per_s), wake_s=late_timers(1))

    assert_window_law(times_s, rate_per_s)
    assert pacer.worst_window() <= max(1, rate_per_s)
    assert (len(times_s) - 1) / (times_s[-1] - times_s[0]) >= 0.98 * rate_per_s


@given(
    rate_per_s=st.floats(0.05, 120),
    gaps_s=st.lists(
        st.floats(0, 0.02) | st.floats(0, 3) | st.floats(0, 1e4), min_size=1, max_size=300
    ),
    patient=st.booleans(),
    from_s=st.floats(-1e3, 1e7),
)
def test_no_way_of_asking_gets_more_than_the_rate(
    rate_per_s: float, gaps_s: list[float], from_s: float, *, patient: bool
) -> None:
    """Ask often, late, after hours, in bursts: every second holds floor(R) at most [P12]."""
    pacer = Pacer(rate_per_s)
    now_s = from_s
    times_s = []
    for gap_s in gaps_s:
        wait_s = pacer.wait_s(now_s=now_s)
        if wait_s == 0:
            leave(pacer, now_s=now_s)
            times_s.append(now_s)
        now_s += wait_s + gap_s / 100 if patient else gap_s

    assert_window_law(times_s, rate_per_s)
    assert worst_second(times_s) <= max(1, rate_per_s)
    # two that are a second apart to the last digit are in one second or in two, as it rounds
    assert worst_second(times_s) <= pacer.worst_window() <= fullest(times_s, 1 + TICK_S)


@given(
    rate_per_s=st.floats(0.05, 1e5),
    from_s=st.floats(0, 1e8),
    throttled=st.booleans(),
    count=st.integers(1, 40),
)
def test_whoever_waits_as_told_soon_may_leave(
    rate_per_s: float, from_s: float, count: int, *, throttled: bool
) -> None:
    """One wait is enough at a steady rate, a hundred short ones after a cut; no dead spin."""
    pacer = Pacer(rate_per_s)
    now_s = from_s
    for _ in range(count):
        asked = 0
        while (wait_s := pacer.wait_s(now_s=now_s)) > 0:
            assert now_s + wait_s > now_s
            now_s += wait_s
            asked += 1
        leave(pacer, now_s=now_s)
        assert asked <= (100 if throttled else 1)
        if throttled:
            pacer.slow_down(now_s=now_s, until_s=None)


def test_below_one_a_second_there_is_one_per_period() -> None:
    """At 0.1/s a request leaves every 10.15 s (one may be 10 ms early), and silence earns none."""
    pacer = Pacer(0.1)

    times_s = send_all(pacer, until_s=50)

    assert times_s == pytest.approx([0, 10.16, 20.33, 30.50, 40.67], abs=1e-4)
    assert at_once(pacer, now_s=1000) == 1


def test_a_ceiling_lowered_below_one_a_second_counts_from_the_last_departure() -> None:
    """One has left at 50/s; at 0.5/s the next leaves two seconds and a guard later."""
    pacer = Pacer(50)
    leave(pacer, now_s=0)

    pacer.set_ceiling(0.5)

    assert pacer.wait_s(now_s=0) == pytest.approx(2.017)


# ----------------------------------------------------------------------------------- the spacing


@pytest.mark.parametrize(
    ("rate_per_s", "burst"),
    [(0.5, 1), (1, 1), (3, 1), (7, 1), (10, 2), (50, 3), (400, 4), (2_000, 20), (20_000, 197)],
)
def test_silence_earns_a_few_requests_never_a_second_of_them(rate_per_s: float, burst: int) -> None:
    """New, after an hour, after a week: the same few leave at once [P12]."""
    pacer = Pacer(rate_per_s)

    bursts = [at_once(pacer, now_s=now_s) for now_s in (0, 3600, 7 * 24 * 3600)]

    assert bursts == [burst] * 3


@pytest.mark.parametrize("rate_per_s", [3, 10, 50, 400, 2_000])
def test_departures_are_evenly_spaced(rate_per_s: float) -> None:
    """After the first few no two are closer than an interval, but for the 10 ms of slack."""
    times_s = send_all(Pacer(rate_per_s), until_s=8)
    interval_s = 1.017 / rate_per_s
    few = max(3, math.ceil(0.01 * rate_per_s))

    for ahead in (1, few, int(rate_per_s) - 1):
        gaps_s = [
            later - sooner
            for sooner, later in zip(times_s[few:-ahead], times_s[few + ahead :], strict=True)
        ]
        assert min(gaps_s) >= ahead * interval_s - 0.010 - TICK_S


def test_a_late_timer_catches_up() -> None:
    """5 ms late at 50/s: the next leaves when it would have left anyway."""
    pacer = Pacer(50)
    send_all(pacer, until_s=0.01)

    due_s = 0.01 + pacer.wait_s(now_s=0.01)
    leave(pacer, now_s=due_s + 0.005)

    assert pacer.wait_s(now_s=due_s + 0.005) == pytest.approx(1.017 / 50 - 0.005)


@given(seed=st.integers(0, 2**32), rate_per_s=st.sampled_from([12, 50, 100, 400]))
def test_a_tenth_of_a_second_holds_little_more_than_its_share(seed: int, rate_per_s: float) -> None:
    """However late the timers: a tenth of R, and the few that caught up."""
    wake_s = late_timers(seed, late_up_to_s=0.2)
    times_s = send_all(Pacer(rate_per_s), until_s=5, wake_s=wake_s)

    assert fullest(times_s, 0.1) <= 0.1 * rate_per_s + 1 + max(3, 0.01 * rate_per_s + 1)


# -------------------------------------------------------------------------------- throttling


@pytest.mark.parametrize(("late", "more"), [(4, 6), (10, 0), (200, 0)])
def test_what_a_sleeping_server_reads_late_counts_against_its_first_second(
    late: int, more: int
) -> None:
    """Of R = 10, 4 arrive late as it wakes: 6 more leave within a second, and then R again."""
    pacer = Pacer(10)
    pacer.acquire(now_s=0.0)

    pacer.surfaced(late, now_s=100.0)

    first = leave_until(pacer, from_s=100.0, until_s=101.0)
    then = leave_until(pacer, from_s=101.0, until_s=103.0)
    assert first == more
    assert 17 <= then <= 20
    assert pacer.departed == 1 + first + then


def leave_until(pacer: Pacer, *, from_s: float, until_s: float) -> int:
    """How many leave when all leave as soon as they may."""
    left = 0
    while from_s < until_s:
        wait_s = pacer.acquire(now_s=from_s)
        if isinstance(wait_s, SendRecord):
            left += 1
        else:
            from_s += wait_s
    return left


def test_throttling_halves_the_rate_and_recovers_gradually() -> None:
    """100/s: 50 for two seconds, then 12.5 more each second, 100 again after 6 s [S23]."""
    pacer = Pacer(100)
    send_all(pacer, until_s=1)

    pacer.slow_down(now_s=1, until_s=None)

    rates = [pacer.rate_now_per_s(now_s) for now_s in (1, 2, 3, 4, 5, 7, 8, 1000)]
    assert rates == pytest.approx([50, 50, 50, 62.5, 75, 100, 100, 100])


def test_throttlings_of_one_burst_cut_once() -> None:
    """Eight answers within half a second are one complaint; one more later is another [S23]."""
    pacer = Pacer(100)
    send_all(pacer, until_s=1)

    for n in range(8):
        pacer.slow_down(now_s=1 + n * 0.06, until_s=None)
        send_all(pacer, from_s=1 + n * 0.06, until_s=1.05 + n * 0.06)
    assert pacer.rate_now_per_s(1.49) == 50
    pacer.slow_down(now_s=1.5, until_s=None)

    assert pacer.rate_now_per_s(1.5) == 25


def test_throttlings_of_what_left_before_the_cut_do_not_cut_again() -> None:
    """Slow answers to the same burst trickle in while everything is held: one cut [S20]."""
    pacer = Pacer(100)
    send_all(pacer, until_s=1)

    for n in range(5):
        pacer.slow_down(now_s=1 + n, until_s=8)

    assert pacer.rate_now_per_s(8) == 50


def test_throttling_before_anything_left_cuts_nothing() -> None:
    """It can only be about somebody else's requests; the hold it asks for is kept."""
    pacer = Pacer(100)

    pacer.slow_down(now_s=0, until_s=3)

    assert pacer.rate_now_per_s(0) == 100
    assert pacer.wait_s(now_s=0) == 3


@pytest.mark.parametrize("rate_per_s", [10, 50, 400])
def test_a_brown_out_is_offered_a_fifth_and_left_behind_in_ten_seconds(rate_per_s: float) -> None:
    """90 % refused for 60 s: R/5 at most is offered once cut; 10 s of health restore R [S45]."""
    chance = random.Random(5)
    pacer = Pacer(rate_per_s)
    now_s = 0.0
    offered = 0
    while now_s < 60:
        wait_s = pacer.wait_s(now_s=now_s)
        if wait_s > 0:
            now_s += wait_s
            continue
        leave(pacer, now_s=now_s)
        offered += now_s > 5
        if chance.random() < 0.9:
            pacer.slow_down(now_s=now_s + 0.02, until_s=None)

    assert offered <= 55 * rate_per_s / 5
    assert pacer.rate_now_per_s(now_s + 10) == rate_per_s
    send_all(pacer, from_s=now_s, until_s=now_s + 10)
    assert len(send_all(pacer, from_s=now_s + 10, until_s=now_s + 20)) >= 0.98 * 10 * rate_per_s - 1


def test_retry_after_holds_everything_until_then() -> None:
    """429 with 7 s: nothing for 7 s, then the halved rate, which lasts 2 s more [S20]."""
    pacer = Pacer(50)
    send_all(pacer, until_s=2)

    pacer.slow_down(now_s=2, until_s=9)

    assert pacer.wait_s(now_s=2) == 7
    times_s = send_all(pacer, from_s=2, until_s=11)
    assert times_s[0] == 9
    assert len(times_s) == pytest.approx(50, abs=3)
    assert pacer.rate_now_per_s(11) == 25


@given(
    rate_per_s=st.floats(0.2, 200),
    steps=st.lists(
        st.tuples(st.sampled_from(["send", "send", "send", "slow", "hold"]), st.floats(0, 2)),
        max_size=150,
    ),
)
def test_throttling_only_ever_slows(rate_per_s: float, steps: list[tuple[str, float]]) -> None:
    """Within the ceiling, above the floor, silent in a hold, back 10 s after it [S20] [S23]."""
    pacer = Pacer(rate_per_s)
    now_s = held_until_s = 0.0
    times_s: list[float] = []
    for kind, later_s in steps:
        now_s += later_s
        if kind == "send":
            if pacer.wait_s(now_s=now_s) == 0:
                assert now_s >= held_until_s - TICK_S
                leave(pacer, now_s=now_s)
                times_s.append(now_s)
        else:
            until_s = now_s + 3 if kind == "hold" else None
            held_until_s = max(held_until_s, until_s or 0)
            pacer.slow_down(now_s=now_s, until_s=until_s)
        assert min(0.2, rate_per_s) <= pacer.rate_now_per_s(now_s) <= rate_per_s

    assert_window_law(times_s, rate_per_s)
    assert pacer.rate_now_per_s(max(now_s, held_until_s) + 10) == rate_per_s


# ------------------------------------------------------------------------------- the ceiling


@given(
    stages=st.lists(st.tuples(st.floats(0.1, 100), st.floats(0, 3)), min_size=1, max_size=8),
)
def test_whatever_the_ceilings_no_second_holds_more_than_the_highest(
    stages: list[tuple[float, float]],
) -> None:
    """Up and down at any time; and each new departure keeps the law of the ceiling in force."""
    pacer = Pacer(stages[0][0])
    now_s = 0.0
    times_s: list[float] = []
    for rate_per_s, lasts_s in stages:
        pacer.set_ceiling(rate_per_s)
        limit = max(1, math.floor(rate_per_s))
        for time_s in send_all(pacer, from_s=now_s, until_s=now_s + lasts_s):
            times_s.append(time_s)
            assert sum(time_s - 1 < other for other in times_s) <= limit
        now_s += lasts_s

    assert pacer.worst_window() <= max(1, *(rate_per_s for rate_per_s, _ in stages))


@pytest.mark.parametrize("rate_per_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_refused(rate_per_s: float) -> None:
    """Zero, negative, NaN and infinity are no pace."""
    with pytest.raises(AssertionError):
        Pacer(rate_per_s)


# ------------------------------------------------------------------------------- the figures


def test_the_pacer_counts_what_left() -> None:
    """For the summary: how many, the first, the last, the fullest second."""
    pacer = Pacer(10)
    assert (pacer.departed, pacer.first_s, pacer.last_s, pacer.worst_window()) == (0, None, None, 0)

    times_s = send_all(pacer, from_s=3, until_s=8)

    assert pacer.departed == len(times_s)
    assert (pacer.first_s, pacer.last_s) == (times_s[0], times_s[-1])
    assert pacer.worst_window() == worst_second(times_s) == 10


# -- the guard and what answers teach ---------------------------------------------------------


def send_over(
    pacer: Pacer, *, until_s: float, way: Callable[[int], tuple[float, float]]
) -> tuple[list[float], list[float]]:
    """Departures and arrivals of a caller for whom work always waits; `way` delays both ways."""
    now_s = 0.0
    left_s: list[float] = []
    arrived_s: list[float] = []
    coming: list[tuple[float, int, SendRecord]] = []
    while now_s < until_s:
        while coming and coming[0][0] <= now_s:
            answered_s, _, left = heappop(coming)
            pacer.record_response(left, now_s=answered_s)
        wait_s = pacer.wait_s(now_s=now_s)
        if wait_s > 0:
            now_s += min(wait_s, 0.001)
            continue
        left = leave(pacer, now_s=now_s)
        there_s, back_s = way(len(left_s))
        heappush(coming, (now_s + there_s + back_s, len(left_s), left))
        left_s.append(now_s)
        arrived_s.append(now_s + there_s)
        now_s += 1e-6
    return left_s, sorted(arrived_s)


@pytest.mark.parametrize("rate_per_s", [10, 50, 500, 2_000])
def test_a_steady_way_costs_a_thousandth_of_the_rate(rate_per_s: int) -> None:
    """Round trips of 20 ms, all alike, known: 99.5 % of R and more, never above R in a second."""
    seconds = 10 + 200 / rate_per_s

    left_s, arrived_s = send_over(Pacer(rate_per_s), until_s=seconds, way=lambda _: (0.010, 0.010))

    known_s = left_s[100 + rate_per_s :]
    used = (len(known_s) - 1) / (known_s[-1] - known_s[0]) / rate_per_s
    assert used >= 0.995
    assert worst_second(arrived_s) <= rate_per_s


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("late_s", [0.005, 0.010, 0.015])
@pytest.mark.parametrize("rate_per_s", [1, 10, 50])
def test_a_way_that_was_never_steady_shows_the_server_no_more_than_r(
    rate_per_s: int, late_s: float, seed: int
) -> None:
    """From the first request on both ways take anything up to so much longer, at random."""
    chance = random.Random(seed)

    _, arrived_s = send_over(
        Pacer(rate_per_s),
        until_s=20 + 120 / rate_per_s,
        way=lambda _: (0.010 + chance.random() * late_s, 0.010 + chance.random() * late_s),
    )

    assert worst_second(arrived_s) <= rate_per_s


def test_without_an_answer_a_request_may_be_as_late_as_the_whole_guard() -> None:
    """A hundred answers teach the pacer; what then stays unanswered still gets its 17 ms."""
    pacer = Pacer(10)
    now_s = 0.0
    for _ in range(120):
        now_s += pacer.wait_s(now_s=now_s)
        pacer.record_response(leave(pacer, now_s=now_s), now_s=now_s + 0.002)
    left_s = []
    for _ in range(11):
        while (wait_s := pacer.wait_s(now_s=now_s)) > 0:
            now_s += wait_s
        leave(pacer, now_s=now_s)
        left_s.append(now_s)

    assert left_s[10] - left_s[0] == pytest.approx(1 + GUARD_S, abs=1e-5)


def test_a_shorter_wish_does_not_end_a_longer_hold() -> None:
    """60 s asked, then 1 s: the first stands [S20]."""
    pacer = Pacer(50)
    pacer.slow_down(now_s=0, until_s=60)
    pacer.slow_down(now_s=1, until_s=2)
    pacer.slow_down(now_s=1, until_s=None)

    assert pacer.wait_s(now_s=30) == 30


def test_a_second_is_half_open() -> None:
    """What leaves exactly a second later belongs to the next second."""
    pacer = Pacer(3)

    for now_s in (0, 0.5, 1):
        leave(pacer, now_s=now_s)

    assert pacer.worst_window() == 2


@pytest.mark.parametrize(
    ("rate_per_s", "floor_per_s"), [(0.1, 0.1), (0.3, 0.2), (1, 0.2), (20, 0.2), (400, 4)]
)
def test_the_rate_is_never_cut_to_nothing(rate_per_s: float, floor_per_s: float) -> None:
    """Always throttled: 1 % of the ceiling or 0.2/s, whichever is more, is still tried [S45]."""
    pacer = Pacer(rate_per_s)
    lowest_per_s = math.inf
    now_s = 0.0
    for _ in range(100):
        while (wait_s := pacer.wait_s(now_s=now_s)) > 0:
            now_s += wait_s
        leave(pacer, now_s=now_s)
        now_s += 0.5
        pacer.slow_down(now_s=now_s, until_s=None)
        lowest_per_s = min(lowest_per_s, pacer.rate_now_per_s(now_s))

    assert lowest_per_s >= floor_per_s
    assert lowest_per_s <= max(floor_per_s, rate_per_s / 5)
