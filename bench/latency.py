"""At 50 ms latency and 64 at a time: how much of what the server allows is used.

The server answers each request 50 ms after it came, so 64 in flight make 1,280 a second at best.

- The rate is taken at the server: PUTs after the first 64, from the first PUT to the last. (The
  last 64 arrive one latency before their answers, the first 64 wait for nothing.)
- The wall time of the whole process stands beside it; `pause` looks and verifies in it.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.figures import Figure, Limits, ratios
from bench.stage import Form, Ran, Stage, say

TITLE = "50 ms latency, 64 at a time, https"
CONCURRENCY = 64
LATENCY_S = 0.05
IDEAL_PER_S = CONCURRENCY / LATENCY_S
LIMITS = Limits(required=0.97, goal=0.99, at_most=False)


def measure(stage: Stage, form: Form) -> list[Figure]:
    """The bare pool and the product in turns."""
    campaigns = form.pick(usual=8_000, quick=2_000)
    words = ("1", str(campaigns), str(CONCURRENCY))
    unpaced = ("--rate", "100000", "--concurrency", str(CONCURRENCY))
    pause = ("pause", stage.list_of(range(1, campaigns + 1)), *unpaced)
    with stage.server(campaigns=campaigns, latency_ms=LATENCY_S * 1000) as server:
        programs: dict[str, Callable[[], Ran]] = {
            "bare pool": lambda: stage.reference("bare_pool", server, *words),
            "pause --no-verify": lambda: stage.orchestrator(server, *pause, "--no-verify"),
            "pause": lambda: stage.orchestrator(server, *pause),
        }
        rates: dict[str, list[float]] = {name: [] for name in programs}
        walls: dict[str, list[float]] = {name: [] for name in programs}
        for number in range(form.pick(usual=4, quick=1)):
            for name, run in programs.items():
                walls[name].append(run().wall_s)
                seen = server.seen()
                span_s = seen["last_put_s"] - seen["first_put_s"]
                rates[name].append((seen["puts"] - CONCURRENCY) / span_s)
                say(f"{name}, round {number + 1}: {rates[name][-1]:.0f}/s")
    figures = []
    for name, found in rates.items():
        ideal = tuple(rate / IDEAL_PER_S for rate in found)
        figures += [
            Figure(f"{name}: PUTs per second at the server", tuple(found), "/s"),
            Figure(f"{name}: of the ideal {IDEAL_PER_S:,.0f}/s", ideal, "x"),
            Figure(f"{name}: wall time of the process", tuple(walls[name]), "s"),
        ]
        if name != "bare pool":
            ratio = ratios(found, rates["bare pool"])
            figures.append(Figure(f"{name}: rate, product ÷ bare pool", ratio, "x", LIMITS))
    return figures
