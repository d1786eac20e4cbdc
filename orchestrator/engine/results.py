"""From the journal to what people read: facts, rows, files, last lines.

Everything comes from the journal, so `report` and the end of a run say the same. A report that
cannot be stored goes to the fallback stream.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from orchestrator.errors import StorageError
from orchestrator.policy.decide import Outcome
from orchestrator.reports.document import summary_document
from orchestrator.reports.files import is_stored, write_rows, write_summary, write_to_stream
from orchestrator.reports.rows import RunKind, Tally, iso_time
from orchestrator.reports.sentences import begun_line, unstopped_lines, verdict_line
from orchestrator.reports.summary import (
    EARLY,
    OUT_OF_REACH,
    Ended,
    ProcessFacts,
    RunFacts,
    run_verdict,
)
from orchestrator.store import Gap, gap_of
from orchestrator.store.notes import read_notes
from orchestrator.text import as_sentence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.reports.summary import VdnProof
    from orchestrator.reports.undo import UndoFacts
    from orchestrator.store import ProcessRecord, RunRecord, Saved


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended: everything that a caller needs, in facts."""

    run_id: str
    #: None when there was no place to store anything
    run_dir: Path | None
    exit_code: int
    #: complete, incomplete, interrupted, ended_early, planned, quiet, still_running, not_proven
    verdict: str
    #: outcome → number of lines
    counts: Mapping[str, int]
    #: the first campaigns that are not stopped, each with its reason
    unstopped: tuple[str, ...]
    #: the last line, fit to be read out loud; what to do next is for whoever shows it
    line: str
    #: what summary.json holds
    summary: Mapping[str, object]
    #: what the line and summary.json are made of
    facts: RunFacts
    tally: Tally
    #: what cut the run short, in a sentence; empty when nothing did
    trouble: str = ""
    #: nothing was sent in this process: it shows a finished run's saved result
    repeated: bool = False
    #: why its files could not be written; None: they were, or there is no run_dir
    failure: StorageError | None = None
    #: restore: the run that is undone, and what of it was to start
    undo: UndoFacts | None = None

    @property
    def is_reported(self) -> bool:
        """Whether results.csv and summary.json in run_dir are this result's."""
        return self.run_dir is not None and self.failure is None


class Announcement(NamedTuple):
    """What can be told of a run while it goes on."""

    #: as in `notify.on`: start or quiet
    word: str
    run_id: str
    at_ms: int
    #: the sentence
    line: str
    #: what summary.json will hold, as far as it is known
    summary: Mapping[str, object]


def begun(record: RunRecord, at_ms: int) -> Announcement:
    """Say that a run has begun."""
    summary: dict[str, object] = {
        "run_id": record.run_id,
        "action": record.kind.value,
        "reason": record.reason,
        "operator": record.operator,
        "host": record.host,
        "version": record.version,
        "server": record.server,
        "server_name": record.called,
        "manifest": record.manifest and record.manifest._asdict(),
        "started_at": iso_time(record.started_at_ms),
        "vdns": list(record.vdns),
        "source_run": record.source_run or None,
        "parent_run": record.parent_run or None,
    }
    return Announcement("start", record.run_id, at_ms, begun_line(summary), summary)


def proven(saved: Saved, proofs: tuple[VdnProof, ...], at_ms: int) -> Announcement:
    """Say that an emergency is quiet, before its hold or its count of calls."""
    facts = read_facts(saved, None)._replace(ended=Ended.FINISHED, proofs=proofs)
    tally = Tally()
    for one in saved.restorable():
        tally.lines += 1
        tally.counts[Outcome.PAUSED] += 1
        tally.by_vdn.setdefault(str(one.ref.vdn_id), Counter())[Outcome.PAUSED] += 1
    summary = summary_document(facts, tally)
    for unknown in ("exit_code", "ended_at", "rerun_may_help"):
        del summary[unknown]
    return Announcement("quiet", facts.run_id, at_ms, verdict_line(facts, tally), summary)


def make_report(
    saved: Saved,
    folder: Path | None,
    *,
    storage_failed: bool = False,
    fallback: BinaryIO | None = None,
    repeated: bool = False,
) -> RunResult:
    """Write the report files of a run from its journal, to `folder` if there is one.

    When that fails, or the journal is not on the disk any more, the rows go to `fallback`.
    """
    facts = read_facts(saved, folder)
    failure: StorageError | None = None
    unread: StorageError | None = None
    tally: Tally | None = None
    if folder is not None:
        try:
            facts = facts._replace(notes=read_notes(folder))
        except StorageError as error:
            unread = error  # the rows are written all the same
        try:
            tally = write_rows(folder, saved.rows(), kind=facts.kind)
        except StorageError as error:
            failure = error
    if tally is None or storage_failed:
        tally = _print_rows(saved, facts.kind, fallback)
    tally.check(saved.lines())
    if storage_failed and facts.ended is Ended.KILLED:
        facts = facts._replace(ended=Ended.STORAGE)  # its end could not be put on record
    facts = facts._replace(storage_failed=storage_failed)
    if folder is not None and failure is None:
        try:
            write_summary(folder, summary_document(facts, tally))
            if not is_stored(folder):
                failure = StorageError(f"the report in {folder} is gone")
        except StorageError as error:
            failure = error
    if folder is None or failure is not None:
        facts = facts._replace(storage_failed=True)
    return result_of(facts, tally, folder, failure=failure or unread, repeated=repeated)


