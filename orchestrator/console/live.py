"""How far live runs are: one small document for all viewers of a run, made twice a second at most.

The command that runs leaves its numbers in live.json, the cluster has those of its runs. Where
there are none, as of a run that a Python program made, the journal says what is on record.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.console.disk import open_plain
from orchestrator.console.site import find_run
from orchestrator.errors import OrchestratorError
from orchestrator.policy.decide import Outcome
from orchestrator.policy.plan import spoken_s
from orchestrator.reports.rows import UNSTOPPED, RunKind
from orchestrator.store import open_saved
from orchestrator.store.run_dir import LIVE
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.console.cluster import ClusterRun, ClusterRuns
    from orchestrator.console.site import Site
    from orchestrator.store import RunRecord
    from orchestrator.store.run_dir import RunDirectory

#: seconds for which a document is handed out again
_KEPT_S: Final = 0.5
#: documents that are kept
_RUNS_MAX: Final = 200
#: numbers that are older, seconds, are said to be old
_STALE_S: Final = 3.0
#: the same of the cluster, which is asked less often
_STALE_CLUSTER_S: Final = 6.0
#: live.json has about a thousand bytes
_BYTES_MAX: Final = 1 << 16

_DOING: Final = {
    RunKind.PAUSE: "Pausing a list",
    RunKind.PAUSE_ALL: "Stopping",
    RunKind.RESTORE: "Starting again what was stopped",
}
#: what the terminal's line proposes, and what it calls by its flag
_HINT: Final = re.compile(r"; `--rate [0-9.e+]+` would take [0-9]+ (?:s|min|h [0-9]+ min)")
_FLAG: Final = re.compile(r"--(rate|concurrency)")
_NOT_YET: Final = "not known yet"
_NO_NUMBERS: Final = "not known: this run leaves no numbers"


class LiveView(NamedTuple):
    """What is shown of a run that somebody works on, or that this is over."""

    #: changes with every new document
    seq: int
    #: the document as it is sent
    body: bytes
    shown: dict[str, Any]
    #: live.json itself, for the metrics
    numbers: dict[str, Any]
    #: None: nobody works on it, or its journal cannot be read
    record: RunRecord | None = None

    @property
    def is_live(self) -> bool:
        """Whether somebody works on it."""
        return bool(self.shown["live"])


@dataclass(slots=True)
class _Kept:
    directory: RunDirectory
    record: RunRecord | None
    lines: int = 0
    view: LiveView | None = None
    made_s: float = 0.0
    making: asyncio.Task[LiveView] | None = None


@dataclass
class LiveRuns:
    """The live runs that somebody looks at."""

    site: Site
    cluster: ClusterRuns | None = None
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _seq: int = 0

    async def look(self, run_id: str) -> LiveView | None:
        """How far a run is; None: there is no such run."""
        if self.cluster is not None:
            await self.cluster.refreshed()
        kept = self._kept.get(run_id)
        if kept is None:
            kept = await asyncio.to_thread(_open, self.site.state_dir, run_id)
            if kept is None:
                return None
            while len(self._kept) >= _RUNS_MAX:
                del self._kept[next(iter(self._kept))]
            kept = self._kept.setdefault(run_id, kept)
        if kept.view is not None and self.site.clock.now_s() - kept.made_s < _KEPT_S:
            return kept.view
        if kept.making is None:
            kept.making = asyncio.create_task(self._make(kept, run_id))
        return await asyncio.shield(kept.making)

    async def _make(self, kept: _Kept, run_id: str) -> LiveView:
        try:
            now_ms = self.site.clock.wall_ms()
            found = self.cluster.run(run_id) if self.cluster is not None else None
            shown, numbers = await asyncio.to_thread(_read, kept, now_ms, found)
            if kept.view is None or shown != kept.view.shown:
                # never the number of another document, not even after a restart of the console
                self._seq = max(self._seq + 1, now_ms)
                body = json.dumps({"seq": self._seq, **shown}).encode()
                kept.view = LiveView(self._seq, body, shown, numbers)
            kept.view = kept.view._replace(numbers=numbers, record=kept.record)
            kept.made_s = self.site.clock.now_s()
            return kept.view
        finally:
            kept.making = None


def _open(state_dir: Path, run_id: str) -> _Kept | None:
    directory = find_run(state_dir, run_id)
    return None if directory is None else _Kept(directory, None)


def _read(
    kept: _Kept, now_ms: int, found: ClusterRun | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is shown at this moment, and the numbers behind it."""
    directory = kept.directory
    if found is None and not directory.is_live:
        return {"live": False}, {}
    try:
        if kept.record is None:
            with open_saved(directory.journal) as saved:
                kept.record, kept.lines = saved.record(), saved.lines()
        if found is not None:
            return _by_cluster(kept, found, now_ms), {}
        told = read_live_file(directory.path)
        if told is not None:
            try:
                return _shown(kept.record, told, now_ms), told
            except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
                pass  # another version wrote it
        return _by_journal(kept, now_ms), {}
    except OrchestratorError as error:
        return _unreadable(str(error)), {}


