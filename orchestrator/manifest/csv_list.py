"""CSV lists: find the delimiter and the columns, then read record by record.

A record with a quote goes to the csv module in strict mode, so that an unclosed quote is an error.
A header is there when it names a campaign id column; otherwise a first line of numbers is an entry
and a first line of names is refused. Cells lose the plain spaces and tabs around them. Lines that
are plainly good are read in runs, all others alone; both ways agree (tests).

Passed over, wherever a record could begin: blank lines, rows of empty cells, lines that start with
`#`. On the first line also Excel's `sep=;`, which then sets the delimiter.
"""

from __future__ import annotations

import csv
import re
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from orchestrator.manifest.entry import (
    ABSENT,
    GoodLines,
    LineReader,
    ManifestLine,
    Meaning,
    Written,
    meaning_of,
)
from orchestrator.manifest.text import ManifestUnreadableError, line_blocks, line_end
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: characters of the longest line; the csv module's own limit for one cell is the same
MAX_LINE_CHARS = 131_072
#: lines that one quoted record may go on for
MAX_RECORD_LINES = 1_000
#: columns of a header that a message names
_NAMED_COLUMNS = 20

_DELIMITERS = (",", ";", "\t")
_SEP_LINE = re.compile(r'"?sep=([,;\t])"?\s*', re.IGNORECASE)

#: 1..8999999999999999999 and nothing that would need a look at its size; the rest is read alone
_PLAIN_ID = "(?:[1-8][0-9]{0,18}|9[0-9]{0,17})"
_PLAIN_VDN = "[1-9][0-9]{0,3}"
_END = r"(?:\n|\r\n?)"

#: a VDN and a campaign, or one number with a separator of thousands
_THOUSANDS = re.compile("[1-9][0-9]{0,2},[0-9]{3}")

_BLANKS = " \t"
_BLANKS_AND_ENDS = " \t\r\n"


class _Layout(NamedTuple):
    """Where the columns are."""

    delimiter: str
    width: int
    campaign_at: int
    vdn_at: int | None


