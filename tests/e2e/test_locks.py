"""Two of them at once: on one run, on one list, on one VDN."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from orchestrator.errors import RefusedError
from tests.e2e.stage import SHORT_GAP, a_stage
from tests.harness.starters import start_together

pytestmark = pytest.mark.sockets


async def test_of_fifty_simultaneous_starters_exactly_one_works(tmp_path: Path) -> None:
    """49 exit 7 without a request and name the one that works [X01]."""
    async with a_stage(tmp_path, campaigns=30) as stage:
        codes, words = await start_together(stage, 50)

        assert sorted(codes) == [0, *[RefusedError.exit_code] * 49]
        assert len([text for text in words if "is being worked on by" in text]) == 49
        assert (stage.puts(), stage.outcomes()) == (30, {"paused": 30})


async def test_a_rival_that_was_quicker_keeps_its_run(tmp_path: Path) -> None:
    """A whole run happens between finding the directory empty and locking it: exit 7 [X01]."""
    program = """
import subprocess, sys
from orchestrator.store.run_dir import RunDirectory
def hold(self, **more):
    subprocess.run([sys.executable, "-m", "orchestrator", *sys.argv[1:]], capture_output=True)
    return real(self, **more)
real, RunDirectory.hold = RunDirectory.hold, hold
"""
    async with a_stage(tmp_path, campaigns=5) as stage:
        late = await stage.run(*stage.pause_words(), program=program)

        assert late.code == 7
        assert (stage.puts(), stage.outcomes()) == (5, {"paused": 5})
        assert {row["changed"] for row in stage.rows()} == {"yes"}


async def test_the_second_command_on_a_run_exits_at_once_and_names_the_first(
    tmp_path: Path,
) -> None:
    """Exit 7, pid and host; so without holder.json; killed, the lock is free [X01, X02, X03]."""
    async with a_stage(tmp_path, campaigns=100) as stage:
        child = await stage.begin(*stage.pause_words("--rate", "50"))
        await stage.until_puts(10)
        child.send(signal.SIGSTOP)
        await asyncio.sleep(0.1)
        requests = stage.simulator.ledger.total
        second = await stage.run("continue", str(stage.run_dir))
        (stage.run_dir / "holder.json").unlink()
        nameless = await stage.run("continue", str(stage.run_dir))
        sent = stage.simulator.ledger.total - requests
        child.send(signal.SIGKILL)
        await child.ended()
        third = await stage.run("continue", str(stage.run_dir), "--rate", "500")

        assert (second.code, nameless.code, sent) == (7, 7, 0)
        assert "another process" in nameless.err
        assert f"process {child.process.pid} on {os.uname().nodename}" in second.err
        assert (third.code, stage.outcomes(), stage.effects()) == (0, {"paused": 100}, 1)


async def test_an_emergency_during_a_list_harms_neither(tmp_path: Path) -> None:
    """pause-all starts while a list works: both end with 0, all are paused, once [X06]."""
    async with a_stage(tmp_path, campaigns=60) as stage:
        child = await stage.begin(
            "pause", str(stage.manifest), "--run-dir", str(tmp_path / "list"), "--rate", "30"
        )
        await stage.until_puts(10)
        emergency = await stage.run(*stage.pause_all_words("--rate", "100"), program=SHORT_GAP)
        ended = await child.ended()

        assert (ended.code, emergency.code) == (0, 0), ended.err + emergency.err
        assert (stage.running(), stage.effects()) == (0, 1)
        assert stage.summary()["verdict"] == "quiet"
