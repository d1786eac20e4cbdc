"""Who is told of a command: the file of metrics when it has ended, and people (`notify.*`).

People are told that a run has begun and that it is quiet while it goes on, in threads beside it;
then how it ended, also of a command that was refused before it began. Nothing here changes an exit
code.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.cli import output
from orchestrator.clock import SystemClock
from orchestrator.reports.rows import iso_time
from orchestrator.settings.notices import Notices, read_notices
from orchestrator.settings.schema import SPECS
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping

    from orchestrator.engine.results import Announcement, RunResult
    from orchestrator.errors import OrchestratorError
    from orchestrator.notify import Message, Told
    from orchestrator.settings.load import Settings

_RUNS = frozenset({"pause", "pause-all", "continue", "restore"})
#: the words of notify.on for a run that goes on → what is told then
_WHAT = {"start": "has begun", "quiet": "is quiet"}
_KINDS = {"start": "run.started", "quiet": "run.quiet"}
_VARIABLE = SPECS["metrics.textfile"].variable


def run(
    name: str,
    command: Callable[[Namespace], int],
    given: Namespace,
    complain: Callable[[Exception], OrchestratorError],
) -> int:
    """Run a command and tell how it ended; returns its exit code. `complain` prints an error."""
    refusal = ""
    try:
        code = command(given)
    except Exception as error:  # noqa: BLE001 - printed at once: telling others may take 10 s
        last = complain(error)
        code, refusal = last.exit_code, last.sentence
    if (name in _RUNS or name == "check") and not vars(given).get("dry_run"):
        _write_metrics(name, given, code)
        if name in _RUNS:
            _notify(name, given, code, refusal)
    return code


def _write_metrics(name: str, given: Namespace, code: int) -> None:
    settings: Settings | None = vars(given).get("settings")
    # settings that were refused leave the variable
    textfile = (settings and settings.metrics.textfile) or os.environ.get(_VARIABLE)
    if not textfile:
        return
    from orchestrator import metrics  # noqa: PLC0415 - few want it

    ending = metrics.Ending(name, code, SystemClock().wall_ms() / 1000)
    result: RunResult | None = vars(given).get("result")
    if result is not None and not result.repeated:
        facts = result.facts
        ended_ms = facts.ended_at_ms or facts.started_at_ms
        ending = ending._replace(
            duration_s=max(0, ended_ms - facts.started_at_ms) / 1000,
            counts=result.counts,
            quiet_s={
                proof.vdn_id: proof.quiet_since_ms / 1000
                for proof in facts.proofs
                if proof.quiet_since_ms is not None
            },
        )
    try:
        metrics.write(Path(textfile), ending)
    except OSError as error:
        output.warn(f"the metrics in {textfile} could not be written: {error.strerror or error}")


def announcer(given: Namespace) -> Callable[[Announcement], None] | None:
    """Who is told that a run has begun and that it is quiet; None: nobody.

    Telling takes a thread, and no part of the run waits for it.
    """
    if "settings" not in vars(given):
        return None  # the demo
    notices = _notices(given)
    if not notices.is_wanted or not _WHAT.keys() & set(notices.settings.on):
        return None
    #: what is told, its thread, and what became of it, which grows when that is over
    tellings: list[tuple[str, threading.Thread, list[Told]]] = []
    vars(given)["tellings"] = tellings

    def announce(one: Announcement) -> None:
        if one.word not in notices.settings.on:
            return
        told: list[Told] = []

        def work() -> None:
            from orchestrator.notify import Told, tell  # noqa: PLC0415 - in its thread

            title = f"orchestrator {one.summary['action']}: {_WHAT[one.word]} (run {one.run_id})"
            message = _message(_KINDS[one.word], title, one.line, one.summary, at_ms=one.at_ms)
            try:
                told.extend(tell(notices, message._replace(run_id=one.run_id)))
            except Exception as error:  # noqa: BLE001 - the run goes on without it
                told.append(Told("somebody", type(error).__name__))

        thread = threading.Thread(target=work, name="notify", daemon=True)
        tellings.append((_WHAT[one.word], thread, told))
        with suppress(RuntimeError):  # no thread can be started: said at the end
            thread.start()

    return announce


def _notify(name: str, given: Namespace, code: int, refusal: str) -> None:
    try:
        notices = _notices(given)
        if not notices.is_wanted:
            return
        from orchestrator.notify import LIMIT_S, Told, tell  # noqa: PLC0415 - few want it

        on = notices.settings.on
        if "end" in on or ("bad" in on and code):
            message = _last_words(name, code, vars(given).get("result"), refusal)
            _warn("how it ended", tell(notices, message))
        for what, thread, told in vars(given).get("tellings", ()):
            if thread.ident is None:
                told.append(Told("somebody", "no thread can be started"))
            else:  # it began before the end, so its time is over before long
                thread.join(LIMIT_S)
            _warn(f"that it {what}", told or [Told("somebody", f"no answer in {LIMIT_S:g} s")])
    except KeyboardInterrupt:
        output.warn("interrupted before everybody was told how it ended")
    except Exception as error:  # noqa: BLE001 - the run is over, its exit code stands
        output.warn(f"nobody was told how it ended: {type(error).__name__}")


def _warn(what: str, told: list[Told]) -> None:
    for one in told:
        if one.problem:
            output.warn(f"{one.name} was not told {what}: {one.problem}")


def try_notices(given: Namespace) -> list[Told]:
    """Send a test message to everybody who is told; empty when there is nobody."""
    from orchestrator.notify import tell  # noqa: PLC0415 - as above

    line = "This is a test of `orchestrator check --notify`; nothing has happened."
    return tell(_notices(given), _message("test", "orchestrator: test", line, {}))


def _notices(given: Namespace) -> Notices:
    """Whom to tell; settings that were refused say that too."""
    settings: Settings | None = vars(given).get("settings")
    if settings is not None:
        return Notices(settings.notify, settings.server.ca_file)
    return read_notices(os.environ, given.config, vars(given).get("server.ca_file"))


def _last_words(name: str, code: int, result: RunResult | None, refusal: str) -> Message:
    from orchestrator.reports.files import RESULTS, sha256_of  # noqa: PLC0415 - as above

    title = f"orchestrator {name}: exit code {code}"
    if result is None:
        line = for_terminal(output.masked(refusal), limit=1000)
        summary = {"action": name, "exit_code": code}
        return _message("run.refused", title, line, summary)._replace(is_bad=code != 0)
    has_rows = result.run_dir is not None and result.is_reported
    title = f"{title} (run {result.run_id})"
    return _message("run.ended", title, result.line, result.summary)._replace(
        is_bad=code != 0,
        run_id=result.run_id,
        results_sha256=sha256_of(result.run_dir / RESULTS) if has_rows and result.run_dir else "",
    )


def _message(
    kind: str, title: str, line: str, summary: Mapping[str, Any], *, at_ms: int | None = None
) -> Message:
    from orchestrator.notify import Message  # noqa: PLC0415 - as above

    at = iso_time(SystemClock().wall_ms() if at_ms is None else at_ms)
    return Message(kind, title, output.masked(line), is_bad=False, at=at, summary=summary)
