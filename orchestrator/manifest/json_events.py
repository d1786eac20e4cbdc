"""JSON texts to ijson's events, with the strictness that its parsers lack.

ijson's C parser finds the tokens, its pure Python parser stands in where C is missing. Lone
surrogates, foreign digits and `+1` are stopped before either. Integers come as int, all others as
Decimal. A token has a bound, so that no parser holds a whole file; the bound on numbers also keeps
the C parser (ijson 3.6.0) alive: a number over the digit limit of int() ends the interpreter.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

import ijson  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: characters of one text, and characters without any token at all
MAX_TOKEN_CHARS = 131_072
#: characters of one number; int() may be limited to 640 digits
MAX_NUMBER_CHARS = 100

#: parsers in the order of preference; both are exact, C is ten times faster
BACKENDS = ("yajl2_c", "python")

#: what they raise for bad text; those that are no JSONError stand for numbers out of all bounds
_PARSER_ERRORS = (ijson.JSONError, ValueError, ArithmeticError, SystemError)

#: what numbers and literals are made of
_WORD_CHARS = "0123456789abcdefghijklmnopqrstuvwxyzE.+-"

#: Sound JSON, up to the first thing that is cut off or wrong: one call into C for a whole piece.
#: Two repeats that stand side by side share no character, so nothing is tried in two ways.
#: Possessive quantifiers would say the same, and are broken in Python before 3.11.5.
_SOUND = re.compile(
    rf"""
    [\x20\t\r\n,:\[\]{{}}]*
    (?: (?: (?! [0-9a-zE.+-]{{{MAX_NUMBER_CHARS + 1}}} )
            [0-9a-zE.-]+ (?: (?<=[eE])\+ [0-9a-zE.-]* )* (?! [0-9a-zE.+-] )
          | "[^"\\]*
             (?: \\ (?: [^u]
                      | u(?: (?![dD][89a-fA-F])[0-9a-fA-F]{{4}}
                           | [dD][89abAB][0-9a-fA-F]{{2}}\\u[dD][c-fC-F][0-9a-fA-F]{{2}} ) )
                 [^"\\]*
             )*"
        )
        [\x20\t\r\n,:\[\]{{}}]*
    )*""",
    re.VERBOSE | re.DOTALL,
)
_WHOLE_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


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
        NotJsonError: the first fault; also for text after the document.
    """
    found: list[tuple[str, Any]] = ijson.sendable_list()
    parser = _backend(backends).basic_parse_coro(found, use_float=False)
    soundness = _Soundness()
    without_token = 0
    try:
        for text in texts:
            if fault := soundness.fault_of(text):
                raise NotJsonError(fault)
            fault = _feed(found, parser.send, text.encode())
            without_token = 0 if found else without_token + len(text)
            yield from found
            found.clear()
            if fault:
                raise NotJsonError(fault)
            if without_token > MAX_TOKEN_CHARS:
                raise NotJsonError(f"more than {MAX_TOKEN_CHARS:,} characters without a value")
        fault = _feed(found, parser.close)
        yield from found
        if fault:
            raise NotJsonError(fault)
    finally:
        with suppress(*_PARSER_ERRORS):  # a parser left half-way complains when it is collected
            parser.close()


@cache
def _backend(names: tuple[str, ...]) -> Any:
    for name in names:
        with suppress(ImportError):
            return ijson.get_backend(name)
    raise ImportError(f"ijson has none of its parsers: {', '.join(names)}")


def _feed(found: list[tuple[str, Any]], step: Any, *piece: bytes) -> str:
    """Let the parser take one step; the fault in words, empty when there is none."""
    try:
        step(*piece)
    except ijson.JSONError as error:
        return _words(str(error).lower())
    except _PARSER_ERRORS:
        found.clear()  # what it found last may be broken
        return "this is not JSON (RFC 8259), or a number is too large"
    return ""


def _words(error: str) -> str:
    if "premature eof" in error or "incomplete" in error:
        return "the JSON breaks off"
    if "trailing garbage" in error or "additional data" in error:
        return "there is more text after the JSON has ended"
    return "this is not JSON (RFC 8259)"


class _Soundness:
    """Looks for what parsers take too lightly, across the borders of pieces."""

    def __init__(self) -> None:
        #: the end of what was seen, when it may go on: a number, or a text that is not closed
        self._open = ""

    def fault_of(self, text: str) -> str:
        """Look at the next piece; the fault in words, empty when there is none."""
        whole = self._open + text
        end = _SOUND.match(whole).end()  # type: ignore[union-attr] # it matches even nothing
        self._open = rest = whole[end:]
        if not rest:
            self._open = whole[len(whole.rstrip(_WORD_CHARS)) :]
            return ""
        if rest[0] in _WORD_CHARS:
            return "this is not JSON (RFC 8259), or a number is too long"
        if rest[0] != '"':
            return f"this is not JSON (RFC 8259): {rest[0]!a} has no place outside a text"
        if _WHOLE_TEXT.match(rest):
            return r"half a surrogate pair, or a wrong \u escape, stands in a text"
        if len(rest) > MAX_TOKEN_CHARS:
            return f"a text is longer than {MAX_TOKEN_CHARS:,} characters"
        return ""
