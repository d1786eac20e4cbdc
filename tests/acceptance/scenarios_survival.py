"""Issue 4: killed, cut off, lied to."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.case import Case, lists, puts
from tests.acceptance.child import Child, Ended
from tests.acceptance.registry import scenario
from tests.acceptance.report import read_report
from tests.acceptance.scenarios_emergency import VDN, busy, tmpfs
from tests.acceptance.scenarios_pause import pairs_of
from tests.acceptance.server import Server, bomb
from tests.acceptance.world import (
    DATABASE,
    OK,
    PARAMETER,
    STARTED,
    SUSPENDED,
    Entry,
    Reply,
    World,
    always,
    four,
    mixed,
)

KILLS = int(os.environ.get("ACCEPTANCE_KILLS", "50"))
DURABLE = {"paused", "already_paused", "not_running", "not_found", "rejected"}


def killed_once(server: Server, world: World, child: Child, chance: random.Random) -> str:
    """End one process at a random instant; how it was chosen."""
    if chance.random() < 0.35:
        delay_s = chance.uniform(0.05, 2.0)
        until_s = time.monotonic() + delay_s
        while time.monotonic() < until_s and child.alive():
            time.sleep(0.005)
        child.send(signal.SIGKILL)
        return f"{delay_s:.2f} s after start"
    number, base = chance.randint(1, 14), len(world.ledger)
    lag_s = chance.choice([0.0, 0.0, 0.001, 0.003, 0.006, 0.02, chance.uniform(0, 0.2)])
    done: list[bool] = []

    def strike(_: Entry) -> None:
        if len(world.ledger) - base >= number and not done:
            done.append(True)
            if lag_s:
                server.loop.call_later(lag_s, child.send, signal.SIGKILL)
            else:
                child.send(signal.SIGKILL)

    world.watchers.append(strike)
    until_s = time.monotonic() + 20
    while child.alive() and time.monotonic() < until_s:
        time.sleep(0.005)
    world.watchers.remove(strike)
    child.send(signal.SIGKILL)
    return f"{lag_s * 1000:.0f} ms after its request {number}"


@scenario(4, "killed 50 times at random instants during 500 campaigns, continued each time")
def kill50(case: Case) -> None:
    seed = int(os.environ.get("ACCEPTANCE_SEED", str(int(time.time()))))
    chance, kills, rounds = random.Random(seed), 0, 0
    case.note("seed", seed)
    while kills < KILLS and rounds < 6:
        rounds += 1
        kills += one_killed_run(case, chance, seed + rounds, rounds, KILLS - kills)
    case.check(f"{KILLS} kills made", kills >= KILLS, f"{kills} in {rounds} runs")


def one_killed_run(  # noqa: C901, PLR0915
    case: Case, chance: random.Random, seed: int, number: int, wanted: int
) -> int:
    """Kill one run of 500 again and again, then let it finish; how often it was killed."""
    world = World(latency_s=0.01)
    for vdn_id in (21, 22):
        world.add(vdn_id, range(1, 226))
        world.add(vdn_id, range(226, 251), SUSPENDED)
    before = world.with_status(STARTED)
    world.fault = mixed(seed, database=0.05, lost=0.03, reset=0.02, broken=0.02, at_most=3)
    server, run, lines = case.serve(world), case.folder / f"run{number}", pairs_of(world)
    path = case.manifest(lines, f"list{number}.csv")
    first = ["pause", path, "--run-dir", run, "--rate", 25, "--concurrency", 8]
    kills, fresh = 0, 0
    settled: dict[tuple[int, int], str] = {}
    again: list[object] = []
    said: Counter[int] = Counter()
    durable_s: dict[tuple[int, int], float] = {}
    ended: Ended | None = None
    for process in range(wanted + 12):
        begun = (run / "journal.db").exists()
        fresh += not begun
        words = ["continue", run] if begun and process % 3 else first
        child = case.start(server, words, label=f"life{number}")
        if kills >= wanted:
            ended = child.wait(180)
            break
        how = killed_once(server, world, child, chance)
        ended = child.wait(20)
        if ended.exit_code != -signal.SIGKILL:
            break  # it finished before the kill
        kills += 1
        if not (run / "journal.db").exists():
            continue
        if fresh and chance.random() < 0.7:
            read = case.run(server, "report", run)
            at_s = time.monotonic()
            said[read.exit_code] += 1  # which code `report` owes a killed run is not written
            if read.exit_code == 70 or "Traceback" in read.said:
                case.check(
                    "report of a killed run",
                    ok=False,
                    evidence=f"exit {read.exit_code} after a kill {how}: {read.err[-300:]}",
                )
            report = read_report(run)
            if len(report.rows) != len(lines):
                case.check(
                    "report of a killed run has every line",
                    ok=False,
                    evidence=f"{len(report.rows)} after a kill {how}",
                )
            for campaign, row in report.by_campaign().items():
                if campaign in settled and row["outcome"] != settled[campaign]:
                    again.append((campaign, settled[campaign], row["outcome"]))
                if row["outcome"] in DURABLE:
                    settled[campaign] = row["outcome"]
                    durable_s.setdefault(campaign, at_s)
    if ended is None:
        return kills
    case.exits(ended, 0, f"of the last life of run {number}")
    report = case.sound(ended, world, run, rate=1000, lines=lines, before=before, interrupted=True)
    case.all_suspended(world, lines)
    late = [
        c
        for e in puts(world)
        if (c := (e.vdn_id, e.campaign_id)) in durable_s and e.at_s > durable_s[c]
    ]
    case.check(
        "no PUT to a campaign whose outcome was durable",
        not late,
        f"{len(durable_s)} durable before the end; {late[:4]}",
    )
    case.check("a durable outcome never changes", not again, again[:4])
    changed = {c for c, row in report.by_campaign().items() if row["changed"] == "yes"}
    effects = {(e.vdn_id, e.campaign_id) for e in puts(world) if e.effect}
    case.check(
        "changed is exact",
        changed == effects == before,
        f"{len(changed)} said, {len(effects)} done, {len(before)} wanted;"
        f" differ {sorted(changed ^ effects)[:4]}",
    )
    worst = max(Counter((e.vdn_id, e.campaign_id) for e in puts(world)).values(), default=0)
    case.note(
        f"run {number}",
        f"{kills} kills, {fresh} before a journal, {len(puts(world))} PUTs, most for one {worst},"
        f" report's exit codes {dict(said)}",
    )
    return kills


@scenario(4, "an emergency killed again and again is continued to quiet")
def kill_emergency(case: Case) -> None:
    chance = random.Random(41)
    world = busy(120, others=20)
    before = world.with_status(STARTED)
    world.fault = mixed(42, database=0.05, lost=0.03, at_most=4)
    server, run = case.serve(world), case.folder / "run"
    first = ["pause-all", "--vdn", VDN, "--yes", "--rate", 20, "--run-dir", run]
    kills, ended = 0, None
    for process in range(12):
        begun = (run / "journal.db").exists()
        child = case.start(server, ["continue", run] if begun else first, label="life")
        if process >= 7:
            ended = child.wait(120)
            break
        killed_once(server, world, child, chance)
        ended = child.wait(20)
        if ended.exit_code != -signal.SIGKILL:
            break
        kills += 1
    if ended is None:
        return
    case.exits(ended, 0)
    report = case.sound(
        ended, world, run, command="pause-all", rate=1000, before=before, interrupted=True
    )
    case.check(
        "none is started at the end",
        not world.with_status(STARTED),
        len(world.with_status(STARTED)),
    )
    changed = {c for c, row in report.by_campaign().items() if row["changed"] == "yes"}
    case.check(
        "changed is exact",
        changed == before,
        f"{len(changed)} of {len(before)}; differ {sorted(changed ^ before)[:4]}",
    )
    case.check(
        "verdict quiet", report.summary.get("verdict") == "quiet", report.summary.get("verdict")
    )
    case.note("kills", kills)


def deaf() -> None:
    """Ignore SIGHUP from the start, as nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def open_mask() -> None:
    """A umask that protects nothing."""
    os.umask(0)


