"""Lists and listings at their worst: very long lists, and pages that shift, repeat or end early."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import ManifestError
from orchestrator.model import Status
from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.reads import ListingFaults
from orchestrator.simulator.world import Campaign, Order, World, WorldSettings
from tests.e2e.makers import Stand, only_run, run_command, run_measured
from tests.fakes import Stage

VDN = 12
#: the million of the issue is tests.acceptance's `million_dry`; this one keeps the slope in sight
LINES = 150_000


def write_lines(path: Path, number: int, *, last: str = "") -> None:
    with path.open("w") as listed:
        listed.write("vdn_id,campaign_id\n")
        listed.writelines(f"{1 + n % 40},{1_000_000 + n}\n" for n in range(number))
        listed.write(last)


@pytest.mark.sockets
@pytest.mark.slow
@pytest.mark.timeout(200)
async def test_hundreds_of_thousands_of_lines_stream(tmp_path: Path) -> None:
    """[I26] A dry run over 150,000 lines: all planned, under 85 MB at its peak."""
    listed = tmp_path / "list.csv"
    write_lines(listed, LINES)

    done = await run_measured(tmp_path, "", "pause", str(listed), "--dry-run", "-q")

    assert done.code == 0, done.err
    assert "150,000 planned" in done.out
    assert done.peak_kib < 85 * 1024
    with (only_run(tmp_path) / "results.csv").open() as report:
        assert sum(1 for _ in report) == LINES + 1


@pytest.mark.sockets
async def test_nothing_is_sent_before_the_last_line_is_checked(tmp_path: Path) -> None:
    """[I26] [Z18] The last of 50,000 lines is bad: exit 2, its line is named, no request."""
    listed = tmp_path / "list.csv"
    write_lines(listed, 50_000, last="12,1e3\n")
    async with Stand() as server:
        done = await run_command(tmp_path, server.url, "pause", str(listed), "-q")

    assert done.code == 2
    assert "50002" in done.err.replace(",", "")
    assert server.ledger == []
    assert list((tmp_path / "state" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("content", "helps"),
    [
        (b"1234,7\n1234,1e3\n", True),
        (b"1234,1e3\n", False),
        (b"", False),
        ("1234,7\n".encode("utf-16"), False),
        (b"name,colour\na,b\n", False),
    ],
)
async def test_skipping_bad_lines_is_advised_only_where_good_ones_are_left(
    tmp_path: Path, content: bytes, *, helps: bool
) -> None:
    """An operator who follows advice must not meet the same refusal again."""
    stage = Stage(tmp_path, World({}))
    listed = tmp_path / "list.csv"
    listed.write_bytes(content)

    with pytest.raises(ManifestError) as refused:
        await stage.pause(manifest=listed)

    assert ("--skip-invalid" in refused.value.advice) is helps
    if not helps:
        with pytest.raises(ManifestError):
            await stage.pause(manifest=listed, skip_invalid=True)


# -- listings ----------------------------------------------------------------------------------

#: listings that are wrong, each in its own way
BENT = {
    "every page ends early": ListingFaults(rows_missing=1),
    "the first page fails": ListingFaults(failing_pages=frozenset({1})),
    "listings fail after the first answers": ListingFaults(answered=2),
    "totalSize changes between pages": ListingFaults(total_size_off=3),
    "the second page fails": ListingFaults(failing_pages=frozenset({2})),
}


def started(size: int, *, order: Order = Order.ID) -> World:
    return World(
        {VDN: [Campaign(number) for number in range(1, size + 1)]},
        settings=WorldSettings(order=order),
    )


@pytest.mark.parametrize("bent", BENT.values(), ids=BENT)
async def test_a_listing_that_straightens_out_proves_quiet(
    tmp_path: Path, bent: ListingFaults
) -> None:
    """[I39] Bent for the first eight requests only: all are paused, and quiet is proven."""
    plan = FaultPlan(listing_faults={VDN: replace(bent, last_request=8)})
    world = started(150)
    result = await Stage(tmp_path, world, faults=plan).pause_all(VDN, deadline_s=120)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert result.counts == {"paused": 150}
    assert world.counts() == {Status.SUSPENDED: 150}
