"""The truth with its times: every change of every campaign, for judges and for reads that lag.

It only grows, in the order of time; times are seconds since the start of the server. A change costs
some 40 bytes. What a lie shows to a client never touches it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.model import CampaignRef, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

#: stands for "there is no such campaign"
_NOBODY = 0


class Change(NamedTuple):
    """One campaign took another status, appeared (before: None) or was deleted (after: None)."""

    at_s: float
    ref: CampaignRef
    before: Status | None
    after: Status | None
    #: the campaign's `last_changed` until then
    last_changed: int


class History:
    """All changes of one world."""

    __slots__ = ("_after", "_at_s", "_before", "_by_ref", "_campaign", "_indexed", "_last", "_vdn")

    def __init__(self) -> None:
        self._at_s = array("d")
        self._vdn = array("H")
        self._campaign = array("q")
        self._before = array("b")
        self._after = array("b")
        self._last = array("q")
        self._by_ref: dict[CampaignRef, list[int]] = {}
        self._indexed = 0

    def __len__(self) -> int:
        return len(self._at_s)

    def __getitem__(self, number: int) -> Change:
        return Change(
            self._at_s[number],
            CampaignRef(self._vdn[number], self._campaign[number]),
            _status(self._before[number]),
            _status(self._after[number]),
            self._last[number],
        )

    def __iter__(self) -> Iterator[Change]:
        return (self[number] for number in range(len(self)))

    def add(self, change: Change) -> None:
        """Write one change down.

        Raises:
            ValueError: it is older than the change before it.
        """
        if self._at_s and change.at_s < self._at_s[-1]:
            raise ValueError(f"a change at {change.at_s} s after one at {self._at_s[-1]} s")
        self._at_s.append(change.at_s)
        self._vdn.append(change.ref.vdn_id)
        self._campaign.append(change.ref.campaign_id)
        self._before.append(_NOBODY if change.before is None else change.before)
        self._after.append(_NOBODY if change.after is None else change.after)
        self._last.append(change.last_changed)

    def made_by(self, at_s: float) -> int:
        """How many changes had been made at this instant."""
        return bisect_right(self._at_s, at_s)

    def of(self, ref: CampaignRef) -> list[Change]:
        """The changes of one campaign, oldest first."""
        for number in range(self._indexed, len(self)):
            one = CampaignRef(self._vdn[number], self._campaign[number])
            self._by_ref.setdefault(one, []).append(number)
        self._indexed = len(self)
        return [self[number] for number in self._by_ref.get(ref, ())]


def _status(number: int) -> Status | None:
    return None if number == _NOBODY else Status(number)
