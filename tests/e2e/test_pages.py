"""report.html and report.xlsx by the real command."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.e2e.makers import Stand, only_run, refs_of, run_command, world_of, write_list

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
            *("report", stop.name, "--with", "last", "--html", str(page), "--xlsx", str(book)),
        )
        twice = await run_command(
            tmp_path,
            server.url,
            *("report", stop.name, "--with", stop.name, "--html", str(tmp_path / "no.html")),
        )

    assert (done.code, undone.code, told.code) == (0, 0, 0), told.err
    assert "&lt;drill&gt;" in (stop / "report.html").read_text("utf-8")
    assert twice.code == 2
    assert f"run {stop.name} would be on the page twice" in twice.err
    assert not (tmp_path / "no.html").exists()
    text = page.read_text("utf-8")
    assert text.count("<svg") == 2
    assert stop.name in text
    assert undo.name in text
    assert "xl/worksheets/sheet2.xml" in zipfile.ZipFile(book).namelist()


async def test_page_and_metrics_that_cannot_be_written_change_no_exit_code(tmp_path: Path) -> None:
    """A warning for each after the last line; the run has ended well."""
    metrics = tmp_path / "nowhere" / "orchestrator.prom"
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
            env={"ORCHESTRATOR_METRICS_TEXTFILE": str(metrics)},
        )

    assert done.code == 0, done.err
    assert json.loads(done.out)["verdict"] == "complete"
    assert "report.html could not be made" in done.err
    assert f"the metrics in {metrics} could not be written" in done.err


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


async def test_an_end_and_a_refusal_are_told_to_the_file_of_metrics(tmp_path: Path) -> None:
    """The run's numbers, then the exit code of a list that was refused; a dry run is none."""
    file = tmp_path / "orchestrator.prom"
    told = {"ORCHESTRATOR_METRICS_TEXTFILE": str(file)}
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        await run_command(tmp_path, server.url, "pause", str(listed), "--dry-run", env=told)
        assert not file.exists()
        await run_command(tmp_path, server.url, "pause", str(listed), env=told)
        ended = file.read_text("utf-8")
        refused = await run_command(tmp_path, server.url, "pause", "nowhere.csv", env=told)

    assert 'orchestrator_campaigns{command="pause",outcome="paused"} 3\n' in ended
    assert 'orchestrator_run_exit_code{command="pause"} 0\n' in ended
    assert refused.code == 2
    assert 'orchestrator_run_exit_code{command="pause"} 2\n' in file.read_text("utf-8")


@pytest.mark.parametrize("name", ["journal.db", "results.csv", "marks.jsonl"])
async def test_no_page_takes_the_place_of_evidence(tmp_path: Path, name: str) -> None:
    """A slip in --html must not cost the undo: exit 2, and nothing has changed."""
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        await run_command(tmp_path, server.url, "pause", str(listed))
        run = only_run(tmp_path)
        before = (run / "journal.db").read_bytes()
        for flag in ("--html", "--xlsx"):
            told = await run_command(
                tmp_path, server.url, "report", run.name, flag, str(run / name)
            )
            assert told.code == 2, told.err
        named = await run_command(tmp_path, server.url, "note", run.name, "ticket 4711")

    assert (run / "journal.db").read_bytes() == before
    assert named.code == 0
    assert "noted: ticket 4711" in (run / "report.html").read_text("utf-8")


async def test_the_advice_of_a_dry_run_works_in_its_directory(tmp_path: Path) -> None:
    """`the same command without --dry-run`: the page of the dry run is not in the way."""
    run_dir = ("--run-dir", str(tmp_path / "night"))
    async with Stand(world=world_of(3)) as server:
        listed = write_list(tmp_path, refs_of(3))
        await run_command(tmp_path, server.url, "pause", str(listed), *run_dir, "--dry-run")
        done = await run_command(tmp_path, server.url, "pause", str(listed), *run_dir)

    assert done.code == 0, done.err
    assert "3 paused" in done.out
