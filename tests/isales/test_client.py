"""The client's promises on the wire: one send, one request, in its slot, signed as sent."""

from __future__ import annotations

import asyncio
from asyncio import selector_events
from typing import Any

import pytest
from aiohttp import http_parser
from aioresponses import aioresponses

from orchestrator.clock import SystemClock
from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.calls import CALLS_PATH, calls_request
from orchestrator.isales.client import CONTENT_TYPE, NotSentError
from orchestrator.isales.requests import ApiRequest, details, listing
from orchestrator.model import CampaignRef
from tests.fault_server import SUCCESS, Exchange, FaultServer, hang_up, http, reply, reset, surplus
from tests.isales.client_makers import Going, client_of, pause

PATH = "/rest/isales/v1/openapi/campaigns"


# -- what stands on the wire ------------------------------------------------------------------


@pytest.mark.sockets
async def test_a_pause_is_one_signed_put_and_its_answer_comes_back_whole() -> None:
    """Every header that leaves is one of ours, once, and the signature is of what was sent."""
    going = Going()
    async with FaultServer() as server, client_of(server.url) as client:
        answer = await client.send(pause(), going)

        assert client.host == f"127.0.0.1:{server.port}"
    [seen] = server.ledger
    assert (seen.method, seen.target) == ("PUT", f"{PATH}/12/146/pause")
    assert seen.headers == [
        ("Host", client.host),
        ("User-Agent", "campaign-pause-orchestrator"),
        ("Accept-Encoding", "identity"),
        ("Content-Type", CONTENT_TYPE),
        ("Accept", "*/*"),
        ("Content-Length", "0"),
        (
            "Authorization",
            Going().sign("PUT", f"{PATH}/12/146/pause", "", {"host": client.host}),
        ),
    ]
    assert answer == Answer(
        http_status=200,
        body=SUCCESS,
        sent_at_ms=answer.sent_at_ms,
        answered_at_ms=answer.answered_at_ms,
    )
    assert answer.sent_at_ms is not None
    assert answer.answered_at_ms is not None
    assert answer.sent_at_ms <= answer.answered_at_ms


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("request_", "target", "query"),
    [
        (pause(), f"{PATH}/12/146/pause", ""),
        (details(CampaignRef(12, 146)), f"{PATH}/12/146", ""),
        (
            listing(12, status=2, page=1),
            f"{PATH}/12",
            "curPage=1&deviceType=0&rowsPerPage=100&status=2",
        ),
        (
            ApiRequest("GET", f"{PATH}/12", (("name", "Q4 促销/A+B"), ("endTime", ""))),
            f"{PATH}/12",
            "endTime=&name=Q4%20%E4%BF%83%E9%94%80%2FA%2BB",
        ),
    ],
)
async def test_what_is_signed_is_what_is_sent(
    request_: ApiRequest, target: str, query: str
) -> None:
    """Path, query and headers reach the departure exactly as they stand on the wire."""
    going = Going()
    async with FaultServer() as server, client_of(server.url + "/some/prefix/") as client:
        await client.send(request_, going)
    [seen] = server.ledger
    [(method, path, query_string, headers)] = going.signed
    assert (method, path, query_string) == (request_.method, f"/some/prefix{target}", query)
    assert seen.target == path + (f"?{query}" if query else "")
    for name in ("host", "content-type", "content-length"):
        assert headers.get(name) == seen.header(name)


