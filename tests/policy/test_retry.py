"""Waits before repeats, the headers that ask for them, and what counts against a campaign."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.policy.retry import (
    backoff_s,
    clock_ahead_s,
    clock_offset_ms,
    counts_against_limit,
    last_wait_s,
    retry_after_s,
)

#: 2025-01-02T03:04:05Z, a Thursday
NOW_MS = 1_735_787_045_000
NOW_DATE = "Thu, 02 Jan 2025 03:04:05 GMT"
HOUR_S = 3600

CHANCES = st.floats(0, 1, exclude_max=True)


def http_date(at_ms: int) -> str:
    return formatdate(at_ms / 1000, usegmt=True)


# ------------------------------------------------------------------------------------- backoff


@pytest.mark.parametrize(
    ("base_s", "cap_s", "ranges"),
    [
        (0.2, 10.0, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]),
        (0.2, 1.0, [0.2, 0.4, 0.8, 1.0, 1.0]),
        (5.0, 1.0, [1.0, 1.0]),
        (0.0, 1.0, [0.0, 0.0]),
    ],
)
def test_the_range_doubles_from_base_to_cap(
    base_s: float, cap_s: float, ranges: list[float]
) -> None:
    """Half a chance waits half the range: 0.1, 0.2, 0.4 … up to half the cap."""
    waits = [
        backoff_s(repeats=n, base_s=base_s, cap_s=cap_s, chance=0.5)
        for n in range(1, len(ranges) + 1)
    ]

    assert waits == pytest.approx([range_s / 2 for range_s in ranges])


def test_no_repeat_yet_waits_like_the_first() -> None:
    """A caller that counts from 0 gets the base range, not half of it."""
    assert backoff_s(repeats=0, base_s=0.2, cap_s=10, chance=0.5) == pytest.approx(0.1)


@given(
    repeats=st.integers(0, 10**6),
    base_s=st.floats(0, 1e6),
    cap_s=st.floats(0, 1e6),
    chance=CHANCES,
)
def test_a_wait_is_never_negative_and_never_beyond_the_cap(
    repeats: int, base_s: float, cap_s: float, chance: float
) -> None:
    """Up to a million repeats: no overflow, no NaN, never above the cap [P36]."""
    assert 0 <= backoff_s(repeats=repeats, base_s=base_s, cap_s=cap_s, chance=chance) <= cap_s


@pytest.mark.parametrize(
    ("base_s", "cap_s", "chance"),
    [
        (float("nan"), 1.0, 0.5),
        (1.0, float("inf"), 0.5),
        (1.0, 1.0, 1.0),
    ],
)
def test_numbers_that_cannot_bound_a_wait_are_refused(
    base_s: float, cap_s: float, chance: float
) -> None:
    """NaN, infinity and negative numbers fail here, not in a timer [P36]."""
    with pytest.raises(AssertionError):
        backoff_s(repeats=1, base_s=base_s, cap_s=cap_s, chance=chance)


# --------------------------------------------------------------------------------- Retry-After


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        # realistic
        ("7", 7.0),
        ("0", 0.0),
        ("60", 60.0),
        ("120", 60.0),
        # others
        ("007", 7.0),
        ("1000000000", 60.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1e9", None),
        ("nan", None),
        ("1.5", None),
        ("7\n", None),
        ("7, 8", None),
        ("10000000000", None),
        ("\u0667", None),
    ],
)
def test_seconds_are_plain_ascii_digits_clamped_to_a_minute(
    text: str | None, wait_s: float | None
) -> None:
    """Digits are seconds, at most 60 are followed, everything else is ignored [S20] [S22]."""
    assert retry_after_s(text, date=None, now_ms=NOW_MS) == wait_s


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        # realistic
        ("Thu, 02 Jan 2025 03:04:12 GMT", 7.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60.0),
        # past, or now
        ("Thu, 02 Jan 2025 03:04:05 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 GMT", None),
        # no such moment
        ("Thu, 31 Feb 2026 03:04:12 GMT", None),
        ("Thu, 02 Jan 2026 03:04:60 GMT", None),
        # other forms
        ("Thursday, 02-Jan-25 03:04:12 GMT", None),
        ("Thu Jan  2 03:04:12 2025", None),
        ("Thu, 02 Jan 2025 03:04:12 +0000", None),
        ("thu, 02 jan 2025 03:04:12 gmt", None),
        ("Thu, 02 Jan 2025 03:04:12 GMT\n", None),
        ("Thu, 02 Jan 2025 03:04:1\u0662 GMT", None),
        ("2025-01-02T03:04:12Z", None),
    ],
)
def test_a_date_counts_from_the_servers_own_date(text: str, wait_s: float | None) -> None:
    """Our clock is an hour fast, which is nothing while the answer has a Date [S21] [S22]."""
    wrong_ms = NOW_MS + HOUR_S * 1000

    assert retry_after_s(text, date=NOW_DATE, now_ms=wrong_ms) == wait_s
    assert retry_after_s(text, date=None, now_ms=NOW_MS) == wait_s


@pytest.mark.parametrize("date", [None, "", "yesterday", "Thu, 31 Feb 2025 03:04:05 GMT"])
def test_a_date_counts_from_our_clock_when_the_server_names_no_time(date: str | None) -> None:
    """Half a second into 03:04:05 it is 6.5 s to 03:04:12 [S21]."""
    wait_s = retry_after_s("Thu, 02 Jan 2025 03:04:12 GMT", date=date, now_ms=NOW_MS + 500)

    assert wait_s == pytest.approx(6.5)


@given(text=st.text() | st.from_regex(r"[0-9+\-.eE]{1,12}"), now_ms=st.integers(0, 2**45))
def test_no_header_can_make_a_run_wait_longer_than_a_minute(text: str, now_ms: int) -> None:
    """Whatever is written there: 0 to 60 s, or nothing [S22]."""
    wait_s = retry_after_s(text, date=text, now_ms=now_ms)

    assert wait_s is None or 0 <= wait_s <= 60


@given(ahead_s=st.integers(1, 60), server_s=st.integers(0, 2**33), skew_ms=st.integers(0, 2**40))
def test_every_date_is_read_to_the_second(ahead_s: int, server_s: int, skew_ms: int) -> None:
    """What the standard library writes is what we read, from 1970 to 2242 [S21]."""
    wait_s = retry_after_s(
        http_date((server_s + ahead_s) * 1000), date=http_date(server_s * 1000), now_ms=skew_ms
    )

    assert wait_s == ahead_s


# -------------------------------------------------------------------------------- clock offset


@pytest.mark.parametrize(
    ("offset_ms", "corrected_ms"),
    [
        (5_000, 5_000),
        (-5_000, -5_000),
        (4_999, None),
        (-4_999, None),
        (86_400_000, 86_400_000),
        (-86_400_001, None),
    ],
)
def test_a_clock_is_corrected_from_5_seconds_to_24_hours(
    offset_ms: int, corrected_ms: int | None
) -> None:
    """Twenty minutes are corrected; 4.999 s need not be, and a day and a bit is no clock [S18]."""
    assert clock_offset_ms(NOW_DATE, now_ms=NOW_MS - offset_ms) == corrected_ms


@pytest.mark.parametrize("date", [None, "", "1735787045", "Thu, 02 Jan 2025 03:04:05"])
def test_an_unreadable_date_corrects_nothing(date: str | None) -> None:
    """No Date, no offset, however far away our clock is [S18]."""
    assert clock_offset_ms(date, now_ms=0) is None


@pytest.mark.parametrize(
    ("since_ms", "ahead_s"),
    [(0, 0), (999, 0), (-1, 1), (1_001, -1), (-3_600_000, 3_600), (60_500, -60)],
)
def test_a_server_whose_clock_is_right_is_never_called_late(since_ms: int, ahead_s: int) -> None:
    """Its Date is read in the same second and has no fraction: 0, and 1 only beyond it."""
    assert clock_ahead_s(NOW_DATE, now_ms=NOW_MS + since_ms) == ahead_s
    assert clock_ahead_s("yesterday", now_ms=NOW_MS) is None


# -------------------------------------------------------------------------------------- charge


@pytest.mark.parametrize(
    ("left", "is_open_or_probe", "read_works", "counts"),
    [
        # a failing server would have five open the breaker
        (5, False, None, True),
        (3000, False, False, True),
        # a probe's failure, or one while the breaker is open, is the server's
        (5, True, True, False),
        (3000, True, None, False),
        # [issue 12] the breaker cannot see five different ones: a read of the VDN decides
        (4, False, True, True),
        (4, True, True, True),
        (4, False, False, False),
        (1, True, None, False),
    ],
)
def test_a_failure_counts_where_it_is_its_campaigns_own(
    left: int, *, is_open_or_probe: bool, read_works: bool | None, counts: bool
) -> None:
    """The table of the function: an outage is charged to nobody, a stubborn campaign to itself."""
    for breaker_open, probe in ((False, False), (False, True), (True, False)):
        if (breaker_open or probe) is is_open_or_probe:
            assert counts is counts_against_limit(
                breaker_open=breaker_open, probe=probe, left=left, read_works=read_works
            )


# ------------------------------------------------------------------------------ the last waits


def last_waits_s(max_attempts: int, *, patience_s: float = 1800.0) -> list[float]:
    """Every wait between the attempts on one of the last campaigns, the one more included."""
    return [
        last_wait_s(failed=failed, max_attempts=max_attempts, patience_s=patience_s)
        for failed in range(1, max_attempts + 1)
    ]


def test_five_attempts_and_one_more_span_67_seconds() -> None:
    """The five waits of docs/spec/behaviour.md stand as they are written there."""
    assert last_waits_s(5) == pytest.approx([2, 5, 10, 20, 30])


@pytest.mark.parametrize(
    ("max_attempts", "waits_s"),
    [
        (1, [60.0]),
        (2, [60 * 2 / 7, 60 * 5 / 7]),
        (6, [one * 80 / 97 for one in (2, 5, 10, 20, 30, 30)]),
    ],
)
def test_another_number_of_attempts_spans_as_long(max_attempts: int, waits_s: list[float]) -> None:
    """Two attempts are stretched to a minute, six are squeezed into 80 s."""
    assert last_waits_s(max_attempts) == pytest.approx(waits_s)


@given(max_attempts=st.integers(1, 100), patience_s=st.floats(0.0, 1e5))
def test_the_last_waits_outlast_a_short_outage_and_never_the_patience(
    max_attempts: int, patience_s: float
) -> None:
    """60 to 80 s together, or the patience where that is shorter; never shrinking."""
    waits_s = last_waits_s(max_attempts, patience_s=patience_s)

    assert waits_s == sorted(waits_s)
    assert (
        min(60.0, patience_s) * 0.999 - 1e-9 <= sum(waits_s) <= min(80.0, patience_s) * 1.001 + 1e-9
    )


@given(failed=st.integers(-1, 10**6), max_attempts=st.integers(1, 100))
def test_any_count_of_failures_has_a_wait(failed: int, max_attempts: int) -> None:
    """A campaign that failed more often than it may waits like at its last attempt."""
    wait_s = last_wait_s(failed=failed, max_attempts=max_attempts, patience_s=1800.0)

    assert last_waits_s(max_attempts)[0] <= wait_s <= last_waits_s(max_attempts)[-1]
