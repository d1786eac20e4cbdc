"""Tries name, TCP and TLS of a server one after the other; sends no request.

A step that fails is a ProbeError in words. TLS is verified with the client's own context. A
certificate that nobody vouches for is read once without trusting it, and shown to people; what
they then trust is verified like every other, host name and dates included, before it is shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from orchestrator.isales.answer import CA_ADVICE, Fault, certificate_fault
from orchestrator.isales.client import tls_context
from orchestrator.text import for_terminal


class ProbeError(Exception):
    """A step that failed; the text says why."""


class UntrustedError(ProbeError):
    """Nobody whom we trust vouches for the certificate; its name and dates were not looked at."""


async def find_addresses(host: str, port: int, *, timeout_s: float) -> list[str]:
    """The addresses of a name, as the system knows them.

    Raises:
        ProbeError: there is none.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise ProbeError(f"{host}: no answer from the name service in {timeout_s:g} s") from error
    except (OSError, UnicodeError) as error:
        # a name with an empty or endless label is a UnicodeError of the codec
        words = getattr(error, "strerror", None) or str(error)
        raise ProbeError(f"{host}: {words}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


async def try_connection(
    host: str, port: int, *, context: ssl.SSLContext | None, timeout_s: float
) -> dict[str, Any]:
    """Open a connection, shake hands if it is to be TLS, and close it.

    Args:
        host: a name or an address.
        port: its port.
        context: verifies as the client does (client.tls_context); None: TCP alone.
        timeout_s: seconds for all of it.

    Returns:
        The server's certificate, as `SSLSocket.getpeercert` has it; empty without TLS.

    Raises:
        ProbeError: it cannot be opened, or the certificate is not to be trusted.
    """
    place = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_s):
            # a certificate names a host without the dot that may end it for the resolver
            name = host.rstrip(".") if context else None
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    except TimeoutError as error:
        raise ProbeError(f"{place}: no answer in {timeout_s:g} s") from error
    except ssl.SSLCertVerificationError as error:
        is_untrusted = certificate_fault(error.verify_code) is Fault.TLS_UNTRUSTED
        hint = f" ({CA_ADVICE})" if is_untrusted else ""
        refused = UntrustedError if is_untrusted else ProbeError
        reason = str(error.verify_message).rstrip(".")
        raise refused(f"{place}: the TLS certificate is refused: {reason}{hint}") from error
    except ssl.SSLError as error:
        raise ProbeError(f"{place}: the TLS handshake failed ({error.reason})") from error
    except OSError as error:
        # asyncio joins the reasons of several addresses into one text without a number
        words = error.strerror or str(error)
        raise ProbeError(f"{place}: {words}") from error
    certificate: dict[str, Any] = writer.get_extra_info("peercert") or {}
    writer.close()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1.0):
            await writer.wait_closed()
    return certificate


def ends_s(certificate: Mapping[str, Any]) -> float:
    """When a certificate ends, in seconds since the epoch; 0.0: it does not say."""
    ends = certificate.get("notAfter")
    return float(ssl.cert_time_to_seconds(ends)) if isinstance(ends, str) else 0.0


class Presented(NamedTuple):
    """A certificate, in words and as it is kept in a CA file."""

    pem: str
    #: of the certificate itself, as `openssl x509 -fingerprint -sha256` shows it
    sha256: str
    subject: str
    issuer: str
    #: the hosts that it is for
    names: tuple[str, ...]
    begins: str
    ends: str

    @property
    def is_self_signed(self) -> bool:
        """Whether nobody else vouches for it."""
        return self.subject == self.issuer


async def look_at_certificate(host: str, port: int, *, timeout_s: float) -> Presented:
    """Read what the server presents, and see that trusting it would be enough.

    Raises:
        ProbeError: it cannot be read, is for another host, or is not valid now.
    """
    try:
        pem = await asyncio.to_thread(
            ssl.get_server_certificate, (host.rstrip("."), port), timeout=timeout_s
        )
        der = ssl.PEM_cert_to_DER_cert(pem)
    except (OSError, ValueError) as error:
        words = getattr(error, "strerror", None) or str(error)
        raise ProbeError(f"{host}:{port}: its certificate cannot be read: {words}") from error
    shown = await try_connection(
        host, port, context=tls_context(None, pem=pem), timeout_s=timeout_s
    )
    return Presented(
        pem=pem,
        sha256=in_pairs(hashlib.sha256(der).hexdigest()),
        subject=_name(shown.get("subject", ())),
        issuer=_name(shown.get("issuer", ())),
        names=tuple(for_terminal(str(name)) for _, name in shown.get("subjectAltName", ())),
        begins=str(shown.get("notBefore", "")),
        ends=str(shown.get("notAfter", "")),
    )


def in_pairs(digest: str) -> str:
    """Write a fingerprint in pairs, as people compare it."""
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2)).upper()


def _name(parts: Iterable[Any]) -> str:
    """Write a distinguished name on one line."""
    pairs = (f"{key}={value}" for part in parts for key, value in part)
    return for_terminal(", ".join(pairs))
