"""What one answer to a pause or resume means."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.codes import RESULT_CODES
from orchestrator.isales.verdict import (
    CONSEQUENCES,
    Health,
    Kind,
    Repeat,
    Verdict,
    judge,
)

SUCCESS = b'{"resultCode":"0200000","resultDesc":"success","returnCode":"0200000"}'

#: copied by hand from the table of docs/spec/interface.md
MEANINGS = {
    "0200000": Kind.ACCEPTED,
    "0200001": Kind.REJECTED,
    "0200006": Kind.DATABASE_ERROR,
    "0200007": Kind.NOT_FOUND,
    "0200011": Kind.WRONG_STATE,
    "0200022": Kind.THROTTLED,
} | {f"020000{last:02}": Kind.REJECTED for last in range(1, 12)}


def answer(body: object = None, *, status: int = 200, **more: Any) -> Answer:
    """An HTTP answer; a value that is not bytes is written as JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(http_status=status, body=raw, **more)


def codes(result: object = None, returned: object = None) -> dict[str, object]:
    """A body with the codes that are given."""
    body = {"resultCode": result, "returnCode": returned}
    return {key: value for key, value in body.items() if value is not None}


# -- codes --------------------------------------------------------------------------------------


def test_the_table_is_the_one_of_the_interface() -> None:
    """Seventeen codes, each with the meaning that the documentation gives it."""
    assert set(RESULT_CODES) == set(MEANINGS)


@pytest.mark.parametrize("code", MEANINGS)
@pytest.mark.parametrize("keys", [("resultCode",), ("returnCode",), ("resultCode", "returnCode")])
def test_a_code_decides_wherever_it_stands(code: str, keys: tuple[str, ...]) -> None:
    """[S02][S14] One code of the two is enough; both alike say the same."""
    verdict = judge(answer(dict.fromkeys(keys, code)))

    assert (verdict.kind, verdict.code, verdict.http_status) == (MEANINGS[code], code, 200)
    assert code in verdict.reason


@pytest.mark.parametrize(
    ("one", "other"), list(itertools.permutations([*RESULT_CODES, "0299999"], 2))
)
def test_two_different_codes_are_never_a_success(one: str, other: str) -> None:
    """[S01][S05] Both are in the report, and the campaign is in doubt: one repeat at most."""
    verdict = judge(answer(codes(one, other)))

    assert verdict.kind is Kind.CODES_DISAGREE
    assert verdict.code == f"{one}/{other}"
    assert one in verdict.reason
    assert other in verdict.reason
    assert verdict.in_doubt
    assert verdict.repeat is Repeat.ONCE


@pytest.mark.parametrize(
    "body",
    [
        {"ResultCode": "0200000"},
        {"result": {"resultCode": "0200000"}},
        {"resultCode": None, "returnCode": None},
    ],
)
def test_no_code_is_no_answer(body: object) -> None:
    """[S03] Another case, another nesting or null is no code at all."""
    verdict = judge(answer(body))

    assert (verdict.kind, verdict.code) == (Kind.UNREADABLE, "")
    assert verdict.in_doubt


UNKNOWN_CODES = [
    ("0299999", "unknown code 0299999"),
    ("0200-01", "unknown code 0200-01"),
    # lookalikes
    ("0200000\n", r"unknown code '0200000\n'"),
    ("\uff10\uff12\uff10\uff10\uff10\uff10\uff10", r"unknown code '\uff10\uff12\uff10\uff10"),
    ("0 200000", "unknown code '0 200000'"),
    # pathological
    ("", "unknown code ''"),
    (False, "unknown code ?False"),
    ("\ud800", r"unknown code '\ud800'"),
    ("9" * 60_000, "unknown code 9999"),
]


