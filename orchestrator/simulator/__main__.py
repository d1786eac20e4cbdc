"""`python -m orchestrator.simulator`: the simulator with every lie, for drills.

When it listens it prints one JSON line (base_url, access_key, secret_key) and nothing more. SIGINT
and SIGTERM end it with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from orchestrator.simulator.lies import LIES, with_lies
from orchestrator.simulator.scenarios import SCENARIOS, named
from orchestrator.simulator.server import Ready, serve_until_stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until a signal comes; gives the exit code."""
    parser = argparse.ArgumentParser(prog="orchestrator.simulator", description=__doc__)
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="healthy")
    parser.add_argument("--seed", type=int, default=1, help="decides which requests meet a fault")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument(
        "--lie",
        action="append",
        default=[],
        metavar="NAME[=VALUE][@START[-END]]",
        help="may be repeated. " + "; ".join(f"{name}: {words}" for name, words in LIES.items()),
    )
    chosen = parser.parse_args(arguments)
    try:
        scenario = with_lies(named(chosen.scenario, seed=chosen.seed), *chosen.lie)
    except ValueError as error:
        parser.error(str(error))
    serve_until_stopped(scenario, on_ready=_print, port=chosen.port)
    return 0


def _print(ready: Ready) -> None:
    sys.stdout.write(json.dumps(ready.as_document()) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
