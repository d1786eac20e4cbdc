"""From the start of the process to the first PUT at the server, beside a lone signed PUT.

Prints medians and the ratio of each way to a lone PUT by aiohttp, taken in turns in one run:
a shared machine is slow for all of them at the same time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7
_LONE = """
import asyncio, aiohttp, sys
async def main():
    async with aiohttp.ClientSession() as session:
        url = sys.argv[1] + "/rest/isales/v1/openapi/campaigns/1/1/pause"
        async with session.put(url) as answer:
            await answer.read()
asyncio.run(main())
"""


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ledger = place / "ledger.jsonl"
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "orchestrator.simulator", "--campaigns", "40000"),
                *("--vdns", "1", "--faults", "0", "--port", "0", "--ledger", str(ledger)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert server.stdout is not None
            ready = json.loads(server.stdout.readline())
            ways = _ways(ready["base_url"], place)
            environ = {
                **os.environ,
                "ORCHESTRATOR_BASE_URL": ready["base_url"],
                "ORCHESTRATOR_ACCESS_KEY": ready["access_key"],
                "ORCHESTRATOR_SECRET_KEY": ready["secret_key"],
                "ORCHESTRATOR_STATE_DIR": str(place / "state"),
            }
            found: dict[str, list[float]] = {name: [] for name in ways}
            for number in range(ROUNDS):
                for place_in_turn, (name, command) in enumerate(ways.items()):
                    campaign_id = 40_000 - number * len(ways) - place_in_turn
                    (place / "list.csv").write_text(f"1,{campaign_id}\n", encoding="utf-8")
                    found[name].append(_first_put_ms(command, environ, ledger))
        finally:
            server.terminate()
            server.wait(10)
    base = statistics.median(found["lone PUT by aiohttp"])
    for name, times in found.items():
        median = statistics.median(times)
        print(f"{name:<28} {median:7.0f} ms to the first PUT   x{median / base:.2f}")
    return 0


def _ways(base_url: str, place: Path) -> dict[str, list[str]]:
    command = [sys.executable, "-m", "orchestrator"]
    return {
        "lone PUT by aiohttp": [sys.executable, "-c", _LONE, base_url],
        "pause --no-verify": [*command, "pause", str(place / "list.csv"), "--no-verify", "-q"],
        "pause": [*command, "pause", str(place / "list.csv"), "-q"],
        "pause-all --yes": [
            *(*command, "pause-all", "--vdn", "1", "--yes", "-q"),
            *("--rate", "20", "--deadline", "1"),
        ],
    }


def _first_put_ms(command: list[str], environ: dict[str, str], ledger: Path) -> float:
    before = ledger.stat().st_size if ledger.exists() else 0
    began_ms = time.time() * 1000
    ran = subprocess.run(
        command, env=environ, capture_output=True, check=False, timeout=60, text=True
    )
    # pause-all works from the first page on, so the lists name campaigns of the last one
    with ledger.open(encoding="utf-8") as lines:
        lines.seek(before)
        for line in lines:
            entry = json.loads(line)
            if entry["method"] == "PUT":
                return float(entry["wall_ms"]) - began_ms
    raise SystemExit(f"no PUT arrived from {' '.join(command[2:5])}: {ran.stderr or ran.stdout}")


if __name__ == "__main__":
    raise SystemExit(main())
