"""Rows, cells, and lines that add up."""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import BugError
from orchestrator.model import MAX_CAMPAIGN_ID, STATUS_NAMES
from orchestrator.policy.decide import NOT_COUNTED, SUCCESSES, Changed, Evidence, Outcome
from orchestrator.reports.rows import (
    COLUMNS,
    NAMED_UNSTOPPED,
    UNSTOPPED,
    ReportRow,
    RunKind,
    Tally,
    cells,
    iso_time,
    plural,
    scheduled,
    stopped,
)
from orchestrator.text import for_spreadsheet
from tests.report_makers import AT_MS, HOSTILE, database_failure, make_row, tally_of

TEXT = st.text(st.characters(exclude_categories=()), max_size=30)
#: text that has been through the escaping once: as the file holds it
CELL_TEXT = TEXT.map(for_spreadsheet)
MOMENT = st.none() | st.integers(0, 4_000_000_000_000)
NUMBER = st.none() | st.integers(1, 10_000_000)
STATE = st.sampled_from(["", "not_started", "started", "suspended", "completed"])

ROWS = st.builds(
    ReportRow,
    vdn_id=st.integers(1, 9999).map(str) | CELL_TEXT,
    campaign_id=st.integers(1, MAX_CAMPAIGN_ID).map(str) | CELL_TEXT,
    campaign_name=CELL_TEXT,
    outcome=st.sampled_from(Outcome),
    evidence=st.sampled_from(Evidence),
    changed=st.sampled_from(Changed),
    may_start=st.sampled_from(["", "yes", "no", "maybe"]),
    state_before=STATE,
    state_after=STATE,
    state_seen_at_ms=MOMENT,
    attempts=st.integers(0, 50),
    result_code=CELL_TEXT,
    result_name=CELL_TEXT,
    result_desc=CELL_TEXT,
    http_status=st.none() | st.integers(100, 599),
    first_sent_at_ms=MOMENT,
    settled_at_ms=MOMENT,
    line=NUMBER,
    duplicate_of=NUMBER,
    run_id=st.just("20261123T230501Z-7f3a"),
    error=CELL_TEXT,
    cause=st.none(),
)


