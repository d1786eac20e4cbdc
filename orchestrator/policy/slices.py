"""One ceiling for workers on several machines: slices of the rate, given by the cluster's database.

Each worker keeps its own pacer; this says when the database lets it send. The database's side is
`give_slice` of store/postgres.sql (tests/cluster/giving.py is its model); `Slots` is a worker's.

Law of the row: a server has one instant, up to which its rate has been given away. A slice is the
next few departures, an interval apart; it begins at that instant, or now if that has passed, so
time that was not used is lost. The interval is (window + lateness + guard) / floor(R), where R is
the highest of those who asked within the last second, and the window 1 s or 1/R.

Law of lateness: the answer says how long after the database's present a slice begins. That present
lies between question and answer on the worker's clock. A departure leaves no sooner than counted
from the answer, no later than LATE_S after what is counted from the question, or not at all: so
departure n + floor(R) leaves at least a window and a guard after departure n, whoever sends them.

Law of turns: nothing is given that begins more than 50 ms from now, and a slice is SLICE_S or one
departure, so nobody waits long behind what others hold. While an emergency asks, the others get
what is left: one departure at a time, and none as long as anything is given ahead.

Law of the clock: a row that is new (PostgreSQL forgets it when it crashes) or too far ahead (its
clock went back) gives nothing for a window. A worker that sees the clock leap forward drops what it
was given then and asks for nothing for a window.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

from orchestrator.policy.pacer import GUARD_S, TICK_S

#: how late a departure may leave, the way of question and answer included, seconds
LATE_S = 0.015
#: how long a slice is at most, unless it is one departure, seconds
SLICE_S = 0.025
#: how much faster than ours the database's clock may run
_DRIFT = 1e-3
_LEAP_S = 0.001


class Ask(NamedTuple):
    """A worker's question."""

    #: its own ceiling R
    rate_per_s: float
    emergency: bool
    #: departures that wait; at least 1
    wanted: int


class Slice(NamedTuple):
    """The database's answer."""

    #: the database's present
    now_s: float
    #: seconds from it to the first departure
    starts_in_s: float
    #: between two departures
    interval_s: float
    #: departures given; 0: ask again
    given: int
    #: in so many seconds
    again_s: float
    #: an emergency goes first
    yields: bool


def window_s(rate_per_s: float) -> float:
    """The time in which floor(R) departures, or one if R is below 1, may be given."""
    return max(1.0, 1.0 / rate_per_s) + LATE_S + GUARD_S


class Slots:
    """The departures that a worker has been given; seconds on its own clock, which never stops."""

    def __init__(self) -> None:
        #: when each may leave, from and to
        self._slots: deque[tuple[float, float]] = deque()
        self._asks_at_s = -math.inf
        #: the database's present and the question, of the last answer
        self._last: tuple[float, float] | None = None
        #: departures that were given and not used in time
        self.lost = 0

    @property
    def held(self) -> int:
        """How many departures may still leave, as far as it is known."""
        return len(self._slots)

    def record(self, told: Slice, *, asked_s: float, now_s: float, chance: float) -> None:
        """Take an answer.

        Args:
            told: the answer.
            asked_s: when the question left.
            now_s: the present.
            chance: in [0, 1), so that those who wait do not all ask again at once.
        """
        leapt = self._leapt(told.now_s, now_s)
        self._last = (told.now_s, asked_s)
        if leapt:
            self.lost += told.given
            self._asks_at_s = now_s + told.interval_s + 1.0 + LATE_S + GUARD_S
            return
        for number in range(told.given):
            after_s = told.starts_in_s + number * told.interval_s
            self._slots.append((now_s + after_s, asked_s + after_s + LATE_S))
        self._asks_at_s = now_s + told.again_s + (chance * SLICE_S if not told.given else 0.0)

    def _leapt(self, database_s: float, now_s: float) -> bool:
        if self._last is None:
            return False
        last_database_s, last_asked_s = self._last
        longest_s = (now_s - last_asked_s) * (1.0 + _DRIFT) + _LEAP_S
        return database_s - last_database_s > longest_s

    def hold_off(self, until_s: float) -> None:
        """Ask for nothing before then; for a database that is away."""
        self._asks_at_s = max(self._asks_at_s, until_s)

    def wanted(self, now_s: float, *, waiting: int) -> int:
        """How many departures to ask for now; 0: none, there are enough, or it is too soon."""
        self._drop_late(now_s)
        lacking = waiting - len(self._slots)
        return lacking if now_s >= self._asks_at_s and len(self._slots) <= lacking else 0

    def take(self, now_s: float) -> float:
        """Let a departure leave now.

        Returns:
            0.0: it leaves. Else seconds until the next may, or until it is worth asking again.
        """
        self._drop_late(now_s)
        if not self._slots:
            return max(self._asks_at_s - now_s, TICK_S)
        wait_s = self._slots[0][0] - now_s
        if wait_s >= TICK_S:
            return wait_s
        self._slots.popleft()
        return 0.0

    def _drop_late(self, now_s: float) -> None:
        while self._slots and self._slots[0][1] < now_s:
            self._slots.popleft()
            self.lost += 1