@pytest.mark.sockets
async def test_a_body_stands_on_the_wire_as_it_is_and_only_once() -> None:
    """What CC-CMS is asked: one POST, its JSON to the byte, and the headers that were signed."""
    going = Going()
    request_ = calls_request(CampaignRef(12, 146), cc_id=3)
    async with FaultServer() as server, client_of(server.url + "/some/prefix/") as client:
        await client.send(request_, going)
    [seen] = server.ledger
    [(method, path, query_string, headers)] = going.signed
    assert (method, seen.method, query_string) == ("POST", "POST", "")
    assert path == seen.target == f"/some/prefix{CALLS_PATH}"
    assert seen.raw.endswith(b'\r\n\r\n{"vdn": 12, "taskId": "146", "ccId": 3}')
    for name in ("host", "content-type", "content-length"):
        assert headers.get(name) == seen.header(name)


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://isales.example.com", "isales.example.com"),
        ("https://isales.example.com:443/", "isales.example.com"),
        ("https://isales.example.com:28050/a", "isales.example.com:28050"),
        ("http://127.0.0.1:80", "127.0.0.1"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
async def test_the_host_header_has_the_port_unless_it_is_the_default_one(
    base_url: str, host: str
) -> None:
    """As browsers and proxies write it."""
    assert client_of(base_url).host == host


@pytest.mark.sockets
async def test_nothing_runs_between_the_slot_and_the_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """[Z04] In 200 sends a callback queued in the slot runs after the bytes were written."""
    order: list[str] = []
    transport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write

    def noted_write(self: Any, content: bytes) -> None:
        if content.startswith(b"PUT"):
            order.append("write")
        write(self, content)

    monkeypatch.setattr(transport, "write", noted_write)

    async def in_slot() -> None:
        await asyncio.sleep(0)
        order.append("slot")
        asyncio.get_running_loop().call_soon(order.append, "other")

    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        for campaign_id in range(1, 201):
            await client.send(pause(campaign_id), Going(before=in_slot))

    assert order == ["slot", "write", "other"] * 200
    assert len(server.ledger) == 200


@pytest.mark.sockets
async def test_parallel_sends_keep_their_slots_apart() -> None:
    """Forty at once over four connections: each is signed for its own campaign."""
    goings = {campaign_id: Going() for campaign_id in range(1, 41)}
    async with FaultServer() as server, client_of(server.url) as client:
        answers = await asyncio.gather(
            *(client.send(pause(campaign_id), going) for campaign_id, going in goings.items())
        )

    assert [answer.http_status for answer in answers] == [200] * 40
    assert server.connections <= 4
    assert [going.work_limit for going in goings.values()] == [1] * 40
    for campaign_id, going in goings.items():
        assert [path for _, path, _, _ in going.signed] == [f"{PATH}/12/{campaign_id}/pause"]


@pytest.mark.sockets
async def test_waiting_for_a_turn_is_no_connect_timeout() -> None:
    """The second send waits longer than the connect timeout for the only connection."""
    release = asyncio.Event()
    async with (
        FaultServer() as server,
        client_of(server.url, connections=1, connect_timeout_s=0.05) as client,
    ):
        first = asyncio.create_task(client.send(pause(1), Going(before=release.wait)))
        second = asyncio.create_task(client.send(pause(2), Going()))
        await asyncio.sleep(0.1)
        release.set()

        assert [(await sent).fault for sent in (first, second)] == [None, None]


@pytest.mark.sockets
async def test_waiting_for_the_slot_is_no_part_of_the_attempt() -> None:
    """The slot comes after three times the attempt timeout, and the answer still counts."""

    async def long_queue() -> None:
        await asyncio.sleep(0.3)

    async with FaultServer() as server, client_of(server.url, attempt_timeout_s=0.1) as client:
        answer = await client.send(pause(), Going(before=long_queue))

    assert answer.http_status == 200


# -- called off -------------------------------------------------------------------------------


@pytest.mark.sockets
async def test_a_request_called_off_leaves_nothing_and_frees_its_connection() -> None:
    """The next request uses the connection that the first one had in hand."""

    async def no() -> None:
        raise NotSentError

    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        with pytest.raises(NotSentError):
            await client.send(pause(1), Going(before=no))
        answer = await client.send(pause(2), Going())

    assert answer.http_status == 200
    assert [seen.campaign_id for seen in server.ledger] == [2]
    assert server.connections == 1


@pytest.mark.sockets
@pytest.mark.parametrize("written", [b"", http()[:-5]], ids=["nothing", "half an answer"])
async def test_cancelled_while_waiting_for_the_answer_drops_the_connection(written: bytes) -> None:
    """Its late answer could otherwise be taken for the next campaign's."""
    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        arrived = asyncio.Event()

        async def note_and_hang(exchange: Exchange) -> None:
            await exchange.write(written)
            arrived.set()
            await exchange.hang()

        server.answers(note_and_hang, campaign_id=1)
        sending = asyncio.create_task(client.send(pause(1), Going()))
        await arrived.wait()
        await asyncio.sleep(0.02)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await client.send(pause(2), Going())

    assert [(seen.campaign_id, seen.connection) for seen in server.ledger] == [(1, 1), (2, 2)]


@pytest.mark.sockets
async def test_a_mistake_in_signing_is_raised_and_frees_the_connection() -> None:
    """It is ours, not the network's."""

    class Clumsy(Going):
        def sign(self, *_: Any) -> str:
            raise ZeroDivisionError

    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        with pytest.raises(ZeroDivisionError):
            await client.send(pause(1), Clumsy())
        await client.send(pause(2), Going())

    assert [seen.campaign_id for seen in server.ledger] == [2]
    assert server.connections == 1


async def test_a_client_that_was_not_entered_says_so() -> None:
    """A mistake of ours is not dressed up as a network fault."""
    client = client_of("http://127.0.0.1:1")

    with pytest.raises(RuntimeError, match="async with"):
        await client.send(pause(), Going())
    await client.__aexit__(None, None, None)


# -- kept-alive connections -------------------------------------------------------------------


@pytest.mark.sockets
@pytest.mark.parametrize("ending", [hang_up, reset], ids=["closed", "reset"])
@pytest.mark.parametrize("request_", [pause(7), listing(12, status=2, page=1)], ids=["PUT", "GET"])
async def test_a_dropped_kept_alive_connection_is_one_request_and_one_fault(
    ending: Any, request_: ApiRequest
) -> None:
    """[N18] The server reads the second request and ends: aiohttp would silently send it again."""
    going = Going()
    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        server.answers(reply(), ending)
        await client.send(pause(1), Going())
        answer = await client.send(request_, going)

    assert (answer.fault, answer.sent) == (Fault.RESET, True)
    assert answer.sent_at_ms is not None
    assert len(server.ledger) == 2
    assert going.work_limit == len(going.signed) == 1


@pytest.mark.sockets
async def test_a_connection_that_ended_while_it_waited_for_its_slot_is_replaced() -> None:
    """[N18] The replacement waits for a slot of its own, so that the pace holds."""
    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        await client.send(pause(1), Going())
        [open_one] = server._open

        async def server_ends_it() -> None:
            if going.work_limit == 1:
                open_one.close()
                await open_one.wait_closed()
                await asyncio.sleep(0.02)

        going = Going(before=server_ends_it)
        answer = await client.send(pause(2), going)

    assert answer.http_status == 200
    assert going.work_limit == 2
    assert len(going.signed) == 1
    assert [(seen.campaign_id, seen.connection) for seen in server.ledger] == [(1, 1), (2, 2)]


@pytest.mark.sockets
async def test_an_end_that_the_loop_has_not_read_yet_is_noticed_too() -> None:
    """[N18] The FIN lies in the kernel when the slot comes without any wait."""
    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        server.answers(surplus(b""))
        await client.send(pause(1), Going())
        [open_one] = server._open
        open_one.get_extra_info("socket")._sock.shutdown(1)

        going = Going()
        answer = await client.send(pause(2), going)

    assert answer.http_status == 200
    assert (going.work_limit, len(going.signed)) == (2, 1)


@pytest.mark.sockets
@pytest.mark.parametrize("wait_s", [None, 0.02], ids=["same packet", "while idle"])
async def test_a_surplus_answer_is_not_taken_for_the_next_campaigns(wait_s: float | None) -> None:
    """[N25] A fake success follows the first answer; the next request still hits the wire."""
    fake = http(b'{"resultCode":"0200000","resultDesc":"fake"}')
    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        server.answers(surplus(fake, wait_s=wait_s), campaign_id=1)
        await client.send(pause(1), Going())
        await asyncio.sleep(0.06)
        answer = await client.send(pause(2), Going())

    assert answer.body == SUCCESS
    assert [(seen.campaign_id, seen.connection) for seen in server.ledger] == [(1, 1), (2, 2)]


@pytest.mark.sockets
async def test_a_surplus_answer_that_arrives_during_the_slot_is_not_taken() -> None:
    """[N25] It comes while the kept-alive connection is already in hand."""
    fake = http(b'{"resultCode":"0200000","resultDesc":"fake"}')

    async def long_enough() -> None:
        await asyncio.sleep(0.06)

    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        server.answers(surplus(fake, wait_s=0.02), campaign_id=1)
        await client.send(pause(1), Going())
        going = Going(before=long_enough)
        answer = await client.send(pause(2), going)

    assert (answer.body, going.work_limit) == (SUCCESS, 2)


@pytest.mark.sockets
async def test_a_server_that_speaks_first_is_not_believed() -> None:
    """[N25] A success sent on accept, before any request, never becomes an answer."""

    async def greeting(exchange: Exchange) -> None:
        await exchange.write(http())

    async def long_enough() -> None:
        await asyncio.sleep(0.02)

    async with FaultServer(on_accept=greeting) as server, client_of(server.url) as client:
        answer = await client.send(pause(), Going(before=long_enough))

    assert (answer.fault, answer.sent) == (Fault.CONNECT_REFUSED, False)
    assert server.ledger == []


# -- the parser -------------------------------------------------------------------------------


def test_the_c_parser_reads_our_answers() -> None:
    """The Python one has been the subject of most advisories."""
    assert http_parser.HttpResponseParser is not http_parser.HttpResponseParserPy


# -- without a wire ---------------------------------------------------------------------------


async def test_a_listing_may_be_wider_than_the_answer_to_a_change(
    canned_http: aioresponses,
) -> None:
    """100 rows of 1 kB fit a read; a change with such a body is refused."""
    wide = b"x" * 100_000
    request = listing(12, status=0, page=1)
    canned_http.get(f"https://isales.example.com{request.path}?{request.query_string}", body=wide)
    canned_http.put(f"https://isales.example.com{pause().path}", body=wide)
    async with client_of("https://isales.example.com", clock=SystemClock()) as client:
        read = await client.send(request, Going())
        changed = await client.send(pause(), Going())

    assert read.body == wide
    assert changed.fault is Fault.TOO_LARGE


@pytest.mark.sockets
async def test_cancelled_in_the_slot_leaves_nothing() -> None:
    """The wait is cut short, CancelledError comes out, and the client still works."""
    reached = asyncio.Event()

    async def wait_for_ever() -> None:
        reached.set()
        await asyncio.Event().wait()

    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        sending = asyncio.create_task(client.send(pause(1), Going(before=wait_for_ever)))
        await reached.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await client.send(pause(2), Going())

    assert [seen.campaign_id for seen in server.ledger] == [2]
