"""What a measurement comes to: medians, spreads, limits, and the tables that show them. No I/O.

- A figure keeps the value of every round; what is shown is their median, least and most.
- A ratio is formed in each round, between neighbours in time, and only then summed up.
- Met or not is said of the median as measured, not as rounded for the table.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of a figure: two values of its own unit."""

    required: float
    goal: float
    #: a smaller value is a better one
    at_most: bool = True

    def holds(self, value: float, limit: float) -> bool:
        """Whether a value is on the right side of one of the two."""
        return value <= limit if self.at_most else value >= limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, in each round; no values: it could not be."""

    name: str
    values: tuple[float, ...]
    unit: str
    limits: Limits | None = None

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """How the median stands to what is asked; empty when nothing is."""
        if self.limits is None or not self.values:
            return ""
        if self.limits.holds(self.median, self.limits.goal):
            return "goal met"
        if self.limits.holds(self.median, self.limits.required):
            return "required met"
        return "NOT met"


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """One ratio per round."""
    return tuple(one / other for one, other in zip(above, below, strict=True))


def text_of(value: float, unit: str) -> str:
    """A value as people read it: two digits behind the point for a ratio, else three in all."""
    places = 0 if abs(value) >= 100 or not unit else 1 if abs(value) >= 10 else 2
    if unit in {"x", "%"}:
        places = 2
    return f"{value:,.{places}f} {unit}".strip()


def table(figures: Sequence[Figure]) -> str:
    """A Markdown table of figures."""
    lines = [
        "| figure | median | least … most | rounds | required | goal | |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(_cells(one))} |" for one in figures]
    return "\n".join(lines)


def _cells(one: Figure) -> list[str]:
    required = goal = spread = ""
    if not one.values:
        return [one.name, "not on this machine", spread, "0", required, goal, one.verdict]
    if one.limits:
        sign = "≤" if one.limits.at_most else "≥"
        required = f"{sign} {text_of(one.limits.required, one.unit)}"
        goal = f"{sign} {text_of(one.limits.goal, one.unit)}"
    if len(one.values) > 1:
        spread = " … ".join(text_of(end(one.values), one.unit) for end in (min, max))
    median = text_of(one.median, one.unit)
    return [one.name, median, spread, str(len(one.values)), required, goal, one.verdict]


def document(
    machine: Mapping[str, str], measured: Mapping[str, tuple[str, Sequence[Figure]]]
) -> str:
    """RESULTS.md: the machine, what is asked for, then each measure with its title and table."""
    parts = ["# Results", "", "Made by `./do bench`; [README.md](README.md) says what each means."]
    parts += ["", *(f"- {name}: {what}" for name, what in machine.items()), ""]
    limited = [
        replace(one, name=f"{name}: {one.name}")
        for name, (_, figures) in measured.items()
        for one in figures
        if one.limits
    ]
    if limited:
        parts += ["## What is asked for, and what was reached", "", table(limited), ""]
    for name, (title, figures) in measured.items():
        parts += [f"## {name}: {title}", "", table(figures), ""]
    return "\n".join(parts)
