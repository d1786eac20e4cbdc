"""Leases and epochs: one worker has a part at a time, and whoever has lost it can write no more."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import closing

import pytest

from orchestrator.cluster.rings import TASK, make_app, make_queue, ring
from orchestrator.errors import FencedError
from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.policy.decide import Decision, Outcome
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import Ended
from orchestrator.settings.secret import Secret
from orchestrator.store import OutcomeRecord, PlanWriter, Standing
from orchestrator.store.chunks import (
    claim,
    end_lease,
    finish,
    hand_back,
    leases,
    renew,
    unrung,
)
from orchestrator.store.cluster_runs import (
    FAILING,
    Limits,
    courses,
    drop_run,
    end_overdue,
    end_run,
    go_on,
    is_over,
    limit_run,
)
from orchestrator.store.database import connect
from orchestrator.store.postgres import add_run, emergency_part, open_saved_run
from orchestrator.store.transfer import (
    EMERGENCY_LO,
    STEP_BITS,
    TABLES_OF_RUN,
    Step,
    put_rows,
)
from tests.cluster.makers import add, claimed, intent, lapse, paused, store_of
from tests.store.journal_makers import bad_line, line, run_record

pytestmark = pytest.mark.sockets
_NOT_FOUND = Decision(Outcome.NOT_FOUND)
ONE, TWO = CampaignRef(1234, 101), CampaignRef(1234, 102)


def test_a_run_is_cut_into_chunks_of_one_vdn_each(database: Secret) -> None:
    """101 to 104 of VDN 1234 by twos, VDN 9 alone; bad and repeated lines are in none."""
    lines = [line(1, 101), bad_line(2), line(3, 201, vdn_id=9), line(4, 102), line(5, 101),
             line(6, 103)]  # fmt: skip
    run = add(database, lines)

    with connect(database) as connection:
        rows = connection.execute(
            "SELECT lo, hi, vdn FROM orchestrator.chunk WHERE run = %s AND lo > 0 ORDER BY lo",
            (run,),
        ).fetchall()

    assert rows == [(1, 4, 1234), (3, 3, 9), (6, 6, 1234)]


async def test_of_many_who_claim_at_once_one_gets_it(database: Secret) -> None:
    """Ten workers are rung for the same chunk."""
    run = add(database)

    def try_it(number: int) -> bool:
        with connect(database) as connection:
            return claim(connection, run, 1, holder=str(number)) is not None

    got = await asyncio.gather(*(asyncio.to_thread(try_it, number) for number in range(10)))

    assert sum(got) == 1


@pytest.mark.parametrize("step", ["1 hour", "-1 hour"])
def test_no_step_of_the_databases_clock_ends_a_lease_or_keeps_one(
    database: Secret, step: str
) -> None:
    """An hour ahead: who has a part keeps it. An hour back: it is watched before all others.

    Found by the model of the protocol: a worker frozen for four seconds sent what another, which
    the clock had let in early, had settled.
    """
    run = add(database)
    with connect(database) as connection:
        claimed(connection, run, 2)
        claimed(connection, run, 1)
        connection.execute(
            "UPDATE orchestrator.chunk SET lease_until = lease_until + %s::interval"
            " WHERE run = %s AND lo = 1",
            (step, run),
        )
        assert claim(connection, run, 1, holder="b") is None
        [first] = leases(connection, limit=1)
        assert (first.run, first.lo) == (run, 1)
        assert end_lease(connection, first)
        assert claimed(connection, run, 1, holder="b").epoch == 3
        lapse(connection)


async def test_what_nobody_will_be_rung_for_is_rung_for_again(database: Secret) -> None:
    """Emergencies first, then by run and line; not what somebody has, is done, or is rung for."""
    run = add(database)
    urgent = add(database, run_id="20261123T230501Z-0001", emergency=True)
    await make_queue(database)
    with connect(database) as connection:
        claimed(connection, urgent, 2)
        before = unrung(connection, task=TASK, limit=4)
        app = make_app(database, nobody)
        async with app.open_async():
            await ring(app, before[1:3])
        after = unrung(connection, task=TASK, limit=9)

    assert before == [(urgent, 1, True), (urgent, 4, True), (run, 1, False), (run, 2, False)]
    assert after == [(urgent, 1, True), (run, 2, False), (run, 4, False)]


async def nobody(_run: int, _lo: int) -> None:
    """Hears nothing."""


def look_and_verification(first: int) -> tuple[int, int]:
    """The parts of a VDN whose first line it is."""
    return first + (Step.LOOK << STEP_BITS), first + (Step.VERIFY << STEP_BITS)


async def test_a_vdn_of_several_chunks_is_looked_at_and_verified_once(database: Secret) -> None:
    """First the look, then the chunks in any order, last the verification; VDN 9 is one chunk."""
    run = add(database, verify=True)
    look, verification = look_and_verification(1)
    await make_queue(database)
    with connect(database) as connection:

        def turns() -> list[int]:
            return [one.lo for one in unrung(connection, task=TASK, limit=9)]

        steps = [turns()]
        assert claim(connection, run, 1, holder="a") is None
        assert finish(connection, claimed(connection, run, look), holder="a")
        steps.append(turns())
        alone, *chunks = [claimed(connection, run, lo) for lo in (2, 1, 4)]
        for part in chunks:
            assert claim(connection, run, verification, holder="a") is None
            store = store_of(database, part)
            lines = await store.known_of_vdn(1234)
            await store.complete([paused(one.seq, one.ref) for one in lines])
            await store.close()
            assert finish(connection, part, holder="a")
        steps.append(turns())
        last = claimed(connection, run, verification)
        store = store_of(database, last)
        whole = [one.seq for one in await store.known_of_vdn(1234)]
        await store.close()

    assert steps == [[2, look], [1, 2, 4], [verification]]
    assert [one.is_of_many for one in (alone, *chunks)] == [False, True, True]
    assert whole == [1, 3, 4, 5]


def test_a_run_that_has_ended_early_is_worked_on_no_more(database: Secret) -> None:
    """None of its chunks is claimed; over when nobody has one any more; until it goes on.

    Whoever has one is told by `courses`, and keeps it as long as it looks at what is in doubt.
    """
    run, other = add(database), add(database, run_id="20261123T230501Z-0001")
    with connect(database) as connection:
        part = claimed(connection, run, 1)
        end_run(connection, run, Ended.SERVER, why="no useful answer")
        end_run(connection, run, Ended.BUG, why="too late")
        refused = claim(connection, run, 2, holder="b")
        kept = renew(connection, part, holder="a")
        told = [(one.run, one.ended, one.why) for one in courses(connection, [run, other])]
        over = [is_over(connection, one) for one in (run, other)]
        hand_back(connection, part, holder="a", after_s=15.0)
        over.append(is_over(connection, run))
        with open_saved_run(database, run) as saved:
            last, why = saved.processes()[-1], saved.record().why
        go_on(connection, run, Limits())
        again = claim(connection, run, 2, holder="b")

    assert (refused, kept, over) == (None, True, [False, False, True])
    assert sorted(told) == [(run, "server", "no useful answer"), (other, None, "")]
    assert (last.ended, why) == (Ended.SERVER, "no useful answer")
    assert again is not None


def test_a_deadline_ends_a_run(database: Secret) -> None:
    """Over by the database's clock: nothing is claimed, whoever looks first ends it, once."""
    run, other = add(database), add(database, run_id="20261123T230501Z-0001")
    through = add(database, [], run_id="20261123T230501Z-0002")
    with connect(database) as connection:
        limit_run(connection, run, Limits(deadline_s=0))
        limit_run(connection, other, Limits(deadline_s=3600))
        limit_run(connection, through, Limits(deadline_s=0))
        refused = claim(connection, run, 1, holder="a")
        end_overdue(connection)
        end_overdue(connection)
        told = {one.run: one for one in courses(connection, [run, other, through])}
        over = is_over(connection, run)
        go_on(connection, run, Limits())
        end_overdue(connection)
        (again,) = courses(connection, [run])

    assert refused is None
    assert (told[run].ended, told[run].why) == ("deadline", "the deadline of 0 s is over")
    assert (over, told[other].ended, again.ended, again.left_s) == (True, None, None, None)
    assert 3590 < (told[other].left_s or 0) <= 3600
    assert told[through].ended is None  # it has ended well


