"""One process of one run: builds its parts, does its work, records its end, makes the report.

The end is the same whatever happened in between. An emergency goes on without a disk; a list does
not begin without one.
"""

from __future__ import annotations

import asyncio
import math
import os
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

from orchestrator.engine.asker import client_of
from orchestrator.engine.context import build_context
from orchestrator.engine.looks import look_at_doubts
from orchestrator.engine.pool import note_bug
from orchestrator.engine.progress import Progress
from orchestrator.engine.stop import StoppedError, Stopping
from orchestrator.errors import SettingsError, StorageError
from orchestrator.isales.client import IsalesClient
from orchestrator.reports.files import earlier_lag_s
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import Ended
from orchestrator.settings.schema import DATABASE_URL
from orchestrator.store import Gap, ProcessRecord, begin_gap, end_gap, gap_of
from orchestrator.streams import spare_descriptors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.clock import Clock
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.departures import SharedRate
    from orchestrator.engine.dispatcher import Dispatcher, Transport
    from orchestrator.engine.options import FailureLimit
    from orchestrator.engine.pausing_all import Confirm
    from orchestrator.engine.results import Announcement, RunResult
    from orchestrator.log import Events
    from orchestrator.policy.auth import AuthState
    from orchestrator.policy.pacer import Pacer
    from orchestrator.settings.load import Settings
    from orchestrator.store import Journal, RunRecord, Store
    from orchestrator.store.run_dir import RunDirectory
    from orchestrator.store.shared import SharedMarks

    #: follows a run: its plan, which is closed, and its directory, if it has one; around it; who
    #: asks the operator of an emergency; the deadline of all workers of a list, seconds
    Follow: TypeAlias = Callable[
        [Journal, RunDirectory | None, "Environment", Confirm | None, float | None],
        Awaitable[RunResult],
    ]

#: descriptors for what is opened for a moment: a module, a name service, a report
_KEPT_FREE = 4


@dataclass(slots=True)
class Environment:
    """What a run needs of the process it lives in; a library caller may replace any of it."""

    clock: Clock
    events: Events
    stopping: Stopping = field(default_factory=Stopping)
    progress: Progress = field(default_factory=Progress)
    #: where rows go when no file can be written
    fallback: BinaryIO | None = None
    #: None: the real client
    transport: Callable[[Settings, Clock], Transport] | None = None
    #: None: the thread that commits in groups
    store: Callable[[Journal, bool], Store] | None = None
    host: str = field(default_factory=lambda: os.uname().nodename)
    #: the ceiling is shared with the other runs of the state directory
    shares_rate: bool = True
    #: is told, on the loop, that a run has begun and that it is quiet; must return at once
    announce: Callable[[Announcement], None] | None = None
    #: None: by a file there; in a cluster its database says when a request may leave
    shared_rate: Callable[[Dispatcher], SharedRate] | None = None
    #: follows a run that the cluster works on to its end; None: there is no cluster
    follow: Follow | None = None
    #: what restores on all machines have started of a run of the cluster; None: there is no cluster
    shared_marks: Callable[[str], SharedMarks] | None = None

    def announce_start(self, record: RunRecord) -> None:
        """Say that a run has begun."""
        if self.announce is not None:
            from orchestrator.engine.results import begun  # noqa: PLC0415 - few want it

            self.announce(begun(record, self.clock.wall_ms()))

    def make_transport(self, settings: Settings) -> Transport:
        """Who carries requests to the server of these settings."""
        return (self.transport or _real_client)(settings, self.clock)

    def make_store(self, journal: Journal, *, keep_going: bool) -> Store:
        """The store of this process."""
        if self.store is not None:
            return self.store(journal, keep_going)
        return journal.start(keep_going=keep_going)


async def follow_cluster(
    environment: Environment,
    journal: Journal,
    directory: RunDirectory | None,
    confirm: Confirm | None = None,
    *,
    deadline_s: float | None = None,
) -> RunResult:
    """Follow a run that the cluster works on; of a list nothing is sent from here.

    An emergency is worked on here, unless a worker is at it already; `confirm` asks the operator.

    Raises:
        SettingsError: there is no cluster in the settings.
    """
    if environment.follow is None:
        journal.close()
        raise SettingsError(
            "the cluster works on this run, and cluster.database_url is not set. Nothing was sent"
            " from here.",
            key=DATABASE_URL,
            advice="set it, or ORCHESTRATOR_DATABASE_URL",
        )
    return await environment.follow(journal, directory, environment, confirm, deadline_s)


