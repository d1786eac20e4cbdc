"""One request in, one answer out, without a socket: codes, shapes, and each fault's bytes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.model import Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Ending, Fault, FaultPlan
from orchestrator.simulator.routes import CAMPAIGNS_PATH, Kind
from orchestrator.simulator.signature import SignatureCheck
from tests.simulator.makers import (
    MISSING,
    STARTED,
    SUSPENDED,
    Seat,
    body,
    details_path,
    document,
    list_path,
    pause_path,
    started,
)

CHECK = SignatureCheck("AK", "SK")


def scripted(*script: Fault | None) -> Seat:
    """A server whose campaign 12/142 meets these faults."""
    return Seat(faults=FaultPlan(scripted={STARTED: script}))


# -- the interface ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (pause_path(STARTED), "0200000"),
        (pause_path(SUSPENDED), "0200011"),
        (pause_path(MISSING), "0200007"),
        (f"{CAMPAIGNS_PATH}/12/x/pause", "0200001"),
    ],
)
def test_a_change_answers_with_both_codes_and_http_200(target: str, code: str) -> None:
    """Exactly the four documented strings, both codes equal, whatever the outcome."""
    played = Seat().play("PUT", target)

    answer = document(played)
    assert played.wire.startswith(b"HTTP/1.1 200 OK\r\n")
    assert set(answer) == {"resultCode", "resultDesc", "returnCode", "returnDesc"}
    assert (answer["resultCode"], answer["returnCode"]) == (code, code)
    assert (played.entry.result_code, played.entry.took_effect) == (code, code == "0200000")


def test_a_listing_has_the_documented_shape() -> None:
    """The started campaigns of VDN 12: one row with every documented field."""
    assert Seat().ask(list_path(status=2)) == {
        "resultCode": "0200000",
        "resultDesc": "",
        "returnCode": "0200000",
        "returnDesc": "",
        "curPage": 1,
        "totalSize": 1,
        "rowsPerPage": 100,
        "curSkillQueueCount": 1,
        "curIvrCount": 0,
        "data": [
            {
                "id": 142,
                "name": "campaign 142",
                "status": 2,
                "strBeginTime": "2025-01-01 08:00:00",
                "strEndTime": "2035-12-31 20:00:00",
                "deviceType": 2,
                "callerNo": "5550100",
            }
        ],
    }


def test_paging_clamps_and_ends() -> None:
    """Page 0 is page 1, 1,000 rows are 100, page 3 of 250 has 50, page 4 none."""
    seat = Seat(world=started(250))

    def seen(**asked: int) -> tuple[int, int, int, int]:
        page = seat.ask(list_path(**asked))
        return page["curPage"], page["rowsPerPage"], len(page["data"]), page["totalSize"]

    assert seen(page=0, rows=1000) == (1, 100, 100, 250)
    assert seen(page=3) == (3, 100, 50, 250)
    assert seen(page=4) == (4, 100, 0, 250)


def test_details_show_one_campaign_or_0200007() -> None:
    """Status 3 for the suspended one; a missing one has no returnObject."""
    found, missing = (Seat().ask(details_path(ref)) for ref in (SUSPENDED, MISSING))

    assert (found["resultCode"], found["returnObject"]["status"]) == ("0200000", 3)
    assert (missing["resultCode"], "returnObject" in missing) == ("0200007", False)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [("GET", "/", 404), ("POST", pause_path(STARTED), 405)],
)
def test_strangers_get_html(method: str, target: str, status: int) -> None:
    """404 for another path, 405 for another method; nothing changes."""
    seat = Seat()

    played = seat.play(method, target)

    assert (played.entry.http_status, body(played)[:6]) == (status, b"<html>")
    assert seat.ledger.effects == {}


def test_an_unsigned_request_gets_401_and_is_not_the_campaigns_first() -> None:
    """Nothing changes, the reason stands in the ledger only, the script waits for the next one."""
    seat = Seat(signature=CHECK, faults=FaultPlan(scripted={STARTED: [faults.LIE]}))

    refused = seat.pause(STARTED)
    seat.handler.signature = None
    first = seat.pause(STARTED)

    assert refused.wire.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert (refused.entry.authorised, refused.entry.signature_problem) == (
        False,
        "not one auth-v2 header",
    )
    assert first.entry.fault == "success without effect"
    assert seat.world.status_of(STARTED) is Status.STARTED


def test_the_date_header_shows_the_servers_clock() -> None:
    """A server an hour ahead says so."""
    seat = Seat(signature=replace(CHECK, clock_offset_s=3600))

    assert b"\r\nDate: Thu, 01 Jan 1970 01:00:00 GMT\r\n" in seat.pause(STARTED).wire


# -- each fault -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "effect", "codes"),
    [
        (faults.DATABASE_ERROR, False, ("0200006", "0200006")),
        (faults.DATABASE_ERROR_LANDED, True, ("0200006", "0200006")),
        (faults.UNKNOWN_CODE, False, ("0299999", "0299999")),
        (faults.NO_CODES, False, (None, None)),
        (faults.NUMERIC_CODES, True, (200000, 200000)),
        (faults.LIE, False, ("0200000", "0200000")),
        (faults.NOT_NOW, False, ("0200011", "0200011")),
        (faults.slow(3.0), True, ("0200000", "0200000")),
        (faults.disagreeing(effect=True), True, ("0200000", "0200006")),
        (faults.with_codes("0200001"), False, ("0200001", "0200001")),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else None,
)
def test_a_fault_of_codes_shows_them_and_lands_or_not(
    fault: Fault, *, effect: bool, codes: tuple[object, object]
) -> None:
    """What the client reads with HTTP 200, and apart from it what really happened."""
    seat = scripted(fault)

    played = seat.pause(STARTED)

    answer = document(played)
    assert (answer.get("resultCode"), answer.get("returnCode")) == codes
    assert (played.entry.http_status, played.entry.took_effect) == (200, effect)
    assert (seat.world.status_of(STARTED) is Status.SUSPENDED) is effect
    assert (played.entry.fault, played.wait_s) == (fault.name, fault.wait_s)


@pytest.mark.parametrize("status", [401, 418, 503])
@pytest.mark.parametrize("landed", [False, True])
def test_a_fault_of_http_is_an_html_page(status: int, *, landed: bool) -> None:
    """Any status, before or after the change."""
    played = scripted(faults.with_http(status, effect=landed)).pause(STARTED)

    assert played.wire.startswith(b"HTTP/1.1 %d " % status)
    assert (body(played)[:6], played.entry.took_effect) == (b"<html>", landed)
    assert (played.entry.http_status, played.entry.result_code) == (status, "")


def test_retry_after_is_seconds_or_a_date() -> None:
    """As text it is sent as it stands; as a date it counts from the server's own clock."""
    seat = scripted(
        faults.with_http(429, retry_after="7"), faults.with_http(503, retry_after_date_s=7)
    )

    first, second = seat.pause(STARTED), seat.pause(STARTED)

    assert b"\r\nRetry-After: 7\r\n" in first.wire
    assert b"\r\nRetry-After: Thu, 01 Jan 1970 00:00:07 GMT\r\n" in second.wire


