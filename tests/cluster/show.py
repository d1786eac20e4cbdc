"""What `./do cluster` shows: a PostgreSQL of its own, three workers, one killed, the report.

The simulator is a server of its own; everything else is the real command.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from orchestrator.store.cluster_runs import outcomes
from orchestrator.store.database import connect
from tests import postgres
from tests.e2e.stage import Child, a_stage

_CAMPAIGNS = 600
_RATE = "60"


def say(text: str) -> None:
    """One line of the show."""
    print(f"cluster: {text}", flush=True)


async def show(folder: Path) -> int:
    """All of it; returns the exit code of the list."""
    url = postgres.shared().make_bare_database()
    env = {"ORCHESTRATOR_DATABASE_URL": url.reveal()}
    say("PostgreSQL runs in a temporary directory")
    async with a_stage(folder, campaigns=_CAMPAIGNS) as stage:
        say((await stage.run("cluster", "init", env=env)).out.strip())
        workers: list[Child] = [await stage.begin("worker", "-q", env=env) for _ in range(3)]
        say(f"three workers wait; a list of {_CAMPAIGNS} is submitted, at {_RATE} a second")
        words = stage.pause_words("--cluster", "--rate", _RATE, "--reason", "a show")
        submitter = await stage.begin(*words, env=env)
        await stage.until_puts(_CAMPAIGNS // 4)
        with connect(url) as connection:
            (holder,) = connection.execute(
                "SELECT holder FROM orchestrator.chunk WHERE holder IS NOT NULL AND lo > 0"
            ).fetchone() or ("",)
            (run,) = connection.execute("SELECT max(run) FROM orchestrator.run").fetchone() or (0,)
            done = sum(outcomes(connection, run).values())
        pid = str(holder).split(":")[1:2]
        for worker in workers:
            if [str(worker.process.pid)] == pid:
                worker.process.kill()
                say(f"{done} are paused; worker {pid[0]} has a chunk and is killed with -9")
        ended = await submitter.ended()
        say(f"exit {ended.code}: {ended.out.strip()}")
        twice = sum(one > 1 for one in stage.simulator.ledger.puts.values())
        say(f"at the server: {stage.running()} run, {twice} were sent a second PUT,"
            f" {stage.simulator.ledger.worst_1s} requests in the busiest second")  # fmt: skip
        return ended.code


def main() -> int:
    """Show it."""
    if postgres.binaries() is None:
        say("there is no PostgreSQL here; install it: apt-get install postgresql")
        return 2
    try:
        with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
            return asyncio.run(show(Path(folder)))
    finally:
        postgres.close_shared()


if __name__ == "__main__":
    sys.exit(main())
