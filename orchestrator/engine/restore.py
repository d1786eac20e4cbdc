"""`restore`: start again exactly the campaigns that a run turned off.

Only what the run changed, and what is suspended now, is started; what cannot be looked at stays as
it is. Each start is marked beside the journal of the run being undone before it is sent, so that
repeating a restore starts nothing twice. A start that a killed restore may have sent is not sent
again (docs/spec/evidence.md, rule 9).
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.engine.begin import (
    Opened,
    last_written_ms,
    new_directory,
    new_plan,
    new_record,
    refuse_if_old,
    unbegun,
    with_server_of,
)
from orchestrator.engine.bulk import BulkPlan, run_bulk
from orchestrator.engine.pausing_all import Confirm, Findings
from orchestrator.engine.reconcile import unseen_record
from orchestrator.engine.results import RunResult, tell
from orchestrator.engine.run import RunSpec, live
from orchestrator.engine.stopped_since import name_newer_stops, stopped_again
from orchestrator.engine.undone import (
    Choice,
    Undone,
    choose,
    find_undone,
    hold_undone,
    look_at_undone,
    open_marks,
    read_undone,
    selection_document,
    undo_facts,
    warn_of_strangers,
)
from orchestrator.errors import RefusedError
from orchestrator.model import Status
from orchestrator.policy.decide import Changed, Decision, Evidence, Outcome
from orchestrator.policy.quiet import GAP_MAX_S
from orchestrator.reports.rows import RunKind
from orchestrator.reports.undo import undo_lines
from orchestrator.store import Gap, Mark, MarkState, Standing, gap_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.engine.context import RunContext
    from orchestrator.engine.options import ContinueOptions, RestoreOptions
    from orchestrator.engine.run import Environment
    from orchestrator.model import CampaignRef
    from orchestrator.reports.undo import UndoFacts
    from orchestrator.settings.load import Settings
    from orchestrator.store import Known, Restorable
    from orchestrator.store.marks import MarkFile
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
        choice, facts = await asyncio.to_thread(_decide, options, undone, settings.state_dir)
        if confirm is not None and not options.dry_run:
            await _ask(confirm, settings, choice, facts)
        result = await _begin(settings, options, environment, undone, choice, written_ms)
        return replace(result, undo=facts)


@dataclass(frozen=True, slots=True)
class RestorePreview:
    """What a restore would do by now."""

    facts: UndoFacts
    #: what would start, in order
    wanted: tuple[Restorable, ...]
    #: all that the run turned off
    candidates: tuple[Restorable, ...]
    #: in which VDNs the run turned something off: what an operator has to type
    vdns: tuple[int, ...]
    #: why a restore would be refused without --even-if-old; empty: it would not
    too_old: str = ""


async def preview(
    source: RunDirectory, settings: Settings, options: RestoreOptions, environment: Environment
) -> RestorePreview:
    """Find out what a restore would start; nothing is sent, held or written.

    Raises:
        OrchestratorError: there is nothing to undo, or the run cannot be read.
    """
    written_ms = last_written_ms(source)
    undone = await look_at_undone(source)
    too_old = ""
    try:
        refuse_if_old(environment, undone.record, written_ms, even_if_old=False, why="")
    except RefusedError as error:
        too_old = error.sentence
    choice, facts = await asyncio.to_thread(_decide, options, undone, settings.state_dir)
    vdns = {one.ref.vdn_id for one in undone.candidates}
    return RestorePreview(
        facts=facts,
        wanted=tuple(choice.wanted),
        candidates=tuple(undone.candidates),
        vdns=tuple(sorted(vdns)),
        too_old=too_old,
    )


def _decide(options: RestoreOptions, undone: Undone, state_dir: Path) -> tuple[Choice, UndoFacts]:
    choice = choose(options, undone, stopped_again(undone, state_dir))
    return choice, undo_facts(undone, choice, state_dir)


async def _begin(  # noqa: PLR0913, PLR0917 - a new run is made of all of these
    settings: Settings,
    options: RestoreOptions,
    environment: Environment,
    undone: Undone,
    choice: Choice,
    written_ms: int,
) -> RunResult:
    async with AsyncExitStack() as held:
        marks = None
        if not options.dry_run:
            marks = open_marks(undone)
            held.push_async_callback(marks.close)
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
                restored_before=choice.restored_before,
            )
            now_ms = environment.clock.wall_ms()
            writer.take_restorable(undone.candidates, choice.reasons, at_ms=now_ms)
            journal = writer.finish(record)
        held.callback(journal.close)
        if marks is None:
            return tell(journal, directory.path, fallback=environment.fallback)
        opened = Opened(directory, journal, journal.record())
        return await _live(opened, settings, environment, undone, marks, deadline_s=None)


async def continue_restore(
    opened: Opened, settings: Settings, options: ContinueOptions, environment: Environment
) -> RunResult:
    """One more process for an interrupted restore."""
    source = find_undone(opened.record, settings.state_dir)
    async with _held_undone(environment, source) as undone:
        marks = open_marks(undone)
        try:
            return await _live(
                opened, settings, environment, undone, marks, deadline_s=options.deadline_s
            )
        finally:
            await marks.close()


@asynccontextmanager
async def _held_undone(environment: Environment, source: RunDirectory) -> AsyncIterator[Undone]:
    """The run that is undone, held until the block ends."""
    hold_undone(environment, source)
    try:
        if gap_of(source.journal) is Gap.LOST:
            environment.events.warning(
                "journal.incomplete",
                run_id=source.path.name,
                reason="its disk failed; what it paused after that will not be started",
            )
        yield await read_undone(source, environment)
    finally:
        source.release()


async def _ask(confirm: Confirm, settings: Settings, choice: Choice, facts: UndoFacts) -> None:
    vdns = tuple(sorted({one.ref.vdn_id for one in choice.wanted}))
    if not await confirm(Findings(settings.server.title, vdns, undo_lines(facts))):
        raise RefusedError(
            "not confirmed. Nothing was sent.", advice="type the VDN number, or add --yes"
        )


# -- the process ------------------------------------------------------------------------------


async def _live(  # noqa: PLR0913 - one process of one run, and the run that it undoes
    opened: Opened,
    settings: Settings,
    environment: Environment,
    undone: Undone,
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
        await run_bulk(context, BulkPlan(continued=True))

    async def remember(context: RunContext) -> None:
        """Record beside the undone run's journal what came of each start."""
        await _settle_perhaps_started(context, undone)
        await mark(
            [
                (known.ref, Mark(state, run_id))
                for vdn_id in {one.ref.vdn_id for one in undone.candidates}
                for known in await context.journal.known_of_vdn(vdn_id)
                if (state := _came_of(known, was_meant=known.ref in intended))
            ]
        )
        await name_newer_stops(context, undone, settings.state_dir)

    few = min(settings.pace.concurrency, _INTENTS_MAX)
    spec = RunSpec(
        kind=RunKind.RESTORE,
        settings=replace(settings, pace=replace(settings.pace, concurrency=few)),
        journal=opened.journal,
        directory=opened.directory,
        deadline_s=deadline_s,
    )
    return await live(environment, spec, work, before_report=remember)


