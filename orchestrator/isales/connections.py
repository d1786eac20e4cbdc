"""Hands out a connection at the moment when its request may leave, and signs the request.

Nothing is awaited between the limiter's leave and the bytes on the wire. A connection that shows
input, or its end, before we send is closed and replaced.

Method: `TCPConnector.connect()` is public and the last thing that aiohttp awaits before it writes a
request; the trip reaches it through a ContextVar. Middlewares run too early.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import re
import select
import socket
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler

from orchestrator.isales.answer import Fault
from orchestrator.isales.failures import LostError, unconnected

if TYPE_CHECKING:
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from orchestrator.clock import Clock
    from orchestrator.isales.client import Departure

#: a head that is longer goes to the parser as it is, which has its own limits
_MAX_HEAD_BYTES = 64 * 1024

_END = re.compile(rb"\r?\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1[0-9][0-9](?![0-9])")
_LENGTH = b"content-length"
_CODING = b"transfer-encoding"

#: new connections in a row that end before we could send; then it counts as a refusal
MAX_LOST_CONNECTIONS = 2


class NoConnectionError(Exception):
    """Nothing left: the fault, and why there is no connection."""

    def __init__(self, fault: Fault, words: str) -> None:
        super().__init__(words)
        self.fault = fault


@dataclass(slots=True)
class Trip:
    """One request that is being sent."""

    departure: Departure
    #: with the prefix of the base URL
    path: str
    query_string: str
    clock: Clock
    #: none until the request leaves; then it has so many seconds
    limit: asyncio.Timeout
    limit_s: float
    #: wall-clock milliseconds; None until it left
    sent_at_ms: int | None = None

    def leave(self, req: aiohttp.ClientRequest) -> None:
        """Sign what is sent now."""
        req.headers[hdrs.AUTHORIZATION] = self.departure.sign(
            req.method, self.path, self.query_string, req.headers
        )
        self.sent_at_ms = self.clock.wall_ms()
        self.limit.reschedule(asyncio.get_running_loop().time() + self.limit_s)


TRIP: ContextVar[Trip] = ContextVar("trip")


class PacedConnector(aiohttp.TCPConnector):
    """Connections of one server."""

    def __init__(self, **options: Any) -> None:
        super().__init__(socket_factory=_open_socket, dns_cache_max_size=4, **options)
        handler: type[ResponseHandler] = LenientHandler
        self._factory = partial(handler, loop=self._loop)
        #: connections that were handed out before
        self._known: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        trip = TRIP.get()
        lost = 0
        while lost < MAX_LOST_CONNECTIONS:
            try:
                connection = await super().connect(req, traces, timeout)
            except TimeoutError:
                raise  # the system's own, told like ours
            except (aiohttp.ClientError, OSError, UnicodeError) as exc:
                fault, words = unconnected(exc, now_ms=trip.clock.wall_ms())
                raise NoConnectionError(fault, f": {words}") from exc
            try:
                is_new = self._is_new(connection)
                await trip.departure.slot()
                if _is_ready(connection, may_hold_tickets=is_new and req.is_ssl()):
                    if isinstance(connection.protocol, LenientHandler):
                        connection.protocol.expect_head()
                    trip.leave(req)
                    return connection
            except BaseException:
                connection.release()
                raise
            connection.close()
            lost += is_new
        raise NoConnectionError(
            Fault.CONNECT_REFUSED,
            " accepts connections, but ends them or sends something before we have sent anything",
        )

    def _is_new(self, connection: Connection) -> bool:
        protocol = connection.protocol
        if protocol is None or protocol in self._known:
            return False
        self._known.add(protocol)
        return True


async def never_again(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Turn the two errors after which aiohttp would send a PUT or GET again into our own."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        raise LostError from exc


def _is_ready(connection: Connection, *, may_hold_tickets: bool) -> bool:
    """Whether the next bytes from this connection can only be the answer to what we send next.

    Args:
        connection: as handed out.
        may_hold_tickets: it is new and speaks TLS, so session tickets may lie unread.
    """
    protocol = connection.protocol
    transport = connection.transport
    if protocol is None or transport is None or not protocol.is_connected():
        return False
    if protocol.should_close or protocol.writing_paused:
        return False
    # What the loop has not read yet: a surplus answer, or the end of the connection.
    return may_hold_tickets or not _has_input(transport.get_extra_info("socket"))


def _has_input(endpoint: Any) -> bool:
    poll = select.poll()
    poll.register(endpoint.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _open_socket(address_found: aiohttp.AddrInfoType) -> socket.socket:
    """Open a socket for one address that a name resolved to, unless no API can live there."""
    family, kind, protocol, _, address = address_found
    found = ipaddress.ip_address(str(address[0]).partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or found
    if mapped.is_link_local:
        raise OSError(
            errno.EACCES, f"{found} is a link-local address (cloud metadata), never a server's"
        )
    return socket.socket(family, kind, protocol)


class LenientHandler(ResponseHandler):
    """Reads one answer's head before aiohttp's parser does.

    RFC 9112 allows what that refuses: the same Content-Length several times is one (§6.3, 5), and
    beside chunked it does not count (§6.3, 3). After such a head the connection is closed.
    """

    _awaits_head = False
    _held = b""

    def expect_head(self) -> None:
        """The next bytes begin an answer."""
        self._awaits_head = True

    def data_received(self, data: bytes) -> None:
        """Take what the socket has read; a head waits until it is whole."""
        if not self._awaits_head or not data:
            super().data_received(data)
            return
        held, ready = self._held + data, b""
        while self._awaits_head and (end := _END.search(held)):
            head, held = held[: end.end()], held[end.end() :]
            self._awaits_head = _INTERIM.match(head) is not None
            ready += one_length(head)
        is_head = held[:5] == b"HTTP/"[: len(held)] and len(held) <= _MAX_HEAD_BYTES
        if not (self._awaits_head and is_head):
            self._awaits_head = False
            ready, held = ready + held, b""
        self._held = held
        if ready:
            super().data_received(ready)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the parser see that a head has begun."""
        held, self._held = self._held, b""
        if held:
            super().data_received(held)
        super().connection_lost(exc)


def one_length(head: bytes) -> bytes:
    """The same head, up to its empty line, with one length where it has several that agree."""
    low = head.lower()
    if low.count(_LENGTH) + low.count(_CODING) < 2 and b"," not in low:
        return head
    lines = head.split(b"\n")
    fields = [line.partition(b":") for line in lines[1:]]
    if any(name[:1] in {b" ", b"\t"} for name, _, _ in fields):
        return head
    texts = [value for name, _, value in fields if name.lower() == _LENGTH]
    lengths = {one.strip() for text in texts for one in text.split(b",")}
    codings = [value.strip().lower() for name, _, value in fields if name.lower() == _CODING]
    if len(lengths) != 1 or not lengths.copy().pop().isdigit():
        return head
    is_chunked = codings == [b"chunked"] and low.startswith(b"http/1.1 ")
    if codings and not is_chunked:
        return head
    if not codings and len(texts) == 1 and b"," not in texts[0]:
        return head
    kept = [line for line in lines if line.partition(b":")[0].lower() != _LENGTH]
    kept.insert(1, b"Connection: close\r")
    if not is_chunked:
        kept.insert(1, b"Content-Length: " + lengths.pop() + b"\r")
    return b"\n".join(kept)
