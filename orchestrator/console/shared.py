"""What is read once for all viewers of one console."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from aiohttp import web

from orchestrator.console.book import newest
from orchestrator.console.exposition import Totals
from orchestrator.console.live import read_live
from orchestrator.console.readings import Readings
from orchestrator.console.run_reader import read_run
from orchestrator.console.site import find_run

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.console.cluster import ClusterRuns
    from orchestrator.console.live import LiveView
    from orchestrator.console.site import Site
    from orchestrator.engine.run_list import RunLine

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


@dataclass
class Once(Generic[Key, Value]):
    """Something that is read in a thread; whoever asks soon afterwards gets the same."""

    #: is told the present too, wall-clock milliseconds
    read: Callable[[Key, int], Value]
    clock: Clock
    #: how many are kept
    most: int
    _kept: dict[Key, tuple[float, asyncio.Task[Value]]] = field(default_factory=dict)

    async def get(self, key: Key, *, within_s: float) -> Value:
        """What was read of it so lately, or is read now."""
        now_s = self.clock.now_s()
        began_s, reading = self._kept.get(key, (now_s, None))
        # who wants it as it is now is not given what began to be read before his own change
        if reading is None or ((reading.done() or not within_s) and now_s - began_s >= within_s):
            while len(self._kept) >= self.most:
                del self._kept[next(iter(self._kept))]
            reading = asyncio.create_task(asyncio.to_thread(self.read, key, self.clock.wall_ms()))
            self._kept.pop(key, None)
            self._kept[key] = now_s, reading
        return await asyncio.shield(reading)


class Shared:
    """What is read once for all viewers."""

    def __init__(self, site: Site, cluster: ClusterRuns) -> None:
        """Nothing is read yet."""
        self.site = site
        self.cluster = cluster
        self.readings = Readings(site)
        self.totals = Totals()
        state_dir, clock = site.state_dir, site.clock
        self._newest: Once[str, tuple[RunLine, ...]] = Once(
            lambda _, __: newest(state_dir, cluster.live), clock, 1
        )
        self._live: Once[str, LiveView | None] = Once(
            lambda one, now_ms: read_live(find_run(state_dir, one), cluster.run(one), now_ms),
            clock,
            200,
        )
        self._runs: Once[str, dict[str, Any]] = Once(
            lambda one, now_ms: read_run(find_run(state_dir, one), now_ms), clock, 8
        )

    async def newest_runs(self, *, within_s: float = 1.0) -> tuple[RunLine, ...]:
        """The live runs, then the last others; those of the cluster as it has them."""
        await self.cluster.refreshed()
        return self.cluster.shown(await self._newest.get("", within_s=within_s))

    async def live(self, run_id: str) -> LiveView | None:
        """How far a run is; None: nobody works on it.

        Raises:
            HTTPNotFound: there is no such run.
            OrchestratorError: its journal cannot be read.
        """
        await self.cluster.refreshed()
        return await self._live.get(run_id, within_s=0.5)

    async def ended(self, run_id: str) -> dict[str, Any]:
        """A run that nobody works on, as its page shows it.

        Raises:
            HTTPNotFound: there is no such run.
            OrchestratorError: its journal cannot be read.
        """
        return await self._runs.get(run_id, within_s=0)


SHARED: Final = web.AppKey("shared", Shared)
