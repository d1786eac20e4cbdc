"""One confirmed order starts exactly one run, and no console ends it: with the real command."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from asyncio.subprocess import DEVNULL
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.console import order_files
from orchestrator.console.order_files import Order, OrderFolder, new_order_id
from orchestrator.console.orders import Orders, StopGoesOnError
from orchestrator.engine.options import PauseAllOptions
from orchestrator.engine.pausing_all import pause_all
from orchestrator.engine.run import Environment
from orchestrator.engine.saved import read_again
from orchestrator.errors import NotBegunError, StorageError
from orchestrator.log import Events
from orchestrator.model import CampaignRef, Status
from orchestrator.reports.rows import RunKind
from orchestrator.reports.summary import Ended
from orchestrator.simulator.server import Simulator
from orchestrator.store.notes import read_notes
from orchestrator.store.run_dir import RunDirectory
from tests.console.consoles import JANE, Browser, console, end_all, runs_in, site_of, until, workers
from tests.console.recorded import cut_off
from tests.fakes import HOST

pytestmark = pytest.mark.sockets

VDN = 1234
HOUR_S = 3600.0


def run_of(browser: Browser, order: str) -> RunDirectory:
    """The run directory of an order."""
    found = browser.orders.find(order)
    assert found is not None
    return found.directory


async def live_stop(browser: Browser, reason: str = "") -> tuple[str, RunDirectory]:
    """An order whose run is at work."""
    order = new_order_id()
    answer = await browser.stop(order=order, reason=reason)
    assert answer.status == 303, answer.text
    directory = run_of(browser, order)
    await until(lambda: directory.has_journal and directory.is_live)
    return order, directory


def new_stop(orders: Orders, vdn: int = VDN) -> Order:
    """An order for a stop of one VDN, not placed yet."""
    command = ("pause-all", "--vdn", str(vdn))
    return orders.new(new_order_id(), RunKind.PAUSE_ALL, JANE, (vdn,), command)


async def killed(directory: RunDirectory, folder: Path) -> None:
    """Kill the command of a run; its console is gone already."""
    await asyncio.to_thread(end_all, folder / "state")
    await until(lambda: not directory.is_live)


# -- exactly one ----------------------------------------------------------------------------------


async def test_a_stop_that_a_shell_started_is_the_first_too(
    folder: Path, simulator: Simulator
) -> None:
    """Its page is linked, and another VDN is another matter."""
    site = site_of(folder, simulator.base_url)
    command = [sys.executable, "-m", "orchestrator", "pause-all", "--vdn", str(VDN)]
    async with console(site) as browser:
        shell = await asyncio.create_subprocess_exec(
            *command, "--yes", "--operator", "Bob", stdout=DEVNULL, stderr=DEVNULL
        )
        try:
            await until(lambda: any(one.is_live for one in runs_in(folder / "state")))
            (run,) = runs_in(folder / "state")
            refused = await browser.stop()
            other = await browser.stop(1235)
        finally:
            shell.kill()
            await shell.wait()

    assert refused.status == 409
    assert "ordered by Bob" in refused.text
    assert f"/runs/{run.path.name}" in refused.text
    assert other.status == 303


async def test_what_a_stop_has_left_behind_keeps_nobody_from_the_next_one(
    folder: Path, simulator: Simulator
) -> None:
    """A program that told somebody of its end, and still has its output open, is no stop."""
    site = site_of(folder, simulator.base_url)
    async with console(site) as browser:
        order, directory = await live_stop(browser)
        during = await browser.stop()
        await until(lambda: browser.orders.end(order) is not None)
        left_open = OrderFolder(folder / "state/console/orders").locked_output(order)
        afterwards = await browser.stop()
        os.close(left_open)

    assert (during.status, afterwards.status) == (409, 303)
    assert read_again(directory).exit_code == 0


async def test_a_question_that_nobody_has_answered_is_no_stop(
    folder: Path, simulator: Simulator
) -> None:
    """A terminal that was left at the prompt keeps nobody from the red button."""
    site = site_of(folder, simulator.base_url)
    settings = replace(site.settings, pace=replace(site.settings.pace, rate_per_s=200.0))
    asked = asyncio.Event()

    async def confirm(_: object) -> bool:
        asked.set()
        await asyncio.Event().wait()
        return True

    options = PauseAllOptions(vdns=(VDN,))
    environment = Environment(clock=site.clock, events=Events())
    asking = asyncio.create_task(pause_all(settings, options, environment, confirm=confirm))
    async with console(site) as browser:
        await asked.wait()
        (at_the_prompt,) = runs_in(folder / "state")
        answer = await browser.stop()
        environment.stopping.stop(Ended.SIGNAL_INT, "the test is over")
        with pytest.raises(NotBegunError):
            await asking

    assert at_the_prompt.path.name not in answer.location
    assert answer.status == 303


def test_a_race_of_threads_places_one_of_many(folder: Path, simulator: Simulator) -> None:
    """Eight orders for one VDN in eight threads, two consoles between them: one was placed."""
    site = site_of(folder, simulator.base_url)
    consoles = [Orders(site), Orders(site)]
    placed: list[Order] = []
    refused: list[StopGoesOnError] = []

    def place(number: int) -> None:
        orders = consoles[number % 2]
        order = new_stop(orders)
        try:
            placed.append(orders.place(order))
        except StopGoesOnError as error:
            refused.append(error)

    threads = [threading.Thread(target=place, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(placed), len(refused)) == (1, 7)
    assert {error.stop.run_id for error in refused} == {placed[0].run_id}


async def test_an_order_is_on_the_disk_before_its_command_is_started(
    folder: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is enough to start it once more; nothing in it is secret."""
    site = site_of(folder, simulator.base_url)
    seen: list[dict[str, Any]] = []
    begin = subprocess.Popen

    def started(words: list[str], **how: object) -> object:
        (path,) = (folder / "state/console/orders").glob("*.json")
        seen.append({**json.loads(path.read_text()), "words": words})
        return begin(words, **how)  # type: ignore[call-overload]

    async with console(site) as browser:
        monkeypatch.setattr(subprocess, "Popen", started)
        order, directory = await live_stop(browser, reason="--wrong\n\x1blist")

    (told,) = seen
    assert told["order"] == order
    assert (told["operator"], told["vdns"]) == (JANE, [VDN])
    assert told["run_dir"] == str(directory.path)
    assert told["words"] == [*told["words"][:4], *told["command"], "--rate=200"]
    assert "--reason=--wrong list" in told["words"]
    assert "sk-simulator" not in str(told)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"typed": "1235"}, "typed by hand is"),
        ({"typed": ""}, "typed by hand"),
        ({"vdn": "0", "typed": "0"}, "The VDN"),
        ({"vdn": "../../x", "typed": "../../x"}, "The VDN"),
        ({"order": "../../../../etc/passwd"}, "no order number"),
        ({"order": "A" * 32}, "no order number"),
    ],
)
async def test_an_order_that_is_not_confirmed_starts_nothing(
    folder: Path, fields: dict[str, str], words: str
) -> None:
    """The VDN is typed by hand, and an order number is one of ours."""
    async with console(site_of(folder)) as browser:
        given = {"order": new_order_id(), "vdn": str(VDN), "typed": str(VDN), **fields}
        answer = await browser.post("/stop", given)

    assert answer.status == 400
    assert words in answer.text
    assert "Nothing was sent" in answer.text
    assert not list((folder / "state/console/orders").iterdir())


