"""`init`: from nothing to ready, on a terminal and without one, against a server with TLS."""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import re
import signal
import ssl
import stat
import termios
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from orchestrator.cli import values
from orchestrator.errors import UsageError
from orchestrator.simulator.scenarios import ACCESS_KEY, SECRET_KEY, healthy
from orchestrator.simulator.server import Simulator
from tests.cli.makers import child, environment, in_a_thread, served, write_list
from tests.cli.test_children import Terminal
from tests.e2e.makers import Stand

pytestmark = pytest.mark.sockets

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
FAR_AHEAD = dt.datetime(2090, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    """One healthy server for the whole module."""
    with served() as running:
        yield running


def tls_of(kind: str, folder: Path) -> ssl.SSLContext:
    """A server's side: signed by an authority, through another one, by itself, or unusable."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    match kind:
        case "authority":
            authority.issue_cert("localhost").configure_cert(context)
        case "chain":
            authority.create_child_ca().issue_cert("localhost").configure_cert(context)
        case "another name":
            authority.issue_cert("other.example").configure_cert(context)
        case "expired":
            authority.issue_cert("localhost", not_after=LONG_AGO).configure_cert(context)
        case _:
            _sign_itself(folder / "server.pem")
            context.load_cert_chain(folder / "server.pem")
    return context


def _sign_itself(file: Path) -> None:
    """What `openssl req -x509` makes: no authority, and not called one."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "isales")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(LONG_AGO)
        .not_valid_after(FAR_AHEAD)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))


@contextmanager
def behind_tls(context: ssl.SSLContext) -> Iterator[str]:
    """A server with VDN 1234 that is reached with TLS; its URL."""
    with in_a_thread(lambda: Stand(tls=context, world=healthy(seed=1).world)) as server:
        yield f"https://localhost:{server.port}"


@pytest.fixture
def newcomer(tmp_path: Path) -> dict[str, str]:
    """A user who has set up nothing."""
    env = environment(tmp_path, XDG_CONFIG_HOME=str(tmp_path / "config"))
    return {
        name: value
        for name, value in env.items()
        if not name.startswith("ORCHESTRATOR_") or name == "ORCHESTRATOR_STATE_DIR"
    }


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The secret key in a file of the user's own."""
    file = tmp_path / "sk"
    file.write_text(f"{SECRET_KEY}\n")
    file.chmod(0o600)
    return file


def folder_of(env: dict[str, str]) -> Path:
    """Where the settings go."""
    return Path(env["XDG_CONFIG_HOME"]) / "orchestrator"


