"""Reading the journal back: what is left to do, what is known, and the rows of the report."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.model import Action, CampaignRef, Status
from orchestrator.policy.decide import Changed, Evidence, History, Outcome
from orchestrator.policy.plan import Planned
from orchestrator.reports.rows import ReportRow, SweepRecord
from orchestrator.store import (
    Known,
    Life,
    Mark,
    VdnCount,
    all_vdn_shares,
    attempts_made,
    counts,
    doubtful_campaigns,
    first_seen_ms,
    has_exhausted,
    known_campaigns,
    known_of_vdn,
    pending_campaigns,
    pending_refs,
    processes,
    report_rows,
    restorable,
    restored_marks,
    sweep_records,
    undecided_campaigns,
    unlisted_campaigns,
    unverified,
    vdn_shares,
)
from orchestrator.store.queries import Restorable
from orchestrator.store.tables import put
from tests.store.journal_makers import bad_line, line, make_journal, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from sqlite3 import Connection

    from orchestrator.manifest.entry import ManifestLine


@dataclass
class Story:
    """A small journal, told campaign by campaign."""

    lines: list[ManifestLine]
    connection: Connection = field(init=False)

    def __post_init__(self) -> None:
        self.connection = make_journal(self.lines)

    def saw(self, seq: int, status: Status | None, *, at_ms: int | None = 10) -> None:
        """Somebody looked before the first PUT; or only the name is known."""
        put(self.connection, "looks", (seq, status and int(status), f"name {seq}", "", at_ms))

    def sent(
        self,
        seq: int,
        number: int = 1,
        *,
        kind: Kind | None = None,
        code: str = "",
        before: Status | None = None,
        process: int = 1,
        sent_at_ms: int | None = 1_001,
        http_status: int | None = 200,
    ) -> None:
        """An attempt; without a kind nobody heard of it again."""
        head = (seq, number, process, before and int(before), 1_000)
        if kind is None:
            put(self.connection, "attempts", (*head, "intended", *(None,) * 8))
            return
        one = verdict(kind, code, http_status=http_status)
        put(
            self.connection,
            "attempts",
            (*head, "answered", sent_at_ms, 1_080, kind.value, int(one.in_doubt), code, "desc",
             http_status, one.reason),
        )  # fmt: skip

    def not_sent(self, seq: int, number: int = 1, *, kind: Kind | None = None) -> None:
        """An intent whose PUT never left."""
        told: tuple[Any, ...] = (None,) * 6
        if kind is not None:
            told = (kind.value, 0, "", "", None, f"because of {kind.value}")
        put(
            self.connection,
            "attempts",
            (seq, number, 1, None, 1_000, "not_sent", None, None, *told),
        )

    def settled(
        self,
        seq: int,
        outcome: Outcome,
        *,
        evidence: Evidence = Evidence.NONE,
        changed: Changed = Changed.NO,
        standing: str = "stands",
        state_after: Status | None = None,
        seen_at_ms: int | None = None,
        process: int = 1,
        may_start: str = "",
        error: str = "",
    ) -> None:
        """An outcome on record."""
        put(
            self.connection,
            "outcomes",
            (seq, process, outcome.value, evidence.value, changed.value, standing,
             state_after and int(state_after), seen_at_ms, 1_090, may_start, error),
        )  # fmt: skip

    def rows(self, **options: Any) -> list[ReportRow]:
        """The report."""
        options = {"action": Action.PAUSE, "run_id": "r1"} | options
        return list(report_rows(self.connection, **options))

    def row(self, seq: int = 1, **options: Any) -> ReportRow:
        """One row of the report."""
        return self.rows(**options)[seq - 1]


@pytest.fixture
def story() -> Iterator[Story]:
    """Six lines: two VDNs, a duplicate, a bad line, and a campaign of the same id elsewhere."""
    told = Story(
        [
            line(2, 101),
            line(3, 102, vdn_id=9),
            line(4, 101),
            bad_line(5, "12e3"),
            line(6, 103),
            line(7, 101, vdn_id=9),
        ]
    )
    with closing(told.connection):
        yield told


def places(planned: list[Planned]) -> list[int]:
    """Where these stand in the plan."""
    return [one.seq for one in planned]


# -- what is left to do -------------------------------------------------------------------------


def test_what_is_pending_is_neither_bad_nor_repeated_nor_settled(story: Story) -> None:
    """In the order of the list, VDN by VDN, with what was seen before."""
    story.saw(1, Status.STARTED)

    assert pending_campaigns(story.connection, vdn_id=1234, after=0, limit=9) == [
        Planned(1, CampaignRef(1234, 101), Status.STARTED),
        Planned(5, CampaignRef(1234, 103), None),
    ]
    assert pending_campaigns(story.connection, vdn_id=9, after=0, limit=9) == [
        Planned(2, CampaignRef(9, 102), None),
        Planned(6, CampaignRef(9, 101), None),
    ]
    assert pending_campaigns(story.connection, vdn_id=8, after=0, limit=9) == []


@pytest.mark.parametrize(
    ("standing", "pending"),
    [("stands", [5]), ("needs_state", [5]), ("exhausted", [1, 5])],
)
def test_only_what_ran_out_of_attempts_is_pending_again(
    story: Story, standing: str, pending: list[int]
) -> None:
    """Settled is settled; what only a look can decide is not sent again blindly."""
    story.settled(1, Outcome.FAILED, standing=standing)

    assert places(pending_campaigns(story.connection, vdn_id=1234, after=0, limit=9)) == pending


def test_pending_campaigns_come_in_chunks(story: Story) -> None:
    """Each chunk begins after the last one; nothing twice, nothing left out."""
    taken: list[int] = []
    while chunk := pending_campaigns(
        story.connection, vdn_id=1234, after=taken[-1] if taken else 0, limit=1
    ):
        taken += places(chunk)

    assert taken == [1, 5]


@pytest.mark.parametrize("standing", ["needs_state", "exhausted"])
def test_undecided_campaigns_are_found_by_their_standing(story: Story, standing: str) -> None:
    """For the last round and for the verification; what stands is never undecided."""
    story.saw(5, Status.STARTED)
    story.settled(1, Outcome.PAUSED)
    for seq in (2, 5, 6):
        story.settled(seq, Outcome.UNKNOWN, standing=standing)

    def undecided(after: int, limit: int, wanted: str = standing) -> list[Planned]:
        return undecided_campaigns(story.connection, standing=wanted, after=after, limit=limit)

    assert undecided(0, 2) == [
        Planned(2, CampaignRef(9, 102), None),
        Planned(5, CampaignRef(1234, 103), Status.STARTED),
    ]
    assert places(undecided(5, 9)) == [6]
    assert undecided(0, 9, "stands") == []
    assert undecided(0, 9, "other") == []


def test_vdns_come_in_the_order_of_the_list(story: Story) -> None:
    """With what is left of each; a VDN that is through is not looked at again."""
    assert vdn_shares(story.connection) == [VdnCount(1234, 2), VdnCount(9, 2)]
    story.settled(1, Outcome.PAUSED)
    story.settled(5, Outcome.FAILED, standing="exhausted")
    story.settled(2, Outcome.PAUSED)
    story.settled(6, Outcome.PAUSED)

    assert vdn_shares(story.connection) == [VdnCount(1234, 1)]
    assert all_vdn_shares(story.connection) == [VdnCount(1234, 2), VdnCount(9, 2)]
    assert pending_refs(story.connection)[6] == CampaignRef(9, 101)


def test_attempts_are_numbered_on(story: Story) -> None:
    """The next attempt's number is one more than the last, sent or not, in any process."""
    story.sent(1, 1, kind=Kind.BROKEN)
    story.not_sent(1, 2)

    assert [attempts_made(story.connection, seq) for seq in (1, 2)] == [2, 0]


