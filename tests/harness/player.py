"""What both families of the simulation share: a stage, what is visited and found, and the trace."""

from __future__ import annotations

import hashlib
import traceback
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field

from orchestrator.errors import OrchestratorError
from tests.fakes import Stage


@dataclass
class Verdict:
    """What became of one seed."""

    #: state: how often it was visited
    visited: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)
    #: the same whenever the seed is played
    trace: str = ""
    processes: int = 0
    requests: int = 0
    #: virtual seconds
    virtual_s: float = 0.0


class Player(ABC):
    """Plays the history of one seed and judges it."""

    def __init__(self, name: str, stage: Stage) -> None:
        """Take the name that findings begin with, and the stage."""
        self.name = name
        self.stage = stage
        self.verdict = Verdict()

    async def play(self) -> Verdict:
        """Let it happen, then judge; whatever is raised is a finding."""
        try:
            await self._happen()
        except OrchestratorError as error:
            self.find(f"refused: {type(error).__name__}: {error}")
        except AssertionError as error:
            self.find(f"Stage: {error}")
        except Exception:  # noqa: BLE001 - whatever comes through here is a finding
            self.find(traceback.format_exc())
        self.verdict.processes = len(self.stage.processes)
        self.verdict.requests = len(self.stage.server.sent)
        self.verdict.virtual_s = self.stage.clock.now_s()
        self.verdict.trace = self._trace()
        return self.verdict

    @abstractmethod
    async def _happen(self) -> None:
        """Play it, with all that is compared on the way."""

    def visit(self, state: str, times: int = 1) -> None:
        """Count a state."""
        if times:
            self.verdict.visited[state] += times

    def find(self, finding: str) -> None:
        """Note something that must not be."""
        self.verdict.findings.append(f"{self.name}: {finding}")

    @property
    def is_at_work(self) -> bool:
        """Whether the newest process can be killed or stopped.

        Before its first commit its plan is still being read, in a thread that nobody can kill.
        """
        process = self.stage.processes[-1]
        return bool(process.writers) and not process.dead

    def _trace(self) -> str:
        digest = hashlib.sha256()
        for one in self.stage.server.sent:
            fault = one.entry and one.entry.fault
            shown = (one.at_s, one.process, one.target, fault, one.delivered)
            digest.update(repr(shown).encode())
        for name, fields in self.stage.events.all:
            digest.update(f"{name} {sorted(fields)}".encode())
        for run_dir in self.stage.run_dirs():
            results = run_dir / "results.csv"
            if results.exists():
                digest.update(results.read_bytes())
        return digest.hexdigest()
