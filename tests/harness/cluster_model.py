"""The cluster's protocol in virtual time: the real worker and pace, a model of all else.

    ./do cluster-faults model=1 seeds=5000     seeds 0 … 4999
    ./do cluster-faults model=1 seed=1234      one of them, with its story

`cluster/worker.py`, `store/pace.py` and `policy/slices.py` are the real ones. The database, the
queue, the server and the engine are models: `Tables` answers as the SQL of store/chunks.py does,
which tests/cluster/test_model.py compares with a real PostgreSQL. A scenario draws chunks, workers
with clocks of their own, and kills, freezes, crashes, cut and silent connections, lost answers,
lost rings, drains and steps of the database's clock. Always: every campaign gets its outcome,
nothing settled is sent a PUT, at most R requests leave in any second, an intent is on record first.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import random
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

from orchestrator.cluster import worker as worker_module
from orchestrator.cluster.part_work import Held
from orchestrator.cluster.worker import Worker
from orchestrator.engine.run import Environment
from orchestrator.engine.stop import Alarm
from orchestrator.errors import FencedError, StorageError
from orchestrator.policy.leases import LEASE_S, Lease
from orchestrator.policy.slices import Ask, Slice
from orchestrator.reports.summary import Ended
from orchestrator.settings.secret import Secret
from orchestrator.simulator.ledger import fullest_window
from orchestrator.store.chunks import AFTER_FAILURE_S, Waiting
from orchestrator.store.transfer import Part
from tests.cluster.giving import Row, give
from tests.fakes import RecordedEvents
from tests.harness.arguments import Arguments
from tests.virtual_time import VirtualTimeLoop

T = TypeVar("T")

_RATE = 20
_RUN = 1
#: seconds of virtual time in which things go wrong, and after which everything must be through
_TROUBLE_S, _THROUGH_S = 30.0, 240.0
_TAKEOVER_S = 10.0
#: seconds after which a worker that was told to end has ended: `leave_in_time` sees to it
_GONE_S = 4.8


# -- the database -----------------------------------------------------------------------------


@dataclass(slots=True)
class ChunkRow:
    """A row of orchestrator.chunk."""

    hi: int
    epoch: int = 0
    holder: str | None = None
    lease_until_s: float | None = None
    done: bool = False


class Tables:
    """What the SQL of store/chunks.py and store/transfer.py does; time comes in."""

    def __init__(self, sizes: list[int]) -> None:
        """Chunks of so many lines each."""
        self.chunks: dict[int, ChunkRow] = {}
        #: line → number of its newest intent, and the epoch that put it
        self.intents: dict[int, int] = {}
        #: lines with an outcome
        self.outcomes: set[int] = set()
        lo = 1
        for size in sizes:
            self.chunks[lo] = ChunkRow(lo + size - 1)
            lo += size

    @property
    def lines(self) -> int:
        """Lines of the list."""
        return max(one.hi for one in self.chunks.values())

    @staticmethod
    def _is_free(row: ChunkRow, now_s: float) -> bool:
        until_s = row.lease_until_s
        rests = until_s is not None and now_s < until_s <= now_s + AFTER_FAILURE_S + 0.5
        return not row.done and row.holder is None and not rests

    def claim(self, lo: int, *, holder: str, now_s: float) -> Part | None:
        """As chunks.claim."""
        row = self.chunks[lo]
        if not self._is_free(row, now_s):
            return None
        row.epoch += 1
        row.holder, row.lease_until_s = holder, now_s + LEASE_S
        return Part(_RUN, lo, row.hi, 1, row.epoch)

    def _is_ours(self, part: Part, holder: str) -> bool:
        row = self.chunks[part.lo]
        return (row.epoch, row.holder, row.done) == (part.epoch, holder, False)

    def renew(self, part: Part, *, holder: str, now_s: float) -> bool:
        """As chunks.renew."""
        if self._is_ours(part, holder):
            self.chunks[part.lo].lease_until_s = now_s + LEASE_S
            return True
        return False

    def hand_back(self, part: Part, *, holder: str, now_s: float, after_s: float = 0.0) -> bool:
        """As chunks.hand_back."""
        if not self._is_ours(part, holder):
            return False
        row = self.chunks[part.lo]
        row.epoch += 1
        row.holder, row.lease_until_s = None, now_s + after_s
        return True

    def finish(self, part: Part, *, holder: str, now_s: float) -> bool:
        """As chunks.finish."""
        del now_s
        if not self._is_ours(part, holder) or not self.settled(part):
            return False
        row = self.chunks[part.lo]
        row.epoch += 1
        row.holder, row.lease_until_s, row.done = None, None, True
        return True

    def leases(self) -> list[Lease]:
        """As chunks.leases, in another order."""
        return [
            Lease(_RUN, lo, row.epoch, row.lease_until_s)
            for lo, row in self.chunks.items()
            if row.holder is not None
        ]

    def end_lease(self, lease: Lease) -> bool:
        """As chunks.end_lease."""
        row = self.chunks[lease.lo]
        same = (row.epoch, row.lease_until_s) == (lease.epoch, lease.renewal)
        if row.holder is None or not same:
            return False
        row.epoch += 1
        row.holder = row.lease_until_s = None
        return True

    def settled(self, part: Part) -> bool:
        """Whether every line of it has an outcome."""
        return self.outcomes.issuperset(range(part.lo, part.hi + 1))

    def unrung(self, rung: set[int], *, now_s: float) -> list[int]:
        """As chunks.unrung."""
        free = (lo for lo, row in self.chunks.items() if self._is_free(row, now_s))
        return sorted(lo for lo in free if lo not in rung)

    def put(self, part: Part, *, intent: tuple[int, int] | None = None, outcome: int = 0) -> bool:
        """As transfer.put_rows: nothing in the name of an old epoch."""
        if self.chunks[part.lo].epoch != part.epoch:
            return False
        if intent is not None:
            self.intents[intent[0]] = intent[1]
        if outcome:
            self.outcomes.add(outcome)
        return True


@dataclass
class World:
    """One scenario: the database, the queue, the server, and what was seen."""

    rng: random.Random
    tables: Tables
    pace: Row | None = None
    #: rings that nobody has heard
    queue: list[int] = field(default_factory=list)
    is_away: bool = False
    #: the database's clock minus the loop's
    offset_s: float = 1e9
    #: longest way to the database and back, seconds
    way_s: float = 0.002
    #: chance that an answer is lost
    lost: float = 0.0
    #: chance that the server says "database error"
    errors: float = 0.0
    #: campaigns that the server has stopped
    stopped: set[int] = field(default_factory=set)
    #: when requests left, of every kind
    left: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    def now_s(self) -> float:
        """The loop's present."""
        return asyncio.get_running_loop().time()

    def tell(self, text: str) -> None:
        """A line of the story."""
        self.story.append(f"{self.now_s():9.4f} {text}")

    def arrive(self, line: int, who: str) -> None:
        """A PUT leaves; it is carried out at once."""
        self.left.append(self.now_s())
        if line in self.tables.outcomes:
            self.wrong.append(f"{self.now_s():.3f} {who} sent line {line}, which was settled")
        if line not in self.tables.intents:
            self.wrong.append(f"{self.now_s():.3f} {who} sent line {line} without an intent")


