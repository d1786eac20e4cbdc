"""Several runs share one ceiling: in virtual time, over the real file."""

from __future__ import annotations

import fcntl
import heapq
import itertools
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.pacer import Pacer
from orchestrator.simulator.ledger import fullest_window
from orchestrator.store.rate_file import SLOTS, RateFile

URL = "https://cc.example:28080/api"


@dataclass
class Run:
    """One run: its pacer, its part in the file, and how many requests wait."""

    pacer: Pacer
    shared: RateFile
    emergency: bool
    waiting: int = 0
    sent: list[float] = field(default_factory=list)
    frozen_until_s: float = 0.0
    dead: str = ""


class Runs:
    """Runs against one server; requests arrive, and each leaves when it may."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.runs: list[Run] = []
        self.warnings: list[str] = []
        self.now_s = 1000.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def add(self, rate_per_s: float = 40, *, emergency: bool = False, waiting: int = 0) -> Run:
        """One more run, with so many requests waiting now."""
        shared = RateFile(
            self.folder, URL, rate_per_s=rate_per_s, emergency=emergency, warn=self.warnings.append
        )
        run = Run(Pacer(rate_per_s), shared, emergency)
        self.runs.append(run)
        self.at(self.now_s, lambda: self.arrive(run, waiting))
        return run

    def at(self, at_s: float, what: Callable[[], None]) -> None:
        """Do something at an instant."""
        heapq.heappush(self._events, (at_s, next(self._number), what))

    def arrive(self, run: Run, number: int) -> None:
        """So many requests more want to leave."""
        idle = run.waiting == 0
        run.waiting += number
        if idle and number:
            self.ask(run)

    def ask(self, run: Run) -> None:
        """The request at the head of the line asks; its timer wakes it up to a millisecond late."""
        if run.dead or not run.waiting:
            return
        if self.now_s < run.frozen_until_s:
            self.at(run.frozen_until_s, lambda: self.ask(run))
            return
        own_wait_s = run.pacer.wait_s(now_s=self.now_s)
        wait_s = run.shared.acquire(now_s=self.now_s, own_wait_s=own_wait_s)
        if wait_s == 0:
            assert not isinstance(run.pacer.acquire(now_s=self.now_s), float)
            run.sent.append(self.now_s)
            run.waiting -= 1
            if not run.waiting:
                run.shared.withdraw()
                return
            wait_s = 1e-5
        self.at(self.now_s + wait_s + self.chance.uniform(0, 0.001), lambda: self.ask(run))

    def pass_time(self, seconds: float) -> None:
        """Let so much time go by."""
        end_s = self.now_s + seconds
        while self._events and self._events[0][0] <= end_s:
            self.now_s, _, what = heapq.heappop(self._events)
            what()
        self.now_s = end_s

    def worst(self) -> int:
        """The most requests of all runs together in any second."""
        sent = itertools.chain.from_iterable(run.sent for run in self.runs)
        return fullest_window(sorted(sent), 1.0)

    def sent_between(self, begin_s: float, end_s: float, runs: list[Run] | None = None) -> int:
        """How many left in a span of time."""
        chosen = self.runs if runs is None else runs
        return sum(begin_s <= at_s < end_s for run in chosen for at_s in run.sent)

    def close(self) -> None:
        """Let go of the files."""
        for run in self.runs:
            run.shared.close()


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    """No run yet."""
    made = Runs(tmp_path)
    yield made
    made.close()
    assert made.warnings == []


@pytest.mark.parametrize("rate_per_s", [10, 40, 400])
@pytest.mark.parametrize("number", [2, 5, 20])
def test_together_they_send_no_more_than_one_would_and_hardly_less(
    runs: Runs, rate_per_s: float, number: int
) -> None:
    """2, 5, 20 batch runs: at most R in any second, at least 98 % of R used, each its part."""
    for _ in range(number):
        runs.add(rate_per_s, waiting=100_000)
    runs.pass_time(12)

    assert runs.worst() <= rate_per_s
    total = runs.sent_between(1001, 1011)
    assert total >= 0.975 * 10 * rate_per_s
    parts = [runs.sent_between(1001, 1011, [run]) for run in runs.runs]
    assert min(parts) >= 0.8 * total / number - 1


@pytest.mark.parametrize("rate_per_s", [10, 40, 400])
def test_an_emergency_takes_the_rate_at_once_and_the_batch_is_back_when_it_ends(
    runs: Runs, rate_per_s: float
) -> None:
    """Its share is 95 % within 0.3 s; the batch has the rate again within a second."""
    batch = [runs.add(rate_per_s, waiting=100_000) for _ in range(3)]
    runs.pass_time(5)
    emergency = runs.add(rate_per_s, emergency=True, waiting=round(3 * rate_per_s))
    began_s = runs.now_s
    runs.pass_time(2.5)

    total = runs.sent_between(began_s + 0.3, began_s + 2.3)
    assert runs.sent_between(began_s + 0.3, began_s + 2.3, [emergency]) >= 0.95 * total
    assert all(run.shared.turn.yields for run in batch)
    runs.pass_time(1.5)
    ended_s = emergency.sent[-1]
    emergency.shared.close()
    runs.pass_time(4)
    assert runs.sent_between(ended_s + 1, ended_s + 4, batch) >= 0.95 * 3 * rate_per_s
    assert runs.worst() <= rate_per_s


def test_no_run_exceeds_its_own_rate(runs: Runs) -> None:
    """R = 10 beside R = 40: 10 and 30 in a second, 40 together."""
    slow, fast = runs.add(10, waiting=1000), runs.add(40, waiting=1000)
    runs.pass_time(12)

    assert runs.sent_between(1002, 1012, [slow]) <= 100
    assert runs.sent_between(1002, 1012, [slow]) >= 90
    assert runs.sent_between(1002, 1012, [fast]) >= 280
    assert runs.worst() <= 40


@pytest.mark.parametrize("emergency", [False, True])
def test_a_run_that_is_killed_or_frozen_holds_up_nobody(runs: Runs, *, emergency: bool) -> None:
    """`kill -9` and SIGSTOP while it waits: the others are at full rate a moment later."""
    other = runs.add(40, waiting=100_000)
    for _ in range(4):
        runs.add(40, waiting=100_000, emergency=emergency)
    runs.pass_time(2)
    for run in runs.runs[1:3]:
        run.dead = "kill -9"
    for run in runs.runs[3:]:
        run.frozen_until_s = runs.now_s + 6
    began_s = runs.now_s
    runs.pass_time(5)
    assert runs.sent_between(began_s + 1.2, began_s + 4.2, [other]) >= 0.95 * 3 * 40
    runs.pass_time(6)

    assert runs.worst() <= 40
    assert runs.sent_between(runs.now_s - 3, runs.now_s) >= 0.97 * 3 * 40


@settings(max_examples=60)
@given(data=st.data())
def test_never_more_than_the_ceiling_and_nobody_starves(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Property: random runs, arrivals, kills, freezes: R holds, every run gets on within 10 s."""
    runs = Runs(tmp_path_factory.mktemp("rate"), seed=data.draw(st.integers(0, 1000)))
    rate_per_s = data.draw(st.sampled_from([1, 2, 7, 10, 40, 150]))
    span = st.floats(0, 12)
    for _ in range(data.draw(st.integers(1, 6))):
        run = runs.add(
            data.draw(st.sampled_from([rate_per_s, rate_per_s, max(1, rate_per_s // 2)])),
            emergency=data.draw(st.sampled_from([False, False, False, True])),
        )
        for _ in range(data.draw(st.integers(1, 3))):
            number = data.draw(st.integers(1, 4 * rate_per_s))
            runs.at(1000 + data.draw(span), partial(runs.arrive, run, number))
        if data.draw(st.booleans()):
            begin_s, length_s = 1000 + data.draw(span), data.draw(st.floats(0.01, 5))
            runs.at(begin_s, partial(setattr, run, "frozen_until_s", begin_s + length_s))
        elif data.draw(st.booleans()):
            runs.at(1000 + data.draw(span), partial(setattr, run, "dead", "kill -9"))
    runs.pass_time(20)
    for run in runs.runs:
        run.frozen_until_s = 0.0
    runs.pass_time(600)
    runs.close()

    assert runs.warnings == []
    assert runs.worst() <= rate_per_s
    assert not any(run.waiting for run in runs.runs if not run.dead)  # no deadlock
    if not any(run.emergency for run in runs.runs):
        for run in runs.runs:
            gaps = (later - earlier for earlier, later in itertools.pairwise(run.sent))
            assert max(gaps, default=0) < 10 + 12 + 5  # idle spans and freezes included


def test_a_boot_begins_anew(runs: Runs) -> None:
    """The clock begins anew: what was written before says nothing, and holds nobody up."""
    runs.add(10, waiting=100)
    runs.pass_time(1)
    runs.close()
    again = Runs(runs.folder)
    again.now_s = 3.0
    run = again.add(10, waiting=100)
    again.pass_time(2)
    again.close()

    assert len(run.sent) >= 19


BROKEN = ["foreign", "folder", "link", "fifo", "folder is a file", "read-only", "no directory"]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_cannot_be_used_means_own_pace_and_one_warning(
    tmp_path: Path, kind: str
) -> None:
    """Foreign, broken, unwritable: the run sends, says why once, and touches nothing."""
    state = tmp_path / "state"
    runs = Runs(state)
    path = RateFile(state, URL, rate_per_s=1, emergency=False, warn=print).path
    path.parent.mkdir(parents=True)
    if kind == "foreign":
        path.write_bytes(b"mine" * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "target").write_bytes(b"")
        path.symlink_to(tmp_path / "target")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder is a file":
        path.parent.rmdir()
        path.parent.write_bytes(b"mine")
    elif kind == "read-only":
        path.write_bytes(b"")
        runs.add(10)
        runs.runs[0].shared._put = _full  # type: ignore[method-assign]
    else:
        runs.folder = tmp_path / ("x" * 300)
    run = runs.runs[0] if runs.runs else runs.add(10)
    runs.arrive(run, 100)
    runs.pass_time(5)
    runs.close()

    assert len(run.sent) >= 48
    assert runs.worst() <= 10
    assert len(runs.warnings) == 1


def _full(at: int, data: bytes) -> None:
    raise OSError(28, f"No space left on device: {len(data)} bytes at {at}")


def test_a_lock_that_is_held_for_long_means_own_pace_for_a_while(runs: Runs) -> None:
    """A process frozen within the lock: 50 ms are waited, then the run goes on; later it shares."""
    run = runs.add(10, waiting=1)
    runs.pass_time(1)
    holder = os.open(run.shared.path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    began_s = runs.now_s
    runs.arrive(run, 30)
    runs.pass_time(2)

    assert 0.05 <= run.sent[1] - began_s < 0.07
    assert len(run.sent) >= 19
    os.close(holder)
    runs.pass_time(2)
    other = runs.add(10, waiting=10)
    runs.arrive(run, 10)
    runs.pass_time(3)
    assert other.shared.turn.others == run.shared.turn.others == 1
    assert [reason for reason in runs.warnings if "lock" in reason] == runs.warnings != []
    runs.warnings.clear()


def test_places_are_used_again_and_one_run_too_many_keeps_its_own_pace(runs: Runs) -> None:
    """64 runs at a time; what was killed long ago makes room."""
    for _ in range(SLOTS):
        runs.add(1000, waiting=1)
    runs.pass_time(1)
    beyond = runs.add(1000, waiting=1)
    runs.pass_time(1)
    assert len(beyond.sent) == 1
    assert ["more than 64" in reason for reason in runs.warnings] == [True]
    runs.warnings.clear()
    runs.pass_time(60)
    late = runs.add(1000, waiting=1)
    runs.pass_time(1)

    assert len(late.sent) == 1
