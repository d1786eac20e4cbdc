"""Issue 2: pause a list. Each function is one sentence of "It is done when"."""

import itertools
import json
import time
from collections import Counter

from tests.acceptance import lies
from tests.acceptance.case import Case, lists, puts
from tests.acceptance.child import Ended
from tests.acceptance.registry import scenario, variant
from tests.acceptance.report import Report, read_report
from tests.acceptance.server import Server
from tests.acceptance.world import (
    COMPLETED,
    DATABASE,
    NOT_STARTED,
    PARAMETER,
    STARTED,
    SUSPENDED,
    Outage,
    World,
    always,
    coded,
    first_of,
    mixed,
    shuffled,
)

AHEAD = "2031-01-01 08:00:00"


def pairs_of(world: World) -> list[tuple[int, int]]:
    """Every (VDN, id) of a world, in the order of adding."""
    return [(vdn_id, number) for vdn_id, there in world.campaigns.items() for number in there]


def outcomes(case: Case, report: Report, **wanted: int) -> None:
    """The exact outcome counts."""
    case.equal("outcomes", dict(report.counts()), wanted)


def paused(
    case: Case,
    world: World,
    *more: object,
    lines: list[tuple[int, int]] | None = None,
    rate: float = 100,
    run: str = "run",
    code: int = 0,
) -> tuple[Server, Report, Ended]:
    """Pause a list, all of the world's unless given, and see that all that is owed is there."""
    before = world.with_status(STARTED)
    server, listed = case.serve(world), lines or pairs_of(world)
    ended = case.pause(server, listed, *more, rate=rate, run=run).wait(240)
    case.exits(ended, code, run)
    report = case.sound(ended, world, case.folder / run, rate=rate, lines=listed, before=before)
    if code == 0:
        case.all_suspended(world, listed)
    return server, report, ended


@scenario(
    2, "2,000 campaigns, 15 % mixed faults, --rate 400: all suspended, truthful rows, the pace held"
)
def mixed2000(case: Case) -> None:
    world = World()
    for vdn_id in (11, 12, 13, 14):
        world.add(vdn_id, shuffled(vdn_id, range(1000, 1450)))
        world.add(vdn_id, range(1450, 1500), SUSPENDED)
    before = world.with_status(STARTED)
    world.fault = mixed(20, database=0.08, lost=0.03, reset=0.02, broken=0.02)
    pairs = pairs_of(world)
    lines = [pairs[place] for place in shuffled(5, range(len(pairs)))]
    _, report, ended = paused(case, world, "--concurrency", 32, lines=lines, rate=400)
    outcomes(case, report, paused=1800, already_paused=200)
    spared = [e for e in puts(world) if e.key not in before]
    case.check("what was suspended got no PUT", not spared, f"{len(spared)} PUTs")
    inferred = sum(row["evidence"] == "inferred" for row in report.rows)
    case.equal("the look makes inference needless", inferred, 0)
    case.equal("verdict", report.summary.get("verdict"), "complete")
    faults = Counter(e.fault for e in puts(world))
    met = all(faults[name] > 10 for name in ("database", "lost", "reset", "5xx"))
    case.check("the faults were really met", met, dict(faults))
    first_s, last_s = (puts(world)[place].at_s for place in (0, -1))
    start_s = first_s - case.children[0].started_s
    case.note("wall, start to first PUT", f"{ended.wall_s:.1f} s, {start_s:.2f} s")
    case.note("requests, peak", f"{len(world.ledger)}, {ended.peak_kib // 1024} MB")
    case.note("pace while work waits", f"{len(puts(world)) / (last_s - first_s):.0f} PUT/s")


@scenario(2, "hanging answers do not lose or double anything (lost answers that never end)")
def mixed_hanging(case: Case) -> None:
    world = World()
    world.add(11, range(1, 301))
    world.fault = mixed(21, hang=0.02, lost=0.02, at_most=2)
    paused(case, world, "--concurrency", 16)


def kinds_world() -> tuple[World, list[tuple[int, int]], dict[str, list[int]]]:
    """One VDN with every kind of campaign, and a list with every kind of line."""
    world = World()
    kinds = {
        "started": world.add(7, range(101, 111)),
        "suspended": world.add(7, range(201, 205), SUSPENDED),
        "completed": world.add(7, range(301, 304), COMPLETED),
        "not_started": world.add(7, range(401, 404), NOT_STARTED, begin=AHEAD),
        "rejected": world.add(7, range(501, 504)),
        "strange_code": world.add(7, [551]),
        "database": world.add(7, [601]),
        "unknown": [901, 902, 903, 904, 905],
    }
    world.fault = first_of(
        always({(7, n): lambda: coded(PARAMETER, "parameter error") for n in kinds["rejected"]}),
        always({(7, 551): lambda: coded("0299999", '=HYPERLINK("x")\x1b[31mred')}),
        always({(7, 601): lambda: coded(DATABASE, "database operation error")}),
    )
    lines = [(7, number) for group in kinds.values() for number in group]
    return world, lines, kinds


