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
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    for _ in range(3):  # some wrap it: {"error": {"message": "…"}}
        if isinstance(found, list) and found:
            found = found[0]
        if not isinstance(found, dict):
            break
        named = [found[name] for name in _FIELDS if found.get(name)]
        texts = [one for one in named if isinstance(one, str)]
        if texts:
            return texts[0]
        found = next(
            (one for one in [*named, *found.values()] if isinstance(one, (dict, list))), ""
        )
    return found if isinstance(found, str) else ""


def _of_page(text: str) -> str:
    title = _TITLE.search(text)
    seen = html.unescape(_TAG.sub(" ", _UNSEEN.sub(" ", text)))
    named = html.unescape(_TAG.sub(" ", title[1])) if title else ""
    if not seen.strip() or seen.strip().lower().startswith(named.strip().lower()):
        return seen if seen.strip() else named
    return f"{named}: {seen}" if named.strip() else seen
