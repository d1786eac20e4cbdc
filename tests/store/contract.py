"""What every store promises the engine, whatever keeps it: in records, out records, no SQL.

IMPLEMENTATIONS names the stores; each test here runs against all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.manifest.entry import ManifestLine
from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.policy.decide import Changed, Decision, Evidence, History, Outcome
from orchestrator.policy.plan import Planned
from orchestrator.reports.rows import ReportRow, RunKind, SweepRecord
from orchestrator.reports.summary import CallCount, CallsRecord, Ended, VdnProof
from orchestrator.store import (
    Intent,
    Known,
    OutcomeRecord,
    PlanWriter,
    ProcessRecord,
    Restorable,
    RunRecord,
    Standing,
    Store,
    VdnCount,
)
from orchestrator.store.chunks import claim
from orchestrator.store.database import connect
from orchestrator.store.postgres import add_run, open_part
from orchestrator.store.writer import InlineWriter, Keeper
from tests import postgres
from tests.store.journal_makers import bad_line, line, run_record, verdict

#: two VDNs, a duplicate, a bad line, and a campaign of the same id elsewhere
LINES = [line(2, 101), line(3, 102, vdn_id=9), line(4, 101), bad_line(5, "12e3"), line(6, 103),
         line(7, 101, vdn_id=9)]  # fmt: skip
REFS = {1: CampaignRef(1234, 101), 2: CampaignRef(9, 102), 5: CampaignRef(1234, 103),
        6: CampaignRef(9, 101)}  # fmt: skip
SUSPENDED, STARTED = Status.SUSPENDED, Status.STARTED
ENDED = "the run ended before this campaign was settled"


def on_disk(path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """SQLite in a file, written in groups by a thread."""
    plan = PlanWriter(path)
    plan.take(lines)
    return plan.finish(record).start(keep_going=False)


def in_memory(_path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """SQLite in memory, inline."""
    plan = PlanWriter(None)
    plan.take(lines)
    return Store(InlineWriter(Keeper(plan.finish(record).connection, None)))


def in_postgres(_path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """PostgreSQL, a whole run."""
    url = postgres.shared().database
    plan = PlanWriter(None)
    plan.take(lines)
    with closing(plan.finish(record)) as journal, connect(url) as connection:
        # each test begins the same run: the one of the test before is forgotten
        connection.execute("DELETE FROM orchestrator.run")
        run = add_run(url, journal, chunk_size=2, emergency=False)
        part = claim(connection, run, 0, holder="contract")
    assert part is not None
    return open_part(url, part).start(keep_going=False)


IMPLEMENTATIONS = [
    # a thread of its own is nothing that virtual time knows of
    pytest.param(on_disk, id="on disk", marks=pytest.mark.sockets),
    pytest.param(in_memory, id="in memory"),
    pytest.param(in_postgres, id="in PostgreSQL", marks=pytest.mark.sockets),
]


@dataclass
class Story:
    """A small run, told campaign by campaign through its store."""

    store: Store

    async def told(self, *steps: Coroutine[Any, Any, None]) -> None:
        """One after the other."""
        for step in steps:
            await step

    async def saw(self, seq: int, status: Status | None = STARTED, *, at_ms: int = 10) -> None:
        """Somebody looked."""
        seen = ObservedState(REFS[seq], status, f"name {seq}", "2025-01-01 08:00:00")
        await self.store.saw([(seq, seen)], at_ms=at_ms)

    async def sent(
        self,
        seq: int,
        number: int = 1,
        kind: Kind | None = None,
        *,
        code: str = "",
        before: Status | None = None,
        decides: OutcomeRecord | None = None,
    ) -> None:
        """An attempt; without a kind nobody heard of it again."""
        intent = Intent(seq, number, before, at_ms=1_000)
        await self.store.record_intent(intent)
        if kind is not None:
            await self.store.record_answer(
                intent,
                verdict(kind, code),
                sent_at_ms=1_000 + number,
                answered_at_ms=1_080,
                outcome_record=decides,
            )

    async def not_sent(self, seq: int, number: int = 1, kind: Kind | None = None) -> None:
        """An intent whose PUT never left."""
        intent = Intent(seq, number, None, at_ms=1_000)
        await self.store.record_intent(intent)
        await self.store.not_sent(intent, verdict(kind, http_status=None) if kind else None)

    async def completed(self, *args: Any, **more: Any) -> None:
        """An outcome."""
        await self.store.complete([outcome_record(*args, **more)])

    async def next_process(self) -> int:
        """Another process goes on with the run."""
        return await self.store.begin_process(ProcessRecord(1, 11, "a"))

    async def pending(self, vdn_id: int = 1234, after: int = 0, limit: int = 9) -> list[Planned]:
        """What is left to do in a VDN."""
        return await self.store.pending(vdn_id=vdn_id, after=after, limit=limit)

    async def undecided(self, standing: Standing, after: int = 0, limit: int = 9) -> list[int]:
        """The places of what has this standing."""
        return places(await self.store.undecided(standing, after=after, limit=limit))

    async def known(self, seq: int = 1) -> Known:
        """All that is known of one campaign."""
        ref = REFS[seq]
        (found,) = await self.store.known(vdn_id=ref.vdn_id, campaign_ids=[ref.campaign_id])
        return found

    async def rows(self) -> list[ReportRow]:
        """The report."""
        return await self.store.read(lambda saved: list(saved.rows()))

    async def row(self, seq: int = 1) -> ReportRow:
        """One row of the report."""
        return (await self.rows())[seq - 1]


def outcome_record(
    seq: int,
    outcome: Outcome,
    standing: Standing = Standing.FINAL,
    *,
    evidence: Evidence = Evidence.NONE,
    changed: Changed = Changed.NO,
    at_ms: int = 1_090,
    **more: Any,
) -> OutcomeRecord:
    """One outcome."""
    decision = Decision(outcome, evidence, changed)
    return OutcomeRecord(seq, REFS[seq], decision, standing, at_ms, **more)


def places(found: list[Planned]) -> list[int]:
    """Where these stand in the plan."""
    return [one.seq for one in found]


@pytest.fixture(params=IMPLEMENTATIONS)
async def begin(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[Callable[[RunRecord], Store]]:
    """Begins a run of those lines; everything in it is whole at the end."""
    made: list[Store] = []

    def begin_run(record: RunRecord) -> Store:
        made.append(request.param(tmp_path / "journal.db", LINES, record))
        return made[-1]

    yield begin_run
    for store in made:
        await store.close()


@pytest.fixture
def story(begin: Callable[[RunRecord], Store]) -> Story:
    """A pause of those lines."""
    return Story(begin(run_record()))


# -- states before --------------------------------------------------------------------------------


async def test_the_first_look_is_kept(story: Story) -> None:
    """Started at 10, suspended at 20: the state before is what it was before."""
    await story.told(story.saw(1), story.saw(1, SUSPENDED, at_ms=20))

    row = await story.row()

    assert (row.state_before, row.state_seen_at_ms, row.campaign_name) == ("started", 10, "name 1")


@pytest.mark.parametrize("answer", [None, Kind.SERVER_ERROR])
async def test_a_look_after_an_intent_is_no_state_before(story: Story, answer: Kind | None) -> None:
    """What is seen after a PUT may have left is perhaps our own doing; undo goes by the first."""
    await story.told(story.saw(5), story.sent(1, 1, answer), story.sent(5, 1, answer))
    await story.told(story.saw(1, SUSPENDED, at_ms=20), story.saw(5, SUSPENDED, at_ms=20))

    assert [(await story.row(seq)).state_before for seq in (1, 5)] == ["", "started"]


async def test_a_look_after_an_intent_that_never_left_is_a_state_before(story: Story) -> None:
    """The server was down: nothing of ours has touched the campaign yet."""
    await story.told(story.not_sent(1, kind=Kind.UNREACHABLE), story.saw(1))

    assert (await story.row()).state_before == "started"


async def test_a_name_never_sets_a_state_and_never_hides_one(story: Story) -> None:
    """Names come late: a look that has been keeps its name, one that comes is the state before."""
    await story.saw(1)
    await story.store.named([(1, "other"), (2, "summer")])
    await story.store.named([(2, "autumn")])
    named = [await story.row(seq) for seq in (1, 2)]
    await story.saw(2)

    assert [(row.campaign_name, row.state_before) for row in named] == [
        ("name 1", "started"),
        ("summer", ""),
    ]
    assert [(await story.known(seq)).named for seq in (1, 2, 5)] == [True, True, False]
    assert (await story.row(2)).state_before == "started"


# -- attempts and outcomes ------------------------------------------------------------------------

HISTORIES: list[tuple[Any, History]] = [
    # nothing of ours
    (lambda s: s.saw(1), History(before=STARTED)),
    (lambda s: s.not_sent(1, kind=Kind.UNREACHABLE), History()),
    # an intent that nobody heard of again is in doubt
    (lambda s: s.sent(1), History(attempts=1, doubted=True)),
    # answers, definite and in doubt
    (lambda s: s.sent(1, 1, Kind.ACCEPTED), History(attempts=1, accepted=True, last=Kind.ACCEPTED)),
    (lambda s: s.sent(1, 1, Kind.WRONG_STATE), History(attempts=1, last=Kind.WRONG_STATE)),
    (lambda s: s.sent(1, 1, Kind.BROKEN), History(attempts=1, doubted=True, last=Kind.BROKEN)),
    # several: once in doubt stays so; the last answer is the last answer
    (lambda s: s.told(s.sent(1, 1, Kind.DATABASE_ERROR), s.sent(1, 2, Kind.WRONG_STATE)),
     History(attempts=2, doubted=True, last=Kind.WRONG_STATE)),
    (lambda s: s.told(s.sent(1, 1, Kind.THROTTLED), s.not_sent(1, 2, Kind.UNREACHABLE)),
     History(attempts=1, last=Kind.THROTTLED)),
    # an earlier process was killed with a PUT in flight
    (lambda s: s.told(s.saw(1), s.sent(1), s.sent(1, 2, Kind.WRONG_STATE)),
     History(before=STARTED, attempts=2, doubted=True, last=Kind.WRONG_STATE)),
    # the state just before the doubtful attempt is better than the first look
    (lambda s: s.told(s.saw(1, None), s.sent(1, before=STARTED)),
     History(before=STARTED, attempts=1, doubted=True)),
    (lambda s: s.told(s.saw(1, SUSPENDED), s.sent(1, 1, Kind.ACCEPTED),
                      s.sent(1, 2, Kind.BROKEN, before=STARTED)),
     History(before=STARTED, attempts=2, doubted=True, accepted=True, last=Kind.BROKEN)),
    (lambda s: s.told(s.saw(1), s.sent(1, 1, Kind.WRONG_STATE, before=SUSPENDED)),
     History(before=STARTED, attempts=1, last=Kind.WRONG_STATE)),
]  # fmt: skip


@pytest.mark.parametrize(("tell", "history"), HISTORIES)
async def test_a_history_is_what_left_or_may_have_left(
    story: Story, tell: Any, history: History
) -> None:
    """Intents that never left do not count; those without an answer are in doubt."""
    await tell(story)

    assert (await story.known()).history == history


async def test_attempts_are_numbered_on(story: Story) -> None:
    """The next attempt's number is one more than the last, sent or not, in any process."""
    await story.told(story.sent(1, 1, Kind.BROKEN), story.not_sent(1, 2))

    assert [await story.store.attempts_made(seq) for seq in (1, 2)] == [2, 0]


