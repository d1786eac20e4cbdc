"""How long before a request may be repeated, and whether a failure counts against its campaign.

verdict.py says whether an answer is worth repeating at all. Chance and time come in as numbers;
what goes out is finite and capped. A header is matched whole, or ignored.
Source: docs/spec/behaviour.md, "Repeats"; RFC 9110 §10.2.3 (Retry-After), §5.6.7.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

#: the longest wait that a server may ask for
RETRY_AFTER_MAX_S = 60.0

#: a smaller difference is left alone: signatures live for minutes, and Date has whole seconds
OFFSET_MIN_MS = 5_000
#: a clock that differs by more is no clock, and following it would be another fault
OFFSET_MAX_MS = 24 * 3600 * 1000

#: with this many campaigns left the breaker can still see five different ones fail
ENOUGH_FOR_THE_BREAKER = 5
#: seconds between the attempts on one of the last campaigns: the breaker cannot tell an outage from
#: a stubborn campaign any more, so that the attempts are to outlast a short one
_LAST_WAITS_S = (2.0, 5.0, 10.0, 20.0, 30.0)
#: how long all of these waits together take, seconds, at least and at most
_LAST_LEAST_S = 60.0
_LAST_MOST_S = 80.0

#: 2**64 times any base that the settings allow is far above any cap
_DOUBLINGS_MAX = 64

_DELAY_SECONDS = re.compile(r"[0-9]{1,10}", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: RFC 9110 §5.6.7: IMF-fixdate, the only form that a sender may write
_IMF_FIXDATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) (" + "|".join(_MONTHS) + r") ([0-9]{4})"
    r" ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT",
    re.ASCII,
)


def backoff_s(*, repeats: int, base_s: float, cap_s: float, chance: float) -> float:
    """Wait before a repeat: full jitter, the range doubling from base to cap.

    With base 0.2 and cap 10 the range is 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, … seconds; a chance
    of 0.5 waits half of it: 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, … seconds.

    Args:
        repeats: which repeat this is, from 1 (the first); 0 is taken for 1. Any size is fine.
        base_s: the range before the first repeat, seconds.
        cap_s: the range never grows beyond it, seconds, finite.
        chance: a number in [0, 1).

    Returns:
        Seconds, at least 0, at most min(cap_s, base_s * 2**(repeats - 1)).
    """
    assert 0 <= chance < 1
    assert base_s >= 0
    assert 0 <= cap_s < math.inf
    doublings = min(max(repeats - 1, 0), _DOUBLINGS_MAX)
    return chance * min(cap_s, base_s * 2.0**doublings)


def retry_after_s(text: str | None, *, date: str | None, now_ms: int) -> float | None:
    """Read a Retry-After header: whole seconds, or a date.

    "7" is 7.0; "1000000000" is 60.0 (the most we follow); a date 7 s after the server's own Date is
    7.0 however wrong our clock is. "-1", "1e9", "inf", "nan", "", Arabic digits, "7 ", "1.5", a
    date that is past, and any other form of date are None: the backoff decides then.

    Args:
        text: the header's value, None when absent.
        date: the Date header of the same answer: when readable, a date in `text` counts from it.
        now_ms: our wall clock, milliseconds since the epoch: else a date in `text` counts from it.

    Returns:
        Seconds, 0 to 60; None when there is nothing to follow.
    """
    if text is None:
        return None
    if _DELAY_SECONDS.fullmatch(text):
        return min(float(text), RETRY_AFTER_MAX_S)
    until_ms = date_ms(text)
    if until_ms is None:
        return None
    server_ms = date_ms(date)
    wait_s = (until_ms - (now_ms if server_ms is None else server_ms)) / 1000
    return min(wait_s, RETRY_AFTER_MAX_S) if wait_s > 0 else None


def clock_ahead_s(date: str | None, *, now_ms: int) -> int | None:
    """How far the server's clock is ahead of ours, in whole seconds; None: its Date is no date.

    A Date is cut to its second, so half of one is added: 10:00:00 read at 10:00:00.900 is 0.
    """
    server_ms = date_ms(date)
    return None if server_ms is None else round((server_ms + 500 - now_ms) / 1000)


def clock_offset_ms(date: str | None, *, now_ms: int) -> int | None:
    """How far the server's clock is ahead of ours, when that is worth correcting.

    Date 10:20:00 read at 10:00:00.000 is 1,200,000; read at 10:19:58 it is None (2 s);
    a Date of last year is None (no clock).

    Returns:
        Milliseconds to add to our clock, 5 s to 24 h either way; None: no need, or no sense.
    """
    server_ms = date_ms(date)
    if server_ms is None:
        return None
    offset_ms = server_ms - now_ms
    return offset_ms if OFFSET_MIN_MS <= abs(offset_ms) <= OFFSET_MAX_MS else None


def counts_against_limit(
    *, breaker_open: bool, probe: bool, left: int, read_works: bool | None
) -> bool:
    """Whether a failed attempt counts against its campaign's attempts.

    | campaigns left | breaker open, or a probe | a read of its VDN works | counts |
    |---|---|---|---|
    | 5 or more | yes | any | no: the server is failing, not the campaign |
    | 5 or more | no | any | yes: if the server were failing, the breaker would open |
    | 4 or fewer | any | yes | yes: the server works, this one is stubborn |
    | 4 or fewer | any | no | no: the breaker cannot see five, and the server does not work |

    Args:
        breaker_open: the breaker is open now that this failure has been reported to it.
        probe: this attempt was the breaker's probe.
        left: campaigns without an outcome, this one included.
        read_works: a read that followed the failure had a good answer; None: none was made.
    """
    if left < ENOUGH_FOR_THE_BREAKER:
        return bool(read_works)
    return not (breaker_open or probe)


def last_wait_s(*, failed: int, max_attempts: int, patience_s: float) -> float:
    """Seconds before the next attempt on one of the last campaigns, of which so many `failed`.

    With five attempts 2, 5, 10, 20 and 30 s, the last one before the one more at the end of the
    run. With any other number they are stretched or squeezed, so that all of them together take
    60 to 80 s; never longer than the patience.
    """
    waits_s = [_LAST_WAITS_S[min(at, len(_LAST_WAITS_S) - 1)] for at in range(max_attempts)]
    whole_s = sum(waits_s)
    wanted_s = min(max(whole_s, _LAST_LEAST_S), _LAST_MOST_S, patience_s)
    return waits_s[min(max(failed, 1), max_attempts) - 1] * wanted_s / whole_s


def date_ms(text: str | None) -> int | None:
    """Milliseconds since the epoch of an IMF-fixdate; None for anything else."""
    match = _IMF_FIXDATE.fullmatch(text or "")
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        at = datetime(
            int(year), _MONTHS.index(month) + 1, int(day),
            int(hour), int(minute), int(second), tzinfo=UTC,
        )  # fmt: skip
    except ValueError:
        return None
    return int(at.timestamp()) * 1000
