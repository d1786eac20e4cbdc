"""Reads one run for its pages. Everything here reads files, so it is called in a thread."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from orchestrator.console.disk import open_plain
from orchestrator.engine.begin import OLD_MS, last_written_ms
from orchestrator.engine.pages import PAGE, WORKBOOK, tell
from orchestrator.engine.run_list import is_finished
from orchestrator.errors import UsageError
from orchestrator.policy.decide import Outcome
from orchestrator.reports.files import FAILED, RESULTS, SUMMARY
from orchestrator.reports.page import shown_row, view_of
from orchestrator.reports.rows import UNSTOPPED, RunKind
from orchestrator.reports.summary import RunVerdict
from orchestrator.store import open_saved
from orchestrator.store.marks import unrestored

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.engine.undone import RestorePreview
    from orchestrator.store.run_dir import RunDirectory

#: rows of one page, and on the page of the run
ROWS, _FIRST_ROWS = 100, 20
#: the filter that names what did not reach its goal
NOT_STOPPED: Final = "not_stopped"
#: what may be downloaded, and its type
FILES: Final = {
    PAGE: "text/html",
    RESULTS: "text/csv",
    FAILED: "text/csv",
    SUMMARY: "application/json",
    WORKBOOK: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
#: a run that was written to so lately may still get its page
_PAGE_WITHIN_MS: Final = 60_000
_ID: Final = re.compile(r"(?:([0-9]{1,4})/)?([0-9]{1,19})", re.ASCII)


def read_run(directory: RunDirectory, now_ms: int) -> dict[str, Any]:
    """A run that nobody works on, as its page shows it.

    Raises:
        OrchestratorError: its journal cannot be read.
    """
    with open_saved(directory.journal) as saved:
        record, run = saved.record(), view_of(tell(saved, directory.path))
        is_quiet = record.verdict == RunVerdict.QUIET and run["facts"].ended_at_ms is not None
        is_over = is_quiet or is_finished(saved) or not record.may_change
        undoes = record.kind is not RunKind.RESTORE and not record.dry_run
        restorable = None  # it turned nothing off
        if undoes and saved.may_have_changed():
            restorable = unrestored(directory.path, saved)
    counts = _numbers(run["rows"].tally.counts)
    missed = bool(counts[NOT_STOPPED]) and not record.dry_run
    chosen = NOT_STOPPED if missed else ""
    ago_ms = now_ms - last_written_ms(directory)
    return {
        "record": record,
        "run": run,
        "counts": counts,
        "missed": missed,
        "rows": (run["rows"].unstopped if missed else run["rows"].shown)[:_FIRST_ROWS],
        "more": counts[chosen] > _FIRST_ROWS,
        "files": _files(directory, has_just_ended=ago_ms < _PAGE_WITHIN_MS),
        # something is left to be done, and `continue` does it; but not what is so old
        "is_unfinished": not is_over,
        "is_old": ago_ms > OLD_MS,
        "restorable": restorable,
    }


def read_rows(directory: RunDirectory, chosen: str, number: int) -> dict[str, Any]:
    """One page of the rows, of one outcome, of all that are not stopped, or of all.

    Raises:
        OrchestratorError: its journal cannot be read.
    """
    counts: Counter[Outcome] = Counter()
    first, matching = (number - 1) * ROWS, 0
    found = []
    with open_saved(directory.journal) as saved:
        kind = saved.record().kind
        for row in saved.rows():
            counts[row.outcome] += 1
            is_missed = chosen == NOT_STOPPED and row.outcome in UNSTOPPED
            if is_missed or chosen in {"", row.outcome}:
                if first <= matching < first + ROWS:
                    found.append(shown_row(row, kind))
                matching += 1
    numbers = _numbers(counts)
    numbers.setdefault(chosen[:40], 0)
    pages = max(1, -(-matching // ROWS))
    return {"rows": found, "number": number, "pages": pages, "counts": numbers}


def _numbers(counts: Mapping[Outcome, int]) -> dict[str, int]:
    """What rows may be chosen by, with how many there are: all, what is not stopped, each."""
    missed = sum(counts[one] for one in UNSTOPPED if one in counts)
    each = {one.value: counts[one] for one in Outcome if counts.get(one)}
    return {"": sum(counts.values()), NOT_STOPPED: missed, **each}


def _files(directory: RunDirectory, *, has_just_ended: bool) -> list[tuple[str, int]]:
    """The files that are there, and their sizes; the page follows the end of a run."""
    found = []
    for name in FILES:
        try:
            found.append((name, (directory.path / name).stat().st_size))
        except OSError:
            if name == PAGE and has_just_ended:
                found.append((name, 0))
    return found


def open_file(directory: RunDirectory, name: str) -> BinaryIO | None:
    """A file of a run that may be downloaded; None: there is none of this name."""
    try:
        return open_plain(directory.path / name) if name in FILES else None
    except OSError:
        return None


def campaign_ids(texts: Iterable[str]) -> dict[str, tuple[int | None, int]]:
    """Campaigns that were typed or ticked, as their VDN, if it was said, and id.

    Raises:
        UsageError: one is no campaign id.
    """
    found: dict[str, tuple[int | None, int]] = {}
    for word in re.split(r"[\s,;]+", " ".join(texts)):
        match = _ID.fullmatch(word)
        if match:
            found[word] = int(match[1]) if match[1] else None, int(match[2])
        elif word:
            raise UsageError(
                f"{word[:60]!a} is no campaign id. Nothing was sent", advice="write 1005 or 7/1005"
            )
    return found


def chosen_campaigns(texts: Iterable[str], preview: RestorePreview) -> frozenset[tuple[int, int]]:
    """The campaigns that were typed or ticked, as VDN and id; all of them must be the run's.

    Raises:
        UsageError: one is not, or it is not clear which.
    """
    by_id: dict[int, set[int]] = {}
    for one in preview.candidates:
        by_id.setdefault(one.ref.campaign_id, set()).add(one.ref.vdn_id)
    found: set[tuple[int, int]] = set()
    for word, (vdn_id, campaign_id) in campaign_ids(texts).items():
        vdns = {vdn for vdn in by_id.get(campaign_id, ()) if vdn_id in {None, vdn}}
        if not vdns:
            raise UsageError(
                f"{word} is no campaign that this run stopped",
                advice="see the rows of the run for the ids",
            )
        if len(vdns) > 1:
            raise UsageError(f"{word} is in several VDNs", advice="write VDN/ID")
        found.add((vdns.pop(), campaign_id))
    return frozenset(found)


def handed_on(chosen: Iterable[tuple[int, int]]) -> str:
    """Campaigns as a form hands them on."""
    return ",".join(f"{vdn_id}/{campaign_id}" for vdn_id, campaign_id in sorted(chosen))
