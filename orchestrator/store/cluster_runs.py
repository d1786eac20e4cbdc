"""The cluster's runs as wholes: what ends them before they are through, and how they stand.

Rule 1: a run that has ended early is claimed no more; who has a part of it finishes what is in
        flight, looks at what is in doubt, and hands it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.reports.rows import UNSTOPPED
from orchestrator.reports.summary import Ended
from orchestrator.store.base import Standing
from orchestrator.store.transfer import IS_CAMPAIGN, TABLES_OF_RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import psycopg

#: in the order of an index, of which one entry is enough
_IS_OPEN = (
    "(SELECT c.lo FROM orchestrator.chunk c WHERE c.run = r.run AND c.lo > 0"
    " AND c.done_at IS NULL ORDER BY c.lo LIMIT 1) IS NOT NULL"
)
#: what --max-failures counts; the index outcomes_failed is for it
FAILING = tuple(sorted(one.value for one in UNSTOPPED))
_NOT_FINAL = f"IS DISTINCT FROM '{Standing.FINAL.value}'"
_HAS_FAILED = f"o.run = r.run AND o.standing = '{Standing.FINAL.value}' AND o.outcome IN {FAILING}"


class Limits(NamedTuple):
    """What ends a run before it is through."""

    #: seconds from now; None: no deadline
    deadline_s: float | None = None
    #: how many failures are enough where so many campaigns are open; None: no number of them
    failures: Callable[[int], int] | None = None


class Course(NamedTuple):
    """Whether a run goes on."""

    run: int
    #: why it has ended before it was through; None: it goes on, or is through
    ended: Ended | None
    why: str
    #: seconds until its deadline; None: it has none
    left_s: float | None
    #: failures are counted
    counts: bool


def end_run(connection: psycopg.Connection[Any], run: int, ended: Ended, *, why: str) -> None:
    """End a run before it is through: what is in flight is settled, and nothing new begins."""
    connection.execute(
        "UPDATE orchestrator.run r SET ended = %s, why = %s, ended_at = clock_timestamp()"  # noqa: S608 - ours
        f" WHERE run = %s AND ended IS NULL AND {_IS_OPEN}".encode(),
        (ended.value, why, run),
    )


def limit_run(connection: psycopg.Connection[Any], run: int, limits: Limits) -> None:
    """Say what ends a run before it is through; whoever sees it first ends it (`end_overdue`).

    What has failed by now does not count.
    """
    at = None
    if limits.failures is not None:
        opened, failed = connection.execute(
            "SELECT (SELECT count(*) FROM orchestrator.plan p LEFT JOIN orchestrator.outcomes o"  # noqa: S608 - ours
            f" USING (run, seq) WHERE p.run = r.run AND {IS_CAMPAIGN} AND o.standing {_NOT_FINAL}),"
            f" (SELECT count(*) FROM orchestrator.outcomes o WHERE {_HAS_FAILED})"
            " FROM orchestrator.run r WHERE run = %s".encode(),
            (run,),
        ).fetchone() or (0, 0)
        at = failed + limits.failures(opened)
    connection.execute(
        "UPDATE orchestrator.run SET deadline_s = %(s)s, failures_at = %(at)s,"
        " deadline_at = clock_timestamp() + make_interval(secs => %(s)s) WHERE run = %(run)s",
        {"run": run, "s": limits.deadline_s, "at": at},
    )


def go_on(connection: psycopg.Connection[Any], run: int, limits: Limits) -> None:
    """Let workers take up a run that had ended early, within these limits.

    One that has not ended keeps its own; a deadline that is given anew counts.
    """
    with connection.transaction():
        (ended,) = connection.execute(
            "SELECT ended FROM orchestrator.run WHERE run = %s FOR UPDATE", (run,)
        ).fetchone() or (None,)
        if ended is not None or limits.deadline_s is not None:
            limit_run(connection, run, limits)
        connection.execute(
            "UPDATE orchestrator.run SET ended = NULL, why = NULL, ended_at = NULL WHERE run = %s",
            (run,),
        )


def end_overdue(connection: psycopg.Connection[Any]) -> None:
    """End runs whose deadline is over, or of which too many campaigns have failed."""
    found = connection.execute(
        "SELECT run, deadline_s, deadline_at <= clock_timestamp(), failed, failed >= failures_at"  # noqa: S608
        " FROM orchestrator.run r CROSS JOIN LATERAL (SELECT count(*) AS failed FROM"
        f" (SELECT FROM orchestrator.outcomes o WHERE r.failures_at IS NOT NULL AND {_HAS_FAILED}"
        " LIMIT r.failures_at) AS enough) AS f WHERE ended IS NULL"
        f" AND (deadline_at IS NOT NULL OR failures_at IS NOT NULL) AND {_IS_OPEN}".encode()
    ).fetchall()
    for run, deadline_s, is_late, failed, is_enough in found:
        if is_late:
            why = f"the deadline of {deadline_s:g} s is over"
            end_run(connection, run, Ended.DEADLINE, why=why)
        elif is_enough:
            end_run(connection, run, Ended.MAX_FAILURES, why=f"{failed} campaigns failed")


def courses(connection: psycopg.Connection[Any], runs: Iterable[int]) -> list[Course]:
    """Whether each of these runs goes on, and for how long."""
    found = connection.execute(
        "SELECT run, ended, coalesce(why, ''),"
        " extract(epoch FROM deadline_at - clock_timestamp())::float8, failures_at IS NOT NULL"
        " FROM orchestrator.run WHERE run = ANY(%s)",
        (list(runs),),
    )
    return [Course(run, Ended(ended) if ended else None, *rest) for run, ended, *rest in found]


def drop_run(connection: psycopg.Connection[Any], run: int) -> None:
    """Take a run that nobody has confirmed out of the database: it has changed nothing."""
    with connection.transaction():
        for table in ("chunk", *TABLES_OF_RUN, "run"):
            connection.execute(
                f"DELETE FROM orchestrator.{table} WHERE run = %s".encode(),  # noqa: S608 - ours
                (run,),
            )


def is_over(connection: psycopg.Connection[Any], run: int) -> bool:
    """Whether nobody works on a run any more: it is through, or has ended early."""
    found = connection.execute(
        "SELECT count(*) FILTER (WHERE c.done_at IS NULL) = 0 OR (r.ended IS NOT NULL AND count(*)"
        " FILTER (WHERE c.holder IS NOT NULL AND c.lease_until > clock_timestamp()) = 0)"
        " FROM orchestrator.run r JOIN orchestrator.chunk c ON c.run = r.run"
        " WHERE r.run = %s AND c.lo > 0 GROUP BY r.run",
        (run,),
    ).fetchone()
    return found is None or bool(found[0])


def newest_runs(
    connection: psycopg.Connection[Any], *, ending: str, limit: int
) -> list[tuple[int, str]]:
    """The newest runs whose id ends so, each with its id; empty: all."""
    return connection.execute(
        "SELECT run, run_id FROM orchestrator.run WHERE right(run_id, length(%(ending)s)) ="
        " %(ending)s ORDER BY run DESC LIMIT %(limit)s",
        {"ending": ending, "limit": limit},
    ).fetchall()


class Seen(NamedTuple):
    """How a run of the cluster stands."""

    run: int
    run_id: str
    #: somebody works on it, or is to
    goes_on: bool
    #: workers that have a part of it
    workers: int
    #: outcome → number, while it goes on
    counts: Mapping[str, int]


def newest_seen(connection: psycopg.Connection[Any], *, limit: int) -> list[Seen]:
    """How the newest runs stand; what is through is not counted."""
    found = connection.execute(
        f"SELECT r.run, r.run_id, {_IS_OPEN} AND (r.ended IS NULL OR f.held > 0), f.held"  # noqa: S608 - ours
        " FROM (SELECT * FROM orchestrator.run ORDER BY run DESC LIMIT %s) r CROSS JOIN LATERAL"
        " (SELECT count(DISTINCT c.holder) FILTER (WHERE c.lease_until > clock_timestamp()) AS held"
        " FROM orchestrator.chunk c WHERE c.run = r.run AND c.lo > 0 AND c.done_at IS NULL"
        " AND c.holder IS NOT NULL) f ORDER BY r.run DESC".encode(),
        (limit,),
    ).fetchall()
    return [
        Seen(run, run_id, goes_on, held, outcomes(connection, run) if goes_on else {})
        for run, run_id, goes_on, held in found
    ]


def outcomes(connection: psycopg.Connection[Any], run: int) -> dict[str, int]:
    """Recorded outcomes of a run and their numbers."""
    found = connection.execute(
        "SELECT outcome, count(*) FROM orchestrator.outcomes WHERE run = %s GROUP BY outcome",
        (run,),
    )
    return dict(found.fetchall())
