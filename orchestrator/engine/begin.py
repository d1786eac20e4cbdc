"""How a run begins: its directory, its plan, and the facts about it that the journal keeps.

A run that is refused here leaves nothing behind. Facts are written once, at the beginning; later
processes add to them and never change them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.errors import (
    JournalMismatchError,
    NotBegunError,
    OrchestratorError,
    RefusedError,
    StorageError,
)
from orchestrator.reports.files import check_folder
from orchestrator.reports.rows import RunKind, iso_time
from orchestrator.reports.summary import SIGNAL_EXIT_CODES
from orchestrator.settings.schema import DATABASE_URL, SECRET_KEY, SECRET_KEY_FILE, SETTINGS
from orchestrator.settings.server_url import server_fingerprint
from orchestrator.store import PlanWriter, RunRecord, open_to_continue
from orchestrator.store.registry import register
from orchestrator.store.run_dir import (
    RUNS,
    RunDirectory,
    is_run_id,
    make_run_directory,
    new_run_id,
    secure_state_dir,
    whole_path,
)
from orchestrator.streams import spare_descriptors
from orchestrator.text import as_sentence
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.engine.options import PauseAllOptions, PauseOptions, RestoreOptions
    from orchestrator.engine.run import Environment
    from orchestrator.engine.stop import Stopping
    from orchestrator.settings.load import Settings
    from orchestrator.store import Journal

#: journal with its log and index, report with its folder, a connection, a module that is loaded
_DESCRIPTORS = 8
_NOTHING = "Nothing was sent."
_ELSEWHERE = "make room there, or choose another place with --run-dir or ORCHESTRATOR_STATE_DIR"
#: draws of a run id before a taken one is an error
_ID_TRIES = 20
#: a run that was last written so long ago is not simply taken up again
OLD_MS = 24 * 3600 * 1000


class Opened(NamedTuple):
    """An existing run, its directory held and its journal open and checked."""

    directory: RunDirectory
    journal: Journal
    record: RunRecord
    #: when an earlier process last wrote to it, wall-clock milliseconds
    written_ms: int = 0


def new_directory(
    environment: Environment, state_dir: Path, wanted: Path | str | None
) -> RunDirectory:
    """Make and hold the directory of a new run, and see that a report can be written there.

    Raises:
        StorageError: it cannot be made or written.
        SettingsError: it is another user's, or on a network file system.
        UsageError: it holds something else.
        RefusedError: another process works there.
    """
    if wanted is None:
        for place in secure_state_dir(state_dir):
            environment.events.warning("state.world_writable", path=str(place))
    path = whole_path(wanted) if wanted else free_path(environment.clock, state_dir)
    directory = make_run_directory(path)
    hold(environment, directory)
    try:
        if directory.has_journal:
            raise RefusedError(
                f"{directory.path} was empty a moment ago, and another process has made a run"
                " in it since. Nothing was sent.",
                advice="run the same command again: it shows how that run ended, or continues it",
            )
        try:
            check_descriptors()
            check_folder(directory.path)
        except StorageError:
            directory.remove_if_empty()
            raise
    except OrchestratorError:
        directory.release()
        raise
    return directory


@contextmanager
def unbegun(advice: str = _ELSEWHERE) -> Iterator[None]:
    """Say of a disk that fails before a run has begun that nothing was sent, and what helps.

    Raises:
        StorageError: with these words.
    """
    try:
        yield
    except StorageError as error:
        if error.sentence.endswith(_NOTHING):
            raise
        sentence = f"{as_sentence(error.sentence)} {_NOTHING}"
        raise StorageError(sentence, advice=error.advice or advice) from error


def check_descriptors() -> None:
    """See that journal, report and one connection can be open at a time.

    Raises:
        StorageError: they cannot.
    """
    if spare_descriptors(_DESCRIPTORS) < _DESCRIPTORS:
        raise StorageError(
            "this process may open too few files for a journal (ulimit -n). Nothing was sent.",
            advice="raise the limit: ulimit -n 1024 (systemd: LimitNOFILE=1024)",
        )


def free_path(clock: Clock, state_dir: Path) -> Path:
    """A run directory that is not there yet: two starts in one millisecond may draw the same id."""
    drawn = (state_dir / RUNS / _run_id(clock) for _ in range(_ID_TRIES))
    return next((path for path in drawn if not path.exists()), state_dir / RUNS / _run_id(clock))


def hold(environment: Environment, directory: RunDirectory) -> None:
    """Work in this directory alone.

    Raises:
        RefusedError: another process works there.
    """
    directory.hold(since=_utc_text(environment.clock.wall_ms()), host=environment.host)


def give_up(directory: RunDirectory | None) -> None:
    """Leave nothing behind of a run that never began."""
    if directory is not None:
        # removed while it is held: the next starter's files must not be taken for ours
        directory.remove_if_empty()
        directory.release()


@contextmanager
def new_plan(
    directory: RunDirectory, *, is_unwanted: Callable[[], bool] = lambda: False
) -> Iterator[PlanWriter]:
    """The plan of a new run, to be written and finished; what fails leaves nothing behind."""
    try:
        writer = PlanWriter(directory.journal, is_unwanted=is_unwanted)
        try:
            yield writer
        except BaseException:
            writer.discard()
            raise
    except BaseException:
        give_up(directory)
        raise


def new_record(
    environment: Environment,
    settings: Settings,
    kind: RunKind,
    directory: RunDirectory | None,
    options: PauseOptions | PauseAllOptions | RestoreOptions,
) -> RunRecord:
    """What every new run is, as it goes on record; where it is goes into the registry."""
    base_url = settings.server.base_url
    name = directory.path.name if directory else ""
    run_id = name if is_run_id(name) else _run_id(environment.clock)
    if directory is not None:
        is_durable = kind is not RunKind.PAUSE_ALL
        try:
            register(settings.state_dir, run_id, directory.path, durable=is_durable)
        except OrchestratorError as error:
            environment.events.warning(
                "run.not_registered", path=str(directory.path), reason=error.sentence
            )
    return RunRecord(
        run_id=run_id,
        kind=kind,
        reason=options.reason,
        operator=settings.operator.name,
        host=environment.host,
        version=VERSION,
        server=base_url,
        server_name=settings.server.name,
        fingerprint=server_fingerprint(base_url) if base_url else "",
        settings=_settings_document(settings),
        rate_per_s=settings.pace.rate_per_s,
        concurrency=settings.pace.concurrency,
        started_at_ms=environment.clock.wall_ms(),
        dry_run=options.dry_run,
        secret_key_file=_secret_key_file(settings),
    )


def _secret_key_file(settings: Settings) -> str:
    """The file from which the secret key was read; empty where it was given in another way."""
    if settings.credentials.secret_key is None:
        return ""
    is_read = settings.origins.get(SECRET_KEY) == settings.origins.get(SECRET_KEY_FILE)
    file = settings.credentials.secret_key_file
    return str(file) if is_read and file else ""


def _settings_document(settings: Settings) -> dict[str, dict[str, object]]:
    """The settings by section, as summary.json shows them; without the secret and who is told."""
    document: dict[str, dict[str, object]] = {}
    for row in SETTINGS:
        is_secret = row.key in {SECRET_KEY, SECRET_KEY_FILE, DATABASE_URL}
        if not is_secret and row.section not in {"notify", "console"}:
            value = settings.value(row.key)
            shown = str(value) if row.is_path and value else value
            document.setdefault(row.section, {})[row.name] = shown
    return document


def check_wanted(stopping: Stopping, *, otherwise: str = "nothing has changed") -> None:
    """Give up before the run has begun when a stop came: there is nothing to finish.

    Raises:
        NotBegunError: one came; it also says what is so `otherwise`.
    """
    if stopping.is_stopping:
        raise NotBegunError(
            f"{stopping.why} before anything was sent; {otherwise}",
            exit_code=SIGNAL_EXIT_CODES.get(stopping.ended, 1),
            advice="run the same command again if you still want it",
        )


def open_run(directory: RunDirectory, stopping: Stopping) -> Opened:
    """Open the journal of an existing run, checked from end to end.

    Raises:
        StorageError, JournalMismatchError: it is damaged or cannot be opened.
        NotBegunError: a stop came meanwhile.
    """
    written_ms = last_written_ms(directory)
    try:
        journal = open_to_continue(directory.journal, is_unwanted=lambda: stopping.is_stopping)
    except BaseException:
        check_wanted(stopping)
        raise
    return Opened(directory, journal, journal.record(), written_ms)


@asynccontextmanager
async def held_run(environment: Environment, directory: RunDirectory) -> AsyncIterator[Opened]:
    """An existing run, held and open; in the end its journal is closed, whoever worked with it.

    Raises:
        RefusedError: another process works there.
        OrchestratorError: as `open_run`.
    """
    hold(environment, directory)
    try:
        opened = await asyncio.to_thread(open_run, directory, environment.stopping)
        with closing(opened.journal):
            yield opened
    finally:
        directory.release()


def with_server_of(settings: Settings, record: RunRecord) -> Settings:
    """The settings with the journal's server; refused when other settings name another one.

    Raises:
        JournalMismatchError: a server is configured, and it is not this run's.
    """
    configured = settings.server.base_url
    if configured and server_fingerprint(configured) != record.fingerprint:
        raise JournalMismatchError(
            f"run {record.run_id} belongs to {record.server}, and the settings say {configured}."
            " Nothing was sent.",
            advice="add the --config of that server where it has settings of its own, else"
            f" --base-url {record.server}; another server needs a run of its own",
        )
    name = record.called
    return replace(settings, server=replace(settings.server, base_url=record.server, name=name))


def refuse_if_old(
    environment: Environment, record: RunRecord, written_ms: int, *, even_if_old: bool, why: str
) -> None:
    """Refuse a run that was last written more than a day ago, unless the operator insists.

    Raises:
        RefusedError: it is that old.
    """
    age_ms = environment.clock.wall_ms() - written_ms
    if age_ms > OLD_MS and not even_if_old:
        raise RefusedError(
            f"run {record.run_id} was last written {age_ms // 3_600_000} hours ago{why}."
            " Nothing was sent.",
            advice="add --even-if-old if you still want it",
        )


def last_written_ms(directory: RunDirectory) -> int:
    """Wall-clock milliseconds of the last write to the journal; 0: nobody can see it."""
    newest = 0.0
    for name in ("journal.db", "journal.db-wal"):
        with suppress(OSError):
            newest = max(newest, (directory.path / name).stat().st_mtime)
    return round(newest * 1000)


def _run_id(clock: Clock) -> str:
    now_ms = clock.wall_ms()
    second = _utc_text(now_ms).replace("-", "").replace(":", "")
    return new_run_id(second=second, ms=now_ms % 1000, chance=clock.chance())


def _utc_text(at_ms: int) -> str:
    return iso_time(at_ms)[:19] + "Z"
