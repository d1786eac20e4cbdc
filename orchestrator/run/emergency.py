"""pause-all: find everything that runs in a VDN, pause it, prove that it is quiet.

Rule 1: pausing starts with the first page while the rest is read.
Rule 2: page numbers over a shrinking list prove nothing; only sweeps do (core/sweep.py).
Rule 3: no PUT of a VDN is pending or in flight while a sweep of it is made.
Rule 4: nothing stops the stopping: a failed listing, a full disk, a lost terminal.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.core.campaign import CampaignRef, Sighting, Status
from orchestrator.core.outcome import SUCCESSES, Changed, Decision, Evidence, Outcome
from orchestrator.core.plan import Planned, feasibility
from orchestrator.core.sweep import GAP_S, Finding, Listing, QuietProof
from orchestrator.edges.journal import Settlement
from orchestrator.run.listing import read_listing
from orchestrator.run.pool import note_bug, run_pool
from orchestrator.run.settle_one import known_campaign, last_attempt_number, settle_one
from orchestrator.run.stopping import Alarm, StoppedError
from orchestrator.run.verify import decide_by_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.edges.journal import Known
    from orchestrator.run.rig import Rig

#: seconds between two passes that look for newcomers while campaigns are being paused
_REDISCOVER_S = 5.0
#: such a pass may cost this share of the pace at most
_REDISCOVER_SHARE = 0.05
#: seconds before the next sweep when the last one could not be completed, or showed only refusals
_AGAIN_S = 1.0
#: seconds between sweeps while a quiet VDN is being held
_HOLD_GAP_S = 2.0
#: how long the second page may wait for the first PUT, and how often it looks
_FIRST_CHANGE_S = 5.0
_TURN_S = 0.002
#: first names that an operator is shown before confirming
_NAMES_SHOWN = 5
#: what is paused: started, and what we cannot read
_RUNNING = frozenset({Status.STARTED, None})


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
    #: came to rest without being stopped since the last sweep
    refused: dict[CampaignRef, str] = field(default_factory=dict)
    #: settled in an earlier life: never sent again
    settled_before: set[CampaignRef] = field(default_factory=set)
    #: left open by an earlier life: looked at before they are sent again
    left_open: set[CampaignRef] = field(default_factory=set)
    #: monotonic seconds at which a campaign was last stopped by us
    stopped_s: dict[CampaignRef, float] = field(default_factory=dict)
    #: None: not asked yet; the positive control
    has_campaigns: bool | None = None
    #: begin times that are ahead
    may_start: list[str] = field(default_factory=list)
    #: wall-clock milliseconds of the clean sweep since which nothing was started
    quiet_since_ms: int | None = None
    #: wall-clock milliseconds at which the last complete sweep ended
    last_sweep_ms: int | None = None
    #: why quiet is not proven, in words
    problem: str = ""
    #: complete sweeps so far
    sweeps: int = 0
    #: what the last sweep showed as started
    still_started: tuple[Sighting, ...] = ()

    @property
    def finding(self) -> Finding:
        """What the sweeps amount to; nothing is quiet without the positive control."""
        finding = self.proof.finding
        return Finding.GO_ON if finding is Finding.QUIET and not self.has_campaigns else finding


@dataclass(slots=True)
class Emergency:
    """One pause-all over one or several VDNs."""

    rig: Rig
    vdns: dict[int, Vdn]
    hold_s: float = 0.0
    #: campaigns are only listed: a dry run, or before the operator has confirmed
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    alarm: Alarm = field(default_factory=Alarm)
    #: for the operator: what was found so far, in words
    findings: list[str] = field(default_factory=list)
    _feeding: bool = True

    def __post_init__(self) -> None:
        """Let a stop wake the VDNs' coroutines."""
        self.rig.stopping.on_stop(self.alarm.ring)
        self.rig.stopping.on_stop(self.confirmed.set)

    # -- the whole ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Pause everything that runs until each VDN is quiet, refuses, or the run is ending."""
        self.rig.progress.phase = "finding"
        pool = asyncio.create_task(run_pool(self.rig, self._round_robin(), self._settle))
        try:
            await asyncio.gather(*(self._guarded(vdn) for vdn in self.vdns.values()))
        finally:
            self._feeding = False
            self.alarm.ring()
            await pool

    async def list_only(self) -> None:
        """Find what runs and add it to the plan, without touching it: `--dry-run`."""
        for vdn in self.vdns.values():
            await self._discover(vdn)
            await self._control(vdn)

    async def _guarded(self, vdn: Vdn) -> None:
        try:
            await self._stop_vdn(vdn)
        except StoppedError:
            vdn.problem = vdn.problem or self.rig.stopping.why
        except Exception as error:  # noqa: BLE001 - one VDN's bug must not stop the others
            vdn.problem = f"{type(error).__name__}: {error}"
            note_bug(self.rig, error, f"VDN {vdn.vdn_id}")

    # -- one VDN ------------------------------------------------------------------------------

    async def _stop_vdn(self, vdn: Vdn) -> None:
        await self._discover(vdn)
        await self.confirmed.wait()
        await self._settle_left_open(vdn)
        held_until_s: float | None = None
        while True:
            await self._until_at_rest(vdn)
            if self._is_denied(vdn):
                vdn.problem = "the server refuses access to it (403)"
                return
            await self._pause_for(vdn.proof.next_sweep_s(now_s=self.rig.clock.now_s()))
            await self._sweep(vdn)
            if vdn.has_campaigns is None and vdn.proof.clean_since_s is not None:
                await self._control(vdn)
                if vdn.has_campaigns is False:
                    return
            if vdn.finding is Finding.STILL_RUNNING:
                return
            if vdn.finding is Finding.QUIET:
                now_s = self.rig.clock.now_s()
                held_until_s = held_until_s or self._begin_hold(vdn, now_s)
                if now_s >= held_until_s:
                    return
                await self._pause_for(min(_HOLD_GAP_S, held_until_s - now_s))

    async def _pause_for(self, wait_s: float) -> None:
        self.rig.stopping.check()
        await self.rig.stopping.sleep(wait_s)
        self.rig.stopping.check()

    def _begin_hold(self, vdn: Vdn, now_s: float) -> float:
        """Quiet for the first time; returns until when it is to be held."""
        vdn.problem = ""
        self.rig.events.info("vdn.quiet", vdn_id=vdn.vdn_id, sweeps=vdn.sweeps)
        if self.hold_s:
            self.rig.progress.phase = "holding"
        return now_s + self.hold_s

    def _is_denied(self, vdn: Vdn) -> bool:
        return vdn.vdn_id in self.rig.denied_vdns or (
            vdn.vdn_id in self.rig.denied_listings and not vdn.places
        )

    async def _settle_left_open(self, vdn: Vdn) -> None:
        """What an earlier life left in doubt and is not listed as started: its state decides."""
        for ref in sorted(vdn.left_open):
            planned = Planned(vdn.places[ref], ref)
            seen = await decide_by_state(self.rig, planned, acted_on=_RUNNING)
            if seen is not None and seen.status in _RUNNING:
                self._begin(vdn, seen)
        vdn.left_open.clear()

    async def _until_at_rest(self, vdn: Vdn) -> None:
        """Wait until no PUT of this VDN is pending or in flight; look for newcomers meanwhile."""
        pages = 1
        while self._is_at_work(vdn):
            self.rig.stopping.check()
            rate_per_s = self.rig.progress.ceiling_per_s or 1.0
            gap_s = max(_REDISCOVER_S, pages / (rate_per_s * _REDISCOVER_SHARE))
            look_again_s = self.rig.clock.now_s() + gap_s
            while self._is_at_work(vdn) and self.rig.clock.now_s() < look_again_s:
                await self.alarm.sleep(look_again_s - self.rig.clock.now_s())
                self.rig.stopping.check()
            if self._is_at_work(vdn):
                seen = await self._discover(vdn)
                pages = max(1, seen.pages)

    def _is_at_work(self, vdn: Vdn) -> bool:
        return bool(vdn.open) and not self._is_denied(vdn)

    async def _discover(self, vdn: Vdn) -> Listing:
        """Read the started campaigns, handing each page to the pool as it comes.

        From the last page to the first: on a list that shrinks while it is read a campaign can
        only move towards pages that are still to come.
        """
        began_s = self.rig.clock.now_s()

        async def take(rows: Sequence[Sighting]) -> None:
            await self._found(vdn, rows)
            self._begin_restarted(vdn, rows, began_s)
            if rows and self.confirmed.is_set():
                await self._until_first_change()

        def enough(seen: Listing) -> bool:
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
        )
        if seen.problem:
            vdn.problem = seen.problem
            self.rig.events.info("discovery.incomplete", vdn_id=vdn.vdn_id, reason=seen.problem)
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
        running = seen.total_size if seen.total_size is not None else len(seen.ids)
        rate_per_s = self.rig.progress.ceiling_per_s
        told = feasibility(running=running, rate_per_s=rate_per_s, more=seen.total_size is None)
        names = [row.name for row in seen.started()[:_NAMES_SHOWN] if row.name]
        if seen.problem:
            told = f"could not be listed: {seen.problem}"
        elif not running:
            told = "nothing is running"
        self.findings.append(
            f"VDN {vdn.vdn_id}: {told}" + (f" ({', '.join(names)}, …)" if names else "")
        )
        self.rig.progress.notice = self.findings[-1]
        self.alarm.ring()

    async def _found(self, vdn: Vdn, rows: Sequence[Sighting]) -> None:
        """Take started campaigns in: new ones are added to the plan and wait for the pool."""
        started = [row for row in rows if row.status in _RUNNING]
        fresh = {row.ref: row for row in started if row.ref not in vdn.places}
        if fresh:
            places = await self.rig.journal.discovered(
                tuple(fresh.values()), at_ms=self.rig.clock.wall_ms()
            )
            vdn.places.update(places)
            self.rig.progress.campaigns += len(fresh)
        for row in started:
            if row.ref in fresh or row.ref in vdn.left_open:
                self._begin(vdn, row)

    def _begin_restarted(self, vdn: Vdn, rows: Sequence[Sighting], began_s: float) -> None:
        """What we had stopped before this listing was asked for has been started by somebody."""
        for row in rows:
            stopped_s = vdn.stopped_s.get(row.ref)
            if row.status is Status.STARTED and stopped_s is not None and stopped_s < began_s:
                self._begin(vdn, row)

    def _begin(self, vdn: Vdn, row: Sighting) -> None:
        if row.ref in vdn.open or row.ref in vdn.settled_before:
            return
        vdn.left_open.discard(row.ref)
        if row.ref in vdn.stopped_s or row.ref in vdn.refused:
            self.rig.progress.reopened += 1
        vdn.open.add(row.ref)
        vdn.waiting.append(Planned(vdn.places[row.ref], row.ref, row.status))
        self.alarm.ring()

    # -- sweeps -------------------------------------------------------------------------------

    async def _sweep(self, vdn: Vdn) -> None:
        """One listing of what is started, begun while no PUT is pending or in flight."""
        clock = self.rig.clock
        self.rig.progress.phase = "sweeping"
        began_s, began_ms = clock.now_s(), clock.wall_ms()

        async def keep(rows: Sequence[Sighting]) -> None:
            del rows

        seen = await read_listing(
            self.rig, vdn_id=vdn.vdn_id, status=Status.STARTED, take=keep, keep_started=True
        )
        started = seen.started()
        ended_s, ended_ms = clock.now_s(), clock.wall_ms()
        only_refusing = bool(started) and all(
            row.ref in vdn.refused or row.ref in vdn.settled_before for row in started
        )
        vdn.proof.take(
            complete=seen.complete,
            started=len(started),
            only_refusing=only_refusing,
            began_s=began_s,
            ended_s=ended_s,
        )
        vdn.still_started = started
        vdn.sweeps += seen.complete
        if seen.complete:
            vdn.last_sweep_ms = ended_ms
        if vdn.proof.clean_since_s is None:
            vdn.quiet_since_ms = None
        elif vdn.quiet_since_ms is None:
            vdn.quiet_since_ms = ended_ms
        await self._record_sweep(vdn, seen, began_ms, ended_ms)
        vdn.problem = seen.problem
        if started:
            vdn.problem = vdn.problem or f"{len(started)} still started"
        if vdn.finding is Finding.GO_ON and started:
            await self._pause_again(vdn, started)
        if seen.problem or only_refusing:
            await self._pause_for(_AGAIN_S)

    async def _pause_again(self, vdn: Vdn, started: Sequence[Sighting]) -> None:
        """Everything that a sweep shows as started is paused, the refusing ones once more."""
        newly = [row for row in started if row.ref not in vdn.refused]
        if newly:
            told = ", ".join(str(row.ref.campaign_id) for row in newly[:_NAMES_SHOWN])
            self.rig.progress.notice = f"VDN {vdn.vdn_id}: started meanwhile, paused: {told}"
            self.rig.events.warning(
                "campaigns.started_meanwhile",
                vdn_id=vdn.vdn_id,
                number=len(newly),
                campaign_ids=told,
            )
        await self._found(vdn, started)
        for row in started:
            self._begin(vdn, row)
        vdn.refused.clear()

    async def _record_sweep(self, vdn: Vdn, seen: Listing, began_ms: int, ended_ms: int) -> None:
        started = len(seen.started())
        await self.rig.journal.swept(
            (
                vdn.vdn_id,
                began_ms,
                ended_ms,
                seen.pages,
                len(seen.ids),
                seen.total_size,
                started,
                int(seen.complete),
                seen.problem,
            )
        )
        self.rig.events.info(
            "sweep.made",
            vdn_id=vdn.vdn_id,
            pages=seen.pages,
            rows=len(seen.ids),
            started=started,
            complete=seen.complete,
            problem=seen.problem,
        )

    async def _control(self, vdn: Vdn) -> None:
        """The positive control: the unfiltered listing must show that it has campaigns at all."""
        now_text = self.rig.clock.local_text()
        found: list[Sighting] = []

        async def keep(rows: Sequence[Sighting]) -> None:
            found.extend(row for row in rows if row.status is Status.STARTED)
            vdn.may_start.extend(
                row.begin_time
                for row in rows
                if row.status is Status.NOT_STARTED and row.begin_time > now_text
            )

        vdn.may_start.clear()

        def enough(seen: Listing) -> bool:
            """More pages than fit into the gap between two sweeps: the first is proof enough."""
            return seen.pages_expected > max(1.0, self.rig.progress.ceiling_per_s * GAP_S)

        seen = await read_listing(self.rig, vdn_id=vdn.vdn_id, status=0, take=keep, enough=enough)
        if seen.ids:
            vdn.has_campaigns = True
        elif seen.complete:
            vdn.has_campaigns = False
            vdn.problem = f"it has no campaigns at all: is {vdn.vdn_id} the right VDN?"
        else:
            vdn.problem = f"the unfiltered listing cannot be read: {seen.problem}"
        if found and self.confirmed.is_set():
            vdn.proof.disturb()
            await self._pause_again(vdn, found)

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
        finally:
            vdn.open.discard(planned.ref)
            self.alarm.ring()

    def note_settled(self, settlement: Settlement) -> None:
        """An outcome is on record: remember who refused."""
        ref = settlement.ref
        vdn = self.vdns[ref.vdn_id]
        if settlement.decision.outcome in SUCCESSES:
            vdn.refused.pop(ref, None)
            vdn.stopped_s[ref] = self.rig.clock.now_s()
        else:
            vdn.refused[ref] = settlement.error
            vdn.stopped_s.pop(ref, None)

    async def note_still_running(self) -> None:
        """At the end: stopped in an earlier life, left alone in this one, and started by now."""
        now_ms = self.rig.clock.wall_ms()
        for vdn in self.vdns.values():
            for row in vdn.still_started:
                if row.ref not in vdn.settled_before:
                    continue
                known = await known_campaign(self.rig, row.ref)
                if known is None or known.outcome not in SUCCESSES:
                    continue
                changed = Changed.YES if known.history.accepted else Changed.NO
                decision = Decision(Outcome.STILL_RUNNING, Evidence.ACCEPTED, changed)
                await self.rig.settle(
                    Settlement(
                        seq=known.seq,
                        ref=known.ref,
                        decision=decision,
                        standing="stands",
                        settled_at_ms=now_ms,
                        state_after=row.status,
                        seen_at_ms=now_ms,
                        error="started again after this run had stopped it; left alone",
                    )
                )

    def remember(self, known: Sequence[Known]) -> None:
        """Take in what earlier lives of this run found."""
        for one in known:
            vdn = self.vdns[one.ref.vdn_id]
            vdn.places[one.ref] = one.seq
            if one.standing == "stands":
                vdn.settled_before.add(one.ref)
            else:
                vdn.left_open.add(one.ref)
