"""The C2 signature against eleven vectors (docs/spec/interface.md, "Signing")."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.signing import authorization
from orchestrator.settings.schema import SigningRules

AK = "AKEXAMPLE0001"
SK = "SKexample-0000-not-a-secret"
#: 2025-01-02T03:04:05Z
AT_MS = 1_735_787_045_000
HOST = "isales.example.com:28050"
BASE = "/rest/isales/v1/openapi/campaigns"
CONTENT_TYPE = "application/json; charset=UTF-8"
LIST_QUERY = "curPage=1&deviceType=0&rowsPerPage=100&status=2"
ODD_QUERY = (
    "beginTime=2025-01-01%2000%3A00%3A00&curPage=2&deviceType=0&endTime="
    "&name=Q4%20%E4%BF%83%E9%94%80%2FA%2BB&rowsPerPage=100&status=0"
)


@dataclass(frozen=True)
class Vector:
    """One vector: computed from docs/spec/interface.md, never from the product."""

    method: str
    path: str
    mac: str
    query_string: str = ""
    body: str = ""
    host: str = HOST
    at_ms: int = AT_MS
    prefix: str = f"auth-v2/{AK}/2025-01-02T03:04:05Z/host"
    rules: SigningRules = field(default_factory=SigningRules)

    @property
    def headers(self) -> dict[str, str]:
        return {"host": self.host, "content-type": CONTENT_TYPE}


VECTORS = {
    "V1 pause": Vector(
        method="PUT",
        path=f"{BASE}/12/146/pause",
        mac="d702f8790f8bdc324bd4cb6133a7c3d2ebc19655080f83c64131cd459bdd2159",
    ),
    "V2 resume": Vector(
        method="PUT",
        path=f"{BASE}/12/146/resume",
        mac="93718317154b6cbf2966222ca51391adc6f82fd685293dd1a17d47da25f7f0cc",
    ),
    "V3 list page 1 of running": Vector(
        method="GET",
        path=f"{BASE}/12",
        query_string=LIST_QUERY,
        mac="8a420048dce8c478c6deb9d849e302508715f7e9b209e01e1e04ad75ac9398c6",
    ),
    "V4 list, odd characters": Vector(
        method="GET",
        path=f"{BASE}/12",
        query_string=ODD_QUERY,
        mac="c8a22ba50fd4011969a8d9e912e4d3f97a3a94eb7121eb395613ae8b8f445025",
    ),
    "V5 details": Vector(
        method="GET",
        path=f"{BASE}/12/146",
        mac="a5ba760cb047aad4bc6eef121fe2e9502350d1fa43b5de71cf668159b3c7bcb4",
    ),
    "V6 batch pause (JSON body)": Vector(
        method="POST",
        path=f"{BASE}/12/callbatch/146/pause",
        body='{"id": "1798316116"}',
        mac="1a83464d2129eb72a8078b366a11c62e858e84912a1389d9fde2be481c146642",
    ),
    "V7 call logs (JSON body)": Vector(
        method="POST",
        path=f"{BASE}/12/calllogs",
        body=(
            '{"offset": 0, "limit": 100, "beginTime": "2025-01-02 00:00:00", '
            '"endTime": "2025-01-02 23:59:59"}'
        ),
        mac="14ad56d6a8f09aab7e09b3e33d76dd096fbfaf32c7e95156ebc35f4cf1ab1d3c",
    ),
    "V8 pause, signs content-type;host": Vector(
        method="PUT",
        path=f"{BASE}/12/146/pause",
        prefix=f"auth-v2/{AK}/2025-01-02T03:04:05Z/content-type;host",
        mac="a09d29ed262af258b1fc1ee7a7bd7a6e49c07e1f93c0def69e8678a1cdb03a25",
        rules=SigningRules(signed_headers=("host", "content-type")),
    ),
    "V9 pause, millisecond timestamp": Vector(
        method="PUT",
        path=f"{BASE}/12/146/pause",
        at_ms=AT_MS + 678,
        prefix=f"auth-v2/{AK}/2025-01-02T03:04:05.678Z/host",
        mac="18908bdcfe4e30b841c9d4c2fa5aec850e05c6d39fc23afd461ba5e9d73e0de7",
        rules=SigningRules(millis=True),
    ),
    "V10 pause, blank query line kept": Vector(
        method="PUT",
        path=f"{BASE}/12/146/pause",
        mac="5967d4cd8339366524ded10af61ad8374a4f8a9615cb034c56d3e555719cba28",
        rules=SigningRules(blank_query_line=True),
    ),
    "V11 pause, host without port": Vector(
        method="PUT",
        path=f"{BASE}/12/146/pause",
        host="isales.example.com",
        mac="44dfb2284661409665498f77d66b05bb27589280ba52a6e0a83f13ba408eb823",
    ),
}
each_vector = pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())


def authorize(vector: Vector, **other: Any) -> str:
    """The product's signature of a vector, or of one that differs."""
    signed: dict[str, Any] = {
        "access_key": AK,
        "secret_key": SK,
        "method": vector.method,
        "path": vector.path,
        "query_string": vector.query_string,
        "headers": vector.headers,
        "body": vector.body,
        "at_ms": vector.at_ms,
        "rules": vector.rules,
    }
    return authorization(**(signed | other))


