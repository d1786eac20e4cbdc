"""One campaign from its first attempt to its outcome, in whole runs on virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.model import Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import (
    EMPTY,
    PARAMETER_CODES,
    Fault,
    FaultPlan,
    landed,
    with_codes,
    with_http,
)
from orchestrator.simulator.reads import Lag
from orchestrator.simulator.world import Campaign, World
from tests.fakes import VDN, Stage, ref, started

ONE = ref(1)


def of_one(tmp_path: Path, *script: Fault | None, **wanted: Any) -> Stage:
    """Ten campaigns, the first of which meets these faults at its first PUTs."""
    return Stage(tmp_path, started(10), faults=FaultPlan(scripted={ONE: script}), **wanted)


async def test_the_intent_is_committed_before_its_put_leaves(tmp_path: Path) -> None:
    """With commits of 50 ms no PUT of 40 leaves without its intent on record (Stage checks)."""
    stage = Stage(tmp_path, started(40))
    stage.disk.commit_s = 0.05

    result = await stage.pause()

    assert result.exit_code == 0
    assert len(stage.server.puts) == 40
    assert stage.server.problems == []


@pytest.mark.parametrize("failures", range(6))
async def test_database_errors_are_repeated_while_attempts_last(
    tmp_path: Path, failures: int
) -> None:
    """[S12] k database errors: paused with k + 1 PUTs; after five there is one more round."""
    stage = of_one(tmp_path, *[faults.DATABASE_ERROR] * failures)

    result = await stage.pause()

    row = stage.row(result, ONE)
    assert (row["outcome"], row["attempts"]) == ("paused", str(failures + 1))
    assert len(stage.server.puts_to(ONE)) == failures + 1


async def test_a_stubborn_campaign_ends_failed_with_its_reason(tmp_path: Path) -> None:
    """[S11] 0200006 for ever: five attempts, and one more in the last round, then `failed`."""
    stage = Stage(tmp_path, started(30), faults=FaultPlan(always={ONE: faults.DATABASE_ERROR}))

    result = await stage.pause()

    row = stage.row(result, ONE)
    assert (row["outcome"], row["changed"], row["result_code"]) == ("failed", "no", "0200006")
    assert result.counts == {"paused": 29, "failed": 1}
    assert result.exit_code == 1
    assert len(stage.server.puts_to(ONE)) == 6


@pytest.mark.parametrize("code", PARAMETER_CODES)
async def test_parameter_codes_are_never_repeated(tmp_path: Path, code: str) -> None:
    """[S14] each of the twelve: one PUT, `rejected`, the code in the report."""
    stage = of_one(tmp_path, with_codes(code))

    result = await stage.pause()

    row = stage.row(result, ONE)
    assert (row["outcome"], row["result_code"]) == ("rejected", code)
    assert len(stage.server.puts_to(ONE)) == 1


async def test_a_campaign_that_does_not_exist_is_not_found_at_once(tmp_path: Path) -> None:
    """[S10] 0200007: `not_found` after one PUT, not stopped."""
    stage = Stage(tmp_path, started(10))

    result = await stage.pause([*stage.world.refs(), ref(99)])

    row = stage.row(result, ref(99))
    assert (row["outcome"], row["stopped"]) == ("not_found", "no")
    assert len(stage.server.puts_to(ref(99))) == 1


@pytest.mark.parametrize(
    "fault",
    [
        faults.ANSWER_LOST,
        faults.RESET_LANDED,
        faults.HANG_LANDED,
        faults.DATABASE_ERROR_LANDED,
        faults.TRUNCATED,
        faults.CUT_OFF,
        with_http(500, effect=True),
        with_http(503, effect=True),
    ],
    ids=lambda fault: fault.name,
)
async def test_an_effect_whose_answer_was_lost_is_known_to_be_ours(
    tmp_path: Path, fault: Fault
) -> None:
    """[N15, S09, S26] landed, answer lost, then 0200011: `paused`, changed by us, exactly."""
    stage = of_one(tmp_path, fault)

    result = await stage.pause()

    row = stage.row(result, ONE)
    assert (row["outcome"], row["changed"], row["evidence"]) == ("paused", "yes", "listed")
    assert stage.server.ledger.effects[ONE] == 1


async def test_suspended_at_the_first_attempt_was_not_our_doing(tmp_path: Path) -> None:
    """[S08] without a look: 0200011, the state is read, suspended: `already_paused`, no repeat."""
    stage = Stage(tmp_path, World({VDN: [Campaign(1, Status.SUSPENDED), Campaign(2)]}))

    result = await stage.pause(verify=False)

    row = stage.row(result, ONE)
    assert (row["outcome"], row["changed"], row["evidence"]) == ("already_paused", "no", "read")
    assert len(stage.server.puts_to(ONE)) == 1


async def test_a_doubt_without_a_look_before_is_inferred(tmp_path: Path) -> None:
    """[S09] --no-verify, landed and lost, then 0200011: `paused`, evidence `inferred`."""
    stage = of_one(tmp_path, faults.ANSWER_LOST)

    result = await stage.pause(verify=False)

    row = stage.row(result, ONE)
    assert (row["outcome"], row["changed"], row["evidence"]) == ("paused", "yes", "inferred")


@pytest.mark.parametrize(
    ("status", "outcome"), [(Status.COMPLETED, "not_running"), (Status.NOT_STARTED, "not_running")]
)
async def test_what_cannot_be_paused_is_not_running(
    tmp_path: Path, status: Status, outcome: str
) -> None:
    """[S08] completed or not started: 0200011, read, `not_running`, stopped, not changed."""
    stage = Stage(tmp_path, World({VDN: [Campaign(1, status, begin_time="2031-01-01 08:00:00")]}))

    result = await stage.pause(verify=False)

    row = stage.row(result, ONE)
    assert (row["outcome"], row["stopped"], row["changed"]) == (outcome, "yes", "no")
    assert row["may_start"] == "yes"


async def test_an_unknown_code_is_decided_by_the_state(tmp_path: Path) -> None:
    """[S06] 0299999: one PUT; still started is `rejected`, suspended meanwhile is ours."""
    landed = ref(2)
    stage = Stage(
        tmp_path,
        started(10),
        faults=FaultPlan(
            scripted={ONE: [faults.UNKNOWN_CODE], landed: [faults.landed(faults.UNKNOWN_CODE)]}
        ),
    )

    result = await stage.pause()

    assert stage.row(result, ONE)["outcome"] == "rejected"
    assert stage.row(result, ONE)["result_code"] == "0299999"
    assert stage.row(result, landed)["outcome"] == "paused"
    assert len(stage.server.puts_to(ONE)) == len(stage.server.puts_to(landed)) == 1


async def test_codes_that_disagree_get_one_repeat(tmp_path: Path) -> None:
    """[S01, S27] success and error in one answer, every time: two PUTs, never a success."""
    stage = Stage(
        tmp_path, started(10), faults=FaultPlan(always={ONE: faults.disagreeing(effect=False)})
    )

    result = await stage.pause()

    assert stage.row(result, ONE)["outcome"] == "failed"
    assert len(stage.server.puts_to(ONE)) == 2
    assert stage.row(result, ONE)["result_code"] == "0200000/0200006"


@pytest.mark.parametrize(
    "fault",
    [faults.EMPTY, faults.NO_CODES, faults.LOGIN, with_http(500), with_http(202, body=b"{}")],
    ids=lambda fault: fault.name,
)
async def test_no_answer_without_a_code_is_a_success(tmp_path: Path, fault: Fault) -> None:
    """[S03, S25, S28, S31] such an answer for ever: not paused in the report, as in the world."""
    stage = Stage(tmp_path, started(30), faults=FaultPlan(always={ONE: fault}))

    result = await stage.pause()

    assert stage.row(result, ONE)["stopped"] == "no"
    assert stage.world.status_of(ONE) is Status.STARTED
    assert result.counts["paused"] == 29


async def test_a_lie_is_found_out_by_the_check(tmp_path: Path) -> None:
    """[S44] success without effect: listed as started, paused once more, then `still_running`."""
    stage = Stage(tmp_path, started(10), faults=FaultPlan(always={ONE: faults.LIE}))

    result = await stage.pause()

    row = stage.row(result, ONE)
    assert (row["outcome"], row["stopped"], row["changed"]) == ("still_running", "no", "yes")
    assert len(stage.server.puts_to(ONE)) == 2


async def test_numbers_for_codes_are_read_without_loss(tmp_path: Path) -> None:
    """[S04] a server that writes 200000 for 0200000 is understood."""
    stage = of_one(tmp_path, faults.NUMERIC_CODES)

    result = await stage.pause()

    assert stage.row(result, ONE)["result_code"] == "0200000"
    assert result.exit_code == 0


async def test_a_backoff_holds_no_slot(tmp_path: Path) -> None:
    """[S13] C = 1 and a campaign that fails for ever: the other 29 are through within a second."""
    stage = Stage(
        tmp_path,
        started(30),
        concurrency=1,
        faults=FaultPlan(always={ONE: faults.DATABASE_ERROR}),
    )

    await stage.pause()

    others = [one.at_s for one in stage.server.puts if one.ref != ONE]
    assert len(others) == 29
    # 29 round trips of 20 ms, two commits and a connection each, and the stubborn one's attempts
    assert max(others) < 1.5


async def test_what_was_never_sent_is_on_record_as_not_sent(tmp_path: Path) -> None:
    """[N02] connections refused for a while: those attempts are none, and all end paused."""
    stage = Stage(tmp_path, started(20))
    stage.server.unreachable = [(0.1, 8.0)]

    result = await stage.pause()

    assert result.counts == {"paused": 20}
    assert {row["attempts"] for row in stage.rows(result)} == {"1"}
    assert len(stage.server.puts) == 20


async def test_the_report_shows_what_the_server_said(tmp_path: Path) -> None:
    """[S43] a formula as description arrives escaped, and bounded."""
    body = json.dumps({"resultCode": "0200007", "resultDesc": "=1+1" + "A" * 9_000}).encode()
    fault = Fault("hostile", body=body, content_type="application/json")
    stage = of_one(tmp_path, fault)

    result = await stage.pause()

    shown = stage.row(result, ONE)["result_desc"]
    assert shown.startswith("'=1+1")
    assert len(shown) <= 501


async def test_status_two_after_a_refusal_is_tried_once_more(tmp_path: Path) -> None:
    """0200011 although it is listed as started: one repeat, then `failed`, never `paused`."""
    stage = Stage(tmp_path, started(10), faults=FaultPlan(always={ONE: with_codes("0200011")}))

    result = await stage.pause()

    assert stage.row(result, ONE)["outcome"] == "failed"
    assert len(stage.server.puts_to(ONE)) == 2


def mute(count: int, **wanted: Any) -> FaultPlan:
    """Every pause of so many campaigns takes effect, and is answered with nothing."""
    return FaultPlan(always={ref(n): landed(EMPTY) for n in range(1, count + 1)}, **wanted)


async def test_answers_that_say_nothing_are_looked_into_at_once(tmp_path: Path) -> None:
    """All pauses work and say nothing: after five the states are read, and no PUT is repeated."""
    stage = Stage(tmp_path, started(30), faults=mute(30))

    result = await stage.pause()

    assert result.counts == {"paused": 30}
    assert {row["evidence"] for row in stage.rows(result)} == {"listed"}
    assert len(stage.server.puts) <= 30 + 8
    assert stage.clock.now_s() < 10


async def test_answers_that_say_nothing_are_looked_into_until_the_states_are_seen(
    tmp_path: Path,
) -> None:
    """The same with reads that are 4 s behind: the first five show nothing, later ones do."""
    stage = Stage(tmp_path, started(30), faults=mute(30, lags=(Lag(4.0),)))

    result = await stage.pause()

    assert result.counts == {"paused": 30}
    assert stage.clock.now_s() < 60
