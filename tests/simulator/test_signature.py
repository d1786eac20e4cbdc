"""The server's side of C2, against the eleven vectors of tests/isales/test_signing.py."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from orchestrator.simulator.signature import (
    BlankQueryLine,
    Millis,
    SignatureCheck,
    canonical_query,
    signing_key,
)

AK = "AKEXAMPLE0001"
SK = "SKexample-0000-not-a-secret"
#: 2025-01-02T03:04:05Z in milliseconds since the epoch
AT_MS = 1_735_787_045_000
STAMP = "2025-01-02T03:04:05Z"
HOST = "isales.example.com:28050"
P = "/rest/isales/v1/openapi/campaigns/12"
KEY = "6a7bb1a45eff2f11653a2c45c8d53388b209c184ba7024251a397a804c5aed51"

CHECK = SignatureCheck(AK, SK)


@dataclass(frozen=True)
class Vector:
    """One signed request, and the key its prefix gives."""

    name: str
    method: str
    target: str
    signature: str
    host: str = HOST
    body: str = ""
    stamp: str = STAMP
    names: str = "host"
    key: str = KEY
    blank: BlankQueryLine = BlankQueryLine.OMIT

    @property
    def prefix(self) -> str:
        """What the first HMAC signs."""
        return f"auth-v2/{AK}/{self.stamp}/{self.names}"

    def problem(self, check: SignatureCheck = CHECK, *, wall_ms: int = AT_MS) -> str:
        """What a server says of it."""
        return check.problem(
            method=self.method,
            target=self.target,
            headers=(
                ("Host", self.host),
                ("Content-Type", "application/json; charset=UTF-8"),
                ("Authorization", f"{self.prefix}/{self.signature}"),
            ),
            body=self.body.encode(),
            wall_ms=wall_ms,
        )


V1 = Vector(
    "V1 pause",
    "PUT",
    f"{P}/146/pause",
    "d702f8790f8bdc324bd4cb6133a7c3d2ebc19655080f83c64131cd459bdd2159",
)
V3 = Vector(
    "V3 list",
    "GET",
    f"{P}?curPage=1&deviceType=0&rowsPerPage=100&status=2",
    "8a420048dce8c478c6deb9d849e302508715f7e9b209e01e1e04ad75ac9398c6",
)
V4_QUERY = (
    "beginTime=2025-01-01%2000%3A00%3A00&curPage=2&deviceType=0&endTime="
    "&name=Q4%20%E4%BF%83%E9%94%80%2FA%2BB&rowsPerPage=100&status=0"
)
V9 = Vector(
    "V9 milliseconds",
    "PUT",
    f"{P}/146/pause",
    "18908bdcfe4e30b841c9d4c2fa5aec850e05c6d39fc23afd461ba5e9d73e0de7",
    stamp="2025-01-02T03:04:05.678Z",
    key="0e80275ba69ee307471f8108d677d0687571625bb97dc1ec0b137550006e87a2",
)
V10 = Vector(
    "V10 blank line kept",
    "PUT",
    f"{P}/146/pause",
    "5967d4cd8339366524ded10af61ad8374a4f8a9615cb034c56d3e555719cba28",
    blank=BlankQueryLine.KEEP,
)
VECTORS = [
    V1,
    Vector(
        "V2 resume",
        "PUT",
        f"{P}/146/resume",
        "93718317154b6cbf2966222ca51391adc6f82fd685293dd1a17d47da25f7f0cc",
    ),
    V3,
    Vector(
        "V4 odd characters",
        "GET",
        f"{P}?{V4_QUERY}",
        "c8a22ba50fd4011969a8d9e912e4d3f97a3a94eb7121eb395613ae8b8f445025",
    ),
    Vector(
        "V5 details",
        "GET",
        f"{P}/146",
        "a5ba760cb047aad4bc6eef121fe2e9502350d1fa43b5de71cf668159b3c7bcb4",
    ),
    Vector(
        "V6 batch pause",
        "POST",
        f"{P}/callbatch/146/pause",
        "1a83464d2129eb72a8078b366a11c62e858e84912a1389d9fde2be481c146642",
        body='{"id": "1798316116"}',
    ),
    Vector(
        "V7 call logs",
        "POST",
        f"{P}/calllogs",
        "14ad56d6a8f09aab7e09b3e33d76dd096fbfaf32c7e95156ebc35f4cf1ab1d3c",
        body=(
            '{"offset": 0, "limit": 100, "beginTime": "2025-01-02 00:00:00", '
            '"endTime": "2025-01-02 23:59:59"}'
        ),
    ),
    Vector(
        "V8 content type signed",
        "PUT",
        f"{P}/146/pause",
        "a09d29ed262af258b1fc1ee7a7bd7a6e49c07e1f93c0def69e8678a1cdb03a25",
        names="content-type;host",
        key="5d9c96ffb00486250c5dd1028ca73eb1da6b7af748d97c05fdd42f40c031cf50",
    ),
    V9,
    V10,
    Vector(
        "V11 no port",
        "PUT",
        f"{P}/146/pause",
        "44dfb2284661409665498f77d66b05bb27589280ba52a6e0a83f13ba408eb823",
        host="isales.example.com",
    ),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_every_vector_is_accepted(vector: Vector) -> None:
    """All eleven, with the published key of each stage, switch A in the form of the vector."""
    check = replace(CHECK, blank_query_line=vector.blank)

    assert vector.problem(check) == ""
    assert signing_key(SK, vector.prefix) == vector.key


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
@pytest.mark.parametrize("field", ["method", "target", "host", "body", "signature"])
def test_nothing_signed_can_be_changed(vector: Vector, field: str) -> None:
    """One character more in any signed part, and the signature differs."""
    changed = replace(vector, **{field: getattr(vector, field) + "x"})

    check = replace(CHECK, blank_query_line=vector.blank)
    assert changed.problem(check) == "signature differs"


@pytest.mark.parametrize(
    ("form", "omitted", "kept"),
    [
        (BlankQueryLine.OMIT, "", "signature differs"),
        (BlankQueryLine.KEEP, "signature differs", ""),
        (BlankQueryLine.EITHER, "", ""),
    ],
)
def test_switch_a_decides_requests_without_a_query(
    form: BlankQueryLine, omitted: str, kept: str
) -> None:
    """V1 omits the blank line, V10 keeps it; V3 has a query and passes everywhere."""
    check = replace(CHECK, blank_query_line=form)

    assert (V1.problem(check), V10.problem(check), V3.problem(check)) == (omitted, kept, "")


@pytest.mark.parametrize(
    ("form", "seconds", "millis"),
    [
        (Millis.OMIT, "", "timestamp in the other form"),
        (Millis.KEEP, "timestamp in the other form", ""),
        (Millis.EITHER, "", ""),
    ],
)
def test_switch_b_decides_timestamps(form: Millis, seconds: str, millis: str) -> None:
    """V1 has seconds, V9 milliseconds."""
    check = replace(CHECK, millis=form)

    assert (V1.problem(check), V9.problem(check)) == (seconds, millis)


@pytest.mark.parametrize("away_s", [-901, 901])
def test_a_timestamp_outside_the_window_is_refused(away_s: int) -> None:
    """900 s away either way passes, 901 s does not."""
    inside_s = away_s - away_s // abs(away_s)

    assert V1.problem(wall_ms=AT_MS + inside_s * 1000) == ""
    assert V1.problem(wall_ms=AT_MS + away_s * 1000) == "timestamp outside the window"


def test_the_window_goes_by_the_servers_clock() -> None:
    """A server 20 minutes ahead refuses what is right by the true clock."""
    check = replace(CHECK, clock_offset_s=1200)

    assert V1.problem(check) == "timestamp outside the window"
    assert V1.problem(check, wall_ms=AT_MS - 1_200_000) == ""


@pytest.mark.parametrize(
    ("authorization", "problem"),
    [
        ((), "no Authorization header"),
        (("a", "b"), "several Authorization headers"),
        (("Bearer x",), "not an auth-v2 header"),
        ((f"auth-v1/{AK}/{STAMP}/host/00",), "not an auth-v2 header"),
        ((f"auth-v2/OTHER/{STAMP}/host/00",), "unknown access key"),
        ((f"auth-v2/{AK}/yesterday/host/00",), "timestamp unreadable"),
        ((f"auth-v2/{AK}/2025-13-02T03:04:05Z/host/00",), "timestamp unreadable"),
        ((f"auth-v2/{AK}/{STAMP}/content-type/00",), "host is not signed"),
        (
            (f"auth-v2/{AK}/{STAMP}/host;accept/00",),
            "signed headers are not lower-case, sorted and distinct",
        ),
        ((f"auth-v2/{AK}/{STAMP}/accept;host/00",), "a signed header is missing or repeated"),
        ((f"auth-v2/{AK}/{STAMP}/host/é",), "signature differs"),
    ],
)
def test_what_is_no_signature_is_refused_with_its_reason(
    authorization: tuple[str, ...], problem: str
) -> None:
    """Each shape that is wrong gets its own words in the ledger."""
    headers = (("Host", HOST), *(("Authorization", value) for value in authorization))

    found = CHECK.problem(
        method="PUT", target=f"{P}/146/pause", headers=headers, body=b"", wall_ms=AT_MS
    )

    assert found == problem


def test_a_query_is_read_as_a_server_reads_it() -> None:
    """Other escapes, order and repetition on the wire give the same canonical line."""
    assert canonical_query("b=%7e&a=1+2&b=%7E&c=") == "a=1%202&b=~&c="


def test_the_secret_is_not_shown() -> None:
    """repr() names the AK only."""
    assert SK not in repr(CHECK)
