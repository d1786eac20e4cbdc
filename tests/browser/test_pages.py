"""report.html in a real browser: read by people who need more than eyes, on a phone, on paper."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page

from orchestrator.policy.decide import Changed, Evidence, Outcome
from orchestrator.reports.page import ROWS_SHOWN, Told, render
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import Ended, VdnProof
from tests.browser.conftest import Audit
from tests.report_makers import AT_MS, HOSTILE, database_failure, emergency, make_row, told

pytestmark = [pytest.mark.sockets, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

_LATER_MS = AT_MS + 3_600_000
_AT = "2026-11-23T23:05:{}.000Z"


def _restore(**more: Any) -> Told:
    """What the emergency stopped is started again, but for two."""
    rows = [
        make_row(Outcome.RESTORED, vdn_id="1234", campaign_id=str(number),
                 first_sent_at_ms=_LATER_MS + 9_000 + number * 100,
                 settled_at_ms=_LATER_MS + 9_080 + number * 100)
        for number in range(1, 37)
    ]  # fmt: skip
    left = {
        "changed": Changed.NO,
        "evidence": Evidence.NONE,
        "attempts": 0,
        "first_sent_at_ms": None,
        "settled_at_ms": None,
    }
    rows += [
        make_row(Outcome.LEFT_ALONE, vdn_id="1234", campaign_id=number, error="excluded", **left)
        for number in ("37", "38")
    ]
    summary = {
        "source_run": "20261123T230501Z-7f3a",
        "selection": {
            "only": None,
            "except": {"list": "/lists/guilty.csv", "campaigns": 2},
            "vdns": [],
            "limit": None,
        },
        "clock_offset_s": -1.25,
    }
    return told(
        RunKind.RESTORE, rows, summary, reason="list corrected", run_id="20261124T000501Z-0001",
        started_at_ms=_LATER_MS, ended_at_ms=_LATER_MS + 20_000, **more,
    )  # fmt: skip


def _incident() -> list[Told]:
    """A stop with its notes, and its restore."""
    notes = [
        {"at": _AT.format(59), "operator": "ben", "text": "ticket 4711: the list was loaded twice"}
    ]
    stop = emergency(reason="wrong list loaded")
    return [stop._replace(summary={**stop.summary, "notes": notes}), _restore(operator="ben")]


def _silence() -> list[Told]:
    """Calls in progress are counted down."""
    stop = emergency()
    calls = [
        {"at": _AT.format(30 + number), "vdn_id": 1234, "in_progress": 41 - number}
        for number in range(20)
    ]
    return [stop._replace(summary={**stop.summary, "calls": calls, "silent_at": _AT.format(51)})]


def _continued() -> list[Told]:
    """Killed, taken up by another process, and not all of it has gone well."""
    rows = [make_row(), make_row(Outcome.NOT_FOUND, result_code="0200007"), database_failure()]
    rows += [make_row(Outcome.UNKNOWN, error="no answer in 15 s", changed=Changed.MAYBE)]
    summary = {
        "processes": [
            {"started_at": _AT.format("02"), "ended_at": None, "ended": None, "pid": 12,
             "host": "jump1"},
            {"started_at": _AT.format(40), "ended_at": _AT.format(50), "ended": "finished",
             "pid": 13, "host": "jump2"},
        ]
    }  # fmt: skip
    return [told(RunKind.PAUSE, rows, summary, manifest_path="/lists/night.csv",
                 manifest_lines=4, manifest_sha256="cd" * 32, lag_s=8.0)]  # fmt: skip


def _hostile() -> list[Told]:
    """Every hostile text everywhere, and some that are merely long or from afar."""
    texts = [
        *HOSTILE.values(),
        "W" * 300,
        "long words without an end " * 20,
        "🎉 👨‍👩‍👧‍👦 🇩🇪 Früh­jahr",
        "حملة الربيع",
        "春季活动" * 40,
    ]
    rows = [
        make_row(Outcome.FAILED, campaign_name=text, error=text, vdn_id=text, campaign_id=text)
        for text in texts
    ]
    every = "".join(text[:60] for text in texts)
    notes = [{"at": _AT.format(59), "operator": every, "text": every}]
    return [
        told(RunKind.PAUSE, rows, {"notes": notes, "server_name": every, "server": every},
             reason=every, operator=every, host=every, server=every, manifest_path=every,
             manifest_lines=len(rows), why=every, ended=Ended.SERVER)
    ]  # fmt: skip


def _many_vdns() -> list[Told]:
    """Fifty VDNs, each with every outcome, and none of them quiet."""
    outcomes = (Outcome.PAUSED, Outcome.ALREADY_PAUSED, Outcome.NOT_FOUND, Outcome.FAILED,
                Outcome.UNKNOWN, Outcome.STILL_RUNNING)  # fmt: skip
    rows = [
        make_row(outcome, vdn_id=str(vdn), campaign_id=f"{vdn}00{number}")
        for vdn in range(1_001, 1_051)
        for number, outcome in enumerate(outcomes)
    ]
    proofs = tuple(VdnProof(vdn, started=1, seen_at_ms=AT_MS) for vdn in range(1_001, 1_051))
    return [told(RunKind.PAUSE_ALL, rows, proofs=proofs)]


def _rows(number: int) -> list[Told]:
    row = make_row(campaign_name="Frühjahr 2026, Nachfassen")
    return [told(RunKind.PAUSE, [row] * number, manifest_path="/lists/night.csv")]


PAGES: dict[str, Callable[[], list[Told]]] = {
    "none": lambda: _rows(0),
    "three": lambda: _rows(3),
    "all that are shown": lambda: _rows(ROWS_SHOWN),
    "100,000": lambda: _rows(100_000),
    "incident": _incident,
    "silence": _silence,
    "continued": _continued,
    "hostile": _hostile,
    "many VDNs": _many_vdns,
}


def write(folder: Path, name: str) -> str:
    """Write the page; returns its address."""
    target = folder / "report.html"
    target.write_text("".join(render(PAGES[name](), made_at_ms=AT_MS)), "utf-8")
    return target.as_uri()


#: how it is read: the width of the window, and what is made of it; 688 is A4 within its margins
WAYS: dict[str, dict[str, Any]] = {
    "a desk": {"width": 1280, "media": "screen", "color_scheme": "light"},
    "a phone at night": {"width": 360, "media": "screen", "color_scheme": "dark"},
    "paper": {"width": 688, "media": "print", "color_scheme": "dark"},
}


@pytest.mark.timeout(300)  # thousands of rows, on a machine that is busy with other things
@pytest.mark.parametrize("name", sorted(PAGES))
async def test_a_page_is_accessible_and_fits_wherever_it_is_read(
    tmp_path: Path, page: Page, audit: Audit, name: str
) -> None:
    """No finding of axe; nothing wider than window or paper, but tables that can be scrolled."""
    address = write(tmp_path, name)
    for way in WAYS.values():
        await page.set_viewport_size({"width": way["width"], "height": 900})
        await page.emulate_media(media=way["media"], color_scheme=way["color_scheme"])
        await page.goto(address)

        wide = await page.evaluate("document.documentElement.scrollWidth")
        cut_off = await page.evaluate(_CUT_OFF, way["media"])

        assert wide <= way["width"], way
        assert cut_off == [], way
        await page.evaluate(_ALIKE)
        assert await audit(page) == [], way


#: axe takes minutes for thousands of rows, which are all alike
_ALIKE = "document.querySelectorAll('tbody tr:nth-child(n+60)').forEach(one => one.remove())"

#: what sticks out of the window; on paper nothing can be scrolled
_CUT_OFF = """media => [...document.querySelectorAll("body *")]
    .filter(one => media == "print" || !one.closest(".wide table"))
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.outerHTML.slice(0, 200))"""


async def test_a_page_does_nothing_that_others_wrote(tmp_path: Path, page: Page) -> None:
    """No script runs, and nothing is fetched from anywhere."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    address = write(tmp_path, "hostile")

    await page.goto(address)

    assert asked == [address]


async def test_the_first_screen_of_an_incident_says_all_that_matters(
    tmp_path: Path, page: Page
) -> None:
    """What was stopped and its proof, who, why, what was started again by whom, what is open."""
    await page.set_viewport_size({"width": 1280, "height": 720})
    await page.goto(write(tmp_path, "incident"))

    places = [
        await page.get_by_text(text).first.bounding_box()
        for text in (
            "VDN 1234 is quiet: the server's listings showed nothing running at 23:05:21Z",
            "ana on jump1",
            "ticket 4711",
            "36 running again (36 restored), 2 left alone",
            "by ben on jump1: list corrected",
            re.compile("^Not covered:$"),
        )
    ]

    heights = [place["y"] + place["height"] for place in places if place is not None]
    assert len(heights) == len(places)
    assert heights == sorted(heights)
    assert heights[-1] < 720
