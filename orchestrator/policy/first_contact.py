"""Whether what answers is the CC-iSales interface at all, and lets us in."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import NamedTuple

from orchestrator.isales.verdict import FROM_THE_API, Kind, Verdict

#: answers that are not this API's, to different requests, before the run ends
FOREIGN_LIMIT = 2
#: an emergency meets such answers for so long, one request a second, before it ends
FOREIGN_TRIES_S = 10.0
FOREIGN_APART_S = 1.0


class Foreign(NamedTuple):
    """Something answered that is not the API, or that does not let us in."""

    why: str
    is_refusal: bool
    is_first: bool
    #: the run should end for it
    is_over: bool


class FirstContact:
    """What the answers so far say of the server itself.

    Until it has taken one signature requests go alone, so that a wrong key costs one. What is not
    the API ends a run only before the API has answered as itself.
    """

    def __init__(self, *, emergency: bool, patience_s: float) -> None:
        """Nothing was answered yet.

        An emergency meets foreign answers for some seconds before the run ends; a server may stay
        silent from the start for `patience_s`.
        """
        self._emergency = emergency
        self._patience_s = patience_s
        #: the server has taken a signature since the last change of signing
        self.is_proven = False
        #: the API has answered as itself
        self.is_itself = False
        #: something has answered
        self.has_answered = False
        self._silent_since_s: float | None = None
        self._foreign: set[Hashable] = set()
        self._foreign_since_s: float | None = None
        self._foreign_last_s = -math.inf

    @property
    def is_foreign(self) -> bool:
        """Whether something else has answered, and the API never has."""
        return bool(self._foreign) and not self.is_itself

    def wait_s(self, now_s: float) -> float:
        """Seconds until the next request may meet what is not the API; 0.0: at once."""
        if self._foreign_since_s is None:
            return 0.0
        return max(0.0, self._foreign_last_s + FOREIGN_APART_S - now_s)

    def note(self, verdict: Verdict, *, key: Hashable, now_s: float) -> Foreign | None:
        """Take in an answer to the request that `key` stands for."""
        if self.is_proven and self.is_itself:
            return None
        is_api = verdict.kind in FROM_THE_API or (
            verdict.kind is Kind.THROTTLED and bool(verdict.code)
        )
        self.is_itself = self.is_itself or is_api
        if verdict.kind in {Kind.FORBIDDEN, Kind.NOT_THE_API} or verdict.foreign:
            self.is_proven = False
            return self._note_foreign(verdict, key, now_s)
        if verdict.kind not in {Kind.UNAUTHORIZED, Kind.UNREACHABLE, Kind.TLS_REFUSED}:
            self.is_proven = True
        return None

    def is_out_of_patience(self, verdict: Verdict, *, now_s: float) -> bool:
        """Whether a server that never answered is given up, however short the list.

        The breaker needs five campaigns to open; a list of three would else wait without a word.
        """
        if self._emergency or self.has_answered or verdict.kind is not Kind.UNREACHABLE:
            self.has_answered = True
            return False
        if self._silent_since_s is None:
            self._silent_since_s = now_s
        return now_s - self._silent_since_s >= self._patience_s

    def _note_foreign(self, verdict: Verdict, key: Hashable, now_s: float) -> Foreign:
        self._foreign.add(key)
        self._foreign_last_s = now_s
        is_refusal = verdict.kind is Kind.FORBIDDEN
        is_first = self._foreign_since_s is None
        since_s = now_s if self._foreign_since_s is None else self._foreign_since_s
        self._foreign_since_s = since_s
        if self._emergency:
            is_over = now_s - since_s >= FOREIGN_TRIES_S
        else:
            is_over = len(self._foreign) >= FOREIGN_LIMIT
        why = (
            verdict.reason
            if is_refusal
            else f"this is not the CC-iSales interface: {verdict.reason}"
        )
        return Foreign(why, is_refusal, is_first, is_over)
