"""A run of the cluster at a console on another machine: it appears, goes on, is ended, finished."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests import postgres
from tests.browser.conftest import Audit
from tests.browser.desk import Desk, campaign_of, desk_for, ended, visitor
from tests.console.consoles import until

pytestmark = [
    pytest.mark.sockets,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="session"),
]

VDN, CAMPAIGNS = 41, 200
_GOES_ON = "() => document.querySelector('[data-live-bar]')?.value > 0"
#: milliseconds until something of the cluster is seen here, on a machine that is busy otherwise
_SEEN_MS = 60_000


@contextmanager
def working(desk: Desk, *words: str, **more: str) -> Iterator[None]:
    """A command that ends with the test, if not by itself."""
    process = desk.command(*words, **more)
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def test_a_run_of_the_cluster_goes_on_in_a_browser_anywhere(
    tmp_path: Path, browser: Browser, audit: Audit
) -> None:
    """Submitted and worked on with another state directory: live numbers, an end, the rest."""
    url = postgres.shared().make_bare_database().reveal()
    there = {"ORCHESTRATOR_STATE_DIR": str(tmp_path / "elsewhere")}
    path = tmp_path / "list.csv"
    ids = "".join(f"{VDN},{campaign_of(VDN, one)}\n" for one in range(1, CAMPAIGNS + 1))
    path.write_text(f"vdn_id,campaign_id\n{ids}", "ascii")
    with (
        desk_for(tmp_path, {VDN: CAMPAIGNS}, ORCHESTRATOR_DATABASE_URL=url) as desk,
        ExitStack() as at,
    ):
        assert desk.command("cluster", "init").wait(timeout=60) == 0
        async with visitor(browser, desk) as page:
            at.enter_context(working(desk, "pause", str(path), "--cluster", **there))
            at.enter_context(working(desk, "worker", **there))
            # the page finds it by itself
            link = page.get_by_role("link", name=f"list paused · VDN {VDN} · cluster")
            await link.wait_for(timeout=_SEEN_MS)
            await link.click()
            await page.wait_for_function(_GOES_ON, timeout=_SEEN_MS)
            problems = await audit(page)
            works = await page.get_by_text("1 worker of the cluster").first.is_visible()
            await page.get_by_role("button", name="End this run").click()
            go_on = page.get_by_role("button", name="Continue this run")
            await go_on.wait_for(timeout=_SEEN_MS)
            left = CAMPAIGNS - desk.changes(VDN)
            await go_on.click()
            await until(lambda: desk.changes(VDN) == CAMPAIGNS)
            sentence = await ended(page)

    assert problems == []
    assert works
    assert 0 < left < CAMPAIGNS
    assert f"{CAMPAIGNS} lines: {CAMPAIGNS} stopped" in sentence
