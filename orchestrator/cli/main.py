"""The entry point of the command line: arguments in, exit code out, a traceback only with --debug.

Every error becomes two lines on stderr and its exit code; what nobody foresaw is 70. Help, version
and refusals import neither the client nor rich. No core dump is written, because it would hold the
secret. The garbage collector starts when a run begins (runner.py) or another command is called:
while modules are loaded it finds nothing and takes 17 ms of the time to the first PUT.
"""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.errors import BugError, OrchestratorError, StorageError
from orchestrator.streams import raise_descriptor_limit
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        arguments: without the program's name; None takes those of this process.

    Returns:
        The exit code (docs/spec/contracts.md).
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    _forbid_core_dumps()
    raise_descriptor_limit()
    output.prepare_streams()
    gc.disable()
    try:
        return _run(tokens)
    except OrchestratorError as error:
        output.complain(error)
        _trace(error, tokens)
        return error.exit_code
    except KeyboardInterrupt:
        output.say("interrupted before anything was sent")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: people get one line, not a traceback
        last = _uncaught(error)
        output.complain(last)
        _trace(error, tokens)
        return last.exit_code
    finally:
        gc.enable()
        output.finish_output()


def _run(tokens: list[str]) -> int:
    if not tokens or tokens[0] in {"--help", "-h", "help"}:
        from orchestrator.cli.help_text import main_help  # noqa: PLC0415 - only when asked for

        output.give(main_help())
        return 0
    if tokens[0] == "--version":
        output.give(f"orchestrator {VERSION}")
        return 0
    command = _help_wanted(tokens)
    if command:
        from orchestrator.cli.help_text import command_help  # noqa: PLC0415 - only when asked for

        output.give(command_help(command))
        return 0
    return _call(tokens)


def _help_wanted(tokens: list[str]) -> str:
    """The command whose help is asked for; empty for none."""
    from orchestrator.cli.app import COMMANDS  # noqa: PLC0415 - `--version` needs none

    before_end = tokens[: tokens.index("--")] if "--" in tokens else tokens
    if not {"--help", "-h"} & set(before_end):
        return "config show" if tokens == ["config"] else ""
    if tokens[0] == "config":
        return "config show"
    return tokens[0] if tokens[0] in COMMANDS else ""


def _call(tokens: list[str]) -> int:
    from orchestrator.cli import plain  # noqa: PLC0415 - `--version` needs none

    call = plain.read(tokens)
    if call is not None:
        return call.command(*call.args, **call.kwargs)
    from cyclopts import CycloptsError  # noqa: PLC0415 - a plain call needs no cyclopts

    from orchestrator.cli.app import make_app  # noqa: PLC0415
    from orchestrator.cli.usage import refuse_secrets, usage_error  # noqa: PLC0415

    refuse_secrets(tokens)
    app = make_app()
    try:
        command, bound, _ = app.parse_args(tokens, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        raise usage_error(error, app, tokens) from error
    gc.enable()
    called: Callable[..., int] = command
    return called(*bound.args, **bound.kwargs)


def _uncaught(error: Exception) -> OrchestratorError:
    """What nobody foresaw: a limit of this process that is too low, or a bug of ours."""
    if isinstance(error, MemoryError) or "start new thread" in str(error):
        return StorageError(
            "this process gets too little memory (ulimit -v, or its container's limit)",
            advice="raise the limit; `orchestrator runs` shows what was recorded",
        )
    return BugError(
        f"a bug in the orchestrator: {type(error).__name__}: {error}",
        advice="run it again with --debug and report what it prints;"
        " `orchestrator runs` shows what was recorded",
    )


def _forbid_core_dumps() -> None:
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _trace(error: BaseException, tokens: list[str]) -> None:
    """With --debug say where an error came from: places and source lines, no values."""
    if "--debug" not in tokens:
        return
    import traceback  # noqa: PLC0415 - only with --debug

    for line in traceback.TracebackException.from_exception(error, capture_locals=False).format():
        output.say(line.rstrip("\n"))


if __name__ == "__main__":
    sys.exit(main())
