"""Small runs in a PostgreSQL, and workers that claim their parts."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import Any

import psycopg

from orchestrator.cluster.following import make_cluster
from orchestrator.manifest.entry import ManifestLine
from orchestrator.model import CampaignRef
from orchestrator.policy.decide import Changed, Decision, Evidence, Outcome
from orchestrator.settings.secret import Secret
from orchestrator.store import Intent, OutcomeRecord, PlanWriter, Standing, Store
from orchestrator.store.chunks import claim, end_lease, leases
from orchestrator.store.postgres import add_run, open_part
from orchestrator.store.transfer import Part
from tests.postgres import PostgresServer
from tests.store.journal_makers import line, run_record

#: two chunks of VDN 1234, one of VDN 9, line by line in turn
LINES = [line(1, 101), line(2, 201, vdn_id=9), line(3, 102), line(4, 103), line(5, 104)]


def env_of(server: PostgresServer) -> dict[str, str]:
    """A new cluster, as `cluster init` leaves it, for a command's environment."""
    url = server.make_bare_database()
    make_cluster(url)
    return {"ORCHESTRATOR_DATABASE_URL": url.reveal()}


def add(
    url: Secret,
    lines: Iterable[ManifestLine] = LINES,
    *,
    size: int = 2,
    emergency: bool = False,
    verify: bool = False,
    **facts: Any,
) -> int:
    """A run of these lines, of chunks alone unless it verifies; its number."""
    plan = PlanWriter(None)
    plan.take(lines)
    with closing(plan.finish(run_record(verify=verify, **facts))) as journal:
        return add_run(url, journal, chunk_size=size, emergency=emergency)


def claimed(connection: psycopg.Connection[Any], run: int, lo: int, *, holder: str = "a") -> Part:
    """A part that can be claimed."""
    part = claim(connection, run, lo, holder=holder)
    assert part is not None
    return part


def lapse(connection: psycopg.Connection[Any]) -> None:
    """Nobody has renewed anything for long enough."""
    for lease in leases(connection, limit=1000):
        assert end_lease(connection, lease)


def store_of(url: Secret, part: Part) -> Store:
    """The store of whoever has this part."""
    return open_part(url, part).start(keep_going=False)


def intent(seq: int, number: int = 1) -> Intent:
    """A PUT that is about to leave."""
    return Intent(seq, number, None, at_ms=1_000)


def paused(seq: int, ref: CampaignRef) -> OutcomeRecord:
    """It is done."""
    decision = Decision(Outcome.PAUSED, Evidence.ACCEPTED, Changed.YES)
    return OutcomeRecord(seq, ref, decision, Standing.FINAL, 1_090)


def open_chunks(connection: psycopg.Connection[Any], run: int) -> int:
    """How many chunks of a run are not done."""
    (number,) = connection.execute(
        "SELECT count(*) FROM orchestrator.chunk WHERE run = %s AND lo > 0 AND done_at IS NULL",
        (run,),
    ).fetchone() or (0,)
    return int(number)


def broken(module: str, name: str) -> str:
    """A program in which a function that this module calls has a bug."""
    return f"""
from {module} import __name__ as module
import sys
def odd(*_, **__):
    raise RuntimeError("it is odd")
vars(sys.modules[module])["{name}"] = odd
"""
