"""What forms order: each is checked, becomes a command, and leads to the page of its run."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from orchestrator.console.auth import need
from orchestrator.console.order_files import is_order_id
from orchestrator.console.orders import ORDERS, StopGoesOnError
from orchestrator.console.render import error_page
from orchestrator.console.rights import Role, role_of
from orchestrator.console.run_reader import campaign_ids
from orchestrator.console.shared import SHARED
from orchestrator.console.site import SITE, in_thread, run_of
from orchestrator.engine.saved import add_note_to
from orchestrator.engine.stop_run import stop_run
from orchestrator.engine.stops import read_stop
from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.model import Refusal, read_vdn_id
from orchestrator.reports.rows import RunKind, iso_time
from orchestrator.reports.summary import Note
from orchestrator.store import open_saved
from orchestrator.store.notes import add_note
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from multidict import MultiDictProxy

    from orchestrator.console.rights import Viewer
    from orchestrator.store import RunRecord
    from orchestrator.store.run_dir import RunDirectory

#: characters of a reason or a note that are kept
_WORDS_MAX: Final = 2000
#: seconds for which a post waits for the run that it has started
_BEGINS_S: Final = 2.0
_LOOK_S: Final = 0.05
#: seconds for which a post waits for the end of a run
_ENDS_S: Final = 0.4
_NOTHING: Final = "Nothing was sent."


def routes() -> list[web.RouteDef]:
    """Every form, and the page of an order that is no run yet."""
    run = "/runs/{run_id}"
    return [
        web.post("/stop", _stop),
        web.post(f"{run}/restore", _restore),
        web.post(f"{run}/continue", _continue),
        web.post(f"{run}/end", _end),
        web.post(f"{run}/note", _note),
        web.get("/orders/{order}", _order_page),
    ]


async def _stop(request: web.Request) -> web.StreamResponse:
    """`POST /stop`: a pause-all."""
    viewer, fields = need(request, Role.STOPPER), await request.post()
    vdn_id = read_vdn_id(_text(fields, "vdn"))
    if isinstance(vdn_id, Refusal):
        raise web.HTTPBadRequest(text=f"The VDN {vdn_id.reason}. {_NOTHING}")
    _check_vdns(request, (vdn_id,), typed=_text(fields, "typed"))
    command = ("pause-all", "--vdn", str(vdn_id), *_reason(fields))
    return await _place(request, RunKind.PAUSE_ALL, viewer, (vdn_id,), command)


async def _restore(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/restore`: exactly what this run turned off, but for the guilty."""
    viewer, fields = need(request, Role.RESTORER), await request.post()
    source = await run_of(request)
    vdns = (await in_thread(request, read_stop, source)).vdns
    _check_vdns(request, vdns, typed=_text(fields, "typed"))
    left_off = campaign_ids(map(str, fields.getall("except", [])))
    command = ["restore", str(source.path), *_reason(fields)]
    if left_off:
        command.append(f"--except={','.join(left_off)}")
    return await _place(request, RunKind.RESTORE, viewer, vdns, tuple(command))


