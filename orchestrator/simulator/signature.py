"""Whether a request was signed as C2 wants it: the server's side.

It shares nothing with isales/signing.py. It reads the Authorization header, rebuilds the canonical
text from what arrived, and compares. What no public source says (time window, blank line) is a
setting. docs/spec/interface.md.
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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.simulator.routes import Received

#: "assumed": no public source gives the window of C2
ASSUMED_WINDOW_S = 900

_SCHEME = "auth-v2"
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", re.ASCII)


class Form(StrEnum):
    """What the server takes where public sources disagree (the switches of docs/spec)."""

    OMIT = "omit"
    KEEP = "keep"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """The keys a server knows and how strict it is."""

    access_key: str
    secret_key: str
    #: switch A: the line of the query in the canonical text of a request without one
    blank_query_line: Form = Form.OMIT
    #: switch B: milliseconds in the timestamp
    millis: Form = Form.EITHER
    #: how far a timestamp may lie from the server's clock, in seconds, either way
    window_s: float = ASSUMED_WINDOW_S
    #: how far the server's clock runs ahead of the true one, in seconds; the Date header shows it
    clock_offset_s: float = 0.0

    def __repr__(self) -> str:
        return f"SignatureCheck(access_key={self.access_key!r}, secret_key='***')"

    def problem(self, request: Received, *, wall_ms: int) -> str:
        """Say what is wrong with a request's signature.

        Args:
            request: as it arrived.
            wall_ms: the true wall clock, in milliseconds since the epoch.

        Returns:
            "" when it is in order, else a few words for the ledger. The client gets none of them.
        """
        found: dict[str, list[str]] = {}
        for name, value in request.headers:
            found.setdefault(name.lower(), []).append(value.strip())
        values = found.get("authorization", [])
        if len(values) != 1:
            return "several Authorization headers" if values else "no Authorization header"
        # everything before the last slash is the first HMAC's message
        prefix, _, signature = values[0].rpartition("/")
        parts = prefix.split("/")
        if len(parts) != 4 or parts[0] != _SCHEME:
            return "not an auth-v2 header"
        _, access_key, timestamp, signed_headers = parts
        if access_key != self.access_key:
            return "unknown access key"
        problem = self._time_problem(timestamp, wall_ms) or _names_problem(signed_headers, found)
        if problem:
            return problem
        path, _, query_string = request.target.partition("?")
        query = canonical_query(query_string)
        names = signed_headers.split(";")
        lines = sorted(f"{escape(name)}:{escape(found[name][0])}" for name in names)
        rest = [signed_headers, *lines, quote(request.body, safe="")]
        forms = [[query]] if query else [[], [""]]
        if not query and self.blank_query_line is not Form.EITHER:
            forms = [[]] if self.blank_query_line is Form.OMIT else [[""]]
        key = signing_key(self.secret_key, prefix).encode()
        for query_line in forms:
            text = "\n".join([request.method, path, *query_line, *rest])
            wanted = hmac.digest(key, text.encode(), "sha256").hex()
            if hmac.compare_digest(wanted.encode(), signature.encode()):
                return ""
        return "signature differs"

    def _time_problem(self, timestamp: str, wall_ms: int) -> str:
        match = _TIMESTAMP.fullmatch(timestamp)
        if not match:
            return "timestamp unreadable"
        unwanted = Form.OMIT if match[1] else Form.KEEP
        if self.millis is unwanted:
            return "timestamp in the other form"
        try:
            at = datetime.fromisoformat(timestamp).astimezone(UTC)
        except ValueError:
            return "timestamp unreadable"
        away_s = at.timestamp() - (wall_ms / 1000 + self.clock_offset_s)
        return "timestamp outside the window" if abs(away_s) > self.window_s else ""


def _names_problem(signed_headers: str, found: Mapping[str, list[str]]) -> str:
    names = signed_headers.split(";")
    if "host" not in names:
        return "host is not signed"
    if names != sorted(set(names)) or signed_headers != signed_headers.lower():
        return "signed headers are not lower-case, sorted and distinct"
    if any(len(found.get(name, ())) != 1 for name in names):
        return "a signed header is missing or repeated"
    return ""


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
