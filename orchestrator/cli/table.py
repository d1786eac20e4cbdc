"""Rows of text in columns: the same on a terminal, in a pipe and in a mail."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Pad every column but the last to its widest cell, two spaces between columns.

    >>> table([("KEY", "VALUE"), ("a", "1")])
    ['KEY  VALUE', 'a    1']
    """
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