async def test_a_vdn_that_this_console_is_not_for_is_refused(folder: Path) -> None:
    """With the place where it can be added."""
    async with console(site_of(folder, server__vdns=(1201, 1202))) as browser:
        answer = await browser.stop(VDN)

    assert answer.status == 403
    assert "1234 can be added there" in answer.text
    assert "server.vdns" in answer.text


async def test_a_command_that_is_refused_says_why_on_the_page_of_its_order(folder: Path) -> None:
    """Its words for people, not its JSON; the page refreshes itself until then."""
    site = site_of(folder)
    async with console(replace(site, connection=("--config=/nowhere.toml",))) as browser:
        order = new_order_id()
        first = await browser.stop(order=order)
        await until(lambda: not browser.orders.is_working(order))
        page = await browser.get(f"/orders/{order}")

    assert first.location == f"/orders/{order}"
    assert page.status == 409
    assert "there is no such file" in page.text


@pytest.mark.parametrize("run_id", ["..%2f..%2fetc", "x", "20261123T230501Z-7f3a", "%00"])
@pytest.mark.parametrize("action", ["restore", "continue", "end", "note"])
async def test_a_run_that_is_none_gets_no_order(folder: Path, run_id: str, action: str) -> None:
    """A path is no id, and an id that nobody gave is no run."""
    site = site_of(folder, console__restorers=(JANE,))
    async with console(site) as browser:
        path = f"/runs/{run_id}/{action}"
        token = browser.token(path.replace("%2f", "/").replace("%00", "\0"), "")
        answer = await browser.send(path, {"token": token})

    assert answer.status in {400, 403, 404}
    assert not list((folder / "state/console/orders").iterdir())


