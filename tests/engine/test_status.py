"""`status`: what runs is counted, quiet is proven or not claimed, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.engine.status import StatusResult, status
from orchestrator.model import Status
from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.reads import ListingFaults
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from tests.fakes import VDN, Stage, started


def resting() -> World:
    """Five suspended, two completed, one not started."""
    states = [Status.SUSPENDED] * 5 + [Status.COMPLETED] * 2 + [Status.NOT_STARTED]
    return World({VDN: [Campaign(n, state) for n, state in enumerate(states, 1)]})


async def status_of(stage: Stage, *vdns: int, proves: bool = False) -> StatusResult:
    """Ask, and see that nothing was changed or left behind."""
    found = await status(stage.settings(), vdns or (VDN,), stage.birth(), proves=proves)
    assert stage.server.puts == []
    assert stage.run_dirs() == []
    return found


async def test_each_state_is_counted(tmp_path: Path) -> None:
    """250 started and one suspended, over three pages: exit 0."""
    world = started(250)
    world.add(VDN, Campaign(99_999, Status.SUSPENDED))
    found = await status_of(Stage(tmp_path, world))

    numbers = found.vdns[0].numbers()
    assert (found.exit_code, numbers["started"], numbers["suspended"]) == (0, 250, 1)
    assert found.vdns[0].is_complete


async def test_quiet_is_proven_by_two_passes_a_gap_apart(tmp_path: Path) -> None:
    """Nothing runs: exit 0, with both times 5 s apart."""
    stage = Stage(tmp_path, resting())
    found = await status_of(stage, proves=True)

    one = found.vdns[0]
    assert found.exit_code == 0
    assert one.quiet_since_ms is not None
    assert one.again_at_ms is not None
    assert one.again_at_ms - one.quiet_since_ms >= 5_000


async def test_what_runs_is_not_quiet_and_stays_as_it_is(tmp_path: Path) -> None:
    """One of two VDNs has a started campaign: exit 6, the other is proven."""
    world = resting()
    world.add(7, Campaign(1, Status.STARTED))
    found = await status_of(Stage(tmp_path, world), VDN, 7, proves=True)

    assert found.exit_code == 6
    assert [one.is_quiet for one in found.vdns] == [True, False]
    assert len(found.vdns[1].started) == 1


@pytest.mark.parametrize("proves", [False, True])
async def test_what_was_not_read_is_never_counted_as_zero(tmp_path: Path, *, proves: bool) -> None:
    """1243 for 1234 has no campaigns; a listing says one more than it shows: exit 1 or 6."""
    short = FaultPlan(listing_faults={VDN: ListingFaults(rows_missing=1)})
    stage = Stage(tmp_path, resting(), faults=short)
    found = await status_of(stage, VDN, 1243, proves=proves)

    assert found.exit_code == (6 if proves else 1)
    assert found.vdns[0].problem
    assert not found.vdns[0].is_complete
    assert found.vdns[1].no_campaigns


@pytest.mark.parametrize(("proves", "code"), [(False, 4), (True, 6)])
async def test_a_server_that_cannot_be_reached_is_said_within_seconds(
    tmp_path: Path, *, proves: bool, code: int
) -> None:
    """Nobody waits for half an hour's patience."""
    stage = Stage(tmp_path, resting())
    stage.server.unreachable.append((0.0, 3600.0))
    found = await status_of(stage, proves=proves)

    assert found.exit_code == code
    assert stage.clock.now_s() < 60


async def test_a_wrong_key_is_exit_3(tmp_path: Path) -> None:
    """With the reason in the line of its VDN."""
    stage = Stage(tmp_path, resting(), signature=SignatureCheck("AK", "another"))
    found = await status_of(stage)

    assert found.exit_code == 3
    assert "401" in found.vdns[0].problem
