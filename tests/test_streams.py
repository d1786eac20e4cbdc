"""Streams that take nothing, or are not there; descriptors that are few."""

from __future__ import annotations

import os
import pty
import resource
import termios
from collections.abc import Iterator
from typing import TextIO

import pytest

from orchestrator.streams import (
    ReadyStream,
    raise_descriptor_limit,
    spare_descriptors,
)


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """A pipe: its reading end, and what is written to."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as stream:
        yield reading, stream
    os.close(reading)


def test_what_a_full_pipe_does_not_take_is_left_out_and_said(pipe: tuple[int, TextIO]) -> None:
    """Nobody reads 300 KB; then somebody does, and learns that there were more."""
    reading, stream = pipe
    ready = ReadyStream(stream)

    ready.write("x" * 300_000)
    kept = len(os.read(reading, 1 << 20))
    ready.write("last\n")

    assert kept < 300_000
    told = os.read(reading, 1 << 20).decode()
    assert told == "(some lines are missing here: nobody was reading)\nlast\n"


def test_a_pipe_without_a_reader_is_an_error_of_the_system(pipe: tuple[int, TextIO]) -> None:
    """Whoever writes learns that nobody will ever read it."""
    reading, stream = pipe
    ready = ReadyStream(stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), reading)

    with pytest.raises(BrokenPipeError):
        ready.write("anybody?")


def test_a_terminal_that_is_held_by_ctrl_s_holds_up_nobody() -> None:
    """Output is stopped as Ctrl-S does it: writing comes back, and goes on after Ctrl-Q."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        ready = ReadyStream(stream)
        termios.tcflow(theirs, termios.TCOOFF)
        was_terminal = ready.isatty()
        ready.write("lost\n")
        termios.tcflow(theirs, termios.TCOON)
        ready.write("seen\n")
        seen = ""
        while not seen.endswith("seen\r\n"):  # a terminal may hand on two writes one by one
            seen += os.read(ours, 4096).decode()
    os.close(ours)

    assert was_terminal
    assert "lost" not in seen
    assert seen.endswith("seen\r\n")


def test_a_soft_limit_of_descriptors_is_raised_to_the_hard_one() -> None:
    """`ulimit -Sn 64` does not keep a run from a hundred connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        few = spare_descriptors(100)
        raise_descriptor_limit()
        many = spare_descriptors(100)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert few < 64
    assert many == 100
