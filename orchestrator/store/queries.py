"""Reads the journal back: what is left to do, and what is known of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from orchestrator.isales.verdict import Kind
from orchestrator.model import CampaignRef, Status
from orchestrator.policy.decide import SUCCESSES, Evidence
from orchestrator.policy.plan import Planned
from orchestrator.reports.rows import SweepRecord
from orchestrator.reports.summary import Ended
from orchestrator.store.base import (
    Known,
    Mark,
    MarkState,
    ProcessRecord,
    Restorable,
    Standing,
    VdnCount,
)
from orchestrator.store.histories import (
    ATTEMPT_COLUMNS,
    EVIDENCES,
    OUTCOMES,
    STATUSES,
    Attempt,
    by_campaign,
    history_of,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from orchestrator.store.tables import Row

_STANDINGS = {standing.value: standing for standing in Standing}
_NOT_A_DUPLICATE = "NOT EXISTS (SELECT 1 FROM duplicates d WHERE d.seq = p.seq)"


def vdn_counts(connection: sqlite3.Connection) -> list[VdnCount]:
    """Every VDN of the plan, in order of first appearance."""
    return _vdn_counts(connection, "plan p WHERE")


def open_vdn_counts(connection: sqlite3.Connection) -> list[VdnCount]:
    """The VDNs of the plan that have something not final, and how much of it."""
    return _vdn_counts(
        connection,
        "plan p LEFT JOIN outcomes o ON o.seq = p.seq"
        " WHERE (o.seq IS NULL OR o.standing <> 'stands') AND",
    )


def _vdn_counts(connection: sqlite3.Connection, chosen: str) -> list[VdnCount]:
    rows = connection.execute(
        f"SELECT p.vdn_id, count(*) FROM {chosen} p.problem = '' AND {_NOT_A_DUPLICATE}"  # noqa: S608 - ours
        " GROUP BY p.vdn_id ORDER BY min(p.seq)"
    )
    return [VdnCount(*row) for row in rows]


def pending(
    connection: sqlite3.Connection, *, vdn_id: int, after: int, limit: int
) -> list[Planned]:
    """The next campaigns of a VDN without an outcome, in order."""
    rows = connection.execute(
        "SELECT p.seq, p.vdn_id, p.campaign_id, l.status FROM plan p"  # noqa: S608 - ours
        " LEFT JOIN looks l ON l.seq = p.seq WHERE p.vdn_id = ? AND p.problem = '' AND p.seq > ?"
        f" AND {_NOT_A_DUPLICATE}"
        " AND NOT EXISTS (SELECT 1 FROM outcomes o WHERE o.seq = p.seq"
        " AND o.standing <> 'exhausted')"
        " ORDER BY p.seq LIMIT ?",
        (vdn_id, after, limit),
    )
    return _planned(rows)


def undecided(
    connection: sqlite3.Connection, standing: Standing, *, after: int, limit: int
) -> list[Planned]:
    """The next campaigns whose outcome has this standing, in order."""
    rows = connection.execute(
        "SELECT o.seq, p.vdn_id, p.campaign_id, l.status FROM outcomes o"
        " JOIN plan p ON p.seq = o.seq LEFT JOIN looks l ON l.seq = o.seq"
        " WHERE o.standing = ? AND o.standing <> 'stands' AND o.seq > ? ORDER BY o.seq LIMIT ?",
        (standing.value, after, limit),
    )
    return _planned(rows)


def _planned(rows: Iterable[tuple[int, int, int, int | None]]) -> list[Planned]:
    return [
        Planned(seq, CampaignRef(vdn_id, campaign_id), STATUSES.get(status))
        for seq, vdn_id, campaign_id, status in rows
    ]


def known(
    connection: sqlite3.Connection, *, vdn_id: int, campaign_ids: Iterable[int]
) -> list[Known]:
    """What the journal knows of those of these campaigns that are in the plan."""
    return _known(
        connection,
        "SELECT min(p.seq) AS seq, p.vdn_id, p.campaign_id FROM plan p"
        " WHERE p.vdn_id = ? AND p.problem = ''"
        " AND p.campaign_id IN (SELECT value FROM json_each(?)) GROUP BY p.campaign_id",
        (vdn_id, json.dumps(list(campaign_ids))),
    )


def unlisted(
    connection: sqlite3.Connection, *, vdn_id: int, seen_before_ms: int, after: int, limit: int
) -> list[Known]:
    """Campaigns whose outcome a listing could not confirm and a single read still can."""
    return _known(
        connection,
        "SELECT p.seq, p.vdn_id, p.campaign_id FROM plan p JOIN outcomes o ON o.seq = p.seq"
        " WHERE p.vdn_id = ? AND p.problem = '' AND p.seq > ?"
        " AND (o.seen_at_ms IS NULL OR o.seen_at_ms < ?)"
        " AND o.outcome NOT IN ('not_found', 'denied', 'unattempted', 'left_alone')"
        " ORDER BY p.seq LIMIT ?",
        (vdn_id, after, seen_before_ms, limit),
    )


def known_of_vdn(connection: sqlite3.Connection, vdn_id: int) -> list[Known]:
    """All that the journal knows of one VDN; for pause-all and restore, whose plans are short."""
    return _known(
        connection,
        "SELECT seq, vdn_id, campaign_id FROM plan WHERE vdn_id = ? AND problem = ''",
        (vdn_id,),
    )


def restorable(connection: sqlite3.Connection) -> list[Restorable]:
    """The campaigns that this run changed, in order.

    One that it may have changed, because it was killed or the state could not be read, is judged
    as a look would judge it: ours if it was seen started before, else only inferred to be.
    """
    rows = connection.execute(
        "SELECT o.seq, p.vdn_id, p.campaign_id, o.evidence FROM outcomes o JOIN plan p"
        " ON p.seq = o.seq WHERE o.changed = 'yes' AND o.outcome IN ('paused', 'still_running')"
    )
    changed = [
        Restorable(seq, CampaignRef(vdn_id, campaign_id), inferred=evidence == "inferred")
        for seq, vdn_id, campaign_id, evidence in rows
    ]
    perhaps = _known(
        connection,
        "SELECT p.seq, p.vdn_id, p.campaign_id FROM plan p LEFT JOIN outcomes o ON o.seq = p.seq"
        " WHERE p.seq IN (SELECT seq FROM attempts)"
        " AND (o.seq IS NULL OR o.outcome = 'unknown' OR o.changed = 'maybe')",
        (),
    )
    changed += [
        Restorable(
            one.seq,
            one.ref,
            inferred=not (one.history.accepted or one.history.before is Status.STARTED),
        )
        for one in perhaps
        if one.history.accepted or one.history.doubted
    ]
    names = connection.execute(
        "SELECT seq, name FROM looks WHERE seq IN (SELECT value FROM json_each(?))",
        (json.dumps([one.seq for one in changed]),),
    )
    named = dict(names.fetchall())
    return [one._replace(name=named.get(one.seq) or "") for one in sorted(changed)]


def may_have_changed(connection: sqlite3.Connection) -> bool:
    """Whether this run turned something off, or may have: an answer was lost, or it was killed."""
    (may_have,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM outcomes WHERE changed <> 'no')"
        " OR EXISTS (SELECT 1 FROM attempts a LEFT JOIN outcomes o ON o.seq = a.seq WHERE"
        " o.seq IS NULL AND (a.state = 'intended' OR a.in_doubt OR a.kind = 'accepted'))"
    ).fetchone()
    return bool(may_have)


def vdns(connection: sqlite3.Connection) -> tuple[int, ...]:
    """The VDNs of the plan; one step in the index for each, not one for each line."""
    found = connection.execute(
        "WITH RECURSIVE one(vdn_id) AS"
        " (SELECT min(vdn_id) FROM plan WHERE problem = '' UNION ALL"
        " SELECT (SELECT min(p.vdn_id) FROM plan p WHERE p.problem = '' AND p.vdn_id > one.vdn_id)"
        " FROM one WHERE one.vdn_id IS NOT NULL)"
        " SELECT vdn_id FROM one WHERE vdn_id IS NOT NULL"
    )
    return tuple(vdn_id for (vdn_id,) in found)


def unverified(connection: sqlite3.Connection) -> int:
    """How many campaigns count as done, and could not be checked."""
    done = ", ".join(f"'{outcome.value}'" for outcome in SUCCESSES)
    (number,) = connection.execute(
        "SELECT count(*) FROM outcomes WHERE standing = 'unchecked' AND standing <> 'stands'"  # noqa: S608 - ours
        f" AND outcome IN ({done})"
    ).fetchone()
    return int(number)


def doubtful(connection: sqlite3.Connection) -> list[Known]:
    """Campaigns of which only their state can show what became of them, as a run ends."""
    return _known(
        connection,
        "SELECT p.seq, p.vdn_id, p.campaign_id FROM plan p JOIN outcomes o ON o.seq = p.seq"
        " WHERE o.standing <> 'stands' AND o.standing <> 'unchecked' AND o.outcome = 'unknown'"
        " UNION SELECT p.seq, p.vdn_id, p.campaign_id FROM plan p"
        " JOIN attempts a ON a.seq = p.seq AND (a.state = 'intended' OR a.in_doubt"
        " OR a.kind = 'wrong_state') LEFT JOIN outcomes o ON o.seq = p.seq WHERE o.seq IS NULL",
        (),
    )


def marks(connection: sqlite3.Connection) -> dict[CampaignRef, Mark]:
    """What restores of earlier versions wrote of the campaigns of this run."""
    rows = connection.execute(
        "SELECT p.vdn_id, p.campaign_id, r.state, r.run_id FROM restored r"
        " JOIN plan p ON p.seq = r.seq WHERE p.problem = ''"
    )
    return {
        CampaignRef(vdn_id, campaign_id): Mark(MarkState(state), run_id)
        for vdn_id, campaign_id, state, run_id in rows
    }


def attempts_made(connection: sqlite3.Connection, seq: int) -> int:
    """The number of the last attempt on a campaign, 0 without one."""
    (number,) = connection.execute(
        "SELECT coalesce(max(number), 0) FROM attempts WHERE seq = ?", (seq,)
    ).fetchone()
    return int(number)


def first_seen_ms(connection: sqlite3.Connection, vdn_id: int) -> int | None:
    """When a look last showed what needs a second one; None: none did.

    Done without an acceptance of ours; or accepted, and shown as if it had not been.
    """
    (at_ms,) = connection.execute(
        "SELECT max(o.seen_at_ms) FROM outcomes o JOIN plan p ON p.seq = o.seq"
        " WHERE o.standing <> 'stands' AND p.vdn_id = ?"
        " AND (o.outcome IN ('still_running', 'failed') AND o.standing = 'unchecked'"
        " OR o.outcome IN ('already_paused', 'already_running', 'restored', 'unknown') AND NOT"
        " EXISTS (SELECT 1 FROM attempts a WHERE a.seq = o.seq AND a.kind = 'accepted'))",
        (vdn_id,),
    ).fetchone()
    return None if at_ms is None else int(at_ms)


def has_retries(connection: sqlite3.Connection, vdn_id: int) -> bool:
    """Whether a campaign of a VDN still gets its one more attempt."""
    (found,) = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM outcomes o JOIN plan p ON p.seq = o.seq"
        " WHERE o.standing = 'exhausted' AND o.standing <> 'stands' AND p.vdn_id = ?)",
        (vdn_id,),
    ).fetchone()
    return bool(found)


def processes(connection: sqlite3.Connection) -> list[ProcessRecord]:
    """Every process that worked on this run, oldest first."""
    rows = connection.execute(
        "SELECT started_at_ms, pid, host, ended_at_ms, ended, departures, worst_1s, busy_ms"
        " FROM lives ORDER BY life"
    )
    return [process_of(row) for row in rows]


def process_of(row: Iterable[Any]) -> ProcessRecord:
    """A process, from its columns in the order of the record."""
    one = ProcessRecord(*row)
    return one._replace(ended=Ended(one.ended) if one.ended else None)


def life_row(number: int, one: ProcessRecord) -> Row:
    """A process as its row, with its number."""
    ended = one.ended.value if one.ended else None
    return (number, one.started_at_ms, one.ended_at_ms, ended, one.pid, one.host,
            one.departures, one.worst_1s, one.busy_ms)  # fmt: skip


def passes(connection: sqlite3.Connection) -> tuple[SweepRecord, ...]:
    """The check passes of a pause-all, in order."""
    rows = connection.execute(
        "SELECT vdn_id, started_at_ms, ended_at_ms, pages, rows, total_size, started, complete,"
        " problem FROM sweeps ORDER BY number"
    )
    found = map(SweepRecord._make, rows)
    return tuple(one._replace(complete=bool(one.complete)) for one in found)


def sent_per_s(connection: sqlite3.Connection) -> dict[int, int]:
    """Seconds since the epoch in which PUTs left, and how many did."""
    return dict(
        connection.execute(
            "SELECT sent_at_ms / 1000, count(*) FROM attempts WHERE sent_at_ms IS NOT NULL"
            " GROUP BY 1 ORDER BY 1"
        )
    )


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Recorded outcomes and their numbers: cheap, for progress; the report counts its own rows."""
    return dict(connection.execute("SELECT outcome, count(*) FROM outcomes GROUP BY outcome"))


