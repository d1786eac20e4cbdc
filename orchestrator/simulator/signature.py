"""Whether a request was signed as C2 wants it: the server's side.

It shares nothing with isales/signing.py. It reads the Authorization header, rebuilds the canonical
text from what arrived, and compares. What no public source says (time window, blank line) is a
setting. docs/spec/interface.md.
"""

from __future__ import annotations

import hmac
import re
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_plus

if TYPE_CHECKING:
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
        """Say what is wrong with a request's signature at the true wall clock.

        Returns:
            "" when it is in order, else a few words for the ledger. The client gets none of them.
        """
        headers = Counter(name.lower() for name, _ in request.headers)
        found = {name.lower(): value.strip() for name, value in request.headers}
        # everything before the last slash is the first HMAC's message
        prefix, _, signature = found.get("authorization", "").rpartition("/")
        parts = prefix.split("/")
        if headers["authorization"] != 1 or len(parts) != 4 or parts[0] != _SCHEME:
            return "not one auth-v2 header"
        _, access_key, timestamp, signed_headers = parts
        if access_key != self.access_key:
            return "unknown access key"
        names = signed_headers.split(";")
        are_sound = names == sorted({name.lower() for name in names}) and "host" in names
        if not are_sound or any(headers[name] != 1 for name in names):
            return "signed headers are wrong"
        path, _, query_string = request.target.partition("?")
        query = canonical_query(query_string)
        lines = sorted(f"{escape(name)}:{escape(found[name])}" for name in names)
        rest = [signed_headers, *lines, quote(request.body, safe="")]
        forms = [[query]] if query else [[], [""]]
        if not query and self.blank_query_line is not Form.EITHER:
            forms = [[]] if self.blank_query_line is Form.OMIT else [[""]]
        key = _signing_key(self.secret_key, prefix).encode()
        for query_line in forms:
            text = "\n".join([request.method, path, *query_line, *rest])
            wanted = hmac.digest(key, text.encode(), "sha256").hex()
            if hmac.compare_digest(wanted.encode(), signature.encode()):
                return self._time_problem(timestamp, wall_ms)
        return "signature differs"

    def _time_problem(self, timestamp: str, wall_ms: int) -> str:
        match = _TIMESTAMP.fullmatch(timestamp)
        if not match or self.millis is (Form.OMIT if match[1] else Form.KEEP):
            return "timestamp in another form"
        away_s = datetime.fromisoformat(timestamp).timestamp() - wall_ms / 1000
        is_near = abs(away_s - self.clock_offset_s) <= self.window_s
        return "" if is_near else "timestamp outside the window"


def canonical_query(query_string: str) -> str:
    """The query line rebuilt from what was sent, whatever escapes and order it was sent in."""
    pairs = (pair.partition("=") for pair in query_string.split("&") if pair)
    return "&".join(
        sorted({f"{escape(unquote_plus(k))}={escape(unquote_plus(v))}" for k, _, v in pairs})
    )


@lru_cache(maxsize=64)
def _signing_key(secret_key: str, prefix: str) -> str:
    """The hex text that keys the second HMAC: 64 ASCII characters, not 32 bytes."""
    return hmac.digest(secret_key.encode(), prefix.encode(), "sha256").hex()


def escape(text: str) -> str:
    """Percent-escape UTF-8 bytes; only letters, digits and - . _ ~ stay."""
    return quote(text, safe="")
