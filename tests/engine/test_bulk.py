"""A list from its first look to its last: look, pause, one more round, verify; the pool between."""

from __future__ import annotations

from math import inf
from pathlib import Path

import pytest

from orchestrator.engine.options import FailureLimit
from orchestrator.errors import ManifestError
from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import FaultPlan, Outage, mixed, with_codes, with_http
from orchestrator.simulator.reads import ListingFaults
from orchestrator.simulator.routes import CHANGES, Kind
from orchestrator.simulator.world import Campaign, Drift, Order, World, WorldSettings
from tests.fakes import VDN, Sent, Stage, ref, several, started

ONE = ref(1)


async def test_only_status_three_spares_a_put(tmp_path: Path) -> None:
    """Completed and not started campaigns are sent, refused with 0200011, and end `not_running`."""
    world = World({VDN: [Campaign(n, Status(n)) for n in (1, 2, 3, 4)]})
    stage = Stage(tmp_path, world)

    result = await stage.pause()

    assert {one.ref for one in stage.server.puts} == {ref(1), ref(2), ref(4)}
    assert result.counts == {"paused": 1, "already_paused": 1, "not_running": 2}
    assert stage.row(result, ref(3))["evidence"] == "listed"
    assert result.exit_code == 0


async def test_lines_in_are_rows_out(tmp_path: Path) -> None:
    """[I13] duplicates and bad lines have their rows; the first 20 bad ones are named at once."""
    bad = "".join(f"{VDN},x{number}\n" for number in range(25))
    path = tmp_path / "odd.csv"
    path.write_text(f"vdn_id,campaign_id\n{VDN},1\n{VDN},1\n{VDN},2\n{bad}", encoding="utf-8")
    stage = Stage(tmp_path, started(3))

    result = await stage.pause(manifest=path, skip_invalid=True)

    shown = [row["outcome"] for row in stage.rows(result)]
    assert shown == ["paused", "duplicate", "paused", *["invalid"] * 25]
    assert result.exit_code == 1
    named = stage.events.named("line.skipped")
    assert [one["place"] for one in named] == [str(line) for line in range(5, 25)]
    assert "'x0'" in str(named[0]["reason"])
    assert stage.events.named("lines.skipped") == [{"number": 5}]


async def test_a_list_without_a_valid_line_sends_nothing(tmp_path: Path) -> None:
    """[I28] --skip-invalid, and nothing would be left: refused with exit 2."""
    path = tmp_path / "odd.csv"
    path.write_text(f"vdn_id,campaign_id\n{VDN},x\n{VDN},007\n", encoding="utf-8")
    stage = Stage(tmp_path, started(3))

    with pytest.raises(ManifestError) as caught:
        await stage.pause(manifest=path, skip_invalid=True)

    assert (caught.value.exit_code, caught.value.total, stage.server.sent) == (2, 2, [])


async def test_running_the_same_list_again_sends_no_put(tmp_path: Path) -> None:
    """[X05] The second run finds all suspended: no PUT, `already_paused`, exit 0."""
    stage = Stage(tmp_path, started(50))
    await stage.pause()
    before = len(stage.server.puts)

    result = await stage.pause()

    assert (result.exit_code, result.counts) == (0, {"already_paused": 50})
    assert len(stage.server.puts) == before


async def test_a_vdns_puts_begin_while_others_are_looked_at(tmp_path: Path) -> None:
    """A VDN with 12 pages to look at does not hold up the first PUT of a small one."""
    stage = Stage(tmp_path, several({1: 5, 2: 1_200}), rate_per_s=20)

    await stage.pause()

    small = min(one.at_s for one in stage.server.puts if one.vdn_id == 1)
    looks = max(
        one.at_s
        for one in stage.server.sent
        if one.kind is Kind.LIST
        and one.at_s < min(p.at_s for p in stage.server.puts if p.vdn_id == 2)
    )
    assert small < looks


async def test_few_of_many_are_read_one_by_one(tmp_path: Path) -> None:
    """Two campaigns of a VDN of 3,000: two reads after the first page, not thirty pages."""
    stage = Stage(tmp_path, started(3_000))

    result = await stage.pause([ref(7), ref(2_999)])

    assert result.counts == {"paused": 2}
    kinds = [one.kind for one in stage.server.sent]
    assert kinds.count(Kind.LIST) == 2
    # 7 is on the first page, which the check has read anyway
    assert kinds.count(Kind.DETAILS) == 3


async def test_a_look_that_fails_does_not_keep_its_vdn_from_being_paused(tmp_path: Path) -> None:
    """VDN 2's listings fail for ever: all three paused; VDN 2 without a state before; said."""
    stage = Stage(
        tmp_path,
        several({1: 20, 2: 20, 3: 20}),
        faults=FaultPlan(listing_faults={2: ListingFaults(answered=0)}),
    )

    result = await stage.pause()

    assert result.counts == {"paused": 60}
    assert stage.events.named("look.failed")[0]["vdn_id"] == 2
    assert {r["state_before"] for r in stage.rows(result) if r["vdn_id"] == "2"} == {""}
    assert {r["state_before"] for r in stage.rows(result) if r["vdn_id"] != "2"} == {"started"}


