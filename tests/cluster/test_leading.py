"""An emergency of the cluster where it was given: the question, stops, lost leases."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import orchestrator
from orchestrator.cli.cluster import follower
from orchestrator.clock import SystemClock
from orchestrator.cluster.rings import make_queue
from orchestrator.engine.pausing_all import Confirm, Findings, pause_all
from orchestrator.engine.results import RunResult
from orchestrator.engine.run import Environment
from orchestrator.errors import NotBegunError, RefusedError
from orchestrator.log import Events
from orchestrator.model import Status
from orchestrator.policy import quiet
from orchestrator.reports.summary import Ended
from orchestrator.settings.secret import Secret
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from orchestrator.store.chunks import end_lease, leases
from orchestrator.store.database import connect
from orchestrator.store.registry import known_runs
from orchestrator.store.transfer import EMERGENCY_LO, TABLES_OF_RUN

pytestmark = [pytest.mark.sockets, pytest.mark.slow]
VDN = 1234
_PATIENCE_S = 30.0


@dataclass
class Place:
    """A server, a database, and this process."""

    url: Secret
    folder: Path
    simulator: Simulator
    asked: list[Findings] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        """Settings of an emergency, and an environment that follows it."""
        self.settings = orchestrator.load_settings(
            {"pace.rate_per_s": 40},
            environ={
                "HOME": str(self.folder),
                "ORCHESTRATOR_STATE_DIR": str(self.folder / "state"),
                "ORCHESTRATOR_BASE_URL": self.simulator.base_url,
                "ORCHESTRATOR_ACCESS_KEY": ACCESS_KEY,
                "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
                "ORCHESTRATOR_DATABASE_URL": self.url.reveal(),
            },
            emergency=True,
        )
        self.environment = Environment(
            clock=SystemClock(), events=Events(stream=self.log), follow=follower(self.settings)
        )

    async def stop_all(self, confirm: Confirm | None) -> RunResult:
        """`pause-all --cluster`."""
        options = orchestrator.PauseAllOptions(vdns=(VDN,), cluster=True)
        async with asyncio.timeout(_PATIENCE_S):
            return await pause_all(self.settings, options, self.environment, confirm=confirm)

    def rows(self) -> dict[str, int]:
        """What the database holds of runs, by table."""
        with connect(self.url) as connection:
            return {
                table: found[0]
                for table in ("run", "chunk", *TABLES_OF_RUN)
                if (found := connection.execute(
                    f"SELECT count(*) FROM orchestrator.{table}".encode()  # noqa: S608 - ours
                ).fetchone()) and found[0]
            }  # fmt: skip

    def is_untouched(self) -> bool:
        """Nothing was changed, and nothing stays of the run."""
        runs = list(known_runs(self.folder / "state"))
        return not (self.rows() or runs or self.simulator.ledger.effects)

    def take_away(self) -> None:
        """Somebody else, who has seen no renewal, has ended our lease."""
        with connect(self.url) as connection:
            [lease] = leases(connection, limit=1)
            assert end_lease(connection, lease)


@pytest.fixture
def place(database: Secret, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Makes one."""
    monkeypatch.setattr(quiet, "GAP_S", 0.2)
    return Maker(database, tmp_path)


@dataclass
class Maker:
    """Where a place is made."""

    database: Secret
    folder: Path

    @asynccontextmanager
    async def __call__(self, campaigns: int = 10) -> AsyncIterator[Place]:
        """A VDN with so many campaigns that run."""
        await make_queue(self.database)
        world = World({VDN: [Campaign(number) for number in range(1, campaigns + 1)]})
        world.add(VDN, Campaign(999, Status.SUSPENDED))
        signature = SignatureCheck(ACCESS_KEY, SECRET_KEY)
        async with Simulator(world, signature=signature) as simulator:
            yield Place(self.database, self.folder, simulator)


async def test_the_operator_is_asked_once_and_then_it_is_paused(place: Maker) -> None:
    """Server, VDN, count and first names; the answer is on record before the first PUT."""
    async with place() as here:

        async def confirm(findings: Findings) -> bool:
            here.asked.append(findings)
            return not here.simulator.ledger.effects

        result = await here.stop_all(confirm)

        assert (result.exit_code, result.verdict) == (0, "quiet")
        assert result.counts == {"paused": 10}
        [asked] = here.asked
        assert asked.lines[0].startswith(f"VDN {VDN}: 10 campaigns")


async def test_a_wrong_answer_leaves_nothing(place: Maker) -> None:
    """Refused: no row in the database, no directory, no change on the server."""
    async with place() as here:

        async def confirm(_: Findings) -> bool:
            return False

        with pytest.raises(RefusedError, match="still dialling"):
            await here.stop_all(confirm)

        assert here.is_untouched()


async def test_a_stop_before_the_answer_leaves_nothing(place: Maker) -> None:
    """Ctrl-C at the question: exit 130, and nobody in the cluster goes on."""
    async with place() as here:

        async def confirm(_: Findings) -> bool:
            here.environment.stopping.stop(Ended.SIGNAL_INT, "SIGINT received")
            await asyncio.Event().wait()
            return True

        with pytest.raises(NotBegunError, match="still dialling") as caught:
            await here.stop_all(confirm)

        assert caught.value.exit_code == 130
        assert here.is_untouched()


async def test_where_nothing_runs_nobody_is_asked(place: Maker) -> None:
    """Quiet is proven without a question, and is on record."""
    async with place(campaigns=0) as here:

        async def confirm(_: Findings) -> bool:
            raise AssertionError

        result = await here.stop_all(confirm)

        assert (result.exit_code, result.verdict, result.counts) == (0, "quiet", {})
        assert here.rows()["run"] == 1


async def test_who_is_asked_for_too_long_with_a_sleeping_machine_asks_again(place: Maker) -> None:
    """The lease was ended while the question was open: nothing is paused by an old answer."""
    async with place() as here:

        async def confirm(_: Findings) -> bool:
            here.take_away()
            await asyncio.sleep(3.0)  # a renewal comes, and is refused
            return True

        with pytest.raises(RefusedError, match="never confirmed") as caught:
            await here.stop_all(confirm)

        assert "pause-all --vdn 1234" in caught.value.advice
        assert here.is_untouched()


async def test_quiet_stays_quiet_when_its_hold_is_broken_off(place: Maker) -> None:
    """--hold, Ctrl-C after the proof: exit 0, as on one machine."""
    async with place() as here:
        here.environment = replace(here.environment)
        options = orchestrator.PauseAllOptions(vdns=(VDN,), cluster=True, hold_s=60.0)
        running = asyncio.create_task(
            pause_all(here.settings, options, here.environment, confirm=None)
        )
        while here.environment.progress.phase != "holding":  # noqa: ASYNC110 - as people look
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        here.environment.stopping.stop(Ended.SIGNAL_INT, "SIGINT received")
        result = await running

        assert (result.exit_code, result.verdict) == (0, "quiet")
        with connect(here.url) as connection:
            held = connection.execute(
                "SELECT value::float8 FROM orchestrator.meta WHERE lo = %s AND key = 'held_s'",
                (EMERGENCY_LO,),
            ).fetchone()
        assert held is not None
