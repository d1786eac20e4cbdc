"""`pause`: a list becomes a plan, the plan a run, the run a report.

The whole list is checked before anything is sent. The same --run-dir again continues an unfinished
run, and shows the saved result of a finished one.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.engine.begin import (
    check_wanted,
    give_up,
    hold,
    last_written_ms,
    new_directory,
    new_record,
    open_run,
    unbegun,
    with_server_of,
)
from orchestrator.engine.bulk import BulkPlan, run_bulk
from orchestrator.engine.options import ContinueOptions
from orchestrator.engine.run import RunSpec, follow_cluster, live
from orchestrator.errors import (
    JournalMismatchError,
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
from orchestrator.settings.schema import SPECS
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import Manifest, PlanWriter, Refused, open_saved
from orchestrator.store.registry import find_by_id
from orchestrator.store.run_dir import RunDirectory, is_run_id, whole_path

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.engine.begin import Opened
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.options import PauseOptions
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.engine.stop import Stopping
    from orchestrator.policy.plan import PlanCounts
    from orchestrator.settings.load import Settings
    from orchestrator.store import Journal, RunRecord

#: a run that was over for so long belongs to another night
_NIGHT_MS = 12 * 3600 * 1000


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
        place = await _dated(manifest, settings, options, environment)
        options = replace(options, run_dir=place)
        in_use = RunDirectory(place).has_journal
        if in_use and not _clear(place, settings, options, environment):
            return await _take_up(place, manifest, settings, options, environment)
    with unbegun():
        directory = new_directory(environment, settings.state_dir, options.run_dir)
    try:
        with unbegun():
            journal = await _plan(manifest, settings, options, environment, directory)
        if options.dry_run:
            from orchestrator.engine.results import tell  # noqa: PLC0415 - not for a real run

            with closing(journal):
                return tell(journal, directory.path, fallback=environment.fallback)
        return await _begin(journal, directory, settings, options, environment)
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
    writer = PlanWriter(directory.journal, is_unwanted=lambda: stopping.is_stopping)
    try:
        listed = await asyncio.to_thread(_read, manifest, options, writer, stopping)
        for note in listed.notes:
            environment.events.warning("list.ambiguous", how=note)
        _tell_skipped(str(manifest or "standard input"), listed.refused, environment)
        _check_size(listed.counts, options)
        record = new_record(
            environment,
            settings,
            kind=RunKind.PAUSE,
            directory=directory,
            reason=options.reason,
            dry_run=options.dry_run,
            verify=options.verify,
            accept=frozenset(options.accept),
            manifest=Manifest(listed.path, listed.sha256),
            cluster=options.cluster,
            parent_run=await asyncio.to_thread(_parent, listed.named_run, settings),
            max_failures=(options.max_failures.number, options.max_failures.is_percent)
            if options.max_failures
            else None,
        )
        journal = await asyncio.to_thread(writer.finish, record)
        if stopping.is_stopping:
            journal.close()
            directory.journal.unlink()
            check_wanted(stopping)
    except BaseException:
        writer.discard()
        give_up(directory)
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


async def _begin(
    journal: Journal,
    directory: RunDirectory,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
) -> RunResult:
    if options.cluster:
        return await follow_cluster(environment, journal, directory)

    async def work(context: RunContext) -> None:
        await run_bulk(context, BulkPlan(verify=options.verify, continued=False))

    spec = RunSpec(
        kind=RunKind.PAUSE,
        settings=settings,
        journal=journal,
        directory=directory,
        deadline_s=options.deadline_s,
        decide_by_reading=not options.verify,
        max_failures=options.max_failures,
    )
    return await live(environment, spec, work)


# -- the same --run-dir again -----------------------------------------------------------------


async def _dated(
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
) -> Path:
    """The run directory; with `{date}` in it yesterday's, while its run of this list goes on.

    Raises:
        UsageError: there are other braces in its name.
    """
    from orchestrator.engine.dated import with_date  # noqa: PLC0415 - with --run-dir only
    from orchestrator.engine.run_list import is_finished  # noqa: PLC0415

    dated = with_date(str(options.run_dir), environment.clock.local_text()[:10])
    today, before = RunDirectory(whole_path(dated.today)), RunDirectory(whole_path(dated.yesterday))
    # stdin can be read only once, so nothing can be compared with it
    if today.path == before.path or manifest is None or today.has_journal or not before.has_journal:
        return today.path
    if environment.clock.wall_ms() - last_written_ms(before) > _NIGHT_MS:
        return today.path  # it belongs to another night: what it stopped may run on purpose by now
    try:
        with open_saved(before.journal) as saved:
            record, is_over = saved.record(), is_finished(saved)
    except OrchestratorError:
        return today.path
    sha256 = await asyncio.to_thread(_fingerprint, manifest, environment.stopping)
    base_url = settings.server.base_url
    is_same = not base_url or server_fingerprint(base_url) == record.fingerprint
    goes_on = is_same and not is_over and not _difference(record, sha256, options)
    return before.path if goes_on else today.path


def _clear(
    place: Path, settings: Settings, options: PauseOptions, environment: Environment
) -> bool:
    """Take away what must not keep the real run from its directory; False: it is another matter.

    A dry run, which its own advice says to repeat without --dry-run; and a run that has sent
    nothing at all to another server, a slip in the URL.
    """
    directory = RunDirectory(place)
    try:
        with open_saved(directory.journal) as saved:
            record, past = saved.record(), saved.processes()
    except OrchestratorError:
        return False
    base_url = settings.server.base_url
    is_elsewhere = bool(base_url) and server_fingerprint(base_url) != record.fingerprint
    has_sent_nothing = all(one.ended is not None and not one.departures for one in past)
    is_in_the_way = record.dry_run or (is_elsewhere and bool(past) and has_sent_nothing)
    if options.dry_run or record.kind is not RunKind.PAUSE or not is_in_the_way:
        return False
    hold(environment, directory)
    try:
        directory.discard()
    finally:
        directory.release()
    return True


async def _take_up(
    place: Path,
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
) -> RunResult:
    """Continue an unfinished run of the same list and server, or show a finished one's result."""
    from orchestrator.engine.continuing import (  # noqa: PLC0415 - a new run does not need it
        continue_held,
        tell_again,
    )
    from orchestrator.engine.run_list import is_finished  # noqa: PLC0415

    directory = RunDirectory(place)
    hold(environment, directory)
    try:
        opened = await asyncio.to_thread(open_run, directory, environment.stopping)
        try:
            sha256 = await asyncio.to_thread(_fingerprint, manifest, environment.stopping)
            _check_same(opened, sha256, settings, options)
            is_over = is_finished(opened.journal)
            if is_over:
                _refuse_another_night(opened, environment)
            if more := sorted(options.accept - opened.record.accept):
                environment.events.warning(
                    "accept.ignored", run_id=opened.record.run_id, outcomes=" ".join(more)
                )
            if is_over:
                return tell_again(opened)
        except BaseException:
            opened.journal.close()
            raise
        pace = settings.pace
        again = ContinueOptions(
            rate_per_s=pace.rate_per_s if _is_given(settings, "pace.rate_per_s") else None,
            concurrency=pace.concurrency if _is_given(settings, "pace.concurrency") else None,
            deadline_s=options.deadline_s,
            even_if_old=True,
        )
        return await continue_held(opened, settings, again, environment)
    finally:
        directory.release()


