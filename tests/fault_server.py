"""A TCP server that misbehaves on purpose, in the test's own process, and keeps a ledger.

- a script says what happens to one request; scripts are queued per campaign id (or for all), the
  last one stays.
- The ledger has every request that was read in full, in order, before its script runs.
- Nothing here understands HTTP beyond the end of a request's head.

    async with FaultServer() as server:
        server.answers(reply(), cut(10), campaign_id=146)
        …
        assert [seen.method for seen in server.ledger] == ["PUT", "PUT"]
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Self

SUCCESS = b'{"resultCode":"0200000","resultDesc":"","returnCode":"0200000","returnDesc":""}'

Script = Callable[["Exchange"], Awaitable[None]]


@dataclass(frozen=True)
class Seen:
    """One request as it stood on the wire."""

    #: seconds on the loop's clock
    at_s: float
    connection: int
    raw: bytes

    @property
    def method(self) -> str:
        return self._start[0]

    @property
    def target(self) -> str:
        return self._start[1]

    @property
    def headers(self) -> list[tuple[str, str]]:
        lines = self.raw.decode("latin-1").split("\r\n\r\n", 1)[0].split("\r\n")[1:]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    @property
    def campaign_id(self) -> int | None:
        found = re.search(r"/campaigns/\d+/(\d+)", self.target)
        return int(found[1]) if found else None

    def header(self, name: str) -> str | None:
        """The value of a header that stands there once."""
        values = [value for other, value in self.headers if other.lower() == name.lower()]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    @property
    def _start(self) -> list[str]:
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ")


@dataclass
class Exchange:
    """What a script may do with one request's connection."""

    seen: Seen | None
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stopping: asyncio.Event
    open: bool = True

    async def write(self, content: bytes) -> None:
        """Send bytes; a peer that went away is no error here."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(content)
            await self.writer.drain()

    async def wait(self, wait_s: float) -> None:
        """Wait, but not beyond the end of the test."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self.stopping.wait()

    async def hang(self) -> None:
        """Do nothing until the peer goes away or the test ends."""
        end = asyncio.ensure_future(self.reader.read())
        stop = asyncio.ensure_future(self.stopping.wait())
        await asyncio.wait({end, stop}, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (end, stop):
            waiting.cancel()
        await asyncio.gather(end, stop, return_exceptions=True)
        self.open = False

    def close(self) -> None:
        """End the connection in good order."""
        self.open = False
        close_once(self.writer)

    def reset(self) -> None:
        """End the connection with a RST."""
        self.open = False
        endpoint = self.writer.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def close_once(writer: asyncio.StreamWriter) -> None:
    """Close, unless that is done: before Python 3.11.3 abort() fails after a second close."""
    if not writer.is_closing():
        writer.close()


@dataclass
class FaultServer:
    """Listens on a loopback address; every request and connection is counted."""

    tls: ssl.SSLContext | None = None
    address: str = "127.0.0.1"
    port: int = 0
    ledger: list[Seen] = field(default_factory=list)
    #: connections accepted, counted from 1
    connections: int = 0
    #: runs when a connection is accepted, before a request is read
    on_accept: Script | None = None
    _scripts: dict[int | None, list[Script]] = field(default_factory=dict)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _running: set[asyncio.Task[None]] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        scheme = "http" if self.tls is None else "https"
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{scheme}://{host}:{self.port}"

    def answers(self, *scripts: Script, campaign_id: int | None = None) -> None:
        """Queue scripts for one campaign, or for all that have none of their own."""
        self._scripts[campaign_id] = list(scripts)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, self.address, self.port, ssl=self.tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopping.set()
        assert self._server is not None
        self._server.close()
        for writer in set(self._open):
            writer.transport.abort()
        if self._running:
            await asyncio.wait(self._running)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        current = asyncio.current_task()
        assert current is not None
        self._running.add(current)
        self._open.add(writer)
        self.connections += 1
        try:
            await self._serve(reader, writer, self.connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            close_once(writer)
            with contextlib.suppress(Exception, asyncio.CancelledError):
                await writer.wait_closed()
            self._open.discard(writer)
            self._running.discard(current)

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        if self.on_accept is not None:
            greeting = Exchange(None, reader, writer, self._stopping)
            await self.on_accept(greeting)
            if not greeting.open:
                return
        while True:
            raw = await reader.readuntil(b"\r\n\r\n")
            seen = Seen(asyncio.get_running_loop().time(), connection, raw)
            if length := int(seen.header("content-length") or 0):
                raw += await reader.readexactly(length)
                seen = Seen(seen.at_s, connection, raw)
            self.ledger.append(seen)
            exchange = Exchange(seen, reader, writer, self._stopping)
            await self._script_for(seen)(exchange)
            if not exchange.open:
                return

    def _script_for(self, seen: Seen) -> Script:
        queue = self._scripts.get(seen.campaign_id) or self._scripts.get(None) or [reply()]
        return queue.pop(0) if len(queue) > 1 else queue[0]


# -- scripts ----------------------------------------------------------------------------------


def http(body: bytes = SUCCESS, *, status: str = "200 OK", headers: tuple[str, ...] = ()) -> bytes:
    """One well-formed answer."""
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*head, *headers, "", ""]).encode("latin-1") + body


def raw(content: bytes, *, then_close: bool = False) -> Script:
    """Exactly these bytes."""

    async def script(exchange: Exchange) -> None:
        await exchange.write(content)
        if then_close:
            exchange.close()

    return script


def reply(body: bytes = SUCCESS, **options: Any) -> Script:
    """A well-formed answer, connection kept."""
    return raw(http(body, **options))


def cut(at: int, content: bytes | None = None) -> Script:
    """The first `at` bytes of an answer, then the end of the connection."""
    return raw((http() if content is None else content)[:at], then_close=True)


def late(wait_s: float, content: bytes | None = None) -> Script:
    """A good answer, too late."""

    async def script(exchange: Exchange) -> None:
        await exchange.wait(wait_s)
        await exchange.write(http() if content is None else content)

    return script


def drip(pause_s: float) -> Script:
    """A good answer, one byte at a time."""

    async def script(exchange: Exchange) -> None:
        for number in http():
            await exchange.write(bytes([number]))
            await exchange.wait(pause_s)
            if exchange.stopping.is_set() or exchange.writer.is_closing():
                return

    return script


def endless(head: bytes, piece: bytes) -> Script:
    """A head, then the same piece for as long as the peer takes it."""

    async def script(exchange: Exchange) -> None:
        exchange.writer.write(head)
        with contextlib.suppress(ConnectionError):
            while not (exchange.stopping.is_set() or exchange.writer.is_closing()):
                exchange.writer.write(piece)
                await exchange.writer.drain()
                await exchange.wait(0)
        exchange.close()

    return script


async def silence(exchange: Exchange) -> None:
    """Never answer."""
    await exchange.hang()


async def hang_up(exchange: Exchange) -> None:
    """Close without an answer."""
    exchange.close()


async def reset(exchange: Exchange) -> None:
    """RST without an answer."""
    exchange.reset()


def surplus(extra: bytes, *, wait_s: float | None = None) -> Script:
    """A good answer and then more: in the same packet, or a little later."""

    async def script(exchange: Exchange) -> None:
        if wait_s is None:
            await exchange.write(http() + extra)
            return
        await exchange.write(http())
        await exchange.wait(wait_s)
        await exchange.write(extra)

    return script
