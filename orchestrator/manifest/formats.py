"""The list as it was given: from bytes to one `ManifestLine` for each entry, as a stream.

A bad entry is yielded with its problem; what makes the rest unreadable raises
`ManifestUnreadableError`. Only blank lines and comments are passed over. Memory is bounded for any
bytes. docs/spec/contracts.md, "Lists"; tests/faults.md, I01 to I38.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING

from orchestrator.manifest.csv_list import read_csv
from orchestrator.manifest.entry import GoodLines, LineReader, ManifestLine, meaning_of
from orchestrator.manifest.text import ManifestUnreadableError, decoded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "Format",
    "GoodLines",
    "ManifestLine",
    "ManifestUnreadableError",
    "advice_for",
    "format_of",
    "read_manifest",
    "read_manifest_blocks",
]


class Format(StrEnum):
    """How a list is written; the value is what `--format` takes."""

    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


_FORMAT_WORDS = {
    Format.CSV: "CSV",
    Format.JSON: "one JSON document",
    Format.JSONL: "JSON Lines",
}

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


#: ends of file names that are no list, and what to do about them
_NO_LISTS = (
    ((".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz"), "unpack it first"),
    ((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "save it as CSV in the spreadsheet program"),
)


def advice_for(name: str) -> str:
    """Say what to do about a file whose format its name does not tell."""
    for suffixes, advice in _NO_LISTS:
        if name.lower().endswith(suffixes):
            return f"{advice}; then name the file that comes out of it"
    return "add --format csv, json or jsonl"


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
    chunks: Iterable[bytes],
    fmt: Format,
    *,
    default_vdn: int | None,
    note: Callable[[str], None] = lambda _: None,
) -> Iterator[ManifestLine | GoodLines]:
    """Read a list as `read_manifest` does, with runs of good lines in one piece.

    A million lines that each become an object take most of the time that planning has.
    `note` is told how something was read that may have been meant in another way.
    """
    empty = True
    reader = LineReader(default_vdn)
    texts = decoded(chunks)
    first = next(texts, "")
    other = _other_format(first, fmt)
    if other is not None:
        raise ManifestUnreadableError(
            "1",
            f"this is {_FORMAT_WORDS[other]}, not {_FORMAT_WORDS[fmt]}",
            advice=f"add --format {other}, or let its name end in .{other}",
        )
    for found in _found(chain((first,) if first else (), texts), fmt, reader):
        if empty and reader.note:
            note(reader.note)
        empty = False
        yield found
    if empty:
        raise ManifestUnreadableError("1", "there are no campaigns in this list")


def _other_format(first: str, fmt: Format) -> Format | None:
    """Tell another format that the beginning of a list is written in beyond doubt."""
    lines = [line for line in first.splitlines() if line.strip()][:2]
    if not lines:
        return None
    line = lines[0].strip()
    is_whole = _is_json(line)
    if fmt is Format.CSV:
        if line[0] not in "[{" or ('"' not in first and not is_whole and line[0] == "{"):
            return None
        return Format.JSONL if line[0] == "{" and is_whole and len(lines) > 1 else Format.JSON
    if line[0] in "[{":
        if fmt is Format.JSON:
            is_next = len(lines) > 1 and lines[1].lstrip()[0] == line[0] and _is_json(lines[1])
            return Format.JSONL if line[0] == "{" and is_whole and is_next else None
        is_document = line[0] == "[" if is_whole else line == "[" or _is_json(first)
        return Format.JSON if is_document else None
    if is_whole:
        is_many = fmt is Format.JSON and len(lines) > 1 and line.isdigit()
        return Format.JSONL if is_many else None
    is_csv = any(meaning_of(cell.strip(' "')) for cell in re.split("[,;\t]", line))
    return Format.CSV if is_csv or re.fullmatch("[0-9]+ *[,;\t] *[0-9]*", line) else None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _found(
    texts: Iterable[str], fmt: Format, reader: LineReader
) -> Iterator[ManifestLine | GoodLines]:
    if fmt is Format.CSV:
        return read_csv(texts, reader)
    # ijson is loaded for those who need it: an emergency has no list
    from orchestrator.manifest import json_list as manifest_json  # noqa: PLC0415

    if fmt is Format.JSON:
        return manifest_json.read_json_list(texts, reader)
    return manifest_json.read_json_lines(texts, reader)
