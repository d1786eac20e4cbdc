"""What forms order: each is checked, becomes a command, and leads to the page of its run."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, ParamSpec, TypeVar

from aiohttp import web

from orchestrator.console.auth import need
from orchestrator.console.cluster import CLUSTER
from orchestrator.console.order_files import Order, is_order_id
from orchestrator.console.orders import Orders, StopGoesOnError
from orchestrator.console.render import error_page
from orchestrator.console.rights import Role
from orchestrator.console.site import SITE, find_run, viewer_of
from orchestrator.engine.saved import add_note_to
from orchestrator.engine.stop_run import stop_run
from orchestrator.engine.undone import vdns_of
from orchestrator.errors import OrchestratorError, StorageError
from orchestrator.model import Refusal, read_vdn_id
from orchestrator.reports.rows import RunKind, iso_time
from orchestrator.reports.summary import Note
from orchestrator.store import open_saved
from orchestrator.store.notes import add_note
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.console.rights import Viewer
    from orchestrator.store.run_dir import RunDirectory

P = ParamSpec("P")
T = TypeVar("T")

ORDERS: web.AppKey[Orders] = web.AppKey("orders", Orders)

#: characters of a reason or a note that are kept
_WORDS_MAX: Final = 2000
#: seconds for which a post waits for the run that it has started
_BEGINS_S: Final = 2.0
_LOOK_S: Final = 0.05
#: seconds for which a post waits for the end of a run
_ENDS_S: Final = 0.4
#: exit codes of a command that has done nothing
_REFUSED: Final = frozenset({2, 7})
_CAMPAIGN: Final = re.compile(r"(?:[0-9]{1,4}/)?[0-9]{1,18}", re.ASCII)
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
    viewer = need(request, Role.STOPPER)
    vdn_id = read_vdn_id(await _field(request, "vdn"))
    if isinstance(vdn_id, Refusal):
        raise web.HTTPBadRequest(text=f"The VDN {vdn_id.reason}. {_NOTHING}")
    _check_allowed(request, (vdn_id,))
    await _check_typed(request, (vdn_id,))
    command = ["pause-all", "--vdn", str(vdn_id), *await _reason(request)]
    order_id = await _order_id(request)
    order = request.app[ORDERS].new(order_id, RunKind.PAUSE_ALL, viewer.name, (vdn_id,), *command)
    return await _place(request, order)


async def _restore(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/restore`: exactly what this run turned off, but for the guilty."""
    viewer = need(request, Role.RESTORER)
    source = await _run(request)
    vdns = await _in_thread(request, vdns_of, source)
    _check_allowed(request, vdns)
    await _check_typed(request, vdns)
    left_off = await _left_off(request)
    command = ["restore", str(source.path), *await _reason(request)]
    if left_off:
        command.append(f"--except={','.join(left_off)}")
    order_id = await _order_id(request)
    order = request.app[ORDERS].new(order_id, RunKind.RESTORE, viewer.name, vdns, *command)
    return await _place(request, order)


