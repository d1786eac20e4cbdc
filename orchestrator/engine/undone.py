"""The run that a restore undoes: what it turned off, what of that starts again, what does not.

Its journal is read and never written: what restores have done is in marks.jsonl beside it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.engine.begin import OLD_MS, check_wanted, hold
from orchestrator.engine.run_list import is_finished
from orchestrator.errors import (
    OrchestratorError,
    RefusedError,
    SettingsError,
    StorageError,
    UsageError,
)
from orchestrator.reports.rows import RunKind
from orchestrator.reports.undo import OtherRun, UndoFacts
from orchestrator.settings.schema import DATABASE_URL
from orchestrator.store import MarkState, Reason, open_saved
from orchestrator.store.marks import MarkFile, read_marks
from orchestrator.store.registry import find_by_id, newest_runs
from orchestrator.store.run_dir import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from orchestrator.engine.options import RestoreOptions
    from orchestrator.engine.run import Environment
    from orchestrator.engine.stop import Stopping
    from orchestrator.model import CampaignRef
    from orchestrator.store import Mark, Restorable, RunRecord, Saved
    from orchestrator.store.shared import SharedMarks

#: first names that an operator is shown
_NAMES = 5
#: ids that a warning names
_IDS = 20
#: letters of a list in a reason: it stands in many rows
_LIST_LIMIT = 80


@dataclass(frozen=True, slots=True)
class Undone:
    """A run as far as a restore needs it; whoever starts something holds its directory."""

    directory: RunDirectory
    record: RunRecord
    #: what it turned off, in order
    candidates: list[Restorable]
    #: what restores of it have done
    marks: dict[CampaignRef, Mark]
    #: where restores on other machines see that; None: there are none
    shared: SharedMarks | None = None

    @property
    def refs(self) -> set[CampaignRef]:
        """What it turned off."""
        return {one.ref for one in self.candidates}

    def is_restored(self, ref: CampaignRef) -> bool:
        """Whether a restore has started a campaign again."""
        mark = self.marks.get(ref)
        return mark is not None and mark.state is MarkState.RESTORED


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a run starts again."""

    wanted: list[Restorable]
    #: why the others are not simply started
    reasons: dict[CampaignRef, Reason]
    #: how many of them another restore had started before
    restored_before: int
    #: restored and turned off again: which run did that
    stopped_again: Mapping[CampaignRef, str]


async def read_undone(directory: RunDirectory, environment: Environment) -> Undone:
    """Read the run that is to be undone, checked from end to end.

    Raises:
        StorageError, JournalMismatchError: its journal or its marks cannot be read.
        NotBegunError: a stop came meanwhile.
        UsageError: there is nothing to undo in a run of its kind.
    """
    undone = await asyncio.to_thread(_read_whole, directory, environment.stopping)
    _refuse_if_pointless(undone.record)
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
    try:
        everywhere = await asyncio.to_thread(shared.read)
    except StorageError as error:
        raise _nothing_sent(error) from error
    return replace(undone, marks=undone.marks | everywhere, shared=shared)


async def look_at_undone(directory: RunDirectory) -> Undone:
    """Read the run for a preview: quicker, because whoever starts something checks it first.

    Raises:
        StorageError, JournalMismatchError: its journal or its marks cannot be read.
        UsageError: there is nothing to undo in a run of its kind.
    """

    def read() -> Undone:
        with open_saved(directory.journal) as saved:
            return _undone(directory, saved)

    undone = await asyncio.to_thread(read)
    _refuse_if_pointless(undone.record)
    return undone


def _refuse_if_pointless(record: RunRecord) -> None:
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


def _read_whole(directory: RunDirectory, stopping: Stopping) -> Undone:
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
            return _undone(directory, saved)
    except StorageError as error:
        check_wanted(stopping)
        raise _nothing_sent(error) from error


def _is_over(record: RunRecord, saved: Saved) -> bool:
    """Whether the cluster works on it no more; an emergency may end without a proof."""
    past = saved.processes()
    has_ended = bool(past) and past[-1].ended is not None
    return is_finished(saved) or (record.kind is RunKind.PAUSE_ALL and has_ended)


