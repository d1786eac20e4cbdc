"""`orchestrator report RUN`."""

from orchestrator.cli import flags

_NOTHING = "Nothing was sent."


def report(run: str, /, *, json: flags.Json = False, shared: flags.Common = flags.NO_FLAGS) -> int:
    """Make the report files of a run again from its journal."""
    from orchestrator.cli import output, runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.engine.saved import report_again  # noqa: PLC0415
    from orchestrator.store.run_dir import find_run  # noqa: PLC0415

    settings = runner.load(shared, need_server=False, need_credentials=False, consequence=_NOTHING)
    result = report_again(find_run(settings.state_dir, run), fallback=output.raw_stdout())
    runner.tell(result, as_json=json, quiet=shared.quiet)
    return result.exit_code
