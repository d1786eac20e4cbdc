"""What end-to-end tests need: a server that is honest unless told otherwise, settings, the report.

- Changes may meet a script (tests/fault_server.py); listings, details and changes without a script
  are answered by the simulator's handler, so a run can look and verify as usual.
- a test reads results.csv, summary.json and the journal from the disk, like people do.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orchestrator
from orchestrator.api import PauseOptions, RunResult, Settings
from orchestrator.model import CampaignRef
from orchestrator.simulator.faults import Ending, FaultPlan
from orchestrator.simulator.handler import Handler, Played
from orchestrator.simulator.ledger import Ledger
from orchestrator.simulator.routes import Received
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, World
from tests.cli.makers import Ended, ended, environment, start
from tests.fakes import read_rows
from tests.fault_server import Exchange, FaultServer, Script, Seen

VDN = 12
AK = "AKEXAMPLE0001"
SK = "SKexample-0000-not-a-secret"


def world_of(size: int, *, vdns: tuple[int, ...] = (VDN,)) -> World:
    """So many started campaigns in each VDN; their ids go on from 1."""
    return World(
        {
            vdn_id: [Campaign(place * size + number) for number in range(1, size + 1)]
            for place, vdn_id in enumerate(vdns)
        }
    )


@dataclass
class Stand(FaultServer):
    """A fault server with the simulator's handler behind it."""

    world: World = field(default_factory=lambda: world_of(1))
    faults: FaultPlan = field(default_factory=FaultPlan)
    signature: SignatureCheck | None = None
    #: what listings meet instead of the handler
    listing: Script | None = None

    def __post_init__(self) -> None:
        self.handler = Handler(
            self.world, faults=self.faults, signature=self.signature, ledger=Ledger()
        )

    @property
    def puts(self) -> list[Seen]:
        """The changes that arrived, in order."""
        return [seen for seen in self.ledger if seen.method == "PUT"]

    @property
    def puts_by_id(self) -> dict[int | None, int]:
        """How many changes arrived for each campaign."""
        return dict(Counter(seen.campaign_id for seen in self.puts))

    def truth(self, seen: Seen) -> bytes:
        """What the simulator answers; the request takes effect."""
        return self._played(seen).wire

    def _played(self, seen: Seen) -> Played:
        now_s = asyncio.get_running_loop().time()
        wall_ms = time.time_ns() // 1_000_000
        received = Received(seen.method, seen.target, tuple(seen.headers))
        return self.handler.receive(received, now_s=now_s, wall_ms=wall_ms)

    async def honest(self, exchange: Exchange) -> None:
        """What the handler decides: the truth, or a fault of its plan."""
        assert exchange.seen is not None
        played = self._played(exchange.seen)
        await exchange.wait(played.wait_s)
        await exchange.write(played.wire)
        match played.ending:
            case Ending.KEEP:
                pass
            case Ending.HANG:
                await exchange.hang()
            case Ending.CLOSE:
                exchange.close()
            case Ending.RESET | Ending.REFUSE:
                exchange.reset()

    def _script_for(self, seen: Seen) -> Script:
        if seen.method == "PUT":
            queue = self._scripts.get(seen.campaign_id) or self._scripts.get(None)
            if queue:
                return queue.pop(0) if len(queue) > 1 else queue[0]
        elif self.listing is not None and seen.campaign_id is None:
            return self.listing
        return self.honest


def settings_of(base_url: str, folder: Path, **more: object) -> Settings:
    """Settings in which every wait is a fraction of a second."""
    keys: dict[str, object] = {
        "server.base_url": base_url,
        "server.connect_timeout_s": 0.5,
        "server.attempt_timeout_s": 0.4,
        "credentials.access_key": AK,
        "pace.rate_per_s": 1000.0,
        "pace.concurrency": 8,
        "retry.max_attempts": 3,
        "retry.backoff_base_s": 0.01,
        "retry.backoff_cap_s": 0.05,
        "retry.patience_s": 0.6,
    }
    keys |= {name.replace("__", "."): value for name, value in more.items()}
    environ = {
        "ORCHESTRATOR_SECRET_KEY": SK,
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "HOME": str(folder),
    }
    return orchestrator.load_settings(keys, environ=environ)


def write_list(folder: Path, refs: Iterable[CampaignRef]) -> Path:
    """A CSV list of these campaigns."""
    path = folder / "list.csv"
    rows = "".join(f"{ref.vdn_id},{ref.campaign_id}\n" for ref in refs)
    path.write_text("vdn_id,campaign_id\n" + rows)
    return path


