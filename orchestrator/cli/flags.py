"""The flags that several commands share, each named and explained once.

Every value is text; settings/ and values.py check it. A plain `pause` or `pause-all` reads these
flags without cyclopts (plain.py); for all others parameters.py translates them for cyclopts.
"""

# Annotations are read when this runs, so they are no strings here.
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any


class Flag:
    """What is said about one flag, in the words of `cyclopts.Parameter`."""

    __slots__ = ("said",)

    def __init__(self, **said: Any) -> None:
        self.said = said


Vdn = Annotated[str | None, Flag(name="--vdn", help="N: VDN of a list without a VDN column.")]
Vdns = Annotated[
    list[str] | None, Flag(name="--vdn", help="N: the VDN (tenant), 1 to 9999; repeatable.")
]
RunDir = Annotated[
    Path | None,
    Flag(
        name="--run-dir",
        help="DIR: the run directory itself. Default: a new one in the state directory.",
    ),
]
Rate = Annotated[
    str | None,
    Flag(name="--rate", help="R: requests in any one second, at most 100,000. Default: 10."),
]
Concurrency = Annotated[
    str | None,
    Flag(name="--concurrency", help="C: requests in flight, at most 1,024. Default: 8."),
]
DryRun = Annotated[bool, Flag(name="--dry-run", help="Show what would be done; change nothing.")]
Deadline = Annotated[
    str | None, Flag(name="--deadline", help="S: seconds after which nothing new is sent.")
]
Reason = Annotated[str, Flag(name="--reason", help="TEXT: why, for the report. Never required.")]
Yes = Annotated[
    bool,
    Flag(
        name="--yes",
        help="Do not ask for the VDN number(s); no variable replaces this flag.",
    ),
]
EvenIfOld = Annotated[
    bool, Flag(name="--even-if-old", help="Although RUN was last written over 24 h ago.")
]
Json = Annotated[bool, Flag(name="--json", help="One JSON document on one line, last on stdout.")]
#: which run is meant
RUN_HELP = "A run directory, a run id, a unique end of one, or `last`."


@dataclass(frozen=True)
class Shared:
    """What every command takes."""

    verbose: Annotated[int, Flag(name="-v", count=True, help="Say more; -vv: say everything.")] = 0
    quiet: Annotated[bool, Flag(name="-q", help="Say only errors and results.")] = False
    debug: Annotated[bool, Flag(name="--debug", help="Show where an error came from.")] = False
    log_format: Annotated[
        str, Flag(name="--log-format", help="FORMAT: console or json. Default: console.")
    ] = "console"
    log_file: Annotated[
        Path | None, Flag(name="--log-file", help="FILE: log into it instead of stderr.")
    ] = None
    config: Annotated[Path | None, Flag(name="--config", help="FILE: the settings file.")] = None
    base_url: Annotated[
        str | None, Flag(name="--base-url", help="URL: the server, https://HOST:28080.")
    ] = None
    access_key: Annotated[str | None, Flag(name="--access-key", help="AK: the access key.")] = None
    ca_file: Annotated[
        str | None, Flag(name="--ca-file", help="FILE: certificates of a private authority.")
    ] = None

    def settings(self, **more: str | None) -> dict[str, object]:
        """The flags that are settings, by their TOML key; `more` names pace and retry settings."""
        return {
            "server.base_url": self.base_url,
            "credentials.access_key": self.access_key,
            "server.ca_file": self.ca_file,
            **{_KEYS[name]: value for name, value in more.items()},
        }


_KEYS = {
    "rate": "pace.rate_per_s",
    "concurrency": "pace.concurrency",
    "patience": "retry.patience_s",
}

#: as the last parameter of a command
Common = Annotated[Shared, Flag(name="*")]
NO_FLAGS = Shared()
