"""The product in one process, watched from inside: the child of bench/profiling.py.

Usage: python -m bench.profiled plain|profile OUT.json WORDS OF THE COMMAND …

- `plain` changes nothing; it only asks at the end how much CPU the main thread has used.
- `profile` gives each thread a cProfile of its own, on that thread's CPU clock: waiting, for the
  network or for another thread, is not counted.
"""

from __future__ import annotations

import cProfile
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from orchestrator.cli.main import main

#: since then one profiler sees all threads of a process, mixed
ONE_FOR_ALL = (3, 12)


def plain(words: list[str]) -> dict[str, Any]:
    """Run; record the CPU seconds of the main thread and of the others together."""
    code = main(words)
    main_s = time.thread_time()
    return {"exit_code": code, "main_s": main_s, "others_s": time.process_time() - main_s}


def profile(words: list[str]) -> dict[str, Any]:
    """Run; record each function's calls and own time, for each thread."""
    profiles = [("main", cProfile.Profile(time.thread_time))]

    def begin(*_: object) -> None:
        own = cProfile.Profile(time.thread_time)
        profiles.append((threading.current_thread().name, own))
        own.enable()

    mixed = sys.version_info >= ONE_FOR_ALL
    if not mixed:
        threading.setprofile(begin)
    profiles[0][1].enable()
    code = main(words)
    profiles[0][1].disable()
    rows = [row for one in profiles for row in _rows(*one)]
    return {"exit_code": code, "functions": rows, "mixed": mixed}


def _rows(thread: str, found: cProfile.Profile) -> list[dict[str, Any]]:
    found.create_stats()
    stats: dict[tuple[str, int, str], Any] = found.stats
    return [
        {
            "thread": thread,
            "file": file,
            "line": line,
            "name": name,
            "calls": calls,
            "own_s": own_s,
            "callers": {caller[0]: told[2] for caller, told in callers.items()},
        }
        for (file, line, name), (_, calls, own_s, _, callers) in stats.items()
    ]


if __name__ == "__main__":
    ways = {"plain": plain, "profile": profile}
    Path(sys.argv[2]).write_text(json.dumps(ways[sys.argv[1]](sys.argv[3:])), "utf-8")
