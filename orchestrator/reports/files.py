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
import json
import os
import secrets
import stat
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, cast

from orchestrator.errors import StorageError
from orchestrator.reports.rows import COLUMNS, UNSTOPPED, RunKind, Tally, cells
from orchestrator.settings.server_url import server_fingerprint

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Iterator, Mapping
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
        StorageError: a file could not be written; it says why. What was there before is still
            there.
    """
    # failed.csv ends first: results.csv is what people look for, so it is the last to be new
    with (
        _new(folder, RESULTS) as results,
        _new(folder, FAILED) as failed,
        _worded(folder / RESULTS),
    ):
        return _write_csv(rows, results, failed, kind)


def write_summary(folder: Path, document: Mapping[str, object]) -> None:
    """Write summary.json, in plain ASCII so that no terminal can be harmed by it.

    Raises:
        StorageError: it could not be written; what was there before is still there.
    """
    with _new(folder, SUMMARY) as summary:
        json.dump(document, summary, indent=2, allow_nan=False)
        summary.write("\n")


def write_file(path: Path, make: Callable[[BinaryIO], object]) -> None:
    """Write a file of any name: whole, or what was there before is still there.

    Raises:
        StorageError: it could not be written.
    """
    with _new(path.parent, path.name, advice="make room there, or name another file") as file:
        make(cast("BinaryIO", file.buffer))


def fsync_folder(folder: Path) -> None:
    """See the names in a folder on the disk.

    Raises:
        OSError: they may not be.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
    with (
        _new(folder, RESULTS, is_kept=False),
        _new(folder, FAILED, is_kept=False),
        _new(folder, SUMMARY, is_kept=False) as probe,
    ):
        probe.write("\n")  # the journal, in the same folder, is fsynced soon enough


def _write_csv(
    rows: Iterable[ReportRow],
    results: TextIO | codecs.StreamWriter,
    failed: TextIO | None,
    kind: RunKind,
) -> Tally:
    def writer(file: TextIO | codecs.StreamWriter) -> Any:
        made = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        made.writerow(COLUMNS)
        return made

    everything, unstopped = writer(results), None
    tally = Tally()
    for row in rows:
        line = cells(row, kind)
        everything.writerow(line)
        if failed and row.outcome in UNSTOPPED:
            unstopped = unstopped or writer(failed)
            unstopped.writerow(line)
        tally.add(row)
    return tally


@contextlib.contextmanager
def _new(
    folder: Path, name: str, *, advice: str = "", is_kept: bool = True
) -> Iterator[io.TextIOWrapper]:
    """A file that gets its name when all of it is on the disk; without content, none is there.

    Until then it has a name of its own, under which it vanishes: after an error, or not `is_kept`.
    """
    path = folder / name
    with contextlib.ExitStack() as stack:
        stack.enter_context(_worded(path, advice))
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, directory)
        _refuse_what_is_no_file(path, directory, advice)
        _remove_strays(directory, name)
        part = f".{name}.{secrets.token_hex(6)}{_PART}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags, 0o600, dir_fd=directory)
        stack.callback(_remove, directory, part)
        file = open(descriptor, "w", _BUFFER_BYTES, encoding="utf-8", newline="")  # noqa: PTH123, SIM115
        stack.callback(_close, file)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # a setgid directory is shared with its group: the colleagues on shift may go on
        os.fchmod(descriptor, 0o660 if os.fstat(directory).st_mode & stat.S_ISGID else 0o600)
        yield file
        file.flush()
        if is_kept:
            _publish(path, directory, part, descriptor)


def _publish(path: Path, directory: int, part: str, descriptor: int) -> None:
    """Give a finished file its name; one that would be the same to the byte stays as it is."""
    size = os.fstat(descriptor).st_size
    if not size:
        _remove(directory, path.name)
    elif not _is_there(path, part, size):
        os.fsync(descriptor)
        _refuse_what_is_no_file(path, directory)
        os.rename(part, path.name, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def _is_there(path: Path, part: str, size: int) -> bool:
    """Whether the file has this content already: evidence keeps its times too."""
    try:
        found = path.lstat()
    except OSError:
        return False
    old = sha256_of(path) if found.st_size == size else ""
    return bool(old) and old == sha256_of(path.with_name(part))


def _remove(directory: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _close(file: io.TextIOWrapper) -> None:
    # a published file is flushed; of any other nobody wants to hear that it cannot be
    with contextlib.suppress(OSError):
        file.close()


def _refuse_what_is_no_file(path: Path, directory: int, advice: str = "") -> None:
    """Stop when a link, a FIFO or a directory stands where the file should go."""
    try:
        mode = os.stat(path.name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "not a regular file")
        raise StorageError(
            f"{path} is {kind}, not a file; it was not touched",
            advice=advice or _advice(path.parent),
        )


def _remove_strays(directory: int, name: str) -> None:
    """Remove what a killed writer of this file has left; a living one holds a lock."""
    for found in os.listdir(directory):
        if not (found.startswith(f".{name}.") and found.endswith(_PART)):
            continue
        with contextlib.suppress(OSError):
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            stray = os.open(found, flags, dir_fd=directory)
            try:
                fcntl.flock(stray, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(found, dir_fd=directory)
            finally:
                os.close(stray)


@contextlib.contextmanager
def _worded(path: Path, advice: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write {path}: {_in_words(error)}", advice=advice or _advice(path.parent)
        ) from error


def _advice(folder: Path) -> str:
    """How to have the report of this run directory after all."""
    import shlex  # noqa: PLC0415 - where all is well nobody waits for it

    run = shlex.quote(str(folder))
    return f"make room or correct the rights, then `orchestrator report {run}` writes it"


def _in_words(error: OSError) -> str:
    symbol = errno.errorcode.get(error.errno or 0, "")
    return f"{error.strerror or error} ({symbol})" if symbol else str(error)
