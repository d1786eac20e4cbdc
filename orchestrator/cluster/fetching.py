"""Runs of the cluster, brought to a machine that has not submitted them.

What arrives is a run directory with a journal like any other, so every command that reads runs
works on it. Of a run that is not through it is what is on record by now, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.engine.run_list import is_finished
from orchestrator.errors import OrchestratorError, RefusedError
from orchestrator.reports.summary import Ended
from orchestrator.store import open_saved
from orchestrator.store.cluster_runs import Seen, end_run, is_over, newest_runs, newest_seen
from orchestrator.store.database import opened
from orchestrator.store.postgres import find_run, save_run
from orchestrator.store.registry import known_runs, register
from orchestrator.store.run_dir import RUNS, RunDirectory, is_run_id, make_run_directory
from orchestrator.store.shared import share_notes

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.settings.secret import Secret

#: the newest runs of the cluster that `runs` and `last` know of
_NEWEST = 20


def bring(url: Secret, state_dir: Path, text: str, *, holder: str, since: str) -> None:
    """Copy runs of the cluster into the state directory, as far as they are not whole there.

    Args:
        url: the cluster's database.
        state_dir: where runs are kept here.
        text: the end of a run's id; empty: the newest ones.
        holder: this host, for whoever finds the directory held.
        since: likewise, the present.

    Raises:
        OrchestratorError: the database cannot be asked, or a copy not be written.
    """
    with opened(url) as connection:
        found = newest_runs(connection, ending=text, limit=_NEWEST)
    here = {one.run_id: one.directory for one in known_runs(state_dir)}
    folders: dict[str, Path] = {}
    for run, run_id in found:
        if not is_run_id(run_id):
            continue
        directory = here.get(run_id) or RunDirectory(state_dir / RUNS / run_id)
        folders[run_id] = directory.path
        if run_id not in here:
            make_run_directory(directory.path)
        elif _is_whole(directory) or directory.is_live:
            continue
        directory.hold(since=since, host=holder)
        try:
            save_run(url, run, directory.journal)
        finally:
            directory.release()
        if run_id not in here:
            register(state_dir, run_id, directory.path, durable=True)
    if folders:  # a run of this machine alone costs no second connection
        share_notes(url, folders)


def look(url: Secret) -> list[Seen]:
    """How the newest runs of the cluster stand.

    Raises:
        OrchestratorError: the database cannot be asked.
    """
    with opened(url) as connection:
        return newest_seen(connection, limit=_NEWEST)


def end(url: Secret, run_id: str, *, why: str) -> None:
    """End a run that the cluster works on, as Ctrl-C would on one machine.

    Raises:
        RefusedError: it does not work on it.
        OrchestratorError: the database cannot be asked.
    """
    with opened(url) as connection:
        run = find_run(connection, run_id)
        if run is None or is_over(connection, run):
            raise RefusedError(
                f"the cluster does not work on run {run_id}. Nothing was stopped.",
                advice=f"`orchestrator continue {run_id}` shows how it ended, or goes on",
            )
        end_run(connection, run, Ended.SIGNAL_INT, why=why)


def _is_whole(directory: RunDirectory) -> bool:
    try:
        with open_saved(directory.journal) as saved:
            return is_finished(saved)
    except OrchestratorError:
        return True  # whoever opens it says what is wrong with it
