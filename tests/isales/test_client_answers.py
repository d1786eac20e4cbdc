"""Hostile and broken answers stay bounded, and their connection is dropped (rows S and Z)."""

from __future__ import annotations

import gzip
import resource

import pytest

from orchestrator.isales.answer import Answer, Fault
from tests.fault_server import SUCCESS, FaultServer, Script, endless, http, raw, reply
from tests.isales.client_makers import AK, Going, Names, client_of, pause

pytestmark = pytest.mark.sockets

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


#: for what must not end by time, however busy the machine is
LONG_S = 90.0


async def answer_to(script: Script, *, drops: bool = True, within_s: float = 2.0) -> Answer:
    """What the client says of one script; a healthy request must work after it.

    A fault must drop its connection, unless the answer had ended by then (`drops=False`).
    """
    async with (
        FaultServer() as server,
        client_of(server.url, connections=1, attempt_timeout_s=within_s) as client,
    ):
        server.answers(script, campaign_id=1)
        answer = await client.send(pause(1), Going())
        following = await client.send(pause(2), Going())

        assert following.body == SUCCESS
        assert [seen.campaign_id for seen in server.ledger] == [1, 2]
        if answer.fault is not None and drops:
            assert [seen.connection for seen in server.ledger] == [1, 2]
    return answer


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (CHUNKED, b"4000\r\n" + b"x" * 0x4000 + b"\r\n"),
        (CHUNKED, b"1\r\nx\r\n" * 200),
        (HEAD + b"Connection: close\r\n\r\n", b"x" * 0x4000),
        (HEAD + b"Content-Length: 99999999999\r\n\r\n", b"x" * 0x4000),
    ],
    ids=["chunks", "one-byte chunks", "until the end", "declared length"],
)
async def test_an_endless_body_ends_at_64_kib(head: bytes, piece: bytes) -> None:
    """[S36] However it is framed; the rest is never read."""
    answer = await answer_to(endless(head, piece), within_s=LONG_S)

    assert (answer.fault, answer.sent) == (Fault.TOO_LARGE, True)
    assert answer.detail.endswith("sent a body of more than 64 KiB")


async def test_a_body_of_exactly_64_kib_is_read() -> None:
    """[S36] The bound itself is allowed, one byte more is not."""
    assert len((await answer_to(reply(b"x" * 65_536))).body) == 65_536
    assert (await answer_to(reply(b"x" * 65_537), drops=False)).fault is Fault.TOO_LARGE


async def test_a_gzip_bomb_stays_folded() -> None:
    """[S37] 32 MiB in 32 KiB: handed over as received, named, and memory hardly moves."""
    bomb = gzip.compress(bytes(32 * 1024 * 1024))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    answer = await answer_to(reply(bomb, headers=("Content-Encoding: gzip",)))

    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    assert (answer.http_status, answer.content_encoding) == (200, "gzip")
    assert answer.body == bomb
    assert grown_kib < 8 * 1024


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Long: " + "x" * 20_000,),
        tuple(f"X-{number}: y" for number in range(10_000)),
        tuple(f"Set-Cookie: c{number}=y" for number in range(99)),
        ("X" * 9_000 + ": y",),
    ],
    ids=["20 kB header", "10,000 headers", "101 headers", "9 kB name"],
)
async def test_oversized_heads_are_refused(headers: tuple[str, ...]) -> None:
    """[S38] Before they cost memory."""
    answer = await answer_to(reply(headers=headers))

    assert (answer.fault, answer.sent) == (Fault.BAD_RESPONSE, True)
    assert len(answer.detail) < 400


async def test_endless_trailers_are_bounded() -> None:
    """[S38] Nor is what may follow a chunked body."""
    answer = await answer_to(endless(CHUNKED + b"0\r\n", b"X-More: y\r\n" * 10), within_s=LONG_S)

    assert answer.fault is not None
    assert answer.sent


async def test_cookies_are_never_kept() -> None:
    """[S38] [Z01] The next request to the same name carries none."""
    async with (
        FaultServer() as server,
        client_of(f"http://isales.test:{server.port}", resolver=Names([["127.0.0.1"]])) as client,
    ):
        server.answers(reply(headers=("Set-Cookie: session=1; Path=/",)))
        await client.send(pause(1), Going())
        await client.send(pause(2), Going())

    assert [seen.header("cookie") for seen in server.ledger] == [None, None]


