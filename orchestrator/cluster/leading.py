"""An emergency of the cluster, in the process where it was given: it works on it itself.

Rule 1: it waits for no worker. It has the run from the beginning, asks the operator, pauses and
        proves as on one machine; workers are who goes on when it dies, and until then do nothing.
Rule 2: what has gone to a worker is followed, and taken back when that one dies.
Rule 3: a stop here ends the run, whoever has it, and says so to the database before anything else:
        nobody goes on with what an operator has ended. Who has only followed leaves it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.cluster.worker import Worker
from orchestrator.engine.pausing_all import Confirm, Course, next_course
from orchestrator.errors import NotBegunError, OrchestratorError, RefusedError
from orchestrator.policy.decide import Outcome
from orchestrator.policy.leases import Watch
from orchestrator.reports.summary import SIGNAL_EXIT_CODES, Ended
from orchestrator.store.chunks import end_lease, leases
from orchestrator.store.cluster_runs import end_run, is_over, outcomes
from orchestrator.store.postgres import PostgresJournal, emergency_part
from orchestrator.store.transfer import EMERGENCY_LO

if TYPE_CHECKING:
    from orchestrator.cluster.part_work import Held
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings
    from orchestrator.settings.secret import Secret

#: seconds between two looks at who has it and how far it is
_LOOK_S = 0.5
_FOLLOWING = "a worker of the cluster works"
#: seconds that settling takes after a stop while the database answers, and while it does not
_SETTLED_S, _PATIENCE_S = 8.0, 3.5


class Leader(Worker):
    """The worker of one emergency, for the person who has given it."""

    def __init__(
        self,
        url: Secret,
        settings: Settings,
        environment: Environment,
        *,
        confirm: Confirm | None = None,
    ) -> None:
        """`confirm` asks the operator; None: confirmed already."""
        super().__init__(url, settings, environment)
        self._confirm = confirm
        self._course: Course | None = None
        #: it was given here, or we have worked on it
        self._is_ours = False

    @property
    def refusal(self) -> RefusedError | None:
        """Why the operator has not confirmed."""
        return self._course.refusal if self._course else None

    async def lead(self, run: int, run_id: str, *, ours_since_s: float | None) -> None:
        """Work on it until it is over, or follow whoever has it.

        Args:
            run: its number.
            run_id: for people.
            ours_since_s: when we began to add it in our own name; None: it was there.

        Raises:
            NotBegunError: a stop came while the database was away: a worker may go on with it.
        """
        stopping, watch = self._environment.stopping, Watch()
        stopping.on_stop(self._end_what_is_held)
        if ours_since_s is None:
            work = self._begin(run, EMERGENCY_LO)
        else:
            self._is_ours = True
            work = asyncio.create_task(self._work_through(emergency_part(run), ours_since_s))
        try:
            while True:
                if work is not None:
                    await self._while_at_work(run, work)
                if await self._is_over(run, run_id, watch):
                    return
                await (self._clock if stopping.is_stopping else stopping).sleep(_LOOK_S)
                work = self._begin(run, EMERGENCY_LO)
        finally:
            await self._close()

    async def _while_at_work(self, run: int, work: asyncio.Task[None]) -> None:
        """Wait for what we have; at a stop not for longer than settling takes."""
        told = asyncio.create_task(self._environment.stopping.sleep(None))
        await asyncio.wait({work, told}, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        if work.done() or not self._is_ours:
            return
        with contextlib.suppress(OrchestratorError):  # it is tried again, and then it is said
            await self._end_run(run)
        await asyncio.wait({work}, timeout=_PATIENCE_S)
        for held in self._held.values():
            held.give_up()
        await asyncio.wait({work}, timeout=_SETTLED_S - _PATIENCE_S)

    async def _is_over(self, run: int, run_id: str, watch: Watch) -> bool:
        """Look whether anybody still has it, and how far it is; a dead one's lease is ended."""
        stopping, progress = self._environment.stopping, self._environment.progress
        if stopping.is_stopping and not self._is_ours:
            raise NotBegunError(
                f"{stopping.why}: run {run_id} is not followed here any more; whoever has it goes"
                " on with it",
                exit_code=SIGNAL_EXIT_CODES.get(stopping.ended, 1),
                advice=f"`orchestrator stop {run_id}` ends it",
            )
        try:
            if stopping.is_stopping:
                await self._end_run(run)
            if await self._desk.do(is_over, run):
                return True
            for lease in watch.lapsed(
                await self._desk.do(leases, limit=1, run=run), now_s=self._clock.now_s()
            ):
                await self._desk.do(end_lease, lease)
            counts = await self._desk.do(outcomes, run)
        except OrchestratorError as error:
            if stopping.is_stopping:
                raise NotBegunError(
                    f"{stopping.why}: run {run_id} is not worked on here any more, but the"
                    f" cluster's database could not be told, and a worker may go on with it"
                    f" ({error})",
                    exit_code=SIGNAL_EXIT_CODES.get(stopping.ended, 1),
                    advice=f"`orchestrator stop {run_id}` ends it, once the database is back",
                ) from error
            if self._is_news("away"):
                self._environment.events.warning("cluster.away", reason=str(error))
            return False
        if progress.phase != _FOLLOWING:
            self._environment.events.warning("cluster.emergency_followed", run_id=run_id)
        progress.phase = _FOLLOWING
        progress.outcomes.clear()
        progress.outcomes.update({Outcome(one): number for one, number in counts.items()})
        return False

    async def _end_run(self, run: int) -> None:
        stopping = self._environment.stopping
        await self._desk.do(end_run, run, stopping.ended, why=stopping.why)

    def _end_what_is_held(self) -> None:
        stopping = self._environment.stopping
        for held in self._held.values():
            held.stopping.stop(stopping.ended, stopping.why)

    async def _heed(self, held: Held, ended: Ended) -> None:
        """What ends our work ends the run, unless another has it by now."""
        if ended not in {Ended.FINISHED, Ended.STORAGE}:
            why = held.stopping.why or "a bug; the log says which"
            await self._desk.do(end_run, held.part.run, ended, why=why)

    def _environment_of(self, held: Held) -> Environment:
        environment = super()._environment_of(held)
        environment.progress = self._environment.progress
        environment.announce = self._environment.announce
        return environment

    def _emergency(
        self, held: Held, journal: PostgresJournal, settings: Settings, environment: Environment
    ) -> Course:
        continued = held.part.epoch > 1
        self._is_ours = True
        confirm = None if continued else self._confirm
        self._course = next_course(
            environment, settings, journal, confirm=confirm, continued=continued
        )
        return self._course
