"""A simulator in a thread, and the command line called in this process or as a child."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY, Scenario, healthy
from orchestrator.simulator.server import Simulator

Server = TypeVar("Server")
ROOT = Path(__file__).resolve().parents[2]
FAST = ("--rate", "500")


@contextmanager
def served(scenario: Scenario | None = None) -> Iterator[Simulator]:
    """Serve a scenario (healthy: VDN 1234, 40 campaigns) from a thread with its own loop."""
    chosen = scenario or healthy(seed=1)

    def make() -> Simulator:
        return Simulator(chosen.world, faults=chosen.faults, signature=chosen.signature)

    with in_a_thread(make) as running:
        yield running


@contextmanager
def in_a_thread(make: Callable[[], AbstractAsyncContextManager[Server]]) -> Iterator[Server]:
    """Serve from a thread with its own loop, in which the server is made."""
    ready: SimpleQueue[Server] = SimpleQueue()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with make() as running:
            ready.put(running)
            await asyncio.Event().wait()

    serving = loop.create_task(serve())

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield ready.get(timeout=10)
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(10)


def environment(folder: Path, base_url: str = "", **more: str) -> dict[str, str]:
    """The environment of a user who has set up everything; nothing of ours leaks in."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "LANG", "TERM"}}
    return {
        **kept,
        "HOME": str(folder),
        "ORCHESTRATOR_BASE_URL": base_url,
        "ORCHESTRATOR_ACCESS_KEY": ACCESS_KEY,
        "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "PYTHONPATH": str(ROOT),
        **more,
    }


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that has ended."""

    code: int
    out: str
    err: str
    peak_kib: int = 0


async def start(
    *words: str,
    env: Mapping[str, str],
    python: tuple[str, ...] = ("-m", "orchestrator"),
    **options: Any,
) -> asyncio.subprocess.Process:
    """Start the real command, its streams in pipes unless told otherwise."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return await asyncio.create_subprocess_exec(
        sys.executable, *python, *words, env=dict(env), **(streams | options)
    )


async def ended(process: asyncio.subprocess.Process, *, within_s: float = 100.0) -> Ended:
    """Wait for a child's end; one that does not end is killed, and what it has said is shown."""
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate()
    except BaseException as error:
        if process.returncode is None:
            process.kill()
        _, err = await process.communicate()
        error.add_note(f"it did not end: {(err or b'').decode()}")
        raise
    assert process.returncode is not None
    return Ended(process.returncode, (out or b"").decode(), (err or b"").decode())


async def until(condition: Callable[[], object]) -> None:
    """Look every few milliseconds, for a minute at most, until something holds.

    For what happens in another process, which can set no event of ours.
    """
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


def child(*arguments: str, env: Mapping[str, str], stdin: str | None = None) -> Ended:
    """Run the real command; without `stdin` it is empty."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=dict(env),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        input=stdin or "",
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def puts(simulator: Simulator) -> int:
    """Changes that arrived."""
    return sum(simulator.ledger.puts.values())


def write_list(folder: Path, *ids: object, vdn: int = 1234) -> Path:
    """A CSV list of these campaigns."""
    path = folder / "campaigns.csv"
    rows = "".join(f"{vdn},{one}\n" for one in ids)
    path.write_text(f"vdn_id,campaign_id\n{rows}", encoding="utf-8")
    return path
