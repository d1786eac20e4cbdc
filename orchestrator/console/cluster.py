"""Runs of the cluster, for the pages of a console on any machine.

Rule 1: its database is asked in the background, by threads of its own. No page waits for it longer
        than WAIT_S, and the red button not at all.
Rule 2: while it does not answer, what was known stays, with how old it is and a sentence about it.
Rule 3: a run is copied into the state directory once, and once more when it is through; how far it
        is meanwhile are numbers alone.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.engine.pages import PAGE, write_page
from orchestrator.engine.saved import report_again
from orchestrator.errors import OrchestratorError, RefusedError, SettingsError, StorageError
from orchestrator.reports.files import SUMMARY
from orchestrator.reports.rows import iso_time
from orchestrator.settings.schema import DATABASE_URL
from orchestrator.store.registry import find_by_id
from orchestrator.store.run_dir import is_run_id
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.console.site import Site
    from orchestrator.engine.run_list import RunLine
    from orchestrator.model import CampaignRef
    from orchestrator.settings.secret import Secret
    from orchestrator.store import Mark
    from orchestrator.store.cluster_runs import Seen

#: seconds for which a page waits for the database at most
WAIT_S: Final = 1.0
#: seconds between two looks, and how many times as long as a look has taken
_EVERY_S: Final = 2.0
_LEFT_ALONE: Final = 9
#: seconds for which an order to end a run waits
_ENDS_S: Final = 8.0


class ClusterRun(NamedTuple):
    """A run of the cluster at the last look."""

    seen: Seen
    #: wall-clock milliseconds of that look
    at_ms: int
    #: campaigns that got their outcome, a second, between the last two looks; None: not known
    per_s: float | None = None

    @property
    def who(self) -> str:
        """Who works on it."""
        number = self.seen.workers
        if not number:
            return "no worker of the cluster yet"
        return "1 worker of the cluster" if number == 1 else f"{number} workers of the cluster"


class ClusterRuns:
    """What is known of them; without `cluster.database_url` there are none."""

    def __init__(self, site: Site) -> None:
        """Nothing is asked yet."""
        self.site = site
        self.problem = ""
        self._is_there = site.settings.cluster.database_url is not None
        self._known: dict[str, ClusterRun] = {}
        #: whether a run went on when it was copied here
        self._copied: dict[str, bool] = {}
        self._due_s = float("-inf")
        self._looked_ms = 0
        self._looking: asyncio.Task[None] | None = None
        self._copying: asyncio.Task[None] | None = None
        #: looks go on beside the copy of a large run, and an order to end waits for neither
        self._threads = ThreadPoolExecutor(4, "cluster-database")

    async def refreshed(self) -> None:
        """Let a look be made if one is due; only while nothing is known it is waited for."""
        if not self._is_there:
            return
        if self._looking is None and self.site.clock.now_s() >= self._due_s:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None and not self._looked_ms and not self.problem:
            await asyncio.wait({self._looking}, timeout=WAIT_S)

    def run(self, run_id: str) -> ClusterRun | None:
        """A run that the cluster works on, as far as it is known."""
        found = self._known.get(run_id)
        return found if found is not None and found.seen.goes_on else None

    @property
    def live(self) -> frozenset[str]:
        """The runs that go on."""
        return frozenset(filter(self.run, self._known))

    def notice(self) -> str:
        """What is wrong with it, in sentences; empty: nothing."""
        if not self.problem:
            return ""
        since = "it has not answered yet"
        if self._looked_ms:
            since = f"its last answer is of {iso_time(self._looked_ms)[11:19]}Z"
        return (
            f"The cluster's runs may be missing here, or be further than shown: {self.problem}"
            f" ({since}). Stopping from here needs no database."
        )

    def shown(self, lines: Iterable[RunLine]) -> tuple[RunLine, ...]:
        """Lines of runs, those of the cluster as it has them."""
        return tuple(map(self._line, lines))

    def _line(self, line: RunLine) -> RunLine:
        if found := self.run(line.run_id):
            return line._replace(
                cluster=True, live=True, verdict="running", exit_code=None, is_over=None,
                counts=found.seen.counts, holder=found.who,
            )  # fmt: skip
        if line.cluster and not line.live and not line.is_over and self.problem:
            return line._replace(verdict="not known now", exit_code=None)
        return line._replace(cluster=line.cluster or line.run_id in self._known)

    # -- asking -----------------------------------------------------------------------------------

    async def _look(self) -> None:
        began_s = self.site.clock.now_s()
        try:
            found = [one for one in await self._ask(_look) if is_run_id(one.run_id)]
        except OrchestratorError as error:
            self._note(error)
        else:
            now_ms, before = self.site.clock.wall_ms(), self._known
            self.problem, self._looked_ms = "", now_ms
            self._known = {
                one.run_id: ClusterRun(one, now_ms, _per_s(before.get(one.run_id), one, now_ms))
                for one in found
            }
            wanted = {
                one.run_id: one.goes_on
                for one in found
                if self._copied.get(one.run_id, None if one.goes_on else True) is not one.goes_on
            }
            if wanted and self._copying is None:
                self._copying = asyncio.create_task(self._copy_all(wanted))
        finally:
            now_s = self.site.clock.now_s()
            self._due_s = now_s + max(_EVERY_S, _LEFT_ALONE * (now_s - began_s))
            self._looking = None

    def _note(self, error: OrchestratorError) -> None:
        self.problem = for_terminal(error.sentence, limit=300).rstrip(" .")

    async def _copy_all(self, wanted: Mapping[str, bool]) -> None:
        """Copy runs, each with whether it goes on."""
        try:
            for run_id, goes_on in wanted.items():
                with suppress(RefusedError):  # somebody is at it; the next look tries again
                    await self._ask(_copy, self.site, run_id, goes_on=goes_on)
                    self._copied[run_id] = goes_on
        except OrchestratorError as error:
            self._note(error)
        finally:
            self._copying = None

    async def copied(self, run_id: str) -> None:
        """Let what is on record of a run that goes on be copied; wait for it for a moment."""
        if self.run(run_id) is not None:
            if self._copying is None:
                self._copying = asyncio.create_task(self._copy_all({run_id: True}))
            await asyncio.wait({self._copying}, timeout=WAIT_S)

    def share_notes(self, run_id: str) -> None:
        """Let notes on a run of the cluster be the same here and elsewhere; nobody waits for it."""
        if run_id in self._known:
            self._ask(_share_notes, self.site, run_id)

    async def end(self, run_id: str, operator: str) -> bool:
        """End a run that the cluster works on; False: it is not known to work on it.

        Raises:
            StorageError: the database does not answer, so nothing was ended.
            OrchestratorError: it does not work on it.
        """
        if self.run(run_id) is None:
            return False
        try:
            async with asyncio.timeout(_ENDS_S):
                await self._ask(_end, run_id, why=f"ended at the console by {operator}")
        except TimeoutError as error:
            raise StorageError(
                "the cluster's database does not answer. It is not certain that the run ends",
                advice="look again in a moment, and order it once more",
            ) from error
        self._due_s = float("-inf")
        return True

    async def marks(self, run_id: str) -> Mapping[CampaignRef, Mark]:
        """What restores on other machines have started of a run, if that is said in time."""
        if run_id in self._known:
            # the restore itself asks again, and waits
            with suppress(OrchestratorError, TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    found: Mapping[CampaignRef, Mark] = await self._ask(_marks, run_id)
                    return found
        return {}

    def _ask(self, function: Callable[..., Any], *given: Any, **named: Any) -> Any:
        """Call a function with the database's address, in a thread."""
        url = self.site.settings.cluster.database_url
        asked = partial(_with_psycopg, function, url, *given, **named)
        return asyncio.get_running_loop().run_in_executor(self._threads, asked)

    async def close(self, _: object) -> None:
        """Begin nothing more."""
        for task in (self._looking, self._copying):
            if task is not None:
                task.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)


