"""The real command killed at the points that matter, and continued."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stage import a_stage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.stage import Stage

pytestmark = pytest.mark.sockets

_DAY_S = 24 * 3600
#: dies when the named function of a module is called for the nth time
_DIE_AT = """
import os, signal, {module} as module
real, calls = module.{name}, 0
def dying(*words, **more):
    global calls
    if {condition}:
        calls += 1
        if calls == {nth}:
            if {after}: real(*words, **more)
            os.kill(os.getpid(), signal.SIGKILL)
    return real(*words, **more)
module.{name} = dying
"""


def die_at(
    module: str, name: str, *, condition: str = "True", nth: int = 1, after: bool = False
) -> str:
    """Python that kills its process at a call."""
    return _DIE_AT.format(module=module, name=name, condition=condition, nth=nth, after=after)


_INTENT = 'words[1] == "attempts" and any(row[5] == "intended" for row in words[2])'
_ANSWER = 'words[1] == "attempts" and any(row[5] == "answered" for row in words[2])'


async def test_killed_before_the_journal_exists_nothing_was_sent_and_the_command_starts_afresh(
    tmp_path: Path,
) -> None:
    """Killed before the plan is renamed: no request; the same command pauses everything [P01]."""
    async with a_stage(tmp_path, campaigns=12) as stage:
        dying = die_at("os", "rename", condition="str(words[0]).endswith('.part')")

        killed = await stage.run(*stage.pause_words(), program=dying)
        requests = stage.simulator.ledger.total
        ended = await stage.run(*stage.pause_words())

        assert (killed.code, requests) == (-signal.SIGKILL, 0)
        assert (ended.code, stage.outcomes(), stage.running()) == (0, {"paused": 12}, 0)


async def test_killed_while_it_looks_whether_a_report_can_be_written_the_command_starts_afresh(
    tmp_path: Path,
) -> None:
    """The probe of the report folder stays behind and is in nobody's way [P01]."""
    async with a_stage(tmp_path, campaigns=3) as stage:
        killed = await stage.run(*stage.pause_words(), program=die_at("os", "fsync"))
        left = [path.name for path in stage.run_dir.iterdir() if path.suffix == ".part"]
        ended = await stage.run(*stage.pause_words())

        assert (killed.code, len(left)) == (-signal.SIGKILL, 1)
        assert (ended.code, stage.outcomes()) == (0, {"paused": 3})
        assert not [path for path in stage.run_dir.iterdir() if ".part" in path.name]


@pytest.mark.parametrize(
    ("where", "program"),
    [
        (
            "intent written, not committed [P02]",
            die_at("orchestrator.store.writer", "put_many", condition=_INTENT, nth=3),
        ),
        (
            "intent durable, PUT not sent [P02]",
            die_at("orchestrator.engine.worker", "change", nth=5),
        ),
        (
            "PUT sent, no answer read [P03]",
            die_at(
                "asyncio.selector_events",
                "_SelectorSocketTransport.write",
                condition="bytes(words[1][:3]) == b'PUT'",
                nth=5,
                after=True,
            ),
        ),
        (
            "answer read, not recorded [P04]",
            die_at("orchestrator.store.writer", "put_many", condition=_ANSWER, nth=3),
        ),
    ],
)
async def test_killed_at_any_step_of_an_attempt_it_is_continued_to_the_same_end(
    tmp_path: Path, where: str, program: str
) -> None:
    """Each campaign is changed exactly once, and its row says that it was us [P02, P03, P04]."""
    async with a_stage(tmp_path, campaigns=20) as stage:
        killed = await stage.run(*stage.pause_words(), program=program)
        ended = await stage.run("continue", str(stage.run_dir))

        assert killed.code == -signal.SIGKILL, where
        assert (ended.code, stage.outcomes()) == (0, {"paused": 20}), where
        assert {row["changed"] for row in stage.rows()} == {"yes"}, where
        assert (stage.running(), stage.effects()) == (0, 1), where