def begun(
    case: Case, world: World, *, rate: float, seen: int
) -> tuple[Server, Path, Child, list[tuple[int, int]]]:
    """A run under way: the child still works, `seen` PUTs have arrived."""
    server, run, lines = case.serve(world), case.folder / "run", pairs_of(world)
    child = case.start(
        server,
        ["pause", case.manifest(lines), "--run-dir", run, "--rate", rate, "--concurrency", 8],
    )
    case.check(
        "the run is under way",
        case.until(lambda: len(puts(world)) >= seen, 40),
        f"{len(puts(world))} PUTs",
    )
    return server, run, child, lines


@scenario(4, "two processes on one run: one works, the other exits 7 at once with no request")
def two_processes(case: Case) -> None:
    world = World()
    world.add(7, range(1, 151))
    server, run, child, lines = begun(case, world, rate=20, seen=10)
    child.send(signal.SIGSTOP)  # a living, silent holder: every request is now the other's
    time.sleep(0.5)
    for words in (
        ["continue", run],
        ["pause", case.folder / "list.csv", "--run-dir", run, "--rate", 20],
    ):
        mark_s = time.monotonic()
        other = case.run(server, *words, timeout_s=30)
        case.exits(other, 7, f"of the second ({words[0]})")
        case.no_requests(world, mark_s)
        case.check("at once (<= 5 s)", other.wall_s <= 5, f"{other.wall_s:.2f} s")
        case.check("the holder's pid is shown", str(child.pid) in other.err, other.err[-300:])
    child.send(signal.SIGCONT)
    ended = child.wait(90)
    case.exits(ended, 0, "of the first")
    case.sound(ended, world, run, rate=28, lines=lines, before=set(lines))
    case.all_suspended(world, lines)


