"""Turns what cyclopts says about a command line into two lines: the flag, and what to type.

A secret on a command line is not repeated; the message names the right way to give it.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING

from cyclopts import exceptions as cyclopts_errors

from orchestrator.cli.app import COMMANDS
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cyclopts import App, CycloptsError

#: flags that people try for the secret key
_SECRET_FLAGS = frozenset(
    {
        "--token",
        "--secret",
        "--secret-key",
        "--secretkey",
        "--secret-access-key",
        "--secret-key-file",
        "--sk",
        "--password",
    }
)
_NOTHING_SENT = "Nothing was sent."
#: no guess may lead to what starts calls or leaves a check out, unless it is nearly what was typed
_SURE = 0.85
_LIKELY = 0.65
_DANGEROUS = frozenset(
    {
        "restore",
        "--yes",
        "--no-verify",
        "--accept",
        "--skip-invalid",
        "--include-inferred",
        "--even-if-old",
    }
)
_TLS = "TLS is always verified; --ca-file FILE names the certificates of your own authority"
#: what other programs call something, and what it is here
_ELSEWHERE = {
    "-k": _TLS,
    "--ca": "did you mean --ca-file?",
    "--cacert": "did you mean --ca-file?",
    "--cert": "did you mean --ca-file?",
    "--url": "did you mean --base-url?",
    "--host": "did you mean --base-url?",
    "--server": "did you mean --base-url?",
    "--endpoint": "did you mean --base-url?",
    "--workers": "did you mean --concurrency?",
    "--threads": "did you mean --concurrency?",
    "--parallel": "did you mean --concurrency?",
    "--jobs": "did you mean --concurrency?",
    "--quiet": "did you mean -q?",
    "--silent": "did you mean -q?",
    "--verbose": "did you mean -v?",
    "-n": "did you mean --dry-run?",
    "--timeout": "did you mean --deadline?",
    "--proxy": "a proxy is never used",
}
#: what text programs and chats make of -- and of quotation marks
_LONG_DASHES = re.compile(r"(?=-*[\u2010-\u2015\u2212])[-\u2010-\u2015\u2212]+(?=[a-z])")
_CURLY = re.compile(r"[\u00ab\u00bb\u2018-\u201e]")
#: whoever types one of these wants an untrusted certificate to pass
_TLS_OFF = re.compile(
    r"insecure|(?:ssl|tls|cert).*(?:verif|check|valid)|(?:verif|check).*(?:ssl|tls|cert)"
)


def refuse_secrets(tokens: Iterable[str]) -> None:
    """Refuse a secret on the command line, without repeating it [C04].

    Raises:
        UsageError: there is one.
    """
    for token in tokens:
        if token == "--":  # noqa: S105 - no password
            return
        flag = token.partition("=")[0].lower().replace("_", "-")
        if flag in _SECRET_FLAGS:
            raise UsageError(
                f"{flag}: there is no such flag, because a command line is public. {_NOTHING_SENT}",
                advice="put the secret key in a file that only you can read, named in"
                " ORCHESTRATOR_SECRET_KEY_FILE (or credentials.secret_key_file in the settings)",
            )


def usage_error(error: CycloptsError, app: App, tokens: Sequence[str]) -> UsageError:
    """Say in our words why a command line cannot be acted on."""
    command = " ".join(error.command_chain or ())
    sentence = _long_dash(tokens) or _sentence(error, app, tokens)
    where = f"{command}: " if command else ""
    return UsageError(
        f"{where}{sentence}. {_NOTHING_SENT}",
        advice=" ".join(part for part in ("orchestrator", command, "--help") if part),
    )


def _long_dash(tokens: Sequence[str]) -> str:
    for token in tokens:
        dashes = _LONG_DASHES.match(token)
        if dashes:
            flag = f"--{token[dashes.end() :]}"
            return f"{token} begins with a long dash that a text program has made: write {flag}"
    return ""


def _sentence(error: CycloptsError, app: App, tokens: Sequence[str]) -> str:
    match error:
        case cyclopts_errors.UnknownOptionError():
            known = _flags(app, error.command_chain)
            short = (one for one in tokens if len(one) > 2 and f"-{one}" in known)
            flag = next(short, str(error.token.keyword or error.token.value))
            return f"unknown flag {flag}{_meant(flag, known)}"
        case cyclopts_errors.UnknownCommandError():
            name = (error.unused_tokens or tokens or ["?"])[0]
            known = [one.split()[0] for one in COMMANDS]
            return f"unknown command {name}{_near(name, known)}"
        case cyclopts_errors.MissingArgumentError():
            name = _name(error)
            if name.startswith("-"):
                given = any(token.partition("=")[0] == name for token in tokens)
                return f"{name} needs a value" if given else f"{name} is missing"
            return f"{name} is missing"
        case cyclopts_errors.UnusedCliTokensError():
            extra = (error.unused_tokens or ["?"])[0]
            return f"one argument too many: {extra}{_extra_meant(extra, tokens)}"
        case cyclopts_errors.RepeatArgumentError():
            return f"{_name(error)} is given twice"
        case cyclopts_errors.CoercionError():
            value = error.token.value if error.token else ""
            return f"{_name(error)} cannot be {value!r}"
        case _:
            error.verbose = False
            return str(error).strip().rstrip(".").replace("\n", " ")


def _name(error: CycloptsError) -> str:
    if error.argument is None:
        token = getattr(error, "token", None)
        return str(token.keyword) if token is not None else "an argument"
    if error.argument.index is not None:
        return str(error.argument.names[0]).upper().lstrip("-")
    return str(error.argument.name)


def _flags(app: App, chain: Sequence[str] | None) -> list[str]:
    for name in chain or ():
        app = app[name]
    return [name for one in app.assemble_argument_collection() for name in one.names]


def _meant(flag: str, known: Sequence[str]) -> str:
    name = flag.lower().replace("_", "-")
    if _TLS_OFF.search(name):
        return f" ({_TLS})"
    hint = _ELSEWHERE.get(name, "")
    named = re.search(r"--?[a-z-]+", hint)
    if hint and (named is None or named[0] in known):
        return f" ({hint})"
    return _near(flag, known)


def _extra_meant(extra: str, tokens: Sequence[str]) -> str:
    if any(_CURLY.search(token) for token in tokens):
        return " (a shell does not know curly quotation marks: write \" or ')"
    return f" (did you mean --vdn {extra}?)" if extra.isdigit() and "--vdn" in tokens else ""


def _near(name: str, known: Iterable[str]) -> str:
    # Without the dashes, which make every flag look a little like every other.
    by_name = {one.lstrip("-"): one for one in known}
    bare = name.lstrip("-").lower()
    for near in difflib.get_close_matches(bare, by_name, n=3, cutoff=_LIKELY):
        one = by_name[near]
        if one not in _DANGEROUS or difflib.SequenceMatcher(None, bare, near).ratio() >= _SURE:
            return f" (did you mean {one}?)"
    return ""
