"""`./do bench [NAME …] [quick=1] [full=1]`: the figures of this product, measured here.

- Everything, in its usual or full form, is written to bench/RESULTS.md.
- Some of it, or the quick form, is only printed.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from bench import (
    cluster,
    pacing,
    paused,
    scale,
    startup,
    throughput,
)
from bench.figures import Figure, document, table
from bench.stage import Form, leave_when_told, say, stage

MEASURES: dict[str, ModuleType] = {
    "startup": startup,
    "throughput": throughput,
    "pacing": pacing,
    "paused": paused,
    "scale": scale,
    "cluster": cluster,
}
HERE = Path(__file__).parent


def main(words: Sequence[str]) -> int:
    """Measure what was named, or everything."""
    options = {word for word in words if "=" in word}
    names = [word for word in words if "=" not in word]
    unknown = [name for name in names if name not in MEASURES]
    unknown += sorted(options - {"quick=1", "full=1"})
    if unknown:
        there = ", ".join(MEASURES)
        print(f"there is no {unknown[0]!r}: {there}, quick=1, full=1", file=sys.stderr)
        return 2
    form = Form(quick="quick=1" in options, full="full=1" in options)
    machine = _machine()
    began_s = time.monotonic()
    measured: dict[str, tuple[str, Sequence[Figure]]] = {}
    with stage() as made:
        machine["disk"] = _disk(made.folder)
        for name in names or MEASURES:
            say(f"{name} (after {time.monotonic() - began_s:.0f} s)")
            figures = MEASURES[name].measure(made, form)
            if form.quick:
                # Too short to be held to anything.
                figures = [replace(one, limits=None) for one in figures]
            measured[name] = (MEASURES[name].TITLE, figures)
            print(f"\n## {name}: {measured[name][0]}\n\n{table(measured[name][1])}\n", flush=True)
    machine["took"] = f"{time.monotonic() - began_s:.0f} s"
    if not names and not form.quick:
        (HERE / "RESULTS.md").write_text(document(machine, measured), "utf-8")
        say("written: bench/RESULTS.md")
    return 0


def _machine() -> dict[str, str]:
    """What the figures depend on."""
    load = ", ".join(f"{one:.2f}" for one in os.getloadavg())
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "versions": f"Python {platform.python_version()}, aiohttp {version('aiohttp')}, "
        f"SQLite {sqlite3.sqlite_version}",
        "load before": f"{load} (1, 5, 15 minutes)",
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _disk(folder: Path) -> str:
    """The type of the file system below a folder: on tmpfs a commit costs nothing."""
    mounts = [line.split(" ") for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    below = [one for one in mounts if folder.is_relative_to(one[1])]
    return max(below, key=lambda one: len(one[1]))[2]


if __name__ == "__main__":
    leave_when_told()
    raise SystemExit(main(sys.argv[1:]))
