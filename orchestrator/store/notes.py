"""notes.jsonl: remarks that people add to a run afterwards; none is ever replaced."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from orchestrator.isales.strict_json import storable
from orchestrator.reports.summary import Note
from orchestrator.store.grown_file import GrownFile, read_lines

NOTES = "notes.jsonl"


def add_note(folder: Path, note: Note) -> None:
    """Add a remark; it is on the disk when this returns.

    Raises:
        StorageError: it is not.
    """
    told = {name: storable(value) for name, value in note._asdict().items()}
    with GrownFile(folder / NOTES) as file:
        file.append([json.dumps(told)])


def read_notes(folder: Path) -> tuple[Note, ...]:
    """The remarks by their times, each once; a line that was cut off is none.

    Raises:
        StorageError: they cannot be read.
    """
    found: list[Note] = []
    for line in read_lines(folder / NOTES):
        with suppress(ValueError, KeyError, TypeError):
            told = json.loads(line)
            found.append(Note(str(told["at"]), str(told["operator"]), str(told["text"])))
    # those of other machines came later (shared.py)
    return tuple(dict.fromkeys(sorted(found, key=lambda note: note.at)))
