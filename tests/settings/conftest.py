"""What the tests of settings/ share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.settings.makers import World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Make a machine with nothing configured."""
    return World(tmp_path)
