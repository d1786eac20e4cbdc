"""The signature of a bodyless PUT, as short as it can be written (docs/spec/interface.md)."""

from __future__ import annotations

import hmac
import time
from urllib.parse import quote

PATH = "/rest/isales/v1/openapi/campaigns/1/{}/pause"


def signed(path: str, host: str, access_key: str, secret_key: str) -> str:
    """The Authorization header of a PUT without query and body."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    prefix = f"auth-v2/{access_key}/{now}/host"
    text = f"PUT\n{path}\nhost\nhost:{quote(host, safe='')}\n"
    key = hmac.digest(secret_key.encode(), prefix.encode(), "sha256").hex()
    return f"{prefix}/{hmac.digest(key.encode(), text.encode(), 'sha256').hex()}"