async def test_an_answer_and_its_outcome_are_on_record_together(story: Story) -> None:
    """Accepted, and with that paused."""
    done = outcome_record(1, Outcome.PAUSED, evidence=Evidence.ACCEPTED, changed=Changed.YES)
    await story.sent(1, 1, Kind.ACCEPTED, decides=done)

    known = await story.known()

    assert (known.history.accepted, known.outcome, known.standing) == (
        True,
        Outcome.PAUSED,
        Standing.FINAL,
    )


async def test_the_last_outcome_counts(story: Story) -> None:
    """Paused, then seen started again: one outcome a campaign."""
    await story.completed(1, Outcome.PAUSED, changed=Changed.YES)
    await story.completed(
        1, Outcome.STILL_RUNNING, evidence=Evidence.ACCEPTED, changed=Changed.YES,
        state_after=STARTED, seen_at_ms=1_080, may_start="yes", error="started again",
    )  # fmt: skip

    row = await story.row()

    assert (row.outcome, row.evidence, row.state_after, row.state_seen_at_ms) == (
        Outcome.STILL_RUNNING, Evidence.ACCEPTED, "started", 1_080,
    )  # fmt: skip
    assert (row.may_start, row.error) == ("yes", "started again")
    assert await story.store.read(lambda saved: saved.counts()) == {"still_running": 1}


