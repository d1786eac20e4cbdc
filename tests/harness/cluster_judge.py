"""What a cluster's run must show, whatever happened to it; the server itself is asked.

- A list: each line has its row, in order; nothing that was settled was sent again.
- An emergency: quiet is said only if it is so, since the instant that is told.
- Both: each campaign was changed once; no second had more than R; takeovers and drains are quick;
  the undo starts exactly what the run has stopped.
"""

from __future__ import annotations

import json
from datetime import datetime
from math import ceil

from orchestrator.model import Status
from orchestrator.policy.decide import Outcome
from orchestrator.simulator.ledger import fullest_window
from tests.cli.makers import Ended
from tests.harness.cluster_stage import RATE, Cluster
from tests.harness.judge import ref_of

#: seconds in which another has what a killed worker had, and a worker that is told to end is gone
_TAKEOVER_S, _DRAIN_S = 10.0, 5.0
#: a reading of two clocks of one machine
_CLOCKS_S = 0.1


def list_run(cluster: Cluster) -> list[str]:
    """What was promised of a list and not kept; the run is through."""
    wrong = list[str]()
    rows, ledger = cluster.rows(), cluster.stage.simulator.ledger
    if [int(row["line"]) for row in rows] != [one + 2 for one in range(len(cluster.expected))]:
        wrong.append(f"{len(rows)} rows for {len(cluster.expected)} lines, or not in order")
    for number, (row, wanted) in enumerate(zip(rows, cluster.expected, strict=False), 2):
        # who was asked twice after an answer that was lost may be suspended by the first
        if Outcome(row["outcome"]) is not wanted:
            wrong.append(f"line {number}: {row['outcome']}, not {wanted}")
    for ref, status in cluster.before.items():
        if cluster.stage.simulator.world.status_of(ref) is not Status.SUSPENDED:
            wrong.append(f"{ref} was {status} and is not stopped")
    settled = cluster.settled()
    wrong += [
        f"{one.ref} was sent a PUT {one.at_s - settled[one.ref]:.3f} s after it was settled"
        for one in ledger.entries
        if one.is_change and one.ref in settled and one.at_s > settled[one.ref]
    ]
    return wrong + _of_both(cluster)


def emergency(cluster: Cluster, ended: Ended) -> list[str]:
    """What was promised of an emergency and not kept; the run is through."""
    wrong, world = list[str](), cluster.stage.simulator.world
    verdict = json.loads((cluster.stage.run_dir / "summary.json").read_text())["verdict"]
    dialling = [ref for ref in world.refs() if world.status_of(ref) is Status.STARTED]
    if (ended.code, verdict) != (0, "quiet"):
        wrong.append(f"exit {ended.code}, {verdict}: {ended.err[-800:]}")
    elif dialling:
        wrong.append(f"it is called quiet, and {len(dialling)} are dialling: {dialling[:5]}")
    told = {ref_of(row): row for row in cluster.rows()}
    for ref in (ref for ref, was in cluster.before.items() if was is Status.STARTED):
        row = told.pop(ref, None)
        if row is None or (row["outcome"], row["changed"]) != ("paused", "yes"):
            wrong.append(f"{ref} was running, its row: {row}")
    wrong += [f"{one} was not running, and has a row" for one in told]
    for vdn_id, since_s in _quiet_since(ended).items():
        last_s = max(
            (
                one.at_s
                for one in cluster.stage.simulator.ledger.entries
                if one.took_effect and one.vdn_id == vdn_id
            ),
            default=0.0,
        )
        if cluster.wall_s(last_s) > since_s + 1.0 + _CLOCKS_S:  # it is told in whole seconds
            wrong.append(f"VDN {vdn_id} was changed after it was called quiet")
    return wrong + _of_both(cluster)


def _of_both(cluster: Cluster) -> list[str]:
    effects = cluster.stage.simulator.ledger.effects
    wrong = [f"{ref} was changed {times} times" for ref, times in effects.items() if times > 1]
    left, arrived = fullest_window(cluster.departures(), 1.0), cluster.worst_arrivals()
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


def _quiet_since(ended: Ended) -> dict[int, float]:
    """The instant from the sentence of each VDN, on the wall's clock."""
    found = {}
    day = datetime.now().astimezone().date().isoformat()
    for part in ended.out.split("VDN ")[1:]:
        if "nothing running at " in part:
            at = part.partition("nothing running at ")[2][:9]
            found[int(part.split()[0])] = datetime.fromisoformat(f"{day}T{at}").timestamp()
    return found


async def undo(cluster: Cluster) -> list[str]:
    """Restore the run; what runs then is what ran before."""
    words = ("--yes", "--include-inferred", "--rate", "1000", "--concurrency", "32")
    undone = await cluster.stage.run(
        "restore", str(cluster.stage.run_dir), *words, env=cluster.env()
    )
    world = cluster.stage.simulator.world
    after = {ref: world.status_of(ref) for ref in world.refs()}
    wrong = [
        f"{ref} was {cluster.before.get(ref)}, is {now} after its undo"
        for ref, now in after.items()
        if now is not cluster.before.get(ref)
    ]
    if wrong or undone.code not in ({0} if cluster.is_emergency else {0, 1}):
        wrong.append(f"restore: exit {undone.code}: {undone.err[-500:]}")
    return wrong
