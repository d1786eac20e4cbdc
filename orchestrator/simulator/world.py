"""What the simulated server knows: VDNs, their campaigns, and what a change or a look does.

Rule 1: pure state. Time comes in as seconds since the start; nothing is read, waited for or drawn.
Rule 2: the rules of pausing are a table (api.md §2.1, §2.3); faults are faults.py's business.
Rule 3: no request costs as much as the number of campaigns, so a million of them can be paused.
        The exception is a listing filtered by name, device type or time, which looks at each.
Source: api.md §2, §3, §7.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.core.campaign import Action, CampaignRef, Status
from orchestrator.simulator.ordered import SortedNumbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SUCCESS = "0200000"
NOT_FOUND = "0200007"
STATUS_NOT_ALLOWED = "0200011"

#: action: (the only status it accepts, the status it leads to). Anything else is 0200011.
TRANSITIONS = {
    Action.PAUSE: (Status.STARTED, Status.SUSPENDED),
    Action.RESUME: (Status.SUSPENDED, Status.STARTED),
}

#: device types whose campaigns count as IVR; all others use a skill queue (api.md §2.4)
IVR_DEVICE_TYPES = frozenset({1, 3})

MAX_ROWS_PER_PAGE = 100
DEFAULT_ROWS_PER_PAGE = 10

_ID_SPAN = 2**64


class Order(StrEnum):
    """How a listing is sorted. The real order is documented nowhere, so both are worth meeting."""

    ID = "id"
    #: the campaign changed last comes first: pausing shuffles the pages
    RECENT = "recent"


class EmptyRows(StrEnum):
    """What `data` holds when a listing has no rows."""

    LIST = "list"
    NULL = "null"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class WorldSettings:
    """What the documentation leaves open."""

    order: Order = Order.ID
    empty_rows: EmptyRows = EmptyRows.LIST
    #: ids in answers are digit strings instead of numbers
    ids_as_text: bool = False


@dataclass(slots=True)
class Campaign:
    """One campaign as the server holds it."""

    campaign_id: int
    status: Status = Status.STARTED
    #: "" shows as `campaign <id>`, which saves memory in worlds of a million
    name: str = ""
    begin_time: str = "2025-01-01 08:00:00"
    end_time: str = "2035-12-31 20:00:00"
    device_type: int = 2
    caller_no: str = "5550100"
    #: grows with every change in the world; 0: not changed since the beginning
    last_changed: int = 0

    @property
    def shown_name(self) -> str:
        """The name that listings show."""
        return self.name or f"campaign {self.campaign_id}"


@dataclass(frozen=True, slots=True)
class Drift:
    """A campaign changes by itself: it begins at its time, or somebody starts it elsewhere.

    It happens at `at_s` seconds after the start, or as soon as the world has accepted
    `after_pauses` pauses, whichever is given; with both, whichever comes first.
    """

    ref: CampaignRef
    status: Status = Status.STARTED
    at_s: float | None = None
    after_pauses: int | None = None


@dataclass(frozen=True, slots=True)
class ListingQuery:
    """What a listing asks for, already checked."""

    #: None: all
    status: Status | None = None
    page: int = 1
    rows_per_page: int = DEFAULT_ROWS_PER_PAGE
    #: 0: all
    device_type: int = 0
    name: str = ""
    begin_time: str = ""
    end_time: str = ""

    @property
    def looks_at_each(self) -> bool:
        """Whether a filter is set that no index serves."""
        return bool(self.device_type or self.name or self.begin_time or self.end_time)

    def keeps(self, campaign: Campaign) -> bool:
        """Whether the filters beside the status let this campaign through."""
        return (
            self.device_type in {0, campaign.device_type}
            and self.name in campaign.shown_name
            and (not self.begin_time or campaign.begin_time >= self.begin_time)
            and (not self.end_time or campaign.end_time <= self.end_time)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, as values."""

    rows: tuple[Campaign, ...]
    total_size: int
    page: int
    rows_per_page: int
    skill_queue_count: int = 0
    ivr_count: int = 0


@dataclass(slots=True)
class _Vdn:
    campaigns: dict[int, Campaign] = field(default_factory=dict)
    every: SortedNumbers = field(default_factory=SortedNumbers)
    by_status: dict[Status, SortedNumbers] = field(default_factory=dict)
    ivr_count: int = 0


