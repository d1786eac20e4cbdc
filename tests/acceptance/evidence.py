"""Issue 12: one command against a server that misleads, and the judgement of what it left.

- Judged by the ledger and by `Campaign.story`, never by what the command says of itself.
- `a_list` and `an_emergency` enter a row of a table: what misleads, and what must come of it.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.acceptance import lies
from tests.acceptance.case import Case, puts
from tests.acceptance.child import Child, Ended
from tests.acceptance.registry import variant
from tests.acceptance.report import Report, read_report, worst_second
from tests.acceptance.server import Server
from tests.acceptance.world import COMPLETED, STARTED, SUSPENDED, Entry, Fault, World

VDN, OTHER = 7, 8
RATE = 50
Key = tuple[int, int]


def running(count: int = 20, *, vdns: Iterable[int] = (VDN,), others: int = 3) -> World:
    """VDNs with so many started campaigns each, ids from 1, and some suspended and completed."""
    world = World()
    for vdn_id in vdns:
        world.add(vdn_id, range(1, count + 1))
        world.add(vdn_id, range(5_001, 5_001 + others), SUSPENDED)
        world.add(vdn_id, range(6_001, 6_001 + others), COMPLETED)
    return world


def keys_of(*numbers: int, vdn_id: int = VDN) -> list[Key]:
    """Campaigns of `running`."""
    return [(vdn_id, number) for number in numbers]


def every(world: World) -> list[Key]:
    """What is started now, in order."""
    return sorted(world.with_status(STARTED))


def truth(
    case: Case,
    ended: Ended,
    world: World,
    *,
    run: str = "run",
    command: str = "pause",
    readable: bool = True,
    grace_s: float = 0.3,
) -> Report:
    """What holds however a run ends: nothing false, sums, pace, nothing readable left unknown.

    What changed within the last `grace_s` seconds nobody could know.
    """
    report = read_report(case.folder / run)
    rows = report.by_campaign()
    case.check("there is a report", rows, case.folder / run)
    wrong = []
    for key, row in rows.items():
        there = world.find(*key)
        status = there.at(ended.ended_s) if there else 0
        if there and there.story and ended.ended_s - grace_s < there.story[-1][0]:
            continue
        runs_on = command != "restore" and row["stopped"] == "yes" and status == STARTED
        stays_off = command == "restore" and row["outcome"] == "restored" and status == SUSPENDED
        if runs_on or stays_off:
            wrong.append((key, row["outcome"], row["evidence"], status))
    case.check("no row says what is not so", not wrong, f"{len(wrong)}: {wrong[:4]}")
    if command != "restore" and ended.exit_code == 0:
        left = sorted(world.with_status(STARTED) & set(rows))
        case.check("exit 0 only when nothing runs", not left, f"{len(left)} run: {left[:4]}")
        running_on = [key for key, row in rows.items() if row["stopped"] != "yes"]
        case.check("exit 0 only when every row is stopped", not running_on, running_on[:4])
    told = {name: n for name, n in (report.summary.get("counts") or {}).items() if n}
    case.check("rows add up", told == dict(report.counts()), f"{told}, {dict(report.counts())}")
    worst = worst_second(entry.at_s for entry in world.ledger)
    # a busy machine delivers late what left in time: one in twenty is not judged here
    case.check(f"{RATE} requests in any second", worst <= RATE + max(1, RATE // 20), worst)
    if readable:
        unknown = [key for key, row in rows.items() if row["outcome"] == "unknown"]
        case.check("what can be read is not unknown", not unknown, f"{len(unknown)}: {unknown[:4]}")
    case.check("no traceback", "Traceback" not in ended.said)
    return report


def verdict_is(case: Case, report: Report, *wanted: str) -> None:
    """The verdict of the summary."""
    verdict = report.summary.get("verdict")
    case.check(f"verdict {' or '.join(wanted)}", verdict in wanted, verdict)


def sent_to(world: World, key: Key, kind: str = "pause", since_s: float = 0.0) -> int:
    """How many PUTs came for one campaign."""
    asked = (e for e in puts(world, kind) if e.at_s >= since_s)
    return sum(e.key == key for e in asked)


# -- a row of a table -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What a row's own check may look at."""

    ended: Ended
    world: World
    report: Report