@pytest.mark.parametrize("standing", [Standing.FINAL, Standing.UNCHECKED])
async def test_an_outcome_is_final_no_longer_once_the_campaign_is_tried_again(
    story: Story, standing: Standing
) -> None:
    """Accepted, seen started, tried once more, killed: in doubt, not paused; 2 keeps its own."""
    await story.completed(1, Outcome.PAUSED, standing, changed=Changed.YES)
    await story.completed(2, Outcome.FAILED, Standing.RETRY_LATER)
    await story.told(story.sent(1, 2), story.sent(2, 2))

    one, two = await story.known(1), await story.known(2)

    assert (one.outcome, one.standing) == (Outcome.UNKNOWN, Standing.NEEDS_READ)
    assert (two.outcome, two.standing) == (Outcome.FAILED, Standing.RETRY_LATER)
    assert (await story.row()).changed is Changed.MAYBE


# -- what is left to do ---------------------------------------------------------------------------


async def test_what_is_pending_is_neither_bad_nor_repeated_nor_settled(story: Story) -> None:
    """In the order of the list, VDN by VDN, with what was seen before; in chunks of any size."""
    await story.saw(1)

    assert await story.pending() == [Planned(1, REFS[1], STARTED), Planned(5, REFS[5], None)]
    assert places(await story.pending(9)) == [2, 6]
    assert await story.pending(8) == []
    assert places(await story.pending(limit=1)) == [1]
    assert places(await story.pending(after=1, limit=1)) == [5]


