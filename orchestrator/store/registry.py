"""Which runs there are, wherever their directories lie, in the order in which they began.

`runs.jsonl` in the state directory gets one line for each run as it begins. Its order counts, since
clocks jump. Runs of earlier versions have no line: they come before all others, sorted by id. A
line is one write at the end of the file, so several processes need no lock; what is torn or foreign
in it is passed over, and a directory that is gone is no run any more.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import OrchestratorError, StorageError, UsageError
from orchestrator.store.run_dir import (
    JOURNAL,
    RUNS,
    RunDirectory,
    file_mode,
    is_run_id,
    make_folders,
    own_runs,
    secure_state_dir,
    whole_path,
)
from orchestrator.store.sqlite import open_saved

if TYPE_CHECKING:
    from collections.abc import Iterator

REGISTRY = "runs.jsonl"
#: a file that is longer was not made by us: a line has some hundred bytes
_BYTES_MAX = 1 << 28
#: some hundred lines
_TAIL_BYTES = 1 << 16
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
    """Note that a run begins here.

    Args:
        state_dir: where it is noted.
        run_id: its id.
        path: its directory, from the root.
        durable: wait until the note would survive a power cut; an emergency does not.

    Raises:
        StorageError, SettingsError: it cannot be noted.
    """
    told = {"run_id": run_id}
    if path != whole_path(state_dir) / RUNS / run_id:
        told["run_dir"] = str(path)
    try:
        make_folders(state_dir)
        secure_state_dir(state_dir)
        _append(state_dir / REGISTRY, json.dumps(told), durable=durable)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise StorageError(f"{state_dir / REGISTRY}: {why}") from error


def forget(state_dir: Path, run_id: str) -> None:
    """Note that a run is gone on purpose, so that nobody looks for it.

    Raises:
        StorageError: it cannot be noted.
    """
    try:
        _append(state_dir / REGISTRY, json.dumps({"run_id": run_id, "gone": True}), durable=False)
    except (OSError, ValueError) as error:
        raise StorageError(f"{state_dir / REGISTRY}: {error}") from error


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
    """The first of `known_runs`, from the end of the register alone where that has so many."""
    found: list[KnownRun] = []
    ids: set[str] = set()
    paths: set[str] = set()
    for run_id, place, is_gone in reversed(list(_entries(state_dir, last=_TAIL_BYTES))):
        own = f"{state_dir / RUNS}/{run_id}"
        path = own if os.path.isdir(own) else place  # noqa: PTH112 - as texts
        is_older = run_id in ids or path in paths
        ids.add(run_id)
        if not path or is_gone or is_older:
            continue
        paths.add(path)
        if _is_file(f"{path}/{JOURNAL}"):
            found.append(KnownRun(run_id, path))
            if len(found) == number:
                return tuple(found)
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


def _append(path: Path, line: str, *, durable: bool) -> None:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    mode = file_mode(path.parent)
    descriptor = os.open(path, flags, mode)
    try:
        found = os.fstat(descriptor)
        _check_ours(found, path)
        if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != mode:
            os.fchmod(descriptor, mode)  # the umask had its say, or others could read it
        is_torn = found.st_size > 0 and os.pread(descriptor, 1, found.st_size - 1) != b"\n"
        text = f"\n{line}\n" if is_torn else f"{line}\n"
        if os.write(descriptor, text.encode("ascii")) < len(text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _check_ours(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a file")
    is_shared = path.parent.stat().st_mode & stat.S_ISGID
    if found.st_uid not in {os.geteuid(), 0} and not is_shared:
        raise OSError(errno.EPERM, "it belongs to another user")


def _entries(state_dir: Path, *, last: int = _BYTES_MAX) -> Iterator[tuple[str, str, bool]]:
    """What is noted, oldest first: the id, a directory that is not the usual one, "it is gone".

    `last` bytes of the end are read; a line that is cut is passed over.
    """
    path = state_dir / REGISTRY
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            _check_ours(found, path)
            file.seek(max(0, found.st_size - last) if last < _BYTES_MAX else 0)
            lines = file.read(last).decode("ascii", "replace").split("\n")
    except (OSError, ValueError):
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
