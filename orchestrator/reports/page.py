"""report.html: one run, or a stop with its restore, on one page that needs nothing else.

Everything comes from what summary.json and results.csv are made of. The page has no script and no
outside address, prints on A4, and is read on a phone, in the dark and without colours.
docs/spec/contracts.md, "The page".
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.policy.decide import Changed, Outcome
from orchestrator.reports.picture import BOX, Picture, draw
from orchestrator.reports.rows import (
    UNSTOPPED,
    ReportRow,
    RunKind,
    Tally,
    iso_time,
    main_reason,
    stopped,
)
from orchestrator.reports.summary import Ended, RunVerdict
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jinja2 import Environment

    from orchestrator.reports.rows import SweepRecord
    from orchestrator.reports.summary import RunFacts

#: rows that the page shows; beyond that it names results.csv
ROWS_SHOWN = 5_000
#: campaigns that are not stopped, each with its reason
UNSTOPPED_SHOWN = 500
#: check passes and counts of calls; the first and the last of them
_MANY_SHOWN = 40

#: characters of a heading, and of the sentence of thousands of VDNs
_HEADING_MAX, _LINE_MAX = 400, 1_000_000

#: verdict → a sign that is told apart without colour, and how grave it is
SIGNS: Final = {
    RunVerdict.COMPLETE: ("✓", "good"),
    RunVerdict.QUIET: ("✓", "good"),
    RunVerdict.PLANNED: ("○", "plain"),
    RunVerdict.UNVERIFIED: ("?", "open"),
    RunVerdict.INTERRUPTED: ("?", "open"),
    RunVerdict.NOT_PROVEN: ("?", "open"),
    RunVerdict.INCOMPLETE: ("✗", "bad"),
    RunVerdict.ENDED_EARLY: ("✗", "bad"),
    RunVerdict.STILL_RUNNING: ("✗", "bad"),
}


class ShownRow(NamedTuple):
    """A row as the page shows it."""

    row: ReportRow
    #: yes, no, or nothing
    stopped: str
    reason: str


class Moment(NamedTuple):
    """Something that happened, for the timeline."""

    at: str
    what: str
    run_id: str


@dataclass(slots=True)
class Rows:
    """The rows of one run, seen once: what the page shows of them, and when campaigns stopped."""

    kind: RunKind
    tally: Tally = field(default_factory=Tally)
    shown: list[ShownRow] = field(default_factory=list)
    unstopped: list[ShownRow] = field(default_factory=list)
    first_sent_ms: int | None = None
    #: how many ran at the beginning, as far as this run had to do with them
    running_first: int = 0
    _changed_ms: array[int] = field(default_factory=lambda: array("q"))

    def take(self, rows: Iterable[ReportRow]) -> None:
        """See them all; memory grows by eight bytes a campaign."""
        for row in rows:
            self.tally.add(row)
            if len(self.shown) < ROWS_SHOWN:
                self.shown.append(shown_row(row, self.kind))
            if row.outcome in UNSTOPPED and len(self.unstopped) < UNSTOPPED_SHOWN:
                self.unstopped.append(shown_row(row, self.kind))
            if row.first_sent_at_ms is not None:
                first_ms = self.first_sent_ms
                earlier = first_ms is None or row.first_sent_at_ms < first_ms
                self.first_sent_ms = row.first_sent_at_ms if earlier else first_ms
            self._follow(row)

    def _follow(self, row: ReportRow) -> None:
        ours = row.outcome in {Outcome.PAUSED, Outcome.RESTORED} and row.changed is not Changed.NO
        if ours and row.settled_at_ms is not None:
            self._changed_ms.append(row.settled_at_ms)
        if self.kind is not RunKind.RESTORE and (ours or row.outcome in UNSTOPPED):
            self.running_first += 1

    def changes(self) -> Iterator[tuple[int, int]]:
        """When campaigns stopped (-1), or began to run again (+1)."""
        step = 1 if self.kind is RunKind.RESTORE else -1
        return ((at_ms, step) for at_ms in self._changed_ms)


class Told(NamedTuple):
    """All that the page says of one run."""

    facts: RunFacts
    summary: Mapping[str, Any]
    #: the sentence that can be read out
    line: str
    rows: Rows
    #: seconds since the epoch → PUTs that left in it
    sent: Mapping[int, int]
    #: name → SHA-256 of a file of the run directory
    hashes: Mapping[str, str]


def render(runs: Sequence[Told], *, made_at_ms: int) -> Iterator[str]:
    """Make the page, piece by piece: of a run, then of what belongs to it (a restore, repeats)."""
    pieces: Iterator[str] = _template().generate(
        runs=[view_of(told) for told in runs],
        timeline=_timeline(runs),
        made_at=iso_time(made_at_ms),
        rows_shown=ROWS_SHOWN,
    )
    return pieces


def view_of(told: Told) -> dict[str, Any]:
    """What a template needs to show one run."""
    facts, summary, rows = told.facts, told.summary, told.rows
    sign, grade = SIGNS[RunVerdict(summary["verdict"])]
    sweeps = facts.sweeps
    return {
        "told": told,
        "facts": facts,
        "summary": summary,
        "sign": sign,
        "grade": grade,
        "title": _TITLES[facts.kind],
        "heading": _heading(told),
        "picture": _picture(told),
        "rows": rows,
        "more_rows": rows.tally.lines - len(rows.shown),
        "more_unstopped": rows.tally.unstopped() - len(rows.unstopped),
        "sweeps": _ends(sweeps),
        "calls": _ends(summary.get("calls") or ()),
        "has_verdicts": any("verdict" in one for one in summary["by_vdn"].values()),
        "began": iso_time(facts.started_at_ms),
        "ended": iso_time(facts.ended_at_ms),
        "took": _spoken(facts.started_at_ms, facts.ended_at_ms),
    }


def _heading(told: Told) -> str:
    """The sentence; of many VDNs, whose sentence is a page long, how many are what."""
    if len(told.line) <= _HEADING_MAX or not told.facts.proofs:
        return told.line
    counted = Counter(proof.verdict.value.replace("_", " ") for proof in told.facts.proofs)
    verdicts = ", ".join(f"{number:,} {verdict}" for verdict, number in counted.most_common())
    paused = told.rows.tally.counts[Outcome.PAUSED]
    return f"{len(told.facts.proofs):,} VDNs: {verdicts}. We paused {paused:,}."


_TITLES = {
    RunKind.PAUSE: "A list was paused",
    RunKind.PAUSE_ALL: "Emergency stop",
    RunKind.RESTORE: "Starting again what was stopped",
}


class _Ends(NamedTuple):
    """The first and the last of many."""

    shown: Sequence[Any]
    left_out: int


def _ends(many: Sequence[Any]) -> _Ends:
    half = _MANY_SHOWN // 2
    if len(many) <= _MANY_SHOWN:
        return _Ends(many, 0)
    return _Ends((*many[:half], *many[-half:]), len(many) - _MANY_SHOWN)


def _picture(told: Told) -> Picture | None:
    facts = told.facts
    if facts.ended_at_ms is None or facts.dry_run or not told.sent:
        return None
    return draw(
        began_ms=facts.started_at_ms,
        ended_ms=max(facts.ended_at_ms, facts.started_at_ms),
        first=told.rows.running_first,
        changes=told.rows.changes(),
        sent=told.sent,
        ceiling_per_s=facts.rate_ceiling_per_s,
        looks=_looks(facts.sweeps),
    )


def _looks(sweeps: Sequence[SweepRecord]) -> list[tuple[int, bool]]:
    """Both listings of a pass are one look."""
    clean: dict[tuple[int, int], bool] = {}
    for one in sweeps:
        key = one.vdn_id, one.ended_at_ms
        clean[key] = clean.get(key, True) and one.complete and not one.started
    return [(ended_ms, is_clean) for (_, ended_ms), is_clean in clean.items()]


def _timeline(runs: Sequence[Told]) -> list[Moment]:
    """What happened in all of them, in order."""
    found: list[Moment] = []
    for told in runs:
        facts = told.facts
        run_id = facts.run_id

        def add(at: object, what: str, run_id: str = run_id) -> None:
            if at:
                found.append(Moment(str(at), what, run_id))

        add(iso_time(facts.started_at_ms), f"{facts.operator} started {facts.kind.value}")
        add(iso_time(told.rows.first_sent_ms), "the first request left")
        for proof in facts.proofs:
            add(iso_time(proof.quiet_since_ms), f"VDN {proof.vdn_id}: nothing was running")
        for note in told.summary.get("notes") or ():
            add(note["at"], f"{note['operator']} noted: {note['text']}")
        for before, process in pairwise(told.summary.get("processes") or ()):
            taken_up = "another process took it up"
            if ended := before.get("ended"):
                early = "" if ended == Ended.FINISHED else f" early ({ended.replace('_', ' ')})"
                add(before.get("ended_at"), f"its process ended{early}")
            else:  # nobody wrote down when
                taken_up = f"its process had been killed; {taken_up}"
            add(process["started_at"], taken_up)
        add(told.summary.get("silent_at"), "no call was in progress any more")
        add(iso_time(facts.ended_at_ms), f"ended: {told.summary['verdict'].replace('_', ' ')}")
    return sorted(found)


def shown_row(row: ReportRow, kind: RunKind) -> ShownRow:
    """A row of a run of this kind, as people see it."""
    return ShownRow(row, stopped(row, kind), _reason(row))


def _reason(row: ReportRow) -> str:
    described = row.result_desc if row.outcome in UNSTOPPED else ""
    return row.error or main_reason(row.outcome, row.cause) or described


def _spoken(began_ms: int, ended_ms: int | None) -> str:
    if ended_ms is None:
        return ""
    seconds = max(0, ended_ms - began_ms) / 1000
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


@cache
def _template() -> Any:
    return environment_of("orchestrator.reports").get_template("page.html")


def environment_of(*packages: str) -> Environment:
    """The templates of these packages, with what the picture needs and the filters of the page."""
    from jinja2 import (  # noqa: PLC0415 - made late
        ChoiceLoader,
        Environment,
        PackageLoader,
        StrictUndefined,
    )

    environment = Environment(
        loader=ChoiceLoader([PackageLoader(one) for one in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["box"] = BOX
    environment.filters |= FILTERS
    return environment


def _visible(text: object) -> str:
    """What others wrote: nothing in it moves, hides or turns round."""
    return for_terminal(str(text))


#: what the templates call to write text and times
FILTERS: Final = {
    "visible": _visible,
    "whole": lambda line: for_terminal(line, limit=_LINE_MAX),
    "moment": iso_time,
    "clock": lambda at_ms: iso_time(at_ms)[11:19],
}
