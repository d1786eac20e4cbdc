"""Where an emergency is recorded: in --run-dir, beside it, in the state directory, or in memory.

Nothing about a directory may keep an emergency from its work.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.engine.begin import (
    OLD_MS,
    Opened,
    give_up,
    hold,
    last_written_ms,
    new_directory,
    new_record,
    open_run,
)
from orchestrator.engine.run_list import is_finished
from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import RunVerdict
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import PlanWriter
from orchestrator.store.run_dir import RunDirectory, whole_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.engine.options import PauseAllOptions
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings
    from orchestrator.store import Journal

#: directories beside --run-dir that are tried: DIR-2, DIR-3, …
_SIBLINGS = 20


async def open_unfinished(
    settings: Settings, options: PauseAllOptions, environment: Environment
) -> Opened | None:
    """Hold and open the unfinished run of the same VDNs in --run-dir; None: there is none."""
    assert options.run_dir is not None
    try:
        directory = RunDirectory(whole_path(options.run_dir))
        if not directory.has_journal:
            return None
        written_ms = last_written_ms(directory)
        hold(environment, directory)
        try:
            opened = await asyncio.to_thread(open_run, directory, environment.stopping)
        except BaseException:
            directory.release()
            raise
    except (OrchestratorError, OSError):
        return None  # it is recorded elsewhere, which says why
    is_young = environment.clock.wall_ms() - written_ms <= OLD_MS
    if is_young and _is_same(opened, settings, options):
        return opened
    opened.journal.close()
    directory.release()
    return None


def _is_same(opened: Opened, settings: Settings, options: PauseAllOptions) -> bool:
    record = opened.record
    is_proven = record.verdict == RunVerdict.QUIET and opened.journal.processes()[-1].ended
    return (
        record.kind is RunKind.PAUSE_ALL
        and record.may_change
        and record.cluster is options.cluster
        and set(record.vdns) == set(options.vdns)
        and record.fingerprint == server_fingerprint(settings.server.base_url)
        and not (is_proven or is_finished(opened.journal))
    )


def place(
    settings: Settings, options: PauseAllOptions, environment: Environment, *, asks: bool
) -> tuple[RunDirectory | None, Journal, StorageError | None]:
    """Begin the record of a new emergency, wherever that is possible.

    Returns:
        Its directory, its journal, and why both are in memory.
    """
    problem: OrchestratorError | None = None
    for wanted in _places(options.run_dir):
        try:
            directory = new_directory(environment, settings.state_dir, wanted)
            try:
                journal = _journal(settings, options, environment, directory, asks=asks)
            except StorageError:
                give_up(directory)
                raise
        except OrchestratorError as error:
            problem = problem or error
            continue
        if problem is not None:
            environment.events.error(
                "journal.elsewhere", path=str(directory.path), error=_reason(problem)
            )
        return directory, journal, None
    assert problem is not None
    environment.events.error("journal.in_memory", error=_reason(problem))
    journal = _journal(settings, options, environment, None, asks=asks)
    return None, journal, StorageError(_reason(problem))


def _places(run_dir: Path | str | None) -> Iterator[Path | None]:
    """--run-dir, the first free name beside it, and the state directory."""
    if run_dir is not None:
        yield Path(run_dir)
        with suppress(OrchestratorError):  # it has no place: the working directory is gone
            wanted = whole_path(run_dir)
            siblings = (wanted.with_name(f"{wanted.name}-{n}") for n in range(2, 2 + _SIBLINGS))
            yield next((one for one in siblings if not os.path.lexists(one)), None)
    yield None


def _reason(problem: OrchestratorError) -> str:
    """Why there is no place, without what would have been true of a list: this run goes on."""
    return str(problem).removesuffix("Nothing was sent.").rstrip(" .")


def _journal(
    settings: Settings,
    options: PauseAllOptions,
    environment: Environment,
    directory: RunDirectory | None,
    *,
    asks: bool,
) -> Journal:
    writer = PlanWriter(directory.journal if directory else None)
    record = new_record(environment, settings, RunKind.PAUSE_ALL, directory, options)
    record = record._replace(vdns=options.vdns, hold_s=options.hold_s, asks=asks)
    if options.cluster:
        record = record._replace(cluster=True, deadline_s=options.deadline_s)
    try:
        return writer.finish(record)
    except StorageError:
        writer.discard()
        raise