@pytest.mark.parametrize("standing", list(Standing))
async def test_only_what_is_to_be_tried_again_is_pending_again(
    story: Story, standing: Standing
) -> None:
    """Settled is settled; what only a look can decide is not sent again blindly."""
    await story.completed(1, Outcome.FAILED, standing)

    again = [1] if standing is Standing.RETRY_LATER else []
    assert places(await story.pending()) == [*again, 5]


@pytest.mark.parametrize("standing", list(Standing))
async def test_undecided_campaigns_are_found_by_their_standing(
    story: Story, standing: Standing
) -> None:
    """For the last round and for the verification; what is final is never undecided."""
    await story.saw(5)
    await story.completed(1, Outcome.PAUSED)
    for seq in (2, 5, 6):
        await story.completed(seq, Outcome.UNKNOWN, standing)

    wanted = [] if standing is Standing.FINAL else [2, 5, 6]
    assert await story.undecided(standing) == wanted
    assert await story.undecided(standing, limit=2) == wanted[:2]
    assert await story.undecided(standing, after=5) == wanted[2:]
    befores = [one.before for one in await story.store.undecided(standing, after=2, limit=1)]
    assert befores == [STARTED] * bool(wanted)


async def test_vdns_come_in_the_order_of_the_list(story: Story) -> None:
    """With what is left of each; a VDN that is through is not looked at again."""
    everything = [VdnCount(1234, 2), VdnCount(9, 2)]
    assert await story.store.open_vdn_counts() == everything
    await story.completed(5, Outcome.FAILED, Standing.RETRY_LATER)
    for seq in (1, 2, 6):
        await story.completed(seq, Outcome.PAUSED)

    assert await story.store.open_vdn_counts() == [VdnCount(1234, 1)]
    assert await story.store.vdn_counts() == everything


async def test_one_more_attempt_is_known_vdn_by_vdn(story: Story) -> None:
    """The verification of a VDN waits for its own last attempts, not for another's."""
    await story.completed(1, Outcome.FAILED, Standing.RETRY_LATER)
    await story.completed(2, Outcome.FAILED)

    assert [await story.store.has_retries(vdn_id) for vdn_id in (1234, 9)] == [True, False]


# -- what is known --------------------------------------------------------------------------------


async def test_only_campaigns_of_the_plan_are_known(story: Story) -> None:
    """A listing shows others too; a duplicate is known by its first line."""
    found = await story.store.known(vdn_id=1234, campaign_ids=[999, 103, 102, 101, 101])

    assert found == [Known(1, REFS[1], History()), Known(5, REFS[5], History())]
    assert await story.store.known(vdn_id=1234, campaign_ids=[]) == []


