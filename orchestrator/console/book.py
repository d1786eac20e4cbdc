"""The list of runs: the newest, pages of history, and how one line of it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from orchestrator.console.site import fingerprint_of
from orchestrator.engine.run_list import RunLine, every_line, line_of
from orchestrator.reports.page import SIGNS
from orchestrator.reports.rows import RunKind, iso_time
from orchestrator.store.registry import known_runs, newest_runs

#: lines of one page of history
PAGE: Final = 50
#: runs that are looked at for live ones, and how many others the first page shows
_NEWEST, _RECENT = 60, 10

#: how a list calls a run
_KINDS: Final[Mapping[str, str]] = {
    RunKind.PAUSE: "list paused",
    RunKind.PAUSE_ALL: "emergency stop",
    RunKind.RESTORE: "restore",
}
#: verdict → a sign that is told apart without colour, and how grave it is
_SIGNS: Final[Mapping[str, tuple[str, str]]] = {
    **{verdict.value: sign for verdict, sign in SIGNS.items()},
    "running": ("▶", "live"),
    "unreadable": ("!", "bad"),
}


class Chapter(NamedTuple):
    """One page of history."""

    lines: tuple[RunLine, ...]
    number: int
    #: pages, and runs on all of them
    pages: int
    runs: int


def newest(state_dir: Path, elsewhere: frozenset[str] = frozenset()) -> tuple[RunLine, ...]:
    """The live ones among the newest runs, then the last others; dry runs are left out.

    Args:
        state_dir: whose runs.
        elsewhere: runs that other machines work on.
    """
    live, others = [], []
    for line in filter(None, map(line_of, newest_runs(state_dir, _NEWEST))):
        if line.live or line.run_id in elsewhere:
            live.append(line)
        elif not line.dry_run:
            others.append(line)
    return (*live, *others[:_RECENT])


def search(state_dir: Path, *, vdn: int | None, text: str, number: int) -> Chapter:
    """One page of the runs that had to do with a VDN and have these words.

    Args:
        state_dir: whose runs.
        vdn: None: any.
        text: words that must all occur in what its line shows.
        number: of the page, from 1.
    """
    words = text.casefold().split()
    found: list[Any]
    if vdn is None and not words:
        found = list(known_runs(state_dir))
    else:
        found = [one for one in every_line(state_dir, vdn) if _matches(one, vdn, words)]
    pages = max(1, -(-len(found) // PAGE))
    number = min(max(1, number), pages)
    lines = found[(number - 1) * PAGE : number * PAGE]
    if vdn is None and not words:  # only the lines of this page are read
        lines = list(filter(None, map(line_of, lines)))
    return Chapter(tuple(lines), number, pages, len(found))


def _matches(line: RunLine, vdn: int | None, words: list[str]) -> bool:
    shown = " ".join(
        (line.run_id, line.kind, line.verdict, line.verdict.replace("_", " "), line.operator,
         line.reason, line.server, *map(str, line.vdns))
    ).casefold()  # fmt: skip
    return (vdn is None or vdn in line.vdns) and all(word in shown for word in words)


def stop_of(vdn: int, server: str, lines: Iterable[RunLine]) -> RunLine | None:
    """The live stop of a VDN of this server; a rehearsal and an unanswered question are none."""
    stops = (one for one in lines if one.live and one.kind == RunKind.PAUSE_ALL and one.may_change)
    return next(
        (one for one in stops if vdn in one.vdns and fingerprint_of(one.server) == server), None
    )


def list_entry(line: RunLine) -> dict[str, Any]:
    """A run as a list shows it: its state is a word, a sign and a colour."""
    sign, grade = _SIGNS.get(line.verdict, ("?", "open"))
    at = "" if line.started_at_ms is None else iso_time(line.started_at_ms)
    counts = ", ".join(f"{number:,} {outcome.replace('_', ' ')}"
                       for outcome, number in line.counts.items() if number)  # fmt: skip
    return {
        **line._asdict(),
        "kind": _KINDS.get(line.kind, "a run"),
        "sign": sign,
        "grade": grade,
        "word": line.verdict.replace("_", " "),
        "at": f"{at[:10]} {at[11:19]}Z" if at else "",
        "vdns": ", ".join(map(str, line.vdns[:6])) + (", …" if len(line.vdns) > 6 else ""),
        "counts": counts,
    }


def page_number(text: str) -> int:
    """The number of a page; nonsense is the first."""
    is_number = text.isascii() and text.isdecimal() and len(text) < 7
    return max(1, int(text)) if is_number else 1
