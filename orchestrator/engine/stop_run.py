"""`stop RUN`: ends a live run from another terminal, as Ctrl-C in its own would.

A signal goes to a process only when the kernel says that it holds the run's lock, through a handle
that no other process can inherit, and never twice: a second one would cut the run off.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.engine.saved import id_of, read_again
from orchestrator.errors import OrchestratorError, RefusedError
from orchestrator.reports.rows import iso_time
from orchestrator.store.kernel import holds_lock, is_frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.engine.results import RunResult
    from orchestrator.store.run_dir import Holder, RunDirectory

#: a drained run, its last look and its report take 9 s at most
WAIT_S = 15.0
_LOOK_S = 0.2


class Reaction(Enum):
    """What became of it."""

    ENDED = "ended"
    #: its process is suspended: the signal waits with it
    FROZEN = "frozen"
    STILL_ENDING = "still ending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """How a run took it."""

    run_id: str
    pid: int
    reaction: Reaction
    #: why it was ending before; empty: this signal ended it
    was_ending: str = ""
    #: what it came to; None: it works on, or its journal cannot be read
    result: RunResult | None = None


def stop_run(directory: RunDirectory, *, wait_s: float = WAIT_S) -> Halt:
    """End a live run and wait for its end.

    Raises:
        RefusedError: nobody works on it, or it is not certain who; nothing was signalled.
    """
    run_id = id_of(directory)
    with _only_one(directory) as is_alone, contextlib.ExitStack() as held:
        holder = _holder(directory, run_id)
        handle = _handle(holder, run_id)
        held.callback(os.close, handle)
        # The handle is that of whoever has the pid now; only then is it asked what it holds.
        if not holds_lock(holder.pid, directory.path):
            raise _uncertain(run_id, f"process {holder.pid} does not hold it, as far as we can see")
        was_ending = holder.ending if is_alone else holder.ending or "by another `stop`"
        if not was_ending:
            _signal(handle, holder, run_id)
        has_ended = _wait(handle, directory, wait_s=0.5 if is_frozen(holder.pid) else wait_s)
    if not has_ended:
        _note_signal(directory)
        reaction = Reaction.FROZEN if is_frozen(holder.pid) else Reaction.STILL_ENDING
        return Halt(run_id=run_id, pid=holder.pid, reaction=reaction, was_ending=was_ending)
    result = None
    with contextlib.suppress(OrchestratorError):
        result = read_again(directory)
    return Halt(
        run_id=run_id, pid=holder.pid, reaction=Reaction.ENDED, was_ending=was_ending, result=result
    )


@contextlib.contextmanager
def _only_one(directory: RunDirectory) -> Iterator[bool]:
    """Two `stop`s at once would be two signals; yields whether no other one is at it."""
    try:
        descriptor = os.open(directory.journal, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        yield True  # what keeps us from reading it keeps us from signalling too, or does no harm
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _holder(directory: RunDirectory, run_id: str) -> Holder:
    holder = directory.holder()
    if not directory.is_live:
        raise _not_live(directory, run_id)
    if holder is None:
        raise _uncertain(run_id, "it is not written there whose process that is")
    if holder.host != (host := os.uname().nodename):
        raise RefusedError(
            f"run {run_id} is being worked on by {holder}, and this is {host}."
            " Nothing was signalled.",
            advice=f"`orchestrator stop {run_id}` on {holder.host} ends it",
        )
    return holder


def _not_live(directory: RunDirectory, run_id: str) -> RefusedError:
    try:
        facts = read_again(directory).facts
    except OrchestratorError as error:
        return RefusedError(f"run {run_id} is not being worked on ({error}). Nothing was signalled")
    if facts.ended_at_ms is None:
        how, advice = "its process was killed", f"`orchestrator continue {run_id}` finishes it"
    else:
        how = f"it ended at {iso_time(facts.ended_at_ms)[:19]}Z ({facts.ended.value})"
        advice = f"`orchestrator report {run_id}` shows how"
    return RefusedError(
        f"run {run_id} is not being worked on; {how}. Nothing was signalled.", advice=advice
    )


def _handle(holder: Holder, run_id: str) -> int:
    """A handle of the process: it never means another one that gets the same number."""
    try:
        return os.pidfd_open(holder.pid)
    except (OSError, AttributeError) as error:
        raise _uncertain(run_id, f"process {holder.pid} cannot be reached ({error})") from error


def _uncertain(run_id: str, why: str) -> RefusedError:
    return RefusedError(
        f"run {run_id} is being worked on, but {why}. Nothing was signalled.",
        advice="press Ctrl-C in the terminal that it runs in",
    )


def _signal(handle: int, holder: Holder, run_id: str) -> None:
    try:
        signal.pidfd_send_signal(handle, signal.SIGINT)
    except PermissionError as error:
        raise RefusedError(
            f"run {run_id} is being worked on by {holder}, which belongs to another user."
            " Nothing was signalled.",
            advice="stop it as that user, or as root",
        ) from error
    except ProcessLookupError:
        return  # it has just ended by itself


def _note_signal(directory: RunDirectory) -> None:
    """It has not said yet that it is ending: whoever comes next must know of the signal."""
    holder = directory.holder()
    if holder is not None and not holder.ending:
        directory.note_ending("by `stop`")


def _wait(handle: int, directory: RunDirectory, *, wait_s: float) -> bool:
    """Wait until it has ended; False: it has not."""
    poller = select.poll()  # a console with a thousand visitors has handles too high for select
    poller.register(handle, select.POLLIN)
    for _ in range(max(1, round(wait_s / _LOOK_S))):
        is_gone = bool(poller.poll(_LOOK_S * 1000))
        if is_gone or not directory.is_live:
            return True
    return False
