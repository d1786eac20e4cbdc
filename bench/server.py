"""A target that costs little: answers pauses, listings and details, in a process of its own.

Usage: python -m bench.server [--campaigns N] [--latency-ms L] … (bench/stage.py starts it)

- It is quicker than any client measured against it, so it checks no signature and parses no more of
  a request than its first line.
- A request is timed when its bytes are read, before anything is done about it; `GET /seen` tells
  the figures, and `GET /reset` forgets them and makes every campaign run again. Both are best asked
  at the control port: plain http, no faults.
- Faults come from a campaign's number, so they fall on the same campaigns for every client.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import socket
import ssl
import sys
import time
from array import array
from dataclasses import dataclass, field
from hashlib import blake2b

from orchestrator.simulator.ledger import fullest_window

OK = b'{"resultCode":"0200000","resultDesc":"","returnCode":"0200000","returnDesc":""}'
DATABASE = b'{"resultCode":"0200006","resultDesc":"db","returnCode":"0200006","returnDesc":"db"}'
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\n%sContent-Length: %d\r\n"
    b"\r\n%s"
)
_ROWS = 100
_SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class World:
    """What the server knows: which campaigns it has stopped, and what has arrived when."""

    campaigns: int
    #: share of PUTs that are answered with a database error
    failing: float = 0.0
    #: share of campaigns that answer with a database error for ever: every n-th one
    stubborn: float = 0.0
    stopped: bytearray = field(init=False)
    tries: bytearray = field(init=False)
    arrived_ns: array[int] = field(init=False)
    stopped_count: int = field(init=False)
    puts: int = field(init=False)
    #: work waits until all but so many campaigns have been tried: a client's C, which it has begun
    held: int = 0
    tried_count: int = field(init=False)
    #: of the first and the last PUT, of the last one while work waited, of the last campaign that
    #: was stopped: when (monotonic), and how many requests had come by then
    first_put: tuple[int, int] = field(init=False)
    last_put: tuple[int, int] = field(init=False)
    last_waiting: tuple[int, int] = field(init=False)
    last_stopped: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with every campaign running."""
        self.reset()

    def reset(self) -> None:
        """Forget what arrived; every campaign runs again."""
        self.stopped = bytearray(self.campaigns + 1)
        self.tries = bytearray(self.campaigns + 1)
        self.arrived_ns = array("q")
        self.stopped_count = self.tried_count = self.puts = 0
        self.first_put = self.last_put = self.last_waiting = self.last_stopped = (0, 0)

    def pause(self, campaign_id: int, now_ns: int) -> bytes:
        """Answer one PUT; campaigns beyond the last share the place of number 0."""
        mark = (now_ns, len(self.arrived_ns))
        self.puts += 1
        self.last_put = mark
        if self.puts == 1:
            self.first_put = mark
        if campaign_id > self.campaigns:
            campaign_id = 0
        number = self.tries[campaign_id]
        self.tries[campaign_id] = min(255, number + 1)
        self.tried_count += number == 0
        if self.tried_count <= self.campaigns - self.held:
            self.last_waiting = mark
        if self.fails(campaign_id, number):
            return DATABASE
        if not self.stopped[campaign_id]:
            self.stopped[campaign_id] = 1
            self.stopped_count += 1
            self.last_stopped = mark
        return OK

    def fails(self, campaign_id: int, number: int) -> bool:
        """Whether this campaign's try of this number (0 is the first) goes wrong."""
        if self.stubborn and campaign_id % round(1 / self.stubborn) == 0:
            return True
        if not self.failing:
            return False
        # A real digest: with a CRC or Python's hash, who fails once never fails twice.
        chance = blake2b(b"%d.%d" % (campaign_id, number), digest_size=4).digest()
        return int.from_bytes(chance) < self.failing * 2**32

    def row(self, campaign_id: int) -> str:
        """One campaign as the listing shows it."""
        status = 3 if self.stopped[campaign_id] else 2
        return (
            f'{{"id":{campaign_id},"name":"c{campaign_id}","status":{status},"strBeginTime":'
            '"2026-01-01 08:00:00","strEndTime":"2026-12-31 20:00:00","deviceType":2,"callerNo":""}'
        )

    def page(self, query: str) -> bytes:
        """One page of the listing: what is started (status=2), or everything."""
        asked = dict(pair.split("=", 1) for pair in query.split("&"))
        page, status = int(asked["curPage"]), asked["status"]
        ids: list[int] | range = range(1, self.campaigns + 1)
        if status == "2" and self.stopped_count:
            ids = [one for one in ids if not self.stopped[one]]
        rows = ",".join(map(self.row, ids[(page - 1) * _ROWS : page * _ROWS]))
        return (
            f'{{"resultCode":"0200000","resultDesc":"","returnCode":"0200000","returnDesc":"",'
            f'"curPage":{page},"totalSize":{len(ids)},"rowsPerPage":{_ROWS},"curSkillQueueCount":0,'
            f'"curIvrCount":0,"data":[{rows}]}}'
        ).encode()

    def details(self, campaign_id: int) -> bytes:
        """One campaign by itself."""
        return OK[:-1] + b',"returnObject":' + self.row(campaign_id).encode() + b"}"

    def seen(self) -> dict[str, float]:
        """The figures: requests, the worst second, and when things happened.

        Times are monotonic seconds, which every process of a Linux machine counts alike.
        """
        times = sorted(self.arrived_ns)
        found: dict[str, float] = {
            "requests": len(times),
            "puts": self.puts,
            "stopped": self.stopped_count,
            "worst_1s": fullest_window(times, _SECOND_NS),
            "first_s": times[0] / 1e9 if times else 0.0,
        }
        for name in ("first_put", "last_put", "last_waiting", "last_stopped"):
            at_ns, number = getattr(self, name)
            found |= {f"{name}_s": at_ns / 1e9, f"{name}_number": number}
        return found


