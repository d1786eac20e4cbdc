"""Who has which part of a run: claims, epochs that fence, leases that others watch.

Rule 1: a claim is one conditional UPDATE that raises the epoch, of a part that nobody has.
Rule 2: what a worker had is free again when it hands it back, or when another ends its lease
        (policy/leases.py says when). That raises the epoch too: transfer.py puts nothing in the
        name of an old one, whoever is awake or not.
Rule 3: a part is done when every campaign of it has an outcome, and not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.policy.leases import LEASE_S, Lease
from orchestrator.store.transfer import Part

if TYPE_CHECKING:
    import psycopg

#: seconds until a chunk whose work failed is tried again
AFTER_FAILURE_S = 15.0

#: A part that anybody may claim. One that failed rests for a while; if it would rest for longer
#: than parts do, the database's clock was set back.
_IS_FREE = (
    "done_at IS NULL AND holder IS NULL AND (lease_until IS NULL"
    " OR lease_until <= clock_timestamp()"
    f" OR lease_until > clock_timestamp() + make_interval(secs => {AFTER_FAILURE_S + 0.5}))"
)


class Waiting(NamedTuple):
    """A chunk that nobody has."""

    run: int
    lo: int
    emergency: bool


def claim(connection: psycopg.Connection[Any], run: int, lo: int, *, holder: str) -> Part | None:
    """Take a part for LEASE_S, under a new epoch; None: it is done, or somebody has it.

    Args:
        connection: to the database.
        run: of which run.
        lo: which part; 0: the run as a whole.
        holder: who takes it; unique to one process.
    """
    found = connection.execute(
        "UPDATE orchestrator.chunk SET epoch = epoch + 1, holder = %(holder)s,"  # noqa: S608 - ours
        " lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)"
        f" WHERE run = %(run)s AND lo = %(lo)s AND {_IS_FREE} RETURNING hi, vdn, epoch".encode(),
        {"run": run, "lo": lo, "holder": holder, "lease_s": LEASE_S},
    ).fetchone()
    return Part(run, lo, *found) if found else None


def renew(connection: psycopg.Connection[Any], part: Part, *, holder: str) -> bool:
    """Have a part for LEASE_S from now; False: it is not ours any more, or done."""
    return _changed(
        connection,
        "lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)",
        part,
        holder,
        lease_s=LEASE_S,
    )


def leases(connection: psycopg.Connection[Any], *, limit: int) -> list[Lease]:
    """Leases that there are: what was renewed longest ago, and what a clock's step left ahead."""
    found = connection.execute(
        "SELECT run, lo, epoch, lease_until::text FROM orchestrator.chunk"
        " WHERE done_at IS NULL AND lo > 0 AND holder IS NOT NULL"
        " ORDER BY abs(extract(epoch FROM lease_until - clock_timestamp()) - %s) DESC LIMIT %s",
        (LEASE_S, limit),
    )
    return [Lease(*row) for row in found]


def end_lease(connection: psycopg.Connection[Any], lease: Lease) -> bool:
    """Let anybody claim what somebody had and has not renewed; False: it has been renewed."""
    changed = connection.execute(
        "UPDATE orchestrator.chunk SET epoch = epoch + 1, holder = NULL, lease_until = NULL"
        " WHERE run = %s AND lo = %s AND epoch = %s AND lease_until = %s::timestamptz"
        " AND done_at IS NULL AND holder IS NOT NULL",
        lease,
    )
    return changed.rowcount == 1


def hand_back(
    connection: psycopg.Connection[Any], part: Part, *, holder: str, after_s: float = 0.0
) -> bool:
    """Let anybody claim a part; what is still on its way in our name is refused.

    Args:
        connection: to the database.
        part: what was claimed.
        holder: by whom.
        after_s: seconds until somebody may; for a part that has just failed.

    Returns:
        False: it was not ours any more.
    """
    return _changed(
        connection,
        "epoch = epoch + 1, holder = NULL,"
        " lease_until = clock_timestamp() + make_interval(secs => %(after_s)s)",
        part,
        holder,
        after_s=after_s,
    )


