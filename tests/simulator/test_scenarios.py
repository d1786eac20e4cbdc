"""The ready-made worlds hold what their summaries say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import scenarios

NOW = datetime(2026, 3, 1, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_every_scenario_can_be_built_by_its_name(name: str) -> None:
    """Each carries its name, the invented keys, a list to pause, and its seed."""
    scenario = scenarios.named(name, seed=9, now=NOW)

    assert (scenario.name, scenario.faults.seed) == (name, 9)
    assert (scenario.access_key, scenario.secret_key) == (
        "AKSIMULATOR",
        "sk-simulator-not-a-secret",
    )
    assert set(scenario.world.refs()) <= set(scenario.sample)


def test_an_unknown_scenario_is_a_key_error() -> None:
    """So that the command line can say which there are."""
    with pytest.raises(KeyError):
        scenarios.named("calm", seed=1, now=NOW)


def test_the_emergency_dials_and_two_campaigns_follow() -> None:
    """60 run at first, 61 after 6 s, 62 after 12 s; the rest begins tomorrow at 8."""
    world = scenarios.named("emergency", seed=1, now=NOW).world
    running = []
    for now_s in (0.0, 6.0, 12.0):
        world.advance(now_s=now_s)
        running.append(world.counts(scenarios.DRILL_VDN)[Status.STARTED])
    waiting = world.campaign(CampaignRef(scenarios.DRILL_VDN, 1_798_316_911))

    assert running == [60, 61, 62]
    assert waiting is not None
    assert (waiting.status, waiting.begin_time) == (Status.NOT_STARTED, "2026-03-02 08:00:00")


def test_the_batch_list_has_two_campaigns_that_do_not_exist() -> None:
    """A demo shows what a wrong line looks like; some are suspended or completed already."""
    scenario = scenarios.named("batch", seed=1, now=NOW)

    missing = [ref for ref in scenario.sample if scenario.world.campaign(ref) is None]
    assert len(missing) == 2
    assert set(scenario.world.counts()) == {Status.STARTED, Status.SUSPENDED, Status.COMPLETED}


def test_the_stubborn_campaign_exists_and_runs() -> None:
    """Otherwise nobody would meet it."""
    world = scenarios.named("stubborn", seed=1, now=NOW).world

    assert world.status_of(scenarios.STUBBORN_CAMPAIGN) is Status.STARTED


def test_the_summary_of_the_outage_names_its_seconds() -> None:
    """From second 5 to 25."""
    start_s, end_s = scenarios.OUTAGE_S

    assert f"from second {start_s:g} to {end_s:g}" in scenarios.SCENARIOS["outage"]


def test_a_generated_world_deals_its_campaigns_to_all_vdns() -> None:
    """Ten campaigns in three VDNs: 4, 3 and 3, all started, at the rate asked for."""
    scenario = scenarios.generated(campaigns=10, vdns=3, seed=1, fault_rate=0.2)

    assert [scenario.world.counts(v)[Status.STARTED] for v in (1, 2, 3)] == [4, 3, 3]
    assert sum(scenario.faults.rates.values()) == pytest.approx(0.2)
