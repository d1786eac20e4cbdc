"""What campaigns that fail for ever do to the others: 1 % answer 0200006 to every PUT.

- The time is from the start of the process until every campaign that can be stopped is.
- Beside it stands the same run in which none is stubborn; of that one the same number of campaigns
  is awaited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.figures import Figure, ratios
from bench.stage import say

if TYPE_CHECKING:
    from bench.stage import Form, Stage

TITLE = "1 % of the campaigns fail for ever: until the other 99 % are paused, https"
_SHARE = 0.01


def measure(stage: Stage, form: Form) -> list[Figure]:
    """With stubborn campaigns and without, in turns."""
    campaigns, rate = form.pick(usual=(2_000, 200), quick=(500, 500))
    list_path = stage.list_of(range(1, campaigns + 1))
    wanted = campaigns - round(campaigns * _SHARE)
    found: dict[float, list[float]] = {0.0: [], _SHARE: []}
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
        Figure(f"{title}: {wanted:,} paused, the others stubborn", tuple(found[_SHARE]), "s"),
        Figure(f"{title}: with ÷ without", ratios(found[_SHARE], found[0.0]), "x"),
    ]
