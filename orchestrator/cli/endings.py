"""Who is told of a command: the file of metrics when it has ended, and people (`notify.*`).

People are told that a run has begun and that it is quiet while it goes on, in threads beside it;
then how it ended, also of a command that was refused before it began. Nothing here changes an exit
code.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.cli import output
from orchestrator.clock import SystemClock
from orchestrator.reports.rows import iso_time
from orchestrator.settings.schema import SPECS
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from orchestrator.engine.results import Announcement, RunResult
    from orchestrator.errors import OrchestratorError
    from orchestrator.metrics import Ending
    from orchestrator.notify import Message, Told
    from orchestrator.settings.notices import Notices

_RUNS = frozenset({"pause", "pause-all", "continue", "restore"})
#: the words of notify.on for a run that goes on → what is told then
_WHAT = {"start": "has begun", "quiet": "is quiet"}
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
    known = vars(given)
    # settings that were refused leave the variable
    textfile = known.get("textfile") or os.environ.get(_VARIABLE)
    if not textfile:
        return
    from orchestrator import metrics  # noqa: PLC0415 - few want it

    try:
        metrics.write(Path(textfile), _ending(name, code, known.get("result")))
    except OSError as error:
        output.warn(f"the metrics in {textfile} could not be written: {error.strerror or error}")


def _ending(name: str, code: int, result: RunResult | None) -> Ending:
    from orchestrator.metrics import Ending  # noqa: PLC0415 - as above

    ended_s = SystemClock().wall_ms() / 1000
    if result is None or result.repeated:
        return Ending(name, code, ended_s)
    facts = result.facts
    ended_ms = facts.ended_at_ms or facts.started_at_ms
    quiet = {
        proof.vdn_id: proof.quiet_since_ms / 1000
        for proof in facts.proofs
        if proof.quiet_since_ms is not None
    }
    duration_s = max(0, ended_ms - facts.started_at_ms) / 1000
    return Ending(name, code, ended_s, duration_s, result.counts, quiet)


class _Telling(NamedTuple):
    """People are being told of a run that goes on."""

    what: str
    thread: threading.Thread
    #: grows when it is over
    told: list[Told]


def announcer(given: Namespace) -> Callable[[Announcement], None] | None:
    """Who is told that a run has begun and that it is quiet; None: nobody.

    Telling takes a thread, and no part of the run waits for it.
    """
    notices: Notices | None = vars(given).get("notices")
    if notices is None or not notices.is_wanted or not _WHAT.keys() & set(notices.settings.on):
        return None
    tellings: list[_Telling] = vars(given).setdefault("tellings", [])

    def announce(one: Announcement) -> None:
        if one.word not in notices.settings.on:
            return
        told: list[Told] = []

        def work() -> None:
            from orchestrator.notify import Told, tell  # noqa: PLC0415 - in its thread

            try:
                told.extend(tell(notices, _announced(one)))
            except Exception as error:  # noqa: BLE001 - the run goes on without it
                told.append(Told("somebody", type(error).__name__))

        thread = threading.Thread(target=work, name="notify", daemon=True)
        tellings.append(_Telling(_WHAT[one.word], thread, told))
        with contextlib.suppress(RuntimeError):  # no thread can be started: said at the end
            thread.start()

    return announce


def _announced(one: Announcement) -> Message:
    from orchestrator.notify import Message  # noqa: PLC0415 - in its thread

    kind = {"start": "run.started", "quiet": "run.quiet"}[one.word]
    title = f"orchestrator {one.summary['action']}: {_WHAT[one.word]} (run {one.run_id})"
    return Message(
        kind,
        title,
        output.masked(one.line),
        is_bad=False,
        at=iso_time(one.at_ms),
        summary=one.summary,
        run_id=one.run_id,
    )


def _notify(name: str, given: Namespace, code: int, refusal: str) -> None:
    try:
        notices = _notices(given)
        on = notices.settings.on
        if notices.is_wanted and ("end" in on or ("bad" in on and code)):
            from orchestrator.notify import tell  # noqa: PLC0415 - as above

            message = _message(name, code, vars(given).get("result"), refusal)
            _warn("how it ended", tell(notices, message))
        for one in vars(given).get("tellings", ()):
            _warn(f"that it {one.what}", _awaited(one))
    except KeyboardInterrupt:
        output.warn("interrupted before everybody was told how it ended")
    except Exception as error:  # noqa: BLE001 - the run is over, its exit code stands
        output.warn(f"nobody was told how it ended: {type(error).__name__}")


def _awaited(one: _Telling) -> list[Told]:
    """What became of a message; it began before the end, so its 10 s are over before long."""
    from orchestrator.notify import LIMIT_S, Told  # noqa: PLC0415 - as above

    if one.thread.ident is None:
        return [Told("somebody", "no thread can be started")]
    one.thread.join(LIMIT_S)
    return one.told or [Told("somebody", f"no answer in {LIMIT_S:g} s")]


def _warn(what: str, told: list[Told]) -> None:
    for one in told:
        if one.problem:
            output.warn(f"{one.name} was not told {what}: {one.problem}")


def try_notices(given: Namespace) -> list[Told]:
    """Send a test message to everybody who is told; empty when there is nobody."""
    from orchestrator.notify import Message, tell  # noqa: PLC0415 - as above

    line = "This is a test of `orchestrator check --notify`; nothing has happened."
    message = Message("test", "orchestrator: test", line, is_bad=False, at=_now(), summary={})
    return tell(_notices(given), message)


def _notices(given: Namespace) -> Notices:
    loaded: Notices | None = vars(given).get("notices")
    if loaded is not None:
        return loaded
    from orchestrator.settings.notices import read_notices  # noqa: PLC0415 - at the end

    return read_notices(os.environ, given.config, vars(given).get("server.ca_file"))


def _message(name: str, code: int, result: RunResult | None, refusal: str) -> Message:
    from orchestrator.notify import Message  # noqa: PLC0415 - as above
    from orchestrator.reports.files import RESULTS, sha256_of  # noqa: PLC0415 - as above

    title = f"orchestrator {name}: exit code {code}"
    if result is None:
        line = for_terminal(output.masked(refusal), limit=1000)
        return Message(
            "run.refused",
            title,
            line,
            is_bad=code != 0,
            at=_now(),
            summary={"action": name, "exit_code": code},
        )
    has_rows = result.run_dir is not None and result.is_reported
    return Message(
        "run.ended",
        f"{title} (run {result.run_id})",
        output.masked(result.line),
        is_bad=code != 0,
        at=_now(),
        summary=result.summary,
        run_id=result.run_id,
        results_sha256=sha256_of(result.run_dir / RESULTS) if has_rows and result.run_dir else "",
    )


def _now() -> str:
    return iso_time(SystemClock().wall_ms())
