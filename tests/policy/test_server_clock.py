"""How far the server's clock is ahead of ours."""

from __future__ import annotations

from orchestrator.policy.server_clock import ServerClock

#: of 2026-11-23T23:05:01Z
DATE = "Mon, 23 Nov 2026 23:05:01 GMT"
DATE_MS = 1_795_475_101_000


def test_without_a_date_nothing_is_known() -> None:
    """No header, an empty one, or one that is no date."""
    clock = ServerClock()

    for date in (None, "", "yesterday"):
        clock.note(date, sent_ms=DATE_MS, now_ms=DATE_MS)

    assert clock.offset_s is None


def test_the_offset_counts_from_the_middle_of_the_request() -> None:
    """Sent at second 0.0, answered at 1.0: the Date, half a second cut off, is of second 0.5."""
    clock = ServerClock()
    clock.note(DATE, sent_ms=DATE_MS, now_ms=DATE_MS + 1000)

    assert clock.offset_s == 0.0


def test_without_the_moment_of_the_send_the_answer_counts() -> None:
    """The server is 60 s ahead."""
    clock = ServerClock()
    clock.note(DATE, sent_ms=None, now_ms=DATE_MS + 500 - 60_000)

    assert clock.offset_s == 60.0


def test_one_odd_date_does_not_move_the_median() -> None:
    """Three agree, one is a year off; the same second counts once."""
    clock = ServerClock()
    clock.note("Sun, 23 Nov 2025 23:05:01 GMT", sent_ms=None, now_ms=DATE_MS)
    for second in (1, 1, 2, 3):
        now_ms = DATE_MS + (second - 1) * 1000 + 500 - 7_000
        clock.note(f"Mon, 23 Nov 2026 23:05:0{second} GMT", sent_ms=now_ms, now_ms=now_ms)

    assert clock.offset_s == 7.0
