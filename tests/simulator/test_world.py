"""The server's own rules: what pauses, what resumes, what a listing shows."""

from __future__ import annotations

import pytest

from orchestrator.model import Action, CampaignRef, Status
from orchestrator.simulator.world import (
    Campaign,
    Drift,
    ListingQuery,
    Order,
    World,
    WorldSettings,
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


def test_a_shrinking_listing_skips_campaigns_when_paged_naively() -> None:
    """Pausing all of page 1 before asking for page 2 hides the campaigns that slid down."""
    world = started(250)
    page_1 = world.listing(VDN, RUNNING)
    for campaign in page_1.rows:
        world.change(Action.PAUSE, CampaignRef(VDN, campaign.campaign_id))

    page_2 = world.listing(VDN, ListingQuery(status=Status.STARTED, page=2, rows_per_page=100))

    assert (page_1.total_size, page_2.total_size) == (250, 150)
    assert [c.campaign_id for c in page_2.rows] == list(range(201, 251))


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


def test_recent_order_shows_the_latest_change_first() -> None:
    """Campaigns 2 and then 4 of five were paused: 4, 2, then the untouched ones by id."""
    world = started(5, settings=WorldSettings(order=Order.RECENT))
    world.change(Action.PAUSE, CampaignRef(VDN, 2))
    world.change(Action.PAUSE, CampaignRef(VDN, 4))

    rows = world.listing(VDN, ListingQuery()).rows

    assert [c.campaign_id for c in rows] == [4, 2, 1, 3, 5]


def test_paused_campaigns_join_the_suspended_listing_in_id_order() -> None:
    """Paused 3, 1, 2: listed as suspended 1, 2, 3."""
    world = started(4)
    for number in (3, 1, 2):
        world.change(Action.PAUSE, CampaignRef(VDN, number))

    rows = world.listing(VDN, ListingQuery(status=Status.SUSPENDED)).rows

    assert [c.campaign_id for c in rows] == [1, 2, 3]


def test_pages_past_the_end_and_unknown_vdns_are_empty() -> None:
    """Page 2 of four campaigns has no rows and the right total; VDN 77 has neither."""
    world = one_of_each()

    past = world.listing(VDN, ListingQuery(page=2))
    unknown = world.listing(77, ListingQuery())

    assert (past.rows, past.total_size) == ((), 4)
    assert (unknown.rows, unknown.total_size) == ((), 0)
    assert world.counts(77) == {}


def test_filters_beside_the_status_are_kept_to() -> None:
    """Name is part of the name, device type is exact, begin and end bound from both sides."""
    world = World(
        {
            VDN: [
                Campaign(1, name="spring a"),
                Campaign(2, name="spring b", device_type=3),
                Campaign(3, begin_time="2030-01-01 00:00:00"),
                Campaign(4, end_time="2026-01-01 00:00:00"),
            ]
        }
    )

    def listed(query: ListingQuery) -> list[int]:
        return [c.campaign_id for c in world.listing(VDN, query).rows]

    assert listed(ListingQuery(name="spring")) == [1, 2]
    assert listed(ListingQuery(device_type=3)) == [2]
    assert listed(ListingQuery(begin_time="2029-01-01 00:00:00")) == [3]
    assert listed(ListingQuery(end_time="2027-01-01 00:00:00")) == [4]
    assert (world.listing(VDN, ListingQuery()).ivr_count, len(world.refs())) == (1, 4)


def test_campaigns_begin_by_themselves_at_their_time() -> None:
    """Due at 6 s: not started at 5.9 s, started at 6 s."""
    world = World(
        {VDN: [Campaign(1, Status.NOT_STARTED)]}, drifts=[Drift(CampaignRef(VDN, 1), at_s=6.0)]
    )

    world.advance(now_s=5.9)
    before = world.status_of(CampaignRef(VDN, 1))
    world.advance(now_s=6.0)

    assert (before, world.status_of(CampaignRef(VDN, 1))) == (Status.NOT_STARTED, Status.STARTED)


def test_campaigns_begin_by_themselves_after_so_many_pauses() -> None:
    """Due after the second accepted pause, and then only once: a later time is ignored."""
    late = CampaignRef(VDN, 4)
    world = World(
        {VDN: [Campaign(1), Campaign(2), Campaign(3), Campaign(4, Status.NOT_STARTED)]},
        drifts=[Drift(late, after_pauses=2, at_s=9.0), Drift(CampaignRef(VDN, 3), after_pauses=9)],
    )
    seen = []
    for number in (1, 1, 2):
        world.change(Action.PAUSE, CampaignRef(VDN, number))
        seen.append(world.status_of(late))
    world.set_status(late, Status.SUSPENDED)
    world.advance(now_s=10.0)

    assert seen == [Status.NOT_STARTED, Status.NOT_STARTED, Status.STARTED]
    assert world.status_of(late) is Status.SUSPENDED


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
