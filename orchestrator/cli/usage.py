"""What is said about a command line that cannot be acted on: all its wrong flags, what was meant.

No suggestion starts calls, skips the question or switches off a check. A secret is not repeated.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import takewhile

from orchestrator.errors import UsageError

_TLS = "TLS is always verified; --ca-file FILE names the certificates of your own authority"
_NO_GUESS = "flags that skip the question or a check are not suggested; see --help"
_NO_START = "commands that start calls are not suggested; see `orchestrator --help`"
_LIMITS = "--rate R limits the requests in a second, --max-campaigns N refuses a longer list"
_THE_LIST = "the list is an argument: `orchestrator pause LIST`"

#: what people type → the flag or command that does it here, or what to know instead
TYPED = {
    # flags of other programs
    **dict.fromkeys(("--host", "--url", "--server", "--endpoint", "--baseurl"), "--base-url"),
    **dict.fromkeys(("--ca", "--cacert", "--cert", "--ca-bundle", "--ca-cert"), "--ca-file"),
    **dict.fromkeys(("--ak", "--user", "--access-key-id"), "--access-key"),
    **dict.fromkeys(("--workers", "--threads", "--parallel", "--jobs", "-j"), "--concurrency"),
    **dict.fromkeys(("--rps", "--qps", "--rate-limit", "--speed"), "--rate"),
    **dict.fromkeys(("--timeout", "--max-time"), "--deadline"),
    **dict.fromkeys(("--tenant", "--vdns", "--vdn-id"), "--vdn"),
    **dict.fromkeys(("-n", "--dry", "--dryrun", "--noop", "--preview"), "--dry-run"),
    **dict.fromkeys(("--output", "--output-dir", "--out", "--dir", "-o", "-d"), "--run-dir"),
    **dict.fromkeys(("--comment", "--message", "--note", "-m"), "--reason"),
    **dict.fromkeys(("--exclude", "--without"), "--except"),
    **dict.fromkeys(("--settings", "--conf", "-c"), "--config"),
    **dict.fromkeys(("--log", "--logfile"), "--log-file"),
    **dict.fromkeys(("--quiet", "--silent", "-s"), "-q"),
    **dict.fromkeys(("--verbose", "--log-level"), "-v"),
    **dict.fromkeys(("--list", "--file", "--input", "-i"), _THE_LIST),
    **dict.fromkeys(("--limit", "--max", "--count"), _LIMITS),
    **dict.fromkeys(("-y", "-f", "--force", "--no-confirm", "--assume-yes"), _NO_GUESS),
    **dict.fromkeys(("--no-check", "--skip-verify", "--ignore-errors"), _NO_GUESS),
    "--yes": "this command asks nothing",
    "--vdn": "pause-all --vdn N stops what dials in a VDN",
    "--all": "a VDN is always named: --vdn N, once for each",
    "--retries": "retry.max_attempts in the settings file",
    "--proxy": "a proxy is never used",
    "-k": _TLS,
    # commands of other programs
    **dict.fromkeys(("ls", "list", "history", "log", "logs", "status"), "runs"),
    **dict.fromkeys(("pauseall", "stop-all", "emergency", "panic"), "pause-all"),
    **dict.fromkeys(("test", "ping", "health", "doctor", "verify"), "check"),
    **dict.fromkeys(("settings", "conf"), "config show"),
    **dict.fromkeys(("setup", "configure", "install", "login"), "init"),
    **dict.fromkeys(("simulator", "serve", "mock"), "simulate"),
    "version": "`orchestrator --version` shows it",
    **dict.fromkeys(("stop", "halt"), "pause LIST stops a list, pause-all --vdn N a whole VDN"),
    **dict.fromkeys(("resume", "finish"), "continue RUN finishes a run that was interrupted"),
    **dict.fromkeys(("retry", "repeat"), "pause takes the failed.csv of a run as its list"),
    **dict.fromkeys(("abort", "cancel", "kill"), "press Ctrl-C where the run goes on"),
    **dict.fromkeys(("undo", "start", "restart", "unpause", "rollback"), _NO_START),
}
#: what no guess leads to
_DANGEROUS = {
    *("restore", "--yes", "--no-verify", "--accept", "--skip-invalid"),
    *("--include-inferred", "--even-if-old"),
}
_LIKELY = 0.65

#: flags that people try for the secret key
_SECRET_FLAG = re.compile(r"--(?:token|sk|password|secret(?:-access)?(?:-?key)?)")
#: whoever types one of these wants an untrusted certificate to pass
_TLS_OFF = re.compile(
    r"insecure|(?:ssl|tls|cert).*(?:verif|check|valid)|(?:verif|check).*(?:ssl|tls|cert)"
)
#: what text programs and chats make of --
_LONG_DASHES = re.compile(r"[\u2010-\u2015\u2212]+")
#: what looks like a flag: no text, no negative number, no group of short ones that exist
_FLAG = re.compile(r"(?!-[0-9.]+$|-[vqh]+$)[-\u2010-\u2015\u2212][^ ]+", re.DOTALL)


def unknown_command(tokens: Sequence[str], known: Collection[str]) -> UsageError:
    """Make the error for a line whose first word is no command."""
    name = tokens[0]
    refuse_secrets(tokens)
    hint = " (flags come after the command)" if name.startswith("-") else _meant(name, known)
    return UsageError(
        f"unknown command {name}{hint}. Nothing was sent.", advice="orchestrator --help"
    )


def wrong_line(
    said: UsageError, command: str, tokens: Sequence[str], known: Collection[str]
) -> UsageError:
    """Make the error for a line of one command: its unknown flags, and what the parser met first.

    With advice that is a refused value, and says enough.
    """
    refuse_secrets(tokens)
    unknown = [
        f"{flag}{_meant(flag, known)}"
        for flag in (token.partition("=")[0] for token in takewhile("--".__ne__, tokens))
        if flag not in known and _FLAG.fullmatch(flag)
    ]
    if said.advice and not unknown:
        return said
    wrong = []
    if unknown:
        wrong.append(f"unknown flag{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}")
    if not said.advice and (not unknown or said.sentence.startswith("-")):
        wrong.append(said.sentence)
    return UsageError(
        f"{command}: {'; '.join(wrong)}. Nothing was sent.",
        advice=f"orchestrator {command} --help",
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
        if _SECRET_FLAG.fullmatch(flag):
            raise UsageError(
                f"{flag}: a command line is public, so no flag takes a secret. Nothing was sent.",
                advice="put the secret key in a file that only you can read, named in"
                " ORCHESTRATOR_SECRET_KEY_FILE (or credentials.secret_key_file in the settings)",
            )


def too_many(extra: str, known: Collection[str]) -> str:
    """Say that an argument has no place."""
    is_vdn = extra.isdigit() and "--vdn" in known
    hint = f" (did you mean --vdn {extra}?)" if is_vdn else ""
    return f"one argument too many: {extra}{hint}"


def _meant(typed: str, known: Collection[str]) -> str:
    """What was most likely meant, in brackets; empty when nobody can tell."""
    name = _LONG_DASHES.sub("--", typed.lower().replace("_", "-"), count=1)
    answer = "" if name in known else TYPED.get(name, "")
    answer = answer or (_TLS if _TLS_OFF.search(name) else _near(name, known))
    if " " in answer and answer not in known:
        return f" ({answer})"
    return f" (did you mean {answer}?)" if answer in known else ""


def _near(name: str, known: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415 - for a line that was mistyped

    # Without the dashes, which make every flag look a little like every other.
    by_name = {one.lstrip("-"): one for one in known if one not in _DANGEROUS}
    near = difflib.get_close_matches(name.lstrip("-"), by_name, n=1, cutoff=_LIKELY)
    return by_name[near[0]] if near else ""
