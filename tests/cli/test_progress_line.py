"""The progress line: what it says, and that it fits."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.progress_line import Pulse, progress_line
from orchestrator.engine.progress import Progress
from orchestrator.policy.decide import Outcome

NOW_S = 100.0
USUAL = Pulse(requests_per_s=9.8, settled_per_s=9.5)


def progress(**more: object) -> Progress:
    """Of 3,000 campaigns 1,204 are done."""
    found = Progress(
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
        setattr(found, name, value)
    return found


def line(found: Progress, pulse: Pulse = USUAL, *, width: int = 100_000) -> str:
    """What is shown."""
    return progress_line(found, pulse, now_s=NOW_S, width=width)


ALL_DONE = Counter({Outcome.PAUSED: 3000})
NOT_STOPPED = Counter({Outcome.PAUSED: 1161, Outcome.FAILED: 35, Outcome.NOT_FOUND: 4})


HALF = Pulse(requests_per_s=5.0, settled_per_s=5.0)
BUSY = {"in_flight": 8, "in_line": 5}


@pytest.mark.parametrize(
    ("state", "pulse", "expected"),
    [
        pytest.param(
            {},
            USUAL,
            "pausing 1,204/3,000 · about 3 min left · 9.8/s of 10 · limited by --rate"
            " · 1,100 paused, 104 already paused · 12 repeats",
            id="usual",
        ),
        pytest.param(
            {"ending": "SIGINT received"},
            USUAL,
            "pausing 1,204/3,000 · ending: SIGINT received · 3 in flight"
            " · 1,100 paused, 104 already paused",
            id="ending",
        ),
        pytest.param(
            {"outcomes": Counter({Outcome.UNKNOWN: 4})},
            USUAL,
            "pausing 4/3,000 · about 5 min left · 4 checking · 9.8/s of 10 · limited by --rate"
            " · 12 repeats",
            id="a doubt is neither unknown nor not stopped",
        ),
        pytest.param(
            {"phase": "restoring", "outcomes": Counter({Outcome.FAILED: 2}), "repeats": 0},
            HALF,
            "restoring 2/3,000 · about 10 min left · 2 not started · 5.0/s of 10 · 2 failed",
            id="a restore starts",
        ),
        pytest.param(
            {"breaker": "database operation error (0200006)", "outcomes": ALL_DONE},
            Pulse(),
            "pausing 3,000/3,000 · server failing, probing: database operation error (0200006)"
            " · 0.0/s of 10 · 3,000 paused · 12 repeats",
            id="nobody knows how long an outage lasts",
        ),
        pytest.param(
            {"phase": "looking", "campaigns": 0, "outcomes": Counter(), "repeats": 0},
            Pulse(),
            "looking · 0.0/s of 10",
            id="no total yet",
        ),
        pytest.param(
            {"phase": "checking", "checked": 200, "outcomes": ALL_DONE, "repeats": 1},
            Pulse(requests_per_s=10.3),
            "checking 200/3,000 · 10.0/s of 10 · limited by --rate · 3,000 paused · 1 repeat",
            id="checked rows, and no rate above its ceiling",
        ),
        pytest.param(
            {"phase": "quiet", "calls": 1, "outcomes": ALL_DONE, "notice": "VDN 7: \x1b[2J"},
            HALF,
            "quiet 3,000/3,000 · 1 call in progress · 5.0/s of 10 · 3,000 paused · 12 repeats"
            r" · VDN 7: \x1b[2J",
            id="calls in progress, and a name of the server's",
        ),
    ],
)
def test_the_line_says_how_far_how_long_and_how_fast(
    state: dict[str, object], pulse: Pulse, expected: str
) -> None:
    """Done of total, time left or why there is none, rate, its limit, outcomes, repeats."""
    assert line(progress(**state), pulse) == expected


@pytest.mark.parametrize(
    ("state", "limit"),
    [
        ({"in_flight": 8}, "limited by --concurrency 8"),
        (BUSY, "limited by --rate"),
        (BUSY | {"is_slowed": True}, "slower: the server is too busy"),
        (BUSY | {"is_slowed": True, "sharing": 1}, "shared with another run"),
        (BUSY | {"sharing": 3}, "shared with 3 other runs"),
        (BUSY | {"sharing": 3, "yields": True}, "an emergency goes first"),
    ],
)
def test_what_limits_the_rate_is_named(state: dict[str, object], limit: str) -> None:
    """--rate, --concurrency, a busy server, other runs, an emergency."""
    assert f"5.0/s of 10 · {limit} · " in line(progress(**state), HALF)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (20, "about 3 min left"),
        (32, "1,200/3,000 · about 3 min left"),
        (40, "pausing 1,200/3,000 · about 3 min left"),
        (80, "pausing 1,200/3,000 · about 3 min left · 39 not stopped · 9.8/s of 10"),
        (10, "about 3 m…"),
    ],
)
def test_it_fits_the_terminal_and_keeps_the_time_left(width: int, expected: str) -> None:
    """Details drop off the right end first, then the words before the numbers."""
    assert line(progress(outcomes=NOT_STOPPED), width=width) == expected


@given(
    width=st.integers(0, 250),
    outcomes=st.dictionaries(st.sampled_from(Outcome), st.integers(0, 5_000_000)),
    campaigns=st.integers(0, 10_000_000),
    breaker=st.sampled_from(["", "database operation error (0200006)"]),
    ending=st.sampled_from(["", "SIGINT received"]),
    notice=st.text(max_size=30),
    backing_off=st.integers(0, 3),
    rate=st.just(0.0) | st.floats(0.001, 100_000),
)
def test_no_line_is_wider_than_its_terminal(
    width: int, outcomes: dict[Outcome, int], rate: float, **more: object
) -> None:
    """Whatever is going on; and from 40 columns on the time left is whole."""
    found = progress(outcomes=Counter(outcomes), **more)
    pulse = Pulse(requests_per_s=rate, settled_per_s=rate)
    with found.waiting("x", NOW_S + 8, "waiting", " before trying campaign 5 again"):
        shown = line(found, pulse, width=width)
        whole = line(found, pulse)

    assert len(shown) <= width
    expected = whole.split(" · ")[1:2]
    if width >= 40 and any(one.endswith(" left") for one in expected):
        assert expected[0] in shown


def test_a_wait_is_named_when_nothing_else_is_left() -> None:
    """One stubborn campaign: never `about 1 s left` again and again."""
    found = progress(outcomes=Counter({Outcome.PAUSED: 2999}), backing_off=1, in_flight=0)
    with found.waiting(
        "key", NOW_S + 7.2, "waiting", " before trying campaign 600233 again (attempt 4 of 5)"
    ):
        assert line(found, width=110).startswith(
            "pausing 2,999/3,000 · waiting 8 s before trying campaign 600233 again (attempt 4 of 5)"
        )
        assert "left" not in line(found)
        found.backing_off = 0
        assert "about 1 s left" in line(found)
        assert "waiting 8 s before" in line(found)
    assert "waiting" not in line(found)


def test_while_nothing_comes_to_an_end_no_time_is_invented() -> None:
    """A stalled run says how many are left."""
    stalled = Pulse()
    found = progress()
    for now_s in (0.0, 1.0, 2.0, 3.0, 4.0):
        stalled.look(found, now_s=now_s)

    assert " · 1,796 left · " in line(found, stalled)


def test_between_two_check_passes_the_second_is_announced() -> None:
    """All is paused: quiet so far, and when the second check comes; in a narrow terminal too."""
    found = progress(phase="proving", outcomes=ALL_DONE)
    with found.waiting(("proof", 7), NOW_S + 4, "quiet so far, second check in"):
        assert line(found, width=80).startswith(
            "proving 3,000/3,000 · quiet so far, second check in 4 s"
        )
        assert line(found, width=40) == "quiet so far, second check in 4 s"


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """A fast beginning is forgotten after three seconds."""
    pulse = Pulse()
    found = Progress(requests=0)
    for now_s, requests in ((0.0, 0), (1.0, 100), (2.0, 105), (3.0, 110), (4.0, 115), (5.0, 120)):
        found.requests = requests
        pulse.look(found, now_s=now_s)

    assert pulse.requests_per_s == 5.0


def test_why_nothing_has_left_yet_is_said_in_any_terminal() -> None:
    """A server that refuses connections from the start: no silence, and no time made up."""
    found = progress(phase="proving", campaigns=0, requests=0, outcomes=Counter())
    found.notice = "VDN 1234 is not listed: 127.0.0.1:29999 refused the connection; trying again"

    assert line(found).startswith(f"proving · {found.notice} · ")
    assert line(found, width=40) == "VDN 1234 is not listed: 127.0.0.1:29999 "[:39] + "…"
