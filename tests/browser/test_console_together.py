"""Several people, several tabs, several clicks: one run of each order, and everybody sees it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Page, Request, Response, Route

from orchestrator.engine.saved import read_again
from tests.browser.desk import Desk, desk_for, ended, fill_order, order_stop, visitor

pytestmark = [pytest.mark.sockets, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

SIZES = {21: 100, 22: 12, 23: 12, 24: 60, 25: 12, 26: 12}
TABS, CLICKS, OPERATORS, SHELL, SLOW, TYPING = SIZES
#: the bar has gone on since this number
_GOES_ON = "(from) => document.querySelector('[data-live-bar]')?.value > from"
_BAR = "() => document.querySelector('[data-live-bar]').value"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One console; each test stops a VDN of its own."""
    with desk_for(tmp_path_factory.mktemp("desk"), SIZES) as one:
        yield one


async def test_eight_tabs_see_one_run_go_on(desk: Desk, browser: Browser) -> None:
    """More than the six connections that a browser has: each gets new numbers, and the end."""
    async with visitor(browser, desk) as page:
        await order_stop(page, desk, TABS)
        tabs = [page, *[await page.context.new_page() for _ in range(7)]]
        await asyncio.gather(*(one.goto(page.url) for one in tabs[1:]))
        before = await asyncio.gather(*(one.evaluate(_BAR) for one in tabs))
        for one, value in zip(tabs, before, strict=True):
            await one.wait_for_function(_GOES_ON, arg=value)
        sentences = await asyncio.gather(*(ended(one) for one in tabs))

    assert len(set(sentences)) == 1
    assert f"VDN {TABS} is quiet" in sentences[0]


async def test_a_double_click_a_reload_and_the_back_button_give_one_run(
    desk: Desk, browser: Browser
) -> None:
    """The form that was left is new, and says that a stop is under way; the old one leads to it."""
    sent: list[Request] = []
    async with visitor(browser, desk) as page:
        page.on("request", lambda one: sent.append(one))  # noqa: PLW0108 - playwright marks it
        await fill_order(page, desk, CLICKS)
        await page.get_by_role("button", name=f"Stop VDN {CLICKS} now").dblclick()
        await page.wait_for_url("**/runs/*")
        await page.reload()
        await page.go_back()
        await page.get_by_text("A stop of this VDN is under way").wait_for()
        assert await page.locator("form").count() == 0
        await page.go_forward()
        (form,) = {one.post_data: one for one in sent if one.method == "POST"}.values()
        again = await page.context.request.fetch(form, max_redirects=0)
        assert (again.status, again.headers["location"]) == (303, page.url.removeprefix(desk.url))
        await ended(page)

    check_one_run(desk, CLICKS)


def check_one_run(desk: Desk, vdn: int) -> None:
    """One on the disk, and one pause of each campaign at the server."""
    (run,) = desk.runs_of(vdn)
    assert read_again(run).exit_code == 0
    assert desk.changes(vdn) == desk.sizes[vdn]


async def test_of_two_operators_the_second_is_shown_the_stop_of_the_first(
    desk: Desk, browser: Browser
) -> None:
    """Both have the form open, both press the button: one stop, and a link that leads to it."""
    async with visitor(browser, desk) as one, visitor(browser, desk) as other:
        for page in (one, other):
            await fill_order(page, desk, OPERATORS)
        statuses = await asyncio.gather(press(one), press(other))
        first, second = (one, other) if statuses[0] == 200 else (other, one)
        await second.get_by_role("heading", name=f"A stop of VDN {OPERATORS} goes on").wait_for()
        await second.get_by_role("link", name="Show it").click()
        await second.wait_for_url(first.url)
        sentences = await asyncio.gather(ended(first), ended(second))

    assert sorted(statuses) == [200, 409]
    assert len(set(sentences)) == 1
    check_one_run(desk, OPERATORS)


async def press(page: Page) -> int:
    """Press the button; the status of the page that comes."""

    def is_page(response: Response) -> bool:
        return response.request.is_navigation_request() and response.status != 303

    async with page.expect_response(is_page) as found:
        await page.get_by_role("button", name=f"Stop VDN {OPERATORS} now").click()
    return (await found.value).status


async def test_a_run_from_a_shell_appears_by_itself_and_is_live(
    desk: Desk, browser: Browser
) -> None:
    """The first page was open before; its numbers move, and its end is the same sentence."""
    async with visitor(browser, desk) as page:
        words = ("pause-all", "--vdn", str(SHELL), "--yes", "--reason", "from a shell")
        with desk.command(*words) as shell:
            live = page.get_by_role("list", name="Live runs")
            await live.get_by_text(re.compile(f"VDN {SHELL}$")).click()
            before = await page.evaluate(_BAR)
            await page.wait_for_function(_GOES_ON, arg=before)
            sentence = await ended(page)
            assert await page.get_by_text("from a shell").count() == 1
            assert shell.wait() == 0

    assert f"VDN {SHELL} is quiet" in sentence


async def test_a_page_that_takes_seconds_to_come_is_waited_for(
    desk: Desk, browser: Browser
) -> None:
    """The end of a run loads its page once; a second time would cut off the first, for ever."""
    loads: list[str] = []

    async with visitor(browser, desk) as page:
        await order_stop(page, desk, SLOW)

        async def late(route: Route) -> None:
            loads.append(route.request.url)
            await asyncio.sleep(3)
            await route.continue_()

        await page.route(page.url, late)
        await ended(page)

    assert len(loads) == 1


async def test_who_is_writing_a_note_keeps_it_and_sees_that_the_run_is_over(
    desk: Desk, browser: Browser
) -> None:
    """The page does not load itself under somebody's hands; it says that it should be."""
    async with visitor(browser, desk) as page:
        await order_stop(page, desk, TYPING)
        note = page.get_by_label("Add a note")
        await note.fill("ticket 4711")
        await page.locator(".age").get_by_text("This page is out of date").wait_for()
        assert await note.input_value() == "ticket 4711"
        await page.get_by_role("button", name="Add the note").click()
        await ended(page)
        assert await page.get_by_text("ticket 4711").count() == 1
