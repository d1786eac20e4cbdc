"""`./do cluster-faults`: a cluster under every fault that it is promised to survive.

    ./do cluster-faults n=60            sixty cases, each fault in turn
    ./do cluster-faults seed=7 only=cut one fault again, with the list and the instants of that seed
    ./do cluster-faults short=1         about two minutes
    ./do cluster-faults model=1 seeds=5000   the protocol alone, in virtual time (cluster_model.py)

A case is a list, three workers and a submitter as processes, PostgreSQL, and a server that keeps a
ledger; or, `only=emergency-kill` and others, `pause-all --cluster` over three VDNs in which more
campaigns start meanwhile, and two workers that stand by. cluster_judge.py says what was promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from orchestrator.cluster.rings import TASK, make_app, ring
from orchestrator.model import CampaignRef, Status
from orchestrator.settings.secret import Secret
from orchestrator.simulator.world import Campaign
from orchestrator.store.chunks import unrung
from orchestrator.store.database import connect
from tests import postgres
from tests.cli.makers import Ended
from tests.e2e.stage import Child
from tests.harness import cluster_judge, cluster_model
from tests.harness.arguments import Arguments
from tests.harness.cluster_stage import RATE, WORKERS, Cluster, a_cluster
from tests.harness.surroundings import small_disk

Fault = Callable[[Cluster, Child], Awaitable[Child | None]]

_CAMPAIGNS = 240
_NEWCOMERS = 5
#: bytes of the disk that is filled
_DISK = "160m"
_SHORT = ("kill", "drain", "crash3", "submitting", "cut", "clock", "emergency-kill")


# -- the faults: each is given the submitter, and gives back who follows instead of it


async def at_work(cluster: Cluster) -> None:
    """Wait until some of it is done; an emergency has its proof to make after its last PUT."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.9 if cluster.is_emergency else 0.6))


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


async def freeze(cluster: Cluster, given: Child) -> None:
    """SIGSTOP for twelve seconds, longer than a lease: a worker, or who gave the emergency."""
    await at_work(cluster)
    frozen = given if cluster.is_emergency else await cluster.a_worker()
    frozen.send(signal.SIGSTOP)
    await asyncio.sleep(12.0)
    frozen.send(signal.SIGCONT)


async def crash3(cluster: Cluster, _: Child, *, away_s: float = 3.0) -> None:
    """PostgreSQL stops at once and is away for three seconds."""
    await at_work(cluster)
    await asyncio.to_thread(cluster.server.stop)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(cluster.server.start)


async def crash40(cluster: Cluster, given: Child) -> None:
    """The same for forty: longer than Procrastinate bears."""
    await crash3(cluster, given, away_s=40.0)


async def recovery(cluster: Cluster, _: Child) -> None:
    """It crashes, and crashes again while it recovers."""
    await at_work(cluster)
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
    await at_work(cluster)
    submitter.send(signal.SIGKILL)
    await submitter.process.communicate()
    return await cluster.follow()


async def cut(cluster: Cluster, _: Child) -> None:
    """One way to PostgreSQL is cut for eight seconds: a worker's, or the emergency's."""
    await at_work(cluster)
    await cluster.relay.cut()
    await asyncio.sleep(8.0)
    await cluster.relay.mend()


async def silence(cluster: Cluster, _: Child) -> None:
    """The same way is silent for twelve seconds, and nobody is reset."""
    await at_work(cluster)
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
        await at_work(cluster)
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
    await at_work(cluster)
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
    await at_work(cluster)
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


async def emergency_kill(cluster: Cluster, given: Child) -> Child:
    """Kill -9 to who gave it, then to whoever goes on; `continue` follows."""
    first, second = sorted(cluster.rng.uniform(0.05, 0.9) for _ in range(2))
    await cluster.until_puts(first)
    await cluster.kill(given)
    await cluster.until_puts(second)
    if (holder := await cluster.holder()) is not None:
        await cluster.kill(holder)
        await cluster.worker()
    return await cluster.follow()


