"""Which request line is which call, and what is wrong with the rest."""

from __future__ import annotations

import pytest

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.routes import CAMPAIGNS_PATH as P
from orchestrator.simulator.routes import Call, Kind, read_call
from orchestrator.simulator.world import ListingQuery

REF = CampaignRef(12, 146)


@pytest.mark.parametrize(
    ("method", "target", "call"),
    [
        ("PUT", f"{P}/12/146/pause", Call(Kind.PAUSE, 12, REF)),
        ("PUT", f"{P}/12/146/resume", Call(Kind.RESUME, 12, REF)),
        ("GET", f"{P}/12/146", Call(Kind.DETAILS, 12, REF)),
        # nothing of ours
        ("PUT", f"{P}/12/146/stop", Call(Kind.OTHER, http_status=404)),
        ("PUT", f"{P}/12/146/pause/", Call(Kind.OTHER, http_status=404)),
        ("GET", "/etc/passwd", Call(Kind.OTHER, http_status=404)),
        ("POST", f"{P}/12/146/pause", Call(Kind.PAUSE, http_status=405)),
        ("POST", f"{P}/12", Call(Kind.LIST, http_status=405)),
        # ids
        ("PUT", f"{P}/0/146/pause", Call(Kind.PAUSE)),
        ("PUT", f"{P}/10000/146/pause", Call(Kind.PAUSE)),
        ("PUT", f"{P}/12/0/pause", Call(Kind.PAUSE)),
        ("PUT", f"{P}/12/9223372036854775808/pause", Call(Kind.PAUSE)),
        ("PUT", f"{P}/12/abc/pause", Call(Kind.PAUSE)),
        ("GET", f"{P}/0?status=0&deviceType=0", Call(Kind.LIST)),
    ],
)
def test_a_request_line_is_read_as_one_call(method: str, target: str, call: Call) -> None:
    """The documented calls, strangers, wrong methods and impossible ids."""
    assert read_call(method, target) == call


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("status=0&deviceType=0", ListingQuery()),
        ("status=2&deviceType=0", ListingQuery(status=Status.STARTED)),
        ("status=3&deviceType=2", ListingQuery(status=Status.SUSPENDED)),
        ("status=4&deviceType=0&curPage=3", ListingQuery(status=Status.COMPLETED, page=3)),
        ("status=0&deviceType=0&curPage=0", ListingQuery(page=1)),
        ("status=0&deviceType=0&rowsPerPage=100", ListingQuery(rows_per_page=100)),
        ("status=0&deviceType=0&rowsPerPage=101", ListingQuery(rows_per_page=100)),
        ("deviceType=0", None),
        ("status=0", None),
        ("status=x&deviceType=0", None),
        ("status=1&deviceType=0", None),
        ("status=0&deviceType=0&rowsPerPage=0", None),
    ],
)
def test_listing_parameters_follow_their_rules(query: str, wanted: ListingQuery | None) -> None:
    """Defaults, corrections and limits of the documentation, and none for the rest."""
    call = read_call("GET", f"{P}/12?{query}")

    assert call.query == wanted
