"""report.html and report.xlsx of runs on record; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.engine.results import read_facts
from orchestrator.errors import UsageError
from orchestrator.reports.document import summary_document
from orchestrator.reports.files import RESULTS, sha256_of, write_file
from orchestrator.reports.page import Rows, Told, render
from orchestrator.reports.sentences import verdict_line
from orchestrator.reports.workbook import write_workbook
from orchestrator.store import Saved, open_saved
from orchestrator.store.notes import read_notes
from orchestrator.store.run_dir import RunDirectory

if TYPE_CHECKING:
    from orchestrator.clock import Clock

PAGE = "report.html"
WORKBOOK = "report.xlsx"


def refuse_evidence(target: Path) -> None:
    """Let no page take the place of what a run has recorded.

    Raises:
        UsageError: it would.
    """
    if target.name not in {PAGE, WORKBOOK} and RunDirectory(target.parent).has_journal:
        raise UsageError(
            f"{target} is in a run directory, where only {PAGE} and {WORKBOOK} may be written."
            " Nothing was written.",
            advice="choose another place",
        )


def write_page(runs: Sequence[RunDirectory], target: Path, clock: Clock) -> None:
    """Make one page of a run, which has its report already, and of its restore and its repeats.

    Raises:
        StorageError: a journal cannot be read, or the page cannot be written.
        JournalMismatchError: another version wrote a journal.
    """
    with ExitStack() as stack:
        # the first was checked from end to end by whoever made its report
        told = [
            tell(stack.enter_context(open_saved(one.journal, whole=number > 0)), one.path)
            for number, one in enumerate(runs)
        ]
        pieces = render(told, made_at_ms=clock.wall_ms())
        write_file(target, lambda file: file.writelines(piece.encode() for piece in pieces))


def write_workbook_of(run: RunDirectory, target: Path) -> None:
    """Make the workbook of one run.

    Raises:
        StorageError: its journal cannot be read, or the workbook cannot be written.
        UsageError: XlsxWriter is not installed.
    """
    with open_saved(run.journal) as saved:
        told = tell(saved, run.path)
        write_file(
            target,
            lambda file: write_workbook(
                file, saved.rows(), kind=told.facts.kind, line=told.line, summary=told.summary
            ),
        )


def tell(saved: Saved, folder: Path) -> Told:
    """All that a page says of one run."""
    facts = read_facts(saved, folder)._replace(notes=read_notes(folder))
    rows = Rows(facts.kind)
    rows.take(saved.rows())
    hashes = {RESULTS: sha256_of(folder / RESULTS)}
    if facts.manifest_path:
        hashes[f"the list {facts.manifest_path}"] = facts.manifest_sha256
    return Told(
        facts=facts,
        summary=summary_document(facts, rows.tally),
        line=verdict_line(facts, rows.tally),
        rows=rows,
        sent=saved.sent_per_s(),
        hashes={name: digest for name, digest in hashes.items() if digest},
    )
