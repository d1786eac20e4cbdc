"""A real PostgreSQL for tests, from the binaries of this machine: loopback only, gone at the end.

It refuses to run as root, so root starts it as another user. It dies with the process that started
it, also when that is killed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from orchestrator.settings.secret import Secret
from orchestrator.store.database import connect, migrate

#: where Debian and others keep what is not on the path; the newest version first
_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
#: first words of why a test was skipped; tests/conftest.py repeats them at the end
NOT_TRIED = "NOT TRIED"
_READY_WITHIN_S = 30.0

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",  # a test that kills the machine would have to turn it on
    "full_page_writes": "off",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "log_min_messages": "warning",
}
_DURABLE = {"fsync": "on", "full_page_writes": "on", "shared_buffers": "128MB"}


@functools.cache
def binaries() -> Path | None:
    """Where initdb and postgres are; None: this machine has none."""
    found = [path for folder in _FOLDERS for path in Path("/").glob(folder[1:])]
    found.sort(key=lambda path: [int(part) for part in path.parts if part.isdecimal()])
    on_path = shutil.which("initdb")
    found += [Path(on_path).parent] if on_path else []
    whole = [path for path in found if (path / "initdb").exists() and (path / "postgres").exists()]
    return whole[-1] if whole else None


def need() -> Path:
    """Where the binaries are; without them the test is skipped, and loudly."""
    found = binaries()
    if found is None:
        pytest.skip(f"{NOT_TRIED}: no PostgreSQL here (apt-get install postgresql)")
    return found


def _as_somebody() -> list[str]:
    """What goes before a command of PostgreSQL: its process ends with ours, and is not root's."""
    ends_with_us = ["setpriv", "--pdeathsig", "KILL"]
    if os.geteuid() != 0:
        return ends_with_us
    who = _unprivileged()
    user, group = str(who.pw_uid), str(who.pw_gid)
    return [*ends_with_us, "--reuid", user, "--regid", group, "--clear-groups"]


def _unprivileged() -> pwd.struct_passwd:
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres")
    return pwd.getpwnam("nobody")


class PostgresServer:
    """One server with its data in a temporary directory."""

    def __init__(self, *, under: Path | None = None, durable: bool = False) -> None:
        """Make it and start it.

        Args:
            under: where its folder is made; the usual place for temporary ones unless given.
            durable: it may be measured; else what is only lost with the machine is not waited for.
        """
        self._bin = need()
        self._settings = _SETTINGS | (_DURABLE if durable else {})
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=under))
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._names = itertools.count(1)
        if os.geteuid() == 0:
            os.chown(self.folder, _unprivileged().pw_uid, _unprivileged().pw_gid)
        try:
            self._run("initdb", "-D", self.data, "-U", "tester", "-A", "trust", "-E", "UTF8",
                      "--locale", "C", "--no-sync", "--no-instructions")  # fmt: skip
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def data(self) -> str:
        """The data directory."""
        return str(self.folder / "data")

    def url(self, name: str = "postgres") -> str:
        """How a client finds a database of it."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{name}"

    def start(self, *, wait: bool = True) -> None:
        """Start it; returns when it takes connections.

        Args:
            wait: False: it returns at once, while it recovers.
        """
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        command = [*_as_somebody(), str(self._bin / "postgres"), "-D", self.data]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-k", str(self.folder), "-p", str(self.port), *options],
                stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        deadline_s = time.monotonic() + _READY_WITHIN_S
        while wait:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline_s:
                    log_text = (self.folder / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start: {log_text[-2000:]}") from None
                time.sleep(0.02)
            else:
                return

    @property
    def runs(self) -> bool:
        """Whether it has not ended, by itself or by us."""
        return self._process is not None and self._process.poll() is None

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: SIGQUIT is an immediate stop, as if it had crashed; SIGINT an orderly one."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None

    def close(self) -> None:
        """Stop it and remove all of it."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @functools.cached_property
    def database(self) -> Secret:
        """A database with our tables, for all who keep out of each other's way."""
        return self.make_database()

    def make_database(self) -> Secret:
        """A database of one test, with our tables."""
        made = self.make_bare_database()
        with connect(made) as connection:
            migrate(connection)
        return made

    def make_bare_database(self) -> Secret:
        """A database without our tables."""
        name = f"t{next(self._names)}"
        self.execute(f"CREATE DATABASE {name}")
        return Secret(self.url(name))

    def execute(self, statement: str) -> None:
        """Do something that belongs to no database."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        command = [*_as_somebody(), str(self._bin / program), *arguments]
        ended = subprocess.run(command, capture_output=True, check=False, cwd="/")
        if ended.returncode:
            raise RuntimeError(f"{program}: {ended.stderr.decode(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_started: list[PostgresServer] = []


def shared() -> PostgresServer:
    """The one server of this process; tests/conftest.py closes it."""
    if not _started:
        _started.append(PostgresServer())
    return _started[0]


def close_shared() -> None:
    """Close it, if a test has asked for it."""
    while _started:
        _started.pop().close()


@contextlib.contextmanager
def is_away(server: PostgresServer) -> Iterator[Callable[[], None]]:
    """The server has crashed until the caller starts it again; at the end it runs."""
    server.stop()
    started: list[bool] = []

    def start() -> None:
        if not started:
            server.start()
            started.append(True)

    try:
        yield start
    finally:
        start()
