"""Reads one listing page or one details answer.

What can be read is taken; what cannot becomes a problem in words, and such a page proves nothing.
`data` may be null, missing or empty, ids may be numbers or digit texts, unknown keys are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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
