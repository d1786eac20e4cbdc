"""A stop at every kind of wait: nothing starts after it, what is in flight is settled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.stop import Alarm, StoppedError, Stopping
from orchestrator.errors import NotBegunError
from orchestrator.model import Status
from orchestrator.reports.summary import Ended
from orchestrator.simulator.faults import DATABASE_ERROR, HANG, FaultPlan, Outage, slow, with_http
from orchestrator.simulator.routes import CHANGES, Kind
from tests.fakes import VDN, Sent, Stage, ref, several, started

_CHANGES = frozenset(CHANGES)
EXIT = {Ended.SIGNAL_INT: 130, Ended.SIGNAL_TERM: 143, Ended.SIGNAL_HUP: 129}


class Stopper:
    """Stops the present process once, and remembers when."""

    def __init__(self, stage: Stage, ended: Ended = Ended.SIGNAL_TERM) -> None:
        self.stage = stage
        self.ended = ended
        self.at_s: float | None = None

    def __call__(self) -> None:
        stopping = self.stage.stopping
        if stopping is not None and self.at_s is None:
            self.at_s = self.stage.clock.now_s()
            stopping.stop(self.ended, "told to")

    def check(self) -> None:
        """No PUT left after the stop, every one has its end on record, the end came soon."""
        assert self.at_s is not None, "it was never stopped"
        server = self.stage.server
        assert [one for one in server.puts if one.at_s > self.at_s + 1e-9] == []
        assert all(one.at_s < self.at_s + 8 + 1e-9 for one in server.sent)
        assert self.stage.clock.now_s() - self.at_s <= 8.1
        assert all(one.ended_s is not None for one in server.puts)


INTENDED = "SELECT 1 FROM attempts WHERE state = 'intended'"


@pytest.mark.parametrize("ended", list(EXIT))
async def test_a_signal_ends_a_run_with_its_exit_code(tmp_path: Path, ended: Ended) -> None:
    """[P09, P10, P11] after 20 PUTs: interrupted, 129/130/143, the rest unattempted."""
    stage = Stage(tmp_path, started(100))
    stop = Stopper(stage, ended)
    stage.server.on_sent = lambda _: stop() if len(stage.server.puts) == 20 else None

    result = await stage.pause()

    stop.check()
    assert (result.exit_code, result.verdict) == (EXIT[ended], "interrupted")
    assert result.counts == {"paused": 20, "unattempted": 80}
    assert stage.on_record(INTENDED) == []


@pytest.mark.parametrize("point", ["before a commit", "after a commit", "a request"])
@pytest.mark.parametrize("emergency", [False, True])
async def test_a_stop_at_every_point(tmp_path: Path, point: str, *, emergency: bool) -> None:
    """[X07] at the n-th commit or while the n-th request travels: settled, and nothing follows."""
    for number in range(2, 41, 3):
        folder = tmp_path / str(number)
        folder.mkdir()
        stage = Stage(folder, several({1: 8, 2: 8}), concurrency=4)
        stage.disk.commit_s = 0.05 * (number % 2)
        stop = Stopper(stage)

        def at(now: int, number: int = number, stop: Stopper = stop) -> None:
            if now == number:
                asyncio.get_running_loop().call_soon(stop)

        if point == "a request":
            stage.server.on_sent = lambda sent, at=at: at(sent.number)
        else:
            setattr(stage.disk, point.removesuffix(" a commit") + "_commit", at)
        result = await (stage.pause_all() if emergency else stage.pause())
        if stop.at_s is not None:
            stop.check()
            assert result.exit_code in {143, 0}
        assert stage.on_record(INTENDED) == []


def plan_of(*outages: Outage, **options: Any) -> FaultPlan:
    return FaultPlan(outages=outages, **options)


STUBBORN = {ref(number): DATABASE_ERROR for number in (1, 2, 3)}

#: where the run waits → what makes it wait there
WAITS: dict[str, dict[str, Any]] = {
    "the pacer": {"rate_per_s": 1.0},
    "a backoff": {
        "faults": plan_of(always=STUBBORN),
        "settings": {"retry.backoff_base_s": 500.0, "retry.backoff_cap_s": 500.0},
    },
    "a connection": {"unreachable": (0.5, 1000.0)},
    "an answer": {"faults": plan_of(Outage(HANG, kinds=_CHANGES))},
    "a slow answer": {"faults": plan_of(Outage(slow(8.0), kinds=_CHANGES))},
    "a commit": {"commit_s": 3.0},
    "a listing": {"faults": plan_of(Outage(HANG, kinds=frozenset({Kind.LIST})))},
    "the breaker": {"faults": plan_of(Outage(with_http(503), kinds=_CHANGES))},
    "Retry-After": {"faults": plan_of(Outage(with_http(429, retry_after="60"), kinds=_CHANGES))},
}


@pytest.mark.parametrize("at_s", [0.05, 1.0, 4.0])
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_a_stop_ends_every_kind_of_wait(
    tmp_path: Path, wait: dict[str, Any], at_s: float
) -> None:
    """[X07] [P09] SIGTERM at three instants of nine waits: no PUT leaves after it, exit 143.

    What was in flight gets 3 s for its answer; what is in doubt then is looked at for 5 s.
    """
    options = dict(wait)
    unreachable, commit_s = options.pop("unreachable", None), options.pop("commit_s", 0.0)
    stage = Stage(tmp_path, started(40), **options)
    stage.server.unreachable = [unreachable] if unreachable else []
    stage.disk.commit_s = commit_s
    stop = Stopper(stage)
    asyncio.get_running_loop().call_later(at_s, stop)

    result = await stage.pause()

    ended_s = asyncio.get_running_loop().time()
    if stop.at_s is None:
        assert result.exit_code == 0, "it was over before the signal came"
        return
    assert result.exit_code == 143
    assert [one for one in stage.server.puts if one.at_s > stop.at_s] == []
    assert sum(result.counts.values()) == 40
    assert stage.on_record(INTENDED) == []
    # 3 s for what is in flight and 5 s for a last look; then commits of the answer and of the end
    assert ended_s - stop.at_s <= 8 + 10 * (commit_s or 0.1)


async def test_a_stop_while_pages_are_read_abreast(tmp_path: Path) -> None:
    """[X07] the positive control of an emergency has three pages: a stop is no bug."""
    stage = Stage(tmp_path, started(250))
    stop = Stopper(stage)

    def control(sent: Sent) -> None:
        if sent.kind is Kind.LIST and "status=0" in sent.target and "curPage=2" in sent.target:
            stop()

    stage.server.on_sent = control

    result = await stage.pause_all(VDN)

    stop.check()
    assert result.exit_code == 143
    assert stage.events.counts["run.bug"] == 0


async def test_a_stop_in_the_hold_after_the_proof_is_a_success(tmp_path: Path) -> None:
    """Ctrl-C during --hold, quiet proven: exit 0."""
    stage = Stage(tmp_path, started(20))
    stop = Stopper(stage, Ended.SIGNAL_INT)
    asyncio.get_running_loop().call_later(60.0, stop)

    result = await stage.pause_all(VDN, hold_s=600.0)

    stop.check()
    assert (result.exit_code, result.verdict) == (0, "quiet")


async def test_a_stop_in_the_hold_while_a_look_shows_a_start_is_none(tmp_path: Path) -> None:
    """Its first listing had shown it when Ctrl-C broke the look off: the proof stands no more."""
    stage = Stage(tmp_path, started(20))
    stop = Stopper(stage, Ended.SIGNAL_INT)
    again = stage.world.refs()[3]

    def control(sent: Sent) -> None:
        if stage.clock.now_s() < 60 or sent.kind is not Kind.LIST:
            return
        if "status=0" in sent.target:
            stage.world.set_status(again, Status.STARTED)
        elif stage.world.status_of(again) is Status.STARTED:
            stop()

    stage.server.on_sent = control

    result = await stage.pause_all(VDN, hold_s=600.0)

    stop.check()
    assert (result.exit_code, result.verdict) == (130, "still_running")
    assert result.counts == {"paused": 19, "still_running": 1}


@pytest.mark.parametrize("fails_from", [2, 3, 10, 41, 60])
async def test_a_full_disk_stops_a_batch_before_the_next_put(
    tmp_path: Path, fails_from: int
) -> None:
    """[P16, P18] from the n-th commit on nothing can be stored: exit 5, no PUT without intent."""
    stage = Stage(tmp_path, started(60))
    stage.disk.fails_from = fails_from

    result = await stage.pause()

    assert result.exit_code == 5
    assert stage.server.problems == []
    assert len(stage.server.puts) <= fails_from


async def test_the_first_reason_to_end_stays() -> None:
    """A deadline after a signal changes nothing; everybody who sleeps wakes at once."""
    stopping = Stopping()
    exchange: list[str] = []
    stopping.on_stop(lambda: exchange.append("stop"))
    sleeper = asyncio.ensure_future(stopping.sleep(None))
    await asyncio.sleep(0)

    stopping.stop(Ended.SIGNAL_INT, "first")
    stopping.stop(Ended.DEADLINE, "second")
    await sleeper
    await stopping.sleep(1_000)

    assert (stopping.ended, stopping.why, exchange) == (Ended.SIGNAL_INT, "first", ["stop"])
    assert asyncio.get_running_loop().time() == 0.0
    with pytest.raises(StoppedError):
        stopping.check()


async def test_sleepers_wake_in_the_order_in_which_they_slept() -> None:
    """Ten sleepers, one ring: woken first to last, so that a seed repeats a run."""
    alarm = Alarm()
    woken: list[int] = []

    async def sleep(number: int) -> None:
        await alarm.sleep(None)
        woken.append(number)

    sleepers = [asyncio.ensure_future(sleep(number)) for number in range(10)]
    await asyncio.sleep(0)
    alarm.ring()
    await asyncio.gather(*sleepers)

    assert woken == list(range(10))


async def test_a_stop_before_anything_sends_nothing(tmp_path: Path) -> None:
    """Told to stop while the list is read: nothing sent, 130, and no run to continue."""
    stage = Stage(tmp_path, started(5))
    stage.on_birth = lambda born: born.stopping.stop(Ended.SIGNAL_INT, "told to")

    with pytest.raises(NotBegunError, match="told to before anything was sent") as caught:
        await stage.pause()

    assert caught.value.exit_code == 130
    assert stage.server.sent == []
    assert stage.run_dirs() == []


async def test_a_wait_too_short_for_the_clock_still_passes_time() -> None:
    """An instant that is 1e-18 s ahead is reached by sleeping for it once, not never."""
    alarm = Alarm()
    loop = asyncio.get_running_loop()
    await alarm.sleep(10_000)
    before_s = loop.time()

    await alarm.sleep(1e-18)

    assert loop.time() > before_s
