"""`orchestrator demo`: a real run over real sockets, against the simulator in this process.

The demo counts the rows of the report and compares them with the state of the simulator.
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
