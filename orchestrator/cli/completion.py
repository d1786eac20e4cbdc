"""`orchestrator completion SHELL`."""

from orchestrator.cli import flags
from orchestrator.cli.values import refuse

_SHELLS = ("bash", "zsh", "fish")


def completion(shell: str, /, *, shared: flags.Common = flags.NO_FLAGS) -> int:
    """Print the completion script for bash, zsh or fish."""
    from orchestrator.cli import output  # noqa: PLC0415 - `--help` does not wait for it
    from orchestrator.cli.app import make_app  # noqa: PLC0415

    del shared
    if shell not in _SHELLS:
        raise refuse("SHELL", f"must be one of {', '.join(_SHELLS)}")
    script = make_app().generate_completion(
        prog_name="orchestrator",
        shell=shell,  # type: ignore[arg-type] # checked above
    )
    output.give(script.rstrip("\n"))
    return 0
