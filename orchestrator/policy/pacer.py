"""When the next request may leave: a log of real departures, and even spacing. No waiting here.

Rule 1: time comes in as an argument and goes out as seconds to wait.
Rule 2: the log holds instants at which a request left, never plans: a plan that slips cannot bunch.
Rule 3: the log keeps the limit whatever the spacing does; the spacing only keeps it from lurching.
Rule 4: time that was not used is lost, but for a small slack: idleness and sleep buy no burst.

Law of the window: departure n leaves at least a window after departure n - L, where L is floor(R)
and the window 1 s + guard; below 1 per second L is 1 and the window 1/R + guard. The guard is for
the way to the server: a second there holds more than L only if departure n - L is delayed there by
more than its guard compared with departure n.

Law of the guard: it is 17 ms, which costs 1.7 % of R, until an answer shows that less will do: a
request was late by no more than its round trip is longer than the least that the way allows. Its
guard is that, and 1 ms, but never more than 17 ms. On a steady way that costs 0.1 % of R. The least
of a hundred round trips is taken for that least. The least of ten is too long by more than the 1 ms
where every way varies by 5 ms: in 3 of 20 simulated runs the server then saw more than R.

Law of the spacing: departures are due window/L apart. Who is late (a timer wakes up to 1 ms late, a
collection of garbage 10 ms) may catch up: 10 ms, or two intervals where requests are few enough for
three at once to be a fair beginning. So what leaves at once, after any silence, is at most:

| R | 1 | 7 | 10 | 50 | 400 | 2,000 | 20,000 |
|---|---|---|---|---|---|---|---|
| burst | 1 | 1 | 2 | 3 | 4 | 20 | 197 |

that is min(3, R/4), and 1 % of R + 1 where that is more; never R, unless R is 1.

Law of the stall: a server that slept reads what was sent meanwhile when it wakes, given up or not.
With the first answer all of that counts as leaving now. So a second at the server holds at most R
and the C that were in flight when it fell asleep; engine/departures.py sends no more
than that, but for one request in 15 s.

Law of throttling: a throttling answer halves the rate; it stays 2 s, then grows by an eighth of the
ceiling a second: from anywhere it is back 10 s after the last throttling.

A token bucket lets 2 R through in one second, spacing alone R + 1.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

#: how much longer than a second the window is: jitter on the way to the server that does no harm
GUARD_S = 0.017
#: the guard of a request whose round trip was as short as any: what clocks and sockets add
LEAST_GUARD_S = 0.001
#: round trips among which one is taken for the least that the way allows
_TRIPS_KNOWN = 100

#: lateness that may be caught up at any rate: ten times what a timer oversleeps
SLACK_S = 0.010
#: how many may leave at once after a silence, where R/4 is not less
_FIRST_FEW = 3
#: nobody waits for less, and a clock's rounding is far below it; the guard is 15,000 times as much
TICK_S = 1e-6

#: throttlings closer than this answer the same burst
_SAME_THROTTLING_S = 0.5
#: how long a cut rate stays as it is
_CUT_LASTS_S = 2.0
#: how long it takes from nothing to the ceiling after that
_RECOVERY_S = 8.0
#: the rate is never cut below this share of the ceiling, nor below this many a second
_FLOOR_SHARE = 0.01
_FLOOR_PER_S = 0.2
#: while the rate grows, a wait computed from the present rate is too long: ask again after this
_ASK_AGAIN_S = 0.25


@dataclass(slots=True)
class SendRecord:
    """One departure, as the pacer remembers it."""

    at_s: float
    #: seconds until its answer; None until there is one
    trip_s: float | None = None


class Pacer:
    """Says when the next request may leave. One for everything that goes to one server.

    The caller calls `acquire` in the very step in which the request would leave, and sleeps for as
    long as it says when it may not. Memory: two seconds' departures; a call costs O(1), amortised.
    """

    def __init__(self, rate_per_s: float) -> None:
        """Begin rested.

        Args:
            rate_per_s: the ceiling R, requests per second, above 0, finite.
        """
        self._log: deque[SendRecord] = deque()
        #: the shortest round trip so far, and how many there were
        self._least_trip_s = math.inf
        self._trips = 0
        self._last_second: deque[float] = deque()
        self._worst = 0
        #: when the last departure was due, or as late as the slack forgives
        self._slot_s = -math.inf
        self._hold_until_s = -math.inf
        #: the rate after the last cut, when it was cut, and from when on it holds
        self._cut_per_s = math.inf
        self._cut_at_s = -math.inf
        self._cut_from_s = -math.inf
        #: departures so far
        self.departed = 0
        #: when the first and the last left; None before the first
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.set_ceiling(rate_per_s)

    def set_ceiling(self, rate_per_s: float) -> None:
        """Change R from now on, in requests per second, above 0. What has left is remembered."""
        assert 0 < rate_per_s < math.inf
        self.ceiling_per_s = rate_per_s
        self._limit = max(1, math.floor(rate_per_s))
        #: without the guard
        self._window_s = max(1.0, 1.0 / rate_per_s)

    def rate_now_per_s(self, now_s: float) -> float:
        """The rate in force, requests per second: the ceiling, or less after throttling."""
        if self._cut_per_s == math.inf:
            return self.ceiling_per_s
        growing_s = max(0.0, now_s - self._cut_from_s - _CUT_LASTS_S)
        grown_per_s = self._cut_per_s + self.ceiling_per_s * growing_s / _RECOVERY_S
        return min(self.ceiling_per_s, grown_per_s)

    def worst_window(self) -> int:
        """The most departures that any half-open second [t, t + 1 s) has held so far."""
        return self._worst

    def wait_s(self, *, now_s: float) -> float:
        """Seconds until it is worth asking again, 1 µs at least; 0.0: a request may leave now.

        `now_s` is the present on a clock that never runs back.
        """
        return self._wait_s(now_s, *self._next(now_s))

    def acquire(self, *, now_s: float) -> SendRecord | float:
        """Record that a request leaves now, if it may.

        Returns:
            What `record_response` wants, should there be an answer; or, since it may not, seconds
            until it is worth asking again, as `wait_s`.
        """
        interval_s, frees_s = self._next(now_s)
        wait_s = self._wait_s(now_s, interval_s, frees_s)
        if wait_s > 0:
            return wait_s
        # What the window cost is no lateness: else the first burst would come back every second.
        self._slot_s = max(
            self._slot_s + interval_s, frees_s - SLACK_S, now_s - self._slack_s(now_s, interval_s)
        )
        left = SendRecord(now_s)
        while self._log and self._log[0].at_s <= now_s - self._window_s - GUARD_S:
            self._log.popleft()
        self._log.append(left)
        while self._last_second and self._last_second[0] <= now_s - 1.0:
            self._last_second.popleft()
        self._last_second.append(now_s)
        self._worst = max(self._worst, len(self._last_second))
        self.departed += 1
        if self.first_s is None:
            self.first_s = now_s
        self.last_s = now_s
        return left

    def record_response(self, left: SendRecord, *, now_s: float) -> None:
        """Learn from an answer that has just come how late its request can have been."""
        left.trip_s = now_s - left.at_s
        self._least_trip_s = min(self._least_trip_s, left.trip_s)
        self._trips += 1

    def surfaced(self, number: int, *, now_s: float) -> None:
        """Count requests that left long ago and that the server may be reading only now.

        As they do not leave now, they are no departures.
        """
        self._log.extend(SendRecord(now_s) for _ in range(min(number, self._limit)))

    def slow_down(self, *, now_s: float, until_s: float | None) -> None:
        """The server is throttling (429, 503): halve the rate, and hold everything if it said so.

        Throttlings within 0.5 s, and those before anything has left since the last cut, answer the
        same burst and cut once. The floor is 1 % of the ceiling or 0.2/s, whichever is more.
        Nothing leaves before `until_s` (Retry-After); an earlier wish for longer stands.
        """
        if until_s is not None:
            self._hold_until_s = max(self._hold_until_s, until_s)
        sent_since = self.last_s is not None and self.last_s > self._cut_at_s
        if sent_since and now_s - self._cut_at_s >= _SAME_THROTTLING_S:
            floor_per_s = max(_FLOOR_SHARE * self.ceiling_per_s, _FLOOR_PER_S)
            self._cut_per_s = max(self.rate_now_per_s(now_s) / 2, floor_per_s)
            self._cut_at_s = now_s
        # Silence is no sign of health: the cut lasts from the end of the hold.
        self._cut_from_s = max(now_s, self._hold_until_s)

    def _wait_s(self, now_s: float, interval_s: float, frees_s: float) -> float:
        wait_s = max(self._hold_until_s, frees_s) - now_s
        due_s = self._slot_s + interval_s - now_s
        if due_s > wait_s:
            recovering = self.rate_now_per_s(now_s) < self.ceiling_per_s
            wait_s = max(wait_s, min(due_s, _ASK_AGAIN_S)) if recovering else due_s
        return wait_s if wait_s >= TICK_S else 0.0

    def _next(self, now_s: float) -> tuple[float, float]:
        """Seconds between two departures, and when the one that is L back is a window ago."""
        log = self._log
        beyond = len(log) - self._limit
        oldest = log[max(0, beyond)] if log else None
        guard_s = self._guard_of(oldest) if oldest else GUARD_S
        frees_s = oldest.at_s + self._window_s + guard_s if oldest and beyond >= 0 else -math.inf
        interval_s = (self._window_s + guard_s) / self._limit
        if self._cut_per_s < math.inf or self._window_s > 1.0:  # else floor(R) a second suffice
            interval_s = max(interval_s, (1 + guard_s) / self.rate_now_per_s(now_s))
        return interval_s, frees_s

    def _guard_of(self, left: SendRecord) -> float:
        """By how much a request may have been later than the next ones will be, seconds."""
        if left.trip_s is None or self._trips < _TRIPS_KNOWN:
            return GUARD_S
        return min(GUARD_S, left.trip_s - self._least_trip_s + LEAST_GUARD_S)

    def _slack_s(self, now_s: float, interval_s: float) -> float:
        few = max(1, min(_FIRST_FEW, math.floor(self.rate_now_per_s(now_s) / 4)))
        return max(SLACK_S, (few - 1) * interval_s)
