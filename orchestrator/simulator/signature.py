"""Whether a request was signed as C2 wants it: the server's side.

It shares nothing with isales/signing.py. It reads the Authorization header, rebuilds the canonical
text from what arrived, and compares. What no public source says (time window, 401 body, blank line)
is a setting. docs/spec/interface.md.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

from orchestrator.simulator.replies import HTML_TYPE, JSON_TYPE, encode, html

if TYPE_CHECKING:
    from collections.abc import Sequence

#: "assumed": no public source gives the window of C2
ASSUMED_WINDOW_S = 900

_SCHEME = "auth-v2"
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII)


class BlankQueryLine(StrEnum):
    """Switch A: the canonical text of a request without a query."""

    OMIT = "omit"
    KEEP = "keep"
    EITHER = "either"


class Millis(StrEnum):
    """Switch B: milliseconds in the timestamp."""

    OMIT = "omit"
    KEEP = "keep"
    EITHER = "either"


class RefusalBody(StrEnum):
    """What a 401 carries; all three are to be tolerated."""

    EMPTY = "empty"
    JSON = "json"
    HTML = "html"


#: body form: (content type, body)
REFUSAL_BODIES = {
    RefusalBody.EMPTY: ("", b""),
    RefusalBody.JSON: (JSON_TYPE, encode({"error": "Authentication failed"})),
    RefusalBody.HTML: (HTML_TYPE, html(401)),
}


@dataclass(frozen=True, slots=True)
class Signed:
    """The parts of an Authorization header."""

    access_key: str
    timestamp: str
    signed_headers: str
    signature: str

    @property
    def prefix(self) -> str:
        """Everything before the last slash; the first HMAC's message."""
        return f"{_SCHEME}/{self.access_key}/{self.timestamp}/{self.signed_headers}"


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """The keys a server knows and how strict it is."""

    access_key: str
    secret_key: str
    blank_query_line: BlankQueryLine = BlankQueryLine.OMIT
    millis: Millis = Millis.EITHER
    #: how far a timestamp may lie from the server's clock, in seconds, either way
    window_s: float = ASSUMED_WINDOW_S
    #: how far the server's clock runs ahead of the true one, in seconds; the Date header shows it
    clock_offset_s: float = 0.0
    refusal_body: RefusalBody = RefusalBody.JSON

    def __repr__(self) -> str:
        return f"SignatureCheck(access_key={self.access_key!r}, secret_key='***')"

    def problem(
        self,
        *,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
        wall_ms: int,
    ) -> str:
        """Say what is wrong with a request's signature.

        Args:
            method: the HTTP method.
            target: path and query exactly as sent.
            headers: names and values as they arrived, names in any case.
            body: the entity, b"" when there is none.
            wall_ms: the true wall clock, in milliseconds since the epoch.

        Returns:
            "" when it is in order, else a few words for the ledger. The client gets none of them.
        """
        found: dict[str, list[str]] = {}
        for name, value in headers:
            found.setdefault(name.lower(), []).append(value.strip())
        signed = parse_authorization(found.get("authorization", []))
        if isinstance(signed, str):
            return signed
        if signed.access_key != self.access_key:
            return "unknown access key"
        return self._time_problem(signed.timestamp, wall_ms) or self._text_problem(
            signed, method, target, found, body
        )

    def _time_problem(self, timestamp: str, wall_ms: int) -> str:
        match = _TIMESTAMP.fullmatch(timestamp)
        if not match:
            return "timestamp unreadable"
        unwanted = Millis.OMIT if match[1] else Millis.KEEP
        if self.millis is unwanted:
            return "timestamp in the other form"
        try:
            at = datetime.fromisoformat(timestamp).astimezone(UTC)
        except ValueError:
            return "timestamp unreadable"
        away_s = at.timestamp() - (wall_ms / 1000 + self.clock_offset_s)
        return "timestamp outside the window" if abs(away_s) > self.window_s else ""

    def _text_problem(
        self,
        signed: Signed,
        method: str,
        target: str,
        found: dict[str, list[str]],
        body: bytes,
    ) -> str:
        lines = header_lines(signed.signed_headers, found)
        if isinstance(lines, str):
            return lines
        key = signing_key(self.secret_key, signed.prefix)
        for keep in _BLANK_FORMS[self.blank_query_line]:
            text = canonical_text(
                method, target, signed.signed_headers, lines, body, keep_blank_line=keep
            )
            wanted = hmac.digest(key.encode(), text.encode(), "sha256").hex()
            if hmac.compare_digest(wanted.encode(), signed.signature.encode()):
                return ""
        return "signature differs"


_BLANK_FORMS = {
    BlankQueryLine.OMIT: (False,),
    BlankQueryLine.KEEP: (True,),
    BlankQueryLine.EITHER: (False, True),
}


def parse_authorization(values: Sequence[str]) -> Signed | str:
    """Take an Authorization header apart, or say why it cannot be."""
    if not values:
        return "no Authorization header"
    if len(values) > 1:
        return "several Authorization headers"
    parts = values[0].split("/")
    if len(parts) != 5 or parts[0] != _SCHEME:
        return "not an auth-v2 header"
    return Signed(*parts[1:])


def header_lines(signed_headers: str, found: dict[str, list[str]]) -> list[str] | str:
    """The signed header lines from what arrived, or why they cannot be written."""
    names = signed_headers.split(";")
    if "host" not in names:
        return "host is not signed"
    if names != sorted(set(names)) or signed_headers != signed_headers.lower():
        return "signed headers are not lower-case, sorted and distinct"
    if any(len(found.get(name, ())) != 1 for name in names):
        return "a signed header is missing or repeated"
    return sorted(f"{escape(name)}:{escape(found[name][0])}" for name in names)


def canonical_text(  # noqa: PLR0913 -- the parts of the canonical text, no more
    method: str,
    target: str,
    signed_headers: str,
    lines: Sequence[str],
    body: bytes,
    *,
    keep_blank_line: bool,
) -> str:
    """The text that the second HMAC signs."""
    path, _, query_string = target.partition("?")
    query = canonical_query(query_string)
    query_line = [query] if query or keep_blank_line else []
    return "\n".join(
        [method, path, *query_line, signed_headers, *lines, quote(body, safe="")],
    )


def canonical_query(query_string: str) -> str:
    """The query line rebuilt from what was sent, whatever escapes and order it was sent in."""
    pairs = (pair.partition("=") for pair in query_string.split("&") if pair)
    return "&".join(
        sorted({f"{escape(unquote_plus(k))}={escape(unquote_plus(v))}" for k, _, v in pairs})
    )


@lru_cache(maxsize=64)
def signing_key(secret_key: str, prefix: str) -> str:
    """The hex text that keys the second HMAC: 64 ASCII characters, not 32 bytes."""
    return hmac.digest(secret_key.encode(), prefix.encode(), "sha256").hex()


def escape(text: str) -> str:
    """Percent-escape UTF-8 bytes; only letters, digits and - . _ ~ stay."""
    return quote(text, safe="")
