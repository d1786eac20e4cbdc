"""What kind of file system a directory is on: the kernel's locks hold on local ones only."""

from __future__ import annotations

import os
import re
from pathlib import Path

from orchestrator.errors import SettingsError

_MOUNTS = Path("/proc/self/mountinfo")
#: how the kernel writes white space and backslashes in a mount point
_OCTAL = re.compile(r"\\([0-7]{3})", re.ASCII)
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"}
)


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
