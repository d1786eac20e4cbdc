"""What the pages of one console share: what is read once for all viewers, and lists of runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchestrator.console.book import RunBook
from orchestrator.console.live import LiveRuns
from orchestrator.console.readings import Readings
from orchestrator.console.site import fingerprint_of
from orchestrator.reports.page import SIGNS
from orchestrator.reports.rows import RunKind, iso_time
from orchestrator.reports.summary import RunVerdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.console.cluster import ClusterRuns
    from orchestrator.console.site import Site
    from orchestrator.engine.run_list import RunLine

#: runs on the home page, besides the live ones
_RECENT: Final = 10


@dataclass
class Shared:
    """What is read once for all viewers."""

    site: Site
    cluster: ClusterRuns
    readings: Readings = field(init=False)
    live: LiveRuns = field(init=False)
    book: RunBook = field(init=False)
    _newest: tuple[float, tuple[RunLine, ...]] = (float("-inf"), ())
    _reading_runs: asyncio.Task[tuple[RunLine, ...]] | None = None

    def __post_init__(self) -> None:
        self.readings = Readings(self.site)
        self.live = LiveRuns(self.site, self.cluster)
        self.book = RunBook(self.site.state_dir, self.site.clock)

    async def newest_runs(self) -> tuple[RunLine, ...]:
        """The same for all viewers of one second; those of the cluster as it has them."""
        await self.cluster.refreshed()
        return self.cluster.shown(await self._newest_here())

    async def _newest_here(self) -> tuple[RunLine, ...]:
        now_s = self.site.clock.now_s()
        made_s, lines = self._newest
        if now_s - made_s < 1:
            return lines
        if self._reading_runs is None:
            self._reading_runs = asyncio.create_task(
                asyncio.to_thread(self.book.newest, _RECENT, self.cluster.live)
            )
        reading = self._reading_runs
        try:
            lines = await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading_runs = None
        self._newest = now_s, lines
        return lines


def stop_of(vdn: int, server: str, lines: tuple[RunLine, ...]) -> RunLine | None:
    """The live stop of a VDN of this server; a rehearsal and an unanswered question are none."""
    stops = (one for one in lines if one.live and one.kind == RunKind.PAUSE_ALL and one.may_change)
    return next(
        (one for one in stops if vdn in one.vdns and fingerprint_of(one.server) == server), None
    )


#: what is no verdict of a run that has ended
_OTHER_SIGNS: Final[Mapping[str, tuple[str, str]]] = {
    "running": ("▶", "live"),
    "unreadable": ("!", "bad"),
}


def list_entry(line: RunLine) -> dict[str, Any]:
    """A run as a list shows it: its state is a word, a sign and a colour."""
    other = _OTHER_SIGNS.get(line.verdict)
    is_known = line.verdict in {one.value for one in RunVerdict}
    sign, grade = other or (SIGNS[RunVerdict(line.verdict)] if is_known else ("?", "open"))
    at = "" if line.started_at_ms is None else iso_time(line.started_at_ms)
    vdns = ", ".join(map(str, line.vdns[:6])) + (", …" if len(line.vdns) > 6 else "")
    counts = ", ".join(f"{number:,} {outcome.replace('_', ' ')}"
                       for outcome, number in line.counts.items() if number)  # fmt: skip
    return {
        "run_id": line.run_id,
        "kind": _KINDS.get(line.kind, "a run"),
        "sign": sign,
        "grade": grade,
        "word": line.verdict.replace("_", " "),
        "at": f"{at[:10]} {at[11:19]}Z" if at else "",
        "vdns": vdns,
        "operator": line.operator,
        "reason": line.reason,
        "counts": counts,
        "dry_run": line.dry_run,
        "problem": line.problem,
        "live": line.live,
        "holder": line.holder,
        "cluster": line.cluster,
    }


_KINDS: Final[Mapping[str, str]] = {
    RunKind.PAUSE: "list paused",
    RunKind.PAUSE_ALL: "emergency stop",
    RunKind.RESTORE: "restore",
}


def page_number(text: str) -> int:
    """The number of a page; nonsense is the first."""
    is_number = text.isascii() and text.isdecimal() and len(text) < 7
    return max(1, int(text)) if is_number else 1
