"""The server's own rules: what pauses, what resumes, what a listing shows, and what was true."""

from __future__ import annotations

import pytest

from orchestrator.model import Action, CampaignRef, Status
from orchestrator.simulator.world import Campaign, Drift, Forgetting, ListingQuery, Order, World
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

ONE = CampaignRef(VDN, 1)


def shown(
    world: World, as_of_s: float, query: ListingQuery
) -> tuple[list[tuple[int, Status]], int]:
    """What a listing as of then shows: ids with their status, and totalSize."""
    page = world.listing(VDN, query, as_of_s=as_of_s)
    return [(row.campaign.campaign_id, row.status) for row in page.rows], page.total_size


def paused_at(world: World, at_s: float, number: int) -> None:
    """Pause one campaign at that time."""
    world.advance(now_s=at_s)
    world.change(Action.PAUSE, CampaignRef(VDN, number))


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


def test_campaigns_change_by_themselves_at_their_time_or_after_pauses() -> None:
    """Due at 6 s: not at 5.9 s. Due after two pauses: not after one."""
    drifts = [Drift(NOT_STARTED, at_s=6.0), Drift(COMPLETED, after_pauses=2)]
    world = World(
        {VDN: [Campaign(140 + status, status) for status in Status], 13: [Campaign(1)]},
        drifts=drifts,
    )
    world.advance(now_s=5.9)
    world.change(Action.PAUSE, STARTED)
    early = [world.status_of(drift.ref) for drift in drifts]
    world.advance(now_s=6.0)
    world.change(Action.PAUSE, CampaignRef(13, 1))

    assert early == [Status.NOT_STARTED, Status.COMPLETED]
    assert [world.status_of(drift.ref) for drift in drifts] == [Status.STARTED] * 2


def test_a_restless_campaign_starts_after_each_pause() -> None:
    """Paused at 1, 5 and 9 s it starts at 3 and 7 s; two times is its bound."""
    world = World({VDN: [Campaign(1)]}, drifts=[Drift(ONE, after_pause_s=2, times=2)])
    for at_s in (1.0, 5.0, 9.0):
        paused_at(world, at_s, 1)
    world.advance(now_s=60.0)

    assert [world.since(ONE, at_s=at_s) for at_s in (2.9, 3.0, 6.9, 7.0, 60.0)] == [
        (Status.SUSPENDED, 1.0),
        (Status.STARTED, 3.0),
        (Status.SUSPENDED, 5.0),
        (Status.STARTED, 7.0),
        (Status.SUSPENDED, 9.0),
    ]


def test_a_server_may_forget_its_changes() -> None:
    """Paused at 1 s and 3 s; the restart at 5 s goes back to 2 s: the first pause stays."""
    world = started(2)
    world.will_happen(Forgetting(5.0, back_to_s=2.0))
    paused_at(world, 1.0, 1)
    paused_at(world, 3.0, 2)
    world.advance(now_s=5.0)

    assert world.since(ONE, at_s=5.0) == (Status.SUSPENDED, 1.0)
    assert world.since(CampaignRef(VDN, 2), at_s=5.0) == (Status.STARTED, 5.0)


@pytest.mark.parametrize("order", Order)
def test_a_listing_of_the_past_is_what_a_listing_was_then(order: Order) -> None:
    """Asked at once and asked later for the same time: same rows, same order, page by page."""
    world = started(230, order=order)
    queries = [
        ListingQuery(status, page, 100)
        for status in (None, Status.STARTED, Status.SUSPENDED)
        for page in (1, 2, 3)
    ]
    seen = {}
    for number in range(1, 200, 3):
        paused_at(world, float(number), number)
        seen[float(number)] = [shown(world, float(number), query) for query in queries]
    newest = seen[199.0][0][0]

    assert len(seen) > 60
    for at_s, then in seen.items():
        assert then == [shown(world, at_s, query) for query in queries]
    assert newest[0] == ((1 if order is Order.ID else 199), Status.SUSPENDED)
