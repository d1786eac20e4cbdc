"""Signals, stops and sleeps of the real command."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
from pathlib import Path

import pytest

from orchestrator.simulator.faults import DATABASE_ERROR, HANG, FaultPlan
from tests.e2e.stage import SHORT_GAP, a_stage

pytestmark = pytest.mark.sockets


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
async def test_a_signal_ends_a_list_in_order_and_continue_finishes_it(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """Nothing new after it, a report with `unattempted` rows, no traceback [P09, P10, P11]."""
    async with a_stage(tmp_path, campaigns=60) as stage:
        child = await stage.begin(*stage.pause_words())
        await stage.until_puts(10)
        child.send(number)
        ended = await child.ended()
        puts, outcomes = stage.puts(), stage.outcomes()
        again = await stage.run("continue", str(stage.run_dir))

        assert ended.code == code
        assert stage.summary()["verdict"] == "complete"
        assert (outcomes["paused"], outcomes["unattempted"]) == (puts, 60 - puts)
        assert "Traceback" not in ended.err
        assert (again.code, stage.outcomes(), stage.effects()) == (0, {"paused": 60}, 1)


@pytest.mark.parametrize("deadline", [(), ("--deadline", "0.3")], ids=["working", "ending"])
async def test_a_second_sigint_leaves_at_once_and_the_journal_is_whole(
    tmp_path: Path, deadline: tuple[str, ...]
) -> None:
    """An answer never comes; the second Ctrl-C waits for nothing, past a deadline too [P10]."""
    async with a_stage(tmp_path, campaigns=5) as stage:
        ref = stage.simulator.world.refs()[2]
        stage.simulator.handler.faults = FaultPlan(always={ref: HANG})
        child = await stage.begin(*stage.pause_words(*deadline))
        await stage.until(lambda: stage.simulator.ledger.puts[ref] == 1)
        if deadline:
            await asyncio.sleep(0.5)
        child.send(signal.SIGINT)
        await asyncio.sleep(0.2)
        still_there = child.process.returncode is None
        child.send(signal.SIGINT)
        ended = await child.ended()
        stage.simulator.handler.faults = FaultPlan()
        report = await stage.run("report", str(stage.run_dir))

        assert still_there
        assert ended.code == 130
        assert "SIGINT received: stopping after the" in ended.err
        assert "quit at once" in ended.err
        assert "Traceback" not in ended.err
        assert report.code == 143
        assert len(stage.rows()) == 5


async def test_a_lost_terminal_does_not_stop_an_emergency(tmp_path: Path) -> None:
    """pause-all goes on after SIGHUP until quiet is proven [P11]."""
    async with a_stage(tmp_path, campaigns=40) as stage:
        child = await stage.begin(*stage.pause_all_words("--rate", "100"), program=SHORT_GAP)
        await stage.until_puts(5)
        child.send(signal.SIGHUP)
        ended = await child.ended()

        assert (ended.code, stage.running()) == (0, 0)
        assert stage.summary()["verdict"] == "quiet"


async def test_an_emergency_that_is_continued_is_one(tmp_path: Path) -> None:
    """Killed and continued: it survives SIGHUP, and no list's five attempts end its work [P11]."""
    async with a_stage(tmp_path, campaigns=40) as stage:
        stubborn = stage.simulator.world.refs()[-1]
        stage.simulator.handler.faults = FaultPlan(scripted={stubborn: (DATABASE_ERROR,) * 9})
        child = await stage.begin(*stage.pause_all_words("--rate", "100"), program=SHORT_GAP)
        await stage.until_puts(5)
        child.process.kill()
        await child.ended()
        child = await stage.begin("continue", str(stage.run_dir), program=SHORT_GAP)
        await stage.until_puts(30)
        child.send(signal.SIGHUP)
        ended = await child.ended()

        assert (ended.code, stage.running()) == (0, 0), ended.err
        assert stage.summary()["verdict"] == "quiet"
        assert stage.simulator.ledger.puts[stubborn] > 6


async def test_a_hangup_that_was_ignored_at_the_start_stays_ignored(tmp_path: Path) -> None:
    """As under nohup: the list is finished, exit 0 [P11]."""

    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    async with a_stage(tmp_path, campaigns=40) as stage:
        child = await stage.begin(*stage.pause_words(), before=ignore)
        await stage.until_puts(5)
        child.send(signal.SIGHUP)
        ended = await child.ended()

        assert (ended.code, stage.outcomes()) == (0, {"paused": 40})


async def test_a_terminal_that_closes_ends_a_list_with_its_report(tmp_path: Path) -> None:
    """The other end of its terminal goes away: exit 129, report written [P10, P11]."""
    ours, theirs = pty.openpty()
    async with a_stage(tmp_path, campaigns=60) as stage:
        child = await stage.begin(*stage.pause_words(), stdout=theirs)
        os.close(theirs)
        await stage.until_puts(10)
        os.close(ours)
        child.send(signal.SIGHUP)
        ended = await child.ended()

        assert ended.code == 129
        assert len(stage.rows()) == 60
        assert "Traceback" not in ended.err


async def test_a_stopped_process_does_not_catch_up_what_it_missed(tmp_path: Path) -> None:
    """SIGSTOP for 1.2 s, then SIGCONT: never more than R in a second, and exit 0 [P12]."""
    async with a_stage(tmp_path, campaigns=60) as stage:
        child = await stage.begin(*stage.pause_words("--rate", "40"))
        await stage.until_puts(15)
        child.send(signal.SIGSTOP)
        await asyncio.sleep(1.2)
        child.send(signal.SIGCONT)
        ended = await child.ended()

        assert (ended.code, stage.outcomes()) == (0, {"paused": 60})
        # its 40 and the 48 it missed would be 88; a busy machine may hold some up on their way
        assert stage.simulator.ledger.worst_1s < 80
        rate = stage.summary()["rate"]
        assert isinstance(rate, dict)
        assert rate["worst_1s"] <= 40
