"""The library: one call per command, for Python programs; the command line uses it too.

What a run came to is returned: look at `exit_code` and `verdict`. An OrchestratorError is raised
only when a run cannot begin, and then nothing was sent.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clock import SystemClock
from orchestrator.engine import continuing, pausing, pausing_all
from orchestrator.engine import restore as restoring
from orchestrator.engine import saved as telling
from orchestrator.engine import status as looking
from orchestrator.engine.finding import Last, find_run
from orchestrator.engine.options import (
    ContinueOptions,
    FailureLimit,
    PauseAllOptions,
    PauseOptions,
    RestoreOptions,
)
from orchestrator.engine.results import RunResult
from orchestrator.engine.run import Environment
from orchestrator.engine.status import StatusResult
from orchestrator.engine.undone import RestorePreview
from orchestrator.log import Events
from orchestrator.manifest.formats import Format
from orchestrator.policy.decide import Changed, Evidence, Outcome
from orchestrator.settings.load import Settings
from orchestrator.settings.load import load_settings as _load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.model import CampaignRef
    from orchestrator.store import Mark
    from orchestrator.store.run_dir import RunDirectory

__all__ = [
    "Changed",
    "ContinueOptions",
    "Environment",
    "Evidence",
    "FailureLimit",
    "Format",
    "Outcome",
    "PauseAllOptions",
    "PauseOptions",
    "RestoreOptions",
    "RestorePreview",
    "RunResult",
    "Settings",
    "StatusResult",
    "continue_run",
    "environment",
    "load_settings",
    "note",
    "pause",
    "pause_all",
    "report",
    "restore",
    "status",
]


def load_settings(
    overrides: Mapping[str, object] | None = None,
    *,
    config: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
    emergency: bool = False,
    dry_run: bool = False,
) -> Settings:
    """Find settings as the command line does: overrides, environment, file, defaults.

    Args:
        overrides: TOML key to value, such as `{"pace.rate_per_s": 5}`.
        config: a settings file, or as text the NAME of one beside the usual file; None looks in
            the usual places.
        environ: instead of the process's environment.
        emergency: the defaults of pause-all.
        dry_run: nothing is to be sent, so server and credentials may be missing.

    Raises:
        SettingsError: a value is missing or refused.
    """
    return _load_settings(
        flags=dict(overrides or {}),
        environ=os.environ if environ is None else environ,
        config=config or None,
        emergency=emergency,
        need_credentials=not dry_run,
        need_server=not dry_run,
        ask_secret=None,
        warn=lambda _: None,
    )


def environment() -> Environment:
    """The usual environment of a run: this machine's clock, warnings on stderr."""
    return Environment(clock=SystemClock(), events=Events())


async def pause(
    manifest: str | Path, settings: Settings, options: PauseOptions | None = None
) -> RunResult:
    """Pause every campaign of a list (CSV, JSON or JSON Lines)."""
    return await pausing.pause(
        Path(manifest), settings, options or PauseOptions(), _masking(settings)
    )


async def pause_all(settings: Settings, options: PauseAllOptions) -> RunResult:
    """Pause everything that runs in some VDNs and prove it quiet. There is no confirmation here."""
    return await pausing_all.pause_all(settings, options, _masking(settings), confirm=None)


async def continue_run(
    run: str | Path, settings: Settings, options: ContinueOptions | None = None
) -> RunResult:
    """Finish an interrupted run: its directory, its id, a unique end of it, or `last`."""
    directory = _find(run, settings, Last.UNFINISHED)
    return await continuing.continue_run(
        directory, settings, options or ContinueOptions(), _masking(settings)
    )


async def restore(
    run: str | Path, settings: Settings, options: RestoreOptions | None = None
) -> RunResult:
    """Start again exactly what a run turned off. There is no confirmation here."""
    directory = _find(run, settings, Last.UNDOABLE)
    return await restoring.restore(
        directory, settings, options or RestoreOptions(), _masking(settings), confirm=None
    )


def note(run: str | Path, text: str, settings: Settings) -> None:
    """Add a reason or a remark to a run afterwards; none is ever replaced.

    Raises:
        UsageError: there is no such run, or the text is empty.
        StorageError: it could not be added, or not be told in summary.json.
    """
    directory = _find(run, settings, Last.REAL)
    now_ms = SystemClock().wall_ms()
    telling.add_note_to(directory, text, operator=settings.operator.name, at_ms=now_ms)


def report(run: str | Path, settings: Settings) -> RunResult:
    """Make the report files of a run again from its journal."""
    return telling.report_again(_find(run, settings, Last.REAL), fallback=None)


def _find(run: str | Path, settings: Settings, meaning: Last) -> RunDirectory:
    """Find a run; `last` is one of the server in the settings, if they name one."""
    return find_run(settings.state_dir, str(run), meaning, server=settings.server.base_url)


async def preview_restore(
    run: str | Path,
    settings: Settings,
    options: RestoreOptions | None = None,
    *,
    elsewhere: Mapping[CampaignRef, Mark] | None = None,
) -> RestorePreview:
    """What `restore` would start and leave off by now; nothing is sent, and no run is made.

    Args:
        run: the run that would be undone.
        settings: where it is.
        options: what of it.
        elsewhere: what restores on other machines have started of a run of the cluster.
    """
    directory = _find(run, settings, Last.UNDOABLE)
    return await restoring.preview(
        directory, settings, options or RestoreOptions(), _masking(settings), elsewhere or {}
    )


async def status(
    settings: Settings,
    vdns: Iterable[int],
    *,
    prove: bool = False,
    environment: Environment | None = None,
) -> StatusResult:
    """Show what runs in some VDNs; with `prove` whether they are quiet. Only reads are sent."""
    here = _masking(settings, environment)
    return await looking.status(settings, tuple(vdns), here, proves=prove)


def _masking(settings: Settings, here: Environment | None = None) -> Environment:
    here = here or environment()
    if settings.credentials.secret_key is not None:
        here.events.mask(settings.credentials.secret_key)
    return here
