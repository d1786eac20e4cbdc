"""The same --run-dir again: an unfinished run of the list goes on, a finished one is shown.

`{date}` in it is a directory for each night, and yesterday's while the run there is unfinished.
"""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.begin import check_wanted, held_run, hold, last_written_ms, with_server_of
from orchestrator.engine.continuing import continue_held
from orchestrator.engine.options import ContinueOptions
from orchestrator.engine.results import make_report
from orchestrator.engine.run_list import is_finished
from orchestrator.errors import JournalMismatchError, OrchestratorError, RefusedError, UsageError
from orchestrator.manifest.source import open_manifest, open_stdin
from orchestrator.reports.rows import RunKind
from orchestrator.settings.schema import SPECS
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import open_saved
from orchestrator.store.run_dir import RunDirectory, whole_path

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.engine.begin import Opened
    from orchestrator.engine.options import PauseOptions
    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.engine.stop import Stopping
    from orchestrator.settings.load import Settings
    from orchestrator.store import RunRecord

_DATE = "{date}"
#: a run that was over for so long belongs to another night
_NIGHT_MS = 12 * 3600 * 1000


def with_date(given: str, today: str) -> tuple[str, str]:
    """Put the machine's date, YYYY-MM-DD, into the name of a directory; and the day before's.

    Raises:
        UsageError: there are other braces in it.
    """
    rest = given.replace(_DATE, "")
    if "{" in rest or "}" in rest:
        raise UsageError(
            f"--run-dir: {given} has braces that are not {_DATE}. Nothing was sent.",
            advice=f"write {_DATE} for today's date, such as --run-dir '/var/lib/runs/{_DATE}'",
        )
    before = (date.fromisoformat(today) - timedelta(days=1)).isoformat()
    return given.replace(_DATE, today), given.replace(_DATE, before)


async def pause_again(
    manifest: Path | None, settings: Settings, options: PauseOptions, environment: Environment
) -> RunResult | Path:
    """What the run in --run-dir came to; where none is to go on, the place for a new one.

    With `{date}` in its name it is yesterday's, while the run of this list there goes on.
    """
    dated = with_date(str(options.run_dir), environment.clock.local_text()[:10])
    directory, before = (RunDirectory(whole_path(one)) for one in dated)
    is_free = directory.path != before.path and not directory.has_journal
    if is_free and await _goes_on(before, manifest, settings, options, environment):
        directory = before
    if not directory.has_journal or _clear(directory, settings, options, environment):
        return directory.path
    return await _take_up(directory, manifest, settings, options, environment)


async def _goes_on(
    directory: RunDirectory,
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
) -> bool:
    """Whether an unfinished run of this list and server is there, of this night."""
    # stdin can be read only once, so nothing can be compared with it
    if manifest is None or not directory.has_journal:
        return False
    if environment.clock.wall_ms() - last_written_ms(directory) > _NIGHT_MS:
        return False  # what it stopped may run on purpose by now
    try:
        with open_saved(directory.journal) as saved:
            record, is_over = saved.record(), is_finished(saved)
    except OrchestratorError:
        return False
    if is_over or _is_elsewhere(settings, record):
        return False
    sha256 = await asyncio.to_thread(_sha256_of, manifest, environment.stopping)
    return not _difference(record, sha256, options)


def _is_elsewhere(settings: Settings, record: RunRecord) -> bool:
    """Whether a run belongs to another server than the settings name."""
    base_url = settings.server.base_url
    return bool(base_url) and server_fingerprint(base_url) != record.fingerprint


def _clear(
    directory: RunDirectory, settings: Settings, options: PauseOptions, environment: Environment
) -> bool:
    """Take away what must not keep the real run from its directory; False: it is another matter.

    A dry run, which its own advice says to repeat without --dry-run; and a run that has sent
    nothing at all to another server, a slip in the URL.
    """
    try:
        with open_saved(directory.journal) as saved:
            record, past = saved.record(), saved.processes()
    except OrchestratorError:
        return False
    has_sent_nothing = all(one.ended is not None and not one.departures for one in past)
    is_slip = _is_elsewhere(settings, record) and bool(past) and has_sent_nothing
    is_in_the_way = record.dry_run or is_slip
    if options.dry_run or record.kind is not RunKind.PAUSE or not is_in_the_way:
        return False
    hold(environment, directory)
    try:
        directory.discard()
    finally:
        directory.release()
    return True


async def _take_up(
    directory: RunDirectory,
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
) -> RunResult:
    """Continue an unfinished run of the same list and server, or show a finished one's result."""
    async with held_run(environment, directory) as opened:
        sha256 = await asyncio.to_thread(_sha256_of, manifest, environment.stopping)
        if other := _difference(opened.record, sha256, options):
            raise JournalMismatchError(
                f"{directory.path} holds {other}. Nothing was sent.",
                advice="give this run a directory of its own with --run-dir",
            )
        with_server_of(settings, opened.record)
        is_over = is_finished(opened.journal)
        if is_over:
            _refuse_another_night(opened, environment)
        if more := sorted(options.accept - opened.record.accept):
            environment.events.warning(
                "accept.ignored", run_id=opened.record.run_id, outcomes=" ".join(more)
            )
        if is_over:
            return make_report(opened.journal, directory.path, repeated=True)
        pace = settings.pace
        again = ContinueOptions(
            rate_per_s=pace.rate_per_s if _is_given(settings, "pace.rate_per_s") else None,
            concurrency=pace.concurrency if _is_given(settings, "pace.concurrency") else None,
            deadline_s=options.deadline_s,
            even_if_old=True,
        )
        return await continue_held(opened, settings, again, environment)


def _is_given(settings: Settings, key: str) -> bool:
    """Whether a setting comes from this call, which overrides the journal."""
    return settings.origins[key] == SPECS[key].origin_of_call


def _sha256_of(manifest: Path | None, stopping: Stopping) -> str:
    check = partial(check_wanted, stopping)
    opened = open_manifest(manifest, check=check) if manifest else open_stdin(check=check)
    with opened as source:
        for _ in source.chunks():
            pass  # it is hashed as it is read
        return source.sha256


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