@each_vector
def test_the_authorization_is_the_vectors(vector: Vector) -> None:
    """The whole header value."""
    assert authorize(vector) == f"{vector.prefix}/{vector.mac}"


def signed(headers: dict[str, str], **rules: Any) -> str:
    """The Authorization of a GET at the instant of the vectors, up to its signature."""
    vector = replace(VECTORS["V5 details"], rules=SigningRules(**rules))
    return authorize(vector, headers=headers)


@pytest.mark.parametrize("names", [("content-type",), ("host", "content-type", "content-length")])
def test_host_is_always_signed_and_nothing_that_is_not_sent(names: tuple[str, ...]) -> None:
    """A verifier requires it; a GET has no Content-Length, so that naming it would be refused."""
    value = signed({"host": "a", "content-type": "b"}, signed_headers=names)

    assert value.split("/")[3] == "content-type;host"


def test_a_request_without_host_cannot_be_signed() -> None:
    """It is a mistake of ours, so it raises."""
    with pytest.raises(KeyError, match="host"):
        signed({})


def test_blanks_around_a_header_value_are_not_signed() -> None:
    """A proxy may trim them."""
    assert signed({"host": " a "}) == signed({"host": "a"}) != signed({"host": "b"})


def test_the_blank_query_line_rule_changes_nothing_where_there_is_a_query() -> None:
    """Switch A is about requests without parameters."""
    vector = VECTORS["V3 list page 1 of running"]

    assert authorize(replace(vector, rules=SigningRules(blank_query_line=True))) == (
        authorize(vector)
    )


@pytest.mark.parametrize(
    ("at_ms", "plain", "millis"),
    [
        (0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
        (AT_MS + 999, "2025-01-02T03:04:05Z", "2025-01-02T03:04:05.999Z"),
        (1_709_210_096_007, "2024-02-29T12:34:56Z", "2024-02-29T12:34:56.007Z"),
        (-1, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_a_timestamp_is_utc_and_never_rounds_up(at_ms: int, plain: str, millis: str) -> None:
    """Seconds are cut, not rounded: a signature is never from the future."""
    vector = replace(VECTORS["V1 pause"], at_ms=at_ms)

    assert authorize(vector).split("/")[2] == plain
    assert authorize(replace(vector, rules=SigningRules(millis=True))).split("/")[2] == millis


@given(
    secret_key=st.text(st.characters(exclude_categories=["Cs"]), min_size=8),
    path=st.from_regex(r"/[a-z0-9/]{0,30}", fullmatch=True),
    at_ms=st.integers(0, 4_102_444_800_000),
)
def test_a_signature_agrees_with_an_independent_writing_of_the_scheme(
    secret_key: str, path: str, at_ms: int
) -> None:
    """Two HMACs spelled out with hashlib give the same text, for any secret, path and time."""
    vector = Vector("PUT", path, mac="", host="h", at_ms=at_ms)
    value = authorize(vector, secret_key=secret_key)

    prefix, _, mac = value.rpartition("/")
    key = hmac.new(secret_key.encode(), prefix.encode(), hashlib.sha256).hexdigest()
    text = f"PUT\n{path}\nhost\nhost:h\n"
    assert mac == hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()
