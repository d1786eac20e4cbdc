"""Issue 3: stop a VDN, prove it is quiet, undo it exactly."""

import time
from collections import Counter
from pathlib import Path

from tests.acceptance.case import Case, lists, puts
from tests.acceptance.child import Ended
from tests.acceptance.registry import scenario, variant
from tests.acceptance.report import Report, moment, read_report
from tests.acceptance.server import Server
from tests.acceptance.world import (
    COMPLETED,
    DATABASE,
    NOT_STARTED,
    STARTED,
    SUSPENDED,
    Entry,
    Outage,
    Reply,
    World,
    coded,
    first_of,
    listing,
    mixed,
    scripted,
)

VDN = 7


def busy(started: int, *, order: str = "id", others: int = 40, vdn_id: int = VDN) -> World:
    """A VDN with that many started campaigns among suspended, completed and coming ones."""
    world = World(order=order)
    more(world, started, others=others, vdn_id=vdn_id)
    return world


def more(world: World, started: int, *, others: int = 40, vdn_id: int = VDN) -> None:
    """Add such a VDN."""
    world.add(vdn_id, range(10_000, 10_000 + 3 * started, 3))
    world.add(vdn_id, range(10_001, 10_001 + 3 * others, 3), SUSPENDED)
    world.add(vdn_id, range(10_002, 10_002 + 3 * (others // 2), 3), COMPLETED)
    world.add(vdn_id, range(90_001, 90_001 + others // 4), NOT_STARTED, begin="2031-01-01 08:00:00")


def quiet(
    case: Case, ended: Ended, world: World, run: Path, before: set[tuple[int, int]], rate: float
) -> Report:
    """What a run that ends with proof owes."""
    case.exits(ended, 0)
    report = case.sound(ended, world, run, command="pause-all", rate=rate, before=before)
    started = world.with_status(STARTED)
    case.check("none is started at the end", not started, f"{len(started)} of {len(before)}")
    found = {c for c, row in report.by_campaign().items() if row["outcome"] == "paused"}
    case.check(
        "every started campaign was found and paused",
        found >= before,
        f"{len(found & before)} of {len(before)}; missing {sorted(before - found)[:4]}",
    )
    stray = {e.key for e in puts(world)} - before
    case.check("suspended, completed and coming ones got no PUT", not stray, sorted(stray)[:5])
    case.equal("verdict quiet", report.summary.get("verdict"), "quiet")
    case.two_clean_sweeps(report, world)
    control = [e for e in lists(world) if e.listed_status == "0" and e.code]
    case.check("positive control: an unfiltered listing", control, len(control))
    if puts(world):
        last_s = max(e.at_s for e in puts(world))
        first_s = puts(world)[0].at_s
        case.note(
            "start to first PUT; last PUT to exit; requests per campaign",
            f"{first_s - case.children[-1].started_s:.2f} s; {ended.ended_s - last_s:.1f} s;"
            f" {len(world.ledger) / max(1, len(before)):.2f}",
        )
    return report


def emergency(case: Case, started: int, order: str) -> None:
    """The main promise at one size and in one order."""
    world = busy(started, order=order, others=60)
    before = world.with_status(STARTED)
    world.fault = mixed(31, database=0.05, lost=0.01, at_most=6)
    server, run, rate = case.serve(world), case.folder / "run", 400 if started > 1000 else 100
    ended = case.pause_all(
        server, "--reason", "wrong list", "--concurrency", 32, rate=rate, run=run.name
    ).wait(300)
    report = quiet(case, ended, world, run, before, rate)
    second = [e.at_s for e in lists(world) if e.page >= 2]
    first_put = puts(world)[0].at_s if puts(world) else 0.0
    case.check(
        "first PUT before the second page is asked for",
        first_put and (not second or first_put < second[0]),
        f"{(second[0] - first_put) * 1000:.0f} ms before" if second else "no second page",
    )
    case.equal("the reason is recorded", report.summary.get("reason"), "wrong list")
    may = [row for row in report.rows if row["may_start"] == "yes"]
    case.check(
        "what may start later is told",
        may or "scheduled to start" in ended.out,
        ended.out[-250:],
    )
    words = ended.out.lower()
    case.check(
        "what is not covered is told",
        all(w in words for w in ("calls already in progress", "reserved calls")),
        ended.out[-250:],
    )


variant(3, "emergency_250_id", "250 running, listed by id, 5 % database errors, 1 % lost answers",
        emergency, 250, "id")  # fmt: skip
variant(3, "emergency_250_recent", "250 running, listed by most recent change",
        emergency, 250, "recent")  # fmt: skip
variant(3, "emergency_5000_id", "5,000 running, listed by id", emergency, 5000, "id")
variant(3, "emergency_5000_recent", "5,000 running, listed by most recent change",
        emergency, 5000, "recent")  # fmt: skip


@scenario(3, "0, 1, 99, 100 and 101 running; ids as text; data null, missing or empty")
def emergency_sizes(case: Case) -> None:
    shapes: list[tuple[int, object, bool]] = [
        (1, None, False),
        (99, "missing", True),
        (100, [], False),
        (101, None, True),
    ]
    for started, empty, text in shapes:
        world = busy(started, order="recent" if started % 2 else "id", others=8)
        world.empty_data, world.ids_as_text = empty, text
        before = world.with_status(STARTED)
        server, run = case.serve(world), case.folder / f"run{started}"
        ended = case.pause_all(server, "--concurrency", 16, rate=100, run=run.name).wait(120)
        case.note("size", started)
        quiet(case, ended, world, run, before, 100)


@scenario(3, "faults on listings and details too: still exit 0, still proven")
def emergency_faulty_listing(case: Case) -> None:
    world = busy(250)
    before = world.with_status(STARTED)
    every = frozenset({"pause", "list", "read"})
    world.fault = mixed(
        33, database=0.08, lost=0.02, reset=0.02, broken=0.03, at_most=6, kinds=every
    )
    server, run = case.serve(world), case.folder / "run"
    ended = case.pause_all(server, "--concurrency", 16, rate=100, run=run.name).wait(240)
    quiet(case, ended, world, run, before, 100)


@scenario(3, "a VDN with campaigns of which none runs: exit 0, no PUT", short=True)
def nothing_runs(case: Case) -> None:
    world = busy(0)
    server, run = case.serve(world), case.folder / "run"
    ended = case.pause_all(server, rate=10).wait(120)
    report = quiet(case, ended, world, run, set(), 10)
    case.check("no PUT", not puts(world), len(puts(world)))
    case.check("it names the VDN", str(VDN) in ended.out, ended.out[-200:])
    clean = [
        s for s in report.summary.get("sweeps", []) if s.get("complete") and s.get("started") == 0
    ]
    starts = sorted(moment(s["started_at"]) for s in clean)
    case.check(
        "two clean sweeps >= 5 s apart",
        len(starts) > 1 and starts[-1] - starts[0] >= 4.999,
        len(starts),
    )


def not_proven(
    case: Case, ended: Ended, world: World, run: Path, known: set[tuple[int, int]], rate: float
) -> Report:
    """Known ones paused, and no claim of quiet."""
    case.exits(ended, 6)
    report = case.sound(ended, world, run, command="pause-all", rate=rate, before=known)
    case.check(
        "the known ones are paused",
        not known & world.with_status(STARTED),
        len(known & world.with_status(STARTED)),
    )
    case.equal("verdict not_proven", report.summary.get("verdict"), "not_proven")
    case.check("at the deadline", 24 <= ended.wall_s <= 40, f"{ended.wall_s:.1f} s")
    clean = [
        s for s in report.summary.get("sweeps", []) if s.get("complete") and s.get("started") == 0
    ]
    case.check("no sweep is called complete and clean", not clean, clean[:1])
    return report


@scenario(
    3,
    "40 campaigns, --rate 10, 5 % database errors: paused within 6.6 s of the first request",
)
def forty_at_ten(case: Case) -> None:
    world = busy(40, others=8)
    before = world.with_status(STARTED)
    world.fault = scripted({
        (VDN, 10_030): [coded(DATABASE, "database operation error", "database")],
        (VDN, 10_090): [coded(DATABASE, "database operation error", "database", effect=True)],
    })  # fmt: skip
    server, run = case.serve(world), case.folder / "run"
    ended = case.pause_all(server, rate=10, run=run.name).wait(120)
    quiet(case, ended, world, run, before, 10)
    took_s = (
        max(e.at_s for e in world.ledger if e.effect) - world.ledger[0].at_s if puts(world) else 99
    )
    case.check("within 6.6 s of the first request", took_s <= 6.6, f"{took_s:.2f} s")


@scenario(3, "a 20-second outage in the middle: nothing given up, exit 0")
def outage_middle(case: Case) -> None:
    for name, make in (
        ("0200006", lambda: coded(DATABASE, "database operation error", "outage")),
        ("reset", lambda: Reply(mode="reset", fault="outage")),
    ):
        world = busy(200, others=8)
        before = world.with_status(STARTED)
        dark = Outage(20, make, after_puts=60)
        world.fault = dark
        server, run = case.serve(world), case.folder / f"run-{name}"
        ended = case.pause_all(server, run=run.name).wait(180)
        quiet(case, ended, world, run, before, 50)
        inside = [e for e in world.ledger if dark.began_s <= e.at_s < dark.ended_s]
        case.check(f"few requests while it lasts ({name}, <= 120)", len(inside) <= 120, len(inside))
        last_s = max((e.at_s for e in world.ledger if e.effect), default=0.0)
        case.check(
            f"soon paused afterwards ({name}, <= 12 s)",
            last_s - dark.ended_s <= 12,
            f"{last_s - dark.ended_s:.1f} s",
        )


def stopped_run(
    case: Case, world: World, name: str = "run"
) -> tuple[Server, Path, set[tuple[int, int]]]:
    """A finished emergency to restore from."""
    before = world.with_status(STARTED)
    server, run = case.serve(world), case.folder / name
    ended = case.pause_all(server, "--concurrency", 16, rate=100, run=run.name).wait(120)
    case.exits(ended, 0, "of the emergency")
    case.check("nothing runs before the restore", not world.with_status(STARTED), "")
    return server, run, before


def resumed(world: World, since_s: float = 0.0) -> set[tuple[int, int]]:
    """Campaigns that got a resume."""
    return {e.key for e in puts(world, "resume") if e.at_s >= since_s}


@scenario(
    3, "restore: exactly the set is started again; twice changes nothing; operators' changes stay"
)
def restore(case: Case) -> None:
    world = busy(40, others=20)
    world.fault = mixed(35, database=0.1, lost=0.05, at_most=3)
    server, run, before = stopped_run(case, world)
    mine = sorted(before)
    by_operator, over = mine[0], mine[1]
    world.turn(*by_operator, STARTED)
    world.turn(*over, COMPLETED)
    mark_s = time.monotonic()
    dry = case.run(server, "restore", run, "--dry-run", "--run-dir", case.folder / "dry")
    case.exits(dry, 0, "of the dry run")
    case.check("a dry run resumes nothing", not resumed(world), "")
    back = case.folder / "back"
    ended = case.run(server, "restore", run, "--yes", "--rate", 100, "--run-dir", back)
    case.exits(ended, 0, "of the restore")
    report = case.sound(ended, world, back, command="restore", rate=100, since_s=mark_s)
    wanted = before - {by_operator, over}
    case.check(
        "exactly the set is started again",
        world.with_status(STARTED) == before - {over},
        f"{len(world.with_status(STARTED))} started, wanted {len(before) - 1}",
    )
    case.check(
        "resumes went to these only",
        resumed(world) == wanted,
        f"{len(resumed(world))}; stray {sorted(resumed(world) - wanted)[:4]}",
    )
    got = dict(report.counts())
    case.equal("outcomes", got, {"restored": 38, "already_running": 1, "not_running": 1})
    case.check(
        "action and verdict",
        report.summary.get("action") in {"restore", "resume"}
        and report.summary.get("verdict") == "complete",
        (report.summary.get("action"), report.summary.get("verdict")),
    )
    mark_s = time.monotonic()
    world.turn(*mine[5], SUSPENDED)
    world.turn(*mine[6], COMPLETED)
    again = case.run(
        server, "restore", run, "--yes", "--rate", 100, "--run-dir", case.folder / "again"
    )
    case.exits(again, 0, "of the second restore")
    case.check(
        "twice changes nothing",
        not resumed(world, mark_s) and not [e for e in puts(world) if e.at_s >= mark_s],
        sorted(resumed(world, mark_s))[:4],
    )
    row = read_report(case.folder / "again").of(*mine[5])
    case.equal("stopped again by an operator: left_alone", row.get("outcome"), "left_alone")


@scenario(3, "several VDNs at once: one ceiling, none starves, all proven")
def several_vdns(case: Case) -> None:
    world = World()
    sizes = {7: 150, 8: 40, 9: 3}
    for vdn_id, size in sizes.items():
        more(world, size, others=8, vdn_id=vdn_id)
    before = world.with_status(STARTED)
    world.fault = mixed(37, database=0.05, lost=0.01)
    server, run = case.serve(world), case.folder / "run"
    ended = case.pause_all(server, vdns=sizes, rate=30).wait(120)
    report = quiet(case, ended, world, run, before, 30)
    start_s = world.ledger[0].at_s if world.ledger else 0.0
    first = {v: next((e.at_s - start_s for e in puts(world) if e.vdn_id == v), 99) for v in sizes}
    case.check(
        "each VDN's first PUT within 3 s",
        max(first.values()) <= 3,
        {v: round(s, 2) for v, s in first.items()},
    )
    done = {
        v: max((e.at_s - start_s for e in world.ledger if e.vdn_id == v and e.effect), default=99)
        for v in sizes
    }
    case.check(
        "the small VDN does not wait for the big one (<= 4 s)",
        done[9] <= 4,
        {v: round(s, 2) for v, s in done.items()},
    )
    case.check(
        "by_vdn in summary.json",
        len(report.summary.get("by_vdn", {})) == 3,
        str(report.summary.get("by_vdn"))[:200],
    )


@scenario(3, "switch A and a 20-minute clock in an emergency: healed")
def emergency_healed(case: Case) -> None:
    for name, world in (("switch", busy(40, others=8)), ("clock", busy(40, others=8))):
        world.blank_query_line = name == "switch"
        world.clock_ahead_s = 1200 if name == "clock" else 0
        before = world.with_status(STARTED)
        server, run = case.serve(world), case.folder / f"run-{name}"
        ended = case.pause_all(server, run=run.name).wait(120)
        quiet(case, ended, world, run, before, 50)
        refused = sum(1 for e in world.ledger if e.refused)
        case.check(f"few refusals ({name}, <= 9)", 1 <= refused <= 9, refused)


@scenario(3, "hostile listings: foreign ids, repeated rows, pages that repeat: never a false quiet")
def odd_listing(case: Case) -> None:
    world = busy(20, others=8)
    before = world.with_status(STARTED)

    def odd(_: World, entry: Entry) -> Reply | None:
        """Every page says 1,000 rows and repeats page one."""
        if entry.kind != "list":
            return None
        rows = [world.row(c) for c in world.rows_of(VDN, entry.listed_status)][:100]
        return listing(1, 1000, 100, rows + rows)

    world.fault = first_of(odd)
    server, run = case.serve(world), case.folder / "run"
    ended = case.pause_all(server, "--deadline", 25, run=run.name).wait(120)
    not_proven(case, ended, world, run, before, 50)
    at_end = Counter(e.kind for e in world.ledger)
    case.note("requests", dict(at_end))
