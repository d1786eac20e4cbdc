"""Masks our secret key in an answer before anybody reads it, however the server wrote it.

A text that holds the key goes as a whole; codes, ids, states, names of JSON members and numbers
stay. A body that is no JSON and holds it goes too. An answer without it costs microseconds.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from orchestrator.isales.body import read_document, unpack
from orchestrator.isales.strict_json import BadJsonError
from orchestrator.settings.secret import LEAST_MASKED_CHARS, MASK

if TYPE_CHECKING:
    from orchestrator.isales.answer import Answer
    from orchestrator.settings.secret import Secret

#: so many characters of its beginning give a longer key away
_HEAD_CHARS: Final = 12
_UNICODE_ESCAPE: Final = re.compile(r"\\u00([0-7][0-9A-Fa-f])")


class EchoMask:
    """Takes one secret key out of what a server answers."""

    def __init__(self, secret: Secret | None) -> None:
        """Prepare for a key; None, or one that is too short to be masked, is not looked for."""
        text = secret.reveal() if secret and secret.is_masked else ""
        head = text.lower()[:_HEAD_CHARS]
        self._heads = {head, head.replace("+", " ")} - {""}
        self._bare = {one.replace("\\", "") for one in self._heads} - {""}
        self._codes = _codes(text) if text else ()

    def __repr__(self) -> str:
        return f"EchoMask({MASK})"

    def masked(self, answer: Answer) -> Answer:
        """The same answer without the key."""
        if not self._heads:
            return answer
        texts = (answer.detail, answer.retry_after, answer.date, answer.location)
        if any(map(self._holds, filter(None, texts))):
            detail, retry_after, date, location = (text and self._without(text) for text in texts)
            answer = answer._replace(
                detail=detail or "", retry_after=retry_after, date=date, location=location
            )
        body, encoding = answer.body, answer.content_encoding
        with contextlib.suppress(BadJsonError):
            body, encoding = unpack(body, encoding), None
        if not self._holds(body.decode("latin-1")):
            return answer
        return answer._replace(body=self._clean(body), content_encoding=encoding)

    def _holds(self, text: str) -> bool:
        if "%" in text:
            once = unquote(text, encoding="latin-1")
            text += once + unquote(once, encoding="latin-1")
        if "&" in text:
            text += html.unescape(text)
        if "\\" in text:
            text += _UNICODE_ESCAPE.sub(_character, text)
            bare = text.replace("\\", "").lower()
            if any(one in bare for one in self._bare):
                return True
        if "\0" in text:
            text += text.replace("\0", "")
        low = text.lower()
        return any(head in low for head in self._heads) or any(code in low for code in self._codes)

    def _clean(self, body: bytes) -> bytes:
        try:
            members = read_document(body, content_encoding=None).members
        except BadJsonError:
            return MASK.encode()
        return json.dumps(self._in_values(members)).encode()

    def _in_values(self, value: object) -> object:
        if isinstance(value, dict):
            return {name: self._in_values(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._in_values(one) for one in value]
        if isinstance(value, str) and not value.isdigit():
            return self._without(value)
        return value

    def _without(self, text: str) -> str:
        return MASK if self._holds(text) else text


def _character(found: re.Match[str]) -> str:
    return chr(int(found[1], 16))


def _codes(text: str) -> tuple[str, ...]:
    """The key in hex, and in base64 at each of the three places where it may begin in a group."""
    raw = text.encode("utf-8", "surrogatepass")
    found = {raw.hex()}
    for before in range(3):
        padded = b"\0" * before + raw
        # The first and last characters of it depend on what stands beside the key.
        start, end = (0, 2, 3)[before], len(padded) // 3 * 4
        for encode in (b64encode, urlsafe_b64encode):
            found.add(encode(padded)[start:end].decode("ascii").lower())
    return tuple(one for one in found if len(one) >= LEAST_MASKED_CHARS)
