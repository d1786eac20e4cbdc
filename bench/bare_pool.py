"""A bare aiohttp worker pool: signs each PUT and checks its resultCode, and nothing else.

Usage: python -m bench.bare_pool BASE_URL ACCESS_KEY SECRET_KEY CA_FILE|- FIRST LAST C

No journal, pace, repeats, look, report or limit on anything: what a good engineer writes in an
afternoon to pause one list once, and what the product's price is measured against.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl
import sys
import time
from urllib.parse import quote

import aiohttp

PATH = "/rest/isales/v1/openapi/campaigns/1/{}/pause"


def signed(path: str, host: str, access_key: str, secret_key: str) -> str:
    """The Authorization header of a PUT without query and body."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    prefix = f"auth-v2/{access_key}/{now}/host"
    text = f"PUT\n{path}\nhost\nhost:{quote(host, safe='')}\n"
    key = hmac.digest(secret_key.encode(), prefix.encode(), "sha256").hex()
    return f"{prefix}/{hmac.digest(key.encode(), text.encode(), 'sha256').hex()}"


async def main(arguments: list[str]) -> int:
    """Pause the campaigns FIRST to LAST; 1 when one of them was not."""
    base, access_key, secret_key, ca_file, first, last, concurrency = arguments
    host = base.split("//")[1]
    tls = ssl.create_default_context(cafile=ca_file) if ca_file != "-" else True
    ids = iter(range(int(first), int(last) + 1))
    failed = 0
    connector = aiohttp.TCPConnector(limit=int(concurrency), ssl=tls)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def worker() -> None:
            nonlocal failed
            for campaign_id in ids:
                path = PATH.format(campaign_id)
                headers = {
                    "Content-Type": "application/json; charset=UTF-8",
                    "Authorization": signed(path, host, access_key, secret_key),
                }
                async with session.put(base + path, headers=headers) as answer:
                    found = await answer.json()
                    failed += found["resultCode"] != "0200000"

        await asyncio.gather(*(worker() for _ in range(int(concurrency))))
    return int(failed > 0)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(sys.argv[1:])))