class Connection(asyncio.Protocol):
    """One connection: whole bodyless requests in, answers out."""

    def __init__(self, world: World, latency_s: float = 0.0, lifetime: int = -1) -> None:
        self.world = world
        self.latency_s = latency_s
        self.left = lifetime
        self.held = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        data = self.held + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            self.answer(data[: data.index(b"\r\n")].decode("ascii"), now_ns)
            data = data[end + 4 :]
        self.held = data

    def answer(self, line: str, now_ns: int) -> None:
        """Answer the request that begins with this line."""
        self.left -= 1
        body = self.body(line, now_ns)
        closing = b"Connection: close\r\n" if self.left == 0 else b""
        answer = _HEAD % (closing, len(body), body)
        if self.latency_s:
            asyncio.get_running_loop().call_later(self.latency_s, self.write, answer)
        else:
            self.write(answer)

    def body(self, line: str, now_ns: int) -> bytes:
        """What the request is answered with."""
        method, target, _ = line.split(" ")
        path, _, query = target.partition("?")
        world = self.world
        if path == "/seen":
            return json.dumps(world.seen()).encode()
        if path == "/reset":
            world.reset()
            return OK
        world.arrived_ns.append(now_ns)
        parts = path.rsplit("/", 2)
        if method == "PUT":
            return world.pause(int(parts[1]), now_ns)
        return world.page(query) if query else world.details(int(parts[2]))

    def write(self, answer: bytes) -> None:
        """Send an answer; the last one of a connection closes it."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)
            if self.left == 0:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self.transport = None


async def serve(options: argparse.Namespace) -> None:
    """Serve until stdin is closed: a bench that dies takes its server with it."""
    loop = asyncio.get_running_loop()
    world = World(options.campaigns, options.failing, options.stubborn, options.held)
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)  # noqa: FBT003 - the socket module's signature
    control = await loop.create_server(lambda: Connection(world), "127.0.0.1", 0)
    kept: set[asyncio.Task[None]] = set()

    async def take(endpoint: socket.socket, stall_s: float) -> None:
        endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.sleep(stall_s)
        try:
            await loop.connect_accepted_socket(
                lambda: Connection(world, options.latency_ms / 1000, options.lifetime),
                endpoint,
                ssl=context,
            )
        except OSError:
            endpoint.close()

    async def accept() -> None:
        number = 0
        while True:
            endpoint, _ = await loop.sock_accept(listener)
            number += 1
            stalls = options.stall_every and number % options.stall_every == 0
            one = loop.create_task(take(endpoint, options.stall_s if stalls else 0.0))
            kept.add(one)
            one.add_done_callback(kept.discard)

    accepting = loop.create_task(accept())
    ports = {"port": listener.getsockname()[1], "control": control.sockets[0].getsockname()[1]}
    print(json.dumps(ports), flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    accepting.cancel()
    listener.close()
    control.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=20_000)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--failing", type=float, default=0.0, help="share of PUTs")
    parser.add_argument("--stubborn", type=float, default=0.0, help="share of campaigns")
    parser.add_argument("--held", type=int, default=0, help="campaigns begun and not tried yet")
    parser.add_argument("--lifetime", type=int, default=-1, help="requests on one connection")
    parser.add_argument("--stall-every", type=int, default=0, help="the n-th connection stalls …")
    parser.add_argument("--stall-s", type=float, default=2.5, help="… so long, before TLS begins")
    parser.add_argument("--cert", help="PEM file with certificate and key: https")
    options = parser.parse_args()
    gc.disable()  # a pause of the collector would be read as a burst of the client
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
