"""`restore`: start again exactly the campaigns that a run turned off.

Only what the run changed, and what is suspended now, is started; what cannot be looked at stays as
it is. Each start is marked beside the journal of the run being undone before it is sent, so that
repeating a restore starts nothing twice. A start that a killed restore may have sent is not sent
again (docs/spec/evidence.md, rule 9).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.engine.begin import (
    Opened,
    hold,
    last_written_ms,
    new_directory,
    new_plan,
    new_record,
    refuse_if_old,
    unbegun,
    with_server_of,
)
from orchestrator.engine.bulk import run_bulk
from orchestrator.engine.pausing_all import Confirm, Findings
from orchestrator.engine.reconcile import changed_by, unseen_record
from orchestrator.engine.results import RunResult, make_report
from orchestrator.engine.run import RunSpec, live
from orchestrator.engine.stops import REPAIR, Stop, find_undone, read_stop, stops_around
from orchestrator.engine.undone import (
    RestorePreview,
    decide,
    read_undone,
    refuse_if_pointless,
    selection_document,
    shortened,
    warn_of_strangers,
)
from orchestrator.errors import RefusedError
from orchestrator.isales.verdict import Kind
from orchestrator.model import Status
from orchestrator.policy.decide import Changed, Decision, Evidence, Outcome
from orchestrator.policy.quiet import GAP_MAX_S, LagMeter
from orchestrator.reports.rows import RunKind
from orchestrator.reports.undo import undo_lines
from orchestrator.store import Gap, Mark, MarkState, Standing, gap_of
from orchestrator.store.marks import MarkFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping
    from pathlib import Path

    from orchestrator.engine.context import RunContext
    from orchestrator.engine.options import ContinueOptions, RestoreOptions
    from orchestrator.engine.run import Environment
    from orchestrator.model import CampaignRef
    from orchestrator.settings.load import Settings
    from orchestrator.store import Known, OutcomeRecord, RunRecord
    from orchestrator.store.run_dir import RunDirectory

#: intents that may be open at a time: what a kill leaves as perhaps sent
_INTENTS_MAX = 8


async def restore(
    source: RunDirectory,
    settings: Settings,
    options: RestoreOptions,
    environment: Environment,
    *,
    confirm: Confirm | None,
) -> RunResult:
    """Start again exactly the campaigns that a run turned off.

    Args:
        source: the run to undo.
        settings: credentials and pace; the server is the run's.
        options: which campaigns to leave off.
        environment: the process around the run.
        confirm: asks the operator; None: confirmed already.

    Raises:
        OrchestratorError: it could not begin, or was not confirmed; nothing was sent.
    """
    written_ms = last_written_ms(source)
    async with _held_undone(environment, source) as undone:
        refuse_if_old(
            environment,
            undone.record,
            written_ms,
            even_if_old=options.even_if_old,
            why="; what should run may be different by now",
        )
        settings = with_server_of(settings, undone.record)
        warn_of_strangers(options, undone, environment)
        decided = await asyncio.to_thread(decide, options, undone, settings.state_dir)
        if confirm is not None and not options.dry_run:
            vdns = tuple(sorted({one.ref.vdn_id for one in decided.wanted}))
            findings = Findings(settings.server.title, vdns, undo_lines(decided.facts))
            if not await confirm(findings):
                raise RefusedError(
                    "not confirmed. Nothing was sent.", advice="type the VDN number, or add --yes"
                )
        result = await _begin(settings, options, environment, undone, decided, written_ms)
        return replace(result, undo=decided.facts)


async def preview(
    source: RunDirectory,
    settings: Settings,
    options: RestoreOptions,
    environment: Environment,
    elsewhere: Mapping[CampaignRef, Mark],
) -> RestorePreview:
    """Find out what a restore would start; nothing is sent, held or written.

    Args:
        source: the run that would be undone.
        settings: where runs are.
        options: what of it.
        environment: the process.
        elsewhere: what restores on other machines have started, where the cluster says so.

    Raises:
        OrchestratorError: there is nothing to undo, or the run cannot be read.
    """
    written_ms = last_written_ms(source)
    undone = await asyncio.to_thread(read_stop, source)  # whoever starts something checks all of it
    refuse_if_pointless(undone.record)
    undone = replace(undone, marks=undone.marks | dict(elsewhere))
    too_old = ""
    try:
        refuse_if_old(environment, undone.record, written_ms, even_if_old=False, why="")
    except RefusedError as error:
        too_old = error.sentence
    decided = await asyncio.to_thread(decide, options, undone, settings.state_dir)
    return replace(decided, too_old=too_old)


async def _begin(  # noqa: PLR0913, PLR0917 - a new run is made of all of these
    settings: Settings,
    options: RestoreOptions,
    environment: Environment,
    undone: Stop,
    decided: RestorePreview,
    written_ms: int,
) -> RunResult:
    async with AsyncExitStack() as held:
        marks = None
        if not options.dry_run:
            marks = await held.enter_async_context(_opened_marks(undone))
        with unbegun():
            directory = new_directory(environment, settings.state_dir, options.run_dir)
        held.callback(directory.release)
        with unbegun(), new_plan(directory) as writer:
            record = new_record(environment, settings, RunKind.RESTORE, directory, options)
            record = record._replace(
                source_run=undone.record.run_id,
                source_dir=str(undone.directory.path),
                source_written_ms=written_ms,
                selection=selection_document(options),
                restored_before=decided.facts.started_before,
            )
            now_ms = environment.clock.wall_ms()
            writer.take_restorable(undone.candidates, decided.reasons, at_ms=now_ms)
            journal = writer.finish(record)
        held.callback(journal.close)
        if marks is None:
            return make_report(journal, directory.path, fallback=environment.fallback)
        opened = Opened(directory, journal, journal.record())
        return await _live(opened, settings, environment, undone, marks, deadline_s=None)


async def continue_restore(
    opened: Opened, settings: Settings, options: ContinueOptions, environment: Environment
) -> RunResult:
    """One more process for an interrupted restore."""
    source = find_undone(opened.record, settings.state_dir)
    async with _held_undone(environment, source) as undone, _opened_marks(undone) as marks:
        return await _live(
            opened, settings, environment, undone, marks, deadline_s=options.deadline_s
        )


@asynccontextmanager
async def _held_undone(environment: Environment, source: RunDirectory) -> AsyncIterator[Stop]:
    """The run that is undone, held until the block ends."""
    with unbegun(REPAIR):
        hold(environment, source)
    try:
        if gap_of(source.journal) is Gap.LOST:
            environment.events.warning(
                "journal.incomplete",
                run_id=source.path.name,
                reason="its disk failed; what it paused after that will not be started",
            )
        with unbegun(REPAIR):
            undone = await read_undone(source, environment)
        yield undone
    finally:
        source.release()


@asynccontextmanager
async def _opened_marks(undone: Stop) -> AsyncIterator[MarkFile]:
    """The marks of a run that is held; what cannot be marked is not started."""
    with unbegun(REPAIR):
        marks = MarkFile(undone.directory.path, shared=undone.shared)
    try:
        yield marks
    finally:
        await marks.close()


# -- the process ------------------------------------------------------------------------------


async def _live(  # noqa: PLR0913 - one process of one run, and the run that it undoes
    opened: Opened,
    settings: Settings,
    environment: Environment,
    undone: Stop,
    marks: MarkFile,
    *,
    deadline_s: float | None,
) -> RunResult:
    run_id = opened.record.run_id
    #: what this restore, in whatever process, was about to start
    intended = {
        ref
        for ref, mark in undone.marks.items()
        if mark.run_id == run_id and mark.state is MarkState.INTENDED
    }

    async def mark(found: list[tuple[CampaignRef, Mark]]) -> None:
        await marks.add(found, at_ms=environment.clock.wall_ms())

    async def work(context: RunContext) -> None:
        async def before_intent(ref: CampaignRef) -> None:
            intended.add(ref)
            await mark([(ref, Mark(MarkState.INTENDED, run_id))])

        await _leave_restored(context, undone, run_id)
        context.before_intent = before_intent
        context.look_is_required = True
        # A stop so young may be hidden by a lag that nobody has seen yet.
        stopped_ms = min(opened.record.source_written_ms, context.clock.wall_ms())
        context.doubted_until_ms = stopped_ms + round(GAP_MAX_S * 1000)
        await run_bulk(context, continued=True)

    async def remember(context: RunContext) -> None:
        """Record beside the undone run's journal what came of each start."""
        await _settle_perhaps_started(context, undone)
        await mark(
            [
                (known.ref, Mark(state, run_id))
                for known in await _known(context, undone.vdns)
                if (state := _came_of(known, was_meant=known.ref in intended))
            ]
        )
        await _name_newer_stops(context, opened.record, undone, settings.state_dir)

    few = min(settings.pace.concurrency, _INTENTS_MAX)
    spec = RunSpec(
        kind=RunKind.RESTORE,
        settings=replace(settings, pace=replace(settings.pace, concurrency=few)),
        journal=opened.journal,
        directory=opened.directory,
        deadline_s=deadline_s,
    )
    return await live(environment, spec, work, before_report=remember)


