"""Stops: the runs that turned something off, and what of that restores have started again.

A restore may be stopped again on purpose since, and a stop be undone: whoever starts or goes on
with something asks here what came after it. Only the newest runs of this state directory are
known; one that cannot be read is passed over, and `runs` says so.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.engine.begin import unbegun
from orchestrator.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.reports.rows import RunKind
from orchestrator.store import MarkState, open_saved
from orchestrator.store.marks import read_marks
from orchestrator.store.registry import find_by_id, newest_runs
from orchestrator.store.run_dir import RunDirectory

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from orchestrator.model import CampaignRef
    from orchestrator.store import Mark, Restorable, RunRecord, Saved
    from orchestrator.store.registry import KnownRun
    from orchestrator.store.shared import SharedMarks

#: what helps where the run that is undone cannot be held, read or marked
REPAIR = "make room there, or correct the rights, and repeat it"


@dataclass(frozen=True, slots=True)
class Stop:
    """A run that turned something off; whoever starts some of it again holds its directory."""

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

    @property
    def vdns(self) -> tuple[int, ...]:
        """The VDNs in which it did; those that it was for where it did not."""
        return tuple(sorted({ref.vdn_id for ref in self.refs})) or self.record.vdns

    def is_restored(self, ref: CampaignRef) -> bool:
        """Whether a restore has started a campaign again."""
        mark = self.marks.get(ref)
        return mark is not None and mark.state is MarkState.RESTORED


def stop_in(directory: RunDirectory, saved: Saved) -> Stop:
    """What an open journal, and the marks beside it, say of a run.

    Raises:
        StorageError: the marks cannot be read.
    """
    marks = read_marks(directory.path, saved.marks())
    return Stop(directory, saved.record(), saved.restorable(), marks)


def read_stop(directory: RunDirectory) -> Stop:
    """Read a run, without checking all of its journal.

    Raises:
        StorageError, JournalMismatchError: its journal or its marks cannot be read.
    """
    with open_saved(directory.journal) as saved:
        return stop_in(directory, saved)


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


# -- what came after --------------------------------------------------------------------------


def stops_around(
    record: RunRecord, state_dir: Path, *, since_ms: int = 0, goes_on: bool = False
) -> Iterator[tuple[Stop, bool]]:
    """The other stops of a run's server, newest first, and whether each began after the run.

    Of those that began before it, only what began at `since_ms` or later (wall clock), and with
    `goes_on` only what a process works on: others are not read.
    """
    for run, is_newer in _others(record, state_dir):
        if goes_on and not (is_newer or run.directory.is_live):
            continue
        stop = None
        with suppress(OrchestratorError), open_saved(run.directory.journal) as saved:
            other = saved.record()
            is_meant = is_newer or other.started_at_ms >= since_ms
            if is_meant and other.kind is not RunKind.RESTORE and _has_changed(record, saved):
                stop = stop_in(run.directory, saved)
        if stop is not None:
            yield stop, is_newer


def _others(record: RunRecord, state_dir: Path) -> Iterator[tuple[KnownRun, bool]]:
    """The other runs, newest first, and whether each began after this one."""
    is_newer = True
    for run in newest_runs(state_dir):
        if run.run_id == record.run_id:
            is_newer = False
        else:
            yield run, is_newer


def _has_changed(record: RunRecord, saved: Saved) -> bool:
    """Whether a run may have changed something at the server of this one."""
    other = saved.record()
    is_real = other.fingerprint == record.fingerprint and not other.dry_run
    return is_real and saved.may_have_changed()


def other_stop_of(source: Stop, pairs: Collection[tuple[int, int]], state_dir: Path) -> str:
    """The newest other run that turned all of these off; empty: there is none.

    Args:
        source: the run that did not.
        pairs: VDN and campaign id of each.
        state_dir: whose runs.
    """
    wanted = set(pairs)
    others = stops_around(source.record, state_dir)
    return next((stop.record.run_id for stop, _ in others if wanted <= stop.refs), "")


def refuse_if_overtaken(record: RunRecord, state_dir: Path) -> None:
    """Let no restore go on where somebody has stopped since, and no stop where somebody restored.

    Raises:
        RefusedError: somebody has.
        UsageError: the run that a restore undoes is gone.
    """
    if record.kind is RunKind.RESTORE:
        _refuse_if_stopped_since(record, state_dir)
    elif record.kind is RunKind.PAUSE_ALL:
        _refuse_if_restored_since(record, state_dir)


def _refuse_if_stopped_since(record: RunRecord, state_dir: Path) -> None:
    with unbegun(REPAIR):
        own = set(read_stop(find_undone(record, state_dir)).vdns)
    for stop, is_newer in stops_around(record, state_dir):
        if not is_newer:
            return
        if vdns := own & {ref.vdn_id for ref in stop.refs}:
            raise RefusedError(
                f"run {stop.record.run_id} has stopped campaigns of VDN {_listed(vdns)} since this"
                " restore began. Nothing was sent.",
                advice=f"`orchestrator restore {record.source_run}` says what it would start, and"
                " asks",
            )


def _refuse_if_restored_since(record: RunRecord, state_dir: Path) -> None:
    """A stop finds anew what runs: it would pause all that was started again, and ask nobody."""
    for run, is_newer in _others(record, state_dir):
        if not is_newer:
            return
        vdns: set[int] = set()
        with suppress(OrchestratorError), open_saved(run.directory.journal) as saved:
            if saved.record().kind is RunKind.RESTORE and _has_changed(record, saved):
                vdns = set(record.vdns) & set(saved.vdns())
        if vdns:
            raise RefusedError(
                f"run {run.run_id} has started campaigns of VDN {_listed(vdns)} again since this"
                " stop began. Nothing was sent; campaigns are still dialling.",
                advice=f"`orchestrator pause-all {' '.join(f'--vdn {one}' for one in record.vdns)}`"
                " lists what runs, and asks",
            )


def _listed(vdns: set[int]) -> str:
    return " ".join(map(str, sorted(vdns)))
