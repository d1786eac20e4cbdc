"""A CC-iSales server on loopback: raw HTTP/1.1 over asyncio, strict about what it is told.

- The arrival time is taken when the bytes arrive, before anything is parsed.
- Every request is entered in the ledger, refused ones and strange ones too.
- It runs on a thread and a loop of its own; scenarios read the ledger and sleep.
"""

import asyncio
import socket
import struct
import threading
import time
from email.utils import formatdate
from typing import Self

from tests.acceptance.signature import Signed, objection
from tests.acceptance.world import Entry, Reply, World

LONGEST_HEAD = 65_536
ENDLESS_LIMIT = 512 * 1024 * 1024
REASONS = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests"}
UNAUTHORISED = (b"", b'{"error":"unauthorized"}', b"<html><h1>401</h1></html>")


class Wire(asyncio.Protocol):
    """One connection: bytes in, an entry, bytes out."""

    def __init__(self, server: "Server") -> None:
        self.server = server
        self.world = server.world
        self.buffer = bytearray()
        self.peer = 0
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            msg = "a stream was expected"
            raise TypeError(msg)
        self.transport = transport
        self.peer = (transport.get_extra_info("peername") or ("", 0))[1]
        self.server.wires.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.wires.discard(self)

    def end(self, *, reset: bool) -> None:
        """Close with FIN, or with RST."""
        if self.transport is None or self.transport.is_closing():
            return
        if reset:
            link = self.transport.get_extra_info("socket")
            link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        at_s = time.monotonic()
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
            headers: dict[str, str] = {}
            for line in head[1:]:
                name, _, value = line.partition(":")
                headers[name.strip().lower()] = value.strip()
            length = int(headers.get("content-length", "0") or 0)
            if len(self.buffer) < end + 4 + length:
                return
            body = bytes(self.buffer[end + 4 : end + 4 + length])
            del self.buffer[: end + 4 + length]
            self.request(at_s, head[0], headers, body)
        if len(self.buffer) > LONGEST_HEAD:
            self.end(reset=True)

    def request(self, at_s: float, first: str, headers: dict[str, str], body: bytes) -> None:
        """Enter one request and answer it."""
        method, _, rest = first.partition(" ")
        target = rest.rpartition(" ")[0]
        path, _, query = target.partition("?")
        entry = Entry(at_s, time.time(), self.peer, method, path, query, "", body=body)
        world = self.world
        world.identify(entry)
        world.ledger.append(entry)
        entry.manners = manners(entry, headers, body, self.server.host_header)
        entry.refused = (
            objection(
                Signed(method, path, query, headers, body),
                access_key=world.access_key,
                secret=world.secret,
                now_s=time.time() + world.clock_ahead_s,
                window_s=world.window_s,
                blank_query_line=world.blank_query_line,
            )
            or ""
        )
        if entry.refused:
            reply = Reply(401, UNAUTHORISED[len(world.ledger) % 3], fault="401", kind="text/html")
        else:
            reply = world.reply(entry)
        entry.status, entry.code, entry.fault = reply.status, reply.code, reply.fault
        for watcher in list(world.watchers):
            watcher(entry)
        delay_s = reply.delay_s or world.latency_s
        if delay_s:
            self.server.loop.call_later(delay_s, self.send, entry, reply)
        else:
            self.send(entry, reply)

    def send(self, entry: Entry, reply: Reply) -> None:
        """Put the reply on the wire in its mode."""
        if self.transport is None or self.transport.is_closing():
            return
        entry.answered_s = time.monotonic()
        match reply.mode:
            case "answer":
                self.transport.write(self.server.frame(reply))
                entry.delivered = True
            case "raw":
                self.transport.write(reply.raw)
            case "raw+close":
                self.transport.write(reply.raw)
                self.end(reset=False)
            case "close":
                self.end(reset=False)
            case "reset":
                self.end(reset=True)
            case _:  # hang: no answer for ever
                entry.answered_s = 0.0


def manners(entry: Entry, headers: dict[str, str], body: bytes, host: str) -> str:
    """What is wrong with a request besides its signature; nothing, for a good client."""
    wrong = []
    if not headers.get("content-type", "").lower().startswith("application/json"):
        wrong.append("Content-Type is mandatory, also without a body")
    if headers.get("accept-encoding", "identity") not in {"identity", ""}:
        wrong.append(f"asks for {headers['accept-encoding']!r}")
    if "cookie" in headers:
        wrong.append("sends a cookie")
    if bool(body) != (entry.kind == "calls"):
        wrong.append("sends a body" if body else "sends no body")
    if headers.get("host") != host:
        wrong.append(f"Host {headers.get('host')!r}")
    if entry.kind == "other":
        wrong.append(f"unknown endpoint {entry.method} {entry.path}")
    return "; ".join(wrong)


class Server:
    """The server on its thread. `with Server(world) as server:` gives a port to talk to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.port = 0
        self.wires: set[Wire] = set()
        self.host_header = ""
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stamp = (0, "")
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            msg = "the server did not start in 10 s"
            raise TimeoutError(msg)
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._open())
        self._ready.set()
        self.loop.run_forever()
        for wire in list(self.wires):
            wire.end(reset=True)
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    async def _open(self) -> None:
        self._listener = await self.loop.create_server(
            lambda: Wire(self), "127.0.0.1", self.port, backlog=1024
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        self.host_header = f"127.0.0.1:{self.port}"

    def frame(self, reply: Reply) -> bytes:
        """A whole answer as bytes."""
        now = int(time.time() + self.world.clock_ahead_s)
        if now != self._stamp[0]:
            self._stamp = now, formatdate(now, usegmt=True)
        body = reply.body if reply.body is not None else b""
        lines = [
            f"HTTP/1.1 {reply.status} {REASONS.get(reply.status, 'Other')}",
            f"Date: {self._stamp[1]}",
            f"Content-Type: {reply.kind}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in reply.headers),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
