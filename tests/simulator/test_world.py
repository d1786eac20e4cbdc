"""The server's own rules: what pauses, what resumes, what a listing shows."""

from __future__ import annotations

import pytest

from orchestrator.model import Action, CampaignRef, Status
from orchestrator.simulator.world import (
    Campaign,
    Drift,
    ListingQuery,
    World,
)
from tests.simulator.makers import (
    COMPLETED,
    MISSING,
    NOT_STARTED,
    STARTED,
    SUSPENDED,
    VDN,
    one_of_each,
    started,
)

RUNNING = ListingQuery(status=Status.STARTED, rows_per_page=100)


@pytest.mark.parametrize(
    ("action", "ref", "code", "then"),
    [
        (Action.PAUSE, STARTED, "0200000", Status.SUSPENDED),
        (Action.PAUSE, SUSPENDED, "0200011", Status.SUSPENDED),
        (Action.PAUSE, NOT_STARTED, "0200011", Status.NOT_STARTED),
        (Action.PAUSE, COMPLETED, "0200011", Status.COMPLETED),
        (Action.PAUSE, MISSING, "0200007", None),
        (Action.PAUSE, CampaignRef(99, 142), "0200007", None),
        (Action.RESUME, SUSPENDED, "0200000", Status.STARTED),
        (Action.RESUME, STARTED, "0200011", Status.STARTED),
        (Action.RESUME, NOT_STARTED, "0200011", Status.NOT_STARTED),
        (Action.RESUME, COMPLETED, "0200011", Status.COMPLETED),
        (Action.RESUME, MISSING, "0200007", None),
    ],
)
def test_only_one_status_accepts_each_change(
    action: Action, ref: CampaignRef, code: str, then: Status | None
) -> None:
    """Pause wants 2 and leads to 3, resume the reverse; everything else changes nothing."""
    world = one_of_each()

    assert (world.change(action, ref), world.status_of(ref)) == (code, then)


def test_rereading_page_one_while_pausing_finds_every_campaign() -> None:
    """Page 1 again and again, pausing what it shows: 25 rounds find all 2,500, in id order."""
    world = started(2500)
    found: list[int] = []
    while rows := world.listing(VDN, RUNNING).rows:
        for campaign in rows:
            world.change(Action.PAUSE, CampaignRef(VDN, campaign.campaign_id))
            found.append(campaign.campaign_id)

    assert found == list(range(1, 2501))
    assert world.counts() == {Status.SUSPENDED: 2500}


def test_campaigns_begin_by_themselves_at_their_time() -> None:
    """Due at 6 s: not started at 5.9 s, started at 6 s."""
    world = World(
        {VDN: [Campaign(1, Status.NOT_STARTED)]}, drifts=[Drift(CampaignRef(VDN, 1), at_s=6.0)]
    )

    world.advance(now_s=5.9)
    before = world.status_of(CampaignRef(VDN, 1))
    world.advance(now_s=6.0)

    assert (before, world.status_of(CampaignRef(VDN, 1))) == (Status.NOT_STARTED, Status.STARTED)


def test_campaigns_can_be_added_and_changed_from_outside() -> None:
    """A new campaign of a new VDN is listed; changing one that is not there is a KeyError."""
    world = one_of_each()
    world.add(50, Campaign(7))
    world.set_status(CampaignRef(50, 7), Status.COMPLETED)
    world.set_status(CampaignRef(50, 7), Status.COMPLETED)

    assert world.counts(50) == {Status.COMPLETED: 1}
    assert world.vdn_ids == [VDN, 50]
    with pytest.raises(KeyError):
        world.set_status(MISSING, Status.STARTED)
