"""Answers that cannot be read: the states decide whether the server is failing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.model import CampaignRef

if TYPE_CHECKING:
    from collections.abc import Hashable

#: so many different campaigns whose answers cannot be read are looked into
ENOUGH = 5


class Unreadable:
    """The different changes in a row whose answers could not be read."""

    def __init__(self) -> None:
        """None yet."""
        # a dict for its order
        self._row: dict[Hashable, None] = {}
        #: answers cannot be read and PUTs take effect: the states decide
        self.trusts_states = False

    @property
    def is_enough(self) -> bool:
        """Whether the row is long enough to be looked into."""
        return len(self._row) >= ENOUGH

    def note(self, key: Hashable) -> None:
        """One more."""
        self._row[key] = None

    def end_row(self) -> None:
        """A change was answered in a way that can be read."""
        self._row.clear()

    def take(self) -> list[CampaignRef]:
        """The campaigns of the row, which begins anew."""
        refs = [key for key in self._row if isinstance(key, CampaignRef)]
        self._row.clear()
        return refs