async def _settle_perhaps_started(context: RunContext, undone: Undone) -> None:
    """What a killed restore may have started, and two listings show started, was its doing."""
    perhaps = {ref for ref, mark in undone.marks.items() if mark.state is MarkState.INTENDED}
    decision = Decision(Outcome.RESTORED, Evidence.INFERRED, Changed.YES)
    for vdn_id in {ref.vdn_id for ref in perhaps}:
        ours = [
            unseen_record(
                context, known, decision, Standing.FINAL, "", known.settled_at_ms
            )._replace(state_after=Status.STARTED, seen_at_ms=known.settled_at_ms)
            for known in await context.journal.known_of_vdn(vdn_id)
            if known.ref in perhaps
            and known.outcome is Outcome.ALREADY_RUNNING
            and known.standing is Standing.FINAL
        ]
        await context.complete(*ours, confirms=True)


async def _leave_restored(context: RunContext, undone: Undone, run_id: str) -> None:
    """What another restore has started since this one was interrupted is not started again."""
    others = {
        ref: mark
        for ref, mark in undone.marks.items()
        if mark.state is MarkState.RESTORED and mark.run_id != run_id
    }
    for vdn_id in {ref.vdn_id for ref in others}:
        left = [
            unseen_record(
                context,
                known,
                Decision(Outcome.LEFT_ALONE),
                Standing.FINAL,
                f"restored before by run {others[known.ref].run_id}",
            )
            for known in await context.journal.known_of_vdn(vdn_id)
            if known.ref in others
            and known.standing is not Standing.FINAL
            and not known.history.accepted
        ]
        await context.complete(*left)


def _came_of(known: Known, *, was_meant: bool) -> MarkState | None:
    """What became of a start; None: it was never meant."""
    history = known.history
    if history.accepted or known.outcome is Outcome.RESTORED:
        return MarkState.RESTORED
    if history.attempts and history.doubted and known.outcome in {None, Outcome.UNKNOWN}:
        return MarkState.INTENDED
    return MarkState.CLEARED if history.attempts or was_meant else None
