"""Workers in processes of their own, a real PostgreSQL, a server: whatever ends one of them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchestrator.cluster.rings import make_queue
from orchestrator.model import CampaignRef, Status
from orchestrator.reports.rows import ReportRow
from orchestrator.settings.secret import Secret
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from orchestrator.store.database import connect
from orchestrator.store.postgres import open_saved_run
from tests.checks.tree import ROOT
from tests.cluster.makers import add, open_chunks
from tests.cluster.test_pace import worst
from tests.postgres import PostgresServer
from tests.store.journal_makers import line

pytestmark = [pytest.mark.sockets, pytest.mark.slow]
_PATIENCE_S = 60.0
RATE = 40


@dataclass
class Stage:
    """A server, a database, a run, and workers."""

    url: Secret
    simulator: Simulator
    folder: Path
    campaigns: int
    chunk_size: int = 20
    run: int = 0
    workers: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def submit(self) -> None:
        """The list of all campaigns, in chunks."""
        server = self.simulator.base_url
        self.run = await asyncio.to_thread(
            add,
            self.url,
            [line(one, one, vdn_id=1 + one % 2) for one in range(1, self.campaigns + 1)],
            size=self.chunk_size,
            server=server,
            fingerprint=server_fingerprint(server),
            rate_per_s=float(RATE),
            verify=True,
        )

    async def worker(self, **more: str) -> asyncio.subprocess.Process:
        """One more worker, ready to hear; `more` goes into its environment."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.cluster.worker_process",
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(ROOT),
                "HOME": str(self.folder),
                "ORCHESTRATOR_STATE_DIR": str(self.folder / "state"),
                "ORCHESTRATOR_BASE_URL": self.simulator.base_url,
                "ORCHESTRATOR_ACCESS_KEY": ACCESS_KEY,
                "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
                "TEST_DATABASE_URL": self.url.reveal(),
                "TEST_DEPARTURES": str(self.folder / f"departures-{len(self.workers)}"),
                **more,
            },
            stdout=asyncio.subprocess.PIPE,
            cwd=self.folder,
        )  # fmt: skip
        self.workers.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    def puts(self) -> int:
        """Changes that arrived."""
        return sum(self.simulator.ledger.puts.values())

    async def until_puts(self, number: int) -> None:
        """Wait until so many changes have arrived."""
        await until(lambda: self.puts() >= number)

    async def until_done(self) -> None:
        """Wait until no chunk is open."""
        with connect(self.url) as connection:
            await until(lambda: open_chunks(connection, self.run) == 0)

    def left(self) -> list[float]:
        """When requests left, of all workers."""
        files = self.folder.glob("departures-*")
        return [float(one) for file in files for one in file.read_text().split()]

    def rows(self) -> list[ReportRow]:
        """The report."""
        with open_saved_run(self.url, self.run) as saved:
            return list(saved.rows())

    def check(self, *, sent_twice: int) -> None:
        """Every line once and paused; who was settled was sent nothing more; at most R a second.

        As the requests left: when they arrive is the machine's doing, which the bench measures.
        """
        rows = self.rows()
        told = [(row.line, row.outcome.value) for row in rows]
        assert told == [(one, "paused") for one in range(1, self.campaigns + 1)]
        counts = self.simulator.world.counts()
        assert counts[Status.SUSPENDED] == self.campaigns
        assert all(one == 1 for one in self.simulator.ledger.effects.values())
        again = [one for one in self.simulator.ledger.puts.values() if one > 1]
        assert len(again) <= sent_twice
        assert worst(self.left()) <= RATE


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that other processes make true."""
    async with asyncio.timeout(_PATIENCE_S):
        # in a thread: the server lives in this loop, and its clock is not to be held up
        while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - another process makes it true
            await asyncio.sleep(0.05)


@asynccontextmanager
async def a_stage(
    url: Secret, folder: Path, *, campaigns: int, chunk_size: int = 20
) -> AsyncIterator[Stage]:
    """All of it, with a run that waits."""
    refs = [CampaignRef(1 + one % 2, one) for one in range(1, campaigns + 1)]
    world = World(
        {
            vdn_id: [Campaign(ref.campaign_id) for ref in refs if ref.vdn_id == vdn_id]
            for vdn_id in (1, 2)
        }
    )
    await make_queue(url)
    async with Simulator(world, signature=SignatureCheck(ACCESS_KEY, SECRET_KEY)) as simulator:
        stage = Stage(url, simulator, folder, campaigns, chunk_size)
        await stage.submit()
        try:
            yield stage
        finally:
            for process in stage.workers:
                if process.returncode is None:
                    process.kill()
                await process.communicate()


async def test_two_workers_pause_a_list(database: Secret, tmp_path: Path) -> None:
    """Nobody rang for it: the reconciler does; both work, and together they keep the rate."""
    async with a_stage(database, tmp_path, campaigns=200) as stage:
        await stage.worker()
        await stage.worker()
        await stage.until_done()
        stage.check(sent_twice=0)
        with open_saved_run(database, stage.run) as saved:
            assert len(saved.processes()) == 2


async def test_a_worker_that_is_killed_is_replaced(database: Secret, tmp_path: Path) -> None:
    """Kill -9: another goes on; nothing is sent twice but what was in flight."""
    async with a_stage(database, tmp_path, campaigns=160) as stage:
        killed = await stage.worker()
        await stage.until_puts(30)
        await stage.worker()
        killed.kill()
        with connect(database) as connection:

            def taken_over() -> bool:
                found = connection.execute(
                    "SELECT count(*) FROM orchestrator.chunk WHERE run = %s AND done_at IS NULL"
                    " AND epoch > 1 AND lo > 0 AND lease_until > clock_timestamp()",
                    (stage.run,),
                ).fetchone()
                return found is not None and found[0] > 0

            await until(taken_over)
        await stage.until_done()
        stage.check(sent_twice=8)


async def test_a_worker_that_is_told_to_end_hands_back(database: Secret, tmp_path: Path) -> None:
    """SIGTERM: it finishes what is in flight and is gone; nothing is sent twice."""
    async with a_stage(database, tmp_path, campaigns=160) as stage:
        told = await stage.worker()
        await stage.until_puts(30)
        told.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE_S):
            await told.wait()
        assert told.returncode == 0
        with connect(database) as connection:
            held = connection.execute(
                "SELECT count(*) FROM orchestrator.chunk WHERE holder IS NOT NULL AND lo > 0"
            ).fetchone()
        assert held == (0,)
        await stage.worker()
        await stage.until_done()
        stage.check(sent_twice=0)


async def test_a_worker_that_is_told_to_end_does_not_wait_for_postgresql(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """It is away, answers cannot be put on record: gone all the same; the next one looks first."""
    url = own_server.make_database()
    async with a_stage(url, tmp_path, campaigns=80) as stage:
        told = await stage.worker()
        await stage.until_puts(20)
        await asyncio.to_thread(own_server.stop)
        await asyncio.sleep(0.5)
        told.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_PATIENCE_S):
            await told.wait()
        assert told.returncode == 0
        await asyncio.to_thread(own_server.start)
        await stage.worker()
        await stage.until_done()
        stage.check(sent_twice=8)


async def test_postgresql_may_crash_under_two_workers(
    own_server: PostgresServer, tmp_path: Path
) -> None:
    """An immediate stop for three seconds: nothing leaves meanwhile, and the report is exact."""
    url = own_server.make_database()
    async with a_stage(url, tmp_path, campaigns=160) as stage:
        await stage.worker()
        await stage.worker()
        await stage.until_puts(30)
        await asyncio.to_thread(own_server.stop)
        await asyncio.sleep(1.0)  # what had been given may leave
        before = stage.simulator.ledger.total
        await asyncio.sleep(2.0)
        assert stage.simulator.ledger.total == before
        await asyncio.to_thread(own_server.start)
        await stage.until_done()
        stage.check(sent_twice=8)


async def test_a_frozen_worker_sends_nothing_when_it_wakes(
    database: Secret, tmp_path: Path
) -> None:
    """SIGSTOP for longer than its lease: another has its chunks; awake again, it takes new ones."""
    async with a_stage(database, tmp_path, campaigns=160) as stage:
        frozen = await stage.worker()
        await stage.until_puts(30)
        frozen.send_signal(signal.SIGSTOP)
        await stage.worker()
        await asyncio.sleep(8.0)
        frozen.send_signal(signal.SIGCONT)
        await stage.until_done()
        stage.check(sent_twice=8)


async def test_what_is_asked_beside_a_renewal_may_fail(database: Secret, tmp_path: Path) -> None:
    """Whether the run goes on is never answered: leases are renewed, nothing is taken over."""
    async with a_stage(database, tmp_path, campaigns=320, chunk_size=500) as stage:
        await stage.worker(TEST_FAILS="courses")
        await stage.until_done()
        stage.check(sent_twice=0)
        with connect(database) as connection:
            epochs = connection.execute(
                "SELECT DISTINCT epoch FROM orchestrator.chunk WHERE lo > 0"
            ).fetchall()
        assert epochs == [(2,)]  # claimed once and finished


async def test_a_bug_in_renewing_ends_the_run(database: Secret, tmp_path: Path) -> None:
    """Nothing may leave without a lease: its campaigns would wait for ever, and the worker too."""
    async with a_stage(database, tmp_path, campaigns=320, chunk_size=500) as stage:
        await stage.worker(TEST_FAILS="renew")
        with connect(database) as connection:

            def ended() -> tuple[str, str] | None:
                return connection.execute(
                    "SELECT ended, why FROM orchestrator.run WHERE ended IS NOT NULL"
                ).fetchone()

            await until(ended)
            assert ended() == ("bug", "a bug: RuntimeError('a bug')")
