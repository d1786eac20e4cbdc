"""A run in PostgreSQL, beside what every store promises: its chunks, its failures, its text."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import RefusedError, StorageError
from orchestrator.isales.verdict import Kind
from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.policy.plan import Planned
from orchestrator.reports.summary import Ended
from orchestrator.settings.secret import Secret
from orchestrator.store import ProcessRecord, VdnCount
from orchestrator.store.chunks import finish, hand_back
from orchestrator.store.database import connect
from orchestrator.store.postgres import find_run, open_part, open_saved_run
from tests.cluster.makers import add, claimed, intent, lapse, paused, store_of
from tests.postgres import PostgresServer, is_away
from tests.store.journal_makers import run_record, verdict

pytestmark = pytest.mark.sockets
ONE, TWO = CampaignRef(1234, 101), CampaignRef(1234, 102)


async def test_a_chunk_is_a_run_of_its_own_campaigns(database: Secret) -> None:
    """The engine asks as it does of a journal; of the other chunks and VDNs it learns nothing."""
    run = add(database)
    with connect(database) as connection:
        store = store_of(database, claimed(connection, run, 1))

    assert await store.open_vdn_counts() == [VdnCount(1234, 2)]
    assert await store.pending(vdn_id=1234, after=0, limit=9) == [
        Planned(1, ONE, None), Planned(3, TWO, None),
    ]  # fmt: skip
    assert await store.known(vdn_id=1234, campaign_ids=[103]) == []
    assert (await store.read(lambda saved: saved.record())).run_id == run_record().run_id
    await store.close()


async def test_who_takes_a_chunk_over_knows_what_was_done_to_it(database: Secret) -> None:
    """Looks, answers and processes of the worker before, all of them and no others."""
    run = add(database)
    with connect(database) as connection:
        before = store_of(database, claimed(connection, run, 1))
        await before.begin_process(ProcessRecord(1, 11, "a"))
        await before.saw([(1, ObservedState(ONE, Status.STARTED, "spring", ""))], at_ms=10)
        await before.record_intent(intent(1))
        await before.record_answer(
            intent(1), verdict(Kind.ACCEPTED), sent_at_ms=2, answered_at_ms=3,
            outcome_record=paused(1, ONE),
        )  # fmt: skip
        await before.record_intent(intent(3))
        await before.close()
        lapse(connection)
        after = store_of(database, claimed(connection, run, 1, holder="b"))

    one, two = await after.known_of_vdn(1234)
    number = await after.begin_process(ProcessRecord(9, 12, "b"))
    assert (one.history.accepted, one.history.before, one.accepted_at_ms) == (
        True, Status.STARTED, 3,
    )  # fmt: skip
    assert (number, two.history.doubted, two.doubted_by) == (2, True, frozenset({1}))
    await after.close()


async def test_the_report_is_of_all_chunks_and_their_workers(database: Secret) -> None:
    """Rows in the order of the list; one process for each worker, with no end before the last."""
    run = add(database)
    begun = ProcessRecord(5, 11, "a")
    ended = begun._replace(
        ended_at_ms=9, ended=Ended.FINISHED, departures=3, worst_1s=2, busy_ms=10
    )
    members = {1: {1: ONE, 3: TWO}, 2: {2: CampaignRef(9, 201)},
               4: {4: CampaignRef(1234, 103), 5: CampaignRef(1234, 104)}}  # fmt: skip
    seen, restorable, why = [], [0], "none"
    with connect(database) as connection:
        for lo, refs in members.items():
            part = claimed(connection, run, lo)
            store = store_of(database, part)
            await store.begin_process(begun)
            for seq, ref in refs.items():
                done = paused(seq, ref)
                await store.record_answer(
                    intent(seq), verdict(Kind.ACCEPTED), sent_at_ms=1_000 + seq,
                    answered_at_ms=1_080, outcome_record=done,
                )  # fmt: skip
            await store.end_process(ended, why=f"of chunk {lo}", lag_s=lo / 10)
            await store.close()
            assert finish(connection, part, holder="a")
            with open_saved_run(database, run) as saved:
                seen.append((saved.counts(), saved.processes(), saved.record().lag_s))
                restorable = [one.seq for one in saved.restorable()]
                why = saved.record().why

    counts, processes, lags = zip(*seen, strict=True)
    assert [one["paused"] for one in counts] == [2, 3, 5]
    # its chunks overlap, so their time is that of the worker; together five left in one second
    going = begun._replace(departures=6, worst_1s=2, busy_ms=4)
    assert processes[1] == [going]
    assert processes[2] == [ended._replace(departures=9, worst_1s=5, busy_ms=4)]
    assert lags == (0.1, 0.2, 0.4)
    assert (restorable, why) == ([1, 2, 3, 4, 5], "")


async def test_every_text_arrives_as_it_was(database: Secret) -> None:
    """PostgreSQL keeps no NUL; what stands for it here is kept apart from itself."""
    run = add(database)
    names = ["a\0b", "\x1a0", "\x1a\0\x1a1", "春\\n"]
    for name in names:
        with connect(database) as connection:
            part = claimed(connection, run, 0)
        store = store_of(database, part)
        await store.named([(1, name)])
        await store.saw([(1, ObservedState(ONE, None, name, ""))], at_ms=10)
        await store.close()
        with open_saved_run(database, run) as saved:
            assert next(saved.rows()).campaign_name == name
        with connect(database) as connection:
            connection.execute("DELETE FROM orchestrator.looks")
            hand_back(connection, part, holder="a")


def test_a_row_that_was_changed_by_something_else_is_refused(database: Secret) -> None:
    """Its checksum says so, as that of a journal does."""
    run = add(database)
    with connect(database) as connection:
        connection.execute("UPDATE orchestrator.plan SET campaign_id = 7 WHERE seq = 2")

    wanted = pytest.raises(StorageError, match=r"row of plan fails its checksum \(line 2\)")
    with wanted, open_saved_run(database, run):
        pass


def test_a_run_is_put_into_the_cluster_once(database: Secret) -> None:
    """The same order twice: the second is refused, and the first is found by its id."""
    run = add(database)

    with pytest.raises(RefusedError):
        add(database)

    with connect(database) as connection:
        assert find_run(connection, run_record().run_id) == run
        assert find_run(connection, "20261123T230501Z-0000") is None


# -- failures -------------------------------------------------------------------------------------


async def test_while_postgresql_is_away_nothing_is_on_record(own_server: PostgresServer) -> None:
    """It crashes: an intent waits, so its PUT does not leave; it goes on as soon as it is back."""
    url = own_server.make_database()
    run = add(url)
    with connect(url) as connection:
        part = claimed(connection, run, 1)
    store = store_of(url, part)
    await store.record_intent(intent(1))

    with is_away(own_server) as bring_back:
        waits = asyncio.ensure_future(store.record_intent(intent(3)))
        done, _ = await asyncio.wait({waits}, timeout=0.3)
        assert not done
        await asyncio.to_thread(bring_back)
        await waits
    await store.close()

    with open_saved_run(url, run) as saved:
        assert [row.attempts for row in saved.rows()] == [1, 0, 1, 0, 0]


async def test_nobody_has_to_wait_for_postgresql_for_ever(own_server: PostgresServer) -> None:
    """A worker that is told to leave while it is away fails what is not on record, and leaves."""
    url = own_server.make_database()
    run = add(url)
    with connect(url) as connection:
        journal = open_part(url, claimed(connection, run, 1))
    store = journal.start(keep_going=False)

    with is_away(own_server):
        waits = asyncio.ensure_future(store.record_intent(intent(1)))
        await asyncio.wait({waits}, timeout=0.1)
        journal.given_up.set()
        with pytest.raises(StorageError, match="the cluster's database failed"):
            await waits
        await store.close()

    assert store.failure is not None
