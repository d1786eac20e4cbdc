"""`orchestrator restore RUN`: the exact undo."""

from pathlib import Path
from typing import Annotated

from orchestrator.cli import flags, values

_NOTHING_STARTED = "Nothing was sent; what was paused stays paused."


def restore(  # noqa: PLR0913 - one argument for each flag
    run: str,
    /,
    *,
    yes: flags.Yes = False,
    only: Annotated[
        Path | None, flags.Flag(name="--only", help="FILE: a list; start these and no others.")
    ] = None,
    except_: Annotated[
        Path | None, flags.Flag(name="--except", help="FILE: a list; leave these off.")
    ] = None,
    vdn: Annotated[
        list[str] | None, flags.Flag(name="--vdn", help="N: these VDNs only; repeatable.")
    ] = None,
    dry_run: flags.DryRun = False,
    limit: Annotated[
        str | None, flags.Flag(name="--limit", help="N: start at most so many campaigns.")
    ] = None,
    include_inferred: Annotated[
        bool,
        flags.Flag(name="--include-inferred", help="Also campaigns that RUN probably paused."),
    ] = False,
    even_if_old: flags.EvenIfOld = False,
    run_dir: flags.RunDir = None,
    rate: flags.Rate = None,
    concurrency: flags.Concurrency = None,
    reason: flags.Reason = "",
    json: flags.Json = False,
    shared: flags.Common = flags.NO_FLAGS,
) -> int:
    """Start again exactly the campaigns that RUN turned off."""
    from orchestrator.cli import runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.cli.confirm import Question, refuse_without_terminal  # noqa: PLC0415
    from orchestrator.engine.options import RestoreOptions  # noqa: PLC0415
    from orchestrator.engine.saved import find_undoable  # noqa: PLC0415
    from orchestrator.loading import load_aiohttp  # noqa: PLC0415

    vdns = values.read_vdns(vdn or ())
    default_vdn = vdns[0] if len(vdns) == 1 else None
    options = RestoreOptions(
        run_dir=run_dir,
        only=values.read_campaigns("--only", only, default_vdn=default_vdn),
        except_=values.read_campaigns("--except", except_, default_vdn=default_vdn) or frozenset(),
        vdns=frozenset(vdns),
        dry_run=dry_run,
        limit=values.read_count("--limit", limit),
        include_inferred=include_inferred,
        even_if_old=even_if_old,
        reason=reason,
    )
    confirmed = yes or dry_run
    refuse_without_terminal("restore", confirmed=confirmed)
    settings = runner.load(
        shared,
        need_server=False,
        need_credentials=not dry_run,
        consequence=_NOTHING_STARTED,
        rate=rate,
        concurrency=concurrency,
    )
    source = find_undoable(settings.state_dir, run)
    load_aiohttp()
    from orchestrator.engine.restore import restore as start  # noqa: PLC0415 - after settings

    around = runner.Stage(shared)
    question = Question(
        "start again what that run turned off in", screen=around.screen, stopping=around.stopping
    )
    return around.perform(
        lambda environment: start(
            source, settings, options, environment, confirm=None if confirmed else question
        ),
        as_json=json,
    )
