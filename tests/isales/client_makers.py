"""What tests of the client need: departures, clients with tiny timeouts, resolvers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from orchestrator.clock import SystemClock
from orchestrator.isales.client import IsalesClient
from orchestrator.isales.requests import ApiRequest, change
from orchestrator.isales.signing import authorization
from orchestrator.model import Action, CampaignRef
from orchestrator.settings.schema import SigningRules

AK = "AKEXAMPLE0001"
SK = "SKexample-0000-not-a-secret"
#: 2025-01-02T03:04:05Z, the instant of the vectors
AT_MS = 1_735_787_045_000


@dataclass
class Going:
    """A departure that leaves at once, or does as `before` says, and signs as the vectors do."""

    before: Callable[[], Awaitable[object]] | None = None
    rules: SigningRules = field(default_factory=SigningRules)
    work_limit: int = 0
    #: (method, path, query, headers) of everything that was signed
    signed: list[tuple[str, str, str, CIMultiDict[str]]] = field(default_factory=list)

    async def slot(self) -> None:
        self.work_limit += 1
        if self.before is not None:
            await self.before()

    def sign(self, method: str, path: str, query_string: str, headers: Mapping[str, str]) -> str:
        self.signed.append((method, path, query_string, CIMultiDict(headers)))
        return authorization(
            access_key=AK,
            secret_key=SK,
            method=method,
            path=path,
            query_string=query_string,
            headers=headers,
            body="",
            at_ms=AT_MS,
            rules=self.rules,
        )


def pause(campaign_id: int = 146, vdn_id: int = 12) -> ApiRequest:
    return change(Action.PAUSE, CampaignRef(vdn_id, campaign_id))


def client_of(base_url: str, **options: Any) -> IsalesClient:
    """A client whose patience is a fraction of a second."""
    settings: dict[str, Any] = {
        "ca_file": None,
        "connect_timeout_s": 2.0,
        "attempt_timeout_s": 2.0,
        "connections": 4,
        "clock": SystemClock(),
    }
    return IsalesClient(base_url=base_url, **(settings | options))


@dataclass
class Names(AbstractResolver):
    """A resolver whose every answer is scripted: addresses, or an error to raise."""

    answers: list[list[str] | OSError]
    wait_s: float = 0.0
    asked: int = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        await asyncio.sleep(self.wait_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass
