"""Slices of a rate that several machines share: at most R in any second, emergencies first."""

from __future__ import annotations

import heapq
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.pacer import GUARD_S, TICK_S
from orchestrator.policy.slices import LATE_S, SLICE_S, Ask, Slice, Slots, window_s
from tests.cluster.giving import Row, give

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


class Cluster:
    """Workers and a database in a time of their own: every way takes a while, workers freeze."""

    def __init__(
        self,
        seed: int,
        rates: list[float],
        *,
        slow_s: float = 0.001,
        urgent: int = 0,
        freezes: float = 0.001,
    ) -> None:
        self.chance = random.Random(seed)
        self.rates, self.slow_s, self.urgent, self.freezes = rates, slow_s, urgent, freezes
        self.row: Row | None = Row(0.0)
        self.clock_ahead_s = 0.0
        self.left: list[tuple[float, int]] = []
        self.slots = [Slots() for _ in rates]
        self.asking = [False] * len(rates)
        self._events: list[tuple[float, int, Any]] = []
        self._count = 0

    def at(self, when_s: float, do: Any) -> None:
        """Something happens then."""
        self._count += 1
        heapq.heappush(self._events, (when_s, self._count, do))

    def way_s(self) -> float:
        """How long a message takes; now and then much longer."""
        rare = self.chance.random() < 0.02
        return self.chance.random() * (self.slow_s * 10 if rare else self.slow_s)

    def run(self, until_s: float) -> None:
        """Let it go on until then; everybody always has something to send."""
        for worker in range(len(self.rates)):
            self.at(NOW_S + self.chance.random() * 0.1, lambda s, w=worker: self.wake(s, w))
        while self._events and self._events[0][0] < until_s:
            now_s, _, do = heapq.heappop(self._events)
            do(now_s)

    def wake(self, now_s: float, worker: int) -> None:
        """A worker looks what it may do; its own machine oversleeps, or freezes."""
        made = self.slots[worker]
        wanted = 0 if self.asking[worker] else made.wanted(now_s, waiting=20)
        if wanted:
            self.asking[worker] = True
            question = Ask(self.rates[worker], worker < self.urgent, wanted)
            at_s = now_s + self.way_s()
            self.at(at_s, lambda s: self.give(s, worker, question, asked_s=now_s))
        wait_s = made.take(now_s)
        if wait_s == 0.0:
            self.left.append((now_s, worker))
        overslept = self.chance.choice([0.0, 0.0005, 0.001, 0.002])
        if self.chance.random() < self.freezes:
            overslept = self.chance.random() * 3
        self.at(now_s + min(max(wait_s, 1e-4), 0.01) + overslept, lambda s: self.wake(s, worker))

    def give(self, now_s: float, worker: int, question: Ask, *, asked_s: float) -> None:
        """The database answers on its own clock."""
        self.row, answer = give(self.row, question, now_s=now_s + self.clock_ahead_s)

        def arrive(at_s: float) -> None:
            self.asking[worker] = False
            made = self.slots[worker]
            made.record(answer, asked_s=asked_s, now_s=at_s, chance=self.chance.random())

        self.at(now_s + self.way_s(), arrive)

    def worst(self) -> int:
        """The most departures in any second."""
        times = [at_s for at_s, _ in self.left]
        most = first = 0
        for last, at_s in enumerate(times):
            while times[first] <= at_s - 1.0:
                first += 1
            most = max(most, last - first + 1)
        return most


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32),
    rates=st.lists(st.sampled_from([0.7, 5.0, 10.5, 50.0, 120.0]), min_size=1, max_size=5),
    slow_s=st.sampled_from([0.0002, 0.002, 0.01]),
    urgent=st.integers(0, 1),
)
def test_at_most_r_leave_in_any_second(
    seed: int, rates: list[float], slow_s: float, urgent: int
) -> None:
    """Whatever the ways take and whoever freezes; for R below one, one."""
    cluster = Cluster(seed, rates, slow_s=slow_s, urgent=urgent)
    cluster.run(NOW_S + 6.0)

    assert 1 <= cluster.worst() <= max(1, math.floor(max(rates)))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32), step_s=st.sampled_from([-3600.0, -1.0, 0.5, 3600.0]))
def test_a_clock_that_is_set_breaks_nothing(seed: int, step_s: float) -> None:
    """In the middle of a run, by a second or an hour; also a database that forgets: all go on."""
    cluster = Cluster(seed, [100.0] * 3)

    def step(_: float) -> None:
        cluster.clock_ahead_s += step_s

    def forget(_: float) -> None:
        cluster.row = None

    cluster.at(NOW_S + 1.5, step)
    cluster.at(NOW_S + 4.0, forget)
    cluster.run(NOW_S + 8.0)

    assert cluster.worst() <= 100
    assert [at_s for at_s, _ in cluster.left if at_s > NOW_S + 6.5]


def test_three_workers_use_what_there_is() -> None:
    """R = 400 on good ways, nobody freezes: 96 % at least, fairly shared."""
    cluster = Cluster(1, [400.0] * 3, freezes=0.0)
    cluster.run(NOW_S + 6.0)
    counted = [worker for at_s, worker in cluster.left if NOW_S + 1 <= at_s < NOW_S + 5]

    assert len(counted) / (4 * 400) >= 0.96
    assert min(counted.count(worker) for worker in range(3)) > len(counted) / 6


def test_an_emergency_takes_the_rate() -> None:
    """One of three is an emergency with more to send than there is: the others get next to none."""
    cluster = Cluster(1, [400.0] * 3, urgent=1, freezes=0.0)
    cluster.run(NOW_S + 4.0)
    counted = [worker for at_s, worker in cluster.left if at_s >= NOW_S + 1]

    assert counted.count(0) / len(counted) > 0.9


def test_the_guard_stands_between_the_last_of_one_second_and_the_next() -> None:
    """Departure n + L leaves a second and a guard after n, the one late and the other not."""
    assert window_s(400) - LATE_S == pytest.approx(1.0 + GUARD_S)
