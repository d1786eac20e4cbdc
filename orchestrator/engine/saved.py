"""`report` and `runs`: what the journals say; nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from orchestrator.engine.results import RunResult, Stored, make_report, read_facts, result_of
from orchestrator.errors import OrchestratorError, RefusedError
from orchestrator.reports.rows import RunKind, Tally
from orchestrator.reports.summary import RunVerdict
from orchestrator.store import open_saved
from orchestrator.store.run_dir import find_run, refuse_foreign, runs_in

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.store.run_dir import RunDirectory


class RunLine(NamedTuple):
    """One run in the list of runs."""

    run_id: str
    path: Path
    #: pause, pause-all, restore; empty when the journal cannot be read
    kind: str
    verdict: str
    started_at_ms: int | None
    #: a living process works on it
    live: bool
    #: who, as `process 12 on host since …`; empty when nobody does
    holder: str
    #: outcome → number, as recorded so far
    counts: dict[str, int]
    #: why the journal cannot be read
    problem: str = ""


def report_again(directory: RunDirectory, *, fallback: BinaryIO | None) -> RunResult:
    """Make the report files of a run again from its journal.

    Raises:
        RefusedError: a living process works on it.
        StorageError: the journal is damaged, or the files cannot be written.
        JournalMismatchError: another version wrote it.
    """
    if directory.is_live:
        raise RefusedError(
            f"run {directory.path.name} is being worked on by {directory.holder() or 'a process'}",
            advice="it writes its report when it ends; `orchestrator runs` shows how far it is",
        )
    refuse_foreign(directory.path)
    with open_saved(directory.journal, whole=True) as saved:
        stored = make_report(saved, directory.path, storage_failed=False, fallback=fallback)
    if stored.failure is not None:
        raise stored.failure
    return result_of(stored, directory.path, repeated=True)


def read_again(directory: RunDirectory) -> RunResult:
    """What a run came to, by its journal alone; no file is written.

    Raises:
        StorageError: the journal is damaged.
        JournalMismatchError: another version wrote it.
    """
    tally = Tally()
    with open_saved(directory.journal, whole=True) as saved:
        facts = read_facts(saved)
        for row in saved.rows():
            tally.add(row)
    return result_of(Stored(facts, tally, None), directory.path, repeated=True)


def find_undoable(state_dir: Path, text: str) -> RunDirectory:
    """Find a run to restore from; `last` is the newest one that turned something off.

    Dry runs and restores are passed over: `restore last` after its own dry run, or a second time,
    means the same run. So are runs that changed nothing: a second pause-all, to be sure, finds all
    paused. One that cannot be read is not passed over: an older run is another matter.

    Raises:
        UsageError: there is none, or more than one.
    """
    if text != "last":
        return find_run(state_dir, text)
    for directory in runs_in(state_dir):
        if directory.has_journal and _may_be_undone(directory):
            return directory
    return find_run(state_dir, text)


def _may_be_undone(directory: RunDirectory) -> bool:
    try:
        with open_saved(directory.journal) as saved:
            record, changed = saved.record(), saved.may_have_changed()
    except OrchestratorError:
        return True
    return record.kind is not RunKind.RESTORE and not record.dry_run and changed


def list_runs(state_dir: Path) -> list[RunLine]:
    """Every run below a state directory, newest first."""
    return [_line(directory) for directory in runs_in(state_dir) if directory.has_journal]


def _line(directory: RunDirectory) -> RunLine:
    live = directory.is_live
    holder = directory.holder() if live else None
    try:
        with open_saved(directory.journal) as saved:
            record, recorded = saved.record(), saved.counts()
    except OrchestratorError as error:
        return RunLine(
            run_id=directory.path.name,
            path=directory.path,
            kind="",
            verdict="unreadable",
            started_at_ms=None,
            live=live,
            holder=str(holder or ""),
            counts={},
            problem=str(error),
        )
    unended = RunVerdict.PLANNED if record.dry_run else RunVerdict.INTERRUPTED
    return RunLine(
        run_id=record.run_id,
        path=directory.path,
        kind=record.kind.value,
        verdict="running" if live else record.verdict or unended.value,
        started_at_ms=record.started_at_ms,
        live=live,
        holder=str(holder or ""),
        counts=recorded,
    )
