"""`runs --prune`: old runs that are over are deleted, and nothing that somebody may still need.

A run stays that is unfinished, that a process works on, or that turned something off which was not
restored completely; and one whose directory holds anything but a run's own files.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from orchestrator.engine.begin import last_written_ms
from orchestrator.engine.run_list import is_finished
from orchestrator.errors import OrchestratorError
from orchestrator.reports.rows import RunKind, iso_time
from orchestrator.store import Gap, gap_of, open_saved
from orchestrator.store.marks import unrestored
from orchestrator.store.registry import KnownRun, forget, known_runs
from orchestrator.store.run_dir import HOLDER, JOURNAL, LEFTOVER, REPORT_FILES, RunDirectory

_DAY_MS = 24 * 3600 * 1000
#: what a run leaves besides its journal
_OWN = re.compile(
    rf"{re.escape(JOURNAL)}(-wal|-shm|-journal|\.open|\.incomplete)?"
    rf"|{REPORT_FILES}|marks\.jsonl|notes\.jsonl"
    r"|\.(marks\.jsonl|notes\.jsonl|report\.html|report\.xlsx)\.[0-9a-f]+\.part",
    re.ASCII,
)


class Kept(NamedTuple):
    """An old run that stays, and why."""

    run: KnownRun
    why: str


class Pruned(NamedTuple):
    """What was, or would be, deleted; oldest first."""

    deletable: tuple[KnownRun, ...]
    kept: tuple[Kept, ...]


def prune(state_dir: Path, *, older_than_days: int, now_ms: int, host: str, delete: bool) -> Pruned:
    """Delete runs that ended long ago, or find out which ones would be.

    Args:
        state_dir: whose runs.
        older_than_days: since their end.
        now_ms: wall-clock milliseconds.
        host: this machine's name.
        delete: not only find them.
    """
    until_ms = now_ms - older_than_days * _DAY_MS
    deletable: list[KnownRun] = []
    kept: list[Kept] = []
    for run in reversed(list(known_runs(state_dir))):
        if last_written_ms(run.directory) > until_ms:
            continue
        why = _why_kept(run.directory)
        if not why and delete:
            why = _delete(run.directory, since=iso_time(now_ms)[:19] + "Z", host=host)
        if why:
            kept.append(Kept(run, why))
            continue
        deletable.append(run)
        if delete:
            with suppress(OrchestratorError):
                forget(state_dir, run.run_id)
    return Pruned(tuple(deletable), tuple(kept))


def _why_kept(directory: RunDirectory) -> str:
    if directory.is_live:
        return "a process works on it"
    return _foreign(directory.path) or _needed(directory)


def _needed(directory: RunDirectory) -> str:
    """Why the journal is still needed; empty when it is not."""
    try:
        with open_saved(directory.journal) as saved:
            record = saved.record()
            if not is_finished(saved):
                return "it is unfinished"
            if record.kind is RunKind.RESTORE or record.dry_run or not saved.may_have_changed():
                return ""
            if gap_of(directory.journal) is not Gap.NONE:
                return "its disk failed, so it is not known what it turned off"
            left = unrestored(directory.path, saved)
    except OrchestratorError as error:
        return f"its journal cannot be read: {error}"
    if left == 1:
        return "1 campaign that it turned off was not restored"
    return f"{left:,} campaigns that it turned off were not restored" if left else ""


def _foreign(path: Path) -> str:
    """What in a run's directory is not a run's; empty when nothing is."""
    try:
        if path.is_symlink():
            return "its directory is a symbolic link"
        with os.scandir(path) as found:
            for entry in found:
                is_own = _OWN.fullmatch(entry.name) or LEFTOVER.fullmatch(entry.name)
                is_file = stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode)
                if not (is_own and is_file):
                    return f"its directory holds {entry.name}, which is not a run's file"
    except OSError as error:
        return f"its directory cannot be read: {error.strerror}"
    return ""


def _delete(directory: RunDirectory, *, since: str, host: str) -> str:
    """Delete a run while nobody else can work on it; returns why it stays, or is left in part."""
    try:
        directory.hold(since=since, host=host)
    except OrchestratorError as error:
        return str(error)
    try:
        # judged once more: somebody may have worked on it until a moment ago
        why = _foreign(directory.path) or _needed(directory)
        if why:
            return why
        # the journal goes last: what a kill leaves behind is still a run, and is deleted next time
        last = (JOURNAL, HOLDER)
        names = [one.name for one in directory.path.iterdir() if one.name not in last]
        for name in (*sorted(names), *last):
            (directory.path / name).unlink(missing_ok=True)
        directory.path.rmdir()
    except OSError as error:
        return f"it cannot be deleted: {error.strerror}"
    finally:
        directory.release()
    return ""