class World:
    """All VDNs and campaigns, with the server's own rules."""

    def __init__(
        self,
        campaigns: Mapping[int, Iterable[Campaign]],
        *,
        settings: WorldSettings | None = None,
        drifts: Iterable[Drift] = (),
    ) -> None:
        """Fill the world.

        Args:
            campaigns: VDN id to its campaigns.
            settings: what the documentation leaves open.
            drifts: campaigns that change by themselves.
        """
        self.settings = settings or WorldSettings()
        #: pauses that took effect since the start
        self.pauses_accepted = 0
        self._changes = 0
        self._vdns = {vdn_id: self._fill(members) for vdn_id, members in campaigns.items()}
        self._timed: list[tuple[float, int, Drift]] = []
        self._counted: list[tuple[int, int, Drift]] = []
        for number, drift in enumerate(drifts):
            if drift.at_s is not None:
                heapq.heappush(self._timed, (drift.at_s, number, drift))
            if drift.after_pauses is not None:
                heapq.heappush(self._counted, (drift.after_pauses, number, drift))
        self._drifted: set[int] = set()

    @property
    def vdn_ids(self) -> list[int]:
        """The VDNs that have campaigns, in the order they were given."""
        return list(self._vdns)

    def refs(self) -> list[CampaignRef]:
        """Every campaign there is, by VDN and id."""
        return [
            CampaignRef(vdn_id, campaign_id)
            for vdn_id in sorted(self._vdns)
            for campaign_id in sorted(self._vdns[vdn_id].campaigns)
        ]

    def campaign(self, ref: CampaignRef) -> Campaign | None:
        """One campaign, or None when there is none."""
        vdn = self._vdns.get(ref.vdn_id)
        return vdn.campaigns.get(ref.campaign_id) if vdn else None

    def status_of(self, ref: CampaignRef) -> Status | None:
        """The status of one campaign, or None when there is none."""
        campaign = self.campaign(ref)
        return campaign.status if campaign else None

    def counts(self, vdn_id: int | None = None) -> Counter[Status]:
        """How many campaigns have each status, in one VDN or in all of them."""
        chosen = self._vdns.values() if vdn_id is None else [self._vdns.get(vdn_id, _Vdn())]
        counts: Counter[Status] = Counter()
        for vdn in chosen:
            for status, numbers in vdn.by_status.items():
                if numbers:
                    counts[status] += len(numbers)
        return counts

    def change(self, action: Action, ref: CampaignRef) -> str:
        """Pause or resume one campaign.

        Returns:
            The result code. The change has happened exactly when it is "0200000".
        """
        campaign = self.campaign(ref)
        if campaign is None:
            return NOT_FOUND
        wanted, then = TRANSITIONS[action]
        if campaign.status is not wanted:
            return STATUS_NOT_ALLOWED
        self._move(ref.vdn_id, campaign, then)
        if action is Action.PAUSE:
            self.pauses_accepted += 1
            self._drift_by_count()
        return SUCCESS

    def set_status(self, ref: CampaignRef, status: Status) -> None:
        """Change a campaign behind everybody's back, as another operator would.

        Raises:
            KeyError: there is no such campaign.
        """
        campaign = self.campaign(ref)
        if campaign is None:
            raise KeyError(ref)
        if campaign.status is not status:
            self._move(ref.vdn_id, campaign, status)

    def add(self, vdn_id: int, campaign: Campaign) -> None:
        """Put one more campaign into the world, as if somebody had just created it."""
        self._changes += 1
        campaign.last_changed = self._changes
        vdn = self._vdns.setdefault(vdn_id, _Vdn())
        vdn.campaigns[campaign.campaign_id] = campaign
        vdn.ivr_count += campaign.device_type in IVR_DEVICE_TYPES
        key = self._key(campaign)
        vdn.every.add(key)
        vdn.by_status.setdefault(campaign.status, SortedNumbers()).add(key)

    def advance(self, *, now_s: float) -> None:
        """Let the drifts happen whose time has come.

        Args:
            now_s: seconds since the start of the server.
        """
        while self._timed and self._timed[0][0] <= now_s:
            _, number, drift = heapq.heappop(self._timed)
            self._drift(number, drift)

    def listing(self, vdn_id: int, query: ListingQuery) -> Page:
        """One page of a VDN's campaigns; empty past the end and for an unknown VDN."""
        vdn = self._vdns.get(vdn_id, _Vdn())
        keys = vdn.every if query.status is None else vdn.by_status.get(query.status, _NOTHING)
        skip = (query.page - 1) * query.rows_per_page
        if query.looks_at_each:
            kept = [c for c in map(vdn.campaigns.__getitem__, map(_id_of, keys)) if query.keeps(c)]
            rows, total_size = kept[skip : skip + query.rows_per_page], len(kept)
        else:
            numbers = keys.page(skip=skip, count=query.rows_per_page)
            rows, total_size = [vdn.campaigns[_id_of(key)] for key in numbers], len(keys)
        return Page(
            rows=tuple(rows),
            total_size=total_size,
            page=query.page,
            rows_per_page=query.rows_per_page,
            skill_queue_count=len(vdn.campaigns) - vdn.ivr_count,
            ivr_count=vdn.ivr_count,
        )

    def _fill(self, members: Iterable[Campaign]) -> _Vdn:
        campaigns = {member.campaign_id: member for member in members}
        keys: dict[Status, list[int]] = {}
        for campaign in campaigns.values():
            keys.setdefault(campaign.status, []).append(self._key(campaign))
        return _Vdn(
            campaigns=campaigns,
            every=SortedNumbers(key for found in keys.values() for key in found),
            by_status={status: SortedNumbers(found) for status, found in keys.items()},
            ivr_count=sum(c.device_type in IVR_DEVICE_TYPES for c in campaigns.values()),
        )

    def _key(self, campaign: Campaign) -> int:
        """The number a campaign is sorted by; its lowest 64 bits are always its id."""
        if self.settings.order is Order.ID:
            return campaign.campaign_id
        return -(campaign.last_changed * _ID_SPAN) + campaign.campaign_id

    def _move(self, vdn_id: int, campaign: Campaign, status: Status) -> None:
        vdn = self._vdns[vdn_id]
        before = self._key(campaign)
        vdn.by_status[campaign.status].remove(before)
        self._changes += 1
        campaign.status = status
        campaign.last_changed = self._changes
        after = self._key(campaign)
        vdn.by_status.setdefault(status, SortedNumbers()).add(after)
        if after != before:
            vdn.every.remove(before)
            vdn.every.add(after)

    def _drift_by_count(self) -> None:
        while self._counted and self._counted[0][0] <= self.pauses_accepted:
            _, number, drift = heapq.heappop(self._counted)
            self._drift(number, drift)

    def _drift(self, number: int, drift: Drift) -> None:
        if number not in self._drifted:
            self._drifted.add(number)
            self.set_status(drift.ref, drift.status)


_NOTHING = SortedNumbers()


def _id_of(key: int) -> int:
    return key % _ID_SPAN
