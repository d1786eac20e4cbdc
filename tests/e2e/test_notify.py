"""Who is told by the real command, against real listeners."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from orchestrator.store.run_dir import make_run_directory
from tests.cli.makers import ended, until
from tests.e2e.makers import (
    Stand,
    only_run,
    refs_of,
    run_command,
    short,
    start_command,
    world_of,
    write_list,
)
from tests.listeners import Listener, listening

pytestmark = pytest.mark.sockets


def configure(folder: Path, url: str, *more: str) -> None:
    """Write the settings file of whoever is to be told."""
    lines = (short(), "[notify]", f'webhook_url = "{url}"', *more)
    (folder / "config.toml").write_text("\n".join(lines) + "\n")


def told(hook: Listener) -> list[dict[str, Any]]:
    """The events that arrived."""
    return [json.loads(one.body) for one in hook.heard]


async def test_a_bad_end_is_told_with_the_hash_of_its_rows(tmp_path: Path) -> None:
    """After the verdict; a good end is not told; no address or token is stored or shown."""
    with listening() as hook, listening() as other:
        configure(
            tmp_path,
            f"http://127.0.0.1:{hook.port}/t0kenA?key=t0kenB",
            f'urls = ["json://127.0.0.1:{other.port}/t0kenC"]',
        )
        async with Stand(world=world_of(2)) as server:
            good = write_list(tmp_path, refs_of(2))
            fine = await run_command(
                tmp_path, server.url, "pause", str(good), "--run-dir", str(tmp_path / "good")
            )
            assert not hook.heard
            bad = write_list(tmp_path, refs_of(3))
            done = await run_command(tmp_path, server.url, "pause", str(bad), "-vv")
        shown = await run_command(tmp_path, server.url, "config", "show")

    assert (fine.code, done.code) == (0, 1), done.err
    (event,) = told(hook)
    run = next(path for path in (tmp_path / "state" / "runs").iterdir() if path.is_dir())
    assert event["type"] == "orchestrator.run.ended"
    assert event["subject"] == run.name
    assert event["data"]["line"] in done.out
    assert event["data"]["summary"] == json.loads((run / "summary.json").read_text())
    rows = (run / "results.csv").read_bytes()
    assert event["data"]["results_sha256"] == hashlib.sha256(rows).hexdigest()
    (message,) = [json.loads(one.body) for one in other.heard]
    assert message["message"] == event["data"]["line"]
    assert message["title"] == f"orchestrator pause: exit code 1 (run {run.name})"
    kept = b"".join(path.read_bytes() for path in run.iterdir() if path.is_file())
    said = done.out + done.err + shown.out + shown.err + kept.decode("latin-1")
    assert "t0ken" not in said
    masked = [line.split()[1] for line in shown.out.splitlines() if "notify.webhook_url" in line]
    assert masked[:1] == ["***"]


_HANGING = """
import concurrent.futures, sys, threading
import orchestrator.notify as notify
pool = concurrent.futures.ThreadPoolExecutor()
notify._by_apprise = lambda *_: pool.submit(threading.Event().wait).result()
notify.send_all.__kwdefaults__["limit_s"] = 0.3
from orchestrator.cli.main import main
sys.exit(main())
"""


#: a listener is given up after a moment
_IMPATIENT = """
import sys
import orchestrator.notify as notify
notify.send_all.__kwdefaults__["limit_s"] = 0.3
from orchestrator.cli.main import main
sys.exit(main())
"""


async def test_what_a_channel_has_started_holds_up_nobody(tmp_path: Path) -> None:
    """Threads that the interpreter would wait for, for ever here: the process ends all the same."""
    with listening() as hook:
        configure(tmp_path, f"http://127.0.0.1:{hook.port}/", 'urls = ["json://127.0.0.1/"]')
        done = await run_command(
            tmp_path, "http://127.0.0.1:9", "pause", "nowhere.csv", python=("-c", _HANGING)
        )

    assert done.code == 2
    assert len(hook.heard) == 1
    assert done.err.endswith("entry 1 (json) was not told how it ended: no answer in 0.3 s\n")


async def test_check_says_of_every_channel_whether_it_was_taken(tmp_path: Path) -> None:
    """Exit 1 where one was not, or where there is none."""
    check = ("check", "--vdn", "12", "--notify")
    with listening() as hook, listening(500) as broken:
        async with Stand(world=world_of(2)) as server:
            configure(tmp_path, f"http://127.0.0.1:{hook.port}/")
            good = await run_command(tmp_path, server.url, *check)
            configure(
                tmp_path,
                f"http://127.0.0.1:{hook.port}/",
                f'urls = ["json://127.0.0.1:{broken.port}/t0ken"]',
            )
            bad = await run_command(tmp_path, server.url, *check, "--json")
            (tmp_path / "config.toml").write_text(short())
            none = await run_command(tmp_path, server.url, *check)

    assert good.code == 0, good.out + good.err
    assert "the webhook at 127.0.0.1: taken" in good.out
    assert [one["type"] for one in told(hook)] == ["orchestrator.test"] * 2
    assert bad.code == 1
    steps = [one for one in json.loads(bad.out)["steps"] if one["name"] == "notify"]
    assert [one["finding"] for one in steps] == ["OK", "FAIL"]
    assert "t0ken" not in bad.out + bad.err
    assert none.code == 1
    assert "nobody is told" in none.out


async def test_beginning_and_quiet_are_told_while_an_emergency_goes_on(tmp_path: Path) -> None:
    """Signed, of one run, by webhook and apprise; the end is not told where it is not wanted."""
    secret = tmp_path / "hook_secret"
    secret.touch(0o600)
    secret.write_text("hook-secret\n")
    with listening() as hook, listening() as other:
        configure(
            tmp_path,
            f"http://127.0.0.1:{hook.port}/",
            'on = ["start", "quiet"]',
            f'webhook_secret_file = "{secret}"',
            f'urls = ["json://127.0.0.1:{other.port}/"]',
        )
        async with Stand(world=world_of(2)) as server:
            child = await start_command(
                tmp_path,
                server.url,
                *("pause-all", "--vdn", "12", "--yes", "--hold", "600", "--reason", "drill"),
            )
            # quiet is told while the hold goes on
            await until(lambda: len(hook.heard) == len(other.heard) == 2)
            child.send_signal(signal.SIGINT)
            done = await ended(child)

    assert done.code == 0, done.err
    begun, quiet = sorted(told(hook), key=lambda one: one["time"])
    assert begun["type"] == "orchestrator.run.started"
    assert quiet["type"] == "orchestrator.run.quiet"
    assert begun["subject"] == quiet["subject"] == only_run(tmp_path).name
    assert "to stop VDN 12 on 127.0.0.1: drill." in begun["data"]["line"]
    assert begun["data"]["summary"]["reason"] == "drill"
    assert "VDN 12 is quiet" in quiet["data"]["line"]
    assert quiet["data"]["summary"]["by_vdn"] == {"12": {"paused": 2, "verdict": "quiet"}}
    assert begun["data"]["results_sha256"] is None
    for one in hook.heard:
        wanted = hmac.new(b"hook-secret", one.body, hashlib.sha256).hexdigest()
        assert one.headers["X-Orchestrator-Signature"] == f"sha256={wanted}"
    assert {json.loads(one.body)["type"] for one in other.heard} == {"info"}
    assert "warning" not in done.err


async def test_a_listener_that_hangs_delays_no_put_and_no_verdict(tmp_path: Path) -> None:
    """It takes the bytes and never answers: all are paused, and the warnings come last."""
    with socket.create_server(("127.0.0.1", 0)) as dead:
        configure(
            tmp_path,
            f"http://127.0.0.1:{dead.getsockname()[1]}/t0ken",
            'on = ["start", "end"]',
        )
        async with Stand(world=world_of(2)) as server:
            listed = write_list(tmp_path, refs_of(2))
            done = await run_command(
                tmp_path, server.url, "pause", str(listed), "--json", python=("-c", _IMPATIENT)
            )

    assert done.code == 0, done.err
    assert json.loads(done.out)["verdict"] == "complete"
    late = "the webhook at 127.0.0.1 was not told {}: no answer in 0.3 s"
    assert [line.partition("warning: ")[2] for line in done.err.splitlines()[-2:]] == [
        late.format("how it ended"),
        late.format("that it has begun"),
    ]
    assert "t0ken" not in done.out + done.err


async def test_every_kind_of_refusal_is_told(tmp_path: Path) -> None:
    """A wrong line, no list, no confirmation, a lock, bad settings, bad notices."""
    with listening() as hook:
        configure(tmp_path, f"http://127.0.0.1:{hook.port}/")
        async with Stand(world=world_of(2)) as server:
            listed = write_list(tmp_path, refs_of(2))
            run_dir = tmp_path / "night"
            unread = await run_command(tmp_path, server.url, "pause", str(listed), "--rat", "5")
            dry = await run_command(tmp_path, server.url, "pause", "--dry-run", "--rat", "5")
            gone = await run_command(tmp_path, server.url, "pause", "nowhere.csv")
            unsure = await run_command(tmp_path, server.url, "pause-all", "--vdn", "12")
            run = make_run_directory(run_dir)
            run.hold(since="2026-11-27T00:00:00Z", host="elsewhere")
            locked = await run_command(
                tmp_path, server.url, "pause", str(listed), "--run-dir", str(run_dir)
            )
            run.release()
            bad = await run_command(
                tmp_path, server.url, "pause", str(listed), env={"ORCHESTRATOR_RATE_PER_S": "x"}
            )
            configure(tmp_path, f"http://127.0.0.1:{hook.port}/", 'on = ["ende"]')
            word = await run_command(tmp_path, server.url, "pause", str(listed))
        assert not server.puts

    assert dry.code == 2
    refused = (unread, gone, unsure, locked, bad, word)
    assert [one.code for one in refused] == [2, 2, 7, 7, 2, 2], [one.err for one in refused]
    assert "config.toml:notify.on: " in word.err
    assert len(hook.heard) == len(refused)
    for event, done in zip(told(hook), refused, strict=True):
        assert event["type"] == "orchestrator.run.refused"
        assert "subject" not in event
        assert event["data"]["summary"]["exit_code"] == done.code
        assert event["data"]["line"]
        assert event["data"]["line"] in done.err
