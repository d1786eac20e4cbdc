"""One life of one run: its parts put together, its work done, its end put on record.

Rule 1: whatever happens in between, the end is the same: outcome rows, report, exit code.
Rule 2: the reasons to end are collected in `Stopping`; the first one counts.
Rule 3: an emergency goes on without a disk; a batch run does not begin without one.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from orchestrator.core.breaker import Breaker
from orchestrator.core.campaign import Action, CampaignRef
from orchestrator.core.credentials import Signer, VdnAccess
from orchestrator.core.pacing import Pacer
from orchestrator.core.report import UNSTOPPED, RunKind
from orchestrator.core.summary import SIGNAL_EXIT_CODES, Ended
from orchestrator.edges.isales_client import IsalesClient
from orchestrator.edges.journal import (
    Gap,
    InlineWriter,
    Journal,
    ThreadWriter,
    begin_gap,
    end_gap,
    find_damage,
    gap_of,
    read_meta,
)
from orchestrator.edges.report_files import earlier_lag_s
from orchestrator.edges.streams import can_start_thread, spare_descriptors
from orchestrator.errors import StorageError
from orchestrator.run.last_look import look_at_doubts
from orchestrator.run.pool import note_bug
from orchestrator.run.progress import Progress
from orchestrator.run.rig import Rig
from orchestrator.run.sending import Sender, Transport
from orchestrator.run.stopping import StoppedError, Stopping

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable

    from orchestrator.edges.clock import Clock
    from orchestrator.edges.events import Events
    from orchestrator.edges.journal import Settlement, Writer
    from orchestrator.edges.run_directory import RunDirectory
    from orchestrator.edges.settings import Settings
    from orchestrator.run.options import FailureLimit
    from orchestrator.run.reporting import RunResult

#: descriptors for what is opened for a moment: a module, a name service, a report
_KEPT_FREE = 4
#: the middle of this range is the breaker's first probe: 0.25 s
_PROBE_BASE_S = 0.5
#: the longest range between probes; its middle is what a recovery may go unnoticed
_PROBE_CAP_S = 6.0

#: seconds that answers get after a signal; with the last look and the report it is 9 at most
_DRAIN_S = 3.0

_SIGNALS = {
    signal.SIGINT: Ended.SIGNAL_INT,
    signal.SIGTERM: Ended.SIGNAL_TERM,
    signal.SIGHUP: Ended.SIGNAL_HUP,
}


@dataclass(slots=True)
class Surroundings:
    """What a run needs of the process it lives in; a library caller may replace any of it."""

    clock: Clock
    events: Events
    stopping: Stopping = field(default_factory=Stopping)
    progress: Progress = field(default_factory=Progress)
    #: where rows go when no file can be written
    fallback: BinaryIO | None = None
    #: None: the real client
    transport: Callable[[Settings, Clock], Transport] | None = None
    #: None: the thread that commits in groups, or without one where none can be started
    writer: Callable[[sqlite3.Connection, bool], Writer] | None = None
    host: str = field(default_factory=lambda: os.uname().nodename)

    def make_writer(self, connection: sqlite3.Connection, *, keep_going: bool) -> Writer:
        """The journal's writer for this run."""
        if self.writer is not None:
            return self.writer(connection, keep_going)
        make = ThreadWriter if can_start_thread() else InlineWriter
        return make(connection, keep_going=keep_going)


class Undertaking(NamedTuple):
    """What this life is to do."""

    kind: RunKind
    settings: Settings
    connection: sqlite3.Connection
    #: None: there is no place on the disk (pause-all only)
    directory: RunDirectory | None
    deadline_s: float | None = None
    decide_by_reading: bool = False
    max_failures: FailureLimit | None = None
    #: why there is no directory
    storage_problem: StorageError | None = None


