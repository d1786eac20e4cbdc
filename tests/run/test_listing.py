"""Listings that fail: what they do not show is not known, never absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.simulator.faults import FaultPlan, ListingFaults
from tests.fakes import VDN, Sent, Stage, started

if TYPE_CHECKING:
    from pathlib import Path

_BROKEN = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


async def test_listings_of_what_runs_that_fail_prove_nothing(tmp_path: Path) -> None:
    """[I39] that of started campaigns fails, the unfiltered one works: exit 6, no sweep counts."""
    stage = Stage(tmp_path, started(200))
    stage.server.forge = _refuse_started

    result = await stage.pause_all(VDN, deadline_s=60)

    assert (result.exit_code, result.verdict) == (6, "not_proven")
    assert [sweep["complete"] for sweep in stage.events.named("sweep.made")].count(True) == 0


def _refuse_started(sent: Sent) -> bytes | None:
    return _BROKEN if "status=2" in sent.target else None


async def test_a_listing_that_promises_what_it_does_not_have_is_soon_given_up(
    tmp_path: Path,
) -> None:
    """[I39] two campaigns, every second totalSize 20,000,000, empty pages: few requests."""
    stage = Stage(
        tmp_path,
        started(2),
        faults=FaultPlan(listing_faults={VDN: ListingFaults(total_size_off=20_000_000)}),
    )

    result = await stage.pause_all(VDN, deadline_s=20)

    assert result.counts == {"paused": 2}
    assert len(stage.server.sent) < 40
