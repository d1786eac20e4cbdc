"""A bare aiohttp worker pool: signs each PUT and checks its resultCode, and nothing else.

Usage: python -m bench.references.bare_pool BASE_URL ACCESS_KEY SECRET_KEY CA_FILE|- FIRST LAST C

No journal, pace, repeats, look, report or limit on anything: what a good engineer writes in an
afternoon to pause one list once, and what the product's price is measured against.
"""

from __future__ import annotations

import asyncio
import ssl
import sys

import aiohttp

from bench.references.signing import PATH, signed


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
