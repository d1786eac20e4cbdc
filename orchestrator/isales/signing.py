"""The Authorization header: the C2 scheme, `auth-v2`.

The second HMAC is keyed with the 64 characters of hex, not with the 32 raw bytes. `host` is always
signed; a further name only if the request carries it. Where public evidence conflicts there is a
switch (SigningRules). No secret and no derived key is remembered between calls.
Source: docs/spec/interface.md, "Signing"; vectors in tests/isales/test_signing.py.
"""

from __future__ import annotations

from datetime import UTC, datetime
from hmac import digest
from typing import TYPE_CHECKING

from orchestrator.isales.requests import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.settings.schema import SigningRules

SCHEME = "auth-v2"


def authorization(  # noqa: PLR0913 - a signature covers all of these
    *,
    access_key: str,
    secret_key: str,
    method: str,
    path: str,
    query_string: str,
    headers: Mapping[str, str],
    body: str,
    at_ms: int,
    rules: SigningRules,
) -> str:
    """Sign one request.

    Args:
        access_key: AK; stands in the header in the clear.
        secret_key: SK; leaves this function only as an HMAC.
        method: in upper case.
        path: exactly as sent, with the base URL's prefix, without the query.
        query_string: exactly as sent, "" for none.
        headers: lower-case name to value, of everything that is sent and may be signed.
        body: exactly as sent, "" for none.
        at_ms: wall-clock milliseconds since the epoch, UTC.
        rules: the switches.

    Returns:
        The value of the Authorization header.

    Raises:
        KeyError: `headers` has no `host`.
    """
    names = sorted({"host", *(name for name in rules.signed_headers if name in headers)})
    prefix = f"{SCHEME}/{access_key}/{_timestamp(at_ms, rules)}/{';'.join(names)}"
    lines = [method, path]
    if query_string or rules.blank_query_line:
        lines.append(query_string)
    lines.append(";".join(names))
    lines += sorted(f"{percent(name)}:{percent(headers[name].strip())}" for name in names)
    lines.append(percent(body))
    key = digest(secret_key.encode(), prefix.encode(), "sha256").hex()
    text = "\n".join(lines)
    return f"{prefix}/{digest(key.encode(), text.encode(), 'sha256').hex()}"


def _timestamp(at_ms: int, rules: SigningRules) -> str:
    """UTC, seconds (cut, never rounded up) or milliseconds, ending in Z."""
    second, millis = divmod(at_ms, 1000)
    text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{millis:03d}Z" if rules.millis else f"{text}Z"
