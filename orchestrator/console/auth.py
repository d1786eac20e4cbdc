"""Who is asking: the one-time link and its cookie, or a trusted proxy's header; tokens of forms.

The key that signs both stays in the state directory, so that a console that was restarted knows
its sessions and its forms.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from orchestrator.console.disk import make_file, open_plain, own_folder
from orchestrator.console.rights import (
    Place,
    Role,
    Viewer,
    is_our_host,
    is_trusted,
    post_problem,
    roles_of,
)
from orchestrator.console.site import SITE, VIEWER
from orchestrator.errors import StorageError
from orchestrator.model import Refusal
from orchestrator.settings import checks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from multidict import MultiDictProxy

_KEY_BYTES: Final = 32
#: a session ends after a week
_SESSION_S: Final = 7 * 24 * 3600
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With no-referrer a browser sends `Origin: null` with our own forms, which says nothing.
    "Referrer-Policy": "same-origin",
}


@dataclass
class Door:
    """Where a console listens, what it signs with, and the link that lets in once."""

    place: Place
    #: signs cookies and tokens
    key: bytes
    #: is told each new link
    say: Callable[[str], None]
    _link: str = ""

    @property
    def cookie(self) -> str:
        """The name of its cookie: consoles on other ports of this host have their own."""
        return f"orchestrator-{self.place.port}"

    def renew_link(self) -> None:
        """Make the next link, and tell it."""
        self._link = secrets.token_urlsafe(_KEY_BYTES)
        self.say(f"this link lets one browser in: {self.place.url}/login?key={self._link}")

    def is_link(self, key: str) -> bool:
        """Whether this is the key of the link that was told last."""
        return bool(self._link) and hmac.compare_digest(key.encode(), self._link.encode())

    def sign(self, *words: str) -> str:
        """What only this console could write under these words."""
        # The lengths keep ("a", "bc") and ("ab", "c") apart.
        told = "".join(f"{len(word)}:{word}" for word in words)
        return hmac.digest(self.key, told.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


DOOR: Final = web.AppKey("door", Door)


def read_key(folder: Path) -> bytes:
    """The key of this state directory, made when it is not there.

    Raises:
        StorageError: it cannot be made or read.
    """
    path = folder / "key"
    own_folder(folder)
    try:
        if not os.path.lexists(path):
            with contextlib.suppress(FileExistsError):
                make_file(path, secrets.token_bytes(_KEY_BYTES))
        with open_plain(path) as file:
            found = os.fstat(file.fileno())
            is_ours = found.st_uid in {os.geteuid(), 0} and not found.st_mode & 0o077
            key = file.read(_KEY_BYTES + 1)
    except OSError as error:
        raise StorageError(f"the console's key {path}: {error.strerror}") from error
    if not is_ours or len(key) != _KEY_BYTES:
        raise StorageError(
            f"the console's key {path} is not a key that only we can read",
            advice=f"rm {path}: the console makes a new one, and everybody logs in again",
        )
    return key


# -- who it is ------------------------------------------------------------------------------------


async def let_in(request: web.Request, name: str) -> web.Response:
    """Use up the link, give who has it a session, and lead to the home page.

    Raises:
        HTTPForbidden, HTTPBadRequest: the form is none of ours.
        HTTPUnauthorized: the link was used before, or never told.
    """
    door, fields = request.app[DOOR], await fields_of(request)
    if not door.is_link(fields.get("key", "")):
        raise web.HTTPUnauthorized(text=who_is_let_in(request))
    door.renew_link()
    who = base64.urlsafe_b64encode(name.encode()).decode("ascii").rstrip("=")
    session = f"{who}.{request.app[SITE].clock.wall_ms() // 1000}.{secrets.token_hex(8)}"
    # Another console of this state directory, perhaps of another server, has let in others.
    mac = door.sign("session", door.cookie, session)
    response = web.Response(status=303, headers={"Location": "/"})
    response.set_cookie(
        door.cookie, f"{session}.{mac}", max_age=_SESSION_S, httponly=True, samesite="Strict"
    )
    return response


def _by_cookie(request: web.Request) -> Viewer | None:
    site, door = request.app[SITE], request.app[DOOR]
    session, _, mac = request.cookies.get(door.cookie, "").rpartition(".")
    ours = door.sign("session", door.cookie, session)
    if not hmac.compare_digest(mac.encode("utf-8", "replace"), ours.encode()):
        return None
    who, since_s, _ = session.split(".")
    if site.clock.wall_ms() // 1000 - int(since_s) > _SESSION_S:
        return None
    name = base64.urlsafe_b64decode(who + "=" * (-len(who) % 4)).decode()
    return Viewer(name, roles_of(name, site.settings.console), session)


def _by_header(request: web.Request) -> Viewer | None:
    console = request.app[SITE].settings.console
    peer = request.transport.get_extra_info("peername") if request.transport else None
    told = request.headers.getall(console.user_header, [])
    is_believed = is_trusted(str(peer[0]) if isinstance(peer, tuple) else "", console)
    if not is_believed or len(told) != 1 or isinstance(checks.name(told[0]), Refusal):
        return None
    return Viewer(told[0], roles_of(told[0], console), f"header {told[0]}")


def identify(request: web.Request) -> Viewer:
    """Who is asking.

    Raises:
        HTTPUnauthorized: nobody whom we know, or whom the proxy has not let in.
        HTTPForbidden: one who may not even look.
    """
    by_header = request.app[SITE].settings.console.user_header
    viewer = _by_header(request) if by_header else _by_cookie(request)
    if viewer is None:
        raise web.HTTPUnauthorized(text=who_is_let_in(request))
    if not viewer.roles:
        raise web.HTTPForbidden(
            text=f"{viewer.name} may not look at this console: console.viewers names who may."
        )
    return viewer


def who_is_let_in(request: web.Request) -> str:
    """What somebody whom we do not know has to do, in sentences."""
    header = request.app[SITE].settings.console.user_header
    if header:
        return (
            f"This console takes the word of its proxy, in the header {header}, for who is asking."
            " Open it through the proxy, and log in there."
        )
    return (
        "The console has printed a link where it was started: open that one. A link works once;"
        " the next one is printed when it has been used."
    )


def need(request: web.Request, *roles: Role) -> Viewer:
    """Who is asking, if that is one who may do this.

    Args:
        request: whose.
        roles: one of them is enough.

    Raises:
        HTTPForbidden: it is not, with the setting that says so.
    """
    viewer = request[VIEWER]
    if not viewer.roles.intersection(roles):
        raise web.HTTPForbidden(
            text=f"{viewer.name} is no {roles[0]}: the setting console.{roles[0]}s names who is."
            " Nothing was done."
        )
    return viewer


# -- what is taken, and given ---------------------------------------------------------------------


def check_host(request: web.Request) -> None:
    """Refuse what was meant for another server; a trusted proxy passes on what it was asked for.

    Raises:
        HTTPForbidden: Host names another server.
    """
    place = request.app[DOOR].place
    if request.app[SITE].settings.console.user_header or is_our_host(request.host, place):
        return
    raise web.HTTPForbidden(
        text=f"This console is at {place.url}. The request was meant for another server."
    )


def form_token(request: web.Request, form: str, order: str = "") -> str:
    """The token of a form, for its hidden field `token`.

    Args:
        request: the request for the page that the form is on.
        form: the path that the form is posted to, such as `/runs/{run_id}/restore`.
        order: what its hidden field `order` holds; empty: it has none.
    """
    return request.app[DOOR].sign("form", request[VIEWER].session, form, order)


async def check_form(request: web.Request) -> None:
    """Refuse a form that is not one of ours, filled in by who it was made for.

    Raises:
        HTTPForbidden: with the reason.
    """
    fields = await fields_of(request)
    ours = form_token(request, request.path, fields.get("order", ""))
    if not hmac.compare_digest(fields.get("token", "").encode("utf-8", "replace"), ours.encode()):
        raise web.HTTPForbidden(
            text="The form is not one of this session. Nothing was done."
            " Load the page again and repeat it."
        )


async def fields_of(request: web.Request) -> MultiDictProxy[Any]:
    """The fields of a form from one of our pages, all of them text.

    Raises:
        HTTPForbidden: it is from elsewhere.
        HTTPBadRequest: no form of ours is written like this.
    """
    problem = post_problem(
        fetch_site=request.headers.get("Sec-Fetch-Site", ""),
        origin=request.headers.get("Origin", ""),
        host=request.host,
    )
    if problem:
        raise web.HTTPForbidden(text=f"The form was not taken: {problem}. Nothing was done.")
    is_plain = (request.charset or "utf-8").lower() == "utf-8" and (
        hdrs.CONTENT_ENCODING not in request.headers
    )
    try:
        if is_plain and request.content_type == "application/x-www-form-urlencoded":
            return await request.post()
    except ValueError as error:
        raise web.HTTPBadRequest(text="The form is not UTF-8. Nothing was done.") from error
    raise web.HTTPBadRequest(text="The form is written in a way that no browser uses here.")


async def guard_response(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer the headers that keep a browser from doing more than we meant."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    is_kept = request.path.startswith("/static/") and response.status == 200
    response.headers["Cache-Control"] = "max-age=300" if is_kept else "no-store"
    response.headers["Server"] = "orchestrator"
