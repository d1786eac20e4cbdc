"""What every command that runs something needs: settings, log, signals, the last lines.

The exit code is the run's, whatever happens to the streams. A second signal leaves at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import selectors
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, TypeVar, TypeVarTuple, Unpack, cast

from orchestrator.cli import output
from orchestrator.cli.live import Screen, show
from orchestrator.cli.live_file import keep_live_file
from orchestrator.cli.values import refuse
from orchestrator.clock import SystemClock
from orchestrator.engine.progress import Progress
from orchestrator.engine.stop import Stopping, heed_signals
from orchestrator.errors import OrchestratorError
from orchestrator.log import Events, Level, log_trouble, open_log
from orchestrator.reports.rows import iso_time
from orchestrator.settings import secret_file
from orchestrator.settings.load import load_settings
from orchestrator.settings.schema import SECRET_KEY, SECRET_KEY_FILE, SPECS
from orchestrator.streams import ReadyStream, can_start_thread, is_terminal, spare_descriptors
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Awaitable, Callable, Mapping
    from concurrent.futures import Executor

    from orchestrator.engine.results import RunResult
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings
    from orchestrator.store.run_dir import RunDirectory

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BASE_URL = "server.base_url"
NOTHING_SENT = "Nothing was sent."
#: seconds that the last words of a process may take that was told twice to leave
_LAST_WORDS_S = 0.5
#: seconds by which the page may delay the end of an emergency
_PAGE_S = 1.0
#: descriptors of a loop, a connection and what is opened for a moment
_FEW = 8
#: what a run would import while connections are open
_LATE_MODULES = (
    "concurrent.futures.thread",
    "encodings.idna",
    "orchestrator.engine.results",
    "structlog",
    "tenacity",
)
#: variables that name a file
_READ_BY_ENVIRONMENT = ("ORCHESTRATOR_SECRET_KEY_FILE", "ORCHESTRATOR_CA_FILE")


@dataclass(slots=True)
class Stage:
    """The process around one run."""

    given: Namespace
    screen: Screen = field(default_factory=Screen)
    stopping: Stopping = field(default_factory=Stopping)
    progress: Progress = field(default_factory=Progress)

    def perform(
        self,
        start: Callable[[Environment], Awaitable[RunResult]],
        *,
        hangup_ends: bool = True,
    ) -> int:
        """Run something from its beginning to its last lines; returns the exit code."""
        result = self.run(start, hangup_ends=hangup_ends)
        show_result(result, self.given)
        vars(self.given)["result"] = result  # for what machines are told
        leave_page(result)
        return result.exit_code

    def run(self, start: Callable[[Environment], Awaitable[T]], *, hangup_ends: bool = True) -> T:
        """Run something with events, signals and the live line around it; returns its result."""
        output.mask_logging()
        with _runner() as runner:
            return runner.run(self._run(start, hangup_ends=hangup_ends))

    async def _run(self, start: Callable[[Environment], Awaitable[T]], *, hangup_ends: bool) -> T:
        from orchestrator.cli import endings  # noqa: PLC0415 - it runs us
        from orchestrator.engine.run import Environment  # noqa: PLC0415 - aiohttp

        clock = SystemClock()
        log = _open_log(self.given)
        environment = Environment(
            clock=clock,
            events=make_events(self.given, log or cast("TextIO", self.screen), is_file=bool(log)),
            stopping=self.stopping,
            progress=self.progress,
            fallback=output.raw_stdout(),
            announce=endings.announcer(self.given),
        )
        heed_signals(
            self.stopping, hangup_ends=hangup_ends, taken=self._acknowledge, leave=self._leave
        )
        tellers = [keep_live_file(self.progress, clock)]
        if not self.given.quiet:
            tellers.append(show(self.progress, self.screen, clock))
        telling = asyncio.gather(*tellers)
        try:
            return await start(environment)
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling
            if log is not None:
                with contextlib.suppress(OSError):
                    log.close()

    def _acknowledge(self, name: str) -> None:
        """Say that the first signal was taken: what is in flight may take its time to end."""
        if not self.given.quiet:
            in_flight = self.progress.in_flight
            self.screen.write(
                f"{name} received: stopping after the {in_flight:,} requests in flight;"
                " press Ctrl-C again to quit now\n"
            )
            self.screen.flush()

    def _leave(self, code: int) -> NoReturn:
        """Leave at once, and the terminal as it was; not even a stuck terminal holds us."""
        with contextlib.suppress(RuntimeError):  # no thread can be started
            threading.Timer(_LAST_WORDS_S, os._exit, (code,)).start()
        self.screen.close()
        run_id = self.progress.run_id
        more = f"`orchestrator continue {run_id}` finishes it" if run_id else "no run is on record"
        output.say(output.with_commands(f"quit at once; {more}"))
        os._exit(code)


class _Loop(asyncio.SelectorEventLoop):
    """A loop that does itself what is meant for a thread, where no thread can be started."""

    _is_refused = False

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        # refused between the probe and its use: not tried again, else it might be done twice
        with contextlib.suppress(RuntimeError):
            if not self._is_refused and can_start_thread():
                return super().run_in_executor(executor, func, *args)
        self._is_refused = True
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - goes to whoever awaits it
            future.set_exception(error)
        return future

    async def shutdown_default_executor(self, *timeout_s: Any) -> None:
        with contextlib.suppress(RuntimeError):  # no thread can be started to wait for the others
            await super().shutdown_default_executor(*timeout_s)


def _runner() -> asyncio.Runner:
    """A loop; one that needs no descriptor of its own where nearly none can be opened."""
    if spare_descriptors(_FEW) == _FEW:
        return asyncio.Runner(loop_factory=_Loop)
    if not is_terminal(sys.stdin):
        # nobody types at it, and it is worth a connection
        with contextlib.suppress(OSError):
            os.close(0)
        sys.stdin = cast("TextIO", None)
    for name in _LATE_MODULES:  # while they can still be opened
        importlib.import_module(name)
    selector = selectors.PollSelector()
    return asyncio.Runner(loop_factory=lambda: _Loop(selector))


def load(  # noqa: PLR0913 - what a command needs of its settings
    given: Namespace,
    *,
    sends: bool = True,
    emergency: bool = False,
    consequence: str = NOTHING_SENT,
    reads: Path | None = None,
    run: RunDirectory | None = None,
    asks: bool = True,
    warns: bool = True,
) -> Settings:
    """Load the settings of a command from its flags, the environment, the file, and its run.

    What only reads (not `sends`) needs neither server nor credentials.
    """
    _check_log_file(given, reads)
    remembered = None
    if run is not None:
        from orchestrator.engine.saved import remembered as told  # noqa: PLC0415 - another process

        remembered = told(run)
    settings = load_settings(
        flags={key: value for key, value in vars(given).items() if key in SPECS},
        environ=os.environ,
        config=given.config,
        emergency=emergency,
        need_server=sends,
        need_credentials=sends,
        ask_secret=secret_file.terminal_prompt() if sends and asks else None,
        warn=output.warn if warns and not given.quiet else (lambda _text: None),
        consequence=consequence,
        remembered=remembered,
    )
    output.never_show(settings.credentials.secret_key)
    vars(given)["settings"] = settings  # for what is advised and told at the end
    return settings


def _where_keys_are(settings: Settings | None) -> str:
    """For whoever has to correct one of them; empty where this command used none."""
    if settings is None or settings.credentials.secret_key is None:
        return ""
    access, secret = (settings.origins[key] for key in ("credentials.access_key", SECRET_KEY))
    file = settings.credentials.secret_key_file
    held = secret if secret.startswith("typed") else f"from {secret}"
    if file is not None and secret == settings.origins[SECRET_KEY_FILE]:
        held = f"in the file {secret_file.shown_path(file)} ({secret})"
    return f"the access key is from {access}, the secret key is {held}"


def _check_log_file(given: Namespace, reads: Path | None) -> None:
    """Refuse a log that would go into a file that this command reads [C12]."""
    if given.log_file is None:
        return
    named = (os.environ.get(name) for name in _READ_BY_ENVIRONMENT)
    flags = vars(given)
    keys = (flags["server.ca_file"], flags["credentials.secret_key_file"])
    for read in (reads, given.config, *keys, *named):
        with contextlib.suppress(OSError, ValueError):
            # what is not there, or cannot be a file, is nobody's business here
            if read and os.path.samefile(given.log_file, read):  # noqa: PTH121 - takes texts too
                raise refuse("--log-file", f"{read} is read by this command")


def make_events(given: Namespace, stream: TextIO, *, is_file: bool) -> Events:
    """Where a run says what happens: a log file, or stderr above the live line.

    A file is read afterwards, so it has info events whatever is shown meanwhile.
    """
    level = Level.WARNING
    if is_file:
        level = Level.DEBUG if (given.verbose or 0) > 1 else Level.INFO
    elif given.quiet:
        level = Level.ERROR
    elif given.verbose:
        level = Level.INFO if given.verbose == 1 else Level.DEBUG
    as_json = given.log_format == "json"
    return Events(
        level=level,
        as_json=as_json,
        stream=stream,
        secrets=output.secrets(),
        traceback=given.debug,
        sentence=None if is_file or as_json or given.verbose or given.debug else _sentence,
    )


def _sentence(level: Level, event: str, fields: Mapping[str, object]) -> str | None:
    """An event for people; where nobody looks at it at once, with the time in front."""
    from orchestrator.cli.event_words import sentence  # noqa: PLC0415 - few runs say anything

    line = sentence(level, event, fields)
    if not line or is_terminal(sys.stderr):
        return line
    return f"{iso_time(SystemClock().wall_ms())[11:19]}Z {line}"


def _open_log(given: Namespace) -> TextIO | None:
    """The log file, if one is wanted and can be had; an emergency does not wait for a log."""
    if given.log_file is None:
        return None
    try:
        return cast("TextIO", ReadyStream(open_log(given.log_file)))
    except (OSError, ValueError) as error:
        why = log_trouble(error, given.log_file)
        output.warn(f"the log file {given.log_file} cannot be written ({why}); events go to stderr")
        return None


def leave_page(result: RunResult) -> None:
    """Leave report.html in the run directory; after the last line, and never instead of it."""
    if result.run_dir is None or not result.is_reported or result.repeated:
        return
    limit_s = _PAGE_S if result.facts.kind == "pause-all" else None
    making = threading.Thread(target=make_page, args=(result.run_dir,), daemon=True)
    # no thread can be started, or Ctrl-C: the run is over all the same
    with contextlib.suppress(RuntimeError, KeyboardInterrupt):
        making.start()
        making.join(limit_s)


def make_page(run_dir: Path) -> None:
    """Write report.html of a run; a warning where that cannot be."""
    from orchestrator.engine import pages  # noqa: PLC0415 - after the run
    from orchestrator.store.run_dir import RunDirectory  # noqa: PLC0415

    try:
        pages.write_page([RunDirectory(run_dir)], run_dir / pages.PAGE, SystemClock())
    except (OrchestratorError, OSError, ImportError) as error:
        output.warn(f"{run_dir / pages.PAGE} could not be made: {error}")


def show_result(result: RunResult, given: Namespace) -> None:
    """Print the results of a run: its unstopped campaigns and the line to read out, or JSON."""
    import shlex  # noqa: PLC0415 - at the end

    from orchestrator.reports.next_steps import next_step  # noqa: PLC0415 - at the end

    known = vars(given)
    settings: Settings | None = known.get("settings")
    if not given.quiet:
        if result.repeated and "html" not in known:  # `report` shows what was, of course
            saved = "already finished; showing the saved result, nothing was sent"
            output.say(f"run {result.run_id}: {saved}")
        if result.run_dir is not None and result.is_reported:
            output.say(f"report: {result.run_dir}/results.csv")
    for line in _undo_words(result, given):
        output.say(output.with_commands(line))
    following = next_step(
        result.facts,
        result.tally,
        failed_path=shlex.quote(str((result.run_dir or Path()) / "failed.csv")),
        is_limited=known.get("limit") is not None,
        keys=_where_keys_are(settings),
        # the run's own, where one is gone on with or undone
        url_from="" if settings is None or "run" in known else settings.origins[BASE_URL],
    )
    if result.trouble:
        output.say(f"error: {for_terminal(result.trouble, limit=1000)}")
        output.hint(following.removeprefix("Next: "))
    if known.get("json"):
        run_dir = None if result.run_dir is None else str(result.run_dir)
        where = {"run_dir": run_dir, "replayed": result.repeated}
        output.give(json.dumps({**result.summary, **where}, allow_nan=False))
        return
    for line in result.unstopped:
        output.give(line)
    output.give(f"{result.line} {output.with_commands(following)}".rstrip())


def _undo_words(result: RunResult, given: Namespace) -> list[str]:
    """What a dry run of a restore would do; of a real one, only which runs turned off more."""
    if result.undo is None:
        return []
    from orchestrator.reports.undo import other_lines, undo_lines  # noqa: PLC0415 - restore only

    if result.facts.dry_run:
        return undo_lines(result.undo)
    # who was asked has read it
    return other_lines(result.undo, is_last=True) if vars(given).get("yes") else []
