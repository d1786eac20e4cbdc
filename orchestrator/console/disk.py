"""Files and folders of a console, whatever may stand in their place."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import BinaryIO

from orchestrator.errors import StorageError
from orchestrator.reports.files import fsync_folder, without_waiting
from orchestrator.store.run_dir import make_folders


def own_folder(path: Path) -> None:
    """Make a folder that is ours alone: what lies in it is started, also where runs are shared.

    Raises:
        StorageError: it cannot be made, or is somebody else's.
    """
    try:
        make_folders(path)
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
            path.chmod(0o700)
            return
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    raise StorageError(
        f"{path} belongs to another user (uid {found.st_uid}), or is no directory",
        advice="one user runs the console of a state directory;"
        " ORCHESTRATOR_STATE_DIR names another directory",
    )


def make_file(path: Path, content: bytes) -> None:
    """Make a file that only we can read: whole, once, and on the disk when this returns.

    Raises:
        FileExistsError: somebody was quicker.
        OSError: it cannot be made.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def open_plain(path: Path) -> BinaryIO:
    """Open a file to read it; a link in its place is not followed, a pipe not waited for.

    Raises:
        OSError: it cannot be opened, or is no file.
    """
    return open(path, "rb", opener=lambda name, flags: without_waiting(name, flags | os.O_NOFOLLOW))
