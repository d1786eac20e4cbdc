"""`./do console [FLAGS of orchestrator console]`: a simulator and a console for it, to look at.

Ctrl-C ends both. Its state directory stays; the command prints where it is.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.cli import output
from orchestrator.cli.main import main as orchestrator
from orchestrator.engine.stop_run import stop_run
from orchestrator.errors import OrchestratorError
from orchestrator.simulator import scenarios
from orchestrator.simulator.server import Ready
from orchestrator.store.registry import known_runs
from tests.cli.makers import served

#: who the console takes its user for, so that its one name may restore
_NAME = "You"


def settings_file(folder: Path, ready: Ready, vdns: Sequence[int]) -> Path:
    """Everything that a console for this simulator needs, in one file."""
    key = folder / "secret_key"
    key.touch(0o600)
    key.write_text(f"{ready.secret_key}\n", "ascii")
    path = folder / "config.toml"
    path.write_text(
        f"""[server]
base_url = "{ready.base_url}"
name = "simulator"
vdns = {list(vdns)}
[credentials]
access_key = "{ready.access_key}"
secret_key_file = "{key}"
[operator]
name = "{_NAME}"
[state]
dir = "{folder}/state"
[console]
restorers = ["{_NAME}"]
""",
        "utf-8",
    )
    return path


def main(argv: Sequence[str]) -> int:
    """Serve both until Ctrl-C; returns the exit code."""
    for name in [one for one in os.environ if one.startswith("ORCHESTRATOR_")]:
        del os.environ[name]
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-console-"))
    scenario = scenarios.named("emergency", seed=1)
    with served(scenario) as simulator:
        ready = Ready(simulator.base_url, scenario.access_key, scenario.secret_key)
        path = settings_file(folder, ready, scenario.world.vdn_ids)
        output.say(f"a simulated server on {ready.base_url}; its runs are in {folder}/state")
        code = orchestrator(["console", "--config", str(path), *argv])
        for run in known_runs(folder / "state"):
            if run.directory.is_live:  # without this server it would try for half an hour
                with suppress(OrchestratorError):
                    stop_run(run.directory)
        return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
