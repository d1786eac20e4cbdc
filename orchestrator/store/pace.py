"""The rate that all workers of a cluster share against one server, from its database.

A worker asks in good time for the departures that wait, on a connection of its own, beside
everything else; policy/slices.py says what it may do with the answer. While the database is away
nothing is given, so nothing leaves; when it is back, what was given before is waited out.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import psycopg

from orchestrator.policy.ceiling import Turn
from orchestrator.policy.slices import LATE_S, Ask, Slice, Slots, window_s
from orchestrator.settings.server_url import server_origin
from orchestrator.store.database import connect_async, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.clock import Clock
    from orchestrator.settings.secret import Secret
    from orchestrator.store.rate_file import RateFile

#: while an answer is on its way, whoever waits looks again after this unless it is woken, seconds
_LOOK_AGAIN_S = 0.25
#: who does not depend on the database goes on alone after this, seconds
ALONE_AFTER_S = 0.05
#: while an answer is on its way to a run outside the cluster, seconds
_ANSWER_LOOK_S = 0.002
#: an answer that takes longer than this is no answer, seconds
_ANSWER_S = 3.0
#: after so many answers in a row that came too late to be used, it is said
_TOO_LATE = 20


class Giver:
    """The cluster's database gives slices of a server's rate."""

    def __init__(self, url: Secret, base_url: str) -> None:
        self._url = url
        self._server = server_origin(base_url)
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def ask(self, ask: Ask) -> Slice:
        """Ask for a slice.

        Raises:
            ConnectionError: it is away.
        """
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

    def drop(self) -> None:
        """Let go of it at once; nothing is asked any more."""
        if self._connection is not None:
            self._connection.pgconn.finish()
        self._connection = None

    async def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                await self._connection.close()
        self._connection = None


class Share:
    """What one process has been given of a server's rate, for all of it that asks alike."""

    def __init__(
        self, giver: Giver, clock: Clock, own: Ask, *, warn: Callable[[str], None]
    ) -> None:
        """Nothing is asked before the first request.

        Args:
            giver: who gives slices; the caller closes it.
            clock: the present.
            own: a run's own ceiling R, and whether it is an emergency.
            warn: called with a reason when the giver is away, once each time.
        """
        self._giver = giver
        self._clock = clock
        self._own = own
        self._warn = warn
        self.is_away = False
        #: when the question left that has no answer yet
        self.asked_s: float | None = None
        #: answers in a row that came too late to be used
        self._late = 0
        self._slots = Slots()
        self._asking: asyncio.Task[None] | None = None
        #: when requests last left, for about as long as a departure keeps
        self._left_s: deque[float] = deque()
        #: who sends
        self.parts: set[SharedPace] = set()
        #: an emergency goes first
        self.yields = False

    def take(self, now_s: float) -> float:
        """Let a request leave now: 0.0; else seconds until it is worth asking again."""
        while self._left_s and self._left_s[0] < now_s - LATE_S:
            self._left_s.popleft()
        if self._asking is None and self._slots.wanted(now_s, waiting=self._waiting()):
            self._asking = asyncio.create_task(self._ask())
            self._asking.add_done_callback(self._asked)
        wait_s = self._slots.take(now_s)
        if wait_s == 0.0:
            self._left_s.append(now_s)
        elif self._asking is not None and not self._slots.held:
            return _LOOK_AGAIN_S
        return wait_s

    def _waiting(self) -> int:
        # what left lately is what will be wanted by the time an answer is here
        return max(1, sum(part.waiting() for part in self.parts), len(self._left_s))

    async def _ask(self) -> None:
        asked_s = self.asked_s = self._clock.now_s()
        # by now all are in line that a commit has let go at once
        wanted = max(1, self._slots.wanted(asked_s, waiting=self._waiting()))
        try:
            told = await self._giver.ask(self._own._replace(wanted=wanted))
        except ConnectionError as error:
            # what others were given before it went may leave for so long
            self._slots.hold_off(self._clock.now_s() + window_s(self._own.rate_per_s))
            if not self.is_away:
                self._warn(str(error))
            self.is_away = True
            return
        self.is_away = False
        now_s, chance = self._clock.now_s(), self._clock.chance()
        self._slots.record(told, asked_s=asked_s, now_s=now_s, chance=chance)
        if told.given:
            self._late = self._late + 1 if now_s - asked_s > LATE_S else 0
            if self._late == _TOO_LATE:
                self._warn(
                    f"an answer of the cluster's database takes {(now_s - asked_s) * 1000:.0f} ms,"
                    f" and more than {LATE_S * 1000:.0f} ms is too late: nothing is sent"
                )
        self.yields = told.yields

    def _asked(self, asking: asyncio.Task[None]) -> None:
        self._asking = self.asked_s = None
        for part in self.parts:
            part.wake()
        if not asking.cancelled():
            asking.result()

    @property
    def has_answered(self) -> bool:
        """Whether no question is on its way."""
        return self._asking is None

    def close(self) -> None:
        """Ask for nothing more."""
        if self._asking is not None:
            self._asking.cancel()


