"""`orchestrator simulate`: a CC-iSales stand-in for drills."""

from typing import TYPE_CHECKING, Annotated

from orchestrator.cli import flags, values
from orchestrator.errors import StorageError

if TYPE_CHECKING:
    from orchestrator.simulator.scenarios import Scenario
    from orchestrator.simulator.server import Ready

DEFAULT_PORT = 28_080


def simulate(  # noqa: PLR0913 - one argument for each flag
    *,
    scenario: Annotated[
        str,
        flags.Flag(
            name="--scenario",
            help="NAME: emergency, batch, healthy, outage or stubborn. Default: emergency.",
        ),
    ] = "emergency",
    port: Annotated[
        str, flags.Flag(name="--port", help="N: where to listen; 0: any free one. Default: 28080.")
    ] = str(DEFAULT_PORT),
    seed: Annotated[
        str, flags.Flag(name="--seed", help="N: decides which requests meet a fault. Default: 1.")
    ] = "1",
    campaigns: Annotated[
        str | None,
        flags.Flag(name="--campaigns", help="N: so many made-up campaigns, instead of a scenario."),
    ] = None,
    vdns: Annotated[
        str, flags.Flag(name="--vdns", help="N: VDNs of the made-up campaigns. Default: 1.")
    ] = "1",
    faults: Annotated[
        str,
        flags.Flag(name="--faults", help="SHARE: of its changes that fail, 0 to 1. Default: 0."),
    ] = "0",
    json: flags.Json = False,
    shared: flags.Common = flags.NO_FLAGS,
) -> int:
    """Serve a CC-iSales stand-in on 127.0.0.1 until interrupted."""
    import json as json_text  # noqa: PLC0415 - the flag has its name

    from orchestrator.cli import output, runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.simulator.server import serve_until_stopped  # noqa: PLC0415

    runner.check_shared(shared)
    port_number = _port(port)
    chosen = _scenario(scenario, seed=seed, campaigns=campaigns, vdns=vdns, faults=faults)

    def on_ready(ready: "Ready") -> None:
        if json:
            output.give(json_text.dumps(ready.as_document()))
            return
        for line in _greeting(ready, chosen):
            output.give(line)

    try:
        serve_until_stopped(chosen, on_ready=on_ready, port=port_number)
    except OSError as error:
        raise StorageError(
            f"the simulator cannot listen on 127.0.0.1:{port_number}: {error.strerror}",
            advice="choose another --port, or --port 0",
        ) from error
    return 0


def _port(text: str) -> int:
    if text == "0":
        return 0
    port = values.read_count("--port", text)
    if port is None or port > 65_535:
        raise values.refuse("--port", "must be from 0 to 65,535")
    return port


def _scenario(name: str, *, seed: str, campaigns: str | None, vdns: str, faults: str) -> "Scenario":
    from orchestrator.settings import checks  # noqa: PLC0415
    from orchestrator.simulator import scenarios  # noqa: PLC0415

    number = values.read_count("--seed", seed) or 1
    count = values.read_count("--campaigns", campaigns)
    vdn_count = values.read_vdn(vdns, flag="--vdns") or 1
    share = checks.number(most=1, zero=True)(checks.decimal_in_text(faults))
    if not isinstance(share, float):
        raise values.refuse("--faults", "must be a number from 0 to 1")
    if count is not None:
        return scenarios.generated(campaigns=count, vdns=vdn_count, seed=number, fault_rate=share)
    if name not in scenarios.SCENARIOS:
        known = ", ".join(scenarios.SCENARIOS)
        raise values.refuse("--scenario", f"must be one of {known}, not {checks.shown(name)}")
    return scenarios.named(name, seed=number)


def _greeting(ready: "Ready", chosen: "Scenario") -> list[str]:
    from orchestrator.simulator.scenarios import SCENARIOS  # noqa: PLC0415 - see simulate

    vdns = chosen.world.vdn_ids
    named = " ".join(f"--vdn {one}" for one in vdns[:3])
    return [
        f"simulator listening on {ready.base_url} ({chosen.name}); Ctrl-C ends it",
        SCENARIOS.get(chosen.name, f"made-up campaigns in {len(vdns):,} VDNs"),
        "in another terminal:",
        f"  export ORCHESTRATOR_BASE_URL={ready.base_url}",
        f"  export ORCHESTRATOR_ACCESS_KEY={ready.access_key}",
        f"  export ORCHESTRATOR_SECRET_KEY={ready.secret_key}",
        f"  orchestrator pause-all {named}",
    ]