@scenario(4, "under 50 simultaneous starters exactly one wins")
def fifty_starters(case: Case) -> None:
    world = World()
    world.add(7, range(1, 601))
    server, run, child, lines = begun(case, world, rate=4, seen=5)
    child.send(signal.SIGKILL)
    child.wait(10)
    starters = [case.start(server, ["continue", run], label="starter") for _ in range(50)]
    case.until(lambda: sum(c.alive() for c in starters) <= 1, 120)
    alive = [c for c in starters if c.alive()]
    case.check("one is at work", len(alive) == 1, f"{len(alive)} alive")
    lost = [c for c in starters if c not in alive]
    codes = Counter(c.process.returncode for c in lost)
    case.check("the others exited 7", codes == {7: 49}, dict(codes))
    seen = len(puts(world))
    case.check("the winner works", case.until(lambda: len(puts(world)) > seen, 10), f"{seen} PUTs")
    for one in alive:
        one.send(signal.SIGTERM)
        case.exits(one.wait(60), 143, "of the winner, stopped")
    for one in lost:
        one.wait(1)
    done = case.run(server, "continue", run, "--rate", 200)
    case.exits(done, 0, "of the last life")
    case.sound(done, world, run, rate=200, lines=lines, before=set(lines), interrupted=True)


def raw(text: str, body: bytes = b"") -> Reply:
    """Bytes as they are, then the end of the connection."""
    return Reply(
        mode="raw+close", raw=text.replace("\n", "\r\n").encode("latin-1") + body, fault="hostile"
    )


