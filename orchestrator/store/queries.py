"""Reads the journal back: histories, what is left to do, and the rows of the report.

An intent without an answer from an earlier process is an attempt in doubt. What has no outcome on
record gets the one that its history supports, and no better.
"""

from __future__ import annotations

import functools
import itertools
import json
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.isales.codes import name_of
from orchestrator.isales.verdict import CONSEQUENCES, Kind, Repeat
from orchestrator.model import STATUS_NAMES, Action, CampaignRef, Status
from orchestrator.policy.decide import (
    SUCCESSES,
    Changed,
    Evidence,
    History,
    Outcome,
    decide_unseen,
)
from orchestrator.policy.plan import Planned
from orchestrator.reports.rows import ReportRow, SweepRecord
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

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Sequence

_ATTEMPT_COLUMNS = (
    "seq, number, before, state, sent_at_ms, kind, in_doubt, code, descr, http_status, reason,"
    " life, answered_at_ms, intent_at_ms"
)
#: a table is quicker than the enum itself, and a report asks four times a row
_STATUSES: dict[int | None, Status] = {int(status): status for status in Status}
_STATE_NAMES = {int(status): name for status, name in STATUS_NAMES.items()}
#: likewise, by what the journal holds
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_EVIDENCES = {evidence.value: evidence for evidence in Evidence}
_CHANGES = {changed.value: changed for changed in Changed}
_KINDS = {kind.value: kind for kind in Kind}
_STANDINGS = {standing.value: standing for standing in Standing}
_NOT_A_DUPLICATE = "NOT EXISTS (SELECT 1 FROM duplicates d WHERE d.seq = p.seq)"
_SEQ_OF = operator.itemgetter(0)


class _Attempt(NamedTuple):
    seq: int
    number: int
    before: int | None
    state: str
    sent_at_ms: int | None
    kind: str | None
    in_doubt: int | None
    code: str | None
    descr: str | None
    http_status: int | None
    reason: str | None
    process: int
    answered_at_ms: int | None
    intent_at_ms: int

    @property
    def doubtful(self) -> bool:
        return bool(self.in_doubt) or self.state == "intended"


#: `_Attempt(*row)` without a Python call in between: 0.2 against 0.9 µs
_to_attempt = functools.partial(tuple.__new__, _Attempt)


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
        Planned(seq, CampaignRef(vdn_id, campaign_id), _STATUSES.get(status))
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


def refs(connection: sqlite3.Connection) -> dict[int, CampaignRef]:
    """Place → campaign of a whole plan; for a restore, whose plan is short."""
    rows = connection.execute("SELECT seq, vdn_id, campaign_id FROM plan WHERE problem = ''")
    return {seq: CampaignRef(vdn_id, campaign_id) for seq, vdn_id, campaign_id in rows}


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
    return sorted(changed)


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


def unrestored(connection: sqlite3.Connection) -> int:
    """How many campaigns this run turned off, or may have, that no restore has started again."""
    marked = marks(connection)
    started = {seq for seq, mark in marked.items() if mark.state is MarkState.RESTORED}
    return sum(one.seq not in started for one in restorable(connection))


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


def marks(connection: sqlite3.Connection) -> dict[int, Mark]:
    """Place → what a restore wrote of it."""
    rows = connection.execute("SELECT seq, state, run_id FROM restored")
    return {seq: Mark(MarkState(state), run_id) for seq, state, run_id in rows}


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
    found = [ProcessRecord(*row) for row in rows]
    return [one._replace(ended=Ended(one.ended) if one.ended else None) for one in found]


def passes(connection: sqlite3.Connection) -> tuple[SweepRecord, ...]:
    """The check passes of a pause-all, in order."""
    rows = connection.execute(
        "SELECT vdn_id, started_at_ms, ended_at_ms, pages, rows, total_size, started, complete,"
        " problem FROM sweeps ORDER BY number"
    )
    found = map(SweepRecord._make, rows)
    return tuple(one._replace(complete=bool(one.complete)) for one in found)


def counts(connection: sqlite3.Connection) -> dict[str, int]:
    """Recorded outcomes and their numbers: cheap, for progress; the report counts its own rows."""
    return dict(connection.execute("SELECT outcome, count(*) FROM outcomes GROUP BY outcome"))


