"""The model of the protocol: its tables answer as PostgreSQL does; what it found stays found."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.cluster.part_work import Held
from orchestrator.cluster.rings import TASK, make_queue
from orchestrator.engine.pool import WorkLimit
from orchestrator.errors import StorageError
from orchestrator.reports.summary import Ended
from orchestrator.settings.secret import Secret
from orchestrator.store import chunks
from orchestrator.store.database import connect
from orchestrator.store.transfer import EMERGENCY_LO, Part, put_rows
from tests.cluster.makers import add
from tests.harness import cluster_model
from tests.harness.cluster_model import ModelWorker, Tables, World
from tests.store.journal_makers import line

_FROM_S = 1_795_000_000.0
#: a clock of the test's, before PostgreSQL's own
_CLOCK = """
CREATE SCHEMA IF NOT EXISTS stepped;
CREATE TABLE IF NOT EXISTS stepped.at (s float8);
CREATE OR REPLACE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT to_timestamp(s) FROM stepped.at'
"""

#: what a worker may do with one of the parts that were ever claimed, or time may
_steps = st.one_of(
    st.tuples(st.just("claim"), st.sampled_from([1, 3, 5]), st.sampled_from(["a", "b"])),
    st.tuples(st.sampled_from(["renew", "hand_back", "finish"]), st.integers(0, 5), st.just("")),
    st.tuples(st.just("fail"), st.integers(0, 5), st.just("")),
    st.tuples(st.just("settle"), st.integers(0, 5), st.integers(0, 1)),
    st.tuples(st.sampled_from(["unrung", "lapse"]), st.just(0), st.just("")),
    st.tuples(
        st.just("pass"),
        st.sampled_from([0.0, 0.25, 4.75, 5.0, 5.25, 15.25, -0.25, -7.0, 3600.0, -3600.0]),
        st.just(""),
    ),
)


@pytest.mark.sockets
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_steps, max_size=25))
def test_the_model_answers_as_postgresql(database: Secret, steps: list[Any]) -> None:
    """Any history of claims, renewals, ends and steps of the clock: the same answers in both."""
    asyncio.run(make_queue(database))
    with connect(database) as connection:
        connection.execute(_CLOCK.encode())
    run = add(
        database, [line(one, one) for one in range(1, 6)], size=2, run_id=f"{secrets.token_hex(8)}"
    )
    model, parts, now_s = Tables([2, 2, 1]), list[tuple[Any, Any, str]](), _FROM_S
    with connect(database, options="-c search_path=stepped,public,pg_catalog") as connection:
        connection.execute("TRUNCATE stepped.at")
        connection.execute("INSERT INTO stepped.at VALUES (%s)", (now_s,))
        for name, which, more in steps:
            real: Any = None
            wanted: Any = None
            if name == "pass":
                now_s += which
                connection.execute("UPDATE stepped.at SET s = %s", (now_s,))
            elif name == "claim":
                found = chunks.claim(connection, run, which, holder=more)
                made = model.claim(which, holder=more, now_s=now_s)
                parts += [(found, made, more)] if found and made else []
                real, wanted = found and found[1:3] + found[4:], made and made[1:3] + made[4:]
            elif name == "unrung":
                free = chunks.unrung(connection, task=TASK, limit=10_000)
                real = [one.lo for one in free if one.run == run]
                wanted = model.unrung(set(), now_s=now_s)
            elif name == "lapse":
                seen = chunks.leases(connection, limit=10_000)
                real = sorted(
                    (one.lo, chunks.end_lease(connection, one)) for one in seen if one.run == run
                )
                wanted = sorted((one.lo, model.end_lease(one)) for one in model.leases())
            elif which < len(parts):
                part, twin, holder = parts[which]
                if name == "settle":
                    seq = min(part.lo + more, part.hi)
                    rows = {"outcomes": json.dumps([{"seq": seq, "crc": 0}])}
                    real = put_rows(connection, part, rows, synced=True)
                    wanted = model.put(twin, outcome=seq)
                else:
                    after = {"after_s": chunks.AFTER_FAILURE_S} if name == "fail" else {}
                    known = "hand_back" if name == "fail" else name
                    operation: Any = getattr(chunks, known)
                    real = operation(connection, part, holder=holder, **after)
                    wanted = getattr(model, known)(twin, holder=holder, now_s=now_s, **after)
            assert real == wanted, (name, which, more)


@pytest.mark.parametrize("seed", [*range(40), 285])
def test_whatever_goes_wrong_the_promises_hold(seed: int) -> None:
    """Kills, freezes, crashes, cuts, steps of the clock: `./do cluster-faults model=1` has more.

    285: an answer lost after a renewal ended all renewals of its chunk, whose work then kept the
    places of the worker for ever (on the real database: test_worker.py).
    """
    assert cluster_model.scenario(seed).wrong == []


def test_two_rings_for_one_chunk_are_one() -> None:
    """Heard at once, and the lease has lapsed by the second: the worker does not take it twice.

    The second claim used to throw away what was known of the first, which then died of it.
    """
    worlds = list[World]()

    async def play() -> None:
        world = World(random.Random(1), Tables([3]), way_s=0.008)
        worlds.append(world)
        worker = ModelWorker(world)
        world.queue += [1, 1]
        while not world.story:  # noqa: ASYNC110 - the model has no event for it
            await asyncio.sleep(0.0001)
        world.offset_s += 3600.0
        await asyncio.sleep(20.0)
        assert world.tables.chunks[1].done
        worker.running.cancel()

    cluster_model.run(play())
    claims = [one for one in worlds[0].story if "claims" in one]
    assert len(claims) == 1


def test_a_worker_ends_also_when_the_database_goes_at_that_very_moment() -> None:
    """Its queue fails as it is told to end: it listened on then, until its five seconds were up."""

    async def play() -> None:
        world = World(random.Random(1), Tables([1]))
        worker = ModelWorker(world)
        call = worker.link.call

        async def end_and_fail(operation: Any, **more: Any) -> Any:
            if world.is_away:
                worker.environment.stopping.stop(Ended.SIGNAL_TERM, "SIGTERM received")
                raise StorageError("it is away")
            return await call(operation, **more)

        worker.link.call = end_and_fail  # type: ignore[method-assign]
        await asyncio.sleep(3.0)
        world.is_away = True
        ended, _ = await asyncio.wait({worker.running}, timeout=4.8)
        assert ended

    cluster_model.run(play())


def test_nothing_leaves_once_a_lease_has_run_out_by_our_own_clock() -> None:
    """Frozen for longer, and awake again: who has it by now is sent nothing twice."""

    async def play() -> None:
        worker = ModelWorker(World(random.Random(1), Tables([1])))
        dispatcher: Any = mock.MagicMock(concurrency=2)
        pace = worker._share(dispatcher, Held(Part(1, 1, 1, 7, 1), until_s=5.0))
        assert pace.may_send(4.4)
        assert not pace.may_send(4.6)
        assert pace.acquire(now_s=4.6) > 0
        worker.running.cancel()

    cluster_model.run(play())


# -- how many chunks a worker has at once ----------------------------------------------------------


class _Waiting(ModelWorker):
    """Its campaigns are all at work and wait: for the answer to a look, or for a repeat."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.may_end = asyncio.Event()

    async def _work_on(self, held: Held) -> Ended:
        if held.part.lo != EMERGENCY_LO:
            held.work_limit = WorkLimit(2, is_paced=lambda: False, beside=self._work_limit)
        await self.may_end.wait()
        return Ended.FINISHED

    @property
    def chunks(self) -> int:
        """How many it has."""
        return len(self._held)


