"""How much there is to do and whether that is feasible: counts, limits, estimates.

Limits are checked before anything is sent. An estimate is requests divided by the rate.
"""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.isales.listing import page_count
from orchestrator.model import CampaignRef, Status


class Planned(NamedTuple):
    """One campaign to act on: its place in the journal and what was seen of it before."""

    seq: int
    ref: CampaignRef
    before: Status | None = None


class PlanCounts(NamedTuple):
    """What a list came to."""

    lines: int
    campaigns: int
    duplicates: int
    invalid: int


def reads_are_cheaper(*, campaigns: int, total_size: int) -> bool:
    """Whether one details call per campaign takes fewer requests than the rest of a listing.

    The first page has been read: with 3 campaigns in a VDN of 5,000 (50 pages), 3 reads beat 49.
    """
    return campaigns < page_count(total_size) - 1


def seconds_needed(*, requests: int, rate_per_s: float) -> float:
    """How long so many requests take at the pace, at least."""
    return requests / rate_per_s


def feasibility(*, running: int, rate_per_s: float, more: bool) -> str:
    """The sentence that an operator reads after the first page.

    >>> feasibility(running=900, rate_per_s=10, more=False)
    '900 campaigns at 10 requests/s: about 90 s; `--rate 20` would take 45 s'
    """
    needed_s = seconds_needed(requests=running, rate_per_s=rate_per_s)
    count = f"at least {running:,}" if more else f"{running:,}"
    noun = "campaign" if running == 1 and not more else "campaigns"
    sentence = f"{count} {noun} at {rate_per_s:g} requests/s: about {spoken_s(needed_s)}"
    if needed_s < 10:
        return sentence
    return f"{sentence}; `--rate {rate_per_s * 2:g}` would take {spoken_s(needed_s / 2)}"


def spoken_s(wait_s: float) -> str:
    """Seconds as people say them: 0.4 → 1 s, 90 → 90 s, 600 → 10 min, 7500 → 2 h 5 min."""
    seconds = max(1, round(wait_s))
    if seconds < 120:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
