"""Issue 17: calls in progress, counted down to none after quiet, at an independent CC-CMS."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.case import Case, puts
from tests.acceptance.child import Child
from tests.acceptance.registry import scenario, variant
from tests.acceptance.report import worst_second
from tests.acceptance.world import SUSPENDED, Entry, Reply, World, cms, statistics

VDN = 7
CALLS = 41
RATE = 20


def stopped(started: int = CALLS, vdn_id: int = VDN) -> World:
    """A VDN with so many started campaigns, and some that somebody suspended before."""
    world = World()
    world.add(vdn_id, range(1, started + 1))
    world.add(vdn_id, range(1001, 1011), SUSPENDED)
    return world


def fading(world: World, least_s: float, most_s: float) -> Callable[[int, int, float], object]:
    """One call for each campaign; the first ends `least_s` after its pause, the last `most_s`."""

    def number(vdn_id: int, campaign_id: int, at_s: float) -> object:
        campaign = world.find(vdn_id, campaign_id)
        if campaign is None or campaign.status != SUSPENDED or not campaign.story:
            return 1
        ends_s = least_s + (most_s - least_s) * campaign_id / CALLS
        return int(at_s < campaign.changed + ends_s)

    return number


def start(case: Case, world: World, there: World, *, vdn_id: int = VDN) -> tuple[Child, Path]:
    """The emergency, with CC-CMS on a port of its own."""
    server, beside = case.serve(world), case.serve(there)
    config = case.write("config.toml", ["[cms]", f'base_url = "{beside.base_url}"'])
    return case.pause_all(server, "--config", config, vdns=[vdn_id], rate=RATE), case.folder / "run"


@scenario(17, "41 calls fade to none over a minute: the sentence says when, summary.json has it")
def silence_41_calls(case: Case) -> None:
    """An independent CC-CMS: who is asked, how fast, and whether the end is told as it was."""
    world = stopped()
    there = World(calls=fading(world, 20, 60))
    child, run = start(case, world, there)
    ended = child.wait(150)
    report = case.sound(ended, world, run, command="pause-all", rate=RATE)
    case.exits(ended, 0)
    case.check("quiet", report.summary.get("verdict") == "quiet")
    told = re.search(
        r"41 calls were in progress at (\S+), none at (\S+), in the campaigns that we stopped",
        ended.out,
    )
    case.check("the sentence", told, ended.out[-400:])
    counts = report.summary.get("calls") or []
    numbers = [one["in_progress"] for one in counts]
    case.check("from 41 to 0", numbers[:1] == [41] and numbers[-1:] == [0], numbers)
    case.equal("never more than before", numbers, sorted(numbers, reverse=True))
    asked = there.ledger
    rude = [entry.manners or entry.refused for entry in asked if entry.manners or entry.refused]
    case.check("each request is signed and as documented", not rude, rude[:3])
    case.check("CC-CMS gets nothing else", {entry.kind for entry in asked} == {"calls"})
    ours = {entry.campaign_id for entry in puts(world)}
    case.check("only what this run stopped", {e.campaign_id for e in asked} == ours, len(ours))
    # Over five seconds: what a busy machine does to one arrival is no matter of this promise.
    worst = worst_second(entry.at_s / 5 for entry in asked)
    case.check("at most half the rate", worst <= 5 * RATE / 2, f"{worst} in five seconds")
    last_s = max(campaign.changed for campaign in world.campaigns[VDN].values()) + 60
    late_s = asked[-1].at_s - last_s
    case.check("silence is noticed within ten seconds", 0 <= late_s <= 10, f"{late_s:.1f} s")
    case.check("silent_at", str(report.summary.get("silent_at")).endswith("Z"))


def refusing(case: Case, answer: Callable[[World, Entry], Reply], words: str) -> None:
    """CC-CMS has no number: the proof stands, and the sentence says why."""
    world = stopped(10)
    there = World(calls=lambda *_: 3, fault=answer)
    child, run = start(case, world, there)
    ended = child.wait(90)
    report = case.sound(ended, world, run, command="pause-all", rate=RATE)
    case.exits(ended, 0)
    case.check("quiet", report.summary.get("verdict") == "quiet")
    case.check("the reason is said", words in ended.out, ended.out[-500:])
    case.check("no number is invented", "calls were in progress" not in ended.out)
    case.check("not covered", "calls already in progress" in report.summary["not_covered"])
    case.check("silence is not claimed", report.summary.get("silent_at") is None)
    case.check("it is given up soon", len(there.ledger) <= 30, len(there.ledger))


for _name, _answer, _words in (
    ("500", lambda *_: Reply(500, b"<html>500</html>", kind="text/html"), "HTTP 500"),
    ("code", lambda *_: cms("0100006", "parameter error"), "code 0100006"),
    ("empty", lambda *_: cms("0100000", []), "could not be counted"),
    ("negative", lambda *_: cms("0100000", [statistics(-1)]), "could not be counted"),
    ("garbage", lambda *_: Reply(200, b'{"resultCode":"0100000","re'), "could not be counted"),
    ("hang", lambda *_: Reply(mode="hang"), "could not be counted"),
):
    variant(
        17,
        f"silence_cms_{_name}",
        f"CC-CMS answers {_name}: quiet stands, exit 0, and why calls were not counted is said",
        refusing,
        _answer,
        _words,
        short=_name == "500",
    )


@scenario(17, "Ctrl-C while calls are counted, and kill -9: the verdict that stands is told")
def silence_interrupted(case: Case) -> None:
    """Calls that never end: exit 0 at once after Ctrl-C; after kill -9 `report` says quiet."""
    for name, number in (("int", signal.SIGINT), ("kill", signal.SIGKILL)):
        world = stopped(5)
        there = World(calls=lambda *_: 2)
        child, run = start(case, world, there)
        case.until(lambda there=there: len(there.ledger) >= 12, 60)  # type: ignore[misc]
        child.send(number)
        at_s = time.monotonic()
        ended = child.wait(30)
        if number is signal.SIGKILL:
            ended = case.run(None, "report", run)
        case.exits(ended, 0, name)
        case.check(f"{name}: at once", time.monotonic() - at_s < 10)
        case.check(f"{name}: quiet is told", "is quiet" in ended.out, ended.out[-300:])
        case.check(f"{name}: what is left is told", "10 still at" in ended.out, ended.out[-300:])
        run.rename(case.folder / f"was-{name}")


@scenario(17, "a VDN above 5000: CC-CMS is not asked, and it is said", short=True)
def silence_beyond(case: Case) -> None:
    """CC-iSales has VDNs up to 9999."""
    world = stopped(5, vdn_id=6000)
    there = World(calls=lambda *_: 2)
    child, _ = start(case, world, there, vdn_id=6000)
    ended = child.wait(60)
    case.exits(ended, 0)
    case.check("CC-CMS is not asked", not there.ledger, len(there.ledger))
    case.check("it is said", "CC-CMS takes no VDN above 5000" in ended.out, ended.out[-300:])
