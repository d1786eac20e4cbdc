"""Masks our secret key in an answer before anybody reads it, however the server wrote it.

Codes, ids, states, names of JSON members and numbers stay as they were. Where the key is found and
cannot be taken out, the whole body goes. An answer without it costs microseconds.
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
        self._plain = text.lower()
        head = self._plain[:_HEAD_CHARS]
        self._heads = {head, head.replace("+", " ")}
        self._bare = {one.replace("\\", "") for one in self._heads} - {""}
        self._codes = _codes(text) if self._plain else ()
        self._text = text

    def __repr__(self) -> str:
        return f"EchoMask({MASK})"

    def masked(self, answer: Answer) -> Answer:
        """The same answer without the key."""
        if not self._plain:
            return answer
        texts = (answer.detail, answer.retry_after, answer.date, answer.location)
        if any(text and self._holds(text) for text in texts):
            detail, *headers = (text and self._without(text) for text in texts)
            retry_after, date, location = headers
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
            return self._without(body.decode("latin-1")).encode("latin-1")
        return json.dumps(self._in_values(members)).encode()

    def _in_values(self, value: object) -> object:
        if isinstance(value, dict):
            return {name: self._in_values(one) for name, one in value.items()}
        if isinstance(value, list):
            return [self._in_values(one) for one in value]
        if isinstance(value, str) and not value.isdigit() and self._holds(value):
            return self._without(value)
        return value

    def _without(self, text: str) -> str:
        text = _pattern(self._text, self._codes).sub(MASK, text)
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


def _pattern(text: str, codes: tuple[str, ...]) -> re.Pattern[str]:
    characters = []
    for one in text:
        number = ord(one)
        named = {html.escape(one), "&apos;"} if one == "'" else {html.escape(one)}
        ways = [re.escape(one), rf"\\?{re.escape(one)}", rf"\\u00{number:02x}", f"%{number:02x}"]
        ways += [re.escape(name) for name in named]
        ways += [f"&#0*{number};", f"&#x0*{number:x};", *([" "] if one == "+" else [])]
        characters.append("(?:" + "|".join(dict.fromkeys(reversed(ways))) + ")")
    whole = "".join(characters)
    cut = "".join(characters[:_HEAD_CHARS]) + r"[^\s\"'<>]*"
    return re.compile("|".join([whole, cut, *map(re.escape, codes)]), re.IGNORECASE)
