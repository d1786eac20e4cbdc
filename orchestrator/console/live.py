"""How far a live run is: one small document for all its viewers.

The command that runs leaves its numbers in live.json, the cluster has those of its runs. Where
there are none, as of a run that a Python program made, the journal says what is on record.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from orchestrator.console.disk import open_plain
from orchestrator.policy.decide import Outcome
from orchestrator.policy.plan import spoken_s
from orchestrator.reports.rows import UNSTOPPED, RunKind
from orchestrator.store import open_saved
from orchestrator.store.run_dir import LIVE
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.console.cluster import ClusterRun
    from orchestrator.store import RunRecord, Saved
    from orchestrator.store.run_dir import RunDirectory

#: numbers that are older, seconds, are said to be old; the cluster is asked less often
_STALE_S, _STALE_CLUSTER_S = 3.0, 6.0
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
    """What is shown of a run that somebody works on."""

    record: RunRecord
    shown: dict[str, Any]
    #: live.json itself, for the metrics
    numbers: dict[str, Any]

    @property
    def seq(self) -> str:
        """Another one with each document that says something new."""
        return hashlib.sha256(json.dumps(self.shown).encode()).hexdigest()[:16]


def read_live(directory: RunDirectory, found: ClusterRun | None, now_ms: int) -> LiveView | None:
    """How far a run is, as the cluster has `found` it, or it says here; None: it is not at work.

    Raises:
        OrchestratorError: its journal cannot be read.
    """
    if found is None and not directory.is_live:
        return None
    told = None if found else read_live_file(directory.path)
    with open_saved(directory.journal) as saved:
        record = saved.record()
        if found is not None:
            return LiveView(record, _by_cluster(record, saved.lines(), found, now_ms), {})
        if told is not None:
            # another version may have written it
            with suppress(KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
                return LiveView(record, _by_file(record, told, now_ms), told)
        return LiveView(record, _by_journal(record, saved, now_ms), {})


def read_live_file(folder: Path) -> dict[str, Any] | None:
    """The numbers that a live run leaves; None: it leaves none."""
    try:
        with open_plain(folder / LIVE) as file:
            told = json.loads(file.read(_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _by_file(record: RunRecord, told: Mapping[str, Any], now_ms: int) -> dict[str, Any]:
    """The numbers of the command itself."""
    repeats, breaker = int(told["repeats"]), _text(told["breaker"])
    details = (
        f"{repeats:,} {'repeat' if repeats == 1 else 'repeats'}" if repeats else "",
        _without_flags(_text(told["limited_by"])),
        _without_flags(_text(told["notice"])),
    )
    return _document(
        record,
        told,
        rate=f"{float(told['rate_per_s']):.1f} of {float(told['ceiling_per_s']):g} a second",
        breaker=f"open, probing: {breaker}" if breaker else "closed",
        time_left=_text(told["expected"]).removesuffix(" left") or "nothing left to send",
        details=details,
        age_s=(now_ms - int(told["at_ms"])) / 1000,
        stale_s=_STALE_S,
    )


def _by_journal(record: RunRecord, saved: Saved, now_ms: int) -> dict[str, Any]:
    """What is on record of a run that leaves no numbers."""
    second = now_ms // 1000
    sent = saved.sent_per_s().items()
    rate_per_s = sum(number for at_s, number in sent if second - 3 <= at_s < second) / 3
    return _document(
        record,
        _recorded("at work", saved.counts(), saved.lines()),
        rate=f"{rate_per_s:.1f} of {record.rate_per_s:g} a second, reads not counted",
        breaker=_NO_NUMBERS,
        time_left=_NO_NUMBERS,
    )


def _by_cluster(record: RunRecord, lines: int, found: ClusterRun, now_ms: int) -> dict[str, Any]:
    """What the cluster has on record of a run."""
    told = _recorded(found.who, found.seen.counts, lines)
    rate, time_left = _NOT_YET, _NOT_YET
    if found.per_s:
        rate = f"{found.per_s:.1f} campaigns, at {record.rate_per_s:g} requests a second"
        time_left = f"about {spoken_s((lines - told['done']) / found.per_s)}"
    return _document(
        record,
        told,
        rate=rate,
        breaker="each worker has its own",
        time_left=time_left,
        age_s=(now_ms - found.at_ms) / 1000,
        stale_s=_STALE_CLUSTER_S,
    )


def _recorded(phase: str, counts: Mapping[str, int], lines: int) -> dict[str, Any]:
    """What is on record, as live.json would have it."""
    doubtful = counts.get(Outcome.UNKNOWN, 0)
    return {
        "phase": phase,
        "total": lines,
        "done": sum(counts.values()),
        "counts": counts,
        "checking": doubtful,
        "not_stopped": sum(counts.get(one, 0) for one in UNSTOPPED) - doubtful,
        "ending": "",
    }


def _document(  # noqa: PLR0913 - all that is shown
    record: RunRecord,
    told: Mapping[str, Any],
    *,
    rate: str,
    breaker: str,
    time_left: str,
    details: tuple[str, ...] = (),
    age_s: float = 0,
    stale_s: float = _STALE_S,
) -> dict[str, Any]:
    """What is shown at this moment; everything is text but the bar."""
    total, settled, failed = int(told["total"]), int(told["done"]), int(told["not_stopped"])
    phase, ending = _text(told["phase"]), _text(told["ending"])
    done = int(told["checked"]) if phase == "checking" else settled
    left = total - settled + int(told["checking"]) + failed
    doing = _DOING[record.kind]
    if record.kind is RunKind.PAUSE_ALL and record.vdns:
        doing = f"{doing} VDN {' '.join(map(str, record.vdns))}"
    what = f"Ending: {ending}" if ending else f"{doing}: {phase}"
    percent = 100 * done // total if total else 0
    progress = f"{done:,} of {total:,}" if total else "nothing found yet"
    age = f"data is {age_s:,.0f} s old" if age_s > stale_s else ""
    # read out by a screen reader: seldom, so it says little
    status = (
        f"Ending: {ending}" if ending else phase,
        f"{percent // 10 * 10} % done" if total else "",
        f"{failed:,} failed" if failed else "",
        "the server is failing" if breaker.startswith("open") else "",
        "the data is old" if age else "",
    )
    return {
        "live": True,
        "heading": f"{what}, {progress}",
        "done": done,
        "total": total,
        "progress": f"{progress} ({percent} %)" if total else progress,
        "not_yet": f"{left:,}" + (f", of which {failed:,} failed" if failed else ""),
        "rate": rate,
        "breaker": breaker,
        "time_left": time_left,
        "line": " · ".join(filter(None, (_counts(told["counts"]), *details))),
        "age": age,
        "status": ", ".join(filter(None, status)),
    }


def _counts(told: Mapping[str, Any]) -> str:
    counts = Counter({Outcome(one): int(number) for one, number in told.items()})
    return ", ".join(
        f"{number:,} {outcome.value.replace('_', ' ')}"
        for outcome, number in counts.most_common()
        if number and outcome is not Outcome.UNKNOWN
    )


def _without_flags(text: str) -> str:
    """Nobody here can give a flag to a run."""
    return _FLAG.sub(r"the \1 limit", _HINT.sub("", text))


def _text(told: object) -> str:
    return for_terminal(str(told), limit=300)
