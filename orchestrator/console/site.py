"""What every page of the console needs: settings, clock, who is asking, and which run is meant."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from aiohttp import web

from orchestrator.console.rights import Viewer
from orchestrator.settings.server_url import ServerUrl, read_base_url
from orchestrator.store.registry import known_runs, newest_runs
from orchestrator.store.run_dir import RUNS, RunDirectory, is_run_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.settings.load import Settings

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """One console."""

    settings: Settings
    #: --config … --ca-file … as given to `console`, handed on to every command started
    connection: tuple[str, ...]
    clock: Clock

    @property
    def state_dir(self) -> Path:
        """The directory of all run directories."""
        return self.settings.state_dir

    @property
    def fingerprint(self) -> str:
        """Its server; a state directory may hold the runs of several."""
        return fingerprint_of(self.settings.server.base_url)


#: where a request has its viewer
VIEWER: Final = web.RequestKey("viewer", Viewer)
SITE: Final = web.AppKey("site", Site)
#: threads of what forms order: no slow page keeps an order waiting
THREADS: Final = web.AppKey("threads", ThreadPoolExecutor)


def fingerprint_of(base_url: str) -> str:
    """Which server an address means; empty: none."""
    url = read_base_url(base_url)
    return url.fingerprint if isinstance(url, ServerUrl) else ""


def find_run(state_dir: Path, run_id: str) -> RunDirectory:
    """The directory of a run, by its whole id.

    Raises:
        HTTPNotFound: there is none.
    """
    if is_run_id(run_id):
        usual = RunDirectory(state_dir / RUNS / run_id)
        if usual.has_journal:
            return usual
        for run in chain(newest_runs(state_dir), known_runs(state_dir)):
            if run.run_id == run_id:
                return run.directory
    raise web.HTTPNotFound(
        reason="There is no such run",
        text="It may have been deleted, or the address is mistyped. Nothing was sent.",
    )


async def in_thread(
    request: web.Request, function: Callable[P, T], *given: P.args, **named: P.kwargs
) -> T:
    """Do something that reads or writes the disk."""
    threads = request.app[THREADS] if request.method == "POST" else None
    called = partial(function, *given, **named)
    return await asyncio.get_running_loop().run_in_executor(threads, called)


async def run_of(request: web.Request) -> RunDirectory:
    """The run that a request is about.

    Raises:
        HTTPNotFound: there is none.
    """
    run_id = request.match_info["run_id"]
    return await in_thread(request, find_run, request.app[SITE].state_dir, run_id)
