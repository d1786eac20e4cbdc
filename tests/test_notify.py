"""Promises of notify.py, against real listeners on loopback."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import notify
from orchestrator.notify import LIMIT_S, MOST_BYTES, TRY_S, WAITS_S, Answer, Channel, Message
from orchestrator.settings.notices import Notices
from orchestrator.settings.schema import NotifySettings
from orchestrator.settings.secret import Secret
from tests.listeners import listening

# apprise looks for a module that is gone from Python 3.13 on
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MESSAGE = Message(
    "run.ended", "orchestrator pause: exit code 1", "INCOMPLETE: 1 of 3 runs.", is_bad=True,
    at="2026-11-27T03:00:00.000Z", summary={"run_id": "r1", "exit_code": 1}, run_id="r1",
    results_sha256="ab" * 32,
)  # fmt: skip


def notices_of(url: str = "", *urls: str, ca_file: Path | None = None, **more: Any) -> Notices:
    """Settings of these addresses."""
    settings = NotifySettings(
        webhook_url=Secret(url) if url else None, urls=tuple(map(Secret, urls)), **more
    )
    return Notices(settings, ca_file)


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tries come at once."""
    monkeypatch.setattr(notify, "WAITS_S", (0.0, 0.0))


@pytest.mark.sockets
def test_a_webhook_gets_one_signed_cloud_event(tmp_path: Path) -> None:
    """Structured mode, the token of the URL as it is, and a signature that anybody can verify."""
    secret = tmp_path / "secret"
    secret.touch(0o600)
    secret.write_text("hook-secret\n")
    with listening() as hook:
        url = f"http://127.0.0.1:{hook.port}/T0/B0?token=%20x"
        told = notify.tell(notices_of(url, webhook_secret_file=secret), MESSAGE)

    assert [one.problem for one in told] == [""]
    (heard,) = hook.heard
    assert heard.path == "/T0/B0?token=%20x"
    assert heard.headers["Content-Type"] == "application/cloudevents+json"
    wanted = hmac.new(b"hook-secret", heard.body, hashlib.sha256).hexdigest()
    assert heard.headers["X-Orchestrator-Signature"] == f"sha256={wanted}"
    event = json.loads(heard.body)
    assert event.pop("id")
    assert event.pop("source").startswith("urn:orchestrator:")
    assert event == {
        "specversion": "1.0",
        "type": "orchestrator.run.ended",
        "subject": "r1",
        "time": "2026-11-27T03:00:00.000Z",
        "datacontenttype": "application/json",
        "data": {
            "summary": {"run_id": "r1", "exit_code": 1},
            "line": "INCOMPLETE: 1 of 3 runs.",
            "results_sha256": "ab" * 32,
        },
    }


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("statuses", "tries", "problem"),
    [
        ((500, 429, 204), 3, ""),
        ((503,), 3, "HTTP status 503"),
        ((403,), 1, "HTTP status 403"),
        ((302,), 1, "HTTP status 302"),
    ],
)
def test_three_tries_the_same_event_and_no_redirect(
    statuses: tuple[int, ...], tries: int, problem: str
) -> None:
    """What may pass is tried again under the same id; a redirect is followed nowhere."""
    with listening(*statuses) as hook:
        (told,) = notify.tell(notices_of(f"http://127.0.0.1:{hook.port}/token"), MESSAGE)

    assert told == ("the webhook at 127.0.0.1", problem)
    assert len(hook.heard) == tries
    assert len({one.body for one in hook.heard}) == 1
    assert {one.path for one in hook.heard} == {"/token"}


