"""The Z rows that need the whole product: secrets, files, paths, imports, rights, the guard."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

import orchestrator
from orchestrator import PauseOptions
from orchestrator.errors import StorageError
from orchestrator.simulator.faults import FaultPlan, mixed
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from tests.checks.tree import ROOT
from tests.cli.makers import ended, until
from tests.e2e.makers import (
    AK,
    VDN,
    Stand,
    environment_of,
    only_run,
    pause_through,
    refs_of,
    run_command,
    settings_of,
    start_command,
    world_of,
    write_list,
)
from tests.fault_server import FaultServer, reply, silence

pytestmark = pytest.mark.sockets

#: characters that every encoding writes in its own way
CANARY = 'kanarie"/+Zq7&wX9#vB2~mN4'


def shapes_of(secret: str) -> Iterator[bytes]:
    """The secret as it might have got out: raw, encoded, escaped, and each piece of eight."""
    encoded = base64.b64encode(secret.encode()).decode()
    whole = (secret, encoded, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1])
    for text in (*whole, secret.encode().hex()):
        yield text.encode()
    yield from (secret[start : start + 8].encode() for start in range(len(secret) - 7))


def assert_nowhere(secret: str, folder: Path, *texts: str) -> None:
    """No file below the folder but its own, and none of these texts, holds it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "secret_key"]
    assert len(files) >= 4, "a run leaves files"
    held = {str(path): path.read_bytes() for path in files}
    held |= {f"text {number}": text.encode() for number, text in enumerate(texts)}
    for shape in shapes_of(secret):
        for name, content in held.items():
            assert shape not in content, f"{shape!r} stands in {name}"


@pytest.mark.parametrize("log_format", ["console", "json"])
async def test_the_secret_is_in_no_file_log_or_stream(tmp_path: Path, log_format: str) -> None:
    """[Z06] [Z07] -vv --debug in Python's developer mode, rich installed, faults of every kind."""
    check = SignatureCheck(AK, CANARY)
    plan = FaultPlan(seed=3, rates=mixed(0.4))
    environment_of(tmp_path, "", secret=CANARY)
    async with Stand(world=world_of(30), signature=check, faults=plan) as server:
        server.answers(reply(b"\x00\xff not json"), server.honest, campaign_id=1)
        listed = write_list(tmp_path, refs_of(31))
        done = await run_command(
            tmp_path,
            server.url,
            *("pause", str(listed), "-vv", "--debug", "--log-format", log_format),
            *("--log-file", str(tmp_path / "log")),
            python=("-X", "dev", "-m", "orchestrator"),
            env={"PYTHONASYNCIODEBUG": "1", "PYTHONDEVMODE": "1"},
        )

    assert done.code == 1, done.err
    assert (tmp_path / "log").stat().st_size > 1000
    assert any(seen.header("authorization") for seen in server.ledger)
    assert_nowhere(CANARY, tmp_path, done.out, done.err)


