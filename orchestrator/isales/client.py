"""Sends one signed request when the rate limiter lets it leave, and returns an Answer.

One call of `send` is at most one request on the wire: aiohttp repeats an idempotent request when a
kept-alive connection drops, and `_never_again` prevents it. Nothing is awaited between the
limiter's leave and the send. Whatever the network or the server does becomes an Answer; only
NotSentError, cancellation and our own mistakes are raised. A connection that shows input, or its
end, before we send is closed and replaced. Redirects, proxies, netrc, cookies and decompression
are off, every size is bounded, TLS is always verified.

Method: `TCPConnector.connect()` is public and the last thing that aiohttp awaits before it writes a
request; the departure reaches it through a ContextVar. Middlewares run too early. A body (CC-CMS
alone has one) is ASCII text that aiohttp writes after the head.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import math
import select
import socket
import ssl
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self
from weakref import WeakSet

import aiohttp
from aiohttp import hdrs, http_parser
from yarl import URL

from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.deadlines import Deadline, Deadlines
from orchestrator.isales.failures import LostError, broken, printable, unconnected
from orchestrator.isales.heads import LenientHandler

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from orchestrator.isales.requests import ApiRequest

CONTENT_TYPE = "application/json; charset=UTF-8"
USER_AGENT = "campaign-pause-orchestrator"

#: the answer to a change is four short strings, that of CC-CMS a few numbers
MAX_CHANGE_BODY_BYTES = 64 * 1024
#: a listing is 100 rows whose width is not documented
MAX_READ_BODY_BYTES = 1024 * 1024
MAX_HEADER_BYTES = 8190
MAX_HEADERS = 100
#: new connections in a row that end before we could send; then it counts as a refusal
MAX_LOST_CONNECTIONS = 2


class NotSentError(Exception):
    """The departure called the request off after the connection was ready; nothing left."""


class Departure(Protocol):
    """Decides when one request leaves, and signs it at that moment."""

    async def slot(self) -> None:
        """Return when the request may leave now; it is asked again if its connection was lost.

        Raises:
            NotSentError: to call it off.
        """
        ...

    def sign(self, method: str, path: str, query_string: str, headers: Mapping[str, str]) -> str:
        """The Authorization value of what is about to be sent.

        Args:
            method: in upper case.
            path: as sent, with the base URL's prefix.
            query_string: as sent, "" for none.
            headers: all that is sent, by names in any case.
        """
        ...


class WallClock(Protocol):
    """The part of a clock that the client needs."""

    def wall_ms(self) -> int:
        """Milliseconds since the epoch, UTC."""
        ...


class _NoConnectionError(Exception):
    """Nothing left: why there is no connection."""

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.detail = detail


class _TooLargeError(Exception):
    """The body passed its bound."""


@dataclass(slots=True)
class _Trip:
    """One request that is being sent."""

    departure: Departure
    #: with the prefix of the base URL
    path: str
    query_string: str
    #: while a connection is sought it is the connection's, from the slot on the attempt's
    deadline: Deadline
    #: wall-clock milliseconds; None until it left
    sent_at_ms: int | None = None


_TRIP: ContextVar[_Trip] = ContextVar("trip")


class IsalesClient:
    """Sends requests to one CC-iSales server over kept-alive connections."""

    def __init__(  # noqa: PLR0913 - a server is described by all of these
        self,
        *,
        base_url: str,
        ca_file: Path | None,
        connect_timeout_s: float,
        attempt_timeout_s: float,
        connections: int,
        clock: WallClock,
        resolver: AbstractResolver | None = None,
    ) -> None:
        """Describe the server; nothing is opened yet.

        Args:
            base_url: scheme, host, port and perhaps a path prefix, as settings checked it.
            ca_file: trust only these authorities; None trusts the system's.
            connect_timeout_s: seconds for name, TCP and TLS together.
            attempt_timeout_s: seconds from the slot to the last byte of the answer.
            connections: open at once at most; further calls of `send` wait their turn.
            clock: for timestamps.
            resolver: looks up names; None asks the system.
        """
        base = URL(base_url)
        self._place = f"{base.host_subcomponent}:{base.port}"
        self._host = base.host_port_subcomponent or ""
        self._prefix = base.raw_path.rstrip("/")
        self._root = base.origin()
        self._is_tls = base.scheme == "https"
        self._ca_file = ca_file
        self._connect_timeout_s = connect_timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._connections = connections
        self._turns = asyncio.Semaphore(connections)
        self._deadlines = Deadlines()
        self._clock = clock
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    @property
    def host(self) -> str:
        """The Host header as sent, with the port when it is not the default one."""
        return self._host

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=_PacedConnector(
                place=self._place,
                connect_timeout_s=self._connect_timeout_s,
                attempt_timeout_s=self._attempt_timeout_s,
                clock=self._clock,
                limit=self._connections,
                ssl=tls_context(self._ca_file) if self._is_tls else True,
                resolver=self._resolver,
                dns_cache_max_size=4,
                socket_factory=_open_socket,
            ),
            headers={
                hdrs.USER_AGENT: USER_AGENT,
                hdrs.ACCEPT_ENCODING: "identity",
                hdrs.CONTENT_TYPE: CONTENT_TYPE,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            # The connection has its own limit; the attempt's starts at the slot.
            timeout=aiohttp.ClientTimeout(total=None),
            middlewares=(_never_again,),
            trust_env=False,
            auto_decompress=False,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, request: ApiRequest, departure: Departure) -> Answer:
        """Send one request once.

        Returns:
            The HTTP answer, or the fault that took its place; `Answer.sent` tells whether the
            server may have acted.

        Raises:
            NotSentError: the departure called it off.
        """
        async with self._turns:
            trip = _Trip(
                departure,
                self._prefix + request.path,
                request.query_string,
                Deadline(self._deadlines),
            )
            token = _TRIP.set(trip)
            try:
                with trip.deadline:
                    return await self._exchange(request, trip)
            except _NoConnectionError as exc:
                return Answer(fault=exc.fault, detail=exc.detail)
            except _TooLargeError as exc:
                fault, detail = Fault.TOO_LARGE, f"{self._place} {exc}"
            except TimeoutError:
                if trip.sent_at_ms is None:
                    return Answer(
                        fault=Fault.CONNECT_TIMEOUT,
                        detail=f"{self._place}: no connection (name, TCP and TLS) "
                        f"within {self._connect_timeout_s:g} s",
                    )
                fault = Fault.TIMEOUT
                detail = (
                    f"{self._place} gave no complete answer within {self._attempt_timeout_s:g} s"
                )
            except (aiohttp.ClientError, OSError, LostError) as exc:
                fault, words = broken(exc)
                detail = f"{self._place} {words}"
            finally:
                _TRIP.reset(token)
            return Answer(fault=fault, detail=detail, sent_at_ms=trip.sent_at_ms)

    async def _exchange(self, request: ApiRequest, trip: _Trip) -> Answer:
        if self._session is None:
            raise RuntimeError("the client is used outside its `async with`")
        # encoded=True: what is signed must be what is sent, to the byte.
        url = self._root.with_path(trip.path, encoded=True)
        if trip.query_string:
            url = URL(f"{url}?{trip.query_string}", encoded=True)
        is_listing = request.method == hdrs.METH_GET
        limit = MAX_READ_BODY_BYTES if is_listing else MAX_CHANGE_BODY_BYTES
        response = await self._session.request(
            request.method, url, data=request.body.encode() or None, allow_redirects=False
        )
        try:
            body = await _read(response, limit)
        except BaseException:
            response.close()
            raise
        # Its connection went back into the pool when the answer had been read to its end.
        headers = response.headers
        return Answer(
            http_status=response.status,
            body=body,
            retry_after=_header(headers, hdrs.RETRY_AFTER),
            date=_header(headers, hdrs.DATE),
            location=_header(headers, hdrs.LOCATION),
            content_encoding=_header(headers, hdrs.CONTENT_ENCODING),
            sent_at_ms=trip.sent_at_ms,
            answered_at_ms=self._clock.wall_ms(),
        )


def c_parser_in_use() -> bool:
    """Whether answers are read by aiohttp's C parser; the Python one is more lenient."""
    return http_parser.HttpResponseParser is not http_parser.HttpResponseParserPy