def hostile(other_port: int, big: bytes) -> dict[str, Callable[[], Reply]]:
    """One wicked answer each; none lets the change take effect."""
    ok = four(OK)
    plain = f"HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: {len(ok)}\n"
    here = f"http://127.0.0.1:{other_port}/rest/isales/v1/openapi/campaigns/7/1/pause"
    deep = b"[" * 100_000 + b"]" * 100_000
    shallow = b'{"resultCode":' + b"[" * 25_000 + b"]" * 25_000 + b"}"
    twice = four(DATABASE)[:-1] + b"," + ok[1:]
    return {
        "endless body": lambda: Reply(mode="endless", fault="hostile"),
        "endless 1xx": lambda: Reply(mode="early", fault="hostile"),
        "one byte at a time": lambda: Reply(
            mode="drip", raw=plain.replace("\n", "\r\n").encode(), fault="hostile"
        ),
        "gzip bomb": lambda: Reply(
            body=big, headers=(("Content-Encoding", "gzip"),), fault="hostile"
        ),
        "deflate, not really": lambda: Reply(
            body=b"junk", headers=(("Content-Encoding", "deflate"),), fault="hostile"
        ),
        "JSON 100,000 deep": lambda: Reply(body=deep, fault="hostile"),
        "JSON 25,000 deep": lambda: Reply(body=shallow, fault="hostile"),
        "duplicate keys": lambda: Reply(body=twice, fault="hostile"),
        "5,000-digit number": lambda: Reply(
            body=b'{"resultCode":' + b"2" * 5000 + b"}", fault="hostile"
        ),
        "NaN": lambda: Reply(body=b'{"resultCode":"0200000","x":NaN}', fault="hostile"),
        "array": lambda: Reply(body=b'["0200000"]', fault="hostile"),
        "null": lambda: Reply(body=b"null", fault="hostile"),
        "empty 200": lambda: Reply(body=b"", fault="hostile"),
        "204": lambda: Reply(204, b"", fault="hostile"),
        "202 success": lambda: Reply(202, ok, fault="hostile"),
        "no code": lambda: Reply(body=b"{}", fault="hostile"),
        "codes disagree": lambda: Reply(
            body=b'{"resultCode":"0200000","returnCode":"0200006"}', fault="hostile"
        ),
        "code with a space": lambda: Reply(body=four(" 0200000"), fault="hostile"),
        "full-width code": lambda: Reply(body=four("\uff10\uff12" + "\uff10" * 5), fault="hostile"),
        "8 digits for 7": lambda: Reply(body=four("02000000"), fault="hostile"),
        "UTF-16": lambda: Reply(body=ok.decode().encode("utf-16"), fault="hostile"),
        "bad UTF-8": lambda: Reply(body=ok[:-1] + b',"x":"\xff"}', fault="hostile"),
        "trailing garbage": lambda: Reply(body=ok + b"x", fault="hostile"),
        "half an answer": lambda: raw(plain + "\n", ok[:30]),
        "bad chunk": lambda: raw("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\nzz\n"),
        "not HTTP": lambda: raw("SSH-2.0-OpenSSH_9\n\n"),
        "two lengths": lambda: raw(plain + f"Content-Length: {len(ok) + 1}\n\n", ok),
        "length and chunked": lambda: raw(plain + "Transfer-Encoding: chunked\n\n", b"0\r\n\r\n"),
        "10,000 headers": lambda: raw(
            plain + "".join(f"X-{i}: y\n" for i in range(10_000)) + "\n", ok
        ),
        "20 kB header": lambda: raw(plain + "X-Long: " + "y" * 20_000 + "\n\n", ok),
        "NUL in a header": lambda: raw(plain + "X-Nul: a\0b\n\n", ok),
        "5xx that claims success": lambda: Reply(500, ok, fault="hostile"),
        "HTML login page": lambda: Reply(
            200, b"<html>please log in</html>", kind="text/html", fault="hostile"
        ),
        **{
            f"redirect {status}": lambda status=status: Reply(  # type: ignore[misc]
                # a 304 has no body: bytes after it would be a broken answer, not a redirect
                status,
                b"" if status == 304 else ok,
                headers=(("Location", here),),
                fault="hostile",
            )
            for status in (300, 301, 302, 303, 304, 307, 308)
        },
    }


