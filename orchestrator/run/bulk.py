"""A list from its first look to its last: look, pause, one more round, verify.

Rule 1: each VDN's PUTs start as soon as its own look is done.
Rule 2: what ran out of attempts gets one more round when everything else is through.
Rule 3: nothing is verified once the run is ending; what is on record is what the report says.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.core.campaign import Action
from orchestrator.core.outcome import (
    COURSES,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
)
from orchestrator.core.verdict import Kind, Verdict
from orchestrator.edges.journal import (
    Settlement,
    VdnShare,
    all_vdn_shares,
    pending_campaigns,
    undecided_campaigns,
    vdn_shares,
)
from orchestrator.run.look import look_first
from orchestrator.run.pool import run_pool
from orchestrator.run.settle_one import (
    known_campaign,
    last_attempt_number,
    read_state,
    seen_settlement,
    settle_one,
)
from orchestrator.run.stopping import StoppedError
from orchestrator.run.verify import decide_by_state, verify_vdn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from orchestrator.core.plan import Planned
    from orchestrator.run.rig import Rig

_CHUNK = 500
#: VDNs that are looked at at a time
_LOOKS_ABREAST = 4


class BulkPlan(NamedTuple):
    """How a list is worked through."""

    #: look first and verify
    verify: bool
    #: campaigns tried in earlier lives exist: look at them before they are sent again
    continued: bool


async def run_bulk(rig: Rig, plan: BulkPlan) -> None:
    """Work through every campaign of the plan that is not settled."""
    settle = _settler(rig, plan)
    ready: asyncio.Queue[VdnShare | None] = asyncio.Queue()
    rig.progress.phase = "looking"
    looking = asyncio.create_task(_look_at_all(rig, plan, ready))
    try:
        await run_pool(rig, _from_ready(rig, ready), settle)
        await looking
    finally:
        looking.cancel()
    if not rig.stopping.is_stopping:
        rig.progress.phase = "last round"
        await run_pool(rig, _undecided(rig, "exhausted"), _settler(rig, plan, last_round=True))
    if not rig.stopping.is_stopping:
        rig.progress.phase = "checking"
        await _check(rig, plan)


def _settler(
    rig: Rig, plan: BulkPlan, *, last_round: bool = False
) -> Callable[[Planned], Awaitable[None]]:
    async def settle(planned: Planned) -> None:
        before = 0
        if plan.continued or last_round:
            before = await last_attempt_number(rig, planned)
        if rig.look_is_required and not await _is_startable(rig, planned):
            return
        await settle_one(
            rig, planned, attempts_before=before, last_round=last_round, is_open=not last_round
        )

    return settle


async def _is_startable(rig: Rig, planned: Planned) -> bool:
    """Whether a campaign is in its source status now; if not, that is its outcome.

    A slot is held on entry; it is given back while the state is read, and for good if not.
    """
    source = COURSES[rig.action].source
    if planned.before is source and planned.ref.vdn_id not in rig.unseen_vdns:
        return True
    rig.sender.slots.release()
    try:
        seen = await read_state(rig, planned)
    except StoppedError:
        return False
    if isinstance(seen, Verdict):
        outcome = Outcome.NOT_FOUND if seen.kind is Kind.NOT_FOUND else Outcome.FAILED
        await rig.settle(
            Settlement(
                seq=planned.seq,
                ref=planned.ref,
                decision=Decision(outcome),
                standing="stands",
                settled_at_ms=rig.clock.wall_ms(),
                error=f"its state could not be read, so it was left as it is: {seen.reason}",
            )
        )
        return False
    if seen.status is not source:
        known = await known_campaign(rig, planned.ref)
        history = known.history if known else History()
        decision = decide_seen(rig.action, history, seen.status, Evidence.READ)
        await rig.settle(seen_settlement(rig, planned.seq, decision, seen, ""))
        return False
    await rig.sender.slots.acquire()
    return True


# -- look and pause ---------------------------------------------------------------------------


async def _look_at_all(rig: Rig, plan: BulkPlan, ready: asyncio.Queue[VdnShare | None]) -> None:
    async def looker(shares: Iterator[VdnShare]) -> None:
        for share in shares:
            if plan.verify or plan.continued:
                await _look_at(rig, share)
            await ready.put(share)

    try:
        open_shares = await rig.journal.read(vdn_shares)
        rig.progress.campaigns = sum(share.campaigns for share in open_shares)
        shares = iter(open_shares)
        async with asyncio.TaskGroup() as lookers:
            for _ in range(_LOOKS_ABREAST):
                lookers.create_task(looker(shares))
    except* StoppedError:
        rig.events.debug("look.called_off")
    finally:
        await ready.put(None)


async def _look_at(rig: Rig, share: VdnShare) -> None:
    problem = await look_first(rig, share)
    if problem:
        rig.unseen_vdns.add(share.vdn_id)
        rig.progress.notice = f"VDN {share.vdn_id} could not be looked at: {problem}"
        rig.events.warning("look.failed", vdn_id=share.vdn_id, reason=problem)


async def _from_ready(rig: Rig, ready: asyncio.Queue[VdnShare | None]) -> AsyncIterator[Planned]:
    while (share := await ready.get()) is not None:
        rig.progress.phase = str(rig.action)
        after = 0
        while True:
            chunk = await rig.journal.read(
                partial(pending_campaigns, vdn_id=share.vdn_id, after=after, limit=_CHUNK)
            )
            if not chunk or rig.stopping.is_stopping or share.vdn_id in rig.denied_vdns:
                break
            for planned in chunk:
                yield planned
            after = chunk[-1].seq


async def _undecided(rig: Rig, standing: str) -> AsyncIterator[Planned]:
    after = 0
    while True:
        chunk = await rig.journal.read(
            partial(undecided_campaigns, standing=standing, after=after, limit=_CHUNK)
        )
        if not chunk:
            return
        for planned in chunk:
            yield planned
        after = chunk[-1].seq


# -- check ------------------------------------------------------------------------------------


async def _check(rig: Rig, plan: BulkPlan) -> None:
    try:
        if plan.verify:
            await _verify_all(rig)
        else:
            async for planned in _undecided(rig, "needs_state"):
                await decide_by_state(rig, planned)
    except* StoppedError:
        rig.events.debug("check.called_off")


async def _verify_all(rig: Rig) -> None:
    shares = iter(await rig.journal.read(all_vdn_shares))
    again: list[Planned] = []

    async def verifier() -> None:
        for share in shares:
            if share.vdn_id in rig.denied_vdns:
                continue
            found = await verify_vdn(rig, share)
            again.extend(found.again.values())
            if found.problem:
                rig.progress.notice = f"VDN {share.vdn_id} could not be checked: {found.problem}"
                rig.events.warning("check.failed", vdn_id=share.vdn_id, reason=found.problem)

    async with asyncio.TaskGroup() as verifiers:
        for _ in range(_LOOKS_ABREAST):
            verifiers.create_task(verifier())
    if again and rig.action is Action.PAUSE:
        rig.progress.phase = "pausing again"
        rig.events.warning("campaigns.started_again", number=len(again))
        await run_pool(rig, _each(again), lambda planned: _pause_again(rig, planned))


async def _each(campaigns: Sequence[Planned]) -> AsyncIterator[Planned]:
    for planned in campaigns:
        yield planned


async def _pause_again(rig: Rig, planned: Planned) -> None:
    """Pause once more what was seen started after the last answer, then let its state decide."""
    number = await last_attempt_number(rig, planned)
    await settle_one(rig, planned, attempts_before=number, last_round=True)
    if not rig.stopping.is_stopping:
        await decide_by_state(rig, planned)
