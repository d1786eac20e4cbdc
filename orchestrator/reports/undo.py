"""What a restore is about to do, for the question before it and for its dry run."""

from __future__ import annotations

from typing import NamedTuple

from orchestrator.reports.rows import RunKind, iso_time, plural
from orchestrator.text import for_terminal

#: characters of a name, and of a reason or another text that somebody has written
_NAME_LIMIT = 60
_TEXT_LIMIT = 300
#: names, and other runs, that are shown
_FIRST = 5


class OtherRun(NamedTuple):
    """Another run in the same VDNs that turned off what the one being undone did not."""

    run_id: str
    kind: RunKind
    operator: str
    started_at_ms: int
    #: neither restored since nor turned off by the run that is being undone
    campaigns: int


class UndoFacts(NamedTuple):
    """The run that is undone, and what of it a restore would start."""

    run_id: str
    kind: RunKind
    operator: str
    host: str
    reason: str
    started_at_ms: int
    #: campaigns that will start, and what the first of them are called
    will_start: int
    first_names: tuple[str, ...] = ()
    #: that another restore has started
    started_before: int = 0
    #: why others stay off; for each reason how many, and what the first of them are called
    stay_off: tuple[tuple[str, int, tuple[str, ...]], ...] = ()
    others: tuple[OtherRun, ...] = ()
    #: runs that turned off again what a restore had started
    stopped_again_by: tuple[str, ...] = ()


def undo_lines(facts: UndoFacts) -> list[str]:
    """Say what will be undone: when, by whom and why it was done, what starts and what does not."""
    reason = for_terminal(facts.reason, limit=_TEXT_LIMIT)
    by = for_terminal(f"{facts.operator} on {facts.host}", limit=_TEXT_LIMIT)
    why = f"; reason: {reason}" if reason else "; no reason was given"
    starts = "nothing will start"
    if number := facts.will_start:
        starts = f"{plural(number, 'campaign')} will start{_names(facts.first_names, number)}"
    before = []
    if number := facts.started_before:
        were = "was" if number == 1 else "were"
        before = [f"{number:,} {were} started again before, by another restore"]
    return [
        f"run {facts.run_id}: {facts.kind.value} at {_time(facts.started_at_ms)} by {by}{why}",
        starts,
        *before,
        *(
            f"{number:,} {'stays' if number == 1 else 'stay'} off:"
            f" {for_terminal(why_not, limit=_TEXT_LIMIT)}{_names(names, number)}"
            for why_not, number, names in facts.stay_off
        ),
        *other_lines(facts),
    ]


def _names(first: tuple[str, ...], number: int) -> str:
    names = [for_terminal(name, limit=_NAME_LIMIT) for name in first[:_FIRST]]
    more = ", …" if number > len(names) else ""
    return f" ({', '.join(names)}{more})" if names else ""


def other_lines(facts: UndoFacts, *, is_last: bool = False) -> list[str]:
    """Say which other runs turned off more in these VDNs: a stop may have been made in several.

    `is_last`: nothing is asked any more, so say what comes next.
    """
    lines = [
        f"{one.campaigns:,} more {'was' if one.campaigns == 1 else 'were'} turned off by run"
        f" {one.run_id} ({one.kind.value} at {_time(one.started_at_ms)} by"
        f" {for_terminal(one.operator, limit=_NAME_LIMIT)})"
        f"{f'; `orchestrator restore {one.run_id} --dry-run` shows them' if is_last else ''}"
        for one in facts.others[:_FIRST]
    ]
    rest = facts.others[_FIRST:]
    if rest:
        lines.append(f"{sum(one.campaigns for one in rest):,} more by {len(rest)} other runs")
    # what was stopped again is another run's work to undo
    lines += [
        f"`orchestrator restore {run_id}` starts again what run {run_id} turned off"
        for run_id in facts.stopped_again_by[-_FIRST:]
    ]
    return lines


def _time(at_ms: int) -> str:
    return f"{iso_time(at_ms)[:19].replace('T', ' ')}Z"
