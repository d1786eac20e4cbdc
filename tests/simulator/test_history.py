"""The truth with its times, and reads that show the past."""

from __future__ import annotations

import pytest

from orchestrator.model import Action, CampaignRef, Status
from orchestrator.simulator.world import (
    Campaign,
    Drift,
    Forgetting,
    ListingQuery,
    Order,
    World,
    WorldSettings,
)
from tests.simulator.makers import VDN, started

RUNNING = ListingQuery(status=Status.STARTED, rows_per_page=100)
ALL = ListingQuery(rows_per_page=100)


def shown(
    world: World, as_of_s: float, query: ListingQuery = ALL
) -> tuple[list[tuple[int, Status]], int]:
    """What a listing as of then shows: ids with their status, and totalSize."""
    page = world.listing(VDN, query, as_of_s=as_of_s)
    return [(one.campaign_id, one.status) for one in page.rows], page.total_size


def paused_at(world: World, at_s: float, number: int) -> None:
    """Pause one campaign at that time."""
    world.advance(now_s=at_s)
    world.change(Action.PAUSE, CampaignRef(VDN, number))


def test_every_change_is_kept_with_its_time() -> None:
    """Paused at 1 s, started again by itself at 2.5 s, although nobody looked before 9 s."""
    world = World({VDN: [Campaign(1)]}, drifts=[Drift(CampaignRef(VDN, 1), at_s=2.5)])
    paused_at(world, 1.0, 1)
    world.advance(now_s=9.0)

    assert [(c.at_s, c.before, c.after) for c in world.history] == [
        (1.0, Status.STARTED, Status.SUSPENDED),
        (2.5, Status.SUSPENDED, Status.STARTED),
    ]


def test_the_truth_can_be_asked_for_any_time() -> None:
    """Started before 1 s and from 2.5 s on; suspended in between, its first instant included."""
    ref = CampaignRef(VDN, 1)
    world = World({VDN: [Campaign(1)]}, drifts=[Drift(ref, at_s=2.5)])
    paused_at(world, 1.0, 1)
    world.advance(now_s=9.0)

    asked = [world.status_at(ref, at_s) for at_s in (0.9, 1.0, 2.4, 2.5, 9.0)]

    assert asked == [
        Status.STARTED,
        Status.SUSPENDED,
        Status.SUSPENDED,
        Status.STARTED,
        Status.STARTED,
    ]
    assert not world.was_started(ref, from_s=1.0, to_s=2.4)
    assert world.was_started(ref, from_s=1.0, to_s=2.5)
    assert world.started_between(VDN, from_s=1.2, to_s=2.0) == []
    assert world.started_between(VDN, from_s=0.0, to_s=1.0) == [ref]


@pytest.mark.parametrize("order", Order)
def test_a_listing_of_the_past_is_what_a_listing_was_then(order: Order) -> None:
    """Asked at once and asked later for the same time: same rows, same order, page by page."""
    world = started(230, settings=WorldSettings(order=order))
    seen = {}
    for number in range(1, 200, 3):
        paused_at(world, float(number), number)
        if number % 5 == 0:
            seen[float(number)] = [
                shown(world, float(number), ListingQuery(status, page, 100))
                for status in (None, Status.STARTED, Status.SUSPENDED)
                for page in (1, 2, 3)
            ]

    for at_s, then in seen.items():
        assert then == [
            shown(world, at_s, ListingQuery(status, page, 100))
            for status in (None, Status.STARTED, Status.SUSPENDED)
            for page in (1, 2, 3)
        ]


def test_who_was_created_or_deleted_is_so_from_then_on() -> None:
    """Campaign 3 appears at 2 s, campaign 1 goes at 4 s; reads of 1 s and 3 s know better."""
    world = started(2)
    world.advance(now_s=2.0)
    world.add(VDN, Campaign(3))
    world.advance(now_s=4.0)
    world.remove(CampaignRef(VDN, 1))

    assert [[n for n, _ in shown(world, s)[0]] for s in (1, 3, 4)] == [[1, 2], [1, 2, 3], [2, 3]]
    assert world.status_at(CampaignRef(VDN, 3), 1.0) is None
    assert world.status_at(CampaignRef(VDN, 1), 3.9) is Status.STARTED
    assert world.status_at(CampaignRef(VDN, 1), 4.0) is None


def test_a_restless_campaign_starts_after_each_pause() -> None:
    """Paused at 1, 5 and 9 s it starts at 3 and 7 s; two times is its bound."""
    ref = CampaignRef(VDN, 1)
    world = World({VDN: [Campaign(1)]}, drifts=[Drift(ref, after_pause_s=2, times=2)])
    for at_s in (1.0, 5.0, 9.0):
        paused_at(world, at_s, 1)
    world.advance(now_s=60.0)

    starts = [c.at_s for c in world.history.of(ref) if c.after is Status.STARTED]
    assert starts == [3.0, 7.0]


def test_a_server_may_forget_its_changes() -> None:
    """Paused at 1 s and 3 s; the restart at 5 s goes back to 2 s: the first pause stays."""
    world = World({VDN: [Campaign(1), Campaign(2)]}, forgettings=[Forgetting(5.0, back_to_s=2.0)])
    paused_at(world, 1.0, 1)
    paused_at(world, 3.0, 2)
    world.advance(now_s=5.0)

    assert shown(world, 5.0)[0] == [(1, Status.SUSPENDED), (2, Status.STARTED)]
    assert world.history[2].at_s == 5.0
