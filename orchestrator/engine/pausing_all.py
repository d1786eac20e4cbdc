"""`pause-all` as a run: the question, the emergency, its proof and its record.

Question and listing do not wait for each other. Without a disk the journal is in memory, the rows
go to the fallback stream, and the exit code says so. In a cluster one worker has all VDNs at a
time, so there is one mind that knows which PUTs are pending; whoever takes it over does what
`continue` does: it looks at what was left in doubt, and passes anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.engine.begin import Opened, check_wanted
from orchestrator.engine.emergency import Emergency, hold, hold_and_count
from orchestrator.engine.emergency_place import open_unfinished, place
from orchestrator.engine.options import EMERGENCY_DEADLINE_S, ContinueOptions, PauseAllOptions
from orchestrator.engine.run import Environment, RunSpec, follow_cluster, live, work_on_record
from orchestrator.engine.vdns import Vdn
from orchestrator.errors import OrchestratorError, RefusedError, StorageError
from orchestrator.reports.rows import RunKind, Tally
from orchestrator.reports.summary import SIGNAL_EXIT_CODES, Ended, VdnProof, exit_code, run_verdict
from orchestrator.settings.load import STILL_DIALLING, Settings
from orchestrator.store.registry import forget

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.silence import CallCounter
    from orchestrator.store import Journal, RunRecord, Store
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

    environment: Environment
    spec: RunSpec
    #: asks the operator; None: confirmed already
    confirm: Confirm | None
    #: another process has had it before, and has told that it has begun
    continued: bool = False
    record: RunRecord = field(init=False)
    emergency: Emergency | None = None
    #: of the calls in progress
    counter: CallCounter | None = None
    #: why the operator has not confirmed
    refusal: RefusedError | None = None
    #: tell people that it has begun, and that it is quiet
    _telling: list[asyncio.Task[None]] = field(default_factory=list)
    _is_announced: bool = False

    def __post_init__(self) -> None:
        self.record = self.spec.journal.record()

    async def live(self) -> RunResult:
        """Be this process, from its beginning to its report."""
        return await live(self.environment, self.spec, self.work, before_report=self.conclude)

    async def work_in_cluster(self, store: Store) -> Ended:
        """Be this process, with verdict and exit code on record; returns why it ended.

        Raises:
            StorageError: they cannot be put on record.
        """
        from orchestrator.engine.results import read_facts  # noqa: PLC0415 - at the end

        ended = await work_on_record(
            self.environment, self.spec, store, self.work, before_report=self.conclude
        )
        facts = await store.read(lambda saved: read_facts(saved, None))
        rows = Tally()  # the exit code of an emergency does not depend on them
        await store.note(verdict=run_verdict(facts, rows).value, exit_code=exit_code(facts, rows))
        return ended

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
        if self.spec.settings.cms.base_url:
            from orchestrator.engine.silence import CallCounter  # noqa: PLC0415 - few have it

            self.counter = CallCounter(self.emergency, self.environment, self.spec.settings)
            await hold_and_count(self.emergency, self.record, self.counter, self._note_proof)
        elif self.record.hold_s:
            await hold(self.emergency, self.record)

    async def _ask(self, context: RunContext, emergency: Emergency, confirm: Confirm) -> None:
        """List and prove while the operator types; nothing is paused before the answer."""
        running = asyncio.create_task(emergency.run())
        asking = asyncio.create_task(self._answer(context, emergency, confirm))
        context.stopping.on_stop(asking.cancel)
        await asyncio.wait({running, asking}, return_when=asyncio.FIRST_COMPLETED)
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
        findings = Findings(self.spec.settings.server.title, self.record.vdns, emergency.findings)
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
            from orchestrator.engine.continuing import continue_held  # noqa: PLC0415 - a circle

            pace = settings.pace
            again = ContinueOptions(pace.rate_per_s, pace.concurrency, options.deadline_s)
            try:
                # who would be asked about a new one is asked
                return await continue_held(
                    unfinished, settings, again, environment, confirm=confirm
                )
            finally:
                unfinished.directory.release()
    directory, journal, problem = place(settings, options, environment, asks=asks)
    if journal.record().cluster:
        try:
            return await follow_cluster(environment, journal, directory, confirm)
        finally:
            if directory is not None:
                directory.release()
    spec = RunSpec(
        RunKind.PAUSE_ALL, settings, journal, directory, options.deadline_s, storage_problem=problem
    )
    course = Course(environment, spec, confirm)
    try:
        result = await course.live()
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
            forget(course.spec.settings.state_dir, facts.run_id)
    if course.refusal is not None:
        raise course.refusal
    check_wanted(environment.stopping, otherwise="campaigns are still dialling")


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
    try:
        course = next_course(environment, settings, opened.journal, opened.directory, confirm)
    except RefusedError:
        opened.journal.close()
        raise
    if options.deadline_s:
        course.spec = course.spec._replace(deadline_s=options.deadline_s)
    result = await course.live()
    if course.refusal is not None:  # the run stays, unfinished as it was
        raise course.refusal
    return result


def next_course(  # noqa: PLR0913 - as a run's description
    environment: Environment,
    settings: Settings,
    journal: Journal,
    directory: RunDirectory | None = None,
    confirm: Confirm | None = None,
    *,
    continued: bool = True,
) -> Course:
    """One more process of a pause-all that is on record; in a cluster it may be the first.

    Args:
        environment: the process; in a cluster it says when a request may leave.
        settings: with the defaults of an emergency, the server and pace of the run.
        journal: of the run; what else is kept of it is in `directory`, if anywhere.
        directory: its place on the disk.
        confirm: asks the operator; None: confirmed already.
        continued: another process has had it before.

    Raises:
        RefusedError: nobody has confirmed it, and nobody can be asked.
    """
    record = journal.record()
    if confirm is None and not record.may_change:
        raise never_confirmed(record)
    deadline_s = record.deadline_s or EMERGENCY_DEADLINE_S
    spec = RunSpec(RunKind.PAUSE_ALL, settings, journal, directory, deadline_s)
    return Course(environment, spec, confirm, continued=continued)


def never_confirmed(record: RunRecord) -> RefusedError:
    """The error for a run that nobody may go on with."""
    return RefusedError(
        f"run {record.run_id} was never confirmed: nobody had typed the VDN number."
        " Nothing was sent.",
        advice=f"`orchestrator pause-all {_flags(record.vdns)}` asks again",
    )


def still_dialling(error: OrchestratorError, vdns: Iterable[int]) -> OrchestratorError:
    """The same error, of an emergency that has not begun: how it begins without the cluster."""
    sentence = str(error).removesuffix("Nothing was sent.").rstrip(" .")
    return type(error)(
        f"{sentence}. {STILL_DIALLING}",
        advice=f"`orchestrator pause-all {_flags(vdns)}` stops them now, without the cluster",
    )


def _flags(vdns: Iterable[int]) -> str:
    return " ".join(f"--vdn {one}" for one in vdns)
