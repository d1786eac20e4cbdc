"""When a VDN may be called quiet, and for how long that stays true.

Rule 1: the newest pass decides: quiet is a newest pass that is complete and clean, and an earlier
        one that ended at least a gap before a later one began, with no PUT of ours and no started
        campaign in between. A pass that failed takes the proof away until one succeeds.
Rule 2: two sources must agree: the unfiltered listing and, last, the filtered one. In a large VDN
        (over LARGE_PAGES pages) the first of the two passes may do without the unfiltered one.
Rule 3: the gap is the largest of GAP_S, the lag that this run has seen, and the largest lag of
        earlier runs against this server, at most GAP_MAX_S.
Rule 4: what takes no effect is damped: a campaign that accepts and runs on is repeated with a
        growing wait, and given up after a time, never after a count alone.
Source: docs/spec/evidence.md, rules 1, 2, 5 and 10; docs/spec/behaviour.md, "pause-all".
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from orchestrator.model import CampaignRef, Status

#: seconds between the end of one clean pass and the start of the one that confirms it
GAP_S = 5.0
#: a lag is not waited out for longer
GAP_MAX_S = 60.0
#: seconds added to a wait for the gap: a timer may fire a hair early, and a pass is dear
_LATE_S = 0.01
#: a VDN of more pages is large: its unfiltered listing is dear
LARGE_PAGES = 20
#: a pass that is older is made once more before the verdict, seconds
FRESH_S = 15.0
#: a proven VDN is passed again so often while others are not proven, seconds
REPASS_S = 30.0
#: the unfiltered listing of a large VDN is repeated so often at most, seconds
WHOLE_AGAIN_S = 60.0
#: while a PUT waits, passes get this share of the rate
PASS_SHARE = 1 / 3
#: seconds after the end of a hold in which a proof may be regained
REGAIN_S = 60.0

#: seconds of nothing but refusals, or of acceptances without effect, before a campaign is given up
GIVE_UP_S = 30.0
#: complete passes that show it started meanwhile
GIVE_UP_PASSES = 3
#: acceptances without effect
GIVE_UP_ACCEPTED = 3
#: seconds before the PUT after the first, second, … one that was accepted and took no effect
_DAMPED_S = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0)
#: seconds before the PUT after the first, second, … refusal
_REFUSED_S = (0.0, 1.0, 2.0, 5.0)
#: passes in a row with a listing in which it had come to rest, and is started again
STARTED_AGAIN = 2
#: after 0200011 to a PUT that followed our acceptance: the listing is old
OLD_LISTING_S = 30.0


class Pass(NamedTuple):
    """One reading of a VDN's listings: the unfiltered one, unless left out, then the filtered."""

    #: monotonic seconds, and wall-clock milliseconds, at which its first page was asked for
    began_s: float
    began_ms: int
    #: … and at which its last page was read
    ended_s: float
    ended_ms: int
    #: every listing that it read may be believed, and no PUT was under way
    complete: bool
    #: the unfiltered listing is part of it, and is not empty
    whole: bool
    #: campaigns that either listing shows as started
    started: int
    #: the unfiltered listing was read and is not to be believed
    whole_failed: bool = False

    @property
    def clean(self) -> bool:
        """Whether it may be believed and shows nothing started."""
        return self.complete and not self.started


