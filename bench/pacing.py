"""Our pacer beside a token bucket and GCRA, in simulated time with late timers.

Usage: python bench/pacing.py [seconds]

Work always waits. A timer wakes on the next millisecond and up to 1 ms late; once a second, on
average, everything is stuck for up to 20 ms; the way to the server adds up to 2 ms, one time in 100
up to 12 ms. `sent` and `server` are the worst one-second windows as shares of R (of one request
where R < 1); `idle` is what leaves within 1 ms after an hour of silence.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))

from orchestrator.core.pacing import Pacer

RATES = (0.5, 1, 7, 10, 50, 400, 2_000, 20_000)


class Limiter(Protocol):
    """What all three can do."""

    def wait_s(self, *, now_s: float) -> float: ...

    def depart(self, *, now_s: float) -> None: ...


class TokenBucket:
    """The usual one: a second's worth of tokens, refilled at R."""

    def __init__(self, rate_per_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._size = max(1.0, rate_per_s)
        self._tokens = self._size
        self._at_s = 0.0

    def _at(self, now_s: float) -> float:
        return min(self._size, self._tokens + (now_s - self._at_s) * self._rate_per_s)

    def wait_s(self, *, now_s: float) -> float:
        missing = 1 - self._at(now_s)
        return missing / self._rate_per_s if missing > 1e-9 else 0.0

    def depart(self, *, now_s: float) -> None:
        self._tokens, self._at_s = self._at(now_s) - 1, now_s


class Gcra:
    """Even spacing of 1/R; what a late timer missed is lost."""

    def __init__(self, rate_per_s: float) -> None:
        self._interval_s = 1 / rate_per_s
        self._due_s = 0.0

    def wait_s(self, *, now_s: float) -> float:
        return self._due_s - now_s if self._due_s - now_s > 1e-9 else 0.0

    def depart(self, *, now_s: float) -> None:
        self._due_s = max(self._due_s, now_s) + self._interval_s


class Timers:
    """When a timer really fires: never early, and not while everything is stuck."""

    def __init__(self, from_s: float, seed: int) -> None:
        self._chance = random.Random(seed)
        self._stuck_from_s = self._stuck_until_s = from_s

    def wake_s(self, due_s: float) -> float:
        at_s = math.ceil(due_s * 1000) / 1000 + self._chance.random() * 0.001
        while self._stuck_until_s < at_s:
            self._stuck_from_s = self._stuck_until_s + self._chance.expovariate(1.0)
            self._stuck_until_s = self._stuck_from_s + self._chance.random() * 0.020
        return self._stuck_until_s if at_s >= self._stuck_from_s else at_s


def departures(limiter: Limiter, *, from_s: float, until_s: float, seed: int) -> list[float]:
    timers = Timers(from_s, seed)
    now_s, left = from_s, []
    while now_s < until_s:
        wait_s = limiter.wait_s(now_s=now_s)
        if wait_s > 0:
            now_s = timers.wake_s(now_s + wait_s)
        else:
            limiter.depart(now_s=now_s)
            left.append(now_s)
            now_s += 2e-6
    return left


def arrivals(left: list[float], seed: int) -> list[float]:
    chance = random.Random(seed)
    return sorted(
        at_s + chance.random() * (0.012 if chance.random() < 0.01 else 0.002) for at_s in left
    )


def worst_window(times_s: list[float], window_s: float = 1.0) -> int:
    worst = first = 0
    for last, at_s in enumerate(times_s):
        while times_s[first] <= at_s - window_s:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def main(seconds: float) -> None:
    print(f"{'R':>7} {'limiter':<13} {'sent':>7} {'server':>7} {'use of R':>9} {'idle':>6}")
    for rate in RATES:
        length_s = max(seconds, 60 / rate)
        for name, make in (("token bucket", TokenBucket), ("GCRA", Gcra), ("ours", Pacer)):
            limiter: Limiter = make(rate)
            left = departures(limiter, from_s=0.0, until_s=length_s, seed=7)
            # From the first departure to the last there are n - 1 intervals.
            used = (len(left) - 1) / (left[-1] - left[0]) / rate
            idle_s = length_s + 3600
            at_once = departures(limiter, from_s=idle_s, until_s=idle_s + 0.001, seed=7)
            share = max(1.0, rate)
            print(
                f"{rate:>7g} {name:<13} {worst_window(left) / share:>7.3f}"
                f" {worst_window(arrivals(left, 8)) / share:>7.3f} {used:>9.1%} {len(at_once):>6}"
            )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
