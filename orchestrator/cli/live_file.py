"""live.json: how far a run is, once a second, for whoever looks at it from another process.

It is no record: nothing decides anything by it, the journal has all that counts, and it is gone
when the run ends. It is written in a thread, without fsync, and no request waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

from orchestrator.cli.progress_line import Pulse, expected, limited_by, progress_line
from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import UNSTOPPED
from orchestrator.store.run_dir import JOURNAL, LIVE, NEXT_LIVE, create_file
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.clock import Clock
    from orchestrator.engine.progress import Progress

#: seconds between two versions of the file
EVERY_S = 1.0
#: seconds that a disk which hangs may hold up the end
_LAST_S = 0.5
#: the version of live.json; a new key is compatible
SCHEMA = 1


def live_document(
    progress: Progress, pulse: Pulse, *, seq: int, now_s: float, at_ms: int
) -> dict[str, Any]:
    """The numbers of this moment, as live.json has them; `seq` counts the versions from 1."""
    doubtful = progress.outcomes[Outcome.UNKNOWN]
    return {
        "schema": SCHEMA,
        "seq": seq,
        "at_ms": at_ms,
        "run_id": progress.run_id,
        "phase": progress.phase,
        "line": progress_line(progress, pulse, now_s=now_s),
        "total": progress.campaigns + progress.reopened,
        "done": progress.campaigns + progress.reopened - progress.left,
        "checked": progress.checked,
        "counts": {one.value: number for one, number in progress.outcomes.items() if number},
        "not_stopped": sum(progress.outcomes[one] for one in UNSTOPPED) - doubtful,
        "checking": doubtful,
        "expected": expected(progress, pulse, now_s),
        "rate_per_s": round(min(pulse.requests_per_s, progress.ceiling_per_s), 1),
        "ceiling_per_s": progress.ceiling_per_s,
        "limited_by": limited_by(progress, pulse),
        "in_flight": progress.in_flight,
        "repeats": progress.repeats,
        "breaker": for_terminal(progress.breaker, limit=200),
        "ending": for_terminal(progress.ending, limit=200),
        "notice": for_terminal(progress.notice, limit=200),
        "calls": progress.calls,
        "requests": [
            [kind, result, number] for (kind, result), number in sorted(progress.answers.items())
        ],
    }


async def keep_live_file(progress: Progress, clock: Clock) -> None:
    """Write how far the run is into its directory until cancelled, then take that away."""
    pulse = Pulse()
    seq, place, writing = 0, None, None
    try:
        while True:
            pulse.look(progress, now_s=clock.now_s())
            if progress.folder is not None:
                place, seq = progress.folder, seq + 1
                told = live_document(
                    progress, pulse, seq=seq, now_s=clock.now_s(), at_ms=clock.wall_ms()
                )
                writing = asyncio.ensure_future(asyncio.to_thread(_write, place, json.dumps(told)))
                await asyncio.shield(writing)
            await clock.sleep(EVERY_S)
    finally:
        if writing is not None and not writing.done():
            await asyncio.wait({writing}, timeout=_LAST_S)
        if place is not None:
            for name in (LIVE, NEXT_LIVE):
                with contextlib.suppress(OSError):
                    (place / name).unlink()


def _write(folder: Path, text: str) -> None:
    """Replace the file as a whole; a disk that cannot be written is the journal's affair."""
    part = folder / NEXT_LIVE
    with contextlib.suppress(OSError):
        with os.fdopen(create_file(part), "w", encoding="utf-8") as file:
            file.write(text)
        if (folder / JOURNAL).exists():  # the run has not been discarded meanwhile
            part.replace(folder / LIVE)
        else:
            part.unlink()
