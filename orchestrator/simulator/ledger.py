"""What the server saw and did: one entry per request, and the counts that checks ask for.

It is written from what the wire brought, never from what the client says of itself. Counts are kept
when a request arrives, entries when its answer has been written or given up.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.model import CampaignRef
from orchestrator.simulator.routes import CHANGES, Kind


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as the server saw it."""

    #: order of arrival, from 1
    number: int
    #: seconds on the server's clock at which the request had been read
    at_s: float
    #: path and query exactly as sent
    target: str
    kind: Kind
    vdn_id: int | None
    #: the campaign it was about, if one
    ref: CampaignRef | None
    #: what was wrong with the signature; "" when nothing was
    signature_problem: str = ""
    #: the fault it met; "" for none
    fault: str = ""
    #: the change really happened, and this request did it
    took_effect: bool = False
    #: what the answer says; None when it says nothing or no answer was written
    http_status: int | None = None
    #: resultCode as sent; "" when none was
    result_code: str = ""
    #: a complete answer was handed to the network
    answered: bool = False

    @property
    def authorised(self) -> bool:
        """Whether its signature was in order."""
        return not self.signature_problem

    @property
    def is_change(self) -> bool:
        """Whether it was a pause or a resume."""
        return self.kind in CHANGES


class Ledger:
    """All entries, or counts only."""

    def __init__(self, *, keep_entries: bool = True) -> None:
        """Open the ledger; without `keep_entries` it serves runs with millions of requests."""
        self.entries: list[Entry] = []
        #: requests that arrived, of every kind
        self.total = 0
        self.by_kind: Counter[Kind] = Counter()
        #: pauses and resumes that arrived, by campaign, authorised or not
        self.puts: Counter[CampaignRef] = Counter()
        #: changes that really happened, by campaign
        self.effects: Counter[CampaignRef] = Counter()
        #: most requests that arrived within any one second
        self.worst_1s = 0
        self._recent: deque[float] = deque()
        self._keep_entries = keep_entries

    def arrived(self, kind: Kind, ref: CampaignRef | None, *, at_s: float) -> int:
        """Count a request as soon as it has been read; gives its number, from 1."""
        self.total += 1
        self.by_kind[kind] += 1
        if ref is not None and kind in CHANGES:
            self.puts[ref] += 1
        recent = self._recent
        recent.append(at_s)
        while recent[0] <= at_s - 1.0:
            recent.popleft()
        self.worst_1s = max(self.worst_1s, len(recent))
        return self.total

    def add(self, entry: Entry) -> None:
        """Write down how a request ended."""
        if entry.took_effect and entry.ref is not None:
            self.effects[entry.ref] += 1
        if self._keep_entries:
            self.entries.append(entry)


def fullest_window(times: Sequence[float], window: float) -> int:
    """The most of these instants, in order, in any half-open window [t, t + window)."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most
