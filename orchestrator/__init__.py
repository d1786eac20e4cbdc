"""Stop the dialling, and prove it stopped: bulk pause for CC-iSales campaigns.

The same runs as the command line's, from Python:

    import asyncio, orchestrator

    settings = orchestrator.load_settings()
    result = asyncio.run(orchestrator.pause("campaigns.csv", settings))
    print(result.line, result.exit_code)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from orchestrator.errors import (
    CredentialsError,
    JournalMismatchError,
    ManifestError,
    OrchestratorError,
    RefusedError,
    ServerError,
    SettingsError,
    StorageError,
    UsageError,
)
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from orchestrator.api import (
        Changed,
        ContinueOptions,
        Evidence,
        FailureLimit,
        Format,
        Outcome,
        PauseAllOptions,
        PauseOptions,
        RestoreOptions,
        RunResult,
        Settings,
        StatusResult,
        continue_run,
        load_settings,
        note,
        pause,
        pause_all,
        report,
        restore,
        status,
    )

__version__ = VERSION

__all__ = [
    "Changed",
    "ContinueOptions",
    "CredentialsError",
    "Evidence",
    "FailureLimit",
    "Format",
    "JournalMismatchError",
    "ManifestError",
    "OrchestratorError",
    "Outcome",
    "PauseAllOptions",
    "PauseOptions",
    "RefusedError",
    "RestoreOptions",
    "RunResult",
    "ServerError",
    "Settings",
    "SettingsError",
    "StatusResult",
    "StorageError",
    "UsageError",
    "__version__",
    "continue_run",
    "load_settings",
    "note",
    "pause",
    "pause_all",
    "report",
    "restore",
    "status",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.api"), name)  # loaded late: `--help` needs none of it