def test_bodies_can_be_foreign_broken_or_empty() -> None:
    """A login page with 200, JSON cut at 30 bytes with a matching length, nothing at all."""
    seat = scripted(faults.LOGIN, faults.TRUNCATED, faults.EMPTY, faults.NO_BACKEND)

    login, truncated, empty, gateway = (seat.pause(STARTED) for _ in range(4))

    assert (login.entry.http_status, body(login)[:15]) == (200, b"<!DOCTYPE html>")
    assert body(truncated) == b'{"resultCode":"0200000","resul'
    assert (b"Content-Length: 30" in truncated.wire, truncated.complete) == (True, True)
    assert (empty.entry.http_status, body(empty)) == (200, b"")
    assert (gateway.entry.http_status, body(gateway)) == (404, b"default backend - 404")
    assert [e.result_code for e in seat.ledger.entries] == ["", "", "", ""]


@pytest.mark.parametrize(
    ("fault", "ending", "effect"),
    [
        (faults.ANSWER_LOST, Ending.CLOSE, True),
        (faults.RESET, Ending.RESET, False),
        (faults.RESET_LANDED, Ending.RESET, True),
        (faults.HANG, Ending.HANG, False),
        (faults.HANG_LANDED, Ending.HANG, True),
        (faults.REFUSED, Ending.REFUSE, False),
        (faults.CUT_OFF, Ending.CLOSE, True),
    ],
    ids=lambda value: value.name if isinstance(value, Fault) else None,
)
def test_a_fault_of_the_connection_gives_no_whole_answer(
    fault: Fault, ending: Ending, *, effect: bool
) -> None:
    """No byte, or 60 of the head; no status in the ledger; the change landed or did not."""
    played = scripted(fault).pause(STARTED)

    assert (len(played.wire), played.ending) == (60 if fault is faults.CUT_OFF else 0, ending)
    assert (played.complete, played.entry.http_status, played.entry.result_code) == (
        False,
        None,
        "",
    )
    assert played.entry.took_effect is effect


def test_the_ledger_counts_what_arrived_and_what_happened() -> None:
    """Two pauses, one of which took effect, and a details call, at 0 s, 0.5 s and 1 s."""
    seat = scripted(faults.DATABASE_ERROR)
    seat.pause(STARTED)
    seat.pause(STARTED, now_s=0.5)
    seat.ask(details_path(STARTED), now_s=1.0)
    ledger = seat.ledger

    assert (ledger.total, ledger.worst_1s) == (3, 2)
    assert (ledger.puts, ledger.puts[STARTED], ledger.puts[MISSING]) == (
        {STARTED: 2},
        2,
        0,
    )
    assert ledger.by_kind == {Kind.PAUSE: 2, Kind.DETAILS: 1}
    assert ledger.effects == {STARTED: 1}
    assert [(e.number, e.fault, e.is_change) for e in ledger.entries] == [
        (1, "database error", True),
        (2, "", True),
        (3, "", False),
    ]
