"""Issue 16: one ceiling per server. Several real processes, one state directory, one server."""

import signal
import time
from collections.abc import Iterable

from tests.acceptance.case import Case, puts
from tests.acceptance.child import Child
from tests.acceptance.registry import scenario, variant
from tests.acceptance.report import worst_second
from tests.acceptance.server import Server
from tests.acceptance.world import STARTED, World

EMERGENCY = 99


def worlds(batches: int, campaigns: int, emergency: int = 0) -> World:
    """One VDN for each list, and one for the emergency."""
    world = World()
    for number in range(1, batches + 1):
        world.add(number, range(1, campaigns + 1))
    if emergency:
        world.add(EMERGENCY, range(1, emergency + 1))
    return world


def batch(case: Case, server: Server, vdn_id: int, campaigns: int, rate: float) -> Child:
    """One list, while it runs."""
    lines = ((vdn_id, number) for number in range(1, campaigns + 1))
    name, run = f"list{vdn_id}.csv", f"run{vdn_id}"
    return case.pause(server, lines, "--no-verify", rate=rate, name=name, run=run)


def sent(world: World, vdns: Iterable[int], begin_s: float, end_s: float) -> int:
    """Requests about these VDNs in a span of time."""
    wanted = set(vdns)
    return sum(e.vdn_id in wanted and begin_s <= e.at_s < end_s for e in world.ledger)


def keeps(case: Case, world: World, rate: float) -> None:
    """The law, at the server."""
    worst = worst_second(entry.at_s for entry in world.ledger)
    case.check(f"at most {rate:g} requests in any second, all runs together", worst <= rate, worst)


def several_lists(case: Case, *, lists: int, rate: int) -> None:
    """Together they send what one would, and no more."""
    campaigns = 6 * rate // lists
    world = worlds(lists, campaigns)
    server = case.serve(world)
    children = [batch(case, server, n, campaigns, rate) for n in range(1, lists + 1)]
    for child in children:
        case.exits(child.wait(90), 0)
    keeps(case, world, rate)
    times = sorted(entry.at_s for entry in puts(world))
    begin_s = max(min(e.at_s for e in puts(world) if e.vdn_id == n) for n in range(1, lists + 1))
    end_s = min(max(e.at_s for e in puts(world) if e.vdn_id == n) for n in range(1, lists + 1))
    span_s = end_s - begin_s
    share = sum(begin_s <= at_s < end_s for at_s in times) / span_s / rate if span_s > 1 else 0
    case.check("93 % of the rate is used while all are at work", share >= 0.93, f"{share:.1%}")
    case.check("everything is suspended", not world.with_status(STARTED))


for _lists, _rate in ((2, 10), (2, 40), (5, 40), (2, 400)):
    variant(
        16,
        f"ceiling_{_lists}_lists_at_{_rate}",
        f"{_lists} lists at once, --rate {_rate} each: {_rate} a second in all, and 93 % of it",
        several_lists,
        lists=_lists,
        rate=_rate,
        short=_rate == 40 and _lists == 2,
    )


@scenario(16, "an emergency beside a batch: it has the rate within a second, the batch is back")
def ceiling_emergency(case: Case) -> None:
    """80 % for the emergency from a second on; the batch sends at full rate 2 s after its end."""
    rate, campaigns = 20, 400
    world = worlds(1, campaigns, emergency=80)
    server = case.serve(world)
    list_run = batch(case, server, 1, campaigns, rate)
    case.until(lambda: len(puts(world)) > 2 * rate, 20)
    began_s = time.monotonic()
    ended = case.pause_all(server, vdns=[EMERGENCY], rate=rate).wait(60)
    ended_s = time.monotonic()
    case.exits(ended, 0)
    first = next((e.at_s for e in puts(world) if e.vdn_id == EMERGENCY), None)
    last = max((e.at_s for e in puts(world) if e.vdn_id == EMERGENCY), default=0.0)
    if case.check("the emergency paused", first is not None) and first is not None:
        case.note("its first PUT after", f"{first - began_s:.2f} s")
        total = sent(world, (1, EMERGENCY), first + 1, last)
        share = sent(world, (EMERGENCY,), first + 1, last) / max(1, total)
        case.check("80 % of the rate is its own from a second on", share >= 0.8, f"{share:.1%}")
    case.exits(list_run.wait(60), 0)
    back = sent(world, (1,), ended_s + 2, ended_s + 5)
    finished_s = max(e.at_s for e in puts(world) if e.vdn_id == 1)
    wanted = 0.93 * rate * (min(ended_s + 5, finished_s) - ended_s - 2)
    case.check("the batch is back within two seconds", back >= wanted, f"{back} of {wanted:.0f}")
    keeps(case, world, rate)


@scenario(
    16, "one of three lists is killed with -9, one is stopped with SIGSTOP: the third goes on"
)
def ceiling_killed(case: Case) -> None:
    """Neither keeps a part of the rate, and the one that wakes up again does no harm."""
    rate, campaigns = 40, 300
    world = worlds(3, campaigns)
    server = case.serve(world)
    children = [batch(case, server, n, campaigns, rate) for n in (1, 2, 3)]
    case.until(lambda: len({e.vdn_id for e in puts(world)}) == 3, 20)
    children[0].send(signal.SIGKILL)
    children[1].send(signal.SIGSTOP)
    at_s = time.monotonic()
    time.sleep(4)
    alone = sent(world, (3,), at_s + 1.5, at_s + 3.5)
    children[1].send(signal.SIGCONT)
    case.check("the third has the whole rate", alone >= 0.93 * 2 * rate, alone)
    children[0].wait(5)
    case.exits(children[1].wait(60), 0)
    case.exits(children[2].wait(60), 0)
    keeps(case, world, rate)


@scenario(16, "the file of the shared rate cannot be used: the emergency goes on and says so")
def ceiling_broken_file(case: Case) -> None:
    """A directory in its place, and a file full of something else."""
    for number, kind in enumerate(("directory", "foreign"), 1):
        world = worlds(0, 0, emergency=10)
        server = case.serve(world)
        rates = case.state / "rate"
        if kind == "directory":
            rates.write_text("mine")
        else:
            case.pause_all(server, vdns=[EMERGENCY], rate=40, run="before").wait(60)
            for path in rates.iterdir():
                path.write_text("mine " * 100)
            for campaign in range(1, 11):
                world.turn(EMERGENCY, campaign, STARTED)
        ended = case.pause_all(server, vdns=[EMERGENCY], rate=40, run=f"stop{number}").wait(60)
        case.exits(ended, 0, kind)
        case.check(f"it says so ({kind})", "the rate is not shared" in ended.err)
        if kind == "directory":
            rates.unlink()