async def test_the_whole_vdn_is_known_in_order(story: Story) -> None:
    """For a pause-all that goes on: all of its campaigns with what became of them."""
    await story.completed(5, Outcome.PAUSED, evidence=Evidence.LISTED, error="e")

    assert (await story.store.known_of_vdn(1234))[-1] == Known(
        5, REFS[5], History(), Outcome.PAUSED, Evidence.LISTED, Standing.FINAL, "e",
        settled_at_ms=1_090,
    )  # fmt: skip


async def test_it_is_known_when_it_was_accepted_and_which_processes_left_it_in_doubt(
    story: Story,
) -> None:
    """The last acceptance, and the processes with a PUT that may have arrived."""
    await story.told(story.saw(1), story.sent(1, 1, Kind.ACCEPTED))
    numbers = [await story.next_process(), await story.next_process()]
    await story.sent(1, 2)
    numbers.append(await story.next_process())
    await story.sent(1, 3, Kind.BROKEN)

    one = await story.known()

    assert (numbers, story.store.process) == ([1, 2, 3], 3)
    assert (one.accepted_at_ms, one.tried_by) == (1_080, 3)
    assert one.doubted_by == frozenset({2, 3})
    assert (one.outcome, one.standing, one.settled_at_ms) == (None, None, None)


async def test_what_a_listing_did_not_show_is_read_one_by_one(story: Story) -> None:
    """Whose outcome was not seen since; in chunks."""
    await story.completed(1, Outcome.PAUSED)
    await story.completed(5, Outcome.PAUSED, seen_at_ms=100)
    await story.completed(2, Outcome.PAUSED)

    async def unlisted(seen_before_ms: int, after: int = 0, limit: int = 9) -> list[int]:
        found = await story.store.unlisted(
            vdn_id=1234, seen_before_ms=seen_before_ms, after=after, limit=limit
        )
        return [one.seq for one in found]

    assert await unlisted(100) == [1]
    assert await unlisted(101) == [1, 5]
    assert await unlisted(101, after=1) == [5]
    assert await unlisted(101, limit=1) == [1]


@pytest.mark.parametrize("outcome", list(Outcome))
async def test_some_outcomes_are_not_read_again(story: Story, outcome: Outcome) -> None:
    """Not there, not allowed, never tried or on purpose: a read would show nothing new."""
    await story.completed(1, outcome)

    found = await story.store.unlisted(vdn_id=1234, seen_before_ms=1, after=0, limit=9)

    kept_out = {Outcome.NOT_FOUND, Outcome.DENIED, Outcome.UNATTEMPTED, Outcome.LEFT_ALONE}
    assert [one.seq for one in found] == ([] if outcome in kept_out else [1])


async def test_the_second_listing_is_counted_from_the_last_look_that_needs_it(story: Story) -> None:
    """Two listings a gap apart: what is final, or was accepted, waits for none."""
    assert await story.store.first_seen_ms(1234) is None
    for seq, outcome, seen_at_ms in (
        (1, Outcome.ALREADY_PAUSED, 500),
        (5, Outcome.PAUSED, 900),
        (2, Outcome.ALREADY_PAUSED, 700),
    ):
        await story.completed(seq, outcome, Standing.UNCHECKED, seen_at_ms=seen_at_ms)

    assert [await story.store.first_seen_ms(vdn_id) for vdn_id in (1234, 9)] == [500, 700]
    await story.sent(1, 1, Kind.ACCEPTED)
    assert await story.store.first_seen_ms(1234) is None
    await story.completed(1, Outcome.STILL_RUNNING, Standing.UNCHECKED, seen_at_ms=950)
    assert await story.store.first_seen_ms(1234) == 950


async def test_what_counts_as_done_and_was_not_checked_is_unverified(story: Story) -> None:
    """A check that failed is not a check that passed."""
    for seq, outcome, standing in (
        (1, Outcome.PAUSED, Standing.UNCHECKED),
        (2, Outcome.ALREADY_PAUSED, Standing.UNCHECKED),
        (5, Outcome.FAILED, Standing.UNCHECKED),
        (6, Outcome.UNKNOWN, Standing.NEEDS_READ),
    ):
        await story.completed(seq, outcome, standing)

    assert await story.store.read(lambda saved: saved.unverified()) == 2
    await story.completed(1, Outcome.PAUSED, Standing.FINAL)
    assert await story.store.read(lambda saved: saved.unverified()) == 1


