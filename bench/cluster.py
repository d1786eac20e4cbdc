"""The cluster beside one local run: CPU of a campaign, use of the rate, a takeover, a large list.

PostgreSQL keeps its commits durable (fsync), and shares a core with the server; three workers have
both cores, each with the local run's `--concurrency`. `--no-verify` on both sides: what is compared
is the way of a PUT, without the listings.

- CPU is that of the three workers and their submitter, start and imports included, so the list is
  long: a worker is started once, not for each list. PostgreSQL's stands beside it. Five busy
  processes on two cores are dearer than the two of one local run, whoever they are, so three local
  runs at once, a third of the list each, stand beside it too.
- A takeover is counted from kill -9 until another worker has claimed all that the killed one had.
- A list is submitted when the database has all of it, counted from the start of the command.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench.figures import Figure, Limits, ratios
from bench.stage import Child, Form, Server, Stage, say

TITLE = "three workers on one machine, beside one local run (--no-verify, http)"
_WORKERS = 3
_CONCURRENCY = 32
_RATE = 400
_CPU = Limits(required=1.60, goal=1.25)
_SHARE = Limits(required=93.0, goal=97.0, at_most=False)
_TAKEOVER = Limits(required=10.0, goal=6.0)
_SUBMIT = Limits(required=60.0, goal=25.0)
_FIRST_PUT = Limits(required=3.0, goal=1.0)


def measure(stage: Stage, form: Form) -> list[Figure]:
    """All four, each in a database of its own."""
    from tests import postgres  # noqa: PLC0415 - psycopg and pytest would count as our memory

    if postgres.binaries() is None:
        return [Figure("no PostgreSQL here (apt-get install postgresql)", (), "")]
    database = postgres.PostgresServer(durable=True)
    try:
        bench = _Bench(stage, database)
        figures = [
            *bench.cpu(form.pick(usual=60_000, quick=1_000), form.pick(usual=3, quick=1)),
            *bench.share(form.pick(usual=8_000, quick=1_200), form.pick(usual=2, quick=1)),
            *bench.takeover(form.pick(usual=5, quick=1)),
            *bench.submit(form.pick(usual=1_000_000, quick=20_000)),
        ]
    finally:
        database.close()
        stage.more.clear()
    return figures


class _Bench:
    """A stage with a database."""

    def __init__(self, stage: Stage, database: Any) -> None:
        self._stage = stage
        self._database = database

    @contextmanager
    def _workers(self, server: Server) -> Iterator[list[Child]]:
        """Three of them, in a fresh database."""
        url = self._database.make_bare_database().reveal()
        self._stage.more["ORCHESTRATOR_DATABASE_URL"] = url
        self._stage.run("orchestrator", "cluster", "init", server=server)
        words = ("worker", "-q", "--concurrency", str(_CONCURRENCY))
        with ExitStack() as running:
            yield [
                running.enter_context(
                    self._stage.started("orchestrator", *words, server=server, everywhere=True)
                )
                for _ in range(_WORKERS)
            ]

    def _pause(self, path: str, rate: int, *, cluster: bool) -> tuple[str, ...]:
        words = ("pause", path, "--no-verify", "--rate", str(rate))
        return (*words, "--cluster") if cluster else (*words, "--concurrency", str(_CONCURRENCY))

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        import psycopg  # noqa: PLC0415 - as above

        with psycopg.connect(self._stage.more["ORCHESTRATOR_DATABASE_URL"]) as connection:
            return connection.execute(query.encode()).fetchall()

    def cpu(self, campaigns: int, rounds: int) -> list[Figure]:
        """What a campaign costs, rate not limiting."""
        local, at_once, workers, kept, wall = [list[float]() for _ in range(5)]
        path = self._stage.list_of(range(1, campaigns + 1))
        with self._stage.server(tls=False, campaigns=campaigns) as server:
            for number in range(rounds):
                alone = self._stage.orchestrator(server, *self._pause(path, 100_000, cluster=False))
                local.append(alone.cpu_s / campaigns * 1e6)
                at_once.append(self._local_at_once_s(server, campaigns) / campaigns * 1e6)
                with self._workers(server) as running:
                    before_s = self._database_cpu_s()
                    words = self._pause(path, 100_000, cluster=True)
                    submitter = self._stage.orchestrator(server, *words)
                    kept.append((self._database_cpu_s() - before_s) / campaigns * 1e6)
                    ended = [one.end() for one in running]
                stopped = server.seen()["stopped"]
                if stopped != campaigns:
                    raise RuntimeError(f"the cluster has stopped {stopped:.0f} of {campaigns}")
                cpu_s = submitter.cpu_s + sum(one.cpu_s for one in ended)
                workers.append(cpu_s / campaigns * 1e6)
                wall.append(submitter.wall_s / alone.wall_s)
                say(f"cluster, round {number + 1}: {workers[-1]:.0f} µs, local {local[-1]:.0f} µs")
        return [
            Figure("local run: CPU per campaign", tuple(local), "µs"),
            Figure("3 local runs at once: CPU per campaign", tuple(at_once), "µs"),
            Figure("3 workers and submitter: CPU per campaign", tuple(workers), "µs"),
            Figure("PostgreSQL: CPU per campaign", tuple(kept), "µs"),
            Figure("CPU, 3 workers ÷ local run", ratios(workers, local), "x", _CPU),
            Figure("CPU, 3 workers ÷ 3 local runs at once", ratios(workers, at_once), "x"),
            Figure("wall, 3 workers ÷ local run", tuple(wall), "x"),
        ]

    def _local_at_once_s(self, server: Server, campaigns: int) -> float:
        """CPU seconds of as many local runs as there are workers, each with its part."""
        self._stage.begin_anew(server)
        with ExitStack() as running:
            begun = []
            for number in range(_WORKERS):
                part = range(1 + number, campaigns + 1, _WORKERS)
                path = self._stage.list_of(part, name=f"part-{number}.csv")
                words = (*self._pause(path, 100_000, cluster=False), "-q")
                begun.append(
                    running.enter_context(
                        self._stage.started("orchestrator", *words, server=server, everywhere=True)
                    )
                )
            return sum(one.wait().cpu_s for one in begun)

    def _database_cpu_s(self) -> float:
        """User and system time of PostgreSQL and all its processes, ended ones included."""
        ticks = 0
        pid = int((Path(self._database.data) / "postmaster.pid").read_text().split()[0])
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if stat.parent.name == str(pid):
                ticks += sum(map(int, fields[11:15]))
            elif fields[1] == str(pid):
                ticks += sum(map(int, fields[11:13]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def share(self, campaigns: int, rounds: int) -> list[Figure]:
        """How much of R three workers use, and the worst second."""
        worst, used = list[float](), list[float]()
        path = self._stage.list_of(range(1, campaigns + 1))
        options = {"campaigns": campaigns, "latency_ms": 5, "held": _CONCURRENCY}
        with self._stage.server(tls=False, **options) as server:
            for _ in range(rounds):
                with self._workers(server):
                    self._stage.orchestrator(server, *self._pause(path, _RATE, cluster=True))
                seen = server.seen()
                puts = seen["last_waiting_number"] - seen["first_put_number"]
                took_s = seen["last_waiting_s"] - seen["first_put_s"]
                worst.append(seen["worst_1s"])
                used.append(100 * puts / took_s / _RATE)
                say(f"cluster: {used[-1]:.1f} % of R = {_RATE}, worst second {worst[-1]:.0f}")
        return [
            Figure(f"R = {_RATE}: share of R", tuple(used), "%", _SHARE),
            Figure(f"R = {_RATE}: worst second at the server", tuple(worst), "",
                   Limits(required=_RATE, goal=_RATE)),
        ]  # fmt: skip

    def takeover(self, rounds: int) -> list[Figure]:
        """Kill -9 until another has all that the killed one had."""
        took, campaigns = list[float](), 20_000
        path = self._stage.list_of(range(1, campaigns + 1))
        with self._stage.server(tls=False, campaigns=campaigns, latency_ms=5) as server:
            for _ in range(rounds):
                with self._workers(server) as running:
                    words = self._pause(path, _RATE, cluster=True)
                    with self._stage.orchestrating(server, *words):
                        server.await_seen(lambda seen: seen["puts"] > 2 * _RATE)
                        took.append(self._takeover_s(running))
                        say(f"cluster: taken over after {took[-1]:.1f} s")
        return [Figure("takeover after kill -9", tuple(took), "s", _TAKEOVER)]

    def _takeover_s(self, running: list[Child]) -> float:
        query = "SELECT lo, epoch, holder FROM orchestrator.chunk WHERE lo > 0"
        had = dict[int, int]()
        while not had:
            for lo, epoch, holder in self._ask(query):
                if holder and holder.split(":")[1] == str(running[0].pid):
                    had[lo] = epoch
        running[0].kill()
        began_s = time.monotonic()
        while had:
            # the end of the lease raises the epoch once, the claim of another a second time
            now = {lo: epoch for lo, epoch, _ in self._ask(query)}
            had = {lo: epoch for lo, epoch in had.items() if now[lo] < epoch + 2}
            time.sleep(0.02)
        return time.monotonic() - began_s

    def submit(self, campaigns: int) -> list[Figure]:
        """A large list: until the database has it, and until its first PUT."""
        path = self._stage.list_of(range(1, campaigns + 1))
        with (
            self._stage.server(tls=False, campaigns=campaigns) as server,
            self._workers(server),
            self._stage.orchestrating(server, *self._pause(path, _RATE, cluster=True)) as command,
        ):
            while not self._ask("SELECT FROM orchestrator.chunk LIMIT 1"):
                time.sleep(0.02)
            there_s = time.monotonic()
            seen = server.await_seen(lambda seen: seen["puts"] > 0)
        title = f"{campaigns:,} campaigns"
        return [
            Figure(f"{title}: submitted after", (there_s - command.began_s,), "s", _SUBMIT),
            Figure(f"{title}: first PUT after that", (max(0.0, seen["first_put_s"] - there_s),),
                   "s", _FIRST_PUT),
        ]  # fmt: skip
