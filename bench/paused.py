"""Until everything is paused: 3,000 campaigns at 200 a second while some answers are errors.

A share p of the PUTs is answered with a database error, by chance that is fixed, and independent
from attempt to attempt. Then N campaigns need N/(1 - p) PUTs, and no client under the rate R can be
done before N/(R(1 - p)).

The time is from the start of the process, look included, to the last campaign's stop at the server;
verification and report come after it. What campaigns that fail for ever do to the others stands
beside it: 1 % answer 0200006 to every PUT, and the time until the other 99 % are stopped is held
against the same run in which none is stubborn.
"""

from __future__ import annotations

from bench.figures import Figure, Limits, ratios
from bench.stage import Form, Stage, say

TITLE = "from the start of the process until the last campaign is stopped, https"
#: the share of errors that the limits are set for
_LIMITED = 0.05
#: the share of campaigns that fail for ever
_STUBBORN = 0.01


def limits(bound_s: float) -> Limits:
    """What is asked beside the arithmetic bound, seconds."""
    return Limits(required=1.10 * bound_s + 2, goal=1.03 * bound_s + 1)


def measure(stage: Stage, form: Form) -> list[Figure]:
    """Errors by chance, then campaigns that fail for ever."""
    return [*_by_chance(stage, form), *_for_ever(stage, form)]


def _by_chance(stage: Stage, form: Form) -> list[Figure]:
    """Without errors, with a few, with many."""
    campaigns, rate = form.pick(usual=(3_000, 200), quick=(500, 500))
    figures = []
    list_path = stage.list_of(range(1, campaigns + 1))
    for failing in (0.0, _LIMITED, 0.2):
        with stage.server(campaigns=campaigns, failing=failing) as server:
            ran = stage.orchestrator(server, "pause", list_path, "--rate", str(rate))
            seen = server.seen()
        if seen["stopped"] != campaigns:
            raise RuntimeError(f"{seen['stopped']:.0f} of {campaigns} are stopped")
        took_s = seen["last_stopped_s"] - ran.began_s
        bound_s = campaigns / (rate * (1 - failing))
        say(f"p = {failing:.0%}: {took_s:.1f} s, bound {bound_s:.1f} s")
        title = f"N = {campaigns:,}, R = {rate}, p = {failing:.0%}"
        asked = limits(bound_s) if failing == _LIMITED else None
        figures += [
            Figure(f"{title}: everything paused after", (took_s,), "s", asked),
            Figure(f"{title}: the bound N/(R(1 - p))", (bound_s,), "s"),
            Figure(f"{title}: beyond the bound", (took_s - bound_s,), "s"),
            Figure(f"{title}: PUTs for each campaign", (seen["puts"] / campaigns,), "x"),
        ]
    return figures


def _for_ever(stage: Stage, form: Form) -> list[Figure]:
    """With stubborn campaigns and without, in turns."""
    campaigns, rate = form.pick(usual=(2_000, 200), quick=(500, 500))
    list_path = stage.list_of(range(1, campaigns + 1))
    wanted = campaigns - round(campaigns * _STUBBORN)
    found: dict[float, list[float]] = {0.0: [], _STUBBORN: []}
    for _ in range(form.pick(usual=2, quick=1)):
        for stubborn, times_s in found.items():
            with (
                stage.server(campaigns=campaigns, stubborn=stubborn) as server,
                stage.orchestrating(server, "pause", list_path, "--rate", str(rate)) as child,
            ):
                seen = server.await_seen(lambda seen: seen["stopped"] >= wanted)
                times_s.append(seen["last_stopped_s"] - child.began_s)
            say(f"{stubborn:.0%} stubborn: {wanted} paused after {times_s[-1]:.1f} s")
    title = f"N = {campaigns:,}, R = {rate}"
    return [
        Figure(f"{title}: {wanted:,} paused, none stubborn", tuple(found[0.0]), "s"),
        Figure(f"{title}: {wanted:,} paused, the others stubborn", tuple(found[_STUBBORN]), "s"),
        Figure(f"{title}: with ÷ without", ratios(found[_STUBBORN], found[0.0]), "x"),
    ]
