"""A target that costs little: answers pauses, listings and details, in a process of its own.

Usage: python -m bench.server [--campaigns N] [--latency-ms L] … (bench/stage.py starts it)

Rule 1: it is quicker than any client measured against it, so it checks no signature and parses no
    more of a request than its first line.
Rule 2: what arrived is timed when the kernel hands it over; `GET /seen` tells the figures, and
    `GET /reset` forgets them and makes every campaign run again.
Rule 3: faults come from a campaign's number, so they fall on the same campaigns for every client.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import socket
import ssl
import sys
import time
from array import array
from dataclasses import dataclass, field

_OK = b'{"resultCode":"0200000","resultDesc":"","returnCode":"0200000","returnDesc":""}'
_DATABASE = b'{"resultCode":"0200006","resultDesc":"db","returnCode":"0200006","returnDesc":"db"}'
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\n%sContent-Length: %d\r\n"
    b"\r\n%s"
)
_ROWS = 100
#: a multiplier that spreads neighbouring numbers over all of 0..9999
_SPREAD = 7_919


@dataclass(slots=True)
class World:
    """What the server knows: which campaigns it has stopped, and what has arrived when."""

    campaigns: int
    #: of ten thousand PUTs so many are answered with a database error, each at its own try
    failing: int
    #: of ten thousand campaigns so many answer with a database error for ever
    stubborn: int
    stopped: bytearray = field(init=False)
    tries: bytearray = field(init=False)
    arrived_ns: array[int] = field(default_factory=lambda: array("q"))
    stopped_count: int = 0
    all_stopped_ns: int = 0
    puts: int = 0
    first_put_ns: int = 0

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.stopped = bytearray(self.campaigns + 1)
        self.tries = bytearray(self.campaigns + 1)
        self.arrived_ns = array("q")
        self.stopped_count = self.all_stopped_ns = self.puts = self.first_put_ns = 0

    def pause(self, campaign_id: int, now_ns: int) -> bytes:
        self.puts += 1
        self.first_put_ns = self.first_put_ns or time.time_ns()
        if campaign_id > self.campaigns:
            campaign_id = 0
        if self.stubborn and campaign_id * _SPREAD % 10_000 < self.stubborn:
            return _DATABASE
        if self.failing:
            number = self.tries[campaign_id]
            self.tries[campaign_id] = min(255, number + 1)
            if (campaign_id * _SPREAD + number * 4_057) % 10_000 < self.failing:
                return _DATABASE
        if not self.stopped[campaign_id]:
            self.stopped[campaign_id] = 1
            self.stopped_count += 1
            self.all_stopped_ns = now_ns
        return _OK

    def row(self, campaign_id: int) -> str:
        status = 3 if self.stopped[campaign_id] else 2
        return (
            f'{{"id":{campaign_id},"name":"c{campaign_id}","status":{status},"strBeginTime":'
            '"2026-01-01 08:00:00","strEndTime":"2026-12-31 20:00:00","deviceType":2,"callerNo":""}'
        )

    def page(self, query: str) -> bytes:
        asked = dict(pair.split("=", 1) for pair in query.split("&"))
        page, status = int(asked["curPage"]), asked["status"]
        if status == "2":
            ids: list[int] | range = [
                one for one in range(1, self.campaigns + 1) if not self.stopped[one]
            ]
        else:
            ids = range(1, self.campaigns + 1)
        rows = ",".join(map(self.row, ids[(page - 1) * _ROWS : page * _ROWS]))
        return (
            f'{{"resultCode":"0200000","resultDesc":"","returnCode":"0200000","returnDesc":"",'
            f'"curPage":{page},"totalSize":{len(ids)},"rowsPerPage":{_ROWS},"curSkillQueueCount":0,'
            f'"curIvrCount":0,"data":[{rows}]}}'
        ).encode()

    def details(self, campaign_id: int) -> bytes:
        return _OK[:-1] + b',"returnObject":' + self.row(campaign_id).encode() + b"}"

    def seen(self) -> bytes:
        """The figures: requests, the worst second, and how long everything took."""
        times = sorted(self.arrived_ns)
        worst = first = 0
        for last, at_ns in enumerate(times):
            while times[first] <= at_ns - 1_000_000_000:
                first += 1
            worst = max(worst, last - first + 1)
        return json.dumps(
            {
                "requests": len(times),
                "puts": self.puts,
                "worst_1s": worst,
                "span_s": (times[-1] - times[0]) / 1e9 if times else 0.0,
                "first_put_wall_s": self.first_put_ns / 1e9,
                "stopped": self.stopped_count,
                "all_stopped_s": (self.all_stopped_ns - times[0]) / 1e9 if times else 0.0,
            }
        ).encode()


class Connection(asyncio.Protocol):
    """One connection: whole bodyless requests in, answers out."""

    def __init__(self, world: World, latency_s: float, lifetime: int) -> None:
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
        method, target, _ = line.split(" ")
        path, _, query = target.partition("?")
        world = self.world
        if path == "/seen":
            body = world.seen()
        elif path == "/reset":
            world.reset()
            body = _OK
        else:
            world.arrived_ns.append(now_ns)
            parts = path.rsplit("/", 2)
            if method == "PUT":
                body = world.pause(int(parts[1]), now_ns)
            elif query:
                body = world.page(query)
            else:
                body = world.details(int(parts[2]))
        self.left -= 1
        closing = b"Connection: close\r\n" if self.left == 0 else b""
        answer = _HEAD % (closing, len(body), body)
        if self.latency_s:
            asyncio.get_running_loop().call_later(self.latency_s, self.write, answer)
        else:
            self.write(answer)

    def write(self, answer: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)
            if self.left == 0:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None


async def serve(options: argparse.Namespace) -> None:
    """Serve until stdin is closed: a bench that dies takes its server with it."""
    loop = asyncio.get_running_loop()
    world = World(options.campaigns, round(options.failing * 1e4), round(options.stubborn * 1e4))
    context = None
    if options.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.cert)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
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
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    ended = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: ended.done() or ended.set_result(None))
    await ended
    accepting.cancel()
    listener.close()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--campaigns", type=int, default=20_000)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--failing", type=float, default=0.0, help="share of PUTs")
    parser.add_argument("--stubborn", type=float, default=0.0, help="share of campaigns")
    parser.add_argument("--lifetime", type=int, default=-1, help="requests on one connection")
    parser.add_argument("--stall-every", type=int, default=0, help="the n-th connection stalls …")
    parser.add_argument("--stall-s", type=float, default=2.5, help="… so long, before TLS begins")
    parser.add_argument("--cert", help="PEM file with certificate and key: https")
    parser.add_argument("--core", type=int, help="the processor it runs on")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    gc.disable()  # a pause of the collector would be read as a burst of the client
    asyncio.run(serve(options))


if __name__ == "__main__":
    main()
