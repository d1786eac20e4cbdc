"""However a run ends, what is in doubt is looked at before the report.

Rule 1: only reads are sent, whatever ended the run: a deadline stops PUTs, never the truth.
Rule 2: it takes LOOK_S at most; after a signal SIGNAL_LOOK_S, since a supervisor kills soon after.
Source: design.md §6 "Rules".
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.core.campaign import Sighting
from orchestrator.core.outcome import (
    COURSES,
    Decision,
    Evidence,
    Outcome,
    decide_seen,
    is_contradicted,
)
from orchestrator.core.plan import Planned
from orchestrator.core.summary import SIGNAL_EXIT_CODES, Ended
from orchestrator.edges.journal import VdnShare, doubtful_campaigns, known_campaigns
from orchestrator.run.listing import few_of_many, read_listing
from orchestrator.run.settle_one import read_state, seen_settlement, standing_of
from orchestrator.run.stopping import StoppedError, Stopping
from orchestrator.run.verify import decide_contradicted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.edges.journal import Known, Settlement
    from orchestrator.run.rig import Rig

#: seconds that the look may take
LOOK_S = 10.0
SIGNAL_LOOK_S = 5.0

#: there is nobody to ask, or nothing to write the answer to
_NO_LOOK = frozenset({Ended.CREDENTIALS, Ended.STORAGE, Ended.BUG})
_CONTRADICTED = "listed as unchanged when the run ended"
_LEFT_RUNNING = "the run ended before this campaign was settled; the last look showed it unchanged"


async def look_at_doubts(rig: Rig) -> None:
    """Let the states decide what the run's end left in doubt."""
    ended = rig.stopping.ended
    if ended in _NO_LOOK or rig.bugs:
        return
    doubts: dict[int, dict[int, Known]] = defaultdict(dict)
    for one in await rig.journal.read(doubtful_campaigns):
        doubts[one.ref.vdn_id][one.ref.campaign_id] = one
    if not doubts:
        return
    limit_s = SIGNAL_LOOK_S if ended in SIGNAL_EXIT_CODES else LOOK_S
    if rig.sender.pacer.wait_s(now_s=rig.clock.now_s()) >= limit_s:
        return  # the server has asked for longer silence than there is time
    stopping = rig.stopping
    # Everything that waits or sends asks whether the run is ending; reads may go on for a moment.
    rig.begin_last_look(Stopping())
    try:
        async with asyncio.timeout(limit_s):
            await asyncio.gather(*(_look_at(rig, vdn_id, of) for vdn_id, of in doubts.items()))
    except (TimeoutError, StoppedError):
        rig.events.warning("last_look.cut_short", limit_s=limit_s)
    finally:
        rig.begin_last_look(stopping)


async def _look_at(rig: Rig, vdn_id: int, doubts: dict[int, Known]) -> None:
    async def take(rows: Sequence[Sighting]) -> None:
        ids = [row.ref.campaign_id for row in rows]
        known = {
            one.ref: one
            for one in await rig.journal.read(
                partial(known_campaigns, vdn_id=vdn_id, campaign_ids=ids)
            )
        }
        settlements = []
        for row in rows:
            one = known.get(row.ref)
            if one is None:
                continue
            if doubts.pop(row.ref.campaign_id, None) is not None:
                settlements.append(_decided(rig, one, row, Evidence.LISTED))
            elif one.outcome and is_contradicted(rig.action, one.history, one.outcome, row.status):
                decision = decide_contradicted(rig.action, one)
                standing = "unchecked" if one.history.attempts else "exhausted"
                settlements.append(
                    seen_settlement(rig, one.seq, decision, row, _CONTRADICTED, standing=standing)
                )
        await rig.settle(*settlements, confirms=True)

    share = VdnShare(vdn_id, len(doubts))
    await read_listing(rig, vdn_id=vdn_id, status=0, take=take, enough=few_of_many(share))
    left = tuple(doubts.values())
    seen = await asyncio.gather(*(read_state(rig, Planned(one.seq, one.ref)) for one in left))
    for one, state in zip(left, seen, strict=True):
        if isinstance(state, Sighting):
            await rig.settle(_decided(rig, one, state, Evidence.READ), confirms=True)


def _decided(rig: Rig, known: Known, seen: Sighting, evidence: Evidence) -> Settlement:
    decision = decide_seen(rig.action, known.history, seen.status, evidence)
    if seen.status is not COURSES[rig.action].source:
        standing = standing_of(rig, decision)
        return seen_settlement(rig, known.seq, decision, seen, known.error, standing=standing)
    reason = known.error or _LEFT_RUNNING
    if known.outcome is None:
        decision = Decision(Outcome.UNATTEMPTED)
    # With its attempts left: `continue` takes it up again.
    return seen_settlement(rig, known.seq, decision, seen, reason, standing="exhausted")