# -- a worker in it ---------------------------------------------------------------------------


class ModelClock:
    """A worker's own clock: it starts somewhere, drifts a little, and stands while it is frozen."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._from_s = world.rng.uniform(0.0, 1e6)
        self._speed = 1.0 + world.rng.uniform(-1e-4, 1e-4)
        self.is_awake = asyncio.Event()
        self.is_awake.set()
        self.is_dead = False

    def now_s(self) -> float:
        """Its present."""
        return self._from_s + self._world.now_s() * self._speed

    def wall_ms(self) -> int:
        """No matter."""
        return 0

    def local_text(self) -> str:
        """No matter."""
        return ""

    def chance(self) -> float:
        """Of the seed."""
        return self._world.rng.random()

    async def gate(self) -> None:
        """Go on once the process runs; a dead one never does."""
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        while not self.is_awake.is_set():
            await self.is_awake.wait()
            await self.gate()

    async def sleep(self, wait_s: float) -> None:
        """Wait."""
        await asyncio.sleep(wait_s)
        await self.gate()


class Link:
    """A worker's way to the database."""

    def __init__(self, world: World, clock: ModelClock, name: str) -> None:
        self.name = name
        self._world = world
        self._clock = clock
        self.is_cut = False
        self.is_silent = False

    async def call(self, operation: Callable[[float], Any], *, patience_s: float = 5.0) -> Any:
        """Do something at the database; `operation` is given its present.

        Raises:
            StorageError: it is away, or its answer is lost.
        """
        world, rng = self._world, self._world.rng
        await self._clock.gate()
        await asyncio.sleep(rng.uniform(0.0, world.way_s / 2))
        if self._clock.is_dead and rng.random() < 0.5:
            await self._clock.gate()
        if world.is_away or self.is_cut or self.is_silent:
            await asyncio.sleep(patience_s if self.is_silent else rng.uniform(0.0, 0.5))
            await self._clock.gate()
            raise StorageError("it is away")
        result = operation(world.now_s() + world.offset_s)
        await asyncio.sleep(rng.uniform(0.0, world.way_s / 2))
        await self._clock.gate()
        if rng.random() < world.lost:
            raise StorageError("the connection is lost")
        return result


