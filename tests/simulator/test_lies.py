"""Servers that mislead: each lie by its name, what a client is shown, and what stays true."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import scenarios
from orchestrator.simulator.lies import with_lies
from tests.simulator.makers import Seat, body, details_path, document, list_path

#: started, and suspended, in the healthy drill
FIRST, SEVENTH, SECOND = (CampaignRef(1234, 1_234_000 + n) for n in (1, 7, 2))


def server(*lies: str) -> Seat:
    """A healthy server of 40 campaigns that tells these lies."""
    told = with_lies(scenarios.healthy(seed=1), *lies)
    return Seat(told.world, told.faults)


def listing(seat: Seat, *, status: int = 0, now_s: float = 0.0) -> tuple[list[int], int]:
    """The statuses of the rows of a listing, and totalSize."""
    page = seat.ask(list_path(1234, status=status), now_s=now_s)
    return [row["status"] for row in page["data"]], page["totalSize"]


# -- what a client reads ----------------------------------------------------------------------


def test_a_lag_shows_the_state_of_so_long_ago() -> None:
    """`lag=3`: paused at 2 s, every read shows it started until 5 s; the truth knows better."""
    seat = server("lag=3")
    seat.pause(FIRST, now_s=2.0)

    def seen(now_s: float) -> tuple[int, int, int]:
        details = seat.ask(details_path(FIRST), now_s=now_s)
        return (
            listing(seat, now_s=now_s)[0][0],
            listing(seat, status=2, now_s=now_s)[1],
            details["returnObject"]["status"],
        )

    assert [seen(now_s) for now_s in (1.0, 4.9, 5.1)] == [(2, 32, 2), (2, 32, 2), (3, 31, 3)]
    assert seat.world.since(FIRST, at_s=2.0) == (Status.SUSPENDED, 2.0)


def test_a_lag_may_differ_from_read_to_read_and_is_the_seeds() -> None:
    """`lag=0..10`: twenty listings 5 s after the pause; some know, some do not."""

    def seen() -> list[int]:
        seat = server("lag=0..10")
        seat.pause(FIRST, now_s=1.0)
        return [listing(seat, now_s=6.0)[0][0] for _ in range(20)]

    assert set(seen()) == {2, 3}
    assert seen() == seen()


def test_the_lies_of_listings_bend_them_for_their_time() -> None:
    """A filter that is ignored or empties, rows missing or twice, a total too high; then truth."""
    ignored, empty = server("filter=ignored@0-9"), server("filter=empty@0-9")
    short, twice, total = (server(f"{name}=1@0-9") for name in ("short", "twice", "total"))

    def rows(seat: Seat, now_s: float = 0.0, *, status: int = 0) -> tuple[int, int]:
        found, size = listing(seat, status=status, now_s=now_s)
        return len(found), size

    assert [rows(ignored, s, status=2) for s in (0, 9)] == [(40, 40), (32, 32)]
    assert [rows(empty, s, status=2) for s in (0, 9)] == [(0, 0), (32, 32)]
    assert rows(empty, 0) == (40, 40)
    assert [rows(short, s) for s in (0, 9)] == [(39, 40), (40, 40)]
    assert [rows(total, s) for s in (0, 0, 9)] == [(40, 40), (40, 41), (40, 40)]
    page = twice.ask(list_path(1234))["data"]
    assert (len(page), page[-1]["id"]) == (40, page[0]["id"])


def test_the_lies_of_http_answer_in_place_of_the_server() -> None:
    """`listings=503` for listings only; `gateway` for every request; both end at 9 s."""
    lists, gateway = server("listings=503@0-9"), server("gateway@0-9")

    seen = [lists.play("GET", list_path(1234), now_s=s).entry.http_status for s in (0, 9)]
    assert (seen, lists.pause(FIRST).entry.took_effect) == ([503, 200], True)
    assert [gateway.pause(FIRST, now_s=s).entry.http_status for s in (0, 9)] == [404, 200]
    assert body(server("gateway").pause(FIRST)) == b"default backend - 404"


def test_the_lies_of_chance_meet_a_share_of_the_changes() -> None:
    """Of 40 pauses at a rate of 0.5, some meet the firewall's 403, or code 0200022."""
    seen = {}
    for name in ("waf", "toofast"):
        seat = server(f"{name}=0.5")
        met = [seat.pause(ref).entry for ref in seat.world.refs()]
        seen[name] = [one for one in met if one.fault]
        assert 5 < len(seen[name]) < 35

    assert {one.http_status for one in seen["waf"]} == {403}
    assert {one.result_code for one in seen["toofast"]} == {"0200022"}


def test_the_lies_of_dress_change_the_bytes_and_not_the_meaning() -> None:
    """Chinese descriptions, codings that nobody asked for, stray characters in a name."""
    target = list_path(1234)
    chinese = body(server("charset=gb18030").play("GET", target))
    assert json.loads(chinese.decode("gb18030"))["resultDesc"] == "成功"
    assert json.loads(body(server("charset=big5").play("GET", target)).decode("big5"))
    for name, undo in (("gzip", gzip.decompress), ("deflate", zlib.decompress), ("UTF-8", bytes)):
        played = server(f"coding={name}").play("GET", target)
        assert f"\r\nContent-Encoding: {name}\r\n".encode() in played.wire
        assert json.loads(undo(body(played)))["totalSize"] == 40
    for name, stray in (("tab", b"g\to"), ("latin1", b"caf\xe9"), ("half", b"offer \xe6\x98")):
        assert stray in body(server(f"names={name}").play("GET", target))


# -- what happens -----------------------------------------------------------------------------


def test_the_lies_of_acceptance_change_nothing() -> None:
    """Twice accepted for nothing, or for ever; 0200011 until 3 s, then in truth."""
    twice, ever, starting = server("noeffect=2"), server("noeffect=ever"), server("starting@0-3")

    assert [twice.pause(FIRST).entry.took_effect for _ in range(3)] == [False, False, True]
    assert [ever.pause(FIRST).entry.took_effect for _ in range(9)] == [False] * 9
    assert [document(starting.pause(FIRST, now_s=s))["resultCode"] for s in (1, 3)] == [
        "0200011",
        "0200000",
    ]


def test_the_lies_of_the_world_happen() -> None:
    """Campaign 1 starts 2 s after each pause; 7 starts at 5 s; at 9 s all is as at first."""
    seat = server("restless=2", "starts@5", "forgets@9")
    seat.pause(FIRST, now_s=1.0)
    seat.pause(SECOND, now_s=2.0)
    world = seat.world
    world.advance(now_s=20.0)

    def seen(ref: CampaignRef, *times: float) -> list[Status | None]:
        return [world.since(ref, at_s=at_s)[0] for at_s in times]

    suspended, started = Status.SUSPENDED, Status.STARTED
    assert seen(FIRST, 2.9, 3.0) == [suspended, started]
    assert seen(SEVENTH, 4.9, 5.0, 9.0) == [suspended, started, suspended]
    assert seen(SECOND, 8.9, 9.0) == [suspended, started]


# -- by name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    ["truth=1", "lag", "lag=3..8", "filter=odd", "lag=8@x", "Lag=8", "names=odd", "charset=odd"],
)
def test_what_is_no_lie_is_a_value_error(wrong: str) -> None:
    """An unknown name, no value where one is needed, one that it cannot have, another shape."""
    with pytest.raises(ValueError, match=r".+"):
        with_lies(scenarios.healthy(seed=1), wrong)
