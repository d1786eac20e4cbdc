"""A whole list: look, pause, give one more attempt, verify; each VDN as soon as it is ready.

When the run is ending, nothing is verified any more; looks.py reads what is in doubt.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Self

from orchestrator.engine.looks import look_first
from orchestrator.engine.options import FailureLimit
from orchestrator.engine.pool import note_bug, run_pool
from orchestrator.engine.reconcile import (
    decide_by_state,
    known_campaign,
    look_record,
    perhaps_sent_record,
    read_state,
    standing_of,
    unseen_record,
    was_perhaps_sent,
)
from orchestrator.engine.run import RunSpec, live
from orchestrator.engine.stop import StoppedError
from orchestrator.engine.verify import verify_vdn
from orchestrator.engine.worker import complete_campaign
from orchestrator.errors import StorageError
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import Action
from orchestrator.policy.decide import (
    COURSES,
    Changed,
    Decision,
    Evidence,
    History,
    Outcome,
    decide_seen,
)
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import Ended
from orchestrator.store import Standing, VdnCount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from orchestrator.engine.begin import Opened
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.policy.plan import Planned
    from orchestrator.settings.load import Settings
    from orchestrator.store import OutcomeRecord

_CHUNK = 500
#: VDNs that are looked at at a time
_LOOKS_ABREAST = 4
#: what the live line says while requests are sent
_PHASES = {Action.PAUSE: "pausing", Action.RESUME: "restoring"}


async def pause_list(
    environment: Environment,
    opened: Opened,
    settings: Settings,
    *,
    deadline_s: float | None,
    continued: bool,
) -> RunResult:
    """Be one process of the run of a list, from its journal to its report."""

    async def work(context: RunContext) -> None:
        await run_bulk(context, continued=continued)

    limit = opened.record.max_failures
    spec = RunSpec(
        kind=RunKind.PAUSE,
        settings=settings,
        journal=opened.journal,
        directory=opened.directory,
        deadline_s=deadline_s,
        max_failures=FailureLimit(*limit) if limit else None,
    )
    return await live(environment, spec, work)


async def run_bulk(context: RunContext, *, continued: bool, is_part: bool = False) -> None:
    """Work through every campaign of the plan that has no final outcome.

    Args:
        context: of the process.
        continued: earlier processes have tried some: look at them before they are sent again.
        is_part: others look at its VDN before, and verify it after.
    """
    verifies = context.verifies and not is_part
    ready: asyncio.Queue[VdnCount | None] = asyncio.Queue()
    context.progress.phase = "looking"
    async with _Checks(context, verifies=verifies) as checks:
        complete = checks.counted(_completer(context, is_new=not continued))
        looking = asyncio.create_task(_look_at_all(context, ready, looks=continued or verifies))
        try:
            await run_pool(context, _from_ready(context, ready, checks), complete)
            await looking
        finally:
            looking.cancel()
        if not context.stopping.is_stopping:
            context.progress.phase = "trying once more"
            complete = _completer(context, is_new=False, last_round=True)
            await run_pool(
                context, checks.unchecked(_undecided(context, Standing.RETRY_LATER)), complete
            )
        if not (context.stopping.is_stopping or is_part):
            context.progress.phase = "checking"
            await checks.finish()


async def look_only(context: RunContext) -> None:
    """Record the state of each campaign; others send."""
    context.progress.phase = "looking"
    for count in await context.journal.open_vdn_counts():
        await _look_at(context, count)


async def verify_only(context: RunContext) -> None:
    """Verify what others have sent."""
    context.progress.phase = "checking"
    for count in await context.journal.vdn_counts():
        await verify_vdn(context, count)


class _Checks:
    """Verifies each VDN as soon as it is through, beside the others."""

    def __init__(self, context: RunContext, *, verifies: bool) -> None:
        self._context = context
        self._verifies = verifies
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
        self, complete: Callable[[Planned], Awaitable[None]]
    ) -> Callable[[Planned], Awaitable[None]]:
        """Note when the last campaign of a VDN has come to rest."""

        async def complete_counted(planned: Planned) -> None:
            try:
                await complete(planned)
            finally:
                vdn_id = planned.ref.vdn_id
                self._open[vdn_id] -= 1
                if not self._open[vdn_id] and vdn_id in self._fed:
                    self._begin(self._fed[vdn_id], is_last=False)

        return complete_counted

    def handed_out(self, planned: Planned) -> None:
        """One more campaign is at work."""
        self._open[planned.ref.vdn_id] += 1

    def fed(self, count: VdnCount) -> None:
        """All of a VDN's campaigns have been handed out."""
        self._fed[count.vdn_id] = count
        if not self._open[count.vdn_id]:
            self._begin(count, is_last=False)

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
        if not self._verifies:
            try:
                async for planned in _undecided(self._context, Standing.NEEDS_READ):
                    await decide_by_state(self._context, planned)
            except StoppedError:
                self._context.events.debug("check.cancelled")
            return
        for count in await self._context.journal.vdn_counts():
            self._begin(count, is_last=True)
        while self._tasks:
            await asyncio.gather(*tuple(self._tasks))

    def _begin(self, count: VdnCount, *, is_last: bool) -> None:
        context = self._context
        is_called_off = context.stopping.is_stopping or count.vdn_id in context.access.closed
        if not self._verifies or is_called_off or count.vdn_id in self._checked:
            return
        self._checked.add(count.vdn_id)
        task = asyncio.create_task(self._verify(count, is_last=is_last))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _verify(self, count: VdnCount, *, is_last: bool) -> None:
        context = self._context
        try:
            async with self._turns:
                is_through = is_last or not await context.journal.has_retries(count.vdn_id)
                if is_through:
                    await verify_vdn(context, count)
                else:
                    self._checked.discard(count.vdn_id)
        except StoppedError:
            context.events.debug("check.cancelled", vdn_id=count.vdn_id)
        except StorageError as error:
            context.stopping.stop(Ended.STORAGE, str(error))
        except Exception as error:  # noqa: BLE001 - one VDN's bug must not stop the others
            note_bug(context, error, f"VDN {count.vdn_id}")


