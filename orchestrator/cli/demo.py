"""`orchestrator demo`: the main job on a fresh machine, against the simulator in this process.

Rule 1: the run is the real one, over real sockets; only the server is made up.
Rule 2: the report is not believed: its rows are counted, and held against the simulator's world.
"""

from orchestrator.cli import flags

_SEED = 7
_RATE_PER_S = "50"


def demo(*, shared: flags.Common = flags.NO_FLAGS) -> int:
    """Pause a list with faults against the simulator, and show the report."""
    from orchestrator.cli import demo_runner, output  # noqa: PLC0415 - `--help` does not wait for it

    rehearsal = demo_runner.rehearse(shared, seed=_SEED, rate=_RATE_PER_S)
    output.give("")
    for line in rehearsal.lines:
        output.give(line)
    return 0 if rehearsal.agrees else 1
