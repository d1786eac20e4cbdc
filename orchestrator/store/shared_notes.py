"""Remarks on the cluster's runs, for every machine: what one side lacks, it is given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from orchestrator.reports.summary import Note
from orchestrator.store.database import opened
from orchestrator.store.notes import add_note, read_notes
from orchestrator.store.run_dir import refuse_foreign

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.settings.secret import Secret

_PUT = (
    b"INSERT INTO orchestrator.notes SELECT * FROM json_to_recordset(%s)"
    b" AS new(run_id text, at text, operator text, text text) ON CONFLICT DO NOTHING"
)
_READ = (
    b"SELECT run_id, at, operator, text FROM orchestrator.notes WHERE run_id = ANY(%s) ORDER BY at"
)


def share_notes(url: Secret, folders: Mapping[str, Path]) -> None:
    """Let the remarks on these runs be the same here and in the cluster's database.

    Args:
        url: the database.
        folders: the id of each run, and its directory here.

    Raises:
        StorageError: the database cannot be reached, or remarks not be read or written.
        JournalMismatchError: its tables are missing, or of another version.
        SettingsError: we are root, and a directory is another user's.
    """
    here = {
        run_id: [Note(*map(_without_nul, one)) for one in read_notes(folder)]
        for run_id, folder in folders.items()
    }
    rows = [{"run_id": run_id, **one._asdict()} for run_id, notes in here.items() for one in notes]
    with opened(url) as connection:
        if rows:
            connection.execute(_PUT, (json.dumps(rows),))
        found = connection.execute(_READ, (list(folders),)).fetchall()
    for run_id, *told in found:
        if Note(*told) not in here[run_id]:
            refuse_foreign(folders[run_id])
            add_note(folders[run_id], Note(*told))


def _without_nul(text: str) -> str:
    # PostgreSQL keeps none
    return text.replace("\0", "\ufffd")