def test_a_run_that_goes_on_keeps_its_limits(database: Secret) -> None:
    """Whoever follows it again changes its deadline by a new one alone."""
    run = add(database)
    with connect(database) as connection:
        limit_run(connection, run, Limits(3600, lambda campaigns: campaigns))
        go_on(connection, run, Limits())
        (kept,) = courses(connection, [run])
        go_on(connection, run, Limits(60, lambda campaigns: campaigns))
        (newer,) = courses(connection, [run])

    assert (kept.left_s or 0) > 3000
    assert 50 < (newer.left_s or 0) <= 60
    assert kept.counts
    assert newer.counts


async def test_failures_that_are_enough_end_a_run(database: Secret) -> None:
    """Two of the five that are open, what is final alone; then two more of the three left."""
    run = add(database)
    seen = list[int]()

    def two_of(campaigns: int) -> int:
        seen.append(campaigns)
        return 2

    with connect(database) as connection:
        limit_run(connection, run, Limits(failures=two_of))
        store = store_of(database, claimed(connection, run, 1))
        ended = []
        for seq, standing in ((1, Standing.RETRY_LATER), (3, Standing.FINAL), (1, Standing.FINAL)):
            ref = ONE if seq == 1 else TWO
            await store.complete([OutcomeRecord(seq, ref, _NOT_FOUND, standing, 1_090)])
            end_overdue(connection)
            ended += [(one.ended, one.why) for one in courses(connection, [run])]
        go_on(connection, run, Limits(failures=two_of))
        end_overdue(connection)
        ended += [(one.ended, one.why) for one in courses(connection, [run])]
        await store.close()

    nothing = (None, "")
    assert ended == [nothing, nothing, ("max_failures", "2 campaigns failed"), nothing]
    assert seen == [5, 3]


