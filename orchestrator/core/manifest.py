"""The list as it was given: from bytes to one `ManifestLine` for each entry, as a stream.

Rule 1: a bad entry is yielded with its problem, so that all of them can be named or skipped.
Rule 2: what makes the rest unreadable raises `ManifestUnreadableError`: the list is refused whole.
Rule 3: nothing is guessed and nothing is dropped: text either becomes an entry, a problem or a
        refusal. Only blank lines and comments are passed over.
Rule 4: a good entry is the same alone or in a block (`GoodLines`); blocks are for speed.
Rule 5: memory is bounded for any bytes at all; the bounds stand beside the code that needs them.
Source: design.md §5, faults.md §3.4. CSV is in manifest_csv.py, JSON in manifest_json.py.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.manifest_csv import read_csv
from orchestrator.core.manifest_line import GoodLines, LineReader, ManifestLine
from orchestrator.core.manifest_text import ManifestUnreadableError, decoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "Format",
    "GoodLines",
    "ManifestLine",
    "ManifestUnreadableError",
    "format_of",
    "read_manifest",
    "read_manifest_blocks",
]


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
    for found in read_manifest_blocks(chunks, fmt, default_vdn=default_vdn):
        if isinstance(found, GoodLines):
            yield from found.lines()
        else:
            yield found


def read_manifest_blocks(
    chunks: Iterable[bytes], fmt: Format, *, default_vdn: int | None
) -> Iterator[ManifestLine | GoodLines]:
    """Read a list as `read_manifest` does, with runs of good lines in one piece.

    A million lines that each become an object take most of the time that planning has.
    """
    empty = True
    for found in _found(decoded(chunks), fmt, LineReader(default_vdn)):
        empty = False
        yield found
    if empty:
        raise ManifestUnreadableError("1", "there are no campaigns in this list")


def _found(
    texts: Iterator[str], fmt: Format, reader: LineReader
) -> Iterator[ManifestLine | GoodLines]:
    if fmt is Format.CSV:
        return read_csv(texts, reader)
    # ijson is loaded for those who need it: an emergency has no list
    from orchestrator.core import manifest_json  # noqa: PLC0415

    if fmt is Format.JSON:
        return manifest_json.read_json_list(texts, reader)
    return manifest_json.read_json_lines(texts, reader)