def finish(connection: psycopg.Connection[Any], part: Part, *, holder: str) -> bool:
    """Call a chunk done; nothing is put into it from then on.

    Returns:
        False: it is not ours any more, or a campaign of it has no outcome.
    """
    return _changed(
        connection,
        "epoch = epoch + 1, holder = NULL, lease_until = NULL, done_at = clock_timestamp()",
        part,
        holder,
        "NOT EXISTS (SELECT FROM orchestrator.plan p WHERE p.run = chunk.run"
        " AND p.vdn_id = chunk.vdn AND p.seq BETWEEN chunk.lo AND chunk.hi AND p.problem = ''"
        " AND NOT EXISTS (SELECT FROM orchestrator.duplicates d"
        " WHERE d.run = p.run AND d.seq = p.seq)"
        " AND NOT EXISTS (SELECT FROM orchestrator.outcomes o"
        " WHERE o.run = p.run AND o.seq = p.seq))",
    )


def unrung(connection: psycopg.Connection[Any], *, task: str, limit: int) -> list[Waiting]:
    """Chunks that anybody may claim and no ring in Procrastinate's queue is for.

    Their rings were lost with the submitter, have been heard by a worker that is gone, or are not
    made yet: of lists, no more are wanted while so many ring already. What a pass costs depends on
    the limit, not on how many chunks there are. Of emergencies first, then of the oldest run.
    """
    found = connection.execute(
        "WITH rung AS MATERIALIZED (SELECT (args->>'run')::bigint, (args->>'lo')::bigint"  # noqa: S608
        " FROM procrastinate_jobs WHERE status = 'todo' AND task_name = %(task)s)"
        " SELECT r.run, c.lo, r.emergency FROM orchestrator.run r CROSS JOIN LATERAL"
        f" (SELECT lo FROM orchestrator.chunk WHERE run = r.run AND lo > 0 AND {_IS_FREE}"
        " AND (run, lo) NOT IN (SELECT * FROM rung)"
        " ORDER BY lo LIMIT %(limit)s) c"
        " WHERE r.emergency OR (SELECT count(*) FROM rung) < %(limit)s"
        " ORDER BY NOT r.emergency, r.run, c.lo LIMIT %(limit)s".encode(),
        {"task": task, "limit": limit},
    )
    return [Waiting(*row) for row in found]


def open_chunks(connection: psycopg.Connection[Any], run: int) -> int:
    """How many chunks of a run are not done."""
    (number,) = connection.execute(
        "SELECT count(*) FROM orchestrator.chunk WHERE run = %s AND lo > 0 AND done_at IS NULL",
        (run,),
    ).fetchone() or (0,)
    return int(number)


def newest_runs(
    connection: psycopg.Connection[Any], *, ending: str, limit: int
) -> list[tuple[int, str]]:
    """The newest runs whose id ends so, each with its id; empty: all."""
    return connection.execute(
        "SELECT run, run_id FROM orchestrator.run WHERE right(run_id, length(%(ending)s)) ="
        " %(ending)s ORDER BY run DESC LIMIT %(limit)s",
        {"ending": ending, "limit": limit},
    ).fetchall()


def outcomes(connection: psycopg.Connection[Any], run: int) -> dict[str, int]:
    """Recorded outcomes of a run and their numbers."""
    found = connection.execute(
        "SELECT outcome, count(*) FROM orchestrator.outcomes WHERE run = %s GROUP BY outcome",
        (run,),
    )
    return dict(found.fetchall())


def _changed(
    connection: psycopg.Connection[Any],
    change: str,
    part: Part,
    holder: str,
    condition: str = "true",
    **more: float,
) -> bool:
    """Change a part that is still ours."""
    changed = connection.execute(
        f"UPDATE orchestrator.chunk SET {change} WHERE run = %(run)s AND lo = %(lo)s"  # noqa: S608 - our own text
        " AND epoch = %(epoch)s AND holder = %(holder)s AND done_at IS NULL"
        f" AND {condition}".encode(),
        {"run": part.run, "lo": part.lo, "epoch": part.epoch, "holder": holder, **more},
    )
    return changed.rowcount == 1
