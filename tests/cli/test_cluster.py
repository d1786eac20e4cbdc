"""The commands of the cluster where there is none: what is missing is said, nobody waits for it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.cli.cluster import database
from orchestrator.errors import SettingsError

#: what a run of one machine imports
_LOCAL = """
import sys
import orchestrator.api, orchestrator.cli.commands, orchestrator.cli.runs, orchestrator.cli.sending
import orchestrator.engine.results
print([name for name in ("psycopg", "psycopg_pool", "procrastinate") if name in sys.modules])
"""


def settings(**environ: str) -> orchestrator.Settings:
    """Settings that send nothing."""
    return orchestrator.load_settings(environ={"HOME": "/nowhere", **environ}, dry_run=True)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first library that is missing, and how to get it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(SettingsError, match="procrastinate is not installed") as caught:
        database(settings(ORCHESTRATOR_DATABASE_URL="postgresql://h/d"))

    assert "[cluster]" in caught.value.advice


def test_the_address_is_kept_and_masked() -> None:
    """Wherever the settings are shown."""
    made = settings(ORCHESTRATOR_DATABASE_URL="postgresql://ada:hunter2@h/d")

    assert database(made).reveal() == "postgresql://ada:hunter2@h/d"
    assert "hunter2" not in repr(made)


def test_a_run_of_one_machine_loads_nothing_of_the_cluster() -> None:
    """An emergency waits for no driver of a database."""
    told = subprocess.run(
        [sys.executable, "-c", _LOCAL],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() == "[]"
