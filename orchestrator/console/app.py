"""The console as a whole: what every request passes, and how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from orchestrator.console import posts, views
from orchestrator.console.auth import (
    KEY,
    LINK,
    PLACE,
    OneTimeLink,
    check_form,
    check_host,
    fields_of,
    guard_response,
    identify,
    let_in,
    read_key,
)
from orchestrator.console.cluster import CLUSTER, ClusterRuns
from orchestrator.console.orders import Orders
from orchestrator.console.posts import ORDERS
from orchestrator.console.render import error_page, page
from orchestrator.console.rights import Place, Role, door_problem, place_of
from orchestrator.console.site import SITE, VIEWER
from orchestrator.errors import OrchestratorError, SettingsError, StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.console.site import Site

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: a form that is longer is not ours
BODY_BYTES_MAX: Final = 64 * 1024
#: seconds for which the end waits for answers that are being sent
_LAST_ANSWERS_S: Final = 0.3
#: told to everybody: nothing on it is secret
_OPEN: Final = ("/login", "/healthz", "/readyz", "/metrics")
_STATIC: Final = "/static/"


def make_app(site: Site, place: Place, say: Callable[[str], None]) -> web.Application:
    """The application of a console.

    Args:
        site: what it is about.
        place: where it listens.
        say: is told each one-time link, and what nobody foresaw.

    Raises:
        StorageError: its folder in the state directory cannot be used.
    """
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_explain(say), _check])
    app[SITE], app[PLACE] = site, place
    app[KEY] = read_key(site.state_dir / "console")
    app[ORDERS] = Orders(site)
    app[LINK] = OneTimeLink(lambda path: say(f"this link lets one browser in: {place.url}{path}"))
    app.on_response_prepare.append(guard_response)
    app.add_routes(posts.routes())
    app.add_routes([web.get("/login", _login_page), web.post("/login", _login)])
    app[CLUSTER] = ClusterRuns(site)
    app.on_cleanup.append(app[CLUSTER].close)
    app.add_routes(views.routes(site, app[CLUSTER]))
    return app


def _explain(say: Callable[[str], None]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Make every error a page in plain English."""

    @web.middleware
    async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            heading = _HEADINGS.get(error.status, error.reason)
            # aiohttp's own words for an error are its status again
            text = error.text if error.text and not error.text.startswith(f"{error.status}") else ""
            return error_page(request, error.status, heading, text or f"{heading}.")
        except OrchestratorError as error:
            text = f"{error.sentence.rstrip('.')}."
            advice = f" {error.advice[0].upper()}{error.advice[1:]}." if error.advice else ""
            return error_page(request, 409, "It was not done", text + advice)
        except Exception as error:  # noqa: BLE001 - one page is broken, the console is not
            what = f"{type(error).__name__}: {error}"
            say(f"a bug in the console: {request.method} {request.path}: {what}")
            text = "The console has met a bug of its own. A shell helps: orchestrator --help"
            return error_page(request, 500, "A bug in the console", text)

    return explain


_HEADINGS: Final = {
    400: "The form cannot be used",
    401: "Who are you?",
    403: "This is not allowed",
    404: "There is no such page",
    405: "There is no such form",
    413: "The form is too long",
}


@web.middleware
async def _check(request: web.Request, handler: Handler) -> web.StreamResponse:
    """See that a request is meant for us and who is asking, before anything else is looked at."""
    check_host(request)
    if request.path in _OPEN or request.path.startswith(_STATIC):
        return await handler(request)
    viewer = identify(request)
    if viewer is None:
        raise web.HTTPUnauthorized(text=_who_is_let_in(request))
    request[VIEWER] = viewer
    if not viewer.roles:
        raise web.HTTPForbidden(
            text=f"{viewer.name} may not look at this console: console.viewers names who may."
        )
    if request.method == "POST":
        await check_form(request)
    elif not viewer.may(Role.VIEWER):
        raise web.HTTPForbidden(text=f"{viewer.name} is no viewer: see console.viewers.")
    return await handler(request)


def _who_is_let_in(request: web.Request) -> str:
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


# -- the one-time link ----------------------------------------------------------------------------


