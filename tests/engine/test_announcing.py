"""What is told of a run while it goes on: once that it has begun, once that it is quiet."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.engine.pausing_all import Findings
from orchestrator.engine.results import Announcement
from orchestrator.engine.run import Environment
from orchestrator.errors import RefusedError
from orchestrator.model import Status
from orchestrator.reports.summary import Ended
from orchestrator.simulator.faults import HANG, FaultPlan, Outage
from orchestrator.simulator.world import Campaign, Drift, World
from tests.fakes import VDN, Stage, after, both, ref, started


class Told:
    """What was told, when, and how many PUTs had left by then."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.found: list[tuple[Announcement, float, int]] = []
        stage.on_birth = self._follow

    def _follow(self, environment: Environment) -> None:
        environment.announce = lambda one: self.found.append(
            (one, self.stage.clock.now_s(), len(self.stage.server.puts))
        )

    @property
    def words(self) -> list[str]:
        """What was told, in order."""
        return [one.word for one, _, _ in self.found]


def interrupt(stage: Stage) -> None:
    """Ctrl-C in the process that goes on."""
    assert stage.stopping is not None
    stage.stopping.stop(Ended.SIGNAL_INT, "SIGINT received")


async def test_an_emergency_is_announced_after_its_first_put(tmp_path: Path) -> None:
    """The PUT first; then who, what and why, without a verdict that nobody knows yet."""
    stage = Stage(tmp_path, started(40))
    told = Told(stage)

    result = await stage.pause_all(VDN, reason="wrong list")

    begun, at_s, puts = told.found[0]
    assert told.words == ["start", "quiet"]
    assert puts >= 1
    assert at_s < 1.0
    assert begun.run_id == result.run_id
    assert f"to stop VDN {VDN} on" in begun.line
    assert begun.line.endswith(": wrong list.")
    assert begun.summary["vdns"] == [VDN]
    assert not begun.summary.keys() & {"verdict", "exit_code", "counts"}


async def test_quiet_is_told_before_the_hold_in_the_words_of_the_end(tmp_path: Path) -> None:
    """A hold of ten minutes: told when it begins, once, although quiet is lost and won again."""
    members = [*map(Campaign, range(1, 21)), Campaign(901, Status.NOT_STARTED)]
    stage = Stage(tmp_path, World({VDN: members}, drifts=[Drift(ref(901), at_s=60.0)]))
    told = Told(stage)

    result = await stage.pause_all(VDN, hold_s=600.0)

    quiet, at_s, puts = told.found[1]
    assert told.words == ["start", "quiet"]
    assert at_s < 20.0
    assert puts == 20
    assert f"VDN {VDN} is quiet" in quiet.line
    assert "We paused 20." in quiet.line
    assert quiet.summary["verdict"] == result.verdict == "quiet"
    assert "exit_code" not in quiet.summary
    assert result.counts == {"paused": 21}


async def test_an_emergency_that_gets_no_answer_is_announced_all_the_same(tmp_path: Path) -> None:
    """The server hangs for a minute, and no PUT can leave: told after five seconds."""
    outage = Outage(HANG, end_s=60.0)
    stage = Stage(tmp_path, started(5), faults=FaultPlan(outages=(outage,)))
    told = Told(stage)

    await stage.pause_all(VDN)

    _, at_s, _ = told.found[0]
    assert told.words == ["start", "quiet"]
    assert at_s == pytest.approx(5.0, abs=0.1)


async def test_an_emergency_that_nobody_confirmed_is_not_announced(tmp_path: Path) -> None:
    """The number was not typed: nothing has begun."""
    stage = Stage(tmp_path, started(5))
    told = Told(stage)

    async def refuse(_: Findings) -> bool:
        await stage.clock.sleep(30)
        return False

    with pytest.raises(RefusedError):
        await stage.pause_all(VDN, confirm=refuse)

    assert told.words == []


@pytest.mark.parametrize("dry_run", [False, True])
async def test_where_nothing_runs_both_are_told_at_quiet(tmp_path: Path, *, dry_run: bool) -> None:
    """No question, no PUT: begun and quiet. A dry run only lists."""
    stage = Stage(tmp_path, World({VDN: [Campaign(1, Status.SUSPENDED)]}))
    told = Told(stage)

    async def never(_: Findings) -> bool:
        raise AssertionError

    await stage.pause_all(VDN, confirm=never, dry_run=dry_run)

    assert told.words == ([] if dry_run else ["start", "quiet"])


async def test_a_list_is_announced_once_over_all_its_processes(tmp_path: Path) -> None:
    """Before its first PUT, and not again by `continue`; its restore is a run of its own."""
    stage = Stage(tmp_path, started(200))
    told = Told(stage)
    result = await both(
        stage.pause(reason="night"),
        after(2.0, lambda: interrupt(stage)),
    )
    await stage.continue_run(result)
    await stage.restore(result)

    assert told.words == ["start", "start"]
    (first, _, puts), (second, _, _) = told.found
    assert puts == 0
    assert "began to pause the list" in first.line
    assert f"began to start again what run {result.run_id} stopped" in second.line
    assert second.line.endswith(": no reason was given.")


async def test_a_continued_emergency_tells_that_it_is_quiet(tmp_path: Path) -> None:
    """Killed before quiet: the next process tells quiet alone."""
    stage = Stage(tmp_path, started(40))
    told = Told(stage)
    result = await both(stage.pause_all(VDN), after(1.0, lambda: interrupt(stage)))
    assert told.words == ["start"]

    await stage.continue_run(result)

    assert told.words == ["start", "quiet"]
