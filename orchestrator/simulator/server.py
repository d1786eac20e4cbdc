"""The network side of the simulator, on loopback: reads requests, plays what handler.py decided.

Every answer is written as bytes straight to the transport, so that a fault can cut, reset or
withhold it. Nothing outlives `async with`: hanging answers end when it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import struct
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from orchestrator.simulator.faults import Ending, FaultPlan
from orchestrator.simulator.handler import Handler
from orchestrator.simulator.ledger import Ledger
from orchestrator.simulator.routes import Received

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web_protocol import RequestHandler

    from orchestrator.simulator.handler import Played
    from orchestrator.simulator.scenarios import Scenario
    from orchestrator.simulator.signature import SignatureCheck
    from orchestrator.simulator.world import World

HOST = "127.0.0.1"

#: how long an idle connection is kept, in seconds
_KEEP_ALIVE_S = 75.0
#: turns of the loop until a connection that waits is accepted and known to its protocol: Python
#: 3.11 forgets one that it accepts while its server closes
_ACCEPT_TURNS = 5
#: SO_LINGER with no time left: close sends RST
_NO_LINGER = struct.pack("ii", 1, 0)


class Simulator:
    """A running server. Use it as `async with Simulator(world) as sim`."""

    def __init__(
        self,
        world: World,
        *,
        faults: FaultPlan | None = None,
        signature: SignatureCheck | None = None,
        ledger: Ledger | None = None,
        port: int = 0,
    ) -> None:
        """Set it up; nothing is bound yet, port 0 picks a free one.

        Without `faults` nothing goes wrong, without `signature` every request is accepted
        (`sim.handler` has both, to be replaced), without `ledger` all entries are kept.
        """
        self.world = world
        self.ledger = ledger if ledger is not None else Ledger()
        self.handler = Handler(
            world, faults=faults or FaultPlan(), signature=signature, ledger=self.ledger
        )
        self.port = port
        self._started_s = 0.0
        self._server: asyncio.Server | None = None
        self._connections = _Connections(self)
        self._closing = asyncio.Event()

    @property
    def base_url(self) -> str:
        """What clients are given; known once the server listens."""
        return f"http://{HOST}:{self.port}"

    @property
    def now_s(self) -> float:
        """Seconds since the server started."""
        return asyncio.get_running_loop().time() - self._started_s

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connections, HOST, self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]
        self._started_s = loop.time()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        for _ in range(_ACCEPT_TURNS):
            await asyncio.sleep(0)
        self._server.close()
        self._closing.set()
        await self._connections.shutdown(timeout=1.0)
        for transport in tuple(self._connections.transports.values()):
            transport.abort()  # whoever has not taken its answer by now
        await asyncio.sleep(0)  # a closed transport lets go of its socket in the loop's next turn
        with contextlib.suppress(TimeoutError):
            # since Python 3.12 this waits for connections, and a peer may be as rude as we are
            await asyncio.wait_for(self._server.wait_closed(), timeout=1.0)

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or do worse."""
        received = Received(
            method=request.method,
            target=request.raw_path,
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.raw_headers
            ),
            body=await request.read() if request.can_read_body else b"",
        )
        wall_ms = time.time_ns() // 1_000_000
        played = self.handler.receive(received, now_s=self.now_s, wall_ms=wall_ms)
        # until something has been handed to the network, nothing was answered
        entry = replace(played.entry, http_status=None, result_code="")
        try:
            if played.wait_s:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), played.wait_s)
            transport = request.transport
            if transport is not None and not transport.is_closing() and not self._closing.is_set():
                _write(transport, played)
                entry = replace(played.entry, answered=played.complete)
        finally:
            self.ledger.add(entry)
        if played.ending is Ending.HANG:
            await self._closing.wait()
        return _Written(keep_alive=played.ending is Ending.KEEP and request.keep_alive)


class _Connections(web.Server):
    """aiohttp's protocol factory that can refuse connections."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(
            simulator.respond,
            # a client that leaves ends the waiting for it
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=_KEEP_ALIVE_S,
        )
        self._simulator = simulator
        self.transports: dict[RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.transports[handler] = transport
        if self._simulator.handler.refuses_connections(now_s=self._simulator.now_s):
            _reset(transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.transports.pop(handler, None)


class _Written(web.StreamResponse):
    """Tells aiohttp that the answer is on the wire already, and whether the connection goes on."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._goes_on = keep_alive

    @property
    def keep_alive(self) -> bool | None:
        return self._goes_on

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        del request
        return None

    async def write_eof(self, data: Any = b"") -> None:
        del data


def _write(transport: asyncio.Transport, played: Played) -> None:
    if played.wire:
        transport.write(played.wire)
    if played.ending is Ending.CLOSE:
        transport.close()
    elif played.ending in {Ending.RESET, Ending.REFUSE}:
        _reset(transport)


def _reset(transport: asyncio.Transport) -> None:
    """End a connection with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


# -- a scenario until it is stopped -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """What a client needs to talk to the running simulator."""

    base_url: str
    access_key: str
    #: invented, opens nothing else
    secret_key: str

    def as_document(self) -> dict[str, str]:
        """The same as JSON would hold it."""
        return asdict(self)


async def serve(scenario: Scenario, *, on_ready: Callable[[Ready], None], port: int = 0) -> None:
    """Serve a scenario until cancelled; `on_ready` is called once, when the server listens.

    Raises:
        OSError: the port cannot be used.
    """
    simulator = Simulator(
        scenario.world,
        faults=scenario.faults,
        signature=scenario.signature,
        ledger=Ledger(keep_entries=False),
        port=port,
    )
    async with simulator:
        on_ready(Ready(simulator.base_url, scenario.access_key, scenario.secret_key))
        await asyncio.Event().wait()


def serve_until_stopped(
    scenario: Scenario, *, on_ready: Callable[[Ready], None], port: int = 0
) -> None:
    """Serve a scenario until SIGINT or SIGTERM, with a loop of its own; else as `serve`."""

    async def run() -> None:
        serving = asyncio.ensure_future(serve(scenario, on_ready=on_ready, port=port))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        await serving

    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(run())
