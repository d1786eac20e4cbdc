"""The fault plan: the same seed gives the same faults, and they end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model import CampaignRef
from orchestrator.simulator.faults import (
    ANSWER_LOST,
    FORBIDDEN,
    RESET,
    UNAVAILABLE,
    Asked,
    Fault,
    FaultPlan,
    FaultRates,
    ListingFaults,
    Outage,
    draw,
)
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.world import Campaign, Page

REF = CampaignRef(12, 146)


def change(nth: int, ref: CampaignRef = REF, **more: float) -> Asked:
    """The nth pause of a campaign."""
    asked = Asked(Kind.PAUSE, nth, vdn_id=ref.vdn_id, ref=ref)
    return replace(asked, now_s=more.get("now_s", 0.0), request_number=int(more.get("number", 1)))


def look(nth: int = 1, page: int = 1) -> Asked:
    """The nth listing of VDN 12."""
    return Asked(Kind.LIST, nth, vdn_id=12, page=page)


def met(plan: FaultPlan, count: int = 400) -> list[Fault | None]:
    """What the first three requests to each of so many campaigns meet."""
    return [plan.decide(change(n, CampaignRef(1, c))) for c in range(count) for n in (1, 2, 3)]


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    """1,200 requests at 30 %, decided twice."""
    plan = FaultPlan(seed=7, rates=FaultRates.mixed(0.3))

    assert met(plan) == met(replace(plan, seed=7))
    assert met(plan) != met(replace(plan, seed=8))


def test_a_seed_means_the_same_for_ever() -> None:
    """Recorded once: a printed seed must replay next year."""
    chance, variant = draw(7, Kind.PAUSE, REF, 1)

    assert (round(chance, 12), round(variant, 12)) == (0.197613837089, 0.18925047146)
    assert draw(7, Kind.RESUME, REF, 1) == (chance, variant)
    assert draw(7, Kind.DETAILS, REF, 1) != (chance, variant)


def test_rates_are_kept_to() -> None:
    """A tenth of 12,000 first requests meets a database error, give or take a hundredth."""
    plan = FaultPlan(rates=FaultRates(database_error=0.1))

    hits = sum(plan.decide(change(1, CampaignRef(1, c))) is not None for c in range(12_000))

    assert 0.09 < hits / 12_000 < 0.11


@pytest.mark.parametrize("longest", [0, 1, 3])
def test_seeded_faults_end(longest: int) -> None:
    """Even at a rate of 1 a campaign meets at most so many in a row, then the truth once."""
    plan = FaultPlan(rates=FaultRates(database_error=1.0), max_consecutive=longest)

    rows = [plan.decide(change(n)) is not None for n in range(1, 9)]

    assert rows == [n % (longest + 1) != 0 for n in range(1, 9)]


@pytest.mark.parametrize("wrong", [{"reset": -0.1}, {"reset": 1.1}, {"reset": 0.6, "hang": 0.6}])
def test_what_is_no_probability_is_refused(wrong: dict[str, float]) -> None:
    """Below 0, above 1, or together above 1."""
    with pytest.raises(ValueError, match="together at most 1"):
        FaultRates(**wrong)


def test_a_mixture_has_the_rate_it_names() -> None:
    """30 % in all, and nothing in it that ends a run."""
    rates = FaultRates.mixed(0.3)

    assert sum(rates.values()) == pytest.approx(0.3)
    assert (rates.unauthorized, rates.forbidden, rates.hang, rates.lie) == (0, 0, 0, 0)


def test_scripts_come_in_their_order_and_then_the_rates() -> None:
    """A reset, nothing, a lost answer for this campaign; others go by the rates, here none."""
    plan = FaultPlan(scripted={REF: [RESET, None, ANSWER_LOST]})

    assert [plan.decide(change(n)) for n in (1, 2, 3, 4)] == [RESET, None, ANSWER_LOST, None]
    assert plan.decide(change(1, CampaignRef(12, 1))) is None


def test_an_outage_has_a_beginning_and_an_end_in_time() -> None:
    """From second 5 up to, not including, second 25."""
    plan = FaultPlan(outages=(Outage(UNAVAILABLE, start_s=5, end_s=25),))

    found = [plan.decide(change(1, now_s=s)) for s in (4.9, 5.0, 24.9, 25.0)]

    assert found == [None, UNAVAILABLE, UNAVAILABLE, None]


def test_an_outage_may_go_by_numbers_vdn_and_kind() -> None:
    """The second and third request to the server; one VDN only; listings only."""
    by_number = FaultPlan(outages=(Outage(RESET, first_request=2, last_request=3),))
    by_vdn = FaultPlan(outages=(Outage(FORBIDDEN, vdn_id=13),))
    by_kind = FaultPlan(outages=(Outage(RESET, kinds=frozenset({Kind.LIST})),))

    assert [by_number.decide(change(1, number=n)) for n in (1, 2, 3, 4)] == [
        None,
        RESET,
        RESET,
        None,
    ]
    assert by_vdn.decide(change(1)) is None
    assert by_vdn.decide(change(1, CampaignRef(13, 1))) is FORBIDDEN
    assert (by_kind.decide(change(1)), by_kind.decide(look())) == (None, RESET)


def test_listings_come_short_or_with_a_changing_total() -> None:
    """One row is missing; every second total is 5 too high; afterwards the page is true."""
    plan = FaultPlan(
        listing_faults={12: ListingFaults(rows_missing=1, total_size_off=5, last_request=2)}
    )
    page = Page(rows=(Campaign(1), Campaign(2)), total_size=2, page=1, rows_per_page=100)

    shown = [plan.bend(page, look(nth=n)) for n in (1, 2, 3)]

    assert [(len(p.rows), p.total_size) for p in shown] == [(1, 2), (1, 7), (2, 2)]
    assert plan.bend(page, Asked(Kind.LIST, 1, vdn_id=13)) is page
