"""A real browser: Debian's chromium, driven by Playwright, in one loop for all browser tests.

Every test here is marked `sockets` and `asyncio(loop_scope="session")`. Without chromium they are
skipped, and the summary says so in capitals (tests/conftest.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

Audit = Callable[[Page], Awaitable[list[str]]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Chromium; one process for all tests of a worker."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here (on Debian, as root: apt-get install chromium)")
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=path, args=flags)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page of its own, with nothing remembered."""
    context = await browser.new_context()
    yield await context.new_page()
    await context.close()


@pytest.fixture
def audit() -> Audit:
    """Ask axe what is wrong with a page: each finding with the first element that has it.

    By `evaluate`, because no script may be added to a page with a strict policy.
    """
    source = (resources.files("axe_playwright_python") / "axe.min.js").read_text("utf-8")

    async def ask(page: Page) -> list[str]:
        await page.evaluate(source)
        found: list[str] = await page.evaluate(_ASK)
        return found

    return ask


_ASK = """async () => (await axe.run(document)).violations.map(
    one => `${one.id}: ${one.help}: ${one.nodes[0].html.slice(0, 200)}`)"""
