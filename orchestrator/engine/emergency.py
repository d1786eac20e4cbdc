"""pause-all: find everything that runs in some VDNs, pause it, prove that they are quiet.

Pausing starts with the first page while the rest is read. Only check passes prove anything
(policy/quiet.py), and one begins when no PUT of its VDN is pending or in flight. The verdict is
about all VDNs at one time. Nothing stops the stopping: a failed listing, a full disk, a lost
terminal. A hold watches over quiet, and what is not proven at its end gets a minute more.
docs/spec/behaviour.md, "pause-all"; docs/spec/evidence.md, rule 1.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.discovery import begin, discover, discover_all
from orchestrator.engine.passes import make_pass
from orchestrator.engine.pool import note_bug, run_pool
from orchestrator.engine.reconcile import decide_by_state
from orchestrator.engine.stop import Alarm, StoppedError
from orchestrator.engine.vdns import End, Vdn
from orchestrator.engine.worker import complete_campaign
from orchestrator.errors import StorageError
from orchestrator.isales.listing import MAY_RUN
from orchestrator.policy.plan import Planned
from orchestrator.policy.quiet import FRESH_S, REGAIN_S, REPASS_S
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.silence import CallCounter
    from orchestrator.store import RunRecord

    Work = Callable[["Vdn"], Awaitable[None]]

#: seconds between two looks for newcomers while campaigns are being paused
_REDISCOVER_S = 5.0
#: such a look may cost this part of the pace at most
_REDISCOVER_SHARE = 0.05
#: seconds between two looks at a quiet VDN that is being held; one round's time where that is more
_HOLD_LOOK_S = 2.0
#: seconds before the next pass when nothing was due in the last one
_AGAIN_S = 1.0
#: … when the first, second, … pass in a row could not be completed
_FAILED_AGAIN_S = (1.0, 1.0, 2.0, 3.0, 5.0)


@dataclass(slots=True)
class Emergency:
    """One pause-all over one or several VDNs, by number."""

    context: RunContext
    vdns: dict[int, Vdn]
    #: nothing is ever begun: `status`
    only_reads: bool = False
    #: done once, when quiet is first proven
    after_quiet: Callable[[], Awaitable[None]] | None = None
    #: until then campaigns are only listed: a dry run, or before the operator has confirmed
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    #: something is to be paused
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    #: for the operator: what was found so far, in words
    findings: list[str] = field(default_factory=list)
    alarm: Alarm = field(init=False)
    _feeding: bool = True

    def __post_init__(self) -> None:
        """Follow answers, outcomes and the end of the run."""
        context = self.context
        context.vdns = self.vdns
        context.stopping.on_stop(self.confirmed.set)
        context.dispatcher.departures.are_changes_queued = lambda: any(
            vdn.waiting for vdn in self.vdns.values() if self.confirmed.is_set()
        )
        self.alarm = context.dispatcher.alarm

    def confirm(self) -> None:
        """From now on campaigns are paused."""
        self.confirmed.set()
        self.alarm.ring()

    async def run(self) -> None:
        """Pause everything that runs until all VDNs are quiet, refuse, or the run is ending."""
        self.context.progress.phase = "finding"
        pool = asyncio.create_task(run_pool(self.context, self._round_robin(), self._complete))
        try:
            await self._until_quiet()
            if self.after_quiet is not None and all(vdn.end is None for vdn in self.vdns.values()):
                await self.after_quiet()
        except StoppedError:
            for vdn in self.vdns.values():
                vdn.problem = vdn.problem or self.context.stopping.why
        finally:
            self._feeding = False
            self.alarm.ring()
            await pool

    async def list_only(self) -> None:
        """Find what runs and add it to the plan, without touching it: `--dry-run`."""
        for vdn in self.vdns.values():
            await discover_all(self, vdn)

    async def _until_quiet(self) -> None:
        while True:
            await self.each(self._bring, self.vdns.values())
            self.context.stopping.check()
            if await self.prove_together():
                return

    async def each(self, work: Work, vdns: Iterable[Vdn]) -> None:
        """Do it for several VDNs at the same time; a bug in one does not stop the others."""

        async def guarded(vdn: Vdn) -> None:
            try:
                await work(vdn)
            except StoppedError:
                vdn.problem = vdn.problem or self.context.stopping.why
            except StorageError as error:  # in a cluster: another worker has it now
                self.context.stopping.stop(Ended.STORAGE, str(error))
                vdn.problem = vdn.problem or self.context.stopping.why
            except Exception as error:  # noqa: BLE001 - it is reported, and the VDN is not proven
                vdn.problem = f"{type(error).__name__}: {error}"
                vdn.end = End.CLOSED
                note_bug(self.context, error, f"VDN {vdn.vdn_id}")

        await asyncio.gather(*(guarded(vdn) for vdn in vdns))

    async def _bring(self, vdn: Vdn) -> None:
        """Bring one VDN to quiet, and keep it there until all are through."""
        if vdn.pages is None:
            await discover_all(self, vdn)
            self.context.stopping.check()
            await self._complete_left_open(vdn)
        while vdn.end is None and not all(one.is_through for one in self.vdns.values()):
            if vdn.is_quiet:
                await self._keep(vdn)
            else:
                await self.advance(vdn)
        self.alarm.ring()

    async def _keep(self, vdn: Vdn) -> None:
        """Pass a proven VDN again about every 30 s while others are not proven."""
        newest = vdn.proof.newest
        assert newest is not None
        wait_s = newest.ended_s + REPASS_S - self.context.clock.now_s()
        if wait_s > 0:
            await self.alarm.sleep(wait_s)
            self.context.stopping.check()
        else:
            await make_pass(self, vdn)

    async def advance(self, vdn: Vdn) -> None:
        """One step towards quiet: wait for the PUTs, pass, pause what it shows."""
        await self._until_at_rest(vdn)
        if vdn.is_closed():
            vdn.end = End.CLOSED
            vdn.problem = "the server refuses access to it (403)"
            return
        wait_s = vdn.proof.next_pass_s(gap_s=self.context.gap_s, now_s=self.context.clock.now_s())
        await self.wait_for_second_pass(vdn, wait_s)
        await make_pass(self, vdn)
        if vdn.is_quiet:
            vdn.problem = ""
            self.context.events.info("vdn.quiet", vdn_id=vdn.vdn_id)
            self.alarm.ring()
        elif vdn.end is None and not vdn.is_at_work() and (vdn.problem or vdn.started or vdn.open):
            failed = min(vdn.failed_passes, len(_FAILED_AGAIN_S))
            await self.context.stopping.pause(_FAILED_AGAIN_S[failed - 1] if failed else _AGAIN_S)

    async def wait_for_second_pass(self, vdn: Vdn, wait_s: float) -> None:
        """Wait until the next pass can add to the proof, and let people know."""
        name = f"VDN {vdn.vdn_id} is " if len(self.vdns) > 1 else ""
        until_s = self.context.clock.now_s() + wait_s
        said = f"{name}quiet so far, second check in"
        with self.context.progress.waiting(("proof", vdn.vdn_id), until_s, said):
            await self.context.stopping.pause(wait_s)

    async def _complete_left_open(self, vdn: Vdn) -> None:
        """What an earlier process left in doubt and is not listed as started: its state decides."""
        for ref in sorted(vdn.left_open):
            planned = Planned(vdn.places[ref], ref)
            seen = await decide_by_state(self.context, planned, acted_on=MAY_RUN)
            if seen is not None and seen.status in MAY_RUN:
                begin(self, vdn, seen)
        vdn.left_open.clear()

    async def _until_at_rest(self, vdn: Vdn) -> None:
        """Wait until no PUT of this VDN is pending or in flight; look for newcomers meanwhile."""
        while vdn.is_at_work() and not vdn.is_closed():
            self.context.stopping.check()
            rate_per_s = self.context.progress.ceiling_per_s or 1.0
            pages = sum(one.filtered_pages for one in self.vdns.values())
            gap_s = max(_REDISCOVER_S, pages / (rate_per_s * _REDISCOVER_SHARE))
            look_again_s = self.context.clock.now_s() + gap_s
            while vdn.is_at_work() and self.context.clock.now_s() < look_again_s:
                await self.alarm.sleep(look_again_s - self.context.clock.now_s())
                self.context.stopping.check()
            if vdn.is_at_work():
                await discover(self, vdn)

    async def prove_together(self, *, until_s: float = math.inf) -> bool:
        """Look at all proven VDNs within one short time; False: one of them is not proven any more.

        Args:
            until_s: what could not be looked at by then stays unproven, monotonic seconds.
        """
        quiet = [vdn for vdn in self.vdns.values() if vdn.end is None]
        now_s = self.context.clock.now_s()
        old = [vdn for vdn in quiet if vdn.age_s(now_s) > FRESH_S]
        await self.each(partial(make_pass, self), old)
        began_s = self.context.clock.now_s()
        left = [vdn for vdn in quiet if vdn.age_s(began_s) > _AGAIN_S]
        has_waited = False
        while left:
            self.context.progress.phase = "proving"
            await self.each(partial(make_pass, self, filtered_only=True), left)
            self.context.stopping.check()
            # What a look shows as started breaks the pair; what merely failed is looked at again.
            if any(vdn.proof.first is None or vdn.open for vdn in left):
                return False
            left = [vdn for vdn in left if not vdn.is_quiet]
            now_s = self.context.clock.now_s()
            if left and now_s >= until_s:
                return False
            if left:
                has_waited = True
                await self.context.stopping.pause(_AGAIN_S)
            elif has_waited:
                # What failed took its time: the others have aged meanwhile.
                has_waited = False
                left = [vdn for vdn in quiet if vdn.age_s(now_s) > FRESH_S]
        return all(vdn.is_quiet for vdn in quiet)

    async def _round_robin(self) -> AsyncIterator[Planned]:
        """Yield the campaigns of all VDNs in turn, so that each gets its part."""
        while self._feeding and not self.confirmed.is_set():
            await self.alarm.sleep(None)
        while self._feeding and not self.context.stopping.is_stopping:
            offered = False
            for vdn in self.vdns.values():
                if vdn.waiting:
                    offered = True
                    yield vdn.waiting.popleft()
            if not offered:
                await self.alarm.sleep(None)

    async def _complete(self, planned: Planned) -> None:
        vdn = self.vdns[planned.ref.vdn_id]
        self.context.progress.phase = "pausing"
        try:
            await complete_campaign(self.context, planned)
            if planned.ref in vdn.called_off and not self.context.stopping.is_stopping:
                await decide_by_state(self.context, planned)
        except StoppedError:
            self.context.events.debug("campaign.left_open", seq=planned.seq)
        finally:
            vdn.open.discard(planned.ref)
            vdn.called_off.discard(planned.ref)
            self.alarm.ring()


# -- after quiet -------------------------------------------------------------------------------


async def hold_and_count(
    emergency: Emergency,
    record: RunRecord,
    counter: CallCounter,
    note_proof: Callable[[], Awaitable[None]],
) -> None:
    """Count calls, beside the hold where one was asked for.

    Raises:
        StoppedError: the run is ending.
    """
    context = emergency.context
    context.lift_deadline()
    counter.is_holding = record.hold_s > 0
    counting = asyncio.create_task(counter.run())
    context.stopping.on_stop(counting.cancel)
    try:
        if record.hold_s:
            await hold(emergency, record)
            counter.is_holding = False
        if all(vdn.is_quiet for vdn in emergency.vdns.values()):
            context.progress.phase, context.progress.notice = "quiet, counting calls", ""
            # From here on nothing can change the proof: a kill must not lose it.
            await note_proof()
            await asyncio.wait({counting})
    finally:
        counting.cancel()
        await asyncio.wait({counting})


async def hold(emergency: Emergency, record: RunRecord) -> None:
    """Watch over quiet: what starts is paused, also past the deadline.

    Raises:
        StoppedError: the run is ending.
    """
    context = emergency.context
    clock, stopping = context.clock, context.stopping
    context.lift_deadline()
    context.progress.phase = "holding"
    began_s = clock.now_s() - record.held_s
    until_s = began_s + record.hold_s
    # not more than a third of the rate, all VDNs together
    rate_per_s = context.progress.ceiling_per_s or 1.0
    look_again_s = max(_HOLD_LOOK_S, 3 * len(emergency.vdns) / rate_per_s)

    async def watch(vdn: Vdn) -> None:
        while clock.now_s() < until_s:
            if not vdn.is_quiet:
                vdn.end = None
                await emergency.advance(vdn)
                continue
            assert vdn.proof.newest is not None
            due_s = min(vdn.proof.newest.ended_s + look_again_s, until_s)
            await stopping.pause(max(0.0, due_s - clock.now_s()))
            if clock.now_s() < until_s:
                await make_pass(emergency, vdn)

    async def count() -> None:
        while clock.now_s() < until_s and not stopping.is_stopping:
            try:
                await context.journal.note(held_s=clock.now_s() - began_s)
            except StorageError as error:  # in a cluster: another worker has it now
                stopping.stop(Ended.STORAGE, str(error))
            await stopping.sleep(min(_HOLD_LOOK_S, until_s - clock.now_s()))

    counting = asyncio.create_task(count())
    try:
        with context.progress.waiting("hold", until_s, "watching for another"):
            await emergency.each(watch, emergency.vdns.values())
    finally:
        counting.cancel()
    await _regain(emergency, until_s + REGAIN_S)


async def _regain(emergency: Emergency, until_s: float) -> None:
    """After the hold, look for up to a minute at what is not proven."""
    context = emergency.context

    async def prove(vdn: Vdn) -> None:
        while not vdn.is_quiet and context.clock.now_s() < until_s:
            vdn.end = None
            await emergency.advance(vdn)

    context.stopping.check()
    while not await emergency.prove_together(until_s=until_s):
        if context.clock.now_s() >= until_s:
            return
        await emergency.each(prove, emergency.vdns.values())
        context.stopping.check()
