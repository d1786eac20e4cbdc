"""What the engine does with a part of a run that this process has claimed.

Rule 1: nothing leaves unless our lease still stands by our own clock: what was taken over while we
        were frozen is sent nothing more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import psycopg

from orchestrator.engine.begin import with_server_of
from orchestrator.engine.bulk import look_only, run_bulk, verify_only
from orchestrator.engine.pausing_all import Course, next_course
from orchestrator.engine.pool import WorkLimit
from orchestrator.engine.run import Environment, RunSpec, work_on_record
from orchestrator.engine.stop import Stopping
from orchestrator.errors import RefusedError
from orchestrator.model import Action
from orchestrator.policy.decide import Decision, Outcome, decide_unseen
from orchestrator.policy.slices import Ask
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import Ended
from orchestrator.settings.load import Settings, as_emergency
from orchestrator.store import OutcomeRecord, Standing, Store
from orchestrator.store.cluster_runs import end_run
from orchestrator.store.database import Kept, failure_of
from orchestrator.store.pace import Giver, Share, SharedPace
from orchestrator.store.postgres import PostgresJournal, open_part
from orchestrator.store.transfer import EMERGENCY_LO, Part, Step

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.engine.context import RunContext
    from orchestrator.engine.dispatcher import Dispatcher
    from orchestrator.settings.secret import Secret

P = ParamSpec("P")
T = TypeVar("T")

#: nothing leaves in the last so many seconds of a lease
_LEASE_MARGIN_S = 0.5
#: seconds until the same trouble is said again
_SAID_AGAIN_S = 60.0


class Desk:
    """The connection over which a worker claims, renews and hands back."""

    def __init__(self, url: Secret) -> None:
        self._kept = Kept(url)
        self._turn = asyncio.Lock()

    async def do(
        self,
        operation: Callable[Concatenate[psycopg.Connection[Any], P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do something with the database, beside the loop.

        Raises:
            StorageError: it is away.
        """
        async with self._turn:
            try:
                return await asyncio.to_thread(
                    self._kept.do, lambda connection: operation(connection, *args, **kwargs)
                )
            except psycopg.Error as error:
                raise failure_of(error) from error

    async def aclose(self) -> None:
        """Let go of it."""
        async with self._turn:
            self._kept.close()


@dataclass(slots=True)
class Held:
    """A chunk at work."""

    part: Part
    #: until when the lease stands, by our own clock
    until_s: float
    #: lets the engine finish what is in flight
    stopping: Stopping = field(default_factory=Stopping)
    journal: PostgresJournal | None = None
    work_limit: WorkLimit | None = None

    def give_up(self) -> None:
        """Wait for the database no longer."""
        if self.journal is not None:
            self.journal.given_up.set()


