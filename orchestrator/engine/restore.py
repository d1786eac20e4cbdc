"""`restore`: start again exactly the campaigns that a run turned off.

Only what the run changed, and what is suspended now, is started; what cannot be looked at stays as
it is. The journal of the run being undone records each start before it is sent, so that repeating a
restore starts nothing twice. A start that a killed restore may have sent is not sent again
(docs/spec/evidence.md, rule 9).
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.engine.begin import (
    Opened,
    give_up,
    hold,
    last_written_ms,
    new_directory,
    new_record,
    open_run,
    refuse_if_old,
    unbegun,
    with_server_of,
)
from orchestrator.engine.bulk import BulkPlan, run_bulk
from orchestrator.engine.pausing_all import Confirm, Findings
from orchestrator.engine.results import RunResult, tell
from orchestrator.engine.run import RunSpec, live
from orchestrator.errors import BugError, RefusedError, UsageError
from orchestrator.policy.decide import Outcome
from orchestrator.policy.quiet import GAP_MAX_S
from orchestrator.reports.rows import RunKind
from orchestrator.store import Gap, Mark, MarkState, PlanWriter, Reason, gap_of
from orchestrator.store.run_dir import RunDirectory

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.options import ContinueOptions, RestoreOptions
    from orchestrator.engine.run import Environment
    from orchestrator.model import CampaignRef
    from orchestrator.settings.load import Settings
    from orchestrator.store import Journal, Restorable, RunRecord, Store


#: intents that may be open at a time: what a kill leaves as perhaps sent
_INTENTS_MAX = 8


@dataclass(slots=True)
class _Source:
    """The run that is being undone; its journal is held open for the marks."""

    directory: RunDirectory
    journal: Store
    record: RunRecord
    #: campaign → its place in that run's journal
    places: dict[CampaignRef, int]
    #: campaigns that a restore has started, or may have; and which run it was
    marked: dict[CampaignRef, Mark]

    async def close(self) -> None:
        await self.journal.close()
        self.directory.release()


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
    undone, candidates = await _open_source(source, environment)
    try:
        refuse_if_old(
            environment,
            undone.record,
            written_ms,
            even_if_old=options.even_if_old,
            why="; what should run may be different by now",
        )
        settings = with_server_of(settings, undone.record)
        if confirm is not None and not options.dry_run:
            await _ask(confirm, settings, undone, candidates)
        return await _begin(settings, options, environment, undone, candidates, written_ms)
    finally:
        await undone.close()


async def _begin(  # noqa: PLR0913, PLR0917 - a new run is made of all of these
    settings: Settings,
    options: RestoreOptions,
    environment: Environment,
    undone: _Source,
    candidates: list[Restorable],
    written_ms: int,
) -> RunResult:
    with unbegun():
        directory = new_directory(environment, settings.state_dir, options.run_dir)
    try:
        with unbegun():
            journal = _plan(
                settings,
                options,
                environment,
                directory=directory,
                undone=undone,
                candidates=candidates,
                written_ms=written_ms,
            )
    except BaseException:
        give_up(directory)
        raise
    try:
        if options.dry_run:
            with closing(journal):
                return tell(journal, directory.path, fallback=environment.fallback)
        opened = Opened(directory, journal, journal.record())
        return await _live(opened, settings, environment, undone=undone, deadline_s=None)
    finally:
        directory.release()


async def continue_restore(
    opened: Opened, settings: Settings, options: ContinueOptions, environment: Environment
) -> RunResult:
    """One more process for an interrupted restore."""
    source = RunDirectory(Path(opened.record.source_dir))
    hold(environment, source)
    try:
        undone = await _remember(source, environment)
    except BaseException:
        source.release()
        raise
    try:
        return await _live(
            opened,
            settings,
            environment,
            undone=undone,
            deadline_s=options.deadline_s,
        )
    finally:
        await undone.close()


# -- the run that is undone -------------------------------------------------------------------


async def _open_source(
    source: RunDirectory, environment: Environment
) -> tuple[_Source, list[Restorable]]:
    hold(environment, source)
    if gap_of(source.journal) is Gap.LOST:
        environment.events.warning(
            "journal.incomplete",
            run_id=source.path.name,
            reason="its disk failed; what it paused after that will not be started",
        )
    try:
        undone = await _remember(source, environment)
        candidates = await undone.journal.restorable()
    except BaseException:
        source.release()
        raise
    if undone.record.kind is RunKind.RESTORE or undone.record.dry_run:
        await undone.close()
        what = "a dry run" if undone.record.dry_run else "a restore"
        raise UsageError(f"run {undone.record.run_id} is {what}: there is nothing to turn back on")
    return undone, candidates


async def _remember(source: RunDirectory, environment: Environment) -> _Source:
    opened = await asyncio.to_thread(open_run, source, environment.stopping)
    journal = environment.make_store(opened.journal, keep_going=False)
    candidates = await journal.restorable()
    places = {one.ref: one.seq for one in candidates}
    by_seq = {one.seq: one.ref for one in candidates}
    marks = await journal.marks()
    marked = {by_seq[seq]: mark for seq, mark in marks.items() if seq in by_seq}
    return _Source(source, journal, opened.record, places, marked)


async def _ask(
    confirm: Confirm, settings: Settings, undone: _Source, candidates: list[Restorable]
) -> None:
    vdns = tuple(sorted({one.ref.vdn_id for one in candidates}))
    lines = [f"run {undone.record.run_id} turned off {len(candidates):,} campaigns"]
    if not await confirm(Findings(settings.server.title, vdns, lines)):
        raise RefusedError(
            "not confirmed. Nothing was sent.", advice="type the VDN number, or add --yes"
        )


# -- the plan ---------------------------------------------------------------------------------


def _plan(  # noqa: PLR0913 - a plan is made of all of these
    settings: Settings,
    options: RestoreOptions,
    environment: Environment,
    *,
    directory: RunDirectory,
    undone: _Source,
    candidates: list[Restorable],
    written_ms: int,
) -> Journal:
    record = new_record(
        environment,
        settings,
        kind=RunKind.RESTORE,
        directory=directory,
        reason=options.reason,
        dry_run=options.dry_run,
        source_run=undone.record.run_id,
        source_dir=str(undone.directory.path),
        source_written_ms=written_ms,
    )
    writer = PlanWriter(directory.journal)
    try:
        now_ms = environment.clock.wall_ms()
        writer.take_restorable(candidates, _left_alone(options, undone, candidates), at_ms=now_ms)
        return writer.finish(record)
    except BaseException:
        writer.discard()
        raise


def _left_alone(
    options: RestoreOptions, undone: _Source, candidates: list[Restorable]
) -> dict[CampaignRef, Reason]:
    """Why some of the candidates are not started; for the perhaps started ones, what is known."""
    reasons: dict[CampaignRef, Reason] = {}
    wanted = 0
    for one in candidates:
        mark = undone.marked.get(one.ref)
        reason = _reason(options, undone, one, mark)
        if not reason and options.limit is not None and wanted >= options.limit:
            reason = f"over --limit {options.limit}"
        if reason:
            reasons[one.ref] = Reason(reason)
        elif mark is not None and mark.state is MarkState.INTENDED and not options.include_inferred:
            reasons[one.ref] = Reason(
                f"restore {mark.run_id} was interrupted and may have started it; it is left alone:"
                f" `orchestrator restore {undone.record.run_id} --include-inferred` starts it",
                is_doubt=True,
            )
        else:
            wanted += 1
    return reasons


def _reason(options: RestoreOptions, undone: _Source, one: Restorable, mark: Mark | None) -> str:
    pair = (one.ref.vdn_id, one.ref.campaign_id)
    if mark is not None and mark.state is MarkState.RESTORED:
        return f"restored from {undone.record.run_id} before"
    if options.only is not None and pair not in options.only:
        return "not in --only"
    if pair in options.except_:
        return "excluded by --except"
    if options.vdns and one.ref.vdn_id not in options.vdns:
        return "not in --vdn"
    if one.inferred and not options.include_inferred:
        return "that run probably paused it, which is not certain; --include-inferred starts it too"
    return ""


# -- the process ------------------------------------------------------------------------------


async def _live(
    opened: Opened,
    settings: Settings,
    environment: Environment,
    *,
    undone: _Source,
    deadline_s: float | None,
) -> RunResult:
    run_id = opened.record.run_id

    async def work(context: RunContext) -> None:
        refs = await context.journal.refs()

        async def before_intent(seq: int) -> None:
            ref = refs.get(seq)
            if ref is None:
                raise BugError(f"row {seq} of the restore has no campaign")
            await _mark(undone, environment, ref, Mark(MarkState.INTENDED, run_id))

        context.before_intent = before_intent
        context.look_is_required = True
        # A stop so young may be hidden by a lag that nobody has seen yet.
        stopped_ms = min(opened.record.source_written_ms, context.clock.wall_ms())
        context.doubted_until_ms = stopped_ms + round(GAP_MAX_S * 1000)
        await run_bulk(context, BulkPlan(verify=True, continued=True))

    async def remember(context: RunContext) -> None:
        """Record in the undone run's journal what came of each start."""
        for vdn_id in {ref.vdn_id for ref in undone.places}:
            for known in await context.journal.known_of_vdn(vdn_id):
                started = known.history.accepted or known.outcome is Outcome.RESTORED
                is_untouched = known.history.attempts == 0 and not started
                if is_untouched or known.ref not in undone.places:
                    continue
                state = (
                    MarkState.RESTORED
                    if started
                    else _unstarted(known.history.doubted, known.outcome)
                )
                await _mark(undone, environment, known.ref, Mark(state, run_id))

    few = min(settings.pace.concurrency, _INTENTS_MAX)
    spec = RunSpec(
        kind=RunKind.RESTORE,
        settings=replace(settings, pace=replace(settings.pace, concurrency=few)),
        journal=opened.journal,
        directory=opened.directory,
        deadline_s=deadline_s,
    )
    return await live(environment, spec, work, before_report=remember)


def _unstarted(doubted: bool, outcome: Outcome | None) -> MarkState:  # noqa: FBT001 - a pair of facts
    if doubted and outcome in {None, Outcome.UNKNOWN}:
        return MarkState.INTENDED
    return MarkState.CLEARED


async def _mark(undone: _Source, environment: Environment, ref: CampaignRef, mark: Mark) -> None:
    await undone.journal.mark_restored(undone.places[ref], mark, at_ms=environment.clock.wall_ms())
