"""What one process of a run leaves to the next: killed, stopped, continued, undone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine import continuing
from orchestrator.engine.options import ContinueOptions
from orchestrator.errors import JournalMismatchError
from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.routes import Kind
from orchestrator.store.run_dir import RunDirectory
from tests.fakes import VDN, Sent, Stage, ref, started


async def killed_at(stage: Stage, number: int) -> Path:
    """A pause that is killed when this PUT has just left; gives its directory."""

    def kill(sent: Sent) -> None:
        if sent.is_change and len(stage.server.puts) == number:
            stage.kill()

    stage.server.on_sent = kill
    assert await stage.until_killed(stage.pause()) is None
    stage.server.on_sent = None
    (run_dir,) = stage.run_dirs()
    return run_dir


# -- continue ---------------------------------------------------------------------------------


async def test_an_attempt_in_doubt_is_looked_at_before_it_is_sent_again(tmp_path: Path) -> None:
    """[P03] the PUT that was cut off took effect: seen suspended, it gets no second one."""
    stage = Stage(tmp_path, started(20), concurrency=1)
    run_dir = await killed_at(stage, 8)
    cut_off = stage.server.puts[-1].ref
    assert cut_off is not None

    result = await stage.continue_run(run_dir)

    row = stage.row(result, cut_off)
    assert len(stage.server.puts_to(cut_off)) == 1
    assert (row["outcome"], row["changed"], row["state_before"]) == ("paused", "yes", "started")


async def test_a_run_of_another_server_is_refused(tmp_path: Path) -> None:
    """[P26] The settings name another host than the journal: refused, and nothing is sent."""
    stage = Stage(tmp_path, started(20))
    run_dir = await killed_at(stage, 5)
    sent = len(stage.server.sent)
    settings = stage.settings()
    elsewhere = replace(settings.server, base_url="http://127.0.0.2:28080")

    with pytest.raises(JournalMismatchError, match=r"127\.0\.0\.2") as no:
        await continuing.continue_run(
            RunDirectory(run_dir),
            replace(settings, server=elsewhere),
            ContinueOptions(),
            stage.birth(),
        )

    # --base-url alone would go there with this server's key and certificate
    assert no.value.advice.startswith("add the --config of that server")
    assert len(stage.server.sent) == sent


# -- the report, the listing ------------------------------------------------------------------


async def test_rows_stand_in_the_order_of_the_list(tmp_path: Path) -> None:
    """Campaigns that need repeats are settled last, and still stand where the list has them."""
    wanted = [ref(number) for number in (9, 3, 30, 1, 17, 4, 25, 2)]
    scripted = {wanted[0]: [faults.DATABASE_ERROR] * 4, wanted[3]: [faults.DATABASE_ERROR] * 2}
    stage = Stage(tmp_path, started(30), faults=FaultPlan(scripted=scripted))

    result = await stage.pause(wanted)

    shown = [CampaignRef(VDN, int(row["campaign_id"])) for row in stage.rows(result)]
    assert shown == wanted


async def test_one_pass_over_a_shrinking_list_finds_all_that_ran(tmp_path: Path) -> None:
    """[I39] 1,000 running, paused while they are listed: the first pass has seen every one.

    Ten pages are asked for once each, then nothing is left for the sweeps to find.
    """
    stage = Stage(tmp_path, started(1_000))

    result = await stage.pause_all(VDN)

    first_sweep = stage.events.named("pass.made")[0]
    assert result.exit_code == 0
    assert first_sweep["started"] == 0


async def test_an_outcome_does_not_stand_while_the_campaign_is_sent_once_more(
    tmp_path: Path,
) -> None:
    """Paused, started by somebody, killed as the second PUT leaves: it is not told as paused."""
    stage = Stage(tmp_path, started(3))
    one = ref(1)

    def act(sent: Sent) -> None:
        puts = stage.server.puts_to(one)
        if sent.kind is Kind.LIST and len(puts) == 1 and puts[0].delivered:
            stage.world.set_status(one, Status.STARTED)
        if sent.ref == one and len(puts) == 2:
            stage.kill()

    stage.server.on_sent = act
    assert await stage.until_killed(stage.pause_all(VDN)) is None

    asked = "SELECT p.campaign_id, o.standing FROM outcomes o JOIN plan p ON p.seq = o.seq"
    assert dict(stage.on_record(asked)) == {1: "needs_state", 2: "stands", 3: "stands"}
