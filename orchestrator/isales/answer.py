"""What came back from one request, before anybody has judged it.

Rule 1: an answer is a value; verdict.py says what it means.
Rule 2: a fault says why there is no HTTP answer; `sent` says whether the server may have acted.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Fault(StrEnum):
    """Why there is no readable HTTP answer. The value is what reports and logs show."""

    DNS_FAILED = "dns-failed"
    CONNECT_REFUSED = "connect-refused"
    CONNECT_TIMEOUT = "connect-timeout"
    UNREACHABLE = "unreachable"
    NO_SOCKETS = "no-sockets"
    TLS_UNTRUSTED = "tls-untrusted"
    TLS_EXPIRED = "tls-expired"
    TLS_HOSTNAME = "tls-hostname"
    TLS_PROTOCOL = "tls-protocol"
    RESET = "reset"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    BAD_RESPONSE = "bad-response"
    TOO_LARGE = "too-large"


#: A certificate does not get better by asking again: these end the run at once.
TLS_FAULTS = frozenset(
    {Fault.TLS_UNTRUSTED, Fault.TLS_EXPIRED, Fault.TLS_HOSTNAME, Fault.TLS_PROTOCOL}
)

CA_ADVICE = (
    "--ca-file FILE names the certificates of your own authority; whoever runs the server has"
    " that file"
)

#: X509_V_ERR_* of OpenSSL; whatever is not here is TLS_UNTRUSTED
_BY_OPENSSL = {
    9: Fault.TLS_EXPIRED,  # not yet valid
    10: Fault.TLS_EXPIRED,
    62: Fault.TLS_HOSTNAME,
    63: Fault.TLS_HOSTNAME,  # e-mail
    64: Fault.TLS_HOSTNAME,  # address
}

#: Nothing of the request can have reached the server.
BEFORE_SENDING = TLS_FAULTS | {
    Fault.DNS_FAILED,
    Fault.CONNECT_REFUSED,
    Fault.CONNECT_TIMEOUT,
    Fault.UNREACHABLE,
    Fault.NO_SOCKETS,
}


def certificate_fault(verify_code: int) -> Fault:
    """What is wrong with a certificate, by OpenSSL's number."""
    return _BY_OPENSSL.get(verify_code, Fault.TLS_UNTRUSTED)


class Answer(NamedTuple):
    """One HTTP answer, or the fault that took its place."""

    #: None when there was no complete answer
    http_status: int | None = None
    body: bytes = b""
    fault: Fault | None = None
    #: the cause in plain words for people, printable, without secrets
    detail: str = ""
    #: header values as received, None when absent
    retry_after: str | None = None
    date: str | None = None
    location: str | None = None
    content_encoding: str | None = None
    #: wall-clock milliseconds since the epoch at which the request left; None: it never left
    sent_at_ms: int | None = None
    answered_at_ms: int | None = None

    @property
    def sent(self) -> bool:
        """Whether the server may have seen the request."""
        return self.fault not in BEFORE_SENDING