# -- what is known ------------------------------------------------------------------------------


def known(story: Story, seq: int = 1) -> Known:
    """What the journal knows of a campaign of VDN 1234."""
    found = known_campaigns(story.connection, vdn_id=1234, campaign_ids=[101, 103])
    return next(one for one in found if one.seq == seq)


def test_only_campaigns_of_the_plan_are_known(story: Story) -> None:
    """A listing shows others too; a duplicate is known by its first line."""
    found = known_campaigns(story.connection, vdn_id=1234, campaign_ids=[999, 103, 102, 101, 101])

    assert [(one.seq, one.ref) for one in found] == [
        (1, CampaignRef(1234, 101)),
        (5, CampaignRef(1234, 103)),
    ]
    assert found[0] == Known(1, CampaignRef(1234, 101), History(), None, Evidence.NONE, "", "")
    assert known_campaigns(story.connection, vdn_id=1234, campaign_ids=[]) == []


def test_the_whole_vdn_is_known_in_order(story: Story) -> None:
    """For a pause-all that goes on: all of its campaigns with what became of them."""
    story.settled(5, Outcome.PAUSED, evidence=Evidence.LISTED, process=3, error="e")

    last = known_of_vdn(story.connection, vdn_id=1234)[-1]

    assert last == Known(
        5,
        CampaignRef(1234, 103),
        History(),
        Outcome.PAUSED,
        Evidence.LISTED,
        "stands",
        "e",
        settled_at_ms=last.settled_at_ms,
    )
    assert last.settled_at_ms is not None


