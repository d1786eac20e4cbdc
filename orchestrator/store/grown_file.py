"""A file of JSON lines that only grows: a line is on the disk before anybody acts on it.

One that a kill or a full disk has cut off stays where it is; the next begins on a line of its own.
Readers decide what a cut line is worth. Lines are added by one write, so nobody needs a lock.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from orchestrator.errors import StorageError
from orchestrator.reports.files import fsync_folder, without_waiting
from orchestrator.store.run_dir import file_mode


class GrownFile:
    """Such a file, open for one more line."""

    def __init__(self, path: Path, *, durable: bool = True) -> None:
        """Open it; made if it is missing, with the rights of its directory.

        Args:
            path: its place.
            durable: its lines are to survive a power cut.

        Raises:
            StorageError: it cannot be written, or is no file of ours.
        """
        self._path = path
        self._is_durable = durable
        try:
            is_new = not os.path.lexists(path)
            self._descriptor = _without_following(str(path), os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise _failed(path, "written", error) from error
        try:
            mode, found = file_mode(path.parent), os.fstat(self._descriptor)
            if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != mode:
                os.fchmod(self._descriptor, mode)  # the umask had its say
            if is_new and durable:
                fsync_folder(path.parent)
        except OSError as error:
            self.close()
            raise _failed(path, "written", error) from error

    def append(self, lines: Iterable[str]) -> None:
        """Add these lines; they are on the disk when this returns.

        Raises:
            StorageError: they are not, or not all of them.
        """
        data = "".join(f"{line}\n" for line in lines).encode("ascii")
        try:
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                data = b"\n" + data
            while data:
                data = data[os.write(self._descriptor, data) :]
            if self._is_durable:
                os.fsync(self._descriptor)
        except OSError as error:
            raise _failed(self._path, "written", error) from error

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(path: Path, *, at_most: int = -1) -> list[str]:
    """Its lines, cut ones included, of so many bytes or of all; none where there is no such file.

    Raises:
        StorageError: it cannot be read, or is no file.
    """
    try:
        with open(path, "rb", opener=_without_following) as file:
            text = file.read(at_most).decode("ascii", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _failed(path, "read", error) from error
    return [line for line in text.split("\n") if line]


def _without_following(path: str, flags: int) -> int:
    return without_waiting(path, flags | os.O_NOFOLLOW)


def _failed(path: Path, done: str, error: OSError) -> StorageError:
    return StorageError(f"{path} cannot be {done}: {error.strerror or error}")
