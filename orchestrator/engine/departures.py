"""Requests as they leave: the queue for the rate limit, the signature, and what is still out.

A server that sleeps may wake up to all that it was sent meanwhile.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from orchestrator.isales.answer import Answer, Fault
from orchestrator.isales.signing import authorization
from orchestrator.policy.pacer import Pacer, SendRecord
from orchestrator.policy.quiet import PASS_SHARE

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.engine.dispatcher import Dispatcher
    from orchestrator.engine.permits import Permit
    from orchestrator.engine.progress import Progress
    from orchestrator.engine.stop import Alarm, Stopping
    from orchestrator.policy.auth import AuthState
    from orchestrator.policy.ceiling import Turn
    from orchestrator.settings.schema import CredentialSettings

#: seconds between requests to a server that was sent nearly R + C and has answered none
_ASLEEP_AGAIN_S = 15.0


class SharedRate(Protocol):
    """The ceiling that a run shares with others (store/rate_file.py, store/pace.py)."""

    #: of the last decision, for people
    turn: Turn

    def acquire(self, *, now_s: float, own_wait_s: float = 0.0) -> float:
        """Let a request leave now: 0.0; else seconds until it is worth asking again."""

    def withdraw(self) -> None:
        """No request waits any more."""

    def close(self) -> None:
        """The run is over."""


class Departures:
    """Decides which request leaves next, and when."""

    def __init__(
        self, pacer: Pacer, clock: Clock, alarm: Alarm, progress: Progress, *, concurrency: int
    ) -> None:
        """Nobody waits; of `concurrency` requests at most, all may be in flight."""
        self.pacer = pacer
        self._clock = clock
        self._alarm = alarm
        self._progress = progress
        self._may_wake_to = max(1, math.floor(pacer.ceiling_per_s)) + concurrency
        #: None: this run alone decides
        self.shared: SharedRate | None = None
        self._queue = asyncio.Lock()
        #: requests that wait here, and the PUTs among them
        self._waiting = 0
        self._changes_waiting = 0
        #: whether PUTs wait elsewhere that will come here
        self.are_changes_queued: Callable[[], bool] = lambda: False
        self._yielding = asyncio.Lock()
        #: when a read that yields was last let through, monotonic seconds
        self._yielded_s = -math.inf
        #: requests that have left and may still be answered
        self.out = 0
        #: requests that were given up since the last answer
        self._unanswered = 0

    @property
    def waiting(self) -> int:
        """Requests that wait for the rate limit."""
        return self._waiting

    async def acquire(self, *, change: bool, check: Callable[[], None]) -> SendRecord:
        """Wait in line; returns when the request must leave at once.

        `change`: it is a PUT. `check` raises when the request has lost its sense.
        """
        sent = 0.0 if self._waiting else self._try(check)
        if not isinstance(sent, SendRecord):
            sent = await self._wait_in_line(change, check)
        return sent

    async def _wait_in_line(self, change: bool, check: Callable[[], None]) -> SendRecord:  # noqa: FBT001 - as above
        progress = self._progress
        self._waiting += 1
        self._changes_waiting += change
        progress.in_line = self._waiting
        now_per_s = self.pacer.rate_now_per_s(self._clock.now_s())
        progress.is_slowed = now_per_s < self.pacer.ceiling_per_s
        try:
            async with self._queue:
                while not isinstance(sent := self._try(check), SendRecord):
                    await self._alarm.sleep(sent)
                return sent
        finally:
            self._waiting -= 1
            self._changes_waiting -= change
            progress.in_line = self._waiting
            if self.shared is not None and not self._waiting:
                self.shared.withdraw()

    def _try(self, check: Callable[[], None]) -> SendRecord | float:
        """Let it leave now; or the pacer says not yet, and for how many seconds."""
        check()
        now_s = self._clock.now_s()
        asleep_s = self._asleep_s(now_s)
        if asleep_s or self.shared is None:
            return asleep_s or self.pacer.acquire(now_s=now_s)
        wait_s = self.shared.acquire(now_s=now_s, own_wait_s=self.pacer.wait_s(now_s=now_s))
        self._progress.sharing = self.shared.turn.others
        self._progress.yields = self.shared.turn.yields
        return wait_s or self.pacer.acquire(now_s=now_s)

    def _asleep_s(self, now_s: float) -> float:
        """Seconds to spare a server that sleeps, as it may wake to R + C requests; 0.0: none.

        The last of them is kept for the one that asks, in a sleep of half a minute, again.
        """
        if not self._unanswered or self._unanswered + self.out < self._may_wake_to - 1:
            return 0.0
        assert self.pacer.last_s is not None
        return max(0.0, self.pacer.last_s + _ASLEEP_AGAIN_S - now_s)

    async def let_changes_pass(self, stopping: Stopping) -> None:
        """Return when a read may be sent beside the PUTs that wait: they leave it PASS_SHARE."""
        async with self._yielding:
            while (self._changes_waiting or self.are_changes_queued()) and not stopping.is_stopping:
                due_s = self._yielded_s + 1 / (PASS_SHARE * self.pacer.ceiling_per_s)
                wait_s = due_s - self._clock.now_s()
                if wait_s <= 0:
                    break
                await self._alarm.sleep(wait_s)
            self._yielded_s = self._clock.now_s()

    # -- what has left ------------------------------------------------------------------------

    def note_answer(self, answer: Answer, sent: SendRecord, *, now_s: float) -> None:
        """A server that is silent for long may be asleep: what it was sent arrives as it wakes."""
        if answer.fault is Fault.TIMEOUT:
            self._unanswered += 1
        elif answer.http_status is not None:
            if self._unanswered:
                self.pacer.surfaced(self._unanswered + self.out + 1, now_s=now_s)
                self._unanswered = 0
            self.pacer.record_response(sent, now_s=now_s)


@dataclass(slots=True)
class Signer:
    """Signs what is about to be sent, by what was learnt about signing."""

    credentials: CredentialSettings
    auth_state: AuthState
    clock: Clock
    #: of the request; only CC-CMS is sent one
    body: str = ""

    def sign(self, method: str, path: str, query_string: str, headers: Mapping[str, str]) -> str:
        """Make the value of the Authorization header."""
        secret = self.credentials.secret_key
        return authorization(
            access_key=self.credentials.access_key,
            secret_key=secret.reveal() if secret else "",
            method=method,
            path=path,
            query_string=query_string,
            headers=headers,
            body=self.body,
            at_ms=self.clock.wall_ms() + self.auth_state.offset_ms,
            rules=self.auth_state.rules,
        )


class Departing:
    """One request that is to leave: the client asks it when, and for the signature."""

    __slots__ = ("_dispatcher", "_permit", "generation", "sent", "sent_at_ms", "sign")

    def __init__(self, dispatcher: Dispatcher, permit: Permit) -> None:
        self._dispatcher = dispatcher
        self._permit = permit
        self.sign = dispatcher.signer.sign
        #: of what was learnt about signing, when it was signed
        self.generation = 0
        #: the pacer's note of it; None: it has not left
        self.sent: SendRecord | None = None
        #: wall-clock milliseconds
        self.sent_at_ms: int | None = None

    async def slot(self) -> None:
        dispatcher, permit = self._dispatcher, self._permit
        is_change = permit.breaker is dispatcher.breakers.changes
        sent = await dispatcher.departures.acquire(
            change=is_change, check=lambda: dispatcher.check(permit)
        )
        dispatcher.progress.requests += 1
        dispatcher.has_sent_a_change = dispatcher.has_sent_a_change or is_change
        if self.sent is None:
            dispatcher.departures.out += 1
        self.sent = sent
        self.sent_at_ms = dispatcher.clock.wall_ms()
        # it is signed as soon as this returns
        self.generation = dispatcher.auth_state.generation
