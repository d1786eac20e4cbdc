"""Looking at what the server has: listings, single reads, and what they settle.

Rule 1: a look before the first PUT spares what is in the target status already its request.
Rule 2: the state before is recorded once; a look made after an intent only decides doubts.
Rule 3: a look that fails never keeps a campaign from being paused.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.core.campaign import Action, Sighting, Status
from orchestrator.core.outcome import (
    COURSES,
    SUCCESSES,
    Changed,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
    decide_untouched,
)
from orchestrator.core.plan import Planned, reads_are_cheaper
from orchestrator.core.requests import listing
from orchestrator.core.sightings import read_page
from orchestrator.core.sweep import Listing, page_count
from orchestrator.core.verdict import Kind, Verdict
from orchestrator.edges.journal import (
    Known,
    Settlement,
    VdnShare,
    known_campaigns,
    pending_campaigns,
    unlisted_campaigns,
)
from orchestrator.run.settle_one import may_start, read_state, seen_settlement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from orchestrator.core.campaign import CampaignRef
    from orchestrator.run.rig import Rig

#: pages of one listing that are asked for at a time, where the order of reading does not matter
_PAGES_ABREAST = 4
_CHUNK = 200


async def read_listing(
    rig: Rig,
    *,
    vdn_id: int,
    status: int,
    take: Callable[[Sequence[Sighting]], Awaitable[None]],
    enough: Callable[[Listing], bool] | None = None,
    backwards: bool = False,
) -> Listing:
    """Read a listing, page by page, handing on the rows that are new in this pass.

    Args:
        rig: the parts of the run.
        vdn_id: whose campaigns.
        status: the filter, 0 for all.
        take: receives the new rows of each page.
        enough: asked after the first page; True ends the pass there (it is then not complete).
        backwards: read the last page second, so that on a list that shrinks while it is read a
            campaign can only move towards pages that are still to come.

    Raises:
        StoppedError: the run is ending.
    """
    seen = Listing()
    await _read_page(rig, seen, vdn_id, status, 1, take)
    if enough is not None and enough(seen):
        seen.fail("only the first page was read")
        return seen
    pages = range(2, seen.pages_expected + 1)
    if backwards:
        for page in reversed(pages):
            await _read_page(rig, seen, vdn_id, status, page, take)
    else:
        await _read_abreast(rig, seen, vdn_id, status, pages, take)
    seen.close()
    return seen


async def _read_abreast(  # noqa: PLR0913 - a page's coordinates
    rig: Rig,
    seen: Listing,
    vdn_id: int,
    status: int,
    pages: Iterable[int],
    take: Callable[[Sequence[Sighting]], Awaitable[None]],
) -> None:
    left = iter(pages)

    async def reader() -> None:
        for page in left:
            await _read_page(rig, seen, vdn_id, status, page, take)
            if seen.problem:
                return

    async with asyncio.TaskGroup() as readers:
        for _ in range(_PAGES_ABREAST):
            readers.create_task(reader())


async def _read_page(  # noqa: PLR0913 - a page's coordinates
    rig: Rig,
    seen: Listing,
    vdn_id: int,
    status: int,
    page: int,
    take: Callable[[Sequence[Sighting]], Awaitable[None]],
) -> None:
    heard = await rig.sender.ask(
        listing(vdn_id, status=status, page=page), key=("listing", vdn_id)
    )
    read = read_page(heard.answer, vdn_id=vdn_id, asked_status=status)
    if isinstance(read, Verdict):
        seen.fail(f"page {page}: {read.reason}")
        if read.kind is Kind.FORBIDDEN:
            rig.denied_listings.add(vdn_id)
            rig.events.warning("listing.denied", vdn_id=vdn_id, reason=read.reason)
        return
    await take(seen.add(read))


# -- before the first PUT ---------------------------------------------------------------------


async def look_first(rig: Rig, share: VdnShare) -> str:
    """Record the state of a VDN's campaigns before they are touched; returns what went wrong.

    Raises:
        StoppedError: the run is ending.
    """

    async def take(rows: Sequence[Sighting]) -> None:
        await _note_states(rig, rows, Evidence.LISTED)

    def enough(seen: Listing) -> bool:
        return bool(seen.problem) or reads_are_cheaper(
            campaigns=share.campaigns, total_size=seen.total_size or 0
        )

    seen = await read_listing(rig, vdn_id=share.vdn_id, status=0, take=take, enough=enough)
    if seen.complete:
        return ""
    cheaper = reads_are_cheaper(campaigns=share.campaigns, total_size=seen.total_size or 0)
    if cheaper:
        return await _read_each(rig, share)
    return seen.problem


async def _read_each(rig: Rig, share: VdnShare) -> str:
    after = 0
    problem = ""
    while True:
        chunk = await rig.journal.read(
            partial(pending_campaigns, vdn_id=share.vdn_id, after=after, limit=_CHUNK)
        )
        if not chunk:
            return problem
        after = chunk[-1].seq
        found = await asyncio.gather(*(read_state(rig, planned) for planned in chunk))
        await _note_states(rig, [one for one in found if isinstance(one, Sighting)], Evidence.READ)
        for one in found:
            if isinstance(one, Verdict) and one.kind is not Kind.NOT_FOUND:
                problem = one.reason


async def _note_states(rig: Rig, rows: Sequence[Sighting], evidence: Evidence) -> None:
    """Record the state before; settle what is in its target status, and what is in doubt."""
    if not rows:
        return
    by_id = {row.ref.campaign_id: row for row in rows}
    vdn_id = rows[0].ref.vdn_id
    known = await rig.journal.read(
        lambda db: known_campaigns(db, vdn_id=vdn_id, campaign_ids=list(by_id))
    )
    now_ms = rig.clock.wall_ms()
    fresh = [(one.seq, by_id[one.ref.campaign_id]) for one in known]
    if fresh:
        await rig.journal.saw(fresh, at_ms=now_ms)
    settlements = [
        settlement
        for one in known
        if (settlement := _settle_by_look(rig, one, by_id[one.ref.campaign_id], evidence, now_ms))
    ]
    await rig.settle(*settlements)


def _settle_by_look(
    rig: Rig, known: Known, seen: Sighting, evidence: Evidence, now_ms: int
) -> Settlement | None:
    if known.standing == "stands":
        return None
    if known.history.attempts == 0:
        decision = decide_untouched(rig.action, seen.status)
        if decision.outcome is Outcome.UNATTEMPTED:
            return None
        decision = Decision(decision.outcome, evidence)
    elif seen.status is COURSES[rig.action].source or seen.status is None:
        if known.standing != "needs_state":
            return None
        # Looked at again in a later life and still to be done: it gets its attempts.
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
        return _look_settlement(rig, known, decision, seen, now_ms, standing="exhausted")
    else:
        decision = decide_seen(rig.action, known.history, seen.status, evidence)
    return _look_settlement(rig, known, decision, seen, now_ms)


def _look_settlement(  # noqa: PLR0913 - the columns of one row
    rig: Rig,
    known: Known,
    decision: Decision,
    seen: Sighting,
    now_ms: int,
    *,
    standing: str = "stands",
) -> Settlement:
    return Settlement(
        seq=known.seq,
        ref=known.ref,
        decision=decision,
        standing=standing,
        settled_at_ms=now_ms,
        state_after=seen.status,
        seen_at_ms=now_ms,
        may_start=may_start(rig, decision.outcome, seen),
        error="" if decision.outcome in SUCCESSES else known.error,
    )


# -- after the last answer --------------------------------------------------------------------


@dataclass(slots=True)
class Verification:
    """What the listing after the last answer showed of one VDN."""

    #: accepted or left alone, and started by now: paused once more
    again: dict[CampaignRef, Planned] = field(default_factory=dict)
    problem: str = ""


async def verify_vdn(rig: Rig, share: VdnShare) -> Verification:
    """Confirm, settle and correct every row of one VDN by its state now.

    Raises:
        StoppedError: the run is ending.
    """
    found = Verification()
    began_ms = rig.clock.wall_ms()

    async def take(rows: Sequence[Sighting]) -> None:
        await _verify_rows(rig, rows, Evidence.LISTED, found)

    def enough(seen: Listing) -> bool:
        return bool(seen.problem) or reads_are_cheaper(
            campaigns=share.campaigns, total_size=seen.total_size or 0
        )

    seen = await read_listing(rig, vdn_id=share.vdn_id, status=0, take=take, enough=enough)
    readable = seen.complete or page_count(seen.total_size or 0) > 1
    found.problem = "" if readable else seen.problem
    await _verify_unlisted(rig, share, began_ms, found, all_rows=readable)
    return found


async def _verify_unlisted(
    rig: Rig, share: VdnShare, began_ms: int, found: Verification, *, all_rows: bool
) -> None:
    """Read one by one what the listing did not show; only doubts when listing does not work."""
    after = 0
    while True:
        chunk = await rig.journal.read(
            partial(
                unlisted_campaigns,
                vdn_id=share.vdn_id,
                seen_before_ms=began_ms,
                after=after,
                limit=_CHUNK,
            )
        )
        if not chunk:
            return
        after = chunk[-1].seq
        wanted = [
            one
            for one in chunk
            if (all_rows or one.standing == "needs_state") and one.ref not in found.again
        ]
        seen = await asyncio.gather(
            *(read_state(rig, Planned(one.seq, one.ref)) for one in wanted)
        )
        await _verify_rows(
            rig, [one for one in seen if isinstance(one, Sighting)], Evidence.READ, found
        )
        for one, verdict in zip(wanted, seen, strict=True):
            if isinstance(verdict, Verdict):
                await settle_unread(rig, one, verdict)


async def settle_unread(rig: Rig, known: Known, verdict: Verdict) -> None:
    """Its state could not be read: what is known without it stands."""
    if known.standing != "needs_state":
        return
    now_ms = rig.clock.wall_ms()
    if verdict.kind is Kind.NOT_FOUND:
        decision = Decision(Outcome.NOT_FOUND)
        reason = verdict.reason
    else:
        changed = Changed.MAYBE if known.history.doubted else Changed.NO
        decision = Decision(Outcome.UNKNOWN, changed=changed)
        reason = f"{known.error}; its state could not be read: {verdict.reason}"
    await rig.settle(
        Settlement(
            seq=known.seq,
            ref=known.ref,
            decision=decision,
            standing="stands",
            settled_at_ms=now_ms,
            error=reason,
        )
    )


async def _verify_rows(
    rig: Rig, rows: Sequence[Sighting], evidence: Evidence, found: Verification
) -> None:
    if not rows:
        return
    by_id = {row.ref.campaign_id: row for row in rows}
    vdn_id = rows[0].ref.vdn_id
    known = await rig.journal.read(
        lambda db: known_campaigns(db, vdn_id=vdn_id, campaign_ids=list(by_id))
    )
    now_ms = rig.clock.wall_ms()
    await rig.journal.named([(one.seq, by_id[one.ref.campaign_id].name) for one in known])
    settlements: list[Settlement] = []
    for one in known:
        seen = by_id[one.ref.campaign_id]
        if _is_paused_again(rig, one, seen):
            found.again[one.ref] = Planned(one.seq, one.ref, seen.status)
            continue
        decision = _verified(rig, one, seen, evidence)
        if decision is not None:
            settlements.append(_look_settlement(rig, one, decision, seen, now_ms))
    await rig.settle(*settlements)


def _is_paused_again(rig: Rig, known: Known, seen: Sighting) -> bool:
    """Started by somebody, or never stopped: paused once more, in the life that settled it."""
    if rig.action is not Action.PAUSE or seen.status is not Status.STARTED:
        return False
    if known.settled_life != rig.journal.life or known.outcome is None:
        return False
    return (
        known.history.accepted
        or known.outcome in SUCCESSES
        or known.history.last is Kind.WRONG_STATE
    )


def _verified(
    rig: Rig, known: Known, seen: Sighting, evidence: Evidence
) -> Decision | None:
    """What stands after this look; None when there is nothing on record to confirm."""
    if known.outcome is None:
        return None
    course = COURSES[rig.action]
    if known.history.attempts == 0:
        return _verified_untouched(known, seen, evidence, course.target, course.source)
    if seen.status is None:
        return Decision(known.outcome, known.evidence, _changed(known.history))
    return decide_seen(rig.action, known.history, seen.status, evidence)


def _verified_untouched(
    known: Known, seen: Sighting, evidence: Evidence, target: Status, source: Status
) -> Decision | None:
    """A campaign that got no PUT: confirmed, or found running by now."""
    if known.outcome not in SUCCESSES:
        return None
    if seen.status is target:
        return Decision(known.outcome, evidence)
    if seen.status is source and known.outcome is Outcome.ALREADY_PAUSED:
        return Decision(Outcome.STILL_RUNNING)
    return Decision(known.outcome, known.evidence)


def _changed(history: History) -> Changed:
    return Changed.YES if history.accepted else Changed.MAYBE if history.doubted else Changed.NO


# -- one campaign -----------------------------------------------------------------------------


async def decide_by_state(rig: Rig, planned: Planned) -> Sighting | None:
    """Let a campaign's state decide what its attempts came to; returns what was seen, if anything.

    Raises:
        StoppedError: the run is ending.
    """
    seen = await read_state(rig, planned)
    known = await known_campaign(rig, planned.ref)
    if known is None:
        return None
    if isinstance(seen, Verdict):
        await settle_unread(rig, known, seen)
        return None
    decision = decide_seen(rig.action, known.history, seen.status, Evidence.READ)
    await rig.settle(seen_settlement(rig, planned.seq, decision, seen, known.error))
    return seen


async def known_campaign(rig: Rig, ref: CampaignRef) -> Known | None:
    """What the journal knows of one campaign; None when it is not in the plan."""
    known = await rig.journal.read(
        lambda db: known_campaigns(db, vdn_id=ref.vdn_id, campaign_ids=[ref.campaign_id])
    )
    return known[0] if known else None