@scenario(
    2,
    "unknown, completed, suspended, duplicated, rejected: each row says which; failed.csv back",
)
def every_kind(case: Case) -> None:
    world, lines, kinds = kinds_world()
    doubled = [*lines, (7, 101), (7, 901), (7, 101), (7, 601)]
    server, report, ended = paused(case, world, lines=doubled, code=1)
    outcomes(case, report, paused=10, already_paused=4, not_running=6, rejected=4, failed=1,
             not_found=5, duplicate=4)  # fmt: skip
    wanted = {"started": "paused", "suspended": "already_paused", "completed": "not_running",
              "not_started": "not_running", "rejected": "rejected", "strange_code": "rejected",
              "database": "failed", "unknown": "not_found"}  # fmt: skip
    for kind, numbers in kinds.items():
        case.equal(kind, {report.of(7, n).get("outcome") for n in numbers}, {wanted[kind]})
    may = {report.of(7, n).get("may_start") for n in kinds["not_started"]}
    case.equal("a begin time ahead sets may_start", may, {"yes"})
    firsts = [row["duplicate_of"] for row in report.rows if row["outcome"] == "duplicate"]
    first_line = {n: report.of(7, n).get("line") for n in (101, 901, 601)}
    case.equal(
        "duplicates name the first line", firsts, [first_line[n] for n in (101, 901, 101, 601)]
    )
    numbered = [int(row["line"]) for row in report.rows]
    in_order = numbered == list(range(2, len(doubled) + 2))
    case.check("line is the line of the file, header counted", in_order, numbered[:3])
    codes = {report.of(7, n).get("result_code") for n in kinds["unknown"]}
    case.equal("result codes are kept as text", codes, {"0200007"})
    once = Counter(e.key for e in puts(world))
    often = [n for n in (*kinds["rejected"], *kinds["unknown"]) if once[7, n] > 1]
    case.check("rejected and not_found were asked once", not often, often)
    cells = [cell for row in report.rows for cell in row.values()]
    bad = [c for c in cells if c[:1] in {"=", "@", "\t", "\r"} or "\x1b" in c]
    case.check("server text is escaped in results.csv", not bad, bad[:2])
    case.check("server text is escaped on the terminal", "\x1b[31m" not in ended.said)
    unnamed = [n for n in (901, 905, 501, 551, 601) if str(n) not in ended.out]
    case.check("stdout names those not stopped", not unnamed, ended.out[-300:])
    mark_s = time.monotonic()
    folder = case.folder / "run"
    words = ["--rate", 100, "--run-dir", case.folder / "run2"]
    again = case.run(server, "pause", folder / "failed.csv", *words, timeout_s=240)
    case.exits(again, 1, "for failed.csv fed back")
    not_stopped = ("rejected", "strange_code", "database", "unknown")
    second = case.sound(again, world, case.folder / "run2", rate=100, since_s=mark_s,
                        lines=[(7, n) for k in not_stopped for n in kinds[k]])  # fmt: skip
    outcomes(case, second, rejected=4, failed=1, not_found=5)
    words = ["--run-dir", case.folder / "run3", "--dry-run"]
    third = case.run(server, "pause", folder / "results.csv", *words)
    case.exits(third, 0, "for results.csv as a manifest, dry")
    rows = read_report(case.folder / "run3").rows
    case.equal("results.csv is a valid manifest", len(rows), len(doubled))


@scenario(2, "--accept: an outcome counts as success")
def accept_flag(case: Case) -> None:
    world = World()
    world.add(7, range(1, 6))
    server = case.serve(world)
    lines = [*pairs_of(world), (7, 99)]
    case.exits(case.pause(server, lines, "--accept", "not_found").wait(60), 0)
    outcomes(case, read_report(case.folder / "run"), paused=5, not_found=1)
    other = case.pause(server, lines, "--accept", "failed", run="b").wait(60)
    case.exits(other, 1, "when another outcome is accepted")


