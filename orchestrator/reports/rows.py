"""What the report says about one line of the list, and how the lines add up.

`stopped` answers for the campaign, not for us: a restore that failed leaves it stopped. Lines in =
sum of all outcomes; `Tally.check` proves it. docs/spec/contracts.md, "Outcomes".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from orchestrator.errors import BugError
from orchestrator.isales.verdict import Kind
from orchestrator.model import Refusal, read_vdn_id
from orchestrator.policy.decide import NOT_COUNTED, SUCCESSES, Changed, Evidence, Outcome
from orchestrator.text import for_spreadsheet, for_terminal

#: the header of results.csv and failed.csv, in order; adding one at the end is compatible
COLUMNS = (
    "vdn_id",
    "campaign_id",
    "campaign_name",
    "outcome",
    "stopped",
    "changed",
    "evidence",
    "may_start",
    "state_before",
    "state_after",
    "state_seen_at",
    "attempts",
    "result_code",
    "result_name",
    "result_desc",
    "http_status",
    "first_sent_at",
    "settled_at",
    "duration_ms",
    "line",
    "duplicate_of",
    "run_id",
    "error",
)

#: so many unstopped campaigns are named on the terminal; the rest are in failed.csv
NAMED_UNSTOPPED = 20

#: characters of a time that the server wrote
_TIME_LIMIT = 60

#: the by_vdn key of lines whose VDN is none
NO_VDN = "invalid"


class RunKind(StrEnum):
    """What a run is for; the value is `action` in summary.json."""

    PAUSE = "pause"
    PAUSE_ALL = "pause-all"
    RESTORE = "restore"


class SweepRecord(NamedTuple):
    """One listing of a VDN's started campaigns, as the journal keeps it."""

    vdn_id: int
    started_at_ms: int
    ended_at_ms: int
    pages: int
    rows: int
    #: what the server promised; None when it did not say
    total_size: int | None
    #: campaigns that were started
    started: int
    complete: bool
    #: why it proves nothing; empty when complete
    problem: str


class ReportRow(NamedTuple):
    """One row of results.csv: what became of one line of the list.

    A tuple, because a frozen dataclass of so many fields takes 4.1 µs to make, and this 1.6.
    """

    #: text, because an invalid line shows what stood there
    vdn_id: str
    campaign_id: str
    campaign_name: str
    outcome: Outcome
    evidence: Evidence
    changed: Changed
    #: "yes", "no", "maybe" or ""
    may_start: str
    #: status names, or "" when not seen
    state_before: str
    state_after: str
    #: wall-clock milliseconds since the epoch, like every `_ms` here
    state_seen_at_ms: int | None
    attempts: int
    result_code: str
    result_name: str
    result_desc: str
    http_status: int | None
    first_sent_at_ms: int | None
    settled_at_ms: int | None
    line: int | None
    duplicate_of: int | None
    run_id: str
    #: our words for what went wrong, or ""
    error: str
    #: what the last answer was; no column of its own
    cause: Kind | None = None

    @property
    def duration_ms(self) -> int | None:
        """Milliseconds from the first PUT to the end, >= 0 even if the wall clock was set back."""
        if self.first_sent_at_ms is None or self.settled_at_ms is None:
            return None
        return max(0, self.settled_at_ms - self.first_sent_at_ms)


#: the outcomes that need a person or another run: the rows of failed.csv. For a pause these are the
#: rows with stopped = `no`; for a restore, what should run and does not
UNSTOPPED = frozenset(Outcome) - SUCCESSES - NOT_COUNTED

_AFTER_PAUSE = {
    outcome: "" if outcome in NOT_COUNTED else "no" if outcome in UNSTOPPED else "yes"
    for outcome in Outcome
}

#: after a restore these outcomes alone say whether it is stopped; for the others the state does
_AFTER_RESTORE = {
    Outcome.RESTORED: "no",
    Outcome.ALREADY_RUNNING: "no",
    Outcome.NOT_RUNNING: "yes",
    Outcome.INVALID: "",
    Outcome.DUPLICATE: "",
    Outcome.PLANNED: "",
}


def stopped(row: ReportRow, kind: RunKind) -> str:
    """Answer "is it stopped?" with `yes`, `no`, or nothing when the line is no campaign to act on.

    A pause says `no` when it is not sure. A restore says nothing when it did not see the state.
    """
    if kind is RunKind.RESTORE:
        if row.outcome in _AFTER_RESTORE:
            return _AFTER_RESTORE[row.outcome]
        return {"": "", "started": "no"}.get(row.state_after, "yes")
    return _AFTER_PAUSE[row.outcome]


