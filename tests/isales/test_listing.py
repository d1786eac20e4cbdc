"""What makes a listing complete, and what kind of fault makes it worth reading again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.listing import MAX_PAGES, Listing, Page, page_count
from orchestrator.model import CampaignRef, ObservedState, Status


def row(campaign_id: int, status: Status | None = Status.STARTED) -> ObservedState:
    """A row of VDN 1."""
    return ObservedState(CampaignRef(1, campaign_id), status)


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

TWICE = "a campaign is listed twice: campaigns were created or deleted meanwhile"

#: pages, why they prove nothing, whether only the count is wrong
LISTINGS = [
    ((page(total_size=0),), "", False),
    ((page(1, 2, total_size=3), page(3, total_size=3)), "", False),
    # docs/spec/evidence.md, rule 2: the count alone would say that nothing is wrong
    ((page(1, 2, total_size=3), page(2, 3, total_size=3)), TWICE, True),
    # short and long
    ((page(1, total_size=2),), "1 rows seen, totalSize says 2", True),
    ((page(1, 2, total_size=1),), "2 rows seen, totalSize says 1", True),
    # created and deleted while it was read; the first reason stays
    (
        (page(1, total_size=2), page(2, total_size=3), page(2, total_size=3)),
        "totalSize went from 2 to 3",
        True,
    ),
    # pages that are no good in themselves; the first reason stays, and weighs more than a count
    ((page(1, total_size=9, problem="bad row"), page(total_size=1)), "bad row", False),
    ((page(1, total_size=1), page(total_size=None, problem="no totalSize")), "no totalSize", False),
    ((page(1, 1, total_size=2), page(2, total_size=2, problem="bad row")), "bad row", False),
    # nothing was read at all
    ((), "0 rows seen, totalSize says None", True),
]


@pytest.mark.parametrize(("pages", "problem", "miscounted"), LISTINGS)
def test_a_listing_is_complete_or_says_why_not(
    pages: tuple[Page, ...], problem: str, *, miscounted: bool
) -> None:
    """A failed or short listing is never "nothing runs"; a miscounted one is worth another try."""
    seen = listing(*pages)

    assert seen.complete is (not problem)
    assert seen.problem.startswith(problem)
    assert seen.is_miscounted is miscounted
    assert ("created or deleted meanwhile" in seen.problem) is miscounted
    assert seen.pages == len(pages)


PAGES = st.lists(
    st.tuples(st.lists(st.integers(1, 5), max_size=4), st.integers(0, 6)), min_size=1, max_size=4
)


@given(PAGES)
def test_complete_means_that_each_row_promised_was_shown_once(
    pages: list[tuple[list[int], int]],
) -> None:
    """No id twice, one totalSize on every page, and as many rows as it says: exactly then."""
    seen = listing(*(page(*rows, total_size=total) for rows, total in pages))

    totals = {total for _, total in pages}
    rows = [one for rows, _ in pages for one in rows]
    assert seen.complete is (len(rows) == len(set(rows)) and totals == {len(rows)})
    assert seen.is_miscounted is not seen.complete


def test_a_row_that_stands_twice_on_a_page_is_new_once() -> None:
    """What stands there last counts; as two it would be two rows of a report."""
    seen = Listing()
    suspended = row(1, Status.SUSPENDED)

    assert seen.add(Page((row(1), row(2), suspended), total_size=2)) == (suspended, row(2))


def test_a_failed_page_weighs_more_than_a_count() -> None:
    """A listing whose count is wrong because a page failed is not read again for its count."""
    seen = listing(page(1, total_size=2))
    assert seen.is_miscounted

    seen.fail("page 2: HTTP 500")
    seen.fail("page 3: HTTP 502")

    assert (seen.problem, seen.is_miscounted) == ("page 2: HTTP 500", False)


def test_an_unknown_status_counts_as_started_where_started_ones_were_asked_for() -> None:
    """What the filter for started campaigns returns may run, whatever else stands in its row."""
    rows = tuple(row(number, status) for number, status in enumerate([*Status, None], start=1))
    filtered = Listing(status=2, keeps_started=True)
    filtered.add(Page(rows, total_size=5))
    unfiltered = Listing(keeps_started=True)
    unfiltered.add(Page(rows, total_size=5))

    assert [one.status for one in filtered.started()] == [Status.STARTED, None]
    assert [one.status for one in unfiltered.started()] == [Status.STARTED]


def test_what_was_seen_of_a_campaign_last_counts() -> None:
    """A row may move to another page while the list is read, and be started or stopped by then."""
    rows = [row(1), row(2, Status.SUSPENDED), row(1, Status.SUSPENDED), row(2), row(3)]
    seen = listing(*(Page((one,), total_size=3) for one in rows))

    assert seen.is_miscounted
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
