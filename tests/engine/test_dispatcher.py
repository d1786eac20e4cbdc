"""Sends requests: the first one alone, corrections, breaker, pace, Retry-After."""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from orchestrator.engine.results import RunResult
from orchestrator.settings.schema import SigningRules
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault, FaultPlan, Outage, mixed, with_http
from orchestrator.simulator.reads import Asked, ListingFaults
from orchestrator.simulator.routes import CHANGES, Kind
from orchestrator.simulator.signature import Form, SignatureCheck
from orchestrator.simulator.world import Campaign, World
from tests.fakes import ACCESS_KEY, SECRET_KEY, Sent, Stage, ref, several, started

_CHANGES = frozenset(CHANGES)


async def test_until_proven_requests_go_alone(tmp_path: Path) -> None:
    """[S15] with C = 8 and an answer after 1 s, nothing leaves before the first has answered."""
    stage = Stage(tmp_path, several({1: 30, 2: 30, 3: 30}), back_s=1.0)

    await stage.pause()

    first, second = stage.server.sent[:2]
    assert first.ended_s is not None
    assert second.at_s >= first.ended_s


WORKS = ["pause", "pause --no-verify", "pause-all"]


async def done(stage: Stage, work: str) -> RunResult:
    """What one of WORKS comes to."""
    if work == "pause-all":
        return await stage.pause_all()
    return await stage.pause(verify=work == "pause")


@pytest.mark.parametrize("work", WORKS)
async def test_a_wrong_key_costs_two_or_three_requests(tmp_path: Path, work: str) -> None:
    """[S15] 2,000 campaigns, C = 64: one request, one in the other form, exit 3; no outage."""
    signature = SignatureCheck(ACCESS_KEY, "another key")
    stage = Stage(tmp_path, started(2_000), concurrency=64, rate_per_s=500, signature=signature)

    result = await done(stage, work)

    assert result.exit_code == 3
    assert len(stage.server.sent) <= 3
    assert not stage.events.counts["signature.corrected"]


@pytest.mark.parametrize("we_begin_with", [False, True])
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("switch", ["millis", "blank_query_line"])
async def test_a_switch_of_signing_is_healed_and_recorded(
    tmp_path: Path, switch: str, work: str, *, we_begin_with: bool
) -> None:
    """What is refused is signed once in the other form, which is kept, said and recorded."""
    ours: dict[str, Any] = {switch: we_begin_with}
    wants: dict[str, Any] = {switch: Form.OMIT if we_begin_with else Form.KEEP}
    stage = Stage(
        tmp_path,
        started(50),
        signature=SignatureCheck(ACCESS_KEY, SECRET_KEY, **wants),
        signing=SigningRules(**ours),
    )

    result = await done(stage, work)

    if switch == "blank_query_line" and work == "pause --no-verify":
        # No listing was accepted before, so nothing tells a wrong switch from a wrong key.
        assert result.exit_code == 3
        return
    assert result.exit_code == 0
    refused = [one for one in stage.server.sent if one.entry and not one.entry.authorised]
    # Of PUTs those that had left before the first refusal was read are signed again too.
    assert 1 <= len(refused) <= (1 if switch == "millis" else 8)
    (said,) = stage.events.named("signature.corrected")
    assert (said["correction"], said[switch]) == (switch, not we_begin_with)
    assert result.run_dir is not None
    summary = json.loads((result.run_dir / "summary.json").read_text())
    assert summary["settings"]["signing"][switch] is (not we_begin_with)


@pytest.mark.parametrize("skew_s", [1200.0, -1200.0, 5400.0])
async def test_a_wrong_clock_of_ours_is_corrected_once(tmp_path: Path, skew_s: float) -> None:
    """[S18, P29] the server's Date is 20 min away: one refusal, then all signed in its time."""
    stage = Stage(
        tmp_path,
        started(50),
        signature=SignatureCheck(ACCESS_KEY, SECRET_KEY, clock_offset_s=skew_s),
    )

    result = await stage.pause()

    assert result.counts == {"paused": 50}
    assert sum(1 for one in stage.server.sent if one.entry and not one.entry.authorised) == 1


async def test_a_clock_that_jumps_in_the_middle_is_corrected(tmp_path: Path) -> None:
    """[P28, P29] our wall clock goes back 2 h after 20 PUTs: re-signed, all paused, in order."""
    stage = Stage(tmp_path, started(60))

    def jump(sent: Sent) -> None:
        if len(stage.server.puts) == 20:
            stage.clock.jump_ms = -7_200_000

    stage.server.on_sent = jump

    result = await stage.pause()

    assert result.counts == {"paused": 60}
    # Those in flight at the jump may be refused too; each is signed again.
    assert sum(1 for one in stage.server.sent if one.entry and not one.entry.authorised) <= 8