def parse(text: str) -> list[dict[str, str]]:
    """Read results.csv back, as anybody would."""
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def render(rows: list[ReportRow]) -> str:
    """Write rows as results.csv does."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(cells(row) for row in rows)
    return text.getvalue()


# -- cells ------------------------------------------------------------------------------------


def test_the_columns_are_the_contract() -> None:
    """Scripts read these names in this order; a new column may only be added at the end."""
    assert ",".join(COLUMNS) == (
        "vdn_id,campaign_id,campaign_name,outcome,stopped,changed,evidence,may_start,"
        "state_before,state_after,state_seen_at,attempts,result_code,result_name,result_desc,"
        "http_status,first_sent_at,settled_at,duration_ms,line,duplicate_of,run_id,error"
    )


def test_a_row_becomes_one_cell_for_every_column() -> None:
    """A campaign paused at the first attempt, written out."""
    row = make_row(
        campaign_id="9223372036854775807",
        campaign_name="春季",
        state_after="suspended",
        may_start="no",
        line=17,
        duplicate_of=3,
        error="-",
    )

    assert dict(zip(COLUMNS, cells(row), strict=True)) == {
        "vdn_id": "1201",
        "campaign_id": "9223372036854775807",
        "campaign_name": "春季",
        "outcome": "paused",
        "stopped": "yes",
        "changed": "yes",
        "evidence": "accepted",
        "may_start": "no",
        "state_before": "started",
        "state_after": "suspended",
        "state_seen_at": "2026-11-23T23:05:01.123Z",
        "attempts": "1",
        "result_code": "0200000",
        "result_name": "success",
        "result_desc": "success",
        "http_status": "200",
        "first_sent_at": "2026-11-23T23:05:01.123Z",
        "settled_at": "2026-11-23T23:05:01.203Z",
        "duration_ms": "80",
        "line": "17",
        "duplicate_of": "3",
        "run_id": "20261123T230501Z-7f3a",
        "error": "'-",
    }


@given(st.lists(ROWS, max_size=5))
def test_a_report_read_back_is_the_report(rows: list[ReportRow]) -> None:
    """[S43] [Z09] Every cell comes back, for every outcome and any text once escaped."""
    expected = [dict(zip(COLUMNS, cells(row), strict=True)) for row in rows]

    assert parse(render(rows)) == expected


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_stays_in_its_cell(text: str) -> None:
    """[S43] [Z09] The corpus in every text column: still one row, 23 cells, no formula."""
    row = make_row(
        Outcome.INVALID,
        vdn_id=text,
        campaign_id=text,
        campaign_name=text,
        result_code=text,
        result_name=text,
        result_desc=text,
        error=text,
    )

    written = render([row])

    assert written.count("\n") == 2
    (read_back,) = csv.reader(written.splitlines()[1:], strict=True)
    assert len(read_back) == len(COLUMNS)
    assert not [cell for cell in read_back if cell[:1] in set("=+-@＝＋－＠")]  # noqa: RUF001


@pytest.mark.parametrize(
    ("at_ms", "text"),
    [
        (None, ""),
        (0, "1970-01-01T00:00:00.000Z"),
        (AT_MS, "2026-11-23T23:05:01.123Z"),
        (1_000_999, "1970-01-01T00:16:40.999Z"),
    ],
)
def test_times_are_utc_with_milliseconds(at_ms: int | None, text: str) -> None:
    """Milliseconds since the epoch become ISO 8601 with a Z; nothing becomes nothing."""
    assert iso_time(at_ms) == text


@pytest.mark.parametrize(
    ("number", "first", "said"),
    [
        (0, "08:00", ""),
        (1, "", " 1 more is scheduled to start."),
        (1, "08:00", " 1 more is scheduled to start, at 08:00 server time."),
        (
            1200,
            "08:00\x1b",
            r" 1,200 more are scheduled to start, the first at 08:00\x1b server time.",
        ),
    ],
)
def test_what_starts_by_itself_is_said_with_the_servers_own_time(
    number: int, first: str, said: str
) -> None:
    """One or many; what the server wrote harms no terminal."""
    assert scheduled(number, first, more=" more") == said
    assert (plural(1, "line"), plural(1200, "line")) == ("1 line", "1,200 lines")


@given(st.integers(0, 253_402_300_799_999))
def test_any_time_is_what_datetime_makes_of_it(at_ms: int) -> None:
    """Every millisecond from 1970 to the end of 9999, as datetime writes it."""
    moment = datetime(1970, 1, 1) + timedelta(milliseconds=at_ms)  # noqa: DTZ001 - as UTC

    assert iso_time(at_ms) == moment.isoformat(timespec="milliseconds") + "Z"


def test_only_our_own_words_are_not_escaped() -> None:
    """Members, states and numbers are cells as they are; every other text is what escaping says."""
    own = [*Outcome, *Evidence, *Changed, *STATUS_NAMES.values(), "20261123T230501Z-7f3a", "7", ""]
    texts = ("vdn_id", "campaign_id", "campaign_name", "result_code", "result_name", "result_desc")
    hostile: dict[str, Any] = dict.fromkeys((*texts, "error"), "=1")
    row = make_row(**hostile)

    shown = dict(zip(COLUMNS, cells(row), strict=True))

    assert [for_spreadsheet(word) for word in own] == own
    assert {name for name, cell in shown.items() if cell == "'=1"} == {*texts, "error"}


@pytest.mark.parametrize(
    ("first_ms", "settled_ms", "duration_ms"),
    [(None, 5, None), (5, None, None), (5, 9, 4), (9, 5, 0)],
)
def test_a_duration_is_never_negative(
    first_ms: int | None, settled_ms: int | None, duration_ms: int | None
) -> None:
    """A wall clock that was set back during the attempt makes 0 ms, not -4."""
    row = make_row(first_sent_at_ms=first_ms, settled_at_ms=settled_ms)

    assert row.duration_ms == duration_ms


# -- stopped ----------------------------------------------------------------------------------

#: docs/spec/contracts.md, column "stopped"
PAUSE_TABLE = {
    Outcome.PAUSED: "yes",
    Outcome.ALREADY_PAUSED: "yes",
    Outcome.NOT_RUNNING: "yes",
    Outcome.NOT_FOUND: "no",
    Outcome.REJECTED: "no",
    Outcome.DENIED: "no",
    Outcome.FAILED: "no",
    Outcome.UNKNOWN: "no",
    Outcome.STILL_RUNNING: "no",
    Outcome.UNATTEMPTED: "no",
    Outcome.INVALID: "",
    Outcome.DUPLICATE: "",
    Outcome.PLANNED: "",
}


@pytest.mark.parametrize(("outcome", "answer"), PAUSE_TABLE.items())
@pytest.mark.parametrize("kind", [RunKind.PAUSE, RunKind.PAUSE_ALL])
def test_stopped_after_a_pause_is_the_table_of_the_design(
    outcome: Outcome, answer: str, kind: RunKind
) -> None:
    """Every outcome of a pause answers yes, no or nothing, and failed.csv holds the noes."""
    row = make_row(outcome)

    assert stopped(row, kind) == answer
    assert (row.outcome in UNSTOPPED) == (answer == "no")


@pytest.mark.parametrize(
    ("outcome", "state_after", "answer", "failed"),
    [
        (Outcome.RESTORED, "", "no", False),
        (Outcome.ALREADY_RUNNING, "started", "no", False),
        (Outcome.NOT_RUNNING, "completed", "yes", False),
        (Outcome.LEFT_ALONE, "suspended", "yes", False),
        (Outcome.LEFT_ALONE, "", "", False),
        (Outcome.FAILED, "suspended", "yes", True),
        (Outcome.FAILED, "", "", True),
        (Outcome.UNKNOWN, "started", "no", True),
        (Outcome.UNATTEMPTED, "", "", True),
        (Outcome.INVALID, "", "", False),
        (Outcome.DUPLICATE, "started", "", False),
        (Outcome.PLANNED, "suspended", "", False),
    ],
)
def test_stopped_after_a_restore_tells_the_truth(
    outcome: Outcome, state_after: str, answer: str, *, failed: bool
) -> None:
    """A campaign that a restore could not start is stopped, and is in failed.csv all the same."""
    row = make_row(outcome, state_after=state_after)

    assert stopped(row, RunKind.RESTORE) == answer
    assert (row.outcome in UNSTOPPED) == failed


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_a_success_a_failure_or_not_counted(outcome: Outcome) -> None:
    """A new outcome must be placed in exactly one of the three."""
    places = [outcome in SUCCESSES, outcome in UNSTOPPED, outcome in NOT_COUNTED]

    assert places.count(True) == 1


# -- tally ------------------------------------------------------------------------------------


@given(st.lists(ROWS, max_size=30))
def test_the_rows_add_up_however_they_are_counted(rows: list[ReportRow]) -> None:
    """Invariant 2: lines = sum of outcomes = sum over VDNs = rows read back from the file."""
    tally = tally_of(*rows)

    tally.check(len(rows))
    assert tally.counts == Counter(row["outcome"] for row in parse(render(rows)))
    assert sum(sum(counts.values()) for counts in tally.by_vdn.values()) == len(rows)
    assert tally.unstopped() == sum(row.outcome in UNSTOPPED for row in rows)


def test_rows_that_do_not_add_up_are_a_bug() -> None:
    """Three lines in, two rows out: said with both numbers, exit 70."""
    with pytest.raises(BugError, match="3 lines in, 2 rows out, 2 outcomes"):
        tally_of(paused=2).check(3)


def test_a_tally_that_contradicts_itself_is_a_bug() -> None:
    """As many rows as lines, but an outcome was counted twice."""
    tally = Tally(lines=2, counts=Counter({Outcome.PAUSED: 3}))

    with pytest.raises(BugError, match="2 rows out, 3 outcomes"):
        tally.check(2)


def test_lines_whose_vdn_is_none_share_one_key() -> None:
    """A million different unusable texts must not become a million keys."""
    tally = tally_of(
        make_row(Outcome.INVALID, vdn_id="=1"),
        make_row(Outcome.INVALID, vdn_id=""),
        make_row(vdn_id="7"),
        make_row(vdn_id="7"),
    )

    assert tally.by_vdn == {
        "invalid": Counter({Outcome.INVALID: 2}),
        "7": Counter({Outcome.PAUSED: 2}),
    }


def test_only_the_first_unstopped_rows_are_kept() -> None:
    """Of a million failures twenty are named, in the order of the list, accepted ones left out."""
    missing = [make_row(Outcome.NOT_FOUND, campaign_id=str(n)) for n in range(1, 31)]
    failed = [database_failure(campaign_id=str(n)) for n in range(31, 61)]
    tally = tally_of(make_row(), *missing, *failed)

    named = [row.campaign_id for row in tally.first_unstopped()]
    named_otherwise = [row.campaign_id for row in tally.first_unstopped({Outcome.NOT_FOUND})]

    assert named == [str(n) for n in range(1, 21)]
    assert named_otherwise == [str(n) for n in range(31, 51)]
    assert tally.unstopped({Outcome.NOT_FOUND}) == 30
    assert {len(kept) for kept in tally.first.values()} == {NAMED_UNSTOPPED}
    assert tally.reasons[Outcome.FAILED] == Counter({"database": 30})
