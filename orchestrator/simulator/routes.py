"""The interface from the server's side: which call a request line is, and what answers look like.

What is wrong with a request becomes a result code or an HTTP status. Which parameter code a real
server gives is not documented; here it is one for all. An answer is built as bytes, so that a fault
can cut it anywhere. docs/spec/interface.md has paths, shapes and codes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum
from functools import lru_cache
from http import HTTPStatus
from urllib.parse import parse_qsl

from orchestrator.model import MAX_CAMPAIGN_ID, MAX_VDN_ID, Action, CampaignRef, Status
from orchestrator.simulator.world import (
    DEFAULT_ROWS_PER_PAGE,
    MAX_ROWS_PER_PAGE,
    ListingQuery,
    Page,
    Row,
)

CAMPAIGNS_PATH = "/rest/isales/v1/openapi/campaigns"
#: of CC-CMS, cms.py
CALLS_PATH = "/rest/cmsapp/v1/openapi/fromisales/realstatistic"
JSON_TYPE = "application/json;charset=UTF-8"
HTML_TYPE = "text/html;charset=UTF-8"

#: the code for every parameter that is missing or wrong
PARAMETER = "0200001"

#: what resultDesc says; other codes say nothing
DESCRIPTIONS = {
    PARAMETER: "a parameter is wrong",
    "0200006": "database operation error",
    "0200007": "the campaign does not exist",
    "0200011": "the present status of the campaign does not allow this",
    "0200022": "called too fast",
}

#: what the status filter accepts; None is "all". 1 is a status that rows show and no filter names.
STATUS_FILTERS = {0: None, 2: Status.STARTED, 3: Status.SUSPENDED, 4: Status.COMPLETED}

_DIGITS = re.compile(r"[0-9]{1,19}")


# -- requests ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the wire brought it."""

    method: str
    #: path and query exactly as sent
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Kind(StrEnum):
    """Which call a request is."""

    PAUSE = "pause"
    RESUME = "resume"
    LIST = "list"
    DETAILS = "details"
    #: calls in progress, which CC-CMS counts
    CALLS = "calls"
    #: nothing this server offers
    OTHER = "other"


#: the calls that change something, and the change
CHANGES = {Kind.PAUSE: Action.PAUSE, Kind.RESUME: Action.RESUME}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    kind: Kind
    vdn_id: int | None = None
    #: without one or the other a parameter is missing or wrong
    ref: CampaignRef | None = None
    query: ListingQuery | None = None
    #: 404 or 405 when this server offers no such thing
    http_status: int = 200


def read_call(method: str, target: str) -> Call:
    """Read the request line: the HTTP method, and path and query exactly as sent. Never raises."""
    path, _, query_string = target.partition("?")
    if path == CALLS_PATH:
        return Call(Kind.CALLS, http_status=200 if method == "POST" else 405)
    if not path.startswith(CAMPAIGNS_PATH + "/"):
        return Call(Kind.OTHER, http_status=404)
    match path.removeprefix(CAMPAIGNS_PATH + "/").split("/"):
        case [vdn_text]:
            return _listing(method, vdn_text, query_string)
        case [vdn_text, campaign_text]:
            return _about_one(Kind.DETAILS, "GET", method, vdn_text, campaign_text)
        case [vdn_text, campaign_text, "pause" | "resume" as verb]:
            return _about_one(Kind(verb), "PUT", method, vdn_text, campaign_text)
        case _:
            return Call(Kind.OTHER, http_status=404)


def _listing(method: str, vdn_text: str, query_string: str) -> Call:
    if method != "GET":
        return Call(Kind.LIST, http_status=405)
    vdn_id = _number(vdn_text, MAX_VDN_ID)
    given = dict(parse_qsl(query_string))
    status = _number(given.get("status", ""), 4, least=0)
    page = _number(given.get("curPage", "1"), MAX_CAMPAIGN_ID, least=0)
    rows = _number(given.get("rowsPerPage", str(DEFAULT_ROWS_PER_PAGE)), MAX_CAMPAIGN_ID)
    is_whole = status in STATUS_FILTERS and "deviceType" in given
    if status is None or vdn_id is None or page is None or rows is None or not is_whole:
        return Call(Kind.LIST)
    query = ListingQuery(STATUS_FILTERS[status], max(1, page), min(rows, MAX_ROWS_PER_PAGE))
    return Call(Kind.LIST, vdn_id, query=query)


def _about_one(kind: Kind, wanted: str, method: str, vdn_text: str, campaign_text: str) -> Call:
    if method != wanted:
        return Call(kind, http_status=405)
    vdn_id, campaign_id = _number(vdn_text, MAX_VDN_ID), _number(campaign_text, MAX_CAMPAIGN_ID)
    if vdn_id is None or campaign_id is None:
        return Call(kind)
    return Call(kind, vdn_id, CampaignRef(vdn_id, campaign_id))


def _number(text: str, most: int, *, least: int = 1) -> int | None:
    """A number within its bounds; None: it is none."""
    number = int(text) if _DIGITS.fullmatch(text) else -1
    return number if least <= number <= most else None


# -- answers ----------------------------------------------------------------------------------


def result(result_code: object, return_code: object | None = None) -> dict[str, object]:
    """The four fields every answer has; both codes the same by default."""
    second = result_code if return_code is None else return_code
    return {
        "resultCode": result_code,
        "resultDesc": DESCRIPTIONS.get(str(result_code), ""),
        "returnCode": second,
        "returnDesc": DESCRIPTIONS.get(str(second), ""),
    }


def listing(page: Page, query: ListingQuery) -> dict[str, object]:
    """The answer to a listing."""
    return result("0200000") | {
        "curPage": query.page,
        "totalSize": page.total_size,
        "rowsPerPage": query.rows_per_page,
        "curSkillQueueCount": page.total_size,
        "curIvrCount": 0,
        "data": [_shown(row) for row in page.rows],
    }


def details(row: Row) -> dict[str, object]:
    """The answer to a details call."""
    shown = _shown(row) | {"description": "", "maxAlertingTime": 30, "callBackUrl": ""}
    return result("0200000") | {"returnObject": shown}


def _shown(row: Row) -> dict[str, object]:
    return {
        "id": row.campaign.campaign_id,
        "name": row.campaign.shown_name,
        "status": int(row.status),
        "strBeginTime": row.campaign.begin_time,
        "strEndTime": "2035-12-31 20:00:00",
        "deviceType": 2,  # a skill queue
        "callerNo": "5550100",
    }


def json_text(document: object) -> str:
    """JSON as this server writes it."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def encode(document: object) -> bytes:
    """JSON as the wire carries it; a name may hold stray bytes (surrogateescape)."""
    return json_text(document).encode(errors="surrogateescape")


def html(status: int) -> bytes:
    """An error page such as a proxy writes."""
    words = _words(status)
    return f"<html><head><title>{status} {words}</title></head><body>{words}</body></html>".encode()


def wire(
    status: int, body: bytes, content_type: str, *, date: str, headers: Iterable[tuple[str, str]]
) -> bytes:
    """A whole HTTP/1.1 answer."""
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    head = (
        f"HTTP/1.1 {status} {_words(status)}\r\nDate: {date}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n{extra}\r\n"
    )
    return head.encode("latin-1") + body


def _words(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Refused"


@lru_cache(maxsize=8)
def http_date(wall_s: int) -> str:
    """The Date header for a wall-clock second since the epoch."""
    return formatdate(wall_s, usegmt=True)
