"""What the network does to a request, and what the client calls it (rows N of the fault matrix)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.isales import connections as connections_module
from orchestrator.isales.answer import Fault
from tests.fault_server import (
    SUCCESS,
    FaultServer,
    cut,
    drip,
    endless,
    http,
    reset,
    silence,
)
from tests.isales.client_makers import Going, Names, client_of, pause

pytestmark = pytest.mark.sockets


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken, and that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


# -- before anything can be sent --------------------------------------------------------------


async def test_a_refused_connection_is_named_with_host_and_port(closed_port: int) -> None:
    """[N01] Nothing listens: not sent, no slot used."""
    going = Going()
    async with client_of(f"http://127.0.0.1:{closed_port}") as client:
        answer = await client.send(pause(), going)

    assert (answer.fault, answer.sent, answer.sent_at_ms) == (Fault.CONNECT_REFUSED, False, None)
    assert answer.detail == f"127.0.0.1:{closed_port}: cannot connect (connection refused)"
    assert going.work_limit == 0


async def test_a_swallowed_syn_ends_at_the_connect_timeout() -> None:
    """[N03] The listener's queue is full, so the kernel answers nothing."""
    going = Going()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        crowd = [socket.socket() for _ in range(4)]
        for one in crowd:
            one.settimeout(0)
            one.connect_ex(("127.0.0.1", port))
        async with client_of(
            f"http://127.0.0.1:{port}", connect_timeout_s=0.1, attempt_timeout_s=30.0
        ) as client:
            answer = await client.send(pause(), going)
        for one in crowd:
            one.close()

    assert (answer.fault, answer.sent) == (Fault.CONNECT_TIMEOUT, False)
    assert answer.detail == (f"127.0.0.1:{port}: no connection (name, TCP and TLS) within 0.1 s")
    assert going.work_limit == 0


@pytest.mark.parametrize(
    ("number", "fault"),
    [
        (errno.EHOSTUNREACH, Fault.UNREACHABLE),
        (errno.ENETUNREACH, Fault.UNREACHABLE),
        (errno.EACCES, Fault.UNREACHABLE),
        (errno.EMFILE, Fault.NO_SOCKETS),
        (errno.ENFILE, Fault.NO_SOCKETS),
        (errno.EADDRNOTAVAIL, Fault.NO_SOCKETS),
        (errno.ETIMEDOUT, Fault.CONNECT_TIMEOUT),
        (errno.ECONNRESET, Fault.CONNECT_REFUSED),
    ],
)
async def test_an_errno_while_connecting_is_a_fault_in_words(
    monkeypatch: pytest.MonkeyPatch, number: int, fault: Fault
) -> None:
    """[N04] No route, prohibited; [N28] no sockets left: nothing was sent, the text has no code."""

    def refuse(_: Any) -> socket.socket:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(connections_module, "_open_socket", refuse)
    async with client_of("http://127.0.0.1:9") as client:
        answer = await client.send(pause(), Going())

    assert (answer.fault, answer.sent) == (fault, False)
    assert answer.detail == f"127.0.0.1:9: cannot connect ({os.strerror(number).lower()})"


async def test_a_name_that_cannot_be_resolved_is_named() -> None:
    """[N06] The system's words, without its number."""
    names = Names([socket.gaierror(socket.EAI_NONAME, "Name or service not known")])
    async with client_of("http://isales.invalid:28080", resolver=names) as client:
        answer = await client.send(pause(), Going())

    assert (answer.fault, answer.sent) == (Fault.DNS_FAILED, False)
    assert answer.detail == (
        "isales.invalid:28080: the name cannot be resolved (name or service not known)"
    )


async def test_a_slow_resolver_ends_at_the_connect_timeout() -> None:
    """[N06] It would take ten minutes."""
    names = Names([["127.0.0.1"]], wait_s=600)
    async with client_of(
        "http://isales.test:28080", resolver=names, connect_timeout_s=0.05
    ) as client:
        answers = await asyncio.gather(*(client.send(pause(n), Going()) for n in (1, 2)))

    assert [answer.fault for answer in answers] == [Fault.CONNECT_TIMEOUT] * 2
    assert names.asked == 1


async def test_open_connections_outlive_the_resolver() -> None:
    """[N06] The name is asked for once; what is open goes on when it fails later."""
    async with FaultServer() as server:
        names = Names([["127.0.0.1"], socket.gaierror(socket.EAI_AGAIN, "try again")])
        url = f"http://isales.test:{server.port}"
        async with client_of(url, resolver=names) as client:
            answers = [await client.send(pause(number), Going()) for number in (1, 2, 3)]

    assert [answer.http_status for answer in answers] == [200] * 3
    assert server.connections == 1
    assert server.ledger[0].header("host") == f"isales.test:{server.port}"


async def test_one_dead_address_of_two_loses_and_doubles_nothing() -> None:
    """[N07] 127.0.0.2 refuses, 127.0.0.3 answers."""
    async with FaultServer(address="127.0.0.3") as server:
        names = Names([["127.0.0.2", "127.0.0.3"]])
        async with client_of(f"http://isales.test:{server.port}", resolver=names) as client:
            answers = await asyncio.gather(*(client.send(pause(n), Going()) for n in range(1, 9)))

    assert [answer.http_status for answer in answers] == [200] * 8
    assert sorted(seen.campaign_id or 0 for seen in server.ledger) == list(range(1, 9))


