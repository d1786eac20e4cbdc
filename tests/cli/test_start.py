"""What is loaded on the way to the first PUT: nothing that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest
import trustme

from tests.cli.makers import environment, served, write_list

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.simulator.server import Simulator

pytestmark = pytest.mark.sockets

#: each cost an emergency 2 to 110 ms of a processor before its first PUT
LATE = {
    "cyclopts",
    "difflib",
    "ijson",
    "importlib.metadata",
    "orchestrator.cli.help_text",
    "orchestrator.cli.usage",
    "orchestrator.core.manifest_json",
    "orchestrator.core.wording",
    "orchestrator.run.check",
    "orchestrator.run.continuing",
    "orchestrator.run.reporting",
    "orchestrator.run.restoring",
    "orchestrator.simulator",
    "rich",
    "structlog",
}
#: modules beyond those of `import aiohttp`, with some room: 86 to 92 on Python 3.11
MOST_MODULES = 116
#: dataclasses of ours, 0.8 ms each; a named tuple takes 0.15 ms. 20 to 24 were counted
MOST_DATACLASSES = 26

#: runs a command line and tells what is loaded when the first PUT is handed to its connection
_WATCH = """
import sys
bare = "import" if sys.argv[1:] == ["bare"] else ""
if bare:
    import asyncio, aiohttp, json
    print(json.dumps([sorted(sys.modules), 0, 0, 0]))
    raise SystemExit
from asyncio import selector_events
from orchestrator.cli.main import main
import gc
looked = []
gc.callbacks.append(lambda phase, _: looked.append(phase))
freeze = gc.freeze
gc.freeze = lambda: (freeze(), looked.append("a run begins"))
def found():
    ours = [one for name, one in sys.modules.items() if "orchestrator" in name]
    classes = {id(c) for module in ours for c in vars(module).values()
               if isinstance(c, type) and c.__module__ == module.__name__
               and "__dataclass_fields__" in vars(c)}
    before = looked.index("a run begins") if "a run begins" in looked else len(looked)
    connector = sys.modules.get("aiohttp.connector")
    trusted = connector._SSL_CONTEXT_VERIFIED.cert_store_stats()["x509_ca"] if connector else 0
    return [sorted(sys.modules), len(classes), looked[:before].count("start"), trusted]
transport = selector_events._SelectorSocketTransport
def watched(write):
    def tell(self, data):
        whole = data if isinstance(data, (bytes, bytearray, memoryview)) else b"".join(data)
        if bytes(whole[:4]) == b"PUT ":
            told = found()
            import json, os
            os.write(1, json.dumps(told).encode() + b"\\n")
            os._exit(0)
        return write(self, data if data is whole else [whole])
    return tell
transport.write = watched(transport.write)
transport.writelines = watched(transport.writelines)
code = main(sys.argv[1:])
import json
print(json.dumps(found()))
"""


class Start(NamedTuple):
    """What a command had done when its first PUT was handed over, or when it ended."""

    loaded: set[str]
    #: of ours
    dataclasses: int
    #: how often garbage was looked for before the run began
    collections: int
    #: of the system's authorities, read for a TLS context that nobody uses
    authorities: int


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One healthy server for the whole module."""
    with served() as running:
        yield running


def _start(*arguments: str, env: dict[str, str]) -> Start:
    done = subprocess.run(
        [sys.executable, "-c", _WATCH, *arguments],
        env=env,
        stdin=subprocess.DEVNULL,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded, *counts = json.loads(done.stdout.splitlines()[-1])
    return Start(set(loaded), *counts)


@pytest.mark.parametrize("command", ["pause", "pause --no-verify", "pause-all"])
def test_the_first_put_waits_for_no_import_that_it_does_not_need(
    command: str, simulator: Simulator, workplace: Path
) -> None:
    """Neither the parser of odd command lines, nor the report, the log or the display."""
    name, *more = command.split(" ")
    what = [str(write_list(workplace, 1234001, 1234002))] if name == "pause" else ["--vdn", "1234"]
    yes = ["--yes"] if name == "pause-all" else []
    system = workplace / "system.pem"
    trustme.CA().cert_pem.write_to_path(str(system))
    env = environment(workplace, simulator.base_url) | {"SSL_CERT_FILE": str(system)}

    start = _start(name, *what, *more, *yes, "--rate", "100", env=env)

    assert "orchestrator.run.sending" in start.loaded
    assert start.loaded & LATE == set()
    assert len(start.loaded - _start("bare", env=env).loaded) <= MOST_MODULES
    assert 0 < start.dataclasses <= MOST_DATACLASSES
    assert start.collections == 0
    assert start.authorities == 0


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_neither_the_client_nor_what_draws(
    flag: str, workplace: Path
) -> None:
    """No aiohttp, no database, no rich; the version does without cyclopts too."""
    loaded = _start(flag, env=environment(workplace)).loaded

    heavy = {"aiohttp", "rich", "sqlite3", "structlog", "tenacity", "ijson", "orchestrator.run"}
    assert loaded & heavy == set()
    assert flag == "--help" or "cyclopts" not in loaded
