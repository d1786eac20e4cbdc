"""How far a run is, as one line that fits: text only, nothing is shown here.

What it does and how long that takes, or what it waits for, is always said; the rest drops off the
right end first. A wait is named with its reason: the rate of the last seconds says nothing then.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.policy.decide import Outcome
from orchestrator.policy.plan import spoken_s
from orchestrator.reports.rows import UNSTOPPED
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.engine.progress import Progress, Wait

#: seconds over which the present rate is measured
_WINDOW_S = 3.0
#: part of the ceiling from which the rate is the limit
_NEARLY = 0.9
_BETWEEN = " · "
_CUT = "…"
#: wider than any terminal: a line in a log is not cut
WIDE = 100_000


@dataclass(slots=True)
class Pulse:
    """Samples of a run's progress, from which its speed is computed."""

    _looks: deque[tuple[float, int, int]] = field(default_factory=deque)
    requests_per_s: float = 0.0
    settled_per_s: float = 0.0
    #: nothing came to an end within the whole window
    is_stalled: bool = False

    def look(self, progress: Progress, *, now_s: float) -> None:
        """Take one sample at a moment in monotonic seconds."""
        self._looks.append((now_s, progress.requests, progress.settled))
        while len(self._looks) > 2 and now_s - self._looks[1][0] >= _WINDOW_S:
            self._looks.popleft()
        first_s, requests, settled = self._looks[0]
        passed_s = now_s - first_s
        if passed_s > 0:
            self.requests_per_s = (progress.requests - requests) / passed_s
            self.settled_per_s = max(0.0, (progress.settled - settled) / passed_s)
            self.is_stalled = passed_s >= _WINDOW_S and not self.settled_per_s


def progress_line(progress: Progress, pulse: Pulse, *, now_s: float, width: int = WIDE) -> str:
    """Say in one line of at most `width` characters how far a run is.

    "pausing 1,204/3,000 · about 3 min left · 39 not stopped · 9.8/s of 10 · limited by --rate
    · 1,100 paused, 104 already paused · 12 repeats"
    """
    head, bare = _done(progress)
    outlook = expected(progress, pulse, now_s)
    parts = [part for part in (head, outlook) if part]
    for detail in _details(progress, pulse, now_s, shown=outlook):
        if len(_BETWEEN.join([*parts, detail])) > width:
            break
        parts.append(detail)
    for line in (_BETWEEN.join(parts), _BETWEEN.join(filter(None, (bare, outlook))), outlook):
        if line and len(line) <= width:
            return line
    return (outlook or head)[: max(0, width - 1)] + _CUT if width > 0 else ""


def _done(progress: Progress) -> tuple[str, str]:
    """What it does and how far it is, and the numbers alone."""
    if progress.phase == "checking" and progress.campaigns:
        numbers = f"{progress.checked:,}/{progress.campaigns:,}"
    elif progress.campaigns:
        whole = progress.campaigns + progress.reopened
        numbers = f"{whole - progress.left:,}/{whole:,}"
    else:
        return progress.phase, ""
    return f"{progress.phase} {numbers}", numbers


def expected(progress: Progress, pulse: Pulse, now_s: float) -> str:
    """How long it takes, or what that depends on."""
    if progress.ending:
        return f"ending: {for_terminal(progress.ending, limit=80)}"
    if progress.breaker:
        return f"server failing, probing: {for_terminal(progress.breaker, limit=80)}"
    if progress.notice and not progress.requests:
        return for_terminal(progress.notice, limit=160)  # why nothing has left yet
    if progress.left <= progress.backing_off and (wait := progress.longest_wait(now_s)):
        return _wait_words(wait, now_s)
    if not progress.left:
        return ""
    if pulse.is_stalled:
        return f"{progress.left:,} left"
    per_s = pulse.settled_per_s or progress.ceiling_per_s
    return f"about {spoken_s(progress.left / per_s)} left" if per_s > 0 else ""


def _wait_words(wait: Wait, now_s: float) -> str:
    left_s = max(1, math.ceil(wait.until_s - now_s))
    return for_terminal(f"{wait.before} {left_s} s{wait.after}", limit=160)


def _details(progress: Progress, pulse: Pulse, now_s: float, *, shown: str) -> Iterator[str]:
    """What may be left out, the most important first."""
    if progress.ending:
        yield f"{progress.in_flight:,} in flight"
    if progress.calls is not None:
        yield f"{progress.calls:,} call{'' if progress.calls == 1 else 's'} in progress"
    yield from _not_done(progress)
    if not progress.ending:
        rate_per_s = min(pulse.requests_per_s, progress.ceiling_per_s)
        yield f"{rate_per_s:.1f}/s of {progress.ceiling_per_s:g}"
        if limit := limited_by(progress, pulse):
            yield limit
    counts = ", ".join(
        f"{number:,} {outcome.value.replace('_', ' ')}"
        for outcome, number in progress.outcomes.most_common()
        if number and outcome is not Outcome.UNKNOWN
    )
    if counts:
        yield counts
    if not progress.ending:
        yield from _going_on(progress, now_s, shown)


def _not_done(progress: Progress) -> Iterator[str]:
    doubtful = progress.outcomes[Outcome.UNKNOWN]
    unstopped = sum(progress.outcomes[one] for one in UNSTOPPED) - doubtful
    if unstopped:
        yield f"{unstopped:,} not {'started' if progress.phase == 'restoring' else 'stopped'}"
    if doubtful:
        yield f"{doubtful:,} checking"


def _going_on(progress: Progress, now_s: float, shown: str) -> Iterator[str]:
    if progress.repeats:
        yield f"{progress.repeats:,} repeat{'s' if progress.repeats > 1 else ''}"
    if progress.backing_off:
        yield f"{progress.backing_off:,} waiting to repeat"
    wait = progress.longest_wait(now_s)
    if wait and (words := _wait_words(wait, now_s)) != shown:
        yield words
    if progress.notice and progress.requests:
        yield for_terminal(progress.notice, limit=160)


def limited_by(progress: Progress, pulse: Pulse) -> str:
    """What the rate is limited by; empty where that is not known."""
    if progress.breaker or not progress.requests:
        return ""
    if progress.yields:
        return "an emergency goes first"
    if progress.in_line and progress.sharing:
        others = "another run" if progress.sharing == 1 else f"{progress.sharing} other runs"
        return f"shared with {others}"
    if progress.in_line and progress.is_slowed:
        return "slower: the server is too busy"
    if progress.in_line or pulse.requests_per_s >= _NEARLY * progress.ceiling_per_s:
        return "limited by --rate"
    if progress.concurrency and progress.in_flight >= progress.concurrency:
        return f"limited by --concurrency {progress.concurrency}"
    return ""
