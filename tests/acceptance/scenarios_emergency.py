"""Issue 3: stop a VDN, prove it is quiet, undo it exactly."""

import contextlib
import os
import pty
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.acceptance.case import Case, lists, puts
from tests.acceptance.child import Ended
from tests.acceptance.registry import scenario
from tests.acceptance.report import Report, moment, read_report
from tests.acceptance.server import Server
from tests.acceptance.world import (
    COMPLETED,
    DATABASE,
    HTML,
    NOT_STARTED,
    PARAMETER,
    STARTED,
    SUSPENDED,
    Entry,
    Outage,
    Reply,
    World,
    always,
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
    stray = {(e.vdn_id, e.campaign_id) for e in puts(world)} - before
    case.check("suspended, completed and coming ones got no PUT", not stray, sorted(stray)[:5])
    case.check(
        "verdict quiet", report.summary.get("verdict") == "quiet", report.summary.get("verdict")
    )
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
    ended = case.run(
        server,
        "pause-all",
        "--vdn",
        VDN,
        "--yes",
        "--reason",
        "wrong list",
        "--rate",
        rate,
        "--concurrency",
        32,
        "--run-dir",
        run,
        timeout_s=300,
    )
    report = quiet(case, ended, world, run, before, rate)
    second = [e.at_s for e in lists(world) if e.page >= 2]
    first_put = puts(world)[0].at_s if puts(world) else 0.0
    case.check(
        "first PUT before the second page is asked for",
        first_put and (not second or first_put < second[0]),
        f"{(second[0] - first_put) * 1000:.0f} ms before" if second else "no second page",
    )
    case.check(
        "the reason is recorded",
        report.summary.get("reason") == "wrong list",
        report.summary.get("reason"),
    )
    may = [row for row in report.rows if row["may_start"] == "yes"]
    case.check(
        "what may start later is told",
        may or "May start" in ended.out or "may start" in ended.out,
        ended.out[-250:],
    )
    words = ended.out.lower()
    case.check(
        "what is not covered is told",
        all(w in words for w in ("calls already in progress", "reserved calls")),
        ended.out[-250:],
    )


@scenario(3, "250 running, listed by id, 5 % database errors, 1 % lost answers")
def emergency_250_id(case: Case) -> None:
    emergency(case, 250, "id")


@scenario(3, "250 running, listed by most recent change")
def emergency_250_recent(case: Case) -> None:
    emergency(case, 250, "recent")


@scenario(3, "5,000 running, listed by id")
def emergency_5000_id(case: Case) -> None:
    emergency(case, 5000, "id")


@scenario(3, "5,000 running, listed by most recent change")
def emergency_5000_recent(case: Case) -> None:
    emergency(case, 5000, "recent")


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
        ended = case.run(
            server,
            "pause-all",
            "--vdn",
            VDN,
            "--yes",
            "--rate",
            100,
            "--concurrency",
            16,
            "--run-dir",
            run,
        )
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
    ended = case.run(
        server,
        "pause-all",
        "--vdn",
        VDN,
        "--yes",
        "--rate",
        100,
        "--concurrency",
        16,
        "--run-dir",
        run,
        timeout_s=240,
    )
    quiet(case, ended, world, run, before, 100)


@scenario(3, "a VDN without any campaign: not_proven, exit 6, and says so")
def mistyped_vdn(case: Case) -> None:
    world = busy(5)
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(server, "pause-all", "--vdn", 1243, "--yes", "--run-dir", run, timeout_s=90)
    case.exits(ended, 6)
    report = case.sound(ended, world, run, command="pause-all")
    case.check(
        "verdict not_proven",
        report.summary.get("verdict") == "not_proven",
        report.summary.get("verdict"),
    )
    case.check(
        "it asks whether 1243 is right",
        "1243" in ended.said and "right" in ended.said.lower(),
        ended.said[-300:],
    )
    case.check("no PUT", not puts(world), len(puts(world)))
    case.check("not after half an hour (<= 60 s)", ended.wall_s <= 60, f"{ended.wall_s:.1f} s")


@scenario(3, "a VDN with campaigns of which none runs: exit 0, no PUT")
def nothing_runs(case: Case) -> None:
    world = busy(0)
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(server, "pause-all", "--vdn", VDN, "--yes", "--run-dir", run)
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


@scenario(3, "three campaigns start by themselves during the run: paused too")
def starts_during(case: Case) -> None:
    world = busy(60, others=20)
    before = world.with_status(STARTED)
    server, run = case.serve(world), case.folder / "run"
    late = [(VDN, n) for n in (10_001, 10_004, 90_001)]

    def begin(entry: Entry) -> None:
        if entry.kind == "pause" and len(puts(world)) == 5:
            for number, delay_s in zip(late, (0.1, 2.0, 6.5), strict=True):
                server.loop.call_later(delay_s, world.turn, *number, STARTED)

    world.watchers.append(begin)
    ended = case.run(server, "pause-all", "--vdn", VDN, "--yes", "--rate", 30, "--run-dir", run)
    quiet(case, ended, world, run, before | set(late), 30)


@scenario(3, "--hold 20: one that starts ten seconds after quiet is paused within a sweep")
def hold(case: Case) -> None:
    world = busy(20, others=20)
    before = world.with_status(STARTED)
    late = (VDN, 10_001)
    server, run = case.serve(world), case.folder / "run"
    child = case.start(
        server, ["pause-all", "--vdn", VDN, "--yes", "--hold", 20, "--rate", 50, "--run-dir", run]
    )
    began_s = 0.0

    def calm() -> bool:
        """Quiet is two sweeps 5 s apart after the last PUT: 6.5 s, then ten more."""
        last_s = max((e.at_s for e in puts(world)), default=time.monotonic())
        return len(puts(world)) >= 20 and time.monotonic() - last_s > 16.5

    if case.check("the VDN came to rest", case.until(calm, 60)):
        began_s = time.monotonic()
        server.soon(0, lambda: world.turn(*late, STARTED))
    ended = child.wait(120)
    quiet(case, ended, world, run, before | {late}, 50)
    caught = [e.at_s for e in puts(world) if (e.vdn_id, e.campaign_id) == late]
    case.check(
        "paused within a sweep (<= 8 s)",
        caught and caught[0] - began_s <= 8,
        f"{caught[0] - began_s:.1f} s after it began" if caught else "never",
    )
    case.check("it says so", str(late[1]) in ended.said, ended.said[-300:])
    case.check("it held 20 s after quiet", ended.wall_s >= 25, f"{ended.wall_s:.1f} s")


@scenario(3, "Ctrl-C during --hold after quiet was proven: exit 0 with its report")
def hold_interrupted(case: Case) -> None:
    world = busy(10, others=8)
    before = world.with_status(STARTED)
    server, run = case.serve(world), case.folder / "run"
    child = case.start(
        server, ["pause-all", "--vdn", VDN, "--yes", "--hold", 120, "--rate", 50, "--run-dir", run]
    )
    case.until(
        lambda: len(puts(world)) >= 10 and time.monotonic() - max(e.at_s for e in puts(world)) > 14,
        60,
    )
    sent_s = time.monotonic()
    child.send(signal.SIGINT)
    ended = child.wait(60)
    quiet(case, ended, world, run, before, 50)
    case.check("it ends soon", ended.ended_s - sent_s <= 10, f"{ended.ended_s - sent_s:.1f} s")


@scenario(
    3,
    "every listing answers 500 after the first: known ones paused, exit 6 at the deadline",
)
def listing500_after_first(case: Case) -> None:
    world = busy(80, others=8)
    before = world.with_status(STARTED)

    def broken(_: World, entry: Entry) -> Reply | None:
        if entry.kind == "list" and entry is not next(e for e in world.ledger if e.kind == "list"):
            return Reply(500, HTML, fault="5xx", kind="text/html")
        return None

    world.fault = broken
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(
        server, "pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--deadline", 25, "--run-dir", run
    )
    not_proven(case, ended, world, run, before, 50)


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
    case.check(
        "verdict not_proven",
        report.summary.get("verdict") == "not_proven",
        report.summary.get("verdict"),
    )
    case.check("at the deadline", 24 <= ended.wall_s <= 40, f"{ended.wall_s:.1f} s")
    clean = [
        s for s in report.summary.get("sweeps", []) if s.get("complete") and s.get("started") == 0
    ]
    case.check("no sweep is called complete and clean", not clean, clean[:1])
    return report


@scenario(3, "listings that show fewer rows than totalSize: never quiet")
def short_listing(case: Case) -> None:
    world = busy(30, others=8)
    hidden = (VDN, 10_030)
    known = world.with_status(STARTED) - {hidden}

    def short(_: World, entry: Entry) -> Reply | None:
        if entry.kind != "list" or entry.listed_status not in {"0", "2"}:
            return None
        rows = world.rows_of(VDN, entry.listed_status)
        shown = [world.row(c) for c in rows if c.campaign_id != hidden[1]]
        return listing(entry.page, len(rows), 100, shown[(entry.page - 1) * 100 : entry.page * 100])

    world.fault = short
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(
        server, "pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--deadline", 25, "--run-dir", run
    )
    not_proven(case, ended, world, run, known, 50)


@scenario(
    3,
    "one campaign answers 0200001 to every pause: others paused, it is named, within a minute",
)
def stubborn_refuser(case: Case) -> None:
    world = busy(50, others=8)
    before = world.with_status(STARTED)
    world.fault = always({(VDN, 10_030): lambda: coded(PARAMETER, "parameter error")})
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(
        server, "pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--run-dir", run, timeout_s=90
    )
    case.exits(ended, 6)
    report = case.sound(ended, world, run, command="pause-all", rate=50, before=before)
    case.check(
        "verdict still_running",
        report.summary.get("verdict") == "still_running",
        report.summary.get("verdict"),
    )
    case.check(
        "the others are paused",
        world.with_status(STARTED) == {(VDN, 10_030)},
        world.with_status(STARTED),
    )
    case.check(
        "the stubborn one is named with its reason",
        "10030" in ended.out and PARAMETER in ended.out,
        ended.out[-300:],
    )
    case.check("within a minute", ended.wall_s < 60, f"{ended.wall_s:.1f} s")
    complete = [s for s in report.summary.get("sweeps", []) if s.get("complete")]
    case.check("three complete sweeps or more", len(complete) >= 3, len(complete))


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
    ended = case.run(server, "pause-all", "--vdn", VDN, "--yes", "--rate", 10, "--run-dir", run)
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
        ended = case.run(
            server,
            "pause-all",
            "--vdn",
            VDN,
            "--yes",
            "--rate",
            50,
            "--run-dir",
            run,
            timeout_s=180,
        )
        quiet(case, ended, world, run, before, 50)
        inside = [e for e in world.ledger if dark.began_s <= e.at_s < dark.ended_s]
        case.check(f"few requests while it lasts ({name}, <= 120)", len(inside) <= 120, len(inside))
        last_s = max((e.at_s for e in world.ledger if e.effect), default=0.0)
        case.check(
            f"soon paused afterwards ({name}, <= 12 s)",
            last_s - dark.ended_s <= 12,
            f"{last_s - dark.ended_s:.1f} s",
        )


@scenario(3, "401 after accepted requests is an outage to wait out")
def outage_401(case: Case) -> None:
    world = busy(100, others=8)
    before = world.with_status(STARTED)
    dark = Outage(8, lambda: Reply(401, b"", fault="401"), after_puts=30)
    world.fault = dark
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(server, "pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--run-dir", run)
    quiet(case, ended, world, run, before, 50)
    inside = [e for e in world.ledger if dark.began_s <= e.at_s < dark.ended_s]
    case.check("few requests while it lasts (<= 60)", len(inside) <= 60, len(inside))


@scenario(3, "401 from the start in an emergency: exit 3, few requests")
def emergency_401(case: Case) -> None:
    world = busy(10)
    world.access_key = "AKSOMEBODYELSE"
    server = case.serve(world)
    ended = case.run(server, "pause-all", "--vdn", VDN, "--yes", "--run-dir", case.folder / "run")
    case.exits(ended, 3)
    case.check("one or two requests", 1 <= len(world.ledger) <= 2, len(world.ledger))


@contextlib.contextmanager
def tmpfs(at: Path, options: str) -> Iterator[None]:
    """A small file system below the case's own folder, unmounted afterwards."""
    at.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "acceptance", str(at)], check=True, timeout=20
    )
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=False, timeout=20)


