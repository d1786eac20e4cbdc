"""Opens the list: a regular file by its name, or stdin when asked for.

Opening never waits: a FIFO, a socket or a device is refused. The hash covers the bytes that were
read, and a file that changed meanwhile is refused. A stop ends the reading within a moment, also of
a stdin on which nothing comes.
"""

from __future__ import annotations

import errno
import hashlib
import os
import select
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import UsageError

CHUNK_BYTES = 65_536

_STDIN_ADVICE = "pipe a list in (`… | orchestrator pause - --format csv`) or name a file"
_ADVICE = "name a file that exists and can be read"
_NOT_SENT = "Nothing was sent."
_STDIN = 0
#: seconds between two looks at whether the reading is still wanted
_LOOK_EVERY_S = 0.2

#: what may stand under a name besides a file
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class ManifestSource:
    """A list that is open: its bytes once, and afterwards what they were."""

    def __init__(
        self, fd: int, *, name: str, real_path: Path | None, check: Callable[[], None]
    ) -> None:
        self._fd = fd
        self._check = check
        self._name = name
        #: where the file lies when links are followed; None for stdin
        self.real_path = real_path
        #: bytes handed out so far
        self.size = 0
        self._hash = hashlib.sha256()
        self._before = os.fstat(fd)

    @property
    def sha256(self) -> str:
        """The hash of the bytes handed out so far, in hexadecimal."""
        return self._hash.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Read to the end, in pieces of at most CHUNK_BYTES bytes.

        Raises:
            UsageError: the list cannot be read on, or is a file that changed since it was opened.
            Exception: whatever `check` raises when the reading is not wanted any more.
        """
        try:
            while chunk := self._read():
                self._hash.update(chunk)
                self.size += len(chunk)
                if self.real_path is not None and self.size > self._before.st_size:
                    break  # it grows, perhaps faster than it is read
                yield chunk
        except OSError as error:
            raise UsageError(
                f"cannot read the list {self._name}: {_words(error)}, after {self.size:,} bytes. "
                f"{_NOT_SENT}",
                advice=_ADVICE if self.real_path else _STDIN_ADVICE,
            ) from error
        if self.real_path is not None:
            self._refuse_a_change()

    def _read(self) -> bytes:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while True:
            self._check()
            if poll.poll(_LOOK_EVERY_S * 1000):
                try:
                    return os.read(self._fd, CHUNK_BYTES)
                except BlockingIOError:  # somebody else who reads there was quicker
                    continue

    def _refuse_a_change(self) -> None:
        before, after = self._before, os.fstat(self._fd)
        same_time = before.st_mtime_ns == after.st_mtime_ns
        if not (same_time and self.size == before.st_size == after.st_size):
            raise UsageError(
                f"the list {self._name} changed while it was read ({before.st_size:,} bytes before,"
                f" {self.size:,} read, {after.st_size:,} now). {_NOT_SENT}",
                advice="wait until it is written, or give a copy of it",
            )


@contextmanager
def open_manifest(
    path: Path, *, check: Callable[[], None] = lambda: None
) -> Iterator[ManifestSource]:
    """Open a list by its name; `check` is called now and then, and raises when nobody wants it.

    Raises:
        UsageError: missing, not permitted, or anything but a regular file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"cannot open the list {path}: {_words(error)}. {_NOT_SENT}", advice=_ADVICE
        ) from error
    try:
        kind = _kind_words(os.fstat(fd).st_mode)
        if kind:
            raise UsageError(
                f"cannot open the list {path}: {kind}. {_NOT_SENT}",
                advice=_STDIN_ADVICE if "pipe" in kind else _ADVICE,
            )
        real_path = Path(os.path.realpath(path))
        yield ManifestSource(fd, name=str(path), real_path=real_path, check=check)
    finally:
        os.close(fd)


@contextmanager
def open_stdin(
    fd: int = _STDIN, *, check: Callable[[], None] = lambda: None
) -> Iterator[ManifestSource]:
    """Take the list from stdin, which stays open; `check` as above.

    Raises:
        UsageError: stdin is a terminal, or closed.
    """
    if os.isatty(fd):
        raise UsageError(
            f"the list should come from stdin, but stdin is a terminal. {_NOT_SENT}",
            advice=_STDIN_ADVICE,
        )
    try:
        source = ManifestSource(fd, name="on stdin", real_path=None, check=check)
    except OSError as error:
        raise UsageError(
            f"cannot read the list on stdin: {_words(error)}. {_NOT_SENT}",
            advice=_STDIN_ADVICE,
        ) from error
    yield source


def _kind_words(mode: int) -> str:
    for is_kind, words in _KINDS:
        if is_kind(mode):
            return f"it is {words}, not a file"
    return ""


def _words(error: OSError) -> str:
    """The system's reason in words, such as `no such file or directory`."""
    if error.errno == errno.EBADF:
        return "it is closed"
    text = os.strerror(error.errno or 0)
    return text[:1].lower() + text[1:]
