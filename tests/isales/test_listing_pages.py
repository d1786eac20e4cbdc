"""Reading what the server says it has: listing pages and details."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.listing import Page, read_details, read_page
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import CampaignRef, ObservedState, Status

OK = {"resultCode": "0200000", "returnCode": "0200000"}
REF = CampaignRef(1234, 146)


def answer(body: object, *, status: int = 200) -> Answer:
    """An HTTP answer with a JSON body."""
    return Answer(http_status=status, body=json.dumps(body).encode())


def page(*, asked_status: int = 2, **body: Any) -> Page | Verdict:
    """What a listing answer with these members reads as."""
    return read_page(answer(OK | body), vdn_id=1234, asked_status=asked_status)


def row(
    status: Status | None = Status.STARTED, *, campaign_id: int = 146, **more: str
) -> ObservedState:
    """A row of VDN 1234."""
    return ObservedState(CampaignRef(1234, campaign_id), status, **more)


# -- listing ------------------------------------------------------------------------------------


def test_a_page_of_the_documentation() -> None:
    """The documented example reads as one row with its name and begin time."""
    read = page(
        curPage=1, totalSize=1, rowsPerPage=100, curSkillQueueCount=1, curIvrCount=0,
        data=[{"id": 146, "name": "spring", "status": 2, "strBeginTime": "2025-01-01 08:00:00",
               "strEndTime": "2025-01-31 20:00:00", "deviceType": 2, "callerNo": "5550100"}],
    )  # fmt: skip

    assert read == Page((row(name="spring", begin_time="2025-01-01 08:00:00"),), total_size=1)


EMPTY: list[dict[str, Any]] = [{"data": None}, {"data": []}, {}]


@pytest.mark.parametrize("members", EMPTY)
def test_no_rows_may_be_written_in_three_ways(members: dict[str, Any]) -> None:
    """Null, an empty list and nothing at all are an empty page, when a totalSize stands by it."""
    assert page(totalSize=0, **members) == Page((), total_size=0)


TOTALS: list[tuple[object, int | None]] = [
    (5_000, 5_000),
    ("5000", 5_000),
    # no count at all
    (None, None),
    (-1, None),
    (True, None),
    # more than there can be, and than a journal can hold
    (9_999_999_999, 9_999_999_999),
    (10_000_000_000, None),
]


@pytest.mark.parametrize(("written", "total_size"), TOTALS)
def test_a_total_size_is_a_count_or_a_problem(written: object, total_size: int | None) -> None:
    """A page without a believable totalSize can prove nothing, and says so."""
    read = page(totalSize=written, data=[])

    assert isinstance(read, Page)
    assert read.total_size == total_size
    assert bool(read.problem) is (total_size is None)


ROWS: list[tuple[dict[str, object], ObservedState]] = [
    # ids and statuses as numbers and as text
    ({"id": 146, "status": 3}, row(Status.SUSPENDED)),
    ({"id": "146", "status": "3"}, row(Status.SUSPENDED)),
    # no status: the filter's
    ({"id": 146}, row(Status.STARTED)),
    ({"id": 146, "status": None}, row(Status.STARTED)),
    # a status that we do not know is not the filter's
    ({"id": 146, "status": 9}, row(None)),
    # texts that are none, too long, or half a character
    ({"id": 146, "name": 7, "strBeginTime": None}, row()),
    ({"id": 146, "name": "x" * 5_000}, row(name="x" * 200)),
    ({"id": 146, "name": "half \ud83d", "strBeginTime": "\udcff"},
     row(name="half ?", begin_time="?")),
]  # fmt: skip


@pytest.mark.parametrize(("written", "observed"), ROWS)
def test_a_row_is_read_as_far_as_it_is_clear(
    written: dict[str, object], observed: ObservedState
) -> None:
    """Unknown keys are ignored; a status is a status, or nothing, or the filter's when absent."""
    read = page(totalSize=1, data=[{**written, "extra": {}}])

    assert isinstance(read, Page)
    assert (read.rows, read.total_size) == ((observed,), 1)


