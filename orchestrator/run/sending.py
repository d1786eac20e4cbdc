"""The one door to the server: whose turn it is, when it leaves, what its answer teaches.

Rule 1: nothing leaves but through `admit` and `exchange`: breaker, gate, pace, stop hold for all.
Rule 2: until the server has taken one signature, requests go alone: a wrong key costs one.
        What is not the API ends a run only before the API has answered as itself.
Rule 3: changes and reads have a breaker each; while changes are held back, so are reads.
Rule 4: between the pacer's slot and the bytes on the wire nothing is awaited.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.core.answer import Answer, Fault
from orchestrator.core.breaker import Breaker, Pass
from orchestrator.core.campaign import CampaignRef
from orchestrator.core.credentials import Cure
from orchestrator.core.echo import EchoMask
from orchestrator.core.pacing import Left
from orchestrator.core.quiet import PASS_SHARE
from orchestrator.core.retry import backoff_s, retry_after_s
from orchestrator.core.signing import authorization
from orchestrator.core.summary import Ended
from orchestrator.core.verdict import FROM_THE_API, Health, Kind, Repeat, Verdict, judge
from orchestrator.edges.isales_client import NotSentError
from orchestrator.run.slots import Slots
from orchestrator.run.stopping import Alarm, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from orchestrator.core.credentials import Signer
    from orchestrator.core.pacing import Pacer
    from orchestrator.core.requests import ApiRequest
    from orchestrator.core.settings import CredentialSettings, RetrySettings
    from orchestrator.edges.clock import Clock
    from orchestrator.edges.events import Events
    from orchestrator.edges.isales_client import Departure
    from orchestrator.run.progress import Progress
    from orchestrator.run.stopping import Stopping

#: repeats of a listing page or a read before it counts as failed
READ_ATTEMPTS = 4
#: a list waits so long for reads that fail while nothing else does, seconds
READS_WAIT_S = 600.0
#: answers among which a second 503 means that the server is too busy
_RECENT = 10
#: seconds between requests to a server that was sent nearly R + C and has answered none
_ASLEEP_AGAIN_S = 15.0
#: answers that are not this API's, to different requests, before the run ends
_FOREIGN_LIMIT = 2
#: an emergency meets such answers for so long, one request a second, before it ends
_FOREIGN_TRIES_S = 10.0
_FOREIGN_APART_S = 1.0
#: so many different campaigns whose answers cannot be read are looked into
_UNREADABLE_ROW = 5


class Transport(Protocol):
    """Who carries requests to the server, C at a time: the client, or a fake in virtual time."""

    async def send(self, request: ApiRequest, departure: Departure) -> Answer:
        """Send one request when the departure lets it."""


@dataclass(slots=True)
class Admission:
    """Leave to send one request."""

    key: Hashable
    breaker: Breaker
    probe: bool = False
    #: it may leave although the breaker is open
    past_breaker: bool = False
    alone: bool = False
    #: the answer (or its absence) has been told to the breaker
    told: bool = False


class Heard(NamedTuple):
    """One answer with what is needed to act on it."""

    answer: Answer
    verdict: Verdict
    generation: int
    has_query: bool


@dataclass(slots=True)
class Sender:
    """The door."""

    transport: Transport
    clock: Clock
    pacer: Pacer
    signer: Signer
    credentials: CredentialSettings
    retry: RetrySettings
    stopping: Stopping
    progress: Progress
    events: Events
    changes: Breaker
    reads: Breaker
    #: nothing is given up for what may be an outage
    emergency: bool
    #: requests in flight at most
    concurrency: int
    #: rings when a breaker closes, the gate opens, or the run ends
    alarm: Alarm = field(default_factory=Alarm)
    #: changes that have lost their sense since they were asked for: their VDN refuses us
    is_pointless: Callable[[Hashable], bool] = lambda _: False
    #: whether PUTs wait that have no slot yet
    are_changes_queued: Callable[[], bool] = lambda: False
    first_change_left: bool = False
    #: PUTs that wait at the breaker or in a backoff
    changes_waiting: int = 0
    #: when a PUT last had a useful answer, monotonic seconds
    useful_change_s: float = -math.inf
    #: what made the run give up, for the last words
    refusal: Verdict | None = None
    #: campaigns and reads at work: in flight, or waiting for their records
    slots: Slots = field(init=False)
    _proven: bool = False
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _queue: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: requests that wait for the pacer, and the PUTs among them
    _in_line: int = 0
    _changes_in_line: int = 0
    _yielding: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: when a read that yields was last let through, monotonic seconds
    _yielded_s: float = -math.inf
    #: requests that have left and may still be answered
    _out: int = 0
    #: requests that were given up since the last answer
    _unanswered: int = 0
    _ever_answered: bool = False
    _silent_since_s: float | None = None
    #: the API has answered as itself
    _is_itself: bool = False
    _foreign: set[Hashable] = field(default_factory=set)
    _foreign_since_s: float | None = None
    _foreign_last_s: float = -math.inf
    #: different changes in a row whose answers could not be read → whether its state shows it done
    _unreadable: dict[Hashable, bool] = field(default_factory=dict)
    #: somebody reads their states
    _reads_unreadable: bool = False
    #: answers cannot be read and PUTs take effect: the states decide
    trusts_states: bool = False
    #: whether the last answers were of the throttling kind
    _limits: set[asyncio.Timeout] = field(default_factory=set)
    _throttled: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))
    _echo: EchoMask = field(init=False)

    def __post_init__(self) -> None:
        """Let a stop wake whoever waits here."""
        self._echo = EchoMask(self.credentials.secret_key)
        self.slots = Slots(self.concurrency, is_paced=lambda: self._in_line > 0)
        self.stopping.on_stop(self.alarm.ring)

    def begin_anew(self, stopping: Stopping) -> None:
        """Ask another reason to end from now on, with breakers that are closed."""
        self.stopping = stopping
        stopping.on_stop(self.alarm.ring)
        self.changes = self.changes.renewed()
        self.reads = self.reads.renewed()

    def drain_within(self, limit_s: float) -> None:
        """What is in flight gets so many seconds more for its answer; then it is in doubt."""
        at_s = asyncio.get_running_loop().time() + limit_s
        for limit in self._limits:
            limit.reschedule(at_s)

    # -- before a request ---------------------------------------------------------------------

    async def admit(self, key: Hashable, *, change: bool) -> Admission:
        """Wait until this request may be prepared.

        Raises:
            StoppedError: the run is ending, or this change has lost its sense.
        """
        breaker = self.changes if change else self.reads
        # Nearly always nothing holds it, and then there is nothing to await.
        if breaker.is_open or self.changes.is_open or self.stopping.is_stopping:
            admission = await self._pass_breaker(key, change=change)
        else:
            admission = Admission(key, breaker)
        if change and self.is_pointless(key):
            self.leave(admission)
            raise StoppedError
        if self._proven:
            return admission
        await self._alone.acquire()
        admission.alone = True
        await self._keep_strangers_apart()
        if self.stopping.is_stopping:
            self.leave(admission)
            raise StoppedError
        if self._is_proven():
            self._alone.release()
            admission.alone = False
        return admission

    def _is_proven(self) -> bool:
        return self._proven

    async def _keep_strangers_apart(self) -> None:
        """While something that is not the API answers, an emergency asks once a second."""
        while self._foreign_since_s is not None and not self.stopping.is_stopping:
            wait_s = self._foreign_last_s + _FOREIGN_APART_S - self.clock.now_s()
            if wait_s <= 0:
                break
            await self.alarm.sleep(wait_s)

    async def _pass_breaker(self, key: Hashable, *, change: bool) -> Admission:
        breaker = self.changes if change else self.reads
        waiting = False
        try:
            while True:
                self.stopping.check()
                now_s = self.clock.now_s()
                if not change and self.changes.is_open and self.changes_waiting:
                    await self.alarm.sleep(1.0)
                    continue
                if not change and self._only_reads_fail():
                    return Admission(key, breaker, past_breaker=True)
                allowed = breaker.may_pass(now_s=now_s, ref=key)
                if allowed is Pass.GO:
                    return Admission(key, breaker)
                if isinstance(allowed, Pass):
                    self.events.debug("breaker.probe_sent", waiting=self.progress.left)
                    return Admission(key, breaker, probe=True)
                if breaker.out_of_patience(now_s) and not self._is_unreached_emergency():
                    self.stopping.stop(self._why_out_of_patience, self._out_of_patience())
                    raise StoppedError
                if change and not waiting:
                    waiting = True
                    self.changes_waiting += 1
                await self.alarm.sleep(allowed.wait_s)
        finally:
            if waiting:
                self.changes_waiting -= 1

    def _is_unreached_emergency(self) -> bool:
        """Only the deadline ends an emergency that cannot reach its server."""
        is_unreached = self.refusal is not None and self.refusal.kind is Kind.UNREACHABLE
        return self.emergency and is_unreached

    def _only_reads_fail(self) -> bool:
        """PUTs have been answered since reads stopped to be: a look may fail, and costs no run.

        A check, when no PUT is left to tell, waits a while. A pause-all cannot do without listings,
        so it waits for them as long as it takes.
        """
        since_s = self.reads.opened_since_s
        if since_s is None or self.emergency or self.changes.is_open:
            return False
        return self.useful_change_s >= since_s or self.clock.now_s() >= since_s + READS_WAIT_S

    def leave(self, admission: Admission) -> None:
        """Give the admission back; call once, whatever happened."""
        if admission.alone:
            self._alone.release()
        if admission.probe and not admission.told:
            admission.breaker.probe_cancelled(now_s=self.clock.now_s())
            self.alarm.ring()

    # -- the request --------------------------------------------------------------------------

    async def exchange(
        self, request: ApiRequest, admission: Admission, *, explained: bool = False
    ) -> Heard:
        """Send one request and learn from its answer.

        Args:
            request: what to send.
            admission: from `admit`.
            explained: a failure of this one would say nothing about the server.

        Raises:
            NotSentError: it was called off before it left.
        """
        departure = _Departure(self, admission)
        self.progress.in_flight += 1
        limit = asyncio.timeout(None)
        self._limits.add(limit)
        try:
            async with limit:
                answer = await self.transport.send(request, departure)
        except TimeoutError:
            if departure.left is None:
                raise NotSentError from None
            detail = "no answer came before the run had to end"
            answer = Answer(fault=Fault.TIMEOUT, detail=detail, sent_at_ms=departure.left_at_ms)
        finally:
            self._limits.discard(limit)
            self.progress.in_flight -= 1
            self._out -= departure.left is not None
        answer = self._echo.masked(answer)
        now_s = self.clock.now_s()
        if departure.left is not None:
            self._pace_after(answer, departure.left, now_s)
        verdict = judge(answer, reads=request.method == "GET")
        heard = Heard(answer, verdict, departure.generation, bool(request.query))
        self._learn(heard, admission, now_s=now_s, explained=explained)
        return heard

    def _pace_after(self, answer: Answer, left: Left, now_s: float) -> None:
        """A server that is silent for long may be asleep: what it was sent arrives as it wakes."""
        if answer.fault is Fault.TIMEOUT:
            self._unanswered += 1
        elif answer.http_status is not None:
            if self._unanswered:
                self.pacer.surfaced(self._unanswered + self._out + 1, now_s=now_s)
                self._unanswered = 0
            self.pacer.heard(left, now_s=now_s)

    def _learn(self, heard: Heard, admission: Admission, *, now_s: float, explained: bool) -> None:
        answer, verdict = heard.answer, heard.verdict
        is_unreadable = admission.breaker is self.changes and verdict.kind is Kind.UNREADABLE
        if is_unreadable:
            self._note_unreadable(heard, admission, now_s)
        elif verdict.health is Health.WELL:
            self._note_well(admission, now_s, has_query=heard.has_query)
            if self.signer.untested is not None:
                self._note_corrected(heard)
        elif verdict.health is Health.ILL:
            self._note_ill(admission, now_s, verdict, explained=explained)
        if admission.breaker is self.changes and not is_unreadable:
            self._unreadable.clear()
        if verdict.kind is Kind.THROTTLED and (verdict.code or self._is_throttling(answer)):
            self._slow_down(answer, now_s)
        self._throttled.append(verdict.kind is Kind.THROTTLED)
        if verdict.kind is Kind.TLS_REFUSED or self._is_wrong_name(verdict):
            self.refusal = verdict
            self.stopping.stop(Ended.SERVER, verdict.reason)
        if not (self._proven and self._is_itself):
            self._prove(verdict, admission)

    def _is_wrong_name(self, verdict: Verdict) -> bool:
        """Nothing ever left, and the server's name does not exist: a slip, not an outage.

        An emergency waits all the same: a resolver that is only starting says the same.
        """
        is_unknown = verdict.fault is Fault.DNS_FAILED and self.progress.requests == 0
        if is_unknown and self.emergency:
            self.progress.notice = f"{verdict.reason}; trying on"
        return is_unknown and not self.emergency

    def _note_unreadable(self, heard: Heard, admission: Admission, now_s: float) -> None:
        """Whether it says that the server is ill is known when the states have been looked at."""
        self._ever_answered = True
        if self.trusts_states:
            self._note_well(admission, now_s, has_query=heard.has_query)
            return
        self._unreadable.setdefault(admission.key, False)
        if admission.probe:
            self._note_ill(admission, now_s, heard.verdict, explained=False)
        elif self.is_unreadable_row:
            # Nothing more but probes is sent until the states have been looked at.
            admission.breaker.outage(now_s=now_s)
            self.progress.breaker = "answers cannot be read"

    def _note_well(self, admission: Admission, now_s: float, *, has_query: bool) -> None:
        self.signer.note_accepted(has_query=has_query)
        self._ever_answered = True
        was_open = admission.breaker.is_open
        admission.breaker.useful(now_s=now_s)
        admission.told = True
        if admission.breaker is self.changes:
            self.progress.useful_changes += 1
            self.useful_change_s = now_s
        if was_open:
            self._tell_closed()

    def _tell_closed(self) -> None:
        self.progress.breaker = ""
        self.events.info("breaker.closed")
        self.alarm.ring()

    def _note_ill(
        self, admission: Admission, now_s: float, verdict: Verdict, *, explained: bool
    ) -> None:
        breaker = admission.breaker
        was_open = breaker.is_open
        self._give_up_on_silence(verdict, now_s)
        breaker.useless(ref=admission.key, now_s=now_s, explained=explained)
        admission.told = True
        self.refusal = verdict
        if breaker.is_open and not was_open:
            self.progress.breaker = verdict.reason
            self.events.warning("breaker.opened", reason=verdict.reason)
        if admission.probe:
            self.alarm.ring()

    def _give_up_on_silence(self, verdict: Verdict, now_s: float) -> None:
        """A server that has never answered is given up after the patience, however short the list.

        The breaker needs five campaigns to open; a list of three would else wait without a word.
        """
        if self.emergency or self._ever_answered or verdict.kind is not Kind.UNREACHABLE:
            self._ever_answered = True
            return
        if self._silent_since_s is None:
            self._silent_since_s = now_s
        if now_s - self._silent_since_s >= self.changes.patience_s:
            self.refusal = verdict
            self.stopping.stop(Ended.SERVER, self._out_of_patience())

    def _prove(self, verdict: Verdict, admission: Admission) -> None:
        is_api = verdict.kind in FROM_THE_API or (verdict.kind is Kind.THROTTLED and verdict.code)
        self._is_itself = self._is_itself or bool(is_api)
        if verdict.kind in {Kind.FORBIDDEN, Kind.NOT_THE_API} or verdict.foreign:
            self._proven = False
            self._note_foreign(verdict, admission.key)
        elif verdict.kind not in {Kind.UNAUTHORIZED, Kind.UNREACHABLE}:
            self._proven = self._proven or verdict.kind is not Kind.TLS_REFUSED

    def _note_foreign(self, verdict: Verdict, key: Hashable) -> None:
        """Something answers that is not the API, or does not let us in, and the API never has."""
        now_s = self.clock.now_s()
        self._foreign.add(key)
        self._foreign_last_s = now_s
        self.refusal = verdict
        is_refused = verdict.kind is Kind.FORBIDDEN
        why = verdict.reason
        if not is_refused:
            why = f"this is not the CC-iSales interface: {why}"
        if self._foreign_since_s is None:
            self._foreign_since_s = now_s
            if self.emergency:
                self.progress.notice = f"{why}; trying for {_FOREIGN_TRIES_S:.0f} s"
                self.events.warning("server.strange", reason=why)
        if self.emergency:
            is_over = now_s - self._foreign_since_s >= _FOREIGN_TRIES_S
        else:
            is_over = len(self._foreign) >= _FOREIGN_LIMIT
        if is_over:
            self.stopping.stop(Ended.CREDENTIALS if is_refused else Ended.SERVER, why)

    def _is_throttling(self, answer: Answer) -> bool:
        """A 429 or a Retry-After says so; a lone 503 among good answers is only an error."""
        return answer.http_status == 429 or answer.retry_after is not None or any(self._throttled)

    def _slow_down(self, answer: Answer, now_s: float) -> None:
        wait_s = retry_after_s(answer.retry_after, date=answer.date, now_ms=self.clock.wall_ms())
        until_s = None if wait_s is None else now_s + wait_s
        self.pacer.slow_down(now_s=now_s, until_s=until_s)
        self.events.warning("pace.slowed_down", wait_s=round(wait_s or 0.0, 3))

    @property
    def _why_out_of_patience(self) -> Ended:
        refused = self.refusal is not None and self.refusal.kind is Kind.UNAUTHORIZED
        return Ended.CREDENTIALS if refused else Ended.SERVER

    def _out_of_patience(self) -> str:
        reason = f": {self.refusal.reason}" if self.refusal else ""
        return f"no useful answer for {self.retry.patience_s:g} s{reason}"

    # -- after a request ----------------------------------------------------------------------

    def cure(self, heard: Heard) -> bool:
        """Whether a 401 is worth the same request again; if not, the run ends or waits."""
        cure = self.signer.cure(
            date=heard.answer.date,
            now_ms=self.clock.wall_ms(),
            has_query=heard.has_query,
            generation=heard.generation,
        )
        if cure is Cure.STALE:
            return True
        if cure is not None:
            self._proven = False
            self.progress.notice = f"HTTP 401: trying with {self.signer.text_of(cure)}"
            return True
        if self.signer.accepted:
            # The key was good a moment ago: an outage in an emergency, a failed attempt else.
            return self.emergency
        self.refusal = heard.verdict
        self.stopping.stop(Ended.CREDENTIALS, heard.verdict.reason)
        return False

    def _note_corrected(self, heard: Heard) -> None:
        """A cure has helped once the server takes a request that was signed with it."""
        signer = self.signer
        cure = signer.confirm(has_query=heard.has_query, generation=heard.generation)
        if cure is not None:
            self.progress.notice = f"signature corrected: {signer.text_of(cure)}"
            self.events.warning(
                "signature.corrected",
                cure=cure.value,
                offset_ms=signer.offset_ms,
                blank_query_line=signer.rules.blank_query_line,
                millis=signer.rules.millis,
            )

    def note_outage(self, admission: Admission, verdict: Verdict) -> None:
        """A 401 that is waited out: hold everything back behind single probes."""
        admission.breaker.outage(now_s=self.clock.now_s())
        self.progress.breaker = verdict.reason
        self.refusal = verdict
        self.alarm.ring()

    def note_look(self, *, works: bool, verdict: Verdict) -> None:
        """A failed PUT was followed by a read, which tells an outage from a stubborn campaign."""
        now_s = self.clock.now_s()
        was_open = self.changes.is_open
        if not works:
            self.changes.outage(now_s=now_s)
            self.progress.breaker = verdict.reason
            self.refusal = verdict
            if not was_open:
                self.events.warning("breaker.opened", reason=verdict.reason)
        elif was_open:
            self.changes.useful(now_s=now_s)
            self._tell_closed()

    @property
    def is_unreadable_row(self) -> bool:
        """Whether the answers to so many different changes in a row could not be read."""
        return len(self._unreadable) >= _UNREADABLE_ROW

    def take_unreadable_row(self) -> list[CampaignRef]:
        """Those of that row whose state is to be read now; none while somebody reads them."""
        if self._reads_unreadable:
            return []
        self._reads_unreadable = True
        left = [key for key, is_done in self._unreadable.items() if not is_done]
        return [key for key in left if isinstance(key, CampaignRef)][:_UNREADABLE_ROW]

    def note_unreadable(self, done: Iterable[CampaignRef]) -> None:
        """The states of that row have been read; what they do not show yet is read again later.

        Args:
            done: those whose change took effect.
        """
        self._reads_unreadable = False
        now_s = self.clock.now_s()
        self._unreadable.update(dict.fromkeys(self._unreadable.keys() & set(done), True))
        self.trusts_states = sum(self._unreadable.values()) >= _UNREADABLE_ROW
        if self.trusts_states:
            self.useful_change_s = now_s
            self.changes.useful(now_s=now_s)
            self.progress.breaker = ""
            self.alarm.ring()
            self.progress.notice = "answers cannot be read, but the pauses work: the states decide"
        self.events.warning("answers.unreadable", took_effect=self.trusts_states)

    async def ask(self, request: ApiRequest, *, key: Hashable, yields: bool = False) -> Heard:
        """Send a reading request, again while that is worth it.

        Args:
            request: what to send.
            key: whose failure it would be.
            yields: while a PUT waits, such requests get PASS_SHARE of the rate.

        Raises:
            StoppedError: the run is ending.
        """
        failures = 0
        while True:
            if yields:
                await self._let_changes_pass()
            heard, charged = await self._ask_once(request, key)
            verdict = heard.verdict
            if verdict.kind is Kind.UNAUTHORIZED:
                if self.cure(heard):
                    continue
                if self.stopping.is_stopping:
                    return heard
            if verdict.kind is Kind.ACCEPTED or verdict.repeat is Repeat.NEVER:
                return heard
            if self._foreign and not self._is_itself:
                return heard
            failures += charged
            if failures >= READ_ATTEMPTS:
                return heard
            await self.stopping.sleep(self.backoff_s(failures))

    async def try_read(self, request: ApiRequest, *, key: Hashable) -> Heard:
        """Send a reading request once, whatever the breakers say.

        It takes no slot: those at work may hold them all while they wait for what it tells.

        Raises:
            StoppedError: the run is ending.
        """
        self.stopping.check()
        admission = Admission(key, self.reads, past_breaker=True)
        try:
            return await self.exchange(request, admission)
        except NotSentError:
            raise StoppedError from None

    def _is_change_waiting(self) -> bool:
        return self._changes_in_line > 0 or self.are_changes_queued()

    async def _let_changes_pass(self) -> None:
        """Return when a read may be sent beside the PUTs that wait."""
        async with self._yielding:
            while self._is_change_waiting() and not self.stopping.is_stopping:
                due_s = self._yielded_s + 1 / (PASS_SHARE * self.pacer.ceiling_per_s)
                wait_s = due_s - self.clock.now_s()
                if wait_s <= 0:
                    break
                await self.alarm.sleep(wait_s)
            self._yielded_s = self.clock.now_s()

    async def _ask_once(self, request: ApiRequest, key: Hashable) -> tuple[Heard, int]:
        while True:
            async with self.slots:
                admission = await self.admit(key, change=False)
                try:
                    heard = await self.exchange(request, admission)
                except NotSentError:
                    continue
                else:
                    if heard.verdict.kind is Kind.UNAUTHORIZED and self._is_outage(heard):
                        self.note_outage(admission, heard.verdict)
                    return heard, int(admission.past_breaker or not admission.breaker.is_open)
                finally:
                    self.leave(admission)

    def _is_outage(self, heard: Heard) -> bool:
        return (
            self.emergency and self.signer.accepted and heard.generation == self.signer.generation
        )

    def backoff_s(self, repeats: int) -> float:
        """Seconds before the next repeat, with full jitter."""
        return backoff_s(
            repeats=repeats,
            base_s=self.retry.backoff_base_s,
            cap_s=self.retry.backoff_cap_s,
            chance=self.clock.chance(),
        )

    @staticmethod
    def _is_held(admission: Admission) -> bool:
        return admission.breaker.is_open and not (admission.probe or admission.past_breaker)

    async def take_slot(self, admission: Admission) -> Left:
        """Wait in line for the pacer; returns when the request must leave at once."""
        left = 0.0 if self._in_line else self._depart(admission)
        if not isinstance(left, Left):
            left = await self._wait_in_line(admission)
        self.progress.requests += 1
        if admission.breaker is self.changes:
            self.first_change_left = True
        return left

    def note_out(self) -> None:
        """One request more has left."""
        self._out += 1

    async def _wait_in_line(self, admission: Admission) -> Left:
        is_change = admission.breaker is self.changes
        self._in_line += 1
        self.progress.in_line = self._in_line
        now_per_s = self.pacer.rate_now_per_s(self.clock.now_s())
        self.progress.is_slowed = now_per_s < self.pacer.ceiling_per_s
        self._changes_in_line += is_change
        try:
            async with self._queue:
                while not isinstance(left := self._depart(admission), Left):
                    await self.alarm.sleep(left)
                return left
        finally:
            self._in_line -= 1
            self.progress.in_line = self._in_line
            self._changes_in_line -= is_change

    def _depart(self, admission: Admission) -> Left | float:
        """Let it leave now; or the pacer says not yet, and for how many seconds."""
        if self.stopping.is_stopping or self._is_held(admission):
            raise NotSentError
        if admission.breaker is self.changes and self.is_pointless(admission.key):
            raise NotSentError
        now_s = self.clock.now_s()
        return self._asleep_s(now_s) or self.pacer.depart(now_s=now_s)

    def _asleep_s(self, now_s: float) -> float:
        """Seconds to spare a server that sleeps, as it may wake to R + C requests; 0.0: none.

        The last of them is kept for the one that asks, in a sleep of half a minute, again.
        """
        may_wake_to = max(1, math.floor(self.pacer.ceiling_per_s)) + self.concurrency
        if not self._unanswered or self._unanswered + self._out < may_wake_to - 1:
            return 0.0
        assert self.pacer.last_s is not None
        return max(0.0, self.pacer.last_s + _ASLEEP_AGAIN_S - now_s)


class _Departure:
    """One request's way out: the client asks it for the slot and for the signature."""

    __slots__ = ("_admission", "_sender", "generation", "left", "left_at_ms")

    def __init__(self, sender: Sender, admission: Admission) -> None:
        self._sender = sender
        self._admission = admission
        self.generation = 0
        #: the pacer's note of it; None: it has not left
        self.left: Left | None = None
        #: wall-clock milliseconds
        self.left_at_ms: int | None = None

    async def slot(self) -> None:
        left = await self._sender.take_slot(self._admission)
        if self.left is None:
            self._sender.note_out()
        self.left = left
        self.left_at_ms = self._sender.clock.wall_ms()

    def sign(self, method: str, path: str, query_string: str, headers: Mapping[str, str]) -> str:
        sender = self._sender
        signer = sender.signer
        self.generation = signer.generation
        secret = sender.credentials.secret_key
        return authorization(
            access_key=sender.credentials.access_key,
            secret_key=secret.reveal() if secret else "",
            method=method,
            path=path,
            query_string=query_string,
            headers=headers,
            body="",
            at_ms=sender.clock.wall_ms() + signer.offset_ms,
            rules=signer.rules,
        )
