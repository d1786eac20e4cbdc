"""`runs`: one line for each run, the newest first.

The journal is the truth, and opening ten thousand of them takes too long. So `summary.json` beside
it is read instead where that says all: it is this run's, nobody has written to the journal since
it was made, and its verdict settles the run. Everything else is asked of the journal.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from orchestrator.errors import OrchestratorError
from orchestrator.reports.document import SCHEMA
from orchestrator.reports.files import SUMMARY
from orchestrator.reports.rows import NO_VDN, RunKind
from orchestrator.reports.summary import Ended, RunVerdict
from orchestrator.store import Saved, open_saved
from orchestrator.store.registry import KnownRun, known_runs
from orchestrator.store.run_dir import JOURNAL

#: the longest summary that is read; one with 9,999 VDNs has half of it
_BYTES_MAX = 1 << 22
#: a run's last words go into its journal after its summary, seconds
_LAST_WORDS_S = 10.0
#: verdicts after which nothing is left to be done
_SETTLED = frozenset({RunVerdict.COMPLETE, RunVerdict.QUIET, RunVerdict.PLANNED})


class RunLine(NamedTuple):
    """One run in the list of runs."""

    run_id: str
    #: its directory, as a text: there may be ten thousand
    place: str
    #: pause, pause-all, restore; empty when the journal cannot be read
    kind: str
    verdict: str
    started_at_ms: int | None
    #: a living process works on it
    live: bool = False
    #: who, as `process 12 on host since …`; empty when nobody does
    holder: str = ""
    #: outcome → number, as recorded so far
    counts: Mapping[str, int] = {}
    vdns: tuple[int, ...] = ()
    reason: str = ""
    operator: str = ""
    server: str = ""
    #: None while it runs, after a kill, and in journals of earlier versions without a summary
    exit_code: int | None = None
    #: the run that this one repeats
    parent_run: str = ""
    dry_run: bool = False
    #: it was confirmed, and is no dry run
    may_change: bool = True
    #: nothing is left to be done; None: only its journal says that
    is_over: bool | None = None
    #: why the journal cannot be read
    problem: str = ""
    #: the cluster works, or worked, on it; summaries do not say
    cluster: bool = False

    @property
    def path(self) -> Path:
        """Its directory."""
        return Path(self.place)


class ListedRun(NamedTuple):
    """A line, and the later runs that repeat it, oldest first."""

    line: RunLine
    repeated_by: tuple[str, ...]


def list_runs(
    state_dir: Path, *, vdn: int | None = None, limit: int | None = None, dry_runs: bool = True
) -> list[ListedRun]:
    """Runs of a state directory, newest first.

    Args:
        state_dir: whose runs.
        vdn: only runs that had to do with this VDN, and those that cannot be read.
        limit: so many at most.
        dry_runs: dry runs too.
    """
    lines: list[RunLine] = []
    for line in every_line(state_dir, vdn):
        if limit is not None and len(lines) >= limit:
            break
        is_wanted = vdn is None or vdn in line.vdns or line.problem
        if is_wanted and (dry_runs or not line.dry_run):
            lines.append(line)
    children: dict[str, list[str]] = {}
    for line in reversed(lines):  # what repeats a run began after it, so it is among these
        if line.parent_run:
            children.setdefault(line.parent_run, []).append(line.run_id)
    return [ListedRun(line, tuple(children.get(line.run_id, ()))) for line in lines]


def every_line(state_dir: Path, vdn: int | None = None) -> Iterator[RunLine]:
    """Every run of a state directory, newest first; each is read when it is asked for.

    Of a run that had nothing to do with `vdn`, what is read does not matter.
    """
    for run in known_runs(state_dir):
        if (line := line_of(run, vdn)) is not None:
            yield line


def line_of(run: KnownRun, vdn: int | None = None) -> RunLine | None:
    """The line of one run; None: its directory holds another by now."""
    line = _by_summary(run, vdn) or _by_journal(run)
    is_another = not line.problem and line.run_id != run.run_id
    return line if not is_another or run.place.endswith(f"/{run.run_id}") else None


def is_finished(saved: Saved) -> bool:
    """Whether nothing more is to be sent in a run."""
    past = saved.processes()
    is_through = bool(past) and past[-1].ended is Ended.FINISHED
    return saved.record().dry_run or (is_through and not saved.unverified())


def _by_journal(run: KnownRun) -> RunLine:
    directory = run.directory
    live = directory.is_live
    holder = str(directory.holder() or "") if live else ""
    try:
        with open_saved(directory.journal) as saved:
            record, recorded = saved.record(), saved.counts()
            vdns, past = record.vdns or saved.vdns(), saved.processes()
            # a proof that stands when a hold is interrupted is an end too
            has_end = bool(past) and past[-1].ended is not None
            is_quiet = has_end and record.verdict == RunVerdict.QUIET
            is_over = is_quiet or is_finished(saved)
    except OrchestratorError as error:
        return RunLine(
            run_id=run.run_id,
            place=run.place,
            kind="",
            verdict="unreadable",
            started_at_ms=None,
            live=live,
            holder=holder,
            problem=str(error),
        )
    unended = RunVerdict.PLANNED if record.dry_run else RunVerdict.INTERRUPTED
    return RunLine(
        run_id=record.run_id,
        place=run.place,
        kind=record.kind.value,
        verdict="running" if live else record.verdict or unended.value,
        started_at_ms=record.started_at_ms,
        live=live,
        holder=holder,
        counts=recorded,
        vdns=vdns,
        reason=record.reason,
        operator=record.operator,
        server=record.server,
        exit_code=None if live else record.exit_code,
        parent_run=record.parent_run,
        dry_run=record.dry_run,
        may_change=record.may_change and not record.dry_run,
        is_over=is_over,
        cluster=record.cluster,
    )


def _by_summary(run: KnownRun, vdn: int | None) -> RunLine | None:
    """What summary.json says of a run; None where only the journal can be believed."""
    folder = run.place
    try:
        # whoever works on a run has this log of SQLite's open, and a kill leaves it behind
        if os.path.lexists(f"{folder}/{JOURNAL}-wal"):
            return None
        written_s = os.stat(f"{folder}/{JOURNAL}").st_mtime  # noqa: PTH116 - ten thousand of them
        read = _read(f"{folder}/{SUMMARY}", not_before_s=written_s - _LAST_WORDS_S)
        if read is None:
            return None
        if vdn is not None and _is_of_others(run, vdn, read):
            return RunLine(run.run_id, run.place, "", "", None)
        return _read_line(run, json.loads(read))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_of_others(run: KnownRun, vdn: int, read: bytes) -> bool:
    """Whether this run's summary names other VDNs only, without reading all of it."""
    is_whole = f'"run_id": "{run.run_id}"'.encode() in read and read.endswith(b"}\n")
    return is_whole and f'"{vdn}": '.encode() not in read and b'"by_vdn": {}' not in read


