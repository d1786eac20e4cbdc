"""Issue 3: stop a VDN, prove it is quiet, undo it exactly."""

import time
from collections import Counter

from tests.acceptance import lies
from tests.acceptance.case import Case, lists, puts
from tests.acceptance.child import Ended
from tests.acceptance.registry import scenario, variant
from tests.acceptance.report import Report, read_report
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
    case: Case, world: World, *more: object, rate: float = 50, run: str = "run"
) -> tuple[Report, Ended]:
    """Stop all of it, and see that it ends with proof and with everything that it owes then."""
    before = world.with_status(STARTED)
    server = case.serve(world)
    ended = case.pause_all(server, *more, vdns=world.campaigns, rate=rate, run=run).wait(300)
    case.exits(ended, 0)
    folder = case.folder / run
    report = case.sound(ended, world, folder, command="pause-all", rate=rate, before=before)
    started = world.with_status(STARTED)
    case.check("none is started at the end", not started, f"{len(started)} of {len(before)}")
    missing = before - {c for c, row in report.by_campaign().items() if row["outcome"] == "paused"}
    case.check("every started campaign was found and paused", not missing, sorted(missing)[:4])
    stray = {e.key for e in puts(world)} - before
    case.check("suspended, completed and coming ones got no PUT", not stray, sorted(stray)[:5])
    case.equal("verdict", report.summary.get("verdict"), "quiet")
    case.two_clean_sweeps(report, world)
    control = [e for e in lists(world) if e.listed_status == "0" and e.code]
    case.check("positive control: an unfiltered listing", control, len(control))
    if puts(world):
        first_s = puts(world)[0].at_s - case.children[-1].started_s
        end_s = ended.ended_s - puts(world)[-1].at_s
        each = len(world.ledger) / max(1, len(before))
        case.note("start to first PUT; last PUT to exit", f"{first_s:.2f} s; {end_s:.1f} s")
        case.note("requests per campaign", f"{each:.2f}")
    return report, ended


def last_effect_s(world: World) -> float:
    """When something was changed last, monotonic."""
    return max((e.at_s for e in world.ledger if e.effect), default=float("inf"))


def emergency(case: Case, started: int, order: str) -> None:
    """The main promise at one size and in one order."""
    world = busy(started, order=order, others=60)
    world.fault = mixed(31, database=0.05, lost=0.01, at_most=6)
    rate = 400 if started > 1000 else 100
    report, ended = quiet(case, world, "--reason", "wrong list", "--concurrency", 32, rate=rate)
    second_s = min((e.at_s for e in lists(world) if e.page >= 2), default=float("inf"))
    ahead = puts(world) and puts(world)[0].at_s < second_s
    case.check("first PUT before the second page is asked for", ahead)
    case.equal("the reason is recorded", report.summary.get("reason"), "wrong list")
    may = [row for row in report.rows if row["may_start"] == "yes"]
    told = may or "scheduled to start" in ended.out
    case.check("what may start later is told", told, ended.out[-250:])
    for words in ("calls already in progress", "reserved calls"):
        case.check(f"not covered: {words}", words in ended.out.lower(), ended.out[-250:])


variant(3, "emergency_250_id", "250 running, listed by id, 5 % database errors, 1 % lost answers",
        emergency, 250, "id")  # fmt: skip
variant(3, "emergency_250_recent", "250 running, listed by most recent change",
        emergency, 250, "recent")  # fmt: skip
variant(3, "emergency_5000_id", "5,000 running, listed by id", emergency, 5000, "id")
variant(3, "emergency_5000_recent", "5,000 running, listed by most recent change",
        emergency, 5000, "recent")  # fmt: skip


@scenario(3, "0, 1, 99, 100 and 101 running; ids as text; data null, missing or empty")
def emergency_sizes(case: Case) -> None:
    shapes: tuple[tuple[int, object, bool], ...]
    shapes = ((1, None, False), (99, "missing", True), (100, [], False), (101, None, True))
    for started, empty, text in shapes:
        world = busy(started, order="recent" if started % 2 else "id", others=8)
        world.empty_data, world.ids_as_text = empty, text
        case.note("size", started)
        quiet(case, world, "--concurrency", 16, rate=100, run=f"run{started}")


@scenario(3, "faults on listings and details too: still exit 0, still proven")
def emergency_faulty_listing(case: Case) -> None:
    world = busy(250)
    every = frozenset({"pause", "list", "read"})
    world.fault = mixed(
        33, database=0.08, lost=0.02, reset=0.02, broken=0.03, at_most=6, kinds=every
    )
    quiet(case, world, "--concurrency", 16, rate=100)


@scenario(3, "a VDN with campaigns of which none runs: exit 0, no PUT", short=True)
def nothing_runs(case: Case) -> None:
    world = busy(0)
    _, ended = quiet(case, world, rate=10)
    case.check("no PUT", not puts(world), len(puts(world)))
    case.check("it names the VDN", str(VDN) in ended.out, ended.out[-200:])


@scenario(3, "40 campaigns, --rate 10, 5 % database errors: paused 6.6 s after the first request")
def forty_at_ten(case: Case) -> None:
    world = busy(40, others=8)
    world.fault = scripted({
        (VDN, 10_030): [coded(DATABASE, "database operation error", "database")],
        (VDN, 10_090): [coded(DATABASE, "database operation error", "database", effect=True)],
    })  # fmt: skip
    quiet(case, world, rate=10)
    took_s = last_effect_s(world) - world.began_s
    case.check("within 6.6 s of the first request", took_s <= 6.6, f"{took_s:.2f} s")