def outage(case: Case, after_puts: int) -> None:
    """0200006 to everything for 20 s; see how few requests are sent and that all end paused."""
    world = World(latency_s=0.03)
    world.add(7, range(1, 201))
    dark = Outage(20.0, lambda: coded(DATABASE, "database operation error", "outage"), after_puts)
    world.fault = dark
    paused(case, world, "--concurrency", 16)
    inside = [e for e in world.ledger if dark.began_s <= e.at_s < dark.ended_s]
    few = len(inside) <= 100  # the pace would allow 2,000
    case.check("few requests while it lasts (<= 100)", few, f"{len(inside)} in 20 s")
    probes = [e for e in inside if e.at_s >= dark.began_s + 4]
    overlap = [b for a, b in itertools.pairwise(probes) if b.at_s < a.answered_s]
    case.check("one probe at a time", not overlap, f"{len(overlap)} of {len(probes)} overlap")
    late_s = max((e.at_s for e in world.ledger if e.effect), default=1e9) - dark.ended_s
    case.check("all are paused soon after (<= 20 s)", 0 <= late_s <= 20, f"{late_s:.1f} s after")


variant(2, "outage20",
        "0200006 to all for the first 20 seconds: nothing given up, few requests, soon paused",
        outage, 0)  # fmt: skip
variant(2, "outage20_middle", "0200006 to everything for 20 seconds in the middle of a run",
        outage, 50)  # fmt: skip


@scenario(
    2,
    "nightly, 40 VDNs x 75: look and PUT overlap, a failing listing, the same --run-dir again",
)
def nightly(case: Case) -> None:
    world = World(latency_s=0.02)
    for vdn_id in range(1, 41):
        world.add(vdn_id, range(vdn_id * 1000, vdn_id * 1000 + 72))
        world.add(vdn_id, range(vdn_id * 1000 + 72, vdn_id * 1000 + 75), SUSPENDED)
    world.fault = lies.during(lies.away, kinds=("list",), vdn_id=17)
    server, report, ended = paused(case, world, rate=60)
    outcomes(case, report, paused=2880, already_paused=120)
    firsts_s: dict[int, float] = {}
    for entry in lists(world):
        firsts_s.setdefault(entry.vdn_id, entry.at_s)
    later = [vdn_id for vdn_id, at_s in firsts_s.items() if at_s > puts(world)[0].at_s]
    case.check("PUTs begin while other VDNs are still to be looked at", later, f"{len(later)} VDNs")
    stopped = [row["stopped"] for row in report.rows if row["vdn_id"] == "17"]
    case.equal("the VDN whose listing fails is paused all the same", stopped, ["yes"] * 75)
    case.check("and the failure is said", "17" in ended.err, ended.err[-200:])
    results, lines = case.folder / "run" / "results.csv", pairs_of(world)
    mark_s = time.monotonic()
    old = results.read_bytes()
    again = case.pause(server, lines, rate=60).wait(60)
    case.equal("the same exit code again", again.exit_code, ended.exit_code)
    case.no_requests(world, mark_s)
    case.check("the same rows again", results.read_bytes() == old, f"{len(old)} bytes")
    case.check("its result is printed again", again.out.strip() != "", again.out[-200:])
    other = case.pause(server, lines[:5], name="other.csv").wait(60)
    case.exits(other, 2, "for another list in that --run-dir")
    case.no_requests(world, mark_s)


@scenario(
    2,
    "the server wants the other form of signing switch A: healed by itself, said, recorded",
    short=True,
)
def switch_a(case: Case) -> None:
    world = World(blank_query_line=True)
    world.add(7, range(1, 101))
    world.add(7, range(101, 111), SUSPENDED)
    _, report, ended = paused(case, world)
    refused = sum(1 for e in world.ledger if e.refused)
    case.check("few refusals (<= 9: in flight + 1)", 1 <= refused <= 9, refused)
    case.check("said", "blank_query_line" in ended.said, ended.err[-300:])
    summary = json.dumps(report.summary)
    case.check("recorded", '"blank_query_line": true' in summary, summary[-300:])


@scenario(
    2, "server clock 20 minutes away: one re-sign by its Date header, then all is well", short=True
)
def clock_skew(case: Case) -> None:
    for ahead_s in (1200, -1200):
        world = World(clock_ahead_s=ahead_s)
        world.add(7, range(1, 51))
        paused(case, world, run=f"run{ahead_s}")
        refused = sum(1 for e in world.ledger if e.refused)
        case.equal(f"one refusal at {ahead_s:+} s", refused, 1)


@scenario(2, "--max-campaigns refuses a longer plan: exit 7, nothing sent")
def max_campaigns(case: Case) -> None:
    world = World()
    world.add(7, range(1, 12))
    server, lines = case.serve(world), pairs_of(world)
    case.exits(case.pause(server, lines, "--max-campaigns", 10).wait(60), 7)
    case.no_requests(world)
    at_the_bound = case.pause(server, lines, "--max-campaigns", 11, run="b").wait(60)
    case.exits(at_the_bound, 0, "at the bound")
