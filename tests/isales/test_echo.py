"""A server that sends the secret key back, in whatever form."""

from __future__ import annotations

import gzip
import html
import json
from base64 import b64encode
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.answer import Answer
from orchestrator.isales.echo import EchoMask
from orchestrator.isales.verdict import Kind, judge
from orchestrator.settings.secret import Secret

SK = "Zq7/p\"K+9\\wXv<0&mTnR'4=="
MASKED = EchoMask(Secret(SK))


def escaped(text: str) -> str:
    """Every character as JSON may write it by number."""
    return "".join(f"\\u{ord(one):04X}" for one in text)


def body(desc: str) -> bytes:
    """A refusal with a description, as JSON."""
    return json.dumps({"resultCode": "0200001", "resultDesc": desc}).encode()


WAYS = [
    SK,
    f"bad key {SK}, try another",
    SK.upper(),
    quote(SK, safe=""),
    quote(SK, safe="").lower(),
    html.escape(SK),
    "".join(f"&#{ord(one)};" for one in SK),
    "".join(f"&#x{ord(one):x};" for one in SK),
    SK.encode().hex(),
    b64encode(SK.encode()).decode(),
    b64encode(f"AK:{SK}".encode()).decode(),
    b64encode(f"AKID:{SK}:end".encode()).decode(),
    escaped(SK),
    quote(quote(SK, safe=""), safe=""),
    SK.replace("+", " "),
    f"signature made with {SK[:13]} is wrong",
    f"{SK[:16]}...",
    "x" * 495 + SK,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_description_loses_the_key_and_keeps_its_code(way: str) -> None:
    """[C01] Raw, in capitals, in URL, HTML, hex or base64 form, or where a report would cut it."""
    verdict = judge(MASKED.masked(Answer(http_status=200, body=body(way))))

    assert verdict.kind is Kind.REJECTED
    assert verdict.code == "0200001"
    assert verdict.desc == "***"


@pytest.mark.parametrize("make", [
    lambda text: f'{{"resultCode":"0200001","resultDesc":"{escaped(text)}"}}'.encode(),
    lambda text: json.dumps({"resultCode": "0200001", "d": text}).replace("/", "\\/").encode(),
    lambda text: gzip.compress(body(text)),
    lambda text: f"<html>{html.escape(text)}</html>".encode(),
    lambda text: f"plain {text}".encode(),
    lambda text: body(text)[:-1],
    lambda text: f"plain {text}".encode("utf-16"),
    lambda text: json.dumps({"deep": [{"a": [text]}], "data": [{"id": 5, "name": text}]}).encode(),
])  # fmt: skip
def test_no_wrapping_keeps_the_key(make: object) -> None:
    """[C01] Escaped, compressed, a page, half a document, two bytes a character, deep inside."""
    assert callable(make)
    found = MASKED.masked(Answer(http_status=403, body=make(SK)))

    raw = found.body.replace(b"\0", b"").replace(b"\\", b"")
    assert b"***" in found.body
    assert SK.encode().replace(b"\\", b"") not in raw
    assert html.escape(SK).encode() not in raw
    assert found.content_encoding is None


def test_headers_and_causes_lose_it_too() -> None:
    """[C01] A redirect to a page that has the key in its query."""
    found = MASKED.masked(Answer(http_status=302, location=f"/login?sk={quote(SK, safe='')}"))

    assert found.location == "***"


@pytest.mark.parametrize("secret", ["12345678", "0200000", "resultCode", "STARTED", "abc", ""])
def test_what_decides_stays_as_it_was(secret: str) -> None:
    """A key that looks like an id, a code or a member's name changes no verdict."""
    page = json.dumps(
        {"resultCode": "0200000", "totalSize": 1, "data": [{"id": "12345678", "status": "2"}]}
    ).encode()

    masked = EchoMask(Secret(secret)).masked(Answer(http_status=200, body=page))

    assert json.loads(masked.body) == json.loads(page)


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60))
def test_any_key_is_found_as_it_is(text: str) -> None:
    """[C01] Visible ASCII of any kind, pattern characters and backslashes included."""
    answer = Answer(http_status=200, body=body(f"the key is {text}, sorry"))

    verdict = judge(EchoMask(Secret(text)).masked(answer))

    assert text.isdigit() or text not in verdict.desc


def test_an_answer_without_the_key_is_the_same_object() -> None:
    """Nearly all answers: nothing is copied."""
    answer = Answer(http_status=200, body=body("100 % of A & B\\C"))

    assert MASKED.masked(answer) is answer
    assert SK not in repr(MASKED)


def test_a_damaged_compression_is_looked_at_as_it_came() -> None:
    """Called gzip, and cut off after a few bytes: nothing is raised, the answer stays."""
    came = Answer(http_status=200, body=gzip.compress(b"x" * 99)[:12], content_encoding="gzip")

    assert MASKED.masked(came) == came
