"""TLS is always verified, its failures are never sent past and are named in plain words."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.isales.answer import TLS_FAULTS, Answer, Fault
from orchestrator.isales.client import tls_context
from orchestrator.isales.failures import unconnected
from tests.fault_server import SUCCESS, FaultServer, hang_up, reply, reset, surplus
from tests.isales.client_makers import Going, Names, client_of, pause

pytestmark = pytest.mark.sockets

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FAR_AHEAD = dt.datetime(2090, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.getbasetemp() / "isales_client_ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def tls_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def answer_through(context: ssl.SSLContext, ca_file: Path | None) -> Answer:
    """What the client says of a server with this context; a fault must leave no request."""
    going = Going()
    async with (
        FaultServer(tls=context) as server,
        client_of(
            f"https://isales.test:{server.port}",
            ca_file=ca_file,
            resolver=Names([["127.0.0.1"]]),
        ) as client,
    ):
        answer = await client.send(pause(), going)

        if answer.fault is not None:
            assert server.ledger == []
            assert (going.work_limit, answer.sent) == (0, False)
            assert answer.detail.startswith(f"isales.test:{server.port}: ")
    return answer


async def test_a_certificate_of_the_given_authority_is_trusted(
    authority: trustme.CA, ca_file: Path
) -> None:
    """[Z02] Name, time and chain are right: the answer comes back."""
    answer = await answer_through(tls_of(authority.issue_cert("isales.test")), ca_file)

    assert (answer.fault, answer.body) == (None, SUCCESS)


@pytest.mark.parametrize("host", ["isales.test.", "is_ales.test", "_a.is_ales.test."])
async def test_a_dot_at_the_end_and_an_underscore_change_no_check(
    tmp_path: Path, host: str
) -> None:
    """The certificate names the host without its dot; so do Host and signature."""
    name = host.rstrip(".")
    pem = certificate_of_its_own(name, tmp_path / "own.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async with FaultServer(tls=context) as server:
        resolver = Names([["127.0.0.1"]])
        url = f"https://{host}:{server.port}"
        async with client_of(url, ca_file=pem, resolver=resolver) as client:
            answer = await client.send(pause(1), Going())

    assert (answer.fault, answer.body) == (None, SUCCESS)
    assert server.ledger[0].header("host") == f"{name}:{server.port}"


def certificate_of_its_own(name: str, file: Path) -> Path:
    """A self-signed certificate with its key: trustme knows no underscores."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "own")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(encoding)
        + key.private_bytes(
            encoding,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


@pytest.mark.parametrize("given", [True, False], ids=["another CA file", "system's CAs"])
async def test_a_certificate_of_an_unknown_authority_is_not_trusted(
    ca_file: Path,
    given: bool,  # noqa: FBT001 - a case, not an option
) -> None:
    """[N08] [Z02] No byte of HTTP leaves."""
    stranger = trustme.CA().issue_cert("isales.test")

    answer = await answer_through(tls_of(stranger), ca_file if given else None)

    assert answer.fault is Fault.TLS_UNTRUSTED
    assert "the TLS certificate is not trusted: " in answer.detail


def intermediate_authority(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A server whose CA file holds the authority that signed it, not the root above that one."""
    intermediate = trustme.CA().create_child_ca()
    ca_file = folder / "intermediate.pem"
    intermediate.cert_pem.write_to_path(str(ca_file))
    return tls_of(intermediate.issue_cert("isales.test")), ca_file


async def test_an_intermediate_authority_is_trusted_by_every_python(tmp_path: Path) -> None:
    """The flags are ours: 3.13 alone would refuse private authorities, older ones this one."""
    context, ca_file = intermediate_authority(tmp_path)

    answer = await answer_through(context, ca_file)

    assert (answer.fault, answer.body) == (None, SUCCESS)
    ours = tls_context(ca_file)
    strict = ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    assert ours.verify_flags & strict == ssl.VERIFY_X509_PARTIAL_CHAIN
    assert ours.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [
        (LONG_AGO, LONG_AGO + dt.timedelta(days=1)),
        (FAR_AHEAD, FAR_AHEAD + dt.timedelta(days=1)),
    ],
)
async def test_a_certificate_out_of_its_time_is_named_with_our_clock(
    authority: trustme.CA,
    ca_file: Path,
    not_before: dt.datetime,
    not_after: dt.datetime,
) -> None:
    """[N09] Expired or not yet valid: the clock here is the first thing to check."""
    leaf = authority.issue_cert("isales.test", not_before=not_before, not_after=not_after)

    answer = await answer_through(tls_of(leaf), ca_file)

    assert answer.fault is Fault.TLS_EXPIRED
    assert "the TLS certificate cannot be used now: " in answer.detail
    assert "(the clock here: 20" in answer.detail


async def test_a_certificate_for_another_address_is_a_wrong_host_too(
    authority: trustme.CA, ca_file: Path
) -> None:
    """[N10] The base URL has an IP address, as on-premises ones do."""
    tls = tls_of(authority.issue_cert("10.0.0.1"))
    async with FaultServer(tls=tls) as server, client_of(server.url, ca_file=ca_file) as client:
        answer = await client.send(pause(), Going())

    assert answer.fault is Fault.TLS_HOSTNAME
    assert "'127.0.0.1'" in answer.detail


async def test_a_handshake_that_never_ends_is_a_connect_timeout(ca_file: Path) -> None:
    """[N11] The kernel completes the connection and nobody speaks TLS on it."""
    going = Going()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        async with client_of(
            f"https://127.0.0.1:{listener.getsockname()[1]}",
            ca_file=ca_file,
            connect_timeout_s=0.1,
            attempt_timeout_s=30.0,
        ) as client:
            answer = await client.send(pause(), going)

    assert (answer.fault, answer.sent, going.work_limit) == (Fault.CONNECT_TIMEOUT, False, 0)


async def test_https_to_a_plain_port_is_said_in_plain_words(ca_file: Path) -> None:
    """[N12] Not WRONG_VERSION_NUMBER."""

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    plain_server = await asyncio.start_server(plain, "127.0.0.1", 0)
    port = plain_server.sockets[0].getsockname()[1]
    async with plain_server, client_of(f"https://127.0.0.1:{port}", ca_file=ca_file) as client:
        answer = await client.send(pause(), Going())

    assert (answer.fault, answer.sent) == (Fault.TLS_PROTOCOL, False)
    assert answer.detail == (f"127.0.0.1:{port}: this port does not speak TLS (a plain http port?)")


@pytest.mark.parametrize("linger", [True, False], ids=["reset", "closed"])
async def test_an_end_in_the_middle_of_the_handshake_may_be_tried_again(
    ca_file: Path,
    linger: bool,  # noqa: FBT001 - a case, not an option
) -> None:
    """[N14] A restart or an overload, not a wrong certificate: it must not end the run."""

    async def ends(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        if linger:
            writer.transport.abort()
        writer.close()

    ending = await asyncio.start_server(ends, "127.0.0.1", 0)
    port = ending.sockets[0].getsockname()[1]
    async with ending, client_of(f"https://127.0.0.1:{port}", ca_file=ca_file) as client:
        answer = await client.send(pause(), Going())

    assert (answer.fault, answer.sent) == (Fault.CONNECT_REFUSED, False)
    assert answer.fault not in TLS_FAULTS


async def test_kept_alive_tls_connections_are_reused_and_checked(
    authority: trustme.CA, ca_file: Path
) -> None:
    """[N18] [N25] Session tickets are no surplus input; a surplus answer is; drops are seen."""
    async with (
        FaultServer(tls=tls_of(authority.issue_cert("127.0.0.1"))) as server,
        client_of(server.url, ca_file=ca_file, connections=1) as client,
    ):
        server.answers(reply(), reply(), surplus(b"HTTP/1.1 200 OK\r\n\r\n", wait_s=0.01))
        for campaign_id in (1, 2, 3):
            await client.send(pause(campaign_id), Going())
        await asyncio.sleep(0.05)
        server.answers(reply(), hang_up, reset)
        answers = [await client.send(pause(campaign_id), Going()) for campaign_id in (4, 5, 6)]

    assert [answer.fault for answer in answers] == [None, Fault.RESET, Fault.RESET]
    assert [seen.connection for seen in server.ledger] == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("reason", "fault", "said"),
    [
        ("TLSV1_ALERT_INTERNAL_ERROR", Fault.CONNECT_REFUSED, "(tlsv1 alert internal error)"),
        ("SSLV3_ALERT_HANDSHAKE_FAILURE", Fault.TLS_PROTOCOL, "alert handshake failure)"),
        ("RECORD_LAYER_FAILURE", Fault.TLS_PROTOCOL, "does not speak TLS"),
        ("UNSUPPORTED_PROTOCOL", Fault.TLS_PROTOCOL, "no TLS of version 1.2 or newer"),
        (None, Fault.TLS_PROTOCOL, "no reason given"),
    ],
)
def test_only_what_cannot_pass_is_a_tls_fault(reason: str | None, fault: Fault, said: str) -> None:
    """[N12] An internal error of the other side passes; a version or a cipher does not."""
    error = ssl.SSLError(1, "shouting")
    error.reason = reason  # type: ignore[assignment]

    named, words = unconnected(error, now_ms=0)

    assert named is fault
    assert said in words
