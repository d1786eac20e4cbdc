"""The largest number of instants in one window, counted once for ledger, benchmarks and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def fullest_window(times: Sequence[float], window: float) -> int:
    """The most instants in any half-open window [t, t + window).

    Args:
        times: in order; in the unit of `window`.
        window: its length.
    """
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most
