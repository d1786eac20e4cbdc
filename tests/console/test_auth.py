"""Who is let in, and whose forms are taken, over a real socket."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.console import auth
from orchestrator.console.order_files import new_order_id
from orchestrator.errors import StorageError
from tests.console.consoles import JANE, console, site_of

pytestmark = pytest.mark.sockets

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PROXY: dict[str, Any] = {
    "console__user_header": "X-Remote-User",
    "console__trusted_peers": ("127.0.0.1",),
}


async def test_the_link_lets_in_once_and_is_followed_by_another(folder: Path) -> None:
    """Looking at it, as a chat program does, uses nothing up; no script has the cookie."""
    async with console(site_of(folder), logged_in=False) as browser:
        key = browser.told[0].partition("key=")[2]
        looks = [await browser.get(f"/login?key={key}") for _ in range(2)]
        let_in = await browser.send("/login", {"key": key})
        again = await browser.send("/login", {"key": key})
        shown_again = await browser.get(f"/login?key={key}")
        port = browser.url.rpartition(":")[2]

    assert [(one.status, key in one.text) for one in looks] == [(200, True)] * 2
    assert (let_in.status, let_in.location) == (303, "/")
    assert (again.status, shown_again.status) == (401, 401)
    assert len(set(browser.told)) == 2
    cookie = let_in.headers["Set-Cookie"]
    assert cookie.startswith(f"orchestrator-{port}=")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))


@pytest.mark.parametrize("change", ["none", "longer", "cut", "name", "dots", "other console"])
async def test_a_cookie_that_is_not_of_this_console_lets_nobody_in(
    folder: Path, change: str
) -> None:
    """Another console has the same key; it may be the test server's."""
    async with console(site_of(folder)) as browser, console(site_of(folder)) as other:
        value, others = (
            next(cookie.value for cookie in one.session.cookie_jar) for one in (browser, other)
        )
        browser.session.cookie_jar.clear()
        changed = {
            "none": "",
            "longer": f"{value}x",
            "cut": value[:-1],
            "name": f"QWRh{value[value.index('.') :]}",
            "dots": "...",
            "other console": others,
        }[change]
        answer = await browser.get("/orders/x", Cookie=f"{browser.app[auth.DOOR].cookie}={changed}")

    assert answer.status == 401


async def test_a_session_outlives_the_console_and_not_a_week(folder: Path) -> None:
    """The key stays in the state directory, for its owner only."""
    async with console(site_of(folder)) as browser:
        name = browser.app[auth.DOOR].cookie
        (cookie,) = [one.value for one in browser.session.cookie_jar if one.key == name]
        assert (await browser.get("/orders/x")).status == 404
        port = browser.app[auth.DOOR].place.port
    for ahead_s, status in ((6 * 86_400, 404), (8 * 86_400, 401)):
        site = site_of(folder, ahead_s=ahead_s)
        async with console(site, logged_in=False, port=port) as browser:
            assert (await browser.get("/orders/x", Cookie=f"{name}={cookie}")).status == status

    assert (folder / "state/console/key").stat().st_mode & 0o777 == 0o600


async def test_a_packed_form_is_not_unpacked(folder: Path) -> None:
    """300 MB of nothing pack into 300 KB, and unpacking them would keep everybody waiting."""
    async with console(site_of(folder), logged_in=False) as browser:
        answer = await browser.send(
            "/login",
            zlib.compress(b"key=x"),
            Content_Type="application/x-www-form-urlencoded",
            Content_Encoding="deflate",
        )

    assert answer.status == 400


def test_a_key_that_others_could_know_is_refused(folder: Path) -> None:
    """Readable by a group, or too short: whoever knows it makes sessions of his own."""
    (folder / "key").write_bytes(b"k" * 32)
    (folder / "key").chmod(0o640)
    with pytest.raises(StorageError, match="not a key that only we can read"):
        auth.read_key(folder)
    (folder / "key").chmod(0o600)
    assert auth.read_key(folder) == b"k" * 32
    (folder / "key").write_bytes(b"")
    with pytest.raises(StorageError):
        auth.read_key(folder)


