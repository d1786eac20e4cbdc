"""How long before the same request may be repeated, and whether a failure counts against it.

Rule 1: whether an answer is worth repeating at all is verdict.py's; when and at whose cost is here.
Rule 2: chance and time come in as numbers; what goes out is finite, and never above a stated cap.
Rule 3: what a server writes in a header is matched whole before it is believed, else ignored.
Rule 4: the server's failures are not a campaign's: see `is_charged`.
Source: design.md §8 "Retry", "Breaker", "Credentials"; RFC 9110 §10.2.3 (Retry-After), §5.6.7.
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
#: how long one of the last campaigns may fail before that is held against it
BENEFIT_OF_DOUBT_S = 60.0

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
    until_ms = _date_ms(text)
    if until_ms is None:
        return None
    server_ms = _date_ms(date)
    wait_s = (until_ms - (now_ms if server_ms is None else server_ms)) / 1000
    return min(wait_s, RETRY_AFTER_MAX_S) if wait_s > 0 else None


def clock_offset_ms(date: str | None, *, now_ms: int) -> int | None:
    """How far the server's clock is ahead of ours, when that is worth correcting.

    Date 10:20:00 read at 10:00:00.000 is 1,200,000; read at 10:19:58 it is None (2 s);
    a Date of last year is None (no clock).

    Args:
        date: the Date header of an answer, None when absent.
        now_ms: our wall clock, milliseconds since the epoch.

    Returns:
        Milliseconds to add to our clock, 5 s to 24 h either way; None: no need, or no sense.
    """
    server_ms = _date_ms(date)
    if server_ms is None:
        return None
    offset_ms = server_ms - now_ms
    return offset_ms if OFFSET_MIN_MS <= abs(offset_ms) <= OFFSET_MAX_MS else None


def is_charged(
    *, breaker_open: bool, probe: bool, left: int, succeeded_since: bool, failing_for_s: float
) -> bool:
    """Whether a failed attempt counts against its campaign's attempts.

    | breaker open, or a probe | campaigns left | another succeeded since | failing for | charged |
    |---|---|---|---|---|
    | yes | any | any | any | no: the server is ill, not the campaign |
    | no | 5 or more | any | any | yes: were the server ill, the breaker would open |
    | no | 4 or fewer | yes | any | yes: the server works, this one is stubborn |
    | no | 4 or fewer | no | 60 s or more | yes: long enough for an outage to end |
    | no | 4 or fewer | no | less | no: the breaker cannot see five, so nobody knows |

    Args:
        breaker_open: the breaker is open now that this failure has been told to it.
        probe: this attempt was the breaker's probe.
        left: campaigns without an outcome, this one included.
        succeeded_since: another campaign's PUT succeeded after this one's first failure.
        failing_for_s: seconds since this campaign's first failure.
    """
    if breaker_open or probe:
        return False
    if left >= ENOUGH_FOR_THE_BREAKER:
        return True
    return succeeded_since or failing_for_s >= BENEFIT_OF_DOUBT_S


def _date_ms(text: str | None) -> int | None:
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