async def _continue(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/continue`: what is left of an interrupted run."""
    directory = await run_of(request)
    record, vdns = await in_thread(request, _what, directory)
    viewer = need(request, role_of(record.kind))
    _check_vdns(request, vdns)
    known = await in_thread(request, request.app[ORDERS].find, _order_id(await request.post()))
    if known is None:
        await _tell(request, directory, viewer, "continue: ordered at the console")
    return await _place(request, record.kind, viewer, vdns, directory)


async def _end(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/end`: as Ctrl-C in its terminal would."""
    directory, run_id = await run_of(request), request.match_info["run_id"]
    record, _ = await in_thread(request, _what, directory)
    viewer, cluster = need(request, role_of(record.kind)), request.app[SHARED].cluster
    is_live = await in_thread(request, lambda: directory.is_live)
    if is_live or cluster.run(run_id) is not None:
        await _tell(request, directory, viewer, "end: ordered at the console")
    # whoever follows a run of the cluster here is no part of it
    if not await cluster.end(run_id, viewer.name):
        if cluster.problem and record.cluster and not is_live:
            raise StorageError(
                f"nobody works on run {run_id} here, and the cluster cannot be asked:"
                f" {cluster.problem}. Nothing was stopped.",
                advice="order it again when the database answers",
            )
        await in_thread(request, stop_run, directory, wait_s=_ENDS_S)
    return _see(f"/runs/{run_id}")


async def _note(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/note`: a remark."""
    viewer, run_id = need(request, Role.STOPPER, Role.RESTORER), request.match_info["run_id"]
    await in_thread(
        request,
        add_note_to,
        await run_of(request),
        _text(await request.post(), "text"),
        operator=viewer.name,
        at_ms=request.app[SITE].clock.wall_ms(),
    )
    request.app[SHARED].cluster.share_notes(run_id)
    return _see(f"/runs/{run_id}")


async def _order_page(request: web.Request) -> web.StreamResponse:
    """`GET /orders/{order}`: leads to the run as soon as there is one."""
    orders, order_id = request.app[ORDERS], request.match_info["order"]
    order = await in_thread(request, orders.find, order_id)
    if order is None:
        raise web.HTTPNotFound(text="There is no such order. Nothing was sent in its name.")
    works = await in_thread(request, orders.is_working, order_id)
    place = await in_thread(request, orders.place_of, order)
    if place != request.path:
        return _see(place)
    words = for_terminal(await in_thread(request, orders.files.words, order_id), limit=_WORDS_MAX)
    what = f"`{order.command[0]}` ordered by {order.operator} at {iso_time(order.at_ms)[:19]}Z"
    if works:
        text = f"{what} is starting. {words}"
        response = error_page(request, 200, "The order is starting", text)
        response.headers["Refresh"] = "1"
        return response
    text = f"{what} came to nothing. {words or 'It left no word.'}"
    return error_page(request, 409, "The order came to nothing", text)


async def _place(
    request: web.Request,
    kind: RunKind,
    viewer: Viewer,
    vdns: tuple[int, ...],
    work: tuple[str, ...] | RunDirectory,
) -> web.StreamResponse:
    """Start what was ordered, and lead to it."""
    orders, clock = request.app[ORDERS], request.app[SITE].clock
    order_id = _order_id(await request.post())
    order = await in_thread(request, orders.new, order_id, kind, viewer.name, vdns, work)
    try:
        placed = await in_thread(request, orders.place, order)
    except StopGoesOnError as error:
        stop = error.stop
        return error_page(
            request,
            409,
            f"A stop of VDN {error.vdn_id} goes on",
            f"Run {stop.run_id} was ordered by {stop.operator} at {iso_time(stop.since_ms)[:19]}Z"
            " and is at work. Nothing was started a second time.",
            link=stop.link,
        )
    until_s = clock.now_s() + _BEGINS_S
    while clock.now_s() < until_s and not await in_thread(request, placed.has_begun):
        if not await in_thread(request, orders.is_working, placed.order):
            break
        await clock.sleep(_LOOK_S)
    return _see(await in_thread(request, orders.place_of, placed))


async def _tell(request: web.Request, directory: RunDirectory, viewer: Viewer, what: str) -> None:
    """Put on record who has ordered it; that it is done counts more."""
    at = iso_time(request.app[SITE].clock.wall_ms())
    with suppress(OrchestratorError):
        await in_thread(request, add_note, directory.path, Note(at, viewer.name, what))
    request.app[SHARED].cluster.share_notes(request.match_info["run_id"])


def _see(place: str) -> web.Response:
    return web.Response(status=303, headers={"Location": place})


def _what(directory: RunDirectory) -> tuple[RunRecord, tuple[int, ...]]:
    """What a run is for, and its VDNs."""
    with open_saved(directory.journal) as saved:
        record = saved.record()
        return record, record.vdns or saved.vdns()


# -- what a form says -----------------------------------------------------------------------------


def _text(fields: MultiDictProxy[Any], name: str) -> str:
    """A field without what no terminal could show."""
    kept = "".join(one if one.isprintable() else " " for one in fields.get(name, ""))
    return " ".join(kept.split())[:_WORDS_MAX]


def _reason(fields: MultiDictProxy[Any]) -> tuple[str, ...]:
    reason = _text(fields, "reason")
    # one word: a reason may begin with dashes
    return (f"--reason={reason}",) if reason else ()


def _order_id(fields: MultiDictProxy[Any]) -> str:
    order_id = _text(fields, "order")
    if not is_order_id(order_id):
        raise web.HTTPBadRequest(text=f"The form has no order number. {_NOTHING}")
    return order_id


def _check_vdns(request: web.Request, vdns: tuple[int, ...], typed: str | None = None) -> None:
    """See that this console may touch these VDNs, and that all were typed, if they have to be."""
    allowed = request.app[SITE].settings.server.vdns
    strange = sorted(set(vdns) - set(allowed)) if allowed else []
    if strange:
        raise web.HTTPForbidden(
            text=f"This console is for VDN {', '.join(map(str, allowed))}, not for {strange[0]}:"
            f" the setting server.vdns says so, and {strange[0]} can be added there. {_NOTHING}"
        )
    wanted = {str(one) for one in vdns}
    if typed is not None and set(typed.replace(",", " ").split()) != wanted:
        raise web.HTTPBadRequest(
            text=f"The VDN typed by hand is {typed[:40]!a}, and this is about"
            f" {' '.join(sorted(wanted))}. {_NOTHING} Go back and correct it."
        )
