"""Every error of the product: one class per reason, with its exit code.

An error carries its evidence as attributes and speaks one sentence; `advice` is the second line
that people see. No secret ever becomes an attribute.

OrchestratorError
├── UsageError            2   the command line makes no sense
├── SettingsError         2   a setting is missing or refused
├── ManifestError         2   the list cannot be used
├── JournalMismatchError  2   the journal belongs to another server, list or version
├── CredentialsError      3   the server refused the access key
├── ServerError           4   unreachable, failing, or not the API
├── StorageError          5   the journal or the report could not be stored
│   └── FencedError       5   another worker has this part of the run now
├── RefusedError          7   not confirmed, locked, over a limit, too old
├── NotBegunError       130   a signal (its own code: 129, 130, 143) came before the run began
└── BugError              70  ours
"""

from __future__ import annotations

from typing import NamedTuple


class OrchestratorError(Exception):
    """The root of all errors that people see."""

    exit_code: int = 70

    def __init__(self, sentence: str, *, advice: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.advice = advice

    def __str__(self) -> str:
        return self.sentence


class UsageError(OrchestratorError):
    """The command line cannot be acted on; nothing was sent."""

    exit_code = 2


class SettingsError(OrchestratorError):
    """A setting is missing or refused; nothing was sent."""

    exit_code = 2

    def __init__(self, sentence: str, *, key: str = "", advice: str = "") -> None:
        super().__init__(sentence, advice=advice)
        self.key = key


class Problem(NamedTuple):
    """One unusable place in a list."""

    #: where it stands: a line number as text, or a JSON path
    place: str
    reason: str


class ManifestError(OrchestratorError):
    """The list cannot be used; nothing was sent. Carries the first problems and their number."""

    exit_code = 2

    def __init__(
        self,
        path: str,
        problems: tuple[Problem, ...],
        *,
        total: int,
        skippable: bool = False,
        advice: str = "correct the list",
    ) -> None:
        first = problems[0]
        more = f" ({total:,} problems in all)" if total > 1 else ""
        super().__init__(
            f"{path}:{first.place}: {first.reason}{more}. Nothing was sent.",
            advice=f"{advice}, or add --skip-invalid to pause the rest" if skippable else advice,
        )
        self.path = path
        self.problems = problems
        self.total = total


class JournalMismatchError(OrchestratorError):
    """The run directory belongs to another server, another list or another version."""

    exit_code = 2


class CredentialsError(OrchestratorError):
    """The server refused the access key or the signature."""

    exit_code = 3


class ServerError(OrchestratorError):
    """The server cannot be reached, is unhealthy beyond patience, or is not CC-iSales."""

    exit_code = 4


class StorageError(OrchestratorError):
    """The journal or the report could not be stored."""

    exit_code = 5


class FencedError(StorageError):
    """A part of a run in a cluster has gone to another worker; nothing of ours is kept any more."""

    def __init__(self) -> None:
        super().__init__(
            "another worker has taken over this part of the run",
            advice="nothing needs to be done: that worker goes on with it",
        )


class RefusedError(OrchestratorError):
    """The orchestrator will not do this: not confirmed, locked, over a limit, too old."""

    exit_code = 7


class NotBegunError(OrchestratorError):
    """A signal came while the list or a journal was read; nothing was sent."""

    def __init__(self, sentence: str, *, exit_code: int, advice: str = "") -> None:
        super().__init__(sentence, advice=advice)
        self.exit_code = exit_code


class BugError(OrchestratorError):
    """A bug of ours: something happened that the code excludes."""

    exit_code = 70