@dataclass(frozen=True, slots=True)
class Row:
    """What misleads one command, and what must come of it."""

    command: str
    count: int = 10
    others: int = 3
    vdns: tuple[int, ...] = (VDN,)
    fault: Fault | None = None
    lag: Callable[[Entry], float] | None = None
    #: a campaign that starts by itself, and when
    starts: tuple[Key, float] | None = None
    set_up: Callable[[Server], None] | None = None
    #: the list; what is started unless given; and what else stands in it
    lines: Collection[Key] = ()
    also: Collection[Key] = ()
    #: flags
    more: tuple[object, ...] = ()
    #: a signal, and how long after the first PUT
    send: tuple[int, float] | None = None
    codes: int | set[int] = 0
    verdict: tuple[str, ...] = ()
    #: False: even the truth may not be known
    judged: bool = True
    readable: bool = True
    grace_s: float = 0.3
    #: what is suspended in the end; None: all that was started
    off: Collection[Key] | None = None
    #: PUTs for each campaign of them all, and for single ones
    most: float | None = 1.2
    puts_to: Mapping[Key, int] | None = None
    outcomes: Mapping[Key, str] | None = None
    #: seconds that it takes
    least_s: float = 0.0
    within_s: float = 240.0
    #: stands on stderr
    says: str = ""
    check: Callable[[Case, Seen], None] | None = None


def play(case: Case, row: Row) -> None:
    """Run the command of a row, and judge it."""
    world = running(row.count, vdns=row.vdns, others=row.others)
    keys = every(world)
    world.fault, world.lag = row.fault, row.lag
    server = case.serve(world)
    if row.starts:
        lies.starts(server, *row.starts)
    if row.set_up:
        row.set_up(server)
    listed = row.command == "pause"
    if listed:
        child = case.pause(server, [*(row.lines or keys), *row.also], *row.more)
    else:
        child = case.pause_all(server, *row.more, vdns=row.vdns)
    if row.send:
        _interrupt(case, child, world, *row.send, is_list=listed)
    ended = child.wait(row.within_s + 60)
    case.exits(ended, row.codes)
    report = read_report(case.folder / "run")
    if row.judged:
        report = truth(
            case, ended, world, command=row.command, readable=row.readable, grace_s=row.grace_s
        )
    if row.verdict:
        verdict_is(case, report, *row.verdict)
    elif not listed and row.codes == 0:
        verdict_is(case, report, "quiet")
    case.all_suspended(world, keys if row.off is None else row.off)
    _count(case, row, world, len(row.lines or keys))
    got = {key: report.of(*key).get("outcome") for key in row.outcomes or {}}
    case.equal("outcomes", got, dict(row.outcomes or {}))
    took = f"{row.least_s:g} to {row.within_s:g} s"
    case.check(took, row.least_s <= ended.wall_s < row.within_s, f"{ended.wall_s:.1f} s")
    case.check("it is said", row.says in ended.err.lower(), ended.err[-300:])
    if row.check:
        row.check(case, Seen(ended, world, report))


def _interrupt(
    case: Case, child: Child, world: World, number: int, after_s: float, *, is_list: bool
) -> None:
    """Send a signal; a list ends within nine seconds then, and sends no PUT more."""
    case.until(lambda: puts(world), 20)
    time.sleep(after_s)
    child.send(number)
    sent_s = time.monotonic()
    took_s = child.wait(40).ended_s - sent_s
    if is_list:
        case.check("nine seconds at most", took_s < 9, f"{took_s:.1f} s")
        late = [e for e in puts(world) if e.at_s > sent_s + 0.1]
        case.check("no PUT after the signal", not late, len(late))


def _count(case: Case, row: Row, world: World, campaigns: int) -> None:
    if row.most is not None:
        sent, most = len(puts(world)), row.most * campaigns + 1e-9
        name = f"at most {row.most} PUTs per campaign"
        case.check(name, sent <= most, f"{sent} for {campaigns}")
    for key, limit in (row.puts_to or {}).items():
        sent = sent_to(world, key)
        case.check(f"at most {limit} PUTs to {key}", sent <= limit, sent)


def a_list(name: str, promise: str, *, short: bool = False, **how: Any) -> None:
    """Enter a row: `pause` of a list."""
    variant(12, name, f"a list: {promise}", play, Row("pause", **how), short=short)


def an_emergency(name: str, promise: str, *, short: bool = False, **how: Any) -> None:
    """Enter a row: `pause-all`."""
    variant(12, name, f"emergency: {promise}", play, Row("pause-all", **how), short=short)


def rest(count: int, *left_out: Key) -> list[Key]:
    """All campaigns of `running(count)` but these."""
    return [key for key in keys_of(*range(1, count + 1)) if key not in left_out]
