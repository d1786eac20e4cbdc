"""`orchestrator config show`."""

from orchestrator.cli import flags
from orchestrator.cli.table import table
from orchestrator.text import for_terminal


def show(*, json: flags.Json = False, shared: flags.Common = flags.NO_FLAGS) -> int:
    """Show the effective settings with the origin of each, the secret masked."""
    import json as json_text  # noqa: PLC0415 - the flag has its name

    from orchestrator.cli import output, runner  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.settings.load import config_show  # noqa: PLC0415

    settings = runner.load(
        shared, need_server=False, need_credentials=False, consequence="Nothing was sent."
    )
    rows = config_show(settings)
    if json:
        document = {key: {"value": value, "origin": origin} for key, value, origin in rows}
        output.give(json_text.dumps(document))
        return 0
    for row in table([("KEY", "VALUE", "ORIGIN"), *rows]):
        output.give(for_terminal(row, limit=1000))
    return 0
