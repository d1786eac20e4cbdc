"""`pause-all`: the emergency as a run, with its guard, its proof and its record.

Rule 1: the guard never waits for the listing, nor the listing for the guard.
Rule 2: without a disk the journal lives in memory, the rows go to the fallback, and the exit code
        says so: nothing stops the stopping.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.core.report import RunKind
from orchestrator.core.summary import Ended, VdnProof
from orchestrator.edges.journal import PlanWriter, all_vdn_shares, known_of_vdn, read_meta
from orchestrator.errors import OrchestratorError, RefusedError, StorageError
from orchestrator.run.beginning import facts_text, give_up, new_directory, run_id_of
from orchestrator.run.emergency import Emergency, End, Vdn
from orchestrator.run.options import EMERGENCY_DEADLINE_S
from orchestrator.run.session import Undertaking, live

if TYPE_CHECKING:
    import sqlite3

    from orchestrator.edges.run_directory import RunDirectory
    from orchestrator.edges.settings import Settings
    from orchestrator.run.beginning import Opened
    from orchestrator.run.options import ContinueOptions, PauseAllOptions
    from orchestrator.run.reporting import RunResult
    from orchestrator.run.rig import Rig
    from orchestrator.run.session import Surroundings


@dataclass(slots=True)
class Findings:
    """What an operator sees before confirming; grows while the listing goes on."""

    server: str
    vdns: tuple[int, ...]
    #: one per VDN: how many run, the first names, the time needed
    lines: list[str]


#: asks the operator; True: go
Confirm = Callable[[Findings], Awaitable[bool]]


@dataclass(slots=True)
class _Course:
    """One pause-all from its parts to its proof."""

    settings: Settings
    surroundings: Surroundings
    vdns: tuple[int, ...]
    hold_s: float
    dry_run: bool
    confirm: Confirm | None
    continued: bool = False
    emergency: Emergency | None = None
    refused: bool = False

    async def work(self, rig: Rig) -> None:
        emergency = Emergency(rig, {one: Vdn(one) for one in self.vdns}, hold_s=self.hold_s)
        self.emergency = emergency
        rig.after_settled = emergency.note_settled
        rig.after_answer = emergency.note_answer
        rig.is_pointless = emergency.is_pointless
        rig.unproven_vdns = emergency.unproven_vdns
        if self.continued:
            emergency.held_s = float((await rig.journal.read(read_meta)).get("held_s", "0"))
            for share in await rig.journal.read(all_vdn_shares):
                emergency.remember(
                    await rig.journal.read(partial(known_of_vdn, vdn_id=share.vdn_id))
                )
        if self.dry_run:
            await emergency.list_only()
            return
        if self.confirm is None:
            emergency.confirmed.set()
            await emergency.run()
            return
        await self._ask(rig, emergency, self.confirm)

    async def _ask(self, rig: Rig, emergency: Emergency, confirm: Confirm) -> None:
        """List while the operator types; nothing is paused before the answer."""
        running = asyncio.create_task(emergency.run())
        findings = Findings(self.settings.server.base_url, self.vdns, emergency.findings)
        asking = asyncio.create_task(_asked(confirm, findings))
        stopped = asyncio.create_task(rig.stopping.sleep(None))
        await asyncio.wait({asking, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if asking.done() and asking.result():
            emergency.confirmed.set()
        else:
            self.refused = not rig.stopping.is_stopping
            rig.stopping.stop(Ended.SIGNAL_INT, "not confirmed")
            asking.cancel()
        stopped.cancel()
        await running

    async def conclude(self, rig: Rig) -> None:
        """Put the proofs on record."""
        if self.emergency is None:
            return
        from orchestrator.run.reporting import proofs_text  # noqa: PLC0415 - at the end

        await self.emergency.note_still_running()
        proofs = tuple(
            _proof(vdn, is_quiet=self.emergency.is_quiet(vdn), hold_s=self.hold_s)
            for vdn in self.emergency.vdns.values()
        )
        await rig.journal.note("proofs", proofs_text(proofs))


async def _asked(confirm: Confirm, findings: Findings) -> bool:
    return await confirm(findings)


async def pause_all(
    settings: Settings,
    options: PauseAllOptions,
    surroundings: Surroundings,
    *,
    confirm: Confirm | None,
) -> RunResult:
    """Pause everything that runs in some VDNs and prove that they are quiet.

    Args:
        settings: loaded with the defaults of an emergency.
        options: which VDNs, for how long.
        surroundings: the process around the run.
        confirm: asks the operator; None: confirmed already.

    Raises:
        OrchestratorError: it could not begin, or was not confirmed; nothing was sent.
    """
    directory, connection, problem = _place(settings, options, surroundings)
    course = _Course(settings, surroundings, options.vdns, options.hold_s, options.dry_run, confirm)
    undertaking = Undertaking(
        kind=RunKind.PAUSE_ALL,
        settings=settings,
        connection=connection,
        directory=directory,
        deadline_s=options.deadline_s,
        decide_by_reading=True,
        storage_problem=problem,
    )
    try:
        result = await live(surroundings, undertaking, course.work, before_report=course.conclude)
    finally:
        if directory is not None:
            directory.release()
    if course.refused:
        raise RefusedError(
            "not confirmed. Nothing was sent; campaigns are still dialling.",
            advice="type the VDN number, or add --yes",
        )
    return result


async def continue_pause_all(
    opened: Opened, settings: Settings, options: ContinueOptions, surroundings: Surroundings
) -> RunResult:
    """One more life for an interrupted pause-all."""
    vdns = opened.facts.told["vdns"]
    hold_s = opened.facts.told["hold_s"]
    assert isinstance(vdns, list)
    assert isinstance(hold_s, (int, float))
    course = _Course(
        settings,
        surroundings,
        tuple(vdns),
        float(hold_s),
        dry_run=False,
        confirm=None,
        continued=True,
    )
    undertaking = Undertaking(
        kind=RunKind.PAUSE_ALL,
        settings=settings,
        connection=opened.connection,
        directory=opened.directory,
        deadline_s=options.deadline_s or EMERGENCY_DEADLINE_S,
        decide_by_reading=True,
    )
    return await live(surroundings, undertaking, course.work, before_report=course.conclude)


def _place(
    settings: Settings, options: PauseAllOptions, surroundings: Surroundings
) -> tuple[RunDirectory | None, sqlite3.Connection, StorageError | None]:
    """Where this run is recorded: where it was wished, in the state directory, or in memory."""
    problem: OrchestratorError | None = None
    for wanted in dict.fromkeys((options.run_dir, None)):
        try:
            directory = new_directory(surroundings, settings.state_dir, wanted)
            try:
                connection = _journal(settings, options, surroundings, directory)
            except StorageError:
                give_up(directory)
                raise
        except OrchestratorError as error:
            problem = problem or error
            continue
        if problem is not None:
            surroundings.events.error(
                "journal.elsewhere", path=str(directory.path), error=_reason(problem)
            )
        return directory, connection, None
    assert problem is not None
    surroundings.events.error("journal.in_memory", error=_reason(problem))
    connection = _journal(settings, options, surroundings, None)
    return None, connection, StorageError(_reason(problem))


def _reason(problem: OrchestratorError) -> str:
    """Why there is no place, without what would have been true of a list: this run goes on."""
    return str(problem).removesuffix("Nothing was sent.").rstrip(" .")


def _journal(
    settings: Settings,
    options: PauseAllOptions,
    surroundings: Surroundings,
    directory: RunDirectory | None,
) -> sqlite3.Connection:
    writer = PlanWriter(directory.journal if directory else None)
    text = facts_text(
        surroundings,
        settings,
        kind=RunKind.PAUSE_ALL,
        run_id=run_id_of(surroundings, directory),
        reason=options.reason,
        dry_run=options.dry_run,
        vdns=options.vdns,
        hold_s=options.hold_s,
    )
    try:
        return writer.finish({"facts": text})
    except StorageError:
        writer.discard()
        raise


def _proof(vdn: Vdn, *, is_quiet: bool, hold_s: float) -> VdnProof:
    first, newest, clean = vdn.proof.first, vdn.proof.newest, vdn.proof.clean
    since_ms = first.ended_ms if is_quiet and first else None
    moment_ms = newest.began_ms if newest else None
    return VdnProof(
        vdn_id=vdn.vdn_id,
        quiet_since_ms=since_ms,
        again_at_ms=clean.began_ms if is_quiet and clean else None,
        started=0 if is_quiet else len(vdn.started),
        seen_at_ms=newest.ended_ms if newest else None,
        local_time=time.strftime("%H:%M", time.localtime(moment_ms / 1000)) if moment_ms else "",
        problem="" if is_quiet else vdn.problem,
        no_campaigns=vdn.end is End.NO_CAMPAIGNS,
        may_start=len(vdn.may_start),
        first_start=min(vdn.may_start, default=""),
        whole_at_ms=vdn.whole_ms,
        longest_gap_s=vdn.proof.longest_gap_s if hold_s else 0.0,
    )
