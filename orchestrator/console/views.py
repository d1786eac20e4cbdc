"""What is seen: the pages of the console."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from orchestrator.console.site import Site


def routes(site: Site) -> list[web.RouteDef]:
    """Every page that only shows something."""
    del site
    return []


def error_page(
    request: web.Request, status: int, heading: str, text: str, *, link: str = "", label: str = ""
) -> web.Response:
    """A page that says in plain English why not, with a link to what helps.

    Args:
        request: it may have no viewer yet.
        status: of HTTP.
        heading: a few words.
        text: sentences.
        link: where to go on; empty: nowhere.
        label: the words of the link.
    """
    del request
    more = f'<p><a href="{html.escape(link)}">{html.escape(label)}</a></p>' if link else ""
    body = f"<!doctype html><h1>{html.escape(heading)}</h1><p>{html.escape(text)}</p>{more}"
    return web.Response(status=status, text=body, content_type="text/html")


def login_page(request: web.Request, key: str) -> web.Response:
    """The page behind the one-time link: a form that posts `key` to /login, and its button."""
    del request
    form = (
        '<form method="post" action="/login">'
        f'<input type="hidden" name="key" value="{html.escape(key)}">'
        "<button>Continue</button></form>"
    )
    return web.Response(text=f"<!doctype html><h1>Console</h1>{form}", content_type="text/html")
