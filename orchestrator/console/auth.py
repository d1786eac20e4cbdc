"""Who may: the one-time link and its cookie, or a trusted proxy's header; tokens of forms."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.console.site import viewer_of

if TYPE_CHECKING:
    from pathlib import Path

#: signs cookies and tokens
KEY: web.AppKey[bytes] = web.AppKey("key", bytes)


def form_token(request: web.Request, form: str, order: str = "") -> str:
    """The token of a form, for its hidden field `token`.

    Args:
        request: the request for the page that the form is on.
        form: the path that the form is posted to, such as `/runs/{run_id}/restore`.
        order: what its hidden field `order` holds; empty: it has none.
    """
    words = "\0".join((viewer_of(request).session, form, order))
    return hmac.digest(request.app[KEY], words.encode(), hashlib.sha256).hex()


def read_key(folder: Path) -> bytes:
    """The key of this state directory, made when it is not there."""
    raise NotImplementedError(folder)
