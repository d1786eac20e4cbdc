"""Campaigns per second: the whole product beside a bare loop of signed PUTs, and its peak memory.

Both talk to the same simulator in another process, in turns. The bare loop keeps no journal, no
pace, no report, and repeats nothing: what the product adds to it is the ratio.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CAMPAIGNS = 20_000
CONCURRENCY = 32
_BARE = """
import asyncio, sys, time, aiohttp
from orchestrator.core.signing import SigningRules, authorization
base, ak, sk = sys.argv[1:4]
first, last = map(int, sys.argv[4:6])
host = base.split("//")[1]
left = iter(range(first, last))
async def worker(session):
    for campaign_id in left:
        path = f"/rest/isales/v1/openapi/campaigns/1/{campaign_id}/pause"
        signed = authorization(access_key=ak, secret_key=sk, method="PUT", path=path,
            query_string="", headers={"host": host}, body="", at_ms=time.time_ns() // 1_000_000,
            rules=SigningRules())
        async with session.put(base + path, headers={"Authorization": signed}) as answer:
            await answer.read()
async def main():
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(worker(session) for _ in range(int(sys.argv[6]))))
asyncio.run(main())
"""


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "orchestrator.simulator", "--campaigns"),
                *(str(CAMPAIGNS * 2), "--vdns", "1", "--faults", "0", "--port", "0"),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            keys = (ready["base_url"], ready["access_key"], ready["secret_key"])
            bare_s, _ = _run(
                [sys.executable, "-c", _BARE, *keys, "1", str(CAMPAIGNS + 1), str(CONCURRENCY)], {}
            )
            ours_s, peak_mib = _ours(place, keys, verify=False)
        finally:
            server.terminate()
            server.wait(10)
    print(f"bare signed PUTs             {CAMPAIGNS / bare_s:7.0f} campaigns/s   x1.00")
    print(
        f"orchestrator pause           {CAMPAIGNS / ours_s:7.0f} campaigns/s"
        f"   x{bare_s / ours_s:.2f}   peak memory {peak_mib} MiB at {CAMPAIGNS:,} campaigns"
    )
    return 0


def _ours(place: Path, keys: tuple[str, str, str], *, verify: bool) -> tuple[float, int]:
    manifest = place / "list.csv"
    manifest.write_text(
        "".join(f"1,{number}\n" for number in range(CAMPAIGNS + 1, 2 * CAMPAIGNS + 1)), "utf-8"
    )
    command = [sys.executable, "-m", "orchestrator", "pause", str(manifest), "-q"]
    command += ["--rate", "100000", "--concurrency", str(CONCURRENCY)]
    if not verify:
        command.append("--no-verify")
    base_url, access_key, secret_key = keys
    environ = {
        "ORCHESTRATOR_BASE_URL": base_url,
        "ORCHESTRATOR_ACCESS_KEY": access_key,
        "ORCHESTRATOR_SECRET_KEY": secret_key,
        "ORCHESTRATOR_STATE_DIR": str(place / "state"),
    }
    return _run(command, environ)


def _run(command: list[str], environ: dict[str, str]) -> tuple[float, int]:
    """Run to the end; returns seconds and peak memory in MiB."""
    began_s = time.monotonic()
    child = subprocess.Popen(
        command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{command[:4]} ended with {status}: {said.decode()[-500:]}")
    return time.monotonic() - began_s, usage.ru_maxrss // 1024


if __name__ == "__main__":
    raise SystemExit(main())
