"""Which texts name a server that may be sent credentials, and the one form each is written in.

https, and plain http to loopback only. What a resolver would read differently from a person
(`2130706433`, `127.1`, `0177.0.0.1`) is refused. A refusal never echoes a user name or a password.
Method: our own grammar, a subset of RFC 3986; urlsplit drops tabs and line breaks in silence.
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
_BRACKETED: Final = re.compile(r"\[(?P<host>[0-9A-Fa-f:.]+)\](?::(?P<port>.*))?")
_NAMED: Final = re.compile(r"(?P<host>[^:\[\]]*)(?::(?P<port>.*))?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
#: with underscores, which no host name should have, and many inside a company do
_LABEL: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
#: what inet_aton would take for (part of) an IPv4 address when it stands last in a name
_NUMBER_LIKE: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._~-]+")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

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
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return f"{self.scheme}://{self._host_text}{self.prefix}"
        return f"{self.scheme}://{self._host_text}:{self.port}{self.prefix}"

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


def read_base_url(text: str) -> ServerUrl | Refusal:  # noqa: PLR0911 (each part its own no)
    """Read a base URL such as `https://isales.example.com:28080/prefix`."""
    if any(character.isspace() for character in text):
        return Refusal("there is white space in it")
    if not text.isascii() or not all("!" <= character <= "~" for character in text):
        return Refusal(
            "only visible ASCII characters are allowed (write an international name as xn--...)"
        )
    found = _URL.fullmatch(text)
    if found is None:
        return Refusal("it has no scheme: write https://HOST:PORT")
    scheme = found["scheme"].lower()
    if scheme not in _DEFAULT_PORTS:
        return Refusal(f"the scheme must be https, not {scheme[:20]}")
    if "@" in found["authority"]:
        return Refusal(
            "a user name or password in it is not allowed; the access key signs requests"
        )
    if found["rest"]:
        part = "query (?...)" if found["rest"].startswith("?") else "fragment (#...)"
        return Refusal(f"a {part} is not allowed")
    host_and_port = _read_authority(found["authority"], scheme=scheme)
    if isinstance(host_and_port, Refusal):
        return host_and_port
    host, port = host_and_port
    if scheme == "http" and not _is_loopback(host):
        return Refusal("plain http is for loopback addresses only: write https://")
    prefix = _read_prefix(found["path"])
    if isinstance(prefix, Refusal):
        return prefix
    return ServerUrl(scheme, host, port, prefix)


def server_fingerprint(base_url: str) -> str:
    """Return scheme://host:port/prefix, always with the port, for a base URL that was accepted.

    Raises:
        ValueError: the text is not a base URL that `read_base_url` accepts.
    """
    url = read_base_url(base_url)
    if isinstance(url, Refusal):
        raise ValueError(url.reason)  # noqa: TRY004 (the type is right, the text is not)
    return url.fingerprint


def refused_address(address: Address) -> str:
    """Say why no CC-iSales server can live at an address; "" when it can.

    Also for the addresses a name resolves to: a name may be made to point at a metadata service.
    """
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return "an IPv4 address is not written as IPv6"
    if address.is_link_local or address in _METADATA:
        return "a link-local or metadata address is not a CC-iSales server"
    if address.is_unspecified or address.is_multicast or address.packed == b"\xff" * 4:
        return "the address does not name one machine"
    return ""


def _read_authority(authority: str, *, scheme: str) -> tuple[str, int] | Refusal:
    found = _BRACKETED.fullmatch(authority) or _NAMED.fullmatch(authority)
    if found is None:
        return Refusal("the host is not a name, an IPv4 address or a [bracketed] IPv6 address")
    port = _read_port(found["port"], scheme=scheme)
    if isinstance(port, Refusal):
        return port
    host = _read_host(found["host"], bracketed=authority.startswith("["))
    return host if isinstance(host, Refusal) else (host, port)


def _read_port(text: str | None, *, scheme: str) -> int | Refusal:
    if text is None:
        return _DEFAULT_PORTS[scheme]
    if not _PORT.fullmatch(text) or int(text) > 65535:
        return Refusal("the port must be a number from 1 to 65535")
    return int(text)


def _read_host(text: str, *, bracketed: bool) -> str | Refusal:
    if not text:
        return Refusal("it has no host")
    name = text.removesuffix(".")
    if bracketed or _NUMBER_LIKE.fullmatch(name.rpartition(".")[2]):
        return _read_address(text, bracketed=bracketed)
    if len(name) > 253 or any(len(label) > 63 for label in name.split(".")):
        return Refusal("the host is longer than a name can be: 63 characters between dots")
    if not all(_LABEL.fullmatch(label) for label in name.split(".")):
        return Refusal("the host may hold only letters, digits, dots, underscores, inner hyphens")
    return text.lower()


def _read_address(text: str, *, bracketed: bool) -> str | Refusal:
    try:
        # Both refuse what inet_aton takes: fewer than four parts, octal, hexadecimal.
        address = ipaddress.IPv6Address(text) if bracketed else ipaddress.IPv4Address(text)
    except ValueError:
        kind = "an IPv6 address" if bracketed else "an IPv4 address in the form 192.0.2.1"
        return Refusal(f"the host is not {kind}")
    reason = refused_address(address)
    return Refusal(reason) if reason else str(address)


def _is_loopback(host: str) -> bool:
    if host in {"localhost", "localhost."}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_prefix(path: str) -> str | Refusal:
    prefix = path.removesuffix("/")
    for segment in prefix.split("/")[1:]:
        if not segment:
            return Refusal("the path has an empty segment (//)")
        if segment in {".", ".."}:
            return Refusal("the path may not go through . or ..")
        if not _SEGMENT.fullmatch(segment):
            return Refusal("the path may hold only letters, digits and . _ ~ -")
    return prefix
