"""The whole emergency in a browser: home, order, proof, undo, evidence, by touch, keys or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, Locator, Page

from orchestrator.engine.saved import read_again
from orchestrator.model import CampaignRef, Status
from tests.browser.desk import Desk, campaign_of, desk_for, ended, is_too_wide, visitor

pytestmark = [
    pytest.mark.sockets,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]

SIZE = 12
PHONE, KEYS, HTML = 11, 12, 13
VIEWPORT = {"width": 360, "height": 640}
#: what has the focus, by its label or its words, and whether that can be seen
_FOCUS = """() => {
    const one = document.activeElement;
    const words = one === document.body ? "" : (one.labels?.[0] ?? one).innerText;
    return [words, getComputedStyle(one).outlineStyle];
}"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One console; each test stops a VDN of its own."""
    with desk_for(tmp_path_factory.mktemp("desk"), dict.fromkeys((PHONE, KEYS, HTML), SIZE)) as one:
        yield one


@dataclass
class Finger:
    """Taps and types."""

    page: Page

    async def press(self, role: str, name: str) -> None:
        """Tap a link or a button."""
        await self._found(role, name).tap()

    async def write(self, label: str, text: str) -> None:
        """Write into a field."""
        await self._found("textbox", label).fill(text)

    def _found(self, role: str, name: str) -> Locator:
        return self.page.get_by_role(role, name=name)  # type: ignore[arg-type]


class Mouse(Finger):
    """Clicks and types."""

    async def press(self, role: str, name: str) -> None:
        """Click on it."""
        await self._found(role, name).click()


class Keys(Finger):
    """Nothing but the keyboard: Tab until it is there, and it must be seen to be there."""

    async def press(self, role: str, name: str) -> None:
        """Enter, or the space bar for a box."""
        await self._go_to(name)
        await self.page.keyboard.press("Space" if role == "checkbox" else "Enter")

    async def write(self, label: str, text: str) -> None:
        """Type it."""
        await self._go_to(label)
        await self.page.keyboard.type(text)

    async def _go_to(self, name: str) -> None:
        for _ in range(100):
            await self.page.keyboard.press("Tab")
            words, outline = await self.page.evaluate(_FOCUS)
            if name in words:
                assert outline == "solid", f"nobody sees that {name} has the focus"
                return
        raise AssertionError(f"the key Tab does not lead to {name}")


async def stop_and_undo(hand: Finger, vdn: int) -> None:
    """From the first page to the proof, and back with one campaign left off."""
    page = hand.page
    await hand.press("link", f"Stop VDN {vdn}")
    await page.get_by_role("heading", name=f"Stop VDN {vdn} on").wait_for()
    await hand.write("Type the number of the VDN", str(vdn))
    await hand.write("Reason", "wrong list")
    await hand.press("button", f"Stop VDN {vdn} now")
    sentence = await ended(page)
    assert f"VDN {vdn} is quiet" in sentence
    assert f"We paused {SIZE}." in sentence

    await hand.press("link", "See what would start again")
    await page.get_by_role("heading", name=f"Start {SIZE} campaigns again on").wait_for()
    await hand.press("checkbox", f"{campaign_of(vdn, 3)} offer 3")
    await hand.press("button", "Next: see what will start")
    await page.get_by_text("1 stays off: left off in this form").wait_for()
    await hand.write("Type the number of the VDN", str(vdn))
    await hand.write("Reason", "list corrected")
    await hand.press("button", f"Start {SIZE - 1} campaigns again")
    await page.get_by_role("heading", name="Start").wait_for(state="detached")
    await ended(page)


def check_server_and_disk(desk: Desk, vdn: int) -> None:
    """Two runs, each ended well; all of it runs again, but for the guilty one."""
    status = desk.simulator.world.status_of
    found = [status(CampaignRef(vdn, campaign_of(vdn, one))) for one in range(1, SIZE + 1)]
    wanted = [Status.STARTED] * SIZE
    wanted[2] = Status.SUSPENDED
    assert found == wanted
    ends = [read_again(one) for one in desk.runs_of(vdn)]
    assert [(one.facts.operator, one.facts.reason, one.exit_code) for one in ends] == [
        ("You", "list corrected", 0),
        ("You", "wrong list", 0),
    ]


async def test_an_emergency_is_stopped_proven_and_undone_with_a_phone(
    desk: Desk, browser: Browser
) -> None:
    """At 360 by 640, by touch: the evidence page names the campaign that was left off."""
    kind = {"viewport": VIEWPORT, "is_mobile": True, "has_touch": True}
    async with visitor(browser, desk, **kind) as page:
        await stop_and_undo(Finger(page), PHONE)
        undone = page.url
        assert not await is_too_wide(page)
        await page.get_by_role("link", name="report.html").tap()
        await page.wait_for_url("**/report.html")
        evidence = await page.locator("body").inner_text()
        assert not await is_too_wide(page)
        await page.goto(undone)
        await page.get_by_role("link", name=re.compile("^[0-9]{8}T")).tap()
        await page.get_by_text("1 campaign that this run stopped was not started again").wait_for()

    assert re.search(r"offer 3\s+left alone", evidence)
    check_server_and_disk(desk, PHONE)


async def test_an_emergency_needs_no_pointer(desk: Desk, browser: Browser) -> None:
    """Tab, Enter and the space bar reach everything, and the focus is seen."""
    async with visitor(browser, desk) as page:
        await stop_and_undo(Keys(page), KEYS)

    check_server_and_disk(desk, KEYS)


async def test_an_emergency_needs_no_javascript(desk: Desk, browser: Browser) -> None:
    """Forms and pages that load themselves again."""
    async with visitor(browser, desk, java_script_enabled=False, viewport=VIEWPORT) as page:
        await stop_and_undo(Mouse(page), HTML)

    check_server_and_disk(desk, HTML)
