"""One request in, one answer out, without a socket: codes, shapes, and each fault's bytes."""

from __future__ import annotations

import pytest

from orchestrator.model import Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault, FaultPlan
from orchestrator.simulator.routes import CAMPAIGNS_PATH, Kind
from orchestrator.simulator.signature import SignatureCheck
from tests.simulator.makers import (
    MISSING,
    STARTED,
    SUSPENDED,
    Seat,
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


# -- each fault -------------------------------------------------------------------------------


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