@pytest.mark.parametrize(("end_s", "exit_code"), [(5.5, 0), (1e9, 3)])
async def test_a_key_that_was_good_is_an_outage_until_the_patience_is_over(
    tmp_path: Path, end_s: float, exit_code: int
) -> None:
    """[S17] 401 from 0.5 s on, for 5 s or for ever: single probes for 60 s, then exit 3."""
    outage = Outage(faults.UNAUTHORIZED, start_s=0.5, end_s=end_s)
    plan, settings = FaultPlan(outages=(outage,)), {"retry.patience_s": 60.0}
    stage = Stage(tmp_path, started(200), faults=plan, settings=settings)

    result = await stage.pause()

    assert (result.exit_code, result.counts.get("paused") == 200) == (exit_code, not exit_code)
    refused = [one for one in stage.server.sent if one.entry and one.entry.http_status == 401]
    assert len(refused) <= 40
    assert stage.clock.now_s() < 75


@pytest.mark.parametrize(
    ("work", "refused", "exit_code"), [("pause", 2, 1), ("pause", None, 3), ("pause-all", 2, 6)]
)
async def test_403_stops_its_vdn_only(
    tmp_path: Path, work: str, refused: int | None, exit_code: int
) -> None:
    """[S16] VDN 2 answers 403: the others are all paused; where all do, that is the end."""
    outage = Outage(faults.FORBIDDEN, vdn_id=refused)
    stage = Stage(tmp_path, several({1: 20, 2: 200, 3: 20}), faults=FaultPlan(outages=(outage,)))

    result = await done(stage, work)

    ended = stage.outcomes(result)
    others = "paused" if refused else "unattempted"
    assert {ended[one] for one in ended if one.vdn_id != 2} <= {others, "denied"}
    assert {ended[one] for one in ended if one.vdn_id == 2} <= {"denied", "unattempted"}
    assert (result.exit_code, result.counts.get("paused", 0)) == (exit_code, 40 * bool(refused))
    # ten different campaigns in a row, and what was in flight then
    assert sum(1 for one in stage.server.puts if one.vdn_id == 2) <= 10 + 8
    # an emergency meets nothing else for 30 s; it does not last until its deadline
    assert stage.clock.now_s() < 60


@pytest.mark.parametrize(
    "outage",
    [Outage(start_s=1.0, end_s=21.0), Outage(faults.REFUSED, end_s=21.0)],
    ids=["in the middle", "[N02] from the start"],
)
async def test_nothing_is_given_up_during_an_outage(tmp_path: Path, outage: Outage) -> None:
    """20 s without a useful answer to anything: all paused, few requests, done soon after."""
    stage = Stage(tmp_path, started(200), faults=FaultPlan(outages=(outage,)))

    result = await stage.pause()

    assert result.counts == {"paused": 200}
    during = [one for one in stage.server.sent if 1.5 <= one.at_s < 21.0]
    assert len(during) <= 20
    assert stage.clock.now_s() < 21 + 10


@pytest.mark.parametrize("patience_s", [0.0, 30.0, 1800.0])
async def test_out_of_patience_ends_the_run_with_everything_unattempted(
    tmp_path: Path, patience_s: float
) -> None:
    """[N01, N21] no useful answer for `patience_s`: exit 4, and the last word is a probe's."""
    stage = Stage(
        tmp_path,
        started(50),
        settings={"retry.patience_s": patience_s},
    )
    stage.server.unreachable = [(0.0, 1e9)]

    result = await stage.pause()

    assert result.exit_code == 4
    assert result.counts == {"unattempted": 50}
    assert stage.server.sent == []
    assert patience_s <= stage.clock.now_s() <= patience_s + 90


@pytest.mark.parametrize(
    ("plan", "counts", "from_s", "to_s"),
    [
        # the breaker cannot see five: an outage of 40 s is none of theirs
        (FaultPlan(outages=(Outage(end_s=40.0, kinds=_CHANGES),)), {"paused": 4}, 40, 100),
        (FaultPlan(outages=(Outage(kinds=_CHANGES),)), {"failed": 4}, 60, 400),
        # [S13] others succeed
        (FaultPlan(always={ref(1): faults.DATABASE_ERROR}), {"paused": 3, "failed": 1}, 0, 400),
    ],
    ids=["an outage", "for ever", "one alone"],
)
async def test_the_last_few_are_charged_after_a_minute(
    tmp_path: Path, plan: FaultPlan, counts: dict[str, int], from_s: float, to_s: float
) -> None:
    """Four campaigns whose PUTs fail: none is given up within a minute, nor hours later."""
    stage = Stage(tmp_path, started(4), faults=plan)

    result = await stage.pause()

    assert result.counts == counts
    assert from_s <= stage.clock.now_s() < to_s


