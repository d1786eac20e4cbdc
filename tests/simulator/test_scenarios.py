"""The ready-made worlds hold what their summaries say."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import scenarios
from orchestrator.simulator.reads import Asked
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.scenarios import DRILL_VDN, named
from tests.simulator.makers import Seat, body, list_path


@pytest.mark.parametrize("name", scenarios.SCENARIOS)
def test_every_scenario_can_be_built_by_its_name(name: str) -> None:
    """Each carries its name, the invented keys, a list to pause, and its seed."""
    scenario = named(name, seed=9)

    assert (scenario.name, scenario.faults.seed) == (name, 9)
    assert (scenario.access_key, scenario.secret_key) == (
        "AKSIMULATOR",
        "sk-simulator-not-a-secret",
    )
    assert set(scenario.world.refs()) <= set(scenario.sample)


def test_the_emergency_dials_and_two_campaigns_follow() -> None:
    """60 run at first, 61 after 6 s, 62 after 12 s; the rest begins tomorrow at 8."""
    world = named("emergency", seed=1).world
    running = []
    for now_s in (0.0, 6.0, 12.0):
        world.advance(now_s=now_s)
        running.append(world.counts(DRILL_VDN)[Status.STARTED])
    waiting = world.campaign(CampaignRef(DRILL_VDN, 1_798_316_911))

    assert running == [60, 61, 62]
    assert waiting is not None
    assert waiting.status is Status.NOT_STARTED
    begin = datetime.strptime(waiting.begin_time, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert begin > datetime.now(UTC)


def test_the_batch_list_has_two_campaigns_that_do_not_exist() -> None:
    """A demo shows what a wrong line looks like; some are suspended or completed already."""
    scenario = named("batch", seed=1)

    missing = [ref for ref in scenario.sample if scenario.world.campaign(ref) is None]
    assert len(missing) == 2
    assert set(scenario.world.counts()) == {Status.STARTED, Status.SUSPENDED, Status.COMPLETED}


def test_the_servers_that_fail_or_mislead_do_so() -> None:
    """Each scenario's own trouble is in its plan or its world, where its summary says."""
    stubborn = CampaignRef(DRILL_VDN, 1_234_005)
    row = [named("stubborn", seed=1).faults.decide(_pause(stubborn, n)) for n in range(1, 9)]
    out = [named("outage", seed=1).faults.outage(_pause(stubborn, 1, s)) for s in (4.9, 5, 25)]
    restless = named("restless", seed=1).world
    restless.advance(now_s=9.0)
    foreign = named("foreign", seed=1)

    assert {fault.name for fault in row if fault} == {"database error"}
    assert (len(row), [fault is None for fault in out]) == (8, [True, False, True])
    assert named("lagging", seed=1).faults.lag_s(_pause(stubborn, 1)) == 8.0
    assert restless.status_of(CampaignRef(DRILL_VDN, 1_234_007)) is Status.STARTED
    seat = Seat(foreign.world, foreign.faults)
    pages = [body(seat.play("GET", list_path(DRILL_VDN))) for _ in range(20)]
    zipped = [page for page in pages if page.startswith(b"\x1f\x8b")]
    assert 0 < len(zipped) < 20
    assert all(b"caf\xe9\tspring" in page for page in pages if page not in zipped)


def _pause(ref: CampaignRef, nth: int, now_s: float = 0.0) -> Asked:
    return Asked(Kind.PAUSE, nth, vdn_id=ref.vdn_id, ref=ref, now_s=now_s)


def test_a_generated_world_deals_its_campaigns_to_all_vdns() -> None:
    """Ten campaigns in three VDNs: 4, 3 and 3, all started, at the rate asked for."""
    scenario = scenarios.generated(campaigns=10, vdns=3, seed=1, fault_rate=0.2)

    assert [scenario.world.counts(v)[Status.STARTED] for v in (1, 2, 3)] == [4, 3, 3]
    assert sum(scenario.faults.rates.values()) == pytest.approx(0.2)
