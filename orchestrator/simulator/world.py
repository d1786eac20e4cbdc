"""The state of the simulated server: VDNs, their campaigns, and what a change or a look does.

Time comes in as seconds since the start. The rules of pausing are a table. What is true is kept
with its time (`history`), whatever a client is shown. No request costs as much as the number of
campaigns, except a listing filtered by name, device type or time, and one that shows the past.
Source: docs/spec/interface.md.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from orchestrator.model import Action, CampaignRef, Status
from orchestrator.simulator.history import Change, History
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

#: device types whose campaigns count as IVR; all others use a skill queue
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
    `after_pauses` pauses, whichever is given; with both, whichever comes first. With `every_s` it
    happens again and again from `at_s` on, with `after_pause_s` so long after each time that the
    campaign was suspended; `times` bounds both.
    """

    ref: CampaignRef
    status: Status = Status.STARTED
    at_s: float | None = None
    after_pauses: int | None = None
    every_s: float | None = None
    after_pause_s: float | None = None
    times: float = inf


@dataclass(frozen=True, slots=True)
class Forgetting:
    """The server restarts from an old state: every change since `back_to_s` is undone."""

    at_s: float
    back_to_s: float = 0.0


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
        forgettings: Iterable[Forgetting] = (),
    ) -> None:
        """Fill the world.

        Args:
            campaigns: VDN id to its campaigns.
            settings: what the documentation leaves open.
            drifts: campaigns that change by themselves.
            forgettings: restarts after which the server knows an older state.
        """
        self.settings = settings or WorldSettings()
        #: pauses that took effect since the start
        self.pauses_accepted = 0
        #: every change with its time
        self.history = History()
        #: seconds since the start, as far as `advance` has come
        self.now_s = 0.0
        self._changes = 0
        self._vdns = {vdn_id: self._fill(members) for vdn_id, members in campaigns.items()}
        self._timed: list[tuple[float, int, Drift | Forgetting]] = []
        self._counted: list[tuple[int, int, Drift]] = []
        self._restless: dict[CampaignRef, list[Drift]] = {}
        self._happened: Counter[Drift] = Counter()
        self._events = 0
        self._deleted: dict[CampaignRef, Campaign] = {}
        self._past: dict[tuple[int, int], list[Campaign]] = {}
        for drift in drifts:
            self.will_drift(drift)
        for forgetting in forgettings:
            self.will_forget(forgetting)

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

    def campaign(self, ref: CampaignRef, *, as_of_s: float = inf) -> Campaign | None:
        """One campaign, or None when there is none; as it was at that time if one is given."""
        vdn = self._vdns.get(ref.vdn_id)
        now = vdn.campaigns.get(ref.campaign_id) if vdn else None
        if as_of_s >= self.now_s:
            return now
        later = next((one for one in self.history.of(ref) if one.at_s > as_of_s), None)
        if later is None or later.before is None:
            return now if later is None else None
        known = now or self._deleted[ref]
        return replace(known, status=later.before, last_changed=later.last_changed)

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

    def status_at(self, ref: CampaignRef, at_s: float) -> Status | None:
        """The true status at that time, which must not lie ahead; None when there was none."""
        shown = self.campaign(ref, as_of_s=at_s)
        return shown.status if shown else None

    def was_started(self, ref: CampaignRef, *, from_s: float, to_s: float) -> bool:
        """Whether a campaign was started at any instant between the two, both included."""
        if self.status_at(ref, from_s) is Status.STARTED:
            return True
        return any(
            change.after is Status.STARTED and from_s <= change.at_s <= to_s
            for change in self.history.of(ref)
        )

    def started_between(self, vdn_id: int, *, from_s: float, to_s: float) -> list[CampaignRef]:
        """Every campaign of a VDN that was started at any instant between the two."""
        vdn = self._vdns.get(vdn_id, _Vdn())
        known = {*vdn.campaigns, *(r.campaign_id for r in self._deleted if r.vdn_id == vdn_id)}
        refs = (CampaignRef(vdn_id, number) for number in sorted(known))
        return [ref for ref in refs if self.was_started(ref, from_s=from_s, to_s=to_s)]

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

    def set_status(self, ref: CampaignRef, status: Status, *, at_s: float = 0.0) -> None:
        """Change a campaign behind everybody's back, as another operator would.

        Args:
            ref: the campaign.
            status: what it becomes.
            at_s: when, in seconds since the start; never before what has happened already.

        Raises:
            KeyError: there is no such campaign.
        """
        self.advance(now_s=at_s)
        self._turn(ref, status)

    def add(self, vdn_id: int, campaign: Campaign) -> None:
        """Put one more campaign into the world, as if somebody had just created it."""
        ref = CampaignRef(vdn_id, campaign.campaign_id)
        self._write_down(ref, None, campaign.status, campaign.last_changed)
        self._deleted.pop(ref, None)
        self._changes += 1
        campaign.last_changed = self._changes
        vdn = self._vdns.setdefault(vdn_id, _Vdn())
        vdn.campaigns[campaign.campaign_id] = campaign
        vdn.ivr_count += campaign.device_type in IVR_DEVICE_TYPES
        key = self._key(campaign)
        vdn.every.add(key)
        vdn.by_status.setdefault(campaign.status, SortedNumbers()).add(key)

    def remove(self, ref: CampaignRef) -> None:
        """Delete a campaign, as its owner would.

        Raises:
            KeyError: there is no such campaign.
        """
        vdn = self._vdns[ref.vdn_id]
        campaign = vdn.campaigns.pop(ref.campaign_id)
        self._write_down(ref, campaign.status, None, campaign.last_changed)
        key = self._key(campaign)
        vdn.every.remove(key)
        vdn.by_status[campaign.status].remove(key)
        vdn.ivr_count -= campaign.device_type in IVR_DEVICE_TYPES
        self._deleted[ref] = campaign

    def will_drift(self, drift: Drift) -> None:
        """Let a campaign change by itself from now on."""
        if drift.at_s is not None:
            self._at(drift.at_s, drift)
        if drift.after_pauses is not None:
            self._events += 1
            heapq.heappush(self._counted, (drift.after_pauses, self._events, drift))
        if drift.after_pause_s is not None:
            self._restless.setdefault(drift.ref, []).append(drift)

    def will_forget(self, forgetting: Forgetting) -> None:
        """Let the server restart from an older state."""
        self._at(forgetting.at_s, forgetting)

    def advance(self, *, now_s: float) -> None:
        """Let happen what time has brought; a time that has passed already changes nothing.

        Args:
            now_s: seconds since the start of the server.
        """
        while self._timed and self._timed[0][0] <= now_s:
            at_s, _, event = heapq.heappop(self._timed)
            self.now_s = max(self.now_s, at_s)
            if isinstance(event, Forgetting):
                self._forget(event)
            else:
                self._drift(event)
                if event.every_s is not None and self._happened[event] < event.times:
                    self._at(at_s + event.every_s, event)
        self.now_s = max(self.now_s, now_s)

    def listing(self, vdn_id: int, query: ListingQuery, *, as_of_s: float = inf) -> Page:
        """One page of a VDN's campaigns; empty past the end and for an unknown VDN.

        Args:
            vdn_id: the VDN.
            query: what is asked for.
            as_of_s: the page shows this time, in seconds since the start; the present unless given.
        """
        vdn = self._vdns.get(vdn_id, _Vdn())
        made = self.history.made_by(as_of_s)
        if made < len(self.history) and self._undone(vdn_id, made):
            return self._page_of_the_past(vdn_id, made, query)
        keys = vdn.every if query.status is None else vdn.by_status.get(query.status, _NOTHING)
        skip = (query.page - 1) * query.rows_per_page
        if query.looks_at_each:
            kept = [c for c in map(vdn.campaigns.__getitem__, map(_id_of, keys)) if query.keeps(c)]
            rows, total_size = kept[skip : skip + query.rows_per_page], len(kept)
        else:
            numbers = keys.page(skip=skip, count=query.rows_per_page)
            rows, total_size = [vdn.campaigns[_id_of(key)] for key in numbers], len(keys)
        return self._page(vdn, rows, total_size, query)

    def _page(
        self, vdn: _Vdn, rows: Iterable[Campaign], total_size: int, query: ListingQuery
    ) -> Page:
        return Page(
            rows=tuple(rows),
            total_size=total_size,
            page=query.page,
            rows_per_page=query.rows_per_page,
            skill_queue_count=len(vdn.campaigns) - vdn.ivr_count,
            ivr_count=vdn.ivr_count,
        )

    def _undone(self, vdn_id: int, made: int) -> dict[int, tuple[Status | None, int]]:
        """Campaigns of a VDN changed since then: the status and `last_changed` they had."""
        then: dict[int, tuple[Status | None, int]] = {}
        for number in range(made, len(self.history)):
            change = self.history[number]
            if change.ref.vdn_id == vdn_id:
                then.setdefault(change.ref.campaign_id, (change.before, change.last_changed))
        return then

    def _page_of_the_past(self, vdn_id: int, made: int, query: ListingQuery) -> Page:
        rows = self._past.get((vdn_id, made))
        if rows is None:
            rows = self._rows_of_the_past(vdn_id, made)
            # the pages of one listing show one moment; older moments are not asked for again
            while len(self._past) >= _MOMENTS_KEPT:
                del self._past[next(iter(self._past))]
            self._past[vdn_id, made] = rows
        kept = [c for c in rows if query.status in {None, c.status} and query.keeps(c)]
        skip = (query.page - 1) * query.rows_per_page
        vdn = self._vdns.get(vdn_id, _Vdn())
        return self._page(vdn, kept[skip : skip + query.rows_per_page], len(kept), query)

    def _rows_of_the_past(self, vdn_id: int, made: int) -> list[Campaign]:
        then = self._undone(vdn_id, made)
        live = self._vdns[vdn_id].campaigns
        # copies: the rows are kept, and their campaigns will change
        rows = [replace(one) for number, one in live.items() if number not in then]
        for number, (status, last_changed) in then.items():
            known = live.get(number) or self._deleted[CampaignRef(vdn_id, number)]
            if status is not None:
                rows.append(replace(known, status=status, last_changed=last_changed))
        return sorted(rows, key=self._key)

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
        ref = CampaignRef(vdn_id, campaign.campaign_id)
        self._write_down(ref, campaign.status, status, campaign.last_changed)
        self._changes += 1
        campaign.status = status
        campaign.last_changed = self._changes
        after = self._key(campaign)
        vdn.by_status.setdefault(status, SortedNumbers()).add(after)
        if after != before:
            vdn.every.remove(before)
            vdn.every.add(after)
        if status is Status.SUSPENDED:
            for drift in self._restless.get(ref, ()):
                assert drift.after_pause_s is not None
                if self._happened[drift] < drift.times:
                    self._happened[drift] += 1
                    again_s = self.now_s + drift.after_pause_s
                    self._at(again_s, Drift(ref, drift.status, at_s=again_s))

    def _turn(self, ref: CampaignRef, status: Status) -> None:
        campaign = self.campaign(ref)
        if campaign is None:
            raise KeyError(ref)
        if campaign.status is not status:
            self._move(ref.vdn_id, campaign, status)

    def _write_down(
        self, ref: CampaignRef, before: Status | None, after: Status | None, last_changed: int
    ) -> None:
        self.history.add(Change(self.now_s, ref, before, after, last_changed))

    def _at(self, at_s: float, event: Drift | Forgetting) -> None:
        self._events += 1
        heapq.heappush(self._timed, (at_s, self._events, event))

    def _forget(self, forgetting: Forgetting) -> None:
        made = self.history.made_by(forgetting.back_to_s)
        for vdn_id in self._vdns:
            for number, (status, _) in self._undone(vdn_id, made).items():
                # who was created since, or deleted, stays so: databases lose rows seldom
                campaign = self.campaign(CampaignRef(vdn_id, number))
                if campaign is not None and status not in {None, campaign.status}:
                    assert status is not None
                    self._move(vdn_id, campaign, status)

    def _drift_by_count(self) -> None:
        while self._counted and self._counted[0][0] <= self.pauses_accepted:
            self._drift(heapq.heappop(self._counted)[2])

    def _drift(self, drift: Drift) -> None:
        repeats = drift.every_s is not None
        if self._happened[drift] < (drift.times if repeats else 1):
            self._happened[drift] += 1
            if drift.ref not in self._deleted:
                self._turn(drift.ref, drift.status)


_NOTHING = SortedNumbers()

#: how many past moments of a VDN are remembered as whole listings
_MOMENTS_KEPT = 8


def _id_of(key: int) -> int:
    return key % _ID_SPAN
