"""Signed reads one at a time, outside of any run: for `check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from orchestrator.engine.departures import SharedRate, Signer
from orchestrator.isales.client import IsalesClient
from orchestrator.isales.echo import EchoMask
from orchestrator.isales.verdict import Kind, Repeat, Verdict, judge
from orchestrator.model import CampaignRef
from orchestrator.policy.auth import AuthState
from orchestrator.policy.retry import clock_ahead_s

if TYPE_CHECKING:
    from orchestrator.clock import Clock
    from orchestrator.isales.answer import Answer
    from orchestrator.isales.requests import ApiRequest
    from orchestrator.settings.load import Settings

#: a request that meets a busy database is tried so often
_TRIES = 3


def client_of(
    settings: Settings, base_url: str, clock: Clock, *, connections: int = 1
) -> IsalesClient:
    """Connections to a server, with the certificates and timeouts of ours."""
    return IsalesClient(
        base_url=base_url,
        ca_file=settings.server.ca_file,
        connect_timeout_s=settings.server.connect_timeout_s,
        attempt_timeout_s=settings.server.attempt_timeout_s,
        connections=connections,
        clock=clock,
    )


class Asker:
    """Sends signed GETs one at a time, and corrects the signature after a 401 as a run would."""

    def __init__(
        self, client: IsalesClient, settings: Settings, clock: Clock, shared: SharedRate | None
    ) -> None:
        self.settings = settings
        self.configured = settings.signing
        self.auth_state = AuthState(settings.signing)
        #: what the answers were, corrected ones included
        self.kinds: set[Kind] = set()
        #: how far the server's clock is ahead of ours, seconds; None: not known
        self.skew_s: int | None = None
        #: one of the VDN, as the listings showed it; None: they showed none
        self.campaign: CampaignRef | None = None
        self._client = client
        self._shared = shared
        self._clock = clock
        self._echo = EchoMask(settings.credentials.secret_key)
        self._departed = False
        self._signer = Signer(settings.credentials, self.auth_state, clock)
        self.sign = self._signer.sign

    def corrected(self, switch: Literal["blank_query_line", "millis"]) -> str:
        """A switch of signing, and its other value."""
        now = getattr(self.configured, switch)
        return f"set signing.{switch} = {str(not now).lower()} (now {str(now).lower()})"

    async def send(self, request: ApiRequest) -> tuple[Answer, Verdict]:
        """Send a GET until it has a useful answer or is not worth repeating."""
        tries = 0
        while True:
            generation = self.auth_state.generation
            answer = self._echo.masked(await self._client.send(request, self))
            verdict = judge(answer)
            self.kinds.add(verdict.kind)
            ahead_s = clock_ahead_s(answer.date, now_ms=self._clock.wall_ms())
            self.skew_s = self.skew_s if ahead_s is None else ahead_s
            has_query = bool(request.query)
            if verdict.kind is Kind.UNAUTHORIZED:
                recovery = self.auth_state.recover(
                    date=answer.date,
                    now_ms=self._clock.wall_ms(),
                    has_query=has_query,
                    generation=generation,
                )
                if recovery is None:
                    return answer, verdict
                continue
            if verdict.http_status == 200:
                self.auth_state.note_accepted(has_query=has_query)
            tries += 1
            if verdict.repeat is Repeat.NEVER or tries >= _TRIES:
                return answer, verdict

    async def send_to(self, client: IsalesClient, request: ApiRequest) -> Answer:
        """Send a request to another service once, signed as the server's are."""
        self._signer.body = request.body
        try:
            return self._echo.masked(await client.send(request, self))
        finally:
            self._signer.body = ""

    # -- the client's departure ---------------------------------------------------------------

    async def slot(self) -> None:
        """Keep the pace: a whole interval between two requests."""
        if self._departed:
            await self._clock.sleep(1 / self.settings.pace.rate_per_s)
        self._departed = True
        shared = self._shared
        while shared and (wait_s := shared.acquire(now_s=self._clock.now_s())) > 0:
            await self._clock.sleep(wait_s)
