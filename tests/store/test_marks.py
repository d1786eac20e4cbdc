"""Marks of restores, and the file that only grows: kept, shared, and never lost to a cut line."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StorageError
from orchestrator.model import CampaignRef
from orchestrator.reports.summary import Note
from orchestrator.store import Mark, MarkState, registry
from orchestrator.store.grown_file import GrownFile
from orchestrator.store.marks import MARKS, MarkFile, _line, read_marks
from orchestrator.store.notes import NOTES, add_note, read_notes

A, B = CampaignRef(7, 1), CampaignRef(7, 2)
PERHAPS = Mark(MarkState.INTENDED, "r1")
DONE = Mark(MarkState.RESTORED, "r1")


async def added(folder: Path, *marks: tuple[CampaignRef, Mark]) -> None:
    """Written by a process of its own."""
    file = MarkFile(folder)
    try:
        await file.add(marks, at_ms=1_000)
    finally:
        await file.close()


async def test_the_last_mark_of_a_campaign_counts(tmp_path: Path) -> None:
    """Over several restores, and after what an earlier version wrote into the journal."""
    await added(tmp_path, (A, PERHAPS), (B, PERHAPS))
    await added(tmp_path, (A, DONE))

    older = {A: Mark(MarkState.CLEARED, "r0"), CampaignRef(7, 3): Mark(MarkState.RESTORED, "r0")}
    assert read_marks(tmp_path, older) == older | {A: DONE, B: PERHAPS}
    assert read_marks(tmp_path / "nowhere", {}) == {}


async def test_marks_that_come_together_are_all_on_the_disk(tmp_path: Path) -> None:
    """Fifty callers at once: each returns when its own mark can be read back."""
    file = MarkFile(tmp_path)
    refs = [CampaignRef(7, number) for number in range(1, 51)]

    async def add(ref: CampaignRef) -> bool:
        await file.add([(ref, PERHAPS)], at_ms=1_000)
        return ref in read_marks(tmp_path, {})

    assert all(await asyncio.gather(*map(add, refs)))
    await file.add([], at_ms=1_000)
    await file.close()
    assert set(read_marks(tmp_path, {})) == set(refs)


async def test_a_caller_that_gives_up_takes_nothing_from_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while the disk works: its mark is written all the same, then the next ones."""
    file = MarkFile(tmp_path)
    put, sizes, may_go = file._put, list[int](), threading.Event()

    def slow(group: Any) -> None:
        sizes.append(len(group))
        may_go.wait(timeout=30)
        put(group)

    monkeypatch.setattr(file, "_put", slow)
    first = asyncio.create_task(file.add([(A, PERHAPS)], at_ms=1))
    while not sizes:  # noqa: ASYNC110 - a thread makes it true
        await asyncio.sleep(0)
    second = asyncio.create_task(file.add([(B, PERHAPS)], at_ms=1))
    first.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert sizes == [1]
    may_go.set()
    await second
    await file.close()

    assert read_marks(tmp_path, {}) == {A: PERHAPS, B: PERHAPS}


async def test_a_disk_that_is_full_is_said_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No start leaves whose mark is not on the disk."""
    file = MarkFile(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    outcomes = await asyncio.gather(
        *(file.add([(ref, PERHAPS)], at_ms=1) for ref in (A, B)), return_exceptions=True
    )
    await file.close()

    assert [type(one) for one in outcomes] == [StorageError, StorageError]


@given(st.data())
def test_a_file_that_is_cut_anywhere_loses_no_start(data: st.DataObject) -> None:
    """Whatever is left of it, a campaign whose line is legible at all counts as perhaps started."""
    text = "".join(
        _line(ref, mark, 1_795_475_101_123) + "\n"
        for ref, mark in ((A, PERHAPS), (A, DONE), (B, PERHAPS))
    )
    cut = text[: data.draw(st.integers(0, len(text)))]
    marks = _marks_of(cut)

    if _line(A, PERHAPS, 1_795_475_101_123) in cut:
        assert marks[A].state in {MarkState.INTENDED, MarkState.RESTORED}
    if '"campaign_id": 2,' in cut:
        assert marks[B].state is MarkState.INTENDED


def _marks_of(text: str) -> dict[CampaignRef, Mark]:
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MARKS).write_text(text, encoding="ascii")
        return read_marks(Path(folder), {})


async def test_after_a_cut_line_the_next_begins_on_its_own(tmp_path: Path) -> None:
    """A kill in mid-line: what it may have started stays marked, what follows is read."""
    await added(tmp_path, (A, PERHAPS))
    path = tmp_path / MARKS
    path.write_bytes(path.read_bytes()[:-20])

    await added(tmp_path, (B, DONE))

    assert read_marks(tmp_path, {}) == {A: Mark(MarkState.INTENDED, ""), B: DONE}


@pytest.mark.parametrize("text", ["\0" * 40, "[]", '{"vdn_id": 7, "campai', "nonsense", '"x"'])
def test_a_line_that_names_no_campaign_was_never_acted_on(tmp_path: Path, text: str) -> None:
    """Cut before its campaign, or zeros after a power cut: passed over."""
    (tmp_path / MARKS).write_text(text, encoding="ascii")

    assert read_marks(tmp_path, {}) == {}


@pytest.mark.parametrize("how", ["a link", "a directory", "a FIFO"])
def test_what_is_no_file_is_refused(tmp_path: Path, how: str) -> None:
    """Neither read nor written, and never waited for."""
    path = tmp_path / MARKS
    if how == "a link":
        path.symlink_to(tmp_path / "elsewhere")
    elif how == "a directory":
        path.mkdir()
    else:
        os.mkfifo(path)

    with pytest.raises(StorageError, match=MARKS):
        GrownFile(path)
    with pytest.raises(StorageError, match=MARKS):
        read_marks(tmp_path, {})


async def test_marks_are_read_however_many_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A register that is too long is none of ours; a mark passed over starts calls again."""
    monkeypatch.setattr(registry, "_BYTES_MAX", 200)
    refs = [CampaignRef(7, number) for number in range(1, 11)]
    await added(tmp_path, *((ref, DONE) for ref in refs))

    assert read_marks(tmp_path, {}) == dict.fromkeys(refs, DONE)


def test_notes_are_added_and_never_replaced(tmp_path: Path) -> None:
    """Two notes, one with what a terminal must not get; a cut line between them is none."""
    first = Note("2026-11-27T10:41:07.000Z", "ada", "loaded twice\x1b[31m\nsee ticket")
    second = Note("2026-11-27T10:45:00.000Z", "bob", "Größe \udcff")
    add_note(tmp_path, first)
    with (tmp_path / NOTES).open("a") as file:
        file.write('{"at": "2026')
    add_note(tmp_path, second)

    assert read_notes(tmp_path) == (first, second._replace(text="Größe ?"))
    assert "\x1b" not in (tmp_path / NOTES).read_text()
