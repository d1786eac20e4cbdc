"""Calls in progress: what is asked of CC-CMS, and which answers are a number."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.calls import Calls, calls_request, read_calls
from orchestrator.isales.requests import ApiRequest
from orchestrator.model import CampaignRef

REF = CampaignRef(1234, 1_798_316_116)
PATH = "/rest/cmsapp/v1/openapi/fromisales/realstatistic"
#: the documented members; the numbers are made up
STATISTICS = {
    "totalCount": 120, "succCount": 80, "failCount": 40, "compCount": 120, "waitCount": 3,
    "execCount": 41, "succRate": "66.67%", "compRate": "97.00%",
}  # fmt: skip


def answer(document: object, *, status: int = 200) -> Answer:
    """An HTTP answer with a JSON body."""
    return Answer(http_status=status, body=json.dumps(document).encode())


def described(desc: object, **more: Any) -> Calls:
    """What a success with this resultDesc reads as."""
    return read_calls(answer({"resultCode": "0100000", "resultDesc": desc} | more))


def test_a_campaign_is_named_in_the_body() -> None:
    """VDN as a number, the id as text as in the documented example, nothing in the query."""
    assert calls_request(REF, cc_id=None) == ApiRequest(
        "POST", PATH, body='{"vdn": 1234, "taskId": "1798316116"}'
    )
    assert json.loads(calls_request(REF, cc_id=9).body)["ccId"] == 9


def test_the_documented_answer_is_its_number_of_calls() -> None:
    """An array with one object: execCount, and none of the other counts."""
    assert described([STATISTICS]) == Calls(41)


@pytest.mark.parametrize(
    ("written", "number"), [(0, 0), ("0", 0), ("12", 12), (1_000_000, 1_000_000), ("007", 7)]
)
def test_a_number_may_be_text_and_the_array_one_object(written: object, number: int) -> None:
    """Shapes that mean the same."""
    assert described({"execCount": written}) == described([{"execCount": written}]) == Calls(number)


@pytest.mark.parametrize(
    "written",
    [-1, "-1", True, False, None, 1.0, 1e3, "", " 1", "1.0", "\u0661", "12345678", 1_000_001, [3]],
)
def test_what_is_no_number_of_calls_is_not_known(written: object) -> None:
    """Negative, a bool, huge, a fraction, other digits: not known, and the request did not fail."""
    assert described([{"execCount": written}]) == Calls(None, "execCount is no number of calls")


@pytest.mark.parametrize("desc", [[], [[]], [STATISTICS, STATISTICS], [None], None, "", "ok", 0])
def test_an_answer_without_one_campaigns_numbers_is_not_none(desc: object) -> None:
    """An empty array is unknown, not 0; nor are two objects one campaign's."""
    read = described(desc)

    assert (read.in_progress, read.failed) == (None, False)
    assert "the statistics of one campaign" in read.problem


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ({"resultCode": "0100006", "resultDesc": "parameter error"}, '0100006 ("parameter error")'),
        ({"resultCode": "0200000", "resultDesc": [STATISTICS]}, "code 0200000"),
        ({"resultCode": 100000, "resultDesc": [STATISTICS]}, "code 100000"),
        ({"resultCode": None, "resultDesc": [STATISTICS]}, "without a result code"),
        (
            {"resultCode": "0100000", "returnCode": "0100001", "resultDesc": [STATISTICS]},
            "code 0100001",
        ),
        ({"returnCode": "0100000", "resultDesc": [STATISTICS]}, "without a result code"),
        ({"resultDesc": [STATISTICS]}, "without a result code"),
        ([STATISTICS], "not a JSON object"),
    ],
)
def test_only_the_exact_code_is_success(document: object, problem: str) -> None:
    """Another code, a number, two that disagree, none at all: the request failed."""
    read = read_calls(answer(document))

    assert (read.in_progress, read.failed) == (None, True)
    assert problem in read.problem


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        (Answer(http_status=500, body=b"<html>"), "HTTP 500"),
        (Answer(http_status=401), "HTTP 401"),
        (Answer(http_status=302, location="https://elsewhere/"), "redirected"),
        (Answer(fault=Fault.TIMEOUT, detail="cms:1 gave no answer"), "cms:1 gave no answer"),
        (Answer(http_status=200, body=b""), "the answer is empty"),
        (Answer(http_status=200, body=b'{"resultCode":"0100000","resu'), "not JSON"),
    ],
)
def test_what_is_no_answer_has_failed_and_says_why(given_: Answer, problem: str) -> None:
    """HTTP errors, faults, garbage: in the words that a listing has for them."""
    read = read_calls(given_)

    assert (read.in_progress, read.failed) == (None, True)
    assert problem in read.problem


@given(st.binary(max_size=200), st.sampled_from([200, 500, None]))
def test_no_bytes_are_a_number_by_accident(body: bytes, status: int | None) -> None:
    """Whatever comes, it is read; and without the exact code it is no number."""
    read = read_calls(Answer(http_status=status, body=body))

    assert read.in_progress is None
    assert read.problem
