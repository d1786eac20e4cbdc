"""The real command as a child process: started, watched, measured, ended by its pid.

Peak memory is VmHWM from /proc, read while it lives: ru_maxrss would count the pages of the
process that started it.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def command() -> list[str]:
    """How the product is started: $ORCHESTRATOR, or this interpreter's module."""
    given = os.environ.get("ORCHESTRATOR")
    return shlex.split(given) if given else [sys.executable, "-m", "orchestrator"]


@dataclass(frozen=True, slots=True)
class Ended:
    """What is known of a child that has ended."""

    exit_code: int
    wall_s: float
    peak_kib: int
    out: str
    err: str
    timed_out: bool
    ended_s: float

    @property
    def said(self) -> str:
        """Both streams."""
        return self.out + "\n" + self.err


class Child:
    """One process of ours. Nothing but its own pid is ever signalled."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        folder: Path,
        label: str,
    ) -> None:
        self.arguments = list(arguments)
        self.out_path = folder / f"{label}.out"
        self.err_path = folder / f"{label}.err"
        self.peak_kib = 0
        self.started_s = time.monotonic()
        with self.out_path.open("wb") as out, self.err_path.open("wb") as err:
            self.process = subprocess.Popen(
                [*command(), *self.arguments],
                env=dict(env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def alive(self) -> bool:
        """Whether it still runs; looks at its memory on the way."""
        try:
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    self.peak_kib = max(self.peak_kib, int(line.split()[1]))
        except OSError:
            pass
        return self.process.poll() is None

    def send(self, number: int) -> None:
        """Signal this child, if it is still there."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self, timeout_s: float) -> Ended:
        """Wait for the end; kill at the timeout."""
        until_s = time.monotonic() + timeout_s
        timed_out = False
        while self.alive():
            if time.monotonic() > until_s:
                timed_out = True
                self.send(signal.SIGCONT)
                self.send(signal.SIGKILL)
                self.process.wait(30)
                break
            time.sleep(0.02)
        ended_s = time.monotonic()
        return Ended(
            self.process.returncode,
            ended_s - self.started_s,
            self.peak_kib,
            self._read(self.out_path),
            self._read(self.err_path),
            timed_out,
            ended_s,
        )

    @staticmethod
    def _read(path: Path) -> str:
        return path.read_bytes().decode("utf-8", "replace") if path.exists() else ""
