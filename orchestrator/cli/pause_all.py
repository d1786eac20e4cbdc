"""`orchestrator pause-all --vdn N`: the emergency."""

from typing import Annotated

from orchestrator.cli import flags, values
from orchestrator.errors import UsageError


def pause_all(  # noqa: PLR0913 - one argument for each flag
    *,
    vdn: flags.Vdns = None,
    yes: flags.Yes = False,
    dry_run: flags.DryRun = False,
    hold: Annotated[
        str | None,
        flags.Flag(name="--hold", help="S: keep watching so long; pause again whatever starts."),
    ] = None,
    deadline: Annotated[
        str | None, flags.Flag(name="--deadline", help="S: seconds for all of it. Default: 1800.")
    ] = None,
    run_dir: flags.RunDir = None,
    rate: flags.Rate = None,
    concurrency: flags.Concurrency = None,
    reason: flags.Reason = "",
    json: flags.Json = False,
    shared: flags.Common = flags.NO_FLAGS,
) -> int:
    """Find everything that runs in one or several VDNs, pause it, prove quiet."""
    from orchestrator.cli import runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.cli.confirm import Question, refuse_without_terminal  # noqa: PLC0415
    from orchestrator.engine.options import EMERGENCY_DEADLINE_S, PauseAllOptions  # noqa: PLC0415
    from orchestrator.loading import load_aiohttp  # noqa: PLC0415

    vdns = values.read_vdns(vdn or ())
    if not vdns:
        raise UsageError(
            "pause-all: --vdn is missing, and it never means all of them. Nothing was sent;"
            " campaigns are still dialling.",
            advice="orchestrator pause-all --vdn N",
        )
    deadline_s = values.read_seconds("--deadline", deadline)
    options = PauseAllOptions(
        vdns=vdns,
        run_dir=run_dir,
        dry_run=dry_run,
        hold_s=values.read_seconds("--hold", hold) or 0.0,
        deadline_s=EMERGENCY_DEADLINE_S if deadline_s is None else deadline_s,
        reason=reason,
    )
    confirmed = yes or dry_run
    refuse_without_terminal("pause-all", confirmed=confirmed)
    settings = runner.load(shared, emergency=True, rate=rate, concurrency=concurrency)
    load_aiohttp()
    from orchestrator.engine.pausing_all import pause_all as start  # noqa: PLC0415 - after settings

    around = runner.Stage(shared)
    question = Question(
        "pause everything that runs in", screen=around.screen, stopping=around.stopping
    )
    return around.perform(
        lambda environment: start(
            settings, options, environment, confirm=None if confirmed else question
        ),
        hangup_ends=False,
        as_json=json,
    )
