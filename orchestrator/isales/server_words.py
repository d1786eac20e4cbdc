"""What a server, a proxy or a firewall says in a refusal, as one short printable line.

Parts that differ from answer to answer (incident numbers, times) are left out, so that refusals for
one reason are counted as one.
"""

from __future__ import annotations

import html
import json
import re
from typing import Final

from orchestrator.isales.body import unpack
from orchestrator.isales.strict_json import BadJsonError
from orchestrator.text import for_terminal

_LIMIT: Final = 160
#: bytes of an answer that are looked at
_READ_BYTES: Final = 16 * 1024

#: names of what people should read, the most telling first
_FIELDS: Final = (
    "resultDesc",
    "returnDesc",
    "error_description",
    "error_msg",
    "errorMessage",
    "message",
    "errors",
    "msg",
    "detail",
    "description",
    "reason",
    "title",
    "error",
    "error_code",
    "code",
)
_UNSEEN: Final = re.compile(r"(?is)<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)")
_TITLE: Final = re.compile(r"(?is)<title[^>]*>(.*?)</title")
_TAG: Final = re.compile(r"(?s)<[^>]*>?")
#: with a digit in it: a number of an incident, a time, an address
_LONG_WORD: Final = re.compile(r"[\w.:-]{6,}")
_DIGIT: Final = re.compile(r"\d")


def words_of(body: bytes, *, content_encoding: str | None = None) -> str:
    """The words of a refusal; "" when it has none that can be read."""
    try:
        text = unpack(body, content_encoding)[:_READ_BYTES].decode("utf-8", "replace")
    except BadJsonError:
        return ""
    if "\ufffd" in text:
        return ""
    words = _of_json(text) if text.lstrip()[:1] in {"{", "["} else _of_page(text)
    steady = _LONG_WORD.sub(_steady, " ".join(words.split()))
    return for_terminal(steady, limit=_LIMIT).rstrip(". ")


def _steady(word: re.Match[str]) -> str:
    # not one pattern with a look ahead: 16 KiB of letters would take it seconds
    return "…" if _DIGIT.search(word[0]) else word[0]


def _of_json(text: str) -> str:
    """The first message in it, innermost first: some wrap it, {"error": {"message": "…"}}."""
    words: list[str] = []

    def note(members: dict[str, object]) -> None:
        for found in (members.get(name) for name in _FIELDS):
            first = found[0] if isinstance(found, list) and found else found
            words.extend([first] if isinstance(first, str) and first else [])

    try:
        note({"errors": json.loads(text, object_hook=note)})
    except (ValueError, RecursionError):
        return text
    return words[0] if words else ""


def _of_page(text: str) -> str:
    seen = _TAG.sub(" ", _UNSEEN.sub(" ", text))
    title = _TITLE.search(text)
    return html.unescape(title[1] if title and not seen.strip() else seen)
