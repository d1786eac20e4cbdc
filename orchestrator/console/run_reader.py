"""Reads one run for its pages. Everything here reads files, so it is called in a thread.

What was read of a run that nobody works on is kept until one of its files changes.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

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
from orchestrator.store.run_dir import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.engine.restore import RestorePreview
    from orchestrator.reports.page import ShownRow
    from orchestrator.reports.rows import SweepRecord
    from orchestrator.store import RunRecord, Saved
    from orchestrator.store.run_dir import RunDirectory

#: rows of one page
ROWS: Final = 100
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
#: runs that are kept
_RUNS_MAX: Final = 8
#: a run that was written to so lately may still get its page
_PAGE_WITHIN_MS: Final = 60_000
#: check passes of each end that are shown
_PASSES: Final = 6
_READ_WITH: Final = (JOURNAL, f"{JOURNAL}-wal", "notes.jsonl", "marks.jsonl", *FILES)
_ID: Final = re.compile(r"(?:([0-9]{1,4})/)?([0-9]{1,19})", re.ASCII)


class RunView(NamedTuple):
    """A run that nobody works on, as its page shows it."""

    record: RunRecord
    #: what the report page shows
    told: Mapping[str, Any]
    #: filter → rows
    filters: tuple[tuple[str, int], ...]
    files: tuple[tuple[str, int], ...]
    #: the first and the last check passes, and how many between them are not here
    passes: tuple[Pass, ...]
    passes_left_out: int
    #: something is left to be done, and `continue` does it
    is_unfinished: bool
    #: it is so old that the console does not continue it
    is_old: bool
    #: campaigns that it turned off and that no restore has started; None: it turned nothing off
    restorable: int | None


class Pass(NamedTuple):
    """One check pass of a VDN: both of its listings."""

    vdn_id: int
    began_ms: int
    ended_ms: int
    started: int
    #: complete, and nothing started in it
    clean: bool
    problem: str


class RowPage(NamedTuple):
    """One page of rows."""

    rows: tuple[ShownRow, ...]
    #: of the page, from 1
    number: int
    pages: int
    filters: tuple[tuple[str, int], ...]
    kind: RunKind

    def first(self, number: int) -> RowPage:
        """Only so many of its rows."""
        return self._replace(rows=self.rows[:number])


@dataclass
class RunReader:
    """Runs as they were read."""

    _views: dict[str, tuple[object, RunView]] = field(default_factory=dict)

    def view(self, directory: RunDirectory, *, now_ms: int) -> RunView:
        """A run that nobody works on.

        Raises:
            OrchestratorError: its journal cannot be read.
        """
        mark, key = _mark(directory), str(directory.path)
        kept, view = self._views.pop(key, (None, None))
        if view is None or kept != mark:
            with open_saved(directory.journal) as saved:
                view = _view(directory, saved, now_ms)
        self._views[key] = mark, view
        while len(self._views) > _RUNS_MAX:
            with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # a thread did it
                del self._views[next(iter(self._views))]
        return view

    def rows(self, directory: RunDirectory, chosen: str, number: int, *, live: bool) -> RowPage:
        """One page of the rows, of one outcome, of all that are not stopped, or of all.

        Raises:
            OrchestratorError: its journal cannot be read.
        """
        kept, view = self._views.get(str(directory.path), (None, None))
        is_known = view is not None and not live and kept == _mark(directory)
        with open_saved(directory.journal) as saved:
            return _rows(saved, chosen, number, view.filters if view and is_known else None)


def _mark(directory: RunDirectory) -> tuple[tuple[int, int] | None, ...]:
    return tuple(_stamp(f"{directory.path}/{name}") for name in _READ_WITH)


def _stamp(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = os.stat(path)  # noqa: PTH116 - the same as in the book
        return found.st_mtime_ns, found.st_size
    return None


def _view(directory: RunDirectory, saved: Saved, now_ms: int) -> RunView:
    record = saved.record()
    told = view_of(tell(saved, directory.path))
    is_quiet = record.verdict == RunVerdict.QUIET and told["facts"].ended_at_ms is not None
    is_over = is_quiet or is_finished(saved) or not record.may_change
    undoes = record.kind is not RunKind.RESTORE and not record.dry_run
    has_changed = undoes and saved.may_have_changed()
    passes = _passes(told["facts"].sweeps)
    few = len(passes) <= 2 * _PASSES
    return RunView(
        record=record,
        told=told,
        filters=_filters(told["rows"].tally.counts),
        files=_files(
            directory, has_just_ended=now_ms - last_written_ms(directory) < _PAGE_WITHIN_MS
        ),
        passes=passes if few else (*passes[:_PASSES], *passes[-_PASSES:]),
        passes_left_out=0 if few else len(passes) - 2 * _PASSES,
        is_unfinished=not is_over,
        is_old=now_ms - last_written_ms(directory) > OLD_MS,
        restorable=unrestored(directory.path, saved) if has_changed else None,
    )


def _passes(sweeps: Iterable[SweepRecord]) -> tuple[Pass, ...]:
    """Listings of a VDN that ended together are one pass."""
    found: dict[tuple[int, int], Pass] = {}
    for one in sweeps:
        key = one.vdn_id, one.ended_at_ms
        before = found.get(key)
        now = Pass(
            one.vdn_id,
            one.started_at_ms,
            one.ended_at_ms,
            one.started,
            one.complete and not one.started,
            one.problem,
        )
        found[key] = (
            now
            if before is None
            else now._replace(
                began_ms=min(now.began_ms, before.began_ms),
                started=max(now.started, before.started),
                clean=now.clean and before.clean,
                problem=before.problem or now.problem,
            )
        )
    return tuple(found.values())


def _filters(counts: Mapping[Outcome, int]) -> tuple[tuple[str, int], ...]:
    """What rows may be chosen by, with how many there are: all, what is not stopped, each."""
    missed = sum(counts[one] for one in UNSTOPPED if one in counts)
    each = [(one.value, counts[one]) for one in Outcome if counts.get(one)]
    return (("", sum(counts.values())), (NOT_STOPPED, missed), *each)


def _rows(
    saved: Saved, chosen: str, number: int, known: tuple[tuple[str, int], ...] | None
) -> RowPage:
    """Where the numbers are known, the rows behind the page are not read."""
    kind = saved.record().kind
    counts: Counter[Outcome] = Counter()
    first = (number - 1) * ROWS
    found: list[ShownRow] = []
    matching = 0
    nothing = known is not None and not dict(known).get(chosen)
    for row in () if nothing else saved.rows():
        counts[row.outcome] += 1
        if chosen and not (
            row.outcome in UNSTOPPED if chosen == NOT_STOPPED else row.outcome == chosen
        ):
            continue
        matching += 1
        if first < matching <= first + ROWS:
            found.append(shown_row(row, kind))
        elif known is not None and matching > first:
            break
    filters = known or _filters(counts)
    number_of = dict(filters).get(chosen, 0)
    return RowPage(tuple(found), number, max(1, -(-number_of // ROWS)), filters, kind)


def _files(directory: RunDirectory, *, has_just_ended: bool) -> tuple[tuple[str, int], ...]:
    found = ((name, _stamp(f"{directory.path}/{name}")) for name in FILES)
    return tuple(
        (name, stamp[1] if stamp else 0)
        for name, stamp in found
        if stamp or (name == PAGE and has_just_ended)
    )


def open_file(directory: RunDirectory, name: str) -> tuple[BinaryIO, int] | None:
    """A file of a run that may be downloaded, and its size; None: there is none of this name."""
    if name not in FILES:
        return None
    try:
        file = open_plain(directory.path / name)
    except OSError:
        return None
    return file, os.fstat(file.fileno()).st_size


def chosen_campaigns(texts: Iterable[str], preview: RestorePreview) -> frozenset[tuple[int, int]]:
    """The campaigns that were typed or ticked, as VDN and id; all of them must be the run's.

    Raises:
        UsageError: one is not, or it is not clear which.
    """
    by_id: dict[int, set[int]] = {}
    for one in preview.candidates:
        by_id.setdefault(one.ref.campaign_id, set()).add(one.ref.vdn_id)
    found: set[tuple[int, int]] = set()
    for word in " ".join(texts).replace(",", " ").split():
        match = _ID.fullmatch(word)
        vdns = by_id.get(int(match[2]), set()) if match else set()
        if match and match[1]:
            vdns = vdns & {int(match[1])}
        if match is None or not vdns:
            raise UsageError(
                f"{word[:60]} is no campaign that this run stopped",
                advice="see the rows of the run for the ids",
            )
        if len(vdns) > 1:
            raise UsageError(f"{word[:60]} is in several VDNs", advice="write VDN/ID")
        found.add((next(iter(vdns)), int(match[2])))
    return frozenset(found)


def handed_on(chosen: Iterable[tuple[int, int]]) -> str:
    """Campaigns as a form hands them on."""
    return ",".join(f"{vdn_id}/{campaign_id}" for vdn_id, campaign_id in sorted(chosen))