async def test_what_cannot_be_started_is_no_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process left on the machine: it says so, and the same form can be sent again."""
    site = site_of(folder)
    orders = Orders(site)
    order = new_stop(orders)

    def refuse(*_: object, **__: object) -> object:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(StorageError, match="cannot be started"):
        orders.place(order)

    assert orders.find(order.order) is None
    assert not orders.is_working(order.order)


async def test_a_full_disk_does_not_keep_an_emergency_from_its_start(
    folder: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Campaigns are dialling; a restore, which starts calls, is refused."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    orders = Orders(site_of(folder, simulator.base_url))
    monkeypatch.setattr(OrderFolder, "write", full)
    stop = new_stop(orders)
    undo = orders.new(new_order_id(), RunKind.RESTORE, JANE, (1235,), ("restore",))
    orders.place(stop)
    assert orders.place(stop) is stop
    assert orders.is_working(stop.order)
    with pytest.raises(StorageError, match="cannot be recorded"):
        orders.place(undo)

    await until(lambda: stop.directory.has_journal)
    assert len(runs_in(folder / "state")) == 1


@pytest.mark.parametrize(
    "change",
    ["", "[]", "{", "[" * 100_000, None, {"at_ms": "1"}, {"vdns": 5}, {"run_dir": 5}, {"more": 1}],
)
def test_an_order_that_nobody_here_has_written_is_none(
    folder: Path, change: dict[str, object] | str | None
) -> None:
    """Torn, another version's or a pipe: it is not placed again, and keeps nobody from anything."""
    orders = Orders(site_of(folder))
    order = new_stop(orders)
    orders.files.write(order)
    file = folder / f"state/console/orders/{order.order}.json"
    if isinstance(change, dict):
        file.write_text(json.dumps(json.loads(file.read_text()) | change))
    elif isinstance(change, str):
        file.write_text(change)
    else:
        file.unlink()
        os.mkfifo(file)

    with pytest.raises(StorageError, match="cannot be read"):
        orders.place(order)
    assert list(orders.live_stops()) == []
    assert orders.take_up() == []


async def test_a_folder_of_orders_that_was_deleted_keeps_nobody_from_a_stop(
    folder: Path, simulator: Simulator
) -> None:
    """`rm -rf` of the console's folder while it serves: it is made again."""
    async with console(site_of(folder, simulator.base_url)) as browser:
        shutil.rmtree(folder / "state/console")
        order, _ = await live_stop(browser)
        await until(lambda: browser.orders.end(order) is not None)

    assert (folder / f"state/console/orders/{order}.json").is_file()


def test_a_folder_of_orders_that_cannot_be_made_again_is_said(folder: Path) -> None:
    """In words, with the way around it, and not as a bug."""
    orders = Orders(site_of(folder))
    order = new_stop(orders)
    shutil.rmtree(folder / "state/console/orders")
    (folder / "state/console/orders").touch()

    with pytest.raises(StorageError, match="cannot be opened: Not a directory") as caught:
        orders.place(order)
    assert "pause-all --vdn" in caught.value.advice


def test_the_folder_of_orders_is_ours_alone_where_runs_are_shared(folder: Path) -> None:
    """Below a setgid directory a group could write an order, and a console would start it."""
    state = folder / "state"
    state.mkdir()
    state.chmod(0o2770)
    Orders(site_of(folder))
    assert (state / "console").stat().st_mode & 0o777 == 0o700
    assert (state / "console/orders").stat().st_mode & 0o777 == 0o700

    (folder / "elsewhere").mkdir()
    (folder / "link").symlink_to(folder / "elsewhere")
    with pytest.raises(StorageError, match="no directory"):
        OrderFolder(folder / "link")


