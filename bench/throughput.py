"""CPU, wall time and memory of 20,000 campaigns: the product beside a bare pool.

All send the same PUTs, 32 at a time, to a server on another core that answers at once. The product
keeps its journal durable and writes its report; its pace is set so high that it never waits.
`pause` also looks before and verifies after (a listing of 200 pages each time).

- CPU is the whole process from start to end, divided by the campaigns.
- The programs take turns, so that a slow minute of the machine is slow for all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.figures import Figure, Limits, ratios
from bench.stage import Form, Ran, Server, Stage, say

TITLE = "what a campaign costs beside a bare aiohttp pool, 32 at a time"
CONCURRENCY = 32
#: bare pool ÷ product, of CPU
CPU_LIMITS = {
    "pause --no-verify": Limits(required=0.65, goal=0.80, at_most=False),
    "pause": Limits(required=0.58, goal=0.72, at_most=False),
}

_BARE = "bare pool"


def measure(stage: Stage, form: Form) -> list[Figure]:
    """Every program, https and http."""
    return [*_measure(stage, form, tls=True), *_measure(stage, form, tls=False)]


def _measure(stage: Stage, form: Form, *, tls: bool) -> list[Figure]:
    scheme = "https" if tls else "http"
    campaigns = form.pick(usual=20_000, quick=2_000)
    with stage.server(tls=tls, campaigns=campaigns) as server:
        programs = _programs(stage, server, campaigns)
        ran: dict[str, list[Ran]] = {name: [] for name in programs}
        for number in range(form.pick(usual=9 if tls else 3, quick=1)):
            for name, run in programs.items():
                ran[name].append(run())
                stopped = server.seen()["stopped"]
                if stopped != campaigns:
                    raise RuntimeError(f"{name} has stopped {stopped:.0f} of {campaigns}")
                last = ran[name][-1]
                say(f"{scheme} {name}, round {number + 1}: {last.cpu_s:.1f} s CPU")
    figures = []
    for name, runs in ran.items():
        title = f"{scheme}, {name}"
        cpu_us = tuple(one.cpu_s / campaigns * 1e6 for one in runs)
        figures += [
            Figure(f"{title}: CPU per campaign", cpu_us, "µs"),
            Figure(f"{title}: campaigns per second", _rates(runs, campaigns), "/s"),
            Figure(f"{title}: peak memory", tuple(one.peak_mb for one in runs), "MB"),
        ]
        if name.startswith("pause"):
            ratio = ratios([one.cpu_s for one in ran[_BARE]], [one.cpu_s for one in runs])
            asked = CPU_LIMITS[name] if tls else None
            figures.append(Figure(f"{title}: CPU of bare pool ÷ product", ratio, "x", asked))
            ratio = ratios([one.wall_s for one in ran[_BARE]], [one.wall_s for one in runs])
            figures.append(Figure(f"{title}: wall of bare pool ÷ product", ratio, "x"))
    return figures


def _programs(stage: Stage, server: Server, campaigns: int) -> dict[str, Callable[[], Ran]]:
    def pool() -> Ran:
        with stage.bare_pool(server, str(campaigns), str(CONCURRENCY)) as child:
            return child.wait()

    unpaced = ("--rate", "100000", "--concurrency", str(CONCURRENCY))
    pause = ("pause", stage.list_of(range(1, campaigns + 1)), *unpaced)
    return {
        _BARE: pool,
        "pause --no-verify": lambda: stage.orchestrator(server, *pause, "--no-verify"),
        "pause": lambda: stage.orchestrator(server, *pause),
    }


def _rates(runs: list[Ran], campaigns: int) -> tuple[float, ...]:
    return tuple(campaigns / one.wall_s for one in runs)
