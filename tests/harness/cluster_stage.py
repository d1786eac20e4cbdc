"""What the fault suite of the cluster stands on: the real commands, a real PostgreSQL, witnesses.

- The server's ledger says what arrived and when; a trigger in PostgreSQL says when a campaign was
  first settled; a few lines before `main` write down when a worker lets a request leave.
- A relay between one worker and PostgreSQL is cut or goes silent. The database's clock is a
  function of ours before PostgreSQL's own in the search path: our statements and Procrastinate's
  see it step, PostgreSQL itself does not, and nobody needs root's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg

from orchestrator.model import CampaignRef, Status
from orchestrator.policy.decide import Outcome
from orchestrator.simulator.faults import FaultPlan, mixed
from orchestrator.simulator.ledger import fullest_window
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from orchestrator.store.transfer import EMERGENCY_LO
from tests.cli.makers import Ended
from tests.e2e.stage import Child, Stage
from tests.harness.judge import read_rows
from tests.postgres import PostgresServer

RATE = 60
WORKERS = 3
#: campaigns of a chunk, so that a short list has many
_CHUNK = 20
#: seconds after which a case counts as hanging
_PATIENCE_S = 150.0

#: before `main` of a worker: an instant for each request that is let go, on the machine's one clock
_NOTED = """
import os
from orchestrator.store.pace import SharedPace
_file = open(os.environ["TEST_DEPARTURES"], "a", buffering=1)
_acquire = SharedPace.acquire
def acquire(self, *, now_s, own_wait_s=0.0):
    wait_s = _acquire(self, now_s=now_s, own_wait_s=own_wait_s)
    if wait_s == 0.0:
        _file.write(f"{now_s!r}\\n")
    return wait_s
SharedPace.acquire = acquire
"""
_SMALL_CHUNKS = f"""
from orchestrator.cluster import following
following.CHUNK = {_CHUNK}
"""
_WITNESS = """
CREATE TABLE public.witness (seq bigint, standing text, at_s float8 NOT NULL
    DEFAULT extract(epoch FROM pg_catalog.clock_timestamp())::float8);
CREATE FUNCTION public.saw() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.witness (seq, standing) VALUES (NEW.seq, NEW.standing);
    RETURN NULL;
END $$;
CREATE TRIGGER saw AFTER INSERT OR UPDATE ON orchestrator.outcomes
    FOR EACH ROW EXECUTE FUNCTION public.saw();
"""
#: in its own folder of names, which comes before PostgreSQL's
_CLOCK = """
CREATE SCHEMA stepped;
CREATE TABLE stepped.by (seconds float8 NOT NULL);
INSERT INTO stepped.by VALUES (0);
CREATE FUNCTION stepped.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.clock_timestamp() + make_interval(secs => seconds) FROM stepped.by';
CREATE FUNCTION stepped.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS
    'SELECT pg_catalog.now() + make_interval(secs => seconds) FROM stepped.by';
