"""Servers that mislead: what a client is shown, while the world stays true."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import faults, scenarios
from orchestrator.simulator.faults import (
    FaultPlan,
    Lag,
    ListingFaults,
    Outage,
    Read,
    StatusFilter,
)
from orchestrator.simulator.lies import LIES, with_lies
from orchestrator.simulator.replies import Wrapping
from orchestrator.simulator.routes import CAMPAIGNS_PATH, Kind
from orchestrator.simulator.world import Campaign, World
from tests.simulator.makers import (
    STARTED,
    SUSPENDED,
    VDN,
    Seat,
    body,
    document,
    list_path,
    started,
    status_line,
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


def test_one_kind_of_read_may_lag_alone() -> None:
    """The filtered listing is behind, the unfiltered one and the details are not."""
    seat = Seat(started(1), FaultPlan(lags=(Lag(9.0, reads=frozenset({Read.FILTERED})),)))
    seat.pause(CampaignRef(VDN, 1), now_s=1.0)

    assert statuses(seat.play("GET", list_path(status=2), now_s=2.0)) == [2]
    assert statuses(seat.play("GET", list_path(), now_s=2.0)) == [3]


def test_a_lag_may_differ_from_read_to_read_and_is_the_seeds() -> None:
    """Twenty listings 5 s after the pause with a lag up to 10 s: some know, some do not."""

    def seen(seed: int) -> list[int]:
        seat = Seat(started(1), FaultPlan(seed=seed, lags=(Lag(10.0, varies=True),)))
        seat.pause(CampaignRef(VDN, 1), now_s=1.0)
        return [statuses(seat.play("GET", list_path(), now_s=6.0))[0] for _ in range(20)]

    assert set(seen(1)) == {2, 3}
    assert seen(1) == seen(1) != seen(2)


@pytest.mark.parametrize(
    ("lie", "wanted"), [(StatusFilter.IGNORED, [1, 2, 3, 4]), (StatusFilter.EMPTY, [])]
)
def test_a_status_filter_may_be_ignored_or_show_nothing(
    lie: StatusFilter, wanted: list[int]
) -> None:
    """Only in its window of time; the unfiltered listing is true."""
    bent = ListingFaults(status_filter=lie, start_s=5.0, end_s=6.0)
    seat = Seat(faults=FaultPlan(listing_faults={VDN: bent}))

    shown = [statuses(seat.play("GET", list_path(status=2), now_s=s)) for s in (4.9, 5.0, 6.0)]

    assert shown == [[2], wanted, [2]]
    assert statuses(seat.play("GET", list_path(), now_s=5.0)) == [1, 2, 3, 4]


def test_a_row_may_be_listed_twice_so_that_the_sum_is_right() -> None:
    """Four rows and totalSize 4, but the last one is the first once more."""
    seat = Seat(faults=FaultPlan(listing_faults={VDN: ListingFaults(rows_repeated=1)}))
    page = document(seat.play("GET", list_path()))

    assert [row["id"] for row in page["data"]] == [141, 142, 143, 141]
    assert page["totalSize"] == 4


def test_an_outage_may_be_about_some_campaigns_or_one_kind_of_listing() -> None:
    """One campaign is starting for 5 s: 0200011; filtered listings fail, others do not."""
    seat = Seat(
        faults=FaultPlan(
            outages=(
                Outage(faults.NOT_NOW, end_s=5.0, refs=frozenset({STARTED})),
                Outage(faults.UNAVAILABLE, kinds=frozenset({Kind.LIST}), filtered=True),
            )
        )
    )

    codes = [document(seat.pause(STARTED, now_s=s))["resultCode"] for s in (1.0, 5.0)]
    lists = [status_line(seat.play("GET", list_path(status=s)))[9:12] for s in (2, 0)]

    assert codes == ["0200011", "0200000"]
    assert lists == [b"503", b"200"]


@pytest.mark.parametrize(
    ("fault", "first", "text"),
    [(faults.NO_BACKEND, b"404", b"default backend"), (faults.WAF, b"403", b"<html>")],
)
def test_gateways_and_firewalls_speak_for_themselves(
    fault: faults.Fault, first: bytes, text: bytes
) -> None:
    """A page of their own, and nothing reached the server."""
    seat = Seat(faults=FaultPlan(always={STARTED: fault}))
    played = seat.pause(STARTED)

    assert (status_line(played)[9:12], text in body(played)) == (first, True)
    assert seat.world.status_of(STARTED) is Status.STARTED


def test_a_throttle_may_be_a_code_in_the_body() -> None:
    """HTTP 200 and 0200022: called too fast."""
    seat = Seat(faults=FaultPlan(rates=faults.FaultRates(too_fast=1.0)))
    played = seat.pause(STARTED)

    assert (status_line(played)[9:12], document(played)["resultCode"]) == (b"200", "0200022")


@pytest.mark.parametrize("charset", ["gb18030", "big5"])
def test_descriptions_may_come_in_an_old_chinese_encoding(charset: str) -> None:
    """Not UTF-8, and in Big5 a byte of a character is a backslash; decoded it is plain JSON."""
    plan = FaultPlan(wrappings=(Wrapping(charset=charset, chinese=True),))
    raw = body(Seat(faults=plan).pause(STARTED))

    with pytest.raises(UnicodeDecodeError):
        raw.decode()
    assert json.loads(raw.decode(charset))["resultCode"] == "0200000"
    assert (b"\\" in raw) is (charset == "big5")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "UTF-8"])
def test_a_coding_may_be_said_that_nobody_asked_for(coding: str) -> None:
    """Gzip and deflate are done, UTF-8 is only said; listings too."""
    seat = Seat(faults=FaultPlan(wrappings=(Wrapping(coding=coding),)))
    played = seat.play("GET", list_path())

    assert f"\r\nContent-Encoding: {coding}\r\n".encode() in played.wire
    assert f"\r\nContent-Length: {len(body(played))}\r\n".encode() in played.wire
    if coding == "gzip":
        assert len(json.loads(gzip.decompress(body(played)))["data"]) == 4
    assert body(played).startswith(b"{") is (coding == "UTF-8")


@pytest.mark.parametrize(
    ("name", "found"),
    [("a\tb", b'"a\tb"'), ("caf\udce9", b'"caf\xe9"'), ("x\udce6\udc98", b'"x\xe6\x98"')],
)
def test_names_may_hold_stray_characters(name: str, found: bytes) -> None:
    """A TAB as it is, a latin-1 byte, half a UTF-8 character: in listings and in details."""
    world = World({VDN: [Campaign(1, name=name)]})
    seat = Seat(world, FaultPlan(wrappings=(Wrapping(raw_controls=True),)))

    assert found in body(seat.play("GET", list_path()))
    assert found in body(seat.play("GET", details_path(CampaignRef(VDN, 1))))


def test_half_of_the_answers_may_be_dressed_and_the_seed_decides() -> None:
    """Forty listings with a share of a half; the same ones for the same seed."""

    def zipped(seed: int) -> list[bool]:
        plan = FaultPlan(seed=seed, wrappings=(Wrapping(coding="gzip", share=0.5),))
        seat = Seat(faults=plan)
        return [b"gzip" in seat.play("GET", list_path()).wire for _ in range(40)]

    assert 10 < sum(zipped(1)) < 30
    assert zipped(1) == zipped(1) != zipped(2)


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