# -- undo -----------------------------------------------------------------------------------------


async def test_what_can_be_restored_is_what_this_run_changed(story: Story) -> None:
    """Exact undo: changed = yes, and of what is inferred it is said; with the name, if seen."""
    yes = Changed.YES
    await story.completed(1, Outcome.PAUSED, evidence=Evidence.ACCEPTED, changed=yes)
    await story.completed(2, Outcome.PAUSED, evidence=Evidence.INFERRED, changed=yes)
    await story.completed(5, Outcome.ALREADY_PAUSED, evidence=Evidence.LISTED)
    await story.completed(6, Outcome.UNKNOWN, changed=Changed.MAYBE)
    await story.store.named([(2, "spring")])

    assert await story.store.read(lambda saved: saved.restorable()) == [
        Restorable(1, REFS[1], inferred=False),
        Restorable(2, REFS[2], inferred=True, name="spring"),
    ]
    assert await story.store.read(lambda saved: saved.marks()) == {}


async def test_a_plan_names_its_vdns(story: Story) -> None:
    """Each once, in order; a bad line has none."""
    assert await story.store.read(lambda saved: saved.vdns()) == (9, 1234)


# -- the run as a whole ---------------------------------------------------------------------------


async def test_every_process_is_on_record(story: Story) -> None:
    """One that was killed and one that ended, with what it noted; the highest rate stays."""
    killed = ProcessRecord(1, 11, "a")
    going = ProcessRecord(2, 12, "b")
    await story.store.begin_process(killed)
    await story.store.note(highest_rate_per_s=50.0, held_s=1.5)
    assert await story.store.begin_process(going) == 2
    ended = going._replace(
        ended_at_ms=3, ended=Ended.FINISHED, departures=7, worst_1s=5, busy_ms=900
    )
    await story.store.end_process(
        ended, why="w", recoveries={"millis": True}, lag_s=0.25, highest_rate_per_s=20.0
    )

    assert await story.store.read(lambda saved: saved.processes()) == [killed, ended]
    record = await story.store.read(lambda saved: saved.record())
    assert (record.why, record.recoveries, record.lag_s) == ("w", {"millis": True}, 0.25)
    assert (record.highest_rate_per_s, record.held_s, record.verdict) == (50.0, 1.5, "")


async def test_a_run_is_read_as_it_was_written(begin: Callable[[RunRecord], Store]) -> None:
    """Every fact and every note of a run, newest notes last."""
    proofs = (VdnProof(9, quiet_since_ms=5, longest_gap_s=0.5), VdnProof(8, problem="p"))
    record = run_record(
        kind=RunKind.PAUSE_ALL, accept=frozenset({Outcome.NOT_FOUND}), vdns=(9, 8), hold_s=20.0,
        parent_run="p", source_run="r", source_dir="d", source_written_ms=7,
        max_failures=(5.0, True),
    )  # fmt: skip
    store = begin(record)
    begun = await store.read(lambda saved: saved.record())
    await store.note(verdict="a", proofs=())
    calls = CallsRecord((CallCount(5, 9, 41), CallCount(7, 9, 0)), 7, 60, 1, "p", (6000,))
    await store.note(verdict="b", proofs=proofs, calls=calls)

    assert begun == record._replace(
        proofs=(VdnProof(9), VdnProof(8)), highest_rate_per_s=record.rate_per_s
    )
    assert await store.read(lambda saved: saved.record()) == begun._replace(
        verdict="b", proofs=proofs, calls=calls
    )


