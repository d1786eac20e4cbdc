"""What the demo needs: a simulator in a thread, a list on the disk, a run, and the comparison."""

from __future__ import annotations

import asyncio
import csv
import tempfile
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.cli.runner import Stage, check_shared
from orchestrator.engine.options import PauseOptions
from orchestrator.engine.pausing import pause
from orchestrator.model import CampaignRef, Status
from orchestrator.settings.load import load_settings
from orchestrator.simulator.scenarios import batch
from orchestrator.simulator.server import Ready, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.cli.flags import Shared
    from orchestrator.engine.results import RunResult
    from orchestrator.settings.load import Settings
    from orchestrator.simulator.scenarios import Scenario

_START_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What came of the demo."""

    #: the rows add up, and the simulator says the same
    agrees: bool
    lines: tuple[str, ...]


def rehearse(shared: Shared, *, seed: int, rate: str) -> Rehearsal:
    """Run the demo; its results appear on stdout as those of `pause` do."""
    check_shared(shared)
    scenario = batch(seed=seed)
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    manifest = folder / "campaigns.csv"
    _write_list(manifest, scenario)
    output.say(f"a simulated server, and a list of {len(scenario.sample)} campaigns: {manifest}")
    runner = Stage(shared)
    seen: list[RunResult] = []
    with _served(scenario) as ready:
        settings = _settings(ready, folder, rate)
        command = f"orchestrator pause {manifest} --base-url {ready.base_url} --rate {rate}"
        output.say(f"what runs now: {command}")

        def remember(result: RunResult) -> None:
            seen.append(result)

        runner.perform(
            lambda environment: pause(manifest, settings, PauseOptions(), environment),
            and_then=remember,
        )
    return _compare(seen[0], scenario)


def _compare(result: RunResult, scenario: Scenario) -> Rehearsal:
    rows = _rows(result)
    counted = sum(result.counts.values())
    adds_up = len(rows) == counted == len(scenario.sample)
    wrong = [ref for ref, stopped in rows if stopped != (scenario.world.status_of(ref) in _STOPPED)]
    running = scenario.world.counts()[Status.STARTED]
    lines = [
        f"{len(scenario.sample)} lines, {len(rows)} rows: "
        + ("the rows add up." if adds_up else "THE ROWS DO NOT ADD UP."),
        f"The simulator has {running} campaigns running; "
        + (
            "it agrees with every row."
            if not wrong
            else f"IT DISAGREES with {len(wrong)} rows, first campaign {wrong[0].campaign_id}."
        ),
        f"`pause` itself would exit {result.exit_code}: two of these campaigns do not exist.",
        f"Look at {result.run_dir}/results.csv, failed.csv, summary.json.",
    ]
    return Rehearsal(agrees=adds_up and not wrong, lines=tuple(lines))


_STOPPED = frozenset({Status.SUSPENDED, Status.COMPLETED, Status.NOT_STARTED})


def _rows(result: RunResult) -> list[tuple[CampaignRef, bool]]:
    """Each row of results.csv: its campaign, and whether it is said to be stopped."""
    assert result.run_dir is not None
    with (result.run_dir / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        return [
            (CampaignRef(int(row["vdn_id"]), int(row["campaign_id"])), row["stopped"] == "yes")
            for row in csv.DictReader(file)
        ]


def _write_list(path: Path, scenario: Scenario) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("vdn_id", "campaign_id"))
        writer.writerows((ref.vdn_id, ref.campaign_id) for ref in scenario.sample)


def _settings(ready: Ready, folder: Path, rate: str) -> Settings:
    """Settings of the demo alone; environment and files are not read."""
    return load_settings(
        flags={
            "server.base_url": ready.base_url,
            "credentials.access_key": ready.access_key,
            "pace.rate_per_s": rate,
        },
        environ={
            "HOME": str(folder),
            "ORCHESTRATOR_SECRET_KEY": ready.secret_key,
            "ORCHESTRATOR_STATE_DIR": str(folder),
        },
        config=None,
        emergency=False,
        need_credentials=True,
        ask_secret=None,
        warn=output.warn,
        system_file=folder / "none.toml",
    )


@contextmanager
def _served(scenario: Scenario) -> Iterator[Ready]:
    """Serve a scenario from a thread with a loop of its own."""
    ready: SimpleQueue[Ready] = SimpleQueue()
    loop = asyncio.new_event_loop()
    serving = loop.create_task(serve(scenario, on_ready=ready.put))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serving)
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    thread = threading.Thread(target=run, name="simulator", daemon=True)
    thread.start()
    try:
        yield ready.get(timeout=_START_TIMEOUT_S)
    finally:
        loop.call_soon_threadsafe(serving.cancel)
        thread.join(_START_TIMEOUT_S)
