"""What `status` says of a VDN."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.reports.status import (
    VdnStatus,
    status_document,
    status_exit_code,
    status_line,
)
from orchestrator.reports.summary import Ended
from tests.report_makers import AT_MS

COUNTS: dict[Status | None, int] = {
    Status.STARTED: 1,
    Status.SUSPENDED: 36,
    Status.COMPLETED: 2,
    None: 1,
}


def vdn(**more: Any) -> VdnStatus:
    """VDN 1234, read completely; one started."""
    values: dict[str, Any] = {
        "vdn_id": 1234,
        "read_at_ms": AT_MS,
        "started": (seen(5),),
        "counts": COUNTS,
    }
    return VdnStatus(**values | more)


def seen(number: int) -> ObservedState:
    """A started campaign; its name tries to steer the terminal."""
    return ObservedState(CampaignRef(1234, number), Status.STARTED, f"spring\x1b {number}", "")


EMPTY = vdn(started=(), counts={}, no_campaigns=True)
QUIET = vdn(
    started=(), counts={Status.SUSPENDED: 3}, proves=True, quiet_since_ms=AT_MS, again_at_ms=None
)


def test_numbers_states_and_the_first_names_are_in_one_line() -> None:
    """A state that we cannot read is counted too; a name is made harmless."""
    assert status_line(vdn()) == (
        "VDN 1234: 1 started, 36 suspended, 2 completed, 0 not started, 1 unknown at 23:05:01Z."
        r" Started: 5 spring\x1b 5."
    )


def test_five_names_are_enough() -> None:
    """Seven started: five names, and how many more."""
    line = status_line(vdn(started=tuple(map(seen, range(1, 8)))))

    assert line.endswith(r"5 spring\x1b 5 and 2 more.")


def test_what_may_start_by_itself_is_said() -> None:
    """Running or quiet."""
    words = " 2 are scheduled to start, the first at 08:00 server time."

    for shown in (vdn(), QUIET):
        assert status_line(replace(shown, may_start=2, first_start="08:00")).endswith(words)


def test_an_incomplete_listing_is_said_before_its_numbers() -> None:
    """What it did not show is not zero."""
    line = status_line(vdn(problem="page 2: HTTP 500"))

    assert line.startswith(
        "VDN 1234: it could not be read completely (page 2: HTTP 500), so there may be more: 1 st"
    )
    unread = vdn(problem="HTTP 500", started=(), counts={}, read_at_ms=None)
    assert status_line(unread) == "VDN 1234: it could not be read (HTTP 500)."
    assert status_document(unread)["started"] is None
    assert status_document(unread)["read_at"] is None


def test_listings_that_disagree_are_said() -> None:
    """Two campaigns are started in one of them only."""
    assert status_line(vdn(disputed=2)).endswith("listings disagree about 2 of them.")


def test_where_nothing_runs_no_campaign_is_named() -> None:
    """36 are suspended: numbers alone."""
    assert " Started: " not in status_line(vdn(started=()))


def test_quiet_has_both_times() -> None:
    """As pause-all says it."""
    assert status_line(QUIET) == (
        "VDN 1234 is quiet: the server's listings showed nothing running at 23:05:01Z and again at"
        " an unknown time. 0 started, 3 suspended, 0 completed, 0 not started."
    )


def test_what_is_not_quiet_or_not_proven_says_so_first() -> None:
    """Something runs; a listing failed; there is no campaign at all."""
    assert status_line(vdn(proves=True)).startswith("VDN 1234 is NOT quiet: 1 started")
    failed = vdn(proves=True, started=(), counts={}, problem="HTTP 500")
    assert status_line(failed) == "VDN 1234 is NOT PROVEN quiet: it could not be read (HTTP 500)."
    assert status_line(EMPTY) == "VDN 1234 has no campaigns at all: is 1234 the right VDN?"
    assert "is NOT PROVEN quiet: it has" in status_line(vdn(no_campaigns=True, proves=True))


@pytest.mark.parametrize(
    ("vdns", "ended", "proves", "code"),
    [
        ((vdn(),), Ended.FINISHED, False, 0),
        ((vdn(), EMPTY), Ended.FINISHED, False, 1),
        ((vdn(), vdn(problem="p")), Ended.FINISHED, False, 1),
        ((vdn(problem="p"),), Ended.SERVER, False, 4),
        ((vdn(problem="p"),), Ended.UNTRUSTED, False, 4),
        ((vdn(problem="p"),), Ended.SERVER, True, 6),
        ((vdn(problem="p"),), Ended.CREDENTIALS, True, 3),
        ((vdn(problem="p"),), Ended.SIGNAL_INT, True, 130),
        ((vdn(problem="p"),), Ended.BUG, True, 70),
        ((QUIET,), Ended.FINISHED, True, 0),
        ((QUIET, vdn(proves=True)), Ended.FINISHED, True, 6),
    ],
)
def test_the_exit_code_is_that_of_the_reference(
    vdns: tuple[VdnStatus, ...], ended: Ended, *, proves: bool, code: int
) -> None:
    """0 when all was read or proven; 6 only with --prove."""
    assert status_exit_code(vdns, ended=ended, proves=proves) == code


def test_the_document_has_plain_values() -> None:
    """Of a quiet VDN, of one that was only read, and of an empty one."""
    assert status_document(QUIET) == {
        "vdn_id": 1234,
        "read_at": "2026-11-23T23:05:01.123Z",
        "complete": True,
        "started": 0,
        "suspended": 3,
        "completed": 0,
        "not_started": 0,
        "unknown": 0,
        "may_start": 0,
        "first_start": "",
        "disputed": 0,
        "problem": "",
        "first_started": [],
        "quiet": True,
        "quiet_since": "2026-11-23T23:05:01.123Z",
        "again_at": None,
    }
    assert status_document(vdn())["quiet"] is None
    assert status_document(EMPTY)["problem"] == "no campaigns"
    assert status_document(EMPTY)["started"] == 0
