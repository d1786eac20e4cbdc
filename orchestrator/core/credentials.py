"""What to make of a 401: heal the signature once, or stop.

Rule 1: two cures, each tried once a run: the server's clock, and the other form of switch A.
Rule 2: switch A shows itself when requests with a query are accepted and those without never were.
Rule 3: a cure that does not help is taken back, because a 401 may also be an outage of the key.
Rule 4: an answer to a request that was signed before the last cure says nothing: sign it again.
Source: design.md §8 "Credentials", api.md §1.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.retry import clock_offset_ms

if TYPE_CHECKING:
    from orchestrator.core.signing import SigningRules


class Cure(StrEnum):
    """What was done about a 401."""

    #: signed before the last cure: the same request again is enough
    STALE = "stale"
    CLOCK = "clock"
    BLANK_QUERY_LINE = "blank_query_line"


@dataclass(slots=True)
class Signer:
    """How requests are signed at this moment of the run, and what has been learnt about it."""

    rules: SigningRules
    #: added to our clock when signing, milliseconds
    offset_ms: int = 0
    #: counts the cures; a request remembers the generation it was signed in
    generation: int = 0
    #: a request was accepted at all / with a query / without one
    accepted: bool = False
    accepted_with_query: bool = False
    accepted_without_query: bool = False
    clock_tried: bool = False
    blank_tried: bool = False
    blank_undone: bool = False

    def note_accepted(self, *, has_query: bool) -> None:
        """The server took a signature."""
        self.accepted = True
        self.accepted_with_query = self.accepted_with_query or has_query
        self.accepted_without_query = self.accepted_without_query or not has_query

    def cure(
        self, *, date: str | None, now_ms: int, has_query: bool, generation: int
    ) -> Cure | None:
        """Change the signing in answer to a 401; None when there is nothing left to change.

        Args:
            date: the Date header of the refusal.
            now_ms: our wall clock, milliseconds since the epoch.
            has_query: the refused request had a query.
            generation: the generation in which it was signed.
        """
        if generation < self.generation:
            return Cure.STALE
        if not self.clock_tried:
            offset_ms = clock_offset_ms(date, now_ms=now_ms)
            if offset_ms is not None:
                self.clock_tried = True
                self.offset_ms = offset_ms
                self.generation += 1
                return Cure.CLOCK
        if has_query or not self.accepted_with_query or self.accepted_without_query:
            return None
        if not self.blank_tried:
            self.blank_tried = True
            self._flip()
            return Cure.BLANK_QUERY_LINE
        if not self.blank_undone:
            self.blank_undone = True
            self._flip()
        return None

    def _flip(self) -> None:
        self.rules = self.rules._replace(blank_query_line=not self.rules.blank_query_line)
        self.generation += 1