def stopped_anyway(
    case: Case, ended: Ended, world: World, before: set[tuple[int, int]], what: str
) -> None:
    """All paused, exit 5, the campaigns on stdout."""
    case.exits(ended, 5, what)
    left = before & world.with_status(STARTED)
    case.check(f"all are paused ({what})", not left, f"{len(before) - len(left)} of {len(before)}")
    told = [number for _, number in before if str(number) in ended.out]
    case.check(
        f"results are on stdout ({what})",
        len(told) == len(before),
        f"{len(told)} of {len(before)} named; {ended.out[:150]!r}",
    )
    case.check(
        f"the failure is said ({what})",
        ended.err.strip() and "Traceback" not in ended.said,
        ended.err[-250:],
    )


@scenario(3, "full disk for the state directory: all paused, exit 5, results on stdout", root=True)
def full_disk_state(case: Case) -> None:
    for what, options, started in (
        ("64k tmpfs", "size=64k", 40),
        ("read-only tmpfs", "size=64k,ro", 40),
        ("500k tmpfs that fills", "size=500k", 3000),
    ):
        world = busy(started, others=8)
        before = world.with_status(STARTED)
        server, small = case.serve(world), case.folder / "small"
        with tmpfs(small, options):
            ended = case.run(
                server,
                "pause-all",
                "--vdn",
                VDN,
                "--yes",
                "--rate",
                200,
                "--concurrency",
                16,
                env={"ORCHESTRATOR_STATE_DIR": str(small)},
            )
            if ended.exit_code == 0 and "fills" in what:
                case.note("it all went in", len(before))
                continue
            stopped_anyway(case, ended, world, before, what)


