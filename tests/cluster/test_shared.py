"""One run on several machines: what one has started or noted, the others see."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from orchestrator.errors import StorageError
from orchestrator.model import CampaignRef
from orchestrator.reports.summary import Note
from orchestrator.settings.secret import Secret
from orchestrator.store.base import Mark, MarkState
from orchestrator.store.database import connect
from orchestrator.store.marks import MarkFile, read_marks
from orchestrator.store.notes import NOTES, add_note, read_notes
from orchestrator.store.shared import SharedMarks, share_notes
from tests.postgres import PostgresServer, is_away

pytestmark = pytest.mark.sockets
RUN, OTHER = "20261123T104100Z-7f3a", "20261123T104100Z-0000"
ONE, TWO = CampaignRef(1234, 101), CampaignRef(1234, 102)
INTENDED, RESTORED, CLEARED = MarkState.INTENDED, MarkState.RESTORED, MarkState.CLEARED
FIRST = Note("2026-11-23T10:50:00.000Z", "jane", "the wrong file")
SECOND = Note("2026-11-23T10:51:00.000Z", "joe", "Größe " * 900)


def test_what_one_restore_marks_the_next_one_reads(database: Secret) -> None:
    """On another machine, of the same run only; a later mark of the same restore replaces it."""
    here = SharedMarks(database, RUN)
    assert here.read() == {}
    here.put([(ONE, Mark(INTENDED, "a")), (TWO, Mark(INTENDED, "a"))])
    here.put([(ONE, Mark(INTENDED, "a")), (ONE, Mark(RESTORED, "a"))])
    here.close()

    assert SharedMarks(database, RUN).read() == {
        ONE: Mark(RESTORED, "a"),
        TWO: Mark(INTENDED, "a"),
    }
    assert SharedMarks(database, OTHER).read() == {}


def test_of_two_restores_at_once_one_gets_a_campaign(database: Secret) -> None:
    """Both have read that nobody started it; the second takes neither it nor what came with it."""
    first, second = SharedMarks(database, RUN), SharedMarks(database, RUN)
    first.read()
    second.read()
    first.put([(ONE, Mark(INTENDED, "a"))])

    with pytest.raises(StorageError, match="another restore"):
        second.put([(ONE, Mark(INTENDED, "b")), (TWO, Mark(INTENDED, "b"))])
    first.close()
    second.close()

    assert SharedMarks(database, RUN).read() == {ONE: Mark(INTENDED, "a")}


def test_a_later_restore_goes_on_from_what_it_has_read(database: Secret) -> None:
    """The first was killed in between; the second may find out what became of it, and mark it."""
    first, second = SharedMarks(database, RUN), SharedMarks(database, RUN)
    first.read()
    first.put([(ONE, Mark(INTENDED, "a"))])
    first.close()
    second.read()
    second.put([(ONE, Mark(CLEARED, "b"))])
    second.close()

    assert SharedMarks(database, RUN).read() == {ONE: Mark(CLEARED, "b")}


def test_a_connection_that_was_cut_is_made_anew(database: Secret) -> None:
    """Between two marks: the second is put all the same."""
    marks = SharedMarks(database, RUN)
    marks.read()
    marks.put([(ONE, Mark(INTENDED, "a"))])
    with connect(database) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    marks.put([(ONE, Mark(RESTORED, "a"))])
    marks.close()

    assert SharedMarks(database, RUN).read() == {ONE: Mark(RESTORED, "a")}


async def test_what_the_database_does_not_take_is_not_started(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """It is away: the mark fails, so its start is not sent, and the file beside says nothing."""
    url = own_server.make_database()
    shared = SharedMarks(url, RUN)
    await asyncio.to_thread(shared.read)
    marks = MarkFile(tmp_path, shared=shared)
    await marks.add([(ONE, Mark(INTENDED, "a"))], at_ms=1)
    with is_away(own_server):
        with pytest.raises(StorageError, match="the cluster's database failed"):
            await marks.add([(TWO, Mark(INTENDED, "a"))], at_ms=2)
        with pytest.raises(StorageError):
            SharedMarks(url, RUN).read()
    await marks.close()

    assert read_marks(tmp_path, {}) == {ONE: Mark(INTENDED, "a")}


# -- notes ----------------------------------------------------------------------------------------


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