@pytest.mark.parametrize(
    ("tell", "history"),
    [
        # nothing of ours
        (lambda s: s.saw(1, Status.STARTED), History(before=Status.STARTED)),
        (lambda s: s.not_sent(1, kind=Kind.UNREACHABLE), History()),
        # an intent that nobody heard of again is in doubt
        (lambda s: s.sent(1), History(attempts=1, doubted=True)),
        # answers, definite and in doubt
        (lambda s: s.sent(1, kind=Kind.ACCEPTED),
         History(attempts=1, accepted=True, last=Kind.ACCEPTED)),
        (lambda s: s.sent(1, kind=Kind.WRONG_STATE), History(attempts=1, last=Kind.WRONG_STATE)),
        (lambda s: s.sent(1, kind=Kind.BROKEN),
         History(attempts=1, doubted=True, last=Kind.BROKEN)),
        # several: once in doubt stays so; the last answer is the last answer
        (lambda s: (s.sent(1, kind=Kind.DATABASE_ERROR), s.sent(1, 2, kind=Kind.WRONG_STATE)),
         History(attempts=2, doubted=True, last=Kind.WRONG_STATE)),
        (lambda s: (s.sent(1, kind=Kind.THROTTLED), s.not_sent(1, 2, kind=Kind.UNREACHABLE)),
         History(attempts=1, last=Kind.THROTTLED)),
        # an earlier process was killed with a PUT in flight
        (lambda s: (s.saw(1, Status.STARTED), s.sent(1),
                    s.sent(1, 2, kind=Kind.WRONG_STATE, process=2)),
         History(before=Status.STARTED, attempts=2, doubted=True, last=Kind.WRONG_STATE)),
        # the state just before the doubtful attempt is better than the first look
        (lambda s: (s.saw(1, None), s.sent(1, before=Status.STARTED)),
         History(before=Status.STARTED, attempts=1, doubted=True)),
        (lambda s: (s.saw(1, Status.SUSPENDED), s.sent(1, kind=Kind.ACCEPTED),
                    s.sent(1, 2, kind=Kind.BROKEN, before=Status.STARTED)),
         History(before=Status.STARTED, attempts=2, doubted=True, accepted=True, last=Kind.BROKEN)),
        (lambda s: (s.saw(1, Status.STARTED), s.sent(1, before=Status.SUSPENDED,
                                                     kind=Kind.WRONG_STATE)),
         History(before=Status.STARTED, attempts=1, last=Kind.WRONG_STATE)),
    ],
)  # fmt: skip
def test_a_history_is_what_left_or_may_have_left(story: Story, tell: Any, history: History) -> None:
    """Intents that never left do not count; those without an answer are in doubt."""
    tell(story)

    assert known(story).history == history


def test_what_a_listing_did_not_show_is_read_one_by_one(story: Story) -> None:
    """Whose outcome was not seen since; what a look cannot change is left alone."""
    story.settled(1, Outcome.PAUSED)
    story.settled(5, Outcome.PAUSED, seen_at_ms=100)
    story.settled(2, Outcome.PAUSED)

    def unlisted(seen_before_ms: int, after: int = 0, limit: int = 9) -> list[int]:
        found = unlisted_campaigns(
            story.connection, vdn_id=1234, seen_before_ms=seen_before_ms, after=after, limit=limit
        )
        return [one.seq for one in found]

    assert unlisted(100) == [1]
    assert unlisted(101) == [1, 5]
    assert unlisted(101, after=1) == [5]
    assert unlisted(101, limit=1) == [1]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_some_outcomes_are_not_read_again(story: Story, outcome: Outcome) -> None:
    """Not there, not allowed, never tried or on purpose: a read would show nothing new."""
    story.settled(1, outcome)

    found = unlisted_campaigns(story.connection, vdn_id=1234, seen_before_ms=1, after=0, limit=9)

    kept_out = {Outcome.NOT_FOUND, Outcome.DENIED, Outcome.UNATTEMPTED, Outcome.LEFT_ALONE}
    assert [one.seq for one in found] == ([] if outcome in kept_out else [1])


