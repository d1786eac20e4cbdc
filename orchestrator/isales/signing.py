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
    from collections.abc import Mapping, Sequence

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
    names = signed_names(headers, rules)
    prefix = f"{SCHEME}/{access_key}/{timestamp(at_ms, rules)}/{';'.join(names)}"
    text = canonical_request(
        method=method,
        path=path,
        query_string=query_string,
        headers=headers,
        signed=names,
        body=body,
        blank_query_line=rules.blank_query_line,
    )
    return f"{prefix}/{signature(key=signing_key(secret_key=secret_key, prefix=prefix), text=text)}"


def signed_names(headers: Mapping[str, str], rules: SigningRules) -> list[str]:
    """The names that a request with these headers signs: sorted, `host` among them."""
    return sorted({"host", *(name for name in rules.signed_headers if name in headers)})


def canonical_request(  # noqa: PLR0913 - one argument per line of the text
    *,
    method: str,
    path: str,
    query_string: str,
    headers: Mapping[str, str],
    signed: Sequence[str],
    body: str,
    blank_query_line: bool = False,
) -> str:
    """The text that is signed.

    Args:
        method: in upper case.
        path: as sent.
        query_string: as sent, "" for none.
        headers: lower-case name to value.
        signed: lower-case names, sorted.
        body: as sent, "" for none.
        blank_query_line: keep an empty line where there is no query.

    Raises:
        KeyError: `headers` lacks one of `signed`.
    """
    lines = [method, path]
    if query_string or blank_query_line:
        lines.append(query_string)
    lines.append(";".join(signed))
    lines += sorted([f"{percent(name)}:{percent(headers[name].strip())}" for name in signed])
    lines.append(percent(body))
    return "\n".join(lines)


def signing_key(*, secret_key: str, prefix: str) -> str:
    """The key of one request: 64 hex characters.

    Args:
        secret_key: SK.
        prefix: the Authorization value up to, and without, its last "/".
    """
    return digest(secret_key.encode(), prefix.encode(), "sha256").hex()


def signature(*, key: str, text: str) -> str:
    """The signature of a canonical text under a signing key's hex text: 64 hex characters."""
    return digest(key.encode("ascii"), text.encode(), "sha256").hex()


def timestamp(at_ms: int, rules: SigningRules) -> str:
    """The instant as the scheme writes it: UTC, seconds or milliseconds, ending in Z."""
    second, millis = divmod(at_ms, 1000)
    text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{millis:03d}Z" if rules.millis else f"{text}Z"