def test_whoever_looks_at_a_lock_does_not_keep_a_command_from_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look takes it for an instant; what holds it for good is a command."""
    monkeypatch.setattr(order_files, "_LOCK_TRIES", 2)
    files = OrderFolder(folder / "orders")
    order_id = new_order_id()
    monkeypatch.setattr(order_files, "_ALONE_TRIES", 2)
    with files.alone(), pytest.raises(StorageError, match="another console"), files.alone():
        pass
    held = files.locked_output(order_id)
    with pytest.raises(BlockingIOError):
        files.locked_output(order_id)
    assert files.is_working(order_id)
    os.close(held)
    assert not files.is_working(order_id)


# -- after a kill ---------------------------------------------------------------------------------


async def test_an_emergency_that_never_began_is_begun_in_its_own_directory(
    folder: Path, simulator: Simulator
) -> None:
    """The file was there, and the power went: one run, where the order says."""
    site = site_of(folder, simulator.base_url)
    orders = Orders(site)
    order = new_stop(orders)
    orders.files.write(order)

    (taken,) = Orders(site).take_up()
    await until(lambda: order.directory.has_journal)

    assert taken == order
    assert Orders(site).take_up() == []
    assert [str(one.path) for one in runs_in(folder / "state")] == [order.run_dir]


async def test_what_is_old_or_was_ended_on_purpose_or_is_no_emergency_waits_for_a_click(
    folder: Path, simulator: Simulator
) -> None:
    """After an hour it may have been started on purpose; who pressed End meant it."""
    site = site_of(folder, simulator.base_url)
    async with console(site) as browser:
        _, directory = await live_stop(browser)
    await killed(directory, folder)
    old = Orders(site_of(folder, simulator.base_url, ahead_s=HOUR_S + 60)).take_up()
    async with console(site) as browser:
        (again,) = browser.orders.take_up()
        await until(lambda: directory.is_live)
        ended = await browser.post(f"/runs/{directory.path.name}/end")
        await until(lambda: browser.orders.end(again.order) is not None)
    refused = Orders(site)
    order = new_stop(refused, 1235)
    refused.files.write(order)
    refused.files.note_end(order.order, 2)
    undo = refused.new(new_order_id(), RunKind.RESTORE, JANE, (1236,), ("restore",))
    refused.files.write(undo)

    assert old == []
    assert ended.status == 303
    assert read_again(directory).facts.ended is Ended.SIGNAL_INT
    assert Orders(site).take_up() == []


def test_an_order_for_another_server_is_nothing_to_this_console(folder: Path) -> None:
    """Two consoles of one state directory: the stop of one is not begun, nor seen, at the other."""
    here, there = Orders(site_of(folder)), Orders(site_of(folder, "http://127.0.0.1:7"))
    order = new_stop(there)
    there.files.write(order)

    assert here.take_up() == []
    held = there.files.locked_output(order.order)  # as its command would
    try:
        assert list(here.live_stops()) == []
        assert [one.vdns for one in there.live_stops()] == [(VDN,)]
    finally:
        os.close(held)


@pytest.mark.parametrize("kind", [RunKind.PAUSE_ALL, RunKind.RESTORE, RunKind.PAUSE])
def test_what_was_ordered_later_in_a_vdn_counts_more_than_a_stop_that_was_cut_off(
    folder: Path, kind: RunKind
) -> None:
    """A stop never began, was ordered again and undone: the next console does not stop it again."""
    orders = Orders(site_of(folder))
    cut_off = new_stop(orders)
    later = replace(
        orders.new(new_order_id(), kind, JANE, (VDN, 7), ("continue",)), at_ms=cut_off.at_ms + 1
    )
    for order in (later, cut_off):
        orders.files.write(order)
    orders.files.note_end(later.order, 0)

    assert orders.take_up() == ([cut_off] if kind is RunKind.PAUSE else [])


async def test_what_a_shell_has_begun_to_undo_is_not_taken_up(folder: Path) -> None:
    """Killed in mid-run, and then restored from a shell: nobody wants it stopped again."""
    path = cut_off(folder)
    orders = Orders(site_of(folder, f"http://{HOST}"))
    order = replace(
        new_stop(orders),
        run_dir=str(path),
    )
    assert orders._rest(order)

    (path / "marks.jsonl").touch()

    assert orders._rest(order) == ()


async def test_a_machine_that_was_shut_down_is_no_wish_of_anybody(
    folder: Path, simulator: Simulator
) -> None:
    """SIGTERM to all of it, console included: the emergency goes on after the start."""
    site = site_of(folder, simulator.base_url)
    async with console(site) as browser:
        order, directory = await live_stop(browser)
        for pid in workers(folder / "state"):
            os.kill(pid, signal.SIGTERM)
        await until(lambda: not browser.orders.is_working(order))

    assert read_again(directory).facts.ended is Ended.SIGNAL_TERM
    assert [one.run_dir for one in Orders(site).take_up()] == [str(directory.path)]


# -- more than a stop -----------------------------------------------------------------------------


async def test_a_run_is_ended_noted_continued_and_undone_from_its_page(
    folder: Path, simulator: Simulator
) -> None:
    """Each by a form of its own, each with who did it; the guilty one stays off."""
    site = site_of(folder, simulator.base_url, console__restorers=(JANE,))
    async with console(site) as browser:
        _, directory = await live_stop(browser)
        page = f"/runs/{directory.path.name}"
        assert (await browser.post(f"{page}/note", {"text": "ticket 4711"})).location == page
        assert (await browser.post(f"{page}/end")).location == page
        await until(lambda: not directory.is_live)
        order = new_order_id()
        going_on = await browser.post(f"{page}/continue", {"order": order})
        await until(lambda: browser.orders.end(order) is not None)
        assert browser.orders.end(order) == 0
        nothing_left = [await browser.post(f"{page}/end")]
        guilty = 1234001
        undo = new_order_id()
        wrong = {"order": undo, "typed": "1235", "except": str(guilty)}
        nothing_left.append(await browser.post(f"{page}/restore", wrong))
        nothing_left.append(
            await browser.post(f"{page}/restore", {**wrong, "typed": "1234", "except": "x; rm"})
        )
        right = {**wrong, "typed": "1234", "except": f"{guilty},\n{guilty}", "reason": "all well"}
        undone = await browser.post(f"{page}/restore", right)
        await until(lambda: browser.orders.end(undo) is not None)
        restored = run_of(browser, undo)

    assert going_on.location in {page, f"/orders/{order}"}
    assert [one.status for one in nothing_left] == [409, 400, 400]
    assert undone.status == 303
    assert browser.orders.end(undo) == 0
    result = read_again(restored)
    assert (result.facts.operator, result.facts.reason) == (JANE, "all well")
    notes = [(one.operator, one.text) for one in read_notes(directory.path)]
    assert notes == [
        (JANE, "ticket 4711"),
        (JANE, "end: ordered at the console"),
        (JANE, "continue: ordered at the console"),
    ]
    status = simulator.world.status_of
    assert status(CampaignRef(VDN, guilty)) is Status.SUSPENDED
    assert status(CampaignRef(VDN, guilty + 1)) is Status.STARTED


async def test_a_continue_that_is_refused_says_why(folder: Path, simulator: Simulator) -> None:
    """The console is for another server by now: the page of the order has the command's words."""
    site = site_of(folder, simulator.base_url)
    async with console(site) as browser:
        _, directory = await live_stop(browser)
    await killed(directory, folder)
    async with console(site_of(folder, "http://127.0.0.1:9")) as browser:
        path = f"/runs/{directory.path.name}/continue"
        order = new_order_id()
        answer = await browser.post(path, {"order": order})
        await until(lambda: browser.orders.end(order) is not None)
        page = await browser.get(answer.location)

    assert answer.location.startswith("/orders/")
    assert page.status == 409
    assert "belongs to http" in page.text


