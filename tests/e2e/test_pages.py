"""report.html and report.xlsx by the real command."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.e2e.makers import Stand, only_run, refs_of, run_command, world_of, write_list

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sockets


async def test_a_run_leaves_its_page_and_report_writes_it_elsewhere(tmp_path: Path) -> None:
    """The page of a stop and its restore, and the rows as a workbook."""
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        done = await run_command(tmp_path, server.url, "pause", str(listed), "--reason", "<drill>")
        stop = only_run(tmp_path)
        undone = await run_command(tmp_path, server.url, "restore", stop.name, "--yes")
        (undo,) = {path for path in stop.parent.iterdir() if path.is_dir()} - {stop}
        page, book = tmp_path / "incident.html", tmp_path / "rows.xlsx"
        told = await run_command(
            tmp_path,
            server.url,
            *("report", stop.name, "--with", undo.name, "--html", str(page), "--xlsx", str(book)),
        )

    assert (done.code, undone.code, told.code) == (0, 0, 0), told.err
    assert "&lt;drill&gt;" in (stop / "report.html").read_text("utf-8")
    text = page.read_text("utf-8")
    assert text.count("<svg") == 2
    assert stop.name in text
    assert undo.name in text
    assert "xl/worksheets/sheet2.xml" in zipfile.ZipFile(book).namelist()


async def test_a_page_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    """A warning after the last line; the run has ended well."""
    run_dir = tmp_path / "runs" / "night"
    refuse = "import orchestrator.engine.pages as p; p.PAGE = 'missing/report.html';"
    call = "import sys; from orchestrator.cli.main import main; sys.exit(main(sys.argv[1:]))"
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        done = await run_command(
            tmp_path,
            server.url,
            *("pause", str(listed), "--run-dir", str(run_dir), "--json"),
            python=("-c", refuse + call),
        )

    assert done.code == 0, done.err
    assert json.loads(done.out)["verdict"] == "complete"
    assert "report.html could not be made" in done.err


async def test_report_says_which_file_it_could_not_write(tmp_path: Path) -> None:
    """A folder that is not there: exit 5, and the file is named."""
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        await run_command(tmp_path, server.url, "pause", str(listed))
        page = tmp_path / "nowhere" / "page.html"
        told = await run_command(
            tmp_path, server.url, "report", only_run(tmp_path).name, "--html", str(page)
        )

    assert told.code == 5
    assert str(page.parent) in told.err