async def _known(context: RunContext, vdns: Iterable[int]) -> list[Known]:
    return [known for vdn_id in vdns for known in await context.journal.known_of_vdn(vdn_id)]


async def _settle_perhaps_started(context: RunContext, undone: Stop) -> None:
    """What a killed restore may have started, and two listings show started, was its doing."""
    perhaps = {ref for ref, mark in undone.marks.items() if mark.state is MarkState.INTENDED}
    decision = Decision(Outcome.RESTORED, Evidence.INFERRED, Changed.YES)
    ours = [
        _seen(context, known, decision, Standing.FINAL, "", Status.STARTED)
        for known in await _known(context, {ref.vdn_id for ref in perhaps})
        if known.ref in perhaps
        and known.outcome is Outcome.ALREADY_RUNNING
        and known.standing is Standing.FINAL
    ]
    await context.complete(*ours, confirms=True)


async def _leave_restored(context: RunContext, undone: Stop, run_id: str) -> None:
    """What another restore has started since this one was interrupted is not started again."""
    others = {
        ref: mark.run_id
        for ref, mark in undone.marks.items()
        if undone.is_restored(ref) and mark.run_id != run_id
    }
    left = [
        unseen_record(
            context,
            known,
            Decision(Outcome.LEFT_ALONE),
            Standing.FINAL,
            f"restored before by run {others[known.ref]}",
        )
        for known in await _known(context, {ref.vdn_id for ref in others})
        if known.ref in others
        and known.standing is not Standing.FINAL
        and not known.history.accepted
    ]
    await context.complete(*left)


