"""A real console beside a real server, and what somebody does with a browser at it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page

from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY, Scenario
from orchestrator.simulator.server import Ready, Simulator
from orchestrator.simulator.world import Campaign, World
from orchestrator.store import open_saved
from orchestrator.store.run_dir import RunDirectory
from tests.cli.makers import environment, served
from tests.console.consoles import end_all, runs_in, until
from tests.harness.console_try import settings_file

#: requests a second of every run
RATE = "20"
#: milliseconds in which a stop or a restore has ended, on a machine that is busy otherwise
ENDS_MS = 60_000
_LINK = re.compile(r"http://127\.0\.0\.1:\d+/login\?key=\S+")


@dataclass
class Desk:
    """A console as a process of its own, with its state directory."""

    folder: Path
    simulator: Simulator
    #: ends the server
    server: ExitStack
    #: VDN → campaigns
    sizes: Mapping[int, int]
    port: int = 0
    #: variables on top of the usual ones, for all its commands
    more: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    _used: list[str] = field(default_factory=list)

    @property
    def state(self) -> Path:
        """Where its runs are."""
        return self.folder / "state"

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def told(self) -> str:
        """What all its processes have said."""
        return (self.folder / "console.err").read_text("utf-8")

    def runs_of(self, vdn: int) -> list[RunDirectory]:
        """The runs of a VDN on its disk, newest first."""
        return [one for one in runs_in(self.state) if vdn in _vdns_of(one)]

    def changes(self, vdn: int) -> int:
        """PUTs of a VDN that the server has got."""
        entries = list(self.simulator.ledger.entries)
        return sum(one.is_change and one.vdn_id == vdn for one in entries)

    def command(self, *words: str, **more: str) -> subprocess.Popen[bytes]:
        """The product's command, as somebody at a shell of this machine gives it.

        Args:
            words: of the command line.
            more: variables of this command alone.
        """
        with (self.folder / "console.err").open("ab") as told:
            return subprocess.Popen(
                [sys.executable, "-m", "orchestrator", *words,
                 "--config", str(self.folder / "config.toml")],
                env={**self._environment(), **more}, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=told,
            )  # fmt: skip

    def start(self) -> None:
        """Start the console; after a kill at the same place."""
        self.process = self.command("console", "--listen", f"127.0.0.1:{self.port}")

    async def link(self) -> str:
        """A link that nobody has used yet, as its operator takes it from the terminal."""
        await until(lambda: _LINK.findall(self.told)[-1:] not in ([], self._used[-1:]))
        found: str = _LINK.findall(self.told)[-1]
        self._used.append(found)
        self.port = int(found.partition("/login")[0].rpartition(":")[2])
        return found

    def kill(self) -> None:
        """As a power cut does to the console alone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _environment(self) -> dict[str, str]:
        given = environment(self.folder, ORCHESTRATOR_RATE_PER_S=RATE)
        for name in ("BASE_URL", "ACCESS_KEY", "SECRET_KEY", "STATE_DIR"):
            del given[f"ORCHESTRATOR_{name}"]  # the settings file says it
        return {**given, **self.more}


@contextmanager
def desk_for(folder: Path, sizes: Mapping[int, int], **more: str) -> Iterator[Desk]:
    """A console and its server, VDNs by their sizes; what they have started ends with them.

    Args:
        folder: for all of it.
        sizes: VDN → campaigns.
        more: variables of all its commands.
    """
    world = World({
        vdn: [Campaign(campaign_of(vdn, one), name=f"offer {one}") for one in range(1, size + 1)]
        for vdn, size in sizes.items()
    })  # fmt: skip
    with ExitStack() as server:
        simulator = server.enter_context(served(Scenario("desk", world, FaultPlan())))
        ready = Ready(simulator.base_url, ACCESS_KEY, SECRET_KEY)
        settings_file(folder, ready, list(sizes))
        desk = Desk(folder, simulator, server, sizes, more=more)
        try:
            desk.start()
            yield desk
        finally:
            desk.kill()
            end_all(desk.state)
    assert "a bug" not in desk.told, desk.told


def _vdns_of(directory: RunDirectory) -> tuple[int, ...]:
    with open_saved(directory.journal) as saved:
        return saved.record().vdns or saved.vdns()


def campaign_of(vdn: int, number: int) -> int:
    """The id of a campaign."""
    return vdn * 1_000 + number


@asynccontextmanager
async def visitor(browser: Browser, desk: Desk, **kind: Any) -> AsyncIterator[Page]:
    """Somebody with a browser and a session of their own, at the first page."""
    context = await browser.new_context(**kind)
    try:
        page = await context.new_page()
        await page.goto(await desk.link())
        await page.get_by_role("button", name="Continue").click()
        await page.get_by_role("heading", name="What runs now").wait_for()
        yield page
    finally:
        await context.close()


async def fill_order(page: Page, desk: Desk, vdn: int) -> None:
    """Open the form of a stop and fill it in."""
    await page.goto(f"{desk.url}/stop?vdn={vdn}")
    await page.get_by_label("Type the number").fill(str(vdn))
    await page.get_by_label("Reason").fill("wrong list")


async def order_stop(page: Page, desk: Desk, vdn: int) -> None:
    """Order a stop, and see its run."""
    await fill_order(page, desk, vdn)
    await page.get_by_role("button", name=f"Stop VDN {vdn} now").click()
    await page.wait_for_url("**/runs/*")


async def ended(page: Page) -> str:
    """Wait until the page of a live run has become that of its end; returns its sentence."""
    sentence = page.locator("h1.sentence")
    await sentence.wait_for(timeout=ENDS_MS)
    return await sentence.inner_text()


async def is_too_wide(page: Page) -> bool:
    """Whether the page must be moved sideways to be read."""
    wide: bool = await page.evaluate(
        "() => document.documentElement.scrollWidth > document.documentElement.clientWidth"
    )
    return wide
