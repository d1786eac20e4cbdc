"""How much there is to do, and how it is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.listing import page_count
from orchestrator.policy.plan import feasibility, reads_are_cheaper, seconds_needed, spoken_s

CHEAPER = [
    # campaigns, rows in the VDN, whether single reads take fewer requests than pages 2 …
    (3, 5_000, True),
    (48, 5_000, True),
    (49, 5_000, False),
    (1, 100, False),
    (1, 200, False),
    (1, 201, True),
    (0, 0, False),
]


@pytest.mark.parametrize(("campaigns", "total_size", "cheaper"), CHEAPER)
def test_reads_are_taken_where_they_are_fewer(
    campaigns: int, total_size: int, *, cheaper: bool
) -> None:
    """One read per campaign against the pages that are left after the first."""
    assert reads_are_cheaper(campaigns=campaigns, total_size=total_size) is cheaper


@given(st.integers(0, 10**4), st.integers(0, 10**6))
def test_the_choice_never_costs_more_requests(campaigns: int, total_size: int) -> None:
    """Whatever is chosen, the other would not have been fewer requests."""
    pages_left = page_count(total_size) - 1

    chosen = (
        campaigns if reads_are_cheaper(campaigns=campaigns, total_size=total_size) else pages_left
    )

    assert chosen == min(campaigns, pages_left)


def test_time_needed_is_arithmetic() -> None:
    """So many requests, divided by the pace."""
    assert seconds_needed(requests=900, rate_per_s=10) == 90.0
    assert seconds_needed(requests=0, rate_per_s=0.5) == 0.0


SENTENCES = [
    (900, 10.0, False, "900 campaigns at 10 requests/s: about 90 s; `--rate 20` would take 45 s"),
    (1, 10.0, False, "1 campaign at 10 requests/s: about 1 s"),
    (0, 10.0, False, "0 campaigns at 10 requests/s: about 1 s"),
    (1, 0.05, False, "1 campaign at 0.05 requests/s: about 20 s; `--rate 0.1` would take 10 s"),
    (1, 10.0, True, "at least 1 campaigns at 10 requests/s: about 1 s"),
    (12_000, 2.5, True,
     "at least 12,000 campaigns at 2.5 requests/s: about 80 min; `--rate 5` would take 40 min"),
    (99, 10.0, False, "99 campaigns at 10 requests/s: about 10 s"),
    (100, 10.0, False, "100 campaigns at 10 requests/s: about 10 s; `--rate 20` would take 5 s"),
]  # fmt: skip


@pytest.mark.parametrize(("running", "rate_per_s", "more", "sentence"), SENTENCES)
def test_feasibility_is_a_sentence(
    running: int, rate_per_s: float, sentence: str, *, more: bool
) -> None:
    """What an operator reads at 3 a.m.: how many, how long, and what a higher rate would do."""
    assert feasibility(running=running, rate_per_s=rate_per_s, more=more) == sentence


SPOKEN = [
    (0.0, "1 s"),
    (0.4, "1 s"),
    (90.0, "90 s"),
    (119.4, "119 s"),
    (119.6, "2 min"),
    (600.0, "10 min"),
    (7_149.0, "119 min"),
    (7_500.0, "2 h 5 min"),
    (86_400.0, "24 h 0 min"),
]


@pytest.mark.parametrize(("wait_s", "spoken"), SPOKEN)
def test_seconds_as_people_say_them(wait_s: float, spoken: str) -> None:
    """Never zero, and never more than two units."""
    assert spoken_s(wait_s) == spoken
