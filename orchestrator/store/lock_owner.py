"""Which process holds a run directory's lock, as the kernel says: a pid in a file may be anybody's.

Linux only, as far as the kernel shows its locks; elsewhere nothing can be verified.
"""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")


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