def test_what_can_be_restored_is_what_this_run_changed(story: Story) -> None:
    """Exact undo: changed = yes, and of what is inferred it is said."""
    story.settled(1, Outcome.PAUSED, evidence=Evidence.ACCEPTED, changed=Changed.YES)
    story.settled(2, Outcome.PAUSED, evidence=Evidence.INFERRED, changed=Changed.YES)
    story.settled(5, Outcome.ALREADY_PAUSED, evidence=Evidence.LISTED)
    story.settled(6, Outcome.UNKNOWN, changed=Changed.MAYBE)
    put(story.connection, "restored", (1, "r2", "restored", 5))

    assert restorable(story.connection) == [
        Restorable(1, CampaignRef(1234, 101), inferred=False),
        Restorable(2, CampaignRef(9, 102), inferred=True),
    ]
    assert restored_marks(story.connection) == {1: Mark("restored", "r2")}


def test_lives_sweeps_and_counts_are_read_back(story: Story) -> None:
    """In the order in which they were written."""
    put(story.connection, "lives", (2, 5, None, None, 12, "b", 0, 0, 0))
    put(story.connection, "lives", (1, 9, 10, "finished", 11, "a", 7, 5, 900))
    put(story.connection, "sweeps", (1, 9, 50, 60, 1, 2, None, 1, 0, "no totalSize"))
    story.settled(1, Outcome.PAUSED)
    story.settled(2, Outcome.PAUSED)
    story.settled(5, Outcome.FAILED)

    assert processes(story.connection) == [
        Life(1, 9, 10, "finished", 7, 5, 900),
        Life(2, 5, None, None, 0, 0, 0),
    ]
    assert sweep_records(story.connection) == (
        SweepRecord(9, 50, 60, 1, 2, None, 1, complete=False, problem="no totalSize"),
    )
    assert counts(story.connection) == {"paused": 2, "failed": 1}


# -- the report ---------------------------------------------------------------------------------


def test_there_is_one_row_per_line_in_the_order_of_the_list(story: Story) -> None:
    """Good, repeated and bad lines alike, each with its line."""
    told = [
        (row.line, row.vdn_id, row.campaign_id, row.outcome, row.duplicate_of, row.error)
        for row in story.rows()
    ]

    ended = "the run ended before this campaign was settled"
    assert told == [
        (2, "1234", "101", Outcome.UNATTEMPTED, None, ended),
        (3, "9", "102", Outcome.UNATTEMPTED, None, ended),
        (4, "1234", "101", Outcome.DUPLICATE, 2, "same as line 2"),
        (5, "1234", "12e3", Outcome.INVALID, None, "is not a campaign id"),
        (6, "1234", "103", Outcome.UNATTEMPTED, None, ended),
        (7, "9", "101", Outcome.UNATTEMPTED, None, ended),
    ]


def test_a_dry_run_plans_every_good_line(story: Story) -> None:
    """Planned, with the bad and the repeated lines as they are."""
    assert [row.outcome for row in story.rows(planned_only=True)] == [
        Outcome.PLANNED, Outcome.PLANNED, Outcome.DUPLICATE, Outcome.INVALID, Outcome.PLANNED,
        Outcome.PLANNED,
    ]  # fmt: skip


def test_a_row_tells_all_that_is_known(story: Story) -> None:
    """Two attempts, the last answer, the state before and after."""
    story.saw(1, Status.STARTED)
    story.sent(1, 1, kind=Kind.DATABASE_ERROR, code="0200006", sent_at_ms=1_001)
    story.not_sent(1, 2)
    story.sent(1, 3, kind=Kind.ACCEPTED, code="0200000", sent_at_ms=1_500)
    story.settled(
        1, Outcome.PAUSED, evidence=Evidence.LISTED, changed=Changed.YES,
        state_after=Status.SUSPENDED, seen_at_ms=2_000, may_start="no", error="e",
    )  # fmt: skip

    assert story.row() == ReportRow(
        vdn_id="1234",
        campaign_id="101",
        campaign_name="name 1",
        outcome=Outcome.PAUSED,
        evidence=Evidence.LISTED,
        changed=Changed.YES,
        may_start="no",
        state_before="started",
        state_after="suspended",
        state_seen_at_ms=2_000,
        attempts=2,
        result_code="0200000",
        result_name="success",
        result_desc="desc",
        http_status=200,
        first_sent_at_ms=1_001,
        settled_at_ms=1_090,
        line=2,
        duplicate_of=None,
        run_id="r1",
        error="e",
    )


