"""A worker in a process of its own, with its settings from the environment.

It writes down when each request leaves: the instants of all processes of a machine are comparable.
TEST_FAILS names what it never gets done at the database.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import psycopg

import orchestrator
from orchestrator.api import environment
from orchestrator.cluster import part_work
from orchestrator.cluster import worker as worker_module
from orchestrator.engine.stop import heed_signals
from orchestrator.settings.secret import Secret
from orchestrator.store.pace import SharedPace


class _Noted(SharedPace):
    """A pace whose departures are on record, one instant on each line."""

    def acquire(self, *, now_s: float, own_wait_s: float = 0.0) -> float:
        """As ever."""
        wait_s = super().acquire(now_s=now_s, own_wait_s=own_wait_s)
        if wait_s == 0.0:
            _departures.write(f"{now_s!r}\n")
        return wait_s


_departures = Path(os.environ["TEST_DEPARTURES"]).open("a", buffering=1)  # noqa: SIM115 - to the end
vars(part_work)["SharedPace"] = _Noted


_FAILURES: dict[str, Exception] = {
    "courses": psycopg.OperationalError("the answer is lost"),
    "renew": RuntimeError("a bug"),
}


def _fail(name: str) -> None:
    def failing(*_: object, **__: object) -> None:
        raise _FAILURES[name]

    vars(worker_module)[name] = failing


if "TEST_FAILS" in os.environ:
    _fail(os.environ["TEST_FAILS"])


async def work() -> None:
    """Until a signal."""
    around = environment()
    heed_signals(around.stopping, hangup_ends=True, taken=print, leave=os._exit)
    worker_module.leave_in_time(around.stopping)
    settings = orchestrator.load_settings({"pace.concurrency": 8})
    print("ready", flush=True)
    await worker_module.Worker(Secret(os.environ["TEST_DATABASE_URL"]), settings, around).run()


if __name__ == "__main__":
    asyncio.run(work())
