"""A workplace: an environment of its own, and nobody's settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orchestrator.cli import output
from tests.cli.makers import environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, credentials of the simulator, no server yet."""
    for name in list(os.environ):
        if name.startswith(("ORCHESTRATOR_", "XDG_")):
            monkeypatch.delenv(name)
    for name, value in environment(tmp_path).items():
        if name != "ORCHESTRATOR_BASE_URL":
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(output, "_secrets", [])
    return tmp_path