#: the command line with a bug planted in its way; --debug shows where it came from
BUGGY = """
import sys
import orchestrator.engine.departures as sending

def broken(**named):
    secret_key = named["secret_key"]
    raise {error}

sending.authorization = broken
from orchestrator.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("ValueError(f'bad key {secret_key}')", 70),
        ("KeyboardInterrupt(secret_key)", 130),
        ("MemoryError(secret_key)", 70),
    ],
)
async def test_the_secret_is_in_no_crash(tmp_path: Path, error: str, code: int) -> None:
    """[Z07] [Z08] A bug beside the key, whose own message quotes it: masked, no local variables."""
    environment_of(tmp_path, "", secret=CANARY)
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        done = await run_command(
            tmp_path,
            server.url,
            *("pause", str(listed), "-vv", "--debug"),
            python=("-X", "dev", "-X", "faulthandler", "-c", BUGGY.replace("{error}", error)),
        )

    assert done.code == code, done.err
    assert server.ledger == []
    assert_nowhere(CANARY, tmp_path, done.out, done.err)


async def test_a_running_process_shows_no_secret_and_dumps_no_core(tmp_path: Path) -> None:
    """[Z06] [Z08] /proc of a run that waits: not in cmdline or environ, and no core is allowed."""
    environment_of(tmp_path, "", secret=CANARY)
    async with FaultServer() as server:
        server.answers(silence)
        listed = write_list(tmp_path, refs_of(3))
        child = await start_command(tmp_path, server.url, "pause", str(listed))
        try:
            await until(lambda: server.ledger)
            proc = Path(f"/proc/{child.pid}")
            shown = [(proc / name).read_bytes() for name in ("cmdline", "environ", "comm")]
            limits = (proc / "limits").read_text()
        finally:
            child.terminate()
            done = await ended(child)

    assert done.code == 143
    for shape in shapes_of(CANARY):
        assert not any(shape in text for text in shown)
    assert re.search(r"Max core file size +0 +0 ", limits)


# -- files -------------------------------------------------------------------------------------


async def test_what_a_run_writes_is_for_its_owner_alone(tmp_path: Path) -> None:
    """[Z12] [Z13] Under umask 0: the directory 0700, every file 0600, nothing half made is left."""
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        done = await run_command(
            tmp_path, server.url, "pause", str(listed), preexec_fn=lambda: os.umask(0)
        )

    run = only_run(tmp_path)
    assert done.code == 0, done.err
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in run.iterdir()} == {
        "journal.db": 0o600,
        "results.csv": 0o600,
        "summary.json": 0o600,
        "report.html": 0o600,
    }


#: prints what is opened for writing, made, renamed or removed, and every socket, one a line
WATCH = """
import os, sys
def watch(event, args):
    if event == "open":
        path, mode, flags = args
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
            flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        )
        if writes and not isinstance(path, int):
            seen.append(f"open {path!r}")
    elif event in {"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate"}:
        seen.append(f"{event} {args[:2]!r}")
    elif event.startswith(("socket.", "subprocess.", "sqlite3.connect")):
        seen.append(f"{event} {args!r}")
