"""The lies by name, for command lines, drills and harnesses: `lag=8`, `filter=empty@5-20`.

A lie is NAME[=VALUE][@START[-END]], in seconds since the start of the server. It makes a scenario
from a scenario; several may be given. What most of them do is in faults.py and world.py.
"""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator import faults
from orchestrator.simulator.faults import Fault, FaultPlan, Outage
from orchestrator.simulator.reads import Lag, ListingFaults, StatusFilter, Timed
from orchestrator.simulator.routes import CHANGES, Kind, json_text
from orchestrator.simulator.world import Drift, Forgetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.simulator.scenarios import Scenario
    from orchestrator.simulator.world import World

#: resultDesc in Chinese; in Big5 the last byte of the first one is a backslash
_CHINESE = {
    "0200000": "\u6210\u529f",
    "0200006": "\u6570\u636e\u5e93\u64cd\u4f5c\u9519\u8bef",
    "0200007": "\u5916\u547c\u6d3b\u52a8\u4e0d\u5b58\u5728",
}
_CHINESE_ELSE = "\u5931\u6557"


@dataclass(frozen=True, slots=True)
class Wrapping(Timed):
    r"""How a server dresses answers that mean what they should.

    Names with stray bytes need none of this: `"caf\udce9"` has a latin-1 byte, `"caf\udcc3"` half a
    UTF-8 character, in every answer.
    """

    #: utf-8, gb18030 or big5; Content-Type says UTF-8 all the same
    charset: str = "utf-8"
    #: resultDesc and returnDesc are Chinese
    chinese: bool = False
    #: control characters in texts are written as they are, which JSON forbids
    raw_controls: bool = False
    #: Content-Encoding, asked for by nobody: gzip and deflate are, others are only said
    coding: str = ""
    #: of so many answers each, decided by the seed, 0 to 1
    share: float = 1.0

    def body(self, document: Mapping[str, object]) -> bytes:
        """The answer's bytes."""
        shown = dict(document)
        for name, code in (("resultDesc", "resultCode"), ("returnDesc", "returnCode")):
            if self.chinese and isinstance(shown.get(name), str):
                shown[name] = _CHINESE.get(str(shown.get(code)), _CHINESE_ELSE)
        text = json_text(shown)
        if self.raw_controls:
            for character in "\t\n\r\b\f":
                text = text.replace(json.dumps(character)[1:-1], character)
        try:
            body = text.encode(self.charset, errors="surrogateescape")
        except UnicodeEncodeError:
            body = text.encode(self.charset, errors="replace")  # no such character in Big5
        if self.coding == "gzip":
            return gzip.compress(body, mtime=0)
        return zlib.compress(body) if self.coding == "deflate" else body


# -- by name ----------------------------------------------------------------------------------


class Lie(NamedTuple):
    """One lie, read."""

    value: str
    #: from when to when, seconds since the start of the server
    start_s: float
    end_s: float


_SHAPE = re.compile(
    r"(?P<name>[a-z]+)(?:=(?P<value>[^@]+))?(?:@(?P<start>[\d.]+)(?:-(?P<end>[\d.]+))?)?"
)


def with_lies(scenario: Scenario, *texts: str) -> Scenario:
    """The same scenario with a server that lies; its world is changed in place.

    Raises:
        ValueError: a lie has another shape, an unknown name, or a value that it cannot have.
    """
    plan = scenario.faults
    for text in texts:
        match = _SHAPE.fullmatch(text)
        if match is None or match["name"] not in LIES:
            raise ValueError(f"{text!r} is no NAME[=VALUE][@START[-END]]; names: {', '.join(LIES)}")
        start_s, end_s = float(match["start"] or 0), float(match["end"] or inf)
        lie = Lie(match["value"] or "", start_s, end_s)
        try:
            plan = _TOLD[match["name"]](plan, scenario.world, lie)
        except (LookupError, ValueError) as error:
            name = match["name"]
            raise ValueError(f"{text!r}: {name} wants {LIES[name]}") from error
    return replace(scenario, faults=plan)


