"""Sends requests: permit, rate limit, signature, and what each answer changes.

Everything leaves through `permit` and `exchange`. Between the rate limit's leave and the bytes on
the wire nothing is awaited.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.engine.departures import Departing, Departures, Signer
from orchestrator.engine.permits import Breakers, Permit
from orchestrator.engine.pool import WorkLimit
from orchestrator.engine.stop import Alarm, StoppedError, Stopping
from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.client import Departure, NotSentError
from orchestrator.isales.echo import EchoMask
from orchestrator.isales.verdict import Health, Kind, Verdict, judge
from orchestrator.model import CampaignRef
from orchestrator.policy.auth import AuthState, Recovery
from orchestrator.policy.first_contact import FOREIGN_TRIES_S, FirstContact
from orchestrator.policy.pacer import Pacer
from orchestrator.policy.retry import backoff_s, clock_ahead_s, retry_after_s
from orchestrator.policy.unreadable import Unreadable
from orchestrator.reports.summary import Ended

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.engine.progress import Progress
    from orchestrator.isales.requests import ApiRequest
    from orchestrator.log import Events
    from orchestrator.settings.load import Settings

#: answers among which a second 503 means that the server is too busy
_RECENT = 10
#: what is wrong with a certificate → how the run ends
_CERTIFICATE_ENDS: dict[Fault | None, Ended] = {
    Fault.TLS_UNTRUSTED: Ended.UNTRUSTED,
    Fault.TLS_HOSTNAME: Ended.WRONG_NAME,
    Fault.TLS_EXPIRED: Ended.EXPIRED,
}


class Transport(Protocol):
    """Who carries requests to the server, C at a time: the client, or a fake in virtual time."""

    async def send(self, request: ApiRequest, departure: Departure) -> Answer:
        """Send one request when the departure lets it."""


class Exchange(NamedTuple):
    """One answer with what is needed to act on it."""

    answer: Answer
    verdict: Verdict
    generation: int
    has_query: bool


@dataclass(slots=True)
class Dispatcher:
    """The one way to the server."""

    transport: Transport
    settings: Settings
    clock: Clock
    stopping: Stopping
    progress: Progress
    events: Events
    #: nothing is given up for what may be an outage
    emergency: bool
    #: rings when a breaker closes, the first answer is in, or the run ends
    alarm: Alarm = field(default_factory=Alarm)
    #: changes that have lost their sense since they were asked for: their VDN refuses us
    is_pointless: Callable[[Hashable], bool] = lambda _: False
    has_sent_a_change: bool = False
    #: requests in flight at most
    concurrency: int = field(init=False)
    pacer: Pacer = field(init=False)
    auth_state: AuthState = field(init=False)
    breakers: Breakers = field(init=False)
    departures: Departures = field(init=False)
    signer: Signer = field(init=False)
    contact: FirstContact = field(init=False)
    unreadable: Unreadable = field(default_factory=Unreadable)
    #: how far the server's clock is ahead of ours by its newest Date; None: it has shown none
    clock_offset_s: float | None = None
    #: campaigns and reads at work: in flight, or waiting for their records
    work_limit: WorkLimit = field(init=False)
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: of the requests in flight: a signal shortens them
    _limits: set[asyncio.Timeout] = field(default_factory=set)
    #: whether the last answers were of the throttling kind
    _throttled: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _echo: EchoMask = field(init=False)

    def __post_init__(self) -> None:
        """Make the parts; let a stop wake whoever waits here."""
        settings = self.settings
        self.concurrency = settings.pace.concurrency
        self.pacer = Pacer(settings.pace.rate_per_s)
        self.auth_state = AuthState(settings.signing)
        self._echo = EchoMask(settings.credentials.secret_key)
        self.signer = Signer(settings.credentials, self.auth_state, self.clock)
        self.departures = Departures(
            self.pacer, self.clock, self.alarm, self.progress, concurrency=self.concurrency
        )
        self.breakers = Breakers(
            settings.retry,
            self.clock,
            self.stopping,
            self.progress,
            self.events,
            self.alarm,
            self.emergency,
        )
        patience_s = self.breakers.changes.patience_s
        self.contact = FirstContact(emergency=self.emergency, patience_s=patience_s)
        self.work_limit = WorkLimit(self.concurrency, is_paced=lambda: self.departures.waiting > 0)
        self.stopping.on_stop(self.alarm.ring)

    def begin_anew(self, stopping: Stopping) -> None:
        """Ask another reason to end from now on, with breakers that are closed."""
        self.stopping = stopping
        stopping.on_stop(self.alarm.ring)
        self.breakers.begin_anew(stopping)

    def drain_within(self, limit_s: float) -> None:
        """What is in flight gets so many seconds more for its answer; then it is in doubt."""
        at_s = asyncio.get_running_loop().time() + limit_s
        for limit in self._limits:
            limit.reschedule(at_s)

    # -- before a request ---------------------------------------------------------------------

    @asynccontextmanager
    async def permit(self, key: Hashable, *, change: bool) -> AsyncIterator[Permit]:
        """Wait until this request may be prepared; hold the permit until it is answered.

        Raises:
            StoppedError: the run is ending, or this change has lost its sense.
        """
        permit = await self.breakers.permit(key, change=change)
        try:
            if change and self.is_pointless(key):
                raise StoppedError
            if not self.contact.is_proven:
                await self._wait_for_first_contact(permit)
            yield permit
        finally:
            if permit.alone:
                self._alone.release()
            self.breakers.give_back(permit)

    async def _wait_for_first_contact(self, permit: Permit) -> None:
        """Requests go alone until the server has taken a signature."""
        await self._alone.acquire()
        permit.alone = True
        # While something that is not the API answers, an emergency asks once a second.
        while not self.stopping.is_stopping:
            wait_s = self.contact.wait_s(self.clock.now_s())
            if wait_s <= 0:
                break
            await self.alarm.sleep(wait_s)
        self.stopping.check()
        if self.contact.is_proven:
            self._alone.release()
            permit.alone = False

    def check(self, permit: Permit) -> None:
        """Refuse what should not leave any more.

        Raises:
            NotSentError: the run is ending, the breaker has opened, or it has lost its sense.
        """
        if self.stopping.is_stopping or permit.is_held:
            raise NotSentError
        if permit.breaker is self.breakers.changes and self.is_pointless(permit.key):
            raise NotSentError

    # -- the request --------------------------------------------------------------------------

    async def exchange(
        self, request: ApiRequest, permit: Permit, *, campaign_specific: bool = False
    ) -> Exchange:
        """Send one request and learn from its answer.

        `campaign_specific`: a failure of this one would say nothing about the server.

        Raises:
            NotSentError: it was called off before it left.
        """
        departure = Departing(self, permit)
        self.progress.in_flight += 1
        limit = asyncio.timeout(None)
        self._limits.add(limit)
        try:
            async with limit:
                answer = await self.transport.send(request, departure)
        except TimeoutError:
            if departure.sent is None:
                raise NotSentError from None
            detail = "no answer came before the run had to end"
            answer = Answer(fault=Fault.TIMEOUT, detail=detail, sent_at_ms=departure.sent_at_ms)
        finally:
            self._limits.discard(limit)
            self.progress.in_flight -= 1
            if departure.sent is not None:
                self.departures.out -= 1
        answer = self._echo.masked(answer)
        ahead_s = clock_ahead_s(answer.date, now_ms=self.clock.wall_ms())
        self.clock_offset_s = self.clock_offset_s if ahead_s is None else float(ahead_s)
        now_s = self.clock.now_s()
        if departure.sent is not None:
            self.departures.note_answer(answer, departure.sent, now_s=now_s)
        verdict = judge(answer, reads=request.method == "GET")
        exchange = Exchange(answer, verdict, departure.generation, bool(request.query))
        self._learn(exchange, permit, now_s=now_s, campaign_specific=campaign_specific)
        return exchange

    def _learn(
        self, exchange: Exchange, permit: Permit, *, now_s: float, campaign_specific: bool
    ) -> None:
        answer, verdict = exchange.answer, exchange.verdict
        is_change = permit.breaker is self.breakers.changes
        self.progress.answers["change" if is_change else "read", verdict.kind.value] += 1
        is_unreadable = is_change and verdict.kind is Kind.UNREADABLE
        if is_unreadable and not self.unreadable.trusts_states:
            self._note_unreadable(verdict, permit, now_s)
        elif is_unreadable or verdict.health is Health.WELL:
            self.auth_state.note_accepted(has_query=exchange.has_query)
            self.contact.has_answered = True
            self.breakers.note_success(permit, now_s)
            if self.auth_state.untested is not None:
                self._note_recovered(exchange)
        elif verdict.health is Health.ILL:
            if self.contact.is_out_of_patience(verdict, now_s=now_s):
                self.breakers.refusal = verdict
                self.stopping.stop(Ended.SERVER, self.breakers.last_words)
            self.breakers.note_failure(permit, verdict, now_s, campaign_specific=campaign_specific)
        if is_change and not is_unreadable:
            self.unreadable.end_row()
        if _is_throttled(verdict, answer, self._throttled):
            self._slow_down(answer, now_s)
        self._throttled.append(verdict.kind is Kind.THROTTLED)
        self._learn_of_the_server(verdict, permit, now_s)

    def _learn_of_the_server(self, verdict: Verdict, permit: Permit, now_s: float) -> None:
        """Note whether it is the API, its name exists, and its certificate is good."""
        # Nothing ever left, and there is no such name: a slip, not an outage. An emergency waits
        # all the same: a resolver that is only starting says the same.
        is_unknown = verdict.fault is Fault.DNS_FAILED and self.progress.requests == 0
        if is_unknown and self.emergency:
            self.progress.notice = f"{verdict.reason}; still trying"
        if verdict.kind is Kind.TLS_REFUSED or (is_unknown and not self.emergency):
            self.breakers.refusal = verdict
            self.stopping.stop(_CERTIFICATE_ENDS.get(verdict.fault, Ended.SERVER), verdict.reason)
        foreign = self.contact.note(verdict, key=permit.key, now_s=now_s)
        if foreign is None:
            return
        self.breakers.refusal = verdict
        if foreign.is_first and self.emergency:
            self.progress.notice = f"{foreign.why}; trying for {FOREIGN_TRIES_S:.0f} s"
            self.events.warning("server.unexpected", reason=foreign.why)
        if foreign.is_over:
            ended = Ended.DENIED if foreign.is_refusal else Ended.SERVER
            self.stopping.stop(ended, foreign.why)

    def _note_unreadable(self, verdict: Verdict, permit: Permit, now_s: float) -> None:
        """Whether it says that the server is ill is known when the states have been looked at."""
        self.contact.has_answered = True
        self.unreadable.note(permit.key)
        if permit.probe:
            self.breakers.note_failure(permit, verdict, now_s, campaign_specific=False)
        elif self.unreadable.is_enough:
            # Nothing more but probes is sent until the states have been looked at.
            permit.breaker.outage(now_s=now_s)
            self.progress.breaker = "answers cannot be read"

    def note_unreadable_states(self, done: Collection[CampaignRef]) -> None:
        """Where answers could not be read, states were looked at: these changes took effect."""
        self.unreadable.note_states(done)
        if self.unreadable.trusts_states:
            self.breakers.change_worked_s = self.clock.now_s()
            self.breakers.note_change_works()
            self.progress.notice = (
                "answers cannot be read, but campaigns are being paused: their states decide"
            )
        self.events.warning("answers.unreadable", took_effect=self.unreadable.trusts_states)

    def _slow_down(self, answer: Answer, now_s: float) -> None:
        wait_s = retry_after_s(answer.retry_after, date=answer.date, now_ms=self.clock.wall_ms())
        until_s = None if wait_s is None else now_s + wait_s
        self.pacer.slow_down(now_s=now_s, until_s=until_s)
        self.events.warning("pace.slowed_down", wait_s=round(wait_s or 0.0, 3))

    # -- a 401 --------------------------------------------------------------------------------

    def recover(self, exchange: Exchange) -> bool:
        """Whether a 401 is worth the same request again; if not, the run ends or waits."""
        recovery = self.auth_state.recover(
            date=exchange.answer.date,
            now_ms=self.clock.wall_ms(),
            has_query=exchange.has_query,
            generation=exchange.generation,
        )
        if recovery is Recovery.STALE:
            return True
        if recovery is not None:
            self.contact.is_proven = False
            self.progress.notice = f"HTTP 401: trying with {self.auth_state.text_of(recovery)}"
            return True
        if self.auth_state.accepted:
            # The key was good a moment ago: an outage in an emergency, a failed attempt else.
            return self.emergency
        self.breakers.refusal = exchange.verdict
        self.stopping.stop(Ended.CREDENTIALS, exchange.verdict.reason)
        return False

    def _note_recovered(self, exchange: Exchange) -> None:
        """A change of signing has helped once the server takes a request that was signed so."""
        auth_state = self.auth_state
        recovery = auth_state.confirm(has_query=exchange.has_query, generation=exchange.generation)
        if recovery is not None:
            self.progress.notice = f"signature corrected: {auth_state.text_of(recovery)}"
            self.events.warning(
                "signature.corrected",
                correction=recovery.value,
                offset_ms=auth_state.offset_ms,
                blank_query_line=auth_state.rules.blank_query_line,
                millis=auth_state.rules.millis,
            )

    def backoff_s(self, repeats: int) -> float:
        """Seconds before the next repeat, with full jitter."""
        return backoff_s(
            repeats=repeats,
            base_s=self.settings.retry.backoff_base_s,
            cap_s=self.settings.retry.backoff_cap_s,
            chance=self.clock.chance(),
        )


def _is_throttled(verdict: Verdict, answer: Answer, lately: Iterable[bool]) -> bool:
    """A code, a 429 or a Retry-After says so; a lone 503 among good answers is only an error."""
    is_said = bool(verdict.code) or answer.http_status == 429 or answer.retry_after is not None
    return verdict.kind is Kind.THROTTLED and (is_said or any(lately))
