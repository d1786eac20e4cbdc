"""Which call a request line is: pause, resume, list or details, with its parameters checked.

What is wrong becomes a result code or an HTTP status. Which parameter code a real server gives is
not documented; this file picks the one whose wording fits best. docs/spec/interface.md, "Calls".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import parse_qsl

from orchestrator.model import (
    MAX_CAMPAIGN_ID,
    MAX_VDN_ID,
    Action,
    CampaignRef,
    Status,
)
from orchestrator.simulator.world import (
    DEFAULT_ROWS_PER_PAGE,
    MAX_ROWS_PER_PAGE,
    ListingQuery,
)

CAMPAIGNS_PATH = "/rest/isales/v1/openapi/campaigns"

PARAMETER_EMPTY = "02000001"
PARAMETER_TOO_LONG = "02000003"
PARAMETER_TYPE = "02000006"
PARAMETER_VALUE = "02000007"

MAX_NAME_LENGTH = 30

#: what the status filter accepts; None is "all". 1 is a status that rows show and no filter names.
STATUS_FILTERS = {
    0: None,
    2: Status.STARTED,
    3: Status.SUSPENDED,
    4: Status.COMPLETED,
}

_NUMBER = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)


class Kind(StrEnum):
    """Which call a request is."""

    PAUSE = "pause"
    RESUME = "resume"
    LIST = "list"
    DETAILS = "details"
    #: nothing this server offers
    OTHER = "other"


#: the calls that change something, and the change
CHANGES = {Kind.PAUSE: Action.PAUSE, Kind.RESUME: Action.RESUME}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    kind: Kind
    vdn_id: int | None = None
    #: None for listings, and for requests that name no possible campaign
    ref: CampaignRef | None = None
    query: ListingQuery | None = None
    #: the parameter code to answer with; "" when the parameters are fine
    refusal: str = ""
    #: 404 or 405 when this server offers no such thing
    http_status: int = 200


def read_call(method: str, target: str, *, prefix: str = "") -> Call:
    """Read the request line.

    Args:
        method: the HTTP method.
        target: path and query exactly as sent.
        prefix: what stands before the documented path, for servers behind a gateway.

    Returns:
        The call; never raises.
    """
    path, _, query_string = target.partition("?")
    root = prefix + CAMPAIGNS_PATH + "/"
    if not path.startswith(root):
        return Call(Kind.OTHER, http_status=404)
    match path.removeprefix(root).split("/"):
        case [vdn_text]:
            return _listing(method, vdn_text, query_string)
        case [vdn_text, campaign_text]:
            return _about_one(Kind.DETAILS, "GET", method, vdn_text, campaign_text)
        case [vdn_text, campaign_text, "pause" | "resume" as verb]:
            return _about_one(Kind(verb), "PUT", method, vdn_text, campaign_text)
        case _:
            return Call(Kind.OTHER, http_status=404)


def _listing(method: str, vdn_text: str, query_string: str) -> Call:
    vdn_id = _number(vdn_text)
    if method != "GET":
        return Call(Kind.LIST, http_status=405)
    if vdn_id is None or not 1 <= vdn_id <= MAX_VDN_ID:
        return Call(Kind.LIST, refusal=PARAMETER_VALUE)
    query = _read_query(dict(parse_qsl(query_string, keep_blank_values=True)))
    if isinstance(query, str):
        return Call(Kind.LIST, vdn_id, refusal=query)
    return Call(Kind.LIST, vdn_id, query=query)


def _about_one(kind: Kind, wanted: str, method: str, vdn_text: str, campaign_text: str) -> Call:
    vdn_id, campaign_id = _number(vdn_text), _number(campaign_text)
    if method != wanted:
        return Call(kind, http_status=405)
    if vdn_id is None or campaign_id is None:
        return Call(kind, refusal=PARAMETER_TYPE)
    if not 1 <= vdn_id <= MAX_VDN_ID or not 1 <= campaign_id <= MAX_CAMPAIGN_ID:
        return Call(kind, refusal=PARAMETER_VALUE)
    return Call(kind, vdn_id, CampaignRef(vdn_id, campaign_id))


def _read_query(given: dict[str, str]) -> ListingQuery | str:
    """Read the parameters of a listing, or the code of what is wrong with them."""
    if not given.get("status") or not given.get("deviceType"):
        return PARAMETER_EMPTY
    status, device_type = _number(given["status"]), _number(given["deviceType"])
    page = _number(given.get("curPage") or "1")
    rows_per_page = _number(given.get("rowsPerPage") or str(DEFAULT_ROWS_PER_PAGE))
    if status is None or device_type is None or page is None or rows_per_page is None:
        return PARAMETER_TYPE
    if status not in STATUS_FILTERS or rows_per_page < 1:
        return PARAMETER_VALUE
    if len(given.get("name", "")) > MAX_NAME_LENGTH:
        return PARAMETER_TOO_LONG
    return ListingQuery(
        status=STATUS_FILTERS[status],
        page=max(1, page),
        rows_per_page=min(rows_per_page, MAX_ROWS_PER_PAGE),
        device_type=device_type,
        name=given.get("name", ""),
        begin_time=given.get("beginTime", ""),
        end_time=given.get("endTime", ""),
    )


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
