"""When a VDN may be called quiet: what makes a listing complete, and which listings prove what.

Rule 1: a listing is complete when no page failed and the distinct rows seen equal its totalSize,
        the same on every page. A failed or short listing is never "nothing runs".
Rule 2: a sweep is a complete listing of what is started, begun while no PUT was pending or sent.
Rule 3: quiet is two sweeps at least GAP_S apart that show nothing started, nothing sent in between,
        and a positive control: the unfiltered listing shows that the VDN has campaigns at all.
Rule 4: three complete sweeps in a row that show only campaigns which refused in between end it.
Source: design.md §8 "pause-all".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.campaign import CampaignRef, Sighting, Status

if TYPE_CHECKING:
    from orchestrator.core.sightings import Page

#: seconds between the end of one clean sweep and the start of the one that confirms it
GAP_S = 5.0
#: seconds added to a wait for that gap: a timer may fire a hair early, and a sweep is dear
_LATE_S = 0.01
#: complete sweeps that may show nothing but refusals before the run ends
REFUSAL_SWEEPS = 3
ROWS_PER_PAGE = 100
#: started, or of a status that we cannot read
_MAY_RUN = frozenset({Status.STARTED, None})
#: a listing longer than this is not believed
MAX_PAGES = 200_000


@dataclass(slots=True)
class Listing:
    """One pass over the pages of a VDN's listing, accumulated."""

    #: keep the rows that may be running; a list of 100,000 has no use for them, and they are 40 MB
    keeps_started: bool = False
    #: the campaigns that were seen
    ids: set[int] = field(default_factory=set)
    total_size: int | None = None
    pages: int = 0
    problem: str = ""
    _started: dict[CampaignRef, Sighting] = field(default_factory=dict)

    def add(self, page: Page) -> tuple[Sighting, ...]:
        """Take one page in; returns the rows that were not seen before in this pass, once each."""
        self.pages += 1
        if page.problem:
            self.fail(page.problem)
        if self.total_size is None:
            self.total_size = page.total_size
        elif page.total_size is not None and page.total_size != self.total_size:
            self.fail(f"totalSize went from {self.total_size} to {page.total_size} between pages")
        fresh = {one.ref: one for one in page.rows if one.ref.campaign_id not in self.ids}
        self.ids.update([row.ref.campaign_id for row in page.rows])
        if self.keeps_started:
            self._note_started(page)
        return tuple(fresh.values())

    def _note_started(self, page: Page) -> None:
        """What was seen of a row last counts."""
        for row in page.rows:
            if row.status in _MAY_RUN:
                self._started[row.ref] = row
            else:
                self._started.pop(row.ref, None)

    def fail(self, problem: str) -> None:
        """Note why this listing proves nothing; the first reason stays."""
        self.problem = self.problem or problem

    def close(self) -> None:
        """Compare what was seen with what was promised; call once, after the last page."""
        if not self.problem and len(self.ids) != self.total_size:
            self.fail(f"{len(self.ids)} rows seen, totalSize says {self.total_size}")

    @property
    def pages_expected(self) -> int:
        """How many pages totalSize asks for, at least one."""
        return page_count(self.total_size or 0)

    @property
    def complete(self) -> bool:
        """Whether this listing may be believed; meaningful after `close`."""
        return not self.problem

    def started(self) -> tuple[Sighting, ...]:
        """The rows that are started, or of a status that we cannot read, where they are kept."""
        return tuple(self._started.values())


def page_count(total_size: int) -> int:
    """Pages of ROWS_PER_PAGE rows, at least one: 0 → 1, 100 → 1, 101 → 2."""
    return min(MAX_PAGES, max(1, math.ceil(total_size / ROWS_PER_PAGE)))


class Finding(StrEnum):
    """What the sweeps so far amount to."""

    GO_ON = "go_on"
    QUIET = "quiet"
    STILL_RUNNING = "still_running"


@dataclass(slots=True)
class QuietProof:
    """The sweeps of one VDN, and what they prove."""

    #: monotonic seconds at which the first sweep of the present clean row ended
    clean_since_s: float | None = None
    #: a later clean sweep confirmed it
    confirmed: bool = False
    refusal_sweeps: int = 0
    #: clean sweeps since `clean_since_s`
    clean_sweeps: int = 0

    def take(
        self,
        *,
        complete: bool,
        started: int,
        only_refusing: bool,
        began_s: float,
        ended_s: float,
    ) -> None:
        """Count one sweep.

        Args:
            complete: the listing may be believed.
            started: campaigns that it shows as started.
            only_refusing: all of them have refused since the sweep before.
            began_s: monotonic seconds at which its first page was asked for.
            ended_s: monotonic seconds at which its last page was read.
        """
        if started:
            self.disturb()
        if not complete:
            return
        if started:
            self.refusal_sweeps = self.refusal_sweeps + 1 if only_refusing else 0
            return
        self.refusal_sweeps = 0
        self.clean_sweeps += 1
        if self.clean_since_s is None:
            self.clean_since_s = ended_s
        elif began_s - self.clean_since_s >= GAP_S:
            self.confirmed = True

    def disturb(self) -> None:
        """Something was sent or seen started: what was clean before proves nothing any more."""
        self.clean_since_s = None
        self.clean_sweeps = 0
        self.confirmed = False

    def next_sweep_s(self, *, now_s: float) -> float:
        """Seconds until the next sweep can add to the proof, >= 0."""
        if self.clean_since_s is None or self.confirmed:
            return 0.0
        return max(0.0, self.clean_since_s + GAP_S + _LATE_S - now_s)

    @property
    def finding(self) -> Finding:
        """What the sweeps so far amount to."""
        if self.confirmed:
            return Finding.QUIET
        if self.refusal_sweeps >= REFUSAL_SWEEPS:
            return Finding.STILL_RUNNING
        return Finding.GO_ON
