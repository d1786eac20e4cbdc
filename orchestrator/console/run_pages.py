"""The pages of one run: how it goes, how it ended, its rows and files, what a restore would do."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

from aiohttp import web

from orchestrator import api
from orchestrator.console.auth import form_token
from orchestrator.console.order_files import new_order_id
from orchestrator.console.render import error_page, page
from orchestrator.console.rights import Role
from orchestrator.console.run_reader import (
    FILES,
    NOT_STOPPED,
    RunReader,
    chosen_campaigns,
    handed_on,
    open_file,
)
from orchestrator.console.shared import list_entry, page_number
from orchestrator.console.site import find_run, viewer_of
from orchestrator.engine.options import RestoreOptions
from orchestrator.engine.pages import PAGE
from orchestrator.errors import OrchestratorError, RefusedError, UsageError
from orchestrator.reports.rows import RunKind

if TYPE_CHECKING:
    from orchestrator.console.live import LiveView
    from orchestrator.console.shared import Shared
    from orchestrator.engine.restore import RestorePreview
    from orchestrator.store import Restorable
    from orchestrator.store.run_dir import RunDirectory

#: campaigns of a restore that get a box to tick; all others are typed
_BOXES: Final = 100
#: rows on the page of a run; all of them have pages of their own
_ROWS: Final = 20
_FLAG: Final = re.compile(r"[;,] --include-inferred starts it too")
_CHUNK: Final = 1 << 16
#: seconds that somebody waits for the page of a run that has ended, and between two looks
_PAGE_WAIT_S, _PAGE_LOOK_S = 5.0, 0.1
#: the report page is shown, but can do nothing
_REPORT_POLICY: Final = "sandbox; default-src 'none'; style-src 'unsafe-inline'"


@dataclass
class RunPages:
    """The pages of one run."""

    shared: Shared
    reader: RunReader = field(default_factory=RunReader)

    async def run(self, request: web.Request) -> web.Response:
        """One run: how far it is, or how it ended."""
        run_id = request.match_info["run_id"]
        directory = await self._find(run_id)
        if directory is None:
            return _no_run(request)
        live = await self.shared.live.look(run_id)
        if live is not None and live.is_live:
            return await self._live_page(request, directory, live)
        self.shared.cluster.share_notes(run_id)
        now_ms = self.shared.site.clock.wall_ms()
        try:
            view = await asyncio.to_thread(self.reader.view, directory, now_ms=now_ms)
            missed = bool(dict(view.filters)[NOT_STOPPED]) and not view.record.dry_run
            chosen = NOT_STOPPED if missed else ""
            shown = await asyncio.to_thread(self.reader.rows, directory, chosen, 1, live=False)
        except OrchestratorError as error:
            return _unreadable(request, error)
        record = view.record
        goes_on = Role.RESTORER if record.kind is RunKind.RESTORE else Role.STOPPER
        base, order = f"/runs/{run_id}", new_order_id()
        notice = self.shared.cluster.notice() if record.cluster and view.is_unfinished else ""
        return page(
            request,
            "run",
            notice=notice,
            run=view.told,
            view=view,
            rows=shown.first(_ROWS),
            missed=missed,
            more=dict(view.filters)[chosen] > _ROWS,
            base=base,
            order=order,
            may_go_on=viewer_of(request).may(goes_on),
            continue_token=form_token(request, f"{base}/continue", order),
            note_token=form_token(request, f"{base}/note"),
        )

    async def _live_page(
        self, request: web.Request, directory: RunDirectory, live: LiveView
    ) -> web.Response:
        run_id = request.match_info["run_id"]
        base = f"/runs/{run_id}"
        found = self.shared.cluster.run(run_id)
        holder = found.who if found else await asyncio.to_thread(directory.holder)
        record = live.record
        is_restore = record is not None and record.kind is RunKind.RESTORE
        ends = Role.RESTORER if is_restore else Role.STOPPER
        return page(
            request,
            "live",
            run_id=run_id,
            base=base,
            notice=self.shared.cluster.notice() if found else "",
            of_cluster=found is not None,
            shown=live.shown,
            seq=live.seq,
            record=record,
            holder=str(holder or ""),
            is_restore=is_restore,
            may_end=viewer_of(request).may(ends),
            end_token=form_token(request, f"{base}/end"),
            note_token=form_token(request, f"{base}/note"),
        )

    async def live(self, request: web.Request) -> web.Response:
        """The numbers of a live run as JSON; 304 when the viewer has them already."""
        view = await self.shared.live.look(request.match_info["run_id"])
        if view is None:
            return web.json_response({"live": False}, status=404)
        if request.query.get("after") == str(view.seq):
            return web.Response(status=304)
        return web.Response(body=view.body, content_type="application/json")

    async def rows(self, request: web.Request) -> web.Response:
        """Some rows of a run."""
        run_id = request.match_info["run_id"]
        directory = await self._find(run_id)
        if directory is None:
            return _no_run(request)
        chosen, number = (
            request.query.get("outcome", ""),
            page_number(request.query.get("page", "")),
        )
        await self.shared.cluster.copied(run_id)
        live = await asyncio.to_thread(lambda: directory.is_live)
        try:
            shown = await asyncio.to_thread(self.reader.rows, directory, chosen, number, live=live)
        except OrchestratorError as error:
            return _unreadable(request, error)
        if chosen not in dict(shown.filters) and chosen:
            shown = shown._replace(filters=(*shown.filters, (chosen[:40], 0)))
        return page(
            request, "rows", rows=shown, chosen=chosen, base=f"/runs/{run_id}", run_id=run_id,
            live=live or self.shared.cluster.run(run_id) is not None,
        )  # fmt: skip

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A report file."""
        directory = await self._find(request.match_info["run_id"])
        name = request.match_info["name"]
        opened = None if directory is None else await self._opened(directory, name)
        if opened is None:
            return error_page(
                request, 404, "There is no such file",
                "A run has its files when it has ended.", link="/runs", label="All runs",
            )  # fmt: skip
        stream, size = opened
        response = web.StreamResponse()
        response.content_type, response.content_length = FILES[name], size
        if name.endswith(".html"):
            response.charset = "utf-8"
            response.headers["Content-Security-Policy"] = _REPORT_POLICY
        else:
            kept_as = f"{request.match_info['run_id']}-{name}"
            response.headers["Content-Disposition"] = f'attachment; filename="{kept_as}"'
        with stream:
            await response.prepare(request)
            left = size  # what was added meanwhile does not fit into the length that was said
            while left and (chunk := await asyncio.to_thread(stream.read, min(_CHUNK, left))):
                left -= len(chunk)
                await response.write(chunk)
        return response

    async def _opened(self, directory: RunDirectory, name: str) -> tuple[BinaryIO, int] | None:
        """A report file; the page is made after a run has let go of its lock, and is waited for."""
        clock = self.shared.site.clock
        until_s = clock.now_s() + (_PAGE_WAIT_S if name == PAGE else 0.0)
        while True:
            opened = await asyncio.to_thread(open_file, directory, name)
            if opened is not None or clock.now_s() >= until_s or directory.is_live:
                return opened
            await clock.sleep(_PAGE_LOOK_S)

    async def restore(self, request: web.Request) -> web.Response:
        """What a restore would start: first what stays off is chosen, then a form starts the rest.

        On one page with the form, a box that was ticked last would not be part of the order.
        """
        run_id = request.match_info["run_id"]
        directory = await self._find(run_id)
        if directory is None:
            return _no_run(request)
        base, problem = f"/runs/{run_id}", ""
        off: frozenset[tuple[int, int]] = frozenset()
        try:
            settings, elsewhere = self.shared.site.settings, await self.shared.cluster.marks(run_id)
            if self.shared.cluster.run(run_id) is not None:
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
            return error_page(
                request, 409, "Nothing can be started again", error.sentence,
                link=base, label="Back to the run",
            )  # fmt: skip
        live = [one for one in await self.shared.newest_runs() if one.live]
        order = new_order_id()
        facts = preview.facts
        boxes = _boxes(preview, off)
        return page(
            request,
            "restore",
            run_id=run_id,
            base=base,
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
            token=form_token(request, f"{base}/restore", order),
        )

    async def _find(self, run_id: str) -> RunDirectory | None:
        return await asyncio.to_thread(find_run, self.shared.site.state_dir, run_id)


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


def _no_run(request: web.Request) -> web.Response:
    return error_page(
        request, 404, "There is no such run",
        "It may have been deleted, or the address is mistyped.", link="/runs", label="All runs",
    )  # fmt: skip


def _unreadable(request: web.Request, error: OrchestratorError) -> web.Response:
    text = f"{error.sentence} {error.advice}".strip()
    return error_page(request, 500, "This run cannot be read", text, link="/runs", label="All runs")
