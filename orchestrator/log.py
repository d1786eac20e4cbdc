"""Events for operators and log collectors: structlog, JSON or console, never a secret.

An event is `noun.what_happened` with fields. Secrets are masked last, by value and by key, after
exceptions are rendered, which never show local variables. structlog is imported at the first event
that is shown. A log that cannot be written is reported once and never stops a run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any, TextIO

from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableMapping
    from pathlib import Path

    from orchestrator.settings.secret import Secret

_MASK = "***"
#: characters of an event that is shown as a sentence
_LINE_LIMIT = 1000
#: keys whose value is never shown, whatever it is
_SECRET_KEYS = ("secret", "password", "authorization", "signature", "token")


class Level(IntEnum):
    """How much is shown."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Events:
    """Where the engine reports what happened."""

    def __init__(  # noqa: PLR0913 - how events are shown has many sides
        self,
        *,
        level: Level = Level.WARNING,
        as_json: bool = False,
        stream: TextIO | None = None,
        secrets: Iterable[Secret] = (),
        traceback: bool = False,
        sentence: Callable[[Level, str, Mapping[str, object]], str | None] | None = None,
    ) -> None:
        """Show events of `level` and above on `stream` (stderr unless given).

        `secrets` never appear, by value; `traceback` shows where an exception came from. `sentence`
        makes a line for people; empty: it is not shown; None, from it or in its place: as it is.
        """
        self._level = level
        self._as_json = as_json
        self._stream = stream or sys.stderr
        self._secrets = _spellings(secrets)
        self._traceback = traceback
        self._sentence = sentence
        self._log: Any = None
        # Without a standard error (closed by whoever started us) nobody can read it.
        self._lost = self._stream is None

    def mask(self, *secrets: Secret) -> None:
        """Never show these from now on."""
        self._secrets += _spellings(secrets)

    def shows(self, level: Level) -> bool:
        """Whether events of this level are shown; ask where there is one for each campaign."""
        return level >= self._level and not self._lost

    def debug(self, event: str, **fields: object) -> None:
        """Show an event that only helps to find a fault."""
        self._say(Level.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        """What an operator may want to see."""
        self._say(Level.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """What an operator should see."""
        self._say(Level.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        """What somebody must see; `cause=` takes an exception."""
        self._say(Level.ERROR, event, fields)

    def _say(self, level: Level, event: str, fields: Mapping[str, object]) -> None:
        if not self.shows(level):
            return
        shown = dict(fields)
        cause = shown.pop("cause", None)
        if isinstance(cause, BaseException):
            shown.setdefault("error", f"{type(cause).__name__}: {cause}")
            if self._traceback:
                shown["exc_info"] = cause
        line = self._sentence(level, event, shown) if self._sentence else None
        try:
            if line is None:
                if self._log is None:
                    self._log = self._build()
                self._log.log(int(level), event, **shown)
            elif line:
                text = for_terminal(_without(line, self._secrets), limit=_LINE_LIMIT)
                self._stream.write(f"{text}\n")
                self._stream.flush()
        except (OSError, ValueError) as error:
            self._lost = True
            # Where nobody can read this either, the report says how the run ended.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                sys.stderr.write(f"warning: the log cannot be written ({error}); the run goes on\n")

    def _build(self) -> Any:  # structlog's own type is a protocol of everything
        import structlog  # noqa: PLC0415 - rule 2

        if self._as_json:
            transformer = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
            exceptions: Any = structlog.processors.ExceptionRenderer(transformer)
            renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
        else:
            exceptions = structlog.processors.format_exc_info
            renderer = structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        return structlog.wrap_logger(
            structlog.PrintLogger(self._stream),
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
                exceptions,
                self._masked,
                renderer,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(int(self._level)),
            cache_logger_on_first_use=True,
        )

    def _masked(
        self, _logger: object, _method: str, fields: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        masked = {key: _mask(key, value, self._secrets) for key, value in fields.items()}
        if not self._as_json:
            return {key: _for_terminal(key, value) for key, value in masked.items()}
        return masked


def open_log(path: Path) -> TextIO:
    """Open a log file for appending, one line at a time, readable by its owner alone.

    A pipe is taken if somebody reads it; opening never waits.

    Raises:
        OSError: it cannot be opened.
        ValueError: there can be no file of this name.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        os.fchmod(descriptor, 0o600)  # the umask must not keep its own owner out of it
    except FileExistsError:
        descriptor = os.open(path, flags)
    return open(descriptor, "a", encoding="utf-8", buffering=1)  # noqa: PTH123


def log_trouble(error: OSError | ValueError, path: Path) -> str:
    """Why a log file could not be opened, in words."""
    if isinstance(error, ValueError):
        return "no file can have this name"
    if error.errno == errno.ELOOP and path.is_symlink():
        return f"it is a symbolic link: name the file that it leads to, {path.readlink()}"
    if error.errno == errno.ENXIO:
        return "it is a pipe or a socket that nobody reads"
    return error.strerror or str(error)


def _mask(key: str, value: object, secrets: tuple[str, ...]) -> object:
    if any(part in key.lower() for part in _SECRET_KEYS):
        return _MASK if value else value
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {
            _without(str(inner), secrets): _mask(str(inner), one, secrets)
            for inner, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_mask(key, one, secrets) for one in value]
    return _without(str(value), secrets)


def _without(text: str, secrets: tuple[str, ...]) -> str:
    for secret in secrets:
        text = text.replace(secret, _MASK)
    return text.encode("utf-8", "backslashreplace").decode()


def _for_terminal(key: str, value: object) -> object:
    if isinstance(value, (dict, list)):
        value = str(value)
    if not isinstance(value, str):
        return value
    if key == "exception":
        return "\n".join(for_terminal(line) for line in value.splitlines())
    return for_terminal(value)


def _spellings(secrets: Iterable[Secret]) -> tuple[str, ...]:
    """Every secret as it is, and as repr() and JSON write it; one that is too short is none."""
    found: dict[str, None] = {}
    for secret in secrets:
        text = secret.reveal() if secret.is_masked else ""
        for spelling in (text, repr(text)[1:-1], ascii(text)[1:-1], json.dumps(text)[1:-1]):
            if spelling:
                found[spelling] = None
    return tuple(sorted(found, key=len, reverse=True))
