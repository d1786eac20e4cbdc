"""`python -m orchestrator.simulator`: the simulator as a child process, for harnesses.

When it listens it prints one JSON line (base_url, access_key, secret_key) and nothing more. SIGINT
and SIGTERM end it with exit code 0 and a complete ledger.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.simulator import serve
from orchestrator.simulator.lies import LIES, with_lies
from orchestrator.simulator.scenarios import SCENARIOS, Scenario, generated, named

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; gives the exit code."""
    chosen = _read(arguments)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_serve(chosen))
    return 0


def _read(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="orchestrator.simulator", description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="healthy")
    parser.add_argument(
        "--campaigns", type=int, help="so many made-up campaigns, instead of a scenario"
    )
    parser.add_argument("--vdns", type=int, default=1, help="VDNs of the made-up campaigns")
    parser.add_argument(
        "--faults",
        type=float,
        default=0.0,
        help="mixed fault rate of the made-up campaigns, 0 to 1",
    )
    parser.add_argument("--seed", type=int, default=1)
    told = "; ".join(f"{name}: {help_text}" for name, help_text in LIES.items())
    parser.add_argument(
        "--lie",
        action="append",
        default=[],
        metavar="NAME[=VALUE][@START[-END]]",
        help=f"may be repeated. {told}",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--ledger", type=Path, help="JSON Lines file to add to")
    parser.add_argument("--no-flush", action="store_true", help="buffer the ledger: faster")
    parser.add_argument("--ready-file", type=Path, help="written when the server listens")
    parser.add_argument("--tls-cert", type=Path, help="PEM chain and key: serve https")
    return parser.parse_args(arguments)


def _scenario(chosen: argparse.Namespace) -> Scenario:
    if chosen.campaigns is None:
        return named(chosen.scenario, seed=chosen.seed, now=serve.wall_clock_now())
    return generated(
        campaigns=chosen.campaigns, vdns=chosen.vdns, seed=chosen.seed, fault_rate=chosen.faults
    )


async def _serve(chosen: argparse.Namespace) -> None:
    current = asyncio.current_task()
    assert current is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, current.cancel)
    ssl_context = None
    if chosen.tls_cert is not None:
        ssl_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ssl_context.load_cert_chain(chosen.tls_cert)

    def on_ready(ready: serve.Ready) -> None:
        line = json.dumps(ready.as_document())
        if chosen.ready_file is not None:
            # renamed into place, so that a reader never sees half a line
            part = chosen.ready_file.with_name(chosen.ready_file.name + ".part")
            part.write_text(line + "\n", encoding="utf-8")
            part.replace(chosen.ready_file)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    await serve.serve(
        with_lies(_scenario(chosen), *chosen.lie),
        on_ready=on_ready,
        host=chosen.host,
        port=chosen.port,
        ledger_path=chosen.ledger,
        flush_each=not chosen.no_flush,
        ssl_context=ssl_context,
    )


if __name__ == "__main__":
    sys.exit(main())
