"""Whole runs over a network that fails: nothing lost, nothing doubled, and said in words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import ssl
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
import trustme

from orchestrator import PauseAllOptions, PauseOptions
from orchestrator.clock import Clock, SystemClock
from orchestrator.engine import pausing, pausing_all
from orchestrator.engine.run import Environment
from orchestrator.isales.client import IsalesClient
from orchestrator.log import Events
from orchestrator.settings.load import Settings
from tests.checks.tree import ROOT
from tests.cli.makers import Ended, child, environment
from tests.e2e.makers import (
    VDN,
    Stand,
    pause_through,
    refs_of,
    settings_of,
    told_of,
    world_of,
    write_list,
)
from tests.fault_server import Exchange
from tests.isales.client_makers import Names, client_of

pytestmark = pytest.mark.sockets


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_closed_port_ends_the_run_after_its_patience_with_nothing_attempted(
    tmp_path: Path,
) -> None:
    """[N01] Exit 4, all eight unattempted, and the port is named."""
    port = free_port()

    told = await pause_through(f"http://127.0.0.1:{port}", tmp_path, refs_of(8))

    assert (told.exit_code, told.result.verdict) == (4, "ended_early")
    assert told.counts == {"unattempted": 8}
    assert f"127.0.0.1:{port}" in told.result.line
    assert told.intents == {}


def authority_at(folder: Path, host: str) -> ssl.SSLContext:
    """A server's side of TLS for this host; its authority is ca.pem in the folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def surroundings_where(names: Names) -> Environment:
    """The usual environment, with a resolver of our own."""

    def client(settings: Settings, clock: Clock) -> IsalesClient:
        return client_of(
            settings.server.base_url,
            ca_file=settings.server.ca_file,
            resolver=names,
            clock=clock,
        )

    return Environment(clock=SystemClock(), events=Events(), transport=client)


async def test_an_unknown_host_ends_the_run_at_once_and_is_named(tmp_path: Path) -> None:
    """[N05] The very first request finds no such name: exit 4, long before an hour of patience."""
    names = Names([socket.gaierror(socket.EAI_NONAME, "Name or service not known")])
    settings = settings_of("https://isales.invalid:28080", tmp_path, retry__patience_s=3600)

    async with asyncio.timeout(30):
        result = await pausing.pause(
            write_list(tmp_path, refs_of(8)), settings, PauseOptions(), surroundings_where(names)
        )

    told = told_of(result)
    assert (told.exit_code, told.counts) == (4, {"unattempted": 8})
    assert "isales.invalid:28080" in told.result.line
    assert names.asked == 1


async def test_an_emergency_waits_for_a_name_that_nobody_knows_yet(tmp_path: Path) -> None:
    """[N05] "No such name" three times, past the patience, then an address: all is stopped."""
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    names = Names([unknown, unknown, unknown, ["127.0.0.1"]])
    async with Stand(tls=authority_at(tmp_path, "a.test"), world=world_of(3)) as server:
        settings = settings_of(
            f"https://a.test:{server.port}",
            tmp_path,
            server__ca_file=str(tmp_path / "ca.pem"),
            retry__patience_s=0,
        )
        result = await pausing_all.pause_all(
            settings,
            PauseAllOptions(vdns=(VDN,), deadline_s=60),
            surroundings_where(names),
            confirm=None,
        )

    told = told_of(result)
    assert (told.exit_code, told.counts) == (0, {"paused": 3})
    assert names.asked == 4


