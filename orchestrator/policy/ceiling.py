"""One ceiling for several runs against one server: which of them may send next, and when.

Each run keeps its own pacer; this says how long it must wait for the others. Everybody's departures
are in one log, which store/rate_file.py keeps; the decision is made under its lock, in the step in
which the request would leave. Nothing is set aside for anybody, so a run that is killed or frozen
keeps nothing from the others.

Law of the ceiling: it is the highest R of the runs that wait or have just sent. Departure n of all
of them leaves at least a window and a guard after departure n - floor(R), and departures are due
window/floor(R) apart, as for one run (pacer.py). No run exceeds its own R: its pacer sees to it.

Law of the turn: of those who will ask by then, an emergency goes first, else who has waited
longest. Who is not next asks again when its turn should come. Who does not ask when it said it
would is passed over.

Law of the lone run: where nobody else waits or has left within a window, its own pacer decides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

from orchestrator.policy.pacer import GUARD_S, SLACK_S, TICK_S

#: who asks so much later than it said has been killed or frozen, seconds
LATE_S = 0.05
#: who waits behind an emergency asks again no sooner than this, seconds
_BEHIND_EMERGENCY_S = 0.01


class Claim(NamedTuple):
    """One run, as all runs against its server see it. Seconds on the machine's monotonic clock."""

    rate_per_s: float
    emergency: bool
    #: since when it waits to send; infinite: it does not wait
    since_s: float = math.inf
    #: when it will ask again
    asks_at_s: float = -math.inf
    #: when it last sent something
    left_s: float = -math.inf

    def is_waiting(self, now_s: float) -> bool:
        """Whether it is to be reckoned with."""
        return self.since_s < math.inf and now_s <= self.asks_at_s + LATE_S

    def comes_before(self, other: Claim) -> bool:
        """Whose turn it is."""
        return (not self.emergency, self.since_s) < (not other.emergency, other.since_s)


class Turn(NamedTuple):
    """What a run that wants to send is told."""

    #: seconds until it should ask again; 0.0: it may leave now
    wait_s: float
    #: when the departure is due, or as late as the slack forgives; for the next decision
    slot_s: float
    #: how many other runs it shares the ceiling with
    others: int = 0
    #: one of them is an emergency that goes first
    yields: bool = False


def next_turn(
    mine: Claim,
    others: Iterable[Claim],
    *,
    now_s: float,
    slot_s: float,
    left_s: Callable[[int], float],
) -> Turn:
    """Decide whether a run may send now.

    Args:
        mine: the run that asks; `since_s` says since when it waits.
        others: the other runs.
        now_s: the present.
        slot_s: from the last decision that let somebody leave; minus infinity before.
        left_s: when the departure so many back left, over all runs; 1 is the last one.
    """
    window_s = max(1.0, 1.0 / mine.rate_per_s) + GUARD_S
    live = [
        one
        for one in others
        if one.is_waiting(now_s) or now_s - one.left_s < max(window_s, 1.0 / one.rate_per_s)
    ]
    if not live:
        return Turn(0.0, now_s)
    rate_per_s = max(mine.rate_per_s, *(one.rate_per_s for one in live))
    limit = max(1, math.floor(rate_per_s))
    window_s = max(1.0, 1.0 / rate_per_s) + GUARD_S
    interval_s = window_s / limit
    yields = not mine.emergency and any(one.emergency for one in live)
    frees_s = left_s(limit) + window_s
    due_s = max(slot_s + interval_s, frees_s, now_s)
    ahead = [
        one
        for one in live
        if one.is_waiting(now_s) and one.asks_at_s <= due_s + interval_s and one.comes_before(mine)
    ]
    wait_s = due_s - now_s + len(ahead) * interval_s
    if yields and ahead:
        wait_s = max(wait_s, _BEHIND_EMERGENCY_S)
    slot_s = max(slot_s + interval_s, frees_s - SLACK_S, now_s - SLACK_S)
    return Turn(wait_s if wait_s >= TICK_S else 0.0, slot_s, len(live), yields)