def _completer(
    context: RunContext, *, is_new: bool, last_round: bool = False
) -> Callable[[Planned], Awaitable[None]]:
    async def complete(planned: Planned) -> None:
        if context.look_is_required and not await _is_startable(context, planned):
            return
        await complete_campaign(
            context,
            planned,
            is_new=is_new,
            last_round=last_round,
            budget=1 if last_round and context.max_attempts is not None else None,
        )

    return complete


async def _is_startable(context: RunContext, planned: Planned) -> bool:
    """Whether a campaign is in its source status now; if not, that is its outcome.

    A place in the work limit is held on entry; it is given back while the state is read, and for
    good if not.
    """
    source = COURSES[context.action].source
    with context.dispatcher.work_limit.given_back_on_failure():
        known = await known_campaign(context, planned.ref)
    perhaps_sent = known is not None and was_perhaps_sent(context, known)
    is_seen = planned.before is source and planned.ref.vdn_id not in context.unseen_vdns
    if is_seen and not perhaps_sent:
        return True
    context.dispatcher.work_limit.release()
    try:
        seen = await read_state(context, planned.ref)
    except StoppedError:
        return False
    if isinstance(seen, Verdict):
        await context.complete(_unread(context, planned, seen, perhaps_sent=perhaps_sent))
    elif known is not None and perhaps_sent:
        await context.complete(perhaps_sent_record(context, known, seen))
    elif seen.status is not source:
        history = known.history if known else History()
        decision = decide_seen(context.action, history, seen.status, Evidence.READ)
        standing = standing_of(context, decision)
        await context.complete(
            look_record(context, planned.seq, decision, seen, "", standing=standing)
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
    error = f"its state could not be read, so nothing was sent to it: {verdict.reason}"
    return unseen_record(context, planned, decision, Standing.FINAL, error)


# -- look and pause ---------------------------------------------------------------------------


async def _look_at_all(
    context: RunContext, ready: asyncio.Queue[VdnCount | None], *, looks: bool
) -> None:
    async def looker(counts: Iterator[VdnCount]) -> None:
        for count in counts:
            if looks:
                await _look_at(context, count)
            await ready.put(count)

    try:
        open_counts = await context.journal.open_vdn_counts()
        context.access.sizes.update(open_counts)
        context.progress.campaigns = sum(count.campaigns for count in open_counts)
        counts = iter(open_counts)
        async with asyncio.TaskGroup() as lookers:
            for _ in range(_LOOKS_ABREAST):
                lookers.create_task(looker(counts))
    except* StoppedError:
        context.events.debug("look.cancelled")
    finally:
        await ready.put(None)


async def _look_at(context: RunContext, count: VdnCount) -> None:
    problem = await look_first(context, count)
    if problem:
        context.unseen_vdns.add(count.vdn_id)
        context.progress.notice = f"VDN {count.vdn_id} could not be looked at: {problem}"
        context.events.warning("look.failed", vdn_id=count.vdn_id, reason=problem)


async def _from_ready(
    context: RunContext, ready: asyncio.Queue[VdnCount | None], checks: _Checks
) -> AsyncIterator[Planned]:
    while (count := await ready.get()) is not None:
        context.progress.phase = _PHASES[context.action]
        vdn_id, after = count.vdn_id, 0
        while chunk := await context.journal.pending(vdn_id=vdn_id, after=after, limit=_CHUNK):
            if context.stopping.is_stopping or vdn_id in context.access.closed:
                break
            for planned in chunk:
                checks.handed_out(planned)
                yield planned
            after = chunk[-1].seq
        checks.fed(count)


async def _undecided(context: RunContext, standing: Standing) -> AsyncIterator[Planned]:
    after = 0
    while chunk := await context.journal.undecided(standing, after=after, limit=_CHUNK):
        for planned in chunk:
            yield planned
        after = chunk[-1].seq