@pytest.mark.parametrize("address", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1"])
async def test_a_name_that_leads_to_the_metadata_service_is_not_followed(address: str) -> None:
    """[Z15] A resolver that rebinds after the settings were checked."""
    names = Names([[address]])
    async with client_of("http://isales.test:80", resolver=names) as client:
        answer = await client.send(pause(), Going())

    assert (answer.fault, answer.sent) == (Fault.UNREACHABLE, False)
    assert "link-local address" in answer.detail


async def test_a_name_that_no_resolver_takes_is_a_dns_fault() -> None:
    """[N06] A label of seventy letters; the encoder refuses it before the resolver."""
    async with client_of(f"http://{'a' * 70}.test:80") as client:
        answer = await client.send(pause(), Going())

    assert (answer.fault, answer.sent) == (Fault.DNS_FAILED, False)


# -- the connection ends ----------------------------------------------------------------------


async def test_a_reset_on_accept_is_not_counted_as_sent() -> None:
    """[N14] The server takes every connection and resets it before anything could leave."""

    async def wait_for_it() -> None:
        await asyncio.sleep(0.03)

    going = Going(before=wait_for_it)
    async with FaultServer(on_accept=reset) as server, client_of(server.url) as client:
        answer = await client.send(pause(), going)

        assert server.connections == going.work_limit == 2
    assert (answer.fault, answer.sent) == (Fault.CONNECT_REFUSED, False)
    assert going.signed == []


async def test_a_reset_after_the_request_was_read_is_in_doubt() -> None:
    """[N15] It may have taken effect."""
    async with FaultServer() as server, client_of(server.url) as client:
        server.answers(reset)
        answer = await client.send(pause(), Going())

    assert (answer.fault, answer.sent) == (Fault.RESET, True)
    assert answer.sent_at_ms is not None
    assert answer.answered_at_ms is None
    assert answer.detail.startswith(f"127.0.0.1:{server.port} ")
    assert len(server.ledger) == 1


async def test_an_answer_cut_at_any_byte_is_never_an_answer() -> None:
    """[N16] [N17] Nothing: reset; inside the head: bad response; inside the body: truncated."""
    good = http()
    head = len(good) - len(SUCCESS)
    async with FaultServer() as server, client_of(server.url) as client:
        server.answers(*(cut(at) for at in range(len(good))))
        faults = [(await client.send(pause(), Going())).fault for _ in range(len(good))]

    assert faults == [
        Fault.RESET if at == 0 else Fault.BAD_RESPONSE if at < head else Fault.TRUNCATED
        for at in range(len(good))
    ]
    assert len(server.ledger) == len(good)


# -- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", [silence, drip(0.01)], ids=["[N19] silence", "[N20] drip"])
async def test_an_answer_that_does_not_end_in_time_is_a_timeout(script: Any) -> None:
    """[N19] [N20] [N21] [N22] [N23] Per attempt, not per byte; the next has a new connection."""
    async with (
        FaultServer() as server,
        client_of(server.url, attempt_timeout_s=0.1, connections=1) as client,
    ):
        server.answers(script, campaign_id=1)
        answer = await client.send(pause(1), Going())
        following = await client.send(pause(2), Going())

    assert (answer.fault, answer.sent) == (Fault.TIMEOUT, True)
    assert answer.detail == (f"127.0.0.1:{server.port} gave no complete answer within 0.1 s")
    assert following.http_status == 200
    assert [seen.connection for seen in server.ledger] == [1, 2]


async def test_an_endless_row_of_interim_answers_ends_in_time() -> None:
    """[N24] 100 Continue for ever: bounded by the attempt's time, and others still run."""
    async with (
        FaultServer() as server,
        client_of(server.url, attempt_timeout_s=0.15) as client,
    ):
        server.answers(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50), campaign_id=1)
        flooded, healthy = await asyncio.gather(
            client.send(pause(1), Going()), client.send(pause(2), Going())
        )

    assert (flooded.fault, flooded.sent) == (Fault.TIMEOUT, True)
    assert healthy.http_status == 200


# -- surroundings -----------------------------------------------------------------------------


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """[N27] [Z03] The proxy's ledger stays empty."""
    async with FaultServer() as proxy, FaultServer() as server:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.upper(), proxy.url)
        async with client_of(server.url) as client:
            answer = await client.send(pause(), Going())

    assert answer.http_status == 200
    assert (len(server.ledger), proxy.connections) == (1, 0)


async def test_a_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """[Z03] The Authorization is our signature, once."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login planted password planted\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with FaultServer() as server, client_of(server.url) as client:
        await client.send(pause(), Going())

    assert (server.ledger[0].header("authorization") or "").startswith("auth-v2/")


async def test_an_ipv6_host_in_brackets_works() -> None:
    """[N30] Connected to, and named in the Host header as in the URL."""
    if not _has_ipv6():
        pytest.skip("this machine has no IPv6 loopback")
    async with FaultServer(address="::1") as server, client_of(server.url) as client:
        answer = await client.send(pause(), Going())

        assert client.host == f"[::1]:{server.port}"
    assert answer.http_status == 200
    assert server.ledger[0].header("host") == client.host


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


async def test_two_dead_addresses_are_one_fault(closed_port: int) -> None:
    """[N07] Both refuse; the text is still one short line."""
    names = Names([["127.0.0.1", "127.0.0.2"]])
    async with client_of(f"http://isales.test:{closed_port}", resolver=names) as client:
        answer = await client.send(pause(), Going())

    assert answer.fault is Fault.CONNECT_REFUSED
    assert answer.detail == f"isales.test:{closed_port}: cannot connect (connection refused)"