def read_live_file(folder: Path) -> dict[str, Any] | None:
    """The numbers that a live run leaves; None: it leaves none."""
    try:
        with open_plain(folder / LIVE) as file:
            told = json.loads(file.read(_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _shown(record: RunRecord, told: dict[str, Any], now_ms: int) -> dict[str, Any]:
    """What is shown of the numbers of a live run; everything is text but the bar."""
    total, settled = int(told["total"]), int(told["done"])
    done = int(told["checked"]) if told["phase"] == "checking" else settled
    ceiling_per_s, breaker = float(told["ceiling_per_s"]), _text(told["breaker"])
    ending, expected = _text(told["ending"]), _text(told["expected"])
    age_s = max(0, now_ms - int(told["at_ms"])) / 1000
    counts = Counter({Outcome(one): int(number) for one, number in told["counts"].items()})
    details = (
        _counts(counts),
        _repeats(int(told["repeats"])),
        _without_flags(_text(told["limited_by"])),
        _without_flags(_text(told["notice"])),
    )
    return _document(
        record,
        phase=_text(told["phase"]),
        done=done,
        total=total,
        left=total - settled + int(told["checking"]),
        failed=int(told["not_stopped"]),
        rate=f"{float(told['rate_per_s']):.1f} of {ceiling_per_s:g} a second",
        breaker=f"open, probing: {breaker}" if breaker else "closed",
        time_left=expected.removesuffix(" left") or "nothing left to send",
        line=" · ".join(filter(None, details)),
        ending=ending,
        age_s=age_s if age_s > _STALE_S else 0,
    )


def _by_journal(kept: _Kept, now_ms: int) -> dict[str, Any]:
    """What is on record of a run that leaves no numbers."""
    assert kept.record is not None
    with open_saved(kept.directory.journal) as saved:
        counts = Counter({Outcome(one): number for one, number in saved.counts().items()})
        lines, sent = saved.lines(), saved.sent_per_s()
    second = now_ms // 1000
    rate = sum(number for at_s, number in sent.items() if second - 3 <= at_s < second) / 3
    doubtful = counts[Outcome.UNKNOWN]
    return _document(
        kept.record,
        phase="",
        done=counts.total(),
        total=lines,
        left=lines - counts.total() + doubtful,
        failed=sum(counts[one] for one in UNSTOPPED) - doubtful,
        rate=f"{rate:.1f} of {kept.record.rate_per_s:g} a second, reads not counted",
        breaker=_NO_NUMBERS,
        time_left=_NO_NUMBERS,
        line=_counts(counts),
        ending="",
        age_s=0,
    )


def _by_cluster(kept: _Kept, found: ClusterRun, now_ms: int) -> dict[str, Any]:
    """What the cluster has on record of a run."""
    assert kept.record is not None
    counts = Counter({Outcome(one): number for one, number in found.seen.counts.items()})
    done, doubtful = counts.total(), counts[Outcome.UNKNOWN]
    rate, time_left = _NOT_YET, _NOT_YET
    if found.per_s:
        rate = f"{found.per_s:.1f} campaigns, at {kept.record.rate_per_s:g} requests a second"
        time_left = f"about {spoken_s((kept.lines - done) / found.per_s)}"
    age_s = (now_ms - found.at_ms) / 1000
    return _document(
        kept.record,
        phase=found.who,
        done=done,
        total=kept.lines,
        left=kept.lines - done + doubtful,
        failed=sum(counts[one] for one in UNSTOPPED) - doubtful,
        rate=rate,
        breaker="each worker has its own",
        time_left=time_left,
        line=_counts(counts),
        ending="",
        age_s=age_s if age_s > _STALE_CLUSTER_S else 0,
    )


def _document(  # noqa: PLR0913 - all that is shown
    record: RunRecord,
    *,
    phase: str,
    done: int,
    total: int,
    left: int,
    failed: int,
    rate: str,
    breaker: str,
    time_left: str,
    line: str,
    ending: str,
    age_s: float,
) -> dict[str, Any]:
    percent = 100 * done // total if total else 0
    doing = _DOING[record.kind]
    if record.kind is RunKind.PAUSE_ALL and record.vdns:
        doing = f"{doing} VDN {' '.join(map(str, record.vdns))}"
    what = f"Ending: {ending}" if ending else f"{doing}: {phase or 'at work'}"
    progress = f"{done:,} of {total:,}" if total else "nothing found yet"
    age = f"data is {age_s:,.0f} s old" if age_s else ""
    return {
        "live": True,
        "heading": f"{what}, {progress}",
        "done": done,
        "total": total,
        "progress": f"{progress} ({percent} %)" if total else progress,
        "not_yet": f"{left + failed:,}" + (f", of which {failed:,} failed" if failed else ""),
        "rate": rate,
        "breaker": breaker,
        "time_left": time_left,
        "line": line,
        "age": age,
        # read out by a screen reader: seldom, so it says little
        "status": ", ".join(
            filter(None, (
                f"Ending: {ending}" if ending else phase,
                f"{percent // 10 * 10} % done" if total else "",
                f"{failed:,} failed" if failed else "",
                "the server is failing" if breaker.startswith("open") else "",
                "the data is old" if age else "",
            ))
        ),
    }  # fmt: skip


def _counts(counts: Counter[Outcome]) -> str:
    return ", ".join(
        f"{number:,} {outcome.value.replace('_', ' ')}"
        for outcome, number in counts.most_common()
        if number and outcome is not Outcome.UNKNOWN
    )


def _repeats(number: int) -> str:
    return "" if not number else "1 repeat" if number == 1 else f"{number:,} repeats"


def _without_flags(text: str) -> str:
    """Nobody here can give a flag to a run."""
    return _FLAG.sub(r"the \1 limit", _HINT.sub("", text))


def _unreadable(why: str) -> dict[str, Any]:
    said = for_terminal(f"Its journal cannot be read: {why}")
    keys = ("progress", "not_yet", "rate", "breaker", "time_left", "line", "age")
    return {
        "live": True,
        "heading": said,
        "done": 0,
        "total": 0,
        "status": said,
        **dict.fromkeys(keys, "not known"),
    }


def _text(told: object, *, limit: int = 300) -> str:
    return for_terminal(str(told), limit=limit)