def lines(connection: sqlite3.Connection) -> int:
    """How many lines the list has; duplicates and invalid ones count."""
    (number,) = connection.execute("SELECT count(*) FROM plan").fetchone()
    return int(number)


def _known(connection: sqlite3.Connection, chosen: str, arguments: Sequence[object]) -> list[Known]:
    """What the journal knows of the campaigns that a SELECT gives with seq, vdn_id and campaign_id.

    In order, by two questions for all of them: one by one they were half of what a campaign costs.
    """
    found = connection.execute(
        "SELECT p.seq, p.vdn_id, p.campaign_id, l.status, l.seq,"  # noqa: S608 - our own text
        " o.outcome, o.evidence, o.standing, o.error, o.settled_at_ms"
        f" FROM ({chosen}) p"
        " LEFT JOIN looks l ON l.seq = p.seq LEFT JOIN outcomes o ON o.seq = p.seq",
        arguments,
    ).fetchall()
    if not found:
        return []
    found.sort()
    attempts = dict(
        by_campaign(
            connection.execute(
                f"SELECT {ATTEMPT_COLUMNS} FROM attempts"  # noqa: S608 - our own text
                " WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq, number",
                (json.dumps([row[0] for row in found]),),
            )
        )
    )
    return [_known_campaign(row, attempts.get(row[0], ())) for row in found]


def _known_campaign(row: Sequence[Any], attempts: Sequence[Attempt]) -> Known:
    seq, vdn_id, campaign_id, status, looked, outcome, evidence, standing, error, settled_ms = row
    accepted = [one.answered_at_ms for one in attempts if one.kind == Kind.ACCEPTED]
    return Known(
        seq,
        CampaignRef(vdn_id, campaign_id),
        history_of(attempts, STATUSES.get(status)),
        OUTCOMES[outcome] if outcome is not None else None,
        EVIDENCES[evidence] if outcome is not None else Evidence.NONE,
        _STANDINGS.get(standing),
        error or "",
        named=looked is not None,
        settled_at_ms=settled_ms,
        accepted_at_ms=accepted[-1] if accepted else None,
        tried_by=attempts[-1].process if attempts else 0,
        doubted_by=frozenset(one.process for one in attempts if one.doubtful),
    )