async def test_who_is_no_restorer_starts_nothing_again(folder: Path, simulator: Simulator) -> None:
    """The operator of the machine neither, unless console.restorers names him: it says so."""
    async with console(site_of(folder, simulator.base_url)) as browser:
        _, directory = await live_stop(browser)
        answer = await browser.post(
            f"/runs/{directory.path.name}/restore", {"order": new_order_id(), "typed": "1234"}
        )

    assert answer.status == 403
    assert "console.restorers" in answer.text


@pytest.mark.parametrize(
    ("form", "more", "said"),
    [
        ("continue", {"console__viewers": (JANE,)}, "console.stoppers"),
        ("end", {"console__viewers": (JANE,)}, "console.stoppers"),
        ("note", {"console__viewers": (JANE,)}, "console.stoppers"),
        ("continue", {"server__vdns": (4711,)}, "server.vdns"),
    ],
    ids=["continue", "end", "note", "another VDN"],
)
async def test_who_may_not_touch_a_run_changes_nothing(
    folder: Path, form: str, more: dict[str, Any], said: str
) -> None:
    """Although the form is of the own session: not its record either."""
    path, order = cut_off(folder), new_order_id()
    async with console(site_of(folder, **more)) as browser:
        answer = await browser.post(f"/runs/{path.name}/{form}", {"order": order, "text": "x"})
        assert browser.orders.find(order) is None

    assert answer.status == 403
    assert said in answer.text
    assert read_notes(path) == ()