async def _login_page(request: web.Request) -> web.StreamResponse:
    """Show a button: a Strict cookie would not come with the redirect of a link from elsewhere."""
    key = request.query.get("key", "")
    if not request.app[LINK].is_it(key):
        raise web.HTTPUnauthorized(text=_who_is_let_in(request))
    return page(request, "login", key=key)


async def _login(request: web.Request) -> web.StreamResponse:
    """Let in who has the link."""
    key = (await fields_of(request)).get("key", "")
    if not isinstance(key, str) or not request.app[LINK].take(key):
        raise web.HTTPUnauthorized(text=_who_is_let_in(request))
    return let_in(request, request.app[SITE].settings.operator.name)


# -- beginning and end ----------------------------------------------------------------------------


async def serve(site: Site, say: Callable[[str], None]) -> None:
    """Serve a console until SIGINT or SIGTERM; what it has started goes on.

    Raises:
        SettingsError: nobody could be told from anybody else.
        StorageError: it cannot listen there, or its folder cannot be used.
    """
    console = site.settings.console
    problem = door_problem(console)
    if problem:
        raise SettingsError(
            f"{problem}. Nothing was started.",
            key="console.listen",
            advice="docs/reference.md, `orchestrator console`, shows what a proxy needs",
        )
    with contextlib.ExitStack() as held:
        wanted = place_of(console.listen)
        listener = _listen(wanted)
        held.callback(_close, listener, wanted.path)
        port = 0 if listener.family == socket.AF_UNIX else listener.getsockname()[1]
        place = wanted._replace(port=port)
        app = make_app(site, place, say)
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, over.set)
        # What cannot be read at all is answered with 400, and is nobody's trouble but the sender's.
        silent = logging.getLogger("orchestrator.console")
        silent.disabled = True
        runner = web.AppRunner(
            app, access_log=None, logger=silent, shutdown_timeout=_LAST_ANSWERS_S
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            say(f"the console listens on {place.path or place.url}; Ctrl-C ends it, its runs go on")
            if not console.user_header:
                app[LINK].renew()
            taking = asyncio.create_task(_take_up(app[ORDERS], say))
            await over.wait()
            taking.cancel()
        finally:
            await runner.cleanup()
    say(_last_words(app[ORDERS]))


def _close(listener: socket.socket, path: str) -> None:
    """Stop listening; a unix socket leaves nothing behind."""
    listener.close()
    if path:
        with contextlib.suppress(OSError):
            Path(path).unlink()


async def _take_up(orders: Orders, say: Callable[[str], None]) -> None:
    """Go on with what was cut off, and say so."""
    try:
        for order in await asyncio.to_thread(orders.take_up):
            say(f"run {order.run_id} (VDN {_named(order.vdns)}) was cut off: it goes on")
    except OrchestratorError as error:
        say(f"nobody knows whether an emergency was cut off: {error}")


def _last_words(orders: Orders) -> str:
    going = [
        f"{order.run_id} (VDN {_named(order.vdns)}, by {order.operator})"
        for order in orders.working()
    ]
    if not going:
        return "the console has ended; no run of it was at work"
    many = "1 run goes" if len(going) == 1 else f"{len(going)} runs go"
    return f"the console has ended; {many} on: {', '.join(going)}"


def _named(vdns: tuple[int, ...]) -> str:
    return ", ".join(map(str, vdns))


def _listen(place: Place) -> socket.socket:
    """A socket there.

    Raises:
        StorageError: it cannot be had.
    """
    where = place.path or f"{place.host}:{place.port}"
    listener: socket.socket | None = None
    try:
        if place.path:
            listener = socket.socket(socket.AF_UNIX)
            _remove_stale(place.path)
            before = os.umask(0o117)  # the proxy is in our group
            try:
                listener.bind(place.path)
            finally:
                os.umask(before)
        else:
            host = "127.0.0.1" if place.host == "localhost" else place.host.strip("[]")
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, place.port))
    except OSError as error:
        if listener is not None:
            listener.close()
        raise StorageError(
            f"the console cannot listen on {where}: {error.strerror}",
            advice="choose another place with --listen, or end what listens there",
        ) from error
    listener.setblocking(False)  # noqa: FBT003
    return listener


def _remove_stale(path: str) -> None:
    """Remove a socket that a killed console has left; one that is listened on stays, or a file."""
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
        except OSError:
            return
