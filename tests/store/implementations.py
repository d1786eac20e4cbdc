"""The stores that the contract is run against; another one joins by one more entry."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.manifest.entry import ManifestLine
from orchestrator.store import PlanWriter, RunRecord, Store
from orchestrator.store.chunks import claim
from orchestrator.store.database import connect
from orchestrator.store.postgres import add_run, open_part
from orchestrator.store.writer import InlineWriter, Keeper
from tests import postgres


def on_disk(path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """SQLite in a file, written in groups by a thread."""
    plan = PlanWriter(path)
    plan.take(lines)
    return plan.finish(record).start(keep_going=False)


def in_memory(_path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """SQLite in memory, inline."""
    plan = PlanWriter(None)
    plan.take(lines)
    return Store(InlineWriter(Keeper(plan.finish(record).connection)))


def in_postgres(_path: Path, lines: Iterable[ManifestLine], record: RunRecord) -> Store:
    """PostgreSQL, a whole run."""
    url = postgres.shared().database
    plan = PlanWriter(None)
    plan.take(lines)
    with closing(plan.finish(record)) as journal, connect(url) as connection:
        # each test begins the same run: the one of the test before is forgotten
        connection.execute("DELETE FROM orchestrator.run")
        run = add_run(url, journal, chunk_size=2, emergency=False)
        part = claim(connection, run, 0, holder="contract")
    assert part is not None
    return open_part(url, part).start(keep_going=False)


IMPLEMENTATIONS = [
    # a thread of its own is nothing that virtual time knows of
    pytest.param(on_disk, id="on disk", marks=pytest.mark.sockets),
    pytest.param(in_memory, id="in memory"),
    pytest.param(in_postgres, id="in PostgreSQL", marks=pytest.mark.sockets),
]
