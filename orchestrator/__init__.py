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

from orchestrator.version import VERSION

if TYPE_CHECKING:
    from orchestrator.api import (
        ContinueOptions,
        FailureLimit,
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
    from orchestrator.manifest.formats import Format
    from orchestrator.policy.decide import Changed, Evidence, Outcome

__version__ = VERSION

#: public name → where it lives; loaded on first use, because `--help` needs none of it
_HOMES = {
    "Changed": "policy.decide",
    "Evidence": "policy.decide",
    "Format": "manifest.formats",
    "Outcome": "policy.decide",
    "CredentialsError": "errors",
    "JournalMismatchError": "errors",
    "ManifestError": "errors",
    "OrchestratorError": "errors",
    "RefusedError": "errors",
    "ServerError": "errors",
    "SettingsError": "errors",
    "StorageError": "errors",
    "UsageError": "errors",
    "ContinueOptions": "api",
    "FailureLimit": "api",
    "PauseAllOptions": "api",
    "PauseOptions": "api",
    "RestoreOptions": "api",
    "RunResult": "api",
    "Settings": "api",
    "StatusResult": "api",
    "continue_run": "api",
    "load_settings": "api",
    "note": "api",
    "pause": "api",
    "pause_all": "api",
    "report": "api",
    "restore": "api",
    "status": "api",
}

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
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
