"""Reads settings files and CA files, and knows the places where things of ours lie.

A file is judged through the descriptor it is read from. Only regular files are read, up to a limit.
No error echoes what a file holds.
"""

from __future__ import annotations

import os
import pwd
import re
import ssl
import stat
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from orchestrator.errors import SettingsError
from orchestrator.settings.schema import SPECS

SETTINGS_FILE_MAX_BYTES: Final = 1024 * 1024
CA_FILE_MAX_BYTES: Final = 16 * 1024 * 1024

_KEY_PART: Final = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_ENDLESS_KEY: Final = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_KEY_PART}){{16}}")
#: what people give instead of certificates in PEM, and what it is
_NO_PEM: Final = (
    (rb"\A\s*\Z", "is empty"),
    (
        rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----",
        "holds a private key: give the certificate of the authority alone",
    ),
    (rb"\A0[\x80-\x84]", "is in DER form: openssl x509 -inform der -in FILE -out NEW makes PEM"),
    (rb"\A\xef\xbb\xbf", "begins with a byte order mark: save it as UTF-8 without one"),
)
_CERTIFICATE: Final = re.compile(rb"^-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----", re.MULTILINE)
_NOT_ASCII: Final = re.compile(rb"[^\x00-\x7f]")


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


class Content(NamedTuple):
    """A file as it was read, and whose it is."""

    text: bytes
    rights: os.stat_result
    #: the access control list as it is stored; None: the mode bits say everything
    acl: bytes | None


class UnusableError(OSError):
    """A file of the wrong kind, size or content, in words that follow its name."""


def refused(key: str, origin: str, reason: str, advice: str = "") -> SettingsError:
    """Make the error for a value that cannot be used."""
    row = SPECS[key]
    advice = advice or f"correct it, for example: {row.example or row.shown(row.default)}"
    return SettingsError(f"{origin}: {reason}", key=key, advice=advice)


def words_of(error: OSError) -> str:
    """Say why a file cannot be read, in words that follow its name."""
    return str(error) if isinstance(error, UnusableError) else f"cannot be read ({_reason(error)})"