def result_of(
    facts: RunFacts,
    tally: Tally,
    folder: Path | None,
    *,
    failure: StorageError | None = None,
    repeated: bool = False,
) -> RunResult:
    """Make the result that a caller gets."""
    summary = summary_document(facts, tally)
    failed_path = str(folder / "failed.csv") if folder else "failed.csv"
    code = summary["exit_code"]
    assert isinstance(code, int)
    return RunResult(
        run_id=facts.run_id,
        run_dir=folder,
        exit_code=code,
        verdict=run_verdict(facts, tally).value,
        counts={one.value: number for one, number in tally.counts.items() if number},
        unstopped=tuple(unstopped_lines(facts, tally, failed_path=failed_path)),
        line=verdict_line(facts, tally),
        facts=facts,
        tally=tally,
        summary=summary,
        trouble=_trouble(facts, tally),
        repeated=repeated,
        failure=failure,
    )


def _trouble(facts: RunFacts, tally: Tally) -> str:
    """One sentence for stderr: what ended the run, and how far it had come."""
    if facts.ended not in EARLY:
        return ""
    names = {
        Ended.CREDENTIALS: "credentials refused by",
        Ended.DENIED: "access refused by",
        **dict.fromkeys(OUT_OF_REACH, "gave up on"),
    }
    about = f"{names[facts.ended]} {facts.server}: " if facts.ended in names else ""
    unattempted = tally.counts[Outcome.UNATTEMPTED]
    were = "campaign was" if unattempted == 1 else "campaigns were"
    rest = f" {unattempted:,} {were} not attempted." if unattempted else ""
    return f"{about}{as_sentence(facts.why or facts.ended.value)}{rest}"


def read_facts(saved: Saved, folder: Path | None) -> RunFacts:
    """Everything but the rows; `folder` is the run directory, None when there is none."""
    record, past = saved.record(), saved.processes()
    last = past[-1] if past else None
    ended = Ended.KILLED
    if last is None and record.dry_run:
        ended = Ended.FINISHED
    elif last is not None and last.ended is not None:
        ended = last.ended
    return RunFacts(
        run_id=record.run_id,
        kind=record.kind,
        reason=record.reason,
        operator=record.operator,
        host=record.host,
        version=record.version,
        server=record.server,
        server_name=record.called,
        settings=_with_recoveries(record),
        started_at_ms=record.started_at_ms,
        ended_at_ms=last.ended_at_ms if last else record.started_at_ms,
        ended=ended,
        journal_incomplete=folder is not None and gap_of(folder / "journal.db") is Gap.LOST,
        why=record.why,
        dry_run=record.dry_run,
        accept=record.accept,
        manifest_path=record.manifest.path if record.manifest else None,
        manifest_sha256=record.manifest.sha256 if record.manifest else "",
        manifest_lines=saved.lines() if record.manifest else 0,
        rate_ceiling_per_s=record.highest_rate_per_s,
        worst_1s=max((process.worst_1s for process in past), default=0),
        mean_per_s=_mean_per_s(record, past),
        source_run=record.source_run,
        selection=record.selection,
        restored_before=record.restored_before,
        parent_run=record.parent_run,
        sweeps=saved.passes(),
        proofs=record.proofs,
        lag_s=record.lag_s,
        clock_offset_s=record.clock_offset_s,
        processes=tuple(
            ProcessFacts(one.started_at_ms, one.ended_at_ms, one.ended, one.pid, one.host)
            for one in past
        ),
        unverified=saved.unverified() if record.is_verified else 0,
        calls=record.calls,
        confirmed=record.may_change,
    )


def _mean_per_s(record: RunRecord, past: list[ProcessRecord]) -> float:
    """Requests by the time from the first to the last: one interval short, so bounded by the rate.

    What left too fast shows in `worst_1s`.
    """
    busy_ms = sum(process.busy_ms for process in past)
    if not busy_ms:
        return 0.0
    mean_per_s = sum(process.departures for process in past) / (busy_ms / 1000)
    return min(mean_per_s, record.highest_rate_per_s)


def _with_recoveries(record: RunRecord) -> Mapping[str, object]:
    """The settings as they were in force in the end: with what was learnt about the signature."""
    if not record.recoveries:
        return record.settings
    return {**record.settings, "signing": {**record.settings["signing"], **record.recoveries}}


def _print_rows(saved: Saved, kind: RunKind, fallback: BinaryIO | None) -> Tally:
    if fallback is not None:
        try:
            return write_to_stream(saved.rows(), fallback, kind=kind)
        except StorageError:
            # The stream is gone too: the rows are still counted, and the exit code tells.
            fallback = None
    tally = Tally()
    for row in saved.rows():
        tally.add(row)
    return tally