class _Lines:
    """The lines of a list, one by one or a run of them at once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._blocks = line_blocks(texts, limit_chars=MAX_LINE_CHARS)
        self._block = ""
        self._at = 0
        #: lines handed out so far: the number of the last one
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self.more():
            raise StopIteration
        start = self._at
        self._at = line_end(self._block, start)
        self.number += 1
        return self._block[start : self._at]

    def more(self) -> bool:
        """Whether there is another line."""
        while self._at == len(self._block):
            self._block = next(self._blocks, "")
            self._at = 0
            if not self._block:
                return False
        return True

    def step_back(self, line: str) -> None:
        """Let the line that was handed out last be handed out once more."""
        self._at -= len(line)
        self.number -= 1

    def run(self, pattern: re.Pattern[str]) -> str:
        """Hand out what the pattern matches here: whole lines, which the caller counts."""
        found = pattern.match(self._block, self._at)
        if not found:
            return ""
        self._at = found.end()
        return found[0]


def read_csv(texts: Iterable[str], reader: LineReader) -> Iterator[ManifestLine | GoodLines]:
    """Read a CSV list.

    Args:
        texts: the list, decoded.
        reader: judges the entries.

    Raises:
        ManifestUnreadableError: no usable header, a quote left open, a line or cell too long.
    """
    lines = _Lines(texts)
    found = _first_line(lines)
    if found is None:
        return
    number, first, delimiter = found
    layout, is_header = _layout(number, first, delimiter, reader)
    if not is_header:
        lines.step_back(first)
    plain = _plain_lines(layout, reader.default_vdn)
    while lines.more():
        if plain and (run := lines.run(plain)):
            good = _good_lines(run, lines.number + 1, layout, reader.default_vdn)
            lines.number += len(good.campaign_ids)
            yield good
        elif line := _one_line(lines, layout, reader):
            yield line


def _plain_lines(layout: _Layout, default_vdn: int | None) -> re.Pattern[str] | None:
    """Tell how lines look that are good beyond doubt; None when the list has other columns."""
    if layout.vdn_at is None:
        return re.compile(f"(?:{_PLAIN_ID}{_END})+") if layout.width == 1 else None
    if layout.width != 2:
        return None
    # a VDN column must not contradict --vdn
    cells = [_PLAIN_VDN if default_vdn is None else str(default_vdn), _PLAIN_ID]
    if layout.vdn_at == 1:
        cells.reverse()
    return re.compile(f"(?:{layout.delimiter.join(cells)}{_END})+")


def _good_lines(run: str, first_line: int, layout: _Layout, default_vdn: int | None) -> GoodLines:
    """Read lines that `_plain_lines` has found: digits, delimiters and line ends, no more."""
    if layout.vdn_at is None:
        ids = list(map(int, run.split()))
        # without a column there is a --vdn, or the layout would have been refused
        vdns = [default_vdn or 0] * len(ids)
        return GoodLines(first_line, vdn_written=False, vdn_ids=vdns, campaign_ids=ids)
    cells = list(map(int, run.replace(layout.delimiter, " ").split()))
    vdns, ids = cells[layout.vdn_at :: 2], cells[layout.campaign_at :: 2]
    return GoodLines(first_line, vdn_written=True, vdn_ids=vdns, campaign_ids=ids)


def _one_line(lines: _Lines, layout: _Layout, reader: LineReader) -> ManifestLine | None:
    """Read one record; None when it says nothing."""
    start = lines.number + 1
    row = _row(lines, layout.delimiter)
    if len(row) == layout.width and (campaign := row[layout.campaign_at].strip(_BLANKS)):
        vdn = ABSENT if layout.vdn_at is None else row[layout.vdn_at].strip(_BLANKS)
        return reader.read(Written(start, str(start), vdn, campaign))
    if any(cell.strip(_BLANKS) for cell in row):
        return _odd_row(start, row, layout, reader)
    return None


def _odd_row(start: int, row: list[str], layout: _Layout, reader: LineReader) -> ManifestLine:
    """Judge a row that has another width than the header, or no campaign id."""
    cells = [cell.strip(_BLANKS) for cell in row]
    kept, extra = cells[: layout.width], cells[layout.width :]
    campaign = kept[layout.campaign_at] if layout.campaign_at < len(kept) else ABSENT
    vdn: object = ABSENT
    if layout.vdn_at is not None and layout.vdn_at < len(kept):
        vdn = kept[layout.vdn_at]
    entry = Written(start, str(start), vdn, campaign)
    if len(kept) < layout.width:
        count = len(kept)
    elif any(extra):
        count = layout.width + max(at for at, cell in enumerate(extra, start=1) if cell)
    else:
        return reader.read(entry)
    return reader.refuse(
        entry, f"the row has {_cells(count)} where {layout.width} belong, as in the first row"
    )


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count} cells"


def _row(lines: _Lines, delimiter: str) -> list[str]:
    """Cut the next line into cells, or the record that begins there; none for a comment."""
    line = next(lines)
    if line[0] == "#":
        return []
    if '"' not in line:
        return line.rstrip("\r\n").split(delimiter)
    start = lines.number
    records = csv.reader(
        chain((line,), islice(lines, MAX_RECORD_LINES)),
        delimiter=delimiter,
        skipinitialspace=True,
        strict=True,
    )
    try:
        return next(records)
    except csv.Error as error:
        raise ManifestUnreadableError(str(start), _csv_words(error)) from error


def _csv_words(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quote opens on this line and is not closed"
    if "field limit" in str(error):
        return "a quote opens on this line and its cell is too long; is the quote left open?"
    return "there is text between a closing quote and the next delimiter"


def _first_line(lines: Iterator[str]) -> tuple[int, str, str | None] | None:
    """Find the first line that counts: its number, its text, the delimiter that `sep=` sets."""
    delimiter = None
    for number, line in enumerate(lines, start=1):
        if number == 1 and (sep := _SEP_LINE.fullmatch(line)):
            delimiter = sep[1]
        elif line[0] == "#":
            _refuse_header_in_comment(number, line)
        elif line.strip(_BLANKS_AND_ENDS):
            return number, line, delimiter
    return None


def _refuse_header_in_comment(number: int, line: str) -> None:
    """A column for row numbers is often called `#`: passing over that header loses the meaning."""
    for delimiter in _DELIMITERS:
        names = line.replace("#", "").replace('"', "").split(delimiter)
        if _columns(names, Meaning.CAMPAIGN):
            raise ManifestUnreadableError(
                str(number),
                "the line starts with #, like a comment, and names a campaign id column, like a "
                "header; take the # away or delete the line",
            )


def _layout(
    number: int, line: str, delimiter: str | None, reader: LineReader
) -> tuple[_Layout, bool]:
    """Tell the layout by the first line, and whether that line is a header."""
    delimiters = (delimiter,) if delimiter else _DELIMITERS
    splits = {each: row for each in delimiters if (row := _split_first(line, each))}
    if not splits:
        raise ManifestUnreadableError(
            str(number), "the quotes on the first line are not closed, or text follows them"
        )
    headers = {each: row for each, row in splits.items() if _columns(row, Meaning.CAMPAIGN)}
    candidates = headers or splits
    # `101;` has one cell whatever the delimiter is, and only one of them explains the semicolon
    best = max(candidates, key=lambda each: (len(candidates[each]), each in line))
    row = candidates[best]
    if headers:
        return _header_layout(number, row, best, reader), True
    if _looks_like_names(row):
        _refuse_columns(number, row, "there is no campaign_id column")
    return _bare_layout(number, line, row, best, reader), False


def _split_first(line: str, delimiter: str) -> list[str]:
    """Split the first line; trailing empty cells fall away; empty when it cannot be split."""
    try:
        row = next(csv.reader((line,), delimiter=delimiter, skipinitialspace=True, strict=True))
    except csv.Error:
        return []
    while row and not row[-1].strip(_BLANKS):
        del row[-1]
    return row


def _header_layout(number: int, row: list[str], delimiter: str, reader: LineReader) -> _Layout:
    campaigns, vdns = _columns(row, Meaning.CAMPAIGN), _columns(row, Meaning.VDN)
    if len(campaigns) > 1:
        _refuse_columns(number, row, "there are two campaign_id columns")
    if len(vdns) > 1:
        _refuse_columns(number, row, "there are two vdn_id columns")
    if not vdns and reader.default_vdn is None:
        _refuse_columns(number, row, "there is no vdn_id column, so --vdn is needed")
    return _Layout(delimiter, len(row), campaigns[0], vdns[0] if vdns else None)


def _bare_layout(
    number: int, line: str, row: list[str], delimiter: str, reader: LineReader
) -> _Layout:
    if len(row) == 1 and reader.default_vdn is not None:
        return _Layout(delimiter, 1, 0, None)
    is_number = delimiter == "," and _THOUSANDS.fullmatch(line.strip(_BLANKS_AND_ENDS))
    if len(row) == 2 and reader.default_vdn is None:
        if is_number:
            reader.note = (
                f"line {number}: {line.strip(_BLANKS_AND_ENDS)} is read as VDN {row[0].strip()},"
                f" campaign {row[1].strip()}: a list without a header has these two columns"
            )
        return _Layout(delimiter, 2, 1, 0)
    if len(row) == 1:
        reason = "the list has ids only: add --vdn, or a header with campaign_id and vdn_id"
    elif len(row) == 2:
        reason = "two columns without a header are VDN and id, so --vdn cannot be given as well"
        if is_number:
            reason += "; if this is one number, write it without the comma"
    else:
        reason = f"{len(row)} columns without a header: add one that names campaign_id"
    raise ManifestUnreadableError(str(number), reason)


def _columns(row: list[str], meaning: Meaning) -> list[int]:
    return [at for at, name in enumerate(row) if meaning_of(name) is meaning]


def _looks_like_names(row: list[str]) -> bool:
    first = row[0].lstrip(" \t'+-")
    return any(map(str.isalpha, "".join(row))) and not first[:1].isdigit()


def _refuse_columns(number: int, row: list[str], reason: str) -> NoReturn:
    if row[0].lstrip().startswith("<"):
        raise ManifestUnreadableError(
            str(number), "this is HTML or XML, not CSV (a page that asks for a password?)"
        )
    if len(row) == 1 and "|" in row[0]:
        reason = f"{reason}: , or ; or TAB separates columns, | does not"
    names = ", ".join(for_terminal(name, limit=60) for name in row[:_NAMED_COLUMNS])
    raise ManifestUnreadableError(str(number), f"{reason}; the columns found are: {names}")
