"""Who has which part of a run: claims, epochs that fence, leases that others watch.

Rule 1: a claim is one conditional UPDATE that raises the epoch, of a part that nobody has.
Rule 2: what a worker had is free again when it hands it back, or when another ends its lease
        (policy/leases.py says when). That raises the epoch too: transfer.py puts nothing in the
        name of an old one, whoever is awake or not.
Rule 3: a part is done when every campaign of it has an outcome, and not before; a look, when it
        has been had; an emergency, when its engine has come to its end.
Rule 4: of a VDN of several chunks the look comes before them all, the verification after them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.policy.leases import LEASE_S, Lease
from orchestrator.store.transfer import IS_CAMPAIGN, STEP_BITS, Part, Step

if TYPE_CHECKING:
    import psycopg

#: seconds until a chunk whose work failed is tried again
AFTER_FAILURE_S = 15.0

#: A part that nobody has. One that failed rests for a while; if it would rest for longer than
#: parts do, the database's clock was set back.
_IS_FREE = (
    "c.done_at IS NULL AND c.holder IS NULL AND (c.lease_until IS NULL"
    " OR c.lease_until <= clock_timestamp()"
    f" OR c.lease_until > clock_timestamp() + make_interval(secs => {AFTER_FAILURE_S + 0.5}))"
)

_STEP = f"c.lo >> {STEP_BITS}"
#: nothing of its VDN that comes before it is open
_IS_ITS_TURN = (
    "NOT EXISTS (SELECT FROM orchestrator.chunk b WHERE b.run = c.run AND b.vdn = c.vdn"
    f" AND b.done_at IS NULL AND {_STEP} <> {Step.LOOK} AND b.lo >> {STEP_BITS} <> {_STEP}"
    f" AND ({_STEP} = {Step.VERIFY} OR b.lo >> {STEP_BITS} = {Step.LOOK}))"
)

_GOES_ON = (
    "NOT EXISTS (SELECT FROM orchestrator.run r WHERE r.run = c.run"
    " AND (r.ended IS NOT NULL OR r.deadline_at <= clock_timestamp()))"
)


class Waiting(NamedTuple):
    """A chunk that nobody has."""

    run: int
    lo: int
    emergency: bool


def claim(connection: psycopg.Connection[Any], run: int, lo: int, *, holder: str) -> Part | None:
    """Take a part for LEASE_S, under a new epoch; None: it is not to be had now.

    The run as a whole is its part 0; a holder's name is unique to one process.
    """
    found = connection.execute(
        "UPDATE orchestrator.chunk c SET epoch = epoch + 1, holder = %(holder)s,"  # noqa: S608 - ours
        " lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s)"
        f" WHERE run = %(run)s AND lo = %(lo)s AND {_IS_FREE}"
        f" AND {_GOES_ON} AND {_IS_ITS_TURN} RETURNING hi, vdn, epoch,"
        " EXISTS (SELECT FROM orchestrator.chunk b"
        f" WHERE b.run = c.run AND b.vdn = c.vdn AND b.done_at IS NULL"
        f" AND b.lo >> {STEP_BITS} = {Step.VERIFY})".encode(),
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


def leases(
    connection: psycopg.Connection[Any], *, limit: int, run: int | None = None
) -> list[Lease]:
    """So many leases, of a run or of all: renewed longest ago, or left ahead by a clock."""
    found = connection.execute(
        "SELECT run, lo, epoch, lease_until::text FROM orchestrator.chunk"
        " WHERE done_at IS NULL AND lo > 0 AND holder IS NOT NULL"
        " AND run = coalesce(%s::bigint, run)"
        " ORDER BY abs(extract(epoch FROM lease_until - clock_timestamp()) - %s) DESC LIMIT %s",
        (run, LEASE_S, limit),
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
    """Let anybody claim a part, after so many seconds; what is on its way in our name is refused.

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
        f"({_STEP} IN ({Step.LOOK}, {Step.EMERGENCY}) OR"  # noqa: S608 - ours
        " NOT EXISTS (SELECT FROM orchestrator.plan p WHERE p.run = c.run AND p.vdn_id = c.vdn"
        f" AND p.seq BETWEEN c.lo & {(1 << STEP_BITS) - 1} AND c.hi AND {IS_CAMPAIGN}"
        " AND NOT EXISTS (SELECT FROM orchestrator.outcomes o"
        " WHERE o.run = p.run AND o.seq = p.seq)))",
    )


def unrung(connection: psycopg.Connection[Any], *, task: str, limit: int) -> list[Waiting]:
    """Chunks that anybody may claim and no ring in Procrastinate's queue is for.

    Their rings were lost with the submitter, have been heard by a worker that is gone, or are not
    made yet: of lists, no more are wanted while half as many as the limit ring already. Of
    emergencies first, then of the oldest run; what has been begun is finished first.
    """
    found = connection.execute(
        _UNRUNG.encode(), {"task": task, "limit": limit, "enough": max(1, limit // 2)}
    )
    return [Waiting(*row) for row in found]


def _waiting(step: int, its_turn: str) -> str:
    """The first parts of a step that nobody has, in the order of an index."""
    # what comes after the steps of a list waits for none of them
    behind = step + 1 if step <= Step.VERIFY else 1 << 20
    return (
        "(SELECT c.lo FROM orchestrator.chunk c WHERE c.run = r.run"  # noqa: S608 - ours
        f" AND c.lo >= {max(1, step << STEP_BITS)} AND c.lo < {behind << STEP_BITS}"
        f" AND {_IS_FREE} AND {its_turn} AND (c.run, c.lo) NOT IN (SELECT * FROM rung)"
        " ORDER BY c.lo LIMIT %(limit)s)"
    )


#: Whose turn it is as in _IS_ITS_TURN, but asked once for all parts: of a run of 200,000 parts none
#: of which has been looked at, each would be asked for in vain.
_UNRUNG = (
    "WITH rung AS MATERIALIZED (SELECT (args->>'run')::bigint, (args->>'lo')::bigint"  # noqa: S608 - ours
    " FROM procrastinate_jobs WHERE status = 'todo' AND task_name = %(task)s),"
    " looks AS MATERIALIZED (SELECT b.run, b.vdn FROM orchestrator.chunk b WHERE b.done_at IS NULL"
    f" AND b.lo >= {Step.LOOK << STEP_BITS} AND b.lo < {(Step.LOOK + 1) << STEP_BITS})"
    " SELECT r.run, w.lo, r.emergency FROM orchestrator.run r CROSS JOIN LATERAL ("
    f"{_waiting(Step.SEND, '(c.run, c.vdn) NOT IN (SELECT * FROM looks)')}"
    f" UNION ALL {_waiting(Step.VERIFY, _IS_ITS_TURN)} UNION ALL {_waiting(Step.LOOK, 'true')}"
    f" UNION ALL {_waiting(Step.VERIFY + 1, 'true')}"
    ") w WHERE r.ended IS NULL AND (r.emergency OR (SELECT count(*) FROM rung) < %(enough)s)"
    f" ORDER BY NOT r.emergency, r.run, w.lo >> {STEP_BITS} = {Step.LOOK}, w.lo LIMIT %(limit)s"
)


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
        f"UPDATE orchestrator.chunk c SET {change} WHERE run = %(run)s AND lo = %(lo)s"  # noqa: S608 - our own text
        " AND epoch = %(epoch)s AND holder = %(holder)s AND done_at IS NULL"
        f" AND {condition}".encode(),
        {"run": part.run, "lo": part.lo, "epoch": part.epoch, "holder": holder, **more},
    )
    return changed.rowcount == 1