@scenario(
    4,
    "hostile answers change nothing outside their own campaign, +< 16 MB, no other port",
)
def hostile_answers(case: Case) -> None:
    clean = World()
    clean.add(7, range(1, 401))
    lines = pairs_of(clean)
    path = case.manifest(lines)
    # so many that never answer well may keep the breaker open: then patience ends the run
    words = ["--rate", 200, "--concurrency", 32, "--patience", 45]
    server = case.serve(clean)
    usual = case.run(server, "pause", path, "--run-dir", case.folder / "clean", *words)
    case.exits(usual, 0, "of the clean run")
    world = World()
    world.add(7, range(1, 401))
    server = case.serve(world)
    kinds = hostile(server.other_port, bomb(1024))
    victims = {100 + 5 * i: name for i, name in enumerate(kinds)}
    surplus = range(2, 400, 40)
    doubled = four(OK)
    frame = f"HTTP/1.1 200 OK\r\nContent-Length: {len(doubled)}\r\n\r\n".encode() + doubled
    wicked = always({(7, n): kinds[name] for n, name in victims.items()})

    def fault(inner: World, entry: Entry) -> Reply | None:
        if entry.kind == "pause" and entry.campaign_id in surplus and entry.nth == 1:
            return Reply(mode="raw", raw=frame + frame, code=OK, effect=True, fault="surplus")
        return wicked(inner, entry)

    world.fault = fault
    run = case.folder / "run"
    ended = case.run(server, "pause", path, "--run-dir", run, *words, timeout_s=400)
    case.exits(ended, {1, 4})
    report = case.sound(ended, world, run, rate=200, lines=lines, before=set(lines))
    others = [(7, n) for n in range(1, 401) if n not in victims]
    case.all_suspended(world, others)
    bad = {
        n: report.of(7, n).get("outcome")
        for _, n in others
        if report.of(7, n).get("outcome") != "paused"
    }
    case.check("all others are paused", not bad, dict(list(bad.items())[:5]))
    false = {
        name: report.of(7, n).get("outcome")
        for n, name in victims.items()
        if report.of(7, n).get("stopped") != "no"
    }
    case.check("no hostile answer counts as success", not false, false)
    silent = [
        name
        for n, name in victims.items()
        if not (report.of(7, n).get("error") or report.of(7, n).get("result_desc"))
    ]
    case.check("each says why", not silent, silent)
    case.note(
        "outcomes of the victims", dict(Counter(report.of(7, n).get("outcome") for n in victims))
    )
    once = [
        name
        for n, name in victims.items()
        if name.startswith("redirect") and int(report.of(7, n).get("attempts") or 0) > 1
    ]
    case.check("redirects are never repeated", not once, once)
    rise = (ended.peak_kib - usual.peak_kib) / 1024
    case.check(
        "memory rises by less than 16 MB",
        rise < 16,
        f"{usual.peak_kib / 1024:.0f} -> {ended.peak_kib / 1024:.0f} MB",
    )
    case.check("nothing reached the other port", not server.strangers, server.strangers[:2])
    case.note("wall", f"{usual.wall_s:.1f} s clean, {ended.wall_s:.1f} s hostile")


@scenario(4, "codes: numbers, one of the two, seven against eight digits")
def odd_codes(case: Case) -> None:
    cases: dict[int, tuple[bytes, str]] = {
        1: (b'{"resultCode":200000,"returnCode":200000}', "paused"),
        2: (b'{"returnCode":"0200000"}', "paused"),
        3: (b'{"resultCode":"0200000","resultDesc":"","extra":{"a":[1]}}', "paused"),
        4: (four("02000001"), "rejected"),
        5: (b'{"resultCode":2000001,"returnCode":2000001}', "rejected"),
        6: (four(PARAMETER), "rejected"),
        7: (four("0200007"), "not_found"),
        8: (four("02000011"), "rejected"),
    }
    good = {n for n, (_, outcome) in cases.items() if outcome == "paused"}
    world = World()
    world.add(7, range(1, 31))

    def answer(_: World, entry: Entry) -> Reply | None:
        if entry.kind != "pause" or entry.campaign_id not in cases:
            return None
        return Reply(
            body=cases[entry.campaign_id][0], effect=entry.campaign_id in good, fault="odd"
        )

    world.fault = answer
    server, run, lines = case.serve(world), case.folder / "run", pairs_of(world)
    ended = case.run(server, "pause", case.manifest(lines), "--run-dir", run, "--rate", 50)
    case.exits(ended, 1)
    report = read_report(run)
    got = {n: report.of(7, n).get("outcome") for n in cases}
    case.check(
        "each as its code says", got == {n: outcome for n, (_, outcome) in cases.items()}, got
    )
    sent = Counter(e.campaign_id for e in puts(world))
    case.check("one PUT each", max(sent.values(), default=0) == 1, sent.most_common(3))


