"""Who is asking: the one-time link and its cookie, or a trusted proxy's header; tokens of forms.

The key that signs both stays in the state directory, so that a console that was restarted knows
its sessions and its forms.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import os
import secrets
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
from orchestrator.console.site import SITE, viewer_of
from orchestrator.errors import StorageError
from orchestrator.model import Refusal
from orchestrator.settings import checks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from multidict import MultiDictProxy

#: signs cookies and tokens
KEY: web.AppKey[bytes] = web.AppKey("key", bytes)
#: where this console listens, once it does
PLACE: web.AppKey[Place] = web.AppKey("place", Place)

_KEY_BYTES: Final = 32
_KEY_FILE: Final = "key"
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
    "Cache-Control": "no-store",
}


class OneTimeLink:
    """The link that lets the operator of this machine in; used once, and followed by another."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Make it; `say` is told each new link, without the place where the console listens."""
        self._say = say
        self._key = ""

    def renew(self) -> None:
        """Make the next link, and tell it."""
        self._key = secrets.token_urlsafe(_KEY_BYTES)
        self._say(f"/login?key={self._key}")

    def is_it(self, key: str) -> bool:
        """Whether this is the key of the link that was told last."""
        return bool(self._key) and hmac.compare_digest(key.encode(), self._key.encode())

    def take(self, key: str) -> bool:
        """Use it; False: it was used before, or never told."""
        if not self.is_it(key):
            return False
        self._key = ""
        self.renew()
        return True


LINK: web.AppKey[OneTimeLink] = web.AppKey("link", OneTimeLink)


def form_token(request: web.Request, form: str, order: str = "") -> str:
    """The token of a form, for its hidden field `token`.

    Args:
        request: the request for the page that the form is on.
        form: the path that the form is posted to, such as `/runs/{run_id}/restore`.
        order: what its hidden field `order` holds; empty: it has none.
    """
    return _sign(request.app[KEY], "form", viewer_of(request).session, form, order)


def read_key(folder: Path) -> bytes:
    """The key of this state directory, made when it is not there.

    Raises:
        StorageError: it cannot be made or read.
    """
    path = folder / _KEY_FILE
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


def _sign(key: bytes, *words: str) -> str:
    # The lengths keep ("a", "bc") and ("ab", "c") apart.
    told = "".join(f"{len(word)}:{word}" for word in words)
    return hmac.digest(key, told.encode("utf-8", "surrogatepass"), hashlib.sha256).hex()


# -- sessions -----------------------------------------------------------------------------------


def cookie_name(place: Place) -> str:
    """Consoles on other ports of this host have cookies of their own."""
    return f"orchestrator-{place.port}"


def new_session(app: web.Application, name: str) -> str:
    """The value of the cookie of somebody who was let in now."""
    now_s = app[SITE].clock.wall_ms() // 1000
    who = base64.urlsafe_b64encode(name.encode()).decode("ascii").rstrip("=")
    session = f"{who}.{now_s}.{secrets.token_hex(8)}"
    return f"{session}.{_session_mac(app, session)}"


def _session_mac(app: web.Application, session: str) -> str:
    # Another console of this state directory, perhaps of another server, has let in others.
    return _sign(app[KEY], "session", cookie_name(app[PLACE]), session)


def let_in(request: web.Request, name: str) -> web.Response:
    """Give somebody a session, and the home page."""
    response = web.Response(status=303, headers={"Location": "/"})
    response.set_cookie(
        cookie_name(request.app[PLACE]),
        new_session(request.app, name),
        max_age=_SESSION_S,
        httponly=True,
        samesite="Strict",
        path="/",
    )
    return response


def _by_cookie(request: web.Request) -> Viewer | None:
    site = request.app[SITE]
    value = request.cookies.get(cookie_name(request.app[PLACE]), "")
    session, _, mac = value.rpartition(".")
    ours = _session_mac(request.app, session)
    if not hmac.compare_digest(mac.encode("utf-8", "replace"), ours.encode()):
        return None
    who, since_s, _ = session.split(".")
    if site.clock.wall_ms() // 1000 - int(since_s) > _SESSION_S:
        return None
    try:
        name = base64.urlsafe_b64decode(who + "=" * (-len(who) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Viewer(name, roles_of(name, site.settings.console), session)


def _by_header(request: web.Request) -> Viewer | None:
    console = request.app[SITE].settings.console
    told = request.headers.getall(console.user_header, [])
    if len(told) != 1 or isinstance(checks.name(told[0]), Refusal):
        return None
    return Viewer(told[0], roles_of(told[0], console), f"header {told[0]}")


def peer_of(request: web.Request) -> str:
    """The address that a request came from; empty: a unix socket."""
    name = request.transport.get_extra_info("peername") if request.transport else None
    return str(name[0]) if isinstance(name, tuple) else ""


def identify(request: web.Request) -> Viewer | None:
    """Who is asking; None: nobody whom we know, or whom the proxy has not let in."""
    console = request.app[SITE].settings.console
    if console.user_header:
        return _by_header(request) if is_trusted(peer_of(request), console) else None
    return _by_cookie(request)


def check_host(request: web.Request) -> None:
    """Refuse what was meant for another server; a trusted proxy passes on what it was asked for.

    Raises:
        HTTPForbidden: Host names another server.
    """
    site, place = request.app[SITE], request.app[PLACE]
    if site.settings.console.user_header or is_our_host(request.host, place):
        return
    raise web.HTTPForbidden(
        text=f"This console is at {place.url}. The request was meant for another server."
    )


async def check_form(request: web.Request) -> None:
    """Refuse a form that is not one of ours, filled in by who it was made for.

    Raises:
        HTTPForbidden: with the reason.
    """
    fields = await fields_of(request)
    order, token = str(fields.get("order", "")), str(fields.get("token", ""))
    if not hmac.compare_digest(
        token.encode("utf-8", "replace"), form_token(request, request.path, order).encode()
    ):
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


def need(request: web.Request, role: Role) -> Viewer:
    """Who is asking, if that is one who may do this.

    Raises:
        HTTPForbidden: it is not, with the setting that says so.
    """
    viewer = viewer_of(request)
    if not viewer.may(role):
        raise web.HTTPForbidden(
            text=f"{viewer.name} is no {role}: the setting console.{role}s names who is."
            " Nothing was done."
        )
    return viewer


async def guard_response(request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer the headers that keep a browser from doing more than we meant."""
    del request
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "orchestrator"
