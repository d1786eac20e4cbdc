"""The rate that all workers of a cluster share against one server, from its database.

A worker asks in good time for the departures that wait, on a connection of its own, beside
everything else; policy/slices.py says what it may do with the answer. While the database is away
nothing is given, so nothing leaves; when it is back, what was given before is waited out.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from orchestrator.policy.ceiling import Turn
from orchestrator.policy.slices import LATE_S, Ask, Slice, Slots, window_s
from orchestrator.settings.server_url import server_origin
from orchestrator.store.database import connect_async, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.clock import Clock
    from orchestrator.settings.secret import Secret

#: while an answer is on its way, whoever waits looks again after this unless it is woken, seconds
_LOOK_AGAIN_S = 0.25
#: an answer that takes longer than this is no answer, seconds
_ANSWER_S = 3.0
#: after so many answers in a row that came too late to be used, it is said
_TOO_LATE = 20


class Giver(Protocol):
    """Whoever gives slices of a server's rate."""

    async def ask(self, ask: Ask) -> Slice:
        """Ask for a slice.

        Raises:
            ConnectionError: it is away.
        """

    async def close(self) -> None:
        """Let go of it."""


class DatabaseGiver:
    """The cluster's database."""

    def __init__(self, url: Secret, base_url: str) -> None:
        self._url = url
        self._server = server_origin(base_url)
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def ask(self, ask: Ask) -> Slice:
        try:
            async with asyncio.timeout(_ANSWER_S):
                if self._connection is None:
                    self._connection = await connect_async(self._url)
                cursor = await self._connection.execute(
                    "SELECT * FROM orchestrator.give_slice(%s, %s, %s, %s)",
                    (self._server, ask.rate_per_s, ask.emergency, ask.wanted),
                )
                row = await cursor.fetchone()
        except (psycopg.Error, TimeoutError) as error:
            await self.close()
            told = failure_of(error) if isinstance(error, psycopg.Error) else "no answer"
            raise ConnectionError(str(told)) from error
        except asyncio.CancelledError:
            await self.close()  # its answer would be taken for that of the next question
            raise
        assert row is not None
        return Slice._make(row)

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
        self._connection = None


class SharedPace:
    """One run's part in the rate of a server, as engine/departures.py asks for it."""

    def __init__(
        self, giver: Giver, clock: Clock, own: Ask, *, warn: Callable[[str], None]
    ) -> None:
        """Nothing is asked before the first request.

        Args:
            giver: who gives slices; the caller closes it.
            clock: the present.
            own: the run's own ceiling R, and whether it is an emergency.
            warn: called with a reason when the giver is away, once each time.
        """
        self._giver = giver
        self._clock = clock
        self._own = own
        self._warn = warn
        self._is_away = False
        #: answers in a row that came too late to be used
        self._late = 0
        self._slots = Slots()
        self._asking: asyncio.Task[None] | None = None
        #: how many requests wait to leave
        self.waiting: Callable[[], int] = lambda: 1
        #: wakes them, when there was an answer
        self.wake: Callable[[], None] = lambda: None
        #: whether anything may leave at all: a worker's lease may have run out
        self.may_send: Callable[[float], bool] = lambda _: True
        #: of the last answer, for people
        self.turn = Turn(0.0, -math.inf)

    def acquire(self, *, now_s: float, own_wait_s: float = 0.0) -> float:
        """Let a request leave now, as far as other workers are concerned.

        Args:
            now_s: the present.
            own_wait_s: it may not leave for so long, by its own pacer.

        Returns:
            0.0: it leaves. Else seconds until it is worth asking again.
        """
        if own_wait_s > 0:
            return own_wait_s
        if not self.may_send(now_s):
            return _LOOK_AGAIN_S
        wanted = self._slots.wanted(now_s, waiting=max(1, self.waiting()))
        if wanted and self._asking is None:
            self._asking = asyncio.create_task(self._ask(wanted))
            self._asking.add_done_callback(self._asked)
        wait_s = self._slots.take(now_s)
        if wait_s > 0 and self._asking is not None and not self._slots.held:
            return _LOOK_AGAIN_S
        return wait_s

    async def _ask(self, wanted: int) -> None:
        asked_s = self._clock.now_s()
        try:
            told = await self._giver.ask(self._own._replace(wanted=wanted))
        except ConnectionError as error:
            # what others were given before it went may leave for so long
            self._slots.hold_off(self._clock.now_s() + window_s(self._own.rate_per_s))
            if not self._is_away:
                self._warn(str(error))
            self._is_away = True
            return
        self._is_away = False
        now_s, chance = self._clock.now_s(), self._clock.chance()
        self._slots.record(told, asked_s=asked_s, now_s=now_s, chance=chance)
        if told.given:
            self._late = self._late + 1 if now_s - asked_s > LATE_S else 0
            if self._late == _TOO_LATE:
                self._warn(
                    f"an answer of the cluster's database takes {(now_s - asked_s) * 1000:.0f} ms,"
                    f" and more than {LATE_S * 1000:.0f} ms is too late: nothing is sent"
                )
        self.turn = self.turn._replace(yields=told.yields)

    def _asked(self, asking: asyncio.Task[None]) -> None:
        self._asking = None
        self.wake()
        if not asking.cancelled():
            asking.result()

    def withdraw(self) -> None:
        """No request waits any more: what was given lapses by itself."""

    def close(self) -> None:
        """Ask for nothing more."""
        if self._asking is not None:
            self._asking.cancel()