@dataclass(slots=True)
class QuietProof:
    """The passes of one VDN, and what they prove."""

    #: over LARGE_PAGES pages
    is_large: bool = False
    #: the first clean pass since something was sent or seen started
    first: Pass | None = None
    #: the newest clean pass with both listings since then
    whole: Pass | None = None
    #: the newest pass, whatever it showed
    newest: Pass | None = None
    #: the newest clean pass
    clean: Pass | None = None
    #: the unfiltered listing, when it was last read, was not to be believed
    is_whole_doubtful: bool = False
    #: the longest time between the ends of two clean passes in a row, seconds
    longest_gap_s: float = 0.0

    def take(self, one: Pass) -> None:
        """Count one pass."""
        self.newest = one
        self.is_whole_doubtful = one.whole_failed or (self.is_whole_doubtful and not one.whole)
        if one.started:
            self.disturb()
        if not one.clean:
            return
        if self.clean is not None:
            self.longest_gap_s = max(self.longest_gap_s, one.ended_s - self.clean.ended_s)
        self.clean = one
        if self.first is None and (one.whole or self.is_large):
            self.first = one
        if one.whole:
            self.whole = one

    def disturb(self) -> None:
        """Something was sent or seen started: what was clean before proves nothing any more."""
        self.first = None
        self.whole = None

    def is_quiet(self, gap_s: float) -> bool:
        """Whether the passes so far prove that nothing runs, with a gap from `gap_between_s`."""
        if self.newest is None or not self.newest.clean or self.is_single_sourced:
            return False
        return self._is_paired(gap_s)

    @property
    def is_single_sourced(self) -> bool:
        """Whether only the filtered listing can be believed at present.

        A large VDN's unfiltered listing is read too seldom to be asked for again at once; the
        report says when it was last complete.
        """
        return self.is_whole_doubtful and not self.is_large

    def _is_paired(self, gap_s: float) -> bool:
        if self.first is None or self.whole is None:
            return False
        return self.whole.began_s >= self.first.ended_s + gap_s

    def needs_whole(self, gap_s: float) -> bool:
        """Whether the next pass adds to the proof only with the unfiltered listing in it."""
        if self.is_single_sourced:
            return True
        return not self._is_paired(gap_s) and (self.first is not None or not self.is_large)

    def next_pass_s(self, *, gap_s: float, now_s: float) -> float:
        """Seconds until the next pass can add to the proof, >= 0."""
        if self.first is None or self._is_paired(gap_s):
            return 0.0
        return max(0.0, self.first.ended_s + gap_s + _LATE_S - now_s)


def gap_between_s(*, seen_s: float, earlier_s: float) -> float:
    """The gap between two clean passes, from the lags that this run and earlier ones have seen."""
    return max(GAP_S, min(GAP_MAX_S, max(seen_s, earlier_s)))


def is_whole_due(*, is_large: bool, age_s: float, pages: int, rate_per_s: float) -> bool:
    """Whether a pass that refreshes a proof reads the unfiltered listing too.

    It was last complete `age_s` ago; those of all VDNs together have so many `pages`.
    """
    affordable_s = pages / (rate_per_s * PASS_SHARE)
    return age_s >= max(WHOLE_AGAIN_S if is_large else 0.0, affordable_s)


# -- how far the listings lag behind -----------------------------------------------------------


@dataclass(slots=True)
class LagMeter:
    """How long a pause stays invisible in the listings, as far as this run has seen it.

    The lag of a campaign runs from our last accepted PUT to the end of the first complete look
    that does not show it started; while none does, to the last look that did. A lag is seen only
    where a look that began after the acceptance still showed the campaign started.
    """

    lag_s: float = 0.0
    #: accepted, and not yet seen at rest: when, monotonic seconds
    _accepted_s: dict[CampaignRef, float] = field(default_factory=dict)
    _stale: set[CampaignRef] = field(default_factory=set)

    def accepted(self, ref: CampaignRef, *, at_s: float) -> None:
        """Our PUT to this campaign was accepted."""
        self._accepted_s[ref] = at_s
        self._stale.discard(ref)

    def accepted_once(self, ref: CampaignRef, *, at_s: float) -> None:
        """Our PUT was accepted then; repeated with every look."""
        self._accepted_s.setdefault(ref, at_s)

    def look(
        self,
        refs: Collection[CampaignRef],
        *,
        started: Collection[CampaignRef],
        complete: bool,
        began_s: float,
        ended_s: float,
    ) -> None:
        """Take in one look at these campaigns, and which of them it showed as started.

        `complete`: what it did not show as started is not started, as far as it knows.
        """
        for ref in refs:
            accepted_s = self._accepted_s.get(ref, math.inf)
            if accepted_s > began_s:
                continue
            if ref in started:
                self._stale.add(ref)
                self.lag_s = max(self.lag_s, ended_s - accepted_s)
            elif complete:
                if ref in self._stale:
                    self.lag_s = max(self.lag_s, ended_s - accepted_s)
                self._stale.discard(ref)
                del self._accepted_s[ref]


