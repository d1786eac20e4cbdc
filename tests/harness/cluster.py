"""`./do cluster-faults`: a cluster under every fault that it is promised to survive.

    ./do cluster-faults n=60            sixty cases, each fault in turn
    ./do cluster-faults seed=7 only=cut one fault again, with the list and the instants of that seed
    ./do cluster-faults short=1         about two minutes
    ./do cluster-faults model=1 seeds=5000   the protocol alone, in virtual time (cluster_model.py)

A case is a list, three workers and a submitter as processes, PostgreSQL, and a server that keeps a
ledger. Afterwards: each line has its row, in order; nothing that was settled was sent again; no
second had more than R; the run's undo starts exactly what the run has stopped. Emergencies, with
`only=emergency-kill` and others, are cases of their own (cluster_emergency.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from math import ceil
from pathlib import Path

from orchestrator.cluster.rings import TASK, make_app, ring
from orchestrator.model import Status
from orchestrator.policy.decide import Outcome
from orchestrator.settings.secret import Secret
from orchestrator.simulator.ledger import fullest_window
from orchestrator.store.chunks import unrung
from orchestrator.store.database import connect
from tests import postgres
from tests.e2e.stage import Child
from tests.harness import cluster_emergency, cluster_model
from tests.harness.arguments import Arguments
from tests.harness.cluster_stage import RATE, WORKERS, Cluster, a_cluster

Fault = Callable[[Cluster, Child], Awaitable[Child | None]]


_CAMPAIGNS = 240
#: seconds in which another has what a killed worker had, and a worker that is told to end is gone
_TAKEOVER_S, _DRAIN_S = 10.0, 5.0
#: bytes of the disk that is filled
_DISK = "160m"
_SHORT = ("kill", "drain", "crash3", "submitting", "cut", "clock", "emergency-kill")


# -- the faults: each is given the submitter, and gives back who follows instead of it


async def kill(cluster: Cluster, _: Child) -> None:
    """Kill -9 at three random instants; each is replaced."""
    for part in sorted(cluster.rng.random() * 0.9 for _ in range(3)):
        await cluster.until_puts(part)
        await cluster.kill(await cluster.a_worker())
        await cluster.worker()


async def drain(cluster: Cluster, _: Child) -> None:
    """SIGTERM under load, twice."""
    for part in sorted(cluster.rng.uniform(0.05, 0.8) for _ in range(2)):
        await cluster.until_puts(part)
        await cluster.drain(await cluster.a_worker())
        await cluster.worker()


async def freeze(cluster: Cluster, _: Child) -> None:
    """SIGSTOP for twelve seconds: longer than a lease."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.6))
    frozen = await cluster.a_worker()
    frozen.send(signal.SIGSTOP)
    await asyncio.sleep(12.0)
    frozen.send(signal.SIGCONT)


async def _crash(cluster: Cluster, away_s: float) -> None:
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.8))
    await asyncio.to_thread(cluster.server.stop)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(cluster.server.start)


async def crash3(cluster: Cluster, _: Child) -> None:
    """PostgreSQL stops at once and is away for three seconds."""
    await _crash(cluster, 3.0)


async def crash40(cluster: Cluster, _: Child) -> None:
    """The same for forty: longer than Procrastinate bears."""
    await _crash(cluster, 40.0)


async def recovery(cluster: Cluster, _: Child) -> None:
    """It crashes, and crashes again while it recovers."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.8))
    for _again in range(3):
        await asyncio.to_thread(cluster.server.stop)
        await asyncio.to_thread(cluster.server.start, wait=False)
        await asyncio.sleep(cluster.rng.uniform(0.0, 0.4))
    await asyncio.to_thread(cluster.server.stop)
    await asyncio.to_thread(cluster.server.start)


async def submitting(cluster: Cluster, submitter: Child) -> Child:
    """The submitter is killed while it submits or soon after; the same words are typed again."""
    await asyncio.sleep(cluster.rng.uniform(0.2, 2.5))
    submitter.send(signal.SIGKILL)
    await submitter.process.communicate()
    return await cluster.submit()


async def submitted(cluster: Cluster, submitter: Child) -> Child:
    """It is killed while it follows; `continue` follows again."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.9))
    submitter.send(signal.SIGKILL)
    await submitter.process.communicate()
    return await cluster.stage.begin("continue", str(cluster.stage.run_dir), env=cluster.env())


async def cut(cluster: Cluster, _: Child) -> None:
    """One worker's way to PostgreSQL is cut for eight seconds."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.5))
    await cluster.relay.cut()
    await asyncio.sleep(8.0)
    await cluster.relay.mend()


async def silence(cluster: Cluster, _: Child) -> None:
    """One worker's way to PostgreSQL is silent for twelve seconds, and nobody is reset."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.5))
    cluster.relay.silence(on=True)
    await asyncio.sleep(12.0)
    cluster.relay.silence(on=False)


