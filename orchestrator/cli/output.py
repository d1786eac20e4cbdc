"""The two streams: results on stdout, everything else on stderr.

A stream that is closed, full or not read changes nothing about a run: one warning, then silence
(streams.py). No secret that was loaded reaches either stream.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

from orchestrator.errors import UsageError
from orchestrator.streams import (
    RESULT_PATIENCE_S,
    ReadyStream,
    take_standard_descriptors,
    write_within,
)
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from orchestrator.cli.pasting import Calling
    from orchestrator.errors import OrchestratorError
    from orchestrator.settings.secret import Secret

#: problems of a list that are named in full
SHOWN_PROBLEMS = 20
_MASK = "***"
#: so many characters of a secret are masked although the rest of it is missing
_TELLING_CHARS = 8

_secrets: list[Secret] = []
#: says how this process was called; pasting.py is loaded for a message that names a command
_calling: list[Callable[[], Calling]] = []


def set_calling(find: Callable[[], Calling]) -> None:
    """Say how this process was called; `find` is asked when a message names a command."""
    _calling[:] = [find]


def with_commands(text: str) -> str:
    """Complete the commands that a message of ours names (pasting.py)."""
    if not _calling or "orchestrator " not in text:
        return text
    try:
        from orchestrator.cli.pasting import pasted  # noqa: PLC0415 - see above

        return pasted(text, _calling[0]())
    except MemoryError:
        return text  # better than no word at all


def give_help(text: str) -> None:
    """Print a help text on stdout; its examples name the program as it was called."""
    from orchestrator.cli.pasting import named  # noqa: PLC0415 - see above

    give(named(text, _calling[0]()))


def never_show(secret: Secret | None) -> None:
    """Mask this in whatever is said from now on."""
    if secret is not None and secret.is_masked:
        _secrets.append(secret)


def secrets() -> tuple[Secret, ...]:
    """What must never be shown."""
    return tuple(_secrets)


def masked(text: str) -> str:
    """The text without any secret that was loaded, nor the beginning of one that was cut."""
    for secret in _secrets:
        whole = secret.reveal()
        text = text.replace(whole, _MASK)
        while len(whole) > _TELLING_CHARS and (at := text.find(whole[:_TELLING_CHARS])) >= 0:
            end = at + _TELLING_CHARS
            while text.startswith(whole[: end - at + 1], at) and end - at < len(whole):
                end += 1
            text = text[:at] + _MASK + text[end:]
    return text


def prepare_streams() -> None:
    """Make every stream exist, never block, and print any text."""
    take_standard_descriptors()
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            with contextlib.suppress(OSError, ValueError):
                reconfigure(errors="backslashreplace")
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is None:
            # everybody may write there; nobody reads it
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        elif not isinstance(sys.stderr, ReadyStream):
            sys.stderr = cast("TextIO", ReadyStream(sys.stderr))


def give(text: str, *, paged: bool = False) -> None:
    """Print one line of results on stdout; a stdout that is gone is said once on stderr.

    With `paged` there may be more lines than a pipe holds, and somebody who turns pages.
    """
    _write_out(masked(text) + "\n", math.inf if paged else RESULT_PATIENCE_S)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad every cell but the last of a row to its column's widest, two spaces between columns.

    >>> columns([("KEY", "VALUE"), ("a", "1")])
    ['KEY  VALUE', 'a    1']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def finish_output() -> None:
    """Write what is still buffered, so that the interpreter's own end does not fail at it."""
    _write_out("")
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            sys.stderr.flush()
    if isinstance(sys.stderr, ReadyStream):
        sys.stderr = sys.stderr.inner


def say(text: str) -> None:
    """Print one line for people on stderr, if anybody is there."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stderr is not None:
            print(masked(text), file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print one warning on stderr."""
    say(f"warning: {for_terminal(text, limit=1000)}")


class _MaskedLog(logging.Handler):
    """What other people's code logs (asyncio, aiohttp): masked like everything else."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


def mask_logging() -> None:
    """Let nothing be logged past the mask: a library's traceback may quote what we hold."""
    root = logging.getLogger()
    if not any(isinstance(one, _MaskedLog) for one in root.handlers):
        root.addHandler(_MaskedLog(level=logging.WARNING))


def raw_stdout() -> BinaryIO | None:
    """Where rows go when no file can be written; None when there is no stdout."""
    buffer: BinaryIO | None = getattr(sys.stdout, "buffer", None)
    return buffer


def complain(error: OrchestratorError) -> None:
    """Print an error: what is wrong and what was sent, then what to do."""
    problems = getattr(error, "problems", ())
    if problems:
        _list_problems(error, problems)
    else:
        # the sentence of another error may quote the server
        is_ours = isinstance(error, UsageError)
        sentence = with_commands(error.sentence) if is_ours else error.sentence
        say(f"error: {for_terminal(sentence, limit=2000)}")
    hint(error.advice)


def hint(advice: str) -> None:
    """Print what to do about an error, if anything is known."""
    if advice:
        say(f"hint: {for_terminal(with_commands(advice), limit=4000)}")


def _list_problems(error: OrchestratorError, problems: tuple[object, ...]) -> None:
    """Name the first problems of a list, each with its place, and count the rest."""
    path = for_terminal(str(getattr(error, "path", "")), limit=300)
    total = int(getattr(error, "total", len(problems)))
    entries = "1 unusable entry" if total == 1 else f"{total:,} unusable entries"
    say(f"error: {path}: {entries}. Nothing was sent.")
    for problem in problems[:SHOWN_PROBLEMS]:
        place = getattr(problem, "place", "")
        reason = getattr(problem, "reason", "")
        say(f"  {path}:{for_terminal(f'{place}: {reason}')}")
    more = total - min(len(problems), SHOWN_PROBLEMS)
    if more > 0:
        say(f"  … and {more:,} more")


def _write_out(text: str, patience_s: float = math.inf) -> None:
    try:
        if sys.stdout is None:
            if text:
                raise OSError("it is closed")  # noqa: TRY301 - the same end as a pipe that broke
            return
        if patience_s < math.inf:
            sys.stdout.flush()
            write_within(sys.stdout, text, patience_s)
        else:
            sys.stdout.write(text)
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        warn(f"stdout cannot be written ({reason}); the exit code still tells how it ended")
        _close_out()


def _close_out() -> None:
    """Point stdout at nothing, so that no later write, nor the interpreter's end, fails again."""
    nothing = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(nothing, sys.stdout.fileno())
    sys.stdout = os.fdopen(nothing, "w", encoding="utf-8")
