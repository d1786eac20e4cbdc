"""Ready-made servers: what a demo, an operator's drill or a harness meets.

Ids, names and first statuses are fixed, so that lists and drills can name them; the seed decides
the faults only. The credentials are invented and open nothing but this simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from orchestrator.model import CampaignRef, Status
from orchestrator.simulator.faults import DATABASE_ERROR, FaultPlan, Outage, mixed
from orchestrator.simulator.lies import Wrapping
from orchestrator.simulator.reads import Lag
from orchestrator.simulator.signature import SignatureCheck
from orchestrator.simulator.world import Campaign, Drift, Order, World, WorldSettings

ACCESS_KEY = "AKSIMULATOR"
SECRET_KEY = "sk-simulator-not-a-secret"  # noqa: S105 -- invented, and documented as such

#: the VDN of every scenario but `batch`
DRILL_VDN = 1234

_CHECK = SignatureCheck(ACCESS_KEY, SECRET_KEY)

#: name: one line for --help
SCENARIOS = {
    "batch": "VDNs 1201-1203, 100 campaigns, 8 % database errors and 3 % others",
    "emergency": "VDN 1234 dials: 60 campaigns run, two start by themselves after 6 s and 12 s",
    "foreign": "VDN 1234, 40 campaigns; GBK descriptions, half of the answers gzipped, stray bytes "
    "in a name",
    "healthy": "VDN 1234, 40 campaigns, nothing goes wrong",
    "lagging": "VDN 1234, 40 campaigns; listings and details are 8 s behind",
    "outage": "VDN 1234, 200 campaigns; every request fails from second 5 to 25",
    "restless": "VDN 1234, 40 campaigns; one starts again 3 s after each pause, one at second 9",
    "stubborn": "VDN 1234, 40 campaigns; campaign 1234005 answers 0200006 for ever",
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A world, what goes wrong in it, and the keys that open it."""

    name: str
    world: World
    faults: FaultPlan
    #: a list worth pausing here: every campaign, and in `batch` two that do not exist
    sample: tuple[CampaignRef, ...] = ()
    signature: SignatureCheck = _CHECK

    @property
    def access_key(self) -> str:
        """The AK that the server accepts."""
        return self.signature.access_key

    @property
    def secret_key(self) -> str:
        """The SK that goes with it; invented."""
        return self.signature.secret_key


def named(name: str, *, seed: int) -> Scenario:
    """Build a scenario by its name, a key of SCENARIOS; the seed picks the requests that fail.

    Raises:
        KeyError: there is no such scenario.
    """
    return _BUILDERS[name](seed)


def batch(seed: int) -> Scenario:
    """A few VDNs for a list: some campaigns suspended or completed, a busy database."""
    sizes = {1201: 40, 1202: 40, 1203: 20}
    world = World({vdn_id: _some(vdn_id, size) for vdn_id, size in sizes.items()})
    rates = {
        "database_error": 0.06,
        "database_error_landed": 0.02,
        "answer_lost": 0.01,
        "gateway_error": 0.01,
        "unavailable": 0.01,
    }
    missing = [CampaignRef(1201, 9_999_998), CampaignRef(1203, 9_999_999)]
    return _scenario("batch", world, FaultPlan(seed=seed, rates=rates), missing)


def emergency(seed: int) -> Scenario:
    """One VDN that dials: 60 campaigns run, two more begin by themselves after 6 s and 12 s."""
    late = [CampaignRef(DRILL_VDN, 1_798_316_901), CampaignRef(DRILL_VDN, 1_798_316_902)]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d 08:00:00")
    waiting = [1_798_316_911, 1_798_316_912, *(ref.campaign_id for ref in late)]
    campaigns = [
        *_numbered(1_798_316_100, 60, "autumn offer", Status.STARTED),
        *_numbered(1_798_316_300, 8, "paused last week", Status.SUSPENDED),
        *_numbered(1_798_316_400, 5, "spring offer", Status.COMPLETED),
        *(
            Campaign(number, Status.NOT_STARTED, f"winter offer {number % 100}", tomorrow)
            for number in waiting
        ),
    ]
    world = World(
        {DRILL_VDN: campaigns},
        settings=WorldSettings(order=Order.RECENT),
        drifts=[Drift(late[0], at_s=6.0), Drift(late[1], at_s=12.0)],
    )
    rates = {"database_error": 0.04, "database_error_landed": 0.01, "answer_lost": 0.01}
    return _scenario("emergency", world, FaultPlan(seed=seed, rates=rates))


