"""An emergency of the cluster under the faults that it is promised to survive, beside cluster.py.

A case is `pause-all --cluster` over three VDNs in which more campaigns start meanwhile, and two
workers that stand by. Afterwards the server itself is asked: quiet is said only if it is so, since
the instant that is told; each campaign was changed once; no second had more than R; the undo
starts exactly what was stopped.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.ledger import fullest_window
from orchestrator.simulator.world import Campaign
from orchestrator.store.transfer import EMERGENCY_LO
from tests import postgres
from tests.cli.makers import Ended
from tests.e2e.stage import Child
from tests.harness.cluster_stage import RATE, Cluster, a_cluster

Fault = Callable[[Cluster, Child], Awaitable[Child | None]]


_CAMPAIGNS = 240
_NEWCOMERS = 5
_WORKERS = 2
_TAKEOVER_S = 10.0
#: a reading of two clocks of one machine
_CLOCKS_S = 0.1
_PREFIX = "emergency-"


async def kill(cluster: Cluster, given: Child) -> Child:
    """Kill -9 to who gave it, then to whoever goes on; `continue` follows."""
    first, second = sorted(cluster.rng.uniform(0.05, 0.9) for _ in range(2))
    await cluster.until_puts(first)
    await cluster.kill(given)
    await cluster.until_puts(second)
    if (holder := await _holder(cluster)) is not None:
        await cluster.kill(holder)
        await cluster.worker()
    return await cluster.follow()


async def drain(cluster: Cluster, given: Child) -> Child:
    """Kill -9 to who gave it, SIGTERM to whoever goes on; `continue` follows."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.4))
    await cluster.kill(given)
    await cluster.until_puts(cluster.rng.uniform(0.4, 0.8))
    if (holder := await _holder(cluster)) is not None:
        await cluster.drain(holder)
    return await cluster.follow()


async def freeze(cluster: Cluster, given: Child) -> None:
    """SIGSTOP for twelve seconds to who gave it: longer than its lease."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.9))
    given.send(signal.SIGSTOP)
    await asyncio.sleep(12.0)
    given.send(signal.SIGCONT)


async def cut(cluster: Cluster, _: Child) -> None:
    """Its way to PostgreSQL is cut for eight seconds: a worker has it by then."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.9))
    await cluster.relay.cut()
    await asyncio.sleep(8.0)
    await cluster.relay.mend()