# -- one campaign in an emergency --------------------------------------------------------------


class Effect(StrEnum):
    """What one PUT came to, for the waits between PUTs."""

    ACCEPTED = "accepted"
    #: 0200011 after an acceptance of ours: it is suspended, and the listing is old
    OLD_LISTING = "old_listing"
    REFUSED = "refused"
    #: in doubt, or it never arrived
    UNHEARD = "unheard"


@dataclass(slots=True)
class Tries:
    """Our PUTs to one campaign in an emergency, since it was last seen at rest."""

    accepted: int = 0
    #: refusals since the last acceptance
    refused: int = 0
    unheard: int = 0
    #: when a PUT was last accepted, monotonic seconds
    accepted_s: float = -math.inf
    #: when the last PUT was answered, or given up on, monotonic seconds
    tried_s: float = -math.inf
    #: when the present row of refusals, or of acceptances without effect, began
    since_s: float | None = None
    #: complete passes that show it started since then
    passes: int = 0
    #: no PUT before this instant
    due_s: float = -math.inf
    #: a PUT after the last acceptance is in doubt: a 0200011 may be its doing
    is_doubted: bool = False
    #: the last PUT was answered with 0200011, and nothing but our acceptance explains it
    listing_is_old: bool = False
    #: the listings that have shown it at rest since a PUT was last accepted
    rested_in: frozenset[Status | None] = frozenset()
    #: passes in a row, since the last answer, in which one of those showed it started
    started_again: int = 0

    def note(self, effect: Effect, *, now_s: float) -> None:
        """One PUT was answered, or given up on."""
        self.listing_is_old = effect is Effect.OLD_LISTING and not self.is_doubted
        self.started_again = 0
        self.tried_s = now_s
        match effect:
            case Effect.ACCEPTED:
                self.accepted += 1
                self.refused = 0
                self.rested_in = frozenset()
                self.accepted_s = now_s
                self.is_doubted = False
                self.due_s = now_s + _step(_DAMPED_S, self.accepted)
                self.since_s = now_s if self.since_s is None else self.since_s
            case Effect.OLD_LISTING:
                self.due_s = now_s + OLD_LISTING_S
            case Effect.REFUSED:
                self.refused += 1
                self.due_s = now_s + _step(_REFUSED_S, self.refused)
                self.since_s = now_s if self.since_s is None else self.since_s
            case _:
                self.unheard += 1
                self.is_doubted = True
                if not self.accepted:
                    # What may have arrived is no refusal: the row of nothing but refusals is over.
                    self.since_s = None
                    self.passes = 0

    def look(self, shown: Mapping[Status | None, bool]) -> None:
        """Take in one pass: listing, by the status asked for → whether it shows it started.

        A listing that shows nothing of it and is not complete is left out.
        """
        is_again = any(shown.get(listing, False) for listing in self.rested_in)
        self.started_again = self.started_again + 1 if is_again else 0
        self.rested_in |= {listing for listing, is_started in shown.items() if not is_started}

    @property
    def is_started_again(self) -> bool:
        """Whether listings outweigh the 0200011 that said it is at rest.

        A listing that has shown it at rest since our acceptance, and twice in a row shows it
        started, is not older than that.
        """
        return self.started_again >= STARTED_AGAIN

    @property
    def was_accepted(self) -> bool:
        """Whether a PUT of ours was ever accepted."""
        return self.accepted > 0

    @property
    def is_hopeless(self) -> bool:
        """Whether more of the same PUTs would change nothing.

        Only refusals and no acceptance, or three acceptances, over 30 s and three complete passes;
        the last PUT lies behind the 30 s, since the waits between them grow to half of that.
        """
        if self.since_s is None or self.tried_s - self.since_s < GIVE_UP_S:
            return False
        if self.passes < GIVE_UP_PASSES:
            return False
        return self.accepted >= GIVE_UP_ACCEPTED or (not self.accepted and self.refused > 0)


def _step(waits_s: tuple[float, ...], number: int) -> float:
    return waits_s[min(number, len(waits_s)) - 1]