@pytest.mark.parametrize("verify", [True, False])
async def test_without_verify_no_listing_is_asked_for(tmp_path: Path, *, verify: bool) -> None:
    """--no-verify: neither look nor check; with it, one listing before and one after."""
    stage = Stage(tmp_path, started(30))

    result = await stage.pause(verify=verify)

    kinds = [one.kind for one in stage.server.sent]
    assert kinds.count(Kind.LIST) == (2 if verify else 0)
    assert kinds.count(Kind.PAUSE) == 30
    assert {row["evidence"] for row in stage.rows(result)} == {"listed" if verify else "accepted"}


async def test_fifty_stubborn_ones_do_not_hold_up_a_thousand(tmp_path: Path) -> None:
    """[S13] 950 are through as fast as without them; 50 end `failed`, with bounded PUTs."""
    stubborn = {ref(n): faults.DATABASE_ERROR for n in range(10, 1_000, 20)}
    stage = Stage(tmp_path, started(1_000), faults=FaultPlan(always=stubborn))

    result = await stage.pause()

    assert result.counts == {"paused": 950, "failed": 50}
    good = [one.at_s for one in stage.server.puts if one.ref not in stubborn]
    assert max(good) < 1.5 * 1_000 / 98
    assert max(len(stage.server.puts_to(one)) for one in stubborn) <= 6


async def test_what_ran_out_of_attempts_gets_one_more_round_at_the_end(tmp_path: Path) -> None:
    """Five failures in a row: given up in the first round, paused in the last, after the others."""
    stage = Stage(
        tmp_path, started(100), faults=FaultPlan(scripted={ONE: [faults.DATABASE_ERROR] * 5})
    )

    result = await stage.pause()

    assert result.counts == {"paused": 100}
    others = max(one.at_s for one in stage.server.puts if one.ref != ONE)
    assert stage.server.puts_to(ONE)[-1].at_s > others


async def test_what_is_started_meanwhile_is_paused_once_more(tmp_path: Path) -> None:
    """Campaign 1 was suspended at the look, 5 was paused by us: the check pauses both."""
    members = [Campaign(1, Status.SUSPENDED), *map(Campaign, range(2, 21))]
    world = World({VDN: members}, drifts=[Drift(ref(5), after_pauses=19)])
    stage = Stage(tmp_path, world)

    def start(_: Sent) -> None:
        if len(stage.server.puts) == 10:
            world.set_status(ONE, Status.STARTED)

    stage.server.on_sent = start

    result = await stage.pause()

    assert result.counts == {"paused": 20}
    assert [len(stage.server.puts_to(one)) for one in (ONE, ref(5))] == [1, 2]
    assert {world.status_of(one) for one in world.refs()} == {Status.SUSPENDED}


async def test_a_campaign_that_starts_again_and_again_is_still_running(tmp_path: Path) -> None:
    """Started after each of our pauses: two PUTs, then `still_running`, exit 1."""
    stage = Stage(tmp_path, started(20))

    def restart(sent: Sent) -> None:
        if sent.kind in {Kind.LIST, Kind.DETAILS} and len(stage.server.puts) >= 20:
            stage.world.set_status(ref(5), Status.STARTED)

    stage.server.on_sent = restart

    result = await stage.pause()

    assert stage.row(result, ref(5))["outcome"] == "still_running"
    assert stage.row(result, ref(5))["changed"] == "yes"
    assert len(stage.server.puts_to(ref(5))) == 2
    assert result.exit_code == 1


async def test_ids_that_the_listing_does_not_show_are_read(tmp_path: Path) -> None:
    """A listing that hides three rows of each page: those are read one by one."""
    stage = Stage(
        tmp_path,
        started(60),
        faults=FaultPlan(listing_faults={VDN: ListingFaults(rows_missing=3)}),
    )

    result = await stage.pause()

    assert result.counts == {"paused": 60}
    assert sum(1 for one in stage.server.sent if one.kind is Kind.DETAILS) >= 3


@pytest.mark.parametrize("limit", [FailureLimit(5), FailureLimit(5, is_percent=True)])
async def test_max_failures_ends_the_run(tmp_path: Path, limit: FailureLimit) -> None:
    """[S14] after five failures (5 % of 100) nothing new is sent: exit 4, the rest unattempted."""
    refused = {ref(n): with_codes("0200001") for n in range(1, 101)}
    stage = Stage(tmp_path, started(100), faults=FaultPlan(always=refused))

    result = await stage.pause(max_failures=limit)

    assert result.exit_code == 4
    assert result.counts["rejected"] <= 5 + 8
    assert result.counts["unattempted"] >= 87


