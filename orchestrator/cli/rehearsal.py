"""`simulate` and `demo`: a CC-iSales stand-in on loopback, for drills and for a first look.

The demo is a real run over real sockets; it counts the rows of the report and compares them with
the state of the simulator.
"""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.cli.runner import Stage
from orchestrator.cli.values import refuse
from orchestrator.engine.options import PauseOptions
from orchestrator.engine.pausing import pause
from orchestrator.errors import StorageError
from orchestrator.model import CampaignRef, Status
from orchestrator.settings.checks import shown
from orchestrator.settings.load import load_settings
from orchestrator.simulator import scenarios
from orchestrator.simulator.server import Simulator, serve_until_stopped

if TYPE_CHECKING:
    from argparse import Namespace

    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings
    from orchestrator.simulator.scenarios import Scenario
    from orchestrator.simulator.server import Ready

DEFAULT_PORT = 28_080
_DEMO_SEED = 7
_DEMO_RATE_PER_S = "50"
_STOPPED = frozenset({Status.SUSPENDED, Status.COMPLETED, Status.NOT_STARTED})


# ---------------------------------------------------------------- simulate


def simulate(given: Namespace) -> int:
    """Serve a CC-iSales stand-in on 127.0.0.1 until interrupted."""
    port = DEFAULT_PORT if given.port is None else given.port
    chosen = _scenario(given)

    def on_ready(ready: Ready) -> None:
        if given.json:
            output.give(json.dumps(ready.as_document()))
            return
        for line in _greeting(ready, chosen):
            output.give_help(line)

    try:
        serve_until_stopped(chosen, on_ready=on_ready, port=port)
    except OSError as error:
        raise StorageError(
            f"the simulator cannot listen on 127.0.0.1:{port}: {error.strerror}",
            advice="choose another --port, or --port 0",
        ) from error
    return 0


def _scenario(given: Namespace) -> Scenario:
    seed = given.seed or 1
    if given.campaigns is not None:
        return scenarios.generated(
            campaigns=given.campaigns,
            vdns=given.vdns or 1,
            seed=seed,
            fault_rate=given.faults or 0.0,
        )
    name = given.scenario or "emergency"
    if name not in scenarios.SCENARIOS:
        known = ", ".join(scenarios.SCENARIOS)
        raise refuse("--scenario", f"must be one of {known}, not {shown(name)}")
    return scenarios.named(name, seed=seed)


def _greeting(ready: Ready, chosen: Scenario) -> list[str]:
    vdns = chosen.world.vdn_ids
    named = " ".join(f"--vdn {one}" for one in vdns[:3])
    return [
        f"simulator listening on {ready.base_url} ({chosen.name}); Ctrl-C ends it",
        scenarios.SCENARIOS.get(chosen.name, f"made-up campaigns in {len(vdns):,} VDNs"),
        "in another terminal:",
        f"  export ORCHESTRATOR_BASE_URL={ready.base_url}",
        f"  export ORCHESTRATOR_ACCESS_KEY={ready.access_key}",
        f"  export ORCHESTRATOR_SECRET_KEY={ready.secret_key}",
        f"  orchestrator pause-all {named}",
    ]


# ---------------------------------------------------------------- demo


def demo(given: Namespace) -> int:
    """Pause a list with faults against the simulator; its results appear as those of `pause` do."""
    scenario = scenarios.batch(seed=_DEMO_SEED)
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-demo-"))
    manifest = folder / "campaigns.csv"
    lines = (f"{ref.vdn_id},{ref.campaign_id}\n" for ref in scenario.sample)
    manifest.write_text("vdn_id,campaign_id\n" + "".join(lines), encoding="utf-8")
    output.say(f"a simulated server, and a list of {len(scenario.sample)} campaigns: {manifest}")

    async def start(environment: Environment) -> RunResult:
        simulator = Simulator(scenario.world, faults=scenario.faults, signature=scenario.signature)
        async with simulator:
            url = simulator.base_url
            line = f"`orchestrator pause {manifest} --base-url {url} --rate {_DEMO_RATE_PER_S}`"
            output.say(output.with_commands(f"what runs now: {line}"))
            settings = _demo_settings(url, scenario, folder)
            return await pause(manifest, settings, PauseOptions(), environment)

    Stage(given).perform(start)
    agrees, lines_to_read = _compare(given.result, scenario)
    for one in ("", *lines_to_read):
        output.give(one)
    return 0 if agrees else 1


def _compare(result: RunResult, scenario: Scenario) -> tuple[bool, list[str]]:
    """Whether the rows add up and the simulator says the same; and that in words."""
    assert result.run_dir is not None
    with (result.run_dir / "results.csv").open(encoding="utf-8-sig", newline="") as file:
        stopped = {
            CampaignRef(int(row["vdn_id"]), int(row["campaign_id"])): row["stopped"] == "yes"
            for row in csv.DictReader(file)
        }
    adds_up = len(stopped) == sum(result.counts.values()) == len(scenario.sample)
    world = scenario.world
    wrong = [ref for ref, said in stopped.items() if said != (world.status_of(ref) in _STOPPED)]
    sums = "the rows add up." if adds_up else "THE ROWS DO NOT ADD UP."
    judged = "it agrees with every row."
    if wrong:
        judged = f"IT DISAGREES with {len(wrong)} rows, first campaign {wrong[0].campaign_id}."
    return adds_up and not wrong, [
        f"{len(scenario.sample)} lines, {len(stopped)} rows: {sums}",
        f"The simulator has {world.counts()[Status.STARTED]} campaigns running; {judged}",
        f"`pause` itself would exit {result.exit_code}: two of these campaigns do not exist.",
        f"Look at {result.run_dir}/results.csv, failed.csv, summary.json.",
    ]


def _demo_settings(base_url: str, scenario: Scenario, folder: Path) -> Settings:
    """Settings of the demo alone; environment and files are not read."""
    return load_settings(
        flags={
            "server.base_url": base_url,
            "credentials.access_key": scenario.access_key,
            "pace.rate_per_s": _DEMO_RATE_PER_S,
        },
        environ={
            "HOME": str(folder),
            "ORCHESTRATOR_SECRET_KEY": scenario.secret_key,
            "ORCHESTRATOR_STATE_DIR": str(folder),
        },
        config=None,
        emergency=False,
        need_credentials=True,
        ask_secret=None,
        warn=output.warn,
        system_file=folder / "none.toml",
    )
