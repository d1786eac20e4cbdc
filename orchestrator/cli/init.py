"""`init`: asks for what the other commands need, writes it where they look, ends with `check`.

Nothing is written before everything is known. No certificate is trusted that nobody was asked
about, or whose fingerprint was not given.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from orchestrator.cli import output
from orchestrator.cli.commands import check
from orchestrator.cli.questions import Questions, explain
from orchestrator.errors import (
    NotBegunError,
    RefusedError,
    ServerError,
    SettingsError,
    StorageError,
    UsageError,
)
from orchestrator.loading import load_aiohttp
from orchestrator.model import Refusal
from orchestrator.settings import files, secret_file
from orchestrator.settings.checks import read_secret
from orchestrator.settings.layers import SYSTEM_FILE, file_layer, files_named, usual_files
from orchestrator.settings.load import usual_state_dir
from orchestrator.settings.schema import SECRET_KEY_FILE, SPECS
from orchestrator.settings.server_url import ServerUrl, read_base_url
from orchestrator.settings.writing import changes, toml_text, write_whole
from orchestrator.streams import is_terminal
from orchestrator.text import for_terminal

if TYPE_CHECKING:
    from orchestrator.isales.probe import Presented
    from orchestrator.settings.secret import Secret

_NOTHING = "Nothing was written"
_CONNECT_S = 5.0
_CA_FILE = "server.ca_file"


class _Target(NamedTuple):
    """Where the settings go, and what is there already, by key."""

    file: Path
    before: dict[str, object]
    #: the command that changes them
    command: str

    def beside(self, suffix: str) -> Path:
        """A file of ours in the same directory."""
        return self.file.with_name(f"{self.file.stem}{suffix}")

    @classmethod
    def of(cls, config: str | None) -> Self:
        """The file that the other commands would read.

        Raises:
            SettingsError: it is there, and cannot be used.
        """
        identity = files.Identity.current()
        usual = usual_files(os.environ, identity)
        places = files_named(config, usual) if config else usual
        there = [place for place in places if place.exists()]
        # the user's is looked for first; what root makes is the machine's, unless it says otherwise
        is_the_machines = identity.uid == 0 and not os.environ.get("XDG_CONFIG_HOME")
        file = (there or (places[::-1] if is_the_machines else places))[0]
        file = files.working_directory() / file
        try:
            document = files.read_settings_file(file, identity) if there else {}
            layer = file_layer(document, file=file, base=file.parent)
        except SettingsError as error:
            sentence = f"{error.sentence}. {_NOTHING}."
            raise SettingsError(sentence, key=error.key, advice=error.advice) from error
        named = f" --config {shlex.quote(config)}" if config else ""
        before = {key: given.value for key, given in layer.items()}
        return cls(file, before, f"orchestrator init{named}")


def init(given: Namespace) -> int:
    """Ask, write, check; returns the exit code of `check`."""
    target = _Target.of(given.config)
    why = files.no_place(target.file.parent)
    if why:
        raise StorageError(f"{why}. {_NOTHING}.", advice="name another file with --config FILE")
    can_ask = not given.yes and is_terminal(sys.stdin) and is_terminal(sys.stderr)
    flags = {key: value for key, value in vars(given).items() if key in SPECS}
    questions = Questions(flags | {"server.vdns": given.vdn}, target.before, can_ask=can_ask)
    if can_ask:
        output.say(f"The settings go into {target.file}.")
        output.say("Enter takes what stands in [brackets]; Ctrl-C leaves, and nothing is written.")
    try:
        after = _fill_in(given, target, questions)
    except KeyboardInterrupt:
        raise NotBegunError(f"interrupted. {_NOTHING}.", exit_code=130) from None
    except SettingsError as error:
        sentence = f"{error.sentence}. {_NOTHING}."
        raise SettingsError(sentence, key=error.key, advice=error.advice) from error
    code = _check(given, target.file)
    vdns = after.get("server.vdns")
    if code == 0 and isinstance(vdns, list):
        command = f"In an emergency: `orchestrator pause-all --vdn {vdns[0]}`"
        output.say(output.with_commands(command))
    return code


def _fill_in(given: Namespace, target: _Target, questions: Questions) -> dict[str, object]:
    """Ask for everything, then write it; returns what was written."""
    url, trust = _find_server(given, target, questions)
    presented = None if isinstance(trust, str) else trust
    usual_name = url.host if url else ""
    answers = {
        "server.base_url": url.text if url else None,
        _CA_FILE: str(target.beside(".ca.pem")) if presented else trust or None,
        "server.name": questions.setting(
            "server.name", "Name of the server", flag="--server-name", usual=usual_name
        ),
        "credentials.access_key": questions.setting(
            "credentials.access_key", "Access key (AK)", needed=True
        ),
    }
    secret_at, secret = _find_secret(target, questions)
    login = files.login_name(os.environ, files.Identity.current())
    state_dir = usual_state_dir(os.environ, files.Identity.current(), output.warn)
    answers |= {
        SECRET_KEY_FILE: str(secret_at) if secret_at else None,
        "operator.name": questions.setting("operator.name", "Who is at work", usual=login),
        "state.dir": questions.setting(
            "state.dir", "Directory of the runs", flag="--state-dir", usual=str(state_dir)
        ),
        "server.vdns": questions.setting(
            "server.vdns", "VDNs that matter, such as 1201 1202", flag="--vdn", usual="none"
        ),
    }
    if questions.missing:
        raise UsageError(
            f"init cannot ask here, and lacks {', '.join(questions.missing)}. {_NOTHING}.",
            advice="add them, or run `orchestrator init` at a terminal without --yes",
        )
    after = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in (target.before | answers).items()
        if value is not None and value != ()
    }
    _confirm_changes(target, after, questions)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        if secret is not None and secret_at is not None:
            write_whole(secret_at, f"{secret.reveal()}\n".encode(), is_secret=True)
            output.say(f"wrote {secret_at}")
        if presented is not None:
            write_whole(target.beside(".ca.pem"), presented.pem.encode(), mode=0o644)
            output.say(f"wrote {target.beside('.ca.pem')}")
        if after != target.before or not target.file.exists():
            write_whole(target.file, toml_text(after, init=target.command).encode())
            output.say(f"wrote {target.file}")
        else:
            output.say(f"{target.file} is as it was")
    finally:
        signal.signal(signal.SIGINT, before)
    is_shared = target.file.stat().st_mode & 0o040
    if os.geteuid() == 0 and target.file.parent == SYSTEM_FILE.parent and not is_shared:
        share = shlex.join(str(one) for one in (target.file, secret_at) if one)
        output.say("Only root can read them. To share them with a group of operators:")
        output.say(f"  chgrp GROUP {share} && chmod 640 {share}")
    return after


def _confirm_changes(target: _Target, after: dict[str, object], questions: Questions) -> None:
    """Show what will differ from the settings that are there.

    Raises:
        RefusedError: they are to stay as they are.
    """
    differences = changes(target.before, after)
    if not (target.before and differences):
        return
    output.say(f"{target.file} changes:")
    for line in differences:
        output.say(f"  {for_terminal(line, limit=300)}")
    if questions.can_ask and not questions.yes("Write it? The old one is kept as .bak"):
        raise RefusedError(f"the settings were left as they are. {_NOTHING}.")


# -- the server ---------------------------------------------------------------------------------


def _find_server(
    given: Namespace, target: _Target, questions: Questions
) -> tuple[ServerUrl | None, str | Presented]:
    """The URL, and why its certificate is trusted: a CA file, empty for the system's, or a new one.

    Raises:
        ServerError: nobody can be asked again, and the certificate cannot be looked at or used.
    """
    load_aiohttp()
    from orchestrator.isales.probe import ProbeError  # noqa: PLC0415 - the client

    while True:
        text = questions.setting("server.base_url", "URL, https://HOST:28080", needed=True)
        url = read_base_url(str(text)) if text else None
        if not isinstance(url, ServerUrl):
            return None, ""
        if url.scheme != "https":
            return url, ""
        try:
            return url, _find_trust(given, target, questions, url)
        except ProbeError as error:
            if not questions.can_ask or questions.flags["server.base_url"]:
                raise ServerError(
                    f"{error}. {_NOTHING}.",
                    advice="correct --base-url, or call it again when the server answers there"
                    " with a certificate for that name",
                ) from error
            output.say(f"  {for_terminal(str(error), limit=1000)}")


def _trusted_already(target: _Target, questions: Questions, url: ServerUrl) -> str | None:
    """By the CA file that is named, that of the settings, or the system (empty); None: by none."""
    from orchestrator.isales.client import tls_context  # noqa: PLC0415 - aiohttp
    from orchestrator.isales.probe import UntrustedError, try_connection  # noqa: PLC0415 - aiohttp

    known = questions.known(_CA_FILE)
    is_named = questions.flags[_CA_FILE] is not None
    for ca_file in [str(known), None] if known else [None]:
        try:
            place = _place(target, ca_file) if ca_file else None
            if place:
                files.check_ca_file(place, origin="--ca-file" if is_named else _CA_FILE)
            context = tls_context(place)
            asyncio.run(try_connection(url.host, url.port, context=context, timeout_s=_CONNECT_S))
        except (UntrustedError, SettingsError):
            if is_named:
                raise
        else:
            return ca_file or ""
    return None


def _find_trust(
    given: Namespace, target: _Target, questions: Questions, url: ServerUrl
) -> str | Presented:
    """Trust what is trusted already; else the certificate that somebody says is the right one."""
    from orchestrator.isales.probe import look_at_certificate  # noqa: PLC0415 - aiohttp

    found = None
    if given.trust_sha256:
        found = asyncio.run(look_at_certificate(url.host, url.port, timeout_s=_CONNECT_S))
        if given.trust_sha256 != found.sha256:
            raise RefusedError(
                f"{url.host}:{url.port} presents a certificate with SHA-256 {found.sha256},"
                f" not the one that --trust-sha256 names. {_NOTHING}.",
                advice="ask the server's administrator which one is right",
            )
    trusted = _trusted_already(target, questions, url)
    if trusted is not None:
        return trusted
    if found is not None:
        return found
    found = asyncio.run(look_at_certificate(url.host, url.port, timeout_s=_CONNECT_S))
    if not questions.can_ask:
        why = f"nobody vouches for the server's certificate, SHA-256 {found.sha256}"
        questions.missing.append(f"--trust-sha256 HEX ({why})")
        return ""
    _show(url, found)
    if questions.yes("Is this the server's certificate?"):
        return found
    raise RefusedError(
        f"the certificate was not accepted. {_NOTHING}.",
        advice="ask the server's administrator for its SHA-256, or for the authority's certificate:"
        " --ca-file FILE",
    )


def _show(url: ServerUrl, found: Presented) -> None:
    kind = "itself (self-signed)" if found.is_self_signed else found.issuer
    output.say(f"Nobody whom this machine trusts vouches for the certificate of {url.host}:")
    for name, value in (
        ("subject", found.subject),
        ("issuer", kind),
        ("for", for_terminal(", ".join(found.names), limit=300)),
        ("valid", f"{found.begins} to {found.ends}"),
        ("SHA-256", found.sha256),
    ):
        output.say(f"  {name:<8} {value}")
    output.say(
        "Compare the SHA-256 with what the server's administrator tells you. If it is right,"
    )
    output.say(
        "this certificate will be trusted and no other; when it is renewed, call init again."
    )
    output.say("Or answer no, and give the file of the server's authority with --ca-file FILE.")


# -- the secret key -----------------------------------------------------------------------------


def _find_secret(target: _Target, questions: Questions) -> tuple[Path | None, Secret | None]:
    """The file that is named, or is there already; else a new one, and what was typed."""
    named = questions.known(SECRET_KEY_FILE)
    file = _place(target, str(named)) if named else target.beside(".secret_key")
    flag = questions.flags[SECRET_KEY_FILE]
    there = file.exists()
    if there and (flag or not questions.can_ask):
        secret_file.read(file, origin="--secret-key-file", identity=files.Identity.current())
        return file, None
    prompt = secret_file.terminal_prompt() if questions.can_ask else None
    if prompt is None:
        why = f" ({secret_file.shown_path(file)} is not there)" if named else ""
        questions.missing.append(f"--secret-key-file FILE{why}")
        return None, None
    output.say(f"The secret key goes into {file}; it is not shown while you type.")
    if there:
        output.say("Enter alone keeps the one that is in it.")
    while True:
        typed = prompt()
        if not typed and there:
            return file, None
        secret = read_secret(typed)
        if not isinstance(secret, Refusal):
            output.never_show(secret)
            return file, secret
        explain(secret)


def _place(target: _Target, named: str) -> Path:
    """A path as the settings file means it."""
    if named.startswith("~"):
        return Path(named).expanduser()
    return target.file.parent / named


# -- the end ------------------------------------------------------------------------------------


def _check(given: Namespace, file: Path) -> int:
    """Try what was written, and nothing that came from flags."""
    output.say("")
    nothing = dict.fromkeys(SPECS) | {"vdn": None, "json": False, "config": str(file)}
    return check(Namespace(**{**vars(given), **nothing}))