async def clock(cluster: Cluster, _: Child) -> None:
    """The database's clock leaps, and a worker is killed: an hour ahead or back is no matter."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.4))
    await cluster.step_clock(cluster.rng.choice((3600.0, -3600.0, -7.0, 7.0, 0.3, -0.3)))
    await cluster.until_puts(cluster.rng.uniform(0.4, 0.7))
    await cluster.kill(await cluster.a_worker())
    await cluster.worker()


async def reconcilers(cluster: Cluster, submitter: Child) -> None:
    """Two more reconcilers ring for all that they find, without a rest, while a worker dies."""

    async def reconcile() -> None:
        app = make_app(Secret(cluster.url), _hear_nothing)
        with connect(Secret(cluster.url)) as connection:
            async with app.open_async():
                while submitter.process.returncode is None:
                    found = await asyncio.to_thread(unrung, connection, task=TASK, limit=500)
                    await ring(app, found)
                    await asyncio.sleep(0.02)

    both = [asyncio.create_task(reconcile()) for _ in range(2)]
    try:
        await cluster.until_puts(cluster.rng.uniform(0.05, 0.6))
        await cluster.kill(await cluster.a_worker())
        await cluster.worker()
        await cluster.until_puts(0.9)
    finally:
        for one in both:
            one.cancel()
        await asyncio.wait(both)


async def _hear_nothing(_run: int, _lo: int) -> None:
    """Nothing is claimed here."""


async def rescue(cluster: Cluster, submitter: Child) -> Child:
    """A worker dies, its chunks are taken over, and `continue` runs beside who follows already."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.8))
    victim = await cluster.a_worker()
    victim.send(signal.SIGKILL)
    await victim.process.wait()
    # from another machine: with a state directory of its own
    env = cluster.env() | {"ORCHESTRATOR_STATE_DIR": str(cluster.stage.folder / "elsewhere")}
    elsewhere = await cluster.stage.begin("continue", "last", env=env)
    await cluster.worker()
    told = await cluster.ended(elsewhere)
    if told.code != 1:  # there are lines that are not found
        raise AssertionError(f"continue elsewhere: exit {told.code}: {told.err}")
    return submitter


