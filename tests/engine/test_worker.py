"""One campaign from its first attempt to its outcome, in whole runs on virtual time."""

from __future__ import annotations

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


ANSWERED_FOR_EVER: dict[str, tuple[Fault, dict[str, str], int]] = {
    "[S11] a busy database: five attempts, and one more in the last round": (
        faults.DATABASE_ERROR, {"outcome": "failed", "changed": "no", "result_code": "0200006"}, 6,
    ),
    "[S14] a parameter code is never repeated": (
        with_codes(PARAMETER_CODES[0]),
        {"outcome": "rejected", "result_code": PARAMETER_CODES[0]},
        1,
    ),
    "[S06] an unknown code is decided by the state": (
        faults.UNKNOWN_CODE, {"outcome": "rejected", "result_code": "0299999"}, 1,
    ),
    "[S01, S27] codes that disagree get one repeat": (
        faults.disagreeing(effect=False),
        {"outcome": "failed", "result_code": "0200000/0200006"},
        2,
    ),
    "[S44] a lie is found out by the check, and paused once more": (
        faults.LIE, {"outcome": "still_running", "stopped": "no", "changed": "yes"}, 2,
    ),
    "0200011 although it is listed as started is tried once more": (
        with_codes("0200011"), {"outcome": "failed"}, 2,
    ),
    "[S04] numbers for codes are read without loss": (
        faults.NUMERIC_CODES, {"outcome": "paused", "result_code": "0200000"}, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "wanted", "puts"), ANSWERED_FOR_EVER.values(), ids=ANSWERED_FOR_EVER
)
async def test_what_a_campaign_is_answered_for_ever_decides(
    tmp_path: Path, fault: Fault, wanted: dict[str, str], puts: int
) -> None:
    """One of 30 always has this answer: its row, its number of PUTs, and the others are paused."""
    stage = Stage(tmp_path, started(30), faults=FaultPlan(always={ONE: fault}))

    result = await stage.pause()

    row = stage.row(result, ONE)
    assert {name: row[name] for name in wanted} == wanted
    assert len(stage.server.puts_to(ONE)) == puts
    assert result.counts["paused"] >= 29


async def test_a_campaign_that_does_not_exist_is_not_found_at_once(tmp_path: Path) -> None:
    """[S10] 0200007: `not_found` after one PUT, not stopped."""
    stage = Stage(tmp_path, started(10))

    result = await stage.pause([*stage.world.refs(), ref(99)])

    row = stage.row(result, ref(99))
    assert (row["outcome"], row["stopped"]) == ("not_found", "no")
    assert len(stage.server.puts_to(ref(99))) == 1


@pytest.mark.parametrize(
    ("fault", "verify", "evidence"),
    [
        (faults.ANSWER_LOST, True, "listed"),
        (faults.RESET_LANDED, True, "listed"),
        (faults.HANG_LANDED, True, "listed"),
        (faults.DATABASE_ERROR_LANDED, True, "listed"),
        (faults.TRUNCATED, True, "listed"),
        (faults.CUT_OFF, True, "listed"),
        (with_http(500, effect=True), True, "listed"),
        (with_http(503, effect=True), True, "listed"),
        (landed(faults.UNKNOWN_CODE), True, "listed"),
        # without a look before, it may have been somebody else
        (faults.ANSWER_LOST, False, "inferred"),
    ],
    ids=lambda one: getattr(one, "name", None),
)
async def test_an_effect_whose_answer_was_lost_is_known_to_be_ours(
    tmp_path: Path, fault: Fault, evidence: str, *, verify: bool
) -> None:
    """[N15, S09, S26] landed, answer lost, then 0200011: `paused`, changed by us, exactly."""
    stage = of_one(tmp_path, fault)

    result = await stage.pause(verify=verify)

    row = stage.row(result, ONE)
    assert (row["outcome"], row["changed"], row["evidence"]) == ("paused", "yes", evidence)
    assert stage.server.ledger.effects[ONE] == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (Status.SUSPENDED, "already_paused"),
        (Status.COMPLETED, "not_running"),
        (Status.NOT_STARTED, "not_running"),
    ],
)
async def test_a_refused_status_is_read_and_was_not_our_doing(
    tmp_path: Path, status: Status, outcome: str
) -> None:
    """[S08] without a look: 0200011, the state is read and decides, no repeat."""
    stage = Stage(tmp_path, World({VDN: [Campaign(1, status, begin_time="2031-01-01 08:00:00")]}))

    result = await stage.pause(verify=False)

    row = stage.row(result, ONE)
    assert (row["outcome"], row["stopped"], row["changed"]) == (outcome, "yes", "no")
    assert (row["evidence"], row["may_start"]) == ("read", "yes" * (outcome == "not_running"))
    assert len(stage.server.puts_to(ONE)) == 1


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


def mute(count: int, **wanted: Any) -> FaultPlan:
    """Every pause of so many campaigns takes effect, and is answered with nothing."""
    return FaultPlan(always={ref(n): landed(EMPTY) for n in range(1, count + 1)}, **wanted)


@pytest.mark.parametrize(("lag_s", "soon_s"), [(0.0, 10), (4.0, 60)])
async def test_answers_that_say_nothing_are_looked_into(
    tmp_path: Path, lag_s: float, soon_s: float
) -> None:
    """All pauses work and say nothing: after five the states are read, however old they are."""
    stage = Stage(tmp_path, started(30), faults=mute(30, lags=(Lag(lag_s),) if lag_s else ()))

    result = await stage.pause()

    assert result.counts == {"paused": 30}
    assert {row["evidence"] for row in stage.rows(result)} == {"listed"}
    assert lag_s or len(stage.server.puts) <= 30 + 8
    assert stage.clock.now_s() < soon_s
