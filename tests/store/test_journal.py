"""What a run writes down: states before, intents, answers, outcomes. Virtual time, in memory."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.policy.decide import Changed, Decision, Evidence, Outcome
from orchestrator.store import InlineWriter, Intent, Journal, OutcomeRecord, check_whole
from tests.store.journal_makers import dump, line, make_journal, verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal of three campaigns; every row of it is whole at the end."""
    journal = Journal(InlineWriter(make_journal([line(one, 100 + one) for one in (1, 2, 3)])))
    yield journal
    await journal.read(lambda db: check_whole(db, tmp_path))
    await journal.close()


def observed(
    seq: int, status: Status | None = Status.STARTED, name: str = "spring"
) -> ObservedState:
    """A seen state of campaign `seq` of the plan."""
    return ObservedState(CampaignRef(1234, 100 + seq), status, name, "2025-01-01 08:00:00")


def intent(seq: int = 1, number: int = 1, *, before: Status | None = None) -> Intent:
    """An intent on campaign `seq` of the plan."""
    return Intent(seq, number, before, at_ms=1_000)


def outcome_record(
    outcome: Outcome = Outcome.PAUSED, *, seq: int = 1, standing: str = "stands", **more: Any
) -> OutcomeRecord:
    """An outcome of campaign `seq` of the plan."""
    decision = Decision(outcome, Evidence.ACCEPTED, Changed.YES)
    return OutcomeRecord(seq, CampaignRef(1234, 100 + seq), decision, standing, 1_090, **more)


async def rows_of(journal: Journal, table: str) -> list[Any]:
    """The rows of a table without their checksums."""
    found = await journal.read(dump)
    return [row[:-1] for row in found[table]]


# -- looks --------------------------------------------------------------------------------------


async def test_the_first_look_is_kept(journal: Journal) -> None:
    """The state before is what it was before, however often somebody looks."""
    await journal.saw([(1, observed(1)), (2, observed(2, None))], at_ms=10)
    await journal.saw([(1, observed(1, Status.SUSPENDED)), (2, observed(2))], at_ms=20)

    assert await rows_of(journal, "looks") == [
        (1, 2, "spring", "2025-01-01 08:00:00", 10),
        (2, None, "spring", "2025-01-01 08:00:00", 10),
    ]


@pytest.mark.parametrize("answered", [False, True])
async def test_a_look_after_an_intent_is_no_state_before(
    journal: Journal, *, answered: bool
) -> None:
    """What is seen after a PUT may have left is perhaps our own doing."""
    await journal.intend(intent())
    if answered:
        await journal.answered(intent(), verdict(Kind.SERVER_ERROR), sent_at_ms=1, answered_at_ms=2)

    await journal.saw([(1, observed(1, Status.SUSPENDED)), (2, observed(2))], at_ms=20)

    assert [row[0] for row in await rows_of(journal, "looks")] == [2]


async def test_a_look_after_an_intent_does_not_replace_the_one_before(journal: Journal) -> None:
    """Started before, suspended after our PUT: started is what undo goes by."""
    await journal.saw([(1, observed(1, Status.STARTED))], at_ms=10)
    await journal.intend(intent())
    await journal.saw([(1, observed(1, Status.SUSPENDED))], at_ms=20)

    assert await rows_of(journal, "looks") == [(1, 2, "spring", "2025-01-01 08:00:00", 10)]


async def test_a_look_after_an_intent_that_never_left_is_a_state_before(journal: Journal) -> None:
    """The server was down: nothing of ours has touched the campaign yet."""
    await journal.intend(intent())
    await journal.not_sent(intent(), verdict(Kind.UNREACHABLE))

    await journal.saw([(1, observed(1))], at_ms=20)

    assert [row[:2] for row in await rows_of(journal, "looks")] == [(1, 2)]


async def test_a_name_never_sets_a_state(journal: Journal) -> None:
    """Names come from the verification: too late for a state before, good enough for a report."""
    await journal.saw([(1, observed(1))], at_ms=10)

    await journal.named([(1, "other"), (2, "summer")])
    await journal.named([(2, "autumn")])

    assert await rows_of(journal, "looks") == [
        (1, 2, "spring", "2025-01-01 08:00:00", 10),
        (2, None, "summer", "", None),
    ]


async def test_a_name_does_not_stand_in_the_way_of_a_first_look(journal: Journal) -> None:
    """Named in one process, looked at in the next, and nothing sent in between."""
    await journal.named([(1, "spring")])

    await journal.saw([(1, observed(1))], at_ms=20)

    assert [row[:2] for row in await rows_of(journal, "looks")] == [(1, 2)]


# -- attempts and outcomes ----------------------------------------------------------------------


async def test_an_intent_is_one_row_from_beginning_to_end(journal: Journal) -> None:
    """Intended, then answered or not sent; the number keeps attempts apart."""
    first, second = intent(before=Status.STARTED), intent(number=2)
    await journal.intend(first)
    intended = await rows_of(journal, "attempts")
    await journal.answered(
        first, verdict(Kind.DATABASE_ERROR, "0200006"), sent_at_ms=1_001, answered_at_ms=1_080
    )
    await journal.intend(second)
    await journal.not_sent(second)

    told = "because of database_error"
    assert intended == [(1, 1, 1, 2, 1_000, "intended", *(None,) * 8)]
    assert await rows_of(journal, "attempts") == [
        (
            1,
            1,
            1,
            2,
            1_000,
            "answered",
            1_001,
            1_080,
            "database_error",
            1,
            "0200006",
            "",
            200,
            told,
        ),
        (1, 2, 1, None, 1_000, "not_sent", *(None,) * 8),
    ]


