"""The stores that the contract is run against; another one joins by one more entry."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.store import PlanWriter
from orchestrator.store.sqlite import SqliteStore
from orchestrator.store.writer import _Store

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from orchestrator.errors import StorageError
    from orchestrator.manifest.entry import ManifestLine
    from orchestrator.store import RunRecord, Store


class InlineWriter:
    """A writer without a thread: each operation is its own commit, and done at once."""

    def __init__(self, connection: sqlite3.Connection, *, keep_going: bool = False) -> None:
        self._store = _Store(connection, keep_going=keep_going)

    @property
    def failure(self) -> StorageError | None:
        return self._store.failure

    def submit(self, operation: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        return _done(self._store.apply([operation])[0])

    def read(self, operation: Callable[[sqlite3.Connection], Any]) -> asyncio.Future[Any]:
        return _done(self._store.read(operation))

    async def close(self) -> None:
        self._store.close()


def _done(result: Any) -> asyncio.Future[Any]:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


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
