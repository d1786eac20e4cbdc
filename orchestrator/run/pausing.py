"""`pause`: a list becomes a plan, the plan a run, the run a report.

Rule 1: the whole list is checked before anything is sent; what is refused leaves nothing behind.
Rule 2: the same --run-dir again continues an unfinished run and tells a finished one once more.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.core.manifest import advice_for, format_of, read_manifest_blocks
from orchestrator.core.manifest_text import ManifestUnreadableError
from orchestrator.core.report import RunKind
from orchestrator.core.settings import origin_of_call
from orchestrator.edges.journal import PlanWriter, Refused
from orchestrator.edges.manifest_file import open_manifest, open_stdin
from orchestrator.edges.run_directory import RunDirectory, whole_path
from orchestrator.errors import (
    JournalMismatchError,
    ManifestError,
    Problem,
    RefusedError,
    UsageError,
)
from orchestrator.run.beginning import (
    check_wanted,
    facts_text,
    give_up,
    hold,
    new_directory,
    open_run,
    run_id_of,
    unbegun,
    with_server_of,
)
from orchestrator.run.bulk import BulkPlan, run_bulk
from orchestrator.run.options import ContinueOptions
from orchestrator.run.session import Undertaking, live

if TYPE_CHECKING:
    import sqlite3
    from pathlib import Path

    from orchestrator.core.plan import PlanCounts
    from orchestrator.edges.settings import Settings
    from orchestrator.run.beginning import Opened
    from orchestrator.run.options import PauseOptions
    from orchestrator.run.reporting import RunResult
    from orchestrator.run.rig import Rig
    from orchestrator.run.session import Surroundings
    from orchestrator.run.stopping import Stopping


class _List(NamedTuple):
    """A list that has been read into a plan."""

    path: str
    sha256: str
    counts: PlanCounts
    #: how something was read that may have been meant in another way
    notes: tuple[str, ...]


async def pause(
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    surroundings: Surroundings,
) -> RunResult:
    """Pause every campaign of a list.

    Args:
        manifest: the list; None reads standard input.
        settings: server, credentials, pace; without credentials for a dry run.
        options: what is wanted.
        surroundings: the process around the run.

    Returns:
        How the run ended; its exit code is never raised.

    Raises:
        OrchestratorError: the run could not begin; nothing was sent.
    """
    if options.run_dir is not None and RunDirectory(whole_path(options.run_dir)).has_journal:
        return await _take_up(manifest, settings, options, surroundings)
    with unbegun():
        directory = new_directory(surroundings, settings.state_dir, options.run_dir)
    try:
        with unbegun():
            connection = await _plan(manifest, settings, options, surroundings, directory)
        if options.dry_run:
            from orchestrator.run.reporting import tell  # noqa: PLC0415 - not for a real run

            with closing(connection):
                return tell(connection, directory.path, fallback=surroundings.fallback)
        return await _begin(connection, directory, settings, options, surroundings)
    finally:
        directory.release()


async def _plan(
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    surroundings: Surroundings,
    directory: RunDirectory,
) -> sqlite3.Connection:
    stopping = surroundings.stopping
    writer = PlanWriter(directory.journal, is_unwanted=lambda: stopping.is_stopping)
    try:
        listed = await asyncio.to_thread(_read, manifest, options, writer, stopping)
        for note in listed.notes:
            surroundings.events.warning("list.read_so", how=note)
        _check_size(listed.counts, options)
        text = facts_text(
            surroundings,
            settings,
            kind=RunKind.PAUSE,
            run_id=run_id_of(surroundings, directory),
            reason=options.reason,
            dry_run=options.dry_run,
            verify=options.verify,
            accept=tuple(sorted(one.value for one in options.accept)),
            manifest={"path": listed.path, "sha256": listed.sha256},
            max_failures=(options.max_failures.number, options.max_failures.is_percent)
            if options.max_failures
            else None,
        )
        connection = await asyncio.to_thread(writer.finish, {"facts": text})
        if stopping.is_stopping:
            connection.close()
            directory.journal.unlink()
            check_wanted(stopping)
    except BaseException:
        writer.discard()
        give_up(directory)
        check_wanted(stopping)  # what a stop broke off is no failure of the disk
        raise
    return connection


def _read(
    manifest: Path | None, options: PauseOptions, writer: PlanWriter, stopping: Stopping
) -> _List:
    """Read the whole list into the plan.

    Raises:
        ManifestError: it cannot be used.
        NotBegunError: a stop came meanwhile.
    """
    name = str(manifest) if manifest else "standard input"
    chosen = options.format or (format_of(manifest.name) if manifest else None)
    if chosen is None:
        if manifest:
            with open_manifest(manifest):
                pass  # what is missing, or is a directory, has no format at all
        raise UsageError(
            f"{name}: the format is not known. Nothing was sent.",
            advice=advice_for(name),
        )
    check = partial(check_wanted, stopping)
    opened = open_manifest(manifest, check=check) if manifest else open_stdin(check=check)
    with opened as source:
        notes: list[str] = []
        lines = read_manifest_blocks(
            source.chunks(), chosen, default_vdn=options.vdn, note=notes.append
        )
        try:
            counts, refused = writer.take(lines)
        except ManifestUnreadableError as error:
            problem = Problem(error.place, error.reason)
            raise ManifestError(name, (problem,), total=1, advice=error.advice) from error
    _check_lines(name, counts, refused, options)
    path = str(source.real_path) if manifest else "-"
    return _List(path, source.sha256, counts, tuple(notes))


def _check_lines(name: str, counts: PlanCounts, refused: Refused, options: PauseOptions) -> None:
    if refused.total and (not options.skip_invalid or counts.campaigns == 0):
        raise ManifestError(
            name, tuple(refused.shown), total=refused.total, skippable=counts.campaigns > 0
        )
    if counts.campaigns == 0:
        raise ManifestError(name, (Problem("1", "there are no campaigns in it"),), total=1)


def _check_size(counts: PlanCounts, options: PauseOptions) -> None:
    if options.max_campaigns is not None and counts.campaigns > options.max_campaigns:
        raise RefusedError(
            f"the list has {counts.campaigns:,} campaigns, more than --max-campaigns"
            f" {options.max_campaigns:,}. Nothing was sent.",
            advice="check that it is the right list, then raise --max-campaigns",
        )


async def _begin(
    connection: sqlite3.Connection,
    directory: RunDirectory,
    settings: Settings,
    options: PauseOptions,
    surroundings: Surroundings,
) -> RunResult:
    async def work(rig: Rig) -> None:
        await run_bulk(rig, BulkPlan(verify=options.verify, continued=False))

    undertaking = Undertaking(
        kind=RunKind.PAUSE,
        settings=settings,
        connection=connection,
        directory=directory,
        deadline_s=options.deadline_s,
        decide_by_reading=not options.verify,
        max_failures=options.max_failures,
    )
    return await live(surroundings, undertaking, work)


# -- the same --run-dir again -----------------------------------------------------------------


async def _take_up(
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    surroundings: Surroundings,
) -> RunResult:
    """Continue an unfinished run of the same list and server, or tell a finished one again."""
    from orchestrator.run.continuing import (  # noqa: PLC0415 - a new run does not need it
        continue_held,
        is_finished,
        tell_again,
    )

    assert options.run_dir is not None
    directory = RunDirectory(whole_path(options.run_dir))
    hold(surroundings, directory)
    try:
        opened = await asyncio.to_thread(open_run, directory, surroundings.stopping)
        try:
            sha256 = await asyncio.to_thread(_fingerprint, manifest, surroundings.stopping)
            _check_same(opened, sha256, settings, options)
            if is_finished(opened):
                return tell_again(opened)
        except BaseException:
            opened.connection.close()
            raise
        pace = settings.pace
        again = ContinueOptions(
            rate_per_s=pace.rate_per_s if _is_given(settings, "pace.rate_per_s") else None,
            concurrency=pace.concurrency if _is_given(settings, "pace.concurrency") else None,
            deadline_s=options.deadline_s,
            even_if_old=True,
        )
        return await continue_held(opened, settings, again, surroundings)
    finally:
        directory.release()


def _is_given(settings: Settings, key: str) -> bool:
    """Whether a setting comes from this very call: then it counts for more than the journal."""
    return settings.origins[key] == origin_of_call(key)


def _fingerprint(manifest: Path | None, stopping: Stopping) -> str:
    digest = hashlib.sha256()
    check = partial(check_wanted, stopping)
    opened = open_manifest(manifest, check=check) if manifest else open_stdin(check=check)
    with opened as source:
        for chunk in source.chunks():
            digest.update(chunk)
    return digest.hexdigest()


def _check_same(opened: Opened, sha256: str, settings: Settings, options: PauseOptions) -> None:
    facts = opened.facts
    other = ""
    if facts.kind is not RunKind.PAUSE or facts.dry_run != options.dry_run:
        kind = "dry run" if facts.dry_run else facts.kind.value
        other = f"a {kind}"
    elif facts.manifest_sha256 != sha256:
        other = "a run of another list"
    if other:
        raise JournalMismatchError(
            f"{opened.directory.path} holds {other}. Nothing was sent.",
            advice="give this run a directory of its own with --run-dir",
        )
    if settings.server.base_url:
        with_server_of(settings, facts)
