"""The pages of one run: how it goes, how it ended, its rows and files, what a restore would do."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from aiohttp import web

from orchestrator import api
from orchestrator.console.auth import form_token
from orchestrator.console.book import list_entry, page_number
from orchestrator.console.order_files import new_order_id
from orchestrator.console.render import page
from orchestrator.console.rights import role_of
from orchestrator.console.run_reader import (
    FILES,
    chosen_campaigns,
    handed_on,
    open_file,
    read_rows,
)
from orchestrator.console.shared import SHARED
from orchestrator.console.site import SITE, VIEWER, in_thread, run_of
from orchestrator.engine.options import RestoreOptions
from orchestrator.engine.pages import PAGE
from orchestrator.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.reports.rows import RunKind

if TYPE_CHECKING:
    from typing import BinaryIO

    from orchestrator.console.live import LiveView
    from orchestrator.engine.undone import RestorePreview
    from orchestrator.store import Restorable
    from orchestrator.store.run_dir import RunDirectory

#: campaigns of a restore that get a box to tick; all others are typed
_BOXES: Final = 100
_FLAG: Final = re.compile(r"[;,] --include-inferred starts it too")
#: seconds that somebody waits for the page of a run that has ended, and between two looks
_PAGE_WAIT_S, _PAGE_LOOK_S = 5.0, 0.1
#: the report page is shown, but can do nothing
_REPORT_POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'"


def routes() -> list[web.RouteDef]:
    """What there is to see of a run."""
    run = "/runs/{run_id}"
    return [
        web.get(run, _run),
        web.get(f"{run}/rows", _rows),
        web.get(f"{run}/live", _live),
        web.get(f"{run}/files/{{name}}", _file),
        web.get(f"{run}/restore", _restore),
    ]


async def _run(request: web.Request) -> web.Response:
    """One run: how far it is, or how it ended."""
    shared, run_id = request.app[SHARED], request.match_info["run_id"]
    live = await shared.live(run_id)
    if live is not None:
        return await _live_page(request, live)
    shared.cluster.share_notes(run_id)
    run = await shared.ended(run_id)
    record, order, base = run["record"], new_order_id(), request.path
    return page(
        request,
        "run",
        **run,
        notice=shared.cluster.notice() if record.cluster and run["is_unfinished"] else "",
        base=base,
        order=order,
        may_go_on=request[VIEWER].may(role_of(record.kind)),
        continue_token=form_token(request, f"{base}/continue", order),
        note_token=form_token(request, f"{base}/note"),
    )


async def _live_page(request: web.Request, live: LiveView) -> web.Response:
    run_id, base = request.match_info["run_id"], request.path
    cluster, record = request.app[SHARED].cluster, live.record
    found = cluster.run(run_id)
    if found is not None:
        holder = found.who
    else:
        directory = await run_of(request)
        holder = str(await in_thread(request, directory.holder) or "")
    return page(
        request,
        "live",
        run_id=run_id,
        base=base,
        notice=cluster.notice() if found else "",
        of_cluster=found is not None,
        shown=live.shown,
        seq=live.seq,
        record=record,
        holder=holder,
        is_restore=record.kind is RunKind.RESTORE,
        may_end=request[VIEWER].may(role_of(record.kind)),
        end_token=form_token(request, f"{base}/end"),
        note_token=form_token(request, f"{base}/note"),
    )


async def _live(request: web.Request) -> web.Response:
    """The numbers of a live run as JSON; 304 when the viewer has them already."""
    view = await request.app[SHARED].live(request.match_info["run_id"])
    if view is None:
        return web.json_response({"live": False})
    if request.query.get("after") == view.seq:
        return web.Response(status=304)
    return web.json_response({"seq": view.seq, **view.shown})


async def _rows(request: web.Request) -> web.Response:
    """Some rows of a run."""
    run_id, chosen = request.match_info["run_id"], request.query.get("outcome", "")
    directory, cluster = await run_of(request), request.app[SHARED].cluster
    await cluster.copied(run_id)
    live = await in_thread(request, lambda: directory.is_live)
    number = page_number(request.query.get("page", ""))
    shown = await in_thread(request, read_rows, directory, chosen, number)
    return page(
        request, "rows", **shown, chosen=chosen, base=f"/runs/{run_id}", run_id=run_id,
        live=live or cluster.run(run_id) is not None,
    )  # fmt: skip


async def _file(request: web.Request) -> web.StreamResponse:
    """A report file."""
    name = request.match_info["name"]
    stream = await _opened(request, await run_of(request), name)
    if stream is None:
        raise web.HTTPNotFound(
            reason="There is no such file", text="A run has its files when it has ended."
        )
    if name == PAGE:
        headers = {"Content-Security-Policy": _REPORT_POLICY, "Content-Disposition": "inline"}
    else:
        kept_as = f"{request.match_info['run_id']}-{name}"
        headers = {"Content-Disposition": f'attachment; filename="{kept_as}"'}
    charset = "utf-8" if name == PAGE else None
    return web.Response(body=stream, content_type=FILES[name], charset=charset, headers=headers)


async def _opened(request: web.Request, directory: RunDirectory, name: str) -> BinaryIO | None:
    """A report file; the page is made after a run has let go of its lock, and is waited for."""
    clock = request.app[SITE].clock
    until_s = clock.now_s() + (_PAGE_WAIT_S if name == PAGE else 0.0)
    while True:
        opened = await in_thread(request, open_file, directory, name)
        if opened is not None or clock.now_s() >= until_s or directory.is_live:
            return opened
        await clock.sleep(_PAGE_LOOK_S)


async def _restore(request: web.Request) -> web.Response:
    """What a restore would start: first what stays off is chosen, then a form starts the rest.

    On one page with the form, a box that was ticked last would not be part of the order.
    """
    shared, run_id, problem = request.app[SHARED], request.match_info["run_id"], ""
    directory = await run_of(request)
    off: frozenset[tuple[int, int]] = frozenset()
    try:
        settings, elsewhere = shared.site.settings, await shared.cluster.marks(run_id)
        if shared.cluster.run(run_id) is not None:
            raise RefusedError(
                "The cluster works on this run: what it stops is known when it is through"
            )
        preview = await api.preview_restore(directory.path, settings, elsewhere=elsewhere)
        try:
            off = chosen_campaigns(request.query.getall("except", []), preview)
        except UsageError as error:
            problem = f"{error.sentence}: {error.advice}"
        if off:
            options = RestoreOptions(except_=off, except_from="the console's form")
            preview = await api.preview_restore(
                directory.path, settings, options, elsewhere=elsewhere
            )
    except OrchestratorError as error:
        raise web.HTTPConflict(
            reason="Nothing can be started again", text=error.sentence
        ) from error
    live = [one for one in await shared.newest_runs() if one.live]
    order, facts, boxes = new_order_id(), preview.facts, _boxes(preview, off)
    return page(
        request,
        "restore",
        run_id=run_id,
        base=f"/runs/{run_id}",
        preview=preview,
        facts=facts,
        stay_off=[(_without_flags(why), *more) for why, *more in facts.stay_off],
        boxes=boxes,
        off=off,
        confirms=request.query.get("step") == "2" and not problem,
        unticked=handed_on(off - {(one.ref.vdn_id, one.ref.campaign_id) for one in boxes}),
        more_boxes=len(preview.candidates) - len(boxes),
        problem=problem,
        handed_on=handed_on(off),
        live=[list_entry(one) for one in live if set(one.vdns) & set(preview.vdns)],
        order=order,
        token=form_token(request, request.path, order),
    )


def _boxes(preview: RestorePreview, off: frozenset[tuple[int, int]]) -> list[Restorable]:
    """The first campaigns that may be left off, or are."""
    wanted = set(preview.wanted)
    found = (
        one
        for one in preview.candidates
        if one in wanted or (one.ref.vdn_id, one.ref.campaign_id) in off
    )
    return list(islice(found, _BOXES))


def _without_flags(why: str) -> str:
    """Why a campaign stays off, for people who give no flags."""
    if why.startswith("excluded by --except"):
        return "left off in this form"
    return _FLAG.sub("", why)