def hold_undone(environment: Environment, directory: RunDirectory) -> None:
    """Work alone on a run that is undone.

    Raises:
        RefusedError: another process works there.
        StorageError: nobody can.
    """
    try:
        hold(environment, directory)
    except StorageError as error:
        raise _nothing_sent(error) from error


def open_marks(undone: Undone) -> MarkFile:
    """The marks of a run whose directory is held, open for writing.

    Raises:
        StorageError: they cannot be written, and what cannot be marked is not started.
    """
    try:
        return MarkFile(undone.directory.path, shared=undone.shared)
    except StorageError as error:
        raise _nothing_sent(error) from error


def _nothing_sent(error: StorageError) -> StorageError:
    if error.sentence.endswith("Nothing was sent."):
        return error
    return StorageError(
        f"{error.sentence}. Nothing was sent.",
        advice=error.advice or "make room there, or correct the rights, and repeat it",
    )


def _undone(directory: RunDirectory, saved: Saved) -> Undone:
    marks = read_marks(directory.path, saved.marks())
    return Undone(directory, saved.record(), saved.restorable(), marks)


def find_undone(record: RunRecord, state_dir: Path) -> RunDirectory:
    """The run that an interrupted restore undoes: where it was, or by its id.

    Raises:
        UsageError: it is gone.
    """
    there = RunDirectory(Path(record.source_dir))
    if there.has_journal:
        return there
    try:
        return find_by_id(state_dir, record.source_run)
    except UsageError as error:
        raise UsageError(
            f"restore {record.run_id} undoes run {record.source_run}, and that run's directory"
            f" is gone: {record.source_dir}. Nothing was sent.",
            advice="put it back: without its journal and its marks nobody knows what this restore"
            " may start",
        ) from error


def vdns_of(directory: RunDirectory) -> tuple[int, ...]:
    """The VDNs in which a run turned something off; of one that did not, those it was for.

    Raises:
        StorageError, JournalMismatchError: its journal cannot be read.
    """
    with open_saved(directory.journal) as saved:
        found = {one.ref.vdn_id for one in saved.restorable()}
        return tuple(sorted(found)) or saved.record().vdns


def read_stop(directory: RunDirectory, fingerprint: str, *, since_ms: int = 0) -> Undone | None:
    """A run that turned something off there, since then; None: it did not, or cannot be read."""
    with suppress(OrchestratorError), open_saved(directory.journal) as saved:
        record = saved.record()
        is_stop = record.kind is not RunKind.RESTORE and not record.dry_run
        is_meant = record.fingerprint == fingerprint and record.started_at_ms >= since_ms
        if is_stop and is_meant and saved.may_have_changed():
            return _undone(directory, saved)
    return None


def turned_off(directory: RunDirectory) -> frozenset[tuple[int, int]]:
    """What a run turned off, as VDN and campaign id.

    Raises:
        StorageError, JournalMismatchError: its journal cannot be read.
    """
    with open_saved(directory.journal) as saved:
        return frozenset((one.ref.vdn_id, one.ref.campaign_id) for one in saved.restorable())


# -- what starts, and what does not -----------------------------------------------------------


def choose(
    options: RestoreOptions, undone: Undone, stopped_again: Mapping[CampaignRef, str]
) -> Choice:
    """Decide what starts again; for what was perhaps started, say what is known.

    `stopped_again` names the newer run that turned a campaign off since a restore started it.
    """
    reasons: dict[CampaignRef, Reason] = {}
    wanted: list[Restorable] = []
    restored_before = 0
    for one in undone.candidates:
        mark = undone.marks.get(one.ref)
        if mark is not None and undone.is_restored(one.ref):
            newer = stopped_again.get(one.ref)
            since = f", stopped again since by run {newer}" if newer else ""
            restored_before += not newer
            text = f"restored before from run {undone.record.run_id} by run {mark.run_id}{since}"
            reasons[one.ref] = Reason(text)
        elif text := _reason(options, one, number_wanted=len(wanted)):
            reasons[one.ref] = Reason(text)
        elif mark is not None and mark.state is MarkState.INTENDED and not options.include_inferred:
            text = (
                f"restore {mark.run_id or 'before'} was interrupted and may have started it; it is"
                " left alone, --include-inferred starts it too"
            )
            reasons[one.ref] = Reason(text, is_doubt=True)
        else:
            wanted.append(one)
    return Choice(wanted, reasons, restored_before, stopped_again)


