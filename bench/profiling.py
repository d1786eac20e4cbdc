"""`./do profile [n=10000] [tls=1] [verify=1]`: where a campaign's CPU goes, as tables to paste.

The product pauses n campaigns on bench/server.py twice: as it is (which gives the figures of the
first table), and under cProfile (the other two).

- A profiler makes short functions look dear. Its times are scaled so that together they are the CPU
  that the plain run used; their order is more to be trusted than their size.
- What a built-in function costs is its caller's; only the last table names it alone.
- The journal's thread has a profile of its own. Since Python 3.12 one profiler sees all threads,
  mixed, which is said.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.figures import text_of
from bench.stage import Ran, Server, Stage, leave_when_told, say, stage
from tests.harness.arguments import Arguments

CONCURRENCY = 32
_TOP = 20

#: the first pattern that is found in a file's path says to which group its functions belong
GROUPS = (
    ("importing", r"importlib|<frozen|zipimport|sre_|/re/|/dataclasses\.py"),
    ("signing", r"orchestrator/isales/signing|/hmac\.py"),
    ("client", r"orchestrator/isales/(client|connections|heads)"),
    ("journal", r"orchestrator/store|/sqlite3/|/queue\.py"),
    ("pace, breaker, retry", r"orchestrator/policy/(pacer|breaker|retry)|tenacity"),
    ("one campaign", r"orchestrator/engine/(worker|dispatcher|pool|bulk|context|stop)"),
    (
        "look and verification",
        r"orchestrator/engine/(preflight|lookup|verify)|isales/(pages|listing)",
    ),
    ("judgement", r"orchestrator/(isales/(answer|verdict|codes|strict_json)|policy/decide)|/json/"),
    ("list and plan", r"orchestrator/manifest"),
    (
        "report",
        r"orchestrator/(reports|text|engine/(results|saved))",
    ),
    ("rest of the product", r"orchestrator/"),
    ("aiohttp, yarl", r"/(aiohttp|yarl|multidict|propcache|frozenlist)/"),
    ("asyncio and TLS", r"/asyncio/|/selectors\.py|/ssl\.py|/contextlib\.py|/weakref\.py"),
    ("rest", r""),
)


@dataclass(frozen=True, slots=True)
class Watched:
    """What both runs have shown."""

    campaigns: int
    plain: Ran
    own: Mapping[str, float]
    functions: Sequence[Mapping[str, Any]]
    #: the profiler could not tell the threads apart
    mixed: bool


def group_of(file: str) -> str:
    """The group of a source file."""
    return next(name for name, pattern in GROUPS if re.search(pattern, file))


def by_group(functions: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Own seconds of each group: in the main thread, and in the others."""
    found = {name: [0.0, 0.0] for name, _ in GROUPS}
    for one in functions:
        place = 0 if one["thread"] == "main" else 1
        if one["file"] == "~" and one["callers"]:
            for caller, own_s in one["callers"].items():
                found[group_of("" if caller == "~" else caller)][place] += own_s
        else:
            found[group_of(one["file"])][place] += one["own_s"]
    return found


def main(argv: Sequence[str]) -> int:
    """Measure and print."""
    arguments = Arguments(argv, known=("n", "tls", "verify"))
    campaigns = arguments.whole("n", 10_000)
    if campaigns < 1:
        raise SystemExit("n: at least one campaign is needed")
    tls, verify = bool(arguments.whole("tls", 1)), bool(arguments.whole("verify", 1))
    with stage() as made, made.server(tls=tls, campaigns=campaigns) as server:
        words = ["pause", made.list_of(range(1, campaigns + 1)), "-q", "--rate", "100000"]
        words += ["--concurrency", str(CONCURRENCY), *([] if verify else ["--no-verify"])]
        watched = _watch(made, server, campaigns, words)
    way = f"{'https' if tls else 'http'}, {CONCURRENCY} at a time"
    way += ", look and verification" if verify else ", --no-verify"
    print(f"### `pause` of {campaigns:,} campaigns, {way}\n")
    print(*_whole(watched), "", *_groups(watched), "", *_functions(watched), sep="\n")
    if watched.mixed:
        print("\nThis Python profiles all threads as one; PYTHON=python3.11 tells them apart.")
    return 0


def _watch(stage: Stage, server: Server, campaigns: int, words: list[str]) -> Watched:
    plain, own = _run(stage, server, "plain", words)
    say("the plain run is done, now the profiled one")
    _, profiled = _run(stage, server, "profile", words)
    return Watched(
        campaigns=campaigns,
        plain=plain,
        own=own,
        functions=profiled["functions"],
        mixed=profiled["mixed"],
    )


def _run(stage: Stage, server: Server, way: str, words: list[str]) -> tuple[Ran, dict[str, Any]]:
    told = stage.folder / "told.json"
    shutil.rmtree(stage.state, ignore_errors=True)
    server.reset()
    ran = stage.run("bench.profiled", way, str(told), *words, server=server)
    found: dict[str, Any] = json.loads(told.read_text("utf-8"))
    if found["exit_code"]:
        raise RuntimeError(f"the run ended with {found['exit_code']}: {ran.said[-500:]}")
    return ran, found


def _whole(watched: Watched) -> list[str]:
    n, plain = watched.campaigns, watched.plain
    main_us, others_us = (watched.own[name] / n * 1e6 for name in ("main_s", "others_s"))
    rows = [
        ("campaigns per second", text_of(n / plain.wall_s, "/s")),
        ("CPU per campaign", text_of(plain.cpu_s / n * 1e6, "µs")),
        ("… main thread, other threads", f"{main_us:,.0f} µs, {others_us:,.0f} µs"),
        ("peak memory", text_of(plain.peak_mb, "MB")),
    ]
    return ["| | |", "|---|---|", *(f"| {name} | {what} |" for name, what in rows)]


def _scale(watched: Watched) -> float:
    """Microseconds a campaign for a second of the profile."""
    profiled_s = sum(float(one["own_s"]) for one in watched.functions)
    return watched.plain.cpu_s / profiled_s / watched.campaigns * 1e6


def _groups(watched: Watched) -> list[str]:
    scale = _scale(watched)
    found = sorted(by_group(watched.functions).items(), key=lambda one: -sum(one[1]))
    whole_s = sum(sum(both) for _, both in found)
    lines = [
        "| where | µs a campaign | share | main thread | other threads |",
        "|---|---|---|---|---|",
    ]
    for name, (main_s, others_s) in found:
        shown = f"{(main_s + others_s) * scale:.0f} | {(main_s + others_s) / whole_s:.1%}"
        lines.append(f"| {name} | {shown} | {main_s * scale:.0f} | {others_s * scale:.0f} |")
    return lines


def _functions(watched: Watched) -> list[str]:
    scale = _scale(watched)
    lines = ["| function, by own time | thread | calls a campaign | µs a campaign |"]
    lines.append("|---|---|---|---|")
    for one in sorted(watched.functions, key=lambda one: -one["own_s"])[:_TOP]:
        file = (
            "" if one["file"] == "~" else f"{'/'.join(Path(one['file']).parts[-2:])}:{one['line']} "
        )
        calls, own_us = one["calls"] / watched.campaigns, one["own_s"] * scale
        name = one["name"].replace("|", "/")
        lines.append(f"| `{file}{name}` | {one['thread']} | {calls:.2f} | {own_us:.1f} |")
    return lines


if __name__ == "__main__":
    leave_when_told()
    raise SystemExit(main(sys.argv[1:]))
