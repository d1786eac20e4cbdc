"""The network side of the simulator, on loopback: reads requests, plays what handler.py decided.

Every answer is written as bytes straight to the transport, so that a fault can cut, reset or
withhold it. Nothing outlives `async with`: hanging answers end when it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from aiohttp import web

from orchestrator.simulator.faults import Ending, FaultPlan
from orchestrator.simulator.handler import Handler, Received
from orchestrator.simulator.ledger import Ledger

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.web_protocol import RequestHandler

    from orchestrator.simulator.handler import Played
    from orchestrator.simulator.signature import SignatureCheck
    from orchestrator.simulator.world import World

#: how long an idle connection is kept, in seconds
KEEP_ALIVE_S = 75.0

#: SO_LINGER with no time left: close sends RST
_NO_LINGER = struct.pack("ii", 1, 0)


def wall_clock_ms() -> int:
    """The wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class Simulator:
    """A running server. Use it as `async with Simulator(world) as sim`."""

    def __init__(  # noqa: PLR0913 -- the parts of a server, all but one optional
        self,
        world: World,
        *,
        faults: FaultPlan | None = None,
        signature: SignatureCheck | None = None,
        ledger: Ledger | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        prefix: str = "",
        wall_ms: Callable[[], int] = wall_clock_ms,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        """Set it up; nothing is bound yet.

        Args:
            world: the campaigns.
            faults: what goes wrong; nothing by default. `sim.handler.faults` may be replaced later.
            signature: the keys; None accepts every request. `sim.handler.signature` likewise.
            ledger: where requests are written down; one in memory by default. Closed at the end.
            host: a loopback address.
            port: 0 picks a free one.
            ssl_context: serves https with it.
            prefix: what stands before the documented paths, part of `base_url`.
            wall_ms: the true wall clock, in milliseconds since the epoch.
            keep_alive_s: how long an idle connection is kept, in seconds.

        Raises:
            ValueError: the host is not a loopback address.
        """
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the simulator serves loopback addresses only, not {host}")
        self.world = world
        self.ledger = ledger if ledger is not None else Ledger()
        self.handler = Handler(
            world,
            faults=faults or FaultPlan(),
            signature=signature,
            ledger=self.ledger,
            prefix=prefix,
        )
        self.host = host
        self.port = port
        self._ssl_context = ssl_context
        self._wall_ms = wall_ms
        self._keep_alive_s = keep_alive_s
        self._started_s = 0.0
        self._server: asyncio.Server | None = None
        self._connections: _Connections | None = None
        self._closing = asyncio.Event()

    @property
    def base_url(self) -> str:
        """What clients are given; known once the server listens."""
        scheme = "https" if self._ssl_context else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.handler.prefix}"

    @property
    def now_s(self) -> float:
        """Seconds since the server started."""
        return asyncio.get_running_loop().time() - self._started_s

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._connections = _Connections(self)
        self._server = await loop.create_server(
            self._connections, self.host, self.port, ssl=self._ssl_context, backlog=1024
        )
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
        assert self._connections is not None
        self._server.close()
        self._closing.set()
        await self._connections.shutdown(timeout=1.0)
        with contextlib.suppress(TimeoutError):
            # since Python 3.12 this waits for connections, and a peer may be as rude as we are
            await asyncio.wait_for(self._server.wait_closed(), timeout=1.0)
        self.ledger.close()

    async def respond(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or do worse."""
        assert self._connections is not None
        body = await request.read() if request.can_read_body else b""
        at_s = asyncio.get_running_loop().time()
        received = Received(
            method=request.method,
            target=request.raw_path,
            headers=tuple(
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in request.raw_headers
            ),
            body=body,
            connection=self._connections.number_of(request.protocol),
        )
        played = self.handler.receive(
            received, now_s=at_s - self._started_s, at_s=at_s, wall_ms=self._wall_ms()
        )
        # until something has been handed to the network, nothing was answered
        entry = replace(played.entry, http_status=None, result_code="")
        try:
            if played.wait_s:
                await self._wait(played.wait_s)
            transport = request.transport
            if transport is not None and not transport.is_closing():
                self._write(transport, played)
                entry = replace(played.entry, answered=played.complete)
        finally:
            self.ledger.add(entry)
        if played.ending is Ending.HANG:
            await self._closing.wait()
        return _Written(keep_alive=played.ending is Ending.KEEP and request.keep_alive)

    def _write(self, transport: asyncio.Transport, played: Played) -> None:
        if played.wire:
            transport.write(played.wire)
        match played.ending:
            case Ending.KEEP | Ending.HANG:
                pass
            case Ending.CLOSE:
                transport.close()
            case Ending.RESET | Ending.REFUSE:
                reset(transport)

    async def _wait(self, wait_s: float) -> None:
        """Wait so long; a shutdown ends it and the answer with it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._closing.wait()
                raise asyncio.CancelledError


class _Connections(web.Server):
    """aiohttp's protocol factory that numbers connections and can refuse them."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(
            simulator.respond,
            # a client that leaves ends the waiting for it
            handler_cancellation=True,
            access_log=None,
            keepalive_timeout=simulator._keep_alive_s,  # noqa: SLF001 -- two halves of one thing
        )
        self._simulator = simulator
        self._numbers: dict[RequestHandler, int] = {}
        self._count = 0

    def number_of(self, protocol: RequestHandler) -> int:
        """Which connection this is, from 1; 0 when it has just been lost."""
        return self._numbers.get(protocol, 0)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._count += 1
        self._numbers[handler] = self._count
        if self._simulator.handler.refuses_connections(now_s=self._simulator.now_s):
            reset(transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        self._numbers.pop(handler, None)
        super().connection_lost(handler, exc)


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


def reset(transport: asyncio.Transport) -> None:
    """End a connection with RST instead of FIN."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()
