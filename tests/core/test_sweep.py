"""What makes a listing complete, and which listings prove that a VDN is quiet."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.campaign import CampaignRef, Sighting, Status
from orchestrator.core.sightings import Page
from orchestrator.core.sweep import (
    GAP_S,
    MAX_PAGES,
    REFUSAL_SWEEPS,
    Finding,
    Listing,
    QuietProof,
    page_count,
)


def row(campaign_id: int, status: Status | None = Status.STARTED) -> Sighting:
    """A row of VDN 1."""
    return Sighting(CampaignRef(1, campaign_id), status)


def page(*campaign_ids: int, total_size: int | None, problem: str = "") -> Page:
    """A page of started campaigns."""
    return Page(tuple(row(one) for one in campaign_ids), total_size, problem)


def listing(*pages: Page) -> Listing:
    """A listing of these pages, closed."""
    seen = Listing(keeps_started=True)
    for one in pages:
        seen.add(one)
    seen.close()
    return seen


# -- listings -----------------------------------------------------------------------------------

LISTINGS = [
    # realistic
    ((page(total_size=0),), ""),
    ((page(1, 2, total_size=2),), ""),
    ((page(1, 2, total_size=3), page(3, total_size=3)), ""),
    # a campaign moved to a page that was read already, or shown twice
    ((page(1, 2, total_size=3), page(2, total_size=3)), "2 rows seen, totalSize says 3"),
    ((page(1, 1, total_size=2),), "1 rows seen, totalSize says 2"),
    # short and long
    ((page(1, total_size=2),), "1 rows seen, totalSize says 2"),
    ((page(1, 2, total_size=1),), "2 rows seen, totalSize says 1"),
    # the list changed while it was read
    ((page(1, total_size=2), page(2, total_size=1)), "totalSize went from 2 to 1 between pages"),
    # pages that are no good in themselves; the first reason stays
    ((page(1, total_size=1, problem="bad row"),), "bad row"),
    ((page(1, total_size=9, problem="bad row"), page(total_size=1)), "bad row"),
    ((page(1, total_size=None, problem="no totalSize"), page(total_size=1)), "no totalSize"),
    ((page(1, total_size=1), page(total_size=None, problem="no totalSize")), "no totalSize"),
    # nothing was read at all
    ((), "0 rows seen, totalSize says None"),
]


@pytest.mark.parametrize(("pages", "problem"), LISTINGS)
def test_a_listing_is_complete_or_says_why_not(pages: tuple[Page, ...], problem: str) -> None:
    """A failed or short listing is never "nothing runs"."""
    seen = listing(*pages)

    assert (seen.complete, seen.problem) == (not problem, problem)
    assert seen.pages == len(pages)


PAGES = st.lists(
    st.tuples(st.lists(st.integers(1, 5), max_size=4), st.integers(0, 6)), min_size=1, max_size=4
)


@given(PAGES)
def test_complete_means_that_the_distinct_rows_are_all_that_was_promised(
    pages: list[tuple[list[int], int]],
) -> None:
    """Distinct rows = totalSize, and the same totalSize on every page: exactly then."""
    seen = listing(*(page(*rows, total_size=total) for rows, total in pages))

    totals = {total for _, total in pages}
    distinct = {one for rows, _ in pages for one in rows}
    assert seen.complete is (totals == {len(distinct)})


def test_each_row_is_new_once() -> None:
    """What was on an earlier page is not handed on again, so that nothing is begun twice."""
    seen = Listing()

    assert seen.add(page(1, 2, total_size=3)) == (row(1), row(2))
    assert seen.add(page(2, 3, total_size=3)) == (row(3),)


def test_a_row_that_stands_twice_on_a_page_is_new_once() -> None:
    """What stands there last counts; as two it would be two rows of a report."""
    seen = Listing()
    suspended = row(1, Status.SUSPENDED)

    assert seen.add(Page((row(1), row(2), suspended), total_size=2)) == (suspended, row(2))


def test_a_failed_page_spoils_the_listing() -> None:
    """A page that could not be read is told to the listing, and all rows cannot mend that."""
    seen = Listing()
    seen.fail("page 2: HTTP 500")
    seen.add(page(1, total_size=1))
    seen.close()

    assert seen.problem == "page 2: HTTP 500"


def test_an_unknown_status_counts_as_started() -> None:
    """What may be running is not quiet."""
    rows = tuple(row(number, status) for number, status in enumerate([*Status, None], start=1))
    seen = listing(Page(rows, total_size=5))

    assert [one.status for one in seen.started()] == [Status.STARTED, None]


def test_what_was_seen_of_a_campaign_last_counts() -> None:
    """A row may move to another page while the list is read, and be started or stopped by then."""
    rows = [row(1), row(2, Status.SUSPENDED), row(1, Status.SUSPENDED), row(2), row(3)]
    seen = listing(*(Page((one,), total_size=3) for one in rows))

    assert seen.complete
    assert seen.started() == (row(2), row(3))


def test_a_listing_keeps_rows_only_for_whoever_asks_for_them() -> None:
    """A list of 100,000 campaigns is looked at without all of them in memory."""
    seen = Listing()
    seen.add(page(1, 2, total_size=2))

    assert seen.ids == {1, 2}
    assert seen.started() == ()


@pytest.mark.parametrize(
    ("total_size", "pages"),
    [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (20_000_000, MAX_PAGES), (10**10, MAX_PAGES)],
)
def test_pages_expected(total_size: int, pages: int) -> None:
    """A hundred rows a page, at least one page, and an end to what is believed."""
    assert page_count(total_size) == pages
    assert Listing(total_size=total_size).pages_expected == pages
    assert Listing().pages_expected == 1


# -- proof --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sweep:
    """One sweep as the run sees it."""

    began_s: float
    lasted_s: float = 0.0
    started: int = 0
    complete: bool = True
    only_refusing: bool = False

    def tell(self, proof: QuietProof) -> None:
        """Let the proof take it."""
        proof.take(
            complete=self.complete,
            started=self.started,
            only_refusing=self.only_refusing,
            began_s=self.began_s,
            ended_s=self.began_s + self.lasted_s,
        )


def after(*sweeps: Sweep) -> QuietProof:
    """A proof that has taken these sweeps."""
    proof = QuietProof()
    for one in sweeps:
        one.tell(proof)
    return proof


PROOFS = [
    # realistic
    ((), Finding.GO_ON),
    ((Sweep(0.0),), Finding.GO_ON),
    ((Sweep(0.0), Sweep(5.0)), Finding.QUIET),
    ((Sweep(0.0, lasted_s=2.0), Sweep(7.0)), Finding.QUIET),
    # too close; the gap runs from the end of one to the start of the other
    ((Sweep(0.0), Sweep(4.9)), Finding.GO_ON),
    ((Sweep(0.0, lasted_s=2.0), Sweep(6.9, lasted_s=9.0)), Finding.GO_ON),
    ((Sweep(0.0), Sweep(4.9), Sweep(5.0)), Finding.QUIET),
    # incomplete ones prove nothing, and spoil nothing when they show nothing
    ((Sweep(0.0, complete=False), Sweep(5.0)), Finding.GO_ON),
    ((Sweep(0.0), Sweep(5.0, complete=False)), Finding.GO_ON),
    ((Sweep(0.0), Sweep(2.0, complete=False), Sweep(5.0)), Finding.QUIET),
    # something started in between
    ((Sweep(0.0), Sweep(3.0, started=1), Sweep(5.0)), Finding.GO_ON),
    ((Sweep(0.0), Sweep(3.0, started=1, complete=False), Sweep(5.0)), Finding.GO_ON),
    ((Sweep(0.0), Sweep(3.0, started=1), Sweep(5.0), Sweep(10.0)), Finding.QUIET),
    # it was quiet, and is no more
    ((Sweep(0.0), Sweep(5.0), Sweep(7.0, started=1)), Finding.GO_ON),
    ((Sweep(0.0), Sweep(5.0), Sweep(7.0, complete=False)), Finding.QUIET),
    # nothing but refusals, three times in a row
    ((Sweep(0.0, started=1, only_refusing=True),) * 2, Finding.GO_ON),
    ((Sweep(0.0, started=1, only_refusing=True),) * 3, Finding.STILL_RUNNING),
    (
        (
            Sweep(0.0, started=1, only_refusing=True),
            Sweep(1.0, started=1, only_refusing=True),
            Sweep(2.0, started=2),
            Sweep(3.0, started=1, only_refusing=True),
        ),
        Finding.GO_ON,
    ),
    (
        (
            Sweep(0.0, started=1, only_refusing=True),
            Sweep(1.0, started=1, only_refusing=True),
            Sweep(2.0),
            Sweep(3.0, started=1, only_refusing=True),
        ),
        Finding.GO_ON,
    ),
    ((Sweep(0.0, started=1, only_refusing=True, complete=False),) * 3, Finding.GO_ON),
]


@pytest.mark.parametrize(("sweeps", "finding"), PROOFS)
def test_what_the_sweeps_amount_to(sweeps: tuple[Sweep, ...], finding: Finding) -> None:
    """Quiet is two clean sweeps 5 s apart; three sweeps of refusals end it."""
    assert after(*sweeps).finding is finding


def test_something_sent_undoes_what_was_clean() -> None:
    """A PUT between two clean sweeps: the first one proves nothing any more."""
    proof = after(Sweep(0.0))
    proof.disturb()
    Sweep(5.0).tell(proof)
    findings = [proof.finding]
    Sweep(10.0).tell(proof)
    findings.append(proof.finding)
    proof.disturb()
    findings.append(proof.finding)

    assert findings == [Finding.GO_ON, Finding.QUIET, Finding.GO_ON]


SWEEPS = st.lists(
    st.one_of(
        st.builds(
            Sweep,
            began_s=st.floats(0.0, 8.0),  # the pause before it
            lasted_s=st.floats(0.0, 3.0),
            started=st.sampled_from([0, 0, 0, 1]),
            complete=st.sampled_from([True, True, False]),
            only_refusing=st.booleans(),
        ),
        st.just("sent"),
    ),
    max_size=8,
)


@given(SWEEPS)
def test_quiet_is_only_said_after_two_clean_sweeps_with_nothing_between(
    moments: list[Sweep | str],
) -> None:
    """Any course of sweeps and PUTs: quiet exactly when the last stretch proves it."""
    proof = QuietProof()
    now_s = 0.0
    clean: list[tuple[float, float]] = []  # since something was sent or seen started
    for moment in moments:
        if not isinstance(moment, Sweep):
            proof.disturb()
            clean.clear()
            continue
        began_s = now_s + moment.began_s
        now_s = began_s + moment.lasted_s
        Sweep(began_s, moment.lasted_s, moment.started, moment.complete, moment.only_refusing).tell(
            proof
        )
        if moment.started:
            clean.clear()
        elif moment.complete:
            clean.append((began_s, now_s))

    proven = any(later - clean[0][1] >= GAP_S for later, _ in clean[1:])
    assert (proof.finding is Finding.QUIET) is proven


@given(
    ended_s=st.floats(0.0, 1e7, allow_subnormal=False),
    later_s=st.floats(0.0, 20.0, allow_subnormal=False),
    early_s=st.floats(0.0, 0.005),
)
def test_the_wait_for_the_next_sweep_is_long_enough(
    ended_s: float, later_s: float, early_s: float
) -> None:
    """Whoever waits as told confirms with the next sweep, even if the timer fires a hair early."""
    proof = after(Sweep(ended_s))
    now_s = ended_s + later_s

    wait_s = proof.next_sweep_s(now_s=now_s)
    Sweep(now_s + max(0.0, wait_s - early_s)).tell(proof)

    assert 0.0 <= wait_s < GAP_S + 0.02
    assert proof.finding is Finding.QUIET


def test_without_a_clean_sweep_or_with_proof_nothing_is_waited_for() -> None:
    """The gap is waited for only between the first clean sweep and the second."""
    assert QuietProof().next_sweep_s(now_s=3.0) == 0.0
    assert after(Sweep(0.0), Sweep(5.0)).next_sweep_s(now_s=5.0) == 0.0
    assert REFUSAL_SWEEPS == 3