def presented_by(url: str) -> str:
    """The SHA-256 of a server's certificate, got in another way."""
    port = int(url.rpartition(":")[2])
    pem = ssl.get_server_certificate(("localhost", port))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def at_a_terminal() -> None:
    """Make the terminal the one that /dev/tty stands for, with the signals of a shell."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("kind", ["authority", "chain", "itself"])
def test_a_newcomer_answers_questions_and_is_ready(
    tmp_path: Path, newcomer: dict[str, str], kind: str
) -> None:
    """Wrong answers are explained and asked again; the secret key is not shown; check is good."""
    with behind_tls(tls_of(kind, tmp_path)) as url:
        terminal = Terminal("init", env=newcomer, before=at_a_terminal)
        for question, answer in (
            ("URL, https://HOST:28080: ", "localhost"),
            ("it has no scheme: write https://HOST:PORT\r\nURL, https://HOST:28080: ", url),
            ("Is this the server's certificate? [yes/no]: ", ""),
            ("it must be yes or no\r\nIs this the server's certificate? [yes/no]: ", "yes"),
            ("Name of the server [localhost]: ", "rehearsal"),
            ("Access key (AK): ", ""),
            ("it is needed\r\nAccess key (AK): ", ACCESS_KEY),
            ("Secret key (SK): ", SECRET_KEY),
            ("Who is at work [", "Jane Doe"),
            ("Directory of the runs [", ""),
            ("VDNs that matter, such as 1201 1202 [none]: ", "12345"),
            ("12345' is not a VDN", "1234, 1235"),
        ):
            terminal.read_until(question)
            terminal.type(answer)
        code, out = terminal.end()
        fingerprint = presented_by(url)

    shown = terminal.seen
    assert fingerprint in shown.replace(":", "").lower()
    assert ("issuer   itself (self-signed)" in shown) is (kind == "itself")
    assert "answer no, and give the file of the server's authority with --ca-file FILE" in shown
    assert SECRET_KEY not in shown + out
    folder = folder_of(newcomer)
    assert tomllib.loads((folder / "config.toml").read_text()) == {
        "server": {
            "base_url": url,
            "ca_file": str(folder / "config.ca.pem"),
            "name": "rehearsal",
            "vdns": [1234, 1235],
        },
        "credentials": {
            "access_key": ACCESS_KEY,
            "secret_key_file": str(folder / "config.secret_key"),
        },
        "operator": {"name": "Jane Doe"},
        "state": {"dir": newcomer["ORCHESTRATOR_STATE_DIR"]},
    }
    assert (folder / "config.secret_key").read_text() == f"{SECRET_KEY}\n"
    for name in ("config.secret_key", "config.toml"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    # VDN 1234 has campaigns, 1235 has none: the exit code is check's
    assert code == 1
    assert f"server rehearsal ({url})" in out
    assert "VDN 1235 has no campaigns at all" in out


def test_with_yes_and_all_flags_nothing_is_asked(
    tmp_path: Path, newcomer: dict[str, str], key_file: Path
) -> None:
    """A second server: its own file, ready for every command that names it."""
    with behind_tls(tls_of("authority", tmp_path)) as url:
        ended = child(
            *("init", "--config", "test", "--yes", "--base-url", url, "--vdn", "1234"),
            *("--access-key", ACCESS_KEY, "--secret-key-file", str(key_file)),
            *("--trust-sha256", presented_by(url), "--server-name", "test"),
            env=newcomer,
        )
        later = child("check", "--config", "test", env=newcomer)

    assert (ended.code, ended.out.splitlines()[-1]) == (0, "An emergency would work now.")
    assert (later.code, "server test (" in later.out) == (0, True)
    folder = folder_of(newcomer)
    assert sorted(one.name for one in folder.iterdir()) == ["test.ca.pem", "test.toml"]
    text = (folder / "test.toml").read_text()
    assert SECRET_KEY not in text
    assert text.startswith("# Written by `orchestrator init --config test`; call it again")


def test_without_a_terminal_all_that_is_missing_is_named_at_once(
    tmp_path: Path, newcomer: dict[str, str]
) -> None:
    """Also the fingerprint, with the one that is presented; nothing is written."""
    with behind_tls(tls_of("authority", tmp_path)) as url:
        bare = child("init", env=newcomer)
        with_url = child("init", "--base-url", url, "--yes", env=newcomer)
        fingerprint = presented_by(url)

    lacks = "--base-url URL, --access-key AK, --secret-key-file FILE"
    assert bare.code == with_url.code == 2
    assert f"error: init cannot ask here, and lacks {lacks}. Nothing was written." in bare.err
    assert "--trust-sha256 HEX" in with_url.err
    assert fingerprint in with_url.err.replace(":", "").lower()
    assert "--access-key AK, --secret-key-file FILE" in with_url.err
    assert not folder_of(newcomer).exists()


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("another name", "Hostname mismatch, certificate is not valid for 'localhost'"),
        ("expired", "certificate has expired"),
    ],
)
def test_a_certificate_that_could_never_be_verified_is_not_offered(
    tmp_path: Path,
    newcomer: dict[str, str],
    key_file: Path,
    kind: str,
    why: str,
) -> None:
    """Whatever fingerprint is given: exit 4, and nothing is written."""
    with behind_tls(tls_of(kind, tmp_path)) as url:
        ended = child(
            *("init", "--yes", "--base-url", url, "--trust-sha256", presented_by(url)),
            *("--access-key", ACCESS_KEY, "--secret-key-file", str(key_file)),
            env=newcomer,
        )

    assert ended.code == 4
    assert f"the TLS certificate is refused: {why}. Nothing was written." in ended.err
    assert not folder_of(newcomer).exists()


def test_another_certificate_than_the_one_that_was_named_is_refused(
    tmp_path: Path, newcomer: dict[str, str], key_file: Path
) -> None:
    """Somebody is in between, or it was renewed: exit 7, both are said."""
    with behind_tls(tls_of("authority", tmp_path)) as url:
        ended = child(
            *("init", "--yes", "--base-url", url, "--trust-sha256", "ab" * 32),
            *("--access-key", ACCESS_KEY, "--secret-key-file", str(key_file)),
            env=newcomer,
        )

    assert ended.code == 7
    assert "not the one that --trust-sha256 names. Nothing was written." in ended.err
    assert not folder_of(newcomer).exists()


def test_ctrl_c_and_no_leave_nothing(tmp_path: Path, newcomer: dict[str, str]) -> None:
    """In the middle of the questions: 130. The certificate is not the right one: 7."""
    with behind_tls(tls_of("authority", tmp_path)) as url:
        terminal = Terminal("init", "--base-url", url, env=newcomer, before=at_a_terminal)
        terminal.read_until("Is this the server's certificate? [yes/no]: ")
        terminal.process.send_signal(signal.SIGINT)
        interrupted, _ = terminal.end()
        other = Terminal("init", "--base-url", url, env=newcomer, before=at_a_terminal)
        other.read_until("Is this the server's certificate? [yes/no]: ")
        other.type("no")
        refused, _ = other.end()

    assert (interrupted, refused) == (130, 7)
    assert "interrupted. Nothing was written." in terminal.seen
    assert "the certificate was not accepted. Nothing was written." in other.seen
    assert not folder_of(newcomer).exists()


def test_settings_that_are_there_are_the_defaults_and_are_kept(
    simulator: Simulator, newcomer: dict[str, str], key_file: Path
) -> None:
    """Other keys stay, a change is shown, the old file is .bak; the same again changes nothing."""
    file = folder_of(newcomer) / "config.toml"
    file.parent.mkdir(parents=True)
    before = (
        f'[server]\nbase_url = "{simulator.base_url}"\n[pace]\nrate_per_s = 50\n'
        f'[credentials]\naccess_key = "{ACCESS_KEY}"\nsecret_key_file = "{key_file}"\n'
    )
    file.write_text(before)

    first = child("init", "--yes", "--vdn", "1234", env=newcomer)
    again = child("init", "--yes", env=newcomer)

    assert (first.code, again.code) == (0, 0)
    assert "  server.vdns: nothing becomes [1234]" in first.err.splitlines()
    assert tomllib.loads(file.read_text())["pace"] == {"rate_per_s": 50}
    assert (file.parent / "config.toml.bak").read_text() == before
    assert f"{file} is as it was" in again.err


def test_an_authority_that_is_named_or_known_needs_no_question(
    tmp_path: Path, newcomer: dict[str, str], key_file: Path
) -> None:
    """Its file is what is written; a file that does not vouch for the server is refused."""
    authority = trustme.CA()
    right, wrong = tmp_path / "ca.pem", tmp_path / "other.pem"
    authority.cert_pem.write_to_path(str(right))
    trustme.CA().cert_pem.write_to_path(str(wrong))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    words = ("init", "--yes", "--access-key", ACCESS_KEY, "--secret-key-file", str(key_file))
    with behind_tls(context) as url:
        refused = child(*words, "--base-url", url, "--ca-file", str(wrong), env=newcomer)
        assert not folder_of(newcomer).exists()
        named = child(*words, "--base-url", url, "--ca-file", str(right), env=newcomer)
        again = child("init", "--yes", "--vdn", "1234", env=newcomer)

    assert (refused.code, named.code, again.code) == (4, 1, 0)
    assert "the TLS certificate is refused: " in refused.err
    written = tomllib.loads((folder_of(newcomer) / "config.toml").read_text())
    assert written["server"]["ca_file"] == str(right)


def test_a_secret_key_file_that_others_may_read_is_refused(
    simulator: Simulator, newcomer: dict[str, str], key_file: Path
) -> None:
    """As every other command would, before anything is written."""
    key_file.chmod(0o644)
    ended = child(
        *("init", "--yes", "--base-url", simulator.base_url),
        *("--access-key", ACCESS_KEY, "--secret-key-file", str(key_file)),
        env=newcomer,
    )

    assert ended.code == 2
    assert "others may read or write it (mode 0644). Nothing was written." in ended.err
    assert not folder_of(newcomer).exists()


def test_what_is_no_text_is_a_wrong_answer(newcomer: dict[str, str]) -> None:
    """A byte that is no UTF-8: explained and asked again; the end of the input leaves."""
    terminal = Terminal("init", env=newcomer, before=at_a_terminal)
    terminal.read_until("URL, https://HOST:28080: ")
    os.write(terminal.master, b"\xff\n")
    terminal.read_until("only visible ASCII characters are allowed")
    os.write(terminal.master, b"\x04")
    code, _ = terminal.end()

    assert code == 130
    assert "interrupted. Nothing was written." in terminal.seen


def test_a_settings_file_that_is_broken_is_not_replaced(newcomer: dict[str, str]) -> None:
    """What it meant is not known."""
    file = folder_of(newcomer) / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text("[server\n")

    ended = child("init", "--yes", env=newcomer)

    assert ended.code == 2
    assert re.search(r"config\.toml: is not TOML: .*Nothing was written\.", ended.err)
    assert file.read_text() == "[server\n"


def test_a_variable_that_beats_what_was_written_is_said(
    simulator: Simulator, newcomer: dict[str, str], key_file: Path
) -> None:
    """The check at the end tries what the commands will use."""
    ended = child(
        *("init", "--yes", "--base-url", simulator.base_url, "--vdn", "1234"),
        *("--access-key", ACCESS_KEY, "--secret-key-file", str(key_file)),
        env=newcomer | {"ORCHESTRATOR_BASE_URL": "https://localhost:1"},
    )

    assert ended.code == 4
    assert "warning: ORCHESTRATOR_BASE_URL wins over server.base_url in " in ended.err


@pytest.mark.parametrize("text", ["ab" * 32, "AB:" * 31 + "ab", f"SHA256:{'aB' * 32}"])
def test_a_fingerprint_may_be_written_in_the_usual_ways(text: str) -> None:
    """As openssl, a browser or sha256sum shows it."""
    assert values.fingerprint("--trust-sha256", text) == ":".join(["AB"] * 32)


def test_what_is_no_fingerprint_is_refused() -> None:
    """A SHA-1 is too short."""
    with pytest.raises(UsageError, match="is not a SHA-256"):
        values.fingerprint("--trust-sha256", "ab" * 20)


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("another name", "hint: ask whoever runs the server for a certificate of this name"),
        ("expired", "hint: set this machine's clock right if it is wrong, else ask whoever runs"),
    ],
)
def test_every_command_has_the_advice_that_fits_a_certificate(
    tmp_path: Path,
    newcomer: dict[str, str],
    key_file: Path,
    kind: str,
    advice: str,
) -> None:
    """Its authority is trusted; a list, an emergency, and a look: `check` is not their advice."""
    with behind_tls(tls_of(kind, tmp_path)) as url:
        here = (
            *("--base-url", url, "--access-key", ACCESS_KEY, "--secret-key-file", str(key_file)),
            *("--ca-file", str(tmp_path / "authority.pem")),
        )
        ended = [
            child("pause", str(write_list(tmp_path, 1234001)), *here, env=newcomer),
            child("pause-all", "--vdn", "1234", "--yes", *here, env=newcomer),
            child("status", "--vdn", "1234", *here, env=newcomer),
        ]

    assert [one.code for one in ended] == [4, 6, 4]
    for one in ended:
        assert advice in one.err
        assert "orchestrator check" not in one.err + one.out
