"""Sends one signed request when the rate limiter lets it leave, and returns an Answer.

One call of `send` is at most one request on the wire: aiohttp repeats an idempotent request when a
kept-alive connection drops, and `never_again` prevents it. Whatever the network or the server does
becomes an Answer; only NotSentError, cancellation and our own mistakes are raised. Redirects,
proxies, netrc, cookies and decompression are off, every size is bounded, TLS is always verified.
A body (CC-CMS alone has one) is ASCII text that aiohttp writes after the head.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from typing import TYPE_CHECKING, Protocol, Self

import aiohttp
from aiohttp import hdrs
from yarl import URL

from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.connections import (
    TRIP,
    NoConnectionError,
    PacedConnector,
    Trip,
    never_again,
)
from orchestrator.isales.failures import LostError, broken, printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from aiohttp.abc import AbstractResolver

    from orchestrator.clock import Clock
    from orchestrator.isales.requests import ApiRequest

CONTENT_TYPE = "application/json; charset=UTF-8"
USER_AGENT = "campaign-pause-orchestrator"

#: the answer to a change is four short strings, that of CC-CMS a few numbers
MAX_CHANGE_BODY_BYTES = 64 * 1024
#: a listing is 100 rows whose width is not documented
MAX_READ_BODY_BYTES = 1024 * 1024
MAX_HEADER_BYTES = 8190
MAX_HEADERS = 100


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


class _TooLargeError(Exception):
    """The body passed its bound."""


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
        clock: Clock,
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
        self._clock = clock
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    @property
    def host(self) -> str:
        """The Host header as sent, with the port when it is not the default one."""
        return self._host

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=PacedConnector(
                limit=self._connections,
                ssl=tls_context(self._ca_file) if self._is_tls else True,
                resolver=self._resolver,
            ),
            headers={
                hdrs.USER_AGENT: USER_AGENT,
                hdrs.ACCEPT_ENCODING: "identity",
                hdrs.CONTENT_TYPE: CONTENT_TYPE,
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            # Of the connection alone, to the millisecond; the attempt's limit starts at the slot.
            timeout=aiohttp.ClientTimeout(
                total=None, connect=self._connect_timeout_s, ceil_threshold=math.inf
            ),
            middlewares=(never_again,),
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
        limit = asyncio.timeout(None)
        path = self._prefix + request.path
        trip = Trip(
            departure, path, request.query_string, self._clock, limit, self._attempt_timeout_s
        )
        async with self._turns:
            token = TRIP.set(trip)
            try:
                async with limit:
                    return await self._exchange(request, trip)
            except NoConnectionError as exc:
                fault, words = exc.fault, str(exc)
            except _TooLargeError as exc:
                fault, words = Fault.TOO_LARGE, f" {exc}"
            except TimeoutError:
                fault, words = self._too_late(trip)
            except (aiohttp.ClientError, OSError, LostError) as exc:
                fault, words = broken(exc)
                words = f" {words}"
            finally:
                TRIP.reset(token)
        return Answer(fault=fault, detail=f"{self._place}{words}", sent_at_ms=trip.sent_at_ms)

    def _too_late(self, trip: Trip) -> tuple[Fault, str]:
        if trip.sent_at_ms is None:
            within = f"within {self._connect_timeout_s:g} s"
            return Fault.CONNECT_TIMEOUT, f": no connection (name, TCP and TLS) {within}"
        within = f"within {self._attempt_timeout_s:g} s"
        return Fault.TIMEOUT, f" gave no complete answer {within}"

    async def _exchange(self, request: ApiRequest, trip: Trip) -> Answer:
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
