"""Run directories: making them, and holding one alone.

A run directory is 0700, its files 0600; below a setgid state directory its group joins in, and the
umask has no say. The lock is the kernel's, on the directory itself: nobody can delete it, and a
kill releases it. Who holds it is written beside it for people. On a network file system the lock
does not hold between hosts, so such a directory is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from orchestrator.errors import RefusedError, SettingsError, StorageError, UsageError
from orchestrator.reports.files import without_waiting
from orchestrator.store.kernel import is_locked, refuse_network_file_system, take_lock

JOURNAL = "journal.db"
RUNS = "runs"
HOLDER = "holder.json"
_NEXT_HOLDER = f".{HOLDER}"
#: how far a live run is, for other processes; no part of the record
LIVE = "live.json"
NEXT_LIVE = f".{LIVE}"
_RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{4}", re.ASCII)
#: what an unfinished start may leave behind: its plan, its name, how far it was, its probe of the
#: report files
LEFTOVER = re.compile(
    rf"{re.escape(JOURNAL)}\.part(-journal|-wal|-shm)?|\.?({re.escape(HOLDER)}|{re.escape(LIVE)})"
    r"|\.(results\.csv|failed\.csv|summary\.json)\.[0-9a-f]+\.part",
    re.ASCII,
)
#: what is made of a journal for people
REPORT_FILES = r"(results|failed)\.csv|summary\.json|report\.(html|xlsx)"
#: what a run without remarks consists of
_OWN_FILE = re.compile(rf"{re.escape(JOURNAL)}(-wal|-shm)?|{REPORT_FILES}", re.ASCII)
_ADVICE = "give --run-dir an empty or a new directory"


class Holder(NamedTuple):
    """Who works on a run."""

    pid: int
    host: str
    since: str
    #: why it is ending; empty while it works
    ending: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} since {self.since}"


@dataclass(slots=True)
class RunDirectory:
    """One run's directory, held or not."""

    path: Path
    _descriptor: int | None = None
    _holder: Holder | None = None

    @property
    def journal(self) -> Path:
        """The journal's path."""
        return self.path / JOURNAL

    @property
    def has_journal(self) -> bool:
        """Whether a plan was completed here."""
        try:
            return self.journal.is_file()
        except OSError:
            # Somebody else's directory, or a name that cannot be one.
            return False

    def hold(self, *, since: str, host: str) -> None:
        """Work here alone, until `release` or the end of the process.

        Raises:
            RefusedError: another process works here.
            StorageError: the directory cannot be opened.
            SettingsError: we are root, and it is another user's.
        """
        refuse_foreign(self.path)
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}") from error
        if not take_lock(descriptor):
            os.close(descriptor)
            raise self.refusal()
        if not _is_still(self.path, descriptor):
            os.close(descriptor)
            raise StorageError(
                f"{self.path} was replaced by another directory just now. Nothing was sent."
            )
        self._descriptor = descriptor
        self._holder = Holder(os.getpid(), host, since)
        try:
            self._write_holder(self._holder)
        except OSError as error:
            self.release()
            raise StorageError(
                f"{self.path} cannot be written: {error.strerror}. Nothing was sent.",
                advice="make room there, or correct the rights",
            ) from error

    def note_ending(self, why: str) -> None:
        """Say that the process that works here is ending: a second signal would cut it off."""
        holder = self._holder or self.holder()
        if holder is not None:
            with contextlib.suppress(OSError):
                self._write_holder(holder._replace(ending=why))

    def release(self) -> None:
        """Let others work here."""
        if self._descriptor is not None:
            # It is for people only: a disk that cannot even delete does not keep the lock.
            with contextlib.suppress(OSError):
                (self.path / HOLDER).unlink()
            os.close(self._descriptor)
            self._descriptor = self._holder = None

    def holder(self) -> Holder | None:
        """Who says to work here; None when nobody left a word."""
        try:
            with open(self.path / HOLDER, "rb", opener=without_waiting) as file:
                told = json.loads(file.read())
            host, since, ending = str(told["host"]), str(told["since"]), str(told.get("ending", ""))
            return Holder(int(told["pid"]), host[:80], since[:40], ending[:200])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def refusal(self) -> RefusedError:
        """Why nobody else can work here; a command names the run by its id, or its directory."""
        import shlex  # noqa: PLC0415 - for a refusal

        name = self.path.name
        called = name if is_run_id(name) else shlex.quote(str(self.path))
        return RefusedError(
            f"run {name} is being worked on by {self.holder() or 'another process'}."
            " Nothing was sent.",
            advice=f"wait for it, or end it as Ctrl-C would: `orchestrator stop {called}`",
        )

    @property
    def is_live(self) -> bool:
        """Whether a living process works here."""
        return is_locked(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def remove_if_empty(self) -> None:
        """Leave nothing behind of a run that never began."""
        try:
            for child in tuple(self.path.iterdir()):
                if LEFTOVER.fullmatch(child.name):
                    child.unlink(missing_ok=True)
            self.path.rmdir()
        except OSError:
            # Somebody else's files are in it: they stay.
            return

    def discard(self) -> None:
        """Take away a run that has changed nothing and may not be continued."""
        with contextlib.suppress(OSError):
            for child in tuple(self.path.iterdir()):
                if _OWN_FILE.fullmatch(child.name):
                    child.unlink(missing_ok=True)
        self.remove_if_empty()

    def _write_holder(self, holder: Holder) -> None:
        temporary = self.path / _NEXT_HOLDER
        with os.fdopen(create_file(temporary), "w", encoding="utf-8") as file:
            file.write(json.dumps(holder._asdict()))
        temporary.replace(self.path / HOLDER)


def file_mode(directory: Path) -> int:
    """0600, or 0660 where a setgid directory says that its group works together."""
    return 0o660 if directory.stat().st_mode & 0o2000 else 0o600


def create_file(path: Path) -> int:
    """Make a file with the rights of its directory, and follow no link; returns its descriptor.

    Raises:
        OSError: it cannot be made.
    """
    path.unlink(missing_ok=True)
    mode = file_mode(path.parent)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    os.fchmod(descriptor, mode)  # the umask has no say in who shares it
    return descriptor


def refuse_foreign(path: Path) -> None:
    """Let root work in no directory that another user owns, and could exchange at any moment.

    Raises:
        SettingsError: we are root, and it is another user's and not shared with a group (setgid).
    """
    if os.geteuid() != 0:
        return
    try:
        found = path.stat()
    except OSError:
        return  # whoever opens it says why it cannot be
    if found.st_uid != 0 and not found.st_mode & stat.S_ISGID:
        raise SettingsError(
            f"{path} belongs to another user (uid {found.st_uid}), and we run as root."
            " Nothing was sent.",
            advice=f"run it as that user: sudo -u '#{found.st_uid}' …, or name a directory of root",
        )


def secure_state_dir(state_dir: Path) -> tuple[Path, ...]:
    """See that nobody else can put runs among ours; what we own is put right.

    Returns:
        Directories that everybody may write in, and that we cannot put right: a mounted volume.

    Raises:
        SettingsError: it belongs to another user, and is not shared with a group (setgid).
    """
    uid = os.geteuid()
    open_to_all: list[Path] = []
    for place in (state_dir, state_dir / RUNS):
        try:
            seen = (place.lstat(), place.stat())
        except (OSError, ValueError):
            break  # nothing there yet; or making a run below it says why not
        found = seen[1]
        foreign = {one.st_uid for one in seen} - {uid, 0}
        if foreign and not found.st_mode & stat.S_ISGID:
            raise SettingsError(
                f"the state directory {place} belongs to another user (uid {min(foreign)})."
                " Nothing was sent.",
                key="state.dir",
                advice="name one of your own with ORCHESTRATOR_STATE_DIR",
            )
        if found.st_mode & stat.S_IWOTH:
            try:
                place.chmod(stat.S_IMODE(found.st_mode) & ~stat.S_IWOTH)
            except OSError:
                open_to_all.append(place)
    return tuple(open_to_all)


def new_run_id(*, second: str, ms: int, chance: float) -> str:
    """A run id; ids sort as their runs began, so that `last` is the last of one second too.

    Args:
        second: UTC, like `20261123T230501Z`.
        ms: milliseconds of that second, 0 to 999.
        chance: a number in [0, 1), for two starts in one millisecond.
    """
    return f"{second}-{ms * 64 + int(chance * 64):04x}"


def make_run_directory(path: Path) -> RunDirectory:
    """Make a directory for a new run, or take an existing empty one.

    Raises:
        UsageError: there is something else in it.
        StorageError: it cannot be made.
    """
    refuse_network_file_system(path)
    try:
        make_folders(path.parent)
        try:
            _make_one(path)
        except FileExistsError:
            _check_empty(path)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "no directory can have this name"
        raise StorageError(
            f"the run directory {path} cannot be made: {why}. Nothing was sent.",
            advice="choose another with --run-dir or ORCHESTRATOR_STATE_DIR",
        ) from error
    return RunDirectory(path)


def whole_path(given: Path | str) -> Path:
    """The path from the root; `~` is our home, as in `--run-dir=~/x`, which a shell leaves alone.

    Raises:
        SettingsError: it is relative, and there is no working directory any more.
    """
    path = Path(given)
    try:
        with contextlib.suppress(RuntimeError):  # nobody knows our home
            path = path.expanduser()
        return path.absolute()
    except OSError as error:
        raise SettingsError(
            f"{path} is relative, and the working directory has been removed. Nothing was sent.",
            advice="give the whole path, beginning with /, or change to a directory that exists",
        ) from error


def own_runs(state_dir: Path) -> Iterator[str]:
    """The names of the directories below a state directory that are run ids, in no order."""
    try:
        with os.scandir(state_dir / RUNS) as found:
            for entry in found:
                if is_run_id(entry.name) and entry.is_dir():
                    yield entry.name
    except (OSError, ValueError):
        return


def is_run_id(text: str) -> bool:
    """Whether this could be the id of a run."""
    return _RUN_ID.fullmatch(text) is not None


def make_folders(path: Path) -> None:
    """Make a folder and what is missing above it: for us alone, or for a setgid one's group.

    Raises:
        OSError: it cannot be made.
    """
    if path.is_dir():
        return
    make_folders(path.parent)
    try:
        _make_one(path)
    except FileExistsError:
        # another process was quicker; anything but a directory is found by whoever goes on
        return


def _make_one(path: Path) -> None:
    mode = 0o2770 if path.parent.stat().st_mode & stat.S_ISGID else 0o700
    path.mkdir(mode=mode)
    # the umask has its say in mkdir; a directory without our own rights is no use to later runs
    path.chmod(mode)


def _check_empty(path: Path) -> None:
    if path.is_symlink():
        raise UsageError(
            f"{path} is a symbolic link. Nothing was sent.",
            advice=f"give --run-dir the directory that it leads to: {path.readlink()}",
        )
    if not path.is_dir():
        raise UsageError(f"{path} is not a directory. Nothing was sent.", advice=_ADVICE)
    names = sorted(child.name for child in path.iterdir())
    foreign = [name for name in names if not LEFTOVER.fullmatch(name)]
    if foreign:
        rival = RunDirectory(path)
        if rival.is_live:
            # the same command, started at the same moment, was quicker
            raise rival.refusal()
        raise UsageError(
            f"{path} holds something that is not a run ({foreign[0]}). Nothing was sent.",
            advice=_ADVICE,
        )


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the directory that was locked is the one that stands there by now."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False
