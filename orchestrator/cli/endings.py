"""What machines are told when a command has ended: the file of metrics.

Also of a command that was refused before it began. It never changes an exit code.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.clock import SystemClock
from orchestrator.errors import OrchestratorError
from orchestrator.settings.schema import SPECS

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from orchestrator.engine.results import RunResult
    from orchestrator.metrics import Ending

#: commands whose ending is worth a word
_TOLD = frozenset({"pause", "pause-all", "continue", "restore", "check"})
_VARIABLE = SPECS["metrics.textfile"].variable


def run(name: str, command: Callable[[Namespace], int], given: Namespace) -> int:
    """Run a command and tell how it ended; returns its exit code.

    Raises:
        OrchestratorError: it was refused.
    """
    try:
        code = command(given)
    except OrchestratorError as error:
        _tell(name, given, error.exit_code)
        raise
    _tell(name, given, code)
    return code


def _tell(name: str, given: Namespace, code: int) -> None:
    known = vars(given)
    # settings that were refused leave the variable
    textfile = known.get("textfile") or os.environ.get(_VARIABLE)
    if name not in _TOLD or known.get("dry_run") or not textfile:
        return
    from orchestrator import metrics  # noqa: PLC0415 - few want it

    try:
        metrics.write(Path(textfile), _ending(name, code, known.get("result")))
    except OSError as error:
        output.warn(f"the metrics in {textfile} could not be written: {error.strerror or error}")


def _ending(name: str, code: int, result: RunResult | None) -> Ending:
    from orchestrator.metrics import Ending  # noqa: PLC0415 - as above

    ended_s = SystemClock().wall_ms() / 1000
    if result is None or result.repeated:
        return Ending(name, code, ended_s)
    facts = result.facts
    ended_ms = facts.ended_at_ms or facts.started_at_ms
    quiet = {
        proof.vdn_id: proof.quiet_since_ms / 1000
        for proof in facts.proofs
        if proof.quiet_since_ms is not None
    }
    duration_s = max(0, ended_ms - facts.started_at_ms) / 1000
    return Ending(name, code, ended_s, duration_s, result.counts, quiet)