@scenario(3, "a 20-second outage in the middle: nothing given up, exit 0")
def outage_middle(case: Case) -> None:
    for name, make in (
        ("0200006", lambda: coded(DATABASE, "database operation error", "outage")),
        ("reset", lambda: Reply(mode="reset", fault="outage")),
    ):
        world = busy(200, others=8)
        dark = Outage(20, make, after_puts=60)
        world.fault = dark
        quiet(case, world, run=f"run-{name}")
        inside = sum(dark.began_s <= e.at_s < dark.ended_s for e in world.ledger)
        case.check(f"few requests while it lasts ({name}, <= 120)", inside <= 120, inside)
        late_s = last_effect_s(world) - dark.ended_s
        case.check(f"soon paused afterwards ({name}, <= 12 s)", late_s <= 12, f"{late_s:.1f} s")


@scenario(
    3, "restore: exactly the set is started again; twice changes nothing; operators' changes stay"
)
def restore(case: Case) -> None:
    world = busy(40, others=20)
    before = world.with_status(STARTED)
    world.fault = mixed(35, database=0.1, lost=0.05, at_most=3)
    server = case.serve(world)
    stop = case.pause_all(server, "--concurrency", 16, rate=100).wait(120)
    case.exits(stop, 0, "of the emergency")
    case.check("nothing runs before the restore", not world.with_status(STARTED))

    def undo(name: str, *more: object) -> Ended:
        words = ["restore", case.folder / "run", "--rate", 100, "--run-dir", case.folder / name]
        ended = case.run(server, *words, *more)
        case.exits(ended, 0, f"of restore {name}")
        return ended

    mine = sorted(before)
    by_operator, over = mine[0], mine[1]
    world.turn(*by_operator, STARTED)
    world.turn(*over, COMPLETED)
    mark_s = time.monotonic()
    undo("dry", "--dry-run")
    case.check("a dry run resumes nothing", not puts(world, "resume"))
    ended = undo("back", "--yes")
    back = case.folder / "back"
    report = case.sound(ended, world, back, command="restore", rate=100, since_s=mark_s)
    exact = world.with_status(STARTED) == before - {over}
    case.check("exactly the set is started again", exact, len(world.with_status(STARTED)))
    resumed = {e.key for e in puts(world, "resume")}
    odd = sorted(resumed ^ (before - {by_operator, over}))
    case.check("resumes went to these only", not odd, odd[:4])
    got = dict(report.counts())
    case.equal("outcomes", got, {"restored": 38, "already_running": 1, "not_running": 1})
    case.check("action", report.summary.get("action") in {"restore", "resume"})
    case.equal("verdict", report.summary.get("verdict"), "complete")
    mark_s = time.monotonic()
    world.turn(*mine[5], SUSPENDED)
    world.turn(*mine[6], COMPLETED)
    undo("again", "--yes")
    again = [e.key for e in world.ledger if e.at_s >= mark_s and e.kind in lies.CHANGES]
    case.check("twice changes nothing", not again, again[:4])
    row = read_report(case.folder / "again").of(*mine[5])
    case.equal("stopped again by an operator: left_alone", row.get("outcome"), "left_alone")


@scenario(3, "several VDNs at once: one ceiling, none starves, all proven")
def several_vdns(case: Case) -> None:
    world = World()
    sizes = {7: 150, 8: 40, 9: 3}
    for vdn_id, size in sizes.items():
        more(world, size, others=8, vdn_id=vdn_id)
    world.fault = mixed(37, database=0.05, lost=0.01)
    report, _ = quiet(case, world, rate=30)
    times_s = {
        vdn_id: [round(e.at_s - world.began_s, 2) for e in puts(world) if e.vdn_id == vdn_id]
        for vdn_id in sizes
    }
    first_s = {vdn_id: min(found, default=99) for vdn_id, found in times_s.items()}
    case.check("each VDN's first PUT within 3 s", max(first_s.values()) <= 3, first_s)
    small_s = max(times_s[9], default=99)
    case.check("the small VDN does not wait for the big one (<= 4 s)", small_s <= 4, small_s)
    case.equal("by_vdn in summary.json", len(report.summary.get("by_vdn", {})), 3)


@scenario(3, "switch A and a 20-minute clock in an emergency: healed")
def emergency_healed(case: Case) -> None:
    for name in ("switch", "clock"):
        world = busy(40, others=8)
        world.blank_query_line = name == "switch"
        world.clock_ahead_s = 1200 if name == "clock" else 0
        quiet(case, world, run=f"run-{name}")
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

    world.fault = odd
    ended = case.pause_all(case.serve(world), "--deadline", 25).wait(120)
    case.exits(ended, 6)
    folder = case.folder / "run"
    report = case.sound(ended, world, folder, command="pause-all", rate=50, before=before)
    case.all_suspended(world, before)
    case.equal("verdict", report.summary.get("verdict"), "not_proven")
    case.check("at the deadline", 24 <= ended.wall_s <= 40, f"{ended.wall_s:.1f} s")
    sweeps = report.summary.get("sweeps", [])
    clean = [s for s in sweeps if s.get("complete") and s.get("started") == 0]
    case.check("no sweep is called complete and clean", not clean, clean[:1])
    case.note("requests", dict(Counter(e.kind for e in world.ledger)))
