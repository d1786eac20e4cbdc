"""How many chunks a worker has: one while its campaigns wait for places, more while none does."""

from __future__ import annotations

import asyncio
import random

import pytest

from orchestrator.cluster.part_work import Held
from orchestrator.engine.pool import WorkLimit
from orchestrator.reports.summary import Ended
from orchestrator.store.transfer import EMERGENCY_LO
from tests.harness import cluster_model
from tests.harness.cluster_model import ModelWorker, Tables, World


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
