"""One reading of a VDN's listing, page by page, and whether it is complete.

Complete: no page failed, no id came twice, every page had the same totalSize, and there are as many
ids. One that fails only by the count is worth reading again: a campaign may have been created or
deleted meanwhile. docs/spec/evidence.md, rule 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.isales.requests import ROWS_PER_PAGE
from orchestrator.model import CampaignRef, ObservedState, Status

if TYPE_CHECKING:
    from orchestrator.isales.pages import Page

#: started, or of a status that we cannot read
MAY_RUN = frozenset({Status.STARTED, None})
#: a listing longer than this is not believed
MAX_PAGES = 200_000


@dataclass(slots=True)
class Listing:
    """One pass over the pages of a VDN's listing, accumulated."""

    #: the filter that was asked for, 0 for all
    status: int = 0
    #: keep the rows that may be running; a list of 100,000 has no use for them, and they are 40 MB
    keeps_started: bool = False
    #: the campaigns that were seen
    ids: set[int] = field(default_factory=set)
    total_size: int | None = None
    pages: int = 0
    #: why it proves nothing, in words; empty: nothing is wrong
    problem: str = ""
    #: nothing but the count is wrong
    is_miscounted: bool = False
    _started: dict[CampaignRef, ObservedState] = field(default_factory=dict)

    def add(self, page: Page) -> tuple[ObservedState, ...]:
        """Take one page in; returns the rows that were not seen before in this pass, once each."""
        self.pages += 1
        if page.problem:
            self.fail(page.problem)
        if self.total_size is None:
            self.total_size = page.total_size
        elif page.total_size is not None and page.total_size != self.total_size:
            self._miscount(f"totalSize went from {self.total_size} to {page.total_size}")
        fresh = {one.ref: one for one in page.rows if one.ref.campaign_id not in self.ids}
        if len(fresh) < len(page.rows):
            self._miscount("a campaign is listed twice")
        self.ids.update([row.ref.campaign_id for row in page.rows])
        if self.keeps_started:
            self._note_started(page)
        return tuple(fresh.values())

    def _note_started(self, page: Page) -> None:
        """What was seen of a row last counts; a filter's row may run whatever its status is."""
        may_run = MAY_RUN if self.status else frozenset({Status.STARTED})
        for row in page.rows:
            if row.status in may_run:
                self._started[row.ref] = row
            else:
                self._started.pop(row.ref, None)

    def fail(self, problem: str) -> None:
        """Note why this listing proves nothing; the first reason stays."""
        if not self.problem or self.is_miscounted:
            self.problem = problem
            self.is_miscounted = False

    def _miscount(self, problem: str) -> None:
        if not self.problem:
            self.problem = f"{problem}: campaigns were created or deleted meanwhile"
            self.is_miscounted = True

    def close(self) -> None:
        """Compare the rows that were seen with totalSize; call once, after the last page."""
        if len(self.ids) != self.total_size:
            self._miscount(f"{len(self.ids)} rows seen, totalSize says {self.total_size}")

    @property
    def pages_expected(self) -> int:
        """How many pages totalSize asks for, at least one."""
        return page_count(self.total_size or 0)

    @property
    def complete(self) -> bool:
        """Whether this listing may be believed; meaningful after `close`."""
        return not self.problem

    def started(self) -> tuple[ObservedState, ...]:
        """The rows that are started, or of a status that we cannot read, where they are kept."""
        return tuple(self._started.values())


def page_count(total_size: int) -> int:
    """Pages of ROWS_PER_PAGE rows, at least one: 0 → 1, 100 → 1, 101 → 2."""
    return min(MAX_PAGES, max(1, math.ceil(total_size / ROWS_PER_PAGE)))
