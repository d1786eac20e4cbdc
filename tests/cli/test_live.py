"""The progress line: what it says, and when it is said off a terminal."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.cli.live import Pulse, Screen, progress_line, show
from orchestrator.clock import SystemClock
from orchestrator.engine.progress import Progress
from orchestrator.policy.decide import Outcome

if TYPE_CHECKING:
    import pytest


def _progress(**more: object) -> Progress:
    progress = Progress(
        phase="pausing",
        campaigns=3000,
        outcomes=Counter({Outcome.PAUSED: 1100, Outcome.ALREADY_PAUSED: 104}),
        repeats=12,
        requests=1300,
        ceiling_per_s=10.0,
        concurrency=8,
        in_flight=3,
    )
    for name, value in more.items():
        setattr(progress, name, value)
    return progress


def test_the_line_says_how_far_how_fast_and_how_long() -> None:
    """Done of total, outcomes, rate and ceiling, what limits it, repeats, time left."""
    pulse = Pulse(requests_per_s=9.8, settled_per_s=9.5)

    assert progress_line(_progress(), pulse) == (
        "pausing 1,204/3,000 · 1,100 paused, 104 already paused · 9.8/s of 10"
        " (limited by --rate) · 12 repeats · about 3 min left"
    )


def test_a_doubt_is_called_a_check_that_is_still_to_come() -> None:
    """In mid-run nobody has looked at the four yet, so they are not `unknown`."""
    line = progress_line(_progress(outcomes=Counter({Outcome.UNKNOWN: 4})), Pulse())

    assert " · 4 to be checked · " in line


def test_the_line_counts_calls_that_are_in_progress() -> None:
    """After quiet, where CC-CMS is asked; one call is no `calls`."""
    progress = _progress(phase="quiet, counting calls", calls=12)

    assert " · 12 calls in progress · " in progress_line(progress, Pulse())
    progress.calls = 1
    assert " · 1 call in progress · " in progress_line(progress, Pulse())


def test_the_line_names_concurrency_when_that_is_the_limit() -> None:
    """Eight of eight in flight at half the rate."""
    line = progress_line(_progress(in_flight=8), Pulse(requests_per_s=5.0, settled_per_s=5.0))

    assert "5.0/s of 10 (limited by --concurrency 8)" in line


def test_what_waits_for_the_rate_does_not_wait_for_concurrency() -> None:
    """Eight of eight in flight at half the rate, and five of them wait for their turn."""
    waiting = _progress(in_flight=8, in_line=5)
    pulse = Pulse(requests_per_s=5.0, settled_per_s=5.0)

    assert "5.0/s of 10 (limited by --rate)" in progress_line(waiting, pulse)
    waiting.is_slowed = True
    assert "5.0/s of 10 (slower: the server is too busy)" in progress_line(waiting, pulse)


def test_the_line_says_with_whom_the_rate_is_shared() -> None:
    """One other run, several, or an emergency, which goes first."""
    waiting = _progress(in_flight=8, in_line=5)
    pulse = Pulse(requests_per_s=5.0, settled_per_s=5.0)

    waiting.sharing = 1
    assert "5.0/s of 10 (shared with another run)" in progress_line(waiting, pulse)
    waiting.sharing = 3
    assert "(shared with 3 other runs)" in progress_line(waiting, pulse)
    waiting.yields = True
    assert "5.0/s of 10 (an emergency goes first)" in progress_line(waiting, pulse)


def test_an_open_breaker_is_said_instead_of_a_time() -> None:
    """Nobody knows how long an outage lasts."""
    line = progress_line(_progress(breaker="database operation error (0200006)"), Pulse())

    assert "server failing, probing: database operation error (0200006)" in line
    assert "left" not in line


def test_a_run_that_is_ending_says_so_instead_of_how_long_it_will_take() -> None:
    """Why, and how many answers are still awaited."""
    line = progress_line(_progress(ending="SIGINT received"), Pulse(settled_per_s=9.5))

    assert line == (
        "pausing 1,204/3,000 · 1,100 paused, 104 already paused"
        " · ending: SIGINT received · 3 in flight"
    )


def test_the_look_has_no_total_yet() -> None:
    """Before anything is known only the phase and the pace are said."""
    assert progress_line(Progress(phase="looking", ceiling_per_s=10), Pulse()) == (
        "looking · 0.0/s of 10"
    )


def test_checking_counts_rows() -> None:
    """After the last answer the checked rows are counted."""
    line = progress_line(_progress(phase="checking", checked=200), Pulse())

    assert line.startswith("checking 200/3,000 · ")


def test_a_notice_cannot_steer_the_terminal() -> None:
    """Names from the server are in it."""
    line = progress_line(_progress(notice="VDN 7: \x1b[2J"), Pulse())

    assert line.endswith(r" · VDN 7: \x1b[2J")


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """A fast beginning is forgotten after three seconds."""
    pulse = Pulse()
    progress = Progress(requests=0)
    for now_s, requests in ((0.0, 0), (1.0, 100), (2.0, 105), (3.0, 110), (4.0, 115), (5.0, 120)):
        progress.requests = requests
        pulse.look(progress, now_s=now_s)

    assert pulse.requests_per_s == 5.0


async def test_off_a_terminal_a_plain_line_comes_every_five_seconds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Twelve virtual seconds: two lines on stderr, none on stdout, nothing animated."""
    clock = SystemClock()
    showing = asyncio.create_task(show(_progress(), Screen(), clock))

    await clock.sleep(12)
    showing.cancel()
    with suppress(asyncio.CancelledError):
        await showing

    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert "\x1b" not in err
    assert "\r" not in err
