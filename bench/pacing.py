"""The pace as the server sees it, with everything mixed in that could upset it.

One VDN is paused with look and verification; 5 % of the PUTs meet a database error and are
repeated, every connection ends after 100 requests, and every fifth one stalls for 2.5 s before TLS.
R = 2,000 is near what one core can send with TLS (`throughput`), so that http stands beside it;
there nothing stalls, since a connection without TLS has no moment before its first request.

- The window counts requests of every kind, as the server read them.
- The share of R is taken while work waited: from the first PUT until all but C campaigns have been
  tried; those C may be stuck behind a stalled connection each. The share from the first request on,
  look included, stands beside it.
- What the product counted as it sent stands beside what the server saw: the way between them is the
  machine's, and a busy one bunches what left evenly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from bench.figures import Figure, Limits
from bench.stage import Form, Server, Stage, say

TITLE = "the pace at the server: 5 % repeats, listings, stalled and ending connections, https"
SHARE_LIMITS = Limits(required=98.0, goal=99.5, at_most=False)
#: above this R a core is full
_FAST = 500
FAST_LIMITS = Limits(required=97.0, goal=99.0, at_most=False)
_WORST = "worst second at the server"
_SHARE = "share of R while work waits"


@dataclass(frozen=True, slots=True)
class Pace:
    """One R, and how long it is watched."""

    rate_per_s: int
    concurrency: int
    #: with listings and repeats they make 2,000 requests, or a minute, or 3 s
    campaigns: int
    rounds: int
    tls: bool = True

    @property
    def title(self) -> str:
        """How its figures are called."""
        return f"R = {self.rate_per_s:,}" + ("" if self.tls else ", http")


PACES = (
    Pace(10, 8, 550, 1),
    Pace(50, 8, 1_850, 1),
    Pace(500, 32, 1_850, 3),
    Pace(2_000, 64, 6_000, 3),
    Pace(2_000, 64, 6_000, 3, tls=False),
)
_QUICK = (Pace(10, 8, 40, 1), Pace(50, 8, 150, 1), Pace(500, 32, 600, 1), Pace(2_000, 64, 1_850, 1))


def measure(stage: Stage, form: Form) -> list[Figure]:
    """Every pace."""
    figures = []
    for pace in form.pick(usual=PACES, quick=_QUICK):
        list_path = stage.list_of(range(1, pace.campaigns + 1))
        found: dict[str, list[float]] = {}
        with stage.server(
            campaigns=pace.campaigns,
            held=pace.concurrency,
            latency_ms=5,
            failing=0.05,
            lifetime=100,
            stall_every=5 if pace.tls else 0,
            tls=pace.tls,
        ) as server:
            for _ in range(pace.rounds):
                for name, value in _one_run(stage, server, list_path, pace).items():
                    found.setdefault(name, []).append(value)
        rate = pace.rate_per_s
        say(f"{pace.title}: " + ", ".join(f"{name} {one[-1]:.1f}" for name, one in found.items()))
        share = SHARE_LIMITS if rate <= _FAST else FAST_LIMITS
        limits = {_WORST: Limits(required=rate, goal=rate), _SHARE: share}
        for name, values in found.items():
            unit = "%" if name.startswith("share") else ""
            title = f"{pace.title}: {name}"
            figures.append(Figure(title, tuple(values), unit, limits.get(name)))
    return figures


def _one_run(stage: Stage, server: Server, list_path: str, pace: Pace) -> dict[str, float]:
    words = ("--rate", str(pace.rate_per_s), "--concurrency", str(pace.concurrency))
    stage.orchestrator(server, "pause", list_path, *words)
    seen = server.seen()
    summary = json.loads((stage.run_dir() / "summary.json").read_text("utf-8"))
    work_s = seen["last_waiting_s"] - seen["first_put_s"]
    whole_s = seen["last_waiting_s"] - seen["first_s"]
    work = seen["last_waiting_number"] - seen["first_put_number"]
    share = 100 / pace.rate_per_s
    return {
        _WORST: seen["worst_1s"],
        "worst second as it was sent": summary["rate"]["worst_1s"],
        _SHARE: work / work_s * share,
        "share of R from the first request on": (seen["last_waiting_number"] - 1) / whole_s * share,
    }
