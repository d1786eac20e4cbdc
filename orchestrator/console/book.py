"""The list of runs, kept: ten thousand of them are read once, not for every viewer.

A run that is over keeps its line. Of any other that nobody works on, the line is kept until its
journal or its summary changes. A live one is read whenever it is asked for.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.engine.run_list import RunLine, line_of
from orchestrator.reports.files import SUMMARY
from orchestrator.store.registry import REGISTRY, KnownRun, known_runs, newest_runs
from orchestrator.store.run_dir import JOURNAL, RUNS

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.clock import Clock

#: lines of one page of history
PAGE: Final = 50
#: how long the list of directories is believed, milliseconds, although nothing seems to have
#: changed; and how long after a change, when a run may be about to begin
_QUIET_MS: Final = 15_000
_BUSY_MS: Final = 1_000
#: runs that are looked at for live ones
_NEWEST: Final = 60

#: what tells that a run has changed
_Mark = tuple[int | None, ...]


class Chapter(NamedTuple):
    """One page of history."""

    lines: tuple[RunLine, ...]
    number: int
    #: pages, and runs on all of them
    pages: int
    runs: int


@dataclass
class RunBook:
    """The runs of a state directory. Every method reads files, so it is called in a thread."""

    state_dir: Path
    clock: Clock
    _known: tuple[KnownRun, ...] = ()
    #: when the list was read, and what the register and the folder were like
    _read_ms: int = 0
    _mark: _Mark = ()
    _kept: dict[KnownRun, tuple[_Mark | None, RunLine]] = field(default_factory=dict)

    def newest(self, number: int, elsewhere: frozenset[str] = frozenset()) -> tuple[RunLine, ...]:
        """The live ones among the newest runs, then so many others.

        Args:
            number: of the others.
            elsewhere: runs that other machines work on.
        """
        lines = [
            line
            for run in newest_runs(self.state_dir, _NEWEST)
            if (line := self._line(run, is_sure=False))
        ]
        is_live = [line.live or line.run_id in elsewhere for line in lines]
        lines.sort(key=lambda line: not (line.live or line.run_id in elsewhere))
        live = sum(is_live)
        others = [line for line in lines[live:] if not line.dry_run]
        return (*lines[:live], *others[:number])

    def live(self, elsewhere: frozenset[str] = frozenset()) -> tuple[RunLine, ...]:
        """The live ones among the newest runs."""
        return self.newest(0, elsewhere)

    def search(self, *, vdn: int | None, text: str, number: int) -> Chapter:
        """One page of the runs that had to do with a VDN and have these words.

        Args:
            vdn: None: any.
            text: words that must all occur in what its line shows.
            number: of the page, from 1.
        """
        words = text.casefold().split()
        if vdn is None and not words:
            return self._plain(number)
        found = [
            line for run in self._runs() if (line := self._line(run)) and _matches(line, vdn, words)
        ]
        return _chapter(number, len(found), found)

    def _plain(self, number: int) -> Chapter:
        """Without a filter, only one page of them is read."""
        runs = self._runs()
        first = _chapter(number, len(runs), ())
        start = (first.number - 1) * PAGE
        lines = [line for run in runs[start : start + PAGE] if (line := self._line(run))]
        return first._replace(lines=tuple(lines))

    def _runs(self) -> tuple[KnownRun, ...]:
        now_ms = self.clock.wall_ms()
        mark = tuple(_changed(self.state_dir / name) for name in (REGISTRY, RUNS))
        changed_ms = max(one // 1_000_000 for one in (0, *mark) if one is not None)
        is_busy = abs(now_ms - changed_ms) < _QUIET_MS
        age_ms = abs(now_ms - self._read_ms)
        if mark != self._mark or age_ms >= (_BUSY_MS if is_busy else _QUIET_MS):
            self._mark, self._read_ms = mark, now_ms
            self._known = tuple(known_runs(self.state_dir))
            for gone in self._kept.keys() - set(self._known):
                self._kept.pop(gone, None)
        return self._known

    def _line(self, run: KnownRun, *, is_sure: bool = True) -> RunLine | None:
        """The line of a run; `is_sure`: what is over stays so (only a hold is ever continued)."""
        mark, line = self._kept.get(run, (None, None))
        if line is not None and ((is_sure and line.is_over) or mark == _mark_of(run)):
            return line
        mark = _mark_of(run)
        line = line_of(run)
        if line is None or line.live:
            self._kept.pop(run, None)
        else:
            self._kept[run] = mark, line
        return line


def _chapter(number: int, runs: int, lines: list[RunLine] | tuple[RunLine, ...]) -> Chapter:
    pages = max(1, -(-runs // PAGE))
    number = min(max(1, number), pages)
    return Chapter(tuple(lines[(number - 1) * PAGE : number * PAGE]), number, pages, runs)


def _matches(line: RunLine, vdn: int | None, words: list[str]) -> bool:
    if vdn is not None and vdn not in line.vdns:
        return False
    if not words:
        return True
    shown = " ".join(
        (line.run_id, line.kind, line.verdict, line.verdict.replace("_", " "), line.operator,
         line.reason, line.server, *map(str, line.vdns))
    ).casefold()  # fmt: skip
    return all(word in shown for word in words)


def _mark_of(run: KnownRun) -> _Mark:
    names = (JOURNAL, f"{JOURNAL}-wal", SUMMARY)
    return tuple(_changed(f"{run.place}/{name}") for name in names)


def _changed(path: Path | str) -> int | None:
    with contextlib.suppress(OSError, ValueError):
        return os.stat(path).st_mtime_ns  # noqa: PTH116 - ten thousand of them
    return None
