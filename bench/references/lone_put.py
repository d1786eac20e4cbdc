"""One signed PUT with bare aiohttp, its resultCode checked: what the start of a run is held to.

Usage: python -m bench.references.lone_put BASE_URL ACCESS_KEY SECRET_KEY CA_FILE|- CAMPAIGN_ID
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import aiohttp

from bench.references.signing import PATH, signed


async def main(arguments: list[str]) -> int:
    """Pause one campaign; 1 when it was not."""
    base, access_key, secret_key, ca_file, campaign_id = arguments
    path = PATH.format(campaign_id)
    headers = {
        "Content-Type": "application/json; charset=UTF-8",
        "Authorization": signed(path, base.split("//")[1], access_key, secret_key),
    }
    tls = ssl.create_default_context(cafile=ca_file) if ca_file != "-" else True
    connector = aiohttp.TCPConnector(ssl=tls)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.put(base + path, headers=headers) as answer,
    ):
        found = await answer.json()
    return int(found["resultCode"] != "0200000")


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(sys.argv[1:])))
