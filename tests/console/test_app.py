"""The console as a process: how it begins, whom it leaves at work, and what the harness finds."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import stat
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession, UnixConnector

from orchestrator.cli import commands
from orchestrator.cli.parser import Parser
from orchestrator.console.app import _listen
from orchestrator.console.order_files import OrderFolder, new_order_id
from orchestrator.console.rights import Place
from orchestrator.engine.saved import read_again
from orchestrator.errors import StorageError
from orchestrator.simulator.server import Simulator
from tests.cli.makers import environment, start
from tests.console.consoles import console, end_all, runs_in, site_of, until
from tests.harness import console_kills

pytestmark = pytest.mark.sockets

ANYWHERE = ("--listen", "127.0.0.1:0")
LINK = re.compile(r"(http://[^/]+)/login\?key=")


@asynccontextmanager
async def started(folder: Path, base_url: str, *flags: str) -> AsyncIterator[Process]:
    """`orchestrator console` as a process."""
    process = await start("console", *flags, env=environment(folder, base_url))
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line_with(process: Process, words: str) -> str:
    """The next line on stderr that has these words."""
    assert process.stderr is not None
    async for line in process.stderr:
        if words in line.decode():
            return line.decode()
    raise AssertionError(f"no line has {words!r}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_end_of_the_console_leaves_its_runs_at_work_and_names_them(
    folder: Path, simulator: Simulator, number: signal.Signals
) -> None:
    """Although somebody is connected and asks: exit 0, and the last line says what goes on."""
    site = site_of(folder, simulator.base_url)
    async with console(site) as browser:
        order = new_order_id()
        await browser.stop(order=order)
        await until(lambda: bool(runs_in(folder / "state")))
    (run,) = runs_in(folder / "state")
    async with started(folder, simulator.base_url, *ANYWHERE) as process:
        found = LINK.search(await line_with(process, "/login"))
        assert found is not None
        async with ClientSession() as session:
            async with session.get(f"{found[1]}/healthz") as answer:
                assert answer.status == 200
            process.send_signal(number)
            last = await line_with(process, "has ended")
            code = await process.wait()
        await until(lambda: not OrderFolder(folder / "state/console/orders").is_working(order))

    assert code == 0
    assert f"1 run goes on: {run.path.name} (VDN 1234, by Jane Doe)" in last
    assert read_again(run).exit_code == 0


async def test_a_console_that_starts_takes_up_what_was_cut_off(
    folder: Path, simulator: Simulator
) -> None:
    """It and its stop were both killed; it says what goes on."""
    async with console(site_of(folder, simulator.base_url)) as browser:
        await browser.stop()
        await until(lambda: bool(runs_in(folder / "state")))
    (run,) = runs_in(folder / "state")
    await asyncio.to_thread(end_all, folder / "state")
    await until(lambda: not run.is_live)
    async with started(folder, simulator.base_url, *ANYWHERE) as process:
        line = await line_with(process, "was cut off")
        await until(lambda: run.is_live)
        process.kill()
        await process.wait()

    assert line == f"run {run.path.name} (VDN 1234) was cut off: it goes on\n"
    await until((run.path / "summary.json").exists)
    await until(lambda: not run.is_live)
    assert read_again(run).exit_code == 0


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--listen", "0.0.0.0:0"), 2, "console.user_header and console.trusted_peers"),
        (("--listen", "unix:/tmp/console.sock"), 2, "a unix socket needs console.user_header"),
        (("--listen", "console.example.com:80"), 2, "must be ADDRESS:PORT"),
        (("--listen", "127.0.0.1:0", "--secret-key-file", "/nowhere"), 2, "/nowhere"),
        (("--listen", "127.0.0.1:{taken}"), 5, "cannot listen on 127.0.0.1:"),
    ],
)
async def test_a_console_that_cannot_be_reached_or_tell_who_asks_does_not_start(
    folder: Path, flags: tuple[str, ...], code: int, words: str
) -> None:
    """With the settings that it needs, or that the port is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [one.format(taken=taken.getsockname()[1]) for one in flags]
        async with started(folder, "http://127.0.0.1:9", *given) as process:
            _, told = await process.communicate()

    assert process.returncode == code
    assert words in told.decode()


def test_a_file_in_the_place_of_the_socket_stays(folder: Path) -> None:
    """A socket that a kill left is removed; `unix:` and the path of a file is a slip."""
    path = folder / "precious"
    path.write_text("x")

    with pytest.raises(StorageError, match="cannot listen"):
        _listen(Place("", 0, str(path)))
    assert path.read_text() == "x"


def test_every_address_of_the_machine_is_listened_on_by_both_families() -> None:
    """`[::]` is every address: a proxy that comes by IPv4 is not turned away."""
    with _listen(Place("[::]", 0)) as listener:
        port = listener.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


def test_a_path_that_is_too_long_for_a_socket_is_called_so(folder: Path) -> None:
    """Python has no number for it, so it is no "Success" either."""
    with pytest.raises(StorageError, match="path too long"):
        _listen(Place("", 0, str(folder / ("x" * 120))))


async def test_behind_a_unix_socket_the_proxy_says_who_is_asking(folder: Path) -> None:
    """Open to our group, never to all; what a killed console left is no obstacle."""
    path = folder / "console.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    (folder / "config.toml").write_text(
        '[console]\nuser_header = "X-Remote-User"\ntrusted_peers = ["unix"]\n'
    )
    flags = ("--listen", f"unix:{path}", "--config", str(folder / "config.toml"))
    async with started(folder, "http://127.0.0.1:9", *flags) as process:
        await line_with(process, "listens on")
        mode = path.stat().st_mode
        async with ClientSession(connector=UnixConnector(str(path))) as session:
            async with session.get("http://console/orders/x") as nobody:
                pass
            told = {"X-Remote-User": "Ada"}
            async with session.get("http://console/orders/x", headers=told) as ada:
                pass
        process.terminate()
        code = await process.wait()

    assert stat.S_IMODE(mode) == 0o660
    assert (nobody.status, ada.status, code) == (401, 404, 0)
    assert await asyncio.to_thread(os.path.lexists, path) is False


def test_every_command_that_is_started_gets_the_connection_of_the_console() -> None:
    """Which file, which server, whose key: as they were given, and nothing else."""
    line = ["--config", "eu", "--base-url", "http://127.0.0.1:9", "--secret-key-file", "/k"]
    line += ["--access-key", "AK", "--ca-file", "/ca.pem", "--listen", "127.0.0.1:0", "-v"]

    assert commands._connection(Parser("console").read(line)) == (
        "--config=eu",
        "--base-url=http://127.0.0.1:9",
        "--access-key=AK",
        "--secret-key-file=/k",
        "--ca-file=/ca.pem",
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_console_that_is_killed_at_any_moment_ends_no_stop() -> None:
    """`./do console-kills` in its short form, with a seed of its own each time."""
    seed = int.from_bytes(os.urandom(3), "big")
    print(f"seed={seed}")

    moments = console_kills.run(console_kills.CI_KILLS, seed)

    assert moments.total() == console_kills.CI_KILLS
