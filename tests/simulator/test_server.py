"""What a client meets on a real socket: connections, endings, shutdown."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.model import Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault, FaultPlan, Outage
from orchestrator.simulator.server import HOST, Simulator
from tests.simulator.makers import (
    STARTED,
    SUSPENDED,
    one_of_each,
    pause_path,
)

pytestmark = pytest.mark.sockets


class Caller:
    """A raw client on one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, target: str, method: str = "PUT", headers: str = "") -> None:
        """Write one request without a body."""
        self.writer.write(
            f"{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n{headers}\r\n".encode()
        )

    async def answer(self) -> bytes:
        """Read one whole answer."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
        return head + await self.reader.readexactly(int(length))

    async def ask(self, target: str, method: str = "PUT", headers: str = "") -> bytes:
        """Send one request and read its answer."""
        self.send(target, method, headers)
        return await self.answer()


@asynccontextmanager
async def calling(sim: Simulator) -> AsyncIterator[Caller]:
    """Open one connection to the server."""
    reader, writer = await asyncio.open_connection(HOST, sim.port)
    try:
        yield Caller(reader, writer)
    finally:
        writer.close()


def scripted(*script: Fault | None) -> Simulator:
    """A server whose campaign 12/142 meets these faults."""
    return Simulator(one_of_each(), faults=FaultPlan(scripted={STARTED: script}))


async def test_a_lost_answer_is_an_orderly_end_after_the_change() -> None:
    """EOF without a byte, and the campaign is suspended."""
    async with scripted(faults.ANSWER_LOST) as sim, calling(sim) as caller:
        caller.send(pause_path(STARTED))

        assert await caller.reader.read() == b""

    assert sim.world.status_of(STARTED) is Status.SUSPENDED
    assert [(e.answered, e.took_effect) for e in sim.ledger.entries] == [(False, True)]


@pytest.mark.parametrize("fault", [faults.RESET, faults.RESET_LANDED], ids=lambda f: f.name)
async def test_a_reset_is_a_reset(fault: Fault) -> None:
    """RST, not FIN, before or after the change."""
    async with scripted(fault) as sim, calling(sim) as caller:
        caller.send(pause_path(STARTED))

        with pytest.raises(ConnectionResetError):
            await caller.reader.read()

    assert (sim.world.status_of(STARTED) is Status.SUSPENDED) is fault.effect


async def test_a_hanging_answer_ends_with_the_server() -> None:
    """Nothing comes while the server runs; leaving it closes the connection and ends the wait."""
    async with scripted(faults.HANG_LANDED) as sim, calling(sim) as caller:
        caller.send(pause_path(STARTED))
        async with calling(sim) as other:
            await other.ask(pause_path(SUSPENDED))
        hung = sim.ledger.entries[0]
        await sim.__aexit__(None, None, None)

        assert await caller.reader.read() == b""

    assert (hung.fault, hung.answered, hung.took_effect) == ("hang, landed", False, True)


async def test_new_connections_are_reset_while_refused() -> None:
    """In such an outage a connection is reset before a request is read."""
    plan = FaultPlan(outages=(Outage(faults.REFUSED),))
    async with Simulator(one_of_each(), faults=plan) as sim:
        with pytest.raises(ConnectionResetError):
            async with calling(sim) as caller:
                await caller.reader.read()
        sim.handler.faults = FaultPlan()
        async with calling(sim) as caller:
            await caller.ask(pause_path(STARTED))

    assert sim.ledger.total == 1


async def test_a_client_that_keeps_its_connection_is_answered_on_it() -> None:
    """Three requests on one connection, the middle one late; then the server is gone."""
    async with scripted(None, faults.slow(0.01)) as sim, calling(sim) as caller:
        answers = [await caller.ask(pause_path(STARTED)) for _ in range(3)]
        await sim.__aexit__(None, None, None)

        assert await caller.reader.read() == b""
    assert [b'"0200000"' in answer for answer in answers] == [True, False, False]


def test_a_child_process_serves_and_lies_until_terminated() -> None:
    """One JSON line on stdout and nothing more; SIGTERM ends it with 0; a wrong lie is exit 2."""
    command = [sys.executable, "-m", "orchestrator.simulator", "--lie"]
    with subprocess.Popen([*command, "lag=8"], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        rest = child.stdout.read()
    wrong = subprocess.run([*command, "truth=1"], capture_output=True, check=False, text=True)

    assert (child.returncode, rest) == (0, "")
    assert json.loads(line)["access_key"] == "AKSIMULATOR"
    assert wrong.returncode == 2
    assert "'truth=1' is no NAME" in wrong.stderr
