"""What commands have in common: how a flag is described, the flags of several, the exit codes.

A flag that is a setting has its words from settings/schema.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from orchestrator.cli import values
from orchestrator.settings.schema import SPECS

#: docs/spec/contracts.md, "Exit codes"
EXIT_CODES = {
    "0": "every campaign is stopped (or accepted by --accept); pause-all: quiet is proven",
    "1": "some campaigns are not stopped, bad lines were skipped, or --deadline has passed",
    "2": "usage, settings or list refused, or not the run's server or list; nothing was sent",
    "3": "ended early: credentials refused",
    "4": "ended early: server unreachable or failing beyond patience, TLS, or --max-failures",
    "5": "the journal or the report could not be stored",
    "6": "quiet not proven, or something still runs (pause-all, status --prove)",
    "7": "refused: not confirmed, run locked by another process, over --max-campaigns, too old",
    "70": "a bug in the orchestrator (the report is still written)",
    "129/130/143": "interrupted by SIGHUP/SIGINT/SIGTERM; `orchestrator continue RUN` finishes it",
}


class Flag(NamedTuple):
    """A flag of a command; a name without dashes is an argument."""

    name: str
    #: what stands for its value, or the values that there are: a|b; empty: it takes none
    value: str
    help: str
    #: reads the text of its value; gets the name of the flag too
    read: Callable[[str, str], object] = values.text
    #: what the value is called in the result, where that is not the flag's own name
    dest: str = ""
    #: what argparse does with it, where that is not to store one value
    action: str = ""

    @property
    def is_argument(self) -> bool:
        """Whether it is known by its place, not by a name."""
        return not self.name.startswith("-")

    @property
    def called(self) -> str:
        """What it is called in help and messages: --vdn, RUN."""
        return self.name.upper() if self.is_argument else self.name


def setting(key: str, default: str = "") -> Flag:
    """Make the flag of a setting: its text is checked with the other settings."""
    row = SPECS[key]
    words = f"{row.words}; default: {default}" if default else row.help
    return Flag(row.flag, row.metavar, words, dest=key)


RUN = Flag("run", "RUN", "a run directory, a run id, a unique end of one, or `last`", values.word)
RUN_DIR = Flag("--run-dir", "DIR", "the run directory itself; default: a new one", values.path)
RATE = setting("pace.rate_per_s")
CONCURRENCY = setting("pace.concurrency")
DEADLINE = Flag("--deadline", "S", "seconds after which nothing new is sent", values.seconds)
REASON = Flag("--reason", "TEXT", "why, for the report; never required")
OPERATOR = setting("operator.name")
JSON = Flag("--json", "", "one JSON document on one line, last on stdout")
DRY_RUN = Flag("--dry-run", "", "show what would be done; change nothing")
YES = Flag("--yes", "", "do not ask for the VDN number(s); no variable replaces this flag")
OLD = Flag("--even-if-old", "", "although RUN was last written over 24 h ago")
ACCEPT = Flag("--accept", "OUTCOME", "counts as success; repeatable", values.outcome, "", "append")
VDNS = Flag("--vdn", "N", "the VDN (tenant), 1 to 9999; repeatable", values.vdn, action="append")

#: SIGHUP does not end it
EMERGENCY_CODES = {
    **{code: why for code, why in EXIT_CODES.items() if "/" not in code},
    "130/143": "interrupted by SIGINT/SIGTERM; `orchestrator continue RUN` finishes it",
}

#: of a restore, in its own sense
RESTORE_CODES = {
    **{code: why for code, why in EXIT_CODES.items() if code != "6"},
    "0": "every campaign that was to run again runs, or another restore had started it before",
    "1": "some campaigns do not run again, or it is not known whether they do",
    "2": "usage or settings refused, another server, or RUN cannot be undone; nothing was sent",
    "4": "ended early: server unreachable or failing beyond patience, or TLS",
    "5": "the journal, the report, or the marks in RUN's directory could not be stored",
    "7": "refused: not confirmed, RUN locked by another process, or too old",
}

#: of commands that send nothing
DONE = {"0": "done"} | {code: EXIT_CODES[code] for code in ("2", "70")}

#: what every command takes, after its name
SHARED = (
    Flag("-v", "", "say more; -vv: say everything", dest="verbose", action="count"),
    Flag("-q", "", "say only errors and results", dest="quiet"),
    Flag("--debug", "", "show where an error came from"),
    Flag("--log-format", "console|json", "how events are written; default: console"),
    Flag("--log-file", "FILE", "log into this file, not to stderr; -vv: everything", values.path),
    Flag("--config", "FILE", "the settings file, or NAME: NAME.toml beside the usual", values.word),
    setting("server.base_url"),
    setting("credentials.access_key"),
    Flag(
        "--secret-key-file",
        "FILE",
        "the secret key alone on one line, readable by you only",
        dest="credentials.secret_key_file",
    ),
    setting("server.ca_file"),
    Flag("--help", "", "show this, as `orchestrator help COMMAND` does"),
)