async def silence(cluster: Cluster, _: Child) -> None:
    """The same way is silent for twelve seconds, and nobody is reset."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.9))
    cluster.relay.silence(on=True)
    await asyncio.sleep(12.0)
    cluster.relay.silence(on=False)


async def crash(cluster: Cluster, _: Child) -> None:
    """PostgreSQL stops at once and is away for three seconds."""
    await cluster.until_puts(cluster.rng.uniform(0.05, 0.9))
    await asyncio.to_thread(cluster.server.stop)
    await asyncio.sleep(3.0)
    await asyncio.to_thread(cluster.server.start)


FAULTS: dict[str, Fault] = {
    _PREFIX + one.__name__: one for one in (kill, drain, freeze, cut, silence, crash)
}
_RELAYED = frozenset({cut, silence})


async def _holder(cluster: Cluster) -> Child | None:
    """The worker that has it now; None: nobody, or it is over."""
    query = "SELECT coalesce(split_part(holder, ':', 2), '0')::int FROM orchestrator.chunk"
    query += f" WHERE lo = {EMERGENCY_LO} AND done_at IS NULL"
    found = await asyncio.to_thread(cluster.ask, query)
    pids = {int(one[0]) for one in found if one}
    return next((one for one in cluster.alive() if one.process.pid in pids), None)


async def _start_more(cluster: Cluster) -> list[CampaignRef]:
    """Campaigns start while others are being paused."""
    added = list[CampaignRef]()
    for number in range(_NEWCOMERS):
        await cluster.until_puts((number + 1) / (2 * _NEWCOMERS))
        vdn_id = cluster.rng.choice((1, 2, 3))
        cluster.stage.simulator.world.add(vdn_id, Campaign(900_000 + number, Status.STARTED))
        added.append(CampaignRef(vdn_id, 900_000 + number))
    return added


def judge(cluster: Cluster, running: set[CampaignRef], ended: Ended) -> list[str]:
    """What was promised and not kept; the run is through."""
    wrong, world = list[str](), cluster.stage.simulator.world
    ledger = cluster.stage.simulator.ledger
    summary: dict[str, Any] = json.loads((cluster.stage.run_dir / "summary.json").read_text())
    dialling = [ref for ref in world.refs() if world.status_of(ref) is Status.STARTED]
    if (ended.code, summary["verdict"]) != (0, "quiet"):
        wrong.append(f"exit {ended.code}, {summary['verdict']}: {ended.err[-800:]}")
    elif dialling:
        wrong.append(f"it is called quiet, and {len(dialling)} are dialling: {dialling[:5]}")
    told = {(int(one["vdn_id"]), int(one["campaign_id"])): one for one in _rows(cluster)}
    for ref in running:
        row = told.pop((ref.vdn_id, ref.campaign_id), None)
        if row is None or (row["outcome"], row["changed"]) != ("paused", "yes"):
            wrong.append(f"{ref} was running, its row: {row}")
    wrong += [f"{one} was not running, and has a row" for one in told]
    wrong += [f"{ref} was changed {n} times" for ref, n in ledger.effects.items() if n > 1]
    for vdn_id, since_s in _quiet_since(ended).items():
        last_s = max(
            (one.at_s for one in ledger.entries if one.took_effect and one.vdn_id == vdn_id),
            default=0.0,
        )
        if cluster.wall_s(last_s) > since_s + 1.0 + _CLOCKS_S:  # it is told in whole seconds
            wrong.append(f"VDN {vdn_id} was changed after it was called quiet")
    left, arrived = fullest_window(cluster.departures(), 1.0), cluster.worst_arrivals()
    if left > RATE:
        wrong.append(f"{left} requests left within a second, R is {RATE}")
    if arrived > RATE + ceil(RATE * cluster.held_up_s):
        wrong.append(f"{arrived} requests arrived within a second, R is {RATE}")
    wrong += [f"takeover after {one:.1f} s" for one in cluster.takeovers if one > _TAKEOVER_S]
    return wrong


def _rows(cluster: Cluster) -> list[dict[str, str]]:
    with (cluster.stage.run_dir / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _quiet_since(ended: Ended) -> dict[int, float]:
    """The instant from the sentence of each VDN, on the wall's clock."""
    found = {}
    day = datetime.now().astimezone().date().isoformat()
    for part in ended.out.split("VDN ")[1:]:
        if "nothing running at " in part:
            at = part.partition("nothing running at ")[2][:9]
            found[int(part.split()[0])] = datetime.fromisoformat(f"{day}T{at}").timestamp()
    return found


async def _undo(cluster: Cluster, running: set[CampaignRef]) -> list[str]:
    """Restore the run: what runs then is what ran before."""
    words = ("--yes", "--include-inferred", "--rate", "1000", "--concurrency", "32")
    undone = await cluster.stage.run(
        "restore", str(cluster.stage.run_dir), *words, env=cluster.env()
    )
    world = cluster.stage.simulator.world
    after = {ref for ref in world.refs() if world.status_of(ref) is Status.STARTED}
    if after == running and not undone.code:
        return []
    odd = sorted(after ^ running)[:5]
    return [f"restore: exit {undone.code}, wrong are {odd}: {undone.err[-500:]}"]


async def case(server: postgres.PostgresServer, name: str, seed: int) -> list[str]:
    """One fault, once; what was promised and not kept."""
    began_s, seen, fault = time.monotonic(), "", FAULTS[name]
    folder = Path(tempfile.mkdtemp(prefix=f"cluster-{name}-"))
    async with a_cluster(server, folder, random.Random(seed), campaigns=_CAMPAIGNS) as cluster:
        await cluster.init()
        for _ in range(_WORKERS):
            await cluster.a_worker_that(await cluster.worker())
        running = {ref for ref, was in cluster.before.items() if was is Status.STARTED}
        given = await cluster.stop_all(relayed=fault in _RELAYED)
        starting = asyncio.create_task(_start_more(cluster))
        try:
            given = await fault(cluster, given) or given
            running |= set(await starting)
            ended = await cluster.ended(given)
            seen = f", worst second {cluster.worst_arrivals()} of {RATE}, run exit {ended.code}"
            wrong = await asyncio.to_thread(judge, cluster, running, ended)
            wrong += await _undo(cluster, running)
        except Exception as error:  # noqa: BLE001 - told with its seed; the next case goes on
            wrong = [repr(error)]
        finally:
            starting.cancel()
        seen += "".join(f", taken over after {one:.1f} s" for one in cluster.takeovers)
    seen = f"{time.monotonic() - began_s:.0f} s{seen}"
    print(f"{name} seed={seed}: {'ok' if not wrong else 'WRONG'} ({seen})", flush=True)
    for one in wrong[:12]:
        print(f"    {one}", flush=True)
    if wrong:
        print(f"    {len(wrong)} in all; the files stay in {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return wrong