@dataclass(frozen=True)
class Told:
    """How a run ended, as its files tell it."""

    result: RunResult
    rows: dict[int, dict[str, str]]

    @property
    def exit_code(self) -> int:
        return self.result.exit_code

    @property
    def counts(self) -> Mapping[str, int]:
        return self.result.counts

    @property
    def intents(self) -> Counter[int]:
        """Attempts in the journal that left or may have left, by campaign."""
        assert self.result.run_dir is not None
        connection = sqlite3.connect(self.result.run_dir / "journal.db")
        try:
            found = connection.execute(
                "SELECT campaign_id FROM attempts JOIN plan USING (seq) WHERE state <> 'not_sent'"
            )
            return Counter(row[0] for row in found)
        finally:
            connection.close()

    def outcome(self, campaign_id: int) -> tuple[str, str, str]:
        """Outcome, evidence and changed of one campaign."""
        row = self.rows[campaign_id]
        return row["outcome"], row["evidence"], row["changed"]


def told_of(result: RunResult) -> Told:
    """The run as its files tell it; they must agree with what was returned."""
    assert result.run_dir is not None
    rows = read_rows(result.run_dir / "results.csv")
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["exit_code"] == result.exit_code
    assert summary["counts"] == dict(Counter(row["outcome"] for row in rows))
    return Told(result, {int(row["campaign_id"]): row for row in rows})


async def pause_through(
    server: FaultServer | str,
    folder: Path,
    refs: Iterable[CampaignRef],
    options: PauseOptions | None = None,
    **settings: object,
) -> Told:
    """Pause these campaigns with the library's call, and read the report."""
    url = server if isinstance(server, str) else server.url
    manifest = write_list(folder, refs)
    result = await orchestrator.pause(manifest, settings_of(url, folder, **settings), options)
    return told_of(result)


def refs_of(size: int, vdn_id: int = VDN, *, first: int = 1) -> list[CampaignRef]:
    """Campaigns with these ids in a row."""
    return [CampaignRef(vdn_id, number) for number in range(first, first + size)]


def codes(result: object, returned: object = None, *, desc: str = "") -> bytes:
    """An answer with these codes."""
    document: dict[str, Any] = {"resultCode": result, "resultDesc": desc}
    document["returnCode"] = result if returned is None else returned
    return json.dumps(document | {"returnDesc": desc}, ensure_ascii=False).encode()


# -- the real command --------------------------------------------------------------------------

#: runs the command line and writes its peak memory, in KiB, where the first argument says
_MEASURED = """
import re, sys
from orchestrator.cli.main import main
code = main(sys.argv[2:])
# not getrusage: its peak is that of the process which started us, if that was larger
with open("/proc/self/status") as status, open(sys.argv[1], "w") as file:
    file.write(re.search("VmHWM:\\s*([0-9]+)", status.read())[1])
sys.exit(code)
"""


def short(*, attempt_timeout_s: float = 0.5) -> str:
    """A settings file in which every wait is short."""
    return f"""
[server]
connect_timeout_s = 2
attempt_timeout_s = {attempt_timeout_s}
[pace]
rate_per_s = 1000
[retry]
max_attempts = 3
backoff_base_s = 0.01
backoff_cap_s = 0.05
patience_s = 20
"""


def environment_of(folder: Path, base_url: str, *, secret: str = SK) -> dict[str, str]:
    """All that a child is given: short waits, a secret file, a state directory of its own."""
    config = folder / "config.toml"
    if not config.exists():
        config.write_text(short())
    secret_file = folder / "secret_key"
    if not secret_file.exists():
        secret_file.touch(mode=0o600)
        secret_file.write_text(secret + "\n")
    given = environment(
        folder,
        base_url,
        ORCHESTRATOR_ACCESS_KEY=AK,
        ORCHESTRATOR_SECRET_KEY_FILE=str(secret_file),
    )
    del given["ORCHESTRATOR_SECRET_KEY"]  # it would win over the file
    return given


async def start_command(
    folder: Path,
    base_url: str,
    *arguments: str,
    python: tuple[str, ...] = ("-m", "orchestrator"),
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> asyncio.subprocess.Process:
    """Start the real command as a child, its streams in pipes."""
    given = environment_of(folder, base_url) | dict(env or {})
    config = () if "--config" in arguments else ("--config", str(folder / "config.toml"))
    return await start(*arguments, *config, env=given, python=python, **options)


async def run_command(folder: Path, base_url: str, *arguments: str, **options: Any) -> Ended:
    """Run the real command to its end."""
    child = await start_command(folder, base_url, *arguments, **options)
    return await ended(child)


async def run_measured(folder: Path, base_url: str, *arguments: str) -> Ended:
    """Run the command line in a child that tells its peak memory."""
    peak = folder / "peak"
    done = await run_command(folder, base_url, *arguments, python=("-c", _MEASURED, str(peak)))
    return replace(done, peak_kib=int(peak.read_text()))


def only_run(folder: Path) -> Path:
    """The one run directory below the state directory."""
    (found,) = (folder / "state" / "runs").iterdir()
    return found
