"""The fault plan: the same seed gives the same faults, and they end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model import CampaignRef
from orchestrator.simulator.faults import (
    ANSWER_LOST,
    BY_CHANCE,
    RESET,
    Fault,
    FaultPlan,
    draw,
    mixed,
)
from orchestrator.simulator.ledger import fullest_window
from orchestrator.simulator.reads import Asked
from orchestrator.simulator.routes import Kind

REF = CampaignRef(12, 146)


def change(nth: int, ref: CampaignRef = REF, **more: float) -> Asked:
    """The nth pause of a campaign."""
    asked = Asked(Kind.PAUSE, nth, vdn_id=ref.vdn_id, ref=ref)
    return replace(asked, now_s=more.get("now_s", 0.0), request_number=int(more.get("number", 1)))


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
