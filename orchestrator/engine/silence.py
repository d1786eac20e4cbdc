"""After quiet: the calls in progress of the campaigns that this run stopped, counted down to none.

CC-CMS is asked about one campaign at a time. What comes of it changes neither verdict nor exit
code. The law is policy/silence.py; docs/spec/behaviour.md, "Silence".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from orchestrator.engine.departures import SharedRate, Signer
from orchestrator.engine.stop import StoppedError
from orchestrator.errors import StorageError
from orchestrator.isales.calls import MAX_CMS_VDN_ID, Calls, calls_request, read_calls
from orchestrator.isales.client import IsalesClient, NotSentError
from orchestrator.isales.echo import EchoMask
from orchestrator.model import CampaignRef
from orchestrator.policy.pacer import Pacer
from orchestrator.policy.silence import CALLS_SHARE, COUNT_S, ROUND_S, Silence, thin
from orchestrator.reports.summary import CallCount, CallsRecord, Ended
from orchestrator.settings.server_url import ServerUrl, read_base_url
from orchestrator.store.rate_file import share_rate

if TYPE_CHECKING:
    from orchestrator.engine.context import RunContext
    from orchestrator.engine.dispatcher import Transport
    from orchestrator.engine.emergency import Emergency
    from orchestrator.engine.run import Environment
    from orchestrator.settings.load import Settings

#: numbers on record at most, unless two rounds are more
_NUMBERS_MAX = 600


@dataclass(slots=True)
class CallCounter:
    """Counts calls in progress, round by round."""

    emergency: Emergency
    environment: Environment
    settings: Settings
    law: Silence = field(default_factory=Silence)
    #: quiet is being watched over: what is stopped again is counted again
    is_holding: bool = False
    #: campaigns of VDNs that CC-CMS does not take
    _beyond: set[CampaignRef] = field(default_factory=set)
    _rounds: list[tuple[CallCount, ...]] = field(default_factory=list)
    _is_round_open: bool = False
    _silent_at_ms: int | None = None
    #: when our PUTs were last accepted, by campaign, as far as that is taken in
    _accepted_s: dict[CampaignRef, float] = field(default_factory=dict)

    @property
    def _context(self) -> RunContext:
        return self.emergency.context

    def record(self) -> CallsRecord | None:
        """What was counted; None: this run has stopped nothing."""
        if not self.law.campaigns and not self._beyond:
            return None
        why = "" if self._rounds else self._context.stopping.why
        return CallsRecord(
            counts=tuple(one for made in self._rounds for one in made),
            silent_at_ms=self._silent_at_ms,
            campaigns=self.law.campaigns + len(self._beyond),
            unread=self.law.unread + len(self._beyond),
            problem=self.law.problem or why,
            beyond=tuple(sorted({ref.vdn_id for ref in self._beyond})),
        )

    async def run(self) -> None:
        """Count until all are silent, or it has no sense any more, and any hold is over."""
        context = self._context
        try:
            self._take_in(one.ref for one in await context.journal.restorable())
            self._accepted_s = self._accepted_now()
            context.events.info("calls.counting", campaigns=self.law.campaigns)
            async with _Line.open(context, self.environment, self.settings) as line:
                await self._count(line)
        except StoppedError:
            return
        except StorageError as error:  # in a cluster: another worker has it now
            context.stopping.stop(Ended.STORAGE, str(error))
            return
        except Exception as error:  # noqa: BLE001 - it is reported, and the proof stands without it
            self.law.problem = f"{type(error).__name__}: {error}"
        finally:
            self._close_round()
        if self.law.problem:
            context.events.warning("calls.not_counted", reason=self.law.problem)
        elif self._silent_at_ms is not None:
            context.events.info("calls.silent", campaigns=self.law.campaigns)

    async def _count(self, line: _Line) -> None:
        clock, stopping = self._context.clock, self._context.stopping
        until_s = clock.now_s() + COUNT_S
        while not self.law.problem:
            began_s = clock.now_s()
            if self._take_in_stopped_anew():
                until_s = began_s + COUNT_S
            if self.law.due() and began_s < until_s:
                await self._make_round(line, until_s)
                self._close_round()
                record = self.record()
                if record is not None:
                    await self._context.journal.note(calls=record)
            elif not self.is_holding:
                return
            await stopping.pause(max(0.0, began_s + ROUND_S - clock.now_s()))

    async def _make_round(self, line: _Line, until_s: float) -> None:
        context = self._context
        for ref in self.law.due():
            calls = await line.ask(ref)
            self._is_round_open = True
            self.law.note(ref, calls.in_progress, problem=calls.problem, failed=calls.failed)
            if calls.in_progress is None:
                context.events.info(
                    "calls.unread",
                    vdn_id=ref.vdn_id,
                    campaign_id=ref.campaign_id,
                    reason=calls.problem,
                )
            if self.law.is_counted:
                context.progress.calls = sum(self.law.by_vdn().values())
            if self.law.problem or context.clock.now_s() >= until_s:
                return
            if calls.failed:
                await context.stopping.pause(ROUND_S)

    def _close_round(self) -> None:
        """Keep what is known now, unless somebody has never been asked about."""
        totals = self.law.by_vdn()
        if not self._is_round_open or not self.law.is_counted or not totals:
            return
        self._is_round_open = False
        at_ms = self._context.clock.wall_ms()
        self._rounds.append(tuple(CallCount(at_ms, vdn, number) for vdn, number in totals.items()))
        thin(self._rounds, most=_NUMBERS_MAX // len(totals))
        if self.law.is_silent and not self._beyond:
            self._silent_at_ms = at_ms

    # -- whose calls are counted --------------------------------------------------------------

    def _take_in(self, refs: Iterable[CampaignRef]) -> None:
        found = set(refs)
        self._beyond |= {ref for ref in found if ref.vdn_id > MAX_CMS_VDN_ID}
        self.law.begin(sorted(found - self._beyond))

    def _take_in_stopped_anew(self) -> bool:
        """In a hold a campaign may start, and be stopped again: its calls are counted anew."""
        now = self._accepted_now()
        anew = {ref for ref, at_s in now.items() if at_s != self._accepted_s.get(ref)}
        if anew:
            self._accepted_s = now
            self._silent_at_ms = None
            self._take_in(anew)
        return bool(anew)

    def _accepted_now(self) -> dict[CampaignRef, float]:
        found: dict[CampaignRef, float] = {}
        for vdn in self.emergency.vdns.values():
            found |= vdn.accepted_s
        return found


class _Line:
    """The way to CC-CMS: one request at a time, at half the rate, within its own ceiling."""

    def __init__(
        self,
        context: RunContext,
        settings: Settings,
        transport: Transport,
        shared: SharedRate | None,
        *,
        is_same_server: bool,
    ) -> None:
        self._context = context
        self._settings = settings
        self._transport = transport
        self._shared = shared
        self._pacer = Pacer(CALLS_SHARE * settings.pace.rate_per_s)
        self._echo = EchoMask(settings.credentials.secret_key)
        self._is_same_server = is_same_server
        # with what this run has learnt about the server's signature
        dispatcher = context.dispatcher
        self._signer = Signer(settings.credentials, dispatcher.auth_state, context.clock)
        self.sign = self._signer.sign

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, context: RunContext, environment: Environment, settings: Settings
    ) -> AsyncIterator[_Line]:
        """Connections to CC-CMS, with the certificates and timeouts of the server."""
        there = replace(settings, server=replace(settings.server, base_url=settings.cms.base_url))
        transport = environment.make_transport(there)
        async with contextlib.AsyncExitStack() as held:
            shared = None
            is_same = _address(settings.cms.base_url) == _address(settings.server.base_url)
            if environment.shares_rate and not is_same:
                shared = share_rate(
                    there,
                    context.clock,
                    emergency=True,
                    warn=lambda why: context.events.warning("rate.not_shared", reason=why),
                )
                held.callback(shared.close)
            if isinstance(transport, IsalesClient):
                await held.enter_async_context(transport)
            yield cls(context, settings, transport, shared, is_same_server=is_same)

    async def ask(self, ref: CampaignRef) -> Calls:
        """Ask about one campaign, once.

        Raises:
            StoppedError: the run is ending.
        """
        request = calls_request(ref, cc_id=self._settings.cms.cc_id)
        self._signer.body = request.body
        try:
            answer = await self._transport.send(request, self)
        except NotSentError:
            raise StoppedError from None
        return read_calls(self._echo.masked(answer))

    # -- the client's departure ---------------------------------------------------------------

    async def slot(self) -> None:
        """Keep half the rate; where CC-CMS is the same server, the run's own ceiling too."""
        context = self._context
        while True:
            self._check()
            now_s = context.clock.now_s()
            wait_s = self._pacer.wait_s(now_s=now_s)
            if wait_s <= 0 and self._shared is not None:
                wait_s = self._shared.acquire(now_s=now_s)
            if wait_s <= 0:
                break
            await context.stopping.sleep(wait_s)
        if self._is_same_server:
            await context.dispatcher.departures.acquire(change=False, check=self._check)
            context.progress.requests += 1
        self._pacer.acquire(now_s=context.clock.now_s())

    def _check(self) -> None:
        if self._context.stopping.is_stopping:
            raise NotSentError


def _address(base_url: str) -> tuple[str, str, int]:
    """What the ceiling of a server goes by: scheme, host and port."""
    url = read_base_url(base_url)
    assert isinstance(url, ServerUrl)
    return url.scheme, url.host.rstrip("."), url.port
