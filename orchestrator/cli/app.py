"""The commands there are, and how their arguments are read.

Rule 1: a command is registered by its import string and loaded when it is the one called.
Rule 2: no environment variable and no file reaches an argument from here (settings do their own).
Rule 3: cyclopts neither prints nor exits: help is help_text.py, errors are usage.py and main.py.
"""

from __future__ import annotations

from cyclopts import App, Parameter

#: name: what it does, in the order in which people need it
COMMANDS = {
    "pause": "pause every campaign in a list",
    "pause-all": "the emergency: stop everything in one or several VDNs, and prove quiet",
    "continue": "finish a run that was interrupted",
    "restore": "start again exactly the campaigns that a run turned off",
    "report": "make the report files again from a run's journal",
    "runs": "list runs, newest first; a live one is marked",
    "check": "read-only drill: would an emergency work right now?",
    "config show": "effective settings, with the origin of each",
    "simulate": "a CC-iSales stand-in on loopback, for drills",
    "demo": "the simulator, a list with faults, paused, its report",
    "completion": "print the completion script for a shell",
}

_PLACES = {
    "pause": "orchestrator.cli.pause:pause",
    "pause-all": "orchestrator.cli.pause_all:pause_all",
    "continue": "orchestrator.cli.continue_:continue_",
    "restore": "orchestrator.cli.restore:restore",
    "report": "orchestrator.cli.report:report",
    "runs": "orchestrator.cli.runs:runs",
    "check": "orchestrator.cli.check:check",
    "simulate": "orchestrator.cli.simulate:simulate",
    "demo": "orchestrator.cli.demo:demo",
    "completion": "orchestrator.cli.completion:completion",
}


def make_app() -> App:
    """The command line as cyclopts knows it; nothing is loaded yet."""
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
        "orchestrator.cli.config_show:show",
        name="show",
        help=COMMANDS["config show"],
        default_parameter=quiet,
    )
    app.command(config)
    return app
