"""Reads that mislead: listings with something wrong, and answers from a replica that is behind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from orchestrator.simulator.world import Page

if TYPE_CHECKING:
    from orchestrator.model import CampaignRef
    from orchestrator.simulator.routes import Kind
    from orchestrator.simulator.world import ListingQuery


@dataclass(frozen=True, slots=True)
class Asked:
    """What a decision may depend on."""

    kind: Kind
    #: which request this is, from 1: for changes, among the changes of this campaign; for details,
    #: among its details calls; for listings, among those of its VDN
    nth: int
    vdn_id: int | None = None
    ref: CampaignRef | None = None
    #: which request this is of all that the server has had, from 1
    request_number: int = 1
    #: seconds since the server started
    now_s: float = 0.0
    #: which page a listing wants
    page: int = 0
    #: a listing that asks for one status only
    filtered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Something holds for a while only: seconds since the server started, the end not inside."""

    start_s: float = 0.0
    end_s: float = inf

    def is_now(self, asked: Asked) -> bool:
        """Whether this request falls into that time."""
        return self.start_s <= asked.now_s < self.end_s


class Read(StrEnum):
    """The three ways to learn a campaign's status."""

    #: a listing with a status filter
    FILTERED = "filtered"
    UNFILTERED = "unfiltered"
    DETAILS = "details"


@dataclass(frozen=True, slots=True)
class Lag(Timed):
    """Reads answer from a replica that is behind."""

    #: seconds
    lag_s: float
    #: each request is behind by anything from 0 to `lag_s`, decided by the seed
    varies: bool = False
    reads: frozenset[Read] = frozenset(Read)


class StatusFilter(StrEnum):
    """What a listing's status filter does."""

    WORKS = "works"
    #: the listing shows every campaign, as if all had been asked for
    IGNORED = "ignored"
    #: the listing shows none
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class ListingFaults(Timed):
    """What is wrong with the listings of one VDN."""

    #: these pages always fail
    failing_pages: frozenset[int] = frozenset()
    #: only so many listing requests are answered, all later ones fail; None: no such limit
    answered: int | None = None
    #: so many rows are missing at the end of each page while totalSize stays
    rows_missing: int = 0
    #: totalSize is so much too high in every second answer
    total_size_off: int = 0
    #: so many rows at the end of each page are its first row once more, so that the sum is right
    rows_repeated: int = 0
    status_filter: StatusFilter = StatusFilter.WORKS
    #: after so many listing requests all is well again
    last_request: float = inf

    def refuses(self, asked: Asked) -> bool:
        """Whether this listing request fails outright, with HTTP 500."""
        over = self.answered is not None and asked.nth > self.answered
        return over or asked.page in self.failing_pages

    def heeded(self, query: ListingQuery) -> ListingQuery:
        """What is heeded of a query."""
        ignored = self.status_filter is StatusFilter.IGNORED
        return replace(query, status=None) if ignored else query

    def bend(self, page: Page, asked: Asked) -> Page:
        """The page as this server shows it."""
        if asked.filtered and self.status_filter is StatusFilter.EMPTY:
            return Page((), 0)
        shown = max(0, len(page.rows) - self.rows_missing - self.rows_repeated)
        again = page.rows[:1] * min(self.rows_repeated, len(page.rows) - shown)
        off = self.total_size_off if asked.nth % 2 == 0 else 0
        return Page(page.rows[:shown] + again, page.total_size + off)


HONEST = ListingFaults()
