"""What the server saw and did: one entry per request, and the counts that checks ask for.

It is written from what the wire brought, never from what the client says of itself. Counts are kept
when a request arrives, entries when its answer has been written or given up. With
`keep_entries=False` memory holds counts only.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import asdict, dataclass, replace
from typing import IO, TYPE_CHECKING, Self

from orchestrator.model import CampaignRef
from orchestrator.simulator.routes import CHANGES, Kind
from orchestrator.simulator.windows import fullest_window

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as the server saw it."""

    #: order of arrival, from 1
    number: int
    #: seconds on the server's monotonic clock at which the request had been read
    at_s: float
    wall_ms: int
    method: str
    #: path and query exactly as sent
    target: str
    kind: Kind
    vdn_id: int | None
    campaign_id: int | None
    #: which connection brought it, from 1
    connection: int
    authorised: bool
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
    def ref(self) -> CampaignRef | None:
        """The campaign it was about, if one."""
        if self.vdn_id is None or self.campaign_id is None:
            return None
        return CampaignRef(self.vdn_id, self.campaign_id)

    @property
    def is_change(self) -> bool:
        """Whether it was a pause or a resume."""
        return self.kind in CHANGES


class Ledger:
    """All entries, in memory, in a file, or as counts only."""

    def __init__(
        self, *, path: Path | None = None, keep_entries: bool = True, flush_each: bool = False
    ) -> None:
        """Open the ledger.

        Args:
            path: JSON Lines file that entries are added to; None: no file.
            keep_entries: False keeps counts only, for runs with millions of requests.
            flush_each: every line reaches the operating system at once, for readers in another
                process; otherwise lines are buffered until `close`.
        """
        self.entries: list[Entry] = []
        #: requests that arrived, of every kind
        self.total = 0
        self.by_kind: Counter[Kind] = Counter()
        #: entries by the fault they met
        self.by_fault: Counter[str] = Counter()
        #: changes that really happened, by campaign
        self.effects: Counter[CampaignRef] = Counter()
        #: most requests that arrived within any one second
        self.worst_1s = 0
        self._puts: Counter[CampaignRef] = Counter()
        self._recent: deque[float] = deque()
        self._keep_entries = keep_entries
        self._flush_each = flush_each
        self._file: IO[str] | None = path.open("a", encoding="utf-8") if path else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def arrived(self, kind: Kind, ref: CampaignRef | None, *, at_s: float) -> int:
        """Count a request as soon as it has been read; gives its number, from 1."""
        self.total += 1
        self.by_kind[kind] += 1
        if ref is not None and kind in CHANGES:
            self._puts[ref] += 1
        recent = self._recent
        recent.append(at_s)
        while recent[0] <= at_s - 1.0:
            recent.popleft()
        self.worst_1s = max(self.worst_1s, len(recent))
        return self.total

    def add(self, entry: Entry) -> None:
        """Write down how a request ended."""
        self.by_fault[entry.fault] += 1
        if entry.took_effect and entry.ref is not None:
            self.effects[entry.ref] += 1
        if self._keep_entries:
            self.entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
            if self._flush_each:
                self._file.flush()

    def puts_by_campaign(self) -> dict[CampaignRef, int]:
        """How many pauses and resumes arrived for each campaign, authorised or not."""
        return dict(self._puts)

    def puts(self, ref: CampaignRef) -> int:
        """How many pauses and resumes arrived for one campaign."""
        return self._puts.get(ref, 0)

    def close(self) -> None:
        """Write out what is buffered and close the file; harmless when done before."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_ledger(path: Path) -> list[Entry]:
    """The entries of a ledger file; a torn last line is left out."""
    lines = path.read_text(encoding="utf-8").split("\n")
    documents = [json.loads(line) for line in lines[:-1]]
    return [replace(Entry(**document), kind=Kind(document["kind"])) for document in documents]


def worst_window(entries: Iterable[Entry], *, window_s: float = 1.0) -> int:
    """Most requests that arrived within any window of this length.

    Args:
        entries: in any order.
        window_s: its length in seconds; two arrivals exactly that far apart do not share one.
    """
    return fullest_window(sorted(entry.at_s for entry in entries), window_s)
