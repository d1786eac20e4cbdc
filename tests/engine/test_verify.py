"""The look after the last answer, where listings lag behind or something never takes effect."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.model import Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.reads import Lag, ListingFaults
from orchestrator.simulator.world import Campaign, Drift, World
from tests.fakes import VDN, Sent, Stage, ref, started, started_refs


async def test_what_clears_is_confirmed_beside_what_never_takes_effect(tmp_path: Path) -> None:
    """[seed 30794] Reads 8 s behind, one of five without effect: four are paused, one PUT each."""
    plan = FaultPlan(lags=(Lag(8.0),), always={ref(1): faults.LIE})
    stage = Stage(tmp_path, started(5), faults=plan)

    result = await stage.pause()

    outcomes = {row["campaign_id"]: row["outcome"] for row in stage.rows(result)}
    assert outcomes == {"1": "still_running"} | dict.fromkeys("2345", "paused")
    puts = [one.ref for one in stage.server.sent if one.method == "PUT"]
    assert all(puts.count(ref(number)) == 1 for number in range(2, 6))
    assert puts.count(ref(1)) <= 3


async def test_a_deadline_in_a_continued_run_leaves_what_its_look_contradicts(
    tmp_path: Path,
) -> None:
    """[seed 20502] Accepted without effect, killed; a look shows it started: not `paused`."""
    members = [Campaign(1), Campaign(2, Status.SUSPENDED), Campaign(3)]
    stage = Stage(tmp_path, World({VDN: members}), faults=FaultPlan(always={ref(1): faults.LIE}))

    def watch(sent: Sent) -> None:
        if len(stage.server.puts) == 1 and sent.is_change:
            asyncio.get_running_loop().call_later(0.09, stage.kill)

    stage.server.on_sent = watch
    assert await stage.until_killed(stage.pause()) is None
    stage.server.on_sent = None
    (run_dir,) = stage.run_dirs()

    result = await stage.continue_run(run_dir, deadline_s=2.0)

    outcomes = {row["campaign_id"]: row["outcome"] for row in stage.rows(result)}
    assert outcomes["1"] == "still_running"
    assert result.exit_code == 1


async def test_a_short_unfiltered_listing_is_not_outvoted_at_the_end_of_a_hold(
    tmp_path: Path,
) -> None:
    """[seed 8106] Quiet; then every unfiltered listing lacks rows, and the filtered is empty."""
    short = ListingFaults(rows_missing=2, start_s=8.0)
    stage = Stage(tmp_path, started(10), faults=FaultPlan(listing_faults={VDN: short}))

    result = await stage.pause_all(VDN, hold_s=10.0)

    assert (result.exit_code, result.verdict) == (6, "not_proven")


async def test_a_proof_does_not_grow_old_while_another_is_regained(tmp_path: Path) -> None:
    """[seed 31012] One VDN's listings are short for 40 s: the other is looked at again as well."""
    other = VDN + 1
    short = ListingFaults(rows_missing=1, start_s=8.0, end_s=50.0)
    world = World({VDN: [Campaign(1), Campaign(2)], other: [Campaign(1), Campaign(2)]})
    stage = Stage(tmp_path, world, faults=FaultPlan(listing_faults={VDN: short}))

    result = await stage.pause_all(VDN, other, hold_s=10.0)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    last_s = max(one.at_s for one in stage.server.sent if one.vdn_id == other)
    assert stage.clock.now_s() - last_s < 5.0


@pytest.mark.parametrize("after_s", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("times", [2, 1e9])
async def test_the_look_after_a_put_more_sees_what_starts_again(
    tmp_path: Path, after_s: float, times: float
) -> None:
    """[rule 4] Two of ten start again so long after each pause: no `paused` while they run."""
    drifts = tuple(Drift(ref(n), after_pause_s=after_s, times=times) for n in (1, 2))
    campaigns = [Campaign(n) for n in range(1, 11)]
    stage = Stage(tmp_path, World({VDN: campaigns}, drifts=drifts), rate_per_s=10)

    result = await stage.pause()

    stage.world.advance(now_s=stage.world.now_s + 4.0)
    running = set(started_refs(stage.world))
    told = {n for n in range(1, 11) if stage.row(result, ref(n))["outcome"] == "still_running"}
    assert {ref(n) for n in told} == running
    assert result.exit_code == (1 if running else 0)
