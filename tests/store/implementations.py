"""The stores that the contract is run against; another one joins by one more entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.store import PlanWriter
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.writer import InlineWriter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from orchestrator.manifest.entry import ManifestLine
    from orchestrator.store import RunRecord, Store


def on_disk(path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """SQLite in a file, written in groups by a thread."""
    plan = PlanWriter(path)
    plan.take(lines)
    return plan.finish(record).start(keep_going=False)


def in_memory(_path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """SQLite in memory, inline."""
    plan = PlanWriter(None)
    plan.take(lines)
    return SqliteStore(InlineWriter(plan.finish(record).connection))


IMPLEMENTATIONS = [
    # a thread of its own is nothing that virtual time knows of
    pytest.param(on_disk, id="on disk", marks=pytest.mark.sockets),
    pytest.param(in_memory, id="in memory"),
]