@pytest.mark.parametrize(
    "entry",
    [None, 7, "146", [], {}, {"id": None}, {"id": 0}, {"id": "0146"}, {"id": 146.0},
     {"id": True}, {"id": 2**63}, {"ID": 146}],
)  # fmt: skip
def test_a_row_without_a_usable_id_spoils_its_page(entry: object) -> None:
    """The other rows are kept, so that they are paused, but the page proves nothing."""
    read = page(totalSize=2, data=[entry, {"id": 7}])

    assert read == Page((row(campaign_id=7),), 2, "a row of the listing has no usable id")


STATUSES: list[tuple[object, Status | None, bool]] = [
    (2, Status.STARTED, False),
    ("3", Status.SUSPENDED, False),
    # one that we do not know is a status all the same
    (9, None, False),
    ("9", None, False),
    # no status at all
    ("", None, True),
    (None, None, True),
    (True, None, True),
    ("\uff12", None, True),
]


@pytest.mark.parametrize(("written", "status", "spoils"), STATUSES)
def test_a_row_of_the_unfiltered_listing_without_a_status_spoils_its_page(
    written: object, status: Status | None, *, spoils: bool
) -> None:
    """The row is kept, and the page is no proof: nobody knows whether this campaign runs."""
    read = page(asked_status=0, totalSize=1, data=[{"id": 146, "status": written}])

    assert isinstance(read, Page)
    assert read.rows == (row(status),)
    assert read.problem == ("a row of the listing has no readable status" if spoils else "")


#: a page as it came, the campaigns on it, whether it can prove anything
LENIENT: list[tuple[bytes, list[int], bool]] = [
    # docs/spec/evidence.md, rule 7: a TAB, a latin-1 byte or half a character in one name
    (b'{"resultCode":"0200000","totalSize":2,"data":[{"id":1,"name":"a\tb"},{"id":2}]}',
     [1, 2], True),
    (b'{"resultCode":"0200000","totalSize":2,"data":[{"id":1,"name":"Caf\xe9"},{"id":2}]}',
     [1, 2], True),
    (b'{"resultCode":"0200000","totalSize":2,"data":[{"id":1,"name":"\xe6\x98"},{"id":2}]}',
     [1, 2], True),
    # a page that is bent, or not whole: paused from, and no proof
    (b'{"resultCode":"0200000","totalSize":2,"data":[{"id":1,"id":1},{"id":2}]}', [1, 2], False),
    (b'{"resultCode":"0200000","totalSize":2,"data":[{"id":1},{"id":2},{"i', [1, 2], False),
    (b'{"resultCode":"0200000","totalSize":2,"data":[{"id":1,,},{"id":2}]}', [1, 2], False),
    (b'{"resultCode":"0200000","totalSize":2,"data":[{"id":1},7,{"id":2}]}', [1, 2], False),
]  # fmt: skip


@pytest.mark.parametrize(("body", "campaign_ids", "proves"), LENIENT)
def test_discovery_is_lenient_and_proof_is_strict(
    body: bytes, campaign_ids: list[int], *, proves: bool
) -> None:
    """The text of a name alone spoils nothing; whatever else is wrong costs the proof, no row."""
    read = read_page(Answer(http_status=200, body=body), vdn_id=1234, asked_status=2)

    assert isinstance(read, Page)
    assert [one.ref.campaign_id for one in read.rows] == campaign_ids
    assert bool(read.problem) is not proves


def test_the_first_thing_that_is_wrong_with_a_page_is_told() -> None:
    """No totalSize, and a row without a status: one reason; a row without an id weighs most."""
    rows: list[object] = [{"id": 1}, {"id": 2}]

    plain = page(asked_status=0, data=rows)
    worse = page(asked_status=0, data=[*rows, 7])

    assert isinstance(plain, Page)
    assert isinstance(worse, Page)
    assert plain.problem == "the listing has no totalSize"
    assert worse.problem == "a row of the listing has no usable id"


def test_details_that_are_not_whole_are_no_state() -> None:
    """A read of one campaign settles contradictions, so it is believed as a whole or not at all."""
    body = b'{"resultCode":"0200000","returnObject":{"status":3},"x":NaN}'

    shown = read_details(Answer(http_status=200, body=body), ref=REF)

    assert isinstance(shown, Verdict)
    assert shown.flaw


