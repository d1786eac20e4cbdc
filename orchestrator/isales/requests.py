"""The HTTP requests that exist: change one campaign, list a VDN, read one campaign.

A path is made of constants and checked integers only, without the base URL's prefix. `query_string`
is the one written form of a query, signed and sent alike. docs/spec/interface.md.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote

from orchestrator.model import Action, CampaignRef

CAMPAIGNS_PATH = "/rest/isales/v1/openapi/campaigns"

#: the largest page that the listing documents
ROWS_PER_PAGE = 100


class ApiRequest(NamedTuple):
    """One request, as the documentation names it."""

    method: str
    #: starts with "/", without the prefix of the base URL
    path: str
    #: raw names and values
    query: tuple[tuple[str, str], ...] = ()
    #: ASCII, signed and sent as it is; "" for none
    body: str = ""

    @property
    def query_string(self) -> str:
        """The query in canonical order and encoding, "" when there is none.

        The written `name=value` pairs are sorted as wholes and a repeated pair is written once.
        """
        if not self.query:
            return ""
        return "&".join(sorted({f"{percent(name)}={percent(value)}" for name, value in self.query}))


def percent(text: str) -> str:
    """Percent-encode UTF-8; only `A-Z a-z 0-9 - . _ ~` stay. A space becomes `%20`."""
    return quote(text, safe="")


def change(action: Action, ref: CampaignRef) -> ApiRequest:
    """The PUT that pauses or resumes one campaign."""
    return ApiRequest("PUT", f"{_campaign_path(ref)}/{action.value}")


def listing(
    vdn_id: int, *, status: int, page: int, rows_per_page: int = ROWS_PER_PAGE
) -> ApiRequest:
    """The GET of one page of a VDN's campaigns.

    Args:
        vdn_id: 1..9999.
        status: 2 started, 3 suspended, 4 completed, 0 for all of them.
        page: 1 is the first.
        rows_per_page: 1..100; what the server does above 100 is not documented.
    """
    return ApiRequest(
        "GET",
        f"{CAMPAIGNS_PATH}/{vdn_id:d}",
        (
            ("status", f"{status:d}"),
            ("deviceType", "0"),
            ("curPage", f"{page:d}"),
            ("rowsPerPage", f"{rows_per_page:d}"),
        ),
    )


def details(ref: CampaignRef) -> ApiRequest:
    """The GET of one campaign."""
    return ApiRequest("GET", _campaign_path(ref))


def _campaign_path(ref: CampaignRef) -> str:
    return f"{CAMPAIGNS_PATH}/{ref.vdn_id:d}/{ref.campaign_id:d}"
