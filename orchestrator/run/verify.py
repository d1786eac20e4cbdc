"""The look after the last answer: confirm, settle, correct.

Rule 1: one listing pass per VDN covers every row, PUT or not; what it misses is read one by one.
Rule 2: what is seen started again is paused once more, in the life that had settled it.
Rule 3: what cannot be read leaves standing what is known without it.
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
)
from orchestrator.core.plan import Planned
from orchestrator.core.verdict import Kind, Verdict
from orchestrator.edges.journal import Settlement, known_campaigns, unlisted_campaigns
from orchestrator.run.listing import few_of_many, read_listing
from orchestrator.run.settle_one import known_campaign, read_state, seen_settlement

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from orchestrator.core.campaign import CampaignRef
    from orchestrator.edges.journal import Known, VdnShare
    from orchestrator.run.rig import Rig

_CHUNK = 200


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

    seen = await read_listing(
        rig, vdn_id=share.vdn_id, status=0, take=take, enough=few_of_many(share)
    )
    readable = seen.complete or bool(seen.ids)
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
        seen = await asyncio.gather(*(read_state(rig, Planned(one.seq, one.ref)) for one in wanted))
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
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
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
    unnamed = [(one.seq, by_id[one.ref.campaign_id].name) for one in known if not one.named]
    if unnamed:
        await rig.journal.named(unnamed)
    settlements: list[Settlement] = []
    for one in known:
        seen = by_id[one.ref.campaign_id]
        if _is_paused_again(rig, one, seen):
            found.again[one.ref] = Planned(one.seq, one.ref, seen.status)
            continue
        decision = _verified(rig, one, seen, evidence)
        if decision is not None:
            settlements.append(seen_settlement(rig, one.seq, decision, seen, one.error))
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


def _verified(rig: Rig, known: Known, seen: Sighting, evidence: Evidence) -> Decision | None:
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


async def decide_by_state(
    rig: Rig, planned: Planned, *, acted_on: Container[Status | None] = ()
) -> Sighting | None:
    """Let a campaign's state decide what its attempts came to; returns what was seen, if anything.

    Args:
        rig: the parts of the run.
        planned: the campaign.
        acted_on: in these states the caller goes on with it, so that nothing is settled: an outcome
            on record would keep a later life from it if this one is killed now.

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
    if seen.status in acted_on:
        return seen
    decision = decide_seen(rig.action, known.history, seen.status, Evidence.READ)
    await rig.settle(seen_settlement(rig, planned.seq, decision, seen, known.error))
    return seen
