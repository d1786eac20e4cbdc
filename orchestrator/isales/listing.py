"""Reads listing pages and details; and one reading of a VDN's listing, page by page.

What can be read is taken; what cannot becomes a problem in words, and such a page proves nothing.
`data` may be null, missing or empty, ids may be numbers or digit texts, unknown keys are ignored.

A listing is complete if no page failed, no id came twice, every page had the same totalSize, and
there are as many ids. One that fails only by the count is worth reading again: a campaign may have
been created or deleted meanwhile. docs/spec/evidence.md, rule 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.isales.requests import ROWS_PER_PAGE
from orchestrator.isales.strict_json import storable, whole_number
from orchestrator.isales.verdict import Kind, Verdict, judge
from orchestrator.model import (
    CampaignRef,
    ObservedState,
    Refusal,
    Status,
    read_campaign_id,
    read_status,
)

if TYPE_CHECKING:
    from orchestrator.isales.answer import Answer

#: started, or of a status that we cannot read
MAY_RUN = frozenset({Status.STARTED, None})
#: a listing longer than this is not believed
MAX_PAGES = 200_000

_TEXT_LIMIT = 200
#: a totalSize beyond this is no count, and more than the journal can hold
_COUNT_MAX = 10**10 - 1


class Page(NamedTuple):
    """One readable page of a listing."""

    rows: tuple[ObservedState, ...]
    #: the server's count over all pages; None when it did not say
    total_size: int | None
    #: what makes this page unfit as proof; empty when nothing does
    problem: str = ""


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


def read_page(
    answer: Answer, *, vdn_id: int, asked_status: int, verdict: Verdict | None = None
) -> Page | Verdict:
    """Read a listing answer; the verdict instead when it was not a success.

    A row without a status was selected by the filter, so it has the status asked for; in an
    unfiltered listing it makes the page a problem. `verdict`: what `judge` said of it already.
    """
    verdict = verdict or judge(answer, reads=True)
    document = verdict.document
    if verdict.kind is not Kind.ACCEPTED or document is None:
        return verdict
    entries = document.get("data")
    if entries is None:
        entries = []
    total_size = whole_number(document.get("totalSize"), most=_COUNT_MAX)
    if not isinstance(entries, list):
        return Page(rows=(), total_size=total_size, problem="`data` is not a list")
    assumed = read_status(asked_status)
    rows: list[ObservedState] = []
    problem = verdict.flaw or ("" if total_size is not None else "the listing has no totalSize")
    for entry in entries:
        observed = _row(entry, vdn_id=vdn_id, assumed=assumed)
        if observed is None:
            problem = "a row of the listing has no usable id"
            continue
        if verdict.flaw and observed.status not in {Status.STARTED, None}:
            continue  # a broken page may say what to pause, never what is at rest
        rows.append(observed)
        if observed.status is None and not _is_number(entry.get("status")):
            problem = problem or "a row of the listing has no readable status"
    return Page(rows=tuple(rows), total_size=total_size, problem=problem)


def read_details(answer: Answer, *, ref: CampaignRef) -> ObservedState | Verdict:
    """Read a details answer; the verdict instead when it was not a success."""
    verdict = judge(answer, reads=True)
    if verdict.kind is not Kind.ACCEPTED or verdict.document is None or verdict.flaw:
        return verdict
    shown = verdict.document.get("returnObject")
    if not isinstance(shown, dict):
        return Verdict(
            kind=Kind.UNREADABLE,
            reason="the details have no returnObject",
            http_status=answer.http_status,
            in_doubt=True,
        )
    return ObservedState(
        ref=ref,
        status=read_status(shown.get("status")),
        name=_text(shown.get("name")),
        begin_time=_text(shown.get("strBeginTime")),
    )


def _row(entry: object, *, vdn_id: int, assumed: Status | None) -> ObservedState | None:
    if not isinstance(entry, dict):
        return None
    campaign_id = read_campaign_id(entry.get("id"))
    if isinstance(campaign_id, Refusal):
        return None
    status = entry.get("status")
    return ObservedState(
        CampaignRef(vdn_id, campaign_id),
        assumed if status is None else read_status(status),
        _text(entry.get("name")),
        _text(entry.get("strBeginTime")),
    )


def _is_number(value: object) -> bool:
    """Whether it is a status, though perhaps one that we do not know."""
    return type(value) is int or (isinstance(value, str) and value.isascii() and value.isdigit())


def _text(value: object) -> str:
    return storable(value[:_TEXT_LIMIT]) if isinstance(value, str) else ""
