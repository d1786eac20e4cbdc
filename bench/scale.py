"""Longer and longer lists: time and peak memory for a line, which must not grow with the list.

Three things are run: `pause --dry-run` (read, check, plan, write a report of planned rows), the
plan alone (this file as a program of its own: PlanWriter and what it reads), and whole runs with
look, verification and report, after which `report` makes the report again.

- Campaign ids come in no order, and one line in a hundred repeats an earlier one: the exact check
  for duplicates has its hardest time.
- The limits of a plan are for 10,000,000 lines (`full=1`); else the longest list is held to them.
  `full=1` also runs 1,000,000 campaigns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, Limits
from bench.stage import Form, Stage, say

TITLE = "what a line costs as lists grow"
PLAN_LIMITS = Limits(required=15.0, goal=8.0)
PLANNED_MB_LIMITS = Limits(required=120.0, goal=80.0)
RUN_MB_LIMITS = Limits(required=100.0, goal=70.0)
#: the list that the limit of a run's memory is for
_LIMITED_RUN = 100_000

#: a prime, so that multiplying modulo it visits every number below it once, in no order
_PRIME = 999_999_937
_STEP = 618_033_989


def ids_in_no_order(lines: int) -> Iterator[int]:
    """Campaign ids of so many lines; the last hundredth repeats the first."""
    distinct = lines - lines // 100
    for number in range(lines):
        yield (number % distinct + 1) * _STEP % _PRIME


def measure(stage: Stage, form: Form) -> list[Figure]:
    """Plans, then runs."""
    plans = form.pick(usual=(1_000, 10_000, 100_000, 1_000_000), quick=(1_000, 10_000, 100_000))
    plans += (10_000_000,) if form.full else ()
    runs = form.pick(usual=(1_000, 10_000, 100_000), quick=(1_000, 5_000))
    runs += (1_000_000,) if form.full else ()
    return [*_plan(stage, plans), *_run(stage, runs)]


def _plan(stage: Stage, sizes: tuple[int, ...]) -> list[Figure]:
    figures = []
    for lines in sizes:
        list_path = stage.list_of(ids_in_no_order(lines))
        rounds = 3 if lines < 100_000 else 1
        planned_us, whole_us, peaks_mb = [], [], []
        for number in range(rounds):
            ran = stage.run("bench.scale", list_path, str(stage.folder))
            planned_us.append(float(ran.said) / lines * 1e6)
            directory = stage.folder / f"dry-{lines}-{number}"
            words = ("pause", list_path, "--dry-run", "-q", "--run-dir", str(directory))
            ran = stage.run("orchestrator", *words)
            whole_us.append(ran.wall_s / lines * 1e6)
            peaks_mb.append(ran.peak_mb)
        say(f"{lines:,} lines: planned in {planned_us[-1]:.1f} µs each, {peaks_mb[-1]:.0f} MB")
        longest = lines == sizes[-1]
        title = f"{lines:,} lines"
        asked = PLAN_LIMITS if longest else None
        asked_mb = PLANNED_MB_LIMITS if longest else None
        figures += [
            Figure(f"{title}: read, checked and planned, a line", tuple(planned_us), "µs", asked),
            Figure(f"{title}: the whole dry run, a line", tuple(whole_us), "µs"),
            Figure(f"{title}: peak memory of the dry run", tuple(peaks_mb), "MB", asked_mb),
        ]
    return figures


def _run(stage: Stage, sizes: tuple[int, ...]) -> list[Figure]:
    figures = []
    costs_us = []
    for campaigns in sizes:
        list_path = stage.list_of(range(1, campaigns + 1))
        with stage.server(campaigns=campaigns) as server:
            words = ("--rate", "100000", "--concurrency", "32")
            ran = stage.orchestrator(server, "pause", list_path, *words)
            run_dir = str(stage.run_dir())
        again = stage.run("orchestrator", "report", run_dir, "-q")
        say(f"{campaigns:,} campaigns: {ran.wall_s:.1f} s, {ran.peak_mb:.0f} MB")
        title = f"{campaigns:,} campaigns"
        costs_us.append(ran.cpu_s / campaigns * 1e6)
        asked_mb = RUN_MB_LIMITS if campaigns == _LIMITED_RUN else None
        figures += [
            Figure(f"{title}: CPU of the run, a line", (costs_us[-1],), "µs"),
            Figure(f"{title}: wall time of the run, a line", (ran.wall_s / campaigns * 1e6,), "µs"),
            Figure(f"{title}: peak memory of the run", (ran.peak_mb,), "MB", asked_mb),
            Figure(f"{title}: the report again, a line", (again.wall_s / campaigns * 1e6,), "µs"),
            Figure(f"{title}: peak memory of that", (again.peak_mb,), "MB"),
        ]
    growth = (costs_us[-1] / costs_us[-2],)
    figures.append(Figure(f"CPU a line, {sizes[-1]:,} ÷ {sizes[-2]:,} campaigns", growth, "x"))
    return figures


def plan_alone(list_path: Path, folder: Path) -> float:
    """Read a list into a finished plan; returns the seconds that took, imports left out."""
    from orchestrator.manifest.formats import format_of, read_manifest  # noqa: PLC0415 - the child's
    from orchestrator.manifest.source import open_manifest  # noqa: PLC0415
    from orchestrator.store import PlanWriter  # noqa: PLC0415

    journal = folder / "plan.db"
    journal.unlink(missing_ok=True)
    began_s = time.monotonic()
    writer = PlanWriter(journal)
    with open_manifest(list_path) as source:
        fmt = format_of(list_path.name)
        assert fmt is not None
        counts, _ = writer.take(read_manifest(source.chunks(), fmt, default_vdn=None))
    writer.finish().close()
    took_s = time.monotonic() - began_s
    assert counts.duplicates == counts.lines // 100
    return took_s


if __name__ == "__main__":
    print(plan_alone(Path(sys.argv[1]), Path(sys.argv[2])))
