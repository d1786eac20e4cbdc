"""report.xlsx, opened again: ids stay text, nothing is calculated."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator.errors import UsageError
from orchestrator.reports.document import summary_document
from orchestrator.reports.rows import COLUMNS, ReportRow, RunKind, Tally
from orchestrator.reports.workbook import write_workbook
from tests.report_makers import HOSTILE, make_facts, make_row

SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def written(rows: list[ReportRow]) -> zipfile.ZipFile:
    """The workbook of these rows, as a file that was opened again."""
    tally = Tally()
    for row in rows:
        tally.add(row)
    file = io.BytesIO()
    write_workbook(
        file,
        iter(rows),
        kind=RunKind.PAUSE,
        line="2 lines: 2 stopped.",
        summary=summary_document(make_facts(), tally),
    )
    return zipfile.ZipFile(file)


def cells_of(book: zipfile.ZipFile, number: int) -> list[dict[str, tuple[str, Any]]]:
    """Rows of a sheet: column → (kind of the cell, value)."""
    found = []
    for row in ET.fromstring(book.read(f"xl/worksheets/sheet{number}.xml")).iter(f"{SHEET}row"):  # noqa: S314 - ours
        cells = {}
        for cell in row.iter(f"{SHEET}c"):
            assert cell.find(f"{SHEET}f") is None, "a formula"
            text = "".join(one.text or "" for one in cell.iter(f"{SHEET}t"))
            value = cell.find(f"{SHEET}v")
            shown = text if value is None else value.text
            cells[re.sub(r"\d", "", cell.attrib["r"])] = (cell.attrib.get("t", "n"), shown)
        found.append(cells)
    return found


def test_ids_and_codes_are_text_and_counts_are_numbers() -> None:
    """19 digits stay 19 digits, and 0200000 keeps its zero."""
    row = make_row(campaign_id="9223372036854775807", attempts=3)
    book = written([row])
    head, first = cells_of(book, 2)

    assert [text for _, text in head.values()] == list(COLUMNS)
    named = dict(zip(COLUMNS, "ABCDEFGHIJKLMNOPQRSTUVW", strict=True))
    assert first[named["campaign_id"]] == ("inlineStr", "9223372036854775807")
    assert first[named["result_code"]] == ("inlineStr", "0200000")
    assert first[named["attempts"]] == ("n", "3")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_is_a_text(name: str) -> None:
    """No formula, no link, no character that XML does not know."""
    book = written([make_row(campaign_name=HOSTILE[name], error=HOSTILE[name])])

    assert len(cells_of(book, 2)) == 2
    assert not [
        one for one in book.namelist() if "rels" in one and b"http://evil" in book.read(one)
    ]


def test_the_first_sheet_says_how_it_ended() -> None:
    """The sentence, who, why and the counts; the rows can be filtered, their head stays."""
    book = written([make_row(), make_row()])
    told = {row.get("A", ("", ""))[1]: row["B"][1] for row in cells_of(book, 1)}

    assert told["reason"] == "wrong list"
    assert told["paused lines"] == "2"
    assert "2 lines: 2 stopped." in told.values()
    sheet = book.read("xl/worksheets/sheet2.xml").decode()
    assert 'autoFilter ref="A1:W3"' in sheet
    assert 'state="frozen"' in sheet


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is written then."""
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)

    with pytest.raises(UsageError, match="XlsxWriter, which is not installed"):
        written([])