def _lag(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    del world
    low, varies, high = lie.value.rpartition("..")
    if varies and float(low):
        raise ValueError(f"a lag that varies begins at 0, not at {low}")
    lag = Lag(float(high), varies=bool(varies), start_s=lie.start_s, end_s=lie.end_s)
    return replace(plan, lags=(*plan.lags, lag))


def _bend(plan: FaultPlan, world: World, lie: Lie, **bent: object) -> FaultPlan:
    """Bend the listings of every VDN, beside what bends them already."""
    changes = {"start_s": lie.start_s, "end_s": lie.end_s, **bent}
    found = {
        vdn_id: replace(plan.listing_faults.get(vdn_id, ListingFaults()), **changes)  # type: ignore[arg-type]
        for vdn_id in world.vdn_ids
    }
    return replace(plan, listing_faults=found)


def _out(
    plan: FaultPlan,
    lie: Lie,
    fault: Fault,
    kinds: Iterable[Kind] = Kind,
    refs: frozenset[CampaignRef] | None = None,
) -> FaultPlan:
    outage = Outage(fault, start_s=lie.start_s, end_s=lie.end_s, kinds=frozenset(kinds), refs=refs)
    return replace(plan, outages=(*plan.outages, outage))


def _no_effect(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    if lie.value == "ever":
        return replace(plan, always=dict.fromkeys(world.refs(), faults.LIE))
    script = (faults.LIE,) * int(lie.value)
    return replace(plan, scripted=dict.fromkeys(world.refs(), script))


def _wrap(plan: FaultPlan, lie: Lie, wrapping: Wrapping) -> FaultPlan:
    timed = replace(wrapping, start_s=lie.start_s, end_s=lie.end_s)
    return replace(plan, wrappings=(*plan.wrappings, timed))


#: what stands in a name; the last two are stray bytes on the wire
_STRAY = {"tab": "spring\toffer", "latin1": "caf\udce9", "half": "offer \udce6\udc98"}


def _names(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    for ref in _firsts(world, Status.STARTED):
        campaign = world.campaign(ref)
        assert campaign is not None
        campaign.name = _STRAY[lie.value]
    return _wrap(plan, lie, Wrapping(raw_controls=True))


def _firsts(world: World, status: Status) -> frozenset[CampaignRef]:
    """The first campaign of each VDN that has this status."""
    found: dict[int, CampaignRef] = {}
    for ref in world.refs():
        if world.status_of(ref) is status:
            found.setdefault(ref.vdn_id, ref)
    return frozenset(found.values())


def _restless(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    for ref in _firsts(world, Status.STARTED):
        world.will_happen(Drift(ref, after_pause_s=float(lie.value)))
    return plan


def _starts(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    for ref in _firsts(world, Status.SUSPENDED):
        world.will_happen(Drift(ref, at_s=lie.start_s))
    return plan


def _forgets(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    world.will_happen(Forgetting(lie.start_s))
    return plan


def _calls(plan: FaultPlan, world: World, lie: Lie) -> FaultPlan:
    del world
    fault = faults.NO_CALLS if lie.value == "empty" else faults.with_http(int(lie.value))
    return _out(plan, lie, fault, {Kind.CALLS})


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
    "calls": "HTTP status or empty: what CC-CMS says when it is asked for calls in progress",
}

_TOLD: dict[str, Callable[[FaultPlan, World, Lie], FaultPlan]] = {
    "lag": _lag,
    "filter": lambda plan, world, lie: _bend(
        plan, world, lie, status_filter=StatusFilter(lie.value)
    ),
    "short": lambda plan, world, lie: _bend(plan, world, lie, rows_missing=int(lie.value)),
    "twice": lambda plan, world, lie: _bend(plan, world, lie, rows_repeated=int(lie.value)),
    "total": lambda plan, world, lie: _bend(plan, world, lie, total_size_off=int(lie.value)),
    "listings": lambda plan, _, lie: _out(plan, lie, faults.with_http(int(lie.value)), {Kind.LIST}),
    "noeffect": _no_effect,
    "waf": lambda plan, _, lie: replace(plan, rates={**plan.rates, "waf": float(lie.value)}),
    "gateway": lambda plan, _, lie: _out(plan, lie, faults.NO_BACKEND),
    "toofast": lambda plan, _, lie: replace(
        plan, rates={**plan.rates, "too_fast": float(lie.value)}
    ),
    "charset": lambda plan, _, lie: _wrap(
        plan, lie, Wrapping(charset=codecs.lookup(lie.value).name, chinese=True)
    ),
    "coding": lambda plan, _, lie: _wrap(plan, lie, Wrapping(coding=lie.value)),
    "names": _names,
    "restless": _restless,
    "starts": _starts,
    "starting": lambda plan, world, lie: _out(
        plan, lie, faults.NOT_NOW, CHANGES, _firsts(world, Status.STARTED)
    ),
    "forgets": _forgets,
    "calls": _calls,
}