def foreign(seed: int) -> Scenario:
    """Answers that mean what they should, dressed as no client expects."""
    members = list(_some(DRILL_VDN, 40))
    members[0].name = "caf\udce9\tspring"
    plain = Wrapping(charset="gb18030", chinese=True, raw_controls=True)
    zipped = replace(plain, coding="gzip", share=0.5)
    faults = FaultPlan(seed=seed, wrappings=(zipped, plain))
    return _scenario("foreign", World({DRILL_VDN: members}), faults)


def healthy(seed: int) -> Scenario:
    """Nothing goes wrong."""
    return _scenario("healthy", _drill(), FaultPlan(seed=seed))


def lagging(seed: int) -> Scenario:
    """Reads come from a replica that is 8 seconds behind."""
    return _scenario("lagging", _drill(), FaultPlan(seed=seed, lags=(Lag(8.0),)))


def outage(seed: int) -> Scenario:
    """The database is away for 20 seconds, from the fifth second on."""
    away = Outage(DATABASE_ERROR, start_s=5.0, end_s=25.0)
    return _scenario("outage", _drill(200), FaultPlan(seed=seed, outages=(away,)))


def restless(seed: int) -> Scenario:
    """Somebody, or something, starts campaigns again."""
    drifts = [
        Drift(CampaignRef(DRILL_VDN, 1_234_001), after_pause_s=3.0),
        Drift(CampaignRef(DRILL_VDN, 1_234_007), at_s=9.0),
    ]
    world = World({DRILL_VDN: _some(DRILL_VDN, 40)}, drifts=drifts)
    return _scenario("restless", world, FaultPlan(seed=seed))


def stubborn(seed: int) -> Scenario:
    """One campaign cannot be paused, ever: its database row is broken."""
    broken = {CampaignRef(DRILL_VDN, 1_234_005): DATABASE_ERROR}
    return _scenario("stubborn", _drill(), FaultPlan(seed=seed, always=broken))


_BUILDERS: dict[str, Callable[[int], Scenario]] = {
    builder.__name__: builder
    for builder in (batch, emergency, foreign, healthy, lagging, outage, restless, stubborn)
}


def generated(*, campaigns: int, vdns: int, seed: int, fault_rate: float) -> Scenario:
    """A world of any size, all campaigns started, with a mixture of faults.

    Args:
        campaigns: how many in all; ids 1, 2, 3 … dealt to the VDNs in turn.
        vdns: how many VDNs, 1 to 9999; their ids are 1, 2, 3 …
        seed: decides which requests meet which fault.
        fault_rate: share of changes that meet one, 0 to 1; see faults.mixed.
    """
    world = World(
        {
            vdn_id: [Campaign(number) for number in range(vdn_id, campaigns + 1, vdns)]
            for vdn_id in range(1, vdns + 1)
        }
    )
    # a million refs are better made by whoever needs them: world.refs()
    return Scenario("generated", world, FaultPlan(seed=seed, rates=mixed(fault_rate)))


def _scenario(
    name: str, world: World, faults: FaultPlan, missing: Iterable[CampaignRef] = ()
) -> Scenario:
    return Scenario(name, world, faults, (*world.refs(), *missing))


def _drill(size: int = 40) -> World:
    return World({DRILL_VDN: _some(DRILL_VDN, size)})


def _some(vdn_id: int, size: int) -> Iterator[Campaign]:
    """Ids 1001, 1002 … behind the VDN's own number; every 7th suspended, every 11th completed."""
    for number in range(1, size + 1):
        if number % 11 == 0:
            status = Status.COMPLETED
        elif number % 7 == 0:
            status = Status.SUSPENDED
        else:
            status = Status.STARTED
        yield Campaign(vdn_id * 1000 + number, status, f"offer {number}")


def _numbered(first: int, size: int, name: str, status: Status) -> Iterator[Campaign]:
    for number in range(1, size + 1):
        yield Campaign(first + number, status, f"{name} {number}")
