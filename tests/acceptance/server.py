"""A CC-iSales server on loopback: raw HTTP/1.1 over asyncio, strict about what it is told.

- The arrival time is taken when the bytes arrive, before anything is parsed.
- Every request is entered in the ledger, refused ones and strange ones too.
- It runs on a thread and a loop of its own; scenarios read the ledger and sleep.
`python -m tests.acceptance.server --port N` runs it alone, with a few campaigns in VDN 1234.
"""

import argparse
import asyncio
import json
import socket
import ssl
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Coroutine
from email.utils import formatdate
from typing import Self

from tests.acceptance.signature import Signed, objection
from tests.acceptance.world import COMPLETED, SUSPENDED, Entry, Reply, World

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
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            msg = "a stream was expected"
            raise TypeError(msg)
        self.transport = transport
        self.world.connections += 1
        self.peer = (transport.get_extra_info("peername") or ("", 0))[1]
        self.server.wires.add(self)
        if self.world.down:
            self.end(reset=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.wires.discard(self)
        self.room.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

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
        if world.down:
            entry.fault = "down"
            self.end(reset=True)
            return
        entry.refused = (
            objection(
                Signed(method, path, query, headers, body),
                access_key=world.access_key,
                secret=world.secret,
                now_s=time.time() + world.clock_ahead_s,
                window_s=world.window_s,
                blank_query_line=world.blank_query_line,
                millis=world.millis,
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
            case "endless" | "drip" | "early":
                self.server.keep(self.stream(reply))
            case _:  # hang: no answer for ever
                entry.answered_s = 0.0

    async def stream(self, reply: Reply) -> None:
        """Answers that do not end by themselves; bounded here in bytes and in time."""
        link = self.transport
        if link is None:
            return
        until_s, sent = time.monotonic() + 120, 0
        if reply.mode == "endless":
            link.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while not link.is_closing() and sent < ENDLESS_LIMIT and time.monotonic() < until_s:
            if reply.mode == "endless":
                piece = b" " * 65_536
            elif reply.mode == "early":
                piece = b"HTTP/1.1 100 Continue\r\n\r\n" * 50
            else:
                piece = reply.raw[sent : sent + 1] or b" "
            link.write(piece)
            sent += len(piece)
            await self.room.wait()
            await asyncio.sleep(0.4 if reply.mode == "drip" else 0.001)


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

    def __init__(self, world: World, *, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.world = world
        self.tls = tls
        self.port = port
        self.wires: set[Wire] = set()
        self.host_header = ""
        self.strangers: list[bytes] = []
        self.other_port = 0
        self.loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stamp = (0, "")
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def base_url(self) -> str:
        """Scheme, address and port."""
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"

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
        for task in self._tasks:
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0.01))
        self.loop.close()

    async def _open(self) -> None:
        self._listener = await self.loop.create_server(
            lambda: Wire(self), "127.0.0.1", self.port, ssl=self.tls, backlog=1024
        )
        self.port = self._listener.sockets[0].getsockname()[1]
        self.host_header = f"127.0.0.1:{self.port}"
        other = await asyncio.start_server(self._stranger, "127.0.0.1", 0)
        self.other_port = other.sockets[0].getsockname()[1]

    async def _stranger(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The other port: whoever comes here was led astray."""
        self.strangers.append(b"connected")
        try:
            self.strangers.append(await asyncio.wait_for(reader.read(4096), 5))
            body = b'{"resultCode":"0200000","returnCode":"0200000"}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        except (TimeoutError, OSError):
            pass
        finally:
            writer.close()

    def keep(self, work: Coroutine[object, object, None]) -> None:
        """Run something on the loop beside the answers."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def soon(self, delay_s: float, act: Callable[[], None]) -> None:
        """Do something on the server's loop after a while; safe from any thread."""
        self.loop.call_soon_threadsafe(self.loop.call_later, delay_s, act)

    def drop(self) -> None:
        """Reset every open connection."""
        for wire in list(self.wires):
            wire.end(reset=True)

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


def bomb(mebibytes: int) -> bytes:
    """Zeros, gzipped: a thousandth of the size on the wire."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1024 * 1024)
    return b"".join(packer.compress(piece) for _ in range(mebibytes)) + packer.flush()


def main() -> int:
    """Run alone until the input ends."""
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance.server")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--secret", default="SKexample-0000-not-a-secret")
    asked = parser.parse_args()
    world = World(secret=asked.secret)
    world.add(1234, range(1, 41))
    world.add(1234, range(41, 51), SUSPENDED)
    world.add(1234, range(51, 61), COMPLETED)
    with Server(world, port=asked.port) as server:
        about = {"base_url": server.base_url, "access_key": world.access_key, "vdn": 1234}
        sys.stdout.write(json.dumps(about) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())
