"""`restore`: start again exactly what a run turned off.

Rule 1: candidates are the campaigns that the run changed; what it found paused is not among them.
Rule 2: the undone run's journal remembers each start before it is sent, so that repeating a restore
        starts nothing twice: an operator may have stopped one again on purpose.
Rule 3: only what is suspended now is started; what cannot be looked at is left as it is.
Rule 4: a start that a killed restore may have sent is not sent again, by whoever comes later.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.core.outcome import Outcome
from orchestrator.core.quiet import GAP_MAX_S
from orchestrator.core.report import RunKind
from orchestrator.edges.journal import (
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
from orchestrator.edges.run_directory import RunDirectory
from orchestrator.errors import BugError, RefusedError, UsageError
from orchestrator.run.beginning import (
    Facts,
    facts_text,
    give_up,
    hold,
    last_written_ms,
    new_directory,
    open_run,
    refuse_if_old,
    run_id_of,
    unbegun,
    with_server_of,
)
from orchestrator.run.bulk import BulkPlan, run_bulk
from orchestrator.run.pausing_all import Confirm, Findings
from orchestrator.run.reporting import RunResult, tell
from orchestrator.run.session import Undertaking, live

if TYPE_CHECKING:
    import sqlite3

    from orchestrator.core.campaign import CampaignRef
    from orchestrator.edges.journal import Mark, Restorable
    from orchestrator.edges.settings import Settings
    from orchestrator.run.beginning import Opened
    from orchestrator.run.options import ContinueOptions, RestoreOptions
    from orchestrator.run.rig import Rig
    from orchestrator.run.session import Surroundings


#: intents that may be open at a time: what a kill leaves as perhaps sent
_INTENTS_MAX = 8


@dataclass(slots=True)
class _Source:
    """The run that is undone, held open for its memory."""

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
    surroundings: Surroundings,
    *,
    confirm: Confirm | None,
) -> RunResult:
    """Start again exactly the campaigns that a run turned off.

    Args:
        source: the run to undo.
        settings: credentials and pace; the server is the run's.
        options: which campaigns to leave off.
        surroundings: the process around the run.
        confirm: asks the operator; None: confirmed already.

    Raises:
        OrchestratorError: it could not begin, or was not confirmed; nothing was sent.
    """
    written_ms = last_written_ms(source)
    undone, candidates = await _open_source(source, surroundings)
    try:
        refuse_if_old(
            surroundings,
            undone.facts,
            written_ms,
            even_if_old=options.even_if_old,
            why="; what should run may be different by now",
        )
        settings = with_server_of(settings, undone.facts)
        if confirm is not None and not options.dry_run:
            await _ask(confirm, settings, undone, candidates)
        with unbegun():
            directory = new_directory(surroundings, settings.state_dir, options.run_dir)
        try:
            with unbegun():
                connection = _plan(
                    settings,
                    options,
                    surroundings,
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
                    return tell(connection, directory.path, fallback=surroundings.fallback)
            return await _live(
                connection, directory, settings, surroundings, undone=undone, deadline_s=None
            )
        finally:
            directory.release()
    finally:
        await undone.close()


async def continue_restore(
    opened: Opened, settings: Settings, options: ContinueOptions, surroundings: Surroundings
) -> RunResult:
    """One more life for an interrupted restore."""
    source = RunDirectory(Path(str(opened.facts.told["source_dir"])))
    hold(surroundings, source)
    try:
        undone = await _remember(source, surroundings)
    except BaseException:
        source.release()
        raise
    try:
        return await _live(
            opened.connection,
            opened.directory,
            settings,
            surroundings,
            undone=undone,
            deadline_s=options.deadline_s,
        )
    finally:
        await undone.close()


# -- the run that is undone -------------------------------------------------------------------


async def _open_source(
    source: RunDirectory, surroundings: Surroundings
) -> tuple[_Source, list[Restorable]]:
    hold(surroundings, source)
    if gap_of(source.journal) is Gap.LOST:
        surroundings.events.warning(
            "journal.incomplete",
            run_id=source.path.name,
            reason="its disk failed; what it paused after that will not start",
        )
    try:
        undone = await _remember(source, surroundings)
        candidates = await undone.journal.read(restorable)
    except BaseException:
        source.release()
        raise
    if undone.facts.kind is RunKind.RESTORE or undone.facts.dry_run:
        await undone.close()
        what = "a dry run" if undone.facts.dry_run else "a restore"
        raise UsageError(f"run {undone.facts.run_id} is {what}: there is nothing to turn back on")
    return undone, candidates


async def _remember(source: RunDirectory, surroundings: Surroundings) -> _Source:
    opened = await asyncio.to_thread(open_run, source, surroundings.stopping)
    journal = Journal(surroundings.make_writer(opened.connection, keep_going=False))
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
    surroundings: Surroundings,
    *,
    directory: RunDirectory,
    undone: _Source,
    candidates: list[Restorable],
    written_ms: int,
) -> sqlite3.Connection:
    text = facts_text(
        surroundings,
        settings,
        kind=RunKind.RESTORE,
        run_id=run_id_of(surroundings, directory),
        reason=options.reason,
        dry_run=options.dry_run,
        source_run=undone.facts.run_id,
        source_dir=str(undone.directory.path),
        source_written_ms=written_ms,
    )
    writer = PlanWriter(directory.journal)
    try:
        now_ms = surroundings.clock.wall_ms()
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


# -- the life ---------------------------------------------------------------------------------


async def _live(  # noqa: PLR0913 - a life is made of all of these
    connection: sqlite3.Connection,
    directory: RunDirectory,
    settings: Settings,
    surroundings: Surroundings,
    *,
    undone: _Source,
    deadline_s: float | None,
) -> RunResult:
    run_id = run_id_of(surroundings, directory)

    async def work(rig: Rig) -> None:
        refs = await rig.journal.read(pending_refs)

        async def before_intent(seq: int) -> None:
            ref = refs.get(seq)
            if ref is None:
                raise BugError(f"row {seq} of the restore has no campaign")
            await _mark(undone, surroundings, ref, run_id, "intended")

        rig.before_intent = before_intent
        rig.look_is_required = True
        facts = json.loads((await rig.journal.read(read_meta))["facts"])
        written_ms = facts.get("source_written_ms", 0)
        # A stop so young may be hidden by a lag that nobody has seen yet.
        rig.doubted_until_ms = min(written_ms, rig.clock.wall_ms()) + round(GAP_MAX_S * 1000)
        await run_bulk(rig, BulkPlan(verify=True, continued=True))

    async def remember(rig: Rig) -> None:
        """Tell the undone run's journal what came of each start."""
        for vdn_id in {ref.vdn_id for ref in undone.places}:
            for known in await rig.journal.read(partial(known_of_vdn, vdn_id=vdn_id)):
                started = known.history.accepted or known.outcome is Outcome.RESTORED
                is_untouched = known.history.attempts == 0 and not started
                if is_untouched or known.ref not in undone.places:
                    continue
                state = "restored" if started else _unstarted(known.history.doubted, known.outcome)
                await _mark(undone, surroundings, known.ref, run_id, state)

    few = min(settings.pace.concurrency, _INTENTS_MAX)
    undertaking = Undertaking(
        kind=RunKind.RESTORE,
        settings=settings._replace(pace=settings.pace._replace(concurrency=few)),
        connection=connection,
        directory=directory,
        deadline_s=deadline_s,
    )
    return await live(surroundings, undertaking, work, before_report=remember)


def _unstarted(doubted: bool, outcome: Outcome | None) -> str:  # noqa: FBT001 - a pair of facts
    if doubted and outcome in {None, Outcome.UNKNOWN}:
        return "intended"
    return "cleared"


async def _mark(
    undone: _Source, surroundings: Surroundings, ref: CampaignRef, run_id: str, state: str
) -> None:
    await undone.journal.mark_restored(
        undone.places[ref], run_id=run_id, state=state, at_ms=surroundings.clock.wall_ms()
    )
