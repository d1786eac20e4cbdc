"""What `--help` says: the emergency first, then usage, flags, examples and exit codes.

It is plain text, so that it appears at once on every terminal. The text of a flag stands beside
the flag.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from orchestrator.cli.app import COMMANDS, make_app

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cyclopts import ArgumentCollection

EMERGENCY = "In an emergency: orchestrator pause-all --vdn N"

#: docs/spec/contracts.md, "Exit codes"
EXIT_CODES = {
    "0": "every campaign is stopped (or accepted by --accept); pause-all: quiet is proven",
    "1": "finished, or out of --deadline, but some campaigns are not stopped, or bad lines skipped",
    "2": "usage, settings or list refused, another server or list than the run's; nothing was sent",
    "3": "ended early: credentials refused",
    "4": "ended early: server unreachable or failing beyond patience, TLS, or --max-failures",
    "5": "the journal or the report could not be stored",
    "6": "quiet not proven, or something still runs (pause-all)",
    "7": "refused: not confirmed, run locked by another process, over --max-campaigns, too old",
    "70": "a bug in the orchestrator (the report is still written)",
    "129/130/143": "interrupted by SIGHUP/SIGINT/SIGTERM; `orchestrator continue` finishes it",
}

_EXAMPLES = {
    "": (
        "orchestrator pause-all --vdn 1234 --reason 'wrong list'",
        "orchestrator pause campaigns.csv --rate 20",
        "orchestrator check --vdn 1234",
        "orchestrator restore last --except guilty.csv",
        "orchestrator demo",
    ),
    "pause": (
        "orchestrator pause campaigns.csv",
        "orchestrator pause ids.txt --vdn 1234 --rate 20 --concurrency 16",
        "orchestrator pause campaigns.csv --dry-run",
        "export-ids | orchestrator pause - --format jsonl --json",
        "orchestrator pause nightly.csv --run-dir /var/lib/runs/2026-11-23 --accept not_found",
    ),
    "pause-all": (
        "orchestrator pause-all --vdn 1234",
        "orchestrator pause-all --vdn 1234 --vdn 1235 --yes --reason 'order of 23 November'",
        "orchestrator pause-all --vdn 1234 --hold 600",
        "orchestrator pause-all --vdn 1234 --dry-run",
    ),
    "continue": ("orchestrator continue last", "orchestrator continue 7f3a --rate 20"),
    "restore": (
        "orchestrator restore last --dry-run",
        "orchestrator restore last --except guilty.csv",
        "orchestrator restore 7f3a --vdn 1234 --limit 10 --yes",
    ),
    "report": ("orchestrator report last", "orchestrator report 7f3a --json"),
    "runs": ("orchestrator runs", "orchestrator runs --json"),
    "check": ("orchestrator check --vdn 1234", "orchestrator check --vdn 1234 --json"),
    "config show": ("orchestrator config show", "orchestrator config show --json"),
    "simulate": (
        "orchestrator simulate --scenario emergency",
        "orchestrator simulate --campaigns 10000 --vdns 40 --faults 0.1 --seed 7",
    ),
    "demo": ("orchestrator demo",),
    "completion": (
        "orchestrator completion bash > ~/.local/share/bash-completion/completions/orchestrator",
        'orchestrator completion zsh > "${fpath[1]}/_orchestrator"',
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
    ),
}

#: what a command's flags do not say
_NOTES = {
    "pause": "MANIFEST is a CSV or JSON list of campaign ids; `-` reads stdin. With --run-dir a"
    " scheduler's retry is safe: an unfinished run of the same list is continued, a finished one"
    " shows its saved result and nothing is sent.",
    "pause-all": "Lists what runs, asks for the VDN number(s) to be typed (separated by spaces),"
    " pauses, catches what starts meanwhile, and ends with proof: two complete listings that show"
    " nothing started. Without a terminal --yes is needed.",
    "continue": "RUN: a run directory, a run id, a unique end of one, or `last`. Server, pace and"
    " verification are the run's own.",
    "restore": "RUN: a run directory, a run id, a unique end of one, or `last`, the newest that"
    " turned something off. Asks for the VDN number(s) of the run, separated by spaces, as"
    " pause-all does.",
    "report": "RUN: a run directory, a run id, a unique end of one, or `last`. Nothing is sent.",
    "check": "Sends nothing but GETs. Exit 0 only when an emergency would work; without --vdn the"
    " signature and the listing are not tried, so that exit is 1 at best.",
    "simulate": "Serves plain http on 127.0.0.1 until Ctrl-C; its keys are invented and public.",
    "demo": "Exit 0 when the report adds up and agrees with the simulator.",
    "completion": "SHELL: bash, zsh or fish.",
}

_CODES = {
    "runs": ("0", "2", "70"),
    "config show": ("0", "2", "70"),
    "completion": ("0", "2", "70"),
    "simulate": ("0", "2", "70"),
    "report": ("0", "1", "2", "3", "4", "5", "6", "70", "129/130/143"),
}
_CHECK_CODES = {
    "0": "an emergency would work right now",
    "1": "it would not: no campaign in the VDN, no place for the journal; or not everything tried",
    "2": "usage or settings refused",
    "3": "credentials refused",
    "4": "the server is unreachable or failing, or TLS fails",
    "70": EXIT_CODES["70"],
}
_DEMO_CODES = {
    "0": "the report adds up and agrees with the simulator",
    "1": "it does not",
    "70": EXIT_CODES["70"],
}


def main_help() -> str:
    """The text of `orchestrator --help`."""
    return "\n".join(
        [
            EMERGENCY,
            "",
            "Stop the dialling of outbound campaigns on a CC-iSales server, and prove it stopped.",
            "",
            "Usage: orchestrator COMMAND [ARGUMENTS] [FLAGS]",
            "",
            "Commands:",
            *_rows(COMMANDS.items()),
            "",
            "After the command: --help, and -v, -vv, -q, --debug, --log-format, --log-file,",
            "--config, --base-url, --access-key, --ca-file.  Before it: --version, --help.",
            "The secret key has no flag: ORCHESTRATOR_SECRET_KEY_FILE names a file that holds it.",
            "Shell completion: orchestrator completion bash|zsh|fish.",
            "",
            *_examples(""),
            "",
            *_exit_codes(EXIT_CODES),
        ]
    )


def command_help(command: str) -> str:
    """The help of one command, such as `pause` or `config show`."""
    app = make_app()
    for name in command.split():
        app = app[name]
    arguments = app.assemble_argument_collection()
    own, shared = _flag_rows(arguments)
    places = " ".join(_place(name) for name in _positionals(arguments))
    usage = f"Usage: orchestrator {command}{' ' if places else ''}{places} [FLAGS]"
    note = _NOTES.get(command)
    return "\n".join(
        [
            EMERGENCY,
            "",
            usage,
            "",
            f"{COMMANDS[command][:1].upper()}{COMMANDS[command][1:]}.",
            *([textwrap.fill(note, 98)] if note else []),
            "",
            *(["Flags:", *_rows(own), ""] if own else []),
            "Flags of every command:",
            *_rows(shared),
            "",
            *_examples(command),
            "",
            *_exit_codes(_codes_of(command)),
        ]
    )


def _codes_of(command: str) -> dict[str, str]:
    if command == "check":
        return _CHECK_CODES
    if command == "demo":
        return _DEMO_CODES
    codes = _CODES.get(command)
    if codes is not None:
        return {code: EXIT_CODES[code] for code in codes} | (
            {} if command == "report" else {"0": "done"}
        )
    return {code: why for code, why in EXIT_CODES.items() if code != "6" or command != "pause"}


def _positionals(arguments: ArgumentCollection) -> list[str]:
    return [one.names[0].lstrip("-").upper() for one in arguments if one.index is not None]


def _place(name: str) -> str:
    return name


def _flag_rows(
    arguments: ArgumentCollection,
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The flags of this command, and those that every command has."""
    own: list[tuple[str, str]] = []
    shared: list[tuple[str, str]] = []
    for one in arguments:
        if one.index is not None or not one.show or "*" in one.names:
            continue
        placeholder, colon, rest = (one.parameter.help or "").partition(": ")
        takes_value = colon and placeholder.isupper() and placeholder.isascii()
        row = (
            (f"{', '.join(one.names)} {placeholder}", rest)
            if takes_value
            else (", ".join(one.names), one.parameter.help or "")
        )
        (shared if one.keys else own).append(row)
    return own, shared


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    pairs = list(rows)
    width = max((len(name) for name, _ in pairs), default=0)
    lines: list[str] = []
    for name, text in pairs:
        wrapped = textwrap.wrap(text[:1].upper() + text[1:], max(40, 96 - width)) or [""]
        lines.append(f"  {name:<{width}}  {wrapped[0]}")
        lines.extend(f"  {'':<{width}}  {more}" for more in wrapped[1:])
    return lines


def _examples(command: str) -> list[str]:
    return ["Examples:", *(f"  {line}" for line in _EXAMPLES[command])]


def _exit_codes(codes: dict[str, str]) -> list[str]:
    return ["Exit codes:", *_rows(codes.items())]
