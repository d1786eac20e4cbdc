"""From the start of the process to its first PUT at the server, beside a lone signed PUT.

The list has 1,000 lines, the VDN 1,000 campaigns, the rate is 1,000 a second, files are in the
cache. `pause` looks before it pauses: the listing's 10 pages of 100 campaigns cost time of their
own, which belongs to the measure. What the pace costs does not, since no quicker program has less
of it: at R = 100, which stands beside it, the ten pages alone take 90 ms.

- The ways take turns; a first round is thrown away.
- A process is killed as soon as its first PUT has come: what follows is not looked at.
- Its CPU is what it had used by then, and in the 10 ms that may pass before it is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.figures import Figure, Limits, ratios
from bench.stage import Child, Form, Server, Stage, say

TITLE = "from the start of the process to the first PUT"
CAMPAIGNS = 1_000
LIMITS = {
    "pause": Limits(required=1.6, goal=1.3),
    "pause-all --yes": Limits(required=1.35, goal=1.1),
}
_LONE = "lone PUT"


def measure(stage: Stage, form: Form) -> list[Figure]:
    """Every way, https and http."""
    return [*_measure(stage, form, tls=True), *_measure(stage, form, tls=False)]


def _measure(stage: Stage, form: Form, *, tls: bool) -> list[Figure]:
    scheme = "https" if tls else "http"
    list_path = stage.list_of(range(1, CAMPAIGNS + 1))
    ways = {
        "pause": ("pause", list_path, "--rate", "1000"),
        "pause --rate 100": ("pause", list_path, "--rate", "100"),
        "pause --no-verify": ("pause", list_path, "--rate", "1000", "--no-verify"),
        "pause-all --yes": ("pause-all", "--vdn", "1", "--yes", "--rate", "1000"),
    }
    found: dict[str, list[_Start]] = {_LONE: [], **{name: [] for name in ways}}
    with stage.server(tls=tls, campaigns=CAMPAIGNS) as server:
        for _ in range(form.pick(usual=21, quick=3)):
            found[_LONE].append(_lone(stage, server))
            for name, words in ways.items():
                with stage.orchestrating(server, *words) as child:
                    found[name].append(_first_put(server, child))
    say(f"{scheme}: " + ", ".join(f"{name} {one[-1].wall_s:.3f} s" for name, one in found.items()))
    lone = found[_LONE][1:]
    figures = []
    for name, starts in found.items():
        warm = starts[1:]
        title = f"{scheme}, {name}"
        wall_ms = tuple(1000 * one.wall_s for one in warm)
        figures.append(Figure(f"{title}: to the first PUT", wall_ms, "ms"))
        if name != _LONE:
            asked = LIMITS.get(name)
            ratio = ratios([one.wall_s for one in warm], [one.wall_s for one in lone])
            figures.append(Figure(f"{title}: product ÷ lone PUT", ratio, "x", asked))
            ratio = ratios([one.cpu_s for one in warm], [one.cpu_s for one in lone])
            figures.append(Figure(f"{title}: CPU, product ÷ lone PUT", ratio, "x"))
    return figures


@dataclass(frozen=True, slots=True)
class _Start:
    """From the start of a process to its first PUT."""

    wall_s: float
    cpu_s: float


def _lone(stage: Stage, server: Server) -> _Start:
    with stage.bare_pool(server, "1", "1") as child:
        return _first_put(server, child)


def _first_put(server: Server, child: Child) -> _Start:
    seen = server.await_seen(lambda seen: seen["puts"] > 0)
    ended = child.kill()
    assert ended is not None
    return _Start(wall_s=seen["first_put_s"] - child.began_s, cpu_s=ended.cpu_s)
