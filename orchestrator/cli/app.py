"""The commands and how their arguments are read; a command's module is loaded when it is called.

cyclopts neither prints nor exits here: help comes from help_text.py, errors from usage.py and
main.py. No environment variable and no file reaches an argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

#: name: what it does, in the order in which people need it
COMMANDS = {
    "pause": "pause every campaign in a list",
    "pause-all": "the emergency: stop everything in one or several VDNs, and prove quiet",
    "continue": "finish a run that was interrupted",
    "restore": "start again exactly the campaigns that a run turned off",
    "report": "make the report files again from a run's journal",
    "runs": "list runs, newest first; a live one is marked",
    "check": "a read-only drill that shows whether an emergency would work now",
    "config show": "effective settings, with the origin of each",
    "simulate": "a CC-iSales stand-in on loopback, for drills",
    "demo": "the simulator, a list with faults, paused, its report",
    "completion": "print the completion script for a shell",
}

_PLACES = {
    "pause": "orchestrator.cli.parameters:pause",
    "pause-all": "orchestrator.cli.parameters:pause_all",
    "continue": "orchestrator.cli.parameters:continue_",
    "restore": "orchestrator.cli.parameters:restore",
    "report": "orchestrator.cli.parameters:report",
    "runs": "orchestrator.cli.parameters:runs",
    "check": "orchestrator.cli.parameters:check",
    "simulate": "orchestrator.cli.parameters:simulate",
    "demo": "orchestrator.cli.parameters:demo",
    "completion": "orchestrator.cli.parameters:completion",
}


def make_app() -> App:
    """The command line as cyclopts knows it; nothing is loaded yet."""
    from cyclopts import App, Parameter  # noqa: PLC0415 - a plain call needs no cyclopts

    quiet = Parameter(negative=(), negative_iterable=(), negative_none=())
    app = App(
        name="orchestrator",
        help="Stop the dialling, and prove it stopped.",
        help_flags=(),
        version_flags=(),
        default_parameter=quiet,
        print_error=False,
        exit_on_error=False,
    )
    for name, place in _PLACES.items():
        app.command(place, name=name, help=COMMANDS[name], default_parameter=quiet)
    config = App(name="config", help="Settings.", help_flags=(), version_flags=())
    config.command(
        "orchestrator.cli.parameters:show",
        name="show",
        help=COMMANDS["config show"],
        default_parameter=quiet,
    )
    app.command(config)
    return app
