"""The same --run-dir again: an unfinished run of the list goes on, a finished one is shown.

`{date}` in it is a directory for each night, and yesterday's while the run there is unfinished.
"""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.engine.begin import check_wanted, held_run, hold, last_written_ms, with_server_of
from orchestrator.engine.continuing import continue_held
from orchestrator.engine.options import ContinueOptions
from orchestrator.engine.results import tell
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


class Dated(NamedTuple):
    """One directory for today, and the one of the day before; the same where no date is in it."""

    today: str
    yesterday: str


def with_date(given: str, today: str) -> Dated:
    """Put the machine's date, YYYY-MM-DD, into the name of a directory.

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
    return Dated(given.replace(_DATE, today), given.replace(_DATE, before))


async def pause_again(
    manifest: Path | None, settings: Settings, options: PauseOptions, environment: Environment
) -> RunResult | Path:
    """What the run in --run-dir came to; where none is to go on, the place for a new one."""
    place = await _place_of(manifest, settings, options, environment)
    if not RunDirectory(place).has_journal or _clear(place, settings, options, environment):
        return place
    return await _take_up(place, manifest, settings, options, environment)


async def _place_of(
    manifest: Path | None,
    settings: Settings,
    options: PauseOptions,
    environment: Environment,
) -> Path:
    """The run directory; with `{date}` in it yesterday's, while its run of this list goes on.

    Raises:
        UsageError: there are other braces in its name.
    """
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
    sha256 = await asyncio.to_thread(_sha256_of, manifest, environment.stopping)
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
    async with held_run(environment, RunDirectory(place)) as opened:
        sha256 = await asyncio.to_thread(_sha256_of, manifest, environment.stopping)
        _check_same(opened, sha256, settings, options)
        is_over = is_finished(opened.journal)
        if is_over:
            _refuse_another_night(opened, environment)
        if more := sorted(options.accept - opened.record.accept):
            environment.events.warning(
                "accept.ignored", run_id=opened.record.run_id, outcomes=" ".join(more)
            )
        if is_over:
            return tell(opened.journal, place, fallback=None, repeated=True)
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
