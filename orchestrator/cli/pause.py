"""`orchestrator pause MANIFEST`."""

from pathlib import Path
from typing import Annotated

from orchestrator.cli import flags, values
from orchestrator.errors import UsageError


def pause(  # noqa: PLR0913 - one argument for each flag
    manifest: Annotated[str, flags.Flag(allow_leading_hyphen=True)],
    /,
    *,
    vdn: flags.Vdn = None,
    format_: Annotated[
        str | None, flags.Flag(name="--format", help="F: csv, json or jsonl. Default: by suffix.")
    ] = None,
    run_dir: flags.RunDir = None,
    rate: flags.Rate = None,
    concurrency: flags.Concurrency = None,
    dry_run: flags.DryRun = False,
    skip_invalid: Annotated[
        bool, flags.Flag(name="--skip-invalid", help="Pause the rest; bad lines are rows (exit 1).")
    ] = False,
    max_campaigns: Annotated[
        str | None, flags.Flag(name="--max-campaigns", help="N: refuse a longer list.")
    ] = None,
    max_failures: Annotated[
        str | None,
        flags.Flag(name="--max-failures", help="N: end early at so many failures; or N% of all."),
    ] = None,
    deadline: flags.Deadline = None,
    patience: Annotated[
        str | None,
        flags.Flag(
            name="--patience", help="S: seconds to wait for a failing server. Default: 1800."
        ),
    ] = None,
    no_verify: Annotated[
        bool, flags.Flag(name="--no-verify", help="Skip the listings before and after the PUTs.")
    ] = False,
    accept: Annotated[
        list[str] | None,
        flags.Flag(name="--accept", help="OUTCOME: counts as success, as not_found; repeatable."),
    ] = None,
    reason: flags.Reason = "",
    json: flags.Json = False,
    shared: flags.Common = flags.NO_FLAGS,
) -> int:
    """Pause every campaign in a CSV or JSON list."""
    from orchestrator.cli import runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.engine.options import PauseOptions  # noqa: PLC0415
    from orchestrator.loading import load_aiohttp  # noqa: PLC0415

    path = _list_path(manifest)
    options = PauseOptions(
        vdn=values.read_vdn(vdn),
        format=values.read_format(format_),
        run_dir=run_dir,
        verify=not no_verify,
        dry_run=dry_run,
        skip_invalid=skip_invalid,
        max_campaigns=values.read_count("--max-campaigns", max_campaigns),
        max_failures=values.read_failure_limit(max_failures),
        deadline_s=values.read_seconds("--deadline", deadline),
        accept=values.read_accepted(accept or ()),
        reason=reason,
    )
    settings = runner.load(
        shared,
        need_server=not dry_run,
        need_credentials=not dry_run,
        rate=rate,
        concurrency=concurrency,
        patience=patience,
        reads=path,
    )
    load_aiohttp()
    from orchestrator.engine.pausing import pause as start  # noqa: PLC0415 - after settings are usable

    return runner.Stage(shared).perform(
        lambda environment: start(path, settings, options, environment), as_json=json
    )


def _list_path(manifest: str) -> Path | None:
    """The list's path; None for `-`, stdin."""
    if manifest == "-":
        return None
    if manifest.startswith("-") or not manifest:
        raise UsageError(
            f"pause: unknown flag {manifest}. Nothing was sent."
            if manifest
            else "pause: MANIFEST is empty. Nothing was sent.",
            advice="orchestrator pause --help",
        )
    return Path(manifest)
