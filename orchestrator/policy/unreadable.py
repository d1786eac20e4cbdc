"""Answers that cannot be read: the states decide whether the server is failing."""

from __future__ import annotations

from collections.abc import Collection, Hashable

from orchestrator.model import CampaignRef

#: so many different campaigns whose answers cannot be read are looked into
ENOUGH = 5


class Unreadable:
    """The different changes in a row whose answers could not be read."""

    def __init__(self) -> None:
        """None yet."""
        #: … and whether its state shows that the change took effect
        self._row: dict[Hashable, bool] = {}
        self._is_being_read = False
        #: answers cannot be read and PUTs take effect: the states decide
        self.trusts_states = False

    @property
    def is_enough(self) -> bool:
        """Whether the row is long enough to be looked into."""
        return len(self._row) >= ENOUGH

    def note(self, key: Hashable) -> None:
        """One more."""
        self._row.setdefault(key, False)

    def end_row(self) -> None:
        """A change was answered in a way that can be read."""
        self._row.clear()

    def take(self) -> list[CampaignRef]:
        """Those of the row whose state is to be read now; none while somebody reads them."""
        if self._is_being_read:
            return []
        left = [key for key, is_done in self._row.items() if not is_done]
        refs = [key for key in left if isinstance(key, CampaignRef)][:ENOUGH]
        self._is_being_read = bool(refs)
        return refs

    def note_states(self, done: Collection[CampaignRef]) -> None:
        """Their states have been read; what is not `done` yet is read again later."""
        self._is_being_read = False
        self._row.update(dict.fromkeys(self._row.keys() & done, True))
        self.trusts_states = sum(self._row.values()) >= ENOUGH
