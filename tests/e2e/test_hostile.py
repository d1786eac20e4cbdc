"""A hostile server: what it answers to one campaign changes nothing outside that campaign."""

from __future__ import annotations

import gzip
from collections import Counter
from functools import lru_cache
from pathlib import Path

import pytest

from orchestrator.model import Status
from tests.cli.makers import Ended
from tests.e2e.makers import (
    Stand,
    only_run,
    pause_through,
    refs_of,
    run_measured,
    short,
    world_of,
    write_list,
)
from tests.fakes import read_rows
from tests.fault_server import SUCCESS, FaultServer, Script, endless, http, raw, reply

pytestmark = pytest.mark.sockets

MIB = 1024
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@lru_cache
def gzip_bomb(size: int) -> bytes:
    """A success, blown up by white space, compressed."""
    return gzip.compress(b" " * size + SUCCESS)


def hostile_scripts(elsewhere: str) -> list[Script]:
    """What campaigns 1, 2, 3 … meet; none of it is a success and none takes effect."""
    deep = b"[" * 60_000
    many = "".join(f"X-H{number}: {'a' * 40}\r\n" for number in range(10_000)).encode()
    return [
        # an endless body: plain, in chunks, in one-byte chunks
        endless(JSON_HEAD + b"\r\n", b" " * 65_536),
        endless(CHUNKED, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        endless(CHUNKED, b"1\r\n \r\n" * 500),
        # compression bombs: within 64 KiB on the wire, and beyond
        reply(gzip_bomb(40_000_000), headers=("Content-Encoding: gzip",)),
        reply(gzip_bomb(100_000_000), headers=("Content-Encoding: gzip",)),
        # JSON that hurts who reads it
        reply(b'{"resultCode":' + deep + b"]" * 60_000 + b"}"),
        reply(b'{"resultCode":"0200006","resultCode":"0200000","returnCode":"0200000"}'),
        reply(b'{"resultCode":' + b"9" * 60_000 + b"}"),
        reply(b'{"resultCode":NaN}'),
        # sent elsewhere
        reply(b"", status="307 Temporary Redirect", headers=(f"Location: {elsewhere}/pause",)),
        reply(b"", status="301 Moved", headers=(f"Location: {elsewhere}/rest/isales",)),
        # floods of headers
        raw(JSON_HEAD + many + b"\r\n", then_close=True),
        endless(JSON_HEAD, b"X-More: " + b"a" * 8000 + b"\r\n"),
        raw(JSON_HEAD + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n", then_close=True),
        endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        # not HTTP at all, two lengths, a body after its end
        raw(b"\x00\xff\x16\x03\x01" * 200, then_close=True),
        raw(JSON_HEAD + b"Content-Length: 5\r\nContent-Length: 60\r\n\r\n{}", then_close=True),
    ]


async def pause_with(folder: Path, *, hostile: bool) -> tuple[Stand, FaultServer, Ended]:
    """Pause sixty campaigns with the real command; the first ones may meet hostility."""
    async with Stand(world=world_of(60)) as server, FaultServer() as elsewhere:
        scripts = hostile_scripts(elsewhere.url) if hostile else []
        for number, script in enumerate(scripts, start=1):
            server.answers(script, campaign_id=number)
        listed = write_list(folder, refs_of(60))
        # who floods this loop holds up the answers to the others
        (folder / "config.toml").write_text(short(attempt_timeout_s=2))
        done = await run_measured(folder, server.url, "pause", str(listed))
    return server, elsewhere, done


async def test_hostile_answers_change_nothing_outside_their_own_campaign(tmp_path: Path) -> None:
    """[S34] [S36] [S37] [S38] [S41] [Z01] [Z18] Seventeen at once: the others are paused.

    The peak of memory is less than 16 MB above that of a run against an honest server, and the
    other port that redirects point to is never connected to.
    """
    for name in ("calm", "hostile"):
        (tmp_path / name).mkdir()
    _, _, calm = await pause_with(tmp_path / "calm", hostile=False)
    server, elsewhere, done = await pause_with(tmp_path / "hostile", hostile=True)

    assert (calm.code, done.code) == (0, 1), done.err
    assert "Traceback" not in done.err
    bad = len(hostile_scripts(""))
    report = read_rows(only_run(tmp_path / "hostile") / "results.csv")
    rows = {int(row["campaign_id"]): row for row in report}
    assert Counter(row["outcome"] for row in rows.values()) == {"paused": 60 - bad, "failed": bad}
    assert {rows[number]["outcome"] for number in range(1, bad + 1)} == {"failed"}
    assert all(server.puts_by_id[number] == 1 for number in range(bad + 1, 61))
    # twice three attempts, and what the breaker took for its probes
    assert max(server.puts_by_id.values()) <= 12
    assert (elsewhere.connections, elsewhere.ledger) == (0, [])
    assert done.peak_kib - calm.peak_kib < 16 * MIB


async def test_a_surplus_success_behind_a_failure_pauses_nobody(tmp_path: Path) -> None:
    """[N25] Each 0200006 is followed by forged successes for whoever asks next."""
    failure = http(SUCCESS.replace(b"0200000", b"0200006"))
    async with Stand(world=world_of(20)) as server:
        for number in range(1, 11):
            server.answers(raw(failure + http() * 3), campaign_id=number)
        told = await pause_through(
            server, tmp_path, refs_of(20), pace__concurrency=2, retry__patience_s=20
        )

    assert told.exit_code == 1
    assert {number: row["outcome"] for number, row in told.rows.items()} == {
        number: "failed" if number <= 10 else "paused" for number in range(1, 21)
    }
    assert all(server.puts_by_id[number] == 1 for number in range(11, 21))


@pytest.mark.parametrize(
    "page",
    [
        b'{"resultCode":"0200000","totalSize":1e400,"data":[{"id":1,"status":3}]}',
        b'{"resultCode":"0200000","totalSize":-5,"data":{"id":1}}',
        b'{"resultCode":"0200000","totalSize":99999999999999999999,"data":[{"id":1,"status":2}]}',
        b'{"resultCode":"0200000","totalSize":2,"data":[{"id":"../../2","status":3},7,null,[]]}',
        b'{"resultCode":"0200000","totalSize":1,"data":[{"id":true,"status":"3"}]}',
        b'{"resultCode":"0200000","totalSize":0,"data":null,"data":[{"id":1,"status":3}]}',
        b"[" * 100_000,
    ],
    ids=range(7),
)
async def test_a_hostile_listing_spares_nobody_its_put(tmp_path: Path, page: bytes) -> None:
    """[S32] [S33] [S34] What cannot be a listing is no look: every campaign still gets its PUT."""
    async with Stand(world=world_of(3)) as server:
        server.listing = reply(page)
        told = await pause_through(server, tmp_path, refs_of(3))

    assert (told.exit_code, set(server.puts_by_id)) == (0, {1, 2, 3})
    assert {server.world.status_of(ref) for ref in refs_of(3)} == {Status.SUSPENDED}
