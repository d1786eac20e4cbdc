"""What `import orchestrator` gives: a deliberate list, loaded late, typed."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

import orchestrator

#: whoever changes this changes what users may rely on: say so in CHANGELOG.md
PUBLIC = {
    # the calls
    "continue_run",
    "load_settings",
    "note",
    "pause",
    "pause_all",
    "report",
    "restore",
    "status",
    # what they take and give
    "ContinueOptions",
    "FailureLimit",
    "Format",
    "PauseAllOptions",
    "PauseOptions",
    "RestoreOptions",
    "RunResult",
    "Settings",
    "StatusResult",
    # words
    "Changed",
    "Evidence",
    "Outcome",
    # errors
    "CredentialsError",
    "JournalMismatchError",
    "ManifestError",
    "OrchestratorError",
    "RefusedError",
    "ServerError",
    "SettingsError",
    "StorageError",
    "UsageError",
    "__version__",
}


def test_the_public_names_are_a_deliberate_list() -> None:
    """Sorted, each once, and exactly those above."""
    assert set(orchestrator.__all__) == PUBLIC
    assert len(orchestrator.__all__) == len(PUBLIC)


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_every_public_name_loads_and_is_documented(name: str) -> None:
    """From the place that the package names; the object calls itself so."""
    found = getattr(orchestrator, name)

    assert found.__name__ == name
    assert found.__doc__


def test_a_name_that_is_not_public_is_refused_in_the_usual_words() -> None:
    """A slip of the pen is an AttributeError, as with any module."""
    with pytest.raises(AttributeError, match="has no attribute 'pauze'"):
        _ = orchestrator.pauze


@pytest.mark.sockets
def test_importing_the_package_loads_nothing_heavy() -> None:
    """`import orchestrator` alone brings neither aiohttp nor rich nor structlog."""
    script = (
        "import sys, orchestrator;"
        "print(sorted({'aiohttp', 'rich', 'structlog', 'argparse'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, timeout=60
    )

    assert done.stdout.strip() == "[]"


def test_the_package_says_that_it_is_typed() -> None:
    """py.typed lies inside, where type checkers look for it; tests/typing is what they then see."""
    assert files("orchestrator").joinpath("py.typed").is_file()
