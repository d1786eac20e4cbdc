"""All benchmarks: `./do bench`, or `./do bench startup|throughput|pacing`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench import pacing, startup, throughput

if TYPE_CHECKING:
    from collections.abc import Callable

#: seconds of simulated time that each limiter is watched for
PACING_S = 30.0

BENCHES: dict[str, Callable[[], object]] = {
    "pacing": lambda: pacing.main(PACING_S),
    "startup": startup.main,
    "throughput": throughput.main,
}


def main() -> int:
    """Run what was named, or everything."""
    for name in sys.argv[1:] or list(BENCHES):
        if name not in BENCHES:
            print(f"there is no benchmark {name}: {', '.join(BENCHES)}", file=sys.stderr)
            return 2
        print(f"== {name}")
        BENCHES[name]()
    return 0


raise SystemExit(main())
