"""Reads: one request, again while that is worth it, and a listing page by page.

The caller decides what to do with the rows. Pages that may come in any order are read a few at a
time, the first one always alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import TYPE_CHECKING

from orchestrator.engine.permits import Permit
from orchestrator.engine.stop import StoppedError
from orchestrator.isales.client import NotSentError
from orchestrator.isales.listing import Listing, page_count, read_page
from orchestrator.isales.requests import ApiRequest, listing
from orchestrator.isales.verdict import Kind, Repeat, Verdict
from orchestrator.model import ObservedState
from orchestrator.policy.plan import reads_are_cheaper

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.dispatcher import Dispatcher, Exchange
    from orchestrator.isales.answer import Answer
    from orchestrator.store import VdnCount

#: pages of one listing that are asked for at a time, where the order of reading does not matter
_PAGES_ABREAST = 4
#: pages that may be unreadable before the rest is not asked for
_PAGES_FAILED_MAX = 3
#: repeats of a listing page or a read before it counts as failed
READ_ATTEMPTS = 4


async def ask(
    dispatcher: Dispatcher, request: ApiRequest, *, key: Hashable, yields: bool = False
) -> Exchange:
    """Send a reading request, again while that is worth it; a failure would be that of `key`.

    `yields`: while a PUT waits, such requests get PASS_SHARE of the rate.

    Raises:
        StoppedError: the run is ending.
    """
    failures = 0
    while True:
        if yields:
            await dispatcher.departures.let_changes_pass(dispatcher.stopping)
        exchange, counts = await _ask_once(dispatcher, request, key)
        verdict = exchange.verdict
        if verdict.kind is Kind.UNAUTHORIZED:
            if dispatcher.recover(exchange):
                continue
            if dispatcher.stopping.is_stopping:
                return exchange
        if verdict.kind is Kind.ACCEPTED or verdict.repeat is Repeat.NEVER:
            return exchange
        failures += counts
        if dispatcher.contact.is_foreign or failures >= READ_ATTEMPTS:
            return exchange
        await dispatcher.stopping.sleep(dispatcher.backoff_s(failures))


async def _ask_once(
    dispatcher: Dispatcher, request: ApiRequest, key: Hashable
) -> tuple[Exchange, bool]:
    """One exchange that left, and whether its failure counts."""
    auth_state = dispatcher.auth_state
    while True:
        async with dispatcher.work_limit, dispatcher.permit(key, change=False) as permit:
            try:
                exchange = await dispatcher.exchange(request, permit)
            except NotSentError:
                continue
            is_outage = (
                exchange.verdict.kind is Kind.UNAUTHORIZED
                and dispatcher.emergency
                and auth_state.accepted
                and exchange.generation == auth_state.generation
            )
            if is_outage:
                dispatcher.breakers.hold_back(permit.breaker, exchange.verdict)
            return exchange, permit.past_breaker or not permit.breaker.is_open


async def try_read(dispatcher: Dispatcher, request: ApiRequest, *, key: Hashable) -> Exchange:
    """Send a reading request once, whatever the breakers say.

    It takes no place of the work limit: those at work may hold them all while they wait for what
    it shows.

    Raises:
        StoppedError: the run is ending.
    """
    dispatcher.stopping.check()
    permit = Permit(key, dispatcher.breakers.reads, past_breaker=True)
    try:
        return await dispatcher.exchange(request, permit)
    except NotSentError:
        raise StoppedError from None


#: receives the rows of a page that are new in this pass, and when the page was sent for
Take = Callable[[Sequence[ObservedState], float], Awaitable[None]]


async def read_listing(  # noqa: PLR0913 - who asks says what he wants of each page
    context: RunContext,
    *,
    vdn_id: int,
    status: int,
    take: Take | None = None,
    enough: Callable[[Listing], bool] | None = None,
    backwards: bool = False,
    proves: bool = False,
) -> Listing:
    """Read a listing, page by page, handing on the rows that are new in this pass.

    Args:
        context: the parts of the run.
        vdn_id: whose campaigns.
        status: the filter, 0 for all.
        take: receives the rows, if anybody wants them.
        enough: asked after the first page; True ends the pass there (it is then not complete).
        backwards: read the last page second, so that on a list that shrinks while it is read a
            campaign can only move towards pages that are still to come.
        proves: an emergency asks: it is asked for what is started when it is through, and while a
            PUT waits it gets a part of the rate only.

    Raises:
        StoppedError: the run is ending.
    """
    seen = Listing(status=status, keeps_started=proves)
    failed: list[int] = []

    async def read(page: int) -> bool:
        """Read one page; False: the listing is not to be believed.

        A page that its own totalSize says exists and that is empty would else be asked for up to
        the last of a huge number of pages.
        """
        request = listing(vdn_id, status=status, page=page)
        exchange = await ask(context.dispatcher, request, key=("listing", vdn_id), yields=proves)
        answer, verdict = exchange.answer, exchange.verdict
        found = read_page(answer, vdn_id=vdn_id, asked_status=status, verdict=verdict)
        if isinstance(found, Verdict):
            failed.append(page)
            seen.fail(f"page {page}: {found.reason}" if page > 1 else found.reason)
            if found.kind is Kind.FORBIDDEN:
                context.denied_listings.add(vdn_id)
                context.events.warning("listing.denied", vdn_id=vdn_id, reason=found.reason)
            return True
        fresh = seen.add(found)
        if take is not None:
            await take(fresh, _sent_s(context.clock, answer))
        if not found.rows and found.total_size and page <= page_count(found.total_size):
            seen.fail(f"page {page} is empty, though totalSize is {found.total_size}")
            return False
        return True

    await read(1)
    if enough is not None and enough(seen):
        seen.fail("only the first page was read")
        return seen
    pages = range(2, seen.pages_expected + 1)
    if backwards:
        for page in reversed(pages):
            if not await read(page):
                break
    else:
        await _read_abreast(read, pages, failed)
    seen.close()
    return seen


async def _read_abreast(
    read: Callable[[int], Awaitable[bool]], pages: range, failed: Collection[int]
) -> None:
    """Read pages a few at a time, until too many have failed."""
    left = iter(pages)

    async def reader() -> None:
        for page in left:
            if not await read(page) or len(failed) >= _PAGES_FAILED_MAX:
                return

    readers = [reader() for _ in range(min(_PAGES_ABREAST, len(pages)))]
    for failure in await asyncio.gather(*readers, return_exceptions=True):
        if failure is not None:
            raise failure


async def read_list(
    context: RunContext,
    count: VdnCount,
    take: Callable[[Sequence[ObservedState]], Awaitable[None]],
    *,
    status: int = 0,
) -> Listing:
    """Read a listing for campaigns of a list, unless reading each of them takes fewer requests.

    Then, and where it fails, it ends after the first page.

    Raises:
        StoppedError: the run is ending.
    """

    def enough(seen: Listing) -> bool:
        is_broken = bool(seen.problem) and not seen.is_miscounted
        total_size = seen.total_size or 0
        return is_broken or reads_are_cheaper(campaigns=count.campaigns, total_size=total_size)

    async def hand_on(rows: Sequence[ObservedState], _asked_s: float) -> None:
        await take(rows)

    return await read_listing(
        context, vdn_id=count.vdn_id, status=status, take=hand_on, enough=enough
    )


def _sent_s(clock: Clock, answer: Answer) -> float:
    """When the request left, on the monotonic clock."""
    now_s, now_ms = clock.now_s(), clock.wall_ms()
    return now_s - max(0, now_ms - (answer.sent_at_ms or now_ms)) / 1000
