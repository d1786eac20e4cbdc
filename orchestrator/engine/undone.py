"""What a restore starts of the run that it undoes, what it leaves off, and why.

That run's journal is read and never written: what restores have done is in marks.jsonl beside it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.engine.begin import OLD_MS, check_wanted
from orchestrator.engine.run_list import is_finished
from orchestrator.engine.stops import Stop, stop_in, stops_around
from orchestrator.errors import RefusedError, SettingsError, StorageError, UsageError
from orchestrator.reports.rows import RunKind
from orchestrator.reports.undo import OtherRun, UndoFacts
from orchestrator.settings.schema import DATABASE_URL
from orchestrator.store import MarkState, Reason, open_saved
from orchestrator.store.registry import known_runs, newest_runs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from orchestrator.engine.options import RestoreOptions
    from orchestrator.engine.run import Environment
    from orchestrator.engine.stop import Stopping
    from orchestrator.model import CampaignRef
    from orchestrator.store import Restorable, RunRecord, Saved
    from orchestrator.store.run_dir import RunDirectory

#: first names that an operator is shown
_NAMES = 5
#: ids that a warning names
_IDS = 20
#: letters of a list in a reason: it stands in many rows
_LIST_LIMIT = 80


async def read_undone(directory: RunDirectory, environment: Environment) -> Stop:
    """Read the run that is to be undone, checked from end to end.

    Raises:
        StorageError, JournalMismatchError: its journal or its marks cannot be read.
        NotBegunError: a stop came meanwhile.
        UsageError: there is nothing to undo in a run of its kind.
    """
    undone = await asyncio.to_thread(_read_whole, directory, environment.stopping)
    refuse_if_pointless(undone.record)
    if not undone.record.cluster:
        return undone
    if environment.shared_marks is None:
        raise SettingsError(
            f"the cluster worked on run {undone.record.run_id}; what other machines have started"
            " again is in its database, and cluster.database_url is not set. Nothing was sent.",
            key=DATABASE_URL,
            advice="set it, or ORCHESTRATOR_DATABASE_URL",
        )
    shared = environment.shared_marks(undone.record.run_id)
    everywhere = await asyncio.to_thread(shared.read)
    return replace(undone, marks=undone.marks | everywhere, shared=shared)


def refuse_if_pointless(record: RunRecord) -> None:
    """Refuse a run that turned nothing off by its kind.

    Raises:
        UsageError: it is a restore, or a dry run.
    """
    if record.kind is RunKind.RESTORE:
        what = "a restore"
        advice = f"it undid run {record.source_run}; `orchestrator runs` lists all runs"
    elif record.dry_run:
        what, advice = "a dry run", "`orchestrator runs` lists the runs"
    else:
        return
    raise UsageError(
        f"run {record.run_id} is {what}: there is nothing to turn back on. Nothing was sent.",
        advice=advice,
    )


def _read_whole(directory: RunDirectory, stopping: Stopping) -> Stop:
    try:
        with open_saved(
            directory.journal, whole=True, is_unwanted=lambda: stopping.is_stopping
        ) as saved:
            record = saved.record()
            if record.cluster and not _is_over(record, saved):
                raise RefusedError(
                    f"the cluster works on run {record.run_id}, and what it turned off is not known"
                    " here yet. Nothing was sent.",
                    advice=f"`orchestrator continue {record.run_id}` follows it to its end",
                )
            return stop_in(directory, saved)
    except StorageError:
        check_wanted(stopping)
        raise


def _is_over(record: RunRecord, saved: Saved) -> bool:
    """Whether the cluster works on it no more; an emergency may end without a proof."""
    past = saved.processes()
    has_ended = bool(past) and past[-1].ended is not None
    return is_finished(saved) or (record.kind is RunKind.PAUSE_ALL and has_ended)


# -- what starts, and what does not -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RestorePreview:
    """What a restore starts of a run, and what it leaves off, as things stand."""

    facts: UndoFacts
    #: what would start, in order
    wanted: list[Restorable]
    #: why the others are not simply started
    reasons: dict[CampaignRef, Reason]
    #: all that the run turned off
    candidates: list[Restorable]
    #: in which VDNs the run turned something off: what an operator has to type
    vdns: tuple[int, ...]
    #: why a restore would be refused without --even-if-old; empty: it would not
    too_old: str = ""


def decide(options: RestoreOptions, undone: Stop, state_dir: Path) -> RestorePreview:
    """Decide what starts again; it looks into the other runs of these VDNs."""
    stopped_again, others = _look_around(undone, state_dir)
    reasons: dict[CampaignRef, Reason] = {}
    wanted: list[Restorable] = []
    restored_before = 0
    names: dict[str, list[str]] = {}
    for one in undone.candidates:
        newer = stopped_again.get(one.ref, "")
        reason = _why_off(options, undone, one, newer=newer, number_wanted=len(wanted))
        if reason is None:
            wanted.append(one)
            continue
        reasons[one.ref] = reason
        if undone.is_restored(one.ref) and not newer:
            restored_before += 1
        else:
            names.setdefault(reason.text, []).append(_name(one))
    by_number = sorted(names.items(), key=lambda pair: -len(pair[1]))
    record = undone.record
    facts = UndoFacts(
        run_id=record.run_id,
        kind=record.kind,
        operator=record.operator,
        host=record.host,
        reason=record.reason,
        started_at_ms=record.started_at_ms,
        will_start=len(wanted),
        first_names=tuple(_name(one) for one in wanted[:_NAMES]),
        started_before=restored_before,
        stay_off=tuple((why, len(them), tuple(them[:_NAMES])) for why, them in by_number),
        others=others,
        stopped_again_by=tuple(sorted(set(stopped_again.values()))),
    )
    vdns = tuple(sorted({ref.vdn_id for ref in undone.refs}))
    return RestorePreview(facts, wanted, reasons, undone.candidates, vdns)


def _why_off(
    options: RestoreOptions, undone: Stop, one: Restorable, *, newer: str, number_wanted: int
) -> Reason | None:
    """Why a campaign is not simply started; None: it is.

    `newer` is the run that turned it off since, or since a restore started it.
    """
    mark = undone.marks.get(one.ref)
    if mark is not None and undone.is_restored(one.ref):
        since = f", stopped again since by run {newer}" if newer else ""
        return Reason(
            f"restored before from run {undone.record.run_id} by run {mark.run_id}{since}"
        )
    if newer:
        return Reason(f"stopped again since by run {newer}")
    if text := _not_chosen(options, one, number_wanted=number_wanted):
        return Reason(text)
    if mark is not None and mark.state is MarkState.INTENDED and not options.include_inferred:
        text = (
            f"restore {mark.run_id or 'before'} was interrupted and may have started it; it is"
            " left alone, --include-inferred starts it too"
        )
        return Reason(text, is_doubt=True)
    return None


def _not_chosen(options: RestoreOptions, one: Restorable, *, number_wanted: int) -> str:
    if options.only is not None and one.ref not in options.only:
        return f"not in --only {shortened(options.only_from)}".rstrip()
    if one.ref in options.except_:
        return f"excluded by --except {shortened(options.except_from)}".rstrip()
    if options.vdns and one.ref.vdn_id not in options.vdns:
        return f"not in --vdn {' '.join(map(str, sorted(options.vdns)))}"
    if one.inferred and not options.include_inferred:
        return "that run probably paused it, which is not certain; --include-inferred starts it too"
    if options.limit is not None and number_wanted >= options.limit:
        return f"over --limit {options.limit}"
    return ""


def _look_around(
    undone: Stop, state_dir: Path
) -> tuple[Mapping[CampaignRef, str], tuple[OtherRun, ...]]:
    """Which run turned a campaign off since, and which other runs turned off more in these VDNs.

    Of each campaign the newest run that turned it off says how it is: off by that run's doing,
    unless a restore has started it since, be it of that run or of the one that is undone.
    """
    record, own = undone.record, undone.refs
    age = {run.run_id: number for number, run in enumerate(newest_runs(state_dir))}
    # of a run that is not registered here nobody knows what came after it
    is_known = any(run.run_id == record.run_id for run in known_runs(state_dir))
    vdns, found = {ref.vdn_id for ref in own}, set(own)
    newest: dict[CampaignRef, str] = {}
    others: list[OtherRun] = []
    for stop, is_newer in stops_around(record, state_dir, since_ms=record.started_at_ms - OLD_MS):
        by = stop.record
        for ref in stop.refs & own - newest.keys() if is_newer else ():
            restored_by = undone.marks[ref].run_id if undone.is_restored(ref) else record.run_id
            is_since = is_known
            if restored_by != record.run_id:
                is_since = age.get(by.run_id, -1) < age.get(restored_by, -1)
            newest[ref] = by.run_id if is_since and not stop.is_restored(ref) else ""
        more = {one.ref for one in stop.candidates if one.ref.vdn_id in vdns and not one.inferred}
        more -= found
        found |= more
        if off := sum(not stop.is_restored(ref) for ref in more):
            others.append(OtherRun(by.run_id, by.kind, by.operator, by.started_at_ms, off))
    return {ref: run_id for ref, run_id in newest.items() if run_id}, tuple(others)


def _name(one: Restorable) -> str:
    return one.name or str(one.ref.campaign_id)


def shortened(text: str) -> str:
    """What others wrote, short enough to stand in many rows."""
    return text if len(text) <= _LIST_LIMIT else text[: _LIST_LIMIT - 1] + "…"


def selection_document(options: RestoreOptions) -> dict[str, object]:
    """What was chosen, as summary.json shows it."""

    def listed(source: str, chosen: Collection[object]) -> dict[str, object]:
        return {"list": source, "campaigns": len(chosen)}

    return {
        "only": None if options.only is None else listed(options.only_from, options.only),
        "except": listed(options.except_from, options.except_) if options.except_ else None,
        "vdns": sorted(options.vdns),
        "limit": options.limit,
    }


def warn_of_strangers(options: RestoreOptions, undone: Stop, environment: Environment) -> None:
    """Say which campaigns of --only and --except this run never turned off: a slip, perhaps."""
    for flag, chosen in (("--only", options.only or frozenset()), ("--except", options.except_)):
        strange = sorted(chosen - undone.refs)
        if strange:
            shown = ", ".join(f"{vdn_id}/{campaign_id}" for vdn_id, campaign_id in strange[:_IDS])
            environment.events.warning(
                "selection.not_turned_off",
                flag=flag,
                run_id=undone.record.run_id,
                number=len(strange),
                campaigns=shown + (", …" if len(strange) > _IDS else ""),
            )
