"""Which run is meant: by its directory, its id, a unique end of its id, or `last`.

`last` is never a dry run, and what it means depends on what is to be done with it. Where it is not
certain, because a journal cannot be read, it is that run: an older one would be another matter.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.engine.run_list import RunLine, every_line, is_finished
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.model import Refusal, read_vdn_id
from orchestrator.reports.rows import RunKind
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import open_saved
from orchestrator.store.registry import find_by_id
from orchestrator.store.run_dir import JOURNAL, RunDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Last(Enum):
    """What `last` means; the value says what no run was."""

    #: report, note
    REAL = "no run but dry runs"
    #: continue: unfinished, and nobody works on it
    UNFINISHED = "no unfinished run that nobody works on"
    #: restore: it turned something off
    UNDOABLE = "no run that turned something off"
    #: stop: somebody works on it
    LIVE = "no run that a process works on"


def find_run(
    state_dir: Path,
    text: str,
    meaning: Last,
    *,
    server: str = "",
    taken: Callable[[RunLine], None] = lambda _: None,
) -> RunDirectory:
    """Find a run.

    Args:
        state_dir: where it is noted.
        text: a directory, an id, a unique end of an id, or `last`.
        meaning: what `last` means here.
        server: `last` is a run of this server; empty: of any.
        taken: is told what `last` was taken for.

    Raises:
        UsageError: there is none, or more than one.
    """
    if text != "last":
        if meaning is Last.LIVE and not isinstance(read_vdn_id(text), Refusal):
            raise UsageError(
                f"{text} is a VDN, and `stop` ends one of our runs. Nothing was sent; campaigns are"
                " still dialling.",
                advice=f"`orchestrator pause-all --vdn {text}` stops what dials there",
            )
        return find_by_id(state_dir, text)
    wanted = server_fingerprint(server) if server else ""
    for line in every_line(state_dir):
        is_here = line.problem or not wanted or _fingerprint(line) == wanted
        if is_here and _is_meant(line, meaning):
            taken(line)
            return RunDirectory(line.path)
    of_server = f" of {server}" if server else ""
    raise UsageError(
        f"`last` means nothing here: there is {meaning.value}{of_server} in {state_dir}."
        " Nothing was sent.",
        advice="`orchestrator runs --all` lists every run",
    )


def _fingerprint(line: RunLine) -> str:
    return server_fingerprint(line.server) if line.server else ""


def _is_meant(line: RunLine, meaning: Last) -> bool:
    if meaning is Last.LIVE:
        return line.live
    if line.problem:
        return meaning is not Last.UNFINISHED or not line.live
    if line.dry_run:
        return False
    if meaning is Last.UNFINISHED:
        return not line.live and _is_unfinished(line)
    if meaning is Last.UNDOABLE:
        return line.kind != RunKind.RESTORE and _may_have_changed(line)
    return True


def _is_unfinished(line: RunLine) -> bool:
    if line.is_over is not None:
        return not line.is_over
    try:
        with open_saved(line.path / JOURNAL) as saved:
            # what nobody has confirmed is not continued
            return saved.record().may_change and not is_finished(saved)
    except OrchestratorError:
        return True


def _may_have_changed(line: RunLine) -> bool:
    try:
        with open_saved(line.path / JOURNAL) as saved:
            is_elsewhere = saved.record().cluster and not is_finished(saved)
            return is_elsewhere or saved.may_have_changed()
    except OrchestratorError:
        return True