NOT_HTTP = {
    "CL and another TE": (
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    ),
    "two CL and TE": (
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n"
    ),
    "two CL": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "negative CL": HEAD + b"Content-Length: -5\r\n\r\nhello",
    "NUL": HEAD + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "space in name": HEAD + b"X Y: a\r\nContent-Length: 0\r\n\r\n",
    "status 2000": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "html": b"<html>hello</html>\r\n\r\n",
    "TLS alert": b"\x15\x03\x01\x00\x02\x02\x46" * 3,
}


@pytest.mark.parametrize("content", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_is_not_http_is_a_bad_response_not_a_status_400(content: bytes) -> None:
    """[S39] aiohttp raises "status 400" for it; nobody may think the server said so."""
    answer = await answer_to(raw(content))

    assert (answer.fault, answer.http_status) == (Fault.BAD_RESPONSE, None)
    assert answer.detail.isprintable()
    assert "400" not in answer.detail.partition(" ")[2]  # the port may well be 40095


TWICE = [
    b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    b"Content-Length: 5\r\nX: 1\r\ncontent-length:5 \r\n\r\nhello",
    b"Content-Length: 5, 5\r\n\r\nhello",
    b"Content-Length: 5,5\r\nContent-Length: 5\r\n\r\nhello",
    b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: Chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"Connection: keep-alive\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
]


@pytest.mark.parametrize("content", TWICE)
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"])
async def test_a_length_that_stands_twice_is_one(content: bytes, interim: bytes) -> None:
    """RFC 9112 §6.3: equal lengths are one, beside chunked they do not count."""
    answer = await answer_to(raw(interim + HEAD + content))

    assert (answer.http_status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("chunk", [b"zz\r\nhello\r\n0\r\n\r\n", b"5\r\nhelloworld\r\n0\r\n\r\n"])
async def test_a_broken_chunk_is_a_bad_response(chunk: bytes) -> None:
    """[S39] The size is no number, or the piece is longer than its size."""
    answer = await answer_to(raw(CHUNKED + chunk))

    assert answer.fault is Fault.BAD_RESPONSE


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
async def test_a_redirect_reaches_nobody(status: int) -> None:
    """[S41] [Z01] The other server's ledger stays empty; status and target are reported."""
    async with FaultServer() as other, FaultServer() as server, client_of(server.url) as client:
        target = f"{other.url}/elsewhere?token=1"
        server.answers(raw(_redirect(status, target)))
        answer = await client.send(pause(), Going())

    assert (answer.http_status, answer.location) == (status, target)
    assert (other.connections, len(server.ledger)) == (0, 1)


def _redirect(status: int, target: str) -> bytes:
    return f"HTTP/1.1 {status} Go\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_header_values_come_back_printable_and_bounded() -> None:
    """[S39] Raw bytes, escape sequences and 8 kB of text do no harm in reports and journals."""
    content = (
        HEAD
        + b"Retry-After: \xff\xfe\xc3\xa9\r\n"
        + b"Location: "
        + b"x" * 8_000
        + b"\r\nDate: now\r\nContent-Length: 0\r\n\r\n"
    )

    answer = await answer_to(raw(content))

    assert answer.date == "now"

    assert answer.retry_after == "\\udcff\\udcfeé"
    assert answer.location == "x" * 300


async def test_an_http_1_0_answer_is_read_to_its_end() -> None:
    """An old proxy in between: the connection is not used again."""
    answer = await answer_to(raw(b"HTTP/1.0 200 OK\r\n\r\n" + SUCCESS, then_close=True))

    assert (answer.http_status, answer.body) == (200, SUCCESS)


async def test_an_upgrade_is_an_answer_and_ends_the_connection() -> None:
    """101 was not asked for; what follows it is not HTTP."""
    async with FaultServer() as server, client_of(server.url, connections=1) as client:
        switch = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        server.answers(raw(switch + http()), campaign_id=1)
        first = await client.send(pause(1), Going())
        second = await client.send(pause(2), Going())

    assert first.http_status == 101 or first.fault is not None
    assert second.body == SUCCESS
    assert [seen.connection for seen in server.ledger] == [1, 2]


async def test_no_detail_ever_shows_the_signature() -> None:
    """Exceptions of aiohttp carry the request's headers; our words do not."""
    faults = [raw(b"garbage\r\n\r\n"), reply(headers=("X: " + "x" * 9_000,)), raw(HEAD)]
    for script in faults:
        async with (
            FaultServer() as server,
            client_of(server.url, attempt_timeout_s=0.1) as client,
        ):
            server.answers(script)
            answer = await client.send(pause(), Going())
        assert answer.fault is not None
        assert "auth-v2" not in answer.detail
        assert AK not in answer.detail