async def test_why_nothing_was_sent_is_kept(journal: Journal) -> None:
    """The report says "connection refused" of a campaign that got no PUT."""
    await journal.not_sent(intent(), verdict(Kind.UNREACHABLE, http_status=None))

    assert await rows_of(journal, "attempts") == [
        (1, 1, 1, None, 1_000, "not_sent", None, None, "unreachable", 0, "", "", None,
         "because of unreachable"),
    ]  # fmt: skip


async def test_the_last_outcome_counts(journal: Journal) -> None:
    """Provisional until verification: one row a campaign, with the process that wrote it."""
    await journal.settle(
        [outcome_record(), outcome_record(Outcome.FAILED, seq=2, standing="exhausted")]
    )
    journal.process = 2
    await journal.settle(
        [
            outcome_record(
                Outcome.STILL_RUNNING,
                state_after=Status.STARTED,
                seen_at_ms=1_080,
                may_start="yes",
                error="started again",
            )
        ]
    )

    assert await rows_of(journal, "outcomes") == [
        (1, 2, "still_running", "accepted", "yes", "stands", 2, 1_080, 1_090, "yes",
         "started again"),
        (2, 1, "failed", "accepted", "yes", "exhausted", None, None, 1_090, "", ""),
    ]  # fmt: skip


async def test_an_outcome_stands_no_longer_once_the_campaign_is_tried_again(
    journal: Journal,
) -> None:
    """Accepted, seen started, tried once more, killed: in doubt, not paused; row 2 is untouched."""
    await journal.settle(
        [outcome_record(), outcome_record(Outcome.FAILED, seq=2, standing="exhausted")]
    )
    await journal.intend(intent(number=2))
    await journal.intend(intent(2, number=2))

    assert await rows_of(journal, "outcomes") == [
        (1, 1, "unknown", "none", "maybe", "needs_state", None, None, 1_090, "", ""),
        (2, 1, "failed", "accepted", "yes", "exhausted", None, None, 1_090, "", ""),
    ]


# -- the rest -----------------------------------------------------------------------------------


async def test_lives_are_counted(journal: Journal) -> None:
    """Every process that works on a run is one more process, ended or not."""
    first = await journal.begin_life(started_at_ms=1, pid=11, host="a")
    second = await journal.begin_life(started_at_ms=2, pid=12, host="b")
    await journal.end_life(
        started_at_ms=2, ended_at_ms=3, ended="finished", pid=12, host="b",
        departures=7, worst_1s=5, busy_ms=900,
    )  # fmt: skip

    assert (first, second, journal.process) == (1, 2, 2)
    assert await rows_of(journal, "lives") == [
        (1, 1, None, None, 11, "a", 0, 0, 0),
        (2, 2, 3, "finished", 12, "b", 7, 5, 900),
    ]


async def test_discoveries_are_added_to_the_plan(journal: Journal) -> None:
    """A pause-all finds its list: places go on where the plan ends, with the state before."""
    places = await journal.discovered([observed(8), observed(9, None, "summer")], at_ms=10)
    more = await journal.discovered([observed(7)], at_ms=20)
    none = await journal.discovered([], at_ms=30)

    assert places == {CampaignRef(1234, 108): 4, CampaignRef(1234, 109): 5}
    assert (more, none) == ({CampaignRef(1234, 107): 6}, {})
    assert (await rows_of(journal, "plan"))[3:] == [
        (4, 4, 1234, 108, "", "", ""),
        (5, 5, 1234, 109, "", "", ""),
        (6, 6, 1234, 107, "", "", ""),
    ]
    assert await rows_of(journal, "looks") == [
        (4, 2, "spring", "2025-01-01 08:00:00", 10),
        (5, None, "summer", "2025-01-01 08:00:00", 10),
        (6, 2, "spring", "2025-01-01 08:00:00", 20),
    ]


async def test_sweeps_are_numbered_in_order(journal: Journal) -> None:
    """Which came first is the order of writing, not the wall clock."""
    await journal.swept((1234, 50, 60, 1, 0, 0, 0, 1, ""))
    await journal.swept((1234, 40, 45, 1, 3, None, 3, 0, "no totalSize"))

    assert await rows_of(journal, "sweeps") == [
        (1, 1234, 50, 60, 1, 0, 0, 0, 1, ""),
        (2, 1234, 40, 45, 1, 3, None, 3, 0, "no totalSize"),
    ]


async def test_facts_and_restores_are_noted(journal: Journal) -> None:
    """A fact is replaced by its newer self; a restore marks each campaign it touches."""
    await journal.note("why", "a")
    await journal.note("why", "b")
    await journal.mark_restored(1, run_id="r", state="intended", at_ms=5)
    await journal.mark_restored(1, run_id="r", state="restored", at_ms=6)

    assert await rows_of(journal, "meta") == [("facts", "{}"), ("why", "b")]
    assert await rows_of(journal, "restored") == [(1, "r", "restored", 6)]


async def test_a_failing_disk_is_known() -> None:
    """[P16] The journal says why it is not on the disk any more."""
    connection = make_journal([])
    journal = Journal(InlineWriter(connection, keep_going=True))
    before = journal.failure
    connection.execute("DROP TABLE meta")

    await journal.note("a", "b")

    assert before is None
    assert "meta" in str(journal.failure)
    await journal.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