async def _continue(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/continue`: what is left of an interrupted run."""
    directory = await _run(request)
    kind, vdns = await _in_thread(request, _what, directory)
    viewer = need(request, _role_of(kind))
    _check_allowed(request, vdns)
    order_id = await _order_id(request)
    orders = request.app[ORDERS]
    order = await _in_thread(request, orders.more, order_id, kind, viewer.name, vdns, directory)
    if await _in_thread(request, orders.find, order_id) is None:
        await _tell(request, directory, viewer, "continue: ordered at the console")
    return await _place(request, order)


async def _end(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/end`: as Ctrl-C in its terminal would."""
    directory = await _run(request)
    kind, _ = await _in_thread(request, _what, directory)
    viewer = need(request, _role_of(kind))
    cluster, run_id = request.app[CLUSTER], request.match_info["run_id"]
    if directory.is_live or cluster.run(run_id) is not None:
        await _tell(request, directory, viewer, "end: ordered at the console")
    # whoever follows a run of the cluster here is no part of it
    if not await cluster.end(run_id, viewer.name):
        is_elsewhere = await _in_thread(request, _is_elsewhere, directory)
        if cluster.problem and is_elsewhere:
            raise StorageError(
                f"nobody works on run {run_id} here, and the cluster cannot be asked:"
                f" {cluster.problem}. Nothing was stopped.",
                advice="order it again when the database answers",
            )
        await _in_thread(request, stop_run, directory, wait_s=_ENDS_S)
    return _see(f"/runs/{request.match_info['run_id']}")


async def _note(request: web.Request) -> web.StreamResponse:
    """`POST /runs/{run_id}/note`: a remark."""
    viewer = viewer_of(request)
    if not viewer.may(Role.RESTORER):
        need(request, Role.STOPPER)
    directory = await _run(request)
    await _in_thread(
        request,
        add_note_to,
        directory,
        _one_line(await _field(request, "text")),
        operator=viewer.name,
        at_ms=request.app[SITE].clock.wall_ms(),
    )
    request.app[CLUSTER].share_notes(request.match_info["run_id"])
    return _see(f"/runs/{request.match_info['run_id']}")


async def _order_page(request: web.Request) -> web.StreamResponse:
    """`GET /orders/{order}`: leads to the run as soon as there is one."""
    orders, order_id = request.app[ORDERS], request.match_info["order"]
    order = await _in_thread(request, orders.find, order_id)
    if order is None:
        raise web.HTTPNotFound(text="There is no such order. Nothing was sent in its name.")
    works = await _in_thread(request, orders.is_working, order_id)
    place = await _in_thread(request, _place_of, orders, order)
    if place != request.path:
        return _see(place)
    words = for_terminal(await _in_thread(request, orders.words, order_id), limit=_WORDS_MAX)
    what = f"`{order.command[0]}` ordered by {order.operator} at {iso_time(order.at_ms)[:19]}Z"
    if works:
        text = f"{what} is starting. {words}"
        response = error_page(request, 200, "The order is starting", text)
        response.headers["Refresh"] = "1"
        return response
    text = f"{what} came to nothing. {words or 'It left no word.'}"
    return error_page(request, 409, "The order came to nothing", text, link="/", label="Home")


async def _in_thread(
    request: web.Request, function: Callable[P, T], *given: P.args, **named: P.kwargs
) -> T:
    """Do something that reads or writes the disk."""
    threads = request.app[ORDERS].threads
    return await asyncio.get_running_loop().run_in_executor(
        threads, partial(function, *given, **named)
    )


# -- placing --------------------------------------------------------------------------------------


async def _place(request: web.Request, order: Order) -> web.StreamResponse:
    """Start what was ordered, and lead to it."""
    orders, clock = request.app[ORDERS], request.app[SITE].clock
    try:
        placed = await _in_thread(request, orders.place, order)
    except StopGoesOnError as error:
        stop = error.stop
        return error_page(
            request,
            409,
            f"A stop of VDN {error.vdn_id} goes on",
            f"Run {stop.run_id} was ordered by {stop.operator} at {iso_time(stop.since_ms)[:19]}Z"
            " and is at work. Nothing was started a second time.",
            link=stop.link,
            label="Show it",
        )
    until_s = clock.now_s() + _BEGINS_S
    while clock.now_s() < until_s and not await _in_thread(request, _has_begun, placed):
        if not await _in_thread(request, orders.is_working, placed.order):
            break
        await clock.sleep(_LOOK_S)
    return _see(await _in_thread(request, _place_of, orders, placed))


def _has_begun(order: Order) -> bool:
    run = order.directory
    if not order.is_continuing or not run.has_journal:
        return run.has_journal
    try:
        with open_saved(run.journal) as saved:
            # one that is refused holds the directory for a moment, and is no process of the run
            return saved.processes()[-1].started_at_ms >= order.at_ms
    except (OrchestratorError, IndexError):
        return False


def _place_of(orders: Orders, order: Order) -> str:
    """Where an order is shown: on the page of its run, unless it was refused or is no run yet."""
    is_there = _has_begun(order)
    if order.is_continuing and not is_there and not orders.is_working(order.order):
        # it was through already, and that is shown again
        is_there = orders.end(order.order) not in _REFUSED
    return f"/runs/{order.run_id}" if is_there else f"/orders/{order.order}"


async def _tell(request: web.Request, directory: RunDirectory, viewer: Viewer, what: str) -> None:
    """Put on record who has ordered it; that it is done counts more."""
    at = iso_time(request.app[SITE].clock.wall_ms())
    with suppress(OrchestratorError):
        await _in_thread(request, add_note, directory.path, Note(at, viewer.name, what))
    request.app[CLUSTER].share_notes(request.match_info["run_id"])


def _see(place: str) -> web.Response:
    return web.Response(status=303, headers={"Location": place})


# -- what a form says -----------------------------------------------------------------------------


async def _run(request: web.Request) -> RunDirectory:
    """The run of the page."""
    run_id = request.match_info["run_id"]
    found = await _in_thread(request, find_run, request.app[SITE].state_dir, run_id)
    if found is None:
        raise web.HTTPNotFound(text=f"There is no such run. {_NOTHING}")
    return found


def _what(directory: RunDirectory) -> tuple[RunKind, tuple[int, ...]]:
    """What a run is for, and its VDNs."""
    with open_saved(directory.journal) as saved:
        record = saved.record()
        return record.kind, record.vdns or saved.vdns()


def _is_elsewhere(directory: RunDirectory) -> bool:
    """Whether the cluster alone may be at work on a run."""
    with open_saved(directory.journal) as saved:
        return saved.record().cluster and not directory.is_live


def _role_of(kind: RunKind) -> Role:
    """Who may go on with a run and end it: a restore starts calls."""
    return Role.RESTORER if kind is RunKind.RESTORE else Role.STOPPER


async def _field(request: web.Request, name: str) -> str:
    value = (await request.post()).get(name, "")
    return value.strip() if isinstance(value, str) else ""


async def _order_id(request: web.Request) -> str:
    order_id = await _field(request, "order")
    if not is_order_id(order_id):
        raise web.HTTPBadRequest(text=f"The form has no order number. {_NOTHING}")
    return order_id


def _one_line(text: str) -> str:
    """A text without what no terminal could show."""
    kept = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(kept.split())[:_WORDS_MAX]


async def _reason(request: web.Request) -> list[str]:
    reason = _one_line(await _field(request, "reason"))
    # one word: a reason may begin with dashes
    return [f"--reason={reason}"] if reason else []


async def _left_off(request: web.Request) -> list[str]:
    """The campaigns that a restore leaves off: one field or many, with commas or line ends."""
    fields = (await request.post()).getall("except", [])
    told = " ".join(one for one in fields if isinstance(one, str))
    found = re.split(r"[\s,;]+", told.strip()) if told.strip() else []
    for one in found:
        if not _CAMPAIGN.fullmatch(one):
            _refuse(f"{one[:40]!a} is no campaign id: write 1005 or 7/1005.")
    return list(dict.fromkeys(found))


async def _check_typed(request: web.Request, vdns: Iterable[int]) -> None:
    """See that the VDN was typed by hand, all of them where there are several."""
    typed = (await _field(request, "typed")).replace(",", " ").split()
    wanted = {str(one) for one in vdns}
    if set(typed) != wanted:
        shown = " ".join(sorted(wanted))
        _refuse(f"The VDN typed by hand is {' '.join(typed)[:40]!a}, and this is about {shown}.")


def _check_allowed(request: web.Request, vdns: Iterable[int]) -> None:
    """See that this console may touch these VDNs."""
    allowed = request.app[SITE].settings.server.vdns
    strange = sorted(set(vdns) - set(allowed)) if allowed else []
    if strange:
        raise web.HTTPForbidden(
            text=f"This console is for VDN {', '.join(map(str, allowed))}, not for {strange[0]}:"
            f" the setting server.vdns says so, and {strange[0]} can be added there. {_NOTHING}"
        )


def _refuse(text: str) -> NoReturn:
    raise web.HTTPBadRequest(text=f"{text} {_NOTHING} Go back and correct it.")
