"""Listings that fail: what they do not show is not known, never absent."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes import VDN, Sent, Stage, started

_BROKEN = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


async def test_listings_of_what_runs_that_fail_prove_nothing(tmp_path: Path) -> None:
    """[I39] that of started campaigns fails, the unfiltered one works: exit 6, no sweep counts."""
    stage = Stage(tmp_path, started(200))
    stage.server.forge = _refuse_started

    result = await stage.pause_all(VDN, deadline_s=60)

    assert (result.exit_code, result.verdict) == (6, "not_proven")
    assert [sweep["complete"] for sweep in stage.events.named("pass.made")].count(True) == 0


def _refuse_started(sent: Sent) -> bytes | None:
    return _BROKEN if "status=2" in sent.target else None


async def test_a_listing_that_promises_what_it_does_not_have_is_soon_given_up(
    tmp_path: Path,
) -> None:
    """[I39] two campaigns, totalSize 20,000,000, empty pages: the sweeps prove nothing."""
    stage = Stage(tmp_path, started(2))
    stage.server.forge = _promise_millions

    result = await stage.pause_all(VDN, deadline_s=20)

    sweeps = stage.events.named("pass.made")
    assert (result.exit_code, result.counts) == (6, {"paused": 2})
    assert len(sweeps) >= 3
    assert not any(sweep["complete"] for sweep in sweeps)


def _promise_millions(sent: Sent) -> bytes | None:
    if "status=2" not in sent.target:
        return None
    rows = [{"id": ref.campaign_id, "status": 2} for ref in started(2).refs()]
    body = json.dumps(
        {
            "resultCode": "0200000",
            "totalSize": 20_000_000,
            "data": rows if "curPage=1&" in sent.target else [],
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
