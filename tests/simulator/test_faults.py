"""The fault plan: the same seed gives the same faults, and they end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import (
    ANSWER_LOST,
    BY_CHANCE,
    FORBIDDEN,
    RESET,
    UNAUTHORIZED,
    Fault,
    FaultPlan,
    Outage,
    draw,
    mixed,
)
from orchestrator.simulator.ledger import fullest_window
from orchestrator.simulator.reads import Asked, ListingFaults
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.world import Campaign, Page, Row

REF = CampaignRef(12, 146)


def change(nth: int, ref: CampaignRef = REF, **more: float) -> Asked:
    """The nth pause of a campaign."""
    asked = Asked(Kind.PAUSE, nth, vdn_id=ref.vdn_id, ref=ref)
    return replace(asked, now_s=more.get("now_s", 0.0), request_number=int(more.get("number", 1)))


def look(nth: int = 1, **more: bool | float) -> Asked:
    """The nth listing of VDN 12."""
    return replace(Asked(Kind.LIST, nth, vdn_id=12, page=1), **more)  # type: ignore[arg-type]


def met(plan: FaultPlan, count: int = 400) -> list[Fault | None]:
    """What the first three requests to each of so many campaigns meet."""
    return [plan.decide(change(n, CampaignRef(1, c))) for c in range(count) for n in (1, 2, 3)]


def test_the_same_seed_gives_the_same_faults_and_another_gives_others() -> None:
    """1,200 requests at 30 %, decided twice."""
    plan = FaultPlan(seed=7, rates=mixed(0.3))

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
    plan = FaultPlan(rates={"database_error": 0.1})

    hits = sum(plan.decide(change(1, CampaignRef(1, c))) is not None for c in range(12_000))

    assert 0.09 < hits / 12_000 < 0.11


@pytest.mark.parametrize("name", list(BY_CHANCE))
def test_every_rate_has_its_faults(name: str) -> None:
    """At a rate of 1 the first request to each campaign meets one, in all its variants."""
    plan = FaultPlan(rates={name: 1.0})

    found = {plan.decide(change(1, CampaignRef(1, c))) for c in range(60)}

    assert None not in found
    assert len({fault.name for fault in found if fault}) == len(found)


@pytest.mark.parametrize("longest", [0, 1, 3])
def test_seeded_faults_end(longest: int) -> None:
    """Even at a rate of 1 a campaign meets at most so many in a row, then the truth once."""
    plan = FaultPlan(rates={"database_error": 1.0}, max_consecutive=longest)

    rows = [plan.decide(change(n)) is not None for n in range(1, 9)]

    assert rows == [n % (longest + 1) != 0 for n in range(1, 9)]


@pytest.mark.parametrize(
    "wrong", [{"reset": -0.1}, {"reset": 1.1}, {"reset": 0.6, "hang": 0.6}, {"rest": 0.1}]
)
def test_what_is_no_probability_is_refused(wrong: dict[str, float]) -> None:
    """Below 0, above 1, together above 1, or of a fault that nobody knows."""
    with pytest.raises(ValueError, match="rates are 0 to 1"):
        FaultPlan(rates=wrong)
    with pytest.raises(ValueError, match="rates are 0 to 1"):
        FaultPlan(read_rates=wrong)


def test_a_mixture_has_the_rate_it_names() -> None:
    """30 % in all, and nothing in it that ends a run or takes long."""
    rates = mixed(0.3)

    assert sum(rates.values()) == pytest.approx(0.3)
    assert not {"unknown_code", "waf", "hang", "lie"} & rates.keys()


def test_scripts_come_in_their_order_and_then_the_rates() -> None:
    """A reset, nothing, a lost answer for this campaign; others go by the rates, here none."""
    plan = FaultPlan(scripted={REF: [RESET, None, ANSWER_LOST]})

    assert [plan.decide(change(n)) for n in (1, 2, 3, 4)] == [RESET, None, ANSWER_LOST, None]
    assert plan.decide(change(1, CampaignRef(12, 1))) is None


def test_an_outage_has_its_time_numbers_vdn_kinds_and_campaigns() -> None:
    """Each bound alone, and what lies just outside of it."""
    other = CampaignRef(13, 1)
    timed, numbered, of_vdn, lists, filtered, of_one = (
        FaultPlan(outages=(outage,))
        for outage in (
            Outage(UNAUTHORIZED, start_s=5, end_s=25),
            Outage(RESET, first_request=2),
            Outage(FORBIDDEN, vdn_id=13),
            Outage(RESET, kinds=frozenset({Kind.LIST})),
            Outage(RESET, kinds=frozenset({Kind.LIST}), filtered=True),
            Outage(RESET, refs=frozenset({other})),
        )
    )

    assert [timed.decide(change(1, now_s=s)) for s in (4.9, 5.0, 24.9, 25.0)] == [
        None,
        UNAUTHORIZED,
        UNAUTHORIZED,
        None,
    ]
    assert [numbered.decide(change(1, number=n)) for n in (1, 2, 99)] == [None, RESET, RESET]
    assert [of_vdn.decide(change(1, ref)) for ref in (REF, other)] == [None, FORBIDDEN]
    assert [lists.decide(asked) for asked in (change(1), look())] == [None, RESET]
    assert [filtered.decide(look(filtered=yes)) for yes in (False, True)] == [None, RESET]
    assert [of_one.decide(change(1, ref)) for ref in (REF, other)] == [None, RESET]


def test_listings_fail_by_page_or_after_some_answers() -> None:
    """Page 1 always fails; or everything after two answers; both with HTTP 500."""
    by_page, by_number = (
        FaultPlan(listing_faults={12: bent})
        for bent in (ListingFaults(failing_pages=frozenset({1})), ListingFaults(answered=2))
    )

    assert [by_page.decide(look(page=page)) is None for page in (1, 2)] == [False, True]
    assert [by_number.decide(look(nth)) is None for nth in (1, 2, 3)] == [True, True, False]
    assert getattr(by_number.decide(look(3)), "http_status", 0) == 500


def test_listings_come_short_repeated_or_with_a_changing_total() -> None:
    """One row is missing or stands twice; every second total is 5 too high; then all is true."""
    bent = ListingFaults(rows_missing=1, total_size_off=5, last_request=2)
    plan = FaultPlan(listing_faults={12: bent, 13: ListingFaults(rows_repeated=1)})
    page = Page(tuple(Row(Campaign(n), Status.STARTED) for n in (1, 2, 3)), 3)

    def seen(asked: Asked) -> tuple[list[int], int]:
        shown = plan.listing(asked).bend(page, asked)
        return [row.campaign.campaign_id for row in shown.rows], shown.total_size

    assert [seen(look(nth)) for nth in (1, 2, 3)] == [([1, 2], 3), ([1, 2], 8), ([1, 2, 3], 3)]
    assert seen(Asked(Kind.LIST, 1, vdn_id=13)) == ([1, 2, 1], 3)
    assert seen(Asked(Kind.LIST, 1, vdn_id=14)) == ([1, 2, 3], 3)


@pytest.mark.parametrize(
    ("times", "worst"),
    [
        pytest.param([], 0, id="nothing"),
        pytest.param([0.0, 0.5, 0.999], 3, id="within"),
        pytest.param([0.0, 0.5, 1.0], 2, id="half-open"),
        pytest.param([0.0, 0.9, 1.0, 1.1, 3.0], 3, id="across"),
        pytest.param([2.0, 2.0, 2.0], 3, id="at once"),
    ],
)
def test_the_worst_window_is_the_fullest_half_open_one(times: list[float], worst: int) -> None:
    """Requests at 0, 0.5 and 1 s: at most two of them in one second. Tests judge the pace by it."""
    assert fullest_window(times, 1.0) == worst
