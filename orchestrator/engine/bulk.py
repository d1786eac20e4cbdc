"""A whole list: look, pause, give one more attempt, verify; each VDN as soon as it is ready.

When the run is ending, nothing is verified any more; last_look.py reads what is in doubt.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Self

from orchestrator.engine.pool import note_bug, run_pool
from orchestrator.engine.preflight import look_first, settle_perhaps_sent
from orchestrator.engine.stop import StoppedError
from orchestrator.engine.verify import decide_by_state, verify_vdn, was_perhaps_sent
from orchestrator.engine.worker import (
    known_campaign,
    last_attempt_number,
    read_state,
    seen_settlement,
    settle_one,
    standing_of,
)
from orchestrator.errors import StorageError
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.policy.decide import (
    COURSES,
    Changed,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
)
from orchestrator.reports.summary import Ended
from orchestrator.store import OutcomeRecord, Standing, VdnCount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from orchestrator.engine.context import RunContext
    from orchestrator.policy.plan import Planned

_CHUNK = 500
#: VDNs that are looked at at a time
_LOOKS_ABREAST = 4


class BulkPlan(NamedTuple):
    """How a list is worked through."""

    #: look first and verify
    verify: bool
    #: campaigns tried by earlier processes exist: look at them before they are sent again
    continued: bool


async def run_bulk(context: RunContext, plan: BulkPlan) -> None:
    """Work through every campaign of the plan that has no final outcome."""
    context.verifies = plan.verify
    ready: asyncio.Queue[VdnCount | None] = asyncio.Queue()
    context.progress.phase = "looking"
    async with _Checks(context, plan) as checks:
        settle = checks.counted(_settler(context, plan))
        looking = asyncio.create_task(_look_at_all(context, plan, ready))
        try:
            await run_pool(context, _from_ready(context, ready, checks), settle)
            await looking
        finally:
            looking.cancel()
        if not context.stopping.is_stopping:
            context.progress.phase = "giving one more attempt"
            settle = _settler(context, plan, last_round=True)
            await run_pool(
                context, checks.unchecked(_undecided(context, Standing.RETRY_LATER)), settle
            )
        if not context.stopping.is_stopping:
            context.progress.phase = "checking"
            await checks.finish()


class _Checks:
    """Verifies each VDN as soon as it is through, beside the others."""

    def __init__(self, context: RunContext, plan: BulkPlan) -> None:
        self._context = context
        self._plan = plan
        #: VDN → its campaigns that have been handed out and have not come to rest
        self._open: Counter[int] = Counter()
        self._fed: dict[int, VdnCount] = {}
        self._checked: set[int] = set()
        self._turns = asyncio.Semaphore(_LOOKS_ABREAST)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def counted(
        self, settle: Callable[[Planned], Awaitable[None]]
    ) -> Callable[[Planned], Awaitable[None]]:
        """Note when the last campaign of a VDN has come to rest."""

        async def settle_counted(planned: Planned) -> None:
            try:
                await settle(planned)
            finally:
                vdn_id = planned.ref.vdn_id
                self._open[vdn_id] -= 1
                if not self._open[vdn_id] and vdn_id in self._fed:
                    self._begin(self._fed[vdn_id], is_last=False)

        return settle_counted

    def handed_out(self, planned: Planned) -> None:
        """One more campaign is at work."""
        self._open[planned.ref.vdn_id] += 1

    def fed(self, share: VdnCount) -> None:
        """All of a VDN's campaigns have been handed out."""
        self._fed[share.vdn_id] = share
        if not self._open[share.vdn_id]:
            self._begin(share, is_last=False)

    async def unchecked(self, campaigns: AsyncIterator[Planned]) -> AsyncIterator[Planned]:
        """Those whose VDN is not being verified."""
        async for planned in campaigns:
            if planned.ref.vdn_id not in self._checked:
                yield planned

    async def finish(self) -> None:
        """Verify what has not been verified yet, and wait for all of it.

        Raises:
            StorageError: the journal cannot be written.
        """
        if not self._plan.verify:
            try:
                async for planned in _undecided(self._context, Standing.NEEDS_READ):
                    await decide_by_state(self._context, planned)
            except StoppedError:
                self._context.events.debug("check.called_off")
            return
        for share in await self._context.journal.vdn_counts():
            self._begin(share, is_last=True)
        while self._tasks:
            await asyncio.gather(*tuple(self._tasks))

    def _begin(self, share: VdnCount, *, is_last: bool) -> None:
        context = self._context
        is_called_off = context.stopping.is_stopping or share.vdn_id in context.access.closed
        if not self._plan.verify or is_called_off or share.vdn_id in self._checked:
            return
        self._checked.add(share.vdn_id)
        task = asyncio.create_task(self._verify(share, is_last=is_last))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _verify(self, share: VdnCount, *, is_last: bool) -> None:
        context = self._context
        try:
            async with self._turns:
                is_through = is_last or not await context.journal.has_retries(share.vdn_id)
                if is_through:
                    await verify_vdn(context, share)
                else:
                    self._checked.discard(share.vdn_id)
        except StoppedError:
            context.events.debug("check.called_off", vdn_id=share.vdn_id)
        except StorageError as error:
            context.stopping.stop(Ended.STORAGE, str(error))
        except Exception as error:  # noqa: BLE001 - one VDN's bug must not stop the others
            note_bug(context, error, f"VDN {share.vdn_id}")