async def test_the_deadline_ends_a_run(tmp_path: Path) -> None:
    """[S22] 1,000 at 10/s and 20 s: about 190 paused, exit 1; no Retry-After outlasts it."""
    fault = with_http(503, retry_after="60")
    stage = Stage(
        tmp_path, started(1_000), rate_per_s=10, faults=FaultPlan(scripted={ref(150): [fault]})
    )

    result = await stage.pause(deadline_s=20)

    assert result.exit_code == 1
    assert 130 < result.counts["paused"] <= 200
    assert stage.clock.now_s() < 21
    assert max(one.at_s for one in stage.server.sent) <= 20


async def test_the_pool_keeps_its_bounds(tmp_path: Path) -> None:
    """In flight ≤ C when 1,500 campaigns fail with a long backoff, and all of them end paused."""
    stage = Stage(
        tmp_path,
        started(1_500),
        rate_per_s=1_000,
        concurrency=16,
        # one in four succeeds, so the breaker stays closed
        faults=FaultPlan(rates={"database_error": 0.75}, max_consecutive=3, seed=1),
        settings={"retry.backoff_base_s": 10.0, "retry.backoff_cap_s": 10.0},
    )
    result = await stage.pause()

    assert result.counts == {"paused": 1_500}
    assert stage.server.most_in_flight <= 16


async def test_an_unforeseen_error_costs_one_campaign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[P33] one campaign raises: the others are paused, exit 70, the report is written."""
    stage = Stage(tmp_path, started(30))

    def broken(sent: Sent) -> None:
        if sent.ref == ref(9):
            msg = "unforeseen"
            raise ZeroDivisionError(msg)

    stage.server.on_sent = broken

    result = await stage.pause()

    assert result.exit_code == 70
    assert result.counts["paused"] >= 29
    assert len(stage.rows(result)) == 30


async def test_a_million_shapes_of_the_same_thing_agree(tmp_path: Path) -> None:
    """Order, pace and concurrency change nothing about how each campaign ends."""
    ends = set()
    for number, (rate_per_s, concurrency, order) in enumerate(
        [(100.0, 8, Order.ID), (7.0, 1, Order.RECENT), (1_000.0, 64, Order.ID)]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        world = started(120, settings=WorldSettings(order=order))
        stage = Stage(
            folder,
            world,
            rate_per_s=rate_per_s,
            concurrency=concurrency,
            seed=number,
            faults=FaultPlan(seed=5, rates=mixed(0.3)),
        )
        refs = world.refs() if number != 1 else list(reversed(world.refs()))
        result = await stage.pause(refs)
        ends.add(tuple(sorted(stage.outcomes(result).items())))
    assert len(ends) == 1


async def test_several_vdns_with_mixed_faults_reconcile(tmp_path: Path) -> None:
    """[S46] 30 % mixed faults, 600 campaigns, 4 VDNs: each effect is ours exactly once."""
    world = several({1: 150, 2: 150, 3: 150, 4: 150})
    stage = Stage(tmp_path, world, faults=FaultPlan(seed=11, rates=mixed(0.3)))

    result = await stage.pause()

    assert result.counts == {"paused": 600}
    assert all(stage.server.ledger.effects[one] == 1 for one in world.refs())
    assert {row["changed"] for row in stage.rows(result)} == {"yes"}
    single = sum(one.kind not in {*CHANGES, Kind.LIST} for one in stage.server.sent)
    assert single < 10, "only the last that fail are asked for, one by one"
    assert CampaignRef(1, 10_001) in stage.outcomes(result)


@pytest.mark.parametrize(
    ("lasts_s", "verdict", "within_s"), [(400.0, "complete", 450), (inf, "unverified", 700)]
)
async def test_a_check_waits_ten_minutes_for_reads(
    tmp_path: Path, lasts_s: float, verdict: str, within_s: float
) -> None:
    """Reads fail from the last PUT on: for 400 s they are waited for, for ever: `unverified`."""
    stage = Stage(tmp_path, started(30))

    def fail(sent: Sent) -> None:
        if len(stage.server.puts) == 30:
            stage.server.on_sent = None
            away = Outage(
                with_http(500),
                start_s=sent.at_s,
                end_s=sent.at_s + lasts_s,
                kinds=frozenset({Kind.LIST, Kind.DETAILS}),
            )
            stage.server.handler.faults = FaultPlan(outages=(away,))

    stage.server.on_sent = fail

    result = await stage.pause()

    assert (result.verdict, result.exit_code) == (verdict, 0 if verdict == "complete" else 1)
    assert result.counts == {"paused": 30}
    assert stage.clock.now_s() < within_s
