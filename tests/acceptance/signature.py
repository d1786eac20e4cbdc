"""C2 request signing, written from the documentation a second time.

- Nothing here is shared with the product, so one misreading cannot hide in both.
- The published-shape vectors below anchor this copy; `python -m tests.acceptance --dry` replays
  them before anything is believed.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

SCHEME = "auth-v2"
SECONDS = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z", re.ASCII)
UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


def enc(raw: bytes) -> str:
    """Percent-encode all but the unreserved set, upper-case hex."""
    return "".join(chr(byte) if byte in UNRESERVED else f"%{byte:02X}" for byte in raw)


def canonical_query(raw_query: str) -> str:
    """The query as it is signed: decoded, encoded again, whole pairs sorted, repeats dropped."""
    pairs = set()
    for part in raw_query.split("&"):
        if part:
            name, _, value = part.partition("=")
            pairs.add(f"{enc(unquote_to_bytes(name))}={enc(unquote_to_bytes(value))}")
    return "&".join(sorted(pairs))


@dataclass(frozen=True, slots=True)
class Signed:
    """What a signature covers."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str]
    body: bytes = b""


def canonical(signed: Signed, names: str, *, blank_query_line: bool) -> str:
    """The text under the second HMAC."""
    lines = [signed.method.upper(), signed.path]
    query = canonical_query(signed.raw_query)
    if query or blank_query_line:
        lines.append(query)
    lines.append(names)
    lines += sorted(
        f"{enc(name.encode())}:{enc(signed.headers[name].strip().encode('latin-1'))}"
        for name in names.split(";")
    )
    return "\n".join(lines) + "\n" + enc(signed.body)


def signature(secret: str, prefix: str, text: str) -> str:
    """Two HMACs; the second is keyed with the hex text of the first."""
    key = hmac.new(secret.encode(), prefix.encode(), hashlib.sha256).hexdigest()
    return hmac.new(key.encode("ascii"), text.encode(), hashlib.sha256).hexdigest()


def sign(
    signed: Signed,
    *,
    access_key: str,
    secret: str,
    stamp: str,
    names: str = "host",
    blank_query_line: bool = False,
) -> str:
    """The Authorization value for a request."""
    prefix = f"{SCHEME}/{access_key}/{stamp}/{names}"
    text = canonical(signed, names, blank_query_line=blank_query_line)
    return f"{prefix}/{signature(secret, prefix, text)}"


def objection(
    signed: Signed,
    *,
    access_key: str,
    secret: str,
    now_s: float,
    window_s: float,
    blank_query_line: bool,
) -> str | None:
    """Why the server refuses this request, or None when the signature holds."""
    parts = signed.headers.get("authorization", "").split("/")
    if len(parts) != 5 or parts[0] != SCHEME:
        return "no auth-v2 header"
    _, key, stamp, names, given = parts
    if key != access_key:
        return "unknown access key"
    if not SECONDS.fullmatch(stamp):
        return f"timestamp form {stamp!r}"
    at_s = datetime.fromisoformat(stamp).astimezone(UTC).timestamp()
    if abs(at_s - now_s) > window_s:
        return f"timestamp off by {at_s - now_s:.0f} s"
    listed = names.split(";")
    if "host" not in listed or listed != sorted(set(listed)) or names != names.lower():
        return f"signed headers {names!r}"
    if any(name not in signed.headers for name in listed):
        return "a signed header is missing"
    text = canonical(signed, names, blank_query_line=blank_query_line)
    wanted = signature(secret, "/".join(parts[:4]), text)
    return None if hmac.compare_digest(wanted, given) else "signature differs"


_P = "/rest/isales/v1/openapi/campaigns"
_HOST = "isales.example.com:28050"
_ODD = (
    "beginTime=2025-01-01%2000%3A00%3A00&curPage=2&deviceType=0&endTime="
    "&name=Q4%20%E4%BF%83%E9%94%80%2FA%2BB&rowsPerPage=100&status=0"
)
_LOGS = (
    b'{"offset": 0, "limit": 100, "beginTime": "2025-01-02 00:00:00",'
    b' "endTime": "2025-01-02 23:59:59"}'
)
#: name, method, path, query, body, signed headers, stamp's fraction, blank line, host, signature
VECTORS = (
    ("V1", "PUT", "/12/146/pause", "", b"", "host", "", False, _HOST,
     "d702f8790f8bdc324bd4cb6133a7c3d2ebc19655080f83c64131cd459bdd2159"),
    ("V2", "PUT", "/12/146/resume", "", b"", "host", "", False, _HOST,
     "93718317154b6cbf2966222ca51391adc6f82fd685293dd1a17d47da25f7f0cc"),
    ("V3", "GET", "/12", "curPage=1&deviceType=0&rowsPerPage=100&status=2", b"", "host", "",
     False, _HOST, "8a420048dce8c478c6deb9d849e302508715f7e9b209e01e1e04ad75ac9398c6"),
    ("V4", "GET", "/12", _ODD, b"", "host", "", False, _HOST,
     "c8a22ba50fd4011969a8d9e912e4d3f97a3a94eb7121eb395613ae8b8f445025"),
    ("V5", "GET", "/12/146", "", b"", "host", "", False, _HOST,
     "a5ba760cb047aad4bc6eef121fe2e9502350d1fa43b5de71cf668159b3c7bcb4"),
    ("V6", "POST", "/12/callbatch/146/pause", "", b'{"id": "1798316116"}', "host", "", False,
     _HOST, "1a83464d2129eb72a8078b366a11c62e858e84912a1389d9fde2be481c146642"),
    ("V7", "POST", "/12/calllogs", "", _LOGS, "host", "", False, _HOST,
     "14ad56d6a8f09aab7e09b3e33d76dd096fbfaf32c7e95156ebc35f4cf1ab1d3c"),
    ("V8", "PUT", "/12/146/pause", "", b"", "content-type;host", "", False, _HOST,
     "a09d29ed262af258b1fc1ee7a7bd7a6e49c07e1f93c0def69e8678a1cdb03a25"),
    ("V9", "PUT", "/12/146/pause", "", b"", "host", ".678", False, _HOST,
     "18908bdcfe4e30b841c9d4c2fa5aec850e05c6d39fc23afd461ba5e9d73e0de7"),
    ("V10", "PUT", "/12/146/pause", "", b"", "host", "", True, _HOST,
     "5967d4cd8339366524ded10af61ad8374a4f8a9615cb034c56d3e555719cba28"),
    ("V11", "PUT", "/12/146/pause", "", b"", "host", "", False, "isales.example.com",
     "44dfb2284661409665498f77d66b05bb27589280ba52a6e0a83f13ba408eb823"),
)  # fmt: skip


def wrong_vectors() -> list[str]:
    """Names of the vectors that this copy does not reproduce."""
    wrong = []
    for name, method, path, query, body, names, fraction, blank, host, wanted in VECTORS:
        headers = {"host": host, "content-type": "application/json; charset=UTF-8"}
        got = sign(
            Signed(method, _P + path, query, headers, body),
            access_key="AKEXAMPLE0001",
            secret="SKexample-0000-not-a-secret",
            stamp=f"2025-01-02T03:04:05{fraction}Z",
            names=names,
            blank_query_line=blank,
        )
        if not got.endswith("/" + wanted):
            wrong.append(name)
    return wrong