async def test_a_certificate_that_stops_verifying_in_mid_run_stops_the_run(
    tmp_path: Path,
) -> None:
    """[N13] From the fifth connection on another certificate: exit 4, nothing sent there."""
    trusted = authority_at(tmp_path, "127.0.0.1")
    strange = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(strange)
    handshakes = 0

    def swap(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        nonlocal handshakes
        handshakes += 1
        if handshakes > 4:
            connection.context = strange

    trusted.sni_callback = swap

    async with Stand(tls=trusted, world=world_of(20)) as server:

        async def answer_and_close(exchange: Exchange) -> None:
            await server.honest(exchange)
            exchange.close()

        server.answers(answer_and_close)
        told = await pause_through(
            server,
            tmp_path,
            refs_of(20),
            server__ca_file=str(tmp_path / "ca.pem"),
            pace__concurrency=2,
        )

    assert (told.exit_code, told.result.verdict) == (4, "ended_early")
    assert "not trusted" in told.result.line
    assert told.counts["unattempted"] >= 10
    assert told.counts["paused"] == len(server.puts) == sum(told.intents.values())


async def test_without_a_ca_file_the_command_trusts_the_system_s_authorities(
    tmp_path: Path,
) -> None:
    """Signed by one of them: paused. Signed by nobody among them: exit 4 and no request."""
    served_by = authority_at(tmp_path, "127.0.0.1")
    others = tmp_path / "others.pem"
    trustme.CA().cert_pem.write_to_path(str(others))
    async with Stand(tls=served_by, world=world_of(2)) as server:
        words = ("pause", str(write_list(tmp_path, refs_of(2))))

        async def run(system: Path) -> Ended:
            place = f"https://127.0.0.1:{server.port}"
            env = environment(tmp_path, place, SSL_CERT_FILE=str(system))
            return await asyncio.to_thread(child, *words, env=env)

        strange = await run(others)
        assert not server.ledger
        known = await run(tmp_path / "ca.pem")

    assert (strange.code, known.code) == (4, 0)
    assert "not trusted" in strange.out


# -- answers that are lost ---------------------------------------------------------------------


async def test_every_put_on_the_wire_stands_in_the_journal(tmp_path: Path) -> None:
    """[N18] Every seventh request is read and dropped: as many PUTs as intents, to the campaign."""
    async with Stand(world=world_of(60)) as server:

        async def now_and_then(exchange: Exchange) -> None:
            if len(server.puts) % 7 == 0:
                exchange.close()
            else:
                await server.honest(exchange)

        server.answers(now_and_then)
        told = await pause_through(server, tmp_path, refs_of(60))

    assert (told.exit_code, told.counts) == (0, {"paused": 60})
    assert server.puts_by_id == dict(told.intents)
    assert len(server.puts) > 60


# -- a server that hangs -----------------------------------------------------------------------


async def test_connections_that_hang_do_not_starve_the_healthy_ones(tmp_path: Path) -> None:
    """[N21] Every third new connection never answers: all are paused in the end."""
    async with Stand(world=world_of(40)) as server:

        async def by_connection(exchange: Exchange) -> None:
            assert exchange.seen is not None
            if exchange.seen.connection % 3 == 0:
                await exchange.hang()
            else:
                await server.honest(exchange)

        server.answers(by_connection)
        told = await pause_through(
            server,
            tmp_path,
            refs_of(40),
            server__attempt_timeout_s=0.15,
            retry__patience_s=20,
            retry__max_attempts=10,
        )

    assert (told.exit_code, told.counts) == (0, {"paused": 40})
    assert server.puts_by_id == dict(told.intents)


# -- the line itself ---------------------------------------------------------------------------


@dataclass
class Line:
    """A TCP line to a server, as bad as its `pace` makes it."""

    to_port: int
    #: awaited before each piece is passed on, with the line's number (from 1) and the piece
    pace: Callable[[int, bytes], Awaitable[None]]
    port: int = 0
    lines: int = 0
    _passing: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for passing in tuple(self._passing):
            passing.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        self._passing.add(current)
        self.lines += 1
        number = self.lines
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(number, reader, far_writer))
                group.create_task(self._pass(number, far_reader, writer))
        except* OSError:
            pass  # one side went away, which ends the line
        finally:
            for end in (writer, far_writer):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self._passing.discard(current)

    async def _pass(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while piece := await reader.read(1024):
            await self.pace(number, piece)
            writer.write(piece)
            await writer.drain()
        writer.close()


async def test_a_slow_jittery_line_changes_no_outcome(tmp_path: Path) -> None:
    """[N26] Up to 40 ms more per piece and 64 kB/s: all paused, nothing twice."""
    chance = random.Random(26)

    async def slow(_number: int, piece: bytes) -> None:
        await asyncio.sleep(chance.random() * 0.04 + len(piece) / 64_000)

    async with Stand(world=world_of(30)) as server, Line(server.port, slow) as line:
        told = await pause_through(
            f"http://127.0.0.1:{line.port}", tmp_path, refs_of(30), server__attempt_timeout_s=5
        )

    assert (told.exit_code, told.counts) == (0, {"paused": 30})
    assert server.puts_by_id == dict.fromkeys(range(1, 31), 1)


async def test_connections_that_stall_and_open_together_keep_the_pace(tmp_path: Path) -> None:
    """[N29] Handshakes stall for a second, then all end at once: never over 20 in a second."""
    context = authority_at(tmp_path, "127.0.0.1")
    opened = asyncio.Event()

    async def stall(number: int, _piece: bytes) -> None:
        if number > 1 and not opened.is_set():
            asyncio.get_running_loop().call_later(1.0, opened.set)
            await opened.wait()

    async with (
        Stand(tls=context, world=world_of(30)) as server,
        Line(server.port, stall) as line,
    ):
        told = await pause_through(
            f"https://127.0.0.1:{line.port}",
            tmp_path,
            refs_of(30),
            PauseOptions(verify=False),
            server__ca_file=str(tmp_path / "ca.pem"),
            server__connect_timeout_s=10,
            server__attempt_timeout_s=10,
            pace__concurrency=30,
            pace__rate_per_s=20,
        )

    assert (told.exit_code, told.counts) == (0, {"paused": 30})
    rate = told.result.summary["rate"]
    assert isinstance(rate, dict)
    assert rate["worst_1s"] <= 20
    # had they left when their handshakes ended, 29 had arrived together; a busy machine moves a few
    assert _worst_second([seen.at_s for seen in server.ledger]) <= 25
    assert line.lines > 10


def _worst_second(times_s: list[float]) -> int:
    return max(sum(start <= at < start + 1 for at in times_s) for start in times_s)


# -- no sockets left ---------------------------------------------------------------------------

#: runs `pause` with as many descriptors as argv says left for sockets, until the run ends
OUT_OF_SOCKETS = """
import asyncio, os, resource, sys
import orchestrator
from orchestrator.api import environment
from orchestrator.engine import pausing
from orchestrator.engine import run as session
from orchestrator.engine.options import PauseOptions
from pathlib import Path

url, folder, left = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
settings = orchestrator.load_settings(
    {
        "server.base_url": url, "credentials.access_key": "AK", "pace.concurrency": 32,
        "pace.rate_per_s": 1000.0, "retry.backoff_base_s": 0.01, "retry.backoff_cap_s": 0.05,
        "retry.patience_s": 0.6 if left == 0 else 20.0, "retry.max_attempts": 100,
    },
    environ={
        "ORCHESTRATOR_SECRET_KEY": "sk", "HOME": str(folder),
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
    },
)
here = environment()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

def client(settings, clock):
    client = session._real_client(settings, clock)
    busy = max(int(name) for name in os.listdir("/proc/self/fd"))
    while (last := os.open("/dev/null", os.O_RDONLY)) < busy:
        pass  # no gaps below
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1 + left, hard))
    here.stopping.on_stop(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)))
    return client

here.transport = client
result = asyncio.run(
    pausing.pause(folder / "list.csv", settings, PauseOptions(verify=False), here)
)
print(result.run_dir)
print(result.line)
sys.exit(result.exit_code)
"""


async def _pause_out_of_sockets(server: Stand, folder: Path, left: int) -> tuple[int, str, str]:
    write_list(folder, refs_of(40))
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OUT_OF_SOCKETS,
        server.url,
        str(folder),
        str(left),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    out, err = await child.communicate()
    assert child.returncode is not None
    return child.returncode, out.decode(), err.decode()


@pytest.mark.parametrize(("left", "exit_code"), [(6, 0), (0, 4)])
async def test_being_out_of_sockets_backs_off_and_stops_cleanly_if_it_lasts(
    tmp_path: Path, left: int, exit_code: int
) -> None:
    """[N28] Six left for C = 32: all paused. None left: exit 4 after the patience, none sent."""
    async with Stand(world=world_of(40)) as server:
        ended, out, err = await _pause_out_of_sockets(server, tmp_path, left)

    assert ended == exit_code, err
    assert "Traceback" not in err
    if left:
        assert server.puts_by_id == dict.fromkeys(range(1, 41), 1)
    else:
        assert server.ledger == []
        assert "too many open files" in out
        assert "40 not attempted" in out
