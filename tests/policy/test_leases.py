"""Leases that are watched: only what stands still for long enough is ended."""

from __future__ import annotations

from orchestrator.policy.leases import LEASE_S, Lease, Watch

A, B = Lease(1, 1, 1, "first"), Lease(1, 501, 4, "first")


def test_a_lease_that_stands_still_lapses() -> None:
    """Seen at 0 and at 5 s, the same: over, and again each time while nobody ends it."""
    watch = Watch()
    assert watch.lapsed([A, B], now_s=0.0) == []
    assert watch.lapsed([A], now_s=LEASE_S - 0.01) == []
    assert watch.lapsed([A, B], now_s=LEASE_S) == [A]
    assert watch.lapsed([A, B], now_s=LEASE_S + 1.0) == [A]


def test_a_renewal_or_a_new_epoch_begins_it_anew() -> None:
    """Renewed in the last second: five more."""
    watch = Watch()
    watch.lapsed([A], now_s=0.0)
    renewed = A._replace(renewal="second")
    assert watch.lapsed([renewed], now_s=LEASE_S) == []
    assert watch.lapsed([renewed._replace(epoch=2)], now_s=2 * LEASE_S) == []


def test_what_was_not_seen_in_between_is_seen_for_the_first_time() -> None:
    """It may have been ended and claimed; what is old about it nobody knows."""
    watch = Watch()
    watch.lapsed([A], now_s=0.0)
    watch.lapsed([], now_s=4.0)
    assert watch.lapsed([A], now_s=LEASE_S) == []