@scenario(3, "a state directory that cannot be made: all paused, exit 5, results on stdout")
def no_state_dir(case: Case) -> None:
    world = busy(30, others=8)
    before = world.with_status(STARTED)
    (case.folder / "plain").write_text("a file\n")
    ended = case.run(
        case.serve(world),
        "pause-all",
        "--vdn",
        VDN,
        "--yes",
        "--rate",
        50,
        env={"ORCHESTRATOR_STATE_DIR": str(case.folder / "plain" / "state")},
    )
    stopped_anyway(case, ended, world, before, "a file in its place")


@scenario(3, "stdout full, log file impossible: the campaigns are paused all the same")
def stdout_full(case: Case) -> None:
    world = busy(20, others=8)
    before = world.with_status(STARTED)
    server, run = case.serve(world), case.folder / "run"
    words = ["pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--run-dir", run]
    ended = case.start(server, words, stdout="/dev/full").wait(90)
    case.exits(ended, {0, 5}, "with stdout full")
    case.check("all paused", not before & world.with_status(STARTED), "")
    case.check("no traceback", "Traceback" not in ended.err, ended.err[-200:])
    case.check("the report is written", len(read_report(run).rows) == 20, "")
    world = busy(20, others=8)
    server = case.serve(world)
    ended = case.run(
        server,
        "pause-all",
        "--vdn",
        VDN,
        "--yes",
        "--rate",
        50,
        "--run-dir",
        case.folder / "run2",
        "--log-file",
        case.folder / "absent" / "x.log",
    )
    case.exits(ended, {0, 5}, "with an impossible log file")
    case.check("all paused", not world.with_status(STARTED), "")


