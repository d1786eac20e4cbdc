"""The entry point of the command line: arguments in, exit code out, a traceback only with --debug.

Every error becomes two lines on stderr and its exit code; what nobody foresaw is 70. Help, version
and refusals import neither the client nor rich. No core dump is written, because it would hold the
secret.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from itertools import takewhile
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.errors import BugError, OrchestratorError, StorageError, UsageError
from orchestrator.streams import is_terminal, raise_descriptor_limit
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

    from orchestrator.cli.pasting import Calling

INTERRUPTED = 130
#: the name of a thread of notify.py, which may be left behind
_TELLING = "notify"
_CA_FILE = "server.ca_file"
#: a command of table.py → the module in this folder and the function that are its own
_HOMES = {
    "init": "init.init",
    "pause": "sending.pause",
    "pause-all": "sending.pause_all",
    "continue": "sending.continue_",
    "restore": "sending.restore",
    "runs": "runs.runs",
    "report": "runs.report",
    "note": "runs.note",
    "stop": "runs.stop",
    "check": "commands.check",
    "status": "commands.status",
    "console": "commands.console",
    "config show": "commands.config_show",
    "completion": "commands.completion",
    "cluster init": "cluster.init",
    "worker": "cluster.worker",
    "simulate": "rehearsal.simulate",
    "demo": "rehearsal.demo",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, without the program's name (None: this process's); the exit code."""
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    raise_descriptor_limit()
    output.prepare_streams()
    is_called = arguments is None
    output.set_calling(lru_cache(lambda: _calling(tokens, is_called=is_called)))
    try:
        code = _run(tokens)
    except KeyboardInterrupt:
        output.say("interrupted before anything was sent")
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: people get one line, not a traceback
        code = _complain(error, tokens).exit_code
    finally:
        output.finish_output()
    if is_called and any(one.name == _TELLING for one in threading.enumerate()):
        os._exit(code)  # the interpreter would wait for what other people's code has started
    return code


def _run(tokens: list[str]) -> int:
    whole = tokens
    if tokens[:1] in (["--version"], ["-V"]):
        output.give(f"orchestrator {VERSION}")
        return 0
    from orchestrator.cli import parser  # noqa: PLC0415 - `--version` needs none

    if tokens[:1] == ["help"]:
        tokens = [*tokens[1:], "--help"]
    if not tokens or tokens[0] in parser.HELP_FLAGS:
        output.give_help(parser.main_help())
        return 0
    name, rest = parser.find_command(tokens)
    reader = parser.Parser(name)
    before_end = list(takewhile("--".__ne__, rest))
    refusal = None
    try:
        given = None if set(parser.HELP_FLAGS) & set(before_end) else reader.read(rest)
    except UsageError as error:
        if is_terminal(sys.stderr) or "--dry-run" in before_end:
            raise
        # nobody may see what is printed: others are told
        from argparse import Namespace  # noqa: PLC0415 - as above

        refusal, flags = error, dict(_calling(whole, is_called=False).given)
        given = Namespace(
            **{"config": flags.get("--config"), _CA_FILE: flags.get("--ca-file"), "help": False}
        )
    if given is None or given.help:  # the latter as in -vh
        output.give_help(reader.format_help().rstrip("\n"))
        return 0
    from orchestrator.cli import endings  # noqa: PLC0415 - a refused line does not wait

    def command(given: Namespace) -> int:
        if refusal is not None:
            raise refusal
        home, _, function = _HOMES[name].partition(".")
        code: int = getattr(import_module(f"orchestrator.cli.{home}"), function)(given)
        return code

    return endings.run(name, command, given, lambda error: _complain(error, whole))


def _complain(error: Exception, tokens: list[str]) -> OrchestratorError:
    """Print an error; returns it as people see it."""
    last = error if isinstance(error, OrchestratorError) else _uncaught(error)
    output.complain(last)
    _trace(error, tokens)
    return last


def _calling(tokens: list[str], *, is_called: bool) -> Calling:
    from orchestrator.cli.pasting import calling_of  # noqa: PLC0415 - for a message

    return calling_of(tokens, is_called=is_called)


def _uncaught(error: Exception) -> OrchestratorError:
    """What nobody foresaw: a limit of this process that is too low, or a bug of ours."""
    is_short = isinstance(error, MemoryError) or "start new thread" in str(error)
    if is_short or (isinstance(error, SystemError) and _is_limited()):
        return StorageError(
            "this process gets too little memory (ulimit -v, or its container's limit)",
            advice="raise the limit; `orchestrator runs` shows what was recorded",
        )
    return BugError(
        f"a bug in the orchestrator: {type(error).__name__}: {error}",
        advice="run it again with --debug and report what it prints;"
        " `orchestrator runs` shows what was recorded",
    )


def _is_limited() -> bool:
    """Whether memory is limited: an interpreter that gets none may say anything."""
    limits = (resource.getrlimit(one)[0] for one in (resource.RLIMIT_DATA, resource.RLIMIT_AS))
    return any(one != resource.RLIM_INFINITY for one in limits)


def _trace(error: BaseException, tokens: list[str]) -> None:
    """With --debug say where an error came from: places and source lines, no values."""
    if "--debug" not in tokens:
        return
    import traceback  # noqa: PLC0415 - only with --debug

    for line in traceback.TracebackException.from_exception(error, capture_locals=False).format():
        output.say(line.rstrip("\n"))


if __name__ == "__main__":
    sys.exit(main())
