"""Every page of the console for every eye: axe finds nothing, and nobody scrolls sideways."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, Page

from tests.browser.conftest import Audit
from tests.browser.desk import Desk, desk_for, ended, fill_order, is_too_wide, order_stop, visitor

pytestmark = [
    pytest.mark.sockets,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]

#: a stop of so many goes on for longer than its pages are looked at
SIZES = {41: 3_000, 42: 24}
LONG, SHORT = SIZES


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One console for all pages."""
    with desk_for(tmp_path_factory.mktemp("desk"), SIZES) as one:
        yield one


@dataclass
class Eyes:
    """Looks at pages, small and large, light and dark; remembers what is wrong."""

    audit: Audit
    wrong: list[str] = field(default_factory=list)

    async def look(self, page: Page, name: str, words: str) -> None:
        """Look at a page whose first heading has these words."""
        await page.locator("h1").filter(has_text=words).wait_for()
        for width in (360, 1280):
            await page.set_viewport_size({"width": width, "height": 640})
            await self._sideways(page, f"{name}, {width}")
            for colours in ("light", "dark"):
                await page.emulate_media(color_scheme=colours)
                found = await self.audit(page)
                self.wrong += [f"{name}, {width}, {colours}: {one}" for one in found]
        # a window of 640 at 200 %
        await page.set_viewport_size({"width": 320, "height": 320})
        await self._sideways(page, f"{name}, 640 at 200 %")

    async def _sideways(self, page: Page, name: str) -> None:
        if await is_too_wide(page):
            self.wrong.append(f"{name}: too wide")


async def test_the_pages_before_a_stop_are_for_everybody(
    desk: Desk, browser: Browser, audit: Audit
) -> None:
    """The link, the first page, the order, and what is said when it is not taken."""
    eyes = Eyes(audit)
    async with await browser.new_context() as context:
        page = await context.new_page()
        link = await desk.link()
        await page.goto(f"{desk.url}/runs")
        await eyes.look(page, "without a session", "Who are you?")
        await page.goto(link)
        await eyes.look(page, "link", "Go on to the console?")
        await page.get_by_role("button", name="Continue").click()
        await eyes.look(page, "home", "What runs now")
        await page.goto(f"{desk.url}/stop?vdn=7")
        await eyes.look(page, "another VDN", "VDN 7 is not stopped from here")
        await fill_order(page, desk, SHORT)
        await eyes.look(page, "order", f"Stop VDN {SHORT} on")
        await page.get_by_label("Type the number").fill("7")
        await page.get_by_role("button", name=f"Stop VDN {SHORT} now").click()
        await page.wait_for_url("**/stop")
        await eyes.look(page, "mistyped", "The form cannot be used")

    assert not eyes.wrong


async def test_the_pages_of_a_live_stop_are_for_everybody(
    desk: Desk, browser: Browser, audit: Audit
) -> None:
    """The run, its rows, what a second operator is shown; and the run when it was ended."""
    eyes = Eyes(audit)
    async with visitor(browser, desk) as page, visitor(browser, desk) as second:
        await fill_order(second, desk, LONG)
        await order_stop(page, desk, LONG)
        run = page.url
        await eyes.look(page, "live", f"Stopping VDN {LONG}")
        await page.goto(f"{run}/rows")
        await eyes.look(page, "live rows", "Campaigns of run")
        await page.goto(f"{desk.url}/")
        await eyes.look(page, "home of a live run", "What runs now")
        await page.goto(f"{desk.url}/stop?vdn={LONG}")
        await eyes.look(page, "order of a live run", f"Stop VDN {LONG} on")
        await second.get_by_role("button", name=f"Stop VDN {LONG} now").click()
        await second.get_by_role("heading", name="goes on").wait_for()
        await eyes.look(second, "second stop", f"A stop of VDN {LONG} goes on")
        await page.goto(run)
        await page.get_by_role("button", name="End this run").click()
        await ended(page)
        await eyes.look(page, "ended early", "")
        assert await page.get_by_role("button", name="Continue this run").count() == 1

    assert not eyes.wrong


async def test_the_pages_after_a_stop_are_for_everybody(
    desk: Desk, browser: Browser, audit: Audit
) -> None:
    """The proof, rows, both pages of a restore, the restore, history, what is not there."""
    eyes = Eyes(audit)
    async with visitor(browser, desk) as page:
        await order_stop(page, desk, SHORT)
        await ended(page)
        run = page.url
        await eyes.look(page, "proof", f"VDN {SHORT} is quiet")
        for name, path, words in (
            ("rows", "/rows", "Campaigns of run"),
            ("no rows", "/rows?outcome=failed", "failed"),
            ("restore", "/restore", "Start 24 campaigns again"),
            ("mistyped id", "/restore?except=99&step=2", "Start 24 campaigns again"),
            ("restore, left off", f"/restore?except={SHORT}003&step=2", "Start 23 campaigns"),
            ("no file", "/files/nothing", "There is no such file"),
        ):
            await page.goto(run + path)
            await eyes.look(page, name, words)
        for name, path, words in (
            ("history", "/runs", "Runs"),
            ("history, none", "/runs?q=nobody&vdn=x", "Runs"),
            ("nothing", "/nothing", "There is no such page"),
        ):
            await page.goto(desk.url + path)
            await eyes.look(page, name, words)

    assert not eyes.wrong
