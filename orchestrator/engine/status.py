"""`status`: what runs in some VDNs, and whether they are quiet. Only reads are sent.

It is an emergency that never begins anything: the same passes, the same proof, no run directory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.engine.begin import new_record
from orchestrator.engine.context import build_context
from orchestrator.engine.emergency import Emergency
from orchestrator.engine.options import PauseAllOptions
from orchestrator.engine.passes import make_pass
from orchestrator.engine.run import RunSpec, perform
from orchestrator.engine.vdns import End, Vdn
from orchestrator.reports.rows import RunKind
from orchestrator.reports.status import VdnStatus, status_exit_code
from orchestrator.reports.summary import Ended
from orchestrator.store import PlanWriter, ProcessRecord
from orchestrator.store.rate_file import has_shared_rate

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings

#: a server that fails for longer is said to fail; nobody waits for a status as for a stop
_PATIENCE_S = 10.0
#: passes in a row that could not be completed before quiet is not proven
_FAILED_MAX = 3
_AGAIN_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusResult:
    """What was read."""

    exit_code: int
    server: str
    server_name: str
    vdns: tuple[VdnStatus, ...]
    #: why it could read no more
    ended: Ended


async def status(
    settings: Settings, vdns: tuple[int, ...], environment: Environment, *, proves: bool
) -> StatusResult:
    """Read what runs in these VDNs.

    Args:
        settings: where the server is, and who we are.
        vdns: their numbers.
        environment: the process around it.
        proves: make the passes that prove quiet, not one alone.
    """
    settings = replace(settings, retry=replace(settings.retry, patience_s=_PATIENCE_S))
    # Nothing is left behind; where no run has ever sent, there is no rate to share.
    shares_rate = environment.shares_rate and has_shared_rate(settings)
    environment = replace(environment, shares_rate=shares_rate)
    options = PauseAllOptions(vdns, dry_run=True)
    record = new_record(environment, settings, RunKind.PAUSE_ALL, None, options)
    in_memory = PlanWriter(None).finish(record._replace(vdns=vdns))
    # As a list: an emergency would take the rate first, and never give up.
    spec = RunSpec(kind=RunKind.PAUSE, settings=settings, journal=in_memory, directory=None)
    journal = environment.make_store(in_memory, keep_going=True)
    try:
        clock = environment.clock
        process = ProcessRecord(clock.wall_ms(), os.getpid(), environment.host)
        await journal.begin_process(process)
        context = build_context(environment, spec, journal)
        context.dispatcher.is_pointless = lambda _: True  # no change leaves, whoever asks for one
        emergency = Emergency(context, {one: Vdn(one, context) for one in vdns}, only_reads=True)
        looking = _Looking(emergency, proves=proves)
        await perform(environment, spec, context, looking.work)
    finally:
        await journal.close()
    return looking.result(settings)


@dataclass(slots=True)
class _Looking:
    emergency: Emergency
    proves: bool

    async def work(self, context: RunContext) -> None:
        """Pass every VDN, once or until it is known whether it is quiet."""
        context.progress.phase = "reading"
        each = self.emergency.each
        vdns = self.emergency.vdns.values()
        look = self._prove if self.proves else partial(make_pass, self.emergency)
        await each(look, vdns)
        if self.proves and all(vdn.is_quiet for vdn in vdns):
            await self.emergency.prove_together(until_s=context.clock.now_s())

    async def _prove(self, vdn: Vdn) -> None:
        context = self.emergency.context
        while not vdn.is_quiet:
            wait_s = vdn.proof.next_pass_s(gap_s=context.gap_s, now_s=context.clock.now_s())
            await self.emergency.wait_for_second_pass(vdn, wait_s)
            await make_pass(self.emergency, vdn)
            if vdn.started or vdn.end is not None or vdn.failed_passes >= _FAILED_MAX:
                return
            if vdn.problem:
                await context.stopping.pause(_AGAIN_S)

    def result(self, settings: Settings) -> StatusResult:
        """What came of it."""
        context = self.emergency.context
        ended = Ended.BUG if context.bugs else context.stopping.ended
        if ended is Ended.FINISHED and not context.dispatcher.contact.has_answered:
            ended = Ended.SERVER
        found = tuple(self._status(vdn) for vdn in self.emergency.vdns.values())
        return StatusResult(
            exit_code=status_exit_code(found, ended=ended, proves=self.proves),
            server=settings.server.base_url,
            server_name=settings.server.name,
            vdns=found,
            ended=ended,
        )

    def _status(self, vdn: Vdn) -> VdnStatus:
        proof = vdn.proof
        is_quiet = self.proves and vdn.is_quiet
        is_empty = vdn.end is End.NO_CAMPAIGNS or vdn.empty_looks > 0
        # Started campaigns are a finding here, not what keeps a pass from proving something.
        is_believed = proof.newest is not None and proof.newest.complete
        stopped = self.emergency.context.stopping.why
        return VdnStatus(
            vdn_id=vdn.vdn_id,
            read_at_ms=proof.newest.ended_ms if proof.newest else None,
            problem="" if is_believed or is_empty else vdn.problem or stopped,
            no_campaigns=is_empty,
            started=tuple(vdn.started[ref] for ref in sorted(vdn.started)),
            counts=dict(vdn.counts),
            disputed=vdn.disputed,
            may_start=len(vdn.may_start),
            first_start=min(vdn.may_start, default=""),
            proves=self.proves,
            quiet_since_ms=proof.first.ended_ms if is_quiet and proof.first else None,
            again_at_ms=proof.clean.began_ms if is_quiet and proof.clean else None,
        )