def read_regular(file: Path, *, most_bytes: int, and_acl: bool = False) -> Content:
    """Read a regular file, and with `and_acl` who else may.

    Raises:
        OSError: it cannot be read; `words_of` says why.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except ValueError as error:  # a NUL, half a surrogate pair: no file can be called that
        raise UnusableError("is not a file name") from error
    acl = None
    with open(descriptor, "rb") as stream:  # noqa: PTH123 (a descriptor, not a path)
        rights = os.fstat(descriptor)
        if not stat.S_ISREG(rights.st_mode):
            raise UnusableError("is not a regular file")
        with suppress(OSError):  # it has none, or its file system knows none
            acl = os.getxattr(descriptor, "system.posix_acl_access") if and_acl else None
        text = stream.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise UnusableError(f"is larger than {most_bytes:,} bytes")
    return Content(text, rights, acl)


def read_settings_file(file: Path, identity: Identity) -> dict[str, object]:
    """Parse one TOML file.

    Raises:
        FileNotFoundError: there is none.
        SettingsError: it cannot be read, is not TOML, or root should not trust it.
    """
    try:
        content = read_regular(file, most_bytes=SETTINGS_FILE_MAX_BYTES)
        if identity.uid == 0:
            _check_root_may_trust(file.lstat(), content.rights)
        return _parse(content.text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(
            f"{file}: {words_of(error)}",
            advice="correct the settings file, or name another with --config",
        ) from error


def check_ca_file(file: Path, *, origin: str) -> None:
    """Make sure that a CA file holds certificates, and no private key.

    Raises:
        SettingsError: it does not, or cannot be read.
    """
    try:
        problem = _ca_problem(read_regular(file, most_bytes=CA_FILE_MAX_BYTES).text)
    except OSError as error:
        problem = words_of(error)
    if problem:
        raise refused("server.ca_file", f"{origin}: {file}", problem)


def home_directory(environ: Mapping[str, str], identity: Identity) -> Path | None:
    """Where HOME says, else where the user database says."""
    return _named_directory("HOME", environ) or identity.home


def below_home(
    variable: str, usual: str, environ: Mapping[str, str], identity: Identity
) -> Path | None:
    """Our directory where an XDG variable says, else at the usual place in the home directory."""
    home = home_directory(environ, identity)
    base = _named_directory(variable, environ) or (home and home / usual)
    return base and base / "orchestrator"


def _named_directory(variable: str, environ: Mapping[str, str]) -> Path | None:
    """What a variable holds; the XDG rule: a relative path is ignored."""
    found = Path(environ.get(variable) or "")
    return found if found.is_absolute() else None


def login_name(environ: Mapping[str, str], identity: Identity) -> str:
    """Who logged in: before root the caller of sudo, then what the login left behind."""
    variables = ("SUDO_USER",) if identity.uid == 0 else ()
    for variable in (*variables, "LOGNAME", "USER"):
        found = environ.get(variable, "")
        if found and found.isprintable():
            return found
    try:
        return pwd.getpwuid(identity.uid).pw_name
    except KeyError:
        return f"uid {identity.uid}"


def working_directory() -> Path:
    """Our working directory; an empty path where it has been removed, or may not be known."""
    try:
        return Path.cwd()
    except OSError:
        return Path()


def unreachable(file: Path) -> str:
    """Why nobody can tell whether there is such a file; empty where one can.

    A home directory that we may not enter, or that is not a directory, holds no settings for us.
    """
    try:
        file.lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return _reason(error)
    except ValueError:
        return "no file can have this name"
    return ""


def no_place(path: Path) -> str:
    """Why a directory can neither be used nor made, by its nearest ancestor; empty if it can."""
    for place in (path, *path.parents):
        try:
            rights = place.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{place} cannot be reached ({_reason(error)})"
        is_shared = bool(rights.st_mode & stat.S_ISGID)
        if place is path and rights.st_uid not in {os.geteuid(), 0} and not is_shared:
            return f"{place} belongs to another user (uid {rights.st_uid})"
        if not stat.S_ISDIR(rights.st_mode):
            return f"{place} is not a directory"
        return "" if os.access(place, os.W_OK | os.X_OK) else f"{place} cannot be written"
    return ""


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _check_root_may_trust(link: os.stat_result, target: os.stat_result) -> None:
    """Refuse what another user can change, by both ends of a link."""
    if link.st_uid != 0:
        kind = "a symbolic link of" if stat.S_ISLNK(link.st_mode) else "owned by"
        raise UnusableError(f"is {kind} another user (uid {link.st_uid}), and we run as root")
    if target.st_uid != 0:
        raise UnusableError(f"leads to a file of another user (uid {target.st_uid})")
    if target.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnusableError("can be written by others, and we run as root")


def _parse(content: bytes) -> dict[str, object]:
    try:
        # A byte order mark is what some editors put before perfectly good TOML.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableError("is not UTF-8 text") from error
    endless = _ENDLESS_KEY.search(text)
    if endless:
        # tomllib takes 40 s for a key of 50,000 parts; ours have two.
        line = text.count("\n", 0, endless.start()) + 1
        raise UnusableError(f"has a name of more than 16 parts (at line {line})")
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Only the parser's own errors have words that are known to quote no value.
        place = re.search(r"\(at [^()]*\)", str(error))
        words = f"syntax error {place[0]}" if place else "it cannot be parsed"
        raise UnusableError(f"is not TOML: {words}") from error


def _ca_problem(text: bytes) -> str:
    for pattern, problem in _NO_PEM:
        if re.search(pattern, text):
            return problem
    if not _CERTIFICATE.search(text):
        return "holds no certificate in PEM form (a line with -----BEGIN CERTIFICATE-----)"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Comments between certificates may be in any language; cadata must be ASCII.
        context.load_verify_locations(cadata=_NOT_ASCII.sub(b"?", text).decode("ascii"))
    except ssl.SSLError:
        return "holds a certificate that cannot be read"
    return ""
