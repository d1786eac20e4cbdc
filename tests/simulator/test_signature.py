"""The server's side of C2, against the eleven vectors of tests/isales/test_signing.py."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.simulator.routes import Received
from orchestrator.simulator.signature import Form, SignatureCheck
from tests.isales.test_signing import AK, AT_MS, BASE, HOST, SK, VECTORS, Vector

STAMP = "2025-01-02T03:04:05Z"
CHECK = SignatureCheck(AK, SK)
#: without and with a query, with milliseconds, with the blank line
V1, V3, V9, V10 = (
    next(vector for name, vector in VECTORS.items() if name.startswith(f"{number} "))
    for number in ("V1", "V3", "V9", "V10")
)


def problem(vector: Vector, check: SignatureCheck = CHECK, *, wall_ms: int = AT_MS) -> str:
    """What a server says of a signed request."""
    query = f"?{vector.query_string}" if vector.query_string else ""
    headers = (*vector.headers.items(), ("Authorization", f"{vector.prefix}/{vector.mac}"))
    request = Received(vector.method, vector.path + query, headers, vector.body.encode())
    return check.problem(request, wall_ms=wall_ms)


def check_of(vector: Vector) -> SignatureCheck:
    """A server with switch A in the form of the vector."""
    kept = vector.rules.blank_query_line
    return replace(CHECK, blank_query_line=Form.KEEP if kept else Form.OMIT)


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
def test_every_vector_is_accepted(vector: Vector) -> None:
    """All eleven, switch A in the form of the vector."""
    assert problem(vector, check_of(vector)) == ""


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
@pytest.mark.parametrize("field", ["method", "path", "host", "body", "mac"])
def test_nothing_signed_can_be_changed(vector: Vector, field: str) -> None:
    """One character more in any signed part, and the signature differs."""
    changed = replace(vector, **{field: getattr(vector, field) + "x"})

    assert problem(changed, check_of(vector)) == "signature differs"


@pytest.mark.parametrize(
    ("form", "plain", "switched"), [("omit", 1, 0), ("keep", 0, 1), ("either", 1, 1)]
)
def test_both_switches_have_three_forms(form: str, plain: int, switched: int) -> None:
    """V1 has no blank line and seconds, V10 has it, V9 milliseconds; V3 has a query."""
    blank = replace(CHECK, blank_query_line=Form(form))
    millis = replace(CHECK, millis=Form(form))

    assert [problem(one, blank) == "" for one in (V1, V10, V3)] == [plain, switched, True]
    assert [problem(one, millis) == "" for one in (V1, V9)] == [plain, switched]


@pytest.mark.parametrize("away_s", [-901, 901])
def test_a_timestamp_outside_the_window_is_refused(away_s: int) -> None:
    """900 s away either way passes, 901 s does not."""
    inside_s = away_s - away_s // abs(away_s)

    assert problem(V1, wall_ms=AT_MS + inside_s * 1000) == ""
    assert problem(V1, wall_ms=AT_MS + away_s * 1000) == "timestamp outside the window"


@pytest.mark.parametrize(
    ("authorization", "wanted"),
    [
        ((), "not one auth-v2 header"),
        (("a", "b"), "not one auth-v2 header"),
        ((f"auth-v1/{AK}/{STAMP}/host/00",), "not one auth-v2 header"),
        ((f"auth-v2/OTHER/{STAMP}/host/00",), "unknown access key"),
        ((f"auth-v2/{AK}/{STAMP}/content-type/00",), "signed headers are wrong"),
        ((f"auth-v2/{AK}/{STAMP}/host;accept/00",), "signed headers are wrong"),
        ((f"auth-v2/{AK}/{STAMP}/accept;host/00",), "signed headers are wrong"),
        ((f"auth-v2/{AK}/{STAMP}/host/é",), "signature differs"),
    ],
)
def test_what_is_no_signature_is_refused_with_its_reason(
    authorization: tuple[str, ...], wanted: str
) -> None:
    """What is wrong gets its words in the ledger."""
    headers = (("Host", HOST), *(("Authorization", value) for value in authorization))

    request = Received("PUT", f"{BASE}/12/146/pause", headers)

    assert CHECK.problem(request, wall_ms=AT_MS) == wanted