class _PacedConnector(aiohttp.TCPConnector):
    """Hands out a connection at the moment its request may leave, and signs the request."""

    def __init__(
        self,
        *,
        place: str,
        connect_timeout_s: float,
        attempt_timeout_s: float,
        clock: WallClock,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        handler: type[ResponseHandler] = LenientHandler
        self._factory = partial(handler, loop=self._loop)
        self._place = place
        self._connect_timeout_s = connect_timeout_s
        self._attempt_timeout_s = attempt_timeout_s
        self._clock = clock
        #: connections that were handed out before
        self._known: WeakSet[ResponseHandler] = WeakSet()

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
    ) -> Connection:
        trip = _TRIP.get()
        lost = 0
        while lost < MAX_LOST_CONNECTIONS:
            connection = await self._open(req, traces, timeout, trip)
            try:
                is_new = self._is_new(connection)
                await trip.departure.slot()
                if _is_ready(connection, may_hold_tickets=is_new and req.is_ssl()):
                    if isinstance(connection.protocol, LenientHandler):
                        connection.protocol.expect_head()
                    self._leave(req, trip)
                    return connection
            except BaseException:
                connection.release()
                raise
            connection.close()
            lost += is_new
        raise _NoConnectionError(
            Fault.CONNECT_REFUSED,
            f"{self._place} accepts connections, but ends them or sends something before we have"
            " sent anything",
        )

    async def _open(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109
        trip: _Trip,
    ) -> Connection:
        trip.deadline.move(asyncio.get_running_loop().time() + self._connect_timeout_s)
        try:
            connection = await super().connect(req, traces, timeout)
        except TimeoutError:
            raise  # the system's own, told like ours
        except (aiohttp.ClientError, OSError, UnicodeError) as exc:
            fault, words = unconnected(exc, now_ms=self._clock.wall_ms())
            raise _NoConnectionError(fault, f"{self._place}: {words}") from exc
        trip.deadline.move(math.inf)
        return connection

    def _is_new(self, connection: Connection) -> bool:
        protocol = connection.protocol
        if protocol is None or protocol in self._known:
            return False
        self._known.add(protocol)
        return True

    def _leave(self, req: aiohttp.ClientRequest, trip: _Trip) -> None:
        req.headers[hdrs.AUTHORIZATION] = trip.departure.sign(
            req.method,
            trip.path,
            trip.query_string,
            req.headers,
        )
        trip.sent_at_ms = self._clock.wall_ms()
        trip.deadline.move(asyncio.get_running_loop().time() + self._attempt_timeout_s)


async def _never_again(
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


def tls_context(ca_file: Path | None, *, pem: str | None = None) -> ssl.SSLContext:
    """How every server's certificate is verified: by these authorities, or the system's.

    `pem` holds the certificates themselves, as `ca_file` would.

    Python 3.13 changed its defaults. VERIFY_X509_STRICT refuses what private authorities issue
    (no Authority Key Identifier); VERIFY_X509_PARTIAL_CHAIN trusts an intermediate authority in
    `ca_file` without its root, and a server's own certificate alone (host name and dates are
    checked as ever), which is what `init` saves. A server must not be trusted on one Python and
    refused on another, so the flags are ours, and all of this works everywhere.
    """
    context = ssl.create_default_context(cafile=ca_file, cadata=pem)
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


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


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    pieces: list[bytes] = []
    room = limit
    while piece := await response.content.read(room + 1):
        room -= len(piece)
        if room < 0:
            raise _TooLargeError(f"sent a body of more than {limit // 1024} KiB")
        pieces.append(piece)
        if response.content.at_eof():
            break
    return b"".join(pieces)


def _header(headers: Mapping[str, str], name: str) -> str | None:
    value = headers.get(name)
    return None if value is None else printable(value)