@pytest.mark.parametrize("retry_after", ["7", "date"])
async def test_retry_after_is_honoured_by_the_whole_run(tmp_path: Path, retry_after: str) -> None:
    """[S20, S21, S24] one 503 with Retry-After 7: nothing of the whole run leaves for 7 s."""
    fault = (
        with_http(503, retry_after_date_s=7)
        if retry_after == "date"
        else with_http(503, retry_after=retry_after)
    )
    stage = Stage(tmp_path, started(200), faults=FaultPlan(scripted={ref(50): [fault]}))

    result = await stage.pause()

    assert result.counts == {"paused": 200}
    (slowed,) = [
        one for one in stage.server.puts_to(ref(50)) if one.entry and one.entry.http_status == 503
    ]
    assert slowed.ended_s is not None
    later = [one.at_s for one in stage.server.sent if one.at_s > slowed.ended_s]
    assert min(later) >= slowed.ended_s + 6.0 + (1.0 if retry_after == "7" else 0.0)


async def test_a_brown_out_lowers_the_offered_load(tmp_path: Path) -> None:
    """[S45] 90 % 503 for 60 s: ≤ R/5 offered after a while, back within 10 s of health."""
    plan = FaultPlan(rates={"unavailable": 0.9}, max_consecutive=1_000, seed=3)
    stage = Stage(tmp_path, started(2_000), rate_per_s=100, faults=plan)
    loop_plan = {"bad": plan, "good": FaultPlan()}

    def switch(sent: Sent) -> None:
        stage.server.handler.faults = loop_plan["bad" if 2 <= sent.at_s < 62 else "good"]

    stage.server.handler.faults = loop_plan["good"]
    stage.server.on_sent = switch

    result = await stage.pause()

    assert result.counts == {"paused": 2_000}
    during = [one for one in stage.server.sent if 12 <= one.at_s < 62]
    assert len(during) / 50 <= 20
    after = [one for one in stage.server.sent if 72 <= one.at_s < 76]
    assert len(after) / 4 >= 80
    assert len(stage.server.puts) <= 1.2 * 2_000 + 300


async def test_what_is_not_the_api_ends_the_run_early(tmp_path: Path) -> None:
    """[S19, S28] every answer a login page or a 404: exit 4 after a handful of requests."""
    for number, fault in enumerate((faults.LOGIN, with_http(404), with_http(302))):
        folder = tmp_path / str(number)
        folder.mkdir()
        stage = Stage(folder, started(500), faults=FaultPlan(outages=(Outage(fault),)))

        result = await stage.pause()

        assert result.exit_code == 4, fault.name
        assert len(stage.server.sent) <= 10, fault.name
        assert result.counts.get("paused", 0) == 0


@pytest.mark.parametrize("rate_per_s", [0.5, 1, 7, 50])
async def test_no_second_holds_more_than_r_departures(tmp_path: Path, rate_per_s: float) -> None:
    """Looks, PUTs, repeats and probes together: ≤ R in any second, and ≥ 95 % of it is used."""
    stage = Stage(
        tmp_path,
        started(40),
        rate_per_s=rate_per_s,
        concurrency=16,
        faults=FaultPlan(seed=1, rates=mixed(0.3)),
    )

    result = await stage.pause()

    assert result.exit_code == 0
    assert stage.server.worst_window() <= max(1, int(rate_per_s))
    assert stage.server.most_in_flight <= 16


async def test_while_changes_are_held_back_reads_are_too(tmp_path: Path) -> None:
    """The breaker of PUTs is open for a minute: listings of other VDNs wait behind it as well."""
    stage = Stage(
        tmp_path,
        several({1: 40, 2: 600}),
        faults=FaultPlan(
            outages=(Outage(start_s=0.2, end_s=60.0, kinds=_CHANGES),),
        ),
    )

    result = await stage.pause()

    assert result.counts == {"paused": 640}
    reads = [one for one in stage.server.sent if one.kind is Kind.LIST and 2 <= one.at_s < 59]
    assert len(reads) <= 4