class PartWork:
    """A process of the cluster at work on parts, whoever decides which."""

    def __init__(self, url: Secret, settings: Settings, environment: Environment) -> None:
        """Nothing is connected yet; `settings` say how many requests may be in flight."""
        self._url = url
        self._settings = settings
        self._environment = environment
        self._clock = environment.clock
        self._desk = Desk(url)
        self._giver = Giver(url, settings.server.base_url)
        self._shares: dict[Ask, Share] = {}
        self._work_limit = WorkLimit(settings.pace.concurrency, is_paced=lambda: False)
        #: event → when it was last said
        self._said_s: dict[str, float] = {}

    async def _close(self) -> None:
        for share in self._shares.values():
            share.close()
        await self._giver.close()
        await self._desk.aclose()

    async def _work_on(self, held: Held) -> Ended:
        """Let the engine work on a chunk."""
        concurrency = self._settings.pace.concurrency
        held.journal = journal = await asyncio.to_thread(
            open_part, self._url, held.part, concurrency=concurrency
        )
        try:
            record = journal.record()
            settings = with_server_of(self._settings, record)
            pace = replace(settings.pace, rate_per_s=record.rate_per_s)
            settings = replace(settings, pace=pace)
            environment = self._environment_of(held)
            if held.part.lo == EMERGENCY_LO:
                return await self._stop_all(held, journal, settings, environment)
            spec = RunSpec(
                kind=RunKind.PAUSE,
                settings=settings,
                journal=journal,
                directory=None,
            )
            work = _work_of(held.part)
        except BaseException:
            journal.close()
            raise

        store = journal.start(keep_going=False)
        try:
            ended = await work_on_record(environment, spec, store, work)
            if ended is Ended.DENIED and not held.stopping.is_stopping:
                await _call_denied(store, held, at_ms=self._clock.wall_ms())
        finally:
            await store.close()
        return ended

    def _environment_of(self, held: Held) -> Environment:
        """What the engine needs around a part of ours."""
        around = self._environment
        return Environment(
            clock=around.clock,
            events=around.events,
            stopping=held.stopping,
            transport=around.transport,
            host=around.host,
            shared_rate=lambda dispatcher: self._share(dispatcher, held),
        )

    async def _stop_all(
        self, held: Held, journal: PostgresJournal, settings: Settings, environment: Environment
    ) -> Ended:
        """Work on an emergency; nobody is asked anything by a worker."""
        try:
            course = self._emergency(held, journal, settings, environment)
        except RefusedError as error:
            journal.close()
            await self._desk.do(end_run, held.part.run, Ended.KILLED, why=str(error))
            return Ended.KILLED
        if held.part.epoch > 1:
            run_id = journal.record().run_id
            self._environment.events.warning("cluster.emergency_taken", run_id=run_id)
        store = journal.start(keep_going=False)
        try:
            return await course.work_in_cluster(store)
        finally:
            await store.close()

    def _emergency(
        self, held: Held, journal: PostgresJournal, settings: Settings, environment: Environment
    ) -> Course:
        pace = replace(settings.pace, concurrency=journal.record().concurrency)
        settings = as_emergency(replace(settings, pace=pace))
        return next_course(environment, settings, journal, continued=held.part.epoch > 1)

    def _share(self, dispatcher: Dispatcher, held: Held) -> SharedPace:
        is_emergency = held.part.lo == EMERGENCY_LO
        if not is_emergency:  # which waits for no place of a list
            dispatcher.work_limit = held.work_limit = WorkLimit(
                dispatcher.concurrency,
                is_paced=lambda: dispatcher.departures.waiting > 0,
                beside=self._work_limit,
            )
        own = Ask(dispatcher.pacer.ceiling_per_s, emergency=is_emergency, wanted=1)
        share = self._shares.setdefault(
            own, Share(self._giver, self._clock, own, warn=self._no_rate)
        )
        pace = SharedPace(share)
        pace.waiting = lambda: dispatcher.departures.waiting
        pace.wake = dispatcher.alarm.ring
        pace.may_send = lambda now_s: now_s < held.until_s - _LEASE_MARGIN_S
        return pace

    def _no_rate(self, reason: str) -> None:
        if self._is_news("rate"):
            self._environment.events.warning("rate.not_given", reason=reason)

    def _is_news(self, event: str) -> bool:
        """Whether it has not been said in the last minute: all chunks meet the same trouble."""
        now_s = self._clock.now_s()
        is_news = now_s - self._said_s.get(event, -_SAID_AGAIN_S) >= _SAID_AGAIN_S
        if is_news:
            self._said_s[event] = now_s
        return is_news


def _work_of(part: Part) -> Callable[[RunContext], Awaitable[None]]:
    """What is to be done with a part; what an earlier worker left is gone through as a whole."""
    continued = part.epoch > 1
    if part.step is Step.LOOK:
        return look_only
    if part.step is Step.VERIFY and not continued:
        return verify_only
    is_part = part.is_of_many and part.step is Step.SEND
    return partial(run_bulk, continued=continued, is_part=is_part)


async def _call_denied(store: Store, held: Held, *, at_ms: int) -> None:
    """Give what is left of a VDN that the server keeps from us an outcome, as a report would."""
    assert held.part.vdn_id is not None
    left = [one for one in await store.known_of_vdn(held.part.vdn_id) if one.outcome is None]
    await store.complete(
        [
            OutcomeRecord(
                one.seq,
                one.ref,
                decide_unseen(Action.PAUSE, one.history)
                if one.history.attempts
                else Decision(Outcome.DENIED),
                Standing.RETRY_LATER,
                at_ms,
                error=f"access to its VDN is refused: {held.stopping.why}",
            )
            for one in left
        ]
    )
