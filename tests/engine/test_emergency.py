"""pause-all: everything that runs is paused, and quiet is proven or not claimed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from orchestrator.engine.pausing_all import Findings
from orchestrator.errors import RefusedError
from orchestrator.model import Status
from orchestrator.reports.summary import Ended
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault, FaultPlan, Outage, with_codes, with_http
from orchestrator.simulator.reads import Lag, ListingFaults
from orchestrator.simulator.routes import CHANGES, Kind
from orchestrator.simulator.world import Campaign, Drift, Order, World, WorldSettings
from tests.fakes import VDN, Sent, Stage, ref, several, started, started_refs

Forge = Callable[[Sent], bytes | None]

_CHANGES = frozenset(CHANGES)
_BUSY = {"database_error": 0.05, "answer_lost": 0.01}


def clean_gap_s(stage: Stage) -> float:
    """Seconds between the last two listings of started campaigns."""
    times = [one.at_s for one in stage.server.sent if "status=2" in one.target]
    return times[-1] - times[-2]


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 250])
async def test_all_that_runs_is_paused_and_proven(tmp_path: Path, size: int, order: Order) -> None:
    """[I39] with 5 % database errors and 1 % lost answers, whatever the order of the listing."""
    world = started(size, settings=WorldSettings(order=order))
    for number, status in enumerate((Status.SUSPENDED, Status.COMPLETED, Status.NOT_STARTED)):
        world.add(VDN, Campaign(90_000 + number, status))
    running = set(started_refs(world))
    stage = Stage(tmp_path, world, faults=FaultPlan(seed=size, rates=_BUSY))

    result = await stage.pause_all(VDN)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert started_refs(world) == []
    assert result.counts.get("paused", 0) == size
    assert {one.ref for one in stage.server.puts} == running
    assert clean_gap_s(stage) >= 5.0


async def test_the_first_put_leaves_before_the_second_page_is_asked_for(tmp_path: Path) -> None:
    """[I39] 1,000 running: the first page is answered, then a PUT, then page two."""
    stage = Stage(tmp_path, started(1_000))

    await stage.pause_all(VDN)

    kinds = [one.kind for one in stage.server.sent]
    assert kinds[0] is Kind.LIST
    assert kinds[1] is Kind.PAUSE


async def test_a_mistyped_vdn_is_not_quiet(tmp_path: Path) -> None:
    """A VDN without any campaign proves nothing: exit 6, and it asks for the right VDN."""
    stage = Stage(tmp_path, started(5))

    result = await stage.pause_all(1243)

    assert (result.exit_code, result.verdict) == (6, "not_proven")
    assert "is 1243 the right VDN" in result.line
    assert stage.server.puts == []


@pytest.mark.parametrize(
    ("drift", "hold_s"),
    [
        (Drift(ref(901), at_s=0.3), 0.0),
        (Drift(ref(901), at_s=1.5), 0.0),
        (Drift(ref(901), at_s=6.0), 0.0),
        # somebody starts what we have paused
        (Drift(ref(7), after_pauses=50), 0.0),
        (Drift(ref(901), at_s=30.0), 60.0),
    ],
)
async def test_what_starts_meanwhile_is_paused_and_quiet_proven_anew(
    tmp_path: Path, drift: Drift, hold_s: float
) -> None:
    """A campaign begins during the pausing, between the passes, or in a hold: it ends paused."""
    members = [*map(Campaign, range(1, 101)), Campaign(901, Status.NOT_STARTED)]
    world = World({VDN: members}, drifts=[drift])
    stage = Stage(tmp_path, world)

    result = await stage.pause_all(VDN, hold_s=hold_s)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    assert started_refs(world) == []
    assert len(stage.server.puts) == 101
    assert stage.clock.now_s() >= hold_s


def _page(ids: Iterable[int], total: int) -> bytes:
    rows = ",".join(f'{{"id":{n},"name":"c{n}","status":2}}' for n in ids)
    body = (
        f'{{"resultCode":"0200000","returnCode":"0200000","totalSize":{total},"data":[{rows}]}}'
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def _always(first: bytes, later: bytes) -> Forge:
    """Listings of what is started are forged, the first page and later ones."""

    def forge(sent: Sent) -> bytes | None:
        if sent.kind is not Kind.LIST or "status=2" not in sent.target:
            return None
        return first if "curPage=1&" in sent.target else later

    return forge


_REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
_ONE_PAGE = _page(range(1, 101), 250)
#: what is wrong with listings → how many campaigns there are, the fault, or the forger of pages
UNPROVABLE: dict[str, tuple[int, ListingFaults | Forge]] = {
    "only the first is ever answered": (250, ListingFaults(answered=1)),
    "two rows are missing on each page": (50, ListingFaults(rows_missing=2)),
    "that of what is started fails": (200, _always(_REFUSED, _REFUSED)),
    "it shows one page again and again": (250, _always(_ONE_PAGE, _ONE_PAGE)),
    "it promises millions and has empty pages": (
        2,
        _always(_page(range(1, 3), 20_000_000), _page((), 20_000_000)),
    ),
}


@pytest.mark.parametrize(("size", "wrong"), UNPROVABLE.values(), ids=UNPROVABLE)
async def test_listings_that_are_not_to_be_believed_prove_nothing(
    tmp_path: Path, size: int, wrong: ListingFaults | Forge
) -> None:
    """[I39] what one of them showed is paused; exit 6 at the deadline, and no pass counts."""
    short = {VDN: wrong} if isinstance(wrong, ListingFaults) else {}
    stage = Stage(tmp_path, started(size), faults=FaultPlan(listing_faults=short))
    if not isinstance(wrong, ListingFaults):
        stage.server.forge = wrong

    result = await stage.pause_all(VDN, deadline_s=20)

    assert result.exit_code == 6
    assert result.verdict != "quiet"
    assert len(stage.server.puts) >= 0.4 * size
    passes = stage.events.named("pass.made")
    assert len(passes) >= 3
    assert not any(one["complete"] for one in passes)
    assert stage.clock.now_s() <= 20 + 11  # a last look takes 10 s at most


@pytest.mark.parametrize(
    ("fault", "verdict", "within_s"),
    [(with_codes("02000007"), "still_running", 60), (faults.DATABASE_ERROR, "still_running", 95)],
)
async def test_a_stubborn_campaign_is_named_and_keeps_no_other(
    tmp_path: Path, fault: Fault, verdict: str, within_s: float
) -> None:
    """Campaign 3 is refused for ever, or its row is broken until the deadline: exit 6, named."""
    stage = Stage(tmp_path, started(30), faults=FaultPlan(always={ref(3): fault}))

    result = await stage.pause_all(VDN, deadline_s=90)

    assert (result.exit_code, result.verdict, result.counts["paused"]) == (6, verdict, 29)
    assert any("campaign 3" in line for line in result.unstopped)
    assert max(one.at_s for one in stage.server.puts if one.ref != ref(3)) < 2
    assert stage.clock.now_s() < within_s


@pytest.mark.parametrize(
    "outage",
    [
        Outage(with_http(500), start_s=0.5, end_s=30.5),
        Outage(with_http(500), start_s=0.5, end_s=30.5, kinds=_CHANGES),
        Outage(with_http(500), start_s=0.5, end_s=30.5, kinds=frozenset({Kind.LIST})),
        # [S17] the key fails in the middle: an outage, not the end
        Outage(faults.UNAUTHORIZED, start_s=0.5, end_s=30.5),
    ],
    ids=["all", "PUTs", "listings", "the key"],
)
async def test_an_outage_in_the_middle_is_waited_out(tmp_path: Path, outage: Outage) -> None:
    """30 s without a useful answer: quiet after it, and few requests meanwhile."""
    stage = Stage(tmp_path, started(200), faults=FaultPlan(outages=(outage,)))

    result = await stage.pause_all(VDN)

    assert (result.exit_code, result.verdict) == (0, "quiet")
    refused = [one for one in stage.server.sent if one.entry and one.entry.http_status != 200]
    assert len(refused) < 75
    assert stage.clock.now_s() < 55


async def test_several_vdns_share_the_pace_and_none_starves(tmp_path: Path) -> None:
    """1,000, 10 and 100 running at 50/s: the small ones are stopped within seconds."""
    world = several({1: 1_000, 2: 10, 3: 100})
    stage = Stage(tmp_path, world, rate_per_s=50)

    result = await stage.pause_all()

    assert (result.exit_code, result.verdict) == (0, "quiet")
    last = {
        vdn: max(one.at_s for one in stage.server.puts if one.vdn_id == vdn) for vdn in (1, 2, 3)
    }
    assert last[2] < 3
    assert last[3] < 10


async def test_a_sweep_begins_with_no_put_pending(tmp_path: Path) -> None:
    """No listing that counts as a sweep leaves while a PUT is in flight."""
    stage = Stage(tmp_path, started(300), faults=FaultPlan(seed=2, rates=_BUSY))

    result = await stage.pause_all(VDN)

    sweeps = stage.events.named("pass.made")
    assert len(sweeps) >= 2
    lists = [one for one in stage.server.sent if "status=2" in one.target]
    for sweep in lists[-2:]:
        assert not [
            one
            for one in stage.server.puts
            if one.at_s <= sweep.at_s and (one.ended_s is None or one.ended_s > sweep.at_s)
        ]
    assert result.exit_code == 0


async def test_a_disk_that_fails_does_not_stop_the_stopping(tmp_path: Path) -> None:
    """[P16] the journal's disk is full from the 50th commit on: all paused, rows shown, exit 5."""
    stage = Stage(tmp_path, started(100))
    stage.disk.fails_from = 50

    result = await stage.pause_all(VDN)

    assert started_refs(stage.world) == []
    assert (result.exit_code, result.verdict) == (5, "quiet")
    assert stage.fallback.getvalue().count(b"\n") >= 101