def test_attempts_belong_to_their_own_row(story: Story) -> None:
    """Rows without any in between, and attempts that no row has."""
    put(story.connection, "attempts", (0, 1, 1, None, 1, "intended", *(None,) * 8))
    story.sent(2, kind=Kind.ACCEPTED)
    story.sent(5, 1, kind=Kind.BROKEN)
    story.sent(5, 2, kind=Kind.BROKEN)
    put(story.connection, "attempts", (99, 1, 1, None, 1, "intended", *(None,) * 8))

    assert [row.attempts for row in story.rows()] == [0, 1, 0, 0, 2, 0]


@pytest.mark.parametrize(
    ("looked_at_ms", "seen_at_ms", "shown"), [(10, None, 10), (10, 99, 99), (None, None, None)]
)
def test_the_state_was_seen_when_it_was_last_seen(
    story: Story, looked_at_ms: int | None, seen_at_ms: int | None, shown: int | None
) -> None:
    """After our attempts if anybody looked, else before."""
    story.saw(1, Status.STARTED, at_ms=looked_at_ms)
    story.settled(1, Outcome.PAUSED, seen_at_ms=seen_at_ms)

    assert story.row().state_seen_at_ms == shown


ENDED = "the run ended before this campaign was settled"
OPEN: list[tuple[Any, tuple[Outcome, Evidence, Changed, str]]] = [
    # killed with a PUT in flight
    (lambda s: s.sent(1), (Outcome.UNKNOWN, Evidence.NONE, Changed.MAYBE, ENDED)),
    # killed between an answer and its repeat
    (lambda s: s.sent(1, kind=Kind.DATABASE_ERROR),
     (Outcome.UNKNOWN, Evidence.NONE, Changed.MAYBE, f"{ENDED}; last: because of database_error")),
    (lambda s: s.sent(1, kind=Kind.THROTTLED),
     (Outcome.UNATTEMPTED, Evidence.NONE, Changed.NO, f"{ENDED}; last: because of throttled")),
    # the key was refused, and that ended the run
    (lambda s: s.sent(1, kind=Kind.UNAUTHORIZED),
     (Outcome.DENIED, Evidence.NONE, Changed.NO, f"{ENDED}; last: because of unauthorized")),
    # only a look could have decided it
    (lambda s: s.sent(1, kind=Kind.WRONG_STATE),
     (Outcome.UNKNOWN, Evidence.NONE, Changed.MAYBE, f"{ENDED}; last: because of wrong_state")),
    # nothing ever left
    (lambda s: s.not_sent(1, kind=Kind.UNREACHABLE),
     (Outcome.UNATTEMPTED, Evidence.NONE, Changed.NO, f"{ENDED}; last: because of unreachable")),
    (lambda s: s.not_sent(1), (Outcome.UNATTEMPTED, Evidence.NONE, Changed.NO, ENDED)),
    (lambda s: s.saw(1, Status.STARTED), (Outcome.UNATTEMPTED, Evidence.NONE, Changed.NO, ENDED)),
    # it needed nothing
    (lambda s: s.saw(1, Status.SUSPENDED),
     (Outcome.ALREADY_PAUSED, Evidence.LISTED, Changed.NO, "")),
    # accepted, and killed before that was put on record as an outcome
    (lambda s: s.sent(1, kind=Kind.ACCEPTED), (Outcome.PAUSED, Evidence.ACCEPTED, Changed.YES, "")),
]  # fmt: skip


@pytest.mark.parametrize(("tell", "ending"), OPEN)
def test_without_an_outcome_a_row_says_what_its_history_supports(
    story: Story, tell: Any, ending: tuple[Outcome, Evidence, Changed, str]
) -> None:
    """[P03][P04] Killed anywhere: no better than what is on record, and unknown is not failed."""
    tell(story)

    row = story.row()

    assert (row.outcome, row.evidence, row.changed, row.error) == ending