async def test_discoveries_are_added_to_the_plan(story: Story) -> None:
    """A pause-all finds its list: places go on where the plan ends, with the state before."""
    first, second, third = (CampaignRef(1234, 100 + number) for number in (8, 9, 7))
    seen = [ObservedState(first, STARTED, "a", ""), ObservedState(second, None, "b", "")]
    found = await story.store.discovered(seen, at_ms=10)
    more = await story.store.discovered([ObservedState(third, STARTED, "c", "")], at_ms=20)

    assert (found, more) == ({first: 7, second: 8}, {third: 9})
    assert await story.store.discovered([], at_ms=30) == {}
    assert (await story.pending(after=6)) == [
        Planned(7, first, STARTED),
        Planned(8, second, None),
        Planned(9, third, STARTED),
    ]
    assert [(row.campaign_name, row.state_seen_at_ms) for row in (await story.rows())[6:]] == [
        ("a", 10),
        ("b", 10),
        ("c", 20),
    ]


async def test_passes_are_kept_in_order(story: Story) -> None:
    """Which came first is the order of writing, not the wall clock."""
    passes = (
        SweepRecord(1234, 50, 60, 1, 0, 0, 0, complete=True, problem=""),
        SweepRecord(1234, 40, 45, 1, 3, None, 3, complete=False, problem="no totalSize"),
    )
    for one in passes:
        await story.store.record_pass(one)

    assert await story.store.read(lambda saved: saved.passes()) == passes


async def test_what_left_is_counted_by_the_second(story: Story) -> None:
    """Repeats count; what was called off, and an intent without an answer, do not."""
    await story.sent(1, 1, Kind.DATABASE_ERROR)
    await story.sent(1, 2, Kind.ACCEPTED)
    await story.sent(2)
    await story.not_sent(3)

    assert await story.store.read(lambda saved: saved.sent_per_s()) == {1: 2}


# -- the report -----------------------------------------------------------------------------------


async def test_there_is_one_row_per_line_in_the_order_of_the_list(story: Story) -> None:
    """Good, repeated and bad lines alike, each with its line."""
    told = [
        (row.line, row.vdn_id, row.campaign_id, row.outcome, row.duplicate_of, row.error)
        for row in await story.rows()
    ]

    assert told == [
        (2, "1234", "101", Outcome.UNATTEMPTED, None, ENDED),
        (3, "9", "102", Outcome.UNATTEMPTED, None, ENDED),
        (4, "1234", "101", Outcome.DUPLICATE, 2, "same as line 2"),
        (5, "1234", "12e3", Outcome.INVALID, None, "is not a campaign id"),
        (6, "1234", "103", Outcome.UNATTEMPTED, None, ENDED),
        (7, "9", "101", Outcome.UNATTEMPTED, None, ENDED),
    ]
    assert await story.store.read(lambda saved: saved.lines()) == 6


async def test_a_dry_run_plans_every_good_line(begin: Callable[[RunRecord], Store]) -> None:
    """Planned, with the bad and the repeated lines as they are."""
    story = Story(begin(run_record(dry_run=True)))

    assert [row.outcome for row in await story.rows()] == [
        Outcome.PLANNED, Outcome.PLANNED, Outcome.DUPLICATE, Outcome.INVALID, Outcome.PLANNED,
        Outcome.PLANNED,
    ]  # fmt: skip


async def test_a_restore_is_read_as_a_restore(begin: Callable[[RunRecord], Store]) -> None:
    """The same history, the other way round."""
    story = Story(begin(run_record(kind=RunKind.RESTORE)))
    await story.told(story.sent(1, 1, Kind.ACCEPTED), story.saw(5))

    rows = await story.rows()

    assert (rows[0].outcome, rows[4].outcome) == (Outcome.RESTORED, Outcome.ALREADY_RUNNING)


async def test_a_row_tells_all_that_is_known(story: Story) -> None:
    """Two attempts, the last answer, the state before and after."""
    await story.told(
        story.saw(1),
        story.sent(1, 1, Kind.DATABASE_ERROR, code="0200006"),
        story.not_sent(1, 2),
        story.sent(1, 3, Kind.ACCEPTED, code="0200000"),
        story.completed(
            1, Outcome.PAUSED, evidence=Evidence.LISTED, changed=Changed.YES,
            state_after=SUSPENDED, seen_at_ms=2_000, may_start="no", error="e",
        ),
    )  # fmt: skip

    assert await story.row() == ReportRow(
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
        result_desc="",
        http_status=200,
        first_sent_at_ms=1_001,
        settled_at_ms=1_090,
        line=2,
        duplicate_of=None,
        run_id=run_record().run_id,
        error="e",
        cause=Kind.ACCEPTED,
    )


