"""The rate of a server from a real PostgreSQL: the law in SQL, and workers that live by it."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.clock import SystemClock
from orchestrator.policy.pacer import Pacer
from orchestrator.policy.slices import Ask, Slice, window_s
from orchestrator.settings.secret import Secret
from orchestrator.simulator.ledger import fullest_window
from orchestrator.store.database import connect
from orchestrator.store.pace import (
    ALONE_AFTER_S,
    Giver,
    OwnOrSharedPace,
    Share,
    SharedPace,
)
from orchestrator.store.rate_file import RateFile
from tests.cluster.giving import Row, give
from tests.postgres import PostgresServer, is_away

SERVER = "https://cc.example.com/path"
KEY = "https://cc.example.com:443"
NOW_S = 1_795_000_000.25

rates = st.one_of(st.sampled_from([0.1, 1.0, 10.0, 400.0]), st.floats(0.01, 5000))
#: near the present, where decisions are made, and far from it
offsets = st.one_of(st.floats(-0.5, 3.0), st.sampled_from([-math.inf, -3600.0, 0.0, 3600.0]))


@pytest.mark.sockets
@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(
    row=st.none()
    | st.builds(
        lambda next_s, rate, *untils: Row(NOW_S + next_s, rate, *(NOW_S + one for one in untils)),
        st.floats(-2.0, 3.0) | st.just(3600.0), rates, offsets, offsets,
    ),
    ask=st.builds(Ask, rates, st.booleans(), st.integers(1, 50)),
)  # fmt: skip
def test_the_law_in_sql_is_the_law(database: Secret, row: Row | None, ask: Ask) -> None:
    """Any row and any question: the same answer and the same row as the model of it has."""
    with connect(database) as connection:
        connection.execute("DELETE FROM orchestrator.pace")
        if row is not None:
            connection.execute(
                "INSERT INTO orchestrator.pace (server, next_s, rate_per_s, rate_until_s,"
                " emergency_until_s) VALUES (%s, %s, %s, %s, %s)",
                (KEY, *row),
            )
        answer = connection.execute(
            "SELECT * FROM orchestrator.give_slice(%s, %s, %s, %s, %s)",
            (KEY, *ask, NOW_S),
        ).fetchone()
        after = connection.execute(
            "SELECT next_s, rate_per_s, rate_until_s, emergency_until_s FROM orchestrator.pace"
        ).fetchone()

    assert answer is not None
    assert after is not None
    wanted_row, wanted = give(row, ask, now_s=NOW_S)
    assert Slice._make(answer) == pytest.approx(wanted, abs=1e-6)
    assert Row._make(after) == pytest.approx(wanted_row, abs=1e-6)


async def send(pace: SharedPace, left: list[float], *, until_s: float) -> None:
    """A run that always has something to send."""
    clock = SystemClock()
    while (now_s := clock.now_s()) < until_s:
        wait_s = pace.acquire(now_s=now_s)
        if wait_s == 0.0:
            left.append(now_s)
        woken = asyncio.Event()
        pace.wake = woken.set
        if wait_s > 0:
            try:
                await asyncio.wait_for(woken.wait(), wait_s)
            except TimeoutError:
                continue


def worst(left: list[float]) -> int:
    """The most departures in any second."""
    return fullest_window(sorted(left), 1.0)


@pytest.mark.sockets
async def test_while_the_database_is_away_nothing_leaves(own_server: PostgresServer) -> None:
    """It crashes: said once; it forgets its rows, so after it is back a window passes."""
    url = own_server.make_database()
    giver = Giver(url, SERVER)
    warnings, left, clock = list[str](), list[float](), SystemClock()
    pace = make_pace(giver, warnings, rate_per_s=50.0)
    await send(pace, left, until_s=clock.now_s() + 1.6)
    before = len(left)
    with is_away(own_server) as bring_back:
        await send(pace, left, until_s=clock.now_s() + 1.3)
        away, told = len(left) - before, list(warnings)
        await asyncio.to_thread(bring_back)
        back_s = clock.now_s()
        await send(pace, left, until_s=back_s + 4.0)
    await giver.close()

    after = [at_s for at_s in left if at_s > back_s]
    assert before > 0
    assert away <= 5  # what had been given
    assert len(told) == 1
    assert after[0] - back_s >= 1.0
    assert worst(left) <= 50


class SlowGiver(Giver):
    """The law in virtual time, on ways that take a while; now and then away."""

    def __init__(self, *, way_s: float = 0.002) -> None:
        super().__init__(Secret(""), SERVER)
        self.row: Row | None = Row(0.0)
        self.way_s = way_s
        self.away = False
        self.asked = 0

    async def ask(self, ask: Ask) -> Slice:
        self.asked += 1
        await asyncio.sleep(self.way_s)
        if self.away:
            raise ConnectionError("it is away")
        self.row, told = give(self.row, ask, now_s=NOW_S + asyncio.get_running_loop().time())
        await asyncio.sleep(self.way_s)
        return told


def make_pace(
    giver: Giver, warnings: list[str], *, rate_per_s: float = 100.0, emergency: bool = False
) -> SharedPace:
    """Eight requests wait."""
    own = Ask(rate_per_s, emergency=emergency, wanted=1)
    made = SharedPace(Share(giver, SystemClock(), own, warn=warnings.append))
    made.waiting = lambda: 8
    return made


async def test_its_own_pacer_may_hold_it_back() -> None:
    """Throttled: nothing is asked of the database, so nothing is taken from the others."""
    giver = SlowGiver()
    pace = make_pace(giver, [])

    assert pace.acquire(now_s=0.0, own_wait_s=0.4) == 0.4
    await asyncio.sleep(1.0)
    assert giver.asked == 0


async def test_what_is_asked_as_it_ends_is_called_off() -> None:
    """Nothing goes on in the background of a run that is over."""
    pace = make_pace(SlowGiver(way_s=60.0), [])
    assert pace.acquire(now_s=0.0) > 0
    await asyncio.sleep(1.0)
    pace._share.close()
    await asyncio.sleep(0.0)

    assert len(asyncio.all_tasks()) == 1


async def test_who_waits_is_woken_by_the_answer() -> None:
    """Not after the quarter of a second that it would sleep."""
    pace, left = make_pace(SlowGiver(), []), list[float]()
    await send(pace, left, until_s=0.1)

    assert left[0] == pytest.approx(2 * 0.002)


async def test_a_giver_that_is_away_is_said_once_and_left_alone_for_a_window() -> None:
    """Away for five seconds: one warning, some five questions, and no departure."""
    giver, warnings, left = SlowGiver(), list[str](), list[float]()
    giver.away = True
    pace = make_pace(giver, warnings)
    await send(pace, left, until_s=5.0)
    assert (warnings, left) == (["it is away"], [])
    assert giver.asked <= math.ceil(5.0 / window_s(100))
    giver.away = False
    await send(pace, left, until_s=7.0)

    assert left


async def test_a_database_that_is_too_far_away_is_said() -> None:
    """60 ms there and back: whatever is given is late, so nothing leaves; one warning says why."""
    warnings, left = list[str](), list[float]()
    pace = make_pace(SlowGiver(way_s=0.03), warnings)
    await send(pace, left, until_s=20.0)

    assert left == []
    assert [one.partition(" takes ")[2] for one in warnings] == [
        "60 ms, and more than 15 ms is too late: nothing is sent"
    ]


# -- runs outside the cluster -----------------------------------------------------------------


def make_own(
    giver: SlowGiver, folder: Path, warnings: list[str], *, emergency: bool = True
) -> OwnOrSharedPace:
    """A run of R = 100 on a machine that knows the cluster."""
    own = Ask(100.0, emergency=emergency, wanted=1)
    alone = RateFile(folder, SERVER, rate_per_s=100.0, emergency=emergency, warn=warnings.append)
    return OwnOrSharedPace(giver, SystemClock(), own, alone, warn=warnings.append)


async def send_alone(pace: OwnOrSharedPace, left: list[float], *, until_s: float) -> None:
    """It always has something to send, and a pacer of its own, as every run has."""
    clock, pacer = SystemClock(), Pacer(100.0)
    while (now_s := clock.now_s()) < until_s:
        wait_s = pace.acquire(now_s=now_s, own_wait_s=pacer.wait_s(now_s=now_s))
        if wait_s == 0.0:
            assert not isinstance(pacer.acquire(now_s=now_s), float)
            left.append(now_s)
        await asyncio.sleep(wait_s)


async def test_a_run_outside_the_cluster_shares_its_rate(tmp_path: Path) -> None:
    """An emergency on one machine beside a list of a worker: at most R, and it goes first."""
    giver, warnings = SlowGiver(), list[str]()
    worker, lists, urgent = make_pace(giver, []), list[float](), list[float]()
    pace = make_own(giver, tmp_path, warnings)
    await asyncio.gather(send(worker, lists, until_s=4.0), send_alone(pace, urgent, until_s=4.0))
    pace.close()

    assert warnings == []
    assert worst(lists + urgent) <= 100
    assert sum(1.0 <= at_s < 3.0 for at_s in urgent) > 150
    assert sum(1.0 <= at_s < 3.0 for at_s in lists) < 30


async def test_a_run_outside_the_cluster_does_not_wait_for_its_database(tmp_path: Path) -> None:
    """No answer comes: it leaves after 50 ms, says so once, and keeps the pace of the file."""
    giver, warnings, left = SlowGiver(way_s=60.0), list[str](), list[float]()
    pace = make_own(giver, tmp_path, warnings)
    await send_alone(pace, left, until_s=3.0)
    pace.close()

    assert left[0] <= ALONE_AFTER_S + 0.01
    assert warnings == ["no answer in 50 ms"]
    assert 250 < len(left) <= 300
    assert worst(left) <= 100


async def test_a_run_outside_the_cluster_comes_back_to_its_pace(tmp_path: Path) -> None:
    """The database is away for three seconds: said once; then a worker's list stands back again."""
    giver, warnings = SlowGiver(), list[str]()
    worker, lists, urgent = make_pace(giver, []), list[float](), list[float]()
    pace = make_own(giver, tmp_path, warnings)
    giver.away = True

    async def back() -> None:
        await asyncio.sleep(3.0)
        giver.away = False

    await asyncio.gather(
        back(), send(worker, lists, until_s=8.0), send_alone(pace, urgent, until_s=8.0)
    )
    pace.close()

    assert warnings == ["it is away"]
    assert urgent[0] <= ALONE_AFTER_S
    assert not [at_s for at_s in lists if at_s < 3.0]
    assert worst([at_s for at_s in lists + urgent if at_s > 5.5]) <= 100
    assert sum(at_s > 5.5 for at_s in lists) < 40
