"""Where the secret key comes from: a file whose rights keep it secret, or the terminal.

No error echoes what the file holds, nor a name that could be the secret key itself.
"""

from __future__ import annotations

import getpass
import os
import re
import stat
import struct
import sys
import warnings
from typing import TYPE_CHECKING, Final

from orchestrator.model import Refusal
from orchestrator.settings.checks import read_secret_file
from orchestrator.settings.files import read_regular, refused, words_of
from orchestrator.settings.schema import SECRET_KEY_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from orchestrator.settings.files import Identity
    from orchestrator.settings.secret import Secret

SECRET_FILE_MAX_BYTES: Final = 64 * 1024

#: what could be a secret key where the name of its file belongs
_BARE_KEY: Final = re.compile(r"[!-\-0-~]{16,}")
_MIXED_KEY: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[!-~]{20,}")
_DOCKER_SECRETS: Final = "/run/secrets/"
#: tag; rights: read 4, write 2, execute 1; the user or group that it names
_ACL_ENTRY: Final = struct.Struct("<HHI")
_ACL_USER: Final = 0x02
_ACL_GROUP_OBJ: Final = 0x04
_ACL_GROUP: Final = 0x08
_ACL_MASK: Final = 0x10


def read(file: Path, *, origin: str, identity: Identity) -> Secret:
    """Read the secret key from its file.

    Raises:
        SettingsError: others may read or write the file, or what it holds is no secret key.
    """
    advice = f"put the secret key alone on one line, then: chmod 600 {file}"
    shown = str(file)
    try:
        content = read_regular(file, most_bytes=SECRET_FILE_MAX_BYTES, and_acl=True)
    except OSError as error:
        problem = words_of(error)
        if isinstance(error, PermissionError):
            advice = _rights_advice(file, identity)
        elif shown_path(file) != shown:
            shown = shown_path(file)
            problem += "; its name is not shown: it could be the key itself"
            advice = "name the file that holds the key; the key itself goes on one line in it"
    else:
        problem = _rights_problem(content.rights, identity, content.acl)
        secret = read_secret_file(content.text)
        if problem:
            advice = _rights_advice(file, identity)
        elif isinstance(secret, Refusal):
            problem = secret.reason
        else:
            return secret
    # Outside of `except`: the error of the operating system has the name in it.
    raise refused(SECRET_KEY_FILE, f"{origin}: {shown}", problem, advice)


def shown_path(file: Path) -> str:
    """The path of a secret file; without what is not there and could be the secret key itself."""
    found = next((place for place in (file, *file.parents) if os.path.exists(place)), file)  # noqa: PTH110 - never raises
    rest = str(file)[len(str(found)) :].lstrip("/")
    is_key = _BARE_KEY.fullmatch(rest) or _MIXED_KEY.fullmatch(rest)
    return str(found / "***") if is_key else str(file)


def terminal_prompt() -> Callable[[], str] | None:
    """Return what asks for the secret key without echo, or None without a terminal."""
    if not sys.stderr.isatty():
        return None
    try:
        # Not stdin: the list of campaigns may come through it.
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None
    return _ask


def _ask() -> str:
    """What is typed; nothing where it would be echoed, which getpass prefers to a failure."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass("Secret key (SK): ")
    except (EOFError, getpass.GetPassWarning):
        return ""


def _rights_problem(rights: os.stat_result, identity: Identity, acl: bytes | None = None) -> str:
    """Who else may read or write it; empty for nobody."""
    mode = stat.S_IMODE(rights.st_mode)
    if rights.st_uid not in {identity.uid, 0}:
        return f"belongs to another user (uid {rights.st_uid})"
    if mode & 0o007:
        return f"others may read or write it (mode {mode:04o})"
    entries = _acl_entries(acl)
    # systemd gives a service its credentials by a list. The group's mode bits are only a mask then.
    mask = next((may for tag, may, _ in entries if tag == _ACL_MASK), 0o7)
    groups = {} if entries else {rights.st_gid: (mode >> 3) & 0o7}
    for tag, may, number in entries:
        if tag == _ACL_USER and may & mask and number not in {identity.uid, rights.st_uid, 0}:
            return f"user {number} may read or write it (access control list)"
        if tag in {_ACL_GROUP_OBJ, _ACL_GROUP}:
            groups[rights.st_gid if tag == _ACL_GROUP_OBJ else number] = may & mask
    for group, may in groups.items():
        # root's membership in groups says nothing: it chose the file's group itself.
        is_ours = identity.uid == 0 or group in identity.gids
        if may & 0o3 or (may and rights.st_uid == identity.uid != 0):
            who = f"group {group}" if entries else "others"
            return f"{who} may read or write it (mode {mode:04o})"
        if may and (not is_ours or rights.st_uid != 0):
            return f"is readable by a group we are not in (gid {group})"
    return ""


def _acl_entries(acl: bytes | None) -> Sequence[tuple[int, int, int]]:
    """Tag, rights and number of each line; acl(5), linux/posix_acl_xattr.h have the format."""
    if acl is None or len(acl) < 4 or (len(acl) - 4) % _ACL_ENTRY.size:
        return ()
    return list(_ACL_ENTRY.iter_unpack(acl[4:]))


def _rights_advice(file: Path, identity: Identity) -> str:
    """How the rights of a secret file are put right where it lies; a mount keeps its own."""
    real = os.path.realpath(file)
    if "/.." in real:
        # Kubernetes keeps the versions of a volume in directories like ..2026_11_26_03_00_00.1
        return (
            "in the pod: defaultMode: 0440 on the secret volume, and"
            f" securityContext.fsGroup: {max(identity.gids)}"
        )
    if str(file).startswith(_DOCKER_SECRETS) or real.startswith(_DOCKER_SECRETS):
        return (
            f'Docker Swarm: uid: "{identity.uid}" and mode: 0400 on the secret of the service;'
            f" Compose: on the host, chown {identity.uid} and chmod 400 what is mounted"
        )
    return (
        f"chmod 600 {file} (an access control list: setfacl -b {file}), as root after"
        f" chown {identity.uid} where it is another user's"
    )
