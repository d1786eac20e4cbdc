"""Which run is meant: by its directory, its id, a unique end of its id, or `last`.

`last` is never a dry run, and what it means depends on what is to be done with it. Where it is not
certain, because a journal cannot be read, it is that run: an older one would be another matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path

from orchestrator.engine.run_list import RunLine, every_line, is_finished
from orchestrator.engine.saved import read_record
from orchestrator.engine.stops import refuse_if_overtaken
from orchestrator.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.model import Refusal, read_vdn_id
from orchestrator.reports.rows import RunKind
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import RunRecord, Saved, open_saved
from orchestrator.store.registry import find_by_id, missing_runs
from orchestrator.store.run_dir import JOURNAL, RunDirectory


class Last(Enum):
    """What `last` means; the value says what no run was."""

    #: report, note
    REAL = "no run but dry runs"
    #: continue: unfinished, and nobody works on it
    UNFINISHED = "no unfinished run that nobody works on"
    #: restore: it turned something off
    UNDOABLE = "no run that turned something off"
    #: stop: somebody works on it
    LIVE = "no run that a process works on"


def find_run(  # noqa: PLR0913 - what `last` means depends on all of these
    state_dir: Path,
    text: str,
    meaning: Last,
    *,
    server: str = "",
    taken: Callable[[RunLine], None] = lambda _: None,
    passed_over: Callable[[str], None] = lambda _: None,
) -> RunDirectory:
    """Find a run.

    Args:
        state_dir: where it is noted.
        text: a directory, an id, a unique end of an id, or `last`.
        meaning: what `last` means here.
        server: `last` is a run of this server; empty: of any.
        taken: is told what `last` was taken for.
        passed_over: is told, in a sentence, of a newer run that might have been meant.

    Raises:
        UsageError: there is none, or more than one.
    """
    if text != "last":
        if meaning is Last.LIVE and not isinstance(read_vdn_id(text), Refusal):
            raise stops_no_vdn(text)
        return find_by_id(state_dir, text)
    for line in every_line(state_dir):
        if not (_is_of(line, server) and _is_meant(line, meaning)):
            continue
        why = _why_not_continued(line, state_dir) if meaning is Last.UNFINISHED else ""
        if why:
            passed_over(f"`last` passes over run {line.run_id}: {why}")
            continue
        if meaning is not Last.LIVE and (gone := _missing(state_dir, line.run_id)):
            passed_over(f"{gone}; `last` passes over it")
        taken(line)
        return RunDirectory(line.path)
    of_server = f" of {server}" if server else ""
    gone = _missing(state_dir)
    raise UsageError(
        f"`last` means nothing here: there is {meaning.value}{of_server} in {state_dir}"
        f"{f', and {gone}' if gone else ''}. Nothing was sent.",
        advice="`orchestrator runs --all` lists every run",
    )


def stops_no_vdn(vdn: str) -> UsageError:
    """Make the error for a `stop` of a VDN: whoever types that wants `pause-all`."""
    return UsageError(
        f"{vdn} is a VDN, and `stop` ends one of our runs. Nothing was sent; campaigns are still"
        " dialling.",
        advice=f"`orchestrator pause-all --vdn {vdn}` stops what dials there",
    )


def _missing(state_dir: Path, newer_than: str = "") -> str:
    """Name the newest run that is registered and not there; empty when there is none."""
    gone = list(missing_runs(state_dir, newer_than=newer_than))
    if not gone:
        return ""
    newer = ", which is newer," if newer_than else ""
    more = f", and {len(gone) - 1:,} more like it" if len(gone) > 1 else ""
    return f"run {gone[0].run_id}{newer} is registered at {gone[0].place}, which is gone{more}"


def _why_not_continued(line: RunLine, state_dir: Path) -> str:
    """Why an unfinished run is not to go on; empty when it may."""
    try:
        refuse_if_overtaken(read_record(RunDirectory(line.path)), state_dir)
    except RefusedError as error:
        return error.sentence.partition(". ")[0]
    except OrchestratorError:
        return ""  # who continues it says what is wrong
    return ""


def find_belonging(state_dir: Path, run: RunDirectory, texts: Sequence[str]) -> list[RunDirectory]:
    """Find what belongs on a run's page: what undoes or repeats it, or is undone or repeated by it.

    Args:
        state_dir: where runs are noted.
        run: the run of the page.
        texts: a directory, an id, a unique end of an id, or `last`: the newest of them.

    Returns:
        Them, in the order of their beginnings.

    Raises:
        UsageError: one does not belong there, or is named twice.
        StorageError, JournalMismatchError: a journal cannot be read.
    """
    own = read_record(run)
    found: dict[str, tuple[RunRecord, RunDirectory]] = {own.run_id: (own, run)}
    for text in texts:
        other = _newest_of(own, state_dir) if text == "last" else find_by_id(state_dir, text)
        record = read_record(other)
        if record.run_id in found:
            raise UsageError(
                f"run {record.run_id} would be on the page twice. Nothing was written.",
                advice="name each run once",
            )
        is_kin = _leads_to(record, own, state_dir) or _leads_to(own, record, state_dir)
        if not is_kin or record.dry_run:
            raise UsageError(
                f"run {record.run_id} does not belong to run {own.run_id}: {_what(record)}."
                " Nothing was written.",
                advice="`--with last` takes the newest run that undoes or repeats it",
            )
        found[record.run_id] = record, other
    del found[own.run_id]
    ordered = sorted(found.values(), key=lambda pair: pair[0].started_at_ms)
    return [directory for _, directory in ordered]


def _newest_of(own: RunRecord, state_dir: Path) -> RunDirectory:
    """The newest run that undoes or repeats this one, or one that does."""
    later: list[tuple[str, str, Path]] = []
    for line in every_line(state_dir):
        if line.run_id == own.run_id:
            break
        if line.problem or line.dry_run:
            continue
        is_restore = line.kind == RunKind.RESTORE
        parent = read_record(RunDirectory(line.path)).source_run if is_restore else line.parent_run
        later.append((line.run_id, parent, line.path))
    kin, newest = {own.run_id}, None
    for run_id, parent, path in reversed(later):  # each began after what it undoes or repeats
        if parent in kin:
            kin.add(run_id)
            newest = path
    if newest is not None:
        return RunDirectory(newest)
    raise UsageError(
        f"`last` means nothing here: no run undoes or repeats run {own.run_id}."
        " Nothing was written.",
        advice="`orchestrator runs` lists the runs",
    )


def _leads_to(record: RunRecord, wanted: RunRecord, state_dir: Path) -> bool:
    """Whether a run undoes or repeats another, be it over runs in between."""
    passed: set[str] = set()
    while (parent := record.source_run or record.parent_run) and parent not in passed:
        if parent == wanted.run_id:
            return True
        passed.add(parent)
        try:
            record = read_record(find_by_id(state_dir, parent))
        except OrchestratorError:
            return False
    return False


def _what(record: RunRecord) -> str:
    if record.dry_run:
        return "it was a dry run"
    if record.source_run:
        return f"it undoes run {record.source_run}"
    return f"it repeats run {record.parent_run}" if record.parent_run else "it is another run"


def _is_of(line: RunLine, server: str) -> bool:
    """Whether it is a run of this server, or may be one."""
    if line.problem or not server:
        return True
    return bool(line.server) and server_fingerprint(line.server) == server_fingerprint(server)


def _is_meant(line: RunLine, meaning: Last) -> bool:
    if meaning is Last.LIVE:
        return line.live
    if line.problem:
        return meaning is not Last.UNFINISHED or not line.live
    if line.dry_run:
        return False
    if meaning is Last.UNFINISHED:
        return not (line.live or line.is_over) and _says(line, _is_unfinished)
    if meaning is Last.UNDOABLE:
        return line.kind != RunKind.RESTORE and _says(line, _may_have_changed)
    return True


def _says(line: RunLine, question: Callable[[Saved], bool]) -> bool:
    """What a journal answers; yes where it cannot be read."""
    try:
        with open_saved(line.path / JOURNAL) as saved:
            return question(saved)
    except OrchestratorError:
        return True


def _is_unfinished(saved: Saved) -> bool:
    # what nobody has confirmed is not continued
    return saved.record().may_change and not is_finished(saved)


def _may_have_changed(saved: Saved) -> bool:
    is_elsewhere = saved.record().cluster and not is_finished(saved)
    return is_elsewhere or saved.may_have_changed()
