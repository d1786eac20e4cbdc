"""`pause-all` as a run: the question, the emergency, its proof and its record.

Question and listing do not wait for each other. Without a disk the journal is in memory, the rows
go to the fallback stream, and the exit code says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.engine.begin import check_wanted
from orchestrator.engine.emergency import Emergency
from orchestrator.engine.emergency_place import open_unfinished, place
from orchestrator.engine.options import EMERGENCY_DEADLINE_S, ContinueOptions
from orchestrator.engine.run import RunSpec, follow_cluster, live
from orchestrator.engine.vdns import Vdn, Vdns
from orchestrator.errors import OrchestratorError, RefusedError, StorageError
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import SIGNAL_EXIT_CODES, Ended
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import open_saved
from orchestrator.store.registry import forget, known_runs

if TYPE_CHECKING:
    from orchestrator.engine.begin import Opened
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.options import PauseAllOptions
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.engine.silence import CallCounter
    from orchestrator.isales.verdict import Verdict
    from orchestrator.model import CampaignRef
    from orchestrator.settings.load import Settings
    from orchestrator.store import RunRecord
    from orchestrator.store.run_dir import RunDirectory


#: seconds in which a server that answers says what runs; the question does not wait longer
_KNOWN_SOON_S = 2.0
_LOOK_EVERY_S = 0.02
#: other runs of which it is asked whether they go on, the newest first
_RUNS_READ = 200
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
    _start: asyncio.TimerHandle | None = None
    _quiet: asyncio.Task[None] | None = None
    _is_announced: bool = False

    async def work(self, context: RunContext) -> None:
        emergency = Emergency(
            context,
            Vdns(context, {one: Vdn(one) for one in self.record.vdns}),
            hold_s=self.record.hold_s,
        )
        emergency.held_s = self.record.held_s
        self.emergency = emergency
        if self.environment.announce is not None and not self.record.dry_run:
            self._announce_in(context, emergency)
        if self.settings.cms.base_url:
            emergency.count_calls = self._count_calls
            emergency.note_proof = self._note_proof
        if self.continued:
            for share in await context.journal.vdn_counts():
                emergency.vdns.remember(await context.journal.known_of_vdn(share.vdn_id))
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
            loop = asyncio.get_running_loop()
            self._start = loop.call_later(_ANNOUNCED_BY_S, self._announce_start)

    def _announce_in(self, context: RunContext, emergency: Emergency) -> None:
        """Say that it has begun when its first PUT was answered, and that it is quiet."""
        take_answer = context.after_answer

        def answered(ref: CampaignRef, verdict: Verdict) -> None:
            self._announce_start()
            if take_answer is not None:
                take_answer(ref, verdict)

        def on_quiet() -> None:
            self._announce_start()
            self._quiet = asyncio.create_task(self._announce_quiet(context))

        context.after_answer = answered
        emergency.on_quiet = on_quiet

    def _announce_start(self) -> None:
        if not (self.continued or self._is_announced):
            self._is_announced = True
            self.environment.announce_start(self.record)

    async def _announce_quiet(self, context: RunContext) -> None:
        from orchestrator.engine.results import proven  # noqa: PLC0415 - few want it

        assert self.environment.announce is not None
        assert self.emergency is not None
        proofs, at_ms = self.emergency.vdns.proofs(self.record.hold_s), context.clock.wall_ms()
        found = await context.journal.read(lambda saved: proven(saved, proofs, at_ms))
        self.environment.announce(found)

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
        at_work = await asyncio.to_thread(_at_work, self, self.environment.progress.run_id)
        until_s = context.clock.now_s() + _KNOWN_SOON_S
        vdns = emergency.vdns.by_id.values()
        while context.clock.now_s() < until_s and not all(vdn.is_told for vdn in vdns):
            await context.clock.sleep(_LOOK_EVERY_S)
        findings = Findings(self.settings.server.title, self.record.vdns, emergency.findings)
        emergency.findings += at_work
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
        if self._start is not None:
            self._start.cancel()
            self._announce_start()
        if self._quiet is not None:  # what fails in it is told by the run's end
            await asyncio.gather(self._quiet, return_exceptions=True)
        await self.emergency.vdns.note_still_running()
        await self._note_proof()
        calls = self.counter.record() if self.counter else None
        if calls is not None:
            await context.journal.note(calls=calls)

    async def _count_calls(self) -> None:
        from orchestrator.engine.silence import CallCounter  # noqa: PLC0415 - after quiet only

        assert self.emergency is not None
        self.counter = CallCounter(self.emergency, self.environment, self.settings)
        await self.counter.run()

    async def _note_proof(self) -> None:
        assert self.emergency is not None
        proofs = self.emergency.vdns.proofs(self.record.hold_s)
        await self.emergency.context.journal.note(proofs=proofs)


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


def _at_work(course: Course, own_id: str) -> list[str]:
    """Which other runs work on these VDNs at this moment, and whose they are."""
    fingerprint = server_fingerprint(course.settings.server.base_url)
    found: list[tuple[RunRecord, set[int]]] = []
    for run in islice(known_runs(course.settings.state_dir), _RUNS_READ):
        if run.run_id != own_id and run.directory.is_live:
            with suppress(OrchestratorError), open_saved(run.directory.journal) as saved:
                record = saved.record()
                found.append((record, set(record.vdns or saved.vdns())))
    # who restores a run holds that one as well
    undone = {record.source_run for record, _ in found}
    return [
        f"VDN {vdn_id}: run {record.run_id} ({record.kind.value} by {record.operator} on"
        f" {record.host}) is at work here"
        for record, vdns in found
        if record.run_id not in undone and record.fingerprint == fingerprint
        for vdn_id in sorted(vdns & set(course.record.vdns))
    ]


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