@pytest.mark.parametrize(("code", "reason"), UNKNOWN_CODES)
def test_a_code_we_do_not_know_is_in_doubt_and_not_repeated(code: object, reason: str) -> None:
    """[S06][S07] The text shows what is odd about it, bounded and fit for every file."""
    verdict = judge(answer(codes(code)))

    assert verdict.kind is Kind.CODE_UNKNOWN
    assert (verdict.in_doubt, verdict.repeat, verdict.health) == (True, Repeat.NEVER, Health.WELL)
    assert verdict.reason.startswith(reason)
    assert len(verdict.reason) < 100
    assert len(verdict.code) <= 80
    (verdict.reason + verdict.code).encode()


DESCRIPTIONS: list[tuple[object, str]] = [
    ({"resultDesc": "one", "returnDesc": "two"}, "one"),
    ({"resultDesc": "", "returnDesc": "two"}, "two"),
    ({"returnDesc": "two"}, "two"),
    ({}, ""),
    ({"resultDesc": 7}, "7"),
    ({"resultDesc": ["a"]}, "['a']"),
    ({"resultDesc": "x" * 60_000}, "x" * 500),
    ({"resultDesc": "half \ud83d"}, "half ?"),
]


@pytest.mark.parametrize(("body", "desc"), DESCRIPTIONS)
def test_the_description_is_kept_bounded_and_storable(body: dict[str, object], desc: str) -> None:
    """[S43] A megabyte or half a character from the server does not reach the journal."""
    assert judge(answer({"resultCode": "0200000", **body})).desc == desc


# -- bodies -------------------------------------------------------------------------------------

UNREADABLE: list[tuple[bytes, str, bool]] = [
    # realistic
    (b"", "empty", False),
    (b"<html><title>Login</title></html>", "Login", True),
    (b" \n<!DOCTYPE html>", "DOCTYPE", True),
    (SUCCESS[:-1], "not JSON", False),
    (SUCCESS + b"x", "not JSON", False),
    (b"OK", ": OK", False),
    (b"[]", "not a JSON object", False),
    (b'{"resultCode":"0200006","resultCode":"0200000"}', "twice", False),
    (SUCCESS.decode().encode("utf-16"), "not UTF-8", False),
    (b'{"resultCode":"0200000","x":"\xff"}', "not UTF-8", False),
]


@pytest.mark.parametrize(("body", "told", "foreign"), UNREADABLE)
def test_what_cannot_be_read_is_never_a_success(body: bytes, told: str, *, foreign: bool) -> None:
    """[S28][S30][S31][S32][S33][S34][S35] In doubt and repeated; HTML is not this API's."""
    verdict = judge(answer(body))

    assert verdict.kind is Kind.UNREADABLE
    assert verdict.foreign is foreign
    assert verdict.in_doubt
    assert verdict.repeat is Repeat.WHILE_ATTEMPTS_LAST
    assert told in verdict.reason
    assert verdict.reason.isprintable()
    assert len(verdict.reason) < 300


@pytest.mark.parametrize("cut", range(len(SUCCESS)))
def test_a_success_cut_anywhere_is_no_success(cut: int) -> None:
    """[S30] The connection may end at any byte."""
    assert judge(answer(SUCCESS[:cut])).kind is Kind.UNREADABLE


#: docs/spec/evidence.md, rule 8: the body is no JSON in any encoding, its code is readable
BY_PATTERN = [
    (b'{"resultCode":"0200007","resultDesc":"\xff"}', Kind.NOT_FOUND),
    (b'{"resultCode":"0200001","resultDesc":"a"b"}', Kind.REJECTED),
    (b'{"resultCode":"0200011","resultDesc":"', Kind.WRONG_STATE),
    (b'{"returnCode":"0200006","resultDesc":"\xff"}', Kind.DATABASE_ERROR),
    (b'{"resultCode":"0200006","returnCode":"0200006",', Kind.DATABASE_ERROR),
    # never a success, nor anything that is not known or not alone
    (b'{"resultCode":"0200000","resultDesc":"\xff"}', Kind.UNREADABLE),
    (b'{"resultCode":"0200000","returnCode":"0200000",', Kind.UNREADABLE),
    (b'{"resultCode":"0200006","returnCode":"0200000",', Kind.UNREADABLE),
    (b'{"resultCode":"0200007","returnCode":"0200006",', Kind.UNREADABLE),
    (b'{"resultCode":"0299999","resultDesc":"\xff"}', Kind.UNREADABLE),
    (b'{"resultDesc":"\xff"}', Kind.UNREADABLE),
]