class ModelDesk:
    """In place of worker.Desk: one statement at a time, answered by the tables."""

    def __init__(self, world: World, link: Link) -> None:
        self._world = world
        self._link = link
        self._turn = asyncio.Lock()

    async def do(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """As Desk.do; the operations are those of store/chunks.py and cluster_runs.py."""
        name, tables = operation.__name__, self._world.tables

        def apply(now_s: float) -> Any:
            if name == "claim":
                part = tables.claim(args[1], now_s=now_s, **kwargs)
                self._world.tell(f"{kwargs['holder']} claims {args[1]}: {part}")
                return part
            if name == "unrung":
                found = tables.unrung(set(self._world.queue), now_s=now_s)
                return [Waiting(_RUN, lo, emergency=False) for lo in found]
            if name in {"end_overdue", "courses"}:
                return []  # no run of the model ends early
            if name == "leases":
                return tables.leases()
            if name == "end_lease":
                told = tables.end_lease(args[0])
                self._world.tell(f"{self._link.name} ends {args[0]}: {told}")
                return told
            told = getattr(tables, name)(*args, now_s=now_s, **kwargs)
            self._world.tell(f"{kwargs['holder']} {name} {args[0].lo}: {told}")
            return told

        async with self._turn:
            return await self._link.call(apply)

    async def aclose(self) -> None:
        """Nothing to do."""


class ModelGiver:
    """The pace row, over a worker's way; forgotten when the database crashes."""

    def __init__(self, world: World, link: Link) -> None:
        self._world = world
        self._link = link

    async def ask(self, ask: Ask) -> Slice:
        """As Giver.ask."""

        def apply(now_s: float) -> Slice:
            self._world.pace, told = give(self._world.pace, ask, now_s=now_s)
            return told

        try:
            told: Slice = await self._link.call(apply, patience_s=3.0)
        except StorageError as error:
            raise ConnectionError(str(error)) from error
        return told

    async def close(self) -> None:
        """Nothing to do."""


class ModelApp:
    """The queue as one worker has it open."""

    def __init__(self, worker: ModelWorker, heard: Callable[[int, int], Awaitable[None]]) -> None:
        self.worker = worker
        self.heard = heard

    @contextlib.asynccontextmanager
    async def _opened(self) -> Any:
        await self.worker.link.call(lambda _: None)
        yield

    def open_async(self) -> Any:
        """As Procrastinate's."""
        return self._opened()


async def _ring(app: ModelApp, chunks: list[Waiting]) -> None:
    world = app.worker.world
    if chunks:
        await app.worker.link.call(lambda _: world.queue.extend(one.lo for one in chunks))


async def _listen(app: ModelApp) -> None:
    """One at a time; it gives up on a database that is away, as Procrastinate does."""
    world = app.worker.world
    while True:
        lo = await app.worker.link.call(lambda _: world.queue.pop(0) if world.queue else 0)
        if lo:
            await app.heard(_RUN, lo)
        else:
            await app.worker.clock.sleep(1.0)


class ModelWorker(Worker):
    """The real worker; its engine is a model that keeps the engine's promises to the store."""

    def __init__(self, world: World) -> None:
        self.clock = ModelClock(world)
        self.environment = Environment(clock=self.clock, events=RecordedEvents(), host="model")
        settings: Any = SimpleNamespace(
            server=SimpleNamespace(base_url="https://model"), pace=SimpleNamespace(concurrency=8)
        )
        super().__init__(Secret("postgresql://model"), settings, self.environment)
        self.world = world
        self.holder = f"w{world.rng.randrange(10**6):06}"
        self.link = Link(world, self.clock, self.holder)
        self._desk: Any = ModelDesk(world, self.link)
        self._giver: Any = ModelGiver(world, self.link)
        self.running = asyncio.create_task(self.run())

    async def _work_on(self, held: Held) -> Ended:
        part, tables = held.part, self.world.tables
        given_up = threading.Event()
        held.journal = SimpleNamespace(given_up=given_up)  # type: ignore[assignment]
        known = await self.link.call(
            lambda _: (dict(tables.intents), set(tables.outcomes)), patience_s=5.0
        )
        alarm = Alarm()
        dispatcher = SimpleNamespace(
            pacer=SimpleNamespace(ceiling_per_s=float(_RATE)),
            departures=SimpleNamespace(waiting=0),
            concurrency=2,
            alarm=alarm,
        )
        pace = self._share(dispatcher, held)  # type: ignore[arg-type]
        held.stopping.on_stop(alarm.ring)
        work = _Work(self, held, given_up, dispatcher, pace, alarm)
        places = held.work_limit
        assert places is not None

        async def one(line: int) -> None:
            async with places:
                await work.settle(line, intents=known[0].get(line, 0))

        failed: StorageError | None = None
        try:
            async with asyncio.TaskGroup() as lines:
                for line in range(part.lo, part.hi + 1):
                    if line not in known[1]:
                        lines.create_task(one(line))
        except* StorageError as group:
            failed = StorageError(str(group.exceptions[0]))  # raised here it would be a group
        finally:
            pace.close()
        if failed is not None:
            raise failed
        return held.stopping.ended if held.stopping.is_stopping else Ended.FINISHED


class _Work:
    """The engine on one chunk, as the store and the server see it."""

    def __init__(
        self,
        worker: ModelWorker,
        held: Held,
        given_up: threading.Event,
        dispatcher: Any,
        pace: Any,
        alarm: Alarm,
    ) -> None:
        self._worker = worker
        self._held = held
        self._given_up = given_up
        self._dispatcher = dispatcher
        self._pace = pace
        self._alarm = alarm

    async def settle(self, line: int, *, intents: int) -> None:
        """One campaign: looked at if it was begun, else an intent, a PUT, an outcome."""
        world, clock = self._worker.world, self._worker.clock
        in_doubt = intents > 0
        while True:
            if not in_doubt:
                intents += 1
                if not await self._put(intent=(line, intents)):
                    return
            if not await self._leaves():
                return
            if in_doubt:
                world.left.append(world.now_s())
            else:
                world.arrive(line, self._worker.holder)
            is_error = not in_doubt and world.rng.random() < world.errors
            if not in_doubt and (not is_error or world.rng.random() < 0.3):
                world.stopped.add(line)
            await clock.sleep(world.rng.uniform(0.001, 0.2))
            if not is_error and line in world.stopped:
                await self._put(outcome=line)
                return
            in_doubt = is_error and world.rng.random() < 0.3

    async def _leaves(self) -> bool:
        """Wait for the pace; False: nothing more is sent here."""
        clock = self._worker.clock
        self._dispatcher.departures.waiting += 1
        try:
            while not self._held.stopping.is_stopping:
                wait_s = self._pace.acquire(now_s=clock.now_s())
                if wait_s == 0.0:
                    return True
                await self._alarm.sleep(wait_s)
                await clock.gate()
            return False
        finally:
            self._dispatcher.departures.waiting -= 1

    async def _put(self, **what: Any) -> bool:
        """As often as it takes, under the epoch; False: nobody begins anything now.

        Raises:
            StorageError: another has the chunk, or the database is waited for no longer.
        """
        tables, wait_s = self._worker.world.tables, 0.05
        while not (self._held.stopping.is_stopping and "intent" in what):
            try:
                put = await self._worker.link.call(lambda _: tables.put(self._held.part, **what))
            except StorageError:
                if self._given_up.is_set():
                    raise
                await self._worker.clock.sleep(wait_s)
                wait_s = min(2 * wait_s, 1.0)
            else:
                if not put:
                    raise FencedError
                return True
        return False


# -- a scenario -------------------------------------------------------------------------------


class Scenario:
    """One seed: what goes wrong, and when."""

    def __init__(self, seed: int) -> None:
        """Draw it."""
        self.rng = random.Random(seed)
        rng = self.rng
        sizes = [rng.randint(1, 6) for _ in range(rng.randint(2, 8))]
        self.world = World(rng, Tables(sizes))
        #: only kills: then the time of a takeover is promised
        self.kills_only = rng.random() < 0.25
        if not self.kills_only:
            self.world.way_s = rng.choice((0.002, 0.002, 0.008))
            self.world.lost = rng.choice((0.0, 0.0, 0.01, 0.1))
        self.world.errors = rng.choice((0.0, 0.2))
        self.workers: list[ModelWorker] = []
        self._troubles = [self._kill] if self.kills_only else [
            self._kill, self._kill, self._freeze, self._freeze, self._crash, self._cut,
            self._silence, self._drain, self._step, self._lose_rings, self._ring_twice, self._slow,
        ]  # fmt: skip

    def _start(self) -> None:
        self.workers.append(ModelWorker(self.world))

    def _a_worker(self) -> ModelWorker | None:
        alive = [one for one in self.workers if not one.clock.is_dead]
        return self.rng.choice(alive) if alive else None

    async def _kill(self, worker: ModelWorker) -> None:
        world = self.world
        world.tell(f"kill {worker.holder}")
        worker.clock.is_dead = True
        had = {lo: one.epoch for lo, one in world.tables.chunks.items()
               if one.holder == worker.holder}  # fmt: skip
        self._start()
        if self.kills_only:
            others = [one for one in self.workers if not one.clock.is_dead]
            await asyncio.sleep(_TAKEOVER_S)
            if all(one.clock.is_dead for one in others):
                return  # nobody has been there for so long
            late = [lo for lo, epoch in had.items() if world.tables.chunks[lo].epoch == epoch]
            if late:
                world.wrong.append(f"{world.now_s():.3f} chunks {late} have no new holder")

    async def _freeze(self, worker: ModelWorker) -> None:
        worker.clock.is_awake.clear()
        self.world.tell(f"freeze {worker.holder}")
        await asyncio.sleep(self.rng.choice((0.02, 0.5, 4.0, 4.9, 5.1, 12.0)))
        self.world.tell(f"wake {worker.holder}")
        worker.clock.is_awake.set()

    async def _crash(self, _: ModelWorker) -> None:
        world = self.world
        world.tell("the database crashes")
        world.is_away, world.pace = True, None
        await asyncio.sleep(self.rng.choice((0.2, 3.0, 12.0)))
        world.tell("the database is back")
        world.is_away = False

    async def _cut(self, worker: ModelWorker) -> None:
        self.world.tell(f"cut {worker.holder}")
        worker.link.is_cut = True
        await asyncio.sleep(self.rng.uniform(0.1, 12.0))
        worker.link.is_cut = False

    async def _silence(self, worker: ModelWorker) -> None:
        self.world.tell(f"silence {worker.holder}")
        worker.link.is_silent = True
        await asyncio.sleep(self.rng.uniform(0.1, 12.0))
        worker.link.is_silent = False

    async def _drain(self, worker: ModelWorker) -> None:
        self.world.tell(f"drain {worker.holder}")
        worker.environment.stopping.stop(Ended.SIGNAL_TERM, "SIGTERM received")
        self._start()
        await asyncio.wait({worker.running}, timeout=_GONE_S)
        worker.clock.is_dead = True

    async def _slow(self, _: ModelWorker) -> None:
        usual_s = self.world.way_s
        self.world.way_s = self.rng.choice((0.03, 0.3, 1.5))
        self.world.tell(f"the way to the database takes up to {self.world.way_s} s")
        await asyncio.sleep(self.rng.uniform(1.0, 10.0))
        self.world.way_s = min(usual_s, 0.008)

    async def _step(self, _: ModelWorker) -> None:
        by_s = self.rng.choice((3600.0, -3600.0, 7.0, -7.0, 0.3, -0.3, 0.04, -0.04))
        self.world.tell(f"the database's clock leaps by {by_s} s")
        self.world.offset_s += by_s

    async def _lose_rings(self, _: ModelWorker) -> None:
        self.world.queue.clear()

    async def _ring_twice(self, _: ModelWorker) -> None:
        self.world.queue += [lo for lo, one in self.world.tables.chunks.items() if not one.done]

    async def play(self) -> World:
        """All of it."""
        world, rng = self.world, self.rng
        for _ in range(rng.randint(1, 4)):
            self._start()
        troubles: list[asyncio.Task[None]] = []
        for at_s in sorted(
            rng.uniform(0.5, _TROUBLE_S) * rng.random() for _ in range(rng.randint(1, 6))
        ):
            await asyncio.sleep(max(0.0, at_s - world.now_s()))
            worker = self._a_worker()
            if worker is not None:
                troubles.append(asyncio.create_task(rng.choice(self._troubles)(worker)))
        for one in troubles:
            await one
        world.lost = 0.0
        self._start()
        while not all(one.done for one in world.tables.chunks.values()):
            if world.now_s() > _THROUGH_S:
                left = [lo for lo, one in world.tables.chunks.items() if not one.done]
                world.wrong.append(f"chunks {left} are not done after {_THROUGH_S:.0f} s")
                break
            await asyncio.sleep(0.5)
        if not world.wrong and len(world.tables.outcomes) != world.tables.lines:
            world.wrong.append(f"{len(world.tables.outcomes)} outcomes of {world.tables.lines}")
        most = fullest_window(world.left, 1.0)
        if most > _RATE:
            world.wrong.append(f"{most} requests left within a second, R is {_RATE}")
        return world


def scenario(seed: int) -> World:
    """What came of a seed."""

    async def play() -> World:
        return await Scenario(seed).play()

    return run(play())


def run(play: Coroutine[Any, Any, T]) -> T:
    """Play something with models, in a loop of its own; nothing of it goes on afterwards."""

    async def all_of_it() -> T:
        ours = asyncio.current_task()
        played = await play
        while rest := [one for one in asyncio.all_tasks() if one is not ours]:
            for one in rest:
                one.cancel()
            await asyncio.wait(rest, timeout=1.0)
        return played

    with _models():
        loop = VirtualTimeLoop()
        try:
            return loop.run_until_complete(all_of_it())
        finally:
            loop.close()


@contextlib.contextmanager
def _models() -> Iterator[None]:
    """The worker meets the model of a queue."""
    names = {"make_app": _app, "ring": _ring, "listen": _listen}
    real = {name: vars(worker_module)[name] for name in names}
    vars(worker_module).update(names)
    try:
        yield
    finally:
        vars(worker_module).update(real)


def _app(_: Secret, heard: Any) -> ModelApp:
    return ModelApp(heard.__self__, heard)


def play(given: Arguments) -> int:
    """Many seeds, or one with its story."""
    faulthandler.dump_traceback_later(3600, exit=True)
    first = given.whole("seed", 0)
    seeds = range(first, first + given.whole("seeds", 1 if given.text("seed") else 1000))
    began_s, wrong = time.monotonic(), 0
    for seed in seeds:
        world = scenario(seed)
        if len(seeds) == 1:
            print("\n".join(world.story))
        if seed % 500 == 499:
            print(f"cluster-faults model: up to seed {seed}: {wrong} wrong", flush=True)
        if world.wrong:
            wrong += 1
            print(f"seed={seed}: " + "; ".join(world.wrong[:4]), flush=True)
    took_s = time.monotonic() - began_s
    print(f"cluster-faults model: {len(seeds)} seeds, {wrong} wrong, {took_s:.0f} s", flush=True)
    return 1 if wrong else 0
