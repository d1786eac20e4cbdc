"""What every benchmark stands on: the server, the programs that run against it, what they cost.

- Server and client have a core each, where there are two; the bench itself sits with the server and
  does nothing while a client is measured.
- CPU and memory are what the kernel says of the finished process and its children. No peak is below
  that of the bench itself, from which they are forked, so it imports little.
- Nothing of this machine's own settings reaches a client, and nothing is left behind: every process
  is ended by its number, every file lies in one folder that is removed.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
ACCESS_KEY = "bench-access-key"
SECRET_KEY = "bench-secret-key"  # noqa: S105 - the server does not look at it

#: seconds between two looks at the server while something is awaited
_LOOK_S = 0.01
#: seconds after which something awaited will not come any more
_PATIENCE_S = 900.0


@dataclass(frozen=True, slots=True)
class Form:
    """How long it may take: the usual form, a quick one that only shows that all of it works."""

    quick: bool = False
    #: the largest sizes too
    full: bool = False

    def pick(self, usual: T, quick: T) -> T:
        """The value for this form."""
        return quick if self.quick else usual


@dataclass(frozen=True, slots=True)
class Ran:
    """A program that has ended: what it cost and what it said."""

    #: monotonic seconds at which it was started
    began_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    exit_code: int
    said: str


class Child:
    """A program that runs."""

    def __init__(self, command: Sequence[str], environ: dict[str, str], said: Path) -> None:
        self._said = said
        self._command = command
        with said.open("w") as stream:
            self.began_s = time.monotonic()
            self._popen = subprocess.Popen(
                command, env=environ, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream
            )

    def wait(self, *, may_fail: bool = False) -> Ran:
        """Wait for its end.

        Raises:
            RuntimeError: it failed, and was not allowed to.
        """
        _, status, usage = os.wait4(self._popen.pid, 0)
        ended_s = time.monotonic()
        self._popen.returncode = os.waitstatus_to_exitcode(status)
        said = self._said.read_text(encoding="utf-8", errors="replace")
        if self._popen.returncode and not may_fail:
            shown = " ".join(self._command[1:6])
            raise RuntimeError(f"{shown} ended with {self._popen.returncode}: {said[-500:]}")
        return Ran(
            began_s=self.began_s,
            wall_s=ended_s - self.began_s,
            cpu_s=usage.ru_utime + usage.ru_stime,
            peak_mb=usage.ru_maxrss / 1024,
            exit_code=self._popen.returncode,
            said=said,
        )

    @property
    def pid(self) -> int:
        """Its number."""
        return self._popen.pid

    def end(self) -> Ran:
        """Let it end by SIGTERM."""
        os.kill(self._popen.pid, signal.SIGTERM)
        return self.wait(may_fail=True)

    def kill(self) -> Ran | None:
        """End it now; None when it has been waited for."""
        if self._popen.returncode is not None:
            return None
        os.kill(self._popen.pid, signal.SIGKILL)
        return self.wait(may_fail=True)


@dataclass(frozen=True, slots=True)
class Server:
    """The target of a measurement (bench/server.py) while it serves."""

    base_url: str
    control: int
    ca_file: str

    def seen(self) -> dict[str, float]:
        """What has arrived there so far; the keys are those of `World.seen`."""
        found: dict[str, float] = json.loads(self._ask("/seen"))
        return found

    def reset(self) -> None:
        """Forget what arrived; every campaign runs again."""
        self._ask("/reset")

    def await_seen(self, enough: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """Look until there is enough.

        Raises:
            TimeoutError: it does not come.
        """
        until_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until_s:
            seen = self.seen()
            if enough(seen):
                return seen
            time.sleep(_LOOK_S)
        raise TimeoutError("what was awaited has not reached the server")

    def _ask(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.control)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


class Stage:
    """A folder, certificates, and two cores."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        #: variables that the product gets besides
        self.more: dict[str, str] = {}
        self._cores = sorted(os.sched_getaffinity(0))
        self._ca_file = folder / "ca.pem"
        self._cert = folder / "server.pem"
        self.run("bench.certificates", str(self._ca_file), str(self._cert))

    @contextmanager
    def server(self, *, tls: bool = True, **options: float) -> Iterator[Server]:
        """Serve on the last core; options are those of `python -m bench.server`."""
        command = [sys.executable, "-m", "bench.server"]
        for name, value in options.items():
            command += [f"--{name.replace('_', '-')}", str(value)]
        command += ["--cert", str(self._cert)] if tls else []
        with self._on_core(-1):
            popen = subprocess.Popen(
                command, env=self._environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        try:
            assert popen.stdout is not None
            ports = json.loads(popen.stdout.readline())
            scheme = "https" if tls else "http"
            ca_file = str(self._ca_file) if tls else "-"
            yield Server(f"{scheme}://127.0.0.1:{ports['port']}", ports["control"], ca_file)
        finally:
            popen.kill()
            popen.communicate()

    @contextmanager
    def started(
        self,
        module: str,
        *words: str,
        server: Server | None = None,
        everywhere: bool = False,
    ) -> Iterator[Child]:
        """A Python module on the first core (or on all), killed if it still runs at the end."""
        command = [sys.executable, "-m", module, *words]
        with self._on_core(None if everywhere else 0):
            child = Child(command, self._environ(server), self.folder / "said")
        try:
            yield child
        finally:
            child.kill()

    def run(self, module: str, *words: str, server: Server | None = None) -> Ran:
        """Run a Python module to its end, which must be a good one."""
        with self.started(module, *words, server=server) as child:
            return child.wait()

    @contextmanager
    def bare_pool(self, server: Server, *words: str) -> Iterator[Child]:
        """The reference while it runs, against a server that has forgotten everything."""
        server.reset()
        told = (server.base_url, ACCESS_KEY, SECRET_KEY, server.ca_file, "1", *words)
        with self.started("bench.bare_pool", *told) as child:
            yield child

    def orchestrator(self, server: Server, *words: str) -> Ran:
        """Run the product against a server that has forgotten everything."""
        with self.orchestrating(server, *words) as child:
            return child.wait()

    @contextmanager
    def orchestrating(self, server: Server, *words: str) -> Iterator[Child]:
        """The product while it runs, with a state directory that is empty at first."""
        self.begin_anew(server)
        with self.started("orchestrator", *words, "-q", server=server) as child:
            yield child

    def begin_anew(self, server: Server) -> None:
        """Neither the product nor the server knows of an earlier run."""
        shutil.rmtree(self.state, ignore_errors=True)
        server.reset()

    @property
    def state(self) -> Path:
        """Where the product keeps its runs."""
        return self.folder / "state"

    def run_dir(self) -> Path:
        """The directory of the product's only run."""
        (found,) = (self.state / "runs").iterdir()
        return found

    def list_of(self, campaign_ids: Iterable[int], *, name: str = "list.csv") -> str:
        """A manifest of these campaigns of VDN 1."""
        path = self.folder / name
        with path.open("w", encoding="ascii") as lines:
            lines.writelines(f"1,{campaign_id}\n" for campaign_id in campaign_ids)
        return str(path)

    def _environ(self, server: Server | None = None) -> dict[str, str]:
        own = {
            name: text for name, text in os.environ.items() if not name.startswith("ORCHESTRATOR_")
        }
        own.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its .pyc files
        own |= {"PYTHONPATH": str(ROOT), "XDG_CONFIG_HOME": str(self.folder / "no-settings")}
        if server is not None:
            own |= {
                "ORCHESTRATOR_BASE_URL": server.base_url,
                "ORCHESTRATOR_ACCESS_KEY": ACCESS_KEY,
                "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
                "ORCHESTRATOR_STATE_DIR": str(self.state),
            }
            own |= self.more
            if server.ca_file != "-":
                own["ORCHESTRATOR_CA_FILE"] = server.ca_file
        return own

    @contextmanager
    def _on_core(self, place: int | None) -> Iterator[None]:
        """What is started inside stays on one core; this process goes back to the server's."""
        os.sched_setaffinity(0, self._cores if place is None else {self._cores[place]})
        try:
            yield
        finally:
            os.sched_setaffinity(0, {self._cores[-1]})

    def leave(self) -> None:
        """Give this process back the cores that it had."""
        os.sched_setaffinity(0, self._cores)


@contextmanager
def stage() -> Iterator[Stage]:
    """A stage in a temporary folder; TMPDIR says on which disk."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        made = Stage(Path(folder))
        try:
            yield made
        finally:
            made.leave()


def leave_when_told() -> None:
    """Let SIGTERM end this program as Ctrl-C does: with its children."""

    def leave(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, leave)


def say(words: str) -> None:
    """Say how far it is."""
    print(f"bench: {words}", file=sys.stderr, flush=True)