@pytest.mark.parametrize(
    ("name", "after"), [("failed.csv", False), ("results.csv", False), ("results.csv", True)]
)
async def test_killed_in_the_report_leaves_old_files_or_new_ones(
    tmp_path: Path, name: str, *, after: bool
) -> None:
    """Killed before or after each rename: `report` makes all three, no stray stays [P06]."""
    async with a_stage(tmp_path, campaigns=5) as stage:
        dying = die_at("os", "rename", condition=f"words[1] == {name!r}", after=after)
        killed = await stage.run(*stage.pause_words(), program=dying)
        ended = await stage.run("report", str(stage.run_dir))

        assert (killed.code, ended.code) == (-signal.SIGKILL, 0)
        assert stage.outcomes() == {"paused": 5}
        assert not [path for path in stage.run_dir.iterdir() if ".part" in path.name]


async def test_killed_five_times_while_continuing_it_still_converges(tmp_path: Path) -> None:
    """Six processes, each killed after a few PUTs more, then one that ends [P07]."""
    async with a_stage(tmp_path, campaigns=30) as stage:
        dying = die_at("orchestrator.engine.worker", "change", nth=4)
        codes = [(await stage.run(*stage.pause_words(), program=dying)).code]
        for _ in range(5):
            codes.append(  # noqa: PERF401 - one after the other
                (await stage.run("continue", str(stage.run_dir), program=dying)).code
            )
        ended = await stage.run("continue", str(stage.run_dir))

        assert codes == [-signal.SIGKILL] * 6
        assert (ended.code, stage.outcomes()) == (0, {"paused": 30})
        assert (stage.running(), stage.effects()) == (0, 1)


async def test_sigkill_after_the_supervisors_grace_is_like_any_other_kill(tmp_path: Path) -> None:
    """SIGTERM, then SIGKILL at once: `continue` finishes it [P13]."""
    async with a_stage(tmp_path, campaigns=60) as stage:
        child = await stage.begin(*stage.pause_words())
        await stage.until_puts(10)
        child.send(signal.SIGTERM)
        child.send(signal.SIGKILL)
        killed = await child.ended()
        ended = await stage.run("continue", str(stage.run_dir))

        assert killed.code == -signal.SIGKILL
        assert (ended.code, stage.outcomes(), stage.effects()) == (0, {"paused": 60}, 1)


async def _an_unfinished_run(stage: Stage) -> None:
    dying = die_at("orchestrator.engine.worker", "change", nth=5)
    assert (await stage.run(*stage.pause_words(), program=dying)).code == -signal.SIGKILL


async def test_a_run_of_the_day_before_yesterday_is_not_simply_taken_up(tmp_path: Path) -> None:
    """48 hours old: exit 7 and no request; with --even-if-old nothing settled is sent [P27]."""
    async with a_stage(tmp_path, campaigns=20) as stage:
        await _an_unfinished_run(stage)
        settled = stage.puts()
        requests = stage.simulator.ledger.total
        for path in stage.run_dir.iterdir():
            then_s = path.stat().st_mtime - 2 * _DAY_S
            os.utime(path, (then_s, then_s))

        refused = await stage.run("continue", str(stage.run_dir))
        sent = stage.simulator.ledger.total - requests
        ended = await stage.run("continue", str(stage.run_dir), "--even-if-old")

        assert (refused.code, sent) == (7, 0)
        assert "--even-if-old" in refused.err
        assert (ended.code, stage.outcomes(), stage.effects()) == (0, {"paused": 20}, 1)
        assert settled <= 5


async def test_a_run_of_another_server_is_refused(tmp_path: Path) -> None:
    """Its journal names another server: exit 2, and neither server hears of it [P26]."""
    async with a_stage(tmp_path, campaigns=20) as stage:
        await _an_unfinished_run(stage)
        requests = stage.simulator.ledger.total

        refused = await stage.run(
            "continue", str(stage.run_dir), "--base-url", "http://127.0.0.1:9/"
        )

        assert refused.code == 2
        assert stage.simulator.base_url in refused.err
        assert stage.simulator.ledger.total == requests


async def test_a_journal_of_a_newer_version_is_refused_with_both_versions(tmp_path: Path) -> None:
    """user_version 99: exit 2, the numbers are named, nothing is sent [P25]."""
    async with a_stage(tmp_path, campaigns=20) as stage:
        await _an_unfinished_run(stage)
        with closing(sqlite3.connect(stage.run_dir / "journal.db")) as journal:
            journal.execute("PRAGMA user_version = 99")
        requests = stage.simulator.ledger.total

        refused = await stage.run("continue", str(stage.run_dir))

        assert refused.code == 2
        assert "99" in refused.err
        assert stage.simulator.ledger.total == requests
