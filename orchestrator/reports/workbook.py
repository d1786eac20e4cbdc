"""report.xlsx: the rows of a run for a spreadsheet, every id and code as text.

XlsxWriter (the extra `excel`) streams: memory does not grow with the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from orchestrator.errors import UsageError
from orchestrator.reports.rows import COLUMNS, ReportRow, RunKind, cells
from orchestrator.text import for_terminal

#: columns that are numbers to people; everything else is text, so that no id loses a digit
_NUMBERS = frozenset({"attempts", "http_status", "duration_ms", "line", "duplicate_of"})
_WIDTHS = {"campaign_name": 28, "result_desc": 28, "error": 40, "run_id": 24}
_WIDE = 14
#: a worksheet ends there
ROWS_MAX = 1_048_575


def write_workbook(
    file: BinaryIO,
    rows: Iterable[ReportRow],
    *,
    kind: RunKind,
    line: str,
    summary: Mapping[str, Any],
) -> None:
    """Write the workbook; the rows are streamed.

    Raises:
        UsageError: XlsxWriter is not installed.
        OSError: it could not be written.
    """
    try:
        from xlsxwriter import Workbook  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UsageError(
            "--xlsx needs XlsxWriter, which is not installed. Nothing was written.",
            advice="pip install 'campaign-pause-orchestrator[excel]', or open results.csv",
        ) from error
    book = Workbook(file, {"constant_memory": True})
    bold = book.add_format({"bold": True})
    _fill_summary(book, bold, line, summary)
    sheet = book.add_worksheet("results")
    sheet.freeze_panes(1, 2)
    for place, name in enumerate(COLUMNS):
        sheet.set_column(place, place, _WIDTHS.get(name, _WIDE))
        sheet.write_string(0, place, name, bold)
    last = 0
    for row in rows:
        last += 1
        if last > ROWS_MAX:
            break
        for place, (name, cell) in enumerate(zip(COLUMNS, cells(row, kind), strict=True)):
            if name in _NUMBERS and cell:
                sheet.write_number(last, place, int(cell))
            elif cell:
                # the apostrophe of a CSV cell has no use here: a string is never calculated
                sheet.write_string(last, place, cell.removeprefix("'"))
    sheet.autofilter(0, 0, min(last, ROWS_MAX), len(COLUMNS) - 1)
    book.close()


def _fill_summary(book: Any, bold: Any, line: str, summary: Mapping[str, Any]) -> None:
    sheet = book.add_worksheet("summary")
    sheet.set_column(0, 0, 18)
    sheet.set_column(1, 1, 100)
    told = [("", line)]
    told += [(name, summary[name]) for name in _SUMMARY if summary.get(name) not in {None, ""}]
    told += [(f"{name} lines", number) for name, number in summary["counts"].items()]
    for place, (name, value) in enumerate(told):
        sheet.write_string(place, 0, name, bold)
        if isinstance(value, int):
            sheet.write_number(place, 1, value)
        else:
            sheet.write_string(place, 1, for_terminal(str(value), limit=2_000))


_SUMMARY = (
    "run_id",
    "action",
    "verdict",
    "exit_code",
    "reason",
    "operator",
    "host",
    "server",
    "started_at",
    "ended_at",
)
