"""The console as a whole: what every request passes, and which page answers it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.console import views
from orchestrator.console.auth import KEY, read_key
from orchestrator.console.site import SITE

if TYPE_CHECKING:
    from orchestrator.console.site import Site

#: a form that is longer is not ours
BODY_BYTES_MAX = 64 * 1024


def make_app(site: Site) -> web.Application:
    """The application of a console."""
    app = web.Application(client_max_size=BODY_BYTES_MAX)
    app[SITE] = site
    app[KEY] = read_key(site.state_dir / "console")
    app.add_routes(views.routes(site))
    return app
