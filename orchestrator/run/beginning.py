"""How a run begins: its directory, its plan, the facts about it that the journal keeps.

Rule 1: no journal, nothing sent: whatever is refused here leaves nothing behind.
Rule 2: facts are written once, at the beginning; later lives add to them, never change them.
"""

from __future__ import annotations

import getpass
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.core.report import RunKind, iso_time
from orchestrator.core.server_url import server_fingerprint
from orchestrator.core.summary import SIGNAL_EXIT_CODES
from orchestrator.edges.journal import (
    STEPS_BETWEEN_LOOKS,
    check_whole,
    connect,
    read_meta,
    set_durable,
)
from orchestrator.edges.report_files import check_folder
from orchestrator.edges.run_directory import (
    RunDirectory,
    make_run_directory,
    new_run_id,
    secure_state_dir,
    whole_path,
)
from orchestrator.edges.streams import spare_descriptors
from orchestrator.errors import (
    JournalMismatchError,
    NotBegunError,
    OrchestratorError,
    RefusedError,
    StorageError,
)
from orchestrator.version import VERSION

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchestrator.edges.clock import Clock
    from orchestrator.edges.settings import Settings
    from orchestrator.run.session import Surroundings
    from orchestrator.run.stopping import Stopping

#: journal with its log and index, report with its folder, a connection, a module that is loaded
_DESCRIPTORS = 8
_NOTHING = "Nothing was sent."
#: draws of a run id before a taken one is an error
_ID_TRIES = 20
#: a run that was last written so long ago is not simply taken up again
OLD_MS = 24 * 3600 * 1000


class Facts(NamedTuple):
    """What the journal says about a run from its beginning."""

    run_id: str
    kind: RunKind
    server: str
    fingerprint: str
    dry_run: bool
    told: Mapping[str, object]

    @property
    def manifest_sha256(self) -> str:
        """The fingerprint of the list; empty without one."""
        manifest = self.told.get("manifest")
        return str(manifest["sha256"]) if isinstance(manifest, dict) else ""


class Opened(NamedTuple):
    """An existing run, its directory held and its journal open and checked."""

    directory: RunDirectory
    connection: sqlite3.Connection
    facts: Facts


