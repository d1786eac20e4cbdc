"""The kernel's locks: taking one, who holds one, and whether they hold there at all.

A pid in a file may be anybody's. Linux only, as far as the kernel shows it; elsewhere nothing can
be verified.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

from orchestrator.errors import SettingsError

_PROC = Path("/proc")
_MOUNTS = Path("/proc/self/mountinfo")
#: how the kernel writes white space and backslashes in a mount point
_OCTAL = re.compile(r"\\([0-7]{3})", re.ASCII)
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"}
)
#: `runs` looks at locks by taking them shared for an instant; a starter outlasts that
_LOCK_TRIES = 10
_LOCK_TRY_S = 0.02


def take_lock(descriptor: int, *, tries: int = _LOCK_TRIES) -> bool:
    """Lock what is open for ourselves; False: somebody has it, after so many tries of 20 ms."""
    for _ in range(tries):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_TRY_S)  # noqa: TID251 - before any loop has anything to do, or in a thread
        else:
            return True
    return False


def is_locked(path: Path, flags: int) -> bool:
    """Whether somebody has locked what can be opened with these flags."""
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def holds_lock(pid: int, directory: Path, *, proc: Path = _PROC) -> bool:
    """Whether this process holds the exclusive lock on this directory at this moment."""
    try:
        inode = str(directory.stat().st_ino)
        lines = (proc / "locks").read_text("ascii", "replace").splitlines()
    except OSError:
        return False
    return any(_is_held(line.split(), str(pid), inode) for line in lines) or _shows_it(
        proc / str(pid), directory
    )


def _is_held(parts: list[str], pid: str, inode: str) -> bool:
    """Read `1: FLOCK ADVISORY WRITE 432 fe:00:2146439 0 EOF`; who waits has an arrow in front."""
    return (
        len(parts) > 5
        and [parts[1], parts[3], parts[4]] == ["FLOCK", "WRITE", pid]
        and parts[5].rpartition(":")[2] == inode
    )


def _shows_it(process: Path, directory: Path) -> bool:
    """On a layered file system the numbers differ: the process's own descriptors decide."""
    try:
        for one in (process / "fd").iterdir():
            if one.exists() and one.samefile(directory):
                text = (process / "fdinfo" / one.name).read_text("ascii", "replace")
                if any("FLOCK" in line and "WRITE" in line for line in text.splitlines()):
                    return True
    except OSError:
        return False
    return False


def is_frozen(pid: int, *, proc: Path = _PROC) -> bool:
    """Whether a process is suspended (SIGSTOP, Ctrl-Z) and reacts to no signal."""
    try:
        text = (proc / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[:1] in (["T"], ["t"])


# -- network file systems ---------------------------------------------------------------------


def refuse_network_file_system(path: Path, *, mounts: Path = _MOUNTS) -> None:
    """Refuse a place where a lock does not hold between hosts.

    Raises:
        SettingsError: it is on a network file system.
    """
    kind = file_system_of(path, mounts=mounts)
    if kind in _NETWORK_FILE_SYSTEMS:
        raise SettingsError(
            f"{path} is on a network file system ({kind}), where two hosts could work on one run."
            " Nothing was sent.",
            key="state.dir",
            advice="put the state directory on a local disk",
        )


def file_system_of(path: Path, *, mounts: Path = _MOUNTS) -> str:
    """The kind of file system that a path is (or would be) on; empty where that is unknown."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    whole = os.path.realpath(path)
    best = ""
    kind = ""
    for line in lines:
        fields, _, after = line.partition(" - ")
        parts = fields.split(" ")
        if len(parts) < 5 or not after:
            continue
        mount = _OCTAL.sub(lambda found: chr(int(found[1], 8)), parts[4])
        inside = whole == mount or whole.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, after.split(" ")[0]
    return kind