def stopped_run(
    case: Case, world: World, name: str = "run"
) -> tuple[Server, Path, set[tuple[int, int]]]:
    """A finished emergency to restore from."""
    before = world.with_status(STARTED)
    server, run = case.serve(world), case.folder / name
    ended = case.run(
        server,
        "pause-all",
        "--vdn",
        VDN,
        "--yes",
        "--rate",
        100,
        "--concurrency",
        16,
        "--run-dir",
        run,
    )
    case.exits(ended, 0, "of the emergency")
    case.check("nothing runs before the restore", not world.with_status(STARTED), "")
    return server, run, before


def resumed(world: World, since_s: float = 0.0) -> set[tuple[int, int]]:
    """Campaigns that got a resume."""
    return {(e.vdn_id, e.campaign_id) for e in puts(world, "resume") if e.at_s >= since_s}


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
    case.check("outcomes", got == {"restored": 38, "already_running": 1, "not_running": 1}, got)
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
    case.check(
        "stopped again by an operator: left_alone",
        row.get("outcome") == "left_alone",
        row.get("outcome"),
    )


@scenario(3, "restore --except, --only, --vdn, --limit: the guilty one stays off")
def restore_except(case: Case) -> None:
    world = busy(12, others=8)
    server, run, before = stopped_run(case, world)
    mine = sorted(before)
    guilty = case.manifest([mine[3]], "guilty.csv")
    only = case.manifest(mine[:3], "only.csv")
    steps: list[tuple[list[object], set[tuple[int, int]]]] = [
        (["--only", only], set(mine[:3])),
        (["--except", guilty, "--limit", 2], set()),
        (["--vdn", 8], set()),
        (["--except", guilty], set(mine) - {mine[3]}),
    ]
    for number, (words, wanted) in enumerate(steps):
        ended = case.run(
            server,
            "restore",
            run,
            "--yes",
            "--rate",
            100,
            "--run-dir",
            case.folder / f"r{number}",
            *words,
        )
        case.check(
            f"restore {words[0]} ends by itself",
            ended.exit_code in {0, 1, 2},
            f"{ended.exit_code}: {ended.err[-200:]}",
        )
        on = world.with_status(STARTED)
        if "--limit" in words:
            case.check("--limit 2 resumes two", len(on) == 5 and mine[3] not in on, len(on))
        elif "--vdn" in words:
            case.check("--vdn of another VDN resumes nothing", len(on) == 5, len(on))
        else:
            case.check(
                f"{words[0]}: the wanted set is on", on >= wanted and len(on) <= 11, f"{len(on)} on"
            )
    case.check("the guilty one is off", mine[3] not in world.with_status(STARTED), "")
    row = read_report(case.folder / "r3").of(*mine[3])
    case.check("and reported as left_alone", row.get("outcome") == "left_alone", row)