def lines(connection: sqlite3.Connection) -> int:
    """How many lines the list has; duplicates and invalid ones count."""
    (number,) = connection.execute("SELECT count(*) FROM plan").fetchone()
    return int(number)


def report_rows(
    connection: sqlite3.Connection, *, action: Action, run_id: str, planned_only: bool = False
) -> Iterator[ReportRow]:
    """The report, one row per line of the list, in order; streamed."""
    attempts = _grouped_attempts(connection)
    waiting = next(attempts, None)
    plan = connection.execute(
        "SELECT p.seq, p.line, p.vdn_id, p.campaign_id, p.vdn_text, p.campaign_text, p.problem,"
        " d.first_line, l.status, l.name, o.outcome, o.evidence, o.changed, o.state_after,"
        " o.seen_at_ms, o.settled_at_ms, o.may_start, o.error, l.seen_at_ms, o.standing"
        " FROM plan p LEFT JOIN duplicates d ON d.seq = p.seq LEFT JOIN looks l ON l.seq = p.seq"
        " LEFT JOIN outcomes o ON o.seq = p.seq ORDER BY p.seq"
    )
    for row in plan:
        own: Sequence[_Attempt] = ()
        while waiting is not None and waiting[0] < row[0]:
            waiting = next(attempts, None)
        if waiting is not None and waiting[0] == row[0]:
            own = waiting[1]
        yield _report_row(row, own, action, run_id, planned_only=planned_only)


def _grouped_attempts(
    connection: sqlite3.Connection,
) -> Iterator[tuple[int, list[_Attempt]]]:
    rows = connection.execute(
        f"SELECT {_ATTEMPT_COLUMNS} FROM attempts ORDER BY seq, number"  # noqa: S608 - our own text
    )
    return _by_campaign(rows)


def _by_campaign(
    rows: Iterable[tuple[Any, ...]],
) -> Iterator[tuple[int, list[_Attempt]]]:
    """Attempts that come in the order of their campaigns, campaign by campaign."""
    for seq, group in itertools.groupby(map(_to_attempt, rows), key=_SEQ_OF):
        yield seq, list(group)


def _report_row(
    row: Sequence[Any],
    attempts: Sequence[_Attempt],
    action: Action,
    run_id: str,
    *,
    planned_only: bool,
) -> ReportRow:
    (_, line, vdn_id, campaign_id, vdn_text, campaign_text, problem, first_line, status, name,
     outcome, evidence, changed, state_after, seen_at_ms, settled_at_ms, may_start, error,
     looked_at_ms, standing) = row  # fmt: skip
    sent, first_sent_at_ms, last = _sent(attempts)
    if problem:
        ending = (Outcome.INVALID, Evidence.NONE, Changed.NO, problem)
    elif first_line is not None:
        ending = (Outcome.DUPLICATE, Evidence.NONE, Changed.NO, f"same as line {first_line}")
    elif planned_only and outcome is None:
        ending = (Outcome.PLANNED, Evidence.NONE, Changed.NO, "")
    elif outcome is not None and not _is_outdated(standing, changed, settled_at_ms, attempts):
        ending = (_OUTCOMES[outcome], _EVIDENCES[evidence], _CHANGES[changed], error or "")
    else:
        history = _history(attempts, _STATUSES.get(status))
        ending = _without_outcome(action, history, _last_answered(attempts))
    code = (last.code or "") if last else ""
    return ReportRow(
        vdn_id=str(vdn_text if problem else vdn_id),
        campaign_id=str(campaign_text if problem else campaign_id),
        campaign_name=name or "",
        outcome=ending[0],
        evidence=ending[1],
        changed=ending[2],
        may_start=may_start or "",
        state_before=_STATE_NAMES.get(status, ""),
        state_after=_STATE_NAMES.get(state_after, ""),
        state_seen_at_ms=looked_at_ms if seen_at_ms is None else seen_at_ms,
        attempts=sent,
        result_code=code,
        result_name=name_of(code),
        result_desc=(last.descr or "") if last else "",
        http_status=last.http_status if last else None,
        first_sent_at_ms=first_sent_at_ms,
        settled_at_ms=settled_at_ms,
        line=line,
        duplicate_of=first_line,
        run_id=run_id,
        error=ending[3],
        cause=_KINDS[last.kind] if last and last.kind else None,
    )


