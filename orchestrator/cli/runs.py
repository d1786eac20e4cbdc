"""`orchestrator runs`."""

from typing import TYPE_CHECKING

from orchestrator.cli import flags
from orchestrator.cli.table import table
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from orchestrator.engine.saved import RunLine

_NOTHING = "Nothing was sent."


def runs(*, json: flags.Json = False, shared: flags.Common = flags.NO_FLAGS) -> int:
    """List runs, newest first, with their verdict; a live one is marked."""
    import json as json_text  # noqa: PLC0415 - the flag has its name

    from orchestrator.cli import output, runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.engine.saved import list_runs  # noqa: PLC0415

    settings = runner.load(shared, need_server=False, need_credentials=False, consequence=_NOTHING)
    lines = list_runs(settings.state_dir)
    if json:
        output.give(json_text.dumps([_document(line) for line in lines]), paged=True)
        return 0
    if not lines:
        output.say(f"no runs in {settings.state_dir / 'runs'}")
        return 0
    rows = [
        (
            "*" if line.live else "",
            line.run_id,
            line.kind,
            _started(line),
            line.verdict,
            _counts(line),
            line.holder or line.problem,
        )
        for line in lines
    ]
    head = ("", "RUN", "COMMAND", "STARTED", "VERDICT", "CAMPAIGNS", "")
    for row in table([head, *rows]):
        output.give(for_terminal(row, limit=1000), paged=True)
    return 0


def _started(line: "RunLine") -> str:
    from orchestrator.reports.rows import iso_time  # noqa: PLC0415

    return "" if line.started_at_ms is None else iso_time(line.started_at_ms)[:19] + "Z"


def _counts(line: "RunLine") -> str:
    return ", ".join(f"{number:,} {outcome}" for outcome, number in line.counts.items() if number)


def _document(line: "RunLine") -> dict[str, object]:
    return {
        "run_id": line.run_id,
        "action": line.kind,
        "started_at": _started(line) or None,
        "verdict": line.verdict,
        "live": line.live,
        "holder": line.holder,
        "counts": line.counts,
        "run_dir": str(line.path),
        "problem": line.problem,
    }
