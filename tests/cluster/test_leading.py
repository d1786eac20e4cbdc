"""An emergency of the cluster where it was given: the question, stops, lost leases."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from tests.cli import makers

pytestmark = [pytest.mark.sockets, pytest.mark.slow]
VDN = 1234
_PATIENCE_S = 30.0


@dataclass
class Place:
    """A server, a database, and this process, which follows the emergency it gives."""

    url: Secret
    folder: Path
    simulator: Simulator

    def __post_init__(self) -> None:
        given = makers.environment(self.folder, self.simulator.base_url)
        self.settings = orchestrator.load_settings(
            {"pace.rate_per_s": 40},
            environ=given | {"ORCHESTRATOR_DATABASE_URL": self.url.reveal()},
            emergency=True,
        )
        self.state_dir = self.settings.state_dir
        self.environment = Environment(
            clock=SystemClock(), events=Events(stream=io.StringIO()), follow=follower(self.settings)
        )

    async def stop_all(self, confirm: Confirm | None, **more: Any) -> RunResult:
        """`pause-all --cluster`."""
        options = orchestrator.PauseAllOptions(vdns=(VDN,), cluster=True, **more)
        async with asyncio.timeout(_PATIENCE_S):
            return await pause_all(self.settings, options, self.environment, confirm=confirm)

    def is_untouched(self) -> bool:
        """Nothing was changed, and nothing stays of the run."""
        with connect(self.url) as connection:
            left = [
                connection.execute(f"SELECT FROM orchestrator.{table}".encode()).fetchone()
                for table in ("run", "chunk", *TABLES_OF_RUN)
            ]
        return not (any(left) or list(known_runs(self.state_dir)) or self.simulator.ledger.effects)


@pytest.fixture
async def here(
    request: pytest.FixtureRequest,
    database: Secret,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Place]:
    """A VDN with ten campaigns that run, or as many as the test says."""
    monkeypatch.setattr(quiet, "GAP_S", 0.2)
    await make_queue(database)
    running = [Campaign(number + 1) for number in range(getattr(request, "param", 10))]
    world = World({VDN: [*running, Campaign(999, Status.SUSPENDED)]})
    async with Simulator(world, signature=SignatureCheck(ACCESS_KEY, SECRET_KEY)) as simulator:
        yield Place(database, tmp_path, simulator)


async def test_the_operator_is_asked_once_and_then_it_is_paused(here: Place) -> None:
    """Server, VDN, count and first names; the answer is on record before the first PUT."""
    questions = list[str]()

    async def confirm(findings: Findings) -> bool:
        questions.append(findings.lines[0])
        return not here.simulator.ledger.effects

    result = await here.stop_all(confirm)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert result.counts == {"paused": 10}
    [asked] = questions
    assert asked.startswith(f"VDN {VDN}: 10 campaigns")


async def test_a_wrong_answer_leaves_nothing(here: Place) -> None:
    """Refused: no row in the database, no directory, no change on the server."""

    async def confirm(_: Findings) -> bool:
        return False

    with pytest.raises(RefusedError, match="still dialling"):
        await here.stop_all(confirm)

    assert here.is_untouched()


async def test_a_stop_before_the_answer_leaves_nothing(here: Place) -> None:
    """Ctrl-C at the question: exit 130, and nobody in the cluster goes on."""

    async def confirm(_: Findings) -> bool:
        here.environment.stopping.stop(Ended.SIGNAL_INT, "SIGINT received")
        await asyncio.Event().wait()
        return True

    with pytest.raises(NotBegunError, match="still dialling") as caught:
        await here.stop_all(confirm)

    assert caught.value.exit_code == 130
    assert here.is_untouched()


@pytest.mark.parametrize("here", [0], indirect=True)
async def test_where_nothing_runs_nobody_is_asked(here: Place) -> None:
    """Quiet is proven without a question, and is on record."""

    async def confirm(_: Findings) -> bool:
        raise AssertionError

    result = await here.stop_all(confirm)

    assert (result.exit_code, result.verdict, result.counts) == (0, "quiet", {})
    assert not here.is_untouched()


async def test_who_is_asked_for_too_long_with_a_sleeping_machine_asks_again(here: Place) -> None:
    """The lease was ended while the question was open: nothing is paused by an old answer."""

    async def confirm(_: Findings) -> bool:
        with connect(here.url) as connection:  # somebody has seen no renewal
            [lease] = leases(connection, limit=1)
            assert end_lease(connection, lease)
        await asyncio.sleep(3.0)  # a renewal comes, and is refused
        return True

    with pytest.raises(RefusedError, match="never confirmed") as caught:
        await here.stop_all(confirm)

    assert "pause-all --vdn 1234" in caught.value.advice
    assert here.is_untouched()


async def test_quiet_stays_quiet_when_its_hold_is_broken_off(here: Place) -> None:
    """--hold, Ctrl-C after the proof: exit 0, as on one machine."""
    running = asyncio.create_task(here.stop_all(None, hold_s=60.0))
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