@pytest.mark.parametrize("path", ["/", "/stop?vdn=1234", "/orders/x", "/runs", "/nothing"])
async def test_without_a_session_nothing_is_shown(folder: Path, path: str) -> None:
    """Not even whether there is such a page."""
    async with console(site_of(folder), logged_in=False) as browser:
        answer = await browser.get(path)

    assert answer.status == 401
    assert "printed a link" in answer.text


@pytest.mark.parametrize("path", ["/nothing", "/login", "/orders/x"])
async def test_every_answer_keeps_the_browser_on_a_short_lead(folder: Path, path: str) -> None:
    """Errors too."""
    async with console(site_of(folder)) as browser:
        headers = (await browser.get(path)).headers

    assert headers["Content-Security-Policy"] == CSP
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"
    assert "aiohttp" not in headers["Server"]


@pytest.mark.parametrize("wrong", ["none", "other form", "other order", "other session"])
async def test_a_form_with_another_token_starts_nothing(folder: Path, wrong: str) -> None:
    """A token is for one form, one order, one session."""
    async with console(site_of(folder)) as browser:
        order = new_order_id()
        token = {
            "none": "",
            "other form": browser.token("/runs/x/restore", order),
            "other order": browser.token("/stop", new_order_id()),
            "other session": browser.token("/stop", order, user="Mallory"),
        }[wrong]
        answer = await browser.send(
            "/stop", {"token": token, "order": order, "vdn": "1234", "typed": "1234"}
        )
        assert browser.orders.find(order) is None

    assert answer.status == 403
    assert "not one of this session" in answer.text


async def test_a_form_longer_than_64_kb_is_refused(folder: Path) -> None:
    """In words, before anything is made of it."""
    async with console(site_of(folder)) as browser:
        answer = await browser.stop(reason="x" * 70_000)

    assert answer.status == 413
    assert "too long" in answer.text


@pytest.mark.parametrize("path", ["/stop", "/login"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"\xff=%ff"),
        ("application/x-www-form-urlencoded; charset=unicode_escape", b"key=\\ud800"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--"),
        ("application/json", b"{}"),
    ],
)
async def test_a_form_that_no_page_of_ours_sends_is_refused(
    folder: Path, path: str, kind: str, body: bytes
) -> None:
    """Not UTF-8, of another kind, cut: an answer in words, and no bug."""
    async with console(site_of(folder)) as browser:
        answer = await browser.send(path, body, Content_Type=kind)

    assert answer.status in {400, 401, 403}
    assert not [one for one in browser.told if "bug" in one]


async def test_a_proxy_says_who_is_asking(folder: Path) -> None:
    """The name in its header is the operator of what is ordered; no link is needed."""
    site = site_of(folder, **PROXY, console__viewers=("Ada",), console__stoppers=("Bob",))
    async with console(site, logged_in=False) as browser:
        browser.headers = {"X-Remote-User": "Ada", "Host": "console.example.com"}
        looks = await browser.get("/orders/x")
        browser.headers["Origin"] = "https://console.example.com"
        refused = await browser.stop()
        browser.headers["X-Remote-User"] = "Bob"
        order = new_order_id()
        await browser.stop(order=order)
        placed = browser.orders.find(order)

    assert looks.status == 404
    assert (refused.status, "console.stoppers" in refused.text) == (403, True)
    assert placed is not None
    assert placed.operator == "Bob"


@pytest.mark.parametrize(
    ("name", "peers"),
    [(None, "127.0.0.1"), ("", "127.0.0.1"), ("a\tb", "127.0.0.1"), (JANE, "10.0.0.5")],
)
async def test_a_header_that_names_nobody_or_is_forged_lets_nobody_in(
    folder: Path, name: str | None, peers: str
) -> None:
    """Whoever reaches the port past the proxy could call himself anything; no link helps."""
    site = site_of(folder, **PROXY | {"console__trusted_peers": (peers,)})
    async with console(site) as browser:  # with a cookie
        sent = {} if name is None else {"X-Remote-User": name}
        answer = await browser.get("/orders/x", **sent)

    assert answer.status == 401
    assert "through the proxy" in answer.text
