"""A whole run without a network, a thread for commits, or real time.

- The server is the simulator's own handler; only the wire between it and the product is made here.
  `send` does what the real client does, in the same order (Transport, client.py).
- Time is the virtual loop's; the wall clock is a start plus that time plus jumps.
- Whatever a test does, every PUT must have its committed intent, no campaign two PUTs in flight, no
  second more than R departures, and every report must add up: `Stage` checks.
- a killed process leaves nothing: its writer and its wire are dead from that instant on, what had
  left for the server still arrives.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.clock import Clock
from orchestrator.engine import continuing, pausing, pausing_all
from orchestrator.engine import restore as restoring
from orchestrator.engine.options import (
    ContinueOptions,
    PauseAllOptions,
    PauseOptions,
    RestoreOptions,
)
from orchestrator.engine.pausing_all import Confirm
from orchestrator.engine.results import RunResult
from orchestrator.engine.run import Environment
from orchestrator.engine.stop import Stopping
from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.client import CONTENT_TYPE, Departure
from orchestrator.isales.requests import ApiRequest
from orchestrator.log import Events, Level
from orchestrator.model import CampaignRef, Status
from orchestrator.settings.load import Settings, load_settings
from orchestrator.settings.schema import SigningRules
from orchestrator.simulator.faults import Ending, FaultPlan
from orchestrator.simulator.handler import Handler, Played
from orchestrator.simulator.ledger import Entry, Ledger, fullest_window
from orchestrator.simulator.routes import CHANGES, Kind, Received, read_call
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World, WorldSettings
from orchestrator.store import Journal, Store
from orchestrator.store.registry import known_runs
from orchestrator.store.run_dir import RunDirectory
from orchestrator.store.writer import InlineWriter, Keeper

T = TypeVar("T")

#: 2025-11-23T23:05:01Z; before any machine's today, so that a run made now is never too old
START_MS = 1_763_939_101_000
VDN = 1201
ACCESS_KEY = "AKTEST"
SECRET_KEY = "sk-of-the-tests"
HOST = "127.0.0.1:28080"

_MAX_CHANGE_BYTES = 64 * 1024
_MAX_READ_BYTES = 1024 * 1024


class VirtualClock:
    """The loop's time, a wall clock that may be set, and seeded chance."""

    def __init__(self, *, start_ms: int = START_MS, seed: int = 0) -> None:
        self.start_ms = start_ms
        #: how far our wall clock is off the true one, milliseconds
        self.jump_ms = 0
        self._random = random.Random(seed)

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def true_ms(self) -> int:
        """What a right clock shows."""
        return self.start_ms + round(self.now_s() * 1000)

    def wall_ms(self) -> int:
        return self.true_ms() + self.jump_ms

    def local_text(self) -> str:
        return datetime.fromtimestamp(self.wall_ms() / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")

    async def sleep(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)

    def chance(self) -> float:
        return self._random.random()


class RecordedEvents(Events):
    """Events as values."""

    def __init__(self) -> None:
        super().__init__(stream=io.StringIO())
        self.all: list[tuple[str, dict[str, object]]] = []
        self.counts: Counter[str] = Counter()

    def _say(self, level: Level, event: str, fields: Mapping[str, Any]) -> None:
        self.counts[event] += 1
        self.all.append((event, dict(fields)))

    def named(self, event: str) -> list[dict[str, object]]:
        """The fields of every event of this name."""
        return [fields for name, fields in self.all if name == event]


@dataclass(slots=True)
class Life:
    """One process: everything in it ends with it."""

    number: int
    dead: bool = False
    #: cancels the call that this process is
    end: Callable[[], object] | None = None
    writers: list[FakeWriter] = field(default_factory=list)

    def kill(self) -> None:
        """End it now, as SIGKILL does."""
        if not self.dead:
            self.dead = True
            if self.end is not None:
                self.end()


@dataclass(slots=True)
class Sent:
    """One request that left, as the wire saw it."""

    number: int
    at_s: float
    process: int
    method: str
    target: str
    kind: Kind
    vdn_id: int | None
    ref: CampaignRef | None
    #: what the server made of it; None until it has arrived
    entry: Entry | None = None
    #: when the product heard of it; None: it has not
    ended_s: float | None = None
    #: the whole answer reached the product
    delivered: bool = False
    body: bytes = b""

    @property
    def is_change(self) -> bool:
        """Whether it was a pause or a resume."""
        return self.kind in CHANGES


@dataclass(slots=True)
class Disk:
    """What the journals lie on."""

    #: seconds a commit takes
    commit_s: float = 0.002
    commits: int = 0
    #: writing fails from this commit on; None: never
    fails_from: int | None = None
    #: called with the number of the commit that is about to be made / has been made
    before_commit: Callable[[int], None] | None = None
    after_commit: Callable[[int], None] | None = None

    @property
    def fails(self) -> bool:
        """Whether the commit that is about to be made meets a full disk."""
        return self.fails_from is not None and self.commits + 1 >= self.fails_from


class FakeWriter(InlineWriter):
    """The journal's writer in virtual time: in order, commits take a while, disks fill up."""

    def __init__(self, journal: Journal, *, keep_going: bool, disk: Disk, process: Life) -> None:
        self._on_disk = journal.connection
        self._on_disk.execute("PRAGMA synchronous = OFF")
        super().__init__(Keeper(self._on_disk, journal.path, keep_going=keep_going))
        self._disk = disk
        self._life = process
        self._due_s = 0.0
        self.closed = False
        process.writers.append(self)

    @property
    def connection(self) -> sqlite3.Connection:
        """Where the journal is now."""
        found: sqlite3.Connection = self._keeper.read(lambda connection: connection)
        return found

    def submit(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        return self._later(lambda: self._commit(operation))

    def read(self, operation: Callable[[sqlite3.Connection], T]) -> asyncio.Future[T]:
        return self._later(lambda: self._keeper.read(operation), reads=True)

    async def close(self) -> None:
        loop = asyncio.get_running_loop()
        if not self._life.dead:
            await asyncio.sleep(max(0.0, self._due_s - loop.time()))
        self.closed = True
        self._keeper.close()

    def _commit(self, operation: Callable[[sqlite3.Connection], T]) -> Any:
        disk = self._disk
        if disk.before_commit is not None:
            disk.before_commit(disk.commits + 1)
            if self._life.dead:
                return None

        def written(connection: sqlite3.Connection) -> T:
            if disk.fails and connection is self._on_disk:
                raise sqlite3.OperationalError("database or disk is full")
            return operation(connection)

        result = self._keeper.apply([written])[0]
        disk.commits += 1
        if disk.after_commit is not None:
            disk.after_commit(disk.commits)
        return result

    def _later(self, action: Callable[[], Any], *, reads: bool = False) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._life.dead:
            return future
        wait_s = 0.0 if reads else self._disk.commit_s
        self._due_s = max(self._due_s, loop.time() + wait_s)
        if self._due_s <= loop.time():
            self._resolve(future, action)
        else:
            loop.call_at(self._due_s, self._resolve, future, action)
        return future

    def _resolve(self, future: asyncio.Future[Any], action: Callable[[], Any]) -> None:
        if self._life.dead or self.closed:
            return
        result = action()
        if self._is_over(future):
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def _is_over(self, future: asyncio.Future[Any]) -> bool:
        """Whether nobody hears of it: the commit may have been its process's last act."""
        return self._life.dead or future.done()


class FakeServer:
    """The simulator's handler with a wire in front of it."""

    def __init__(
        self,
        world: World,
        *,
        clock: VirtualClock,
        faults: FaultPlan | None = None,
        signature: SignatureCheck | None = None,
        there_s: float = 0.01,
        back_s: float = 0.01,
        connect_s: float = 0.005,
    ) -> None:
        """Set it up.

        Args:
            world: the campaigns.
            clock: the true time.
            faults: what goes wrong.
            signature: the keys; the tests' own unless given.
            there_s: seconds a request travels.
            back_s: seconds an answer travels.
            connect_s: seconds until a new connection is ready.
        """
        self.world = world
        self.clock = clock
        check = signature or SignatureCheck(ACCESS_KEY, SECRET_KEY)
        self.ledger = Ledger()
        self.handler = Handler(
            world, faults=faults or FaultPlan(), signature=check, ledger=self.ledger
        )
        self.there_s, self.back_s, self.connect_s = there_s, back_s, connect_s
        self.sent: list[Sent] = []
        #: from … to seconds in which no connection can be made
        self.unreachable: list[tuple[float, float]] = []
        #: called when a request has just left
        self.on_sent: Callable[[Sent], None] | None = None
        #: makes the answer instead of the handler: bytes of a whole response; None: the handler
        self.forge: Callable[[Sent], bytes | None] | None = None
        self.in_flight: Counter[CampaignRef] = Counter()
        self.most_in_flight = 0
        self.problems: list[str] = []

    @property
    def puts(self) -> list[Sent]:
        """Every PUT that left, in order."""
        return [one for one in self.sent if one.is_change]

    def puts_to(self, ref: CampaignRef) -> list[Sent]:
        """The PUTs that left for one campaign."""
        return [one for one in self.puts if one.ref == ref]

    def is_unreachable(self) -> bool:
        """Whether a connection asked for now hangs."""
        now_s = self.clock.now_s()
        return any(start_s <= now_s < end_s for start_s, end_s in self.unreachable)

    def worst_window(self) -> int:
        """The most departures within any one second [t, t + 1 s)."""
        return _worst_window(self.sent)


class FakeTransport:
    """What the real client does, over a fake wire."""

    def __init__(self, server: FakeServer, settings: Settings, clock: Clock, process: Life) -> None:
        self._server = server
        self._clock = clock
        self._life = process
        self._connect_timeout_s = settings.server.connect_timeout_s
        self._attempt_timeout_s = settings.server.attempt_timeout_s
        self._turns = asyncio.Semaphore(settings.pace.concurrency)
        self._idle = 0
        #: checks that a PUT may leave
        self.before_put: Callable[[CampaignRef], None] | None = None

    async def send(self, request: ApiRequest, departure: Departure) -> Answer:
        async with self._turns:
            fault = await self._connect()
            if fault is not None:
                return Answer(fault=fault, detail=f"{HOST}: {fault.value}")
            try:
                await departure.slot()
            except BaseException:
                self._idle += 1
                raise
            # Nothing is awaited from here until the request is on the wire.
            sent, authorization = self._leave(request, departure)
            sent_at_ms = self._clock.wall_ms()
            try:
                return await self._answer(sent, authorization, sent_at_ms)
            finally:
                self._ended(sent)

    async def _connect(self) -> Fault | None:
        server = self._server
        if self._idle and not server.is_unreachable():
            self._idle -= 1
            return None
        self._idle = 0
        if server.is_unreachable():
            await asyncio.sleep(self._connect_timeout_s)
            return Fault.CONNECT_TIMEOUT
        await asyncio.sleep(server.connect_s)
        if server.handler.refuses_connections(now_s=self._clock.now_s()):
            return Fault.CONNECT_REFUSED
        return None

    def _leave(self, request: ApiRequest, departure: Departure) -> tuple[Sent, str]:
        if self._life.dead:
            # The process is gone: this is the unwinding of its coroutines, not a request.
            raise asyncio.CancelledError
        server = self._server
        query = request.query_string
        target = request.path + ("?" + query if query else "")
        call = read_call(request.method, target)
        sent = Sent(
            len(server.sent) + 1,
            self._clock.now_s(),
            self._life.number,
            request.method,
            target,
            call.kind,
            call.vdn_id,
            call.ref,
            body=request.body.encode(),
        )
        if sent.is_change and sent.ref is not None:
            if self.before_put is not None:
                self.before_put(sent.ref)
            server.in_flight[sent.ref] += 1
            if server.in_flight[sent.ref] > 1:
                server.problems.append(f"two PUTs in flight for {sent.ref}")
        authorization = departure.sign(request.method, request.path, query, _headers(request))
        server.sent.append(sent)
        open_now = sum(1 for one in server.sent[-64:] if one.ended_s is None)
        server.most_in_flight = max(server.most_in_flight, open_now)
        if server.on_sent is not None:
            server.on_sent(sent)
        return sent, authorization

    async def _answer(self, sent: Sent, authorization: str, sent_at_ms: int) -> Answer:
        """Let it travel, be carried out whatever becomes of us, and the answer travel back."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Future[Played] = loop.create_future()
        loop.call_later(self._server.there_s, self._arrive, sent, authorization, arrived)
        try:
            async with asyncio.timeout(self._attempt_timeout_s):
                played = await arrived
                if played.ending is Ending.HANG:
                    await asyncio.sleep(self._attempt_timeout_s + 1)
                await asyncio.sleep(played.wait_s + self._server.back_s)
        except TimeoutError:
            detail = f"{HOST} gave no complete answer within {self._attempt_timeout_s:g} s"
            return Answer(fault=Fault.TIMEOUT, detail=detail, sent_at_ms=sent_at_ms)
        answer = read_wire(
            played.wire, limit=_MAX_READ_BYTES if sent.method == "GET" else _MAX_CHANGE_BYTES
        )
        if played.ending is Ending.KEEP and answer.fault is None:
            self._idle += 1
        if self._life.dead:
            raise asyncio.CancelledError
        sent.delivered = answer.fault is None
        return answer._replace(
            sent_at_ms=sent_at_ms,
            answered_at_ms=None if answer.fault else self._clock.wall_ms(),
        )

    def _arrive(self, sent: Sent, authorization: str, arrived: asyncio.Future[Played]) -> None:
        server = self._server
        now_s = server.clock.now_s()
        method = sent.method
        headers = [("Host", HOST), ("Content-Type", CONTENT_TYPE), ("Authorization", authorization)]
        if method == "PUT":
            headers.append(("Content-Length", "0"))
        if sent.body:
            headers.append(("Content-Length", str(len(sent.body))))
        received = Received(method, sent.target, tuple(headers), sent.body)
        played = server.handler.receive(received, now_s=now_s, wall_ms=server.clock.true_ms())
        forged = server.forge(sent) if server.forge is not None else None
        if forged is not None:
            played = replace(played, wire=forged, ending=Ending.KEEP, complete=True)
        sent.entry = replace(played.entry, answered=played.complete)
        server.ledger.add(sent.entry)
        if not arrived.done():
            arrived.set_result(played)

    def _ended(self, sent: Sent) -> None:
        sent.ended_s = self._clock.now_s()
        if sent.is_change and sent.ref is not None:
            self._server.in_flight[sent.ref] -= 1


def _headers(request: ApiRequest) -> dict[str, str]:
    headers = {"host": HOST, "content-type": CONTENT_TYPE}
    if request.method == "PUT" or request.body:
        headers["content-length"] = str(len(request.body))
    return headers


_HEAD = re.compile(rb"HTTP/1\.1 (\d{3})[^\r\n]*\r\n")


def read_wire(wire: bytes, *, limit: int = _MAX_READ_BYTES) -> Answer:
    """What the real client makes of these bytes once the connection has nothing more to say."""
    if not wire:
        return Answer(fault=Fault.RESET, detail=f"{HOST} closed the connection without an answer")
    head, end_of_head, body = wire.partition(b"\r\n\r\n")
    match = _HEAD.match(head + b"\r\n")
    if not end_of_head or match is None:
        return Answer(fault=Fault.BAD_RESPONSE, detail=f"{HOST} closed the connection in the head")
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), value.strip())
    length = int(headers.get("content-length", len(body)))
    if len(body) < length:
        return Answer(fault=Fault.TRUNCATED, detail=f"{HOST} closed the connection in the body")
    if length > limit:
        return Answer(fault=Fault.TOO_LARGE, detail=f"{HOST} sent a body of more than {limit}")
    return Answer(
        http_status=int(match[1]),
        body=body[:length],
        retry_after=headers.get("retry-after"),
        date=headers.get("date"),
        location=headers.get("location"),
        content_encoding=headers.get("content-encoding"),
    )


# -- a whole run ------------------------------------------------------------------------------


def folder_of(run: RunResult | Path) -> Path:
    """The directory of a run."""
    found = run.run_dir if isinstance(run, RunResult) else run
    assert found is not None
    return found


class Stage:
    """A server, a disk and a clock, and runs against them."""

    def __init__(
        self,
        folder: Path,
        world: World,
        *,
        faults: FaultPlan | None = None,
        signature: SignatureCheck | None = None,
        rate_per_s: float = 100.0,
        concurrency: int = 8,
        seed: int = 0,
        settings: Mapping[str, object] | None = None,
        signing: SigningRules | None = None,
        **wire: Any,
    ) -> None:
        """Prepare it.

        Args:
            folder: an empty directory.
            world: the campaigns.
            faults: what goes wrong.
            signature: how the server checks signatures.
            rate_per_s: the pace.
            concurrency: requests in flight.
            seed: of our own chance.
            settings: TOML key to value.
            signing: the switches.
            wire: latencies, see FakeServer.
        """
        self.folder = folder
        self.clock = VirtualClock(seed=seed)
        self.server = FakeServer(
            world, clock=self.clock, faults=faults, signature=signature, **wire
        )
        self.disk = Disk()
        self.events = RecordedEvents()
        self.processes: list[Life] = []
        self.stopping: Stopping | None = None
        self.environment: Environment | None = None
        self.fallback = io.BytesIO()
        #: called with every new process's Stopping before it begins
        self.on_birth: Callable[[Environment], None] | None = None
        self._signing = signing
        self._overrides: dict[str, object] = {
            "server.base_url": f"http://{HOST}",
            "credentials.access_key": ACCESS_KEY,
            "pace.rate_per_s": rate_per_s,
            "pace.concurrency": concurrency,
        } | dict(settings or {})

    @property
    def world(self) -> World:
        """The campaigns."""
        return self.server.world

    def settings(self, *, emergency: bool = False) -> Settings:
        """What the runs are told."""
        found = load_settings(
            flags=self._overrides,
            environ={
                "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
                "ORCHESTRATOR_STATE_DIR": str(self.folder / "state"),
                "HOME": str(self.folder),
                "XDG_CONFIG_HOME": str(self.folder / "config"),
            },
            config=None,
            emergency=emergency,
            need_credentials=True,
            need_server=True,
            ask_secret=None,
            warn=lambda _: None,
        )
        return found if self._signing is None else replace(found, signing=self._signing)

    def birth(self) -> Environment:
        """The environment of one more process."""
        process = Life(len(self.processes) + 1)
        self.processes.append(process)

        def transport(settings: Settings, clock: Clock) -> FakeTransport:
            made = FakeTransport(self.server, settings, clock, process)
            made.before_put = lambda ref: self._check_intent(process, ref)
            return made

        def store(journal: Journal, keep_going: bool) -> Store:  # noqa: FBT001
            writer = FakeWriter(journal, keep_going=keep_going, disk=self.disk, process=process)
            return Store(writer, journal.path)

        environment = Environment(
            clock=self.clock,
            events=self.events,
            fallback=self.fallback,
            transport=transport,
            store=store,
            host="stage",
            shares_rate=False,
        )
        self.environment = environment
        self.stopping = environment.stopping
        if self.on_birth is not None:
            self.on_birth(environment)
        return environment

    # -- the four commands --------------------------------------------------------------------

    def write_list(self, refs: Iterable[CampaignRef], *, name: str = "list.csv") -> Path:
        """A manifest with these campaigns."""
        path = self.folder / name
        lines = ["vdn_id,campaign_id", *(f"{ref.vdn_id},{ref.campaign_id}" for ref in refs)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    async def pause(
        self,
        refs: Iterable[CampaignRef] | None = None,
        *,
        manifest: Path | None = None,
        **wanted: Any,
    ) -> RunResult:
        """Run `pause` over these campaigns, all of the world's unless given."""
        path = manifest or self.write_list(self.world.refs() if refs is None else refs)
        environment = self.birth()
        return await self._live(
            pausing.pause(path, self.settings(), PauseOptions(**wanted), environment)
        )

    async def pause_all(
        self, *vdns: int, confirm: Confirm | None = None, **wanted: Any
    ) -> RunResult:
        """Run `pause-all` over these VDNs, all of the world's unless given."""
        options = PauseAllOptions(vdns=vdns or tuple(self.world.vdn_ids), **wanted)
        environment = self.birth()
        return await self._live(
            pausing_all.pause_all(
                self.settings(emergency=True), options, environment, confirm=confirm
            )
        )

    async def continue_run(self, run: RunResult | Path, **wanted: Any) -> RunResult:
        """Run `continue`."""
        run_dir = folder_of(run)
        emergency = _kind(run_dir) == "pause-all"
        environment = self.birth()
        return await self._live(
            continuing.continue_run(
                RunDirectory(run_dir),
                self.settings(emergency=emergency),
                ContinueOptions(**wanted),
                environment,
            )
        )

    async def restore(self, run: RunResult | Path, **wanted: Any) -> RunResult:
        """Run `restore`."""
        environment = self.birth()
        return await self._live(
            restoring.restore(
                RunDirectory(folder_of(run)),
                self.settings(),
                RestoreOptions(**wanted),
                environment,
                confirm=None,
            )
        )

    async def until_killed(self, process: Coroutine[Any, Any, RunResult]) -> RunResult | None:
        """Await a command that `kill` may end; None when it did."""
        try:
            return await process
        except asyncio.CancelledError:
            if not self.processes[-1].dead:
                raise
            return None

    async def killed(
        self,
        process: Coroutine[Any, Any, RunResult],
        when: Callable[[Sent], bool] = lambda sent: sent.is_change,
    ) -> Path:
        """Kill a command when such a request has just left; returns the newest run's directory."""
        self.server.on_sent = lambda sent: self.kill() if when(sent) else None
        assert await self.until_killed(process) is None
        self.server.on_sent = None
        return next(known_runs(self.settings().state_dir)).directory.path

    def kill(self) -> None:
        """End the present process as SIGKILL does."""
        self.processes[-1].kill()

    async def _live(self, run: Coroutine[Any, Any, RunResult]) -> RunResult:
        process = self.processes[-1]
        own = asyncio.create_task(run)
        died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        process.end = lambda: None if died.done() else died.set_result(None)
        try:
            either: set[asyncio.Future[Any]] = {own, died}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if process.dead:
                await self._bury(own)
                raise asyncio.CancelledError
            return self._checked(await own)
        finally:
            own.cancel()

    async def _bury(self, own: asyncio.Future[RunResult]) -> None:
        """Let every coroutine of the dead process unwind; none of them can do anything."""
        left: list[asyncio.Task[Any]] = []
        for _ in range(1_000):
            left = [one for one in asyncio.all_tasks() if _is_of_a_run(one)]
            if not left:
                break
            for one in left:
                one.cancel()
            await asyncio.sleep(0)
        else:
            self.server.problems.append(f"{len(left)} coroutines survive their life: {left[0]}")
        if not own.cancelled():
            own.exception()

    # -- what is looked at afterwards ---------------------------------------------------------

    def run_dirs(self) -> list[Path]:
        """Every run directory, oldest first by name."""
        runs = self.folder / "state" / "runs"
        return sorted(runs.iterdir()) if runs.exists() else []

    def on_record(self, query: str) -> list[Any]:
        """What a query finds in the journal of the only run."""
        (run_dir,) = self.run_dirs()
        with closing(sqlite3.connect(run_dir / "journal.db")) as journal:
            return journal.execute(query).fetchall()

    def rows(self, result: RunResult | Path) -> list[dict[str, str]]:
        """results.csv of a run."""
        return read_rows(folder_of(result) / "results.csv")

    def outcomes(self, result: RunResult) -> dict[CampaignRef, str]:
        """How each campaign of a run ended."""
        return {
            CampaignRef(int(row["vdn_id"]), int(row["campaign_id"])): row["outcome"]
            for row in self.rows(result)
            if row["outcome"] not in {"duplicate", "invalid"}
        }

    def row(self, result: RunResult, ref: CampaignRef) -> dict[str, str]:
        """The row of one campaign."""
        for row in self.rows(result):
            if (row["vdn_id"], row["campaign_id"]) == (str(ref.vdn_id), str(ref.campaign_id)):
                return row
        raise KeyError(ref)

    def _checked(self, result: RunResult) -> RunResult:
        """The checks that hold for every run, whatever a test is about."""
        problems = list(self.server.problems)
        rate_per_s = float(str(self._overrides["pace.rate_per_s"]))
        allowed = max(1, int(rate_per_s))
        # A new process does not know the departures of the one before it.
        own = [one for one in self.server.sent if one.process == self.processes[-1].number]
        if (worst := _worst_window(own)) > allowed:
            problems.append(f"{worst} departures in one second at R = {rate_per_s}")
        if result.run_dir is not None and not result.summary.get("storage_failed"):
            results = result.run_dir / "results.csv"
            if results.exists():
                rows = read_rows(results)
                counts = Counter(row["outcome"] for row in rows)
                if dict(counts) != {k: v for k, v in result.counts.items() if v}:
                    problems.append(f"rows {dict(counts)} but counts {dict(result.counts)}")
        assert not problems, problems
        return result

    def _check_intent(self, process: Life, ref: CampaignRef) -> None:
        for writer in process.writers:
            if writer.closed:
                continue
            found = writer.connection.execute(
                "SELECT count(*) FROM attempts a JOIN plan p ON p.seq = a.seq"
                " JOIN (SELECT max(life) AS life FROM lives) l ON l.life = a.life"
                " WHERE p.vdn_id = ? AND p.campaign_id = ? AND p.problem = ''"
                " AND a.state = 'intended'",
                (ref.vdn_id, ref.campaign_id),
            ).fetchone()
            if found == (1,):
                return
        self.server.problems.append(f"a PUT for {ref} left without a committed intent")


def _worst_window(sent: list[Sent]) -> int:
    # Virtual time is exact but for the rounding of its sums.
    return fullest_window([one.at_s for one in sent], 1.0 - 1e-9)


def read_rows(path: Path) -> list[dict[str, str]]:
    """A report file as rows."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _is_of_a_run(one: asyncio.Task[Any]) -> bool:
    """Whether this is the product's coroutine, not a test's."""
    return "/orchestrator/" in getattr(getattr(one.get_coro(), "cr_code", None), "co_filename", "")


def _kind(run_dir: Path) -> str:
    connection = sqlite3.connect(run_dir / "journal.db")
    try:
        (facts,) = connection.execute("SELECT value FROM meta WHERE key = 'facts'").fetchone()
    finally:
        connection.close()
    return str(json.loads(facts)["kind"])


# -- worlds -----------------------------------------------------------------------------------


def started(
    size: int, *, vdn_id: int = VDN, first: int = 1, settings: WorldSettings | None = None
) -> World:
    """One VDN with so many started campaigns."""
    return World(
        {vdn_id: [Campaign(number) for number in range(first, first + size)]}, settings=settings
    )


def several(sizes: Mapping[int, int], *, settings: WorldSettings | None = None) -> World:
    """VDN → so many started campaigns; ids are different in each VDN."""
    return World(
        {
            vdn_id: [Campaign(vdn_id * 10_000 + number) for number in range(1, size + 1)]
            for vdn_id, size in sizes.items()
        },
        settings=settings,
    )


def ref(number: int, vdn_id: int = VDN) -> CampaignRef:
    """A campaign of `started`."""
    return CampaignRef(vdn_id, number)


def started_refs(world: World) -> list[CampaignRef]:
    """What runs now."""
    return [one for one in world.refs() if world.status_of(one) is Status.STARTED]


async def after(wait_s: float, act: Callable[[], object]) -> None:
    """Do something at that virtual time."""
    await asyncio.sleep(wait_s)
    act()


async def both(run: Awaitable[T], *others: Awaitable[object]) -> T:
    """Await a run while other things happen; they end with it."""
    running = [asyncio.ensure_future(one) for one in others]
    try:
        return await run
    finally:
        for one in running:
            one.cancel()
        await asyncio.gather(*running, return_exceptions=True)