def _claimed_at_s(world: World) -> list[float]:
    return [float(one.split()[0]) for one in world.story if "claims" in one]


def test_a_worker_has_one_chunk_while_its_campaigns_wait_for_places() -> None:
    """Chunks of 20, two at work: the second is claimed when the last of the first are at work."""
    world = World(random.Random(1), Tables([20, 20]))
    begun = list[int]()

    async def play() -> None:
        worker = ModelWorker(world)
        while len(_claimed_at_s(world)) < 2:
            await asyncio.sleep(0.01)
            begun.append(sum(line <= 20 for line in world.tables.intents))
        worker.running.cancel()

    cluster_model.run(play())
    assert begun[-1] >= 19
    assert begun.count(10) > 0  # half of the first were at work, and the second was nobody's


def test_a_worker_whose_campaigns_all_wait_begins_with_others() -> None:
    """Twelve at most; when they are over, the rest."""
    world = World(random.Random(1), Tables([1] * 14))

    async def play() -> None:
        worker = _Waiting(world)
        await asyncio.sleep(10.0)
        assert worker.chunks == 12
        worker.may_end.set()
        await asyncio.sleep(1.0)
        worker.running.cancel()

    cluster_model.run(play())
    assert len(_claimed_at_s(world)) >= 14


@pytest.mark.parametrize("lo", [EMERGENCY_LO, 1])
def test_whoever_is_at_work_for_hours_keeps_no_list_waiting(lo: int) -> None:
    """An emergency that was rung for and holds, a list that backs off: the next ring is heard."""
    world = World(random.Random(1), Tables([1, 1]))
    world.tables.chunks[lo] = world.tables.chunks[1]

    async def play() -> None:
        worker = _Waiting(world)
        world.queue += [lo, 2]
        await asyncio.sleep(0.9)  # before it looks itself for what nobody rings for
        assert worker.chunks == 2
        worker.running.cancel()

    cluster_model.run(play())