def _settler(
    context: RunContext, plan: BulkPlan, *, last_round: bool = False
) -> Callable[[Planned], Awaitable[None]]:
    async def settle(planned: Planned) -> None:
        before = 0
        if plan.continued or last_round:
            before = await last_attempt_number(context, planned)
        if context.look_is_required and not await _is_startable(context, planned):
            return
        await settle_one(
            context,
            planned,
            attempts_before=before,
            last_round=last_round,
            budget=1 if last_round and context.max_attempts is not None else None,
            is_open=not last_round,
        )

    return settle


async def _is_startable(context: RunContext, planned: Planned) -> bool:
    """Whether a campaign is in its source status now; if not, that is its outcome.

    A place in the work limit is held on entry; it is given back while the state is read, and for
    good if not.
    """
    source = COURSES[context.action].source
    with context.dispatcher.work_limit.given_back_on_failure():
        known = await known_campaign(context, planned.ref)
    perhaps_sent = known is not None and was_perhaps_sent(
        context.action, known, process=context.journal.process
    )
    is_seen = planned.before is source and planned.ref.vdn_id not in context.unseen_vdns
    if is_seen and not perhaps_sent:
        return True
    context.dispatcher.work_limit.release()
    try:
        seen = await read_state(context, planned)
    except StoppedError:
        return False
    if isinstance(seen, Verdict):
        await context.settle(_unread(context, planned, seen, perhaps_sent=perhaps_sent))
    elif known is not None and perhaps_sent:
        await context.settle(settle_perhaps_sent(context, known, seen))
    elif seen.status is not source:
        history = known.history if known else History()
        decision = decide_seen(context.action, history, seen.status, Evidence.READ)
        standing = standing_of(context, decision)
        await context.settle(
            seen_settlement(context, planned.seq, decision, seen, "", standing=standing)
        )
    else:
        await context.dispatcher.work_limit.acquire()
        return True
    return False


def _unread(
    context: RunContext, planned: Planned, verdict: Verdict, *, perhaps_sent: bool
) -> OutcomeRecord:
    """What cannot be looked at is left as it is."""
    decision = Decision(Outcome.NOT_FOUND if verdict.kind is Kind.NOT_FOUND else Outcome.FAILED)
    if perhaps_sent:
        decision = Decision(Outcome.UNKNOWN, changed=Changed.MAYBE)
    return OutcomeRecord(
        seq=planned.seq,
        ref=planned.ref,
        decision=decision,
        standing=Standing.FINAL,
        settled_at_ms=context.clock.wall_ms(),
        error=f"its state could not be read, so it was left as it is: {verdict.reason}",
    )


# -- look and pause ---------------------------------------------------------------------------


async def _look_at_all(
    context: RunContext, plan: BulkPlan, ready: asyncio.Queue[VdnCount | None]
) -> None:
    async def looker(shares: Iterator[VdnCount]) -> None:
        for share in shares:
            if plan.verify or plan.continued:
                await _look_at(context, share)
            await ready.put(share)

    try:
        open_shares = await context.journal.open_vdn_counts()
        context.access.sizes.update(open_shares)
        context.progress.campaigns = sum(share.campaigns for share in open_shares)
        shares = iter(open_shares)
        async with asyncio.TaskGroup() as lookers:
            for _ in range(_LOOKS_ABREAST):
                lookers.create_task(looker(shares))
    except* StoppedError:
        context.events.debug("look.called_off")
    finally:
        await ready.put(None)


async def _look_at(context: RunContext, share: VdnCount) -> None:
    problem = await look_first(context, share)
    if problem:
        context.unseen_vdns.add(share.vdn_id)
        context.progress.notice = f"VDN {share.vdn_id} could not be looked at: {problem}"
        context.events.warning("look.failed", vdn_id=share.vdn_id, reason=problem)


async def _from_ready(
    context: RunContext, ready: asyncio.Queue[VdnCount | None], checks: _Checks
) -> AsyncIterator[Planned]:
    while (share := await ready.get()) is not None:
        context.progress.phase = str(context.action)
        after = 0
        while True:
            chunk = await context.journal.pending(vdn_id=share.vdn_id, after=after, limit=_CHUNK)
            if not chunk or context.stopping.is_stopping or share.vdn_id in context.access.closed:
                break
            for planned in chunk:
                checks.handed_out(planned)
                yield planned
            after = chunk[-1].seq
        checks.fed(share)


async def _undecided(context: RunContext, standing: Standing) -> AsyncIterator[Planned]:
    after = 0
    while True:
        chunk = await context.journal.undecided(standing, after=after, limit=_CHUNK)
        if not chunk:
            return
        for planned in chunk:
            yield planned
        after = chunk[-1].seq