def test_the_index_counts_what_the_rules_call_a_failure(database: Secret) -> None:
    """An outcome that is new in the rules must get its place in the tables."""
    with connect(database) as connection:
        found = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE indexname = 'outcomes_failed'"
        ).fetchone()

    assert found is not None
    assert set(re.findall(r"'(\w+)'::text", found[0])) == {*FAILING, Standing.FINAL.value}


# -- fencing --------------------------------------------------------------------------------------


async def test_whoever_lost_a_part_writes_nothing_more(database: Secret) -> None:
    """Frozen for longer than its lease: its intent is refused, so its PUT does not leave."""
    run = add(database)
    with connect(database) as connection:
        frozen = store_of(database, claimed(connection, run, 1))
        await frozen.record_intent(intent(1))
        lapse(connection)
        rescuer = store_of(database, claimed(connection, run, 1, holder="b"))
    known = await rescuer.known_of_vdn(1234)
    await rescuer.complete([paused(1, ONE)])

    with pytest.raises(FencedError):
        await frozen.record_intent(intent(3))
    with pytest.raises(FencedError):
        await frozen.note(why="late")
    await frozen.close()
    await rescuer.close()

    assert [(one.seq, one.history.doubted) for one in known] == [(1, True), (3, False)]
    with open_saved_run(database, run) as saved:
        rows = list(saved.rows())
    assert [row.outcome.value for row in rows] == [
        "paused", "unattempted", "unattempted", "unattempted", "unattempted",
    ]  # fmt: skip


def test_a_write_on_its_way_is_before_the_claim_or_refused(database: Secret) -> None:
    """Whoever ends a lease waits for a write that has begun; a write that waits is refused."""
    run = add(database)
    row = {"looks": json.dumps([{"seq": 1, "crc": 0}])}
    with connect(database) as a, connect(database) as b:
        part = claimed(a, run, 1)
        with a.transaction():
            assert put_rows(a, part, row, synced=True)
            b.execute("SET lock_timeout = '50ms'")
            with pytest.raises(Exception, match="lock timeout"):
                lapse(b)
        lapse(b)
        assert not put_rows(a, part, row, synced=True)


async def test_an_emergency_is_done_when_its_engine_has_ended(database: Secret) -> None:
    """It has what it found without an outcome, and is done; nobody claims it.

    What it notes is the run's.
    """
    run = add_emergency(database, "here")
    with connect(database) as connection:
        part = emergency_part(run)
        claimed(connection, add(database), 1)  # whose lease is watched by who has that run
        assert [(one.run, one.lo) for one in leases(connection, limit=9, run=run)] == [
            (run, EMERGENCY_LO)
        ]
        assert claim(connection, run, part.lo, holder="b") is None
        store = store_of(database, part)
        await store.discovered([ObservedState(ONE, Status.STARTED, "spring", "")], at_ms=1_000)
        await store.note(held_s=2.0)
        assert finish(connection, part, holder="here")
        await store.close()
        assert is_over(connection, run)
        assert claim(connection, run, part.lo, holder="b") is None
    with open_saved_run(database, run) as saved:
        assert (saved.lines(), saved.record().held_s) == (1, 2.0)


def test_of_a_run_that_nobody_has_confirmed_nothing_stays(database: Secret) -> None:
    """Every row of it goes, and none of another run."""
    kept, dropped = add(database), add_emergency(database, "here")
    with connect(database) as connection:
        drop_run(connection, dropped)
        left = {
            row[0]
            for table in ("run", "chunk", *TABLES_OF_RUN)
            for row in connection.execute(f"SELECT run FROM orchestrator.{table}".encode())  # noqa: S608
        }

    assert left == {kept}


def add_emergency(url: Secret, holder: str) -> int:
    """A pause-all that was given just now."""
    facts = {"run_id": "20261123T230501Z-0033", "kind": RunKind.PAUSE_ALL, "vdns": (1234,)}
    with closing(PlanWriter(None).finish(run_record(cluster=True, **facts))) as journal:
        return add_run(url, journal, chunk_size=2, emergency=True, holder=holder)
