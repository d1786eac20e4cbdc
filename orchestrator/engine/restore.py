"""`restore`: start again exactly the campaigns that a run turned off.

Only what the run changed, and what is suspended now, is started; what cannot be looked at stays as
it is. The journal of the run being undone records each start before it is sent, so that repeating a
restore starts nothing twice. A start that a killed restore may have sent is not sent again
(docs/spec/evidence.md, rule 9).
"""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.engine.begin import (
    Facts,
    facts_text,
    give_up,
    hold,
    last_written_ms,
    new_directory,
    open_run,
    refuse_if_old,
    run_id_of,
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
from orchestrator.store import (
    Gap,
    Journal,
    PlanWriter,
    Reason,
    gap_of,
    known_of_vdn,
    pending_refs,
    read_meta,
    restorable,
    restored_marks,
)
from orchestrator.store.run_dir import RunDirectory

if TYPE_CHECKING:
    import sqlite3

    from orchestrator.engine.begin import Opened
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.options import ContinueOptions, RestoreOptions
    from orchestrator.engine.run import Environment
    from orchestrator.model import CampaignRef
    from orchestrator.settings.load import Settings
    from orchestrator.store import Mark, Restorable


#: intents that may be open at a time: what a kill leaves as perhaps sent
_INTENTS_MAX = 8


@dataclass(slots=True)
class _Source:
    """The run that is being undone; its journal is held open for the marks."""

    directory: RunDirectory
    journal: Journal
    facts: Facts
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
            undone.facts,
            written_ms,
            even_if_old=options.even_if_old,
            why="; what should run may be different by now",
        )
        settings = with_server_of(settings, undone.facts)
        if confirm is not None and not options.dry_run:
            await _ask(confirm, settings, undone, candidates)
        directory = new_directory(environment, settings.state_dir, options.run_dir)
        try:
            connection = _plan(
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
                with closing(connection):
                    return tell(connection, directory.path, fallback=environment.fallback)
            return await _live(
                connection, directory, settings, environment, undone=undone, deadline_s=None
            )
        finally:
            directory.release()
    finally:
        await undone.close()


async def continue_restore(
    opened: Opened, settings: Settings, options: ContinueOptions, environment: Environment
) -> RunResult:
    """One more process for an interrupted restore."""
    source = RunDirectory(Path(str(opened.facts.told["source_dir"])))
    hold(environment, source)
    try:
        undone = await _remember(source, environment)
    except BaseException:
        source.release()
        raise
    try:
        return await _live(
            opened.connection,
            opened.directory,
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
            reason="its disk failed; what it paused after that will not start",
        )
    try:
        undone = await _remember(source, environment)
        candidates = await undone.journal.read(restorable)
    except BaseException:
        source.release()
        raise
    if undone.facts.kind is RunKind.RESTORE or undone.facts.dry_run:
        await undone.close()
        what = "a dry run" if undone.facts.dry_run else "a restore"
        raise UsageError(f"run {undone.facts.run_id} is {what}: there is nothing to turn back on")
    return undone, candidates


async def _remember(source: RunDirectory, environment: Environment) -> _Source:
    opened = await asyncio.to_thread(open_run, source, environment.stopping)
    journal = Journal(environment.make_writer(opened.connection, keep_going=False))
    candidates = await journal.read(restorable)
    places = {one.ref: one.seq for one in candidates}
    by_seq = {one.seq: one.ref for one in candidates}
    marks = await journal.read(restored_marks)
    marked = {by_seq[seq]: mark for seq, mark in marks.items() if seq in by_seq}
    return _Source(source, journal, opened.facts, places, marked)


async def _ask(
    confirm: Confirm, settings: Settings, undone: _Source, candidates: list[Restorable]
) -> None:
    vdns = tuple(sorted({one.ref.vdn_id for one in candidates}))
    lines = [f"run {undone.facts.run_id} turned off {len(candidates):,} campaigns"]
    if not await confirm(Findings(settings.server.base_url, vdns, lines)):
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
) -> sqlite3.Connection:
    text = facts_text(
        environment,
        settings,
        kind=RunKind.RESTORE,
        run_id=run_id_of(environment, directory),
        reason=options.reason,
        dry_run=options.dry_run,
        source_run=undone.facts.run_id,
        source_dir=str(undone.directory.path),
        source_written_ms=written_ms,
    )
    writer = PlanWriter(directory.journal)
    try:
        now_ms = environment.clock.wall_ms()
        writer.take_restorable(candidates, _left_alone(options, undone, candidates), at_ms=now_ms)
        return writer.finish({"facts": text})
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
        elif mark is not None and mark.state == "intended" and not options.include_inferred:
            reasons[one.ref] = Reason(
                f"restore {mark.run_id} was interrupted and may have started it; it is left as it"
                f" is: `orchestrator restore {undone.facts.run_id} --include-inferred` starts it",
                is_doubt=True,
            )
        else:
            wanted += 1
    return reasons


