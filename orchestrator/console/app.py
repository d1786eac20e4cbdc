"""The console as a whole: what every request passes, and how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

from orchestrator.console import posts, run_pages, views
from orchestrator.console.auth import (
    DOOR,
    Door,
    check_form,
    check_host,
    guard_response,
    identify,
    let_in,
    read_key,
    who_is_let_in,
)
from orchestrator.console.cluster import ClusterRuns
from orchestrator.console.orders import ORDERS, Orders
from orchestrator.console.render import error_page, page, templates
from orchestrator.console.rights import Place, door_problem, place_of
from orchestrator.console.shared import SHARED, Shared
from orchestrator.console.site import SITE, THREADS, VIEWER
from orchestrator.errors import OrchestratorError, SettingsError, StorageError, UsageError

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

_HEADINGS: Final = {
    400: "The form cannot be used",
    401: "Who are you?",
    403: "This is not allowed",
    404: "There is no such page",
    405: "There is no such form",
    413: "The form is too long",
}


def make_app(site: Site, place: Place, say: Callable[[str], None]) -> web.Application:
    """The application of a console.

    Args:
        site: what it is about.
        place: where it listens.
        say: is told each one-time link, and what nobody foresaw.

    Raises:
        StorageError: its folder in the state directory cannot be used.
    """
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_explain, _check])
    app[SITE] = site
    app[DOOR] = Door(place, read_key(site.state_dir / "console"), say)
    app[ORDERS], app[THREADS] = Orders(site), ThreadPoolExecutor(4, "orders")
    cluster = ClusterRuns(site)
    app[SHARED] = Shared(site, cluster)
    app.on_cleanup.append(cluster.close)
    app.on_response_prepare.append(guard_response)
    app.add_routes([web.get("/login", _login_page), web.post("/login", _login)])
    app.add_routes([*views.routes(), *run_pages.routes(), *posts.routes()])
    app.add_routes([web.static("/static", Path(__file__).with_name("static"))])
    templates()  # nobody waits for it at 3 a.m.
    return app


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make every error a page in plain English."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        heading = error.reason
        if heading == HTTPStatus(error.status).phrase:
            heading = _HEADINGS.get(error.status, heading)
        # aiohttp's own words for an error are its status again
        text = error.text if error.text and not error.text.startswith(f"{error.status}") else ""
        return error_page(request, error.status, heading, text or f"{heading}.")
    except OrchestratorError as error:
        status, heading = 500, "This cannot be read"
        if isinstance(error, UsageError):
            status, heading = 400, _HEADINGS[400]
        elif request.method == "POST":
            status, heading = 409, "It was not done"
        advice = f" {error.advice[0].upper()}{error.advice[1:]}." if error.advice else ""
        return error_page(request, status, heading, f"{error.sentence.rstrip('.')}.{advice}")
    except Exception as error:  # noqa: BLE001 - one page is broken, the console is not
        what = f"{type(error).__name__}: {error}"
        request.app[DOOR].say(f"a bug in the console: {request.method} {request.path}: {what}")
        text = "The console has met a bug of its own. A shell helps: orchestrator --help"
        return error_page(request, 500, "A bug in the console", text)


@web.middleware
async def _check(request: web.Request, handler: Handler) -> web.StreamResponse:
    """See that a request is meant for us and who is asking, before anything else is looked at."""
    check_host(request)
    if request.path not in _OPEN and not request.path.startswith("/static/"):
        request[VIEWER] = identify(request)
        if request.method == "POST":
            await check_form(request)
    return await handler(request)


async def _login_page(request: web.Request) -> web.StreamResponse:
    """Show a button: a Strict cookie would not come with the redirect of a link from elsewhere."""
    key = request.query.get("key", "")
    if not request.app[DOOR].is_link(key):
        raise web.HTTPUnauthorized(text=who_is_let_in(request))
    return page(request, "login", key=key)


async def _login(request: web.Request) -> web.StreamResponse:
    """Let in who has the link."""
    return await let_in(request, request.app[SITE].settings.operator.name)


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
    wanted = place_of(console.listen)
    listener = _listen(wanted)
    port = 0 if wanted.path else listener.getsockname()[1]
    place = wanted._replace(port=port)
    try:
        app = make_app(site, place, say)
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
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
                app[DOOR].renew_link()
            taking = asyncio.create_task(_take_up(app[ORDERS], say))
            await over.wait()
            taking.cancel()
        finally:
            await runner.cleanup()
    finally:
        listener.close()
        if place.path:
            with contextlib.suppress(OSError):
                os.unlink(place.path)  # noqa: PTH108 - a socket that nobody reads
    say(_last_words(app[ORDERS]))


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
    try:
        if place.path:
            return _listen_on_path(place.path)
        host = "127.0.0.1" if place.host == "localhost" else place.host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # with `[::]` for IPv4 too
        both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
        return socket.create_server((host, place.port), family=family, dualstack_ipv6=both)
    except OSError as error:
        where = place.path or f"{place.host}:{place.port}"
        why = os.strerror(error.errno) if error.errno else error
        raise StorageError(
            f"the console cannot listen on {where}: {why}",
            advice="choose another place with --listen, or end what listens there",
        ) from error


def _listen_on_path(path: str) -> socket.socket:
    """A unix socket for our group, in the place of one that a killed console has left."""
    with contextlib.suppress(FileNotFoundError), socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if stat.S_ISSOCK(Path(path).lstat().st_mode):  # a file stays where it is
                Path(path).unlink()
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o117)  # the proxy is in our group
    try:
        listener.bind(path)
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener
