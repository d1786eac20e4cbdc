"""What is seen: the pages of the console. Nothing here changes anything.

What blocks runs in a thread, and questions to the server in the background (`readings`), so that a
page never waits for either longer than it says.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from orchestrator.console import exposition
from orchestrator.console.auth import form_token
from orchestrator.console.order_files import new_order_id
from orchestrator.console.render import error_page, page, static_file, templates
from orchestrator.console.run_pages import RunPages
from orchestrator.console.shared import Shared, list_entry, page_number, stop_of
from orchestrator.model import Refusal, read_vdn_id

if TYPE_CHECKING:
    from orchestrator.console.cluster import ClusterRuns
    from orchestrator.console.readings import Reading
    from orchestrator.console.site import Site
    from orchestrator.engine.run_list import RunLine

#: seconds that the order form waits for the server's answer
_ORDER_WAIT_S: Final = 1.5


def routes(site: Site, cluster: ClusterRuns) -> list[web.RouteDef]:
    """Every page that only shows something."""
    shared = Shared(site, cluster)
    views, runs = Views(shared), RunPages(shared)
    templates()  # nobody waits for it at 3 a.m.
    return [
        web.get("/", views.home),
        web.get("/live", views.home_live),
        web.get("/stop", views.order),
        web.get("/runs", views.history),
        web.get("/runs/{run_id}", runs.run),
        web.get("/runs/{run_id}/rows", runs.rows),
        web.get("/runs/{run_id}/live", runs.live),
        web.get("/runs/{run_id}/files/{name}", runs.file),
        web.get("/runs/{run_id}/restore", runs.restore),
        web.get("/static/{name}", views.static),
        web.get("/healthz", views.healthz),
        web.get("/readyz", views.readyz),
        web.get("/metrics", views.metrics),
    ]


@dataclass
class Views:
    """The pages that are not about one run."""

    shared: Shared
    sent: exposition.Totals = field(default_factory=exposition.Totals)

    async def home(self, request: web.Request) -> web.Response:
        """How many run, the red button, live and recent runs."""
        lines = await self.shared.newest_runs()
        return page(
            request,
            "home",
            vdns=self._vdns(lines),
            live=[list_entry(one) for one in lines if one.live],
            recent=[list_entry(one) for one in lines if not one.live],
            notice=self.shared.cluster.notice(),
            seq=0,
        )

    async def home_live(self, request: web.Request) -> web.Response:
        """What of the home page changes, as JSON."""
        lines = await self.shared.newest_runs()
        shown = {f"vdn-{one['vdn']}": one["said"] for one in self._vdns(lines)}
        live = [list_entry(one) for one in lines if one.live]
        shown |= {f"counts-{one['run_id']}": one["counts"] for one in live}
        del request
        notice = self.shared.cluster.notice()
        runs = " ".join(one["run_id"] for one in live)
        return web.json_response({"live": True, "runs": runs, "cluster": notice, **shown})

    def _vdns(self, lines: tuple[RunLine, ...]) -> list[dict[str, Any]]:
        vdns = self.shared.site.settings.server.vdns
        now_ms, server = self.shared.site.clock.wall_ms(), self.shared.site.fingerprint
        return [
            {"vdn": vdn, "said": _said(reading, now_ms), "stopping": stop_of(vdn, server, lines)}
            for vdn, reading in zip(vdns, self.shared.readings.now(vdns), strict=True)
        ]

    async def order(self, request: web.Request) -> web.Response:
        """The form that stops a VDN."""
        typed = request.query.get("vdn", "").strip()
        vdn = read_vdn_id(typed)
        if isinstance(vdn, Refusal):
            text = f"Type a number from 1 to 9999. {vdn}" if typed else "Type its number."
            return error_page(
                request, 400, "Which VDN?", text, link="/", label="Back to the first page"
            )
        allowed = self.shared.site.settings.server.vdns
        if allowed and vdn not in allowed:
            named = ", ".join(map(str, allowed))
            return error_page(
                request, 403, f"VDN {vdn} is not stopped from here",
                f"This console stops VDN {named} only. Whoever runs it can add {vdn} to the"
                " setting server.vdns.", link="/", label="Back to the first page",
            )  # fmt: skip
        reading, lines = await asyncio.gather(
            self.shared.readings.soon(vdn, wait_s=_ORDER_WAIT_S),
            asyncio.to_thread(self.shared.book.live, self.shared.cluster.live),
        )
        lines = self.shared.cluster.shown(lines)
        order = new_order_id()
        return page(
            request,
            "stop",
            vdn=vdn,
            said=_said(reading, self.shared.site.clock.wall_ms()),
            reading=reading,
            needed=reading.time_needed(self._rate_per_s) if reading and reading.is_known else "",
            stopping=stop_of(vdn, self.shared.site.fingerprint, lines),
            others=[list_entry(one) for one in lines if vdn in one.vdns],
            order=order,
            token=form_token(request, "/stop", order),
        )

    @property
    def _rate_per_s(self) -> float:
        return self.shared.site.settings.pace.rate_per_s

    async def history(self, request: web.Request) -> web.Response:
        """All runs, filtered, a page at a time."""
        query = request.query
        await self.shared.cluster.refreshed()
        typed, text = query.get("vdn", "").strip(), query.get("q", "").strip()[:200]
        vdn = read_vdn_id(typed) if typed else None
        problem = f"{typed[:40]} is no VDN" if isinstance(vdn, Refusal) else ""
        chapter = await asyncio.to_thread(
            self.shared.book.search,
            vdn=None if isinstance(vdn, Refusal) else vdn,
            text=text,
            number=page_number(query.get("page", "")),
        )
        return page(
            request,
            "runs",
            lines=[list_entry(one) for one in self.shared.cluster.shown(chapter.lines)],
            notice=self.shared.cluster.notice(),
            chapter=chapter,
            vdn=typed,
            text=text,
            problem=problem,
        )

    # -- for machines -------------------------------------------------------------------------

    async def static(self, request: web.Request) -> web.Response:
        """The style sheet, the script, the icon."""
        found = static_file(request.match_info["name"])
        if found is None:
            return error_page(request, 404, "There is no such page", "The address may be mistyped.")
        body, kind = found
        return web.Response(
            body=body, content_type=kind, charset="utf-8", headers={"Cache-Control": "max-age=300"}
        )

    async def healthz(self, request: web.Request) -> web.Response:
        """The process answers."""
        del request
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """A stop could be started: its directory can be written, and server and keys are set."""
        del request
        problem = await asyncio.to_thread(exposition.why_not_ready, self.shared.site)
        return web.Response(text=f"{problem or 'ready'}\n", status=503 if problem else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        """Numbers for a collector."""
        del request
        lines = await self.shared.newest_runs()
        found = [await self.shared.live.look(line.run_id) for line in lines if line.live]
        live = {
            line.run_id: view.numbers
            for line, view in zip((one for one in lines if one.live), found, strict=True)
            if view is not None and view.is_live
        }
        self.sent.take(self.shared.readings.answers, live)
        text = await asyncio.to_thread(
            exposition.exposed, self.shared.site.settings, self.sent, live
        )
        return web.Response(text=text, headers={"Content-Type": exposition.CONTENT_TYPE})


def _said(reading: Reading | None, now_ms: int) -> str:
    if reading is None:
        return "The server is being asked how many campaigns run."
    return f"{reading.as_of(now_ms)}: {reading.sentence()}"
