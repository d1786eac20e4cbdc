"""Who may do what: decided from names, addresses and headers; nothing is read or sent here.

1. Without a proxy the one-time link decides who is let in, and the console is reached on loopback
   only. With one, its header says who is asking, from trusted peers and from nobody else.
2. A name of another server in Host is refused: that is how a foreign page reaches a loopback port.
3. A form is taken from our own pages only. A browser says so in Sec-Fetch-Site; one that does not
   know it must name us in Origin. A request with neither is refused.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.reports.rows import RunKind
from orchestrator.settings.checks import UNIX

if TYPE_CHECKING:
    from orchestrator.settings.schema import ConsoleSettings

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_HTTP_PORT = 80


class Role(StrEnum):
    """What somebody may do."""

    VIEWER = "viewer"
    STOPPER = "stopper"
    RESTORER = "restorer"


@dataclass(frozen=True)
class Viewer:
    """Who is asking; `request[VIEWER]`, known before any page is made."""

    name: str
    roles: frozenset[Role]
    #: what form tokens are bound to
    session: str = ""

    def may(self, role: Role) -> bool:
        """Whether somebody may do this."""
        return role in self.roles


class Place(NamedTuple):
    """Where a console listens."""

    host: str
    port: int
    #: of a unix socket; empty: it is none
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        return self.host == "localhost" or (
            not self.path and ipaddress.ip_address(self.host.strip("[]")).is_loopback
        )

    @property
    def url(self) -> str:
        """What a browser on this machine is given."""
        return f"http://{self.host}:{self.port}"


def place_of(listen: str) -> Place:
    """Where it listens, from the setting, which is checked."""
    if listen.startswith(f"{UNIX}:"):
        return Place("", 0, listen.removeprefix(f"{UNIX}:"))
    host, _, port = listen.rpartition(":")
    return Place(host, int(port))


def door_problem(console: ConsoleSettings) -> str:
    """Why nobody could be told from anybody else; empty: a console may start."""
    place = place_of(console.listen)
    header, peers = console.user_header, console.trusted_peers
    if bool(header) != bool(peers):
        missing = "console.trusted_peers" if header else "console.user_header"
        given = "console.user_header" if header else "console.trusted_peers"
        return f"{given} is set and {missing} is not: a proxy needs both"
    if place.path and UNIX not in peers:
        return 'a unix socket needs console.user_header, and "unix" in console.trusted_peers'
    if not place.path and not place.is_loopback and not header:
        return (
            f"{console.listen} can be reached by other machines, and nothing says who is asking:"
            " that needs console.user_header and console.trusted_peers"
        )
    return ""


def roles_of(name: str, console: ConsoleSettings) -> frozenset[Role]:
    """What somebody who was let in may do."""
    may = set()
    named = {*console.viewers, *console.stoppers, *console.restorers}
    if not console.viewers or name in named:
        may.add(Role.VIEWER)
    if name in console.stoppers or not (console.viewers or console.stoppers):
        may.add(Role.STOPPER)
    if name in console.restorers:
        may.add(Role.RESTORER)
    return frozenset(may)


def role_of(kind: RunKind) -> Role:
    """Who may go on with a run of this kind, and end it: a restore starts calls."""
    return Role.RESTORER if kind is RunKind.RESTORE else Role.STOPPER


def is_trusted(peer: str, console: ConsoleSettings) -> bool:
    """Whether a peer may say who is asking; empty: it came by a unix socket."""
    if not peer:
        return UNIX in console.trusted_peers
    address = ipaddress.ip_address(peer.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in ipaddress.ip_network(one) for one in console.trusted_peers if one != UNIX)


def is_our_host(host: str, place: Place) -> bool:
    """Whether Host names this console."""
    names = {place.host, *(_LOOPBACK_NAMES if place.is_loopback else ())}
    ours = {f"{one}:{place.port}" for one in names}
    return host.lower() in (ours | names if place.port == _HTTP_PORT else ours)


def post_problem(*, fetch_site: str, origin: str, host: str) -> str:
    """Why a form is not taken; empty: it comes from one of our own pages.

    Args:
        fetch_site: Sec-Fetch-Site; empty: the browser does not know it.
        origin: Origin; empty: it was not sent.
        host: Host.
    """
    is_named = origin.lower() in {f"{scheme}://{host.lower()}" for scheme in ("http", "https")}
    if fetch_site and (fetch_site != "same-origin" and not (fetch_site == "none" and is_named)):
        return "it was sent by a page of another site"
    if origin and not is_named and not (origin == "null" and fetch_site):
        return "it was sent by a page of another server"
    if not origin and not fetch_site:
        return "the browser does not say which page has sent it"
    return ""
