"""`report`: the files of a run once more from its journal; nothing is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from orchestrator.engine.results import RunResult, Stored, make_report, read_facts, result_of
from orchestrator.errors import RefusedError
from orchestrator.reports.rows import Tally
from orchestrator.store import open_saved
from orchestrator.store.run_dir import refuse_foreign

if TYPE_CHECKING:
    from orchestrator.store.run_dir import RunDirectory


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
