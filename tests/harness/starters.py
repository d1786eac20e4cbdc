"""Many starts of one command at the same instant: forks of one process that wait for a signal.

Imports happen once, so that fifty starts take the time of one and really collide.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.stage import Stage


async def start_together(stage: Stage, number: int, *words: str) -> tuple[list[int], list[str]]:
    """Start a command so many times at once; gives exit codes and what stderr said.

    Args:
        stage: the server and the list.
        number: how many starts.
        words: the command; the `pause` of the whole list unless given.
    """
    given = words or stage.pause_words("--rate", "20")
    program = (
        "from tests.harness.starters import main\n"
        f"import sys\nsys.exit(main([{str(number)!r}, *sys.argv[1:]]))"
    )
    ended = await stage.run(*given, program=program)
    told = json.loads(ended.out)
    return told["codes"], told["words"]


def main(argv: Sequence[str]) -> int:
    """Fork them, let them go together, print what became of them."""
    from orchestrator.cli.main import main as command

    # what every start would import late is imported before the forks
    for name in ("orchestrator.api", "orchestrator.cli.parser", "orchestrator.cli.sending"):
        importlib.import_module(name)

    number, words = int(argv[0]), list(argv[1:])
    folder = Path(tempfile.mkdtemp(prefix="starters-"))
    waiting, gate = os.pipe()
    pids = []
    for place in range(number):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                os.close(gate)
                told = os.open(folder / str(place), os.O_CREAT | os.O_WRONLY, 0o600)
                os.dup2(told, 2)
                os.dup2(told, 1)
                os.read(waiting, 1)
                code = command(words)
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)
        pids.append(pid)
    # closing the only writing end wakes all readers at once
    os.close(gate)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    texts = [(folder / str(place)).read_text() for place in range(number)]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    print(json.dumps({"codes": codes, "words": texts}))
    return 0
