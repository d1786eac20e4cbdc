"""Journals that earlier versions wrote: each is read as its own version read it.

`format_1/` holds what the version that wrote it made of each journal: a pause that was killed with
PUTs in flight, and a pause-all with a hold that was then restored.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.engine.saved import report_again
from orchestrator.store import Mark, MarkState, open_to_continue
from orchestrator.store.queries import marks
from orchestrator.store.run_dir import RunDirectory

FORMAT_1 = Path(__file__).with_name("format_1")
RUNS = sorted(one.name for one in FORMAT_1.iterdir())


def copied(name: str, tmp_path: Path) -> RunDirectory:
    """One of those journals, alone in a run directory."""
    folder = tmp_path / name
    folder.mkdir(mode=0o700)
    shutil.copy(FORMAT_1 / name / "journal.sqlite", folder / "journal.db")
    return RunDirectory(folder)


@pytest.mark.parametrize("name", RUNS)
def test_a_journal_of_format_1_tells_the_same_report(tmp_path: Path, name: str) -> None:
    """Every row to the byte; every count, proof and note; only keys of later versions are new."""
    directory = copied(name, tmp_path)

    report_again(directory, fallback=None)

    before = FORMAT_1 / name
    assert (directory.path / "results.csv").read_bytes() == (before / "results.csv").read_bytes()
    promised = json.loads((before / "summary.json").read_text())
    made = json.loads((directory.path / "summary.json").read_text())
    assert {key: made[key] for key in promised} == promised


@pytest.mark.parametrize(
    ("name", "processes", "highest_rate_per_s", "held_s"),
    [("killed-pause", [None], 100.0, 0.0), ("pause-all", ["finished"], 100.0, 18.018)],
)
def test_a_journal_of_format_1_can_be_gone_on_with(
    tmp_path: Path,
    name: str,
    processes: list[str | None],
    highest_rate_per_s: float,
    held_s: float,
) -> None:
    """Checked from end to end; pace, hold and marks of an earlier version count."""
    journal = open_to_continue(copied(name, tmp_path).journal, is_unwanted=lambda: False)
    record = journal.record()
    found = marks(journal.connection)
    ended = [one.ended for one in journal.processes()]
    journal.close()

    assert ended == processes
    assert (record.highest_rate_per_s, record.held_s) == (highest_rate_per_s, held_s)
    restored = Mark(MarkState.RESTORED, "20251123T230526Z-5230")
    assert set(found.values()) == ({restored} if name == "pause-all" else set())
    assert len(found) == (7 if name == "pause-all" else 0)