async def test_the_deadline_ends_it_unproven(tmp_path: Path) -> None:
    """1,000 running at 10/s with 20 s: exit 6, nothing leaves afterwards, what is left is named."""
    stage = Stage(tmp_path, started(1_000), rate_per_s=10)

    result = await stage.pause_all(VDN, deadline_s=20)

    assert result.exit_code == 6
    assert max(one.at_s for one in stage.server.puts) <= 20
    assert stage.clock.now_s() < 40


async def test_nothing_is_paused_before_the_answer(tmp_path: Path) -> None:
    """The listing runs while the operator types for 30 s; the first PUT leaves after the yes."""
    stage = Stage(tmp_path, started(250))

    async def yes(findings: Findings) -> bool:
        await stage.clock.sleep(30)
        assert any("250" in line for line in findings.lines)
        return True

    result = await stage.pause_all(VDN, confirm=yes)

    assert result.exit_code == 0
    assert min(one.at_s for one in stage.server.puts) >= 30
    assert min(one.at_s for one in stage.server.sent) < 1


async def test_what_starts_during_the_proof_is_asked_about(tmp_path: Path) -> None:
    """Nothing runs, then campaign 1 starts: it is paused after the yes, not before."""
    members = [Campaign(1, Status.NOT_STARTED), Campaign(2, Status.SUSPENDED)]
    world = World({VDN: members}, drifts=[Drift(ref(1), at_s=3.0)])
    stage = Stage(tmp_path, world)
    answered_s: list[float] = []

    async def yes(findings: Findings) -> bool:
        assert "campaign 1 has started since" in findings.lines[-1]
        await stage.clock.sleep(7)
        answered_s.append(stage.clock.now_s())
        return True

    result = await stage.pause_all(VDN, confirm=yes)

    assert result.exit_code == 0
    assert [one.at_s >= answered_s[0] for one in stage.server.puts] == [True]


