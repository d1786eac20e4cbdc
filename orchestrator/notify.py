"""`notify.*`: somebody is told how a run ended, by a webhook (CloudEvents 1.0) and by apprise.

Every channel has a thread of its own, three tries, and 10 s in all; no failure is more than a
sentence, and no sentence has more of an address than a host or a service. docs/reference.md,
"Notifications".
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import json
import logging
import socket
import ssl
import threading
import uuid
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlsplit

from orchestrator.errors import SettingsError
from orchestrator.settings import secret_file
from orchestrator.settings.files import Identity
from orchestrator.settings.schema import WEBHOOK_SECRET_FILE
from orchestrator.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.settings.notices import Notices
    from orchestrator.settings.secret import Secret

#: seconds for all tries of all channels
LIMIT_S = 10.0
#: seconds for one step of one try of a webhook
TRY_S = 3.0
#: seconds before the second try and the third
WAITS_S = (0.2, 0.4)
MOST_BYTES = 65_536
_DROPPED_FIRST = ("sweeps", "by_vdn", "calls", "settings")
_KEPT_LAST = ("run_id", "action", "verdict", "exit_code")
_LINE_MAX = 2_000
#: what a server answers that may take the message later
_LATER = frozenset({408, 425, 429})
_LIBRARIES = ("apprise", "requests", "urllib3")


class Message(NamedTuple):
    """What is told."""

    #: after `orchestrator.`: run.ended, run.refused, test
    kind: str
    #: a few words: the command and how it ended
    title: str
    #: the sentence
    line: str
    is_bad: bool
    #: ISO 8601
    at: str
    #: what summary.json holds; of a refusal the command and its exit code
    summary: Mapping[str, object]
    run_id: str = ""
    results_sha256: str = ""


class Answer(NamedTuple):
    """What became of a try."""

    #: why it was not taken; empty: it was
    problem: str = ""
    #: another try is in vain
    is_final: bool = False


class Channel(NamedTuple):
    """One way to tell."""

    #: for people, with nothing secret in it
    name: str
    send: Callable[[], Answer]


class Told(NamedTuple):
    """How a channel did."""

    name: str
    #: empty: taken
    problem: str


def tell(notices: Notices, message: Message) -> list[Told]:
    """Tell everybody, at the same time; returns after 10 s at the latest."""
    return send_all([*_webhooks(notices, message), *_apprise(notices, message)])


def send_all(channels: Sequence[Channel], *, limit_s: float = LIMIT_S) -> list[Told]:
    """Let every channel try three times; whoever has not answered by `limit_s` counts as dead."""
    found: list[str | None] = [None] * len(channels)
    done = threading.Event()

    def work(at: int) -> None:
        try:
            found[at] = _tried(channels[at].send)
        except Exception as error:  # noqa: BLE001 - other people's code; its words may hold a token
            found[at] = f"{type(error).__name__}"
        if None not in found:
            done.set()

    for at in range(len(channels)):
        try:
            threading.Thread(target=work, args=(at,), name="notify", daemon=True).start()
        except RuntimeError:
            found[at] = "no thread can be started"
    if None in found:
        done.wait(limit_s)
    late = f"no answer in {limit_s:g} s"
    return [
        Told(one.name, late if problem is None else problem)
        for one, problem in zip(channels, found, strict=True)
    ]


def _tried(send: Callable[[], Answer]) -> str:
    for wait_s in WAITS_S:
        answer = send()
        if not answer.problem or answer.is_final:
            return answer.problem
        threading.Event().wait(wait_s)
    return send().problem


# -- the webhook


def event(message: Message, *, event_id: str, source: str) -> bytes:
    """Make the CloudEvents object, in structured mode, of at most 64 KB."""
    summary = dict(message.summary)
    data: dict[str, object] = {
        "summary": summary,
        "line": message.line[:_LINE_MAX],
        "results_sha256": message.results_sha256 or None,
    }
    envelope: dict[str, object] = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": f"orchestrator.{message.kind}",
        **({"subject": message.run_id} if message.run_id else {}),
        "time": message.at,
        "datacontenttype": "application/json",
        "data": data,
    }
    dropped: list[str] = []
    for key in (*_DROPPED_FIRST, *(key for key in message.summary if key not in _KEPT_LAST)):
        body = json.dumps(envelope).encode()
        if len(body) <= MOST_BYTES:
            return body
        if key in summary:
            del summary[key]
            dropped.append(key)
            data["truncated"] = dropped
    return json.dumps(envelope).encode()


def signature(body: bytes, secret: Secret) -> str:
    """What X-Orchestrator-Signature holds."""
    return f"sha256={hmac.new(secret.reveal().encode(), body, hashlib.sha256).hexdigest()}"


def _webhooks(notices: Notices, message: Message) -> list[Channel]:
    settings = notices.settings
    if settings.webhook_url is None:
        return []
    url = settings.webhook_url
    name = f"the webhook at {urlsplit(url.reveal()).hostname}"
    headers = {
        "Content-Type": "application/cloudevents+json",
        "User-Agent": f"campaign-pause-orchestrator/{VERSION}",
    }
    source = f"urn:orchestrator:{quote(socket.gethostname() or 'unknown', safe='')}"
    body = event(message, event_id=str(uuid.uuid4()), source=source)
    if settings.webhook_secret_file is not None:
        try:
            secret = secret_file.read(
                settings.webhook_secret_file,
                origin=WEBHOOK_SECRET_FILE,
                identity=Identity.current(),
            )
        except SettingsError as error:
            unsigned = Answer(error.sentence, is_final=True)
            return [Channel(name, lambda: unsigned)]
        headers["X-Orchestrator-Signature"] = signature(body, secret)
    return [Channel(name, lambda: _post(url, body, headers, notices.ca_file))]


def _post(url: Secret, body: bytes, headers: Mapping[str, str], ca_file: Path | None) -> Answer:
    """Post once: no proxy, no redirect, and TLS is always verified."""
    parts = urlsplit(url.reveal())
    host = parts.hostname or ""
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection: HTTPConnection | None = None
    try:
        if parts.scheme == "https":
            context = _tls_context(ca_file)
            connection = HTTPSConnection(host, parts.port, timeout=TRY_S, context=context)
        else:
            connection = HTTPConnection(host, parts.port, timeout=TRY_S)
        connection.request("POST", target, body, dict(headers))
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return Answer(_words(error), is_final=isinstance(error, ssl.SSLCertVerificationError))
    finally:
        if connection is not None:
            connection.close()
    if 200 <= status < 300:
        return Answer()
    return Answer(f"HTTP status {status}", is_final=status < 500 and status not in _LATER)


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The system's authorities, and those of the server."""
    context = ssl.create_default_context()
    context.verify_flags = ssl.VERIFY_X509_TRUSTED_FIRST | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file is not None:
        context.load_verify_locations(ca_file)
    return context