@pytest.mark.parametrize("entries", [{}, "[]", 7, True, {"id": 146}])
def test_rows_that_are_no_list_are_a_problem(entries: object) -> None:
    """A page that cannot be read whole is never an empty page."""
    assert page(totalSize=0, data=entries) == Page((), 0, "`data` is not a list")


@pytest.mark.parametrize(
    ("given_answer", "kind"),
    [
        (answer({"resultCode": "0200006"}), Kind.DATABASE_ERROR),
        (answer({"resultCode": "0200000", "returnCode": "0200006"}), Kind.CODES_DISAGREE),
        (answer({"data": [], "totalSize": 0}), Kind.UNREADABLE),
        (answer(OK | {"data": [], "totalSize": 0}, status=500), Kind.SERVER_ERROR),
        (answer(OK | {"data": [], "totalSize": 0}, status=401), Kind.UNAUTHORIZED),
        (Answer(fault=Fault.TIMEOUT), Kind.BROKEN),
    ],
)
def test_what_is_no_success_is_a_verdict(given_answer: Answer, kind: Kind) -> None:
    """A failed page is never "zero found", and never a details answer either."""
    read = read_page(given_answer, vdn_id=1234, asked_status=2)
    shown = read_details(given_answer, ref=REF)

    assert isinstance(read, Verdict)
    assert isinstance(shown, Verdict)
    assert read.kind is shown.kind is kind


# -- details ------------------------------------------------------------------------------------


def test_details_show_one_campaign() -> None:
    """The state of a campaign is that of its returnObject."""
    body = OK | {"returnObject": {"name": "spring", "status": "3", "strBeginTime": "2025-01-01"}}

    assert read_details(answer(body), ref=REF) == ObservedState(
        REF, Status.SUSPENDED, "spring", "2025-01-01"
    )


@pytest.mark.parametrize("status", [None, 0, 5, "", "33", 3.0, True, [], {}])
def test_details_without_a_status_that_we_know(status: object) -> None:
    """No status is lent to a single read: it proves nothing."""
    read = read_details(answer(OK | {"returnObject": {"status": status}}), ref=REF)

    assert read == ObservedState(REF, None)


@pytest.mark.parametrize("shown", [None, [], "x", 7, [{"status": 3}]])
def test_details_without_an_object_are_unreadable(shown: object) -> None:
    """A success without a returnObject is not a state."""
    read = read_details(answer(OK | {"returnObject": shown}), ref=REF)

    assert isinstance(read, Verdict)
    assert (read.kind, read.in_doubt, read.http_status) == (Kind.UNREADABLE, True, 200)


# -- laws ---------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["146", "2", ""])
    | st.text(st.characters(codec=None, categories=None)),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["id", "status", "name", "strBeginTime"]), inner),
    max_leaves=12,
)  # fmt: skip
BODIES = st.one_of(
    st.binary(),
    st.fixed_dictionaries(
        {"resultCode": st.just("0200000")},
        optional={"data": ANYTHING, "totalSize": ANYTHING, "returnObject": ANYTHING},
    ).map(lambda body: json.dumps(body).encode()),
)


@given(BODIES)
def test_nothing_makes_reading_raise(body: bytes) -> None:
    """Any bytes are a page, a seen state or a verdict, and fit into the journal."""
    given_answer = Answer(http_status=200, body=body)

    read = read_page(given_answer, vdn_id=1234, asked_status=2)
    shown = read_details(given_answer, ref=REF)

    observed_states = [*(read.rows if isinstance(read, Page) else ())]
    if isinstance(shown, ObservedState):
        observed_states.append(shown)
    for one in observed_states:
        (one.name + one.begin_time).encode()
        assert 1 <= one.ref.campaign_id < 2**63
    if isinstance(read, Page):
        assert read.total_size is None or read.total_size < 2**63


def test_a_broken_page_says_what_to_pause_and_never_what_is_at_rest() -> None:
    """Cut off behind its second row: the started one is taken, the suspended one is not."""
    rows = b'{"id":1,"status":3},{"id":2,"status":2},{"id"'
    cut = b'{"resultCode":"0200000","totalSize":3,"data":[' + rows

    found = read_page(Answer(http_status=200, body=cut), vdn_id=1234, asked_status=0)

    assert isinstance(found, Page)
    assert [(one.ref.campaign_id, one.status) for one in found.rows] == [(2, Status.STARTED)]
    assert found.problem
