"""What a caller may ask of a run, besides settings: plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.manifest.formats import Format
    from orchestrator.policy.decide import Outcome


#: seconds after which a pause-all gives up by default
EMERGENCY_DEADLINE_S = 1800.0


@dataclass(frozen=True)
class FailureLimit:
    """How many campaigns may fail before a run ends: a number, or a part of the plan."""

    number: float
    is_percent: bool = False

    def reached(self, *, failures: int, campaigns: int) -> bool:
        """Whether so many failures are enough."""
        return failures >= self.least(campaigns)

    def least(self, campaigns: int) -> int:
        """How many failures are enough, in a plan of so many campaigns."""
        limit = self.number * campaigns / 100 if self.is_percent else self.number
        return max(1, math.ceil(limit))


@dataclass(frozen=True)
class PauseOptions:
    """What a caller may ask of `pause`."""

    #: the VDN of lists that have no such column
    vdn: int | None = None
    #: None: by the name of the file
    format: Format | None = None
    #: None: a new directory below the state directory; `{date}` in it is the machine's date
    run_dir: Path | str | None = None
    verify: bool = True
    dry_run: bool = False
    skip_invalid: bool = False
    max_campaigns: int | None = None
    max_failures: FailureLimit | None = None
    #: seconds after which nothing new is sent; None: no limit
    deadline_s: float | None = None
    accept: frozenset[Outcome] = frozenset()
    reason: str = ""
    #: the workers of the cluster send
    cluster: bool = False


@dataclass(frozen=True)
class PauseAllOptions:
    """What a caller may ask of `pause-all`."""

    vdns: tuple[int, ...]
    run_dir: Path | str | None = None
    dry_run: bool = False
    hold_s: float = 0.0
    deadline_s: float = EMERGENCY_DEADLINE_S
    reason: str = ""
    #: its record is in the cluster's database, and a worker goes on with it when we die
    cluster: bool = False


@dataclass(frozen=True)
class RestoreOptions:
    """What a caller may ask of `restore`."""

    run_dir: Path | str | None = None
    #: campaigns to restore, all others left alone; None: all
    only: frozenset[tuple[int, int]] | None = None
    #: campaigns to leave alone
    except_: frozenset[tuple[int, int]] = frozenset()
    #: what these two were read from, for the report: a file, or the ids as they were typed
    only_from: str = ""
    except_from: str = ""
    #: VDNs to restore; empty: all
    vdns: frozenset[int] = frozenset()
    dry_run: bool = False
    limit: int | None = None
    include_inferred: bool = False
    even_if_old: bool = False
    reason: str = ""


@dataclass(frozen=True)
class ContinueOptions:
    """What a caller may ask of `continue`; None keeps what the journal says."""

    rate_per_s: float | None = None
    concurrency: int | None = None
    deadline_s: float | None = None
    even_if_old: bool = False