def interrupted(case: Case, number: int, wanted: int) -> None:
    """One signal in mid-run, then continue."""
    world = World(latency_s=0.15)
    world.add(7, range(1, 301))
    server, run, child, lines = begun(case, world, rate=40, seen=40)
    sent_s = time.monotonic()
    child.send(number)
    ended = child.wait(60)
    case.exits(ended, wanted)
    late = [e for e in puts(world) if e.at_s > sent_s + 0.15]
    case.check(
        "nothing new is sent", not late, f"{len(late)} PUTs more than 0.15 s after the signal"
    )
    case.check(
        "it ends within a grace (<= 20 s)",
        ended.ended_s - sent_s <= 20,
        f"{ended.ended_s - sent_s:.1f} s",
    )
    report = case.sound(ended, world, run, rate=40, lines=lines, before=set(lines))
    counts = report.counts()
    case.check(
        "what was in flight is settled",
        set(counts) <= {"paused", "unattempted"} and counts["paused"] == len(puts(world)),
        f"{dict(counts)}, {len(puts(world))} PUTs",
    )
    case.check(
        "verdict interrupted",
        report.summary.get("verdict") == "interrupted",
        report.summary.get("verdict"),
    )
    case.check("it says how to finish", "continue" in ended.said, ended.said[-300:])
    done = case.run(server, "continue", run, "--rate", 200)
    case.exits(done, 0, "for continue")
    case.sound(done, world, run, rate=200, lines=lines, before=set(lines))
    case.all_suspended(world, lines)


@scenario(4, "SIGTERM: nothing new, drain, report, 143; continue finishes")
def sigterm(case: Case) -> None:
    interrupted(case, signal.SIGTERM, 143)


@scenario(4, "SIGINT: nothing new, drain, report, 130; continue finishes")
def sigint(case: Case) -> None:
    interrupted(case, signal.SIGINT, 130)


@scenario(4, "SIGHUP: nothing new, drain, report, 129; continue finishes")
def sighup(case: Case) -> None:
    interrupted(case, signal.SIGHUP, 129)


@scenario(4, "a SIGHUP that was ignored at start stays ignored")
def sighup_ignored(case: Case) -> None:
    world = World()
    world.add(7, range(1, 101))
    server, run, lines = case.serve(world), case.folder / "run", pairs_of(world)
    child = case.start(server, ["pause", case.manifest(lines), "--run-dir", run, "--rate", 40],
                       before=deaf)  # fmt: skip
    case.until(lambda: len(puts(world)) >= 20, 30)
    child.send(signal.SIGHUP)
    ended = child.wait(60)
    case.exits(ended, 0)
    case.all_suspended(world, lines)


@scenario(4, "a second signal: leave at once, the journal whole, no traceback")
def second_signal(case: Case) -> None:
    world = World()
    world.add(7, range(1, 101))
    world.fault = lambda _, e: (
        Reply(mode="hang", effect=True, fault="hang")
        if e.kind == "pause" and e.nth == 1 and e.campaign_id > 30
        else None
    )
    server, run, child, lines = begun(case, world, rate=40, seen=36)
    child.send(signal.SIGINT)
    time.sleep(0.7)
    case.check("the first one waits for what is in flight", child.alive(), "")
    sent_s = time.monotonic()
    child.send(signal.SIGINT)
    ended = child.wait(30)
    case.exits(ended, 130)
    case.check("at once (<= 2 s)", ended.ended_s - sent_s <= 2, f"{ended.ended_s - sent_s:.2f} s")
    case.check("no traceback", "Traceback" not in ended.said, ended.err[-300:])
    made = case.run(server, "report", run)
    case.check(
        "report makes the report",
        len(read_report(run).rows) == len(lines),
        f"exit {made.exit_code}",
    )
    world.fault = None
    done = case.run(server, "continue", run, "--rate", 200)
    case.exits(done, 0, "for continue")
    case.sound(done, world, run, rate=200, lines=lines, before=set(lines), interrupted=True)
    case.all_suspended(world, lines)


@scenario(4, "SIGSTOP for 6 s and SIGCONT: no burst, nothing lost")
def suspended_laptop(case: Case) -> None:
    world = World()
    world.add(7, range(1, 301))
    _, run, child, lines = begun(case, world, rate=40, seen=60)
    child.send(signal.SIGSTOP)
    time.sleep(6)
    child.send(signal.SIGCONT)
    ended = child.wait(60)
    case.exits(ended, 0)
    case.sound(ended, world, run, rate=48, lines=lines, before=set(lines))
    case.all_suspended(world, lines)


