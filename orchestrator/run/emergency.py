"""pause-all: find everything that runs in some VDNs, pause it, prove that they are quiet.

Rule 1: pausing starts with the first page while the rest is read.
Rule 2: discovery is lenient, proof is strict: only passes prove anything (core/quiet.py).
Rule 3: a pass that is to prove something begins when no PUT of its VDN is pending or in flight; a
        campaign that does not answer holds up its own row only.
Rule 4: the verdict is about all VDNs at one time: what is proven is looked at again until all are.
Rule 5: nothing stops the stopping: a failed listing, a full disk, a lost terminal.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.campaign import CampaignRef, Sighting, Status
from orchestrator.core.credentials import CLOSED_AFTER_S
from orchestrator.core.listing import MAY_RUN, Listing
from orchestrator.core.outcome import SUCCESSES, Evidence, decide_seen
from orchestrator.core.plan import Planned, feasibility
from orchestrator.core.quiet import (
    FRESH_S,
    LARGE_PAGES,
    REGAIN_S,
    REPASS_S,
    Effect,
    Pass,
    QuietProof,
    Tries,
    is_whole_due,
)
from orchestrator.core.verdict import Kind, Verdict
from orchestrator.run.listing import read_listing
from orchestrator.run.pool import note_bug, run_pool
from orchestrator.run.settle_one import (
    known_campaign,
    last_attempt_number,
    read_state,
    seen_settlement,
    settle_one,
)
from orchestrator.run.stopping import Alarm, StoppedError
from orchestrator.run.verify import decide_by_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from orchestrator.edges.journal import Known, Settlement
    from orchestrator.run.rig import Rig

    Work = Callable[["Vdn"], Awaitable[None]]

#: seconds between two looks for newcomers while campaigns are being paused
_REDISCOVER_S = 5.0
#: such a look may cost this share of the pace at most
_REDISCOVER_SHARE = 0.05
#: seconds before the next pass when nothing was due in the last one
_AGAIN_S = 1.0
#: … when the first, second, … pass in a row could not be completed
_FAILED_AGAIN_S = (1.0, 1.0, 2.0, 3.0, 5.0)
#: seconds between two looks at a quiet VDN that is being held; one round's time where that is more
_HOLD_LOOK_S = 2.0
#: how long the second page may wait for the first PUT, and how often it looks
_FIRST_CHANGE_S = 5.0
_TURN_S = 0.002
#: first names that an operator is shown before confirming
_NAMES_SHOWN = 5
#: times that an unfiltered listing is read again when only its count is wrong
_REREADS = 2
#: contradictions between the two listings that are settled by single reads
_FEW = 20
#: attempts without an answer after which a campaign does not hold up the proof of the others
_STALLED = 3
#: looks that must show no campaign at all before that is believed
_EMPTY_LOOKS = 2
#: a 403 or a refusal in words: the server has decided
_REFUSALS = frozenset(
    {Kind.WRONG_STATE, Kind.NOT_FOUND, Kind.REJECTED, Kind.CODE_UNKNOWN, Kind.FORBIDDEN}
)


class End(StrEnum):
    """Why a VDN is not worked on any more, other than by a proof."""

    STILL_RUNNING = "still_running"
    NO_CAMPAIGNS = "no_campaigns"
    CLOSED = "closed"


@dataclass(slots=True)
class Vdn:
    """What is known of one VDN in this process."""

    vdn_id: int
    proof: QuietProof = field(default_factory=QuietProof)
    #: every campaign found started → its place in the journal
    places: dict[CampaignRef, int] = field(default_factory=dict)
    #: waiting to be begun
    waiting: deque[Planned] = field(default_factory=deque)
    #: begun or waiting, not yet come to rest
    open: set[CampaignRef] = field(default_factory=set)
    #: our PUTs to each campaign since it was last seen at rest
    tries: dict[CampaignRef, Tries] = field(default_factory=dict)
    #: when our PUT to each campaign was last accepted in this process, monotonic seconds
    accepted_s: dict[CampaignRef, float] = field(default_factory=dict)
    #: accepted in an earlier life, and not seen at rest since
    accepted_before: set[CampaignRef] = field(default_factory=set)
    #: came to rest without being stopped: last seen started, as far as anybody knows
    unstopped: set[CampaignRef] = field(default_factory=set)
    #: does not answer, and a look shows it at rest: no more PUTs
    called_off: set[CampaignRef] = field(default_factory=set)
    #: left open by an earlier life: looked at before they are sent again
    left_open: set[CampaignRef] = field(default_factory=set)
    #: PUTs that were answered so far
    puts: int = 0
    #: pages of the filtered listing when it was last read for newcomers
    filtered_pages: int = 1
    #: pages of the unfiltered listing; None: not read yet
    pages: int | None = None
    #: when the unfiltered listing was last complete, monotonic seconds and wall-clock milliseconds
    whole_s: float = -math.inf
    whole_ms: int | None = None
    #: passes in a row that could prove nothing
    failed_passes: int = 0
    #: complete looks in a row that showed no campaign at all
    empty_looks: int = 0
    #: begin times that are ahead
    may_start: list[str] = field(default_factory=list)
    #: since when listings of it are refused with 403, monotonic seconds
    refused_since_s: float | None = None
    #: why quiet is not proven, in words
    problem: str = ""
    #: what the newest pass showed as started
    started: dict[CampaignRef, Sighting] = field(default_factory=dict)
    #: the operator has been told how much there is to do
    is_told: bool = False
    end: End | None = None

    def tries_of(self, ref: CampaignRef) -> Tries:
        """Our PUTs to one campaign."""
        return self.tries.setdefault(ref, Tries())

    def is_at_work(self) -> bool:
        """Whether a PUT is pending or in flight that a pass must wait for."""
        return any(self.tries_of(ref).unheard < _STALLED for ref in self.open)


@dataclass(slots=True)
class Emergency:
    """One pause-all over one or several VDNs."""

    rig: Rig
    vdns: dict[int, Vdn]
    #: seconds for which quiet is watched over
    hold_s: float = 0.0
    #: campaigns are only listed: a dry run, or before the operator has confirmed
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    alarm: Alarm = field(default_factory=Alarm)
    #: for the operator: what was found so far, in words
    findings: list[str] = field(default_factory=list)
    #: how long quiet has been watched over, seconds
    held_s: float = 0.0
    _feeding: bool = True

    def __post_init__(self) -> None:
        """Let a stop wake the VDNs' coroutines."""
        self.rig.stopping.on_stop(self.alarm.ring)
        self.rig.stopping.on_stop(self.confirmed.set)
        self.rig.is_still_accepted = self._is_still_accepted
        self.rig.sender.are_changes_queued = lambda: any(
            vdn.waiting for vdn in self.vdns.values() if self.confirmed.is_set()
        )

    # -- the whole ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Pause everything that runs until all VDNs are quiet, refuse, or the run is ending."""
        self.rig.progress.phase = "finding"
        pool = asyncio.create_task(run_pool(self.rig, self._round_robin(), self._settle))
        try:
            await self._until_quiet()
            if self.hold_s and all(vdn.end is None for vdn in self.vdns.values()):
                await self._hold()
        except StoppedError:
            for vdn in self.vdns.values():
                vdn.problem = vdn.problem or self.rig.stopping.why
        finally:
            self._feeding = False
            self.alarm.ring()
            await pool

    async def list_only(self) -> None:
        """Find what runs and add it to the plan, without touching it: `--dry-run`."""
        for vdn in self.vdns.values():
            await self._discover(vdn)
            await self._discover_whole(vdn)

    async def _until_quiet(self) -> None:
        while True:
            await self._each(self._bring, self.vdns.values())
            self.rig.stopping.check()
            if await self._prove_together():
                return

    async def _each(self, work: Work, vdns: Iterable[Vdn]) -> None:
        """Do it for several VDNs beside each other; one's bug does not stop the others."""

        async def guarded(vdn: Vdn) -> None:
            try:
                await work(vdn)
            except StoppedError:
                vdn.problem = vdn.problem or self.rig.stopping.why
            except Exception as error:  # noqa: BLE001 - it is told, and the VDN is not proven
                vdn.problem = f"{type(error).__name__}: {error}"
                vdn.end = End.CLOSED
                note_bug(self.rig, error, f"VDN {vdn.vdn_id}")

        await asyncio.gather(*(guarded(vdn) for vdn in vdns))

    def is_quiet(self, vdn: Vdn) -> bool:
        """Whether the passes so far prove it."""
        return not vdn.open and vdn.proof.is_quiet(self.rig.gap_s)

    def _is_through(self, vdn: Vdn) -> bool:
        return vdn.end is not None or self.is_quiet(vdn)

    @property
    def _are_all_through(self) -> bool:
        return all(self._is_through(vdn) for vdn in self.vdns.values())

    # -- one VDN ------------------------------------------------------------------------------

    async def _bring(self, vdn: Vdn) -> None:
        """Bring one VDN to quiet, and keep it there until all are through."""
        if vdn.pages is None:
            await self._begin_vdn(vdn)
        while not self._are_all_through and vdn.end is None:
            if self.is_quiet(vdn):
                await self._keep(vdn)
            else:
                await self._advance(vdn)
        self.alarm.ring()

    async def _begin_vdn(self, vdn: Vdn) -> None:
        await self._discover(vdn)
        await self._discover_whole(vdn)
        await self.confirmed.wait()
        self.rig.stopping.check()
        await self._settle_left_open(vdn)

    async def _keep(self, vdn: Vdn) -> None:
        """Proven, and others are not: looked at again now and then."""
        newest = vdn.proof.newest
        assert newest is not None
        wait_s = newest.ended_s + REPASS_S - self.rig.clock.now_s()
        if wait_s > 0:
            await self.alarm.sleep(wait_s)
            self.rig.stopping.check()
        else:
            await self._pass(vdn)

    async def _advance(self, vdn: Vdn) -> None:
        """One step towards quiet: wait for the PUTs, pass, pause what it shows."""
        await self._until_at_rest(vdn)
        if self._is_closed(vdn):
            vdn.end = End.CLOSED
            vdn.problem = "the server refuses access to it (403)"
            return
        wait_s = vdn.proof.next_pass_s(gap_s=self.rig.gap_s, now_s=self.rig.clock.now_s())
        await self.rig.stopping.pause(wait_s)
        await self._pass(vdn)
        if self.is_quiet(vdn):
            vdn.problem = ""
            self.rig.events.info("vdn.quiet", vdn_id=vdn.vdn_id)
            self.alarm.ring()
        elif vdn.end is None and not vdn.is_at_work() and (vdn.problem or vdn.started or vdn.open):
            failed = min(vdn.failed_passes, len(_FAILED_AGAIN_S))
            await self.rig.stopping.pause(_FAILED_AGAIN_S[failed - 1] if failed else _AGAIN_S)

    def _is_closed(self, vdn: Vdn) -> bool:
        if vdn.vdn_id in self.rig.access.closed:
            return True
        if vdn.vdn_id not in self.rig.denied_listings or vdn.places:
            vdn.refused_since_s = None
            return False
        now_s = self.rig.clock.now_s()
        vdn.refused_since_s = now_s if vdn.refused_since_s is None else vdn.refused_since_s
        return now_s - vdn.refused_since_s >= CLOSED_AFTER_S

    async def _settle_left_open(self, vdn: Vdn) -> None:
        """What an earlier life left in doubt and is not listed as started: its state decides."""
        for ref in sorted(vdn.left_open):
            planned = Planned(vdn.places[ref], ref)
            seen = await decide_by_state(self.rig, planned, acted_on=MAY_RUN)
            if seen is not None and seen.status in MAY_RUN:
                self._begin(vdn, seen)
        vdn.left_open.clear()

    async def _until_at_rest(self, vdn: Vdn) -> None:
        """Wait until no PUT of this VDN is pending or in flight; look for newcomers meanwhile."""
        while vdn.is_at_work() and not self._is_closed(vdn):
            self.rig.stopping.check()
            rate_per_s = self.rig.progress.ceiling_per_s or 1.0
            pages = sum(one.filtered_pages for one in self.vdns.values())
            gap_s = max(_REDISCOVER_S, pages / (rate_per_s * _REDISCOVER_SHARE))
            look_again_s = self.rig.clock.now_s() + gap_s
            while vdn.is_at_work() and self.rig.clock.now_s() < look_again_s:
                await self.alarm.sleep(look_again_s - self.rig.clock.now_s())
                self.rig.stopping.check()
            if vdn.is_at_work():
                await self._discover(vdn)

    # -- all of them together -----------------------------------------------------------------

    async def _prove_together(self, *, until_s: float = math.inf) -> bool:
        """Look at all proven VDNs within one short time; False: one of them is not proven any more.

        Args:
            until_s: what could not be looked at by then stays unproven, monotonic seconds.
        """
        quiet = [vdn for vdn in self.vdns.values() if vdn.end is None]
        now_s = self.rig.clock.now_s()
        old = [vdn for vdn in quiet if _age_s(vdn, now_s) > FRESH_S]
        await self._each(self._pass, old)
        began_s = self.rig.clock.now_s()
        left = [vdn for vdn in quiet if _age_s(vdn, began_s) > _AGAIN_S]
        while left:
            self.rig.progress.phase = "proving"
            await self._each(self._look_once_more, left)
            self.rig.stopping.check()
            # What a look shows as started breaks the pair; what merely failed is looked at again.
            if any(vdn.proof.first is None or vdn.open for vdn in left):
                return False
            left = [vdn for vdn in left if not self.is_quiet(vdn)]
            if left and self.rig.clock.now_s() >= until_s:
                return False
            if left:
                await self.rig.stopping.pause(_AGAIN_S)
        return all(self.is_quiet(vdn) for vdn in quiet)

    async def _look_once_more(self, vdn: Vdn) -> None:
        await self._pass(vdn, filtered_only=True)

    async def _hold(self) -> None:
        """Watch over quiet: what starts is paused, also past the deadline."""
        rig = self.rig
        rig.lift_deadline()
        rig.progress.phase = "holding"
        began_s = rig.clock.now_s() - self.held_s
        until_s = began_s + self.hold_s

        async def watch(vdn: Vdn) -> None:
            while rig.clock.now_s() < until_s:
                if not self.is_quiet(vdn):
                    vdn.end = None
                    await self._advance(vdn)
                    continue
                newest = vdn.proof.newest
                assert newest is not None
                due_s = min(newest.ended_s + self._hold_look_s(), until_s)
                if rig.clock.now_s() < due_s:
                    await self.rig.stopping.pause(due_s - rig.clock.now_s())
                if rig.clock.now_s() < until_s:
                    await self._pass(vdn)

        async def count() -> None:
            while rig.clock.now_s() < until_s and not rig.stopping.is_stopping:
                await rig.journal.note("held_s", f"{rig.clock.now_s() - began_s:.3f}")
                await rig.stopping.sleep(min(_HOLD_LOOK_S, until_s - rig.clock.now_s()))

        counting = asyncio.create_task(count())
        try:
            await self._each(watch, self.vdns.values())
        finally:
            counting.cancel()
        await self._regain(until_s + REGAIN_S)

    async def _regain(self, until_s: float) -> None:
        """The hold is over: what is not proven now may be proven within a minute."""

        async def prove(vdn: Vdn) -> None:
            while not self.is_quiet(vdn) and self.rig.clock.now_s() < until_s:
                vdn.end = None
                await self._advance(vdn)

        self.rig.stopping.check()
        while not await self._prove_together(until_s=until_s):
            if self.rig.clock.now_s() >= until_s:
                return
            await self._each(prove, self.vdns.values())
            self.rig.stopping.check()

    def _hold_look_s(self) -> float:
        """Seconds between two looks: not more than a third of the rate, all VDNs together."""
        rate_per_s = self.rig.progress.ceiling_per_s or 1.0
        return max(_HOLD_LOOK_S, 3 * len(self.vdns) / rate_per_s)

    # -- discovery ----------------------------------------------------------------------------

    async def _discover(self, vdn: Vdn) -> None:
        """Read the started campaigns, handing each page to the pool as it comes.

        From the last page to the first: on a list that shrinks while it is read a campaign can
        only move towards pages that are still to come.
        """
        began_s = self.rig.clock.now_s()

        async def take(rows: Sequence[Sighting]) -> None:
            await self._take_started(vdn, rows, began_s)
            if rows and self.confirmed.is_set():
                await self._until_first_change()

        def enough(seen: Listing) -> bool:
            if seen.total_size or seen.ids:
                self._tell_feasibility(vdn, seen)
            return False

        seen = await read_listing(
            self.rig,
            vdn_id=vdn.vdn_id,
            status=Status.STARTED,
            take=take,
            enough=enough,
            backwards=True,
            keep_started=True,
            yields=True,
        )
        vdn.filtered_pages = max(1, seen.pages)
        if seen.problem:
            vdn.problem = seen.problem
            self.rig.events.info("discovery.incomplete", vdn_id=vdn.vdn_id, reason=seen.problem)

    async def _discover_whole(self, vdn: Vdn) -> None:
        """Read the unfiltered listing too: what the filter does not show may run all the same."""
        seen = await self._read_whole(vdn, discovers=True)
        if not vdn.is_told:
            self._tell_feasibility(vdn, seen)

    async def _read_whole(self, vdn: Vdn, *, discovers: bool = False) -> Listing:
        """Read every campaign of a VDN; again, where only the count is wrong.

        Args:
            vdn: whose campaigns.
            discovers: pause at once what it shows as started; else only what is new to us, since
                the filtered listing has not been heard yet.
        """
        now_text = self.rig.clock.local_text()
        seen = Listing()
        for _ in range(_REREADS + 1):
            began_s = self.rig.clock.now_s()
            may_start: list[str] = []
            rested: list[Sighting] = []

            async def take(
                rows: Sequence[Sighting],
                began_s: float = began_s,
                may_start: list[str] = may_start,
                rested: list[Sighting] = rested,
            ) -> None:
                may_start.extend(
                    row.begin_time
                    for row in rows
                    if row.status is Status.NOT_STARTED and row.begin_time > now_text
                )
                rested.extend(
                    row for row in rows if row.ref in vdn.unstopped and row.status not in MAY_RUN
                )
                started = [
                    row
                    for row in rows
                    if row.status is Status.STARTED and (discovers or row.ref not in vdn.places)
                ]
                await self._take_started(vdn, started, began_s)

            seen = await read_listing(
                self.rig,
                vdn_id=vdn.vdn_id,
                status=0,
                take=take,
                keep_started=True,
                yields=True,
            )
            vdn.pages = max(vdn.pages or 1, seen.pages_expected)
            vdn.proof.is_large = vdn.pages > LARGE_PAGES
            vdn.may_start = may_start if seen.complete else max(vdn.may_start, may_start, key=len)
            await self._note_rested(vdn, rested, Evidence.LISTED)
            if seen.complete or not seen.is_miscounted:
                break
        if seen.complete and seen.ids:
            vdn.whole_s, vdn.whole_ms = self.rig.clock.now_s(), self.rig.clock.wall_ms()
        return seen

    async def _until_first_change(self) -> None:
        """The first PUT goes before the second page is asked for, unless it cannot go."""
        sender = self.rig.sender
        give_up_s = self.rig.clock.now_s() + _FIRST_CHANGE_S
        while not (
            sender.first_change_left
            or sender.changes.is_open
            or self.rig.stopping.is_stopping
            or self.rig.clock.now_s() > give_up_s
        ):
            await self.alarm.sleep(_TURN_S)

    def _tell_feasibility(self, vdn: Vdn, seen: Listing) -> None:
        vdn.is_told = True
        running = len(seen.started())
        if seen.status and seen.total_size is not None:
            running = seen.total_size
        rate_per_s = self.rig.progress.ceiling_per_s
        told = feasibility(running=running, rate_per_s=rate_per_s, more=seen.total_size is None)
        names = [row.name for row in seen.started()[:_NAMES_SHOWN] if row.name]
        if not running:
            told = f"could not be listed: {vdn.problem}" if vdn.problem else "nothing is running"
        self.findings.append(
            f"VDN {vdn.vdn_id}: {told}" + (f" ({', '.join(names)}, …)" if names else "")
        )
        self.rig.progress.notice = self.findings[-1]
        self.alarm.ring()

    async def _take_started(self, vdn: Vdn, rows: Iterable[Sighting], began_s: float) -> None:
        """Begin what a look shows as started, where a PUT is due.

        Args:
            vdn: whose campaigns.
            rows: what the look showed as started.
            began_s: when it began: an acceptance of ours since then is newer.
        """
        started = [row for row in rows if row.status in MAY_RUN]
        fresh = {row.ref: row for row in started if row.ref not in vdn.places}
        if fresh:
            places = await self.rig.journal.discovered(
                tuple(fresh.values()), at_ms=self.rig.clock.wall_ms()
            )
            vdn.places.update(places)
            self.rig.progress.campaigns += len(fresh)
        now_s = self.rig.clock.now_s()
        for row in started:
            tries = vdn.tries_of(row.ref)
            if row.ref not in vdn.open and tries.accepted_s < began_s and tries.due_s <= now_s:
                self._begin(vdn, row, is_new=row.ref in fresh)

    def _begin(self, vdn: Vdn, row: Sighting, *, is_new: bool = False) -> None:
        if row.ref in vdn.open:
            return
        is_reopened = not is_new and row.ref not in vdn.left_open
        vdn.left_open.discard(row.ref)
        vdn.called_off.discard(row.ref)
        self.rig.progress.reopened += is_reopened
        vdn.open.add(row.ref)
        vdn.waiting.append(Planned(vdn.places[row.ref], row.ref, row.status))
        self.alarm.ring()

    # -- passes -------------------------------------------------------------------------------

    async def _pass(self, vdn: Vdn, *, filtered_only: bool = False) -> None:
        """Read the listings of one VDN, the filtered one last, and pause what they show."""
        rig = self.rig
        rig.progress.phase = "proving" if not vdn.open else rig.progress.phase
        began_s, began_ms = rig.clock.now_s(), rig.clock.wall_ms()
        puts, is_disturbed = vdn.puts, bool(vdn.open)
        whole = None
        if not filtered_only and self._wants_whole(vdn):
            whole = await self._read_whole(vdn)
        filtered = await read_listing(
            rig, vdn_id=vdn.vdn_id, status=Status.STARTED, keep_started=True, yields=True
        )
        if vdn.vdn_id in rig.denied_listings and filtered.complete:
            rig.denied_listings.discard(vdn.vdn_id)
        problem = (whole.problem if whole else "") or filtered.problem
        started = await self._agree(vdn, whole, filtered)
        if not started and not problem:
            problem = await self._look_at_unstopped(vdn, started)
        made = Pass(
            began_s,
            began_ms,
            rig.clock.now_s(),
            rig.clock.wall_ms(),
            complete=not problem and not is_disturbed and puts == vdn.puts,
            whole=whole is not None and whole.complete and bool(whole.ids),
            started=len(started),
        )
        vdn.started = started
        vdn.failed_passes = vdn.failed_passes + 1 if problem or vdn.open else 0
        vdn.problem = problem or (f"{len(started)} still started" if started else "")
        vdn.proof.take(made)
        self._note_empty(vdn, whole, filtered)
        await self._record(vdn, made, whole, filtered, problem)
        self._note_tries(vdn, made, is_whole=not problem)
        self._give_up(vdn, made)
        if vdn.end is None:
            await self._pause_started(vdn, began_s)

    def _wants_whole(self, vdn: Vdn) -> bool:
        if vdn.proof.needs_whole(self.rig.gap_s):
            return True
        return is_whole_due(
            is_large=vdn.proof.is_large,
            age_s=self.rig.clock.now_s() - vdn.whole_s,
            pages=sum(one.pages or 1 for one in self.vdns.values()),
            rate_per_s=self.rig.progress.ceiling_per_s or 1.0,
        )

    async def _agree(
        self, vdn: Vdn, whole: Listing | None, filtered: Listing
    ) -> dict[CampaignRef, Sighting]:
        """What either listing shows as started; only status 3 settles a contradiction."""
        started = {row.ref: row for row in filtered.started()}
        if whole is None:
            return started
        by_whole = {row.ref: row for row in whole.started()}
        disputed = sorted(started.keys() ^ by_whole.keys())
        started = by_whole | started
        if whole.problem or filtered.problem or len(disputed) > _FEW:
            return started
        for ref in disputed:
            seen = await read_state(self.rig, Planned(vdn.places.get(ref, 0), ref))
            if not isinstance(seen, Verdict) and seen.status is Status.SUSPENDED:
                del started[ref]
        return started

    async def _look_at_unstopped(self, vdn: Vdn, started: dict[CampaignRef, Sighting]) -> str:
        """A campaign of ours that was last seen started, and is listed nowhere: its state decides.

        Returns:
            Why the pass proves nothing; empty when nothing keeps it from proving something.
        """
        for ref in sorted(vdn.unstopped - vdn.open):
            seen = await read_state(self.rig, Planned(vdn.places[ref], ref))
            if isinstance(seen, Verdict):
                if seen.kind is Kind.NOT_FOUND:
                    vdn.unstopped.discard(ref)
                    continue
                return f"campaign {ref.campaign_id} could not be read: {seen.reason}"
            if seen.status in MAY_RUN:
                started[ref] = seen
            else:
                await self._note_rested(vdn, [seen], Evidence.READ)
        return ""

    async def _note_rested(self, vdn: Vdn, rows: Iterable[Sighting], evidence: Evidence) -> None:
        """Campaigns that we had not stopped have come to rest: their state decides."""
        for row in rows:
            if row.ref in vdn.open:
                continue
            known = await known_campaign(self.rig, row.ref)
            vdn.unstopped.discard(row.ref)
            if known is not None:
                decision = decide_seen(self.rig.action, known.history, row.status, evidence)
                settlement = seen_settlement(self.rig, known.seq, decision, row, known.error)
                await self.rig.settle(settlement, confirms=known.outcome is not None)

    def _note_empty(self, vdn: Vdn, whole: Listing | None, filtered: Listing) -> None:
        """The positive control: a VDN without any campaign is probably another one."""
        if whole is None:
            return
        is_empty = whole.complete and filtered.complete and not (whole.ids or filtered.ids)
        vdn.empty_looks = vdn.empty_looks + 1 if is_empty else 0
        if is_empty:
            vdn.problem = f"it has no campaigns at all: is {vdn.vdn_id} the right VDN?"
        if vdn.empty_looks >= _EMPTY_LOOKS and not vdn.places:
            vdn.end = End.NO_CAMPAIGNS

    def _note_tries(self, vdn: Vdn, made: Pass, *, is_whole: bool) -> None:
        """What the pass says of our PUTs: without effect, or at rest."""
        self.rig.lag.look(
            tuple(vdn.tries),
            started=vdn.started.keys(),
            complete=is_whole,
            began_s=made.began_s,
            ended_s=made.ended_s,
        )
        for ref, tries in tuple(vdn.tries.items()):
            if ref in vdn.started:
                tries.passes += is_whole
            elif is_whole and tries.accepted_s < made.began_s:
                self._is_at_rest(vdn, ref, tries)

    def _is_at_rest(self, vdn: Vdn, ref: CampaignRef, tries: Tries) -> None:
        if ref not in vdn.open:
            if tries.listing_is_old and self._is_lately_accepted(vdn, ref):
                return  # the next listing may be an older one again
            del vdn.tries[ref]
            vdn.accepted_before.discard(ref)
        elif tries.unheard >= _STALLED:
            # It does not answer, and does not run any more: no more PUTs, its state decides.
            vdn.called_off.add(ref)
            self.rig.sender.alarm.ring()

    def _give_up(self, vdn: Vdn, made: Pass) -> None:
        """More of the same would change nothing."""
        if not made.complete or not vdn.started:
            return
        if all(vdn.tries_of(ref).is_hopeless for ref in vdn.started):
            vdn.end = End.STILL_RUNNING

    async def _pause_started(self, vdn: Vdn, began_s: float) -> None:
        if not vdn.started:
            return
        newly = [ref for ref in vdn.started if ref not in vdn.tries and ref not in vdn.open]
        if newly:
            told = ", ".join(str(ref.campaign_id) for ref in newly[:_NAMES_SHOWN])
            self.rig.progress.notice = f"VDN {vdn.vdn_id}: started meanwhile, paused: {told}"
            self.rig.events.warning(
                "campaigns.started_meanwhile",
                vdn_id=vdn.vdn_id,
                number=len(newly),
                campaign_ids=told,
            )
        await self._take_started(vdn, vdn.started.values(), began_s)

    async def _record(
        self, vdn: Vdn, made: Pass, whole: Listing | None, filtered: Listing, problem: str
    ) -> None:
        for seen in (whole, filtered):
            if seen is None:
                continue
            started = len(seen.started())
            await self.rig.journal.swept(
                (
                    vdn.vdn_id,
                    made.began_ms,
                    made.ended_ms,
                    seen.pages,
                    len(seen.ids),
                    seen.total_size,
                    started,
                    int(seen.complete),
                    seen.problem,
                )
            )
        self.rig.events.info(
            "pass.made",
            vdn_id=vdn.vdn_id,
            whole=whole is not None,
            started=made.started,
            complete=made.complete,
            problem=problem,
        )

    # -- the pool's two sides -----------------------------------------------------------------

    async def _round_robin(self) -> AsyncIterator[Planned]:
        """Campaigns of all VDNs in turn, so that none starves."""
        await self.confirmed.wait()
        while self._feeding and not self.rig.stopping.is_stopping:
            offered = False
            for vdn in self.vdns.values():
                if vdn.waiting:
                    offered = True
                    yield vdn.waiting.popleft()
            if not offered:
                await self.alarm.sleep(None)

    async def _settle(self, planned: Planned) -> None:
        vdn = self.vdns[planned.ref.vdn_id]
        self.rig.progress.phase = "pausing"
        try:
            number = await last_attempt_number(self.rig, planned)
            await settle_one(self.rig, planned, attempts_before=number, last_round=True)
            if planned.ref in vdn.called_off and not self.rig.stopping.is_stopping:
                await decide_by_state(self.rig, planned)
        except StoppedError:
            self.rig.events.debug("campaign.left_open", seq=planned.seq)
        finally:
            vdn.open.discard(planned.ref)
            vdn.called_off.discard(planned.ref)
            self.alarm.ring()

    def unproven_vdns(self) -> list[int]:
        """Where something of ours may run although it was paused."""
        if not self.confirmed.is_set():
            return []
        return [
            vdn_id for vdn_id, vdn in self.vdns.items() if vdn.places and not self.is_quiet(vdn)
        ]

    def is_pointless(self, ref: CampaignRef) -> bool:
        """Whether a PUT has lost its sense since it was asked for."""
        return ref in self.vdns[ref.vdn_id].called_off

    def _is_still_accepted(self, ref: CampaignRef) -> bool:
        """Whether a listing that shows it started may be older than our acceptance.

        No complete look has shown it at rest since; or one has, and another replica is behind.
        """
        vdn = self.vdns[ref.vdn_id]
        return (
            vdn.tries_of(ref).was_accepted
            or ref in vdn.accepted_before
            or self._is_lately_accepted(vdn, ref)
        )

    def _is_lately_accepted(self, vdn: Vdn, ref: CampaignRef) -> bool:
        """Whether our PUT was accepted within the lag that listings may have."""
        accepted_s = vdn.accepted_s.get(ref, -math.inf)
        return self.rig.clock.now_s() < accepted_s + self.rig.gap_s

    def note_answer(self, ref: CampaignRef, verdict: Verdict) -> None:
        """A PUT was answered."""
        vdn = self.vdns[ref.vdn_id]
        now_s = self.rig.clock.now_s()
        effect = Effect.UNHEARD
        if verdict.kind is Kind.ACCEPTED:
            effect = Effect.ACCEPTED
            vdn.accepted_s[ref] = now_s
            self.rig.lag.accepted(ref, at_s=now_s)
        elif verdict.kind is Kind.WRONG_STATE and self._is_still_accepted(ref):
            effect = Effect.OLD_LISTING
        elif verdict.kind in _REFUSALS:
            effect = Effect.REFUSED
        vdn.tries_of(ref).note(effect, now_s=now_s)
        vdn.puts += 1
        if effect is not Effect.OLD_LISTING:
            vdn.proof.disturb()
        if effect is Effect.UNHEARD:
            self.alarm.ring()

    def note_settled(self, settlement: Settlement) -> None:
        """An outcome is on record: remember who is not stopped."""
        vdn = self.vdns[settlement.ref.vdn_id]
        if settlement.decision.outcome in SUCCESSES:
            vdn.unstopped.discard(settlement.ref)
        else:
            vdn.unstopped.add(settlement.ref)

    async def note_still_running(self) -> None:
        """At the end: what the newest look shows as started is not stopped, whatever we were told.

        0200011 after our acceptance is an exception: the server itself says that it is suspended.
        """
        for vdn in self.vdns.values():
            newest = vdn.proof.newest
            for ref, row in vdn.started.items():
                tries = vdn.tries_of(ref)
                is_newer = newest is not None and tries.accepted_s >= newest.began_s
                if tries.listing_is_old or (is_newer and tries.accepted == 1):
                    continue
                known = await known_campaign(self.rig, ref)
                if known is None or known.outcome is None:
                    continue
                decision = decide_seen(self.rig.action, known.history, row.status, Evidence.LISTED)
                reason = known.error or "accepted, and listed as started since"
                settlement = seen_settlement(self.rig, known.seq, decision, row, reason)
                await self.rig.settle(settlement, confirms=True)

    def remember(self, known: Sequence[Known]) -> None:
        """Take in what earlier lives of this run found."""
        for one in known:
            vdn = self.vdns[one.ref.vdn_id]
            vdn.places[one.ref] = one.seq
            if one.standing != "stands":
                vdn.left_open.add(one.ref)
            elif one.outcome not in SUCCESSES:
                vdn.unstopped.add(one.ref)
            if one.history.accepted:
                vdn.accepted_before.add(one.ref)


def _age_s(vdn: Vdn, now_s: float) -> float:
    """Seconds since the end of a VDN's newest pass."""
    newest = vdn.proof.newest
    return math.inf if newest is None else now_s - newest.ended_s