seen = []
sys.addaudithook(watch)
"""

IMPORT_ALL = """
import importlib, pkgutil
import orchestrator
for one in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
print(len(sys.modules))
print("\\n".join(seen))
"""


def test_importing_everything_writes_nothing_and_opens_no_socket(tmp_path: Path) -> None:
    """[Z22] Every module of the package, watched by an audit hook.

    Procrastinate comes first: what it imports runs `file` on the interpreter.
    """
    done = subprocess.run(
        [sys.executable, "-c", "import procrastinate" + WATCH + IMPORT_ALL],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    modules, *seen = done.stdout.split("\n", 1)
    assert int(modules) > 200
    assert "".join(seen).strip() == ""
    assert list(tmp_path.iterdir()) == []


CALL = """
from orchestrator.cli.main import main
code = main(sys.argv[1:])
sys.stderr.write("\\n".join("SEEN " + one for one in seen) + "\\n")
sys.exit(code)
"""


async def test_no_text_from_list_or_server_forms_a_path(tmp_path: Path) -> None:
    """[Z14] Names, descriptions and the reason are paths: only the run directory is written to."""
    names = ("../../../../tmp/owned", "/etc/cron.d/owned", "a\x00b", "results.csv/../../x", "~root")
    world = World({VDN: [Campaign(n, name=name) for n, name in enumerate(names, start=1)]})
    async with Stand(world=world) as server:
        listed = write_list(tmp_path, refs_of(6))
        done = await run_command(
            tmp_path,
            server.url,
            *("pause", str(listed), "--reason", "../../reason"),
            python=("-c", WATCH + CALL),
            env={"PYTHONDONTWRITEBYTECODE": "1"},
        )

    assert done.code == 1, done.err  # the sixth does not exist
    state = f"{tmp_path}/state"
    seen = [line for line in done.err.splitlines() if line.startswith("SEEN ")]
    own = re.compile(
        rf"SEEN (open|os\.\w+|sqlite3\.connect(/handle)?) .*{re.escape(state)}.*"
        r"|SEEN (open|os\.\w+) "
        r"\(?'\.?(results\.csv|failed\.csv|summary\.json|report\.html)[\w.-]*'.*"
        r"|SEEN open '/dev/null'"
        r"|SEEN sqlite3\.connect/handle .*"
        r"|SEEN socket\..*"
    )
    assert seen
    assert [line for line in seen if not own.fullmatch(line)] == []
    assert not any("owned" in line or "reason" in line for line in seen)


async def test_the_journal_says_who_ran_what_against_which_server(tmp_path: Path) -> None:
    """[Z23] Operator, host, version, server, reason, list and its SHA-256; no record can change."""
    async with Stand(world=world_of(2)) as server:
        told = await pause_through(
            server, tmp_path, refs_of(2), PauseOptions(reason="order of 23 November")
        )

    run = told.result.run_dir
    assert run is not None
    listed = tmp_path / "list.csv"
    summary = json.loads((run / "summary.json").read_text())
    assert summary["manifest"] == {
        "path": str(listed),
        "sha256": hashlib.sha256(listed.read_bytes()).hexdigest(),
        "lines": 2,
    }
    assert summary["reason"] == "order of 23 November"
    assert summary["server"].startswith(server.url)
    assert (summary["operator"], summary["host"]) == (getpass.getuser(), os.uname().nodename)
    assert summary["version"] == orchestrator.__version__
    # one record is changed behind the journal's back: it is refused whole
    journal = sqlite3.connect(run / "journal.db")
    journal.execute("UPDATE meta SET value = replace(value, 'November', 'December')")
    journal.commit()
    journal.close()
    with pytest.raises(StorageError, match="damaged"):
        orchestrator.report(run, settings_of(server.url, tmp_path))


# -- requests ----------------------------------------------------------------------------------

TARGET = re.compile(
    r"/rest/isales/v1/openapi/campaigns/[1-9][0-9]{0,3}"
    r"(/[1-9][0-9]{0,18}(/(pause|resume))?"
    r"|\?curPage=[0-9]+&deviceType=0&rowsPerPage=100&status=[0-4])"
)


async def test_everything_on_the_wire_is_a_documented_request_of_visible_ascii(
    tmp_path: Path,
) -> None:
    """[Z16] [Z17] A run with faults: each target fits the documented form, each header is ASCII."""
    plan = FaultPlan(seed=5, rates=mixed(0.3))
    async with Stand(world=world_of(20), faults=plan) as server:
        await pause_through(server, tmp_path, refs_of(21), retry__patience_s=20)

    assert len(server.ledger) > 20
    for seen in server.ledger:
        assert TARGET.fullmatch(seen.target)
        assert {name.lower() for name, _ in seen.headers} <= {
            *("host", "authorization", "content-type", "content-length"),
            *("accept", "accept-encoding", "user-agent"),
        }
        for name, value in seen.headers:
            assert re.fullmatch(r"[!-~]+( [!-~]+)*", f"{name} {value}"), (name, value)


# -- least privilege ---------------------------------------------------------------------------

#: the command as nobody, who may gain nothing; everything is imported first, because this
#: interpreter may lie where nobody may read
AS_NOBODY = """
import concurrent.futures.thread, ctypes, importlib, os, pkgutil, sys
import encodings.idna, encodings.utf_8_sig, rich.table, structlog, structlog.dev, getpass, pwd
import orchestrator
for one in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
assert ctypes.CDLL(None).prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
assert os.geteuid() != 0
sys.exit(orchestrator.cli.main.main(sys.argv[1:]))
"""


def give_to_nobody(folder: Path) -> None:
    """Let nobody own what lies here, and pass through what pytest made above it."""
    for path in (folder, *folder.iterdir()):
        os.chown(path, 65534, 65534)
    for path in folder.parents:
        if path == Path(tempfile.gettempdir()) or path.parent == path:
            return
        path.chmod(path.stat().st_mode | 0o011)


async def test_the_product_runs_as_a_plain_user(tmp_path: Path) -> None:
    """[Z25] As nobody, with no-new-privileges: paused, report written, all of it nobody's."""
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        environment_of(tmp_path, server.url)
        if os.geteuid() == 0:
            give_to_nobody(tmp_path)
        done = await run_command(
            tmp_path, server.url, "pause", str(listed), python=("-c", AS_NOBODY)
        )

    assert done.code == 0, done.err
    assert len(server.puts) == 3
    assert (only_run(tmp_path) / "results.csv").stat().st_uid != 0
