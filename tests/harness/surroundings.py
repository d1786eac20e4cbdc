"""`./do surroundings [full=1]`: the real command where something around it is missing or nearly so.

Streams closed in all eight combinations, disks with little room, few descriptors: an emergency must
stop everything each time, a list must finish or be refused; nobody may hang, or call it a bug.

- Short is what CI runs; full=1 tries every 4 KiB from 0 to 256 and every limit from 5 to 32 (with 3
  and 4 Python does not start).
- a small disk is a file system of its own; where none may be mounted, no file may grow beyond that
  size instead.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.cli.makers import Ended
from tests.e2e.stage import SHORT_GAP, VDN, a_stage
from tests.harness.arguments import Arguments

CAMPAIGNS = 12
#: KiB of room: nothing, and each place where something else no longer fits
SHORT_DISKS = (0, 40, 64, 84, 104, 160)
SHORT_LIMITS = (5, 6, 7, 9, 10, 11, 13, 16)
#: each waits for a proof most of the time
_AT_ONCE = 4


class Hardship(NamedTuple):
    """One thing around the command that is not as usual."""

    name: str
    #: called in the child before it becomes Python
    before: Callable[[], None] | None = None
    #: room on the state directory's disk, KiB
    disk_kib: int | None = None
    #: how it may end
    codes: frozenset[int] = frozenset({0, 5})


@dataclass(frozen=True, slots=True)
class Trial:
    """How a command fared."""

    ended: Ended
    #: campaigns that are still started, changes that arrived, most changes to one campaign
    running: int
    puts: int
    effects: int

    def problem(self, hardship: Hardship, *, emergency: bool) -> str:
        """What must not be; empty when all is well."""
        if "Traceback" in self.ended.err or "a bug in" in self.ended.err:
            return "it broke"
        if self.effects > 1:
            return "a campaign was changed twice"
        if self.ended.code not in hardship.codes:
            return f"exit {self.ended.code}"
        if self.running and (emergency or self.ended.code == 0):
            return f"{self.running} campaigns still run"
        return ""


async def try_it(hardship: Hardship, *, emergency: bool) -> Trial:
    """Run an emergency, or a list, under one hardship."""
    with tempfile.TemporaryDirectory(prefix="surroundings-") as name:
        folder = Path(name)
        async with a_stage(folder, campaigns=CAMPAIGNS) as stage:
            with disk(folder, hardship.disk_kib) as (state, limit):

                def before() -> None:
                    for one in (limit, hardship.before):
                        if one is not None:
                            one()

                words = ("pause-all", "--vdn", str(VDN), "--yes")
                ended = await stage.run(
                    *(words if emergency else ("pause", str(stage.manifest))),
                    program=SHORT_GAP,
                    env={"ORCHESTRATOR_STATE_DIR": str(state)},
                    before=before,
                )
            return Trial(ended, stage.running(), stage.puts(), stage.effects())


def closed(*descriptors: int) -> Hardship:
    """Standard streams that are not there."""

    def close() -> None:
        for one in descriptors:
            os.close(one)

    return Hardship(f"closed: {descriptors or 'none'}", close, codes=frozenset({0}))


def all_closed() -> list[Hardship]:
    """All eight combinations."""
    choices = itertools.product((False, True), repeat=3)
    return [closed(*(one for one in range(3) if is_closed[one])) for is_closed in choices]


def few_descriptors(limit: int) -> Hardship:
    """A limit that the process cannot raise."""
    return Hardship(
        f"ulimit -n {limit}", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    )


def little_room(kib: int) -> Hardship:
    """A disk with so much room."""
    return Hardship(f"{kib} KiB of disk", disk_kib=kib)


@contextmanager
def disk(folder: Path, kib: int | None) -> Iterator[tuple[Path, Callable[[], None] | None]]:
    """The state directory, and a limit to set where it cannot have a disk of its own."""
    if kib is None:
        yield folder / "state", None
        return
    place = folder / "disk"
    place.mkdir()
    with small_disk(place, f"size={kib + 8}k") as mounted:
        if mounted:
            # size=0 would mean no limit, so every disk has 8 KiB more, and they are full
            (place / "full").write_bytes(bytes(8 * 1024))
            yield place / "state", None
        else:
            most = kib * 1024
            yield place / "state", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


@contextmanager
def small_disk(place: Path, options: str) -> Iterator[bool]:
    """Give a directory a file system of its own in memory; False where that is not allowed."""
    words = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place))
    allowed = os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = allowed and not subprocess.run(words, check=False, capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(("umount", "-l", str(place)), check=True)


async def _all(hardships: Sequence[Hardship]) -> int:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def in_turn(hardship: Hardship, *, emergency: bool) -> Trial:
        async with turns:
            return await try_it(hardship, emergency=emergency)

    failed = 0
    async with asyncio.TaskGroup() as group:
        trials = [
            (hardship, emergency, group.create_task(in_turn(hardship, emergency=emergency)))
            for hardship in hardships
            for emergency in (True, False)
        ]
        for hardship, emergency, task in trials:
            trial = await task
            problem = trial.problem(hardship, emergency=emergency)
            failed += bool(problem)
            kind = "emergency" if emergency else "list"
            verdict = problem or "ok"
            print(
                f"{hardship.name:<20} {kind:<10} exit {trial.ended.code:<3}"
                f" {trial.puts:>3} PUTs, {trial.running:>2} still run: {verdict}",
                flush=True,
            )
            if problem:
                print(trial.ended.err, file=sys.stderr)
    return failed


def main(argv: Sequence[str]) -> int:
    """Try them all and count."""
    full = Arguments(argv, known=("full",)).whole("full", 0)
    disks = range(0, 257, 4) if full else SHORT_DISKS
    limits = range(5, 33) if full else SHORT_LIMITS
    hardships = [
        *all_closed(),
        *(few_descriptors(limit) for limit in limits),
        *(little_room(kib) for kib in disks),
    ]
    failed = asyncio.run(_all(hardships))
    print(f"surroundings: {2 * len(hardships)} runs, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
