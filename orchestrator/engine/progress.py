"""How far a run is: numbers that the engine writes and the command line reads.

Only the retry rules decide anything by them, from `left` and `useful_changes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.policy.decide import Outcome


class Wait(NamedTuple):
    """Something that is waited for: "waiting 8 s before trying campaign 600233 again"."""

    #: monotonic seconds
    until_s: float
    #: what is said before the seconds that are left, and after them
    before: str
    after: str


@dataclass(slots=True)
class Progress:
    """How far a run is at this moment."""

    #: of the run; empty until it has begun
    run_id: str = ""
    #: its directory while this process works there: other processes may read there how far it is
    folder: Path | None = None
    #: what it is doing, for people: "looking", "pausing", "checking", "proving"
    phase: str = "starting"
    #: campaigns to act on, as far as known
    campaigns: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    #: requests under way, those included that wait for the pace or a connection
    in_flight: int = 0
    #: those among them that wait for the pace
    in_line: int = 0
    #: other runs against this server with which the rate is shared
    sharing: int = 0
    #: one of them is an emergency, which goes first
    yields: bool = False
    #: the pace is below its ceiling, because the server is too busy
    is_slowed: bool = False
    backing_off: int = 0
    #: campaigns that had an outcome and had to be begun again (pause-all)
    reopened: int = 0
    #: rows whose state was confirmed after the last answer
    checked: int = 0
    #: attempts after the first of a campaign
    repeats: int = 0
    requests: int = 0
    #: what came of requests: `change` or `read`, and the kind of the answer
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    #: PUTs with an answer that shows the server works; tells a stubborn campaign from an outage
    useful_changes: int = 0
    ceiling_per_s: float = 0.0
    concurrency: int = 0
    #: empty while the breaker is closed
    breaker: str = ""
    #: why the run is ending; empty while it goes on
    ending: str = ""
    #: calls in progress in the campaigns that were stopped; None: not counted
    calls: int | None = None
    #: the last thing worth a line: a corrected signature, a VDN that could not be looked at
    notice: str = ""
    #: what is being waited for, by whose wait it is
    waits: dict[Hashable, Wait] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Campaigns that have an outcome."""
        return self.outcomes.total()

    @property
    def left(self) -> int:
        """Campaigns without an outcome."""
        return max(0, self.campaigns + self.reopened - self.settled)

    @contextmanager
    def waiting(
        self, key: Hashable, until_s: float, before: str, after: str = ""
    ) -> Iterator[None]:
        """Let people know of a wait until `until_s`, monotonic, while it lasts.

        What is left of it is said between `before` and `after`, in seconds.
        """
        self.waits[key] = Wait(until_s, before, after)
        try:
            yield
        finally:
            self.waits.pop(key, None)

    def longest_wait(self, now_s: float) -> Wait | None:
        """The wait that ends last: the run goes on for so long at least."""
        waits = [wait for wait in self.waits.values() if wait.until_s > now_s]
        return max(waits, default=None)