@pytest.mark.parametrize(("body", "kind"), BY_PATTERN)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_unreadable_body_may_tell_a_refusal_and_never_a_success(
    body: bytes, kind: Kind, pack: Callable[[bytes], bytes]
) -> None:
    """The one code in it counts when it refuses or throttles."""
    verdict = judge(answer(pack(body)))

    assert verdict.kind is kind
    assert verdict.in_doubt is CONSEQUENCES[kind].in_doubt
    assert verdict.reason


# -- reads ----------------------------------------------------------------------------------------

READS: list[tuple[bytes, Kind, bool]] = [
    # whole
    (b'{"resultCode":"0200000","data":[]}', Kind.ACCEPTED, False),
    (b'{"resultCode":"0200000","data":[{"id":7,"name":"\xff"}]}', Kind.ACCEPTED, False),
    # in part: the rows count, as a proof it does not
    (b'{"resultCode":"0200000","data":[{"id":7}],"x":NaN}', Kind.ACCEPTED, True),
    (b'{"resultCode":"0200000","data":[{"id":7},{"id":', Kind.ACCEPTED, True),
    # refused is refused, in part or not
    (b'{"resultCode":"0200006","data":[{"id":7}],"x":NaN}', Kind.DATABASE_ERROR, True),
    # nothing to take
    (b'{"resultCode":"0200000","data":[', Kind.UNREADABLE, False),
    (b'{"data":[],"x":NaN}', Kind.UNREADABLE, True),
    (b'{"resultCode":"0200006","data":[', Kind.DATABASE_ERROR, False),
    (b"<html>", Kind.UNREADABLE, False),
]


@pytest.mark.parametrize(("body", "kind", "flawed"), READS)
def test_a_read_is_taken_as_far_as_it_can_be_read(body: bytes, kind: Kind, *, flawed: bool) -> None:
    """A listing that is broken gives its rows and says that it proves nothing."""
    verdict = judge(answer(body), reads=True)

    assert (verdict.kind, bool(verdict.flaw)) == (kind, flawed)
    assert verdict.in_doubt is CONSEQUENCES[kind].in_doubt


def test_what_is_read_leniently_is_not_believed_of_a_put() -> None:
    """The same bytes: rows for a listing, doubt for an order."""
    body = b'{"resultCode":"0200000","data":[{"id":7}],"x":NaN}'

    kinds = [judge(answer(body), reads=reads).kind for reads in (True, False)]

    assert kinds == [Kind.ACCEPTED, Kind.UNREADABLE]


# -- statuses -----------------------------------------------------------------------------------

#: status, kind, in doubt, foreign; whatever the body says
STATUSES = [
    (401, Kind.UNAUTHORIZED, False, False),
    (403, Kind.FORBIDDEN, False, False),
    (418, Kind.FORBIDDEN, False, False),
    (408, Kind.THROTTLED, False, False),
    (429, Kind.THROTTLED, False, False),
    (503, Kind.THROTTLED, True, False),
    (500, Kind.SERVER_ERROR, True, False),
    (999, Kind.SERVER_ERROR, True, False),
    (302, Kind.NOT_THE_API, False, True),
    (304, Kind.NOT_THE_API, False, True),
    (400, Kind.NOT_THE_API, False, True),
    (404, Kind.NOT_THE_API, False, True),
    (201, Kind.UNREADABLE, True, False),
    (204, Kind.UNREADABLE, True, False),
    (100, Kind.UNREADABLE, True, False),
]