def test_a_restore_is_read_as_a_restore(story: Story) -> None:
    """The same history, the other way round."""
    story.sent(1, kind=Kind.ACCEPTED)
    story.saw(5, Status.STARTED)

    rows = story.rows(action=Action.RESUME)

    assert (rows[0].outcome, rows[4].outcome) == (Outcome.RESTORED, Outcome.ALREADY_RUNNING)


def test_rows_are_streamed(story: Story) -> None:
    """The first row does not wait for the last."""
    rows = report_rows(story.connection, action=Action.PAUSE, run_id="r1")

    assert next(rows).line == 2
    assert next(rows).line == 3


# -- what a later look still owes --------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "standing", "counted"),
    [
        (Outcome.PAUSED, "unchecked", 1),
        (Outcome.ALREADY_PAUSED, "unchecked", 1),
        (Outcome.RESTORED, "unchecked", 1),
        (Outcome.PAUSED, "stands", 0),
        (Outcome.UNKNOWN, "needs_state", 0),
        (Outcome.FAILED, "unchecked", 0),
    ],
)
def test_what_counts_as_done_and_was_not_checked_is_unverified(
    story: Story, outcome: Outcome, standing: str, counted: int
) -> None:
    """A check that failed is not a check that passed."""
    story.settled(1, outcome, standing=standing)

    assert unverified(story.connection) == counted


@pytest.mark.parametrize(
    ("tell", "in_doubt"),
    [
        (lambda s: s.settled(1, Outcome.UNKNOWN, standing="needs_state"), True),
        (lambda s: s.sent(1), True),
        (lambda s: s.sent(1, kind=Kind.BROKEN), True),
        (lambda s: s.sent(1, kind=Kind.WRONG_STATE), True),
        (lambda s: s.sent(1, kind=Kind.THROTTLED), False),
        (lambda s: s.not_sent(1, kind=Kind.UNREACHABLE), False),
        (lambda s: (s.sent(1), s.settled(1, Outcome.PAUSED)), False),
        (lambda s: s.settled(1, Outcome.PAUSED, standing="unchecked"), False),
        (lambda s: s.saw(1, Status.STARTED), False),
    ],
)
def test_doubts_are_what_only_a_look_can_decide(story: Story, tell: Any, *, in_doubt: bool) -> None:
    """However a run ends, these are looked at before the report."""
    tell(story)

    assert [one.seq for one in doubtful_campaigns(story.connection)] == [1] * in_doubt


def test_a_campaign_knows_when_it_was_accepted_and_which_processes_left_it_in_doubt(
    story: Story,
) -> None:
    """The look before, the last acceptance, and the processes with a PUT that may have arrived."""
    story.saw(1, Status.STARTED, at_ms=10)
    story.sent(1, kind=Kind.ACCEPTED)
    story.sent(1, 2, process=2)
    story.sent(1, 3, kind=Kind.BROKEN, process=3)

    one = known(story)

    assert (one.looked_at_ms, one.accepted_at_ms, one.tried_life) == (10, 1_080, 3)
    assert one.doubted_lives == frozenset({2, 3})
    assert (one.outcome, one.standing, one.settled_at_ms) == (None, "", None)


def test_the_second_listing_is_counted_from_the_last_look_that_needs_it(story: Story) -> None:
    """Two listings a gap apart: what stands, or was accepted, waits for none."""
    assert first_seen_ms(story.connection, vdn_id=1234) is None
    story.settled(1, Outcome.ALREADY_PAUSED, standing="unchecked", seen_at_ms=500)
    story.settled(5, Outcome.PAUSED, standing="unchecked", seen_at_ms=900)
    story.settled(2, Outcome.ALREADY_PAUSED, standing="unchecked", seen_at_ms=700)

    assert first_seen_ms(story.connection, vdn_id=1234) == 500
    assert first_seen_ms(story.connection, vdn_id=9) == 700
    story.sent(1, kind=Kind.ACCEPTED)
    assert first_seen_ms(story.connection, vdn_id=1234) is None


def test_one_more_attempt_is_known_vdn_by_vdn(story: Story) -> None:
    """The verification of a VDN waits for its own exhausted campaigns, not for another's."""
    story.settled(1, Outcome.FAILED, standing="exhausted")
    story.settled(2, Outcome.FAILED)

    assert has_exhausted(story.connection, vdn_id=1234)
    assert not has_exhausted(story.connection, vdn_id=9)
