"""docs/threat-model.md names tests that exist, and rows that those tests claim."""

from __future__ import annotations

import re

from tests.checks.fault_table import ROWS, read_marks
from tests.checks.tree import ROOT

TEXT = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


def test_every_test_that_is_named_exists() -> None:
    """Each `file::name` is a function in that file."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)

    assert len(named) > 35
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_every_row_that_is_named_has_a_test() -> None:
    """Each row mark in the text, ranges included by their ends, is claimed by some test."""
    rows = set(re.findall(r"\b[NSPICXZ]\d\d\b", TEXT))

    assert rows <= set(ROWS)
    assert rows - read_marks().keys() == set()
