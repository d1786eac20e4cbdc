"""What the tests of settings/ share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.makers import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make a machine with nothing configured."""
    return World(tmp_path)
