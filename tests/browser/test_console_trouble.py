"""What breaks meanwhile: the console is killed, the server is gone, the history is long."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from orchestrator.engine.saved import read_again
from orchestrator.simulator.faults import Ending, Fault, FaultPlan, Outage
from tests.browser.desk import desk_for, ended, order_stop, visitor
from tests.console.test_book import fill

pytestmark = [
    pytest.mark.sockets,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]

VDN = 31
_HAS_BEGUN = "() => document.querySelector('[data-live-bar]')?.value > 0"
#: milliseconds from the request to the first byte of the answer, as the browser saw them
_SERVER_MS = """() => {
    const [one] = performance.getEntriesByType("navigation");
    return one.responseStart - one.requestStart;
}"""


async def test_a_page_goes_on_when_the_console_was_killed_and_is_back(
    tmp_path: Path, browser: Browser
) -> None:
    """Killed with -9 in mid-run: it says how old its data is, then goes on; the session holds."""
    with desk_for(tmp_path, {VDN: 40}) as desk:
        async with visitor(browser, desk) as page:
            await order_stop(page, desk, VDN)
            await page.wait_for_function(_HAS_BEGUN)
            desk.kill()
            age = page.get_by_text("old: the console does not answer")
            await age.wait_for()
            desk.start()
            sentence = await ended(page)
            await page.get_by_role("link", name="Now").click()
            await page.get_by_role("heading", name="What runs now").wait_for()
        (run,) = desk.runs_of(VDN)
        changes = desk.changes(VDN)

    assert f"VDN {VDN} is quiet" in sentence
    assert read_again(run).exit_code == 0
    assert changes == 40


async def test_a_server_that_is_gone_is_said_with_what_was_known_before(
    tmp_path: Path, browser: Browser
) -> None:
    """Home says it by itself, with the last number and its time; the button is there as before."""
    with desk_for(tmp_path, {VDN: 12}) as desk:
        async with visitor(browser, desk) as page:
            said = page.locator(f"[data-live='vdn-{VDN}']")
            await said.get_by_text("12 campaigns are running").wait_for()
            desk.server.close()
            await said.get_by_text("cannot connect").wait_for()
            words = await said.inner_text()
            await page.get_by_role("link", name=f"Stop VDN {VDN}").click()
            await page.get_by_role("button", name=f"Stop VDN {VDN} now").wait_for()

    assert "Its last answer, at " in words
    assert words.endswith("Z: 12 campaigns are running.")


async def test_no_page_hangs_with_a_server_that_hangs(tmp_path: Path, browser: Browser) -> None:
    """It takes every request and answers none: all pages come, and an order can be given."""
    with desk_for(tmp_path, {VDN: 12}) as desk:
        silent = Fault("silent", ending=Ending.HANG)
        desk.simulator.handler.faults = FaultPlan(outages=(Outage(fault=silent),))
        async with visitor(browser, desk) as page:
            for path in ("/", f"/stop?vdn={VDN}", "/runs"):
                await page.goto(desk.url + path)
                assert await page.locator("h1").count() == 1
            await order_stop(page, desk, VDN)
            await page.get_by_role("heading", name=f"Stopping VDN {VDN}").wait_for()
            await page.get_by_role("button", name="End this run").wait_for()


async def test_ten_thousand_runs_are_no_burden(tmp_path: Path, browser: Browser) -> None:
    """Home, history, its last page, a search: each comes; how fast is printed."""
    fill(tmp_path / "state", 10_000)
    with desk_for(tmp_path, {1: 12}) as desk:
        async with visitor(browser, desk) as page:
            for path in ("/", "/", "/runs", "/runs?page=200", "/runs?q=list9999x", "/runs?vdn=7"):
                await page.goto(desk.url + path)
                await tell_time(page, path)
            await page.goto(f"{desk.url}/runs?q=list4711x")
            found = await page.get_by_role("list", name="Runs").get_by_role("listitem").count()
            await page.goto(f"{desk.url}/runs")
            shown = await page.locator("main").inner_text()

    assert found == 1
    assert "10,000 runs, newest first" in shown


async def tell_time(page: Page, path: str) -> None:
    """Print how long the console took for the page that is shown."""
    print(f"{path}: {await page.evaluate(_SERVER_MS):.0f} ms")
