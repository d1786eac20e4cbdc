"""The lies by name, for command lines, drills and harnesses: `lag=8`, `filter=empty@5-20`.

A lie is NAME[=VALUE][@START[-END]], in seconds since the start of the server. It makes a scenario
from a scenario; several may be given. What it does is in faults.py, replies.py and world.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import (
    Fault,
    FaultPlan,
    Lag,
    ListingFaults,
    Outage,
    StatusFilter,
    with_http,
)
from orchestrator.simulator.replies import Wrapping
from orchestrator.simulator.routes import CHANGES, Kind
from orchestrator.simulator.world import Drift, Forgetting

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.simulator.scenarios import Scenario
    from orchestrator.simulator.world import World

#: name: what its value is and what it does, one line
LIES = {
    "lag": "SECONDS or 0..SECONDS: reads are so far behind; with 0.. each one by another time",
    "filter": "ignored or empty: listings with a status filter show everything, or nothing",
    "short": "ROWS: so many are missing at the end of each page, totalSize stays",
    "twice": "ROWS: so many on each page are its first row once more, totalSize stays",
    "total": "ROWS: totalSize is so much too high in every second answer",
    "listings": "HTTP status: every listing answers it",
    "noeffect": "TIMES or ever: the first so many changes of each campaign do nothing, "
    "and are accepted",
    "waf": "SHARE: so many changes, 0 to 1, get a firewall's 403",
    "gateway": "every request gets 404, `default backend`",
    "toofast": "SHARE: so many changes, 0 to 1, get code 0200022",
    "charset": "gb18030 or big5: Chinese descriptions in that encoding",
    "coding": "gzip, deflate or UTF-8: a Content-Encoding that nobody asked for",
    "names": "tab, latin1 or half: one name in each VDN has such a character",
    "restless": "SECONDS: the first started campaign of each VDN starts again so long after each "
    "pause",
    "starts": "at START the first suspended campaign of each VDN starts",
    "starting": "the first started campaign of each VDN answers 0200011 to each change",
    "forgets": "at START every change ever made is forgotten",
}

_SHAPE = re.compile(
    r"(?P<name>[a-z]+)(?:=(?P<value>[^@]+))?(?:@(?P<start>[\d.]+)(?:-(?P<end>[\d.]+))?)?"
)


@dataclass(frozen=True, slots=True)
class Lie:
    """One lie, read."""

    name: str
    value: str
    #: seconds since the start of the server; the end is no longer inside
    start_s: float
    end_s: float

    @property
    def number(self) -> float:
        """The value as a number."""
        return float(self.value)


def read_lie(text: str) -> Lie:
    """Read a lie.

    Raises:
        ValueError: it has another shape, or an unknown name.
    """
    match = _SHAPE.fullmatch(text)
    if match is None or match["name"] not in LIES:
        raise ValueError(f"{text!r} is no NAME[=VALUE][@START[-END]]; names: {', '.join(LIES)}")
    start_s, end_s = float(match["start"] or 0), float(match["end"] or inf)
    return Lie(match["name"], match["value"] or "", start_s, end_s)


def with_lies(scenario: Scenario, *texts: str) -> Scenario:
    """The same scenario with a server that lies; its world is changed in place.

    Raises:
        ValueError: a lie cannot be read.
    """
    plan = scenario.faults
    for text in texts:
        lie = read_lie(text)
        if lie.name in _ABOUT_THE_WORLD:
            _ABOUT_THE_WORLD[lie.name](scenario.world, lie)
        elif lie.name in _ABOUT_LISTINGS:
            plan = _bend_listings(plan, scenario.world, lie)
        else:
            plan = _ABOUT_ANSWERS[lie.name](plan, scenario.world, lie)
    return replace(scenario, faults=plan)


def _bend_listings(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    bent = {
        vdn_id: replace(
            _ABOUT_LISTINGS[lie.name](plan.listing_faults.get(vdn_id, ListingFaults()), lie),
            start_s=lie.start_s,
            end_s=lie.end_s,
        )
        for vdn_id in world.vdn_ids
    }
    return replace(plan, listing_faults=bent)


_ABOUT_LISTINGS: dict[str, Callable[[ListingFaults, Lie], ListingFaults]] = {
    "filter": lambda bent, lie: replace(bent, status_filter=StatusFilter(lie.value)),
    "short": lambda bent, lie: replace(bent, rows_missing=int(lie.number)),
    "twice": lambda bent, lie: replace(bent, rows_repeated=int(lie.number)),
    "total": lambda bent, lie: replace(bent, total_size_off=int(lie.number)),
}


def _lagging(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    del world
    low, varies, high = lie.value.rpartition("..")
    if varies and float(low):
        raise ValueError(f"a lag that varies begins at 0, not at {low}")
    lag = Lag(float(high), varies=bool(varies), start_s=lie.start_s, end_s=lie.end_s)
    return replace(plan, lags=(*plan.lags, lag))


def _without_effect(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    if lie.value == "ever":
        return replace(plan, always=dict.fromkeys(world.refs(), faults.LIE))
    script = (faults.LIE,) * int(lie.number)
    return replace(plan, scripted=dict.fromkeys(world.refs(), script))


def _away(fault: Fault, lie: Lie, kinds: frozenset[Kind]) -> Outage:
    return Outage(fault, start_s=lie.start_s, end_s=lie.end_s, kinds=kinds)


def _with_outage(plan: FaultPlan, outage: Outage) -> FaultPlan:
    return replace(plan, outages=(*plan.outages, outage))


def _starting(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    first = frozenset(_firsts(world, Status.STARTED))
    return _with_outage(plan, replace(_away(faults.NOT_NOW, lie, frozenset(CHANGES)), refs=first))


def _wrapped(plan: FaultPlan, wrapping: Wrapping, lie: Lie) -> FaultPlan:
    timed = replace(wrapping, start_s=lie.start_s, end_s=lie.end_s)
    return replace(plan, wrappings=(*plan.wrappings, timed))


#: what stands in a name; the last two are stray bytes on the wire
_STRAY = {"tab": "spring\toffer", "latin1": "caf\udce9", "half": "offer \udce6\udc98"}


def _misspelt(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    for ref in _firsts(world, Status.STARTED):
        campaign = world.campaign(ref)
        assert campaign is not None
        campaign.name = _STRAY[lie.value]
    return _wrapped(plan, Wrapping(raw_controls=True), lie)


_ABOUT_ANSWERS: dict[str, Callable[[FaultPlan, World, Lie], FaultPlan]] = {
    "lag": _lagging,
    "noeffect": _without_effect,
    "starting": _starting,
    "listings": lambda plan, _, lie: _with_outage(
        plan, _away(with_http(int(lie.number)), lie, frozenset({Kind.LIST}))
    ),
    "gateway": lambda plan, _, lie: _with_outage(
        plan, _away(faults.NO_BACKEND, lie, frozenset(Kind))
    ),
    "waf": lambda plan, _, lie: replace(plan, rates=replace(plan.rates, waf=lie.number)),
    "toofast": lambda plan, _, lie: replace(plan, rates=replace(plan.rates, too_fast=lie.number)),
    "charset": lambda plan, _, lie: _wrapped(plan, Wrapping(charset=lie.value, chinese=True), lie),
    "coding": lambda plan, _, lie: _wrapped(plan, Wrapping(coding=lie.value), lie),
    "names": _misspelt,
}


def _firsts(world: World, status: Status) -> list[CampaignRef]:
    """The first campaign of each VDN that has this status."""
    found: dict[int, CampaignRef] = {}
    for ref in world.refs():
        if ref.vdn_id not in found and world.status_of(ref) is status:
            found[ref.vdn_id] = ref
    return list(found.values())


def _restless(world: World, lie: Lie) -> None:
    for ref in _firsts(world, Status.STARTED):
        world.will_drift(Drift(ref, after_pause_s=lie.number))


def _starts(world: World, lie: Lie) -> None:
    for ref in _firsts(world, Status.SUSPENDED):
        world.will_drift(Drift(ref, at_s=lie.start_s))


def _forgets(world: World, lie: Lie) -> None:
    world.will_forget(Forgetting(lie.start_s))


_ABOUT_THE_WORLD: dict[str, Callable[[World, Lie], None]] = {
    "restless": _restless,
    "starts": _starts,
    "forgets": _forgets,
}