def _words(error: OSError | HTTPException) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted ({error.verify_message})"
        case TimeoutError():
            return f"no answer in {TRY_S:g} s"
        case HTTPException():
            return "no HTTP answer"
        case _:
            return error.strerror or type(error).__name__


# -- apprise


def _apprise(notices: Notices, message: Message) -> list[Channel]:
    urls = notices.settings.urls
    if not urls:
        return []
    if importlib.util.find_spec("apprise") is None:
        lacking = Answer(
            "apprise is not installed: it comes with the extra `notify`", is_final=True
        )
        return [Channel("notify.urls", lambda: lacking)]
    for name in _LIBRARIES:  # they log addresses
        logging.getLogger(name).addHandler(logging.NullHandler())
        logging.getLogger(name).propagate = False
    return [
        Channel(f"notify.urls, entry {number} ({url.reveal().partition(':')[0]})",
                partial(_by_apprise, url, message))
        for number, url in enumerate(urls, 1)
    ]  # fmt: skip


def _by_apprise(url: Secret, message: Message) -> Answer:
    import apprise  # noqa: PLC0415 - an extra, and slow: in its thread

    service = apprise.Apprise()
    if not service.add(url.reveal()):
        return Answer("apprise does not know such an address", is_final=True)
    kind = apprise.NotifyType.FAILURE if message.is_bad else apprise.NotifyType.INFO
    is_taken = service.notify(
        body=message.line[:_LINE_MAX],
        title=message.title,
        notify_type=kind,
        body_format=apprise.NotifyFormat.TEXT,
    )
    return Answer("" if is_taken else "not taken")
