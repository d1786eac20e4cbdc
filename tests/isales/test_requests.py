"""The requests that exist, and the one written form of a query."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.requests import ApiRequest, change, details, listing, percent
from orchestrator.model import MAX_CAMPAIGN_ID, Action, CampaignRef

BASE = "/rest/isales/v1/openapi/campaigns"
#: anything UTF-8 can write
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
pairs = st.lists(st.tuples(texts, texts), max_size=6)


@pytest.mark.parametrize(("action", "word"), [(Action.PAUSE, "pause"), (Action.RESUME, "resume")])
def test_a_change_is_a_bodyless_put_that_ends_in_its_action(action: Action, word: str) -> None:
    """Campaign 146 of VDN 12 is changed by PUT …/12/146/<action>, without a query."""
    request = change(action, CampaignRef(12, 146))

    assert request == ApiRequest("PUT", f"{BASE}/12/146/{word}")
    assert request.query_string == ""


def test_a_listing_asks_with_exactly_four_parameters() -> None:
    """The first page of started campaigns has the query of vector V3."""
    request = listing(12, status=2, page=1)

    assert (request.method, request.path) == ("GET", f"{BASE}/12")
    assert request.query_string == "curPage=1&deviceType=0&rowsPerPage=100&status=2"


def test_details_are_a_get_of_the_campaign_itself() -> None:
    """The longest id there is stands in the path in full."""
    request = details(CampaignRef(1, MAX_CAMPAIGN_ID))

    assert request == ApiRequest("GET", f"{BASE}/1/9223372036854775807")


def test_a_path_cannot_hold_anything_but_a_number() -> None:
    """A text that slipped past the checks raises before it becomes a URL."""
    smuggled = CampaignRef(12, "5?x=")  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="format code 'd'"):
        change(Action.PAUSE, smuggled)


def test_pairs_are_sorted_as_wholes() -> None:
    """`a-` sorts before `a=`, which sorting by name alone would turn round."""
    assert ApiRequest("GET", "/", (("a", "1"), ("a-", "2"))).query_string == "a-=2&a=1"


@given(pairs)
def test_a_written_query_reads_back_as_the_same_set(query: list[tuple[str, str]]) -> None:
    """Nothing is lost or invented, whatever the characters."""
    written = ApiRequest("GET", "/", tuple(query)).query_string

    assert set(parse_qsl(written, keep_blank_values=True, strict_parsing=bool(written))) == set(
        query
    )


@given(texts)
def test_only_unreserved_characters_stay(text: str) -> None:
    """Everything else is a percent sign and two upper-case hex digits."""
    unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

    expected = "".join(
        chr(byte) if chr(byte) in unreserved else f"%{byte:02X}" for byte in text.encode()
    )

    assert percent(text) == expected