def plural(number: int, noun: str) -> str:
    """A number with its noun: `1 campaign`, `1,200 campaigns`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def scheduled(number: int, first: str, *, more: str = "") -> str:
    """Say what starts by itself, after other sentences; empty for nothing.

    `first` is when the first one does, as the server wrote it; empty: that is not known.
    """
    if not number:
        return ""
    one = number == 1
    said = f" {number:,}{more} {'is' if one else 'are'} scheduled to start"
    if not first:
        return f"{said}."
    at = for_terminal(first, limit=_TIME_LIMIT)
    return f"{said}, {'' if one else 'the first '}at {at} server time."


def iso_time(at_ms: int | None) -> str:
    """Write milliseconds since the epoch as `2026-11-23T23:05:01.123Z`; None as nothing."""
    if at_ms is None:
        return ""
    whole_s, rest_ms = divmod(at_ms, 1000)
    return _iso_second(whole_s) + _ISO_FRACTIONS[rest_ms]


#: half of the time of writing them anew, three times a row
_ISO_FRACTIONS = tuple(f".{rest_ms:03}Z" for rest_ms in range(1000))


@lru_cache(maxsize=64)  # rows come in order of time, thousands to a second
def _iso_second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def cells(row: ReportRow, kind: RunKind = RunKind.PAUSE) -> list[str]:
    """Write one row as the cells of COLUMNS, safe to open in a spreadsheet.

    Numbers, times, states and members of our enums are not escaped: they are ours, and tame. What
    may come from the list or the server is, always. An enum member is a str, so no `.value`.
    """
    return [
        for_spreadsheet(row.vdn_id),
        for_spreadsheet(row.campaign_id),
        for_spreadsheet(row.campaign_name),
        row.outcome,
        stopped(row, kind),
        row.changed,
        row.evidence,
        row.may_start,
        row.state_before,
        row.state_after,
        iso_time(row.state_seen_at_ms),
        str(row.attempts),
        for_spreadsheet(row.result_code),
        for_spreadsheet(row.result_name),
        for_spreadsheet(row.result_desc),
        _number(row.http_status),
        iso_time(row.first_sent_at_ms),
        iso_time(row.settled_at_ms),
        _number(row.duration_ms),
        _number(row.line),
        _number(row.duplicate_of),
        row.run_id,
        for_spreadsheet(row.error),
    ]


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


# -- why -----------------------------------------------------------------------------------------

#: outcomes whose own name leaves open why
_UNEXPLAINED = frozenset({Outcome.FAILED, Outcome.REJECTED, Outcome.DENIED, Outcome.STILL_RUNNING})

#: of a restore: the start was accepted
STOPPED_AGAIN = "suspended again since"

_CAUSES = {
    Kind.ACCEPTED: "accepted, but not for long",
    Kind.WRONG_STATE: "status does not allow it",
    Kind.NOT_FOUND: "not found",
    Kind.REJECTED: "parameters",
    Kind.CODE_UNKNOWN: "unknown code",
    Kind.DATABASE_ERROR: "database",
    Kind.CODES_DISAGREE: "contradicting codes",
    Kind.UNREADABLE: "unreadable answer",
    Kind.SERVER_ERROR: "server error",
    Kind.THROTTLED: "too busy",
    Kind.BROKEN: "no answer",
    Kind.UNREACHABLE: "unreachable",
    Kind.TLS_REFUSED: "certificate",
    Kind.UNAUTHORIZED: "credentials",
    Kind.FORBIDDEN: "no permission",
    Kind.NOT_THE_API: "not the CC-iSales interface",
}


def main_reason(outcome: Outcome, cause: Kind | None) -> str:
    """Say in two words why this outcome came about; empty when the outcome says it."""
    if outcome is Outcome.FAILED and cause is Kind.ACCEPTED:
        return STOPPED_AGAIN
    return "" if cause is None or outcome not in _UNEXPLAINED else _CAUSES[cause]


# -- sums ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What the rows of one report add up to; grows with VDNs and outcomes, not with rows."""

    lines: int = 0
    counts: Counter[Outcome] = field(default_factory=Counter)
    by_vdn: dict[str, Counter[Outcome]] = field(default_factory=dict)
    #: why, per unstopped outcome, in the words of causes.py
    reasons: dict[Outcome, Counter[str]] = field(default_factory=dict)
    #: the first unstopped rows of each outcome, each with its place among the rows
    first: dict[Outcome, list[tuple[int, ReportRow]]] = field(default_factory=dict)

    def add(self, row: ReportRow) -> None:
        """Count one row."""
        outcome = row.outcome
        self.lines += 1
        self.counts[outcome] += 1
        of_vdn = self.by_vdn.get(row.vdn_id)
        if of_vdn is None:
            of_vdn = self.by_vdn.setdefault(_vdn_key(row.vdn_id), Counter())
        of_vdn[outcome] += 1
        if outcome in UNSTOPPED:
            self._explain(row)

    def _explain(self, row: ReportRow) -> None:
        reason = main_reason(row.outcome, row.cause)
        if row.outcome not in self.reasons:
            self.reasons[row.outcome] = Counter()
            self.first[row.outcome] = []
        self.reasons[row.outcome][reason] += 1
        first = self.first[row.outcome]
        if len(first) < NAMED_UNSTOPPED:
            first.append((self.lines, row))

    def unstopped(self, accept: Collection[Outcome] = ()) -> int:
        """How many rows did not reach the goal, those accepted by the user left out."""
        return sum(self.counts[outcome] for outcome in UNSTOPPED if outcome not in accept)

    def first_unstopped(self, accept: Collection[Outcome] = ()) -> list[ReportRow]:
        """The first rows of `unstopped(accept)`, at most NAMED_UNSTOPPED, in order."""
        found = [
            pair for outcome, pairs in self.first.items() if outcome not in accept for pair in pairs
        ]
        found.sort(key=lambda pair: pair[0])
        return [row for _, row in found[:NAMED_UNSTOPPED]]

    def check(self, expected_lines: int) -> None:
        """Prove that the rows add up to the lines that came in.

        Raises:
            BugError: they do not; the report must not be believed.
        """
        total = sum(self.counts.values())
        if total != expected_lines or self.lines != expected_lines:
            raise BugError(
                f"the report does not add up: {expected_lines:,} lines in, {self.lines:,} rows out,"
                f" {total:,} outcomes",
                advice="keep the run directory and report this; the journal is the truth",
            )


def _vdn_key(vdn_id: str) -> str:
    return NO_VDN if isinstance(read_vdn_id(vdn_id), Refusal) else vdn_id
