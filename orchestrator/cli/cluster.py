"""`cluster init`, `worker`, and what `--cluster` needs; psycopg and Procrastinate come late."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any

from orchestrator.cli import output, runner
from orchestrator.clock import SystemClock
from orchestrator.engine.saved import read_record
from orchestrator.errors import CredentialsError, OrchestratorError, ServerError, SettingsError
from orchestrator.loading import load_aiohttp
from orchestrator.reports.rows import iso_time
from orchestrator.reports.summary import Ended
from orchestrator.settings.schema import DATABASE_URL

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment, Follow
    from orchestrator.settings.load import Settings
    from orchestrator.settings.secret import Secret
    from orchestrator.store.run_dir import RunDirectory
    from orchestrator.store.shared import SharedMarks

_NEEDED = ("procrastinate", "psycopg", "psycopg_pool")


def database(settings: Settings) -> Secret:
    """The cluster's database.

    Raises:
        SettingsError: there is none, or what talks to it is not installed.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingsError(
            f"{missing[0]} is not installed, and the cluster needs it. Nothing was sent.",
            key=DATABASE_URL,
            advice="pip install 'campaign-pause-orchestrator[cluster]'",
        )
    url = settings.cluster.database_url
    if url is None:
        raise SettingsError(
            f"{DATABASE_URL} is not set, and the cluster needs it. Nothing was sent.",
            key=DATABASE_URL,
            advice="set it, or ORCHESTRATOR_DATABASE_URL: postgresql://user@host:5432/database",
        )
    return url


def follower(settings: Settings, *, needed: bool = False) -> Follow | None:
    """Who follows a run of the cluster, whose database is asked then; None: there is no cluster.

    Raises:
        SettingsError: it is needed, and there is none.
    """
    if needed:
        database(settings)
    if settings.cluster.database_url is None:
        return None

    async def follow(*run: Any) -> RunResult:
        url = database(settings)
        from orchestrator.cluster.following import follow as start  # noqa: PLC0415 - psycopg

        return await start(url, settings, *run)

    return follow


def reach(settings: Settings, vdns: tuple[int, ...]) -> None:
    """See that an emergency can be put into the cluster, before anybody is asked.

    Raises:
        OrchestratorError: it cannot; it says how to stop what dials without the cluster.
    """
    from orchestrator.engine.pausing_all import still_dialling  # noqa: PLC0415 - aiohttp

    try:
        url = database(settings)
        from orchestrator.store.database import opened  # noqa: PLC0415 - psycopg

        with opened(url):
            pass
    except OrchestratorError as error:
        raise still_dialling(error, vdns) from error


def marks_of(settings: Settings) -> Callable[[str], SharedMarks] | None:
    """What restores on all machines have started; None: there is no cluster."""
    if settings.cluster.database_url is None:
        return None

    def marks(run_id: str) -> SharedMarks:
        url = database(settings)
        from orchestrator.store.shared import SharedMarks as Marks  # noqa: PLC0415 - psycopg

        return Marks(url, run_id)

    return marks


def bring(settings: Settings, text: str) -> None:
    """Bring runs of the cluster here; where that fails, what is here is all there is."""
    if settings.cluster.database_url is None:
        return
    try:
        url = database(settings)
        from orchestrator.cluster.fetching import bring as start  # noqa: PLC0415 - psycopg

        now = iso_time(SystemClock().wall_ms())
        start(url, settings.state_dir, text, holder=os.uname().nodename, since=now)
    except OrchestratorError as error:
        output.warn(f"runs of the cluster may be missing here: {error}")


def share_notes(settings: Settings, directory: RunDirectory) -> None:
    """Let other machines see what is noted about a run of the cluster; of others, do nothing.

    Raises:
        OrchestratorError: the database cannot be asked.
    """
    if settings.cluster.database_url is None:
        return
    record = read_record(directory)
    if record.cluster:
        url = database(settings)
        from orchestrator.store.shared import share_notes as start  # noqa: PLC0415 - psycopg

        start(url, {record.run_id: directory.path})


def stop(settings: Settings, directory: RunDirectory) -> str:
    """End a run that the cluster works on; returns its id, empty if it is no such run.

    Raises:
        OrchestratorError: the database cannot be asked, or does not know it.
    """
    try:
        record = read_record(directory)
    except OrchestratorError:
        return ""  # a process that works on what cannot be read can be signalled all the same
    if not record.cluster:
        return ""
    url = database(settings)
    from orchestrator.cluster.fetching import end  # noqa: PLC0415 - psycopg

    end(url, record.run_id, why="stopped by `stop`")
    return record.run_id


def init(given: Namespace) -> int:
    """`cluster init`."""
    settings = runner.load(given, sends=False)
    url = database(settings)
    from orchestrator.cluster.following import make_cluster  # noqa: PLC0415 - psycopg
    from orchestrator.store.database import SCHEMA_VERSION  # noqa: PLC0415 - psycopg

    done = "there" if make_cluster(url) == SCHEMA_VERSION else "made"
    output.give(f"the cluster's tables are {done}, version {SCHEMA_VERSION}")
    return 0


def worker(given: Namespace) -> int:
    """`worker`: until a signal."""
    settings = runner.load(given)
    url = database(settings)
    load_aiohttp()
    from orchestrator.cluster.worker import Worker, leave_in_time  # noqa: PLC0415 - psycopg
    from orchestrator.store.database import opened  # noqa: PLC0415 - psycopg

    with opened(url):
        pass  # what is wrong with it now is said now; later it is waited for
    around = runner.Stage(given)
    leave_in_time(around.stopping)

    async def work(environment: Environment) -> None:
        environment.progress.phase = "waiting for chunks"
        made = Worker(url, settings, environment)
        if not given.quiet:
            output.say(f"worker {made.holder}: waiting for chunks; Ctrl-C ends it")
        await made.run()

    around.run(work)
    if around.stopping.ended in {Ended.CREDENTIALS, Ended.DENIED}:
        raise CredentialsError(f"the worker has ended: {around.stopping.why}")
    if around.stopping.ended is Ended.UNTRUSTED:
        raise ServerError(f"the worker has ended: {around.stopping.why}")
    return 0
