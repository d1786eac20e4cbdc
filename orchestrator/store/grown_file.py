"""A file of JSON lines that only grows, beside a journal that stays as it is.

A line is on the disk before anybody acts on it. One that a kill or a full disk has cut off stays
where it is; the next begins on a line of its own. Readers decide what a cut line is worth.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Self

from orchestrator.errors import StorageError
from orchestrator.store.run_dir import file_mode

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: a line is some hundred bytes; a note may be long
_READ_BYTES = 1 << 20


class GrownFile:
    """Such a file, open for one more line."""

    def __init__(self, path: Path) -> None:
        """Open it; made if it is missing, with the rights of its directory.

        Raises:
            StorageError: it cannot be written, or is no file.
        """
        self._path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            is_new = not os.path.lexists(path)
            self._descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise _failed(path, "written", error) from error
        try:
            _refuse_what_is_no_file(path, self._descriptor)
            if is_new:
                os.fchmod(self._descriptor, file_mode(path.parent))
                _fsync_folder(path.parent)
        except OSError as error:
            self.close()
            raise _failed(path, "written", error) from error
        except StorageError:
            self.close()
            raise

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
            os.fsync(self._descriptor)
        except OSError as error:
            raise _failed(self._path, "written", error) from error

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_lines(path: Path) -> list[str]:
    """Its lines, cut ones included; none where there is no such file.

    Raises:
        StorageError: it cannot be read, or is no file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _failed(path, "read", error) from error
    try:
        _refuse_what_is_no_file(path, descriptor)
        chunks: list[bytes] = []
        while chunk := os.read(descriptor, _READ_BYTES):
            chunks.append(chunk)
    except OSError as error:
        raise _failed(path, "read", error) from error
    finally:
        os.close(descriptor)
    return [line for line in b"".join(chunks).decode("ascii", "replace").split("\n") if line]


def _refuse_what_is_no_file(path: Path, descriptor: int) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise StorageError(f"{path} is not a file; it was not touched")


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: Path, done: str, error: OSError) -> StorageError:
    return StorageError(f"{path} cannot be {done}: {error.strerror or error}")
