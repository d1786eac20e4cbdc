"""Knocking at doors: name, TCP, TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from orchestrator.isales.client import tls_context
from orchestrator.isales.probe import ProbeError, ends_s, find_addresses, try_connection

pytestmark = pytest.mark.sockets


@pytest.fixture
async def tls_server(tmp_path: Path) -> AsyncIterator[tuple[int, Path]]:
    """A TLS port on this machine, and the file of the authority that signed it."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1], ca_file
    server.close()


async def test_a_name_has_addresses() -> None:
    """An address is its own name."""
    assert await find_addresses("127.0.0.1", 80, timeout_s=5) == ["127.0.0.1"]


async def test_a_name_that_nobody_knows_is_said() -> None:
    """A name that cannot exist, without asking anybody: an empty label."""
    with pytest.raises(ProbeError, match=r"^a\.\.b"):
        await find_addresses("a..b", 80, timeout_s=5)


async def test_a_closed_port_is_said(unused_tcp_port: int) -> None:
    """Refused, with host and port."""
    with pytest.raises(ProbeError, match=rf"^127\.0\.0\.1:{unused_tcp_port}: "):
        await try_connection("127.0.0.1", unused_tcp_port, context=None, timeout_s=5)


async def test_a_trusted_certificate_tells_its_end(tls_server: tuple[int, Path]) -> None:
    """Seconds since the epoch, in the future."""
    port, ca_file = tls_server

    await try_connection("127.0.0.1", port, context=None, timeout_s=5)
    shown = await try_connection("127.0.0.1", port, context=tls_context(ca_file), timeout_s=5)

    assert ends_s(shown) > 1_800_000_000
    assert ends_s({}) == 0.0


async def test_an_untrusted_certificate_is_said(tls_server: tuple[int, Path]) -> None:
    """The system's authorities do not know this one."""
    port, _ = tls_server

    with pytest.raises(ProbeError, match="the TLS certificate is refused: "):
        await try_connection("127.0.0.1", port, context=tls_context(None), timeout_s=5)


async def test_a_silent_port_is_not_waited_for(unused_tcp_port: int) -> None:
    """Something that accepts and never shakes hands ends at the timeout."""
    silent = asyncio.Event()

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silent.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", unused_tcp_port)
    try:
        with pytest.raises(ProbeError, match=r"no answer in 0\.1 s"):
            await try_connection(
                "127.0.0.1", unused_tcp_port, context=tls_context(None), timeout_s=0.1
            )
    finally:
        silent.set()
        server.close()
