"""Silence: after quiet the calls in progress are counted down, and the proof stands without it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.clock import Clock
from orchestrator.engine.dispatcher import Transport
from orchestrator.engine.run import Environment
from orchestrator.isales.answer import Answer
from orchestrator.isales.client import Departure
from orchestrator.isales.requests import ApiRequest
from orchestrator.model import CampaignRef, Status
from orchestrator.reports.rows import iso_time
from orchestrator.reports.summary import Ended
from orchestrator.settings.schema import Settings
from orchestrator.simulator.cms import in_progress
from orchestrator.simulator.faults import (
    HANG,
    NO_CALLS,
    Fault,
    FaultPlan,
    Outage,
    with_codes,
    with_http,
)
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.world import Campaign, Drift, World, WorldSettings
from tests.fakes import HOST, VDN, Stage, after, both, ref, several, started, started_refs

_CALLS = frozenset({Kind.CALLS})
#: one call for each campaign, which ends 20 to 60 s after the pause
_MINUTE = WorldSettings(calls_s=60.0, calls=1)


def stage_of(folder: Path, world: World, *outages: Outage, **more: Any) -> Stage:
    """A stage whose server counts calls too."""
    settings = {"cms.base_url": f"http://{HOST}", **more.pop("settings", {})}
    return Stage(folder, world, faults=FaultPlan(outages=outages), settings=settings, **more)


def failing(fault: Fault, *refs: CampaignRef, start_s: float = 0.0) -> Outage:
    """CC-CMS has this fault, for these campaigns or for all."""
    return Outage(fault, kinds=_CALLS, refs=frozenset(refs) or None, start_s=start_s)


async def test_41_calls_fade_to_none_over_a_minute(tmp_path: Path) -> None:
    """One call for each of 41 campaigns: 41 at first, none a minute later, and both times said."""
    stage = stage_of(tmp_path, started(41, settings=_MINUTE), settings={"cms.cc_id": 7})

    result = await stage.pause_all(VDN)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    calls: Any = result.summary["calls"]
    silent_at = str(result.summary["silent_at"])
    assert (calls[0]["in_progress"], calls[-1]["in_progress"]) == (41, 0)
    assert [one["in_progress"] for one in calls] == sorted(
        (one["in_progress"] for one in calls), reverse=True
    )
    assert 60.0 < stage.clock.now_s() < 70.0
    assert (
        f"41 calls were in progress at {calls[0]['at'][11:19]}Z, none at {silent_at[11:19]}Z,"
        " in the campaigns that we stopped."
    ) in result.line
    assert "Not covered: calls of campaigns that others stopped; appointments" in result.line
    assert result.run_dir is not None
    assert json.loads((result.run_dir / "summary.json").read_text("utf-8"))["calls"] == calls
    bodies = [json.loads(one.body) for one in stage.server.sent if one.kind is Kind.CALLS]
    assert {body["taskId"] for body in bodies} == {str(number) for number in range(1, 42)}
    assert {body["ccId"] for body in bodies} == {7}


@pytest.mark.parametrize(
    ("fault", "start_s", "said"),
    [
        (with_http(500), 0.0, "Calls in progress could not be counted (HTTP 500: server error"),
        (HANG, 0.0, "could not be counted ("),
        (with_codes("0100006"), 12.0, "Counting ended early (code 0100006)."),
    ],
)
async def test_a_cms_that_fails_ends_the_counting_and_not_the_proof(
    tmp_path: Path, fault: Fault, start_s: float, said: str
) -> None:
    """Three failures in a row, from the first question or later: quiet, exit 0, and it is said."""
    world = started(10, settings=_MINUTE)
    stage = stage_of(tmp_path, world, failing(fault, start_s=start_s))

    result = await stage.pause_all(VDN)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert said in result.line
    assert result.summary["silent_at"] is None
    assert bool(result.summary["calls"]) is bool(start_s)
    assert stage.events.named("calls.not_counted")
    assert stage.clock.now_s() < 35.0


async def test_a_campaign_without_a_number_is_not_counted_as_none(tmp_path: Path) -> None:
    """Campaign 3 of 5 has an empty array: the others are counted, and one is said to be missing."""
    world = started(5, settings=_MINUTE)
    stage = stage_of(tmp_path, world, failing(NO_CALLS, ref(3)))

    result = await stage.pause_all(VDN)

    assert result.exit_code == 0
    assert "4 calls were in progress" in result.line
    assert "in 4 of the 5 campaigns that we stopped" in result.line
    assert "calls of 1 campaign without a number" in result.line
    assert result.summary["silent_at"] is None
    assert [one.kind for one in stage.server.ledger.entries if one.ref == ref(3)].count(
        Kind.CALLS
    ) == 3


async def test_ctrl_c_ends_the_counting_with_the_verdict_that_stands(tmp_path: Path) -> None:
    """SIGINT ten seconds after quiet, as shown: exit 0, quiet, and how many calls were left."""
    world = started(8, settings=WorldSettings(calls_s=500.0, calls=2))
    stage = stage_of(tmp_path, world)

    def interrupt() -> None:
        assert stage.stopping is not None
        assert stage.environment is not None
        progress = stage.environment.progress
        assert (progress.phase, progress.calls) == ("quiet, counting calls", 16)
        stage.stopping.stop(Ended.SIGNAL_INT, "SIGINT received")

    result = await both(stage.pause_all(VDN), after(16.5, interrupt))

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert "16 calls were in progress at" in result.line
    assert "16 still at" in result.line
    assert stage.clock.now_s() < 18.0


async def test_calls_that_do_not_end_are_counted_for_ten_minutes(tmp_path: Path) -> None:
    """A conference that never ends: 600 s after quiet the run ends, and says what is left."""
    stage = stage_of(tmp_path, started(3, settings=WorldSettings(calls_s=1e6, calls=1)))

    result = await stage.pause_all(VDN)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert "3 calls were in progress at" in result.line
    assert "3 still at" in result.line
    assert 600.0 < stage.clock.now_s() < 615.0
    calls: Any = result.summary["calls"]
    assert 100 < len(calls) <= 600


async def test_a_vdn_above_5000_is_not_covered_and_that_is_said(tmp_path: Path) -> None:
    """VDN 6000 beside 1201: CC-CMS is not asked about it, and silence is not claimed."""
    world = several({VDN: 3, 6000: 2}, settings=_MINUTE)
    stage = stage_of(tmp_path, world)

    result = await stage.pause_all(VDN, 6000)

    assert result.exit_code == 0
    assert {one.vdn_id for one in stage.server.ledger.entries if one.kind is Kind.CALLS} == {VDN}
    assert "in 3 of the 5 campaigns that we stopped." in result.line
    assert "CC-CMS takes no VDN above 5000: VDN 6000 was not counted." in result.line
    assert result.summary["silent_at"] is None


async def test_only_what_this_run_stopped_is_asked_about(tmp_path: Path) -> None:
    """One of three was suspended before: nobody asks for its calls."""
    world = World({VDN: [Campaign(1), Campaign(2, Status.SUSPENDED), Campaign(3)]})
    stage = stage_of(tmp_path, world)

    await stage.pause_all(VDN)

    asked = {one.ref for one in stage.server.ledger.entries if one.kind is Kind.CALLS}
    assert asked == {ref(1), ref(3)}


@pytest.mark.parametrize("has_cms", [True, False])
async def test_where_nothing_is_to_be_counted_nothing_is_said(
    tmp_path: Path, *, has_cms: bool
) -> None:
    """Everything is suspended already, or there is no `cms.base_url`: no request, no word."""
    if has_cms:
        stage = stage_of(tmp_path, World({VDN: [Campaign(1, Status.SUSPENDED)]}))
    else:
        stage = Stage(tmp_path, started(5, settings=_MINUTE))

    result = await stage.pause_all(VDN)

    assert result.exit_code == 0
    assert stage.server.ledger.by_kind[Kind.CALLS] == 0
    assert "calls" not in result.summary


async def test_a_kill_while_calls_are_counted_does_not_lose_the_proof(tmp_path: Path) -> None:
    """A kill during the counting: the journal has quiet, `continue` proves it anew and counts."""
    world = started(5, settings=WorldSettings(calls_s=200.0, calls=1))
    stage = stage_of(tmp_path, world)

    died = await stage.until_killed(both(stage.pause_all(VDN), after(30.0, stage.kill)))
    (run_dir,) = stage.run_dirs()
    from orchestrator.engine.saved import report_again
    from orchestrator.store.run_dir import RunDirectory

    told = report_again(RunDirectory(run_dir), fallback=None)
    result = await stage.continue_run(run_dir)

    assert died is None
    assert (told.verdict, told.exit_code) == ("quiet", 0)
    assert "5 calls were in progress at" in told.line
    assert (result.verdict, result.exit_code) == ("quiet", 0)
    assert result.summary["silent_at"] is not None


async def test_a_campaign_that_is_stopped_again_in_a_hold_is_counted_again(tmp_path: Path) -> None:
    """Campaign 2 starts at 70 s and is paused again: silence is later than its new calls."""
    world = started(4, settings=_MINUTE)
    world.will_happen(Drift(ref(2), at_s=80.0))
    stage = stage_of(tmp_path, world)

    result = await stage.pause_all(VDN, hold_s=100.0)

    assert (result.exit_code, started_refs(world)) == (0, [])
    assert str(result.summary["silent_at"]) > iso_time(stage.clock.start_ms + 100_000)
    assert in_progress(world, ref(2), now_s=stage.clock.now_s()) == 0


async def test_cms_is_asked_at_half_the_rate_at_most(tmp_path: Path) -> None:
    """R = 10: at most five requests for calls in any second, and ten of all kinds."""
    stage = stage_of(tmp_path, started(40, settings=_MINUTE), rate_per_s=10.0)

    await stage.pause_all(VDN)

    times = [one.at_s for one in stage.server.sent if one.kind is Kind.CALLS]
    worst = max(sum(at_s <= other < at_s + 1.0 - 1e-9 for other in times) for at_s in times)
    assert worst <= 5


async def test_all_calls_over_at_quiet_is_said_as_none(tmp_path: Path) -> None:
    """Nobody was on the phone: no call was in progress."""
    stage = stage_of(tmp_path, started(250, settings=WorldSettings(calls=0)))

    result = await stage.pause_all(VDN)

    assert "No call was in progress at" in result.line


class Broken:
    """A transport with a bug in it."""

    async def send(self, request: ApiRequest, departure: Departure) -> Answer:
        raise LookupError("no such thing")


async def test_a_bug_in_the_counting_takes_nothing_from_the_proof(tmp_path: Path) -> None:
    """Something unforeseen on the way to CC-CMS, here a server of its own: quiet, exit 0, said."""
    stage = stage_of(tmp_path, started(3), settings={"cms.base_url": "http://127.0.0.1:9"})

    def prepare(environment: Environment) -> None:
        real = environment.transport
        assert real is not None

        def transport(settings: Settings, clock: Clock) -> Transport:
            is_cms = settings.server.base_url == "http://127.0.0.1:9"
            return Broken() if is_cms else real(settings, clock)

        environment.transport = transport

    stage.on_birth = prepare

    result = await stage.pause_all(VDN)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert "could not be counted (LookupError: no such thing)" in result.line


async def test_a_hold_that_ends_without_quiet_does_not_wait_for_calls(tmp_path: Path) -> None:
    """Listings fail from 20 s on, calls never end: exit 6 a minute after the hold, not in ten."""
    world = started(3, settings=WorldSettings(calls_s=1e6, calls=1))
    away = Outage(with_http(500), kinds=frozenset({Kind.LIST}), start_s=20.0)
    stage = stage_of(tmp_path, world, away)

    result = await stage.pause_all(VDN, hold_s=40.0)

    assert (result.exit_code, result.verdict) == (6, "not_proven")
    assert stage.clock.now_s() < 120.0
    assert "3 calls were in progress at" in result.line
