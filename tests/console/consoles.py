"""A console on a real socket in the test's own loop, a browser for it, and its processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, CookieJar, web
from aiohttp.test_utils import unused_port

from orchestrator.clock import SystemClock
from orchestrator.console.app import make_app
from orchestrator.console.auth import DOOR
from orchestrator.console.order_files import new_order_id
from orchestrator.console.orders import ORDERS, Orders
from orchestrator.console.rights import Place
from orchestrator.console.site import Site
from orchestrator.settings.load import load_settings
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY
from orchestrator.store.registry import known_runs
from orchestrator.store.run_dir import RunDirectory
from tests.cli.makers import ROOT

JANE = "Jane Doe"


class Clock(SystemClock):
    """The machine's clock, some time ahead."""

    def __init__(self, ahead_s: float = 0.0) -> None:
        self.ahead_s = ahead_s

    def wall_ms(self) -> int:
        return super().wall_ms() + round(self.ahead_s * 1000)


def site_of(
    folder: Path, base_url: str = "http://127.0.0.1:9", *, ahead_s: float = 0.0, **more: object
) -> Site:
    """A site with credentials of the simulator; settings by keyword, as `console__viewers`."""
    environ = {
        "HOME": str(folder),
        "ORCHESTRATOR_BASE_URL": base_url,
        "ORCHESTRATOR_ACCESS_KEY": ACCESS_KEY,
        "ORCHESTRATOR_SECRET_KEY": SECRET_KEY,
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "ORCHESTRATOR_OPERATOR": JANE,
    }
    for name in [one for one in os.environ if one.startswith(("ORCHESTRATOR_", "XDG_"))]:
        del os.environ[name]  # `place` puts back what was there
    os.environ.update({**environ, "PYTHONPATH": str(ROOT)})
    settings = load_settings(
        flags={key.replace("__", ".", 1): value for key, value in more.items()},
        environ=environ,
        config=None,
        emergency=False,
        need_credentials=True,
        ask_secret=None,
        warn=lambda _: None,
        system_file=folder / "none.toml",
    )
    return Site(settings=settings, connection=("--rate=200",), clock=Clock(ahead_s))


@dataclass
class Answer:
    """What a browser got."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def location(self) -> str:
        """Where it is sent."""
        return self.headers.get("Location", "")


@dataclass
class Browser:
    """Somebody's browser: cookies, and the headers that browsers send."""

    site: Site
    app: web.Application
    session: ClientSession
    url: str
    told: list[str]
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def orders(self) -> Orders:
        return self.app[ORDERS]

    async def get(self, path: str, **headers: str) -> Answer:
        sent = self.headers | headers
        async with self.session.get(self.url + path, headers=sent, allow_redirects=False) as got:
            return Answer(got.status, await got.text(), dict(got.headers))

    async def send(self, path: str, fields: Any, **headers: str) -> Answer:
        """A form as it is, without a token."""
        sent = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"} | self.headers
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in sent.items() if value}
        async with self.session.post(
            self.url + path, data=fields, headers=sent, allow_redirects=False
        ) as got:
            return Answer(got.status, await got.text(), dict(got.headers))

    def token(self, path: str, order: str = "", user: str = "") -> str:
        """What the page with this form would have in it."""
        cookies = {one.key: one.value for one in self.session.cookie_jar}
        value = cookies.get(self.app[DOOR].cookie, "")
        session = f"header {user}" if user else value.rpartition(".")[0]
        return self.app[DOOR].sign("form", session, path, order)

    async def post(self, path: str, fields: dict[str, str] | None = None, **headers: str) -> Answer:
        """A form of ours."""
        given = dict(fields or {})
        user = self.headers.get("X-Remote-User", "")
        given.setdefault("token", self.token(path, given.get("order", ""), user))
        return await self.send(path, given, **headers)

    async def login(self) -> None:
        """Open the link that was told last, and press the button."""
        key = self.told[-1].partition("key=")[2]
        assert (await self.send("/login", {"key": key})).status == 303

    async def stop(self, vdn: int = 1234, order: str = "", **fields: str) -> Answer:
        """Order a stop as the form does."""
        order = order or new_order_id()
        return await self.post(
            "/stop", {"order": order, "vdn": str(vdn), "typed": str(vdn), **fields}
        )


@asynccontextmanager
async def console(site: Site, *, logged_in: bool = True, port: int = 0) -> AsyncIterator[Browser]:
    """A console that serves, and somebody who has logged in."""
    told: list[str] = []
    place = Place("127.0.0.1", port or unused_port())
    app = make_app(site, place, told.append)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, place.host, place.port).start()
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        browser = Browser(site, app, session, place.url, told)
        try:
            app[DOOR].renew_link()
            if logged_in:
                await browser.login()
            yield browser
        finally:
            await session.close()
            await runner.cleanup()
            for _ in range(3):
                await asyncio.sleep(0)  # a closed transport lets go of its socket in a later turn


@contextmanager
def place(folder: Path) -> Iterator[Path]:
    """A folder whose runs are over, and an environment that is as before, when this ends."""
    before = dict(os.environ)
    try:
        yield folder
    finally:
        end_all(folder / "state")
        os.environ.clear()
        os.environ.update(before)


def end_all(state_dir: Path) -> None:
    """Kill what works on runs of this state directory."""
    for pid in workers(state_dir):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def workers(state_dir: Path) -> list[int]:
    """The processes of commands that a console started for this state directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes()
            is_it = b"orchestrator" in words and str(state_dir).encode() in words
            if is_it and int(process.name) != os.getpid():
                found.append(int(process.name))
    return found


def runs_in(state_dir: Path) -> list[RunDirectory]:
    """Every run that there is, newest first."""
    return [run.directory for run in known_runs(state_dir)]


async def until(what: Callable[[], object], *, within_s: float = 40.0) -> None:
    """Wait for something that another process does; a look at a lock is in its way for a moment."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(what):  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.1)
