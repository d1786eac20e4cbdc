"""What pages of others can do with an operator's browser, and what a crooked address gets."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.async_api import Browser, Page, async_playwright

from tests.browser.desk import Desk, desk_for, ended, order_stop, visitor
from tests.console.consoles import runs_in

pytestmark = [pytest.mark.sockets, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

TARGET, OTHER = 51, 52
#: a page of another server that sends a form of ours as soon as it is open
_FOREIGN = """<!doctype html><title>kittens</title><form method=post action="{url}/stop">
<input name=token value="{token}"><input name=order value="{order}"><input name=vdn value={vdn}>
<input name=typed value={vdn}></form><script>document.forms[0].submit()</script>"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One console for all attacks."""
    with desk_for(tmp_path_factory.mktemp("desk"), {TARGET: 12, OTHER: 12}) as one:
        yield one


@pytest.mark.parametrize(
    ("place", "status"),
    [
        # another site: the browser keeps the session to itself
        ("http://kittens.example/", 401),
        # another port of this machine is the same site for cookies, and is another origin
        ("http://127.0.0.1:9/", 403),
    ],
)
async def test_a_page_of_another_server_orders_nothing(
    desk: Desk, browser: Browser, place: str, status: int
) -> None:
    """Although it knows a token of this session: the operator's browser sends the form for it."""
    async with visitor(browser, desk) as page:
        await page.goto(f"{desk.url}/stop?vdn={TARGET}")
        fields = [
            await page.locator(f"form [name={one}]").get_attribute("value")
            for one in ("token", "order")
        ]
        text = _FOREIGN.format(url=desk.url, vdn=TARGET, token=fields[0], order=fields[1])
        kittens = await page.context.new_page()
        await kittens.route(place, lambda route: route.fulfill(body=text, content_type="text/html"))
        async with kittens.expect_response(f"{desk.url}/stop") as answer:
            await kittens.goto(place)
        got = await answer.value

    assert got.status == status
    assert desk.runs_of(TARGET) == []
    assert desk.changes(TARGET) == 0


async def test_a_name_that_was_made_to_lead_here_shows_nothing(desk: Desk) -> None:
    """DNS rebinding: the browser takes the console for a part of the foreign page's own server."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium here (on Debian, as root: apt-get install chromium)")
    flags = ["--host-resolver-rules=MAP kittens.example 127.0.0.1"]
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    link = await desk.link()
    foreign = link.replace("127.0.0.1", "kittens.example")
    home = foreign.partition("/login")[0]
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=path, args=flags)
        page = await chromium.new_page()
        seen = [await look(page, one) for one in (foreign, f"{home}/", f"{home}/static/console.js")]
        tried = await page.evaluate(
            "async () => (await fetch('/stop', {method: 'POST', body: 'vdn=51'})).status"
        )
        await page.goto(link)
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("heading", name="What runs now").wait_for()
        await chromium.close()

    assert [status for status, _ in seen] == [403] * 3
    for _, words in seen:
        assert "another server" in words
        assert f"VDN {TARGET}" not in words
    assert tried == 403


async def look(page: Page, address: str) -> tuple[int, str]:
    """What an address shows."""
    answer = await page.goto(address)
    assert answer is not None
    return answer.status, await answer.text()


async def test_no_address_leads_out_of_the_folder_of_runs(desk: Desk, browser: Browser) -> None:
    """Dots, slashes, backslashes and NUL, plain and encoded, as no browser sends them."""
    (desk.state / "secret").write_text("root:x:0:0")
    async with visitor(browser, desk) as page:
        await order_stop(page, desk, OTHER)
        await ended(page)
        (one,) = await page.context.cookies()
    (run,) = runs_in(desk.state)
    run_id = run.path.name
    cookie = f"{one.get('name')}={one.get('value')}"
    usual = await raw(desk, f"/runs/{run_id}/files/results.csv", cookie)
    assert usual.startswith("HTTP/1.1 200")

    for way in ("../", "%2e%2e/", "..%2f", "%2e%2e%2f", "..%5c", "%252e%252e%252f", "..%00/", "/"):
        up = way * 8
        for target in (
            f"/runs/{up}state/secret",
            f"/runs/{run_id}/files/{up}etc/passwd",
            f"/runs/{run_id}/files/{way}{way}secret",
            f"/runs/{way}runs/{run_id}/files/journal.db",
            f"/runs/{run_id}{way}/files/results.csv%00.html",
            f"/static/{up}etc/passwd",
            f"/static/{way}app.py",
            f"/orders/{way}key",
            f"http://127.0.0.1/runs/{run_id}/files/{way}journal.db",
        ):
            answer = await raw(desk, target, cookie)
            assert re.match(r"HTTP/1\.[01] (400|403|404) ", answer), f"{target}: {answer[:200]}"
            assert not re.search("root:|SQLite format|import annotations", answer), target


async def raw(desk: Desk, target: str, cookie: str) -> str:
    """Ask for exactly this."""
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{desk.port}\r\nCookie: {cookie}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode("utf-8", "replace")
