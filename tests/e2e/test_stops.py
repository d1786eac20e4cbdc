"""A stop reaches a run wherever it waits: nothing leaves afterwards, and everything is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import NotBegunError
from orchestrator.model import CampaignRef
from orchestrator.reports.summary import Ended
from orchestrator.simulator.faults import DATABASE_ERROR, HANG, FaultPlan, Outage, slow, with_http
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.world import Campaign, World
from tests.fakes import Stage

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.engine.run import Environment

VDN = 12
CHANGES = frozenset({Kind.PAUSE, Kind.RESUME})


def plan_of(*outages: Outage, **options: Any) -> FaultPlan:
    return FaultPlan(outages=outages, **options)


STUBBORN = {CampaignRef(VDN, number): DATABASE_ERROR for number in (1, 2, 3)}

#: where the run waits → what makes it wait there
WAITS: dict[str, dict[str, Any]] = {
    "the pacer": {"rate_per_s": 1.0},
    "a backoff": {
        "faults": plan_of(always=STUBBORN),
        "settings": {"retry.backoff_base_s": 500.0, "retry.backoff_cap_s": 500.0},
    },
    "a connection": {"unreachable": (0.5, 1000.0)},
    "an answer": {"faults": plan_of(Outage(HANG, kinds=CHANGES))},
    "a slow answer": {"faults": plan_of(Outage(slow(8.0), kinds=CHANGES))},
    "a commit": {"commit_s": 3.0},
    "a listing": {"faults": plan_of(Outage(HANG, kinds=frozenset({Kind.LIST})))},
    "the breaker": {"faults": plan_of(Outage(with_http(503), kinds=CHANGES))},
    "Retry-After": {"faults": plan_of(Outage(with_http(429, retry_after="60"), kinds=CHANGES))},
}


@pytest.mark.parametrize("at_s", [0.0, 0.05, 1.0, 4.0])
@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
async def test_a_stop_ends_every_kind_of_wait(
    tmp_path: Path, wait: dict[str, Any], at_s: float
) -> None:
    """[X07] [P09] SIGTERM at four instants of nine waits: no PUT leaves after it, exit 143.

    What was in flight gets 3 s for its answer; what is in doubt then is looked at for 5 s.
    """
    options = dict(wait)
    unreachable = options.pop("unreachable", None)
    commit_s = options.pop("commit_s", None)
    world = World({VDN: [Campaign(number) for number in range(1, 41)]})
    stage = Stage(tmp_path, world, **options)
    if unreachable is not None:
        stage.server.unreachable.append(unreachable)
    if commit_s is not None:
        stage.disk.commit_s = commit_s
    stopped_s: list[float] = []

    def born(environment: Environment) -> None:
        loop = asyncio.get_running_loop()

        def stop() -> None:
            stopped_s.append(loop.time())
            environment.stopping.stop(Ended.SIGNAL_TERM, "SIGTERM received")

        loop.call_later(at_s, stop)

    stage.on_birth = born
    if not at_s:
        # the list is still being read: there is no run
        with pytest.raises(NotBegunError) as early:
            await stage.pause()
        assert (early.value.exit_code, stage.server.sent) == (143, [])
        return
    result = await stage.pause()

    ended_s = asyncio.get_running_loop().time()
    if not stopped_s:
        assert result.exit_code == 0, "it was over before the signal came"
        return
    assert result.exit_code == 143
    assert [one for one in stage.server.puts if one.at_s > stopped_s[0]] == []
    assert sum(result.counts.values()) == 40
    # 3 s for what is in flight and 5 s for a last look; then commits of the answer and of the end
    assert ended_s - stopped_s[0] <= 8 + 10 * (commit_s or 0.1)
