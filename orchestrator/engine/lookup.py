"""Reads: one request, again while that is worth it, and a listing page by page.

The caller decides what to do with the rows. Pages that may come in any order are read a few at a
time, the first one always alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.engine.permits import Permit
from orchestrator.engine.stop import StoppedError
from orchestrator.isales.client import NotSentError
from orchestrator.isales.listing import Listing, page_count
from orchestrator.isales.pages import read_page
from orchestrator.isales.requests import listing
from orchestrator.isales.verdict import Kind, Repeat, Verdict
from orchestrator.policy.plan import reads_are_cheaper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from orchestrator.clock import Clock
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.dispatcher import Dispatcher, Exchange
    from orchestrator.isales.answer import Answer
    from orchestrator.isales.requests import ApiRequest
    from orchestrator.model import ObservedState
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


async def read_listing(  # noqa: PLR0913 - who asks says what he wants of each page
    context: RunContext,
    *,
    vdn_id: int,
    status: int,
    take: Callable[[Sequence[ObservedState], float], Awaitable[None]] | None = None,
    enough: Callable[[Listing], bool] | None = None,
    backwards: bool = False,
    keep_started: bool = False,
    yields: bool = False,
) -> Listing:
    """Read a listing, page by page, handing on the rows that are new in this pass.

    Args:
        context: the parts of the run.
        vdn_id: whose campaigns.
        status: the filter, 0 for all.
        take: receives the new rows of each page, if anybody wants them, and when it was sent for.
        enough: asked after the first page; True ends the pass there (it is then not complete).
        backwards: read the last page second, so that on a list that shrinks while it is read a
            campaign can only move towards pages that are still to come.
        keep_started: the listing is asked for what is started when it is through.
        yields: while a PUT waits, this listing gets a part of the rate only.

    Raises:
        StoppedError: the run is ending.
    """
    blank = Listing(status=status, keeps_started=keep_started)
    reading = _Reading(context, vdn_id, status, take, blank, yields)
    seen = reading.seen
    await reading.read(1)
    if enough is not None and enough(seen):
        seen.fail("only the first page was read")
        return seen
    pages = range(2, seen.pages_expected + 1)
    if backwards:
        for page in reversed(pages):
            if not await reading.read(page):
                break
    else:
        await reading.read_abreast(pages)
    seen.close()
    return seen


def few_of_many(count: VdnCount) -> Callable[[Listing], bool]:
    """For `enough`: the first page failed, or reading each campaign takes fewer requests."""

    def enough(seen: Listing) -> bool:
        is_broken = bool(seen.problem) and not seen.is_miscounted
        return is_broken or reads_are_cheaper(
            campaigns=count.campaigns, total_size=seen.total_size or 0
        )

    return enough


@dataclass(slots=True)
class _Reading:
    """One pass over the pages of one listing."""

    context: RunContext
    vdn_id: int
    status: int
    take: Callable[[Sequence[ObservedState], float], Awaitable[None]] | None
    seen: Listing
    yields: bool
    pages_failed: int = 0

    async def read(self, page: int) -> bool:
        """Read one page and hand on what is new on it; False: the listing is not to be believed.

        A page that its own totalSize says exists and that is empty would else be asked for up to
        the last of a huge number of pages.
        """
        exchange = await ask(
            self.context.dispatcher,
            listing(self.vdn_id, status=self.status, page=page),
            key=("listing", self.vdn_id),
            yields=self.yields,
        )
        found = read_page(
            exchange.answer,
            vdn_id=self.vdn_id,
            asked_status=self.status,
            verdict=exchange.verdict,
        )
        if isinstance(found, Verdict):
            self._note_failed(page, found)
            return True
        fresh = self.seen.add(found)
        if self.take is not None:
            await self.take(fresh, _sent_s(self.context.clock, exchange.answer))
        if not found.rows and found.total_size and page <= page_count(found.total_size):
            self.seen.fail(f"page {page} is empty, though totalSize is {found.total_size}")
            return False
        return True

    async def read_abreast(self, pages: range) -> None:
        """Read pages a few at a time, until too many cannot be read."""
        left = iter(pages)

        async def reader() -> None:
            for page in left:
                if not await self.read(page) or self.pages_failed >= _PAGES_FAILED_MAX:
                    return

        called_off = False
        try:
            async with asyncio.TaskGroup() as readers:
                for _ in range(min(_PAGES_ABREAST, len(pages))):
                    readers.create_task(reader())
        except* StoppedError:
            called_off = True
        if called_off:
            # Told as one page alone would tell it: whoever reads a listing knows no groups.
            raise StoppedError

    def _note_failed(self, page: int, verdict: Verdict) -> None:
        self.pages_failed += 1
        self.seen.fail(f"page {page}: {verdict.reason}" if page > 1 else verdict.reason)
        if verdict.kind is Kind.FORBIDDEN:
            self.context.denied_listings.add(self.vdn_id)
            self.context.events.warning("listing.denied", vdn_id=self.vdn_id, reason=verdict.reason)


def _sent_s(clock: Clock, answer: Answer) -> float:
    """When the request left, on the monotonic clock."""
    now_s, now_ms = clock.now_s(), clock.wall_ms()
    return now_s - max(0, now_ms - (answer.sent_at_ms or now_ms)) / 1000
