"""Calls in progress of one campaign, as CC-CMS counts them: the request, and what its answer says.

CC-CMS is another service with the same signing; here the body is signed too. Only a whole number in
a successful answer is a number of calls: whatever else comes, it is not known, and never 0.
docs/spec/interface.md, "Calls in progress".
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.isales.body import read_document
from orchestrator.isales.requests import ApiRequest
from orchestrator.isales.strict_json import BadJsonError, storable, whole_number
from orchestrator.isales.verdict import judge

if TYPE_CHECKING:
    from orchestrator.isales.answer import Answer
    from orchestrator.model import CampaignRef

CALLS_PATH = "/rest/cmsapp/v1/openapi/fromisales/realstatistic"
#: CC-CMS takes VDNs up to this one, CC-iSales up to 9999
MAX_CMS_VDN_ID = 5000
SUCCESS = "0100000"

#: more calls of one campaign at a time than any centre makes: such a number is not believed
_CALLS_MAX = 1_000_000
_SHOWN = 60


class Calls(NamedTuple):
    """What one answer says of one campaign."""

    #: calls being made now; None: not known
    in_progress: int | None
    #: why it is not known
    problem: str = ""
    #: the request failed; else only this campaign's number is missing
    failed: bool = False


def calls_request(ref: CampaignRef, *, cc_id: int | None) -> ApiRequest:
    """The POST that asks for one campaign's calls; its VDN is at most MAX_CMS_VDN_ID."""
    members: dict[str, object] = {"vdn": ref.vdn_id, "taskId": str(ref.campaign_id)}
    if cc_id is not None:
        members["ccId"] = cc_id
    return ApiRequest("POST", CALLS_PATH, body=json.dumps(members))


def read_calls(answer: Answer) -> Calls:
    """Read an answer strictly."""
    if answer.http_status != 200:
        return Calls(None, judge(answer).reason, failed=True)
    try:
        members = read_document(answer.body, content_encoding=answer.content_encoding).members
    except BadJsonError as error:
        return Calls(None, f"HTTP 200 without a readable answer: {error}", failed=True)
    code = members.get("resultCode")
    if code == SUCCESS:
        code = members.get("returnCode") or SUCCESS  # not documented here; it may not disagree
    if code != SUCCESS:
        return Calls(None, _refusal(code, members.get("resultDesc")), failed=True)
    found = members.get("resultDesc")
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if not isinstance(found, dict):
        return Calls(None, "the answer does not hold the statistics of one campaign")
    number = whole_number(found.get("execCount"), most=_CALLS_MAX)
    if number is None:
        return Calls(None, "execCount is no number of calls")
    return Calls(number)


def _refusal(code: object, desc: object) -> str:
    if code is None:
        return "HTTP 200 without a result code"
    words = f' ("{storable(desc[:_SHOWN])}")' if isinstance(desc, str) and desc else ""
    shown = code if isinstance(code, str) else json.dumps(code)
    return f"code {storable(shown[:_SHOWN])}{words}"
