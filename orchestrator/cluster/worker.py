"""One worker: it hears of chunks, claims them, and lets the engine work on each as on a run.

Rule 1: a worker that is told to end finishes what is in flight and hands the rest back.
Rule 2: what is not renewed is taken from whoever had it, and what nobody has and nobody will be
        rung for is rung for again, by whoever sees it first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from asyncio import FIRST_COMPLETED
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.cluster.part_work import Held, PartWork
from orchestrator.cluster.rings import TASK, listen, make_app, ring
from orchestrator.engine.stop import Alarm, Stopping
from orchestrator.errors import JournalMismatchError, OrchestratorError
from orchestrator.policy.leases import LEASE_S, RENEW_S, Watch
from orchestrator.reports.summary import Ended
from orchestrator.store.chunks import (
    AFTER_FAILURE_S,
    claim,
    end_lease,
    finish,
    hand_back,
    leases,
    renew,
    unrung,
)
from orchestrator.store.cluster_runs import Course, courses, end_overdue, end_run
from orchestrator.store.transfer import EMERGENCY_LO, Part

if TYPE_CHECKING:
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings
    from orchestrator.settings.secret import Secret

#: chunks at work at a time, at most
_MOST = 12
#: seconds between two looks whether the chunks at work leave places idle, and how many of them in
#: a row say so before it is true: a chunk that was just opened asks for none yet
_ROOM_S, _ROOM_LOOKS = 0.01, 3
#: seconds between two looks at what nobody has
_RECONCILE_S = 1.0
#: seconds between two looks whether a run that we work on goes on, while its failures count; at
#: least so many pass in any case
_FAILURES_S, _SHORTLY_S = 0.25, 0.02
#: chunks that are rung for again, and leases that are watched, at a time
_RUNG_AT_ONCE, _WATCHED = 500, 64
#: seconds that what is in flight gets at the end; the engine itself takes three of them
_DRAIN_S = 3.5
#: seconds after which a process that was told to end has ended
_GONE_S = 4.8
#: after these a chunk has an outcome for each campaign
_DECIDED = frozenset({Ended.FINISHED, Ended.DENIED})
#: what ends an emergency, whoever has it: `continue` goes on with it
_ENDS_AN_EMERGENCY = frozenset({Ended.BUG, Ended.DEADLINE, Ended.DENIED})
#: seconds until an emergency whose work failed is tried again, by whoever comes first
_EMERGENCY_AGAIN_S = 1.0
#: what would end every chunk as it ended this one, with whatever worker
_ENDS_THE_RUN = frozenset({Ended.BUG, Ended.SERVER})
#: what ends a chunk without a fault of its own, so that it need not rest
_UNHURT = frozenset({Ended.SIGNAL_TERM, Ended.SIGNAL_INT, Ended.DEADLINE, Ended.MAX_FAILURES})
#: what keeps this worker from the server as a whole: its keys, a firewall, a certificate
_HOPELESS = frozenset({Ended.CREDENTIALS, Ended.DENIED, Ended.UNTRUSTED})
#: of a worker that ends for one of these reasons; 0 for a signal
_EXIT_CODES = {Ended.CREDENTIALS: 3, Ended.DENIED: 3, Ended.UNTRUSTED: 4, Ended.BUG: 70}


def leave_in_time(stopping: Stopping) -> None:
    """End this process in time once it is told to, whatever still waits for a database.

    Nothing is lost by it: what is on record is in the database, and leases run out.
    """

    def begin() -> None:
        code = _EXIT_CODES.get(stopping.ended, 0)
        timer = threading.Timer(_GONE_S, os._exit, (code,))
        timer.daemon = True
        timer.start()

    stopping.on_stop(begin)


class Worker(PartWork):
    """A worker, from its start to its end."""

    def __init__(self, url: Secret, settings: Settings, environment: Environment) -> None:
        """Nothing is connected yet; the `stopping` of its environment ends the worker."""
        super().__init__(url, settings, environment)
        self.holder = f"{environment.host}:{os.getpid()}:{secrets.token_hex(4)}"
        #: rings when there may be something to ring for
        self._more = Alarm()
        self._held: dict[tuple[int, int], Held] = {}
        #: chunks that are being claimed or worked on; two rings for one may be heard at once
        self._busy: dict[tuple[int, int], asyncio.Task[None]] = {}
        #: emergencies of a server that is not ours: whoever can do it must not wait behind us
        self._foreign: set[int] = set()

    async def run(self) -> None:
        """Work until `stopping` says that it is enough."""
        listening = asyncio.create_task(self._listen())
        watching = asyncio.create_task(self._watch_courses())
        stopped = asyncio.create_task(self._environment.stopping.sleep(None))
        try:
            # the other two end by a bug alone
            ended, _ = await asyncio.wait(
                {stopped, listening, watching}, return_when=FIRST_COMPLETED
            )
            for task in ended - {stopped}:
                # said at once: our time is limited from now on
                where, error = "the worker; it ends", repr(task.exception())
                self._environment.events.error("run.bug", where=where, error=error)
                self._environment.stopping.stop(Ended.BUG, error)
        finally:
            await self._drain()
            for task in (listening, watching, stopped):
                task.cancel()
            await asyncio.wait({listening, watching, stopped})
            await self._close()
        for task in (listening, watching):
            if not task.cancelled():
                task.result()

    async def _drain(self) -> None:
        for held in self._held.values():
            held.stopping.stop(
                Ended.SIGNAL_TERM, self._environment.stopping.why or "the worker ends"
            )
        for limit_s in (_DRAIN_S, 0.5):
            if self._busy:
                await asyncio.wait(self._busy.values(), timeout=limit_s)
            for held in self._held.values():
                held.give_up()

    async def _listen(self) -> None:
        """Hear rings; when Procrastinate gives up on a database that was away, begin anew."""
        # a task group that fails at the very moment loses the cancellation
        while not self._environment.stopping.is_stopping:
            app = make_app(self._url, self._heard)
            try:
                async with app.open_async(), asyncio.TaskGroup() as both:
                    both.create_task(listen(app))
                    both.create_task(self._reconcile(app))
            except* Exception as group:  # noqa: BLE001 - whatever a queue raises: the truth is ours
                if self._is_news("queue"):
                    self._environment.events.warning(
                        "cluster.queue_lost", reason=str(_first(group))
                    )
            await self._clock.sleep(_RECONCILE_S)

    async def _reconcile(self, app: Any) -> None:
        watch = Watch()
        while True:
            held = await self._desk.do(leases, limit=_WATCHED)
            for lease in watch.lapsed(held, now_s=self._clock.now_s()):
                ended = await self._desk.do(end_lease, lease)
                if ended and len(self._busy) < _MOST:
                    self._begin(lease.run, lease.lo)
            found = await self._desk.do(unrung, task=TASK, limit=_RUNG_AT_ONCE)
            for one in found:
                if one.lo == EMERGENCY_LO:  # it waits behind no list
                    self._begin(one.run, one.lo)
            await ring(app, found)
            await self._more.sleep(_RECONCILE_S)

    async def _watch_courses(self) -> None:
        """End runs that are out of time, or of failures; heed the end of those at work here."""
        while True:
            wait_s = _RECONCILE_S
            with contextlib.suppress(OrchestratorError):  # nothing leaves while it is away
                await self._desk.do(end_overdue)
                for course in await self._heed_courses(
                    {one.part.run for one in self._held.values()}
                ):
                    if course.left_s is not None:
                        wait_s = min(wait_s, course.left_s)
                    if course.counts:
                        wait_s = min(wait_s, _FAILURES_S)
            await self._clock.sleep(max(wait_s, _SHORTLY_S))

    async def _heed_courses(self, runs: set[int]) -> list[Course]:
        """Let parts at work here end with their runs; returns the runs that go on."""
        found = await self._desk.do(courses, runs) if runs else []
        for course in found:
            for held in self._held.values():
                if course.ended is not None and held.part.run == course.run:
                    held.stopping.stop(course.ended, course.why)
        return [one for one in found if one.ended is None]

    async def _heard(self, run: int, lo: int) -> None:
        """Begin with a chunk if it is to be had; the next is heard when there is room for it.

        There is when no campaign waits for a place: all of a chunk are at work, or it looks, or
        they wait for a repeat. So a worker has as few chunks as keep it busy, and their
        campaigns share their commits. A queue that breaks off breaks no work off.
        """
        work, idle = self._begin(run, lo), 0
        while work is not None and not work.done() and idle < _ROOM_LOOKS:
            await asyncio.wait({work}, timeout=_ROOM_S)
            idle = idle + 1 if self._has_room_beside(run, lo) else 0

    def _has_room_beside(self, run: int, lo: int) -> bool:
        if (held := self._held.get((run, lo))) is None or len(self._busy) >= _MOST:
            return False
        if held.work_limit is None and lo != EMERGENCY_LO:  # which asks for no place
            return False
        return not self._work_limit.is_waited_for

    def _begin(self, run: int, lo: int) -> asyncio.Task[None] | None:
        is_foreign = lo == EMERGENCY_LO and run in self._foreign
        if is_foreign or (run, lo) in self._busy or self._environment.stopping.is_stopping:
            return None
        work = self._busy[run, lo] = asyncio.create_task(self._take(run, lo))
        work.add_done_callback(lambda _: self._busy.pop((run, lo)))
        return work

    async def _take(self, run: int, lo: int) -> None:
        asked_s = self._clock.now_s()
        try:
            part = await self._desk.do(claim, run, lo, holder=self.holder)
        except OrchestratorError:
            return  # the ring is lost, and will be missed
        if part is not None:
            await self._work_through(part, asked_s)

    async def _work_through(self, part: Part, asked_s: float) -> None:
        """Work on a part that is ours since we asked for it."""
        run, lo = part.run, part.lo
        held = self._held[run, lo] = Held(part, asked_s + LEASE_S)
        if self._environment.stopping.is_stopping:
            held.stopping.stop(Ended.SIGNAL_TERM, self._environment.stopping.why)
        renewing = asyncio.create_task(self._renew(held))
        renewing.add_done_callback(partial(self._end_on_bug, held))
        after_s = AFTER_FAILURE_S if lo != EMERGENCY_LO else _EMERGENCY_AGAIN_S
        try:
            ended = await self._work_on(held)
            is_decided = ended in (_DECIDED if lo != EMERGENCY_LO else {Ended.FINISHED})
            if is_decided and await self._desk.do(finish, part, holder=self.holder):
                self._more.ring()  # another part may have its turn now
                return
            await self._heed(held, ended)
            if ended in _UNHURT:
                after_s = 0.0
        except Exception as error:  # noqa: BLE001 - one chunk's bug must not stop the others
            if isinstance(error, JournalMismatchError):
                self._foreign.add(run)
            await self._note_bug(run, error)
        finally:
            renewing.cancel()
            if held.work_limit is not None:
                held.work_limit.close()
            del self._held[run, lo]
        with contextlib.suppress(OrchestratorError):  # its lease runs out by itself
            await self._desk.do(hand_back, part, holder=self.holder, after_s=after_s)

    async def _heed(self, held: Held, ended: Ended) -> None:
        """What the end of a chunk means for its run, and for this worker."""
        ends = _ENDS_THE_RUN if held.part.lo != EMERGENCY_LO else _ENDS_AN_EMERGENCY
        if ended in ends:
            why = held.stopping.why or "a worker met a bug; its log says which"
            await self._desk.do(end_run, held.part.run, ended, why=why)
        if held.stopping.ended in _HOPELESS:
            # the next chunk would end as this one did, and a key can be locked
            self._environment.stopping.stop(ended, held.stopping.why)

    async def _note_bug(self, run: int, error: Exception) -> None:
        if isinstance(error, OrchestratorError):
            if self._is_news("chunk"):
                self._environment.events.warning("cluster.chunk_failed", reason=str(error))
            return
        why = f"a bug: {type(error).__name__}: {error}"
        self._environment.events.error("run.bug", where="a chunk; its run ends", error=why)
        with contextlib.suppress(OrchestratorError):
            await self._desk.do(end_run, run, Ended.BUG, why=why)

    def _end_on_bug(self, held: Held, renewing: asyncio.Task[None]) -> None:
        """What is not renewed any more would wait for ever: nothing may leave."""
        if not renewing.cancelled() and (error := renewing.exception()) is not None:
            where, why = "renewing a chunk; its run ends", f"a bug: {error!r}"
            self._environment.events.error("run.bug", where=where, error=why)
            held.stopping.stop(Ended.BUG, why)

    async def _renew(self, held: Held) -> None:
        while True:
            await self._clock.sleep(RENEW_S)
            asked_s = self._clock.now_s()
            # while the database is away nothing leaves once the lease has run out by our own clock
            with contextlib.suppress(OrchestratorError):
                if not await self._desk.do(renew, held.part, holder=self.holder):
                    held.until_s = -1.0
                    held.stopping.stop(Ended.STORAGE, "another worker has it")
                    return
                held.until_s = asked_s + LEASE_S
                # nobody may watch over all that is held here
                await self._heed_courses({held.part.run})


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    """What one of several that came together says."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
