"""A place of its own for each console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.simulator.server import Simulator
from tests.cli.makers import served
from tests.console.consoles import end_all, place


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A home; what runs in its state directory is ended after the test."""
    with place(tmp_path) as made:
        yield made


@pytest.fixture
def simulator(folder: Path) -> Iterator[Simulator]:
    """VDN 1234 with 40 campaigns; nothing goes wrong, and nobody connects while it closes."""
    with served() as running:
        yield running
        end_all(folder / "state")