async def emergency_drain(cluster: Cluster, given: Child) -> Child:
    """Kill -9 to who gave it, SIGTERM to whoever goes on; `continue` follows."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.4))
    await cluster.kill(given)
    await cluster.until_puts(cluster.rng.uniform(0.4, 0.8))
    if (holder := await cluster.holder()) is not None:
        await cluster.drain(holder)
    return await cluster.follow()


_PREFIX = "emergency-"
FAULTS: dict[str, Fault] = {
    one.__name__: one
    for one in (kill, drain, freeze, crash3, crash40, recovery, submitting, submitted, cut,
                silence, clock, reconcilers, rescue, full)
} | {
    _PREFIX + name: one
    for name, one in (("kill", emergency_kill), ("drain", emergency_drain), ("freeze", freeze),
                      ("cut", cut), ("silence", silence), ("crash", crash3))
}  # fmt: skip


# -- cases


async def start_more(cluster: Cluster) -> None:
    """Campaigns start while others are being paused."""
    for number in range(_NEWCOMERS):
        await cluster.until_puts((number + 1) / (2 * _NEWCOMERS))
        newcomer = CampaignRef(cluster.rng.choice((1, 2, 3)), 900_000 + number)
        world = cluster.stage.simulator.world
        world.add(newcomer.vdn_id, Campaign(newcomer.campaign_id, Status.STARTED))
        cluster.before[newcomer] = Status.STARTED


async def play_list(cluster: Cluster, fault: Fault) -> tuple[Ended, list[str]]:
    """A list under a fault; how it ended, and what was not kept."""
    for number in range(WORKERS):
        await cluster.worker(relayed=number == 0)
    follower = await cluster.submit()
    follower = await fault(cluster, follower) or follower
    ended = await cluster.ended(follower)
    if ended.code != 1:  # there are lines that are not found
        return ended, [f"exit {ended.code}: {ended.err[-800:]}"]
    return ended, await asyncio.to_thread(cluster_judge.list_run, cluster)


async def play_emergency(cluster: Cluster, fault: Fault) -> tuple[Ended, list[str]]:
    """An emergency under a fault; how it ended, and what was not kept."""
    cluster.is_emergency = True
    for _ in range(WORKERS - 1):
        await cluster.a_worker_that(await cluster.worker())
    given = await cluster.stop_all(relayed=fault in {cut, silence})
    starting = asyncio.create_task(start_more(cluster))
    try:
        given = await fault(cluster, given) or given
        await starting
    finally:
        starting.cancel()
    ended = await cluster.ended(given)
    return ended, await asyncio.to_thread(cluster_judge.emergency, cluster, ended)


async def case(server: postgres.PostgresServer, name: str, seed: int) -> list[str]:
    """One fault, once; what was promised and not kept."""
    began_s, seen = time.monotonic(), ""
    folder = Path(tempfile.mkdtemp(prefix=f"cluster-{name}-"))
    play_one = play_emergency if name.startswith(_PREFIX) else play_list
    async with a_cluster(server, folder, random.Random(seed), campaigns=_CAMPAIGNS) as cluster:
        await cluster.init()
        try:
            ended, wrong = await play_one(cluster, FAULTS[name])
            seen = f", worst second {cluster.worst_arrivals()} of {RATE}, run exit {ended.code}"
            wrong += await cluster_judge.undo(cluster)
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


async def on_small_disk(folder: Path, seed: int) -> bool:
    """The case `full`, on a file system of its own; whether it was wrong."""
    with small_disk(folder, f"size={_DISK},mode=755") as mounted:
        if not mounted:
            print("!!! NOT TRIED: full (a small tmpfs can be mounted by root alone) !!!")
            return False
        server = await asyncio.to_thread(postgres.PostgresServer, under=folder)
        try:
            return bool(await case(server, "full", seed))
        finally:
            await asyncio.to_thread(server.close)


async def play(names: Sequence[str], number: int, seed: int) -> int:
    """Cases in turn; returns how many were wrong."""
    wrong = 0
    server = await asyncio.to_thread(postgres.PostgresServer)
    try:
        for place in range(number):
            name = names[place % len(names)]
            if name != "full":
                wrong += bool(await case(server, name, seed + place))
                continue
            with tempfile.TemporaryDirectory(prefix="small-disk-") as folder:
                wrong += await on_small_disk(Path(folder), seed + place)
    finally:
        await asyncio.to_thread(server.close)
    return wrong


def main(argv: Sequence[str]) -> int:
    """Play cases, or the model."""
    given = Arguments(argv, known=("n", "seed", "only", "short", "model", "seeds"))
    if given.whole("model", 0):
        return cluster_model.play(given)
    if postgres.binaries() is None:
        print("!!! NOT TRIED: no PostgreSQL here (apt-get install postgresql) !!!")
        return 2
    short = given.whole("short", 0)
    names = given.text("only").split(",") if given.text("only") else _SHORT if short else [*FAULTS]
    unknown = set(names) - set(FAULTS)
    if unknown:
        print(f"no fault {sorted(unknown)}; there is {', '.join(FAULTS)}")
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