@scenario(
    3, "restore of a list: never what was found paused; inferred ones only with --include-inferred"
)
def restore_list(case: Case) -> None:
    world = World()
    world.add(VDN, range(1, 21))
    world.add(VDN, range(21, 26), SUSPENDED)
    world.fault = scripted({(VDN, 3): [Reply(mode="close", effect=True, fault="lost")]})
    lines = [(VDN, n) for n in range(1, 26)]
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(
        server, "pause", case.manifest(lines), "--no-verify", "--rate", 50, "--run-dir", run
    )
    case.exits(ended, 0, "of the pause")
    first = case.run(server, "restore", run, "--yes", "--rate", 50, "--run-dir", case.folder / "a")
    case.check(
        "without the inferred one",
        world.with_status(STARTED) == {(VDN, n) for n in range(1, 21) if n != 3},
        f"{len(world.with_status(STARTED))} on, exit {first.exit_code}",
    )
    second = case.run(
        server,
        "restore",
        run,
        "--yes",
        "--include-inferred",
        "--rate",
        50,
        "--run-dir",
        case.folder / "b",
    )
    case.exits(second, 0, "with --include-inferred")
    case.check(
        "with it",
        world.with_status(STARTED) == {(VDN, n) for n in range(1, 21)},
        f"{len(world.with_status(STARTED))} on",
    )
    case.check(
        "what was found paused stays paused",
        world.with_status(SUSPENDED) == {(VDN, n) for n in range(21, 26)},
        "",
    )


@scenario(
    3, "no terminal and no --yes: exit 7 and not a single request, whatever the environment says"
)
def no_terminal_no_yes(case: Case) -> None:
    world = busy(5)
    server = case.serve(world)
    for name, env in (
        ("plain", {}),
        ("ORCHESTRATOR_YES", {"ORCHESTRATOR_YES": "1", "ORCHESTRATOR_PAUSE_ALL_YES": "true"}),
    ):
        ended = case.run(server, "pause-all", "--vdn", VDN, env=env)
        case.exits(ended, 7, name)
        case.no_requests(world)
    config = case.folder / "config.toml"
    config.write_text("yes = true\n")
    ended = case.run(server, "pause-all", "--vdn", VDN, "--config", config)
    case.exits(ended, {2, 7}, "yes in a settings file")
    ended = case.run(server, "pause-all", "--vdn", VDN, stdin=f"{VDN}\n")
    case.exits(ended, 7, "the number on a pipe")
    ended = case.run(server, "pause-all", "--yes")
    case.exits(ended, 2, "without --vdn")
    case.no_requests(world)


def at_terminal(
    case: Case, server: Server, words: list[object], typed: str, world: World
) -> tuple[Ended, str]:
    """Run at a pseudo-terminal and type one line once the listing has been asked for."""
    master, slave = pty.openpty()
    shown = bytearray()

    def listen() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(master, 4096):
                shown.extend(data)

    child = case.start(server, words, terminal=slave, env={"TERM": "xterm"})
    os.close(slave)
    threading.Thread(target=listen, daemon=True).start()
    case.until(lambda: lists(world), 20)
    time.sleep(1.5)
    case.check("no PUT before the number is typed", not puts(world), len(puts(world)))
    os.write(master, typed.encode())
    ended = child.wait(90)
    time.sleep(0.2)
    with contextlib.suppress(OSError):
        os.close(master)
    return ended, shown.decode("utf-8", "replace")


