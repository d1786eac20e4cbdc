"""What summary.json says of the processes, the clocks and the rate of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import VDN, Stage, started


async def test_the_summary_names_every_process_and_the_clock_of_the_server(tmp_path: Path) -> None:
    """One process that finished; our clock is an hour behind the server's."""
    stage = Stage(tmp_path, started(3))
    stage.clock.jump_ms = -3_600_000

    result = await stage.pause_all(VDN)

    processes = result.summary["processes"]
    assert isinstance(processes, list)
    assert [one["ended"] for one in processes] == ["finished"]
    assert result.summary["clock_offset_s"] == pytest.approx(3600, abs=1)


@pytest.mark.parametrize(("campaigns", "most_per_s"), [(11, 10), (1, 1)])
async def test_the_mean_rate_is_never_said_to_be_above_the_ceiling(
    tmp_path: Path, campaigns: int, most_per_s: int
) -> None:
    """Eleven within the second of ten intervals are no 11 a second; one in a moment is 1."""
    stage = Stage(tmp_path, started(campaigns), rate_per_s=10)

    result = await stage.pause(verify=False)

    rate = result.summary["rate"]
    assert isinstance(rate, dict)
    assert 0 < rate["mean_per_s"] <= most_per_s