async def live(
    surroundings: Surroundings,
    undertaking: Undertaking,
    work: Callable[[Rig], Awaitable[None]],
    *,
    before_report: Callable[[Rig], Awaitable[None]] | None = None,
) -> RunResult:
    """Do the work of one life and report.

    Args:
        surroundings: the process around it.
        undertaking: what is to be done, and where it is recorded.
        work: what to do with the parts.
        before_report: called when the work has ended, to put last facts on record.
    """
    keep_going = undertaking.kind is RunKind.PAUSE_ALL
    writer = surroundings.make_writer(undertaking.connection, keep_going=keep_going)
    journal = Journal(writer)
    clock = surroundings.clock
    started_at_ms, pid = clock.wall_ms(), os.getpid()
    marked = undertaking.directory.journal if keep_going and undertaking.directory else None
    if marked is not None:
        _tell_gap(surroundings, gap_of(marked))
        begin_gap(marked)
    rig: Rig | None = None
    try:
        await _recorded(
            surroundings,
            journal.begin_life(started_at_ms=started_at_ms, pid=pid, host=surroundings.host),
        )
        rig = _build(surroundings, undertaking, journal)
        await _work(surroundings, undertaking, rig, work)
        if before_report is not None:
            await _recorded(surroundings, before_report(rig))
        ended = _ended(surroundings.stopping, rig)
        pacer = rig.sender.pacer
        await _recorded(
            surroundings,
            journal.end_life(
                started_at_ms=started_at_ms,
                ended_at_ms=clock.wall_ms(),
                ended=ended.value,
                pid=pid,
                host=surroundings.host,
                departures=pacer.departed,
                worst_1s=pacer.worst_window(),
                busy_ms=_busy_ms(pacer),
            ),
        )
        await _recorded(surroundings, journal.note("why", surroundings.stopping.why))
        await _recorded(surroundings, journal.note("cures", _cures(rig.sender.signer)))
        await _recorded(surroundings, journal.note("lag_s", f"{rig.lag.lag_s:.3f}"))
        await _recorded(surroundings, _note_rate(journal, undertaking.settings.pace.rate_per_s))
        result = await _report(surroundings, undertaking, journal)
    finally:
        await journal.close()
    if marked is not None and journal.failure is None:
        end_gap(marked)
    return result


def _tell_gap(surroundings: Surroundings, gap: Gap) -> None:
    """Say what an earlier process of this emergency has left unsaid."""
    if gap is Gap.LOST:
        surroundings.events.warning("journal.incomplete", reason="its disk failed")
    elif gap is Gap.OPEN:
        surroundings.events.warning(
            "journal.perhaps_incomplete",
            reason="the process before did not end in order; had its disk failed, what it did"
            " after that is missing",
        )


async def _recorded(surroundings: Surroundings, record: Awaitable[object]) -> None:
    """Put something on record; a disk that fails now is told by the exit code."""
    try:
        await record
    except StorageError as error:
        surroundings.stopping.stop(Ended.STORAGE, str(error))
        surroundings.events.error("journal.failed", error=str(error))


async def _report(
    surroundings: Surroundings, undertaking: Undertaking, journal: Journal
) -> RunResult:
    from orchestrator.run.reporting import make_report, result_of  # noqa: PLC0415 - at the end

    folder = undertaking.directory.path if undertaking.directory else None
    failure = journal.failure or undertaking.storage_problem
    if undertaking.directory is not None and failure is None:
        failure = await journal.read(
            partial(find_damage, path=undertaking.directory.journal, life=journal.life)
        )
        if failure is not None:
            surroundings.stopping.stop(Ended.STORAGE, str(failure))
            surroundings.events.error("journal.damaged", error=str(failure))
    stored = await journal.read(
        lambda db: make_report(
            db, folder, storage_failed=failure is not None, fallback=surroundings.fallback
        )
    )
    if stored.failure is not None:
        surroundings.events.error("report.failed", error=str(stored.failure))
    result = result_of(stored, folder)
    await _recorded(surroundings, journal.note("verdict", result.verdict))
    return result


def _ended(stopping: Stopping, rig: Rig) -> Ended:
    if rig.bugs:
        return Ended.BUG
    if rig.access.closed and not rig.access.opened and stopping.ended is Ended.FINISHED:
        stopping.why = rig.sender.refusal.reason if rig.sender.refusal else "access refused"
        return Ended.CREDENTIALS
    return stopping.ended