@scenario(
    3,
    "at a terminal: the listing runs while the operator types; only the right number goes",
)
def terminal_typed(case: Case) -> None:
    world = busy(20, others=8)
    before = world.with_status(STARTED)
    server = case.serve(world)
    run = case.folder / "run"
    words: list[object] = ["pause-all", "--vdn", VDN, "--rate", 50, "--run-dir", run]
    ended, shown = at_terminal(case, server, words, "8\n", world)
    case.exits(ended, 7, "after a wrong number")
    case.check("no PUT after a wrong number", not puts(world), len(puts(world)))
    case.check(
        "host, VDN and count are shown",
        all(w in shown for w in ("127.0.0.1", str(VDN), "20")),
        shown[-400:],
    )
    world.ledger.clear()
    ended, shown = at_terminal(case, server, [*words[:-1], case.folder / "run2"], f"{VDN}\n", world)
    case.exits(ended, 0, "after the right number")
    case.check("all are paused", not before & world.with_status(STARTED), "")


@scenario(3, "several VDNs at once: one ceiling, none starves, all proven")
def several_vdns(case: Case) -> None:
    world = World()
    sizes = {7: 150, 8: 40, 9: 3}
    for vdn_id, size in sizes.items():
        more(world, size, others=8, vdn_id=vdn_id)
    before = world.with_status(STARTED)
    world.fault = mixed(37, database=0.05, lost=0.01)
    server, run = case.serve(world), case.folder / "run"
    words = [w for vdn_id in sizes for w in ("--vdn", vdn_id)]
    ended = case.run(server, "pause-all", *words, "--yes", "--rate", 30, "--run-dir", run)
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


@scenario(3, "pause-all --dry-run lists what would be paused and sends no PUT")
def emergency_dry_run(case: Case) -> None:
    world = busy(150, others=8)
    server, run = case.serve(world), case.folder / "run"
    ended = case.run(server, "pause-all", "--vdn", VDN, "--dry-run", "--run-dir", run, "--rate", 50)
    case.exits(ended, 0)
    case.check("no PUT", not puts(world), len(puts(world)))
    report = read_report(run)
    case.check("150 planned", dict(report.counts()) == {"planned": 150}, dict(report.counts()))
    case.check(
        "verdict planned", report.summary.get("verdict") == "planned", report.summary.get("verdict")
    )


@scenario(3, "a dropped ssh line (SIGHUP) does not stop it; runs shows it live")
def emergency_sighup(case: Case) -> None:
    world = busy(60, others=8)
    before = world.with_status(STARTED)
    server = case.serve(world)
    child = case.start(server, ["pause-all", "--vdn", VDN, "--yes", "--rate", 20])
    case.until(lambda: len(puts(world)) >= 10, 30)
    child.send(signal.SIGHUP)
    listed = case.run(server, "runs")
    case.check(
        "runs shows a live one",
        "live" in listed.out.lower() or "running" in listed.out.lower(),
        listed.out[-300:],
    )
    ended = child.wait(90)
    runs = sorted((case.state / "runs").glob("*"))
    quiet(case, ended, world, runs[-1] if runs else case.folder / "absent", before, 20)


@scenario(3, "SIGTERM in an emergency: 143 after draining; continue brings it to quiet")
def emergency_sigterm(case: Case) -> None:
    world = busy(80, others=8)
    before = world.with_status(STARTED)
    server, run = case.serve(world), case.folder / "run"
    child = case.start(server, ["pause-all", "--vdn", VDN, "--yes", "--rate", 20, "--run-dir", run])
    case.until(lambda: len(puts(world)) >= 15, 30)
    child.send(signal.SIGTERM)
    ended = child.wait(60)
    case.exits(ended, {143, 6}, "after SIGTERM (the table puts 6 before signals for pause-all)")
    done = case.run(server, "continue", run, "--rate", 50)
    quiet(case, done, world, run, before, 50)


@scenario(3, "switch A and a 20-minute clock in an emergency: healed")
def emergency_healed(case: Case) -> None:
    for name, world in (("switch", busy(40, others=8)), ("clock", busy(40, others=8))):
        world.blank_query_line = name == "switch"
        world.clock_ahead_s = 1200 if name == "clock" else 0
        before = world.with_status(STARTED)
        server, run = case.serve(world), case.folder / f"run-{name}"
        ended = case.run(server, "pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--run-dir", run)
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
    ended = case.run(
        server, "pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--deadline", 25, "--run-dir", run
    )
    not_proven(case, ended, world, run, before, 50)
    at_end = Counter(e.kind for e in world.ledger)
    case.note("requests", dict(at_end))