"""


class Relay:
    """A way to PostgreSQL that can be cut: refused and reset, or silent."""

    def __init__(self, port: int) -> None:
        """Nothing is bound yet.

        Args:
            port: PostgreSQL's, on loopback.
        """
        self.port = 0
        self._to = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._may_pass = asyncio.Event()
        self._may_pass.set()

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._may_pass.set()
        await self.cut()

    async def cut(self) -> None:
        """Reset every connection, refuse new ones."""
        if self._server is not None:
            self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def mend(self) -> None:
        """Take connections, on the same port as ever."""
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def silence(self, *, on: bool) -> None:
        """Keep connections and let nothing pass, as a partition does; or let it pass again."""
        (self._may_pass.clear if on else self._may_pass.set)()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            with contextlib.suppress(OSError):
                back, other = await asyncio.open_connection("127.0.0.1", self._to)
                self._writers.add(other)
                await asyncio.gather(self._pass(reader, other), self._pass(back, writer))
        finally:
            for one in (writer, other):
                if one is not None:
                    self._writers.discard(one)
                    one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while read := await reader.read(65536):
            await self._may_pass.wait()
            writer.write(read)
            await writer.drain()
        writer.close()


@dataclass
class Cluster:
    """One case: a list in a cluster of three workers."""

    server: PostgresServer
    url: str
    stage: Stage
    rng: random.Random
    #: what the server held before
    before: dict[CampaignRef, Status]
    #: the outcome of each line of the list, in order
    expected: list[Outcome]
    relay: Relay
    #: a `pause-all`, not a list
    is_emergency: bool = False
    workers: list[Child] = field(default_factory=list)
    #: how long the ledger's loop was held up at most, seconds
    held_up_s: float = 0.0
    #: how each worker that was told to end has ended, and after how many seconds
    drained: list[tuple[int, float]] = field(default_factory=list)
    #: seconds from kill -9 until another had its chunks
    takeovers: list[float] = field(default_factory=list)
    _wall_s: float = 0.0

    # -- processes

    async def init(self) -> None:
        """`cluster init`, then the witness and the clock."""
        self._wall_s = time.time() - self.stage.simulator.now_s
        made = await self.stage.run("cluster", "init", env=self.env())
        if made.code:
            raise RuntimeError(made.err)
        await asyncio.to_thread(self.sql, _WITNESS + _CLOCK)
        name = self.url.rpartition("/")[2]
        await asyncio.to_thread(
            self.sql, f"ALTER DATABASE {name} SET search_path = stepped, public, pg_catalog"
        )

    def env(self, *, relayed: bool = False) -> dict[str, str]:
        """What a command of the cluster needs besides."""
        way = self.url.replace(f":{self.server.port}/", f":{self.relay.port}/")
        return {"ORCHESTRATOR_DATABASE_URL": way if relayed else self.url}

    async def worker(self, *, relayed: bool = False) -> Child:
        """One more worker."""
        name = f"worker-{len(self.workers)}"
        # its own rate is no matter; the state directory's ceiling is not the cluster's
        env = self.env(relayed=relayed) | {"ORCHESTRATOR_STATE_DIR": str(self.stage.folder / name)}
        with (self.stage.folder / f"{name}.log").open("wb") as log:
            streams = {"stdout": log.fileno(), "stderr": log.fileno()}
            made = await self._noted(name, "worker", env=env, **streams)
        self.workers.append(made)
        return made

    async def _noted(self, name: str, *words: str, env: dict[str, str], **streams: Any) -> Child:
        """A command that writes down when it lets a request leave."""
        departures = {"TEST_DEPARTURES": str(self.stage.folder / f"departures-{name}")}
        return await self.stage.begin(*words, program=_NOTED, env=env | departures, **streams)

    def alive(self) -> list[Child]:
        """Workers that run."""
        return [one for one in self.workers if one.process.returncode is None]

    async def a_worker(self) -> Child:
        """One of them, as soon as it waits for chunks."""
        return await self.a_worker_that(self.rng.choice(self.alive()))

    async def a_worker_that(self, chosen: Child) -> Child:
        """This one, as soon as it waits for chunks."""
        log = self.stage.folder / f"worker-{self.workers.index(chosen)}.log"
        async with asyncio.timeout(30.0):
            while "waiting for chunks" not in log.read_text("utf-8", "replace"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return chosen

    async def submit(self) -> Child:
        """The list, by `pause --cluster`; the same words again follow it again."""
        words = ("--cluster", "--rate", str(RATE), "--skip-invalid", "--reason", "faults")
        return await self.stage.begin(
            *self.stage.pause_words(*words), program=_SMALL_CHUNKS, env=self.env()
        )

    async def stop_all(self, *, relayed: bool = False) -> Child:
        """An emergency in every VDN, by `pause-all --cluster`; what it lets go is noted too."""
        vdns = sorted({ref.vdn_id for ref in self.before})
        words = [word for vdn in vdns for word in ("--vdn", str(vdn))]
        words += ["--yes", "--cluster", "--run-dir", str(self.stage.run_dir), "--rate", str(RATE)]
        return await self._noted("lead", "pause-all", *words, env=self.env(relayed=relayed))

    async def follow(self) -> Child:
        """`continue` of the run; it may have to work on it."""
        run_dir = str(self.stage.run_dir)
        return await self._noted("follow", "continue", run_dir, env=self.env())

    async def holder(self) -> Child | None:
        """The worker that has the emergency now; None: nobody, or it is over."""
        query = "SELECT coalesce(split_part(holder, ':', 2), '0')::int FROM orchestrator.chunk"
        query += f" WHERE lo = {EMERGENCY_LO} AND done_at IS NULL"
        pids = {int(one[0]) for one in await asyncio.to_thread(self.ask, query) if one}
        return next((one for one in self.alive() if one.process.pid in pids), None)

    async def kill(self, worker: Child) -> None:
        """Kill -9, and see how long it takes until nothing of what it had waits."""
        pattern = f"%:{worker.process.pid}:%"
        query = "SELECT lo, epoch FROM orchestrator.chunk WHERE holder LIKE %s"
        found = await asyncio.to_thread(self.ask, query, pattern)
        had = {(int(one[0]), int(one[1])) for one in found if one}
        worker.send(signal.SIGKILL)
        await worker.process.wait()
        began_s = time.monotonic()
        open_ones = "SELECT lo, epoch FROM orchestrator.chunk WHERE done_at IS NULL"
        while had & set(await asyncio.to_thread(self.ask, open_ones)):
            if time.monotonic() > began_s + 60.0:
                break
            await asyncio.sleep(0.05)
        if had:
            self.takeovers.append(time.monotonic() - began_s)

    async def drain(self, worker: Child) -> None:
        """SIGTERM, and see how long it takes."""
        began_s = time.monotonic()
        worker.send(signal.SIGTERM)
        code = await asyncio.wait_for(worker.process.wait(), 30.0)
        self.drained.append((code, time.monotonic() - began_s))

    async def until_puts(self, part: float) -> None:
        """Wait until such a part of the list has been sent, or no more comes."""
        running = sum(one is Status.STARTED for one in self.before.values())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                while self.stage.puts() < part * running:  # noqa: ASYNC110 - other processes send
                    await asyncio.sleep(0.01)

    async def ended(self, submitter: Child) -> Ended:
        """The end of the run."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                out, err = await submitter.process.communicate()
        except TimeoutError:
            submitter.process.kill()
            out, err = await submitter.process.communicate()
            return Ended(-9, out.decode(), f"it did not end: {err.decode()}")
        return Ended(submitter.process.returncode or 0, out.decode(), err.decode())

    # -- the database

    def sql(self, text: str, *arguments: object) -> None:
        """Do something in it."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(text.encode(), arguments or None)

    def ask(self, text: str, *arguments: object) -> list[tuple[float, ...]]:
        """Ask it; one empty row while it is away."""
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=2) as connection:
                return connection.execute(text.encode(), arguments).fetchall()
        except psycopg.OperationalError:
            return [()]

    async def step_clock(self, by_s: float) -> None:
        """The database's clock leaps, for all that our statements see."""
        await asyncio.to_thread(self.sql, "UPDATE stepped.by SET seconds = seconds + %s", by_s)

    # -- what was seen

    def departures(self) -> list[float]:
        """When workers let requests leave, in order."""
        files = self.stage.folder.glob("departures-*")
        return sorted(float(one) for file in files for one in file.read_text().split())

    def settled(self) -> dict[CampaignRef, float]:
        """When each campaign was first settled, in the server's seconds."""
        found = self.ask(
            "SELECT p.vdn_id, p.campaign_id, min(w.at_s) FROM public.witness w"
            " JOIN orchestrator.plan p USING (seq) WHERE w.standing IN ('stands', 'unchecked')"
            " GROUP BY p.vdn_id, p.campaign_id"
        )
        return {CampaignRef(int(one), int(two)): at_s - self._wall_s for one, two, at_s in found}

    def wall_s(self, server_s: float) -> float:
        """An instant of the server on the wall's clock."""
        return self._wall_s + server_s

    def worst_arrivals(self) -> int:
        """The most requests that arrived in a second."""
        return fullest_window([one.at_s for one in self.stage.simulator.ledger.entries], 1.0)

    def rows(self) -> list[dict[str, str]]:
        """results.csv."""
        return read_rows(self.stage.run_dir / "results.csv")


