"""The picture of a stop, as shapes in a box: how many campaigns run, and how fast we asked.

Pure geometry: the template only writes down what stands here. Times are wall-clock milliseconds,
shapes are in the units of the box.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

#: steps and bars that are drawn at most: more could not be told apart
_STEPS_MAX = 600
_BARS_MAX = 240
#: a picture of an instant is drawn as if it had taken so long, milliseconds
_LEAST_MS = 1_000


class Box(NamedTuple):
    """Where everything is; the template takes its numbers from here. Texts go by their baseline."""

    width: int = 720
    height: int = 262
    left: int = 6
    right: int = 714
    field_label: int = 18
    #: the check passes
    marks: int = 31
    #: the upper field: campaigns that run
    field_top: int = 40
    field_bottom: int = 160
    rate_label: int = 184
    #: the lower one: requests in each second
    rate_top: int = 194
    rate_bottom: int = 236
    ticks: int = 256


BOX = Box()


class Mark(NamedTuple):
    """A check pass as it is drawn."""

    x: float
    clean: bool


class Bar(NamedTuple):
    """The requests of a second, or of a few."""

    x: float
    y: float
    width: float
    height: float


class Picture(NamedTuple):
    """What the template draws."""

    #: the line of the campaigns that run, and the area below it: points of a polyline
    line: str
    area: str
    #: campaigns at the top of the upper field
    most: int
    marks: tuple[Mark, ...]
    bars: tuple[Bar, ...]
    #: requests in a second at the top of the lower field, and where the ceiling is drawn
    most_per_s: float
    ceiling_y: float
    #: times below the axis: place, milliseconds
    ticks: tuple[tuple[float, int], ...]


def draw(  # noqa: PLR0913 - a run is drawn of all of these
    *,
    began_ms: int,
    ended_ms: int,
    first: int,
    changes: Iterable[tuple[int, int]],
    sent: Mapping[int, int],
    ceiling_per_s: float,
    looks: Iterable[tuple[int, bool]],
) -> Picture:
    """Draw one run, of which `first` campaigns ran at its beginning.

    `changes` are moments at which one stops (-1) or starts (+1), in any order; `sent` has the PUTs
    of each second since the epoch. `looks` are check passes: when one ended, and whether it was
    complete and showed nothing started.
    """
    span_ms = max(_LEAST_MS, ended_ms - began_ms)

    def across(at_ms: int) -> float:
        part = min(1.0, max(0.0, (at_ms - began_ms) / span_ms))
        return round(BOX.left + part * (BOX.right - BOX.left), 1)

    steps = _steps(first, changes, began_ms)
    most = max(1, *(running for _, running in steps))
    points: list[str] = []
    last_y = _up(steps[0][1] / most, BOX.field_top, BOX.field_bottom)
    for at_ms, running in steps:
        x, y = across(at_ms), _up(running / most, BOX.field_top, BOX.field_bottom)
        points += [f"{x},{last_y}", f"{x},{y}"]
        last_y = y
    points.append(f"{BOX.right},{last_y}")
    line = " ".join(points)
    bars, most_per_s = _bars(sent, ceiling_per_s, began_ms // 1000, span_ms)
    return Picture(
        line=line,
        area=f"{BOX.left},{BOX.field_bottom} {line} {BOX.right},{BOX.field_bottom}",
        most=most,
        marks=tuple(Mark(across(ended_ms), clean) for ended_ms, clean in looks),
        bars=bars,
        most_per_s=most_per_s,
        ceiling_y=_up(ceiling_per_s / most_per_s, BOX.rate_top, BOX.rate_bottom),
        ticks=tuple((across(at), at) for at in (began_ms, began_ms + span_ms // 2, ended_ms)),
    )


def _up(part: float, top: int, bottom: int) -> float:
    return round(bottom - part * (bottom - top), 1)


def _steps(first: int, changes: Iterable[tuple[int, int]], began_ms: int) -> list[tuple[int, int]]:
    """How many run, moment by moment: as many steps as can be told apart, the last one included."""
    ordered = sorted(changes)
    every = max(1, -(-len(ordered) // _STEPS_MAX))
    steps, running = [(began_ms, first)], first
    for number, (at_ms, change) in enumerate(ordered, start=1):
        running += change
        if number % every == 0 or number == len(ordered):
            steps.append((at_ms, max(0, running)))
    return steps


def _bars(
    sent: Mapping[int, int], ceiling_per_s: float, first_s: int, span_ms: int
) -> tuple[tuple[Bar, ...], float]:
    """Bars of a second each, or of the busiest second of several; and what the top stands for."""
    most_per_s = max([ceiling_per_s, *sent.values()]) or 1.0
    seconds = span_ms / 1000
    each_s = max(1, -int(-seconds // _BARS_MAX))
    busiest: dict[int, int] = {}
    for second, number in sent.items():
        place = max(0, second - first_s) // each_s
        busiest[place] = max(busiest.get(place, 0), number)
    wide = (BOX.right - BOX.left) / seconds
    bars = []
    for place, number in sorted(busiest.items()):
        x = min(BOX.left + place * each_s * wide, BOX.right - 1)
        y = _up(number / most_per_s, BOX.rate_top, BOX.rate_bottom)
        width = max(0.8, min(each_s * wide * 0.9, BOX.right - x))
        bars.append(Bar(round(x, 1), y, round(width, 1), round(BOX.rate_bottom - y, 1)))
    return tuple(bars), most_per_s
