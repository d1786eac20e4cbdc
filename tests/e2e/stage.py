"""A server in this process and the real command in another: what every end-to-end test needs.

- a child is ended by its own pid, and never outlives its test.
- a fault inside the child is a few lines of Python before `main`; the product has no hooks.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY
from orchestrator.simulator.server import Simulator
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from tests.cli import makers
from tests.cli.makers import Ended
from tests.fakes import read_rows

VDN = 1234
#: the two sweeps of an emergency follow each other at once: what is tested is something else
SHORT_GAP = """
from orchestrator.policy import quiet
quiet.GAP_S = 0.2
"""
_MAIN = "import sys\nfrom orchestrator.cli.main import main\nsys.exit(main())"


@dataclass
class Child:
    """The command while it runs."""

    process: asyncio.subprocess.Process

    def send(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self) -> Ended:
        """Wait for its end."""
        return await makers.ended(self.process)


@dataclass
class Stage:
    """One server, one folder, any number of commands."""

    folder: Path
    simulator: Simulator
    children: list[Child] = field(default_factory=list)

    @property
    def run_dir(self) -> Path:
        """Where `pause` and `pause_all` put their run."""
        return self.folder / "run"

    @property
    def manifest(self) -> Path:
        """The list of every campaign."""
        return self.folder / "list.csv"

    async def begin(
        self,
        *words: str,
        program: str = "",
        python: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
        **streams: Any,
    ) -> Child:
        """Start a command.

        Args:
            words: of the command line, without server and credentials.
            program: Python to run before `main`; empty: the module as it is.
            python: options of the interpreter.
            env: variables on top of the usual ones.
            before: called in the child before it becomes Python.
            streams: a descriptor as `stdout` or `stderr` instead of a pipe; `cwd`.
        """
        start = ("-c", f"{program}\n{_MAIN}") if program else ("-m", "orchestrator")
        given = makers.environment(self.folder, self.simulator.base_url)
        process = await makers.start(
            *words,
            env={**given, "ORCHESTRATOR_RATE_PER_S": "100", **(env or {})},
            python=(*python, *start),
            preexec_fn=before,
            **{"cwd": self.folder, **streams},
        )
        child = Child(process)
        self.children.append(child)
        return child

    async def run(self, *words: str, **more: Any) -> Ended:
        """Start a command and wait for its end; the keywords are those of `begin`."""
        child = await self.begin(*words, **more)
        return await child.ended()

    def pause_words(self, *more: str) -> tuple[str, ...]:
        """`pause` of the whole list."""
        return ("pause", str(self.manifest), "--run-dir", str(self.run_dir), *more)

    def pause_all_words(self, *more: str) -> tuple[str, ...]:
        """`pause-all` of the VDN."""
        return ("pause-all", "--vdn", str(VDN), "--yes", "--run-dir", str(self.run_dir), *more)

    # -- what the server saw

    def puts(self) -> int:
        """Changes that arrived."""
        by_kind = self.simulator.ledger.by_kind
        return by_kind[Kind.PAUSE] + by_kind[Kind.RESUME]

    async def until_puts(self, number: int) -> None:
        """Wait until so many changes have arrived."""
        await self.until(lambda: self.puts() >= number)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for something that the child will make true."""
        await makers.until(condition)

    def running(self) -> int:
        """Campaigns that are started."""
        return self.simulator.world.counts()[Status.STARTED]

    def effects(self) -> int:
        """Most changes that any campaign underwent."""
        return max(self.simulator.ledger.effects.values(), default=0)

    # -- what people read

    def rows(self) -> list[dict[str, str]]:
        """results.csv of the run."""
        return read_rows(self.run_dir / "results.csv")

    def outcomes(self) -> dict[str, int]:
        """Outcomes in results.csv and their numbers."""
        return dict(Counter(row["outcome"] for row in self.rows()))

    def summary(self) -> dict[str, object]:
        """summary.json of the run."""
        told: dict[str, object] = json.loads((self.run_dir / "summary.json").read_text("utf-8"))
        return told


@asynccontextmanager
async def a_stage(
    folder: Path, *, campaigns: int = 40, faults: FaultPlan | None = None
) -> AsyncIterator[Stage]:
    """A server with one VDN of started campaigns, and a list of all of them."""
    world = World({VDN: [Campaign(number) for number in range(1, campaigns + 1)]})
    refs = [CampaignRef(VDN, number) for number in range(1, campaigns + 1)]
    lines = "".join(f"{ref.vdn_id},{ref.campaign_id}\n" for ref in refs)
    (folder / "list.csv").write_text(f"vdn_id,campaign_id\n{lines}", encoding="ascii")
    simulator = Simulator(world, faults=faults, signature=SignatureCheck(ACCESS_KEY, SECRET_KEY))
    async with simulator:
        stage = Stage(folder, simulator)
        try:
            yield stage
        finally:
            for child in stage.children:
                if child.process.returncode is None:
                    child.process.kill()
                    await child.process.communicate()