async def full(cluster: Cluster, _: Child) -> None:
    """PostgreSQL's disk is full for eight seconds; it may fall over."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.6))
    ballast = cluster.server.folder.parent / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(65536))
            file.flush()
    await asyncio.sleep(8.0)
    ballast.unlink()
    if not cluster.server.runs:
        await asyncio.to_thread(cluster.server.stop)
        await asyncio.to_thread(cluster.server.start)


FAULTS: dict[str, Fault] = {
    one.__name__: one
    for one in (kill, drain, freeze, crash3, crash40, recovery, submitting, submitted, cut,
                silence, clock, reconcilers, rescue, full)
}  # fmt: skip


# -- the judge


def judge(cluster: Cluster) -> list[str]:
    """What was promised and not kept; the run is through."""
    wrong = list[str]()
    rows, ledger = cluster.rows(), cluster.stage.simulator.ledger
    outcomes = [Outcome(row["outcome"]) for row in rows]
    if [int(row["line"]) for row in rows] != [one + 2 for one in range(len(cluster.expected))]:
        wrong.append(f"{len(rows)} rows for {len(cluster.expected)} lines, or not in order")
    for number, (told, wanted) in enumerate(zip(outcomes, cluster.expected, strict=False), 2):
        # who was asked twice after an answer that was lost may be suspended by the first
        if told is not wanted:
            wrong.append(f"line {number}: {told}, not {wanted}")
    for ref, status in cluster.before.items():
        if cluster.stage.simulator.world.status_of(ref) is not Status.SUSPENDED:
            wrong.append(f"{ref} was {status} and is not stopped")
    settled = cluster.settled()
    wrong += [
        f"{one.ref} was sent a PUT {one.at_s - settled[one.ref]:.3f} s after it was settled"
        for one in ledger.entries
        if one.is_change and one.ref in settled and one.at_s > settled[one.ref]
    ]
    wrong += [
        f"{ref} was changed {times} times" for ref, times in ledger.effects.items() if times > 1
    ]
    left = fullest_window(cluster.departures(), 1.0)
    arrived = cluster.worst_arrivals()
    if left > RATE:
        wrong.append(f"{left} requests left within a second, R is {RATE}")
    if arrived > RATE + ceil(RATE * cluster.held_up_s):
        wrong.append(f"{arrived} requests arrived within a second, R is {RATE}")
    wrong += [f"takeover after {one:.1f} s" for one in cluster.takeovers if one > _TAKEOVER_S]
    wrong += [
        f"SIGTERM: exit {code} after {took_s:.1f} s"
        for code, took_s in cluster.drained
        if code or took_s > _DRAIN_S + 1.0  # starting a process's end takes a busy machine a while
    ]
    return wrong


async def _undo(cluster: Cluster) -> list[str]:
    """Restore the run; what runs then is what ran before."""
    words = ("--yes", "--include-inferred", "--rate", "1000", "--concurrency", "32")
    undone = await cluster.stage.run(
        "restore", str(cluster.stage.run_dir), *words, env=cluster.env()
    )
    world = cluster.stage.simulator.world
    after = {ref: world.status_of(ref) for ref in cluster.before}
    wrong = [f"{ref} was {was}, is {after[ref]} after its undo"
             for ref, was in cluster.before.items() if after[ref] is not was]  # fmt: skip
    if wrong or undone.code not in {0, 1}:
        wrong.append(f"restore: exit {undone.code}: {undone.err[-500:]}")
    return wrong


# -- cases


async def case(server: postgres.PostgresServer, name: str, seed: int) -> list[str]:
    """One fault, once; what was promised and not kept."""
    began_s, seen = time.monotonic(), ""
    folder = Path(tempfile.mkdtemp(prefix=f"cluster-{name}-"))
    async with a_cluster(server, folder, random.Random(seed), campaigns=_CAMPAIGNS) as cluster:
        await cluster.init()
        for number in range(WORKERS):
            await cluster.worker(relayed=number == 0)
        follower = await cluster.submit()
        try:
            follower = await FAULTS[name](cluster, follower) or follower
            ended = await cluster.ended(follower)
            seen = f", worst second {cluster.worst_arrivals()} of {RATE}, run exit {ended.code}"
            wrong = [] if ended.code == 1 else [f"exit {ended.code}: {ended.err[-800:]}"]
            if not wrong:
                wrong = await asyncio.to_thread(judge, cluster)
                wrong += await _undo(cluster)
        except Exception as error:  # noqa: BLE001 - told with its seed; the next case goes on
            wrong = [repr(error)]
        seen += "".join(f", taken over after {one:.1f} s" for one in cluster.takeovers)
        seen += "".join(f", gone after {took_s:.1f} s" for _, took_s in cluster.drained)
    seen = f"{time.monotonic() - began_s:.0f} s{seen}"
    print(f"{name} seed={seed}: {'ok' if not wrong else 'WRONG'} ({seen})", flush=True)
    for one in wrong[:12]:
        print(f"    {one}", flush=True)
    if wrong:
        print(f"    {len(wrong)} in all; the files stay in {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return wrong


async def play(names: Sequence[str], number: int, seed: int) -> int:
    """Cases in turn; returns how many were wrong."""
    wrong = 0
    server = await asyncio.to_thread(postgres.PostgresServer)
    try:
        for place in range(number):
            name = names[place % len(names)]
            if name in cluster_emergency.FAULTS:
                wrong += bool(await cluster_emergency.case(server, name, seed + place))
                continue
            if name != "full":
                wrong += bool(await case(server, name, seed + place))
                continue
            with _small_disk() as disk:
                if disk is None:
                    print("!!! NOT TRIED: full (a small tmpfs can be mounted by root alone) !!!")
                    continue
                own = await asyncio.to_thread(postgres.PostgresServer, under=disk)
                try:
                    wrong += bool(await case(own, name, seed + place))
                finally:
                    await asyncio.to_thread(own.close)
    finally:
        await asyncio.to_thread(server.close)
    return wrong


@contextlib.contextmanager
def _small_disk() -> Iterator[Path | None]:
    """A file system of its own for PostgreSQL; None: only root may mount one."""
    folder = Path(tempfile.mkdtemp(prefix="small-disk-"))
    folder.chmod(0o755)
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=755", "tmpfs", str(folder)],
        check=False, capture_output=True,
    ).returncode  # fmt: skip
    try:
        yield folder if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
        folder.rmdir()


def main(argv: Sequence[str]) -> int:
    """Play cases, or the model."""
    given = Arguments(argv, known=("n", "seed", "only", "short", "model", "seeds"))
    if given.whole("model", 0):
        return cluster_model.play(given)
    if postgres.binaries() is None:
        print("!!! NOT TRIED: no PostgreSQL here (apt-get install postgresql) !!!")
        return 2
    short = given.whole("short", 0)
    known = [*FAULTS, *cluster_emergency.FAULTS]
    names = given.text("only").split(",") if given.text("only") else _SHORT if short else known
    unknown = set(names) - set(known)
    if unknown:
        print(f"no fault {sorted(unknown)}; there is {', '.join(known)}")
        return 2
    seed = given.seed()
    print(f"cluster-faults seed={seed}", flush=True)
    number = given.whole("n", len(names))
    wrong = asyncio.run(play(names, number, seed))
    print(f"cluster-faults: {number} cases, {wrong} wrong, seed={seed}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    # the loop ends its children when it is told to end itself
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