async def test_attempts_belong_to_their_own_row(story: Story) -> None:
    """Rows without any in between."""
    await story.told(story.sent(2, 1, Kind.ACCEPTED))
    await story.told(story.sent(5, 1, Kind.BROKEN), story.sent(5, 2, Kind.BROKEN))

    assert [row.attempts for row in await story.rows()] == [0, 1, 0, 0, 2, 0]


MAYBE: tuple[Any, ...] = (Outcome.UNKNOWN, Evidence.NONE, Changed.MAYBE)
UNTRIED: tuple[Any, ...] = (Outcome.UNATTEMPTED, Evidence.NONE, Changed.NO)
#: what was done; the row; whether a look must decide as the run ends; whether it may have changed
OPEN: list[tuple[Any, tuple[Any, ...], bool, bool]] = [
    # killed with a PUT in flight
    (lambda s: s.sent(1), (*MAYBE, ENDED), True, True),
    # killed between an answer and its repeat
    (lambda s: s.sent(1, 1, Kind.DATABASE_ERROR),
     (*MAYBE, f"{ENDED}; last: because of database_error"), True, True),
    (lambda s: s.sent(1, 1, Kind.THROTTLED),
     (*UNTRIED, f"{ENDED}; last: because of throttled"), False, False),
    # the key was refused, and that ended the run
    (lambda s: s.sent(1, 1, Kind.UNAUTHORIZED),
     (Outcome.DENIED, Evidence.NONE, Changed.NO, f"{ENDED}; last: because of unauthorized"),
     False, False),
    # only a look could have decided it
    (lambda s: s.sent(1, 1, Kind.WRONG_STATE),
     (*MAYBE, f"{ENDED}; last: because of wrong_state"), True, False),
    (lambda s: s.completed(1, Outcome.UNKNOWN, Standing.NEEDS_READ, changed=Changed.MAYBE),
     (*MAYBE, ""), True, True),
    # nothing ever left
    (lambda s: s.not_sent(1, kind=Kind.UNREACHABLE),
     (*UNTRIED, f"{ENDED}; last: because of unreachable"), False, False),
    (lambda s: s.not_sent(1), (*UNTRIED, ENDED), False, False),
    (lambda s: s.saw(1), (*UNTRIED, ENDED), False, False),
    # it needed nothing
    (lambda s: s.saw(1, SUSPENDED),
     (Outcome.ALREADY_PAUSED, Evidence.LISTED, Changed.NO, ""), False, False),
    # accepted, and killed before that was put on record as an outcome
    (lambda s: s.sent(1, 1, Kind.ACCEPTED),
     (Outcome.PAUSED, Evidence.ACCEPTED, Changed.YES, ""), False, True),
    # in doubt, then settled
    (lambda s: s.told(s.sent(1), s.completed(1, Outcome.PAUSED, Standing.UNCHECKED)),
     (Outcome.PAUSED, Evidence.NONE, Changed.NO, ""), False, False),
    # out of attempts, unchanged; tried once more, and cut short
    (lambda s: s.told(
        s.completed(1, Outcome.FAILED, Standing.RETRY_LATER, error="e", at_ms=900),
        s.sent(1)),
     (*MAYBE, ENDED), False, False),
    # in doubt, then seen unchanged: the outcome is the newer
    (lambda s: s.told(
        s.sent(1), s.completed(1, Outcome.UNATTEMPTED, Standing.RETRY_LATER, error="e")),
     (Outcome.UNATTEMPTED, Evidence.NONE, Changed.NO, "e"), False, False),
]  # fmt: skip


@pytest.mark.parametrize(("tell", "ending", "in_doubt", "changed"), OPEN)
async def test_what_a_history_supports_is_said_and_no_more(
    story: Story, tell: Any, ending: tuple[Any, ...], *, in_doubt: bool, changed: bool
) -> None:
    """[P03][P04] Killed anywhere: the row, what is looked at in the end, what `last` may mean."""
    await tell(story)

    row = await story.row()

    assert (row.outcome, row.evidence, row.changed, row.error) == ending
    assert [one.seq for one in await story.store.doubtful()] == [1] * in_doubt
    assert await story.store.read(lambda saved: saved.may_have_changed()) is changed