def _reason(options: RestoreOptions, one: Restorable, *, number_wanted: int) -> str:
    pair = (one.ref.vdn_id, one.ref.campaign_id)
    if options.only is not None and pair not in options.only:
        return f"not in --only {shortened(options.only_from)}".rstrip()
    if pair in options.except_:
        return f"excluded by --except {shortened(options.except_from)}".rstrip()
    if options.vdns and one.ref.vdn_id not in options.vdns:
        return f"not in --vdn {' '.join(map(str, sorted(options.vdns)))}"
    if one.inferred and not options.include_inferred:
        return "that run probably paused it, which is not certain; --include-inferred starts it too"
    if options.limit is not None and number_wanted >= options.limit:
        return f"over --limit {options.limit}"
    return ""


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


def warn_of_strangers(options: RestoreOptions, undone: Undone, environment: Environment) -> None:
    """Say which campaigns of --only and --except this run never turned off: a slip, perhaps."""
    known = {(one.ref.vdn_id, one.ref.campaign_id) for one in undone.candidates}
    for flag, chosen in (("--only", options.only or ()), ("--except", options.except_)):
        strange = sorted(pair for pair in chosen if pair not in known)
        if strange:
            environment.events.warning(
                "selection.not_turned_off",
                flag=flag,
                run_id=undone.record.run_id,
                number=len(strange),
                campaigns=_ids(strange),
            )


def _ids(pairs: list[tuple[int, int]]) -> str:
    shown = ", ".join(f"{vdn_id}/{campaign_id}" for vdn_id, campaign_id in pairs[:_IDS])
    return shown + (", …" if len(pairs) > _IDS else "")


# -- what an operator is shown ----------------------------------------------------------------


def undo_facts(undone: Undone, choice: Choice, state_dir: Path) -> UndoFacts:
    """What a restore is about to do; it looks into the other runs of these VDNs."""
    record = undone.record
    names: dict[str, list[str]] = {}
    for one in undone.candidates:
        reason = choice.reasons.get(one.ref)
        is_on = undone.is_restored(one.ref) and one.ref not in choice.stopped_again
        if reason is not None and not is_on:
            names.setdefault(reason.text, []).append(one.name or str(one.ref.campaign_id))
    by_number = sorted(names.items(), key=lambda pair: -len(pair[1]))
    return UndoFacts(
        run_id=record.run_id,
        kind=record.kind,
        operator=record.operator,
        host=record.host,
        reason=record.reason,
        started_at_ms=record.started_at_ms,
        will_start=len(choice.wanted),
        first_names=tuple(one.name or str(one.ref.campaign_id) for one in choice.wanted[:_NAMES]),
        started_before=choice.restored_before,
        stay_off=tuple((why, len(them), tuple(them[:_NAMES])) for why, them in by_number),
        others=tuple(_others(undone, state_dir)),
        stopped_again_by=tuple(sorted(set(choice.stopped_again.values()))),
    )


def _others(undone: Undone, state_dir: Path) -> Iterable[OtherRun]:
    """The other runs that turned off more in these VDNs, from a day before this one on.

    Of each campaign the newest run that turned it off counts, and only while it is not restored.
    """
    record, told = undone.record, undone.refs
    vdns = {ref.vdn_id for ref in told}
    for run in newest_runs(state_dir):
        if run.run_id == record.run_id:
            continue
        since_ms = record.started_at_ms - OLD_MS
        other = read_stop(run.directory, record.fingerprint, since_ms=since_ms)
        if other is None:
            continue
        more = {one.ref for one in other.candidates if one.ref.vdn_id in vdns and not one.inferred}
        more -= told
        told |= more
        off = sum(not other.is_restored(ref) for ref in more)
        if off:
            by = other.record
            yield OtherRun(by.run_id, by.kind, by.operator, by.started_at_ms, off)
