"""The one door to the server: whose turn it is, when it leaves, what its answer teaches.

Rule 1: nothing leaves but through `admit` and `exchange`: breaker, gate, pace, stop hold for all.
Rule 2: until the server has taken one signature, requests go alone: a wrong key costs one.
Rule 3: changes and reads have a breaker each; while changes are held back, so are reads.
Rule 4: between the pacer's slot and the bytes on the wire nothing is awaited.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchestrator.core.answer import Fault
from orchestrator.core.breaker import Breaker, Pass
from orchestrator.core.credentials import Cure
from orchestrator.core.pacing import Left
from orchestrator.core.retry import backoff_s, retry_after_s
from orchestrator.core.signing import authorization
from orchestrator.core.summary import Ended
from orchestrator.core.verdict import Health, Kind, Repeat, Verdict, judge
from orchestrator.edges.isales_client import NotSentError
from orchestrator.run.slots import Slots
from orchestrator.run.stopping import Alarm, StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from orchestrator.core.answer import Answer
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
#: answers among which a second 503 means that the server is too busy
_RECENT = 10
#: seconds between requests to a server that was sent nearly R + C and has answered none
_ASLEEP_AGAIN_S = 15.0
#: answers that are not this API's, to different requests, before the run ends
_FOREIGN_LIMIT = 2


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
    #: pause-all: a 401 after an accepted request is an outage to wait out
    waits_out_401: bool
    #: requests in flight at most
    concurrency: int
    #: rings when a breaker closes, the gate opens, or the run ends
    alarm: Alarm = field(default_factory=Alarm)
    #: changes that have lost their sense since they were asked for: their VDN refuses us
    is_pointless: Callable[[Hashable], bool] = lambda _: False
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
    #: requests that wait for the pacer
    _in_line: int = 0
    #: requests that have left and may still be answered
    _out: int = 0
    #: requests that were given up since the last answer
    _unanswered: int = 0
    _ever_answered: bool = False
    _silent_since_s: float | None = None
    _foreign: set[Hashable] = field(default_factory=set)
    #: whether the last answers were of the throttling kind
    _throttled: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def __post_init__(self) -> None:
        """Let a stop wake whoever waits here."""
        self.slots = Slots(self.concurrency, is_paced=lambda: self._in_line > 0)
        self.stopping.on_stop(self.alarm.ring)

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
        if self.stopping.is_stopping:
            self.leave(admission)
            raise StoppedError
        if self._is_proven():
            self._alone.release()
            admission.alone = False
        return admission

    def _is_proven(self) -> bool:
        return self._proven

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
                if breaker.out_of_patience(now_s):
                    self.stopping.stop(Ended.SERVER, self._out_of_patience())
                    raise StoppedError
                if change and not waiting:
                    waiting = True
                    self.changes_waiting += 1
                await self.alarm.sleep(allowed.wait_s)
        finally:
            if waiting:
                self.changes_waiting -= 1

    def _only_reads_fail(self) -> bool:
        """PUTs have been answered since reads stopped to be: a look may fail, and costs no run.

        A pause-all cannot do without listings, so it waits for them as long as it takes.
        """
        since_s = self.reads.opened_since_s
        return (
            since_s is not None
            and not self.waits_out_401
            and not self.changes.is_open
            and self.useful_change_s >= since_s
        )

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
        try:
            answer = await self.transport.send(request, departure)
        finally:
            self.progress.in_flight -= 1
            self._out -= departure.left is not None
        now_s = self.clock.now_s()
        if departure.left is not None:
            self._pace_after(answer, departure.left, now_s)
        heard = Heard(answer, judge(answer), departure.generation, bool(request.query))
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
        if verdict.health is Health.WELL:
            self._note_well(admission, now_s, has_query=heard.has_query)
        elif verdict.health is Health.ILL:
            self._note_ill(admission, now_s, verdict, explained=explained)
        if verdict.kind is Kind.THROTTLED and self._is_throttling(answer):
            self._slow_down(answer, now_s)
        self._throttled.append(verdict.kind is Kind.THROTTLED)
        if verdict.kind is Kind.TLS_REFUSED or self._is_wrong_name(verdict):
            self.refusal = verdict
            self.stopping.stop(Ended.SERVER, verdict.reason)
        if not self._proven:
            self._prove(verdict, admission)

    def _is_wrong_name(self, verdict: Verdict) -> bool:
        """Nothing ever left, and the server's name does not exist: a slip, not an outage."""
        return verdict.fault is Fault.DNS_FAILED and self.progress.requests == 0

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
        if self._ever_answered or verdict.kind is not Kind.UNREACHABLE:
            self._ever_answered = True
            return
        if self._silent_since_s is None:
            self._silent_since_s = now_s
        if now_s - self._silent_since_s >= self.changes.patience_s:
            self.refusal = verdict
            self.stopping.stop(Ended.SERVER, self._out_of_patience())

    def _prove(self, verdict: Verdict, admission: Admission) -> None:
        if verdict.foreign:
            self._foreign.add(admission.key)
            if len(self._foreign) >= _FOREIGN_LIMIT:
                self.refusal = verdict
                self.stopping.stop(
                    Ended.SERVER, f"this is not the CC-iSales interface: {verdict.reason}"
                )
            return
        if verdict.kind not in {Kind.UNAUTHORIZED, Kind.FORBIDDEN, Kind.UNREACHABLE}:
            self._proven = verdict.kind is not Kind.TLS_REFUSED

    def _is_throttling(self, answer: Answer) -> bool:
        """A 429 or a Retry-After says so; a lone 503 among good answers is only an error."""
        return answer.http_status == 429 or answer.retry_after is not None or any(self._throttled)

    def _slow_down(self, answer: Answer, now_s: float) -> None:
        wait_s = retry_after_s(answer.retry_after, date=answer.date, now_ms=self.clock.wall_ms())
        until_s = None if wait_s is None else now_s + wait_s
        self.pacer.slow_down(now_s=now_s, until_s=until_s)
        self.events.warning("pace.slowed_down", wait_s=round(wait_s or 0.0, 3))

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
            self.progress.notice = f"signature corrected: {cure.value}"
            self.events.warning(
                "signature.corrected",
                cure=cure.value,
                offset_ms=self.signer.offset_ms,
                blank_query_line=self.signer.rules.blank_query_line,
            )
            return True
        if self.waits_out_401 and self.signer.accepted:
            return True
        self.refusal = heard.verdict
        self.stopping.stop(Ended.CREDENTIALS, heard.verdict.reason)
        return False

    def note_outage(self, admission: Admission, verdict: Verdict) -> None:
        """A 401 that is waited out: hold everything back behind single probes."""
        now_s = self.clock.now_s()
        if admission.probe:
            admission.breaker.useless(ref=admission.key, now_s=now_s, explained=True)
            admission.told = True
        else:
            admission.breaker.outage(now_s=now_s)
        self.progress.breaker = verdict.reason
        self.refusal = verdict
        self.alarm.ring()

    async def ask(self, request: ApiRequest, *, key: Hashable) -> Heard:
        """Send a reading request, again while that is worth it.

        Raises:
            StoppedError: the run is ending.
        """
        failures = 0
        while True:
            heard, charged = await self._ask_once(request, key)
            verdict = heard.verdict
            if verdict.kind is Kind.UNAUTHORIZED:
                if not self.cure(heard):
                    return heard
                continue
            if verdict.kind is Kind.ACCEPTED or verdict.repeat is Repeat.NEVER:
                return heard
            failures += charged
            if failures >= READ_ATTEMPTS:
                return heard
            await self.stopping.sleep(self.backoff_s(failures))

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
            self.waits_out_401
            and self.signer.accepted
            and heard.generation == self.signer.generation
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
        self._in_line += 1
        try:
            async with self._queue:
                while not isinstance(left := self._depart(admission), Left):
                    await self.alarm.sleep(left)
                return left
        finally:
            self._in_line -= 1

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

    __slots__ = ("_admission", "_sender", "generation", "left")

    def __init__(self, sender: Sender, admission: Admission) -> None:
        self._sender = sender
        self._admission = admission
        self.generation = 0
        #: the pacer's note of it; None: it has not left
        self.left: Left | None = None

    async def slot(self) -> None:
        left = await self._sender.take_slot(self._admission)
        if self.left is None:
            self._sender.note_out()
        self.left = left

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
