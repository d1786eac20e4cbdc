"""One pass over a VDN: both listings, the filtered one last, and what follows from them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from orchestrator.engine.discovery import note_rested, read_whole, take_started
from orchestrator.engine.lookup import read_listing
from orchestrator.engine.reconcile import read_state
from orchestrator.engine.stop import StoppedError
from orchestrator.engine.vdns import STALLED, End, Vdn
from orchestrator.isales.listing import MAY_RUN, Listing
from orchestrator.isales.verdict import Kind, Verdict
from orchestrator.model import CampaignRef, ObservedState, Status
from orchestrator.policy.decide import Evidence
from orchestrator.policy.quiet import Pass, Tries, is_whole_due
from orchestrator.reports.rows import SweepRecord

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.emergency import Emergency
    from orchestrator.engine.progress import Progress

#: names of campaigns that a notice shows
_NAMES_SHOWN = 5
#: contradictions between the two listings that single reads decide
_FEW = 20
#: looks that must show no campaign at all before that is believed
_EMPTY_LOOKS = 2


async def make_pass(emergency: Emergency, vdn: Vdn, *, filtered_only: bool = False) -> None:
    """Read the listings of one VDN, the filtered one last, and pause what they show."""
    context = emergency.context
    if not vdn.open:
        context.progress.phase = "proving"
        if context.progress.notice in emergency.findings:
            context.progress.notice = ""  # what was found before pausing is over
    began_s, began_ms = context.clock.now_s(), context.clock.wall_ms()
    puts, is_disturbed = vdn.puts, bool(vdn.open)
    wants_whole = vdn.proof.is_single_sourced or (
        not filtered_only and _wants_whole(emergency, vdn)
    )
    whole = None
    try:
        whole = await read_whole(emergency, vdn) if wants_whole else None
        filtered = await read_listing(
            context, vdn_id=vdn.vdn_id, status=Status.STARTED, proves=True
        )
    except StoppedError:
        _take_broken_off(context, vdn, whole, began_s, began_ms)
        raise
    if vdn.vdn_id in context.denied_listings and filtered.complete:
        context.denied_listings.discard(vdn.vdn_id)
    problem = (whole.problem if whole else "") or filtered.problem
    started = await _agree(context, vdn, whole, filtered)
    if not started and not problem:
        problem = await _look_at_unstopped(context, vdn, started)
    made = Pass(
        began_s,
        began_ms,
        context.clock.now_s(),
        context.clock.wall_ms(),
        complete=not problem and not is_disturbed and puts == vdn.puts,
        whole=whole is not None and whole.complete and bool(whole.ids),
        started=len(started),
        whole_failed=whole is not None and not whole.complete,
    )
    vdn.started = started
    vdn.failed_passes = vdn.failed_passes + 1 if problem or vdn.open else 0
    vdn.problem = problem or (f"{len(started)} still started" if started else "")
    vdn.proof.take(made)
    _tell_failure(context.progress, vdn, problem)
    _note_empty(vdn, whole, filtered)
    listings: dict[Status | None, Listing] = {} if whole is None else {None: whole}
    listings[Status.STARTED] = filtered
    await _record(context, vdn, made, listings.values(), problem)
    _note_listings(vdn, made, listings)
    _note_tries(context, vdn, made, is_whole=not problem)
    # for which more attempts would change nothing
    if made.complete and started and all(vdn.tries_of(ref).is_hopeless for ref in started):
        vdn.end = End.STILL_RUNNING
    if vdn.end is None and not emergency.only_reads:
        await _pause_started(emergency, vdn, began_s)


def _take_broken_off(
    context: RunContext, vdn: Vdn, whole: Listing | None, began_s: float, began_ms: int
) -> None:
    """Of a pass that a stop broke off counts what it showed; failing, it takes the proof away."""
    shown = {row.ref: row for row in whole.started()} if whole is not None else {}
    vdn.started |= shown
    has_failed = whole is not None and not whole.complete
    is_failing = has_failed or context.dispatcher.breakers.reads.is_failing
    if not shown and not (is_failing and vdn.is_quiet):
        return
    now_s, now_ms = context.clock.now_s(), context.clock.wall_ms()
    vdn.proof.take(
        Pass(
            began_s, began_ms, now_s, now_ms,
            complete=False, whole=False, started=len(shown), whole_failed=has_failed,
        )
    )  # fmt: skip
    vdn.problem = "its newest listing had failed when the run was stopped"
    if shown:
        vdn.problem = f"{len(vdn.started)} still started"


def _tell_failure(progress: Progress, vdn: Vdn, problem: str) -> None:
    """Say on the live line why a VDN is not listed, for as long as it is not."""
    begun = f"VDN {vdn.vdn_id} is not listed: "
    if problem:
        progress.notice = f"{begun}{problem}; trying again"
    elif progress.notice.startswith(begun):
        progress.notice = ""


def _wants_whole(emergency: Emergency, vdn: Vdn) -> bool:
    if vdn.proof.needs_whole(emergency.context.gap_s):
        return True
    return is_whole_due(
        is_large=vdn.proof.is_large,
        age_s=emergency.context.clock.now_s() - vdn.whole_s,
        pages=sum(one.pages or 1 for one in emergency.vdns.values()),
        rate_per_s=emergency.context.progress.ceiling_per_s or 1.0,
    )


async def _agree(
    context: RunContext, vdn: Vdn, whole: Listing | None, filtered: Listing
) -> dict[CampaignRef, ObservedState]:
    """What either listing shows as started; only status 3 decides a contradiction."""
    started = {row.ref: row for row in filtered.started()}
    if whole is None:
        return started
    by_whole = {row.ref: row for row in whole.started()}
    disputed = sorted(started.keys() ^ by_whole.keys())
    vdn.disputed = len(disputed)
    started = by_whole | started
    if whole.problem or filtered.problem or len(disputed) > _FEW:
        return started
    for ref in disputed:
        seen = await read_state(context, ref)
        if not isinstance(seen, Verdict) and seen.status is Status.SUSPENDED:
            del started[ref]
    return started


async def _look_at_unstopped(
    context: RunContext, vdn: Vdn, started: dict[CampaignRef, ObservedState]
) -> str:
    """A campaign of ours that was last seen started, and is listed nowhere: its state decides.

    Returns:
        Why the pass proves nothing; empty when nothing keeps it from proving something.
    """
    for ref in sorted(vdn.unstopped - vdn.open):
        seen = await read_state(context, ref)
        if isinstance(seen, Verdict):
            if seen.kind is Kind.NOT_FOUND:
                vdn.unstopped.discard(ref)
                continue
            return f"campaign {ref.campaign_id} could not be read: {seen.reason}"
        if seen.status in MAY_RUN:
            started[ref] = seen
        else:
            await note_rested(context, vdn, [seen], Evidence.READ)
    return ""


def _note_empty(vdn: Vdn, whole: Listing | None, filtered: Listing) -> None:
    """The positive control: a VDN without any campaign is probably another one."""
    if whole is None:
        return
    is_empty = whole.complete and filtered.complete and not (whole.ids or filtered.ids)
    vdn.empty_looks = vdn.empty_looks + 1 if is_empty else 0
    if is_empty:
        vdn.problem = f"it has no campaigns at all: is {vdn.vdn_id} the right VDN?"
    if vdn.empty_looks >= _EMPTY_LOOKS and not vdn.places:
        vdn.end = End.NO_CAMPAIGNS


def _note_listings(vdn: Vdn, made: Pass, listings: Mapping[Status | None, Listing]) -> None:
    """Note what each listing by itself shows of what was accepted before it was asked for."""
    started = {asked: {row.ref for row in one.started()} for asked, one in listings.items()}
    for ref, tries in vdn.tries.items():
        if tries.accepted_s < made.began_s:
            tries.look(
                {
                    asked: ref in started[asked]
                    for asked, listing in listings.items()
                    if listing.complete or ref in started[asked]
                }
            )


def _note_tries(context: RunContext, vdn: Vdn, made: Pass, *, is_whole: bool) -> None:
    """Note what the pass shows of our PUTs: without effect, or at rest."""
    context.lag.look(
        tuple(vdn.tries),
        started=vdn.started.keys(),
        complete=is_whole,
        began_s=made.began_s,
        ended_s=made.ended_s,
    )
    if is_whole:
        vdn.contradicted = {
            ref: vdn.contradicted[ref] for ref in vdn.contradicted if ref in vdn.started
        }
    for ref, tries in tuple(vdn.tries.items()):
        if ref in vdn.started:
            tries.passes += is_whole
        elif is_whole and tries.accepted_s < made.began_s:
            _note_at_rest(context, vdn, ref, tries)


def _note_at_rest(context: RunContext, vdn: Vdn, ref: CampaignRef, tries: Tries) -> None:
    if ref not in vdn.open:
        if tries.listing_is_old and vdn.is_lately_accepted(ref):
            return  # the next listing may be an older one again
        if context.clock.now_s() - tries.accepted_s < context.gap_s:
            return  # so short a rest may be one between two starts
        del vdn.tries[ref]
        vdn.accepted_before.discard(ref)
    elif tries.unheard >= STALLED:
        # It does not answer, and does not run any more: no more PUTs, its state decides.
        vdn.called_off.add(ref)
        context.dispatcher.alarm.ring()


async def _pause_started(emergency: Emergency, vdn: Vdn, began_s: float) -> None:
    if not vdn.started:
        return
    newly = [ref for ref in vdn.started if ref not in vdn.tries and ref not in vdn.open]
    if newly:
        told = ", ".join(str(ref.campaign_id) for ref in newly[:_NAMES_SHOWN])
        context = emergency.context
        context.progress.notice = f"VDN {vdn.vdn_id}: started meanwhile, paused: {told}"
        context.events.warning(
            "campaigns.started_meanwhile", vdn_id=vdn.vdn_id, number=len(newly), campaign_ids=told
        )
    await take_started(emergency, vdn, vdn.started.values(), began_s, began_s)


async def _record(
    context: RunContext, vdn: Vdn, made: Pass, listings: Collection[Listing], problem: str
) -> None:
    for seen in listings:
        await context.journal.record_pass(
            SweepRecord(
                vdn_id=vdn.vdn_id,
                started_at_ms=made.began_ms,
                ended_at_ms=made.ended_ms,
                pages=seen.pages,
                rows=len(seen.ids),
                total_size=seen.total_size,
                started=len(seen.started()),
                complete=seen.complete,
                problem=seen.problem,
            )
        )
    context.events.info(
        "pass.made",
        vdn_id=vdn.vdn_id,
        whole=len(listings) > 1,
        started=made.started,
        complete=made.complete,
        problem=problem,
    )
