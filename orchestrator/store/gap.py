"""Whether a journal may lack something, because an emergency goes on when its disk fails.

The mark is made at the start, while there is room, and removed at a good end. When the disk fails
it is renamed, which needs no room. A journal that is known to be incomplete stays so.
"""

from __future__ import annotations

import contextlib
import os
from enum import StrEnum
from pathlib import Path


class Gap(StrEnum):
    """What a journal may lack; the values end the names of the marks."""

    NONE = ""
    #: an emergency writes it now, or did not end in order: nobody knows
    OPEN = ".open"
    #: its disk failed: what came after that is missing
    LOST = ".incomplete"


def gap_of(journal: Path) -> Gap:
    """What a journal lacks."""
    for gap in (Gap.LOST, Gap.OPEN):
        if os.path.lexists(f"{journal}{gap}"):
            return gap
    return Gap.NONE


def begin_gap(journal: Path) -> None:
    """An emergency begins to write this journal; without room for the mark there is none."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        os.close(os.open(f"{journal}{Gap.OPEN}", flags, 0o600))


def lose(journal: str) -> None:
    """Its disk has failed; without the mark of an emergency there is nothing to say."""
    with contextlib.suppress(OSError):
        os.rename(f"{journal}{Gap.OPEN}", f"{journal}{Gap.LOST}")  # noqa: PTH104 - a text


def end_gap(journal: Path) -> None:
    """Everything is in it."""
    with contextlib.suppress(OSError):
        os.unlink(f"{journal}{Gap.OPEN}")  # noqa: PTH108 - as above
