"""What to do after a 401 (correct the signature once, or stop) and after a 403.

There are three corrections, each tried once a run: the server's clock, the other form of switch A,
the other form of switch B. A is tried when requests with a query are accepted and those without
never were, B while nothing was ever accepted. A correction that does not help is taken back. One
403 is about one request; a VDN is closed by ten different campaigns in a row, or by time in an
emergency. docs/spec/behaviour.md, "Credentials"; docs/spec/evidence.md, rule 6.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.policy.retry import clock_offset_ms

if TYPE_CHECKING:
    from orchestrator.model import CampaignRef
    from orchestrator.settings.schema import SigningRules

#: so many different campaigns in a row answered with 403 close a VDN
CLOSED_BY = 10
#: in an emergency a VDN is closed by a time of nothing but refusals, seconds
CLOSED_AFTER_S = 30.0


class Recovery(StrEnum):
    """What was done about a 401; a switch of signing has the name of its setting."""

    #: signed before the last correction: the same request again is enough
    STALE = "stale"
    CLOCK = "clock"
    BLANK_QUERY_LINE = "blank_query_line"
    MILLIS = "millis"


@dataclass(slots=True)
class AuthState:
    """How requests are signed at this moment of the run, and what has been learnt about it."""

    rules: SigningRules
    #: added to our clock when signing, milliseconds
    offset_ms: int = 0
    #: counts the corrections; a request remembers the generation it was signed in
    generation: int = 0
    #: a request was accepted at all / with a query / without one
    accepted: bool = False
    accepted_with_query: bool = False
    accepted_without_query: bool = False
    _tried: set[Recovery] = field(default_factory=set)
    _undone: set[Recovery] = field(default_factory=set)
    #: the last correction, until a request that was signed with it is accepted
    untested: Recovery | None = None

    def note_accepted(self, *, has_query: bool) -> None:
        """The server took a signature."""
        self.accepted = True
        self.accepted_with_query = self.accepted_with_query or has_query
        self.accepted_without_query = self.accepted_without_query or not has_query

    def confirm(self, *, has_query: bool, generation: int) -> Recovery | None:
        """The correction that this accepted request shows to have helped, once; None: none does."""
        recovery = self.untested
        if generation < self.generation or (recovery is Recovery.BLANK_QUERY_LINE and has_query):
            return None
        self.untested = None
        return recovery

    def recover(
        self, *, date: str | None, now_ms: int, has_query: bool, generation: int
    ) -> Recovery | None:
        """Change the signing in answer to a 401; None when there is nothing left to change.

        `date` is the refusal's Date, `generation` the one in which the request was signed.
        """
        if generation < self.generation:
            return Recovery.STALE
        self.untested = self._change_signing(date=date, now_ms=now_ms, has_query=has_query)
        return self.untested

    def _change_signing(self, *, date: str | None, now_ms: int, has_query: bool) -> Recovery | None:
        if Recovery.MILLIS in self._tried and not self.accepted:
            self._take_back(Recovery.MILLIS)
        offset_ms = clock_offset_ms(date, now_ms=now_ms)
        if offset_ms is not None and Recovery.CLOCK not in self._tried:
            self._tried.add(Recovery.CLOCK)
            self.offset_ms = offset_ms
            self.generation += 1
            return Recovery.CLOCK
        if not self.accepted:
            return self._try(Recovery.MILLIS)
        if has_query or not self.accepted_with_query or self.accepted_without_query:
            return None
        found = self._try(Recovery.BLANK_QUERY_LINE)
        if found is None:
            self._take_back(Recovery.BLANK_QUERY_LINE)
        return found

    def _try(self, switch: Recovery) -> Recovery | None:
        if switch in self._tried:
            return None
        self._tried.add(switch)
        self._flip(switch)
        return switch

    def _take_back(self, switch: Recovery) -> None:
        if switch not in self._undone:
            self._undone.add(switch)
            self._flip(switch)

    def text_of(self, recovery: Recovery) -> str:
        """What a correction has set, for people."""
        if recovery is Recovery.CLOCK:
            return "the server's clock"
        return f"signing.{recovery.value} = {str(getattr(self.rules, recovery.value)).lower()}"

    def _flip(self, switch: Recovery) -> None:
        changes: dict[str, Any] = {switch.value: not getattr(self.rules, switch.value)}
        self.rules = replace(self.rules, **changes)
        self.generation += 1


@dataclass(slots=True)
class VdnAccess:
    """Which VDNs refuse us."""

    #: a time closes a VDN, not a number
    emergency: bool
    #: VDN → its campaigns in this run; unknown: as many as it takes
    sizes: dict[int, int] = field(default_factory=dict)
    #: nothing more is sent to these
    closed: set[int] = field(default_factory=set)
    #: something was accepted in these, or answered by the API itself
    opened: set[int] = field(default_factory=set)
    _row: dict[int, set[CampaignRef]] = field(default_factory=dict)
    _since_s: dict[int, float] = field(default_factory=dict)

    def note_answered(self, vdn_id: int) -> None:
        """The API itself has answered a PUT to this VDN."""
        self.opened.add(vdn_id)
        self._row.pop(vdn_id, None)
        self._since_s.pop(vdn_id, None)

    def note_refused(self, ref: CampaignRef, *, now_s: float) -> bool:
        """A PUT was answered with 403; returns whether that closes its VDN."""
        vdn_id = ref.vdn_id
        if vdn_id in self.closed:
            return False
        row = self._row.setdefault(vdn_id, set())
        row.add(ref)
        since_s = self._since_s.setdefault(vdn_id, now_s)
        if self.emergency:
            is_closed = now_s - since_s >= CLOSED_AFTER_S
        else:
            is_closed = len(row) >= min(CLOSED_BY, self.sizes.get(vdn_id, CLOSED_BY))
        if not is_closed or vdn_id in self.opened:
            return False
        self.closed.add(vdn_id)
        return True

    def row_of(self, vdn_id: int) -> int:
        """How many different campaigns of a VDN were answered with 403 in a row."""
        return len(self._row.get(vdn_id, ()))
