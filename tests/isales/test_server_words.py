"""What a refusal says in its own words."""

from __future__ import annotations

import gzip
import json

import pytest

from orchestrator.isales.answer import Answer
from orchestrator.isales.server_words import words_of
from orchestrator.isales.verdict import Kind, judge

WAF = """<!DOCTYPE html><html><head><title>Request blocked</title><style>a{b:c}</style></head>
<body><h1>Access&nbsp;denied</h1><script>var x = "no";</script><p>Your address is not allowed.<br>
Incident 8a7f-11c2-99</p></body></html>"""


@pytest.mark.parametrize(("body", "words"), [
    (WAF, "Access denied Your address is not allowed. Incident …"),
    ('{"resultCode":"0200001","resultDesc":"no right for this VDN"}', "no right for this VDN"),
    ('{"error":{"code":"APIG.0301","message":"Incorrect IAM authentication"}}',
     "Incorrect IAM authentication"),
    ('{"error_msg":"The API does not exist","error_code":"APIG.0101"}', "The API does not exist"),
    ('{"errors":[{"detail":"quota"}]}', "quota"),
    ('{"errors":["Rate limit exceeded"]}', "Rate limit exceeded"), ('["blocked"]', "blocked"),
    ('{"message":[], "errors":[7]}', ""), ("[]", ""),
    ('{"a":{"b":{"c":{"message":"deep", "code": 7}}}}', "deep"),
    ("IP not in whitelist\n", "IP not in whitelist"),
    ("<title>407 Proxy Authentication Required</title>", "407 Proxy Authentication Required"),
    ("<h1>Bad Request</h1>\x1b[2J", "Bad Request \\x1b[2J"),
    ("", ""), ("   ", ""), ("{}", ""), ("[[[[", "[[[["), ("<script>alert(1)", ""),
])  # fmt: skip
def test_the_words_for_people_are_taken(body: str, words: str) -> None:
    """Of JSON the message, of a page its text, of nothing nothing; never a control character."""
    assert words_of(body.encode()) == words


@pytest.mark.parametrize("body", [b"\xff\xfe\x00", b"\x1f\x8b broken"])
def test_what_is_no_text_has_no_words(body: bytes) -> None:
    """Binary bytes are not shown."""
    assert words_of(body) == ""


def test_compressed_words_are_read_and_long_ones_are_cut() -> None:
    """A gateway compresses its pages unasked, and some pages are long."""
    assert words_of(gzip.compress(b"blocked")) == "blocked"
    assert len(words_of(b"<p>word " * 5_000)) <= 160
    assert words_of(b"A" * 16_384) == "A" * 159 + "…"


def test_two_incidents_of_one_reason_read_alike() -> None:
    """Reasons are counted: a number in each would make each a reason of its own."""
    one, other = (words_of(f"Blocked at 10:41:0{n}Z, id 77{n}-ab2".encode()) for n in (1, 2))

    assert one == other
    assert "Blocked at" in one


@pytest.mark.parametrize(("status", "kind", "begins"), [
    (401, Kind.UNAUTHORIZED, "HTTP 401: signature or access key refused ("),
    (403, Kind.FORBIDDEN, "HTTP 403: access refused ("),
    (400, Kind.NOT_THE_API, "HTTP 400: not an answer of this interface ("),
    (407, Kind.NOT_THE_API, "HTTP 407: a proxy wants a login ("),
    (451, Kind.NOT_THE_API, "HTTP 451: not an answer of this interface ("),
])  # fmt: skip
def test_a_refusal_says_who_refused_and_why(status: int, kind: Kind, begins: str) -> None:
    """The body of a 4xx is what tells a firewall from a wrong key."""
    body = json.dumps({"message": "clock skew too great"}).encode()

    verdict = judge(Answer(http_status=status, body=body))

    assert verdict.kind is kind
    assert verdict.reason == f'{begins}"clock skew too great")'
