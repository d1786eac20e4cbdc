"""The lines that people read at the end of a run, or read out to others.

"Quiet" is said only of a proven VDN, with both times and with what it leaves out. With several
VDNs, those that are not quiet lead. Names and reasons from the server pass `for_terminal`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import (
    UNSTOPPED,
    ReportRow,
    RunKind,
    Tally,
    iso_time,
    plural,
    scheduled,
)
from orchestrator.reports.summary import (
    LAG_TOLD_S,
    SIGNAL_EXIT_CODES,
    CallsRecord,
    Ended,
    RunFacts,
    RunVerdict,
    VdnProof,
    not_covered,
    run_verdict,
)
from orchestrator.text import as_sentence, for_terminal

#: characters of a campaign name and of a reason in one line
_NAME_LIMIT = 60
_REASON_LIMIT = 200
#: so many campaigns of one reason get a line each, more of them one line
_NAMED_ALIKE = 3

_WORDS = {outcome: outcome.value.replace("_", " ") for outcome in Outcome} | {
    Outcome.ALREADY_PAUSED: "already",
    Outcome.ALREADY_RUNNING: "already",
    Outcome.UNATTEMPTED: "not attempted",
}

_NOT_MEASURED = " Since nothing was paused, the age of these listings was not measured."

_STOPPED = (Outcome.PAUSED, Outcome.ALREADY_PAUSED, Outcome.NOT_RUNNING)
_RUNNING = (Outcome.RESTORED, Outcome.ALREADY_RUNNING)
_NOT_SENT = (Outcome.DUPLICATE, Outcome.INVALID)

_ENDED_WORDS = {
    Ended.FINISHED: "",
    Ended.DEADLINE: "Out of time",
    Ended.SIGNAL_HUP: "Interrupted (SIGHUP)",
    Ended.SIGNAL_INT: "Interrupted (SIGINT)",
    Ended.SIGNAL_TERM: "Interrupted (SIGTERM)",
    Ended.KILLED: "Killed",
    Ended.CREDENTIALS: "Ended early (credentials refused)",
    Ended.DENIED: "Ended early (access refused)",
    Ended.UNTRUSTED: "Ended early (certificate not trusted)",
    Ended.WRONG_NAME: "Ended early (certificate of another name)",
    Ended.EXPIRED: "Ended early (certificate not valid now)",
    Ended.SERVER: "Ended early (server trouble)",
    Ended.MAX_FAILURES: "Ended early (too many failures)",
    Ended.STORAGE: "Ended early (the journal could not be written)",
    Ended.BUG: "Ended early (a bug in the orchestrator)",
}


def verdict_line(facts: RunFacts, tally: Tally) -> str:
    """Say how the run ended, in one line; `next_step` says what to do."""
    if facts.kind is RunKind.PAUSE_ALL:
        return _emergency_line(facts, tally)
    ended = _ended_words(facts)
    parts = [
        f"{ended}: " if ended else "",
        f"{plural(tally.lines, 'line')}: ",
        _dry_parts(tally) if facts.dry_run else _parts(facts, tally),
        ".",
        _unverified(facts),
        _lag(facts),
        " The report could not be stored." if facts.storage_failed else "",
    ]
    return "".join(parts)


def begun_line(begun: Mapping[str, Any]) -> str:
    """Say that a run has begun, by what its summary.json will hold, and `vdns`."""
    vdns, manifest = begun["vdns"], begun["manifest"]
    is_file = manifest and manifest["path"] != "-"
    what = {
        RunKind.PAUSE: f"to pause the list {manifest['path']}" if is_file else "to pause a list",
        RunKind.PAUSE_ALL: f"to stop {'VDN' if len(vdns) == 1 else 'VDNs'}"
        f" {', '.join(map(str, vdns))}",
        RunKind.RESTORE: f"to start again what run {begun['source_run']} stopped",
    }[RunKind(begun["action"])]
    why = begun["reason"] or "no reason was given"
    line = f"{begun['operator']} on {begun['host']} began {what} on {begun['server_name']}: {why}"
    return as_sentence(for_terminal(line, limit=1000))


def unstopped_lines(facts: RunFacts, tally: Tally, *, failed_path: str = "failed.csv") -> list[str]:
    """Name the first campaigns that are not stopped (restore: not started), each with its reason.

    What the user accepts with --accept is left out. The last line counts those that found no room.
    """
    named = tally.first_unstopped(facts.accept)
    groups: dict[tuple[Outcome, str], list[ReportRow]] = {}
    for row in named:
        groups.setdefault((row.outcome, row.error or row.result_desc), []).append(row)
    lines = []
    for rows in groups.values():
        one_by_one = len(rows) <= _NAMED_ALIKE
        lines += [_unstopped_line(row) for row in rows] if one_by_one else [_alike_line(rows)]
    more = tally.unstopped(facts.accept) - len(named)
    where = "" if facts.storage_failed else f", see {failed_path}"
    return [*lines, f"… and {more:,} more{where}"] if more else lines


def _unstopped_line(row: ReportRow) -> str:
    name = f' "{for_terminal(row.campaign_name, limit=_NAME_LIMIT)}"' if row.campaign_name else ""
    return f"VDN {row.vdn_id} campaign {row.campaign_id}{name}: {_why_unstopped(row)}"


def _alike_line(rows: list[ReportRow]) -> str:
    """Say once what is true of many."""
    by_vdn: dict[str, list[str]] = {}
    for row in rows:
        by_vdn.setdefault(row.vdn_id, []).append(row.campaign_id)
    named = "; ".join(f"VDN {vdn} campaigns {', '.join(ids)}" for vdn, ids in by_vdn.items())
    alike = rows[0] if len({row.attempts for row in rows}) == 1 else rows[0]._replace(attempts=0)
    return f"{named}: {_why_unstopped(alike)}"


def _why_unstopped(row: ReportRow) -> str:
    reason = row.error or row.result_desc
    shown = f": {for_terminal(reason, limit=_REASON_LIMIT)}" if reason else ""
    tries = f" after {plural(row.attempts, 'attempt')}" if row.attempts else ""
    return f"{_WORDS[row.outcome]}{shown}{tries}"


def _unverified(facts: RunFacts) -> str:
    if not facts.unverified:
        return ""
    were = "was" if facts.unverified == 1 else "were"
    return (
        f" {plural(facts.unverified, 'campaign')} {were} accepted and could not be checked"
        " afterwards."
    )


def _lag(facts: RunFacts) -> str:
    if facts.lag_s <= LAG_TOLD_S:
        return ""
    return f" The server's listings were up to {facts.lag_s:.0f} s old."


# -- pause and restore ------------------------------------------------------------------------


def _parts(facts: RunFacts, tally: Tally) -> str:
    if facts.kind is RunKind.RESTORE:
        reached = _restored_parts(facts, tally)
    else:
        reached = [_with_split(tally, "stopped", _STOPPED)]
    missed = sum(tally.counts[outcome] for outcome in UNSTOPPED)
    if missed:
        ranked = sorted(
            (outcome for outcome in Outcome if outcome in UNSTOPPED and tally.counts[outcome]),
            key=lambda outcome: -tally.counts[outcome],
        )
        reasons = ", ".join(_missed_group(facts, tally, outcome) for outcome in ranked)
        word = "started again" if facts.kind is RunKind.RESTORE else "stopped"
        reached.append(f"{missed:,} not {word}: {reasons}")
    unsent = ", ".join(_groups(tally, _NOT_SENT))
    return ", ".join(reached) + (f"; not sent: {unsent}" if unsent else "")


def _restored_parts(facts: RunFacts, tally: Tally) -> list[str]:
    """What runs again, and what rightly does not; what another restore had started is neither."""
    before = facts.restored_before
    parts = [f"{before:,} started again before, by another restore"] if before else []
    if not before or any(tally.counts[outcome] for outcome in _RUNNING):
        parts.insert(0, _with_split(tally, "running again", _RUNNING))
    parts += _groups(tally, (Outcome.NOT_RUNNING,))
    left = tally.counts[Outcome.LEFT_ALONE] - before
    if left > 0:
        parts.append(f"{left:,} left alone")
    return parts


def _dry_parts(tally: Tally) -> str:
    return ", ".join(_groups(tally, Outcome)) + ". Nothing was sent"


def _with_split(tally: Tally, word: str, outcomes: tuple[Outcome, ...]) -> str:
    total = sum(tally.counts[outcome] for outcome in outcomes)
    split = ", ".join(_groups(tally, outcomes))
    return f"{total:,} {word}" + (f" ({split})" if split else "")


def _groups(tally: Tally, outcomes: Iterable[Outcome]) -> list[str]:
    return [
        f"{tally.counts[outcome]:,} {_WORDS[outcome]}"
        for outcome in outcomes
        if tally.counts[outcome]
    ]


def _missed_group(facts: RunFacts, tally: Tally, outcome: Outcome) -> str:
    reasons = tally.reasons[outcome]
    reason, frequency = reasons.most_common(1)[0]
    mostly = "" if frequency == tally.counts[outcome] else "mostly "
    notes = [mostly + reason] if reason else []
    if outcome in facts.accept:
        notes.append("accepted")
    noted = f" ({', '.join(notes)})" if notes else ""
    return f"{tally.counts[outcome]:,} {_WORDS[outcome]}{noted}"


def _ended_words(facts: RunFacts) -> str:
    words = _ENDED_WORDS[facts.ended]
    if facts.why and facts.ended not in SIGNAL_EXIT_CODES and words:
        return f"{words.partition(' (')[0]} ({for_terminal(facts.why, limit=_REASON_LIMIT)})"
    return words


# -- pause-all --------------------------------------------------------------------------------


def _emergency_line(facts: RunFacts, tally: Tally) -> str:
    if run_verdict(facts, tally) is RunVerdict.PLANNED:
        return _dry_emergency_line(facts, tally)
    ranked = sorted(facts.proofs, key=lambda proof: proof.verdict is RunVerdict.QUIET)
    sentences = [_proof_sentence(facts, tally, proof) for proof in ranked]
    if facts.calls is not None:
        sentences.append(_calls_sentence(facts.calls))
    sentences.append(f"Not covered: {'; '.join(not_covered(facts))}.{_lag(facts)}")
    if facts.storage_failed or facts.ended is Ended.STORAGE:
        sentences.append("The journal or the report could not be stored.")
    elif facts.journal_incomplete:
        sentences.append(
            "The disk failed while this run was recorded: campaigns that it paused then may be"
            " missing here and in a restore; the output of that process lists them."
        )
    return " ".join(sentences)


def _dry_emergency_line(facts: RunFacts, tally: Tally) -> str:
    found = "; ".join(
        f"VDN {proof.vdn_id}: {plural(_of_vdn(tally, proof, Outcome.PLANNED), 'campaign')}"
        " would be paused"
        for proof in facts.proofs
    )
    return f"{found}. No PUT was sent."


def _proof_sentence(facts: RunFacts, tally: Tally, proof: VdnProof) -> str:
    number = _of_vdn(tally, proof, Outcome.PAUSED)
    paused = f"We paused {number:,}."
    match proof.verdict:
        case RunVerdict.QUIET:
            gap = f" The longest time between two clean looks was {proof.longest_gap_s:.0f} s."
            again_ms = proof.again_at_ms or proof.seen_at_ms or proof.quiet_since_ms
            said = (
                "is quiet: the server's listings showed nothing running at"
                f" {_clock(proof.quiet_since_ms, '')} and again at"
                f" {_clock(again_ms, proof.local_time)}. {paused}"
                f"{'' if number else _NOT_MEASURED}{gap if proof.longest_gap_s else ''}"
            )
        case RunVerdict.STILL_RUNNING:
            seen = f" at {_clock(proof.seen_at_ms, proof.local_time)}" if proof.seen_at_ms else ""
            runs = f"{plural(proof.started, 'campaign')} started{seen}"
            said = f"is STILL RUNNING: {runs}. {paused}"
        case _:
            why = f"{_why_unproven(facts, proof)} {paused}"
            said = f"is NOT PROVEN quiet: {why}{_left_over(tally, proof)}"
    may_start = scheduled(proof.may_start, proof.first_start, more=" more")
    return f"VDN {proof.vdn_id} {said}{may_start}"


def _calls_sentence(calls: CallsRecord) -> str:
    """How the calls in progress ended, or why that is not known."""
    problem = f" ({for_terminal(calls.problem, limit=_REASON_LIMIT)})" if calls.problem else ""
    beyond = ", ".join(str(vdn_id) for vdn_id in calls.beyond)
    more = f" CC-CMS takes no VDN above 5000: VDN {beyond} was not counted." if beyond else ""
    if not calls.counts:
        return f"Calls in progress could not be counted{problem}.{more}"
    first_ms, last_ms = calls.counts[0].at_ms, calls.counts[-1].at_ms
    first, last = calls.total(first_ms), calls.total(last_ms)
    then = _clock(last_ms if calls.silent_at_ms is None else calls.silent_at_ms, "")
    if first or last:
        were = "call was" if first == 1 else "calls were"
        ending = f"{last:,} still" if last else "none"
        said = f"{first:,} {were} in progress at {_clock(first_ms, '')}, {ending} at {then},"
    else:
        said = f"No call was in progress at {then}"
    read = calls.campaigns - calls.unread
    where = f"{read:,} of the {calls.campaigns:,}" if calls.unread else "the"
    early = f" Counting ended early{problem}." if problem else ""
    return f"{said} in {where} campaigns that we stopped.{early}{more}"


def _left_over(tally: Tally, proof: VdnProof) -> str:
    """What was found, and is not stopped as far as this run knows."""
    counts = tally.by_vdn.get(str(proof.vdn_id))
    left = sum(counts[one] for one in UNSTOPPED) if counts else 0
    are = "is" if left == 1 else "are"
    return f" {left:,} that we found {are} not stopped." if left else ""


def _why_unproven(facts: RunFacts, proof: VdnProof) -> str:
    if proof.no_campaigns:
        return f"it has no campaigns at all, is {proof.vdn_id} the right VDN?"
    if proof.problem:
        return as_sentence(for_terminal(proof.problem, limit=_REASON_LIMIT))
    words = _ended_words(facts)
    return f"{words[:1].lower()}{words[1:]}." if words else "no two clean passes."


def _of_vdn(tally: Tally, proof: VdnProof, outcome: Outcome) -> int:
    counts = tally.by_vdn.get(str(proof.vdn_id))
    return counts[outcome] if counts else 0


def _clock(at_ms: int | None, local_time: str) -> str:
    here = f" ({local_time} here)" if local_time else ""
    return f"{iso_time(at_ms)[11:19]}Z{here}"