@pytest.mark.parametrize(("status", "kind", "in_doubt", "foreign"), STATUSES)
@pytest.mark.parametrize("body", [SUCCESS, b"", b"<html>no</html>"], ids=["success", "", "html"])
def test_a_status_that_is_not_200_is_never_a_success(
    status: int, kind: Kind, body: bytes, *, in_doubt: bool, foreign: bool
) -> None:
    """[S27][S31] A success in the body of anything but a 200 is not believed."""
    verdict = judge(answer(body, status=status))

    assert (verdict.kind, verdict.in_doubt, verdict.foreign) == (kind, in_doubt, foreign)
    assert str(status) in verdict.reason
    assert verdict.http_status == status


@pytest.mark.parametrize("status", [200, 400, 404, 422, 408])
@pytest.mark.parametrize("code", ["0200007", "0200001", "02000007", "0200011"])
def test_a_definite_refusal_counts_in_a_4xx_too(status: int, code: str) -> None:
    """A gateway that turns refusals into 4xx has still passed on what the server said."""
    verdict = judge(answer(codes(code), status=status))

    assert verdict.kind is MEANINGS[code]
    assert not verdict.in_doubt
    assert not verdict.foreign


LOCATIONS = [
    ("https://login.example.com/sso?ticket=secret", "to https://login.example.com/sso,"),
    (None, "HTTP 302: redirected, not followed"),
    ("", "HTTP 302: redirected, not followed"),
    ("?only=query", "HTTP 302: redirected, not followed"),
    ("/\udcff\x1b[0m", "redirected to /? [0m"),
    ("/" + "a" * 10_000, "redirected to /aaa"),
]


@pytest.mark.parametrize(("location", "told"), LOCATIONS)
def test_a_redirect_shows_its_place_without_the_query(location: str | None, told: str) -> None:
    """[S40] The query of a Location may hold a ticket; its bytes may be anything."""
    verdict = judge(Answer(http_status=302, location=location))

    assert told in verdict.reason
    assert "secret" not in verdict.reason
    assert verdict.reason.isprintable()
    assert len(verdict.reason) < 200


# -- faults -------------------------------------------------------------------------------------

FAULTS = {
    Fault.DNS_FAILED: Kind.UNREACHABLE,
    Fault.CONNECT_REFUSED: Kind.UNREACHABLE,
    Fault.CONNECT_TIMEOUT: Kind.UNREACHABLE,
    Fault.UNREACHABLE: Kind.UNREACHABLE,
    Fault.NO_SOCKETS: Kind.UNREACHABLE,
    Fault.TLS_UNTRUSTED: Kind.TLS_REFUSED,
    Fault.TLS_EXPIRED: Kind.TLS_REFUSED,
    Fault.TLS_HOSTNAME: Kind.TLS_REFUSED,
    Fault.TLS_PROTOCOL: Kind.TLS_REFUSED,
    Fault.RESET: Kind.BROKEN,
    Fault.TIMEOUT: Kind.BROKEN,
    Fault.TRUNCATED: Kind.BROKEN,
    Fault.BAD_RESPONSE: Kind.BROKEN,
    Fault.TOO_LARGE: Kind.BROKEN,
}


@pytest.mark.parametrize("fault", list(Fault))
def test_a_fault_is_in_doubt_exactly_when_something_was_sent(fault: Fault) -> None:
    """Whatever else the answer carries, a fault decides; a certificate is never tried again."""
    verdict = judge(Answer(fault=fault, detail="in words", http_status=200, body=SUCCESS))

    assert verdict.kind is FAULTS[fault]
    assert verdict.in_doubt is (verdict.kind is Kind.BROKEN)
    assert (verdict.repeat is Repeat.NEVER) is (verdict.kind is Kind.TLS_REFUSED)
    assert (verdict.reason, verdict.fault) == ("in words", fault)


def test_a_fault_without_words_shows_its_name() -> None:
    """There is always a reason to print."""
    assert judge(Answer(fault=Fault.RESET)).reason == "reset"


def test_neither_fault_nor_status_is_in_doubt() -> None:
    """An empty answer value is a connection that ended."""
    assert judge(Answer()) == Verdict(Kind.BROKEN, "no answer", in_doubt=True)


# -- laws ---------------------------------------------------------------------------------------


