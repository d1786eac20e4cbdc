"""Remarks on a run of the cluster: what is noted on one machine is read on every other."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.errors import StorageError
from orchestrator.reports.summary import Note
from orchestrator.settings.secret import Secret
from orchestrator.store.notes import NOTES, add_note, read_notes
from orchestrator.store.shared import share_notes
from tests.postgres import PostgresServer, is_away

pytestmark = pytest.mark.sockets
RUN, OTHER = "20261123T104100Z-7f3a", "20261123T104100Z-0000"
FIRST = Note("2026-11-23T10:50:00.000Z", "jane", "the wrong file")
SECOND = Note("2026-11-23T10:51:00.000Z", "joe", "Größe " * 900)


@pytest.fixture
def machines(tmp_path: Path) -> tuple[Path, Path]:
    """The directory of one run on two machines."""
    made = tmp_path / "one", tmp_path / "two"
    for folder in made:
        folder.mkdir()
    return made


def test_each_machine_has_the_notes_of_both(database: Secret, machines: tuple[Path, Path]) -> None:
    """By their times, whoever came first; what another run was noted stays there."""
    one, two = machines
    add_note(one, SECOND)
    add_note(two, FIRST)
    share_notes(database, {OTHER: one})
    for folder in (one, two, one):
        share_notes(database, {RUN: folder})

    assert read_notes(one) == read_notes(two) == (FIRST, SECOND)


def test_sharing_again_changes_nothing(database: Secret, machines: tuple[Path, Path]) -> None:
    """A NUL, which PostgreSQL does not keep, makes no second note of one."""
    one, two = machines
    add_note(one, FIRST._replace(text="a\0b"))
    for folder in (one, two, one, two):
        share_notes(database, {RUN: folder})

    assert [note.text for note in read_notes(two)] == ["a\ufffdb"]
    assert len((one / NOTES).read_text().splitlines()) == 1


def test_without_the_database_nothing_is_lost(
    own_server: PostgresServer, machines: tuple[Path, Path]
) -> None:
    """The note stays where it was made, and is shared when the database answers."""
    one, two = machines
    database = own_server.make_database()
    add_note(one, FIRST)
    with is_away(own_server), pytest.raises(StorageError):
        share_notes(database, {RUN: one})
    for folder in (one, two):
        share_notes(database, {RUN: folder})

    assert read_notes(one) == read_notes(two) == (FIRST,)
