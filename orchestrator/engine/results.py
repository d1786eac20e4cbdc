"""From the journal to what people read: facts, rows, files, last lines.

Everything comes from the journal, so `report` and the end of a run say the same. A report that
cannot be stored goes to the fallback stream.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from orchestrator.errors import StorageError
from orchestrator.model import Action
from orchestrator.policy.decide import Outcome
from orchestrator.reports.files import is_stored, write_rows, write_summary, write_to_stream
from orchestrator.reports.rows import RunKind, Tally
from orchestrator.reports.sentences import (
    FORBIDDEN_ADVICE,
    is_forbidden,
    unstopped_lines,
    verdict_line,
)
from orchestrator.reports.summary import Ended, RunFacts, VdnProof, run_verdict, summary_document
from orchestrator.store import (
    Gap,
    gap_of,
    plan_counts,
    processes,
    read_meta,
    report_rows,
    sweep_records,
    unverified,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchestrator.reports.rows import ReportRow


#: how a run can be cut short by trouble → what people do next
_ADVICE = {
    Ended.CREDENTIALS: "check the access key and the secret key with `orchestrator check --vdn N`,"
    " then `orchestrator continue last`",
    Ended.SERVER: "see with `orchestrator check` what the server says, then"
    " `orchestrator continue last`",
    Ended.MAX_FAILURES: "look at failed.csv, then `orchestrator continue last`",
    Ended.STORAGE: "make room for the journal, then `orchestrator continue last`",
    Ended.BUG: "please report this with the run directory, then `orchestrator continue last`",
}


class RunResult(NamedTuple):
    """How a run ended: everything that a caller needs."""

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
    #: the last line, fit to be read out loud
    line: str
    #: what summary.json holds
    summary: Mapping[str, object]
    #: what cut the run short, in a sentence; empty when nothing did
    trouble: str = ""
    #: what to do about it
    advice: str = ""
    #: nothing was sent in this process: it shows a finished run's saved result
    repeated: bool = False
    #: results.csv and summary.json in run_dir are this result's
    is_reported: bool = True


class Stored(NamedTuple):
    """What was made of a journal."""

    facts: RunFacts
    tally: Tally
    #: why the files could not be written, None when they were
    failure: StorageError | None


def make_report(
    connection: sqlite3.Connection,
    folder: Path | None,
    *,
    storage_failed: bool,
    fallback: BinaryIO | None,
) -> Stored:
    """Write the report files of a run from its journal; to `fallback` when that fails.

    Args:
        connection: the journal.
        folder: the run directory; None when there is none.
        storage_failed: the journal itself could not be kept on the disk.
        fallback: where the rows go when files cannot be written; None: nowhere.
    """
    facts = read_facts(connection)
    if folder is not None and gap_of(folder / "journal.db") is Gap.LOST:
        facts = facts._replace(journal_incomplete=True)
    failure: StorageError | None = None
    tally: Tally | None = None
    if folder is not None:
        try:
            tally = write_rows(folder, _rows(connection, facts), kind=facts.kind)
        except StorageError as error:
            failure = error
    if tally is None or storage_failed:
        tally = _print_rows(connection, facts, fallback)
    facts = facts._replace(storage_failed=storage_failed or failure is not None or folder is None)
    lines, _, _ = plan_counts(connection)
    tally.check(lines)
    if folder is not None and failure is None:
        try:
            write_summary(folder, summary_document(facts, tally))
        except StorageError as error:
            failure = error
            facts = facts._replace(storage_failed=True)
        else:
            if not is_stored(folder):
                failure = StorageError(f"the report in {folder} has vanished")
                facts = facts._replace(storage_failed=True)
    return Stored(facts, tally, failure)


def tell(
    connection: sqlite3.Connection,
    folder: Path,
    *,
    fallback: BinaryIO | None,
    repeated: bool = False,
) -> RunResult:
    """Make the report of a run to which this process adds nothing."""
    stored = make_report(connection, folder, storage_failed=False, fallback=fallback)
    return result_of(stored, folder, repeated=repeated)


def result_of(stored: Stored, folder: Path | None, *, repeated: bool = False) -> RunResult:
    """Make the result that a caller gets from a stored report."""
    facts, tally = stored.facts, stored.tally
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
        line=verdict_line(facts, tally, failed_path=failed_path),
        summary=summary,
        trouble=_trouble(facts, tally),
        advice=_advice(facts),
        repeated=repeated,
        is_reported=folder is not None and stored.failure is None,
    )


def _advice(facts: RunFacts) -> str:
    if is_forbidden(facts):
        return f"{FORBIDDEN_ADVICE}, then `orchestrator continue last`"
    if facts.ended is Ended.SERVER and "--ca-file" in facts.why:
        return "`orchestrator continue last --ca-file FILE`; who runs the server has that file"
    return _ADVICE.get(facts.ended, "")


def _trouble(facts: RunFacts, tally: Tally) -> str:
    """One sentence for stderr: what ended the run, and how far it had come."""
    if facts.ended not in _ADVICE:
        return ""
    names = {Ended.CREDENTIALS: "credentials refused by", Ended.SERVER: "gave up on"}
    about = f"{names[facts.ended]} {facts.server}: " if facts.ended in names else ""
    unattempted = tally.counts[Outcome.UNATTEMPTED]
    rest = f" {unattempted:,} campaigns were not attempted." if unattempted else ""
    return f"{about}{facts.why or facts.ended.value}.{rest}"


def read_facts(connection: sqlite3.Connection) -> RunFacts:
    """Everything but the rows, as the journal has it."""
    meta = read_meta(connection)
    told = json.loads(meta["facts"])
    past = processes(connection)
    last = past[-1] if past else None
    ended = Ended.KILLED
    if last is None and told["dry_run"]:
        ended = Ended.FINISHED
    elif last is not None and last.ended:
        ended = Ended(last.ended)
    lines, _, _ = plan_counts(connection)
    manifest = told.get("manifest") or {}
    departures = sum(process.departures for process in past)
    busy_ms = sum(process.busy_ms for process in past)
    is_restore = told["kind"] == RunKind.RESTORE
    return RunFacts(
        run_id=told["run_id"],
        kind=RunKind(told["kind"]),
        reason=told["reason"],
        operator=told["operator"],
        host=told["host"],
        version=told["version"],
        server=told["server"],
        settings=_with_cures(told["settings"], meta),
        started_at_ms=told["started_at_ms"],
        ended_at_ms=last.ended_at_ms if last else told["started_at_ms"],
        ended=ended,
        why=meta.get("why", ""),
        dry_run=told["dry_run"],
        accept=frozenset(Outcome(one) for one in told["accept"]),
        manifest_path=manifest.get("path"),
        manifest_sha256=manifest.get("sha256", ""),
        manifest_lines=lines if manifest else 0,
        rate_ceiling_per_s=float(meta.get("rate_per_s", told["rate_per_s"])),
        worst_1s=max((process.worst_1s for process in past), default=0),
        mean_per_s=departures / (busy_ms / 1000) if busy_ms else 0.0,
        source_run=told.get("source_run", ""),
        sweeps=sweep_records(connection),
        proofs=_proofs(meta, told),
        lag_s=float(meta.get("lag_s", "0")),
        unverified=unverified(connection) if told["verify"] or is_restore else 0,
    )


def _with_cures(
    settings: Mapping[str, Mapping[str, object]], meta: Mapping[str, str]
) -> Mapping[str, object]:
    """The settings as they were in force in the end, with what was learnt about the signature."""
    if "cures" not in meta:
        return settings
    recoveries = json.loads(meta["cures"])
    return {**settings, "signing": {**settings["signing"], **recoveries}}


def proofs_text(proofs: tuple[VdnProof, ...]) -> str:
    """The proofs of a pause-all as the journal keeps them."""
    return json.dumps([proof._asdict() for proof in proofs])


def _proofs(meta: Mapping[str, str], told: Mapping[str, object]) -> tuple[VdnProof, ...]:
    if "proofs" in meta:
        return tuple(VdnProof(**one) for one in json.loads(meta["proofs"]))
    vdns = told.get("vdns") or ()
    assert isinstance(vdns, (list, tuple))
    return tuple(VdnProof(vdn_id) for vdn_id in vdns)


def _rows(connection: sqlite3.Connection, facts: RunFacts) -> Iterator[ReportRow]:
    action = Action.RESUME if facts.kind is RunKind.RESTORE else Action.PAUSE
    return report_rows(connection, action=action, run_id=facts.run_id, planned_only=facts.dry_run)


def _print_rows(
    connection: sqlite3.Connection, facts: RunFacts, fallback: BinaryIO | None
) -> Tally:
    if fallback is not None:
        try:
            return write_to_stream(_rows(connection, facts), fallback, kind=facts.kind)
        except StorageError:
            # The stream is gone too: the rows are still counted, and the exit code tells.
            fallback = None
    tally = Tally()
    for row in _rows(connection, facts):
        tally.add(row)
    return tally
