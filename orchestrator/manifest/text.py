"""From bytes to text and lines; refuses what is not plain UTF-8.

The first bad byte is named by its offset. A NUL is refused, because the csv module of some Pythons
lets it through. A line ends with LF, CR LF or CR and with nothing else (`str.splitlines` knows
eight more).
"""

from __future__ import annotations

import codecs
import re
from itertools import chain
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: bytes decoded at a time, whatever the length of the chunks that come in
PIECE_BYTES = 65_536

#: first bytes of files that people send by mistake; the longest mark comes first
_MAGIC = (
    (b"\xff\xfe\x00\x00", "it is UTF-32 text: save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "it is UTF-32 text: save it as UTF-8"),
    (b"\xff\xfe", "it is UTF-16 text: save it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16 text: save it as UTF-8"),
    (b"\x1f\x8b", "it is compressed (gzip): unpack it first (gunzip)"),
    (b"PK\x03\x04", "it is a workbook (save it as CSV) or a zip archive (unpack it first)"),
    (b"PK\x05\x06", "it is an empty zip archive"),
    (b"\xd0\xcf\x11\xe0", "it is an old workbook (xls): save it as CSV"),
    (b"7z\xbc\xaf", "it is compressed (7z): unpack it first"),
    (b"\xfd7zXZ", "it is compressed (xz): unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "it is compressed (zstd): unpack it first (unzstd)"),
    (b"BZh", "it is compressed (bzip2): unpack it first (bunzip2)"),
    (b"%PDF", "it is a PDF: export the list as CSV"),
)
_HEAD_BYTES = 8

_LINE = re.compile(r"[^\r\n]*(?:\n|\r\n?)")


class ManifestUnreadableError(OrchestratorError):
    """The list cannot be read to its end, so all of it is refused, `--skip-invalid` or not."""

    exit_code = 2

    def __init__(
        self, place: str, reason: str, *, path: str = "", advice: str = "correct the list"
    ) -> None:
        line = f"line {place}" if place.isdecimal() else place
        where = f"{path}:{place}" if path else f"the list, {line}"
        super().__init__(f"{where}: {reason}. Nothing was sent.", advice=advice)
        #: a line number, a JSON path or `byte N`
        self.place = place
        self.reason = reason

    def in_file(self, path: str) -> ManifestUnreadableError:
        """The same refusal, naming the file."""
        return ManifestUnreadableError(self.place, self.reason, path=path, advice=self.advice)


def decoded(chunks: Iterable[bytes]) -> Iterator[str]:
    """Decode a stream of bytes.

    Args:
        chunks: pieces of any length; characters may be cut anywhere.

    Yields:
        Non-empty texts of at most PIECE_BYTES characters, without the byte order mark.

    Raises:
        ManifestUnreadableError: another encoding, another kind of file, or a NUL.
    """
    pieces = _sliced(chunks)
    head = b""
    for piece in pieces:
        head += piece
        if len(head) >= _HEAD_BYTES:
            break
    _refuse_other_kinds(head)
    offset = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    for piece in chain((head[offset:],), pieces):
        nul_at = piece.find(b"\0")
        text = _decode(decoder, piece if nul_at < 0 else piece[:nul_at], offset)
        if nul_at >= 0:
            raise ManifestUnreadableError(
                f"byte {offset + nul_at}",
                "there is a NUL: this is a binary file or UTF-16 text; save it as UTF-8",
            )
        offset += len(piece)
        if text:
            yield text
    _decode(decoder, b"", offset, final=True)


def physical_lines(texts: Iterable[str], *, limit_chars: int) -> Iterator[str]:
    """Cut texts into lines, line ends kept.

    Args:
        texts: pieces of text; a line end may be cut in two.
        limit_chars: the longest line that is accepted, line end included.

    Yields:
        Lines, none of them empty; the last may lack its line end.

    Raises:
        ManifestUnreadableError: a line is longer; never more than it and one piece are held.
    """
    for block in line_blocks(texts, limit_chars=limit_chars):
        if block[-1] in "\r\n":
            yield from _LINE.findall(block)
        else:
            yield block


def line_blocks(texts: Iterable[str], *, limit_chars: int) -> Iterator[str]:
    """Cut texts where a line ends, into pieces of any number of whole lines.

    Args and errors are those of `physical_lines`.

    Yields:
        Non-empty texts. Only the last may lack its line end, and then it is that line alone.
    """
    held = ""
    count = 0
    for text in texts:
        held += text
        # a CR at the very end may be half of a line end; what has no end is not searched for lines,
        # since that would try again from each of its characters
        end = max(held.rfind("\n"), held.rfind("\r", 0, len(held) - 1)) + 1
        block = held[:end]
        if len(held) > limit_chars:
            _refuse_long_lines([*_LINE.findall(block), held[end:]], count, limit_chars)
        count += block.count("\n") + block.count("\r") - block.count("\r\n")
        held = held[end:]
        if block:
            yield block
    if held:
        yield held


def line_end(block: str, start: int) -> int:
    """Tell where the line ends that begins at `start` in a block of `line_blocks`."""
    found = _LINE.match(block, start)
    return found.end() if found else len(block)


def _sliced(chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        for start in range(0, len(chunk), PIECE_BYTES):
            yield chunk[start : start + PIECE_BYTES]


def _refuse_other_kinds(head: bytes) -> None:
    for mark, kind in _MAGIC:
        if head.startswith(mark):
            raise ManifestUnreadableError(
                "byte 0", kind, advice="do that, then give the file that comes out of it"
            )


def _decode(
    decoder: codecs.IncrementalDecoder, piece: bytes, offset: int, *, final: bool = False
) -> str:
    pending = len(decoder.getstate()[0])
    try:
        return decoder.decode(piece, final)
    except UnicodeDecodeError as error:
        raise ManifestUnreadableError(
            f"byte {offset - pending + error.start}",
            "it is not UTF-8 text; save the list as UTF-8",
        ) from error


def _refuse_long_lines(lines: list[str], count: int, limit_chars: int) -> None:
    for number, line in enumerate(lines, start=count + 1):
        if len(line) > limit_chars:
            raise ManifestUnreadableError(
                str(number), f"the line is longer than {limit_chars:,} characters"
            )