def _is_given(settings: Settings, key: str) -> bool:
    """Whether a setting comes from this call, which overrides the journal."""
    return settings.origins[key] == SPECS[key].origin_of_call


def _fingerprint(manifest: Path | None, stopping: Stopping) -> str:
    digest = hashlib.sha256()
    check = partial(check_wanted, stopping)
    opened = open_manifest(manifest, check=check) if manifest else open_stdin(check=check)
    with opened as source:
        for chunk in source.chunks():
            digest.update(chunk)
    return digest.hexdigest()


def _check_same(opened: Opened, sha256: str, settings: Settings, options: PauseOptions) -> None:
    other = _difference(opened.record, sha256, options)
    if other:
        raise JournalMismatchError(
            f"{opened.directory.path} holds {other}. Nothing was sent.",
            advice="give this run a directory of its own with --run-dir",
        )
    if settings.server.base_url:
        with_server_of(settings, opened.record)


def _difference(record: RunRecord, sha256: str, options: PauseOptions) -> str:
    """What another run was, in words; empty when it is this one."""
    if record.kind is not RunKind.PAUSE or record.dry_run != options.dry_run:
        kind = "dry run" if record.dry_run else record.kind.value
        return f"a {kind}"
    if record.manifest is None or record.manifest.sha256 != sha256:
        return "a run of another list"
    return ""


def _refuse_another_night(opened: Opened, environment: Environment) -> None:
    """Refuse to show a result of long ago to a job that may have been meant to do its work.

    Raises:
        RefusedError: the run in this directory ended more than 12 hours ago.
    """
    past = opened.journal.processes()
    ended_ms = past[-1].ended_at_ms if past else None
    age_ms = environment.clock.wall_ms() - (ended_ms or opened.record.started_at_ms)
    if age_ms > _NIGHT_MS:
        raise RefusedError(
            f"{opened.directory.path} holds run {opened.record.run_id}, which ended"
            f" {age_ms // 3_600_000} hours ago: a job that runs every night with a fixed --run-dir"
            " would do nothing. Nothing was sent.",
            advice="write {date} into --run-dir, and each night has a directory of its own;"
            f" `orchestrator report {opened.record.run_id}` shows that run's result",
        )
