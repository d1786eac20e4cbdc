"""A run that the cluster works on, as the machine sees it that has submitted it.

Its directory here holds the plan until the run is through, then a copy of all that is on record. So
whoever is killed while following has lost nothing: the same command, or `continue`, follows again.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from orchestrator.cluster.leading import Leader
from orchestrator.cluster.part_work import Desk
from orchestrator.cluster.rings import make_queue
from orchestrator.engine.begin import check_wanted
from orchestrator.engine.options import FailureLimit
from orchestrator.engine.pausing_all import Confirm, never_confirmed, still_dialling
from orchestrator.engine.results import RunResult, make_report
from orchestrator.errors import NotBegunError, OrchestratorError, StorageError
from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import SIGNAL_EXIT_CODES
from orchestrator.store import Journal, RunRecord, open_to_continue
from orchestrator.store.cluster_runs import Limits, drop_run, end_overdue, go_on, is_over, outcomes
from orchestrator.store.database import migrate, opened
from orchestrator.store.postgres import add_run, find_run, open_saved_run, save_run
from orchestrator.store.registry import forget

if TYPE_CHECKING:
    import psycopg

    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings
    from orchestrator.settings.secret import Secret
    from orchestrator.store.run_dir import RunDirectory

#: campaigns of a chunk; each is of one VDN
CHUNK = 500
#: seconds between two looks at how far it is
_LOOK_S = 0.5
#: how many times as long as a look has taken it is left alone, so that it costs the others little
_LEFT_ALONE = 9
#: a deadline that is further away than this is none, also for the arithmetic of PostgreSQL
_FOR_EVER_S = 1e9


def make_cluster(url: Secret) -> int:
    """Make the cluster's tables, or bring them up to date; returns the version before.

    Raises:
        OrchestratorError: the database cannot be used.
    """
    with opened(url, checked=False) as connection:
        before = migrate(connection)
    asyncio.run(make_queue(url))
    return before


async def follow(  # noqa: PLR0913, PLR0917 - whose run it is, and what is around it
    url: Secret,
    settings: Settings,
    journal: Journal,
    directory: RunDirectory | None,
    environment: Environment,
    confirm: Confirm | None,
    deadline_s: float | None,
) -> RunResult:
    """Put a run into the cluster, unless it is there, and follow it to its end.

    An emergency is worked on by this process, unless a worker has it.

    Args:
        url: the cluster's database.
        settings: for an emergency, which is sent from here.
        journal: the run's plan; it is closed.
        directory: where it is kept here; None: nowhere (pause-all only).
        environment: the process around it.
        confirm: asks the operator of a pause-all; None: confirmed already.
        deadline_s: seconds after which nothing new of a list is sent, by whichever worker.

    Raises:
        StorageError: the database cannot be reached at the beginning, or the copy not be written.
        RefusedError: the operator has not confirmed it; nothing stays of it.
        NotBegunError: a stop came; the cluster goes on, or nobody had confirmed it.
    """
    leader: Leader | None = None
    with contextlib.closing(journal):
        record = journal.record()
        if record.kind is RunKind.PAUSE_ALL:
            leader = Leader(url, settings, environment, confirm=confirm)
        check_wanted(environment.stopping)
        limits = _limits(record, deadline_s)
        asked_s = environment.clock.now_s()
        try:
            run, is_new = await asyncio.to_thread(
                _put_in, url, journal, record.run_id, limits, leader
            )
        except OrchestratorError as error:
            raise still_dialling(error, record.vdns) if leader else error from None
    environment.progress.run_id = record.run_id
    if leader is not None:
        environment.progress.folder = directory.path if directory else None
        try:
            since_s = asked_s if is_new else None
            await leader.lead(run, record.run_id, ours_since_s=since_s)
        finally:
            environment.progress.folder = None
        result = await _copied(url, run, directory, environment)
        if not (result.facts.confirmed or result.facts.quiet):
            _leave_nothing(url, run, settings, directory, record.run_id)
            check_wanted(environment.stopping, otherwise="campaigns are still dialling")
            raise leader.refusal or never_confirmed(record)
        return result
    assert directory is not None
    await _until_done(url, run, record.run_id, environment)
    return await _copied(url, run, directory, environment)


def _limits(record: RunRecord, deadline_s: float | None) -> Limits:
    """What ends the run early; who counts is whoever works on it."""
    is_for_ever = deadline_s is not None and deadline_s > _FOR_EVER_S
    if is_for_ever or record.kind is RunKind.PAUSE_ALL:  # whoever has an emergency ends it
        deadline_s = None
    if record.max_failures is None:
        return Limits(deadline_s)
    number, is_percent = record.max_failures
    return Limits(deadline_s, FailureLimit(number, is_percent=is_percent).least)


def _put_in(
    url: Secret, journal: Journal, run_id: str, limits: Limits, leader: Leader | None
) -> tuple[int, bool]:
    """Put it in, or let workers go on with it; returns its number, and whether it is new."""
    with opened(url) as connection:
        run = find_run(connection, run_id)
        if run is not None:
            go_on(connection, run, limits)
            return run, False
    holder = leader.holder if leader else ""
    run = add_run(
        url, journal, chunk_size=CHUNK, emergency=bool(holder), limits=limits, holder=holder
    )
    return run, True


def _leave_nothing(
    url: Secret, run: int, settings: Settings, directory: RunDirectory | None, run_id: str
) -> None:
    """Of a run that nobody has confirmed nothing stays: there is nothing to continue."""
    with opened(url) as connection:
        drop_run(connection, run)
    if directory is not None:
        directory.discard()
        with contextlib.suppress(OrchestratorError):
            forget(settings.state_dir, run_id)


async def _until_done(url: Secret, run: int, run_id: str, environment: Environment) -> None:
    progress, stopping = environment.progress, environment.stopping
    progress.phase = "the cluster works"
    is_away = False
    loop = asyncio.get_running_loop()
    async with contextlib.aclosing(Desk(url)) as desk:
        while not stopping.is_stopping:
            began_s = loop.time()
            try:
                has_ended, counts = await desk.do(_look, run)
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


def _look(connection: psycopg.Connection[Any], run: int) -> tuple[bool, dict[str, int]]:
    end_overdue(connection)  # it may be that no worker is there to see it
    return is_over(connection, run), outcomes(connection, run)


async def _copied(
    url: Secret, run: int, directory: RunDirectory | None, environment: Environment
) -> RunResult:
    """Copy what is on record into the run's directory, and report."""
    if directory is None:
        return await asyncio.to_thread(_told, url, run, environment)
    await asyncio.to_thread(save_run, url, run, directory.journal)
    journal = await asyncio.to_thread(
        lambda: open_to_continue(directory.journal, is_unwanted=lambda: False)
    )
    store = journal.start(keep_going=False)
    try:
        result = await store.read(
            lambda saved: make_report(saved, directory.path, fallback=environment.fallback)
        )
        await store.note(verdict=result.verdict, exit_code=result.exit_code)
    finally:
        await store.close()
    if result.failure is not None:
        environment.events.error("report.failed", error=str(result.failure))
    return result


def _told(url: Secret, run: int, environment: Environment) -> RunResult:
    """Report without a place on the disk: the rows go to the fallback stream."""
    with open_saved_run(url, run) as saved:
        return make_report(saved, None, storage_failed=True, fallback=environment.fallback)
