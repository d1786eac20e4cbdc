"""`pause-all` as a run: the question, the emergency, its proof and its record.

Question and listing do not wait for each other. Without a disk the journal is in memory, the rows
go to the fallback stream, and the exit code says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.engine.begin import check_wanted
from orchestrator.engine.emergency import Emergency
from orchestrator.engine.emergency_place import open_unfinished, place
from orchestrator.engine.hold import hold, hold_and_count
from orchestrator.engine.options import EMERGENCY_DEADLINE_S, ContinueOptions
from orchestrator.engine.run import RunSpec, follow_cluster, live
from orchestrator.engine.vdns import Vdn
from orchestrator.errors import OrchestratorError, RefusedError, StorageError
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import SIGNAL_EXIT_CODES, Ended
from orchestrator.store.registry import forget

if TYPE_CHECKING:
    from orchestrator.engine.begin import Opened
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.options import PauseAllOptions
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.engine.silence import CallCounter
    from orchestrator.reports.summary import VdnProof
    from orchestrator.settings.load import Settings
    from orchestrator.store import RunRecord
    from orchestrator.store.run_dir import RunDirectory


#: seconds in which a server that answers says what runs; the question does not wait longer
_KNOWN_SOON_S = 2.0
_LOOK_EVERY_S = 0.02
#: seconds after which an emergency is announced whose first PUT has had no answer yet
_ANNOUNCED_BY_S = 5.0


@dataclass(slots=True)
class Findings:
    """What an operator sees before confirming; grows while the listing goes on."""

    server: str
    vdns: tuple[int, ...]
    #: one per VDN: how many run, the first names, the time needed
    lines: list[str]


#: asks the operator; True: go; a RefusedError says why not
Confirm = Callable[[Findings], Awaitable[bool]]


@dataclass(slots=True)
class Course:
    """One process of a pause-all, from its parts to its proof."""

    settings: Settings
    environment: Environment
    record: RunRecord
    confirm: Confirm | None
    #: another process has had it before, and has told that it has begun
    continued: bool = False
    emergency: Emergency | None = None
    #: of the calls in progress
    counter: CallCounter | None = None
    #: why the operator has not confirmed
    refusal: RefusedError | None = None
    #: tell people that it has begun, and that it is quiet
    _telling: list[asyncio.Task[None]] = field(default_factory=list)
    _is_announced: bool = False

    async def work(self, context: RunContext) -> None:
        vdns = {one: Vdn(one, context) for one in self.record.vdns}
        emergency = self.emergency = Emergency(context, vdns, after_quiet=self._after_quiet)
        if self.continued:
            for vdn in vdns.values():
                vdn.remember(await context.journal.known_of_vdn(vdn.vdn_id))
        if self.record.dry_run:
            await emergency.list_only()
            return
        if self.confirm is None:
            self._go(emergency)
            await emergency.run()
            return
        await self._ask(context, emergency, self.confirm)

    def _go(self, emergency: Emergency) -> None:
        emergency.confirm()
        if self.environment.announce is not None:
            self._telling.append(asyncio.create_task(self._announce_begun(emergency)))

    async def _announce_begun(self, emergency: Emergency) -> None:
        """Say that it has begun, when its first PUT was answered or a while is over."""
        clock = emergency.context.clock
        until_s = clock.now_s() + _ANNOUNCED_BY_S
        while not (
            self._is_announced
            or clock.now_s() >= until_s
            or any(vdn.puts for vdn in emergency.vdns.values())
        ):
            await emergency.alarm.sleep(until_s - clock.now_s())
        self._announce_start()

    def _announce_start(self) -> None:
        is_news, self._is_announced = not (self.continued or self._is_announced), True
        if is_news:
            self.environment.announce_start(self.record)

    async def _announce_quiet(self, context: RunContext) -> None:
        from orchestrator.engine.results import proven  # noqa: PLC0415 - few want it

        assert self.environment.announce is not None
        proofs, at_ms = self._proofs(), context.clock.wall_ms()
        found = await context.journal.read(lambda saved: proven(saved, proofs, at_ms))
        self.environment.announce(found)

    async def _after_quiet(self) -> None:
        """Tell people, hold, and count calls where CC-CMS is configured."""
        assert self.emergency is not None
        if self.environment.announce is not None:
            self._announce_start()
            telling = self._announce_quiet(self.emergency.context)
            self._telling.append(asyncio.create_task(telling))
        if self.settings.cms.base_url:
            from orchestrator.engine.silence import CallCounter  # noqa: PLC0415 - few have it

            self.counter = CallCounter(self.emergency, self.environment, self.settings)
            await hold_and_count(self.emergency, self.record, self.counter, self._note_proof)
        elif self.record.hold_s:
            await hold(self.emergency, self.record)

    async def _ask(self, context: RunContext, emergency: Emergency, confirm: Confirm) -> None:
        """List and prove while the operator types; nothing is paused before the answer."""
        running = asyncio.create_task(emergency.run())
        asking = asyncio.create_task(self._answer(context, emergency, confirm))
        stopped = asyncio.create_task(context.stopping.sleep(None))
        await asyncio.wait({running, asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done() and not context.stopping.is_stopping:
            self.refusal = asking.result()
            if self.refusal is None:
                self._go(emergency)
                try:  # handed in before the first intent
                    await context.journal.note(confirmed=True)
                except StorageError as error:  # in a cluster: it has been taken from us meanwhile
                    context.stopping.stop(Ended.STORAGE, str(error))
            else:
                context.stopping.stop(Ended.SIGNAL_INT, "not confirmed")
        asking.cancel()
        stopped.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await running

    async def _answer(
        self, context: RunContext, emergency: Emergency, confirm: Confirm
    ) -> RefusedError | None:
        """Ask once, as soon as it is known what runs; where nothing runs, only when that changes.

        Returns:
            Why not, None when the operator has confirmed.
        """
        until_s = context.clock.now_s() + _KNOWN_SOON_S
        vdns = emergency.vdns.values()
        while context.clock.now_s() < until_s and not all(vdn.is_told for vdn in vdns):
            await context.clock.sleep(_LOOK_EVERY_S)
        findings = Findings(self.settings.server.title, self.record.vdns, emergency.findings)
        unknown = [f"VDN {vdn.vdn_id}: not listed yet" for vdn in vdns if not vdn.is_told]
        emergency.findings += unknown
        if not unknown and not emergency.wanted.is_set():
            await emergency.wanted.wait()
            emergency.findings += [
                f"VDN {vdn.vdn_id}: campaign {vdn.waiting[0].ref.campaign_id} has started since"
                for vdn in vdns
                if vdn.waiting
            ]
        try:
            if await confirm(findings):
                return None
        except RefusedError as error:
            return error
        return RefusedError(
            "not confirmed. Nothing was sent; campaigns are still dialling.",
            advice="type the VDN number, or add --yes",
        )

    async def conclude(self, context: RunContext) -> None:
        """Put the proofs on record."""
        if self.emergency is None:
            return
        if self._telling:
            self._announce_start()
            context.dispatcher.alarm.ring()
            # what fails in it is told by the run's end
            await asyncio.gather(*self._telling, return_exceptions=True)
        for vdn in self.emergency.vdns.values():
            await vdn.note_still_running()
        await self._note_proof()
        calls = self.counter.record() if self.counter else None
        if calls is not None:
            await context.journal.note(calls=calls)

    def _proofs(self) -> tuple[VdnProof, ...]:
        assert self.emergency is not None
        return tuple(vdn.on_record(self.record.hold_s) for vdn in self.emergency.vdns.values())

    async def _note_proof(self) -> None:
        assert self.emergency is not None
        await self.emergency.context.journal.note(proofs=self._proofs())


async def pause_all(
    settings: Settings,
    options: PauseAllOptions,
    environment: Environment,
    *,
    confirm: Confirm | None,
) -> RunResult:
    """Pause everything that runs in some VDNs and prove that they are quiet.

    Args:
        settings: loaded with the defaults of an emergency.
        options: which VDNs, for how long.
        environment: the process around the run.
        confirm: asks the operator; None: confirmed already.

    Raises:
        OrchestratorError: it could not begin, or was not confirmed; nothing was sent.
    """
    if options.dry_run:
        options = replace(options, cluster=False)
    asks = confirm is not None and not options.dry_run
    if options.run_dir is not None and not options.dry_run:
        unfinished = await open_unfinished(settings, options, environment)
        if unfinished is not None:
            return await _take_up(unfinished, settings, options, environment, confirm)
    directory, journal, problem = place(settings, options, environment, asks=asks)
    if journal.record().cluster:
        try:
            return await follow_cluster(environment, journal, directory, confirm)
        finally:
            if directory is not None:
                directory.release()
    course = Course(settings, environment, journal.record(), confirm)
    spec = RunSpec(
        kind=RunKind.PAUSE_ALL,
        settings=settings,
        journal=journal,
        directory=directory,
        deadline_s=options.deadline_s,
        storage_problem=problem,
    )
    try:
        result = await live(environment, spec, course.work, before_report=course.conclude)
        _refuse_unconfirmed(course, result, directory, environment)
    finally:
        if directory is not None:
            directory.release()
    return result


def _refuse_unconfirmed(
    course: Course, result: RunResult, directory: RunDirectory | None, environment: Environment
) -> None:
    """Of a run that nobody has confirmed nothing stays: there is nothing to continue.

    Raises:
        RefusedError: the operator has not confirmed it.
        NotBegunError: a signal came before the answer.
    """
    facts = result.facts
    is_cut_short = facts.ended in SIGNAL_EXIT_CODES and not (facts.confirmed or facts.quiet)
    if course.refusal is None and not is_cut_short:
        return
    if directory is not None:
        directory.discard()
        with suppress(OrchestratorError):
            forget(course.settings.state_dir, facts.run_id)
    if course.refusal is not None:
        raise course.refusal
    check_wanted(environment.stopping, otherwise="campaigns are still dialling")


async def _take_up(
    opened: Opened,
    settings: Settings,
    options: PauseAllOptions,
    environment: Environment,
    confirm: Confirm | None,
) -> RunResult:
    """Continue the unfinished run in --run-dir; who would be asked about a new one is asked."""
    from orchestrator.engine.continuing import continue_held  # noqa: PLC0415 - a circle

    again = ContinueOptions(
        rate_per_s=settings.pace.rate_per_s,
        concurrency=settings.pace.concurrency,
        deadline_s=options.deadline_s,
    )
    try:
        return await continue_held(opened, settings, again, environment, confirm=confirm)
    finally:
        opened.directory.release()


async def continue_pause_all(
    opened: Opened,
    settings: Settings,
    options: ContinueOptions,
    environment: Environment,
    *,
    confirm: Confirm | None = None,
) -> RunResult:
    """One more process for an interrupted pause-all.

    Raises:
        RefusedError: nobody has confirmed it, now or when it began.
    """
    record = opened.record
    if not record.may_change:
        opened.journal.close()
        raise never_confirmed(record)
    course = Course(settings, environment, record, confirm, continued=True)
    spec = RunSpec(
        kind=RunKind.PAUSE_ALL,
        settings=settings,
        journal=opened.journal,
        directory=opened.directory,
        deadline_s=options.deadline_s or EMERGENCY_DEADLINE_S,
    )
    result = await live(environment, spec, course.work, before_report=course.conclude)
    if course.refusal is not None:  # the run stays, unfinished as it was
        raise course.refusal
    return result


def never_confirmed(record: RunRecord) -> RefusedError:
    """Make the error for a run that nobody may go on with."""
    vdns = " ".join(f"--vdn {one}" for one in record.vdns)
    return RefusedError(
        f"run {record.run_id} was never confirmed: nobody had typed the VDN number."
        " Nothing was sent.",
        advice=f"`orchestrator pause-all {vdns}` asks again",
    )
