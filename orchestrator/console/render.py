"""Makes pages: templates, what every page shows at its head, and pages that say why not.

Text from others is escaped by jinja and made visible by `for_terminal`: nothing in it moves, hides
or turns round. No page has a script or a style of its own, so the policy needs no exception.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from orchestrator.console.rights import Role
from orchestrator.console.site import SITE, VIEWER
from orchestrator.policy.plan import spoken_s
from orchestrator.reports.page import environment_of
from orchestrator.settings.server_url import ServerUrl, is_loopback, read_base_url

if TYPE_CHECKING:
    from jinja2 import Environment

    from orchestrator.console.rights import Viewer
    from orchestrator.settings.schema import ServerSettings

#: `test` as a word of its own: not in "latest" or "contest"
_TEST: Final = re.compile(r"(?<![a-z])test", re.IGNORECASE)


def badge_of(server: ServerSettings) -> dict[str, str]:
    """The server in a word and a colour; what is not surely a test is shown as the real thing."""
    url = read_base_url(server.base_url)
    is_simulator = isinstance(url, ServerUrl) and is_loopback(url.host)
    name = server.name or (url.host if isinstance(url, ServerUrl) else "no server")
    kind = "test" if is_simulator or _TEST.search(name) else "production"
    word = "simulator" if is_simulator else kind
    if kind == "production" and "prod" not in name.casefold():
        word = "not a test server"
    return {"word": word, "kind": kind, "name": name, "url": server.base_url}


def page(request: web.Request, template: str, *, status: int = 200, **values: Any) -> web.Response:
    """Answer with a page.

    Args:
        request: it may have no viewer yet.
        template: the file's name without its suffix.
        status: of HTTP.
        values: what the template shows.
    """
    viewer: Viewer | None = request.get(VIEWER)
    text = (
        templates()
        .get_template(f"{template}.html")
        .render(
            badge=badge_of(request.app[SITE].settings.server),
            viewer=viewer,
            may_stop=viewer is not None and viewer.may(Role.STOPPER),
            may_restore=viewer is not None and viewer.may(Role.RESTORER),
            here=request.path,
            **values,
        )
    )
    return web.Response(status=status, text=text, content_type="text/html", charset="utf-8")


def error_page(
    request: web.Request, status: int, heading: str, text: str, *, link: str = ""
) -> web.Response:
    """A page that says in plain English why not.

    Args:
        request: it may have no viewer yet.
        status: of HTTP.
        heading: a few words.
        text: sentences.
        link: to a run that goes on instead; empty: to nowhere.
    """
    return page(request, "error", status=status, heading=heading, text=text, link=link)


@cache
def templates() -> Environment:
    """The console's templates; the picture is the report page's."""
    environment = environment_of("orchestrator.console", "orchestrator.reports")
    environment.filters["many"] = lambda number: f"{number:,}"
    environment.filters["words"] = lambda text: str(text).replace("_", " ")
    environment.filters["spoken"] = spoken_s
    for name in environment.list_templates(extensions=["html"]):
        environment.get_template(name)
    return environment
