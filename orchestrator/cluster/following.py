"""A run that the cluster works on, as the machine sees it that has submitted it.

Its directory here holds the plan until the run is through, then a copy of all that is on record. So
whoever is killed while following has lost nothing: the same command, or `continue`, follows again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.cluster.rings import TASK, make_app, make_queue, ring
from orchestrator.engine.begin import check_wanted
from orchestrator.engine.options import FailureLimit
from orchestrator.engine.results import make_report, result_of
from orchestrator.errors import NotBegunError, StorageError
from orchestrator.policy.decide import Outcome
from orchestrator.reports.summary import SIGNAL_EXIT_CODES
from orchestrator.store import open_to_continue
from orchestrator.store.chunks import Limits, end_overdue, go_on, is_over, outcomes, unrung
from orchestrator.store.database import migrate, opened
from orchestrator.store.postgres import add_run, find_run, save_run
from orchestrator.store.sqlite import SqliteJournal

if TYPE_CHECKING:
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.settings.secret import Secret
    from orchestrator.store import Journal, RunRecord
    from orchestrator.store.run_dir import RunDirectory

#: campaigns of a chunk; each is of one VDN
CHUNK = 500
#: seconds between two looks at how far it is
_LOOK_S = 0.5
#: how many times as long as a look has taken it is left alone, so that it costs the others little
_LEFT_ALONE = 9
#: a deadline that is further away than this is none, also for the arithmetic of PostgreSQL
_FOR_EVER_S = 1e9
#: chunks that are rung for at once; workers ring for the others
_RUNG = 500


def make_cluster(url: Secret) -> int:
    """Make the cluster's tables, or bring them up to date; returns the version before.

    Raises:
        OrchestratorError: the database cannot be used.
    """
    with opened(url, checked=False) as connection:
        before = migrate(connection)
    asyncio.run(make_queue(url))
    return before


async def follow(
    url: Secret,
    journal: Journal,
    directory: RunDirectory,
    environment: Environment,
    *,
    deadline_s: float | None = None,
) -> RunResult:
    """Put a run into the cluster, unless it is there, and follow it to its end.

    Args:
        url: the cluster's database.
        journal: the run's plan; it is closed.
        directory: where it is kept here.
        environment: the process around it.
        deadline_s: seconds after which nothing new is sent, by whichever worker.

    Raises:
        StorageError: the database cannot be reached at the beginning, or the copy not be written.
        NotBegunError: a stop came; the cluster goes on.
    """
    assert isinstance(journal, SqliteJournal)
    with contextlib.closing(journal):
        check_wanted(environment.stopping)
        record = journal.record()
        run_id = record.run_id
        limits = _limits(record, deadline_s)
        run = await asyncio.to_thread(_put_in, url, journal, run_id, limits)
    environment.progress.run_id = run_id
    with contextlib.suppress(Exception):  # a ring that is lost is missed by a worker
        await _ring_first(url)
    await _until_done(url, run, run_id, environment)
    return await _copied(url, run, directory, environment)


def _limits(record: RunRecord, deadline_s: float | None) -> Limits:
    """What ends the run early; who counts is whoever works on it."""
    if deadline_s is not None and deadline_s > _FOR_EVER_S:
        deadline_s = None
    if record.max_failures is None:
        return Limits(deadline_s)
    number, is_percent = record.max_failures
    return Limits(deadline_s, FailureLimit(number, is_percent=is_percent).least)


def _put_in(url: Secret, journal: SqliteJournal, run_id: str, limits: Limits) -> int:
    with opened(url) as connection:
        run = find_run(connection, run_id)
        if run is not None:
            go_on(connection, run, limits)
    if run is None:
        run = add_run(url, journal, chunk_size=CHUNK, emergency=False, limits=limits)
    return run


async def _ring_first(url: Secret) -> None:
    app = make_app(url, _hear_nothing)
    with opened(url) as connection:
        found = unrung(connection, task=TASK, limit=_RUNG)
    async with app.open_async():
        await ring(app, found)


async def _hear_nothing(_run: int, _lo: int) -> None:
    """Only workers hear."""


async def _until_done(url: Secret, run: int, run_id: str, environment: Environment) -> None:
    progress, stopping = environment.progress, environment.stopping
    progress.phase = "the cluster works"
    is_away = False
    loop = asyncio.get_running_loop()
    while not stopping.is_stopping:
        began_s = loop.time()
        try:
            has_ended, counts = await asyncio.to_thread(_look, url, run)
        except StorageError as error:
            if not is_away:
                environment.events.warning("cluster.away", reason=str(error))
            is_away = True
        else:
            is_away = False
            progress.outcomes.clear()
            progress.outcomes.update({Outcome(one): number for one, number in counts.items()})
            if has_ended:
                return
        await stopping.sleep(max(_LOOK_S, _LEFT_ALONE * (loop.time() - began_s)))
    raise NotBegunError(
        f"{stopping.why}: run {run_id} is not followed here any more; the cluster goes on with it",
        exit_code=SIGNAL_EXIT_CODES.get(stopping.ended, 1),
        advice=f"`orchestrator continue {run_id}` follows it again",
    )


def _look(url: Secret, run: int) -> tuple[bool, dict[str, int]]:
    with opened(url) as connection:
        end_overdue(connection)  # it may be that no worker is there to see it
        return is_over(connection, run), outcomes(connection, run)


async def _copied(
    url: Secret, run: int, directory: RunDirectory, environment: Environment
) -> RunResult:
    """Copy what is on record into the run's directory, and report."""
    await asyncio.to_thread(save_run, url, run, directory.journal)
    journal = await asyncio.to_thread(
        lambda: open_to_continue(directory.journal, is_unwanted=lambda: False)
    )
    store = journal.start(keep_going=False)
    try:
        stored = await store.read(
            lambda saved: make_report(
                saved, directory.path, storage_failed=False, fallback=environment.fallback
            )
        )
        result = result_of(stored, directory.path)
        await store.note(verdict=result.verdict, exit_code=result.exit_code)
    finally:
        await store.close()
    if stored.failure is not None:
        environment.events.error("report.failed", error=str(stored.failure))
    return result
