"""What came after a run: a restore may be stopped again on purpose since, a stop be undone.

Only runs of this state directory are known here. One that cannot be read is passed over: `runs`
says so.
"""

from __future__ import annotations

import asyncio
from itertools import takewhile
from typing import TYPE_CHECKING

from orchestrator.engine.reconcile import changed_by, unseen_record
from orchestrator.engine.undone import find_undone, read_stop, shortened, vdns_of
from orchestrator.errors import OrchestratorError, RefusedError
from orchestrator.isales.verdict import Kind
from orchestrator.model import Status
from orchestrator.policy.decide import Decision, Outcome
from orchestrator.policy.quiet import LagMeter
from orchestrator.reports.rows import RunKind
from orchestrator.store import Standing, open_saved
from orchestrator.store.registry import newest_runs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from orchestrator.engine.context import RunContext
    from orchestrator.engine.undone import Undone
    from orchestrator.model import CampaignRef
    from orchestrator.store import Known, RunRecord
    from orchestrator.store.registry import KnownRun
    from orchestrator.store.run_dir import RunDirectory


def refuse_if_overtaken(record: RunRecord, state_dir: Path) -> None:
    """Let no restore go on where somebody has stopped since, and no stop where somebody restored.

    Raises:
        RefusedError: somebody has.
        UsageError: the run that a restore undoes is gone.
    """
    if record.kind is RunKind.RESTORE:
        _refuse_if_stopped_since(record, state_dir)
    elif record.kind is RunKind.PAUSE_ALL:
        _refuse_if_restored_since(record, state_dir)


def _refuse_if_restored_since(record: RunRecord, state_dir: Path) -> None:
    """A stop finds anew what runs: it would pause all that was started again, and ask nobody."""
    for run in newest_runs(state_dir):
        if run.run_id == record.run_id:
            return
        vdns = sorted(set(record.vdns) & _restored_in(run, record.fingerprint))
        if vdns:
            raise RefusedError(
                f"run {run.run_id} has started campaigns of VDN {' '.join(map(str, vdns))} again"
                " since this stop began. Nothing was sent; campaigns are still dialling.",
                advice=f"`orchestrator pause-all {' '.join(f'--vdn {one}' for one in record.vdns)}`"
                " lists what runs, and asks",
            )


def _restored_in(run: KnownRun, fingerprint: str) -> set[int]:
    """The VDNs of this server in which a run has started something again."""
    try:
        with open_saved(run.directory.journal) as saved:
            other = saved.record()
            is_restore = other.kind is RunKind.RESTORE and not other.dry_run
            if is_restore and other.fingerprint == fingerprint and saved.may_have_changed():
                return set(saved.vdns())
    except OrchestratorError:
        pass
    return set()


def _refuse_if_stopped_since(record: RunRecord, state_dir: Path) -> None:
    vdns = set(vdns_of(find_undone(record, state_dir)))
    for stop in _stops_since(record, state_dir):
        stopped = vdns & {ref.vdn_id for ref in stop.refs}
        if stopped:
            named = " ".join(map(str, sorted(stopped)))
            raise RefusedError(
                f"run {stop.record.run_id} has stopped campaigns of VDN {named} since this restore"
                " began. Nothing was sent.",
                advice=f"`orchestrator restore {record.source_run}` says what it would start, and"
                " asks",
            )


def stopped_again(undone: Undone, state_dir: Path) -> dict[CampaignRef, str]:
    """Which of the campaigns that restores have started are off again, and by which newer run."""
    restored = {
        ref: mark.run_id
        for ref, mark in undone.marks.items()
        if undone.is_restored(ref) and mark.run_id
    }
    if not restored:
        return {}
    order = [run.run_id for run in newest_runs(state_dir)]
    newer = {restore: set(order[: order.index(restore)]) for restore in set(restored.values())
             if restore in order}  # fmt: skip
    found: dict[CampaignRef, str] = {}
    for stop in _stops_since(undone.record, state_dir):
        for ref in stop.refs & restored.keys() - found.keys():
            # the newest run that turned it off says how it is
            is_since = stop.record.run_id in newer.get(restored[ref], ())
            found[ref] = stop.record.run_id if is_since and not stop.is_restored(ref) else ""
    return {ref: run_id for ref, run_id in found.items() if run_id}


def other_stop_of(source: RunDirectory, pairs: Collection[tuple[int, int]], state_dir: Path) -> str:
    """The newest other run that turned all of these off; empty: there is none.

    Args:
        source: the run that did not.
        pairs: VDN and campaign id of each.
        state_dir: whose runs.

    Raises:
        StorageError, JournalMismatchError: the journal of `source` cannot be read.
    """
    with open_saved(source.journal) as saved:
        fingerprint = saved.record().fingerprint
    for run in newest_runs(state_dir):
        stop = read_stop(run.directory, fingerprint)
        if stop and set(pairs) <= {(ref.vdn_id, ref.campaign_id) for ref in stop.refs}:
            return run.run_id
    return ""


async def name_newer_stops(context: RunContext, undone: Undone, state_dir: Path) -> None:
    """Say of what was started and is suspended again which run has stopped it, where one has."""
    overtaken = [
        known
        for vdn_id in {one.ref.vdn_id for one in undone.candidates}
        for known in await context.journal.known_of_vdn(vdn_id)
        if known.outcome is Outcome.FAILED and known.history.attempts
    ]
    if not overtaken:
        return
    record = await context.journal.read(lambda saved: saved.record())
    newer, older = await asyncio.to_thread(
        lambda: (list(_stops_since(record, state_dir)), list(_live_stops_before(record, state_dir)))
    )
    named = [
        unseen_record(
            context,
            known,
            Decision(Outcome.FAILED, known.evidence, changed_by(known)),
            known.standing or Standing.FINAL,
            f"stopped again by {_words(stop.record)}",
            known.settled_at_ms,
        )._replace(state_after=Status.SUSPENDED, seen_at_ms=known.settled_at_ms)
        for known in overtaken
        if (stop := _stopped_by(known, newer, older))
    ]
    if named:
        context.lag = LagMeter()  # a stop looks like a listing that is old
        await context.complete(*named, confirms=True)


def _stopped_by(known: Known, newer: list[Undone], older: list[Undone]) -> Undone | None:
    """The stop that is why a campaign is suspended; an older one may be, in its hold."""
    may_be = newer + older if known.history.last is Kind.ACCEPTED else newer
    return next((stop for stop in may_be if known.ref in stop.refs), None)


def _words(record: RunRecord) -> str:
    reason = f"; reason: {shortened(record.reason)}" if record.reason else ""
    return (
        f"run {record.run_id} ({record.kind.value} by {record.operator} on {record.host}{reason})"
    )


def _stops_since(record: RunRecord, state_dir: Path) -> Iterator[Undone]:
    """The stops of this server that began after a run, the newest first."""
    for run in newest_runs(state_dir):
        if run.run_id == record.run_id:
            return
        if stop := read_stop(run.directory, record.fingerprint):
            yield stop


def _live_stops_before(record: RunRecord, state_dir: Path) -> Iterator[Undone]:
    """The stops that began before a run and go on: a hold pauses what is started."""
    runs = iter(newest_runs(state_dir))
    for _ in takewhile(lambda run: run.run_id != record.run_id, runs):
        pass
    for run in runs:
        if run.directory.is_live and (stop := read_stop(run.directory, record.fingerprint)):
            yield stop