def _sent(attempts: Iterable[_Attempt]) -> tuple[int, int | None, _Attempt | None]:
    """How many attempts left, when the first did, and the last of them that was answered."""
    sent, first_at_ms, last = 0, None, None
    for one in attempts:
        if one.state == "not_sent":
            continue
        sent += 1
        at_ms = one.sent_at_ms
        if at_ms and (first_at_ms is None or at_ms < first_at_ms):
            first_at_ms = at_ms
        if one.kind is not None:
            last = one
    return sent, first_at_ms, last


def _last_answered(attempts: Sequence[_Attempt]) -> _Attempt | None:
    return next((one for one in reversed(attempts) if one.kind is not None), None)


def _is_outdated(
    standing: object, changed: object, settled_at_ms: int | None, attempts: Sequence[_Attempt]
) -> bool:
    """It had run out of attempts unchanged, and was cut short when it was tried once more."""
    undoubted = standing == Standing.RETRY_LATER and changed == Changed.NO.value
    return undoubted and any(
        (one.doubtful or one.kind == Kind.ACCEPTED) and one.intent_at_ms >= (settled_at_ms or 0)
        for one in attempts
    )


def _without_outcome(
    action: Action, history: History, last: _Attempt | None
) -> tuple[Outcome, Evidence, Changed, str]:
    decision = decide_unseen(action, history)
    reason = (last.reason or "") if last else ""
    ended = "the run ended before this campaign was settled"
    told = f"{ended}; last: {reason}" if reason else ended
    if decision.outcome in SUCCESSES:
        return decision.outcome, decision.evidence, decision.changed, ""
    repeatable = history.last is None or CONSEQUENCES[history.last].repeat is not Repeat.NEVER
    if decision.outcome is Outcome.FAILED and repeatable:
        return Outcome.UNATTEMPTED, Evidence.NONE, Changed.NO, told
    return decision.outcome, decision.evidence, decision.changed, told


def _known(connection: sqlite3.Connection, chosen: str, arguments: Sequence[object]) -> list[Known]:
    """What the journal knows of chosen campaigns, in order: two questions for all of them.

    One by one they were half of what a campaign costs the journal.

    Args:
        connection: the journal.
        chosen: a SELECT that gives seq, vdn_id and campaign_id of each.
        arguments: what stands for its question marks.
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
    found.sort(key=_SEQ_OF)
    attempts = dict(
        _by_campaign(
            connection.execute(
                f"SELECT {_ATTEMPT_COLUMNS} FROM attempts"  # noqa: S608 - our own text
                " WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq, number",
                (json.dumps([row[0] for row in found]),),
            )
        )
    )
    return [_known_campaign(row, attempts.get(row[0], ())) for row in found]


def _known_campaign(row: Sequence[Any], attempts: Sequence[_Attempt]) -> Known:
    seq, vdn_id, campaign_id, status, looked, outcome, evidence, standing, error, settled_ms = row
    accepted = [one.answered_at_ms for one in attempts if one.kind == Kind.ACCEPTED]
    return Known(
        seq,
        CampaignRef(vdn_id, campaign_id),
        _history(attempts, _STATUSES.get(status)),
        _OUTCOMES[outcome] if outcome is not None else None,
        _EVIDENCES[evidence] if outcome is not None else Evidence.NONE,
        _STANDINGS.get(standing),
        error or "",
        named=looked is not None,
        settled_at_ms=settled_ms,
        accepted_at_ms=accepted[-1] if accepted else None,
        tried_by=attempts[-1].process if attempts else 0,
        doubted_by=frozenset(one.process for one in attempts if one.doubtful),
    )


def _history(attempts: Sequence[_Attempt], before: Status | None) -> History:
    if not attempts:
        return History(before)
    sent, doubted, accepted = 0, False, False
    last: str | None = None
    known_before: Status | None = None
    for one in attempts:
        if one.state == "not_sent":
            continue
        sent += 1
        if one.doubtful:
            doubted = True
            known_before = _STATUSES.get(one.before)
        if one.kind is not None:
            last = one.kind
            accepted = accepted or last == Kind.ACCEPTED
    return History(known_before or before, sent, doubted, accepted, _KINDS[last] if last else None)