async def _name_newer_stops(
    context: RunContext, record: RunRecord, undone: Stop, state_dir: Path
) -> None:
    """Say of what was started and is suspended again which run has stopped it, where one has."""
    overtaken = [
        known
        for known in await _known(context, undone.vdns)
        if known.outcome is Outcome.FAILED and known.history.attempts
    ]
    if not overtaken:
        return
    # an older stop may be why, too, while it goes on: a hold pauses what is started
    around = await asyncio.to_thread(lambda: list(stops_around(record, state_dir, goes_on=True)))
    stops = [
        (stop.record, stop.refs, is_newer)
        for stop, is_newer in around
        if stop.record.run_id != undone.record.run_id  # which is held by us
    ]
    named = []
    for known in overtaken:
        is_ours = known.history.last is Kind.ACCEPTED
        by = next(
            (by for by, refs, is_newer in stops if known.ref in refs and (is_newer or is_ours)),
            None,
        )
        if by is not None:
            reason = f"; reason: {shortened(by.reason)}" if by.reason else ""
            why = f"run {by.run_id} ({by.kind.value} by {by.operator} on {by.host}{reason})"
            decision = Decision(Outcome.FAILED, known.evidence, changed_by(known))
            standing, why = known.standing or Standing.FINAL, f"stopped again by {why}"
            named.append(_seen(context, known, decision, standing, why, Status.SUSPENDED))
    if named:
        context.lag = LagMeter()  # a stop looks like a listing that is old
        await context.complete(*named, confirms=True)


def _seen(  # noqa: PLR0913, PLR0917 - a record is made of all of these
    context: RunContext,
    known: Known,
    decision: Decision,
    standing: Standing,
    error: str,
    status: Status,
) -> OutcomeRecord:
    """The outcome of what the last look has shown in this state."""
    at_ms = known.settled_at_ms
    record = unseen_record(context, known, decision, standing, error, at_ms)
    return record._replace(state_after=status, seen_at_ms=at_ms)


def _came_of(known: Known, *, was_meant: bool) -> MarkState | None:
    """What became of a start; None: it was never meant."""
    history = known.history
    if history.accepted or known.outcome is Outcome.RESTORED:
        return MarkState.RESTORED
    if history.attempts and history.doubted and known.outcome in {None, Outcome.UNKNOWN}:
        return MarkState.INTENDED
    return MarkState.CLEARED if history.attempts or was_meant else None