async def test_one_failing_listing_does_not_close_the_door_for_puts(tmp_path: Path) -> None:
    """Reads have a breaker of their own: listings that fail for ever leave PUTs alone."""
    worlds = several(dict.fromkeys(range(1, 9), 20))
    failing = dict.fromkeys(range(1, 9), ListingFaults(answered=0))
    stage = Stage(tmp_path, worlds, faults=FaultPlan(listing_faults=failing))

    result = await stage.pause()

    assert result.counts == {"paused": 160}
    assert stage.clock.now_s() < 120


async def test_answers_teach_the_pacer_how_steady_the_way_is(tmp_path: Path) -> None:
    """Once a hundred have come, 100 a second are 99.5 in fact, not the 98.3 of the whole guard."""
    stage = Stage(tmp_path, started(600), rate_per_s=100)

    await stage.pause(verify=False)

    left_s = [sent.at_s for sent in stage.server.puts]
    assert (len(left_s) - 251) / (left_s[-1] - left_s[250]) >= 99.5


async def test_while_the_pace_holds_us_back_nobody_begins_ahead_of_those_in_flight(
    tmp_path: Path,
) -> None:
    """Killed with twenty at a time: twenty campaigns may have been sent, and not one more."""
    stage = Stage(tmp_path, started(100), rate_per_s=10, concurrency=20)

    def kill(sent: Sent) -> None:
        if sent.is_change and len(stage.server.puts) == 30:
            stage.kill()

    stage.server.on_sent = kill
    assert await stage.until_killed(stage.pause()) is None

    assert 0 < len(stage.on_record("SELECT 1 FROM attempts WHERE state = 'intended'")) <= 20


@dataclass(frozen=True, slots=True)
class Asleep(FaultPlan):
    """A server that is stopped for a while and reads and answers everything as it goes on."""

    FROM_S: ClassVar[float] = 3.0
    TO_S: ClassVar[float] = 33.0

    def outage(self, asked: Asked) -> Fault | None:
        """The true answer, when it is awake again."""
        if self.FROM_S <= asked.now_s < self.TO_S:
            return Fault("asleep", effect=True, wait_s=self.TO_S - asked.now_s)
        return None


@pytest.mark.parametrize("emergency", [True, False])
@pytest.mark.parametrize(
    ("rate", "concurrency"), [(10, 8), (5, 8), (2, 8), (1, 4), (20, 1), (50, 32)]
)
async def test_a_server_that_wakes_up_reads_at_most_r_and_c_in_a_second(
    tmp_path: Path, rate: int, concurrency: int, *, emergency: bool
) -> None:
    """It sleeps for 30 s, then reads at once what was sent and given up: 18 for R = 10, C = 8."""
    world = started(80 * rate)
    stage = Stage(tmp_path, world, rate_per_s=rate, concurrency=concurrency, faults=Asleep())

    await (stage.pause_all() if emergency else stage.pause())

    left_s = [sent.at_s for sent in stage.server.sent]
    read_s = sorted(Asleep.TO_S if Asleep.FROM_S <= at < Asleep.TO_S else at for at in left_s)
    worst = max(bisect_left(read_s, at + 1.0) - place for place, at in enumerate(read_s))
    assert worst <= rate + concurrency
    assert left_s[-1] > Asleep.TO_S + 10


@pytest.mark.parametrize("work", ["pause", "pause-all"])
async def test_a_key_that_the_server_sends_back_is_stored_nowhere(
    tmp_path: Path, work: str
) -> None:
    """[C01] In a description, in capitals and in a campaign's name: no file of the run holds it."""
    world = World(
        {1201: [Campaign(n, name=f"Q4 {SECRET_KEY} {n}" if n == 4 else "") for n in range(1, 13)]}
    )
    told = [SECRET_KEY, SECRET_KEY.upper(), "x" * 490 + SECRET_KEY]
    echoes = {
        ref(n): [
            Fault("echo", body=json.dumps({"resultCode": "0200001", "resultDesc": text}).encode())
        ]
        for n, text in enumerate(told, start=5)
    }
    stage = Stage(tmp_path, world, faults=FaultPlan(scripted=echoes))

    result = await done(stage, work)

    assert result.run_dir
    files = [one for one in result.run_dir.iterdir() if one.is_file()]
    assert any(one.name == "results.csv" and b"***" in one.read_bytes() for one in files)
    for one in files:
        assert SECRET_KEY[:10].lower().encode() not in one.read_bytes().lower(), one.name