@pytest.mark.parametrize("says_why", [True, False])
async def test_a_run_that_nobody_confirmed_sends_nothing_and_leaves_nothing(
    tmp_path: Path, *, says_why: bool
) -> None:
    """Not confirmed after 3 s: exit 7, no PUT, and no run is on record."""
    stage = Stage(tmp_path, started(5))

    async def no(findings: Findings) -> bool:
        await stage.clock.sleep(3)
        if says_why:
            raise RefusedError("not confirmed: 7 was typed")
        return False

    with pytest.raises(
        RefusedError, match="7 was typed" if says_why else "not confirmed"
    ) as caught:
        await stage.pause_all(VDN, confirm=no)

    assert (caught.value.exit_code, stage.server.puts) == (7, [])
    assert list((tmp_path / "state" / "runs").iterdir()) == []


async def test_a_second_answer_does_not_move_the_moment_of_rest(tmp_path: Path) -> None:
    """Reads 40 s behind: PUTs after 30 s answer 0200011; all came to rest with the first ones."""
    stage = Stage(tmp_path, started(10), faults=FaultPlan(lags=(Lag(40.0),)))

    result = await stage.pause_all()

    assert result.exit_code == 0
    rows = stage.rows(result)
    assert {row["attempts"] for row in rows} == {"3"}
    assert max(int(row["duration_ms"]) for row in rows) < 1_000


async def test_a_stop_before_the_first_pass_is_followed_by_a_look(tmp_path: Path) -> None:
    """Accepted without effect, and ended at the last PUT: no row says that it is paused."""
    plan = FaultPlan(always=dict.fromkeys(started(5).refs(), faults.LIE))
    stage = Stage(tmp_path, started(5), faults=plan)

    def stop_at_the_last(_: Sent) -> None:
        if len(stage.server.puts) == 5 and stage.stopping is not None:
            stage.stopping.stop(Ended.SIGNAL_TERM, "SIGTERM received")

    stage.server.on_sent = stop_at_the_last
    result = await stage.pause_all(VDN)

    assert (result.exit_code, result.counts) == (143, {"still_running": 5})


@pytest.mark.parametrize("seed", range(4))
async def test_replicas_that_differ_cost_one_put_more(tmp_path: Path, seed: int) -> None:
    """Each read is behind by another 0 to 8 s: a campaign at rest in one look runs in the next.

    The server's 0200011 to the second PUT says that the listing is old: no third one.
    """
    plan = FaultPlan(seed=seed, lags=(Lag(8.0, varies=True),))
    stage = Stage(tmp_path, started(30), faults=plan, rate_per_s=50)

    result = await stage.pause_all()

    assert result.exit_code == 0
    assert len(stage.server.puts) <= 60


async def test_what_takes_no_effect_is_tried_once_more_before_it_is_given_up(
    tmp_path: Path,
) -> None:
    """Accepted without effect for 28 s: the next PUT is due at 31 s, and it works."""
    stage = Stage(tmp_path, started(5))

    def heal(sent: Sent) -> None:
        lie = faults.LIE if sent.at_s < 28 else None
        always = {ref(n): lie for n in range(1, 6)} if lie else {}
        stage.server.handler.faults = FaultPlan(always=always)

    stage.server.on_sent = heal

    result = await stage.pause_all()

    assert result.exit_code == 0
    assert started_refs(stage.world) == []
    assert len(stage.server.puts) <= 5 * 8
