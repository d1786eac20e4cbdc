"""Our pacer beside a token bucket and GCRA, in simulated time with late timers.

No process and no socket: what the limiters do, without what a machine does. Work always waits. A
timer wakes on the next millisecond and up to 1 ms late; once a second, on average, everything is
stuck for up to 20 ms; the way to the server adds up to 2 ms, one time in 100 up to 12 ms.

- The worst second is a share of R, as sent and as the server sees it.
- What leaves within 1 ms after an hour of silence is a number of requests.
"""

from __future__ import annotations

import math
import random
from typing import Protocol

from bench.figures import Figure
from bench.stage import Form, Stage
from orchestrator.policy.pacer import Pacer
from orchestrator.simulator.ledger import fullest_window

TITLE = "our pacer beside two usual limiters, in simulated time"
RATES = (1, 10, 500, 2_000)


class Limiter(Protocol):
    """What all three can do."""

    def wait_s(self, *, now_s: float) -> float: ...

    def acquire(self, *, now_s: float) -> object: ...


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

    def acquire(self, *, now_s: float) -> None:
        self._tokens, self._at_s = self._at(now_s) - 1, now_s


class Gcra:
    """Even spacing of 1/R; what a late timer missed is lost."""

    def __init__(self, rate_per_s: float) -> None:
        self._interval_s = 1 / rate_per_s
        self._due_s = 0.0

    def wait_s(self, *, now_s: float) -> float:
        return self._due_s - now_s if self._due_s - now_s > 1e-9 else 0.0

    def acquire(self, *, now_s: float) -> None:
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
            limiter.acquire(now_s=now_s)
            left.append(now_s)
            now_s += 2e-6
    return left


def arrivals(left: list[float], seed: int) -> list[float]:
    chance = random.Random(seed)
    return sorted(
        at_s + chance.random() * (0.012 if chance.random() < 0.01 else 0.002) for at_s in left
    )


def measure(stage: Stage, form: Form) -> list[Figure]:  # noqa: ARG001 - it needs no stage
    """Every limiter at every rate."""
    seconds = form.pick(usual=30.0, quick=3.0)
    figures = []
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
            title = f"R = {rate:,}, {name}"
            figures += [
                Figure(f"{title}: worst second, sent", (fullest_window(left, 1) / share,), "x"),
                Figure(
                    f"{title}: worst second, server",
                    (fullest_window(arrivals(left, 8), 1) / share,),
                    "x",
                ),
                Figure(f"{title}: use of R", (100 * used,), "%"),
                Figure(f"{title}: at once after an hour", (float(len(at_once)),), ""),
            ]
    return figures