@pytest.mark.sockets
def test_tls_is_verified_with_the_authority_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `server.ca_file` it is taken, without it is not, and no proxy is asked."""
    import ssl

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with listening(context=context) as hook:
        url = f"https://localhost:{hook.port}/token"
        (known,) = notify.tell(notices_of(url, ca_file=ca_file), MESSAGE)
        (unknown,) = notify.tell(notices_of(url), MESSAGE)

    assert known.problem == ""
    assert unknown.problem.startswith("its certificate is not trusted")
    assert len(hook.heard) == 1


@pytest.mark.sockets
def test_apprise_tells_in_plain_text_beside_the_webhook() -> None:
    """Two addresses and a webhook; each says for itself whether it was taken."""
    with listening() as hook, listening() as good, listening(500) as bad:
        told = notify.tell(
            notices_of(
                f"http://127.0.0.1:{hook.port}/",
                f"json://user:pa55word@127.0.0.1:{good.port}/tok3n",
                f"json://127.0.0.1:{bad.port}/tok3n",
            ),
            MESSAGE,
        )

    assert told == [
        ("the webhook at 127.0.0.1", ""),
        ("notify.urls, entry 1 (json)", ""),
        ("notify.urls, entry 2 (json)", "not taken"),
    ]
    document = json.loads(good.heard[0].body)
    assert document["title"] == MESSAGE.title
    assert document["message"] == MESSAGE.line
    assert document["type"] == "failure"
    assert len(bad.heard) == 3


def test_an_address_that_apprise_does_not_know_is_said_by_its_place() -> None:
    """The words name the service, nothing else of the address."""
    (told,) = notify.tell(notices_of("", "nonsense://tok3n/tok3n"), MESSAGE)

    assert told == (
        "notify.urls, entry 1 (nonsense)",
        "apprise does not know such an address",
    )


def test_without_apprise_the_extra_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence for all addresses."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    (told,) = notify.tell(notices_of("", "json://a", "json://b"), MESSAGE)

    assert "extra `notify`" in told.problem
    assert told.name == "notify.urls"


@pytest.mark.sockets
def test_a_listener_that_never_answers_costs_ten_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Three tries and their waits fit in the limit; a listener that takes the bytes is no other."""
    assert LIMIT_S == 10
    assert 3 * TRY_S + sum(WAITS_S) < LIMIT_S
    monkeypatch.setattr(notify, "TRY_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as dead:
        port = dead.getsockname()[1]
        (told,) = notify.tell(notices_of(f"http://127.0.0.1:{port}/"), MESSAGE)

    assert told.problem == "no answer in 0.05 s"


def test_a_channel_that_hangs_holds_up_nobody_else() -> None:
    """What others said counts; the one that hangs is left behind."""
    released = threading.Event()

    def hang() -> Answer:
        released.wait(60)
        return Answer()

    def fail() -> Answer:
        raise ValueError("https://token@example.com")

    channels = [Channel("a", hang), Channel("b", Answer), Channel("c", fail)]
    told = notify.send_all(channels, limit_s=0.2)
    released.set()

    assert told == [("a", "no answer in 0.2 s"), ("b", ""), ("c", "ValueError")]


def test_a_secret_file_that_others_may_read_is_no_secret(tmp_path: Path) -> None:
    """Nothing is sent unsigned."""
    secret = tmp_path / "secret"
    secret.write_text("hook-secret\n")
    secret.chmod(0o644)

    (told,) = notify.tell(
        notices_of("http://127.0.0.1:9/token", webhook_secret_file=secret), MESSAGE
    )

    assert told.problem.startswith(f"notify.webhook_secret_file: {secret}: others may read")


@given(
    sizes=st.dictionaries(
        st.sampled_from(["sweeps", "by_vdn", "calls", "settings", "notes", "reason", "server"]),
        st.integers(0, 70_000),
    ),
    line=st.text(max_size=50),
)
def test_an_event_never_has_more_than_64_kib(sizes: dict[str, int], line: str) -> None:
    """What is dropped is dropped in order, is named, and only where it must be."""
    summary = {name: "x" * size for name, size in sizes.items()} | {"run_id": "r1", "exit_code": 1}

    message = MESSAGE._replace(summary=summary, line=line)
    body = notify.event(message, event_id="1", source="urn:x")
    data = json.loads(body)["data"]

    assert len(body) <= MOST_BYTES
    dropped = data.get("truncated", [])
    assert data["summary"] == {key: summary[key] for key in summary if key not in dropped}
    assert data["summary"]["exit_code"] == 1
    first = [key for key in ("sweeps", "by_vdn", "calls", "settings") if key in summary]
    assert dropped[: len(first)] == first[: len(dropped)]
    assert len(body) + sum(len(str(summary[key])) for key in dropped) > MOST_BYTES or not dropped
