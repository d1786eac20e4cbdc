"""marks.jsonl: what restores have done with the campaigns of the run that they undo.

Rule 1: a mark is on the disk before its start is sent.
Rule 2: the last whole line of a campaign counts; what earlier versions wrote into the journal comes
        before all of them.
Rule 3: a line that was cut off, and still names its campaign, means that this may have been
        started. One that does not was never acted on.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import StorageError
from orchestrator.model import CampaignRef
from orchestrator.reports.rows import iso_time
from orchestrator.store.base import Mark, MarkState
from orchestrator.store.grown_file import GrownFile, read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from orchestrator.store.shared import SharedMarks
    from orchestrator.store.sqlite import Saved

MARKS = "marks.jsonl"
_Marked = tuple[CampaignRef, Mark]
#: a line that was cut off behind its campaign, which comes first
_CUT = re.compile(r'\{"vdn_id": ([0-9]{1,4}), "campaign_id": ([0-9]{1,19}),', re.ASCII)


def read_marks(folder: Path, older: Mapping[CampaignRef, Mark]) -> dict[CampaignRef, Mark]:
    """What restores have done with each campaign of a run; `older` is what its journal says.

    Raises:
        StorageError: the file cannot be read.
    """
    marks = dict(older)
    for line in read_lines(folder / MARKS):
        found = _read(line)
        if found is not None:
            marks[found[0]] = found[1]
    return marks


def unrestored(folder: Path, saved: Saved) -> int:
    """How many campaigns a run turned off, or may have, that no restore has started again.

    Raises:
        StorageError: the marks cannot be read.
    """
    marks = read_marks(folder, saved.marks())
    started = {ref for ref, mark in marks.items() if mark.state is MarkState.RESTORED}
    return sum(one.ref not in started for one in saved.restorable())


def _read(line: str) -> tuple[CampaignRef, Mark] | None:
    with suppress(ValueError, KeyError, TypeError):
        told = json.loads(line)
        ref = CampaignRef(int(told["vdn_id"]), int(told["campaign_id"]))
        return ref, Mark(MarkState(told["state"]), str(told["run_id"]))
    cut = _CUT.match(line)
    if cut is None:
        return None
    return CampaignRef(int(cut[1]), int(cut[2])), Mark(MarkState.INTENDED, "")


class MarkFile:
    """The marks of a run, open for a restore that holds that run's directory."""

    def __init__(self, folder: Path, *, shared: SharedMarks | None = None) -> None:
        """Open them; what the `shared` ones of other machines refuse is not written here.

        Raises:
            StorageError: they cannot be written.
        """
        self._file = GrownFile(folder / MARKS)
        self._shared = shared
        #: lines that are not on the disk yet, each with its mark
        self._waiting: list[tuple[_Marked, str]] = []
        self._turn = asyncio.Lock()

    async def add(self, marks: Iterable[_Marked], *, at_ms: int) -> None:
        """Write marks; they are on the disk when this returns. Those of several share an fsync.

        Raises:
            StorageError: they could not be written.
        """
        self._waiting += [(one, _line(*one, at_ms)) for one in marks]
        # who gives up takes nothing from the others
        await asyncio.shield(asyncio.create_task(self._write()))

    async def _write(self) -> None:
        async with self._turn:
            group, self._waiting = self._waiting, []
            try:
                await asyncio.to_thread(self._put, group)
            except StorageError:
                # whoever waits for one of them fails as well, or writes it
                self._waiting = group + self._waiting
                raise

    def _put(self, group: list[tuple[_Marked, str]]) -> None:
        if not group:
            return  # somebody else has written them
        if self._shared is not None:
            self._shared.put(mark for mark, _ in group)
        self._file.append(line for _, line in group)

    async def close(self) -> None:
        """Finish what was handed in and let go of them."""
        async with self._turn:
            self._file.close()
            if self._shared is not None:
                self._shared.close()


def _line(ref: CampaignRef, mark: Mark, at_ms: int) -> str:
    told = {
        "vdn_id": ref.vdn_id,
        "campaign_id": ref.campaign_id,
        "state": mark.state.value,
        "run_id": mark.run_id,
        "at": iso_time(at_ms),
    }
    return json.dumps(told)