def _drawn(rng: random.Random, campaigns: int) -> tuple[World, list[str], list[Outcome]]:
    """A server and a list: most run, some do not, and some lines are no campaign of it."""
    members: dict[int, list[Campaign]] = {1: [], 2: [], 3: []}
    lines, expected = list[str](), list[Outcome]()
    for number in range(1, campaigns + 1):
        vdn_id, chance = rng.choice((1, 1, 2, 3)), rng.random()
        if chance < 0.03:
            lines.append(f"{vdn_id},{number + 500_000}")
            expected.append(Outcome.NOT_FOUND)
        elif chance < 0.05:
            lines.append(f"{vdn_id},1e{number}")
            expected.append(Outcome.INVALID)
        elif chance < 0.07 and Outcome.PAUSED in expected:
            lines.append(lines[expected.index(Outcome.PAUSED)])
            expected.append(Outcome.DUPLICATE)
        else:
            stopped = chance < 0.15
            members[vdn_id].append(
                Campaign(number, Status.SUSPENDED if stopped else Status.STARTED)
            )
            lines.append(f"{vdn_id},{number}")
            expected.append(Outcome.ALREADY_PAUSED if stopped else Outcome.PAUSED)
    return World(dict(members.items())), lines, expected


@asynccontextmanager
async def a_cluster(
    server: PostgresServer, folder: Path, rng: random.Random, *, campaigns: int
) -> AsyncIterator[Cluster]:
    """A server with campaigns, a list, a database; what was started ends with it."""
    world, lines, expected = _drawn(rng, campaigns)
    before = {ref: world.status_of(ref) or Status.STARTED for ref in world.refs()}
    (folder / "list.csv").write_text("\n".join(["vdn_id,campaign_id", *lines, ""]), "ascii")
    faults = FaultPlan(rng.randrange(2**32), mixed(rng.choice((0.0, 0.1))))
    simulator = Simulator(world, faults=faults, signature=SignatureCheck(ACCESS_KEY, SECRET_KEY))
    url = (await asyncio.to_thread(server.make_bare_database)).reveal()
    async with simulator, Relay(server.port) as relay:
        cluster = Cluster(server, url, Stage(folder, simulator), rng, before, expected, relay)
        watching = asyncio.create_task(_watch_loop(cluster))
        try:
            yield cluster
        finally:
            watching.cancel()
            for child in cluster.stage.children:
                if child.process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.process.pid, signal.SIGKILL)
                    await child.process.wait()


async def _watch_loop(cluster: Cluster) -> None:
    """The server shares a loop with us: what holds it up bunches arrivals."""
    while True:
        began_s = time.monotonic()
        await asyncio.sleep(0.005)
        cluster.held_up_s = max(cluster.held_up_s, time.monotonic() - began_s - 0.005)
