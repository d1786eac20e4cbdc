"""Reads what settings are made from: TOML files, secret files, CA files, the terminal.

A file is judged through the descriptor it is read from. Only regular files are read, up to a limit.
No error echoes what a file holds.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import ssl
import stat
import struct
import sys
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import SettingsError
from orchestrator.model import Refusal
from orchestrator.settings.checks import read_secret_file
from orchestrator.settings.schema import SECRET_KEY_FILE
from orchestrator.settings.values import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.settings.secret import Secret

SETTINGS_FILE_MAX_BYTES: Final = 1024 * 1024
SECRET_FILE_MAX_BYTES: Final = 64 * 1024
CA_FILE_MAX_BYTES: Final = 16 * 1024 * 1024

_ACL_ENTRY: Final = struct.Struct("<HHI")
_ACL_USER: Final = 0x02
_ACL_GROUP_OBJ: Final = 0x04
_ACL_GROUP: Final = 0x08
_ACL_MASK: Final = 0x10
#: what could be a secret key where the name of its file belongs
_BARE_KEY: Final = re.compile(r"[!-\-0-~]{16,}")
_MIXED_KEY: Final = re.compile(r"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[!-~]{20,}")
_DOCKER_SECRETS: Final = "/run/secrets/"

_KEY_PART: Final = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_ENDLESS_KEY: Final = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY_PART}){{16}}")
#: what people give instead of certificates in PEM, and what it is
_NO_PEM: Final = (
    (rb"\A\s*\Z", "is empty"),
    (
        rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----",
        "holds a private key: give the certificate of the authority alone",
    ),
    (rb"\A\xef\xbb\xbf", "begins with a byte order mark: save it as UTF-8 without one"),
    (rb"\A(?:\xff\xfe|\xfe\xff)", "is UTF-16 text: save it as plain ASCII"),
    (rb"\A0[\x80-\x84]", "is in DER form: openssl x509 -inform der -in FILE -out NEW makes PEM"),
    (rb"-----BEGIN (?:PKCS7|CMS)-----", "is PKCS 7: openssl pkcs7 -print_certs -in FILE"),
    (rb"-----\\n", r"has \n written out where lines should end"),
    (
        rb"(?m)^[^\r\n]+-----BEGIN [A-Z0-9 ]*CERTIFICATE-----",
        "has something before -----BEGIN on its line: take blanks and quotes away",
    ),
)
_NOT_ASCII: Final = re.compile(rb"[^\x00-\x7f]")
_CERTIFICATE: Final = re.compile(rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----")


class Identity(NamedTuple):
    """Who is running us, as far as the rights of files are concerned."""

    uid: int
    gids: frozenset[int]
    #: from the user database; None in a container that does not know its user
    home: Path | None

    @classmethod
    def current(cls) -> Identity:
        """Ask the operating system."""
        uid = os.geteuid()
        try:
            home = Path(pwd.getpwuid(uid).pw_dir)
        except KeyError:
            home = None
        return cls(uid, frozenset({os.getegid(), *os.getgroups()}), home)


class _AclEntry(NamedTuple):
    """One line of a POSIX access control list."""

    tag: int
    #: read 4, write 2, execute 1
    rights: int
    #: a user or a group, for tags that name one
    number: int


class _Content(NamedTuple):
    rights: os.stat_result
    #: None: the mode bits say everything
    acl: tuple[_AclEntry, ...] | None
    text: bytes


def home_of(identity: Identity, environ: Mapping[str, str]) -> Path | None:
    """Find the home directory: HOME, else the user database."""
    return _absolute(environ.get("HOME")) or identity.home


def settings_files(
    config: Path | None, *, environ: Mapping[str, str], home: Path | None, system_file: Path
) -> list[Path]:
    """List the places of the settings file, first to last; the first that exists is read."""
    if config is not None:
        return [config]
    base = _absolute(environ.get("XDG_CONFIG_HOME")) or (home and home / ".config")
    return [base / "orchestrator" / "config.toml", system_file] if base else [system_file]


def default_state_dir(
    environ: Mapping[str, str], *, home: Path | None, identity: Identity
) -> tuple[Path, str]:
    """Choose where run directories live; the second value is a warning or ""."""
    base = _absolute(environ.get("XDG_STATE_HOME")) or (home and home / ".local" / "state")
    why = "there is no home directory"
    if base:
        why = _no_place(base / "orchestrator")
        if not why:
            return base / "orchestrator", ""
    # Refusing would leave campaigns dialling. Whoever opens the directory checks its owner.
    fallback = Path(f"/var/tmp/orchestrator-{identity.uid}")  # noqa: S108
    return fallback, f"{why}: runs are kept in {fallback}"


def _no_place(path: Path) -> str:
    """Why a directory can neither be used nor made, by its nearest ancestor; empty if it can."""
    for place in (path, *path.parents):
        try:
            rights = place.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{place} cannot be reached ({_reason(error)})"
        is_directory = stat.S_ISDIR(rights.st_mode)
        if place is path and rights.st_uid not in {os.geteuid(), 0} and not _is_shared(rights):
            return f"{place} belongs to another user (uid {rights.st_uid})"
        if is_directory and os.access(place, os.W_OK | os.X_OK):
            return ""
        return f"{place} cannot be written" if is_directory else f"{place} is no directory"
    return ""


def _is_shared(rights: os.stat_result) -> bool:
    return bool(rights.st_mode & stat.S_ISGID)


def unreachable(file: Path) -> str:
    """Why nobody can tell whether there is such a file; empty where one can.

    A home directory that we may not enter, or that is no directory, holds no settings for us.
    """
    try:
        file.lstat()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return _reason(error) if isinstance(error, OSError) else "no file can have this name"
    return ""


def read_settings_file(file: Path, identity: Identity) -> dict[str, object]:
    """Parse one TOML file.

    Raises:
        FileNotFoundError: there is none.
        SettingsError: it cannot be read, is not TOML, or root should not trust it.
    """
    try:
        content = _read_regular(file, most_bytes=SETTINGS_FILE_MAX_BYTES)
        link = file.lstat()
    except FileNotFoundError:
        raise
    except _UnusableError as unusable:
        raise _refused_file(file, str(unusable)) from unusable
    except OSError as error:
        raise _refused_file(file, _words(error)) from error
    if identity.uid == 0:
        _check_root_may_trust(file, link=link, target=content.rights)
    if content.text.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in content.text[:4]:
        raise _refused_file(file, "is UTF-16 text: save it as UTF-8")
    try:
        # A byte order mark is what some editors put before perfectly good TOML.
        text = content.text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused_file(file, "is not UTF-8") from error
    endless = _ENDLESS_KEY.search(text)
    if endless:
        # tomllib takes 40 s for a key of 50,000 parts; ours have two.
        line = text.count("\n", 0, endless.start()) + 1
        raise _refused_file(file, f"has a name of more than 16 parts (at line {line})")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refused_file(file, f"is not TOML: {_toml_words(error)}") from error


def read_secret(file: Path, *, origin: str, identity: Identity) -> Secret:
    """Read the secret key from a file whose rights keep it secret.

    Raises:
        SettingsError: others may read or write the file, or what it holds is no secret key.
    """
    try:
        content = _read_regular(file, most_bytes=SECRET_FILE_MAX_BYTES)
    except _UnusableError as unusable:
        raise _refused_secret(file, origin, str(unusable)) from unusable
    except OSError as error:
        if isinstance(error, PermissionError):
            advice = _rights_advice(file, identity)
            raise _refused_secret(file, origin, _words(error), advice) from error
        shown = shown_secret_file(file)
        if shown != str(file):
            advice = "name the file that holds the key; the key itself goes on one line in it"
            reason = f"{_words(error)}; its name is not shown: it could be the key itself"
            # not `from error`, which has the name
            raise _refused_secret(Path(shown), origin, reason, advice) from None
        raise _refused_secret(file, origin, _words(error)) from error
    problem = _secret_rights_problem(content.rights, identity, content.acl)
    if problem:
        raise _refused_secret(file, origin, problem, _rights_advice(file, identity))
    secret = read_secret_file(content.text)
    if isinstance(secret, Refusal):
        raise _refused_secret(file, origin, secret.reason)
    return secret


def shown_secret_file(file: Path) -> str:
    """The path of a secret file; without what is not there and could be the secret key itself."""
    found = next((place for place in (file, *file.parents) if os.path.exists(place)), file)  # noqa: PTH110 - never raises
    rest = str(file)[len(str(found)) :].lstrip("/")
    if not (_BARE_KEY.fullmatch(rest) or _MIXED_KEY.fullmatch(rest)):
        return str(file)
    return str(found / "***")


def check_ca_file(file: Path, *, origin: str) -> None:
    """Make sure that a CA file holds certificates, and no private key.

    Raises:
        SettingsError: it does not, or cannot be read.
    """
    try:
        text = _read_regular(file, most_bytes=CA_FILE_MAX_BYTES).text
    except _UnusableError as unusable:
        problem = str(unusable)
    except OSError as error:
        problem = _words(error)
    else:
        problem = _ca_problem(text)
    if problem:
        raise refused("server.ca_file", f"{origin}: {file}", problem)


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
    try:
        with warnings.catch_warnings():
            # getpass would rather echo the secret than fail.
            warnings.simplefilter("error", getpass.GetPassWarning)
            return getpass.getpass("Secret key (SK): ")
    except (EOFError, getpass.GetPassWarning):
        return ""


class _UnusableError(Exception):
    """A file of the wrong kind or size."""


def _read_regular(file: Path, *, most_bytes: int) -> _Content:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError as error:  # a NUL, half a surrogate pair: no file can be called that
        raise _UnusableError("is no file name") from error
    with open(descriptor, "rb") as stream:  # noqa: PTH123 (a descriptor, not a path)
        rights = os.fstat(descriptor)
        if not stat.S_ISREG(rights.st_mode):
            raise _UnusableError("is not a regular file")
        acl = _read_acl(descriptor)
        text = stream.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise _UnusableError(f"is larger than {most_bytes:,} bytes")
    return _Content(rights, acl, text)


def _read_acl(descriptor: int) -> tuple[_AclEntry, ...] | None:
    """The access control list of a file; acl(5) and linux/posix_acl_xattr.h have the format."""
    try:
        stored = os.getxattr(descriptor, "system.posix_acl_access")
    except OSError:
        return None  # it has none, or its file system knows none
    if len(stored) < 4 or (len(stored) - 4) % _ACL_ENTRY.size:
        return None
    return tuple(_AclEntry(*entry) for entry in _ACL_ENTRY.iter_unpack(stored[4:]))


def _check_root_may_trust(file: Path, *, link: os.stat_result, target: os.stat_result) -> None:
    if link.st_uid != 0:
        kind = "a symbolic link of" if stat.S_ISLNK(link.st_mode) else "owned by"
        raise _refused_file(file, f"is {kind} another user (uid {link.st_uid}), and we run as root")
    if target.st_uid != 0:
        raise _refused_file(file, f"leads to a file of another user (uid {target.st_uid})")
    if target.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused_file(file, "can be written by others, and we run as root")


def _secret_rights_problem(
    rights: os.stat_result, identity: Identity, acl: tuple[_AclEntry, ...] | None = None
) -> str:
    """Who else may read or write it; empty for nobody."""
    mode = stat.S_IMODE(rights.st_mode)
    if rights.st_uid not in {identity.uid, 0}:
        return f"belongs to another user (uid {rights.st_uid})"
    if mode & 0o007:
        return f"others may read or write it (mode {mode:04o})"
    if acl is None:
        groups = {rights.st_gid: (mode >> 3) & 0o7}
    else:
        # systemd gives a service its credentials so. The group's mode bits are only a mask then.
        mask = next((one.rights for one in acl if one.tag == _ACL_MASK), 0o7)
        for one in acl:
            known = one.number in {identity.uid, rights.st_uid, 0}
            if one.tag == _ACL_USER and one.rights & mask and not known:
                return f"user {one.number} may read or write it (access control list)"
        groups = {
            rights.st_gid if one.tag == _ACL_GROUP_OBJ else one.number: one.rights & mask
            for one in acl
            if one.tag in {_ACL_GROUP_OBJ, _ACL_GROUP}
        }
    for group, may in groups.items():
        # root's membership in groups says nothing: it chose the file's group itself.
        is_ours = identity.uid == 0 or group in identity.gids
        if may & 0o3 or (may and rights.st_uid == identity.uid != 0):
            who = "others" if acl is None else f"group {group}"
            return f"{who} may read or write it (mode {mode:04o})"
        if may and (not is_ours or rights.st_uid != 0):
            return f"is readable by a group we are not in (gid {group})"
    return ""


def _rights_advice(file: Path, identity: Identity) -> str:
    """How the rights of a secret file are put right where it lies; a mount keeps its own."""
    real = Path(os.path.realpath(file))
    if any(part.startswith("..") for part in real.parts):
        # Kubernetes keeps the versions of a volume in directories like ..2026_11_26_03_00_00.1
        return (
            "in the pod: defaultMode: 0440 on the secret volume, and"
            f" securityContext.fsGroup: {max(identity.gids)}"
        )
    if str(file).startswith(_DOCKER_SECRETS) or str(real).startswith(_DOCKER_SECRETS):
        return (
            f'Docker Swarm: uid: "{identity.uid}" and mode: 0400 on the secret of the service;'
            f" Compose: on the host, chown {identity.uid} and chmod 400 what is mounted"
        )
    try:
        owner = file.stat().st_uid
        mounted_read_only = bool(os.statvfs(file).f_flag & os.ST_RDONLY)
    except OSError:
        return ""
    if mounted_read_only:
        return (
            "it is mounted read-only: where it is mounted from, give it to"
            f" uid {identity.uid} and chmod 400 it"
        )
    if owner != identity.uid:
        return f"as root: chown {identity.uid} {file} && chmod 400 {file}"
    return (
        f"chmod 600 {file} (an access control list: setfacl -b {file}); where that has no effect,"
        " move it to a file system that keeps rights"
    )


def _ca_problem(text: bytes) -> str:
    for pattern, problem in _NO_PEM:
        if re.search(pattern, text):
            return problem
    if not _CERTIFICATE.search(text):
        return "holds no certificate (PEM, -----BEGIN CERTIFICATE-----)"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Comments between certificates may be in any language; cadata must be ASCII.
        context.load_verify_locations(cadata=_NOT_ASCII.sub(b"?", text).decode("ascii"))
    except ssl.SSLError:
        return "holds a certificate that cannot be read"
    return ""


def _refused_file(file: Path, reason: str) -> SettingsError:
    return SettingsError(
        f"{file}: {reason}", advice="correct the settings file, or name another with --config"
    )


def _refused_secret(file: Path, origin: str, reason: str, advice: str = "") -> SettingsError:
    return SettingsError(
        f"{origin}: {file}: {reason}",
        key=SECRET_KEY_FILE,
        advice=advice or f"put the secret key alone on one line, then: chmod 600 {file}",
    )


def _words(error: OSError) -> str:
    return f"cannot be read ({_reason(error)})"


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _toml_words(error: Exception) -> str:
    # Only the parser's own errors have words that are known to quote no value.
    place = re.search(r"\(at [^()]*\)", str(error))
    return f"syntax error {place[0]}" if place else "it cannot be parsed"


def _absolute(text: str | None) -> Path | None:
    # The XDG rule: a relative path is invalid and is ignored.
    return Path(text) if text and Path(text).is_absolute() else None
