"""How many run in a VDN: asked seldom, by nobody's page, and told with its time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.console.exposition import Totals
from orchestrator.console.readings import Reading, Readings
from orchestrator.console.site import Site
from orchestrator.errors import ServerError
from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.reports.status import VdnStatus
from tests.fakes import START_MS, Stage, started


class Server:
    """Answers after a while, and counts who asks."""

    def __init__(self, site: Site, *, takes_s: float = 2.0) -> None:
        self.site = site
        self.takes_s = takes_s
        self.asked: list[tuple[int, ...]] = []
        self.refusal: Exception | None = None

    async def __call__(self, vdns: tuple[int, ...]) -> tuple[VdnStatus, ...]:
        self.asked.append(vdns)
        await asyncio.sleep(self.takes_s)
        if self.refusal is not None:
            raise self.refusal
        return tuple(status(one, 3, at_ms=self.site.clock.wall_ms()) for one in vdns)


def status(vdn: int, running: int, *, at_ms: int = START_MS, **more: object) -> VdnStatus:
    """A VDN in which so many are started."""
    rows = tuple(
        ObservedState(CampaignRef(vdn, number), Status.STARTED, f"spring {number}\u202e", "")
        for number in range(1, running + 1)
    )
    return VdnStatus(vdn_id=vdn, read_at_ms=at_ms, started=rows, **more)  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """In virtual time."""
    stage = Stage(tmp_path, started(1))
    return Site(settings=stage.settings(), connection=(), clock=stage.clock)


async def test_all_viewers_share_one_question_in_ten_seconds(site: Site) -> None:
    """A hundred pages in a second ask once; the answer is shown to all; ten seconds later again."""
    server = Server(site)
    readings = Readings(site, ask=server)
    for _ in range(100):
        assert readings.now((7, 8)) == [None, None]
        await site.clock.sleep(0.01)
    await site.clock.sleep(2)

    first, _ = readings.now((7, 8))
    assert first is not None
    assert first.sentence() == "3 campaigns are running."
    assert server.asked == [(7, 8)]

    await site.clock.sleep(9)
    readings.now((7, 8))
    await site.clock.sleep(3)
    readings.now((7, 8))
    await site.clock.sleep(0)
    assert server.asked == [(7, 8), (7, 8)]


async def test_many_forms_do_not_become_many_questions_at_one_time(site: Site) -> None:
    """A viewer opens the forms of 40 VDNs: the server gets eight questions, then the next."""
    server = Server(site, takes_s=1)
    readings = Readings(site, ask=server)
    for vdn in range(1, 41):
        readings.now((vdn,))
    await site.clock.sleep(0.5)
    at_first = len(server.asked)
    await site.clock.sleep(5)

    assert (at_first, len(server.asked)) == (8, 40)


async def test_nobody_asks_while_nobody_looks(site: Site) -> None:
    """An hour later the old answer is still there, with its age."""
    server = Server(site)
    readings = Readings(site, ask=server)
    readings.now((7,))
    await site.clock.sleep(3600)

    assert server.asked == [(7,)]
    (known,) = readings.now((7,))
    assert known is not None
    assert known.as_of(site.clock.wall_ms()) == "At 23:05:03Z (60 min ago)"


async def test_the_order_form_waits_for_an_answer_but_not_for_long(site: Site) -> None:
    """One that comes in time is shown; a server that hangs keeps nobody from stopping."""
    quick, slow = Server(site, takes_s=0.5), Server(site, takes_s=600)

    found = await Readings(site, ask=quick).soon(7, wait_s=1.5)
    assert found is not None
    assert found.running == 3

    began_s = site.clock.now_s()
    assert await Readings(site, ask=slow).soon(7, wait_s=1.5) is None
    assert site.clock.now_s() - began_s == pytest.approx(1.5, abs=0.05)


async def test_why_the_server_could_not_be_asked_is_said_with_its_last_answer(site: Site) -> None:
    """However often it could not be asked since; then the next answer is as good as ever."""
    server = Server(site)
    readings = Readings(site, ask=server)
    said = []
    for refused in (True, False, True, True, False):
        server.refusal = ServerError("connection refused") if refused else None
        found = await readings.soon(7, wait_s=5)
        assert found is not None
        assert found.is_known is not refused
        said.append(found.sentence())
        await site.clock.sleep(11)

    why, running = "the server could not be asked: connection refused.", "3 campaigns are running."
    last = f"{why} Its last answer, at 23:05:16Z: {running}"
    assert said == [why, running, last, last, running]


async def test_a_stranger_who_types_numbers_does_not_fill_the_memory(site: Site) -> None:
    """Of a thousand VDNs a few hundred are remembered."""
    readings = Readings(site, ask=Server(site, takes_s=0))
    for vdn in range(1, 1001):
        await readings.soon(vdn, wait_s=1)

    assert len(readings._known) == len(readings._asked) <= 201


async def test_the_form_of_a_vdn_among_hundreds_that_matter_is_shown(site: Site) -> None:
    """The home page has asked for all 300 a moment ago, and forgets none of them for it."""
    many = tuple(range(1, 301))
    server = replace(site.settings.server, vdns=many)
    site = replace(site, settings=replace(site.settings, server=server))
    readings = Readings(site, ask=Server(site, takes_s=0))
    readings.now(many)
    await site.clock.sleep(1)

    found = await readings.soon(1, wait_s=1)
    assert found is not None
    assert found.running == 3
    assert None not in readings.now(many)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (status(7, 0), "no campaign is running."),
        (status(7, 1), "1 campaign is running."),
        (status(7, 0, may_start=2), "no campaign is running. 2 more may start by themselves."),
        (status(7, 0, no_campaigns=True), "it has no campaigns at all: is 7 the right VDN?"),
        (status(7, 0, problem="HTTP 500"), "it could not be read: HTTP 500."),
        (
            status(7, 2, problem="a page is missing"),
            "at least 2 campaigns are running. The listing was not complete: a page is missing.",
        ),
    ],
)
def test_what_was_read_is_one_sentence(found: VdnStatus, said: str) -> None:
    """What was not read completely is never told as a number that may be believed."""
    reading = Reading(7, START_MS, found)

    assert reading.sentence() == said
    assert reading.is_known == (not found.problem and not found.no_campaigns)


def test_names_are_shown_without_what_would_turn_them_round() -> None:
    """Five of them at most."""
    assert Reading(7, START_MS, status(7, 9)).names[0] == r"1 spring 1\u202e"
    assert len(Reading(7, START_MS, status(7, 9)).names) == 5


def test_the_sum_of_requests_never_goes_down() -> None:
    """A run that ends, and another process that continues it, add up."""
    totals = Totals()

    def take(**live: int) -> int:
        told = {run: {"requests": [["change", "accepted", number]]} for run, number in live.items()}
        return totals.with_live(told)["change", "accepted"]

    assert [take(a=10), take(a=12, b=5), take(b=6), take(b=1), take()] == [10, 17, 18, 19, 19]


@pytest.mark.parametrize("told", [None, 3, [[1]], [["a", "b", "c"]], [['x"} 1\n', "y", 2]]])
def test_a_strange_live_file_puts_nothing_into_the_metrics(told: object) -> None:
    """Labels are words of ours."""
    assert not Totals().with_live({"a": {"requests": told}})