class SharedPace:
    """One run's part in the rate of a server, as engine/departures.py asks for it."""

    def __init__(self, share: Share) -> None:
        self._share = share
        share.parts.add(self)
        #: how many requests wait to leave
        self.waiting: Callable[[], int] = lambda: 1
        #: wakes them, when there was an answer
        self.wake: Callable[[], None] = lambda: None
        #: whether anything may leave at all: a worker's lease may have run out
        self.may_send: Callable[[float], bool] = lambda _: True
        #: of the last answer, for people
        self.turn = Turn(0.0, -math.inf)

    def acquire(self, *, now_s: float, own_wait_s: float = 0.0) -> float:
        """Let a request leave now; `own_wait_s` is what its own pacer says.

        Returns:
            0.0: it leaves. Else seconds until it is worth asking again.
        """
        if own_wait_s > 0:
            return own_wait_s
        if not self.may_send(now_s):
            return _LOOK_AGAIN_S
        wait_s = self._share.take(now_s)
        self.turn = self.turn._replace(yields=self._share.yields)
        return wait_s

    def withdraw(self) -> None:
        """No request waits any more: what was given lapses by itself."""

    def close(self) -> None:
        """Send nothing more; the others of this process may have what is left."""
        self._share.parts.discard(self)


class OwnOrSharedPace:
    """A run outside the cluster: the cluster's pace, or its own while the database is away.

    It waits for no answer longer than ALONE_AFTER_S; the file that the runs of a state directory
    share says then when a request may leave.
    """

    def __init__(
        self,
        giver: Giver,
        clock: Clock,
        own: Ask,
        alone: RateFile,
        *,
        warn: Callable[[str], None],
    ) -> None:
        """Nothing is asked before the first request.

        Args:
            giver: who gives slices; it is let go of in the end.
            clock: the present.
            own: the run's own ceiling R, and whether it is an emergency.
            alone: how it goes on without the database.
            warn: called with a reason, once, when it does.
        """
        self._giver = giver
        self._alone = alone
        self._warn = warn
        self._has_warned = False
        self._share = Share(giver, clock, own, warn=self._warn_once)
        #: of the last decision, for people
        self.turn = Turn(0.0, -math.inf)

    def acquire(self, *, now_s: float, own_wait_s: float = 0.0) -> float:
        """Let a request leave now; `own_wait_s` is what its own pacer says.

        Returns:
            0.0: it leaves. Else seconds until it is worth asking again.
        """
        if own_wait_s > 0:
            return own_wait_s
        wait_s = self._share.take(now_s)
        if wait_s == 0.0:
            self.turn = Turn(0.0, -math.inf, yields=self._share.yields)
            return wait_s
        asked_s = self._share.asked_s
        waited_s = 0.0 if asked_s is None else now_s - asked_s
        if self._share.is_away or waited_s >= ALONE_AFTER_S:
            self._warn_once(f"no answer in {ALONE_AFTER_S * 1000:.0f} ms")
            wait_s = self._alone.acquire(now_s=now_s)
            self.turn = self._alone.turn
            return wait_s
        # nobody wakes who waits here
        return wait_s if self._share.has_answered else min(wait_s, _ANSWER_LOOK_S)

    def _warn_once(self, reason: str) -> None:
        if not self._has_warned:
            self._warn(reason)
        self._has_warned = True

    def withdraw(self) -> None:
        """No request waits any more."""
        self._alone.withdraw()

    def close(self) -> None:
        """The run is over."""
        self._share.close()
        self._giver.drop()
        self._alone.close()
