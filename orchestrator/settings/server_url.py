"""Which texts name a server that may be sent credentials, and the one form each is written in.

https, and plain http to loopback only. What a resolver would read differently from a person
(`2130706433`, `127.1`, `0177.0.0.1`) is refused. A refusal never echoes a user name or a password.
Method: our own grammar, a subset of RFC 3986; urlsplit reads differently from Python to Python.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

from orchestrator.model import Refusal

_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)"
)
_AUTHORITY: Final = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<name>[^:\[\]]*))(?::(?P<port>.*))?"
)
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
#: with underscores, which no host name should have, and many inside a company do
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: what inet_aton would take for (part of) an IPv4 address when it stands last in a name
_NUMBER_LIKE: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_SEGMENT: Final = re.compile(r"(?!\.\.?$)[A-Za-z0-9._~-]+")

#: Cloud metadata services outside the link-local range: AWS over IPv6, Alibaba.
_METADATA: Final = frozenset(
    {ipaddress.ip_address("fd00:ec2::254"), ipaddress.ip_address("100.100.100.200")}
)


class ServerUrl(NamedTuple):
    """A base URL that passed every rule, in parts."""

    scheme: str
    #: lower case; an IPv6 address stands without its brackets; a name may keep a dot at its end,
    #: which tells a resolver to add no domain
    host: str
    port: int
    #: "" or "/like/this", never with a slash at its end
    prefix: str

    @property
    def text(self) -> str:
        """The normalised base URL: no default port, no slash at the end."""
        port = "" if self.port == _DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self._host_text}{port}{self.prefix}"

    @property
    def fingerprint(self) -> str:
        """The text two runs compare to know whether they mean the same server."""
        return f"{self.scheme}://{self._host_text.rstrip('.')}:{self.port}{self.prefix}"

    @property
    def host_header(self) -> str:
        """What requests send and sign as Host: the port unless it is the default, no last dot."""
        host = self._host_text.rstrip(".")
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def _host_text(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class _NoUrlError(Exception):
    """Why a text is no usable base URL."""


def read_base_url(text: str) -> ServerUrl | Refusal:
    """Read a base URL such as `https://isales.example.com:28080/prefix`."""
    try:
        return _read(text)
    except _NoUrlError as why:
        return Refusal(str(why))


def server_fingerprint(base_url: str) -> str:
    """Return scheme://host:port/prefix, always with the port, for a base URL that was accepted.

    Raises:
        ValueError: the text is not a base URL that `read_base_url` accepts.
    """
    url = read_base_url(base_url)
    if isinstance(url, Refusal):
        raise ValueError(url.reason)  # noqa: TRY004 (the type is right, the text is not)
    return url.fingerprint


def server_origin(base_url: str) -> str:
    """Return scheme://host:port, which is what a rate belongs to.

    Raises:
        ValueError: the text is not a base URL that `read_base_url` accepts.
    """
    return "/".join(server_fingerprint(base_url).split("/")[:3])


def _refused_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Say why no CC-iSales server can be at an address; "" when it can."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return "an IPv4 address is not written as IPv6"
    if address.is_link_local or address in _METADATA:
        return "a link-local or metadata address is not a CC-iSales server"
    if address.is_unspecified or address.is_multicast or address.packed == b"\xff" * 4:
        return "the address does not name one machine"
    return ""


def _need(held: object, otherwise: str) -> None:
    if not held:
        raise _NoUrlError(otherwise)


def _read(text: str) -> ServerUrl:
    _need(
        all("!" <= character <= "~" for character in text),
        "only visible ASCII characters are allowed, no white space (write an international name as"
        " xn--...)",
    )
    found = _URL.fullmatch(text)
    if found is None:
        raise _NoUrlError("it has no scheme: write https://HOST:PORT")
    scheme = found["scheme"].lower()
    _need(scheme in _DEFAULT_PORTS, f"the scheme must be https, not {scheme[:20]}")
    _need(
        "@" not in found["authority"],
        "a user name or password in it is not allowed; the access key signs requests",
    )
    part = "query (?...)" if found["rest"].startswith("?") else "fragment (#...)"
    _need(not found["rest"], f"a {part} is not allowed")
    host, port = _read_authority(found["authority"], default_port=_DEFAULT_PORTS[scheme])
    _need(
        scheme == "https" or is_loopback(host),
        "plain http is for loopback addresses only: write https://",
    )
    prefix = found["path"].removesuffix("/")
    _need(
        all(_SEGMENT.fullmatch(segment) for segment in prefix.split("/")[1:]),
        "the path may hold only letters, digits and . _ ~ -, and go neither through // nor . or ..",
    )
    return ServerUrl(scheme, host, port, prefix)


def _read_authority(authority: str, *, default_port: int) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise _NoUrlError("the host is not a name, an IPv4 address or a [bracketed] IPv6 address")
    port = found["port"]
    if port is not None:
        _need(
            _PORT.fullmatch(port) and int(port) <= 65535,
            "the port must be a number from 1 to 65535",
        )
    host = found["bracketed"] or found["name"]
    return _read_host(host, bracketed=bool(found["bracketed"])), int(port or default_port)


def _read_host(text: str, *, bracketed: bool) -> str:
    _need(text, "it has no host")
    labels = text.removesuffix(".").split(".")
    if bracketed or _NUMBER_LIKE.fullmatch(labels[-1]):
        try:
            # Both refuse what inet_aton takes: fewer than four parts, octal, hexadecimal.
            address = ipaddress.IPv6Address(text) if bracketed else ipaddress.IPv4Address(text)
        except ValueError:
            kind = "an IPv6 address" if bracketed else "an IPv4 address in the form 192.0.2.1"
            raise _NoUrlError(f"the host is not {kind}") from None
        reason = _refused_address(address)
        _need(not reason, reason)
        return str(address)
    _need(
        len(text.removesuffix(".")) <= 253 and all(_LABEL.fullmatch(label) for label in labels),
        "the host may hold only letters, digits, dots, underscores, inner hyphens, and at most 63"
        " characters between dots",
    )
    return text.lower()


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine."""
    if host in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
