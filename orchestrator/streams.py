"""The standard streams: writing to one that nobody reads; running with few descriptors or threads.

Descriptors 0, 1 and 2 are always taken; otherwise the next file that is opened gets one of them,
and a library's message to stderr would go into the journal. A stream that takes nothing (a full
pipe, a terminal after Ctrl-S) loses lines and never costs time; the loss is reported later. A
result is worth a wait, but no command waits for ever for a reader that has stopped.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import select
import socket
import threading
from typing import TextIO

#: where a stream that was closed leads: reading must fail, writing must not
_MODES = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
#: bytes that every stream takes without waiting when it says that it is ready
_PIECE_BYTES = 512
#: seconds for which a stream is waited for, unless it has kept us waiting before
_PATIENCE_S = 0.05
#: files that may be open: twice as many as the most connections
_MANY = 4096
#: seconds for which a result waits for whoever stands still at the other end
RESULT_PATIENCE_S = 10.0
_GAP = "(some lines are missing here: nobody was reading)\n"


def take_standard_descriptors() -> None:
    """Open /dev/null for each of stdin, stdout and stderr that whoever started us has closed.

    A missing stdin and stdout stay missing: reading the one and writing the other fails.
    """
    for descriptor, mode in enumerate(_MODES):
        try:
            os.fstat(descriptor)
        except OSError:
            try:
                opened = os.open(os.devnull, mode)
            except OSError:
                return  # no descriptor is left, or there is no /dev: nothing else can take it
            if opened != descriptor:
                os.close(opened)


def raise_descriptor_limit() -> None:
    """Let this process open as many files as it may let itself open, up to 4,096."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MANY if hard == resource.RLIM_INFINITY else min(hard, _MANY)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def spare_descriptors(most: int) -> int:
    """How many files this process can still open; at most `most` are tried."""
    taken: list[int] = []
    with contextlib.suppress(OSError):
        while len(taken) < most:
            taken.append(socket.socket().detach())
    for descriptor in taken:
        os.close(descriptor)
    return len(taken)


def can_start_thread() -> bool:
    """Whether this process gets one more thread (ulimit -u, a container's limit, memory)."""
    thread = threading.Thread(target=int)
    try:
        thread.start()
    except RuntimeError:
        return False
    thread.join()
    return True


def is_terminal(stream: object) -> bool:
    """Whether a stream is a terminal; a closed one is none."""
    try:
        return bool(stream is not None and stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False


def write_within(stream: TextIO, text: str, patience_s: float) -> None:
    """Write a text; give up when nothing of it is taken for `patience_s`. A terminal has its time.

    The stream keeps nothing back (it was flushed).

    Raises:
        TimeoutError: nobody reads.
        OSError: nobody will ever read it.
    """
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        descriptor = -1  # no file: it takes everything
    if descriptor < 0 or stream.isatty():
        stream.write(text)
        stream.flush()
        return
    if not _write(descriptor, text.encode(stream.encoding, "backslashreplace"), patience_s):
        raise TimeoutError(errno.ETIMEDOUT, "nobody reads it")


def _write(descriptor: int, rest: bytes, patience_s: float) -> bool:
    """Write all of it, unless nothing is taken for so long; whether that was done."""
    while rest:
        if not _is_ready(descriptor, patience_s):
            return False
        with contextlib.suppress(BlockingIOError):  # somebody who shares it was quicker
            rest = rest[os.write(descriptor, rest[:_PIECE_BYTES]) :]
    return True


def _is_ready(descriptor: int, wait_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(wait_s * 1000))


class ReadyStream:
    """Text for a descriptor, written as far as it is taken at once.

    No `io.TextIOBase`: that would close the stream beneath when nobody refers to this any more.
    """

    def __init__(self, inner: TextIO) -> None:
        """Write where `inner` writes.

        Raises:
            OSError: it has no descriptor.
        """
        self.inner = inner
        self._descriptor = inner.fileno()
        self._lost = False

    @property
    def encoding(self) -> str:
        """As the stream's own."""
        return self.inner.encoding

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.inner.isatty()

    def flush(self) -> None:
        """Nothing is kept back."""

    def write(self, text: str, /) -> int:
        """Write what is taken at once; the rest is left out.

        Raises:
            OSError: nobody will ever read it.
        """
        if self._lost and _is_ready(self._descriptor, 0.0):
            text = _GAP + text
        elif self._lost:
            return len(text)
        data = text.encode(self.encoding, "backslashreplace")
        self._lost = not _write(self._descriptor, data, _PATIENCE_S)
        return len(text)

    def close(self) -> None:
        """Close the stream beneath."""
        self.inner.close()