@scenario(4, "continue refuses another server: exit 2, no request to it")
def another_server(case: Case) -> None:
    world, stranger = World(), World()
    world.add(7, range(1, 61))
    stranger.add(7, range(1, 61))
    server, run, child, lines = begun(case, world, rate=20, seen=10)
    child.send(signal.SIGKILL)
    child.wait(10)
    other = case.serve(stranger)
    ended = case.run(other, "continue", run, "--base-url", other.base_url)
    case.exits(ended, 2)
    case.no_requests(stranger)
    path = case.folder / "list.csv"
    ended = case.run(other, "pause", path, "--run-dir", run, "--base-url", other.base_url)
    case.exits(ended, 2, "for pause with that --run-dir")
    case.no_requests(stranger)
    done = case.run(server, "continue", run, "--rate", 100)
    case.exits(done, 0, "with its own server")
    case.all_suspended(world, lines)


@scenario(
    4, "continue never sends a PUT for what was settled: an operator's restart is still_running"
)
def settled_restarted(case: Case) -> None:
    world = World()
    world.add(7, range(1, 101))
    server, run, child, _ = begun(case, world, rate=20, seen=30)
    child.send(signal.SIGTERM)
    case.exits(child.wait(30), 143)
    report = read_report(run)
    mine = sorted(c for c, row in report.by_campaign().items() if row["outcome"] == "paused")
    case.check("some were settled", len(mine) > 5, len(mine))
    if not mine:
        return
    world.turn(*mine[2], STARTED)
    mark_s = time.monotonic()
    done = case.run(server, "continue", run, "--rate", 100)
    case.exits(done, 1, "for continue")
    again = [e for e in puts(world) if e.at_s >= mark_s and (e.vdn_id, e.campaign_id) in mine]
    case.check("no PUT for the settled", not again, len(again))
    row = read_report(run).of(*mine[2])
    case.check("reported as still_running", row.get("outcome") == "still_running", row)
    case.check(
        "the rest is paused", len(world.with_status(STARTED)) == 1, len(world.with_status(STARTED))
    )


