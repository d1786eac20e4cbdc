"""What is seen: the pages of the console that are not about one run. Nothing here changes anything.

What blocks runs in a thread, and questions to the server in the background (`readings`), so that a
page never waits for either longer than it says.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from orchestrator.console import exposition
from orchestrator.console.auth import form_token
from orchestrator.console.book import list_entry, page_number, search, stop_of
from orchestrator.console.order_files import new_order_id
from orchestrator.console.render import page
from orchestrator.console.shared import SHARED
from orchestrator.console.site import in_thread
from orchestrator.errors import OrchestratorError
from orchestrator.model import Refusal, read_vdn_id

if TYPE_CHECKING:
    from orchestrator.console.readings import Reading
    from orchestrator.console.shared import Shared
    from orchestrator.engine.run_list import RunLine

#: seconds that the order form waits for the server's answer
_ORDER_WAIT_S: Final = 1.5


def routes() -> list[web.RouteDef]:
    """Every page that only shows something."""
    return [
        web.get("/", _home),
        web.get("/live", _home_live),
        web.get("/stop", _order),
        web.get("/runs", _history),
        web.get("/healthz", _healthz),
        web.get("/readyz", _readyz),
        web.get("/metrics", _metrics),
    ]


async def _home(request: web.Request) -> web.Response:
    """How many run, the red button, live and recent runs."""
    shared = request.app[SHARED]
    lines = await shared.newest_runs()
    return page(
        request,
        "home",
        vdns=_vdns(shared, lines),
        live=[list_entry(one) for one in lines if one.live],
        recent=[list_entry(one) for one in lines if not one.live],
        notice=shared.cluster.notice(),
    )


async def _home_live(request: web.Request) -> web.Response:
    """What of the home page changes, as JSON."""
    shared = request.app[SHARED]
    lines = await shared.newest_runs()
    live = [list_entry(one) for one in lines if one.live]
    return web.json_response(
        {
            "live": True,
            "runs": " ".join(one["run_id"] for one in live),
            "cluster": shared.cluster.notice(),
            **{f"vdn-{one['vdn']}": one["said"] for one in _vdns(shared, lines)},
            **{f"counts-{one['run_id']}": one["counts"] for one in live},
        }
    )


def _vdns(shared: Shared, lines: tuple[RunLine, ...]) -> list[dict[str, Any]]:
    vdns, server = shared.site.settings.server.vdns, shared.site.fingerprint
    now_ms = shared.site.clock.wall_ms()
    return [
        {"vdn": vdn, "said": _said(reading, now_ms), "stopping": stop_of(vdn, server, lines)}
        for vdn, reading in zip(vdns, shared.readings.now(vdns), strict=True)
    ]


async def _order(request: web.Request) -> web.Response:
    """The form that stops a VDN."""
    shared, typed = request.app[SHARED], request.query.get("vdn", "").strip()
    settings, vdn = shared.site.settings, read_vdn_id(typed)
    if isinstance(vdn, Refusal):
        text = f"Type a number from 1 to 9999. {vdn}" if typed else "Type its number."
        raise web.HTTPBadRequest(reason="Which VDN?", text=text)
    allowed = settings.server.vdns
    if allowed and vdn not in allowed:
        raise web.HTTPForbidden(
            reason=f"VDN {vdn} is not stopped from here",
            text=f"This console stops VDN {', '.join(map(str, allowed))} only. Whoever runs it can"
            f" add {vdn} to the setting server.vdns.",
        )
    reading, lines = await asyncio.gather(
        shared.readings.soon(vdn, wait_s=_ORDER_WAIT_S), shared.newest_runs(within_s=0)
    )
    rate_per_s, order = settings.pace.rate_per_s, new_order_id()
    return page(
        request,
        "stop",
        vdn=vdn,
        said=_said(reading, shared.site.clock.wall_ms()),
        reading=reading,
        needed=reading.time_needed(rate_per_s) if reading and reading.is_known else "",
        stopping=stop_of(vdn, shared.site.fingerprint, lines),
        others=[list_entry(one) for one in lines if one.live and vdn in one.vdns],
        order=order,
        token=form_token(request, "/stop", order),
    )


def _said(reading: Reading | None, now_ms: int) -> str:
    if reading is None:
        return "The server is being asked how many campaigns run."
    return f"{reading.as_of(now_ms)}: {reading.sentence()}"


async def _history(request: web.Request) -> web.Response:
    """All runs, filtered, a page at a time."""
    shared, query = request.app[SHARED], request.query
    await shared.cluster.refreshed()
    typed, text = query.get("vdn", "").strip(), query.get("q", "").strip()[:200]
    vdn = read_vdn_id(typed) if typed else None
    problem = f"{typed[:40]} is no VDN" if isinstance(vdn, Refusal) else ""
    chapter = await in_thread(
        request,
        search,
        shared.site.state_dir,
        vdn=None if isinstance(vdn, Refusal) else vdn,
        text=text,
        number=page_number(query.get("page", "")),
    )
    return page(
        request,
        "runs",
        lines=[list_entry(one) for one in shared.cluster.shown(chapter.lines)],
        notice=shared.cluster.notice(),
        chapter=chapter,
        vdn=typed,
        text=text,
        problem=problem,
    )


# -- for machines ---------------------------------------------------------------------------------


async def _healthz(_: web.Request) -> web.Response:
    """The process answers."""
    return web.Response(text="ok\n")


async def _readyz(request: web.Request) -> web.Response:
    """A stop could be started: its directory can be written, and server and keys are set."""
    site = request.app[SHARED].site
    problem = await in_thread(request, exposition.why_not_ready, site.settings)
    return web.Response(text=f"{problem or 'ready'}\n", status=503 if problem else 200)


async def _metrics(request: web.Request) -> web.Response:
    """Numbers for a collector."""
    shared, live = request.app[SHARED], {}
    for line in await shared.newest_runs():
        # one that cannot be read, or is gone by now, leaves no numbers
        with suppress(OrchestratorError, web.HTTPNotFound):
            view = await shared.live(line.run_id) if line.live else None
            if view is not None:
                live[line.run_id] = view.numbers
    requests = shared.readings.answers + shared.totals.with_live(live)
    text = await in_thread(request, exposition.exposed, shared.site.settings, requests, live)
    return web.Response(text=text, headers={"Content-Type": exposition.CONTENT_TYPE})
