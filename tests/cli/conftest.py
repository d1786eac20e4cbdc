"""A workplace: an environment of its own, and nobody's settings."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import output
from orchestrator.simulator.server import Simulator
from tests.cli.desk import Desk
from tests.cli.makers import environment, served
from tests.cli.printed import unreached


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


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """VDN 1234 with 40 campaigns: 1234001 … 1234040; nothing goes wrong."""
    with served() as running:
        monkeypatch.setenv("ORCHESTRATOR_BASE_URL", running.base_url)
        yield running


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Desk]:
    """A user who knows nothing but the settings file; at the end whatever was printed is pasted."""
    one = Desk(tmp_path)
    failed_before = request.session.testsfailed
    with one.served:
        yield one
        if request.session.testsfailed == failed_before:
            one.finish()
            assert unreached(request.node.name, (said.text for said in one.heard)) == []
