"""CC-CMS from the server's side: how many calls of a campaign are in progress.

A started campaign's number goes up and down; when it is suspended no call is added, and each one
ends in its own time, within `WorldSettings.calls_s`. docs/spec/interface.md, "Calls in progress".
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.model import MAX_CAMPAIGN_ID, CampaignRef, Status

if TYPE_CHECKING:
    from orchestrator.simulator.routes import Call
    from orchestrator.simulator.world import World

SUCCESS = "0100000"
#: made up, as most codes of CC-CMS: a parameter is wrong
PARAMETER = "0100006"
#: VDNs end here, and not at 9999
MAX_VDN_ID = 5000

#: calls of a started campaign at most, and seconds between two changes of their number
_CALLS_MAX = 2
_CHANGES_S = 3.0


def with_body(call: Call, body: bytes) -> Call:
    """The call with the campaign that its body asks about; None: the body is wrong."""
    ref = _asked(body)
    return replace(call, vdn_id=ref.vdn_id if ref else None, ref=ref)


def answer(call: Call, world: World, *, now_s: float) -> dict[str, object]:
    """The answer to a request whose body has been read."""
    if call.ref is None:
        return {"resultCode": PARAMETER, "resultDesc": "parameter error"}
    if world.campaign(call.ref) is None:
        return {"resultCode": SUCCESS, "resultDesc": []}
    made = 20 + call.ref.campaign_id % 100
    statistics = {
        "totalCount": made,
        "succCount": made // 2,
        "failCount": made - made // 2,
        "compCount": made,
        "waitCount": 0,
        "execCount": in_progress(world, call.ref, now_s=now_s),
        "succRate": "50.00%",
        "compRate": "100.00%",
    }
    return {"resultCode": SUCCESS, "resultDesc": [statistics]}


def in_progress(world: World, ref: CampaignRef, *, now_s: float) -> int:
    """How many calls of a campaign are in progress at an instant."""
    status, since_s = world.since(ref, at_s=now_s)
    if status is Status.STARTED:
        return _dialled(world, ref, now_s)
    if status is not Status.SUSPENDED or not since_s:
        return 0
    left_s = world.settings.calls_s
    before = _dialled(world, ref, since_s)
    ends_s = (since_s + left_s * _share(ref, number) for number in range(before))
    return sum(now_s < one for one in ends_s)


def _dialled(world: World, ref: CampaignRef, at_s: float) -> int:
    """The calls of a campaign that runs."""
    if world.settings.calls is not None:
        return world.settings.calls
    return (ref.campaign_id + int(at_s / _CHANGES_S)) % (_CALLS_MAX + 1)


def _share(ref: CampaignRef, number: int) -> float:
    """When a call ends: between a third and the whole of the time that calls may take."""
    spread = (ref.campaign_id * 37 + number * 61) % 100
    return 1 / 3 + spread / 99 * 2 / 3


def _asked(body: bytes) -> CampaignRef | None:
    """The campaign that a body names; None: it names none as it should."""
    try:
        asked = json.loads(body)
        vdn_id, campaign_id, cc_id = asked["vdn"], int(asked["taskId"]), asked.get("ccId", 1)
    except (ValueError, LookupError, TypeError):
        return None
    limits = ((vdn_id, MAX_VDN_ID), (campaign_id, MAX_CAMPAIGN_ID), (cc_id, 65_535))
    if any(type(value) is not int or not 1 <= value <= most for value, most in limits):
        return None
    return CampaignRef(vdn_id, campaign_id)
