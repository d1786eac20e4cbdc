"""The second witness: entries, counts, windows, and the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.model import CampaignRef
from orchestrator.simulator.ledger import Entry, Ledger, read_ledger, worst_window
from orchestrator.simulator.routes import Kind

if TYPE_CHECKING:
    from pathlib import Path

REF = CampaignRef(12, 146)


def entry(number: int, at_s: float = 0.0, *, took_effect: bool = False) -> Entry:
    """One pause of campaign 12/146."""
    return Entry(
        number=number,
        at_s=at_s,
        wall_ms=0,
        method="PUT",
        target="/x",
        kind=Kind.PAUSE,
        vdn_id=12,
        campaign_id=146,
        connection=1,
        authorised=True,
        took_effect=took_effect,
    )


@pytest.mark.parametrize(
    ("times", "worst"),
    [
        ([], 0),
        ([5.0], 1),
        ([0.0, 0.5, 0.999, 1.0], 3),
        ([0.0, 1.0, 2.0], 1),
        ([3.0, 0.1, 0.2, 3.1, 3.2], 3),
    ],
)
def test_the_worst_window_is_found(times: list[float], worst: int) -> None:
    """Arrivals exactly a second apart do not share a window; order does not matter."""
    ledger = Ledger()
    for at_s in sorted(times):
        ledger.arrived(Kind.PAUSE, REF, at_s=at_s)

    assert worst_window(entry(n, at_s) for n, at_s in enumerate(times)) == worst
    assert ledger.worst_1s == worst


def test_counts_are_kept_by_kind_campaign_and_effect() -> None:
    """Two pauses, one of which took effect, and a details call."""
    ledger = Ledger()
    for kind in (Kind.PAUSE, Kind.PAUSE, Kind.DETAILS):
        ledger.arrived(kind, REF, at_s=0.0)
    ledger.add(entry(1, took_effect=True))
    ledger.add(entry(2))

    assert (ledger.total, ledger.puts_by_campaign(), ledger.puts(REF)) == (3, {REF: 2}, 2)
    assert ledger.by_kind == {Kind.PAUSE: 2, Kind.DETAILS: 1}
    assert ledger.effects == {REF: 1}
    assert ledger.puts(CampaignRef(1, 1)) == 0


def test_a_flushed_line_can_be_read_while_the_ledger_is_open(tmp_path: Path) -> None:
    """Another process reads each entry at once, equal to the one in memory."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path=path, flush_each=True) as ledger:
        ledger.add(entry(1))

        assert read_ledger(path) == ledger.entries


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    """The server was killed in the middle of a line."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path=path) as ledger:
        ledger.add(entry(1))
    with path.open("a") as file:
        file.write('{"number":2,"at')

    assert read_ledger(path) == [entry(1)]
