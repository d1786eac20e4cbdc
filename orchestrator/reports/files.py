"""Writes results.csv, failed.csv and summary.json: each whole or not at all.

The same rows give the same bytes. A file is made under a name of its own, fsynced and renamed, and
its directory is fsynced. Rows pass once and are forgotten. No link is followed; what is in the way
and is not a regular file is refused. A writer locks its unfinished file; unfinished files without a
lock are removed. tests/faults.md, P06, P17, P21, Z12.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import secrets
import stat
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from orchestrator.errors import StorageError
from orchestrator.reports.rows import COLUMNS, UNSTOPPED, RunKind, Tally, cells, is_unstopped
from orchestrator.settings.server_url import server_fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from io import TextIOWrapper
    from pathlib import Path

    from orchestrator.reports.rows import ReportRow

RESULTS = "results.csv"
FAILED = "failed.csv"
SUMMARY = "summary.json"

_PART = ".part"
_BUFFER_BYTES = 1 << 18

#: what may stand where a file should go
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def write_rows(folder: Path, rows: Iterable[ReportRow], *, kind: RunKind = RunKind.PAUSE) -> Tally:
    """Write results.csv and failed.csv in one pass over the rows; no failed.csv of no rows.

    Raises:
        StorageError: a file could not be written; it names it and says why. What was there before
            is still there.
    """
    with (
        _opened(folder) as place,
        place.unfinished(RESULTS) as results,
        place.unfinished(FAILED) as failed,
    ):
        tally = _write_csv(rows, results, failed, kind)
        # failed.csv first: results.csv is what people look for, so it is the last to be new
        if any(tally.counts[outcome] for outcome in UNSTOPPED):
            place.publish(FAILED, failed)
        else:
            place.remove(FAILED)
        place.publish(RESULTS, results)
        place.fsync()
    return tally


def write_summary(folder: Path, document: Mapping[str, object]) -> None:
    """Write summary.json, in plain ASCII so that no terminal can be harmed by it.

    Raises:
        StorageError: it could not be written; what was there before is still there.
    """
    with _opened(folder) as place, place.unfinished(SUMMARY) as summary:
        json.dump(document, summary, indent=2, allow_nan=False)
        summary.write("\n")
        place.publish(SUMMARY, summary)
        place.fsync()


def write_file(path: Path, make: Callable[[BinaryIO], object]) -> None:
    """Write a file of any name: whole, or what was there before is still there.

    Raises:
        StorageError: it could not be written.
    """
    try:
        _write_whole(path, make)
    except StorageError as error:
        advice = "make room there, or name another file"
        raise StorageError(error.sentence, advice=advice) from error


def _write_whole(path: Path, make: Callable[[BinaryIO], object]) -> None:
    with _opened(path.parent) as place, place.unfinished(path.name) as file:
        with _worded(path):
            make(cast("BinaryIO", cast("TextIOWrapper", file).buffer))
        place.publish(path.name, file)
        place.fsync()


def without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe in its place would keep us waiting for whoever is at its other end.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is no file")
    return descriptor


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex; empty where it cannot be read."""
    try:
        with open(path, "rb", opener=without_waiting) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def write_to_stream(
    rows: Iterable[ReportRow], stream: BinaryIO, *, kind: RunKind = RunKind.PAUSE
) -> Tally:
    """Write results.csv to a stream such as `sys.stdout.buffer`: the way out when files fail.

    Raises:
        StorageError: the stream cannot be written either.
    """
    try:
        # unlike a TextIOWrapper it never closes or keeps back anything
        tally = _write_csv(rows, codecs.getwriter("utf-8")(stream), None, kind)
        stream.flush()
    except OSError as error:
        raise StorageError(f"cannot print the results: {_in_words(error)}") from error
    return tally


#: summaries that are read for the lag of earlier runs, the newest first
_SUMMARIES_READ = 300


def earlier_lag_s(state_dir: Path, base_url: str) -> float:
    """The largest lag that earlier runs saw of this server, seconds; 0 where none is known."""
    wanted = server_fingerprint(base_url)
    try:
        runs = sorted((state_dir / "runs").iterdir(), reverse=True)[:_SUMMARIES_READ]
    except OSError:
        return 0.0
    largest_s = 0.0
    for run in runs:
        try:
            with open(run / SUMMARY, "rb", opener=without_waiting) as file:
                document = json.loads(file.read())
            lag_s, server = document["lag_s"], document["server"]
            is_same = isinstance(server, str) and server_fingerprint(server) == wanted
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
        if is_same and isinstance(lag_s, (int, float)):
            largest_s = max(largest_s, lag_s)
    return largest_s


def is_stored(folder: Path) -> bool:
    """Whether the report that people are pointed to is there."""
    return all((folder / name).is_file() for name in (RESULTS, SUMMARY))


def check_folder(folder: Path) -> None:
    """Find out, before anything is sent, whether the report could be written here.

    Raises:
        StorageError: it could not.
    """
    with _opened(folder) as place, place.unfinished(SUMMARY) as probe:
        for name in (RESULTS, FAILED):
            place.refuse_what_is_no_file(name)
        with _worded(folder / SUMMARY):
            probe.write("\n")
            probe.flush()  # the journal, in the same folder, is fsynced soon enough


