"""The certificate that a server presents: read once without trusting it, shown to people.

Nothing is sent over the connection that reads it. What people then trust is verified like every
other certificate, host name and dates included, before it is shown.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.isales.client import tls_context
from orchestrator.isales.probe import ProbeError, try_connection
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable


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
