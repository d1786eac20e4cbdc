"""Servers that mislead: what a client is shown, while the world stays true."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import scenarios
from orchestrator.simulator.faults import (
    FaultPlan,
    Lag,
    StatusFilter,
)
from orchestrator.simulator.lies import LIES, with_lies
from orchestrator.simulator.routes import CAMPAIGNS_PATH
from tests.simulator.makers import (
    SUSPENDED,
    VDN,
    Seat,
    document,
    list_path,
    started,
)

if TYPE_CHECKING:
    from orchestrator.simulator.handler import Played


def details_path(ref: CampaignRef) -> str:
    """The target of a details call."""
    return f"{CAMPAIGNS_PATH}/{ref.vdn_id}/{ref.campaign_id}"


def statuses(played: Played) -> list[int]:
    """The statuses of the rows of a listing."""
    return [row["status"] for row in document(played)["data"]]


def test_lagging_reads_show_the_state_of_so_long_ago() -> None:
    """Paused at 2 s; with 3 s of lag all three reads show it started until 5 s."""
    seat = Seat(started(1), FaultPlan(lags=(Lag(3.0),)))
    ref = CampaignRef(VDN, 1)
    seat.pause(ref, now_s=2.0)
    seen = []
    for now_s in (4.9, 5.1):
        details = document(seat.play("GET", details_path(ref), now_s=now_s))
        seen.append(
            (
                statuses(seat.play("GET", list_path(), now_s=now_s)),
                statuses(seat.play("GET", list_path(status=2), now_s=now_s)),
                details["returnObject"]["status"],
            )
        )

    assert seen == [([2], [2], 2), ([3], [], 3)]
    assert seat.world.status_at(ref, 2.0) is Status.SUSPENDED


def test_a_lag_may_differ_from_read_to_read_and_is_the_seeds() -> None:
    """Twenty listings 5 s after the pause with a lag up to 10 s: some know, some do not."""

    def seen(seed: int) -> list[int]:
        seat = Seat(started(1), FaultPlan(seed=seed, lags=(Lag(10.0, varies=True),)))
        seat.pause(CampaignRef(VDN, 1), now_s=1.0)
        return [statuses(seat.play("GET", list_path(), now_s=6.0))[0] for _ in range(20)]

    assert set(seen(1)) == {2, 3}
    assert seen(1) == seen(1) != seen(2)


# -- by name ----------------------------------------------------------------------------------

WITH_VALUES = {
    "lag": "0..8",
    "filter": "empty",
    "charset": "big5",
    "coding": "gzip",
    "names": "tab",
    "noeffect": "ever",
    "listings": "500",
    "waf": "0.1",
    "toofast": "0.1",
}


@pytest.mark.parametrize("name", LIES)
def test_every_lie_can_be_told_by_its_name(name: str) -> None:
    """Some have values; each changes the plan or the world."""
    scenario = scenarios.healthy(seed=1)
    value = WITH_VALUES.get(name, "1")
    told = with_lies(scenario, f"{name}={value}@2-30")

    changed = told.faults != scenario.faults
    assert changed or name in {"restless", "starts", "forgets"}


def test_a_lag_that_begins_at_0_varies() -> None:
    """`lag=0..8`: each read is behind by another time; `lag=8`: always by eight seconds."""
    told = [with_lies(scenarios.healthy(seed=1), f"lag={text}").faults for text in ("0..8", "8")]

    assert [[(one.lag_s, one.varies) for one in plan.lags] for plan in told] == [
        [(8.0, True)],
        [(8.0, False)],
    ]


def play(*lies: str) -> Seat:
    """A seat before a healthy server that tells these lies."""
    told = with_lies(scenarios.healthy(seed=1), *lies)
    return Seat(told.world, told.faults)


def test_the_lies_about_the_world_happen() -> None:
    """Campaign 1 starts 2 s after each pause; 7 starts at 5 s; at 9 s all is as at first."""
    seat = play("restless=2", "starts@5", "forgets@9")
    first, seventh, second = (CampaignRef(1234, 1_234_000 + n) for n in (1, 7, 2))
    seat.pause(first, now_s=1.0)
    seat.pause(second, now_s=2.0)
    world = seat.world
    world.advance(now_s=20.0)

    assert [world.status_at(first, s) for s in (2.9, 3.0)] == [Status.SUSPENDED, Status.STARTED]
    assert [world.status_at(seventh, s) for s in (4.9, 5.0, 9.0)] == [
        Status.SUSPENDED,
        Status.STARTED,
        Status.SUSPENDED,
    ]
    assert [world.status_at(second, s) for s in (8.9, 9.0)] == [Status.SUSPENDED, Status.STARTED]


def test_the_lies_about_acceptance_and_starting_are_told() -> None:
    """Twice accepted for nothing, then in truth; 0200011 until 3 s, and then in truth."""
    twice, starting = play("noeffect=2"), play("starting@0-3")
    ref = CampaignRef(1234, 1_234_001)

    assert [twice.pause(ref).entry.took_effect for _ in range(3)] == [False, False, True]
    assert [document(starting.pause(ref, now_s=s))["resultCode"] for s in (1, 3)] == [
        "0200011",
        "0200000",
    ]


@pytest.mark.parametrize("wrong", ["truth=1", "lag", "lag=3..8", "filter=odd", "lag=8@x", "Lag=8"])
def test_what_is_no_lie_is_a_value_error(wrong: str) -> None:
    """An unknown name, no value where one is needed, another shape."""
    with pytest.raises(ValueError, match=r".+"):
        with_lies(scenarios.healthy(seed=1), wrong)


def test_lies_are_told_one_after_the_other() -> None:
    """A lag, a filter and a short page together; each keeps the others."""
    told: Any = with_lies(scenarios.healthy(seed=1), "lag=8", "filter=ignored", "short=1").faults

    assert told.lags == (Lag(8.0),)
    bent = told.listing_faults[1234]
    assert (bent.status_filter, bent.rows_missing) == (StatusFilter.IGNORED, 1)
    assert replace(told, lags=(), listing_faults={}) == FaultPlan(seed=1)


def test_reads_never_lag_behind_the_beginning() -> None:
    """At 1 s with 8 s of lag the listing shows the beginning, not some time before it."""
    seat = Seat(faults=FaultPlan(lags=(Lag(8.0),)))

    assert statuses(seat.play("GET", list_path(), now_s=1.0)) == [1, 2, 3, 4]
    assert seat.world.status_at(SUSPENDED, 0.0) is Status.SUSPENDED