def new_directory(surroundings: Surroundings, state_dir: Path, wanted: Path | None) -> RunDirectory:
    """Make and hold the directory of a new run, and see that a report can be written there.

    Raises:
        StorageError: it cannot be made or written.
        SettingsError: it is another user's, or on a network file system.
        UsageError: it holds something else.
        RefusedError: another process works there.
    """
    if wanted is None:
        for place in secure_state_dir(state_dir):
            surroundings.events.warning("state.open_to_all", path=str(place))
    path = whole_path(wanted) if wanted else _free_path(surroundings, state_dir)
    directory = make_run_directory(path)
    hold(surroundings, directory)
    try:
        if directory.has_journal:
            raise RefusedError(
                f"{directory.path} was empty a moment ago, and another process has left a run in"
                " it since. Nothing was sent.",
                advice="run the same command again: it tells how that run ended, or continues it",
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
def unbegun() -> Iterator[None]:
    """Say of a disk that fails before a run has begun that nothing was sent, and what helps.

    Raises:
        StorageError: with these words.
    """
    try:
        yield
    except StorageError as error:
        if error.sentence.endswith(_NOTHING):
            raise
        raise StorageError(
            f"{error.sentence}. {_NOTHING}",
            advice="make room there, or choose another place with --run-dir or"
            " ORCHESTRATOR_STATE_DIR",
        ) from error


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


def _free_path(surroundings: Surroundings, state_dir: Path) -> Path:
    """A run directory that is not there yet: two starts in one millisecond may draw the same id."""
    path = state_dir / "runs" / _run_id(surroundings.clock)
    for _ in range(_ID_TRIES):
        if not path.exists():
            break
        path = state_dir / "runs" / _run_id(surroundings.clock)
    return path


def hold(surroundings: Surroundings, directory: RunDirectory) -> None:
    """Work in this directory alone.

    Raises:
        RefusedError: another process works there.
    """
    directory.hold(since=_utc_text(surroundings.clock.wall_ms()), host=surroundings.host)


def give_up(directory: RunDirectory | None) -> None:
    """Leave nothing behind of a run that never began."""
    if directory is not None:
        # removed while it is held: the next starter's files must not be taken for ours
        directory.remove_if_empty()
        directory.release()


def facts_text(  # noqa: PLR0913 - the facts of a run are many
    surroundings: Surroundings,
    settings: Settings,
    *,
    kind: RunKind,
    run_id: str,
    reason: str,
    dry_run: bool,
    verify: bool = True,
    accept: tuple[str, ...] = (),
    manifest: Mapping[str, object] | None = None,
    vdns: tuple[int, ...] = (),
    source_run: str = "",
    source_dir: str = "",
    source_written_ms: int = 0,
    max_failures: tuple[float, bool] | None = None,
    hold_s: float = 0.0,
) -> str:
    """The facts of a new run, as JSON for the journal; secrets are masked by `config_show`."""
    base_url = settings.server.base_url
    return json.dumps(
        {
            "run_id": run_id,
            "kind": kind.value,
            "reason": reason,
            "operator": _operator(),
            "host": surroundings.host,
            "version": VERSION,
            "server": base_url,
            "fingerprint": server_fingerprint(base_url) if base_url else "",
            "settings": settings_document(settings),
            "rate_per_s": settings.pace.rate_per_s,
            "concurrency": settings.pace.concurrency,
            "started_at_ms": surroundings.clock.wall_ms(),
            "dry_run": dry_run,
            "verify": verify,
            "accept": list(accept),
            "manifest": manifest,
            "vdns": list(vdns),
            "source_run": source_run,
            "source_dir": source_dir,
            "source_written_ms": source_written_ms,
            "max_failures": max_failures,
            "hold_s": hold_s,
        }
    )


def settings_document(settings: Settings) -> dict[str, dict[str, object]]:
    """The settings by section, as summary.json shows them; without the secret."""
    server, pace, retry, signing = (
        settings.server,
        settings.pace,
        settings.retry,
        settings.signing,
    )
    return {
        "server": {
            "base_url": server.base_url,
            "ca_file": str(server.ca_file) if server.ca_file else None,
            "connect_timeout_s": server.connect_timeout_s,
            "attempt_timeout_s": server.attempt_timeout_s,
        },
        "credentials": {"access_key": settings.credentials.access_key},
        "pace": {"rate_per_s": pace.rate_per_s, "concurrency": pace.concurrency},
        "retry": {
            "max_attempts": retry.max_attempts,
            "backoff_base_s": retry.backoff_base_s,
            "backoff_cap_s": retry.backoff_cap_s,
            "patience_s": retry.patience_s,
        },
        "signing": {
            "blank_query_line": signing.blank_query_line,
            "millis": signing.millis,
            "signed_headers": list(signing.signed_headers),
        },
        "state": {"dir": str(settings.state_dir)},
    }


def run_id_of(surroundings: Surroundings, directory: RunDirectory | None) -> str:
    """A run's id: its directory's name when that is one, else a new one."""
    name = directory.path.name if directory else ""
    if len(name) == 21 and name[16:17] == "-" and name.startswith("2"):
        return name
    return _run_id(surroundings.clock)


def check_wanted(stopping: Stopping) -> None:
    """Give up before the run has begun when a stop came: there is nothing to finish.

    Raises:
        NotBegunError: it did.
    """
    if stopping.is_stopping:
        raise NotBegunError(
            f"{stopping.why} before anything was sent; nothing has changed",
            exit_code=SIGNAL_EXIT_CODES.get(stopping.ended, 1),
            advice="run the same command again when it is wanted",
        )


def open_run(directory: RunDirectory, stopping: Stopping) -> Opened:
    """Open the journal of an existing run, checked from end to end.

    Raises:
        StorageError: it is damaged or cannot be opened.
        JournalMismatchError: another version wrote it.
        NotBegunError: a stop came meanwhile.
    """
    connection = connect(directory.journal)
    try:
        connection.set_progress_handler(lambda: stopping.is_stopping, STEPS_BETWEEN_LOOKS)
        check_whole(connection, directory.journal)
        connection.set_progress_handler(None, 0)
        facts = read_run_facts(connection)
        set_durable(connection)
    except BaseException:
        connection.close()
        check_wanted(stopping)
        raise
    return Opened(directory, connection, facts)


def read_run_facts(connection: sqlite3.Connection) -> Facts:
    """What the journal says about its run from the beginning."""
    told = json.loads(read_meta(connection)["facts"])
    return Facts(
        run_id=told["run_id"],
        kind=RunKind(told["kind"]),
        server=told["server"],
        fingerprint=told["fingerprint"],
        dry_run=told["dry_run"],
        told=told,
    )


def with_server_of(settings: Settings, facts: Facts) -> Settings:
    """The settings with the journal's server; refused when other settings name another one.

    Raises:
        JournalMismatchError: a server is configured, and it is not this run's.
    """
    configured = settings.server.base_url
    if configured and server_fingerprint(configured) != facts.fingerprint:
        raise JournalMismatchError(
            f"run {facts.run_id} belongs to {facts.server}, and the settings say {configured}."
            " Nothing was sent.",
            advice=f"add --base-url {facts.server}, or name another run",
        )
    return settings._replace(server=settings.server._replace(base_url=facts.server))


def refuse_if_old(
    surroundings: Surroundings, facts: Facts, written_ms: int, *, even_if_old: bool, why: str
) -> None:
    """Refuse a run that was last written more than a day ago, unless the operator insists.

    Raises:
        RefusedError: it is that old.
    """
    age_ms = surroundings.clock.wall_ms() - written_ms
    if age_ms > OLD_MS and not even_if_old:
        raise RefusedError(
            f"run {facts.run_id} was last written {age_ms // 3_600_000} hours ago{why}."
            " Nothing was sent.",
            advice="add --even-if-old if it is still wanted",
        )


def last_written_ms(directory: RunDirectory) -> int:
    """Wall-clock milliseconds of the last write to the journal."""
    newest = 0.0
    for name in ("journal.db", "journal.db-wal"):
        try:
            newest = max(newest, (directory.path / name).stat().st_mtime)
        except FileNotFoundError:
            continue
    return round(newest * 1000)


def _run_id(clock: Clock) -> str:
    now_ms = clock.wall_ms()
    return new_run_id(second=_compact(now_ms), ms=now_ms % 1000, chance=clock.chance())


def _compact(at_ms: int) -> str:
    return _utc_text(at_ms).replace("-", "").replace(":", "")


def _utc_text(at_ms: int) -> str:
    return iso_time(at_ms)[:19] + "Z"


def _operator() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