@scenario(4, "a damaged journal is refused with words, never half-read")
def damaged_journal(case: Case) -> None:
    world = World()
    world.add(7, range(1, 301))
    server, run, child, _ = begun(case, world, rate=40, seen=60)
    child.send(signal.SIGTERM)
    child.wait(30)
    journal = run / "journal.db"
    if not case.check("journal.db exists", journal.exists(), ""):
        return
    whole = journal.read_bytes()
    for beside in run.glob("journal.db-*"):
        beside.unlink()
    mark_s = time.monotonic()
    for name, body in (
        ("no SQLite at all", b"garbage" * 500),
        ("empty", b""),
        ("cut in half", whole[: len(whole) // 2]),
        (
            "zeros in the middle",
            whole[: len(whole) // 3] + bytes(8192) + whole[len(whole) // 3 + 8192 :],
        ),
    ):
        journal.write_bytes(body)
        for word in ("continue", "report"):
            ended = case.run(server, word, run, timeout_s=60)
            case.check(
                f"{word}: refused ({name})",
                ended.exit_code in {2, 5},
                f"exit {ended.exit_code}: {ended.err[-200:]}",
            )
            case.check(
                f"{word}: in words ({name})",
                "Traceback" not in ended.said and ended.err.strip(),
                ended.err[-200:],
            )
    case.no_requests(world, mark_s)


@scenario(4, "full disk stops a batch run before its first PUT: exit 5", root=True)
def full_disk_batch(case: Case) -> None:
    world = World()
    world.add(7, range(1, 2001))
    server, lines = case.serve(world), pairs_of(world)
    path, small = case.manifest(lines), case.folder / "small"
    with tmpfs(small, "size=64k"):
        ended = case.run(
            server, "pause", path, "--rate", 100, env={"ORCHESTRATOR_STATE_DIR": str(small)}
        )
        case.exits(ended, 5)
        case.check("no PUT without a journal", not puts(world), len(puts(world)))
        case.check(
            "in words", "Traceback" not in ended.said and ended.err.strip(), ended.err[-250:]
        )
    with tmpfs(small, "size=1m"):
        ended = case.run(
            server,
            "pause",
            path,
            "--rate",
            400,
            "--concurrency",
            32,
            env={"ORCHESTRATOR_STATE_DIR": str(small)},
        )
        if ended.exit_code == 0:
            case.note("1 MB was enough", len(puts(world)))
        else:
            case.exits(ended, 5, "when it fills in mid-run")
            case.check("in words (mid-run)", "Traceback" not in ended.said, ended.err[-250:])


@scenario(4, "two runs share campaigns; an emergency starts while a list is worked: both finish")
def shared_campaigns(case: Case) -> None:
    world = busy(120, others=8)
    before = world.with_status(STARTED)
    lines = sorted(before)
    server, run = case.serve(world), case.folder / "run"
    child = case.start(server, ["pause", case.manifest(lines), "--run-dir", run, "--rate", 10])
    case.until(lambda: len(puts(world)) >= 10, 30)
    all_run = case.folder / "all"
    ended = case.run(server, "pause-all", "--vdn", VDN, "--yes", "--rate", 50, "--run-dir", all_run)
    case.exits(ended, 0, "of the emergency")
    case.check("none is started", not world.with_status(STARTED), "")
    listed = child.wait(90)
    case.exits(listed, 0, "of the list")
    report = read_report(run)
    counts = report.counts()
    case.check(
        "paused and already_paused only",
        set(counts) <= {"paused", "already_paused"} and sum(counts.values()) == 120,
        dict(counts),
    )


@scenario(4, "a proxy, a netrc and odd surroundings change nothing")
def environment(case: Case) -> None:
    world = World()
    world.add(7, range(1, 21))
    server, lines = case.serve(world), pairs_of(world)
    (case.folder / "home" / ".netrc").write_text("machine 127.0.0.1 login x password y\n")
    (case.folder / "home" / ".netrc").chmod(0o600)
    elsewhere = f"http://127.0.0.1:{server.other_port}"
    proxies = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY")
    env: dict[str, str | None] = dict.fromkeys(proxies, elsewhere)
    env |= {"LANG": "C", "LC_ALL": "C", "TZ": "Asia/Kathmandu", "PYTHONOPTIMIZE": "1"}
    env |= {"TERM": "dumb", "NO_COLOR": "1"}
    child = case.start(
        server,
        ["pause", case.manifest(lines), "--run-dir", case.folder / "run", "--rate", 50],
        env=env,
        before=open_mask,
    )
    ended = child.wait(60)
    case.exits(ended, 0)
    case.sound(ended, world, case.folder / "run", rate=50, lines=lines, before=set(lines))
    case.check("nothing at the proxy", not server.strangers, server.strangers[:2])
    case.check("no colour off a terminal", "\x1b[" not in ended.said, "")


@scenario(4, "listing and details lie or break during look and verification: rows stay truthful")
def hostile_look(case: Case) -> None:
    for name, make in (
        ("endless listing", lambda: Reply(mode="endless", fault="hostile")),
        ("deep listing", lambda: Reply(body=b"[" * 100_000, fault="hostile")),
        ("listing in HTML", lambda: Reply(200, b"<html>", kind="text/html", fault="hostile")),
        (
            "strange rows",
            lambda: Reply(
                body=four(
                    DATABASE,
                    OK,
                    more={
                        "totalSize": 2,
                        "curPage": 1,
                        "data": [{"id": True, "status": 3}, {"id": "7/../8", "status": "3"}],
                    },
                ),
                code=OK,
                fault="hostile",
            ),
        ),
    ):
        world = World()
        world.add(7, range(1, 21))
        world.add(7, range(21, 24), SUSPENDED)
        before = world.with_status(STARTED)
        world.fault = lambda _, e, make=make: make() if e.kind == "list" else None
        server, run, lines = (
            case.serve(world),
            case.folder / f"run-{name.replace(' ', '-')}",
            pairs_of(world),
        )
        ended = case.run(
            server, "pause", case.manifest(lines), "--run-dir", run, "--rate", 50, timeout_s=180
        )
        case.exits(ended, {0, 1}, name)
        case.sound(ended, world, run, rate=50, lines=lines, before=before)
        case.all_suspended(world, lines)
        case.note(
            name,
            f"{len(lists(world))} listings, {len(puts(world, 'read'))} reads, {ended.wall_s:.1f} s",
        )
