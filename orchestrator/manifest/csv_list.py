"""CSV lists: find the delimiter and the columns, then read record by record.

A header is there when it names a campaign id column; otherwise a first line of numbers is an entry
and a first line of names is refused. Cells lose the plain spaces and tabs around them. The csv
module reads in strict mode, so that an unclosed quote is an error.

Passed over, wherever a record could begin: blank lines, rows of empty cells, lines that start with
`#`. On the first line also Excel's `sep=;`, which then sets the delimiter.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple, NoReturn

from orchestrator.manifest.entry import (
    ABSENT,
    LineReader,
    ManifestLine,
    ManifestUnreadableError,
    Meaning,
    meaning_of,
    refused,
)
from orchestrator.text import for_terminal

#: lines that one quoted record may go on for
MAX_RECORD_LINES = 1_000
#: columns of a header that a message names
_NAMED_COLUMNS = 20

_DELIMITERS = (",", ";", "\t")
_SEP_LINE = re.compile(r'"?sep=([,;\t])"?\s*', re.IGNORECASE)

#: a VDN and a campaign, or one number with a separator of thousands
_THOUSANDS = re.compile("[1-9][0-9]{0,2},[0-9]{3}")

_BLANKS = " \t"
_BLANKS_AND_ENDS = " \t\r\n"

_UNCLOSED = "a quote opens on this line and is not closed"


class _Layout(NamedTuple):
    """Where the columns are."""

    delimiter: str
    width: int
    campaign_at: int
    vdn_at: int | None
    run_at: int | None = None


class _Records:
    """The lines that the csv module gets: it is never given a comment."""

    def __init__(self, lines: Iterable[tuple[int, str]]) -> None:
        self._lines = lines
        #: the line on which the record began that is being read; 0 between records
        self.start = 0

    def __iter__(self) -> Iterator[str]:
        for number, line in self._lines:
            if not self.start:
                if line[0] == "#":
                    continue
                self.start = number
            elif number - self.start > MAX_RECORD_LINES:
                raise ManifestUnreadableError(str(self.start), _UNCLOSED)
            yield line


def read_csv(lines: Iterator[tuple[int, str]], reader: LineReader) -> Iterator[ManifestLine]:
    """Read a CSV list from its lines, numbered from 1, with their ends.

    Raises:
        ManifestUnreadableError: no usable header, a quote left open, a cell too long.
    """
    found = _first_line(lines)
    if found is None:
        return
    number, first, delimiter = found
    layout, is_header = _layout(number, first, delimiter, reader)
    records = _Records(lines if is_header else chain(((number, first),), lines))
    delimiter, width, campaign_at, vdn_at, run_at = layout
    vdn: object = ABSENT
    try:
        for row in csv.reader(records, delimiter=delimiter, skipinitialspace=True, strict=True):
            number, records.start = records.start, 0
            if len(row) == width and (campaign := row[campaign_at].strip(_BLANKS)):
                if vdn_at is not None:
                    vdn = row[vdn_at].strip(_BLANKS)
                if run_at is not None:
                    reader.name_run(row[run_at].strip(_BLANKS))
                yield reader.read(number, str(number), vdn, campaign)
            elif any(cell.strip(_BLANKS) for cell in row):
                reader.name_run("")
                yield _odd_row(number, row, layout, reader)
    except csv.Error as error:
        raise ManifestUnreadableError(str(records.start), _csv_words(error)) from error


def _odd_row(number: int, row: list[str], layout: _Layout, reader: LineReader) -> ManifestLine:
    """Judge a row that has another width than the header, or no campaign id."""
    cells: list[object] = [cell.strip(_BLANKS) for cell in row]
    while len(cells) > layout.width and not cells[-1]:
        del cells[-1]
    count = len(cells)
    cells += [ABSENT] * (layout.width - count)
    vdn = ABSENT if layout.vdn_at is None else cells[layout.vdn_at]
    campaign = cells[layout.campaign_at]
    if count == layout.width:
        return reader.read(number, str(number), vdn, campaign)
    words = "1 cell" if count == 1 else f"{count} cells"
    problem = f"the row has {words} where {layout.width} belong, as in the first row"
    return refused(number, str(number), vdn, campaign, problem)


def _csv_words(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return _UNCLOSED
    if "field limit" in str(error):
        return "a quote opens on this line and its cell is too long; is the quote left open?"
    return "there is text between a closing quote and the next delimiter"


def _first_line(lines: Iterator[tuple[int, str]]) -> tuple[int, str, str | None] | None:
    """Find the first line that counts: its number, its text, the delimiter that `sep=` sets."""
    delimiter = None
    for number, line in lines:
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
    runs = _columns(row, Meaning.RUN)
    run_at = runs[0] if len(runs) == 1 else None
    return _Layout(delimiter, len(row), campaigns[0], vdns[0] if vdns else None, run_at)


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
    names = ", ".join(for_terminal(name, limit=60) for name in row[:_NAMED_COLUMNS])
    raise ManifestUnreadableError(str(number), f"{reason}; the columns found are: {names}")