def _reason(options: RestoreOptions, undone: _Source, one: Restorable, mark: Mark | None) -> str:
    pair = (one.ref.vdn_id, one.ref.campaign_id)
    if mark is not None and mark.state == "restored":
        return f"restored from {undone.facts.run_id} before"
    if options.only is not None and pair not in options.only:
        return "not in --only"
    if pair in options.except_:
        return "excluded by --except"
    if options.vdns and one.ref.vdn_id not in options.vdns:
        return "not in --vdn"
    if one.inferred and not options.include_inferred:
        return "only inferred to be our doing; --include-inferred starts it too"
    return ""


# -- the process ------------------------------------------------------------------------------


async def _live(  # noqa: PLR0913 - a process needs all of these
    connection: sqlite3.Connection,
    directory: RunDirectory,
    settings: Settings,
    environment: Environment,
    *,
    undone: _Source,
    deadline_s: float | None,
) -> RunResult:
    run_id = run_id_of(environment, directory)

    async def work(context: RunContext) -> None:
        refs = await context.journal.read(pending_refs)

        async def before_intent(seq: int) -> None:
            ref = refs.get(seq)
            if ref is None:
                raise BugError(f"row {seq} of the restore has no campaign")
            await _mark(undone, environment, ref, run_id, "intended")

        context.before_intent = before_intent
        context.look_is_required = True
        facts = json.loads((await context.journal.read(read_meta))["facts"])
        written_ms = facts.get("source_written_ms", 0)
        # A stop so young may be hidden by a lag that nobody has seen yet.
        context.doubted_until_ms = min(written_ms, context.clock.wall_ms()) + round(
            GAP_MAX_S * 1000
        )
        await run_bulk(context, BulkPlan(verify=True, continued=True))

    async def remember(context: RunContext) -> None:
        """Record in the undone run's journal what came of each start."""
        for vdn_id in {ref.vdn_id for ref in undone.places}:
            for known in await context.journal.read(partial(known_of_vdn, vdn_id=vdn_id)):
                started = known.history.accepted or known.outcome is Outcome.RESTORED
                is_untouched = known.history.attempts == 0 and not started
                if is_untouched or known.ref not in undone.places:
                    continue
                state = "restored" if started else _unstarted(known.history.doubted, known.outcome)
                await _mark(undone, environment, known.ref, run_id, state)

    few = min(settings.pace.concurrency, _INTENTS_MAX)
    spec = RunSpec(
        kind=RunKind.RESTORE,
        settings=settings._replace(pace=settings.pace._replace(concurrency=few)),
        connection=connection,
        directory=directory,
        deadline_s=deadline_s,
    )
    return await live(environment, spec, work, before_report=remember)


def _unstarted(doubted: bool, outcome: Outcome | None) -> str:  # noqa: FBT001 - a pair of facts
    if doubted and outcome in {None, Outcome.UNKNOWN}:
        return "intended"
    return "cleared"


async def _mark(
    undone: _Source, environment: Environment, ref: CampaignRef, run_id: str, state: str
) -> None:
    await undone.journal.mark_restored(
        undone.places[ref], run_id=run_id, state=state, at_ms=environment.clock.wall_ms()
    )