class RunSpec(NamedTuple):
    """What this process is to do."""

    kind: RunKind
    settings: Settings
    journal: Journal
    #: None: there is no place on the disk (pause-all only)
    directory: RunDirectory | None
    deadline_s: float | None = None
    max_failures: FailureLimit | None = None
    #: why there is no directory
    storage_problem: StorageError | None = None


async def live(
    environment: Environment,
    spec: RunSpec,
    work: Callable[[RunContext], Awaitable[None]],
    *,
    before_report: Callable[[RunContext], Awaitable[None]] | None = None,
) -> RunResult:
    """Do the work of one process and report; `before_report` puts last facts on record."""
    keep_going = spec.kind is RunKind.PAUSE_ALL
    if spec.directory is not None:
        environment.progress.run_id = spec.journal.record().run_id
        environment.progress.folder = spec.directory.path
    journal = environment.make_store(spec.journal, keep_going=keep_going)
    marked = spec.directory.journal if keep_going and spec.directory else None
    if marked is not None:
        _tell_gap(environment, gap_of(marked))
        begin_gap(marked)
    if spec.directory is not None:
        # for `stop` in another terminal, which must not send a second signal
        note_ending, stopping = spec.directory.note_ending, environment.stopping
        stopping.on_stop(lambda: note_ending(stopping.why))
    try:
        await work_on_record(environment, spec, journal, work, before_report=before_report)
        result = await _report(environment, spec, journal)
    finally:
        environment.progress.folder = None
        await journal.close()
    if marked is not None and journal.failure is None:
        end_gap(marked)
    return result


async def work_on_record(
    environment: Environment,
    spec: RunSpec,
    journal: Store,
    work: Callable[[RunContext], Awaitable[None]],
    *,
    before_report: Callable[[RunContext], Awaitable[None]] | None = None,
) -> Ended:
    """Do the work of one process, with its beginning and its end on record; returns why it ended.

    The journal stays open.
    """
    clock = environment.clock
    process = ProcessRecord(clock.wall_ms(), os.getpid(), environment.host)
    await _recorded(environment, journal.begin_process(process))
    if journal.process == 1 and spec.kind is not RunKind.PAUSE_ALL:  # an emergency sends first
        environment.announce_start(spec.journal.record())
    context = build_context(environment, spec, journal)
    await perform(environment, spec, context, work)
    if before_report is not None:
        await _recorded(environment, before_report(context))
    ended = _ended(environment.stopping, context)
    pacer = context.dispatcher.pacer
    process = process._replace(
        ended_at_ms=clock.wall_ms(),
        ended=ended,
        departures=pacer.departed,
        worst_1s=pacer.worst_window(),
        busy_ms=_busy_ms(pacer),
    )
    offset_s = context.dispatcher.clock_offset_s
    if offset_s is not None:
        await _recorded(environment, journal.note(clock_offset_s=offset_s))
    last_words = journal.end_process(
        process,
        why=environment.stopping.why,
        recoveries=_recoveries(context.dispatcher.auth_state),
        lag_s=context.lag.lag_s,
        highest_rate_per_s=spec.settings.pace.rate_per_s,
    )
    await _recorded(environment, last_words)
    return ended


def _tell_gap(environment: Environment, gap: Gap) -> None:
    """Warn when an earlier process of this emergency may have lost records."""
    if gap is Gap.LOST:
        environment.events.warning("journal.incomplete", reason="its disk failed")
    elif gap is Gap.OPEN:
        environment.events.warning(
            "journal.perhaps_incomplete",
            reason="the process before was killed; if its disk had failed, what it did after"
            " that is missing",
        )


async def _recorded(environment: Environment, record: Awaitable[object]) -> None:
    """Put something on record; a disk failure here ends in exit code 5."""
    try:
        await record
    except StorageError as error:
        environment.stopping.stop(Ended.STORAGE, str(error))
        environment.events.error("journal.failed", error=str(error))


