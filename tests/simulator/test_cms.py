"""CC-CMS in the simulator: calls of a suspended campaign end, a started one's go up and down."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.model import Action, CampaignRef, Status
from orchestrator.simulator.cms import answer, in_progress, with_body
from orchestrator.simulator.routes import CALLS_PATH, Kind, read_call
from orchestrator.simulator.world import Campaign, World, WorldSettings

REF = CampaignRef(1234, 146)


def world(status: Status = Status.STARTED, **settings: Any) -> World:
    """One campaign."""
    return World({1234: [Campaign(146, status)]}, settings=WorldSettings(**settings))


def asked(body: object, there: World | None = None) -> dict[str, Any]:
    """The answer to this body."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer(with_body(read_call("POST", CALLS_PATH), raw), there or world(), now_s=5.0)


def test_the_answer_has_the_documented_shape() -> None:
    """An array of one object with its eight members, rates as text."""
    shown = asked({"vdn": 1234, "taskId": "146"}, world(calls=3))

    (statistics,) = shown["resultDesc"]
    assert shown["resultCode"] == "0100000"
    assert statistics["execCount"] == 3
    assert isinstance(statistics["succRate"], str)
    assert len(statistics) == 8


@pytest.mark.parametrize(
    "body",
    [b"", b"{", [], {}, {"vdn": 5001, "taskId": 1}, {"vdn": 1, "taskId": "x"},
     {"vdn": True, "taskId": 1}, {"vdn": 1, "taskId": 1, "ccId": 0}, {"vdn": 0, "taskId": 1}],
)  # fmt: skip
def test_a_wrong_body_is_a_code_of_its_own(body: object) -> None:
    """VDNs end at 5000 here; nothing is success but a campaign that is named."""
    assert asked(body)["resultCode"] == "0100006"


def test_a_campaign_that_is_not_there_has_no_statistics() -> None:
    """An empty array, as the documents leave open."""
    assert asked({"vdn": 1234, "taskId": 147}) == {"resultCode": "0100000", "resultDesc": []}


def test_calls_end_within_their_time_once_a_campaign_is_suspended() -> None:
    """Ten calls: all of them a third of the time long, none at its end, never one more."""
    there = world(calls=10, calls_s=60.0)
    there.advance(now_s=100.0)
    there.change(Action.PAUSE, REF)

    seen = [in_progress(there, REF, now_s=100.0 + after_s) for after_s in range(62)]

    assert (seen[0], seen[19], seen[61]) == (10, 10, 0)
    assert seen == sorted(seen, reverse=True)


def test_a_campaign_that_runs_goes_up_and_down() -> None:
    """Over half a minute it has had several numbers of calls."""
    assert len({in_progress(world(), REF, now_s=float(s)) for s in range(30)}) > 1


@pytest.mark.parametrize("status", [Status.SUSPENDED, Status.COMPLETED, Status.NOT_STARTED])
def test_what_does_not_dial_has_no_calls(status: Status) -> None:
    """Suspended from the start, completed, not started."""
    assert in_progress(world(status, calls=5), REF, now_s=1.0) == 0


def test_only_a_post_asks_for_calls() -> None:
    """Another method is not allowed."""
    assert read_call("POST", CALLS_PATH).kind is Kind.CALLS
    assert read_call("GET", CALLS_PATH).http_status == 405
