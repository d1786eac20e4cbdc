"""When what a worker had may be given to others: leases without a common clock.

Rule 1: a worker may send for LEASE_S after it asked for its last renewal, by its own clock.
Rule 2: whoever has seen a lease without a renewal for LEASE_S, by its own clock, may end it. It saw
        that renewal after it was asked for, so the worker has stopped sending by then, whatever
        the database's clock shows and however it is set.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import NamedTuple

#: seconds for which a worker has a chunk after it has claimed or renewed it
LEASE_S = 5.0
#: seconds between two renewals: three may fail
RENEW_S = 1.25


class Lease(NamedTuple):
    """A chunk that a worker has, as the database shows it."""

    run: int
    lo: int
    epoch: int
    #: what each renewal changes; nobody here reads it as a time
    renewal: Hashable


class Watch:
    """Leases that one worker watches."""

    def __init__(self) -> None:
        #: lease → when it was first seen so, by our own clock
        self._since_s: dict[Lease, float] = {}

    def lapsed(self, seen: Iterable[Lease], *, now_s: float) -> list[Lease]:
        """Which leases have not been renewed for long enough to be ended.

        `seen` are those that there are, as they were shown before `now_s`; others are forgotten.
        """
        self._since_s = {one: self._since_s.get(one, now_s) for one in seen}
        return [one for one, since_s in self._since_s.items() if now_s - since_s >= LEASE_S]
