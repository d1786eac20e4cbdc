"""When the progress line is shown off a terminal."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

import pytest

from orchestrator.cli.live import Screen, show
from orchestrator.clock import SystemClock
from tests.cli.test_progress_line import progress


async def test_off_a_terminal_a_plain_line_comes_every_ten_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """25 virtual seconds: two lines on stderr, each with its time, none on stdout, no animation."""
    clock = SystemClock()
    showing = asyncio.create_task(show(progress(), Screen(), clock))

    await clock.sleep(25)
    showing.cancel()
    with suppress(asyncio.CancelledError):
        await showing

    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert all(re.match(r"\d\d:\d\d:\d\dZ pausing 1,204/3,000 · ", one) for one in err.splitlines())
    assert "\x1b" not in err
    assert "\r" not in err
