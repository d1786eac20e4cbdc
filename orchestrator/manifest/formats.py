"""The list as it was given: from bytes to one `ManifestLine` for each entry, as a stream.

A bad entry is yielded with its problem; what makes the rest unreadable raises
`ManifestUnreadableError`. Only blank lines and comments are passed over. Memory is bounded for any
bytes. docs/spec/contracts.md, "Lists"; tests/faults.md, I01 to I38.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import TextIO

from orchestrator.manifest.csv_list import read_csv
from orchestrator.manifest.entry import LineReader, ManifestLine, ManifestUnreadableError
from orchestrator.manifest.json_list import read_json_lines, read_json_list

__all__ = [
    "Format",
    "ManifestLine",
    "ManifestUnreadableError",
    "advice_for",
    "format_of",
    "read_manifest",
]

#: characters of the longest line; the csv module's own limit for one cell is the same
MAX_LINE_CHARS = 131_072
#: bytes at the beginning by which another kind of file is known
_HEAD_BYTES = 8
#: the first line of a JSON document, of which some other lines could be taken for ids
_DOCUMENT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\[|\{[^}\r\n]*[\r\n])")


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

#: ends of file names that are no list, and what to do about them
_NO_LISTS = (
    ((".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz"), "unpack it first"),
    ((".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), "save it as CSV in the spreadsheet program"),
)

#: first bytes of files that people send by mistake; the longest mark comes first
_MAGIC = (
    (b"\xff\xfe\x00\x00", "it is UTF-32 text: save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "it is UTF-32 text: save it as UTF-8"),
    (b"\xff\xfe", "it is UTF-16 text: save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16 text: save it as UTF-8"),
    (b"\x1f\x8b", "it is compressed (gzip): unpack it first (gunzip)"),
    (b"PK\x03\x04", "it is a workbook (save it as CSV) or a zip archive (unpack it first)"),
    (b"\xd0\xcf\x11\xe0", "it is an old workbook (xls): save it as CSV"),
)


def format_of(name: str) -> Format | None:
    """Tell the format by a file's name; None when its suffix is none of SUFFIXES."""
    _, dot, suffix = name.rpartition(".")
    return SUFFIXES.get(dot + suffix.lower())


def advice_for(name: str) -> str:
    """Say what to do about a file whose format its name does not tell."""
    for suffixes, advice in _NO_LISTS:
        if name.lower().endswith(suffixes):
            return f"{advice}; then name the file that comes out of it"
    return "add --format csv, json or jsonl"


def read_manifest(
    chunks: Iterable[bytes],
    fmt: Format,
    *,
    default_vdn: int | None,
    note: Callable[[str], None] = lambda _: None,
    names_run: Callable[[str], None] = lambda _: None,
) -> Iterator[ManifestLine]:
    """Read a list, entry by entry.

    Args:
        chunks: the bytes of the list in pieces; the longest is held in memory.
        fmt: how it is written.
        default_vdn: the VDN of entries that name none (`--vdn`); None when there is none.
        note: is told how something was read that may have been meant in another way.
        names_run: is told at the end which run every row names (`run_id`), if there is one.

    Yields:
        One line for each entry, good or bad, in the order of the list. Lines may be yielded before
        the list turns out to be unreadable: act on none of them until the end is reached.

    Raises:
        ManifestUnreadableError: the list cannot be read as a whole, or holds no entry at all.
    """
    source = _Bytes(chunks)
    if fmt is not Format.JSON and _DOCUMENT.match(source.head):
        raise ManifestUnreadableError(
            "1", "a JSON document begins here (JSON is named .json, or --format json)"
        )
    text = io.TextIOWrapper(source, encoding="utf-8", newline="")
    reader = LineReader(default_vdn)
    empty = True
    try:
        for line in _found(text, fmt, reader):
            if empty and reader.note:
                note(reader.note)
            empty = False
            yield line
    except UnicodeDecodeError as error:
        # the decoder was given what is left of a character that was cut, and the newest bytes
        at = source.given - len(error.object) + error.start
        raise ManifestUnreadableError(
            f"byte {at}", "it is not UTF-8 text; save the list as UTF-8"
        ) from error
    if empty:
        raise ManifestUnreadableError("1", "there are no campaigns in this list")
    if reader.run_id:
        names_run(reader.run_id)


def _found(text: TextIO, fmt: Format, reader: LineReader) -> Iterator[ManifestLine]:
    if fmt is Format.JSON:
        return read_json_list(text, reader)
    read = read_csv if fmt is Format.CSV else read_json_lines
    return read(numbered_lines(text), reader)


def numbered_lines(text: TextIO) -> Iterator[tuple[int, str]]:
    """Cut a text into lines, numbered from 1, with their ends: LF, CR LF or CR and nothing else.

    Raises:
        ManifestUnreadableError: a line is longer than MAX_LINE_CHARS, its end included.
    """
    lines = iter(partial(text.readline, MAX_LINE_CHARS + 1), "")
    for number, line in enumerate(lines, start=1):
        if len(line) > MAX_LINE_CHARS:
            raise ManifestUnreadableError(
                str(number), f"the line is longer than {MAX_LINE_CHARS:,} characters"
            )
        yield number, line


class _Bytes(io.BufferedIOBase):
    """The bytes of the list, as TextIOWrapper wants them, without the byte order mark.

    Raises:
        ManifestUnreadableError: it is no text, by its first bytes or a NUL.
    """

    name = "the list"

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        #: bytes handed out, a byte order mark included
        self.given = 0
        head = bytearray()
        for chunk in self._chunks:
            head += chunk
            if len(head) >= _HEAD_BYTES:
                break
        for mark, kind in _MAGIC:
            if head.startswith(mark):
                advice = "do that, then give the file that comes out of it"
                raise ManifestUnreadableError("byte 0", kind, advice=advice)
        if head.startswith(codecs.BOM_UTF8):
            self.given = len(codecs.BOM_UTF8)
        self.head = bytes(head)
        self._chunks = chain((self.head[self.given :],), self._chunks)

    def readable(self) -> bool:
        return True

    def read1(self, _size: int = -1, /) -> bytes:
        """Hand out the next chunk, whatever its size: only an empty one is the end."""
        chunk = next(filter(None, self._chunks), b"")
        nul_at = chunk.find(b"\0")
        if nul_at >= 0:
            raise ManifestUnreadableError(
                f"byte {self.given + nul_at}",
                "there is a NUL: this is a binary file or UTF-16 text; save it as UTF-8",
            )
        self.given += len(chunk)
        return chunk
