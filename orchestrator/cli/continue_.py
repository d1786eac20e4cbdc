"""`orchestrator continue RUN`."""

from orchestrator.cli import flags, values


def continue_(  # noqa: PLR0913 - one argument for each flag
    run: str,
    /,
    *,
    rate: flags.Rate = None,
    concurrency: flags.Concurrency = None,
    deadline: flags.Deadline = None,
    even_if_old: flags.EvenIfOld = False,
    json: flags.Json = False,
    shared: flags.Common = flags.NO_FLAGS,
) -> int:
    """Finish a run that was interrupted."""
    from orchestrator.cli import runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.engine.options import ContinueOptions  # noqa: PLC0415
    from orchestrator.loading import load_aiohttp  # noqa: PLC0415
    from orchestrator.store.run_dir import find_run  # noqa: PLC0415

    deadline_s = values.read_seconds("--deadline", deadline)
    settings = runner.load(shared, need_server=False, rate=rate, concurrency=concurrency)
    directory = find_run(settings.state_dir, run)
    options = ContinueOptions(
        # what no flag said stays as the journal has it
        rate_per_s=settings.pace.rate_per_s if rate is not None else None,
        concurrency=settings.pace.concurrency if concurrency is not None else None,
        deadline_s=deadline_s,
        even_if_old=even_if_old,
    )
    load_aiohttp()
    from orchestrator.engine.continuing import continue_run  # noqa: PLC0415 - after settings

    return runner.Stage(shared).perform(
        lambda environment: continue_run(directory, settings, options, environment), as_json=json
    )
