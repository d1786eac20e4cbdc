"""Builders for simulator tests: small worlds, and requests without a socket."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import FaultPlan
from orchestrator.simulator.handler import Handler, Played
from orchestrator.simulator.ledger import Ledger
from orchestrator.simulator.routes import CAMPAIGNS_PATH, Received
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, Order, World, WorldSettings

VDN = 12
#: one campaign of each status: its id ends in the status
NOT_STARTED, STARTED, SUSPENDED, COMPLETED = (CampaignRef(VDN, 140 + n) for n in (1, 2, 3, 4))
MISSING = CampaignRef(VDN, 999)


def one_of_each() -> World:
    """VDN 12 with one campaign of each status."""
    return World({VDN: [Campaign(140 + status, status) for status in Status]})


def started(size: int, *, order: Order = Order.ID) -> World:
    """VDN 12 with so many started campaigns, ids from 1."""
    campaigns = [Campaign(number) for number in range(1, size + 1)]
    return World({VDN: campaigns}, settings=WorldSettings(order=order))


def pause_path(ref: CampaignRef) -> str:
    """The path of a pause."""
    return f"{details_path(ref)}/pause"


def details_path(ref: CampaignRef) -> str:
    """The path of a details call."""
    return f"{CAMPAIGNS_PATH}/{ref.vdn_id}/{ref.campaign_id}"


def list_path(vdn_id: int = VDN, *, status: int = 0, page: int = 1, rows: int = 100) -> str:
    """The target of a listing."""
    query = f"curPage={page}&deviceType=0&rowsPerPage={rows}&status={status}"
    return f"{CAMPAIGNS_PATH}/{vdn_id}?{query}"


@dataclass
class Seat:
    """A client in front of a handler, without a network."""

    world: World = field(default_factory=one_of_each)
    faults: FaultPlan = field(default_factory=FaultPlan)
    signature: SignatureCheck | None = None

    def __post_init__(self) -> None:
        self.ledger = Ledger()
        self.handler = Handler(
            self.world, faults=self.faults, signature=self.signature, ledger=self.ledger
        )

    def play(self, method: str, target: str, *, now_s: float = 0.0) -> Played:
        """Send one request and keep its entry."""
        played = self.handler.receive(
            Received(method, target, (("Host", "h"),)), now_s=now_s, wall_ms=0
        )
        self.ledger.add(played.entry)
        return played

    def pause(self, ref: CampaignRef, *, now_s: float = 0.0) -> Played:
        """Pause one campaign."""
        return self.play("PUT", pause_path(ref), now_s=now_s)

    def ask(self, target: str, *, now_s: float = 0.0) -> Any:
        """Look, and read the JSON of the answer."""
        return document(self.play("GET", target, now_s=now_s))


def body(played: Played) -> bytes:
    """The body of an answer."""
    return played.wire.partition(b"\r\n\r\n")[2]


def document(played: Played) -> Any:
    """The JSON of an answer."""
    return json.loads(body(played))