def _per_s(before: ClusterRun | None, now: Seen, now_ms: int) -> float | None:
    if before is None or now_ms <= before.at_ms:
        return None
    settled = sum(now.counts.values()) - sum(before.seen.counts.values())
    return max(0, settled) * 1000 / (now_ms - before.at_ms)


# -- in a thread; psycopg may be missing, and is imported where there is a cluster alone -----------


def _with_psycopg(function: Callable[..., Any], *given: Any, **named: Any) -> Any:
    if importlib.util.find_spec("psycopg") is None:
        raise SettingsError(
            f"{DATABASE_URL} is set, and psycopg is not installed", key=DATABASE_URL
        )
    return function(*given, **named)


def _look(url: Secret) -> list[Seen]:
    from orchestrator.cluster.fetching import look  # noqa: PLC0415 - psycopg

    return look(url)


def _copy(url: Secret, site: Site, run_id: str, *, goes_on: bool) -> None:
    """Copy what is on record of a run, and write the report of one that is through."""
    from orchestrator.cluster.fetching import bring  # noqa: PLC0415 - psycopg

    now = iso_time(site.clock.wall_ms())
    bring(url, site.state_dir, run_id, holder=os.uname().nodename, since=now)
    directory = find_by_id(site.state_dir, run_id)
    if goes_on or directory.is_live or (directory.path / SUMMARY).exists():
        return
    report_again(directory, fallback=None)
    write_page([directory], directory.path / PAGE, site.clock)


def _share_notes(url: Secret, site: Site, run_id: str) -> None:
    from orchestrator.store.shared import share_notes  # noqa: PLC0415 - psycopg

    with suppress(OrchestratorError):  # the next look at the run tries again
        share_notes(url, {run_id: find_by_id(site.state_dir, run_id).path})


def _end(url: Secret, run_id: str, *, why: str) -> None:
    from orchestrator.cluster.fetching import end  # noqa: PLC0415 - psycopg

    end(url, run_id, why=why)


def _marks(url: Secret, run_id: str) -> Mapping[CampaignRef, Mark]:
    from orchestrator.store.shared import SharedMarks  # noqa: PLC0415 - psycopg

    return SharedMarks(url, run_id).read()
