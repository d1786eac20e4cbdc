"""The simulator as others start it: as a coroutine, and as a child process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import aiohttp
import pytest
import trustme

from orchestrator.simulator import __main__ as command
from orchestrator.simulator.ledger import read_ledger
from orchestrator.simulator.scenarios import named
from orchestrator.simulator.serve import Ready, serve
from tests.simulator.makers import list_path

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.sockets


async def test_serve_says_when_it_is_ready_and_ends_when_cancelled(tmp_path: Path) -> None:
    """The URL works at once; the ledger line can be read while it runs."""
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    path = tmp_path / "ledger.jsonl"
    scenario = named("healthy", seed=1, now=datetime(2026, 3, 1, tzinfo=UTC))
    serving = asyncio.create_task(serve(scenario, on_ready=ready.set_result, ledger_path=path))
    found = await ready
    async with (
        aiohttp.ClientSession() as session,
        session.get(found.base_url + list_path(1234)) as response,
    ):
        status = response.status
    entries = read_ledger(path)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

    assert (status, [e.http_status for e in entries]) == (401, [401])


def test_a_child_process_serves_until_terminated(tmp_path: Path) -> None:
    """One JSON line on stdout, the same in the ready file; SIGTERM ends it with 0."""
    ready_file, ledger = tmp_path / "ready.json", tmp_path / "ledger.jsonl"
    arguments = ["--campaigns", "10", "--vdns", "2", "--seed", "3", "--faults", "0.1"]
    files = ["--ledger", str(ledger), "--ready-file", str(ready_file)]
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.simulator", *arguments, *files],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.send_signal(signal.SIGTERM)
        rest = child.stdout.read()

    assert (child.returncode, rest, ready_file.read_text()) == (0, "", line)
    assert json.loads(line)["access_key"] == "AKSIMULATOR"
    assert read_ledger(ledger) == []


def test_the_command_serves_https_with_a_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In process: a named scenario, a PEM file, ended by its own signal."""
    pem = tmp_path / "server.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(pem))

    async def serve_briefly(*args: object, **options: object) -> None:
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        await serve(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("orchestrator.simulator.serve.serve", serve_briefly)

    code = command.main(["--scenario", "emergency", "--tls-cert", str(pem)])

    assert code == 0
    assert json.loads(capsys.readouterr().out)["base_url"].startswith("https://127.0.0.1:")