def _read(path: str, *, not_before_s: float) -> bytes | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        is_young = found.st_mtime >= not_before_s
        if not (stat.S_ISREG(found.st_mode) and is_young and found.st_size < _BYTES_MAX):
            return None
        return os.read(descriptor, found.st_size)
    finally:
        os.close(descriptor)


def _read_line(run: KnownRun, document: dict[str, Any]) -> RunLine | None:
    kind, verdict = RunKind(document["action"]), RunVerdict(document["verdict"])
    is_dry = verdict is RunVerdict.PLANNED
    # of a pause-all without a proof it does not say whether it was a dry run
    is_clear = kind is not RunKind.PAUSE_ALL or verdict in _SETTLED
    if document["schema"] != SCHEMA or document["run_id"] != run.run_id or not is_clear:
        return None
    if is_dry and kind is RunKind.PAUSE_ALL and not document["by_vdn"]:
        return None  # nor which VDNs it had
    return RunLine(
        run_id=run.run_id,
        place=run.place,
        kind=kind.value,
        verdict=verdict.value,
        started_at_ms=round(datetime.fromisoformat(document["started_at"]).timestamp() * 1000),
        counts={str(outcome): int(number) for outcome, number in document["counts"].items()},
        vdns=tuple(sorted(int(vdn) for vdn in document["by_vdn"] if vdn != NO_VDN)),
        reason=str(document["reason"]),
        operator=str(document["operator"]),
        server=str(document["server"]),
        exit_code=int(document["exit_code"]),
        parent_run=str(document.get("parent_run") or ""),
        dry_run=is_dry,
        may_change=not is_dry,
        is_over=True if verdict in _SETTLED else None,
    )
