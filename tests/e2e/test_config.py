"""Settings and flags of the real command that must not be got wrong at 3 a.m."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.makers import (
    Stand,
    environment_of,
    pause_through,
    refs_of,
    run_command,
    world_of,
    write_list,
)

pytestmark = pytest.mark.sockets

SECRET = "kanarie-Zq7-wX9-vB2-mN4"


# -- files that would overwrite each other -----------------------------------------------------


@pytest.mark.parametrize("name", ["list.csv", "config.toml", "secret_key"])
async def test_a_log_never_goes_into_a_file_that_the_run_reads(tmp_path: Path, name: str) -> None:
    """[C12] --log-file names the list, the settings or the key: exit 2, the file is untouched."""
    async with Stand() as server:
        environment_of(tmp_path, server.url)
        write_list(tmp_path, refs_of(1))
        before = (tmp_path / name).read_bytes()
        done = await run_command(
            tmp_path,
            server.url,
            *("pause", str(tmp_path / "list.csv"), "--log-file", str(tmp_path / name), "-vv"),
        )

    assert done.code == 2, done.err
    assert name in done.err
    assert (tmp_path / name).read_bytes() == before
    assert server.ledger == []


@pytest.mark.parametrize("where", ["the list's directory", "the list itself", "a file below it"])
async def test_a_run_directory_that_is_in_use_is_refused(tmp_path: Path, where: str) -> None:
    """[C12] [P21] A report would be beside, over or below the list: exit 2 or 5, nothing sent."""
    folder = tmp_path / "lists"
    folder.mkdir()
    async with Stand() as server:
        listed = write_list(folder, refs_of(1))
        before = listed.read_bytes()
        chosen = {
            "the list's directory": folder,
            "the list itself": listed,
            "a file below it": listed / "run",
        }[where]
        done = await run_command(
            tmp_path, server.url, "pause", str(listed), "--run-dir", str(chosen)
        )

    assert done.code in {2, 5}, done.err
    assert str(chosen) in done.err
    assert (listed.read_bytes(), [one.name for one in folder.iterdir()]) == (before, ["list.csv"])
    assert server.ledger == []


async def test_a_report_may_be_the_next_list(tmp_path: Path) -> None:
    """[C12] failed.csv of one run is the list of the next, whose directory is its own."""
    async with Stand(world=world_of(2)) as server:
        first = await pause_through(server, tmp_path, refs_of(3))
        assert first.result.run_dir is not None
        failed = first.result.run_dir / "failed.csv"
        before = failed.read_bytes()
        done = await run_command(tmp_path, server.url, "pause", str(failed))

    assert (first.exit_code, done.code) == (1, 1)
    assert failed.read_bytes() == before
    assert server.puts_by_id == {1: 1, 2: 1, 3: 2}