async def _report(environment: Environment, spec: RunSpec, journal: Store) -> RunResult:
    from orchestrator.engine.results import make_report  # noqa: PLC0415 - at the end

    folder = spec.directory.path if spec.directory else None
    failure = journal.failure or spec.storage_problem
    if spec.directory is not None and failure is None:
        failure = await journal.find_damage()
        if failure is not None:
            environment.stopping.stop(Ended.STORAGE, str(failure))
            environment.events.error("journal.damaged", error=str(failure))
    result = await journal.read(
        lambda saved: make_report(
            saved, folder, storage_failed=failure is not None, fallback=environment.fallback
        )
    )
    if result.failure is not None:
        environment.events.error("report.failed", error=str(result.failure))
    await _recorded(environment, journal.note(verdict=result.verdict, exit_code=result.exit_code))
    return result


def _ended(stopping: Stopping, context: RunContext) -> Ended:
    if context.bugs:
        return Ended.BUG
    if context.access.closed and not context.access.opened and stopping.ended is Ended.FINISHED:
        refusal = context.dispatcher.breakers.refusal
        stopping.why = refusal.reason if refusal else "access refused"
        return Ended.DENIED
    return stopping.ended


def _recoveries(auth_state: AuthState) -> dict[str, object]:
    """What was learnt about signing."""
    return {
        "blank_query_line": auth_state.rules.blank_query_line,
        "millis": auth_state.rules.millis,
        "clock_offset_ms": auth_state.offset_ms,
    }


def _busy_ms(pacer: Pacer) -> int:
    """From the first request to the last; a second at least, or three at once were 3,000/s."""
    if pacer.first_s is None or pacer.last_s is None:
        return 0
    return max(1000, round((pacer.last_s - pacer.first_s) * 1000))


# -- the work ---------------------------------------------------------------------------------


async def perform(
    environment: Environment,
    spec: RunSpec,
    context: RunContext,
    work: Callable[[RunContext], Awaitable[None]],
) -> None:
    """Do the work with a connection to the server, until it ends or is stopped."""
    watch = asyncio.create_task(_watch_deadline(context, spec.deadline_s))
    context.lift_deadline = watch.cancel
    learning = asyncio.create_task(_learn_earlier_lag(context, spec.settings))
    transport = context.dispatcher.transport
    try:
        async with transport if isinstance(transport, IsalesClient) else nullcontext():
            await _guarded(context, work)
            await _guarded(context, look_at_doubts)
    finally:
        watch.cancel()
        learning.cancel()
        if context.dispatcher.departures.shared is not None:
            context.dispatcher.departures.shared.close()
    for bug in context.bugs:
        environment.events.error("run.bug_found", what=bug)


async def _guarded(context: RunContext, work: Callable[[RunContext], Awaitable[None]]) -> None:
    try:
        await work(context)
    except StoppedError:
        context.events.debug("run.stopped", why=context.stopping.why)
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - the report is still made
        _sort_out(context, error)


def _sort_out(context: RunContext, error: BaseException) -> None:
    """A disk failure ends the run; of errors that came together, stops are expected."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            _sort_out(context, one)
    elif isinstance(error, StorageError):
        context.stopping.stop(Ended.STORAGE, str(error))
    elif isinstance(error, (KeyboardInterrupt, SystemExit)):
        raise error
    elif not isinstance(error, (StoppedError, asyncio.CancelledError)):
        note_bug(context, error, "the run")


async def _learn_earlier_lag(context: RunContext, settings: Settings) -> None:
    """What earlier runs saw of this server's lag; read beside the first requests."""
    state_dir, base_url = settings.state_dir, settings.server.base_url
    context.earlier_lag_s = await asyncio.to_thread(earlier_lag_s, state_dir, base_url)


async def _watch_deadline(context: RunContext, deadline_s: float | None) -> None:
    if deadline_s is not None and math.isfinite(deadline_s):
        await context.stopping.sleep(deadline_s)
        why = f"the deadline of {deadline_s:g} s is over"
        refusal = context.dispatcher.breakers.refusal
        if refusal is not None and not context.dispatcher.auth_state.accepted:
            why = f"{why}; {refusal.reason}"
        context.stopping.stop(Ended.DEADLINE, why)


def _real_client(settings: Settings, clock: Clock) -> Transport:
    """The client, with as many connections as are wanted, if so many files can be open."""
    wanted = settings.pace.concurrency
    spare = spare_descriptors(wanted + _KEPT_FREE) - _KEPT_FREE
    connections = max(1, min(wanted, spare))
    return client_of(settings, settings.server.base_url, clock, connections=connections)
