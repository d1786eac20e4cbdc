"""Turns what aiohttp, OpenSSL and the system raise into a Fault and plain words.

`unconnected` is for requests that cannot have left, `broken` for those on which the server may have
acted. Only what a repeat cannot change is a TLS fault, because a TLS fault ends the run. aiohttp
calls a broken server "status 400", files certificate errors under ClientOSError, and a TimeoutError
has no text.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from datetime import UTC, datetime

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, TransferEncodingError

from orchestrator.isales.answer import CA_ADVICE, Fault, certificate_fault
from orchestrator.text import for_terminal

#: characters of a header value or a cause that are kept
MAX_TEXT = 300

#: errno while connecting; whatever is not here is UNREACHABLE
_CONNECT_FAULTS = {
    errno.ECONNREFUSED: Fault.CONNECT_REFUSED,
    errno.ECONNRESET: Fault.CONNECT_REFUSED,
    errno.ECONNABORTED: Fault.CONNECT_REFUSED,
    errno.EPIPE: Fault.CONNECT_REFUSED,
    errno.ETIMEDOUT: Fault.CONNECT_TIMEOUT,
    errno.EMFILE: Fault.NO_SOCKETS,
    errno.ENFILE: Fault.NO_SOCKETS,
    errno.ENOBUFS: Fault.NO_SOCKETS,
    errno.ENOMEM: Fault.NO_SOCKETS,
    errno.EADDRNOTAVAIL: Fault.NO_SOCKETS,
}

#: getaddrinfo's word that there is no such name, or none with an address
_NO_SUCH_NAME = frozenset(
    number
    for name in ("EAI_NONAME", "EAI_NODATA")
    if isinstance(number := getattr(socket, name, None), int)
)

#: reasons of OpenSSL that mean: the other side speaks no TLS at all
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
#: ... or none that is new enough
_OLD_TLS = ("UNSUPPORTED_PROTOCOL", "PROTOCOL_VERSION", "VERSION_TOO_LOW")


class LostError(Exception):
    """The connection broke under a request; aiohttp does not know this type, so it gives up."""


def unconnected(exc: BaseException, *, now_ms: int) -> tuple[Fault, str]:
    """Why there is no connection; nothing was sent."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return _certificate(exc.certificate_error, now_ms=now_ms)
    if isinstance(exc, UnicodeError):
        return Fault.DNS_FAILED, "this is no host name"
    cause = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        # A resolver in trouble is a network in trouble: only a name that is none is DNS_FAILED.
        is_none = _errno(cause) in _NO_SUCH_NAME
        fault = Fault.DNS_FAILED if is_none else Fault.UNREACHABLE
        return fault, f"the name cannot be resolved ({_os_words(cause)})"
    if isinstance(cause, ssl.SSLError) and not isinstance(
        cause, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError
    ):
        return _handshake(cause)
    number = _errno(cause)
    if number is None and isinstance(cause, ConnectionError | ssl.SSLError):
        return Fault.CONNECT_REFUSED, "the connection was ended during the TLS handshake"
    fault = _CONNECT_FAULTS.get(number or 0, Fault.UNREACHABLE)
    return fault, f"cannot connect ({_os_words(cause)})"


def _certificate(exc: Exception, *, now_ms: int) -> tuple[Fault, str]:
    code = getattr(exc, "verify_code", 0)
    reason = printable(str(getattr(exc, "verify_message", "") or exc)).rstrip(".")
    fault = certificate_fault(code)
    if fault is Fault.TLS_EXPIRED:
        now = datetime.fromtimestamp(now_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
        return fault, f"the TLS certificate cannot be used now: {reason} (the clock here: {now})"
    if fault is Fault.TLS_HOSTNAME:
        return fault, f"the TLS certificate belongs to another host: {reason}"
    return fault, f"the TLS certificate is not trusted: {reason} ({CA_ADVICE})"


def _handshake(exc: ssl.SSLError) -> tuple[Fault, str]:
    reason = exc.reason or ""
    if any(part in reason for part in _NO_TLS):
        return Fault.TLS_PROTOCOL, "this port does not speak TLS (a plain http port?)"
    if any(part in reason for part in _OLD_TLS):
        return Fault.TLS_PROTOCOL, "the server has no TLS of version 1.2 or newer"
    words = printable(reason.replace("_", " ").lower()) or "no reason given"
    if "INTERNAL_ERROR" in reason:  # the other side is in trouble; that passes
        return Fault.CONNECT_REFUSED, f"the TLS handshake failed ({words})"
    return Fault.TLS_PROTOCOL, f"the TLS handshake failed ({words})"


def broken(exc: BaseException) -> tuple[Fault, str]:
    """What became of a request that left and has no complete answer."""
    if isinstance(exc, LostError):
        exc = exc.__cause__ or exc
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        if isinstance(exc.message, str):
            return Fault.RESET, "closed the connection without an answer"
        return Fault.BAD_RESPONSE, "closed the connection inside the head of its answer"
    if isinstance(exc, aiohttp.ClientResponseError):
        # Its status is aiohttp's own invention (400), not the server's.
        return Fault.BAD_RESPONSE, f"sent something that is not HTTP: {printable(exc.message)}"
    if isinstance(exc, aiohttp.ClientPayloadError):
        cause = exc.__cause__
        if cause is None or isinstance(cause, ContentLengthError) or _is_cut(cause):
            return Fault.TRUNCATED, "closed the connection inside the body of its answer"
        return Fault.BAD_RESPONSE, f"sent a broken body: {printable(str(cause))}"
    return Fault.RESET, f"broke the connection ({_os_words(exc)})"


def _is_cut(cause: BaseException) -> bool:
    return isinstance(cause, OSError) or (
        isinstance(cause, TransferEncodingError) and "Not enough data" in cause.message
    )


def _errno(exc: BaseException) -> int | None:
    """The errno of an error; of several addresses' errors, the first one's."""
    number = getattr(exc, "errno", None)
    if isinstance(number, int):
        return number
    found = re.search(r"\[Errno (\d+)\]", str(exc))
    return int(found[1]) if found else None


def _os_words(exc: BaseException) -> str:
    if isinstance(exc, socket.gaierror):
        return printable(exc.strerror or "no reason given").lower()
    number = _errno(exc)
    text = getattr(exc, "strerror", None) or str(exc)
    if number is None or "link-local" in text:
        return printable(text) or type(exc).__name__
    return os.strerror(number).lower()


def printable(text: str) -> str:
    """One line, bounded, every character visible; the rest escaped."""
    # an escape has ten characters at most: nothing is cut a second time
    return for_terminal(" ".join(text.split())[:MAX_TEXT], limit=10 * MAX_TEXT)