def _cures(signer: Signer) -> str:
    """What was learnt about signing, as the journal keeps it."""
    return json.dumps(
        {
            "blank_query_line": signer.rules.blank_query_line,
            "millis": signer.rules.millis,
            "clock_offset_ms": signer.offset_ms,
        }
    )


async def _note_rate(journal: Journal, rate_per_s: float) -> None:
    """Keep the highest rate of all lives, which the busiest second of all belongs to."""
    before = (await journal.read(read_meta)).get("rate_per_s", "0")
    await journal.note("rate_per_s", str(max(rate_per_s, float(before))))


def _busy_ms(pacer: Pacer) -> int:
    """From the first request to the last; a second at least, or three at once were 3,000/s."""
    if pacer.first_s is None or pacer.last_s is None:
        return 0
    return max(1000, round((pacer.last_s - pacer.first_s) * 1000))


# -- the work ---------------------------------------------------------------------------------


async def _work(
    surroundings: Surroundings,
    undertaking: Undertaking,
    rig: Rig,
    work: Callable[[Rig], Awaitable[None]],
) -> None:
    watch = asyncio.create_task(_watch_deadline(rig, undertaking.deadline_s))
    rig.lift_deadline = watch.cancel
    learning = asyncio.create_task(_learn_earlier_lag(rig, undertaking.settings))
    transport = rig.sender.transport
    try:
        if isinstance(transport, IsalesClient):
            async with transport:
                await _guarded(rig, work)
                await _guarded(rig, look_at_doubts)
        else:
            await _guarded(rig, work)
            await _guarded(rig, look_at_doubts)
    finally:
        watch.cancel()
        learning.cancel()
    for bug in rig.bugs:
        surroundings.events.error("run.bug_found", what=bug)


async def _guarded(rig: Rig, work: Callable[[Rig], Awaitable[None]]) -> None:
    try:
        await work(rig)
    except StoppedError:
        rig.events.debug("run.stopped", why=rig.stopping.why)
    except StorageError as error:
        rig.stopping.stop(Ended.STORAGE, str(error))
    except BaseExceptionGroup as group:
        _sort_out(rig, group)
    except Exception as error:  # noqa: BLE001 - told as a bug, and the report is still made
        note_bug(rig, error, "the run")


def _sort_out(rig: Rig, group: BaseExceptionGroup[BaseException]) -> None:
    """A group of what went wrong at the same time: stops are no news, a disk ends the run."""
    for error in _leaves(group):
        if isinstance(error, StorageError):
            rig.stopping.stop(Ended.STORAGE, str(error))
        elif isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        elif not isinstance(error, (StoppedError, asyncio.CancelledError)):
            note_bug(rig, error, "the run")


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


async def _learn_earlier_lag(rig: Rig, settings: Settings) -> None:
    """What earlier runs saw of this server's lag; read beside the first requests."""
    state_dir, base_url = settings.state_dir, settings.server.base_url
    rig.earlier_lag_s = await asyncio.to_thread(earlier_lag_s, state_dir, base_url)


async def _watch_deadline(rig: Rig, deadline_s: float | None) -> None:
    if deadline_s is not None and math.isfinite(deadline_s):
        await rig.stopping.sleep(deadline_s)
        why = f"the deadline of {deadline_s:g} s is over"
        refusal = rig.sender.refusal
        if refusal is not None and not rig.sender.signer.accepted:
            why = f"{why}; {refusal.reason}"
        rig.stopping.stop(Ended.DEADLINE, why)


