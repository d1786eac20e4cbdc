"""The database's side of policy/slices.py, as store/postgres.sql does it (test_pace.py)."""

from __future__ import annotations

import math
from typing import NamedTuple

from orchestrator.policy.slices import SLICE_S, Ask, Slice, window_s

#: how far ahead of the present a slice may begin, seconds
AHEAD_S = 0.05
#: for so long after its last question an emergency goes first, seconds
EMERGENCY_S = 0.25
#: who has to stand back for an emergency asks again no sooner than this, seconds
_BEHIND_EMERGENCY_S = 0.01


class Row(NamedTuple):
    """What the database keeps of a server; seconds on the database's clock."""

    #: up to here the rate has been given away
    next_s: float
    #: the highest R of those who ask, and until when it counts
    rate_per_s: float = 0.0
    rate_until_s: float = -math.inf
    #: until when an emergency goes first
    emergency_until_s: float = -math.inf


def give(row: Row | None, ask: Ask, *, now_s: float) -> tuple[Row, Slice]:
    """Give a slice, or say when to ask again; the row as it is afterwards.

    Args:
        row: None: the database knows nothing of this server.
        ask: the question.
        now_s: the present on the database's clock.
    """
    if row is None:
        row = Row(now_s + window_s(ask.rate_per_s))
    rate_per_s, rate_until_s = ask.rate_per_s, now_s + max(1.0, 1.0 / ask.rate_per_s)
    if row.rate_per_s > rate_per_s and row.rate_until_s > now_s:
        rate_per_s = row.rate_per_s
        rate_until_s = min(row.rate_until_s, now_s + max(1.0, 1.0 / rate_per_s))
    emergency_until_s = min(row.emergency_until_s, now_s + EMERGENCY_S)
    if ask.emergency:
        emergency_until_s = now_s + EMERGENCY_S
    yields = not ask.emergency and emergency_until_s > now_s
    full_s = window_s(rate_per_s)
    interval_s = full_s / max(1, math.floor(rate_per_s))
    next_s = row.next_s
    if next_s > now_s + AHEAD_S + SLICE_S + full_s:
        next_s = now_s + full_s
    ahead_s = next_s - now_s - (0.0 if yields else AHEAD_S)
    if ahead_s > 0.0:
        again_s = max(ahead_s, _BEHIND_EMERGENCY_S) if yields else ahead_s
        told = Slice(now_s, 0.0, interval_s, 0, again_s, yields)
    else:
        begins_s = max(next_s, now_s)
        given = 1 if yields else max(1, min(ask.wanted, math.floor(SLICE_S / interval_s)))
        next_s = begins_s + given * interval_s
        told = Slice(now_s, begins_s - now_s, interval_s, given, 0.0, yields)
    return Row(next_s, rate_per_s, rate_until_s, emergency_until_s), told
