"""`pause`: a list becomes a plan, the plan a run, the run a report.

The whole list is checked before anything is sent.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.engine.begin import (
    Opened,
    check_wanted,
    new_directory,
    new_plan,
    new_record,
    unbegun,
)
from orchestrator.engine.bulk import pause_list
from orchestrator.engine.run import Environment, follow_cluster
from orchestrator.errors import (
    ManifestError,
    OrchestratorError,
    Problem,
    RefusedError,
    UsageError,
)
from orchestrator.manifest.formats import (
    ManifestUnreadableError,
    advice_for,
    format_of,
    read_manifest,
)
from orchestrator.manifest.source import open_manifest, open_stdin
from orchestrator.reports.rows import RunKind
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import Journal, Manifest, PlanWriter, Refused, open_saved
from orchestrator.store.registry import find_by_id
from orchestrator.store.run_dir import RunDirectory, is_run_id

if TYPE_CHECKING:
    from orchestrator.engine.options import PauseOptions
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.stop import Stopping
    from orchestrator.policy.plan import PlanCounts
    from orchestrator.settings.load import Settings


class _List(NamedTuple):
    """A list that has been read into a plan."""

    path: str
    sha256: str
    counts: PlanCounts
    #: how something was read that may have been meant in another way
    notes: tuple[str, ...]
    #: the run that every row names; empty: there is none
    named_run: str
    #: lines that are skipped
    refused: Refused


async def pause(
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
) -> RunResult:
    """Pause every campaign of a list.

    Args:
        manifest: the list; None reads standard input.
        settings: server, credentials, pace; without credentials for a dry run.
        options: what is wanted.
        environment: the process around the run.

    Returns:
        How the run ended; its exit code is never raised.

    Raises:
        OrchestratorError: the run could not begin; nothing was sent.
    """
    if options.run_dir is not None:
        from orchestrator.engine.same_directory import pause_again  # noqa: PLC0415 - for it only

        found = await pause_again(manifest, settings, options, environment)
        if not isinstance(found, Path):
            return found
        options = replace(options, run_dir=found)
    with unbegun():
        directory = new_directory(environment, settings.state_dir, options.run_dir)
    try:
        with unbegun():
            journal = await _plan(manifest, settings, options, environment, directory)
        with closing(journal):
            if options.dry_run:
                from orchestrator.engine.results import make_report  # noqa: PLC0415 - not for a real run

                return make_report(journal, directory.path, fallback=environment.fallback)
            if options.cluster:
                return await follow_cluster(
                    environment, journal, directory, deadline_s=options.deadline_s
                )
            opened = Opened(directory, journal, journal.record())
            return await pause_list(
                environment, opened, settings, deadline_s=options.deadline_s, continued=False
            )
    finally:
        directory.release()


async def _plan(
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
    directory: RunDirectory,
) -> Journal:
    stopping = environment.stopping
    try:
        with new_plan(directory, is_unwanted=lambda: stopping.is_stopping) as writer:
            listed = await asyncio.to_thread(_read, manifest, options, writer, stopping)
            for note in listed.notes:
                environment.events.warning("list.ambiguous", how=note)
            _tell_skipped(str(manifest or "standard input"), listed.refused, environment)
            _check_size(listed.counts, options)
            limit = options.max_failures
            record = new_record(environment, settings, RunKind.PAUSE, directory, options)
            record = record._replace(
                verify=options.verify,
                accept=frozenset(options.accept),
                manifest=Manifest(listed.path, listed.sha256),
                cluster=options.cluster,
                parent_run=await asyncio.to_thread(_parent, listed.named_run, settings),
                max_failures=(limit.number, limit.is_percent) if limit else None,
            )
            journal = await asyncio.to_thread(writer.finish, record)
            if stopping.is_stopping:
                journal.close()
                directory.journal.unlink()
                check_wanted(stopping)
    except BaseException:
        check_wanted(stopping)  # what a stop broke off is no failure of the disk
        raise
    return journal


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
        named: list[str] = []
        lines = read_manifest(
            source.chunks(),
            chosen,
            default_vdn=options.vdn,
            note=notes.append,
            names_run=named.append,
        )
        try:
            counts, refused = writer.take(lines)
        except ManifestUnreadableError as error:
            problem = Problem(error.place, error.reason)
            raise ManifestError(name, (problem,), total=1, advice=error.advice) from error
    _check_lines(name, counts, refused, options)
    path = str(source.real_path) if manifest else "-"
    return _List(path, source.sha256, counts, tuple(notes), "".join(named), refused)


def _tell_skipped(name: str, refused: Refused, environment: Environment) -> None:
    """Name the first lines that --skip-invalid passes over, as their refusal would."""
    for one in refused.shown:
        environment.events.warning("line.skipped", path=name, place=one.place, reason=one.reason)
    more = refused.total - len(refused.shown)
    if more:
        environment.events.warning("lines.skipped", number=more)


def _parent(run_id: str, settings: Settings) -> str:
    """The run of this server that every row of a list names; empty where it is not known."""
    if not (is_run_id(run_id) and settings.server.base_url):
        return ""
    try:
        with open_saved(find_by_id(settings.state_dir, run_id).journal) as saved:
            fingerprint = saved.record().fingerprint
    except OrchestratorError:
        return ""
    return run_id if fingerprint == server_fingerprint(settings.server.base_url) else ""


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
