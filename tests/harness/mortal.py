"""Processes that end suddenly: the product in a forked child, killed at an instant or later.

- Imports happen once; every process is a fork of the process that did them (the cradle).
- The product has no hooks for this. The child wraps what it calls: commits, fsync, rename, the
  transport's write and read. Everything else is the real thing.
- Death is SIGKILL, by the child's own hand at an instant, by the cradle's after a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sqlite3
import sys
import time
from asyncio import selector_events
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from orchestrator import api as library
from orchestrator.engine.options import (
    ContinueOptions,
    PauseAllOptions,
    PauseOptions,
    RestoreOptions,
)
from orchestrator.errors import OrchestratorError
from orchestrator.policy import quiet

#: seconds after which a process that should have ended counts as hanging
LIFE_S = 60.0
#: instead of 5 s between the two passes of an emergency, so that thousands fit into an hour
_SHORT_GAP_S = 0.05

#: what is passed on the way through a run, each with a before and an after
PLACES = (
    "plan commit",
    "plan fsync",
    "journal rename",
    "commit",
    "row",
    "put",
    "ask",
    "read",
    "report fsync",
    "failed.csv rename",
    "results.csv rename",
    "summary.json rename",
    "holder.json rename",
)
INSTANTS = tuple(f"{when} {place}" for place in PLACES for when in ("before", "after"))


@dataclass(frozen=True, slots=True)
class Life:
    """One process: what it does and when it dies."""

    #: pause, pause_all, restore, continue, report
    command: str
    base_url: str
    run_dir: str
    state_dir: str
    access_key: str
    secret_key: str
    manifest: str = ""
    #: the run that a restore undoes
    source: str = ""
    vdns: tuple[int, ...] = ()
    verify: bool = True
    #: one of INSTANTS; empty: none
    instant: str = ""
    #: at which passage of it
    nth: int = 1
    #: seconds; None: never
    dies_after_s: float | None = None
    #: where to count the instants that were passed; empty: nowhere
    counts: str = ""


@dataclass(frozen=True, slots=True)
class Death:
    """How a process ended."""

    #: None: it was killed
    exit_code: int | None
    #: it did not end by itself and had no time set
    hung: bool
    lived_s: float


class Cradle:
    """A child that has imported everything and forks one process at a time."""

    #: our ends of all channels: a later cradle must not hold an earlier one's open
    _channels: ClassVar[list[socket.socket]] = []

    def __init__(self) -> None:
        """Fork it; call this before there is a thread or a loop."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            for channel in (ours, *self._channels):
                channel.close()
            with contextlib.suppress(KeyboardInterrupt, OSError):
                _rock(theirs)
            os._exit(0)
        theirs.close()
        self._channel = ours
        self._channels.append(ours)

    async def live(self, process: Life) -> Death:
        """Let one process happen."""
        loop = asyncio.get_running_loop()
        self._channel.setblocking(False)  # noqa: FBT003 - the socket's own signature
        await loop.sock_sendall(self._channel, json.dumps(asdict(process)).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            piece = await loop.sock_recv(self._channel, 4096)
            if not piece:
                raise RuntimeError("the cradle is gone")
            answer += piece
        return Death(**json.loads(answer))

    def close(self) -> None:
        """End it."""
        self._channel.close()
        os.waitpid(self.pid, 0)


def _rock(channel: socket.socket) -> None:
    gc.freeze()
    with channel.makefile("rwb") as lines:
        for line in lines:
            told = json.loads(line)
            told["vdns"] = tuple(told["vdns"])
            death = _one_life(Life(**told))
            lines.write(json.dumps(asdict(death)).encode() + b"\n")
            lines.flush()


def _one_life(process: Life) -> Death:
    born_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = _live(process)
        finally:
            os._exit(code)
    descriptor = os.pidfd_open(pid)
    wait_s = LIFE_S if process.dies_after_s is None else process.dies_after_s
    ended, _, _ = select.select([descriptor], [], [], wait_s)
    if not ended:
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(descriptor)
    code = os.waitstatus_to_exitcode(status)
    return Death(
        exit_code=code if code >= 0 else None,
        hung=not ended and process.dies_after_s is None,
        lived_s=time.monotonic() - born_s,
    )


# -- in the forked child ----------------------------------------------------------------------


def _live(process: Life) -> int:
    told = Path(process.state_dir, "stderr.txt").open("a", encoding="utf-8")  # noqa: SIM115 - dies with us
    os.dup2(told.fileno(), 2)
    sys.stderr = told
    instants = Instants(process.instant, process.nth)
    _wrap(instants)
    try:
        code = asyncio.run(_command(process)).exit_code
    except OrchestratorError as error:
        print(f"{type(error).__name__}: {error}", file=told)
        code = error.exit_code
    except BaseException:  # noqa: BLE001 - a child that breaks is told by its exit code
        sys.excepthook(*sys.exc_info())
        code = 98
    told.flush()
    if process.counts:
        Path(process.counts).write_text(json.dumps(instants.passed), encoding="utf-8")
    return code


async def _command(process: Life) -> library.RunResult:
    settings = library.load_settings(
        {
            "server.base_url": process.base_url,
            "credentials.access_key": process.access_key,
            "pace.rate_per_s": 5000.0,
            "pace.concurrency": 4,
            "retry.backoff_base_s": 0.005,
            "retry.backoff_cap_s": 0.05,
        },
        environ={
            "ORCHESTRATOR_SECRET_KEY": process.secret_key,
            "ORCHESTRATOR_STATE_DIR": process.state_dir,
            "HOME": process.state_dir,
        },
        emergency=process.command == "pause_all",
    )
    run_dir = Path(process.run_dir)
    match process.command:
        case "pause":
            options = PauseOptions(run_dir=run_dir, verify=process.verify)
            return await library.pause(process.manifest, settings, options)
        case "pause_all":
            return await library.pause_all(
                settings, PauseAllOptions(vdns=process.vdns, run_dir=run_dir, deadline_s=50.0)
            )
        case "restore":
            return await library.restore(process.source, settings, RestoreOptions(run_dir=run_dir))
        case "report":
            return library.report(run_dir, settings)
        case _:
            return await library.continue_run(run_dir, settings, ContinueOptions())


class Instants:
    """Counts what is passed, and dies at the one that was asked for."""

    def __init__(self, instant: str, nth: int) -> None:
        self.passed: Counter[str] = Counter()
        self._instant = instant
        self._nth = nth

    def passing(self, instant: str) -> None:
        """Here we are."""
        self.passed[instant] += 1
        if instant == self._instant and self.passed[instant] == self._nth:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def around(self, place: str) -> Any:
        """Before and after one place; nothing for a place without a name."""
        if place:
            self.passing(f"before {place}")
        yield
        if place:
            self.passing(f"after {place}")


def _wrap(instants: Instants) -> None:
    _wrap_database(instants)
    _wrap_files(instants)
    _wrap_network(instants)
    quiet.GAP_S = _SHORT_GAP_S


def _wrap_database(instants: Instants) -> None:
    class Connection(sqlite3.Connection):
        """Passes an instant before and after every commit and every row."""

        place = "commit"

        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:
            place = ""
            if sql == "COMMIT":
                place = self.place
            elif sql.startswith("INSERT") and self.place == "commit":
                place = "row"
            with instants.around(place):
                return super().execute(sql, *rest)

    def connect(path: Any, *rest: Any, **more: Any) -> sqlite3.Connection:
        connection: Connection = real(path, *rest, factory=Connection, **more)
        if str(path).endswith(".part"):
            connection.place = "plan commit"
        return connection

    real: Callable[..., Any] = sqlite3.connect
    sqlite3.connect = connect  # type: ignore[assignment]


def _wrap_files(instants: Instants) -> None:
    def named(name: Any, target: Any) -> str:
        for one in ("holder.json", "failed.csv", "results.csv", "summary.json"):
            if str(target).endswith(one):
                return f"{one} rename"
        return "journal rename" if str(name).endswith("journal.db.part") else ""

    def renaming(real: Callable[..., None], source: Any, target: Any, **more: Any) -> None:
        with instants.around(named(source, target)):
            real(source, target, **more)

    def fsync(descriptor: int) -> None:
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        place = "plan fsync" if name.endswith("journal.db.part") else "report fsync"
        with instants.around(place):
            real_fsync(descriptor)

    real_fsync = os.fsync
    os.rename = partial(renaming, os.rename)
    os.replace = partial(renaming, os.replace)
    os.fsync = fsync  # type: ignore[assignment]


def _wrap_network(instants: Instants) -> None:
    transport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    real_write, real_read = transport.write, transport._read_ready

    def write(self: Any, sent: Any) -> None:
        with instants.around("put" if bytes(sent[:3]) == b"PUT" else "ask"):
            real_write(self, sent)

    def read_ready(self: Any) -> None:
        with instants.around("read"):
            real_read(self)

    transport.write = write
    transport._read_ready = read_ready
