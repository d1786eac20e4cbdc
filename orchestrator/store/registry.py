"""Which runs there are, wherever their directories lie, in the order in which they began.

`runs.jsonl` in the state directory gets one line for each run as it begins. Its order counts, since
clocks jump. Runs of earlier versions have no line: they come before all others, sorted by id. What
is torn or foreign in it is passed over, and a directory that is gone is no run any more.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import OrchestratorError, StorageError, UsageError
from orchestrator.store.grown_file import GrownFile, read_lines
from orchestrator.store.run_dir import (
    JOURNAL,
    RUNS,
    RunDirectory,
    is_run_id,
    make_folders,
    own_runs,
    secure_state_dir,
    whole_path,
)
from orchestrator.store.sqlite import open_saved

REGISTRY = "runs.jsonl"
#: a file that is longer was not made by us: a line has some hundred bytes
_BYTES_MAX = 1 << 28
#: other runs that are looked into
RUNS_READ = 200


class KnownRun(NamedTuple):
    """A run, by its id and its directory; there may be ten thousand, so these are texts."""

    run_id: str
    place: str

    @property
    def directory(self) -> RunDirectory:
        """Its directory."""
        return RunDirectory(Path(self.place))


def register(state_dir: Path, run_id: str, path: Path, *, durable: bool) -> None:
    """Note that a run begins in a directory, whose path is from the root.

    A note is `durable` if it survives a power cut; an emergency does not wait for that.

    Raises:
        StorageError, SettingsError: it cannot be noted.
    """
    told = {"run_id": run_id}
    if path != whole_path(state_dir) / RUNS / run_id:
        told["run_dir"] = str(path)
    _append(state_dir, told, durable=durable)


def forget(state_dir: Path, run_id: str) -> None:
    """Note that a run is gone on purpose, so that nobody looks for it.

    Raises:
        StorageError: it cannot be noted.
    """
    _append(state_dir, {"run_id": run_id, "gone": True}, durable=False)


def known_runs(state_dir: Path) -> Iterator[KnownRun]:
    """Every run of a state directory that has a journal, the newest first."""
    for run in _registered(state_dir):
        if _is_file(f"{run.place}/{JOURNAL}"):
            yield run


def missing_runs(state_dir: Path, *, newer_than: str = "") -> Iterator[KnownRun]:
    """Runs that are registered where no journal is, newest first, down to a run that is there."""
    for run in _registered(state_dir):
        if run.run_id == newer_than:
            return
        if not _is_file(f"{run.place}/{JOURNAL}"):
            yield run


def _registered(state_dir: Path) -> Iterator[KnownRun]:
    """Every run that is noted or lies there, the newest first; whether it is there is not asked."""
    folder = state_dir / RUNS
    own = {run_id: f"{folder}/{run_id}" for run_id in own_runs(state_dir)}
    found: dict[str, str] = {}
    owners: dict[str, str] = {}
    for run_id, place, is_gone in _entries(state_dir):
        path = own.get(run_id) or place or f"{folder}/{run_id}"
        # a directory that was emptied and used again holds the newest run alone
        found.pop(owners.get(path, run_id), None)
        if is_gone:
            found.pop(run_id, None)
        else:
            owners[path] = run_id
            found[run_id] = path
    unnoted = sorted(own.keys() - found.keys())
    for run_id, path in reversed([*((one, own[one]) for one in unnoted), *found.items()]):
        yield KnownRun(run_id, path)


def newest_runs(state_dir: Path, number: int = RUNS_READ) -> tuple[KnownRun, ...]:
    """The first of `known_runs`."""
    return tuple(islice(known_runs(state_dir), number))


def find_by_id(state_dir: Path, text: str) -> RunDirectory:
    """Find a run by its directory, its id, or a unique end of its id.

    Raises:
        UsageError: there is none, or more than one.
    """
    named = RunDirectory(Path(text))
    if "/" in text or (text and named.has_journal):
        if named.has_journal:
            return RunDirectory(whole_path(named.path))
        raise UsageError(f"{text} is not a run directory: it holds no {JOURNAL}")
    matching = [
        run for run in known_runs(state_dir) if text and run.run_id.endswith(text) and _is_it(run)
    ]
    if len(matching) == 1:
        return matching[0].directory
    if matching:
        names = ", ".join(run.run_id for run in matching[:3])
        more = " …" if len(matching) > 3 else ""
        raise UsageError(f"{text} is the end of {len(matching)} run ids ({names}{more})")
    raise UsageError(
        f"there is no run {text} in {state_dir}", advice="`orchestrator runs` lists them"
    )


def _is_it(run: KnownRun) -> bool:
    """Whether a directory of another name still holds the run that was registered for it."""
    if run.place.endswith(f"/{run.run_id}"):
        return True
    try:
        with open_saved(run.directory.journal) as saved:
            return saved.record().run_id == run.run_id
    except OrchestratorError:
        return True  # whoever opens it says what is wrong with it


def _append(state_dir: Path, told: Mapping[str, object], *, durable: bool) -> None:
    path = state_dir / REGISTRY
    try:
        make_folders(state_dir)
        secure_state_dir(state_dir)
        _check_ours(path)
        with GrownFile(path, durable=durable) as file:
            file.append([json.dumps(told)])
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise StorageError(f"{path}: {why}") from error


def _check_ours(path: Path) -> None:
    is_shared = path.parent.stat().st_mode & stat.S_ISGID
    if path.exists() and path.stat().st_uid not in {os.geteuid(), 0} and not is_shared:
        raise OSError(errno.EPERM, "it belongs to another user")


def _entries(state_dir: Path) -> Iterator[tuple[str, str, bool]]:
    """What is noted, oldest first: the id, a directory that is not the usual one, "it is gone"."""
    try:
        _check_ours(state_dir / REGISTRY)
        lines = read_lines(state_dir / REGISTRY, at_most=_BYTES_MAX)
    except (OSError, ValueError, StorageError):
        return
    for line in lines:
        try:
            told = json.loads(line)
            run_id, place = told["run_id"], told.get("run_dir")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        if isinstance(run_id, str) and is_run_id(run_id):
            is_place = isinstance(place, str) and place.startswith("/") and "\0" not in place
            yield run_id, str(place) if is_place else "", told.get("gone") is True


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - ten thousand of them
    except (OSError, ValueError):
        return False
