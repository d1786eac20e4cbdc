"""Touches what settings are made from: TOML files, secret files, CA files, the terminal.

Rule 1: a file is judged through the descriptor it is read from, so it cannot be swapped between.
Rule 2: only regular files are read, and only up to a limit; a FIFO blocks nobody at 3 a.m.
Rule 3: no error echoes what a file holds: the wrong file may be the one with a key in it.
"""

from __future__ import annotations

import getpass
import os
import pwd
import re
import ssl
import stat
import sys
import tomllib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.core.campaign import Refusal
from orchestrator.core.setting_checks import read_secret_file
from orchestrator.core.setting_table import SECRET_KEY_FILE
from orchestrator.core.settings import refused
from orchestrator.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.core.secret import Secret

SETTINGS_FILE_MAX_BYTES: Final = 1024 * 1024
SECRET_FILE_MAX_BYTES: Final = 64 * 1024
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


class _Content(NamedTuple):
    rights: os.stat_result
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
    if base:
        return base / "orchestrator", ""
    # Refusing would leave campaigns dialling. Whoever opens the directory checks its owner.
    fallback = Path(f"/var/tmp/orchestrator-{identity.uid}")  # noqa: S108
    return fallback, f"there is no home directory: runs are kept in {fallback}"


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
        raise _refused_secret(file, origin, _words(error)) from error
    problem = _secret_rights_problem(content.rights, identity)
    if problem:
        raise _refused_secret(file, origin, problem)
    secret = read_secret_file(content.text)
    if isinstance(secret, Refusal):
        raise _refused_secret(file, origin, secret.reason)
    return secret


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
        text = stream.read(most_bytes + 1)
    if len(text) > most_bytes:
        raise _UnusableError(f"is larger than {most_bytes:,} bytes")
    return _Content(rights, text)


def _check_root_may_trust(file: Path, *, link: os.stat_result, target: os.stat_result) -> None:
    if link.st_uid != 0:
        kind = "a symbolic link of" if stat.S_ISLNK(link.st_mode) else "owned by"
        raise _refused_file(file, f"is {kind} another user (uid {link.st_uid}), and we run as root")
    if target.st_uid != 0:
        raise _refused_file(file, f"leads to a file of another user (uid {target.st_uid})")
    if target.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _refused_file(file, "can be written by others, and we run as root")


def _secret_rights_problem(rights: os.stat_result, identity: Identity) -> str:
    mode = stat.S_IMODE(rights.st_mode)
    if rights.st_uid == identity.uid and not mode & 0o077:
        return ""
    # root's membership in groups says nothing: it chose the file's group itself.
    group_is_ours = identity.uid == 0 or rights.st_gid in identity.gids
    if rights.st_uid == 0 and group_is_ours and not mode & 0o037:
        return ""
    if rights.st_uid not in {identity.uid, 0}:
        return f"belongs to another user (uid {rights.st_uid})"
    if mode & 0o037 or rights.st_uid == identity.uid:
        return f"others may read or write it (mode {mode:04o})"
    return f"is readable by a group we are not in (gid {rights.st_gid})"


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


def _refused_secret(file: Path, origin: str, reason: str) -> SettingsError:
    return SettingsError(
        f"{origin}: {file}: {reason}",
        key=SECRET_KEY_FILE,
        advice=f"put the secret key alone on one line, then: chmod 600 {file}",
    )


def _words(error: OSError) -> str:
    return f"cannot be read ({error.strerror or type(error).__name__})"


def _toml_words(error: Exception) -> str:
    # Only the parser's own errors have words that are known to quote no value.
    place = re.search(r"\(at [^()]*\)", str(error))
    return f"syntax error {place[0]}" if place else "it cannot be parsed"


def _absolute(text: str | None) -> Path | None:
    # The XDG rule: a relative path is invalid and is ignored.
    return Path(text) if text and Path(text).is_absolute() else None
