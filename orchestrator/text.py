r"""Text that others wrote, made harmless for the place where people read it.

What moves a cursor, turns text round or takes no width is shown as an escape, `\x1b` or `\u202e`. A
cell that a spreadsheet would calculate begins with an apostrophe. The result is encodable, on one
line, and at most `limit` characters long; the functions change it once. tests/faults.md, S43, Z09.
"""

from __future__ import annotations

import re

#: characters of one report cell or one line on a terminal; more is cut, with an ellipsis
TEXT_LIMIT = 500

#: how the usual controls are shown; all others by number
_SHORT_ESCAPES = {"\t": r"\t", "\n": r"\n", "\r": r"\r"}

#: spaces that have a width: harmless, and frequent in Chinese names (U+3000)
_WIDE_SPACES = frozenset(
    "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)

#: invisible, yet letters or marks to Unicode, so that str.isprintable() lets them pass:
#: grapheme joiner, Hangul fillers, Khmer inherent vowels, Mongolian and other variation selectors
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

#: OWASP's list, and the full-width forms that some spreadsheets turn into ASCII
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠]|[\t\r\n]")  # noqa: RUF001 - the lookalikes are the point

#: with one of these a printable ASCII text may be a formula, or may be one after some spaces
_FORMULA_OR_SPACE = "=+-@ "


def for_terminal(text: str, *, limit: int = TEXT_LIMIT) -> str:
    r"""Show a text on a terminal or in a log, as one line.

    Args:
        text: anything, lone surrogates included.
        limit: characters that may come out, at least 1.

    Returns:
        Printable text. Not reversible: a backslash stays a backslash.
    """
    return _cut(_visible(text[: limit + 1]), limit)


def for_spreadsheet(text: str) -> str:
    """Write a text into a CSV cell that a spreadsheet will show and never calculate.

    Returns:
        Printable text of at most TEXT_LIMIT characters. Digits stay as they are, so ids remain ids.
    """
    # nearly every cell: printable ASCII that no formula begins with; a fifth of the way below
    if not text or (
        text.isascii()
        and text.isprintable()
        and text[0] not in _FORMULA_OR_SPACE
        and len(text) <= TEXT_LIMIT
    ):
        return text
    head = text[: TEXT_LIMIT + 1]
    guard = "'" if _FORMULA.match(head) else ""
    return _cut(guard + _visible(head), TEXT_LIMIT)


def as_sentence(words: str) -> str:
    """End it with exactly one stop, whatever it ends with.

    >>> as_sentence("is 7 the right VDN?"), as_sentence("Nothing was sent.."), as_sentence("gone")
    ('is 7 the right VDN?', 'Nothing was sent.', 'gone.')
    """
    bare = words.rstrip(" .")
    return bare if bare.endswith(("?", "!", "…")) else f"{bare}."


def _visible(text: str) -> str:
    if text.isprintable() and (text.isascii() or not _UNSEEN.search(text)):
        return text
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character in _WIDE_SPACES or (character.isprintable() and not _UNSEEN.match(character)):
        return character
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    number = ord(character)
    if number <= 0xFF:
        return f"\\x{number:02x}"
    if number <= 0xFFFF:
        return f"\\u{number:04x}"
    return f"\\U{number:08x}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