def _write_csv(
    rows: Iterable[ReportRow],
    results: TextIO | codecs.StreamWriter,
    failed: TextIO | None,
    kind: RunKind,
) -> Tally:
    everything = csv.writer(results, quoting=csv.QUOTE_ALL, lineterminator="\n")
    unstopped = csv.writer(failed, quoting=csv.QUOTE_ALL, lineterminator="\n") if failed else None
    everything.writerow(COLUMNS)
    if unstopped:
        unstopped.writerow(COLUMNS)
    tally = Tally()
    for row in rows:
        line = cells(row, kind)
        everything.writerow(line)
        if unstopped and is_unstopped(row):
            unstopped.writerow(line)
        tally.add(row)
    return tally


class _File(io.FileIO):
    """A file whose write errors say which file it was, although several are open at a time."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "w")
        self._path = path

    def write(self, chunk: Any, /) -> int:
        with _worded(self._path):
            return super().write(chunk)


class _Place:
    """One directory, held open; knows the names of the files that are not finished yet."""

    def __init__(self, folder: Path, descriptor: int) -> None:
        self.folder = folder
        self.descriptor = descriptor
        self._parts: dict[str, str] = {}
        setgid = os.fstat(descriptor).st_mode & stat.S_ISGID
        # a setgid directory is shared with its group: the colleagues on shift may go on
        self._mode = 0o660 if setgid else 0o600

    @contextlib.contextmanager
    def unfinished(self, name: str) -> Iterator[TextIO]:
        """Open a file that is to become `name`; it vanishes unless it is published."""
        self.refuse_what_is_no_file(name)
        self._remove_strays(name)
        part = f".{name}.{secrets.token_hex(6)}{_PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with _worded(self.folder / name):
            descriptor = os.open(part, flags, 0o600, dir_fd=self.descriptor)
        self._parts[name] = part
        file = _File(descriptor, self.folder / name)
        text = io.TextIOWrapper(
            io.BufferedWriter(file, _BUFFER_BYTES), encoding="utf-8", newline=""
        )
        try:
            with _worded(self.folder / name):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                os.fchmod(descriptor, self._mode)
            yield text
        finally:
            if name in self._parts:
                with contextlib.suppress(OSError):
                    os.unlink(self._parts.pop(name), dir_fd=self.descriptor)
            # a published file is flushed; of any other nobody wants to hear that it cannot be
            with contextlib.suppress(StorageError):
                text.close()

    def settle(self, name: str, text: TextIO) -> None:
        """Make what was written survive a power cut."""
        with _worded(self.folder / name):
            text.flush()
            os.fsync(text.fileno())

    def publish(self, name: str, text: TextIO) -> None:
        """Give a finished file its name; one that would be the same to the byte stays as it is."""
        with _worded(self.folder / name):
            text.flush()
            if self._is_there(name):
                os.unlink(self._parts.pop(name), dir_fd=self.descriptor)
                return
        self.settle(name, text)
        self.refuse_what_is_no_file(name)
        with _worded(self.folder / name):
            os.rename(
                self._parts[name], name, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor
            )
            del self._parts[name]

    def _is_there(self, name: str) -> bool:
        """Whether the file has this content already: evidence keeps its times too."""
        try:
            found = self._reader(name)
        except OSError:
            return False
        with found, self._reader(self._parts[name]) as made:
            there = os.fstat(found.fileno())
            if not stat.S_ISREG(there.st_mode) or there.st_size != os.fstat(made.fileno()).st_size:
                return False
            while chunk := made.read(_BUFFER_BYTES):
                if found.read(len(chunk)) != chunk:
                    return False
        return True

    def _reader(self, name: str) -> io.FileIO:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        return io.FileIO(os.open(name, flags, dir_fd=self.descriptor))

    def remove(self, name: str) -> None:
        """Take away what an earlier process has published."""
        with _worded(self.folder / name), contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def fsync(self) -> None:
        """Make the new names survive a power cut."""
        with _worded(self.folder):
            os.fsync(self.descriptor)

    def refuse_what_is_no_file(self, name: str) -> None:
        """Stop when a link, a FIFO or a directory stands where the file should go."""
        with _worded(self.folder / name):
            try:
                mode = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mode
            except FileNotFoundError:
                return
        if not stat.S_ISREG(mode):
            kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
            raise StorageError(
                f"{self.folder / name} is {kind}, not a file; it was not touched",
                advice=_advice(self.folder),
            )

    def _remove_strays(self, name: str) -> None:
        with _worded(self.folder):
            names = os.listdir(self.descriptor)  # noqa: PTH208 - a Path has no descriptor
        for found in names:
            if found.startswith(f".{name}.") and found.endswith(_PART):
                with contextlib.suppress(OSError):
                    self._remove_unless_locked(found)

    def _remove_unless_locked(self, stray: str) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(stray, flags, dir_fd=self.descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(stray, dir_fd=self.descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[_Place]:
    with _worded(folder):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield _Place(folder, descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _worded(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {_in_words(error)}", advice=_advice(path.parent)
        ) from error


def _advice(folder: Path) -> str:
    """How to have the report of this run directory after all."""
    import shlex  # noqa: PLC0415 - where all is well nobody waits for it

    run = shlex.quote(str(folder))
    return f"make room or correct the rights, then `orchestrator report {run}` writes it"


def _in_words(error: OSError) -> str:
    symbol = errno.errorcode.get(error.errno or 0, "")
    return f"{error.strerror or error} ({symbol})" if symbol else str(error)
