"""The list as it was given: from bytes to one `ManifestLine` for each entry, as a stream.

Rule 1: a bad entry is yielded with its problem, so that all of them can be named or skipped.
Rule 2: what makes the rest unreadable raises `ManifestUnreadableError`: the list is refused whole.
Rule 3: nothing is guessed and nothing is dropped: text either becomes an entry, a problem or a
        refusal. Only blank lines and comments are passed over.
Rule 4: memory is bounded for any bytes at all; the bounds stand beside the code that needs them.
Source: design.md §5, faults.md §3.4. CSV is in manifest_csv.py, JSON in manifest_json.py.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.manifest_csv import read_csv
from orchestrator.core.manifest_line import LineReader, ManifestLine
from orchestrator.core.manifest_text import ManifestUnreadableError, decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Format", "ManifestLine", "ManifestUnreadableError", "format_of", "read_manifest"]


class Format(StrEnum):
    """How a list is written; the value is what `--format` takes."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


#: the end of a file name, in lower case, and what it promises
SUFFIXES = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".txt": Format.CSV,
    ".json": Format.JSON,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
}


def format_of(name: str) -> Format | None:
    """Tell the format by a file's name; None when its suffix is none of SUFFIXES."""
    _, dot, suffix = name.rpartition(".")
    return SUFFIXES.get(dot + suffix.lower())


def read_manifest(
    chunks: Iterable[bytes], fmt: Format, *, default_vdn: int | None
) -> Iterator[ManifestLine]:
    """Read a list, entry by entry.

    Args:
        chunks: the bytes of the list in pieces of any length.
        fmt: how it is written.
        default_vdn: the VDN of entries that name none (`--vdn`); None when there is none.

    Yields:
        One line for each entry, good or bad, in the order of the list. Lines may be yielded before
        the list turns out to be unreadable: act on none of them until the end is reached.

    Raises:
        ManifestUnreadableError: the list cannot be read as a whole, or holds no entry at all.
    """
    empty = True
    for line in _lines(decoded(chunks), fmt, LineReader(default_vdn)):
        empty = False
        yield line
    if empty:
        raise ManifestUnreadableError("1", "there are no campaigns in this list")


def _lines(texts: Iterator[str], fmt: Format, reader: LineReader) -> Iterator[ManifestLine]:
    if fmt is Format.CSV:
        return read_csv(texts, reader)
    # ijson is loaded for those who need it: an emergency has no list
    from orchestrator.core import manifest_json  # noqa: PLC0415

    if fmt is Format.JSON:
        return manifest_json.read_json_list(texts, reader)
    return manifest_json.read_json_lines(texts, reader)
