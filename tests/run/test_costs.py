"""What a campaign costs, counted and never timed: calls and statements; it must not grow unseen.

The bounds are what was counted when they were set, and a tenth: a change that needs more says why.
`./do profile` shows where the calls go.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.fakes import Stage, started

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

#: our own Python functions and generators entered for one campaign, look and verification included
#: (186 when it was set, 278 before a page of a listing was one question to the journal)
CALLS_A_CAMPAIGN = 205
#: statements that the journal runs for one campaign
#: (9.2 when it was set, 19.1 before)
STATEMENTS_A_CAMPAIGN = 10


def staged(folder: Path, campaigns: int) -> Stage:
    """So many started campaigns, at a pace that holds nobody back."""
    folder.mkdir()
    return Stage(folder, started(campaigns), rate_per_s=10_000, concurrency=32)


async def calls_of_run(folder: Path, campaigns: int) -> int:
    """Calls into the product's own files while so many campaigns are paused."""
    stage = staged(folder, campaigns)
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and "/orchestrator/" in frame.f_code.co_filename:
            calls += "/simulator/" not in frame.f_code.co_filename

    sys.setprofile(count)
    try:
        result = await stage.pause()
    finally:
        sys.setprofile(None)
    assert result.counts == {"paused": campaigns}
    return calls


async def test_a_campaign_takes_so_many_calls_and_no_more(tmp_path: Path) -> None:
    """Of 300 and of 100 campaigns: what 200 more of them cost."""
    many = await calls_of_run(tmp_path / "many", 300)
    few = await calls_of_run(tmp_path / "few", 100)

    assert (many - few) / 200 <= CALLS_A_CAMPAIGN


async def test_a_campaign_takes_so_many_statements_and_no_more(tmp_path: Path) -> None:
    """Intent, answer, outcome; its share of the looks; its row of the report."""
    said: dict[int, int] = {}
    for campaigns in (100, 300):
        stage = staged(tmp_path / f"{campaigns}", campaigns)
        texts: list[str] = []
        stage.on_birth = lambda surroundings, texts=texts: watch(surroundings, texts)
        result = await stage.pause()
        assert result.counts == {"paused": campaigns}
        said[campaigns] = len(texts)

    assert (said[300] - said[100]) / 200 <= STATEMENTS_A_CAMPAIGN


def watch(surroundings: object, texts: list[str]) -> None:
    """Note every statement of the journal that this life will write."""
    make = surroundings.writer  # type: ignore[attr-defined]

    def made(connection: object, keep_going: bool) -> object:  # noqa: FBT001 - as it is called
        connection.set_trace_callback(texts.append)  # type: ignore[attr-defined]
        return make(connection, keep_going)

    surroundings.writer = made  # type: ignore[attr-defined]