def test_every_kind_has_its_consequence() -> None:
    """In doubt means: not definite. Only doubtful or harmless answers are repeated."""
    assert set(CONSEQUENCES) == set(Kind)
    assert {kind for kind, one in CONSEQUENCES.items() if one.in_doubt} == {
        Kind.CODE_UNKNOWN,
        Kind.DATABASE_ERROR,
        Kind.CODES_DISAGREE,
        Kind.UNREADABLE,
        Kind.SERVER_ERROR,
        Kind.BROKEN,
    }
    assert {kind for kind, one in CONSEQUENCES.items() if one.repeat is not Repeat.NEVER} == {
        Kind.DATABASE_ERROR,
        Kind.CODES_DISAGREE,
        Kind.UNREADABLE,
        Kind.SERVER_ERROR,
        Kind.THROTTLED,
        Kind.BROKEN,
        Kind.UNREACHABLE,
        # one answer is about one request: a firewall, a gateway that is gone for a second
        Kind.UNAUTHORIZED,
        Kind.FORBIDDEN,
        Kind.NOT_THE_API,
    }
    assert {kind for kind, one in CONSEQUENCES.items() if one.health is Health.WELL} == {
        Kind.ACCEPTED,
        Kind.WRONG_STATE,
        Kind.NOT_FOUND,
        Kind.REJECTED,
        Kind.CODE_UNKNOWN,
        Kind.CODES_DISAGREE,
    }
    assert {kind for kind, one in CONSEQUENCES.items() if one.health is Health.SILENT} == {
        Kind.TLS_REFUSED,
        Kind.FORBIDDEN,
    }


CODE: st.SearchStrategy[object] = st.sampled_from(
    [*RESULT_CODES, "0299999", 200000, 200006, None, True, "", 0.5, []]
)
BODY = st.one_of(
    st.binary(),
    st.fixed_dictionaries(
        {},
        optional={
            "resultCode": CODE,
            "returnCode": CODE,
            "resultDesc": st.text(st.characters(codec=None, categories=None)),
            "data": st.integers(),
        },
    ).map(lambda body: json.dumps(body).encode()),
)
HEADER = st.none() | st.text(st.characters(codec=None, categories=None), max_size=40)
ANSWERS = st.builds(
    Answer,
    http_status=st.none() | st.sampled_from([200, 200, 200, 400, 401, 500]) | st.integers(0, 999),
    body=BODY,
    fault=st.none() | st.none() | st.sampled_from(Fault),
    location=HEADER,
    content_encoding=st.none() | st.none() | HEADER,
)


@given(ANSWERS)
def test_nothing_makes_judging_raise(given_answer: Answer) -> None:
    """[S30][S34][S35] Any bytes, any status, any header: one verdict, storable and bounded."""
    verdict = judge(given_answer)

    assert verdict.reason
    (verdict.reason + verdict.code + verdict.desc).encode()
    assert len(verdict.reason) < 500
    assert len(verdict.desc) <= 500


@given(ANSWERS)
def test_success_needs_all_of_its_conditions(given_answer: Answer) -> None:
    """[S01][S27] HTTP 200, JSON, a code, and every code present "0200000"; and no less."""
    accepted = judge(given_answer).kind is Kind.ACCEPTED

    wanted = False
    if given_answer.http_status == 200 and given_answer.fault is None:
        try:
            body = json.loads(given_answer.body, strict=False)
        except ValueError:
            body = None
        if isinstance(body, dict):
            present = [
                body[key] for key in ("resultCode", "returnCode") if body.get(key) is not None
            ]
            wanted = bool(present) and all(
                code == "0200000" or (code == 200000 and type(code) is int) for code in present
            )
    assert accepted is wanted


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_an_overloaded_or_broken_server_says_is_passed_on(status: int) -> None:
    """`503 maintenance until 05:00` says when to come back."""
    verdict = judge(Answer(http_status=status, body=b"maintenance until 05:00"))

    assert verdict.reason.endswith('("maintenance until 05:00")')
