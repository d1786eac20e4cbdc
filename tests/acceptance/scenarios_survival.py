"""Issue 4: killed, cut off, lied to."""

import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.case import Case, lists, puts
from tests.acceptance.child import Child
from tests.acceptance.registry import scenario, variant
from tests.acceptance.report import read_report
from tests.acceptance.scenarios_emergency import VDN, busy
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
)


def deaf() -> None:
    """Ignore SIGHUP from the start, as nohup does."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


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


variant(4, "sigterm", "SIGTERM: nothing new, drain, report, 143; continue finishes",
        interrupted, signal.SIGTERM, 143)  # fmt: skip
variant(4, "sigint", "SIGINT: nothing new, drain, report, 130; continue finishes",
        interrupted, signal.SIGINT, 130)  # fmt: skip
variant(4, "sighup", "SIGHUP: nothing new, drain, report, 129; continue finishes",
        interrupted, signal.SIGHUP, 129)  # fmt: skip


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
