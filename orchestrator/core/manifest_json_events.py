"""JSON texts to ijson's events, with the strictness that its backends lack.

Rule 1: ijson's C parser finds the tokens; its pure Python parser stands in where C is missing. What
        one of them takes too lightly is stopped before it reaches either: lone surrogates, foreign
        digits, `+1`.
Rule 2: numbers are exact: integers come as int, all others as Decimal, never as float.
Rule 3: a token has a bound, so that neither parser can be made to hold a whole file.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import ijson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: characters of one text, and characters without any token at all
MAX_TOKEN_CHARS = 131_072

#: parsers in the order of preference; both are exact, C is ten times faster
BACKENDS = ("yajl2_c", "python")

#: what they raise for bad text; SystemError and ArithmeticError stand for numbers that are too long
_PARSER_ERRORS = (ijson.JSONError, ValueError, ArithmeticError, SystemError)

#: sound JSON, up to the first thing that is cut off or wrong: one call into C for a whole piece
_SOUND = re.compile(
    r"""(?:
        (?: [\x20\t\r\n,:\[\]{}0-9a-zE.-] | (?<=[eE])\+ )++
      | "(?: [^"\\]++
           | \\ (?: [^u]
                  | u(?: (?![dD][89a-fA-F])[0-9a-fA-F]{4}
                       | [dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2} ) )
         )*+"
    )*+""",
    re.VERBOSE | re.DOTALL,
)
_WHOLE_TEXT = re.compile(r'"(?:[^"\\]++|\\.)*+"', re.DOTALL)


class NotJsonError(ValueError):
    """The text is not the JSON that we accept; the message says why."""


def json_events(
    texts: Iterable[str], *, backends: tuple[str, ...] = BACKENDS
) -> Iterator[tuple[str, Any]]:
    """Parse one JSON document as a stream.

    Args:
        texts: the document in pieces.
        backends: names of ijson's parsers; the first that is installed is used.

    Yields:
        ijson's events as (kind, value), without a prefix. Repeated keys are the caller's business.

    Raises:
        NotJsonError: after all events before the fault; also for text after the document.
    """
    found: list[tuple[str, Any]] = ijson.sendable_list()
    parser = _backend(backends).basic_parse_coro(found, use_float=False)
    soundness = _Soundness()
    without_token = 0
    try:
        for text in texts:
            fault = soundness.fault_of(text) or _feed(parser.send, text.encode())
            without_token = 0 if found else without_token + len(text)
            yield from found
            found.clear()
            if fault:
                raise NotJsonError(fault)
            if without_token > MAX_TOKEN_CHARS:
                raise NotJsonError(f"more than {MAX_TOKEN_CHARS:,} characters without a value")
        fault = _feed(parser.close)
        yield from found
        if fault:
            raise NotJsonError(fault)
    finally:
        with suppress(*_PARSER_ERRORS):  # a parser left half-way complains when it is collected
            parser.close()


def _backend(names: tuple[str, ...]) -> Any:
    for name in names:
        with suppress(ImportError):
            return ijson.get_backend(name)
    raise ImportError(f"ijson has none of its parsers: {', '.join(names)}")


def _feed(step: Any, *piece: bytes) -> str:
    """Let the parser take one step; the fault in words, empty when there is none."""
    try:
        step(*piece)
    except _PARSER_ERRORS as error:
        return _words(error)
    return ""


def _words(error: Exception) -> str:
    text = str(error).lower()
    if "premature eof" in text or "incomplete" in text:
        return "the JSON breaks off"
    if "trailing garbage" in text or "additional data" in text:
        return "there is more text after the JSON has ended"
    if isinstance(error, ijson.JSONError):
        return "this is not JSON (RFC 8259)"
    return "this is not JSON (RFC 8259), or a number is too long"


class _Soundness:
    """Looks for what parsers take too lightly, across the borders of pieces."""

    def __init__(self) -> None:
        #: the character before, for the sake of `e+`, and the text that is not closed yet
        self._before = " "
        self._open = ""

    def fault_of(self, text: str) -> str:
        """Look at the next piece; the fault in words, empty when there is none."""
        whole = self._before + self._open + text
        end = _SOUND.match(whole, 1).end()  # type: ignore[union-attr] # it matches even nothing
        rest = whole[end:]
        self._before, self._open = whole[end - 1], rest
        if not rest:
            return ""
        if rest[0] != '"':
            return f"this is not JSON (RFC 8259): {ascii(rest[0])} has no place outside a text"
        if _WHOLE_TEXT.match(rest):
            return r"half a surrogate pair, or a wrong \u escape, stands in a text"
        if len(rest) > MAX_TOKEN_CHARS:
            return f"a text is longer than {MAX_TOKEN_CHARS:,} characters"
        return ""
