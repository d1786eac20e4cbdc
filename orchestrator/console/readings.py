"""How many campaigns run in each VDN, asked in the background: no page waits for the server.

All viewers share one question: a VDN is asked at most every ten seconds, and only while somebody
looks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator import api
from orchestrator.errors import OrchestratorError
from orchestrator.policy.plan import seconds_needed, spoken_s
from orchestrator.policy.quiet import GAP_S
from orchestrator.reports.rows import iso_time
from orchestrator.text import as_sentence, for_terminal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from orchestrator.console.site import Site
    from orchestrator.reports.status import VdnStatus

#: seconds between two questions about one VDN
EVERY_S: Final = 10.0
#: VDNs that are remembered besides those that matter: anybody may type a number
_REMEMBERED: Final = 200
#: questions at one time: a thousand forms must not become a thousand connections to the server
_AT_ONCE: Final = 8
_NAMES: Final = 5
_NAME_LIMIT: Final = 60
_REASON_LIMIT: Final = 200
#: requests for the two check passes of a proof, at least
_PROOF_REQUESTS: Final = 4


class Reading(NamedTuple):
    """What the server last said of a VDN, or why it did not."""

    vdn: int
    #: wall-clock milliseconds of the answer
    at_ms: int
    status: VdnStatus | None
    problem: str = ""
    #: what it last said, where this time it said nothing that may be believed
    last: str = ""

    @property
    def is_known(self) -> bool:
        """Whether its number of started campaigns may be believed."""
        return self.status is not None and self.status.is_complete

    @property
    def running(self) -> int:
        """Campaigns that are started, as far as they were seen."""
        return len(self.status.started) if self.status is not None else 0

    @property
    def names(self) -> tuple[str, ...]:
        """What the first of them are called."""
        started = self.status.started[:_NAMES] if self.status is not None else ()
        return tuple(for_terminal(f"{one.ref.campaign_id} {one.name}".strip(), limit=_NAME_LIMIT)
                     for one in started)  # fmt: skip

    def sentence(self) -> str:
        """How many run."""
        status = self.status
        if status is None:
            return f"the server could not be asked: {as_sentence(self.problem)}{self.last}"
        if status.no_campaigns:
            return f"it has no campaigns at all: is {self.vdn} the right VDN?"
        if not status.is_seen:
            why = for_terminal(status.problem, limit=_REASON_LIMIT)
            return f"it could not be read: {as_sentence(why)}{self.last}"
        said = _running(self.running)
        if status.problem:
            why = for_terminal(status.problem, limit=_REASON_LIMIT)
            said = f"at least {said} The listing was not complete: {as_sentence(why)}"
        if status.may_start:
            said += f" {status.may_start:,} more may start by themselves."
        return said

    def kept(self) -> str:
        """What stays worth knowing of it when the next one says nothing."""
        if not self.is_known:
            return self.last
        return f" Its last answer, at {iso_time(self.at_ms)[11:19]}Z: {_running(self.running)}"

    def as_of(self, now_ms: int) -> str:
        """When that was, and how long ago."""
        ago_s = max(0, round((now_ms - self.at_ms) / 1000))
        return f"At {iso_time(self.at_ms)[11:19]}Z ({_ago(ago_s)} ago)"

    def time_needed(self, rate_per_s: float) -> str:
        """How long a stop takes: the pauses at the pace, then the proof."""
        seconds = seconds_needed(requests=self.running + _PROOF_REQUESTS, rate_per_s=rate_per_s)
        return (
            f"about {spoken_s(seconds + GAP_S)}: {self.running:,} at {rate_per_s:g} requests a"
            f" second, and {GAP_S:g} s or more between the two checks that prove it quiet"
        )


def _running(number: int) -> str:
    if not number:
        return "no campaign is running."
    return "1 campaign is running." if number == 1 else f"{number:,} campaigns are running."


def _ago(seconds: int) -> str:
    return f"{seconds} s" if seconds < 120 else spoken_s(seconds)


@dataclass
class Readings:
    """What is known of the VDNs."""

    site: Site
    #: asks the server; returns what it said of these VDNs
    ask: Callable[[tuple[int, ...]], Awaitable[tuple[VdnStatus, ...]]] | None = None
    #: requests that left, by `read` and the kind of the answer
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    _known: dict[int, Reading] = field(default_factory=dict)
    #: when each was asked last, and the question
    _asked: dict[int, tuple[float, asyncio.Task[None]]] = field(default_factory=dict)
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))

    def now(self, vdns: Iterable[int]) -> list[Reading | None]:
        """What is known at this moment; what is old is asked for, and comes later."""
        wanted = tuple(dict.fromkeys(vdns))
        self._refresh(wanted)
        return [self._known.get(vdn) for vdn in wanted]

    async def soon(self, vdn: int, *, wait_s: float) -> Reading | None:
        """What is known of a VDN; if that is old, an answer is waited for so long."""
        self._refresh((vdn,))
        await asyncio.wait({self._asked[vdn][1]}, timeout=wait_s)
        return self._known.get(vdn)

    def _refresh(self, vdns: tuple[int, ...]) -> None:
        now_s = self.site.clock.now_s()
        due = tuple(vdn for vdn in vdns if self._is_due(vdn, now_s))
        if due:
            task = asyncio.create_task(self._ask(due))
            for vdn in due:
                self._asked.pop(vdn, None)  # the newest stands last
                self._asked[vdn] = now_s, task
        while len(self._asked) > _REMEMBERED + len(self.site.settings.server.vdns):
            oldest = next(iter(self._asked))
            del self._asked[oldest]
            self._known.pop(oldest, None)

    def _is_due(self, vdn: int, now_s: float) -> bool:
        if vdn not in self._asked:
            return True
        asked_s, task = self._asked[vdn]
        return task.done() and now_s - asked_s >= EVERY_S

    async def _ask(self, vdns: tuple[int, ...]) -> None:
        problem, found = "", {}
        try:
            async with self._places:
                found = {one.vdn_id: one for one in await (self.ask or self._status)(vdns)}
        except OrchestratorError as error:
            problem = error.sentence
        except OSError as error:
            problem = error.strerror or "the machine refused it"
        now_ms = self.site.clock.wall_ms()
        for vdn in vdns:
            status, before = found.get(vdn), self._known.get(vdn)
            at_ms = status.read_at_ms if status and status.read_at_ms else now_ms
            last = before.kept() if before is not None else ""
            self._known[vdn] = Reading(vdn, at_ms, status, for_terminal(problem, limit=300), last)

    async def _status(self, vdns: tuple[int, ...]) -> tuple[VdnStatus, ...]:
        environment = api.environment()
        try:
            result = await api.status(self.site.settings, vdns, environment=environment)
        finally:
            self.answers.update(environment.progress.answers)
        return result.vdns
