"""Procrastinate's queue: it rings and orders, emergencies first. It decides nothing.

A ring says that a chunk may be waiting. Whoever hears it claims the chunk in our own tables, or
finds that there is nothing to do. A ring that is lost is missed by the reconciler of each worker.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from procrastinate import App, PsycopgConnector

from orchestrator.store.database import has_queue, opened, parameters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from orchestrator.settings.secret import Secret
    from orchestrator.store.chunks import Waiting

TASK = "chunk"
_QUEUE = "orchestrator"
_EMERGENCY, _LIST = 10, 0
#: seconds after which the queue is looked at without a notification
_LOOK_S = 2.0
#: seconds until a connection is had
_CONNECTED_S = 5.0


def make_app(url: Secret, heard: Callable[[int, int], Awaitable[None]]) -> App:
    """The queue in the cluster's database.

    Args:
        url: the database.
        heard: called with run and lo of each ring; the ring counts as heard when it returns.
    """
    for name in ("procrastinate", "psycopg.pool"):
        # what matters of it we say ourselves
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    connector = PsycopgConnector(
        kwargs=parameters(url), min_size=1, max_size=4, timeout=_CONNECTED_S
    )
    app = App(connector=connector)

    async def chunk(run: int, lo: int) -> None:
        await heard(run, lo)

    app.task(name=TASK, queue=_QUEUE)(chunk)
    return app


async def make_queue(url: Secret) -> None:
    """Make Procrastinate's tables where they are missing; the database has ours already."""
    with opened(url) as connection:
        if has_queue(connection):
            return
    app = make_app(url, _nobody)
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


async def _nobody(_run: int, _lo: int) -> None:
    """Hear nothing."""


async def ring(app: App, chunks: Iterable[Waiting]) -> None:
    """Ring for these chunks; the app is open."""
    by_priority: dict[int, list[dict[str, Any]]] = {}
    for one in chunks:
        priority = _EMERGENCY if one.emergency else _LIST
        by_priority.setdefault(priority, []).append({"run": one.run, "lo": one.lo})
    for priority, arguments in by_priority.items():
        deferrer = app.configure_task(TASK, queue=_QUEUE, priority=priority)
        await deferrer.batch_defer_async(*arguments)


async def listen(app: App) -> None:
    """Hear one ring after another, until cancelled or the database has been away for too long."""
    await app.run_worker_async(
        queues=[_QUEUE],
        concurrency=1,
        wait=True,
        fetch_job_polling_interval=_LOOK_S,
        listen_notify=True,
        delete_jobs="always",
        install_signal_handlers=False,
        shutdown_graceful_timeout=0,
    )
