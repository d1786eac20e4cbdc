"""What is known of a run that is on record: its report once more, what it was, a note on it.

Nothing is sent.
"""

from __future__ import annotations

from typing import BinaryIO

from orchestrator.engine.results import RunResult, make_report, read_facts, result_of
from orchestrator.errors import OrchestratorError, RefusedError, StorageError, UsageError
from orchestrator.reports.rows import Tally, iso_time
from orchestrator.reports.summary import Note
from orchestrator.settings.load import Remembered
from orchestrator.store import RunRecord, open_saved
from orchestrator.store.notes import add_note
from orchestrator.store.run_dir import RunDirectory, refuse_foreign


def read_record(directory: RunDirectory) -> RunRecord:
    """What a run is, by its journal.

    Raises:
        SettingsError: we are root, and it is another user's.
        StorageError, JournalMismatchError: its journal cannot be read.
    """
    refuse_foreign(directory.path)
    with open_saved(directory.journal) as saved:
        return saved.record()


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
        result = make_report(saved, directory.path, fallback=fallback, repeated=True)
    if result.failure is not None:
        raise result.failure
    return result


def id_of(directory: RunDirectory) -> str:
    """The id of a run, which need not be its directory's name; that where it cannot be read."""
    try:
        return read_record(directory).run_id
    except OrchestratorError:
        return directory.path.name


def read_again(directory: RunDirectory) -> RunResult:
    """What a run came to, by its journal alone; no file is written.

    Raises:
        StorageError, JournalMismatchError: the journal is damaged.
    """
    tally = Tally()
    with open_saved(directory.journal, whole=True) as saved:
        facts = read_facts(saved, directory.path)
        for row in saved.rows():
            tally.add(row)
    return result_of(facts, tally, directory.path, repeated=True)


def remembered(directory: RunDirectory) -> Remembered:
    """What a run was made with, for another process that goes on with it or undoes it.

    Raises:
        SettingsError: we are root, and it is another user's.
        StorageError, JournalMismatchError: its journal cannot be read.
    """
    record = read_record(directory)
    values = {
        "server.base_url": record.server,
        "server.ca_file": record.settings.get("server", {}).get("ca_file"),
        "credentials.access_key": record.settings.get("credentials", {}).get("access_key"),
        "credentials.secret_key_file": record.secret_key_file,
    }
    return Remembered(record.run_id, {key: str(value) for key, value in values.items() if value})


def add_note_to(directory: RunDirectory, text: str, *, operator: str, at_ms: int) -> Note:
    """Add a remark to a run, live or not, and tell it in summary.json unless the run's end will.

    Raises:
        UsageError: it says nothing.
        StorageError: it could not be added; or summary.json could not be made again.
        SettingsError: we are root, and it is another user's.
    """
    if not text.strip():
        raise UsageError("the note is empty", advice="say what there is to remember")
    refuse_foreign(directory.path)
    note = Note(iso_time(at_ms), operator, text)
    add_note(directory.path, note)
    if directory.is_live:
        return note
    try:
        with open_saved(directory.journal) as saved:
            result = make_report(saved, directory.path)
        if result.failure is not None:
            raise result.failure
    except OrchestratorError as error:
        raise StorageError(
            f"the note is added, and summary.json could not be made again: {error}",
            advice=error.advice,
        ) from error
    return note