def _build(surroundings: Surroundings, undertaking: Undertaking, journal: Journal) -> Rig:
    settings, clock = undertaking.settings, surroundings.clock
    progress, stopping = surroundings.progress, surroundings.stopping
    progress.ceiling_per_s = settings.pace.rate_per_s
    progress.concurrency = settings.pace.concurrency
    emergency = undertaking.kind is RunKind.PAUSE_ALL
    patience_s = math.inf if emergency else settings.retry.patience_s
    cap_s = min(_PROBE_CAP_S, 2 * settings.retry.backoff_cap_s or _PROBE_CAP_S)
    make = surroundings.transport or _real_client
    sender = Sender(
        transport=make(settings, clock),
        clock=clock,
        pacer=Pacer(settings.pace.rate_per_s),
        signer=Signer(settings.signing),
        credentials=settings.credentials,
        retry=settings.retry,
        stopping=stopping,
        progress=progress,
        events=surroundings.events,
        changes=_breaker(cap_s, patience_s),
        reads=_breaker(cap_s, patience_s),
        emergency=emergency,
        concurrency=settings.pace.concurrency,
    )
    rig = Rig(
        action=Action.RESUME if undertaking.kind is RunKind.RESTORE else Action.PAUSE,
        sender=sender,
        journal=journal,
        stopping=stopping,
        progress=progress,
        clock=clock,
        events=surroundings.events,
        max_attempts=settings.retry.max_attempts,
        decide_by_reading=undertaking.decide_by_reading,
        access=VdnAccess(emergency=emergency),
        patience_s=patience_s,
    )
    stopping.on_stop(lambda: _note_ending(rig))
    stopping.on_stop(lambda: _drain(rig))
    sender.is_pointless = lambda key: (
        isinstance(key, CampaignRef) and (key.vdn_id in rig.access.closed or rig.is_pointless(key))
    )
    if undertaking.max_failures is not None:
        rig.after_settled = _failure_watch(rig, undertaking.max_failures)
    return rig


def _note_ending(rig: Rig) -> None:
    rig.progress.ending = rig.stopping.why


def _drain(rig: Rig) -> None:
    """After a signal answers are not waited for as long as usual."""
    if rig.stopping.ended in SIGNAL_EXIT_CODES:
        rig.sender.drain_within(_DRAIN_S)


def _breaker(cap_s: float, patience_s: float) -> Breaker:
    return Breaker(probe_base_s=_PROBE_BASE_S, probe_cap_s=cap_s, patience_s=patience_s)


def _real_client(settings: Settings, clock: Clock) -> Transport:
    return IsalesClient(
        base_url=settings.server.base_url,
        ca_file=settings.server.ca_file,
        connect_timeout_s=settings.server.connect_timeout_s,
        attempt_timeout_s=settings.server.attempt_timeout_s,
        connections=_connections(settings.pace.concurrency),
        clock=clock,
    )


def _connections(wanted: int) -> int:
    """How many connections may be open: as many as wanted, if so many files can be."""
    return max(1, min(wanted, spare_descriptors(wanted + _KEPT_FREE) - _KEPT_FREE))


def _failure_watch(rig: Rig, limit: FailureLimit) -> Callable[[Settlement], None]:
    failures = 0

    def watch(settlement: Settlement) -> None:
        nonlocal failures
        if settlement.standing != "stands" or settlement.decision.outcome not in UNSTOPPED:
            return
        failures += 1
        if limit.reached(failures=failures, campaigns=rig.progress.campaigns):
            rig.stopping.stop(Ended.MAX_FAILURES, f"{failures} campaigns failed")

    return watch


def heed_signals(
    stopping: Stopping,
    *,
    hangup_ends: bool,
    taken: Callable[[str], None],
    leave: Callable[[int], None],
) -> None:
    """Let the first SIGINT, SIGTERM (and SIGHUP) end the run, the second one leave at once.

    A SIGHUP that was ignored at the start stays ignored; in a pause-all none ends it.

    Args:
        stopping: learns of the first.
        hangup_ends: whether a lost terminal ends the run.
        taken: called with the name of the first.
        leave: called with the exit code on the second signal; must not return.
    """
    loop = asyncio.get_running_loop()
    # Not `stopping.ended`: the run may be ending for another reason already.
    is_second = False

    def on_signal(number: signal.Signals) -> None:
        nonlocal is_second
        if is_second:
            leave(128 + number)
        is_second = True
        stopping.stop(_SIGNALS[number], f"{number.name} received")
        taken(number.name)

    for number in _SIGNALS:
        if number is signal.SIGHUP and not hangup_ends:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, _ignore)
            continue
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue
        loop.add_signal_handler(number, on_signal, number)


def _ignore() -> None:
    """A dropped ssh line does not stop an emergency."""
