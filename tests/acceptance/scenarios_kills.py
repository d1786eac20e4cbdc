"""Issue 12: what was killed, restored, continued, or cut in place; judged by the ledger alone."""

import signal
import time
from collections import Counter
from collections.abc import Iterable

from tests.acceptance import lies
from tests.acceptance.case import Case, lists, puts
from tests.acceptance.child import Child, Ended
from tests.acceptance.evidence import (
    OTHER,
    RATE,
    VDN,
    Key,
    every,
    running,
    sent_to,
    truth,
    verdict_is,
)
from tests.acceptance.registry import scenario, variant
from tests.acceptance.server import Server
from tests.acceptance.world import DATABASE, STARTED, SUSPENDED, Entry, Reply, World, coded


def kill(child: Child, after_s: float = 0.0) -> None:
    """Kill -9, after a while."""
    time.sleep(after_s)
    child.send(signal.SIGKILL)
    child.wait(10)


def keep_on(case: Case, server: Server, run: str = "run") -> Ended:
    """`continue` of a run."""
    return case.run(server, "continue", case.folder / run)


def undo(
    case: Case, server: Server, *more: object, source: str = "stop", run: str = "undo"
) -> Ended:
    """`restore` of a run, into another."""
    words = ["restore", case.folder / source, "--yes", "--run-dir", case.folder / run]
    return case.run(server, *words, *more)


def all_run(case: Case, world: World, keys: Iterable[Key]) -> None:
    """Every one of them dials."""
    off = sorted(set(keys) - world.with_status(STARTED))
    case.check("all run", not off, off)


# -- "perhaps sent" read two ways -------------------------------------------------------------


def stopped_before(case: Case, count: int = 14) -> tuple[World, Server, list[Key]]:
    """A run that paused so many."""
    world = running(count)
    keys = every(world)
    server = case.serve(world)
    ended = case.pause(server, keys, run="stop").wait(120)
    case.exits(ended, 0, "of the stop")
    return world, server, keys


def killed_with_starts(
    case: Case, server: Server, words: Iterable[object], count: int, *, effect: bool = True
) -> list[Key]:
    """Kill a command once so many starts are unanswered, which take effect or not; these."""
    world = server.world
    before = len(puts(world, "resume"))
    seen: list[int] = []

    def swallow(_world: World, entry: Entry) -> Reply | None:
        if entry.kind != "resume" or len(seen) >= count:
            return None
        seen.append(entry.campaign_id)
        return Reply(mode="hang", effect=effect, fault="swallowed")

    world.fault = swallow
    child = case.start(server, words)
    case.until(lambda: len(puts(world, "resume")) >= before + count, 20)
    kill(child, 0.3)
    world.fault = None
    return [e.key for e in puts(world, "resume")[before:]]


def restore_killed(case: Case, server: Server, *, count: int = 6, effect: bool = True) -> list[Key]:
    """A restore that is killed with so many starts unanswered; these."""
    words = ["restore", case.folder / "stop", "--yes", "--run-dir", case.folder / "undo"]
    words += ["--rate", RATE, "--concurrency", count]
    return killed_with_starts(case, server, words, count, effect=effect)


def started_twice(case: Case, world: World, since_s: float, keys: Iterable[Key]) -> None:
    """None of these got a start after that instant."""
    again = sorted({key for key in keys if sent_to(world, key, "resume", since_s)})
    case.check("what may have been started is not started again", not again, again)


@scenario(12, "restore killed after six starts, an operator stops the six, continue", short=True)
def perhaps_operator_stops(case: Case) -> None:
    """The six stay off and are `unknown`; the other eight run."""
    world, server, keys = stopped_before(case)
    perhaps = restore_killed(case, server)
    for key in perhaps:
        world.turn(*key, SUSPENDED)
    since_s = time.monotonic()
    ended = keep_on(case, server, "undo")
    case.exits(ended, 1)
    report = truth(case, ended, world, run="undo", command="restore", readable=False)
    started_twice(case, world, since_s, perhaps)
    told = Counter(report.of(*key).get("outcome") for key in perhaps)
    case.check("the six are unknown", told == {"unknown": 6}, dict(told))
    all_run(case, world, set(keys) - set(perhaps))


@scenario(12, "restore killed, restore again: the never started are started")
def perhaps_restore_again(case: Case) -> None:
    """Six run already; eight were never sent; all run at the end, none was started twice."""
    world, server, keys = stopped_before(case)
    perhaps = restore_killed(case, server)
    since_s = time.monotonic()
    ended = undo(case, server, run="b")
    case.exits(ended, 0)
    truth(case, ended, world, run="b", command="restore")
    started_twice(case, world, since_s, perhaps)
    all_run(case, world, keys)


@scenario(12, "restore killed, the starts never took effect, continue, then --include-inferred")
def perhaps_without_effect(case: Case) -> None:
    """They are suspended and `unknown`, exit 1; asked for expressly they are started."""
    world, server, keys = stopped_before(case)
    perhaps = restore_killed(case, server, effect=False)
    since_s = time.monotonic()
    case.exits(keep_on(case, server, "undo"), 1)
    started_twice(case, world, since_s, perhaps)
    case.exits(undo(case, server, "--include-inferred", run="b"), 0, "of --include-inferred")
    all_run(case, world, keys)


@scenario(12, "restore killed, continue killed too, then restore: nothing is started twice")
def perhaps_killed_twice(case: Case) -> None:
    """Two processes with unanswered starts each."""
    world, server, keys = stopped_before(case)
    perhaps = restore_killed(case, server, count=4)
    perhaps += killed_with_starts(case, server, ["continue", case.folder / "undo"], 4)
    for key in perhaps:
        if key in world.with_status(STARTED):
            world.turn(*key, SUSPENDED)
    since_s = time.monotonic()
    undo(case, server, run="b")
    started_twice(case, world, since_s, perhaps)
    all_run(case, world, set(keys) - set(perhaps))


@scenario(12, "a list killed with eight answers under way, restore at once: all run again")
def perhaps_paused_restore(case: Case) -> None:
    """What it may have paused was seen running before: it is started like the others."""
    world = running(20)
    keys = every(world)
    server = case.serve(world)

    def unheard(world: World, entry: Entry) -> Reply | None:
        if entry.kind == "pause" and 6 < sum(world.puts.values()) <= 14:
            return Reply(mode="hang", effect=True, fault="unheard")
        return None

    world.fault = unheard
    child = case.pause(server, keys)
    case.until(lambda: len(puts(world)) >= 14, 20)
    kill(child, 0.3)
    world.fault = None
    ended = undo(case, server, source="run")
    case.exits(ended, 0)
    truth(case, ended, world, run="undo", command="restore")
    all_run(case, world, keys)


@scenario(12, "restore one second after the stop, reads 8 s behind: all start")
def lag_restore(case: Case) -> None:
    """The listings still show them started: none is `already_running`."""
    world, server, keys = stopped_before(case)
    world.lag = lies.lagging(8)
    ended = undo(case, server)
    case.exits(ended, 0)
    truth(case, ended, world, run="undo", command="restore")
    all_run(case, world, keys)
    doubled = {key for key in keys if sent_to(world, key, "resume") > 1}
    case.check("one start each", not doubled, sorted(doubled))


@scenario(12, "reads 8 s behind: stop, restore, stop again at once: all are suspended")
def lag_stop_restore_stop(case: Case) -> None:
    """The look of the second stop shows them suspended still: no `already_paused` without a PUT."""
    world, server, keys = stopped_before(case)
    world.lag = lies.lagging(8)
    case.exits(undo(case, server), 0, "of restore")
    ended = case.pause(server, keys).wait(120)
    case.exits(ended, 0)
    truth(case, ended, world)
    case.all_suspended(world, keys)


@scenario(12, "a restore's SIGTERM with doubts open: they are looked at")
def ending_restore(case: Case) -> None:
    """Starts that took effect and answered 0200006."""
    world, server, _ = stopped_before(case)

    def landed(_world: World, entry: Entry) -> Reply | None:
        if entry.kind == "resume":
            return coded(DATABASE, "database", "landed", effect=True)
        return None

    world.fault = landed
    words = ["restore", case.folder / "stop", "--yes", "--run-dir", case.folder / "undo"]
    child = case.start(server, words)
    case.until(lambda: puts(world, "resume"), 20)
    time.sleep(2.0)
    child.send(signal.SIGTERM)
    ended = child.wait(30)
    case.exits(ended, 143)
    truth(case, ended, world, run="undo", command="restore")


@scenario(12, "unverified, then continue: verified, and no PUT for what was accepted", short=True)
def checked_later(case: Case) -> None:
    """The reads work again: exit 0 without a request that changes anything."""
    world = running(6)
    world.fault = lies.after_puts(lies.during(lies.away, kinds=lies.READS))
    server = case.serve(world)
    case.exits(case.pause(server, every(world), "--deadline", 8).wait(120), 1)
    world.fault = None
    sent = len(puts(world))
    ended = keep_on(case, server)
    case.exits(ended, 0, "of continue")
    verdict_is(case, truth(case, ended, world), "complete")
    case.check("no PUT more", len(puts(world)) == sent, f"{len(puts(world)) - sent} more")


# -- a rule for lists applied to the emergency ------------------------------------------------


def continued(case: Case, server: Server, keys: Iterable[Key]) -> Ended:
    """`continue` of a killed emergency is one: these are paused by it."""
    ended = keep_on(case, server)
    case.exits(ended, 0)
    truth(case, ended, server.world, command="pause-all")
    case.all_suspended(server.world, keys)
    return ended


@scenario(12, "killed in its hold while listings fail; continue must prove anew", short=True)
def proof_killed_blind(case: Case) -> None:
    """Killed at 10 s, campaign 3 started at 8 s, listings answer 500 from 7 s to 14 s."""
    world = running(10)
    keys = every(world)
    world.fault = lies.during(lies.away, 7.0, 14.0, kinds=("list",))
    server = case.serve(world)
    lies.starts(server, (VDN, 3), 8.0)
    kill(case.pause_all(server, "--hold", 12), 10)
    continued(case, server, keys)


def seems_quiet(world: World, vdn_id: int) -> bool:
    """Two clean unfiltered listings of one VDN, 5 s apart, after its last PUT: proof, by now."""
    last_s = max((e.at_s for e in puts(world) if e.vdn_id == vdn_id), default=world.began_s)
    reads = [e.at_s for e in lists(world) if e.vdn_id == vdn_id and e.at_s > last_s]
    return bool(reads) and reads[-1] - reads[0] > 5.2


def killed_in_hold(case: Case, *restarting: Key) -> None:
    """An emergency with a hold, killed after its proof; something starts; continue."""
    vdns = sorted({vdn_id for vdn_id, _ in restarting})
    world = running(10, vdns=vdns)
    server = case.serve(world)
    child = case.pause_all(server, "--hold", 14, vdns=vdns)
    case.until(lambda: all(seems_quiet(world, one) for one in vdns), 40)
    kill(child, 1.5)
    for key in restarting:
        world.turn(*key, STARTED)
    began_s = time.monotonic()
    rest_s = continued(case, server, restarting).ended_s - began_s
    case.check("the hold goes on for what was left", rest_s > 8, f"{rest_s:.1f} s")


variant(12, "emergency_continue", "pause-all --hold killed, campaign 5 restarts, continue: paused",
        killed_in_hold, (VDN, 5), short=True)  # fmt: skip
variant(12, "emergency_continue_two", "two VDNs, killed in the hold, one restarts in each",
        killed_in_hold, (VDN, 5), (OTHER, 6))  # fmt: skip


@scenario(12, "killed among its PUTs, what was paused restarts, continue: paused")
def emergency_continue_early(case: Case) -> None:
    """No proof was there yet; what an earlier process settled is paused again."""
    world = running(40)
    keys = every(world)
    server = case.serve(world)
    child = case.pause_all(server, rate=20)
    case.until(lambda: len(puts(world)) >= 15, 20)
    kill(child)
    world.turn(*puts(world)[0].key, STARTED)
    continued(case, server, keys)


# -- identity checked, content not ------------------------------------------------------------

FILES = {
    "both": ("journal.db", "journal.db-wal"),
    "main": ("journal.db",),
    "log": ("journal.db-wal",),
}


def damage(case: Case, which: str, *, keep: float) -> None:
    """Cut files of the journal in place, at a page of theirs."""
    for path in (case.folder / "run" / name for name in FILES[which]):
        if path.exists():
            with path.open("r+b") as file:
                file.truncate(int(path.stat().st_size * keep) // 4096 * 4096)


def damaged(case: Case, which: str, keep: float, *, listed: bool) -> None:
    """The journal is cut under a run that works: no good end that cannot be undone."""
    world = running(40)
    keys = every(world)
    server = case.serve(world)
    child = case.pause(server, keys, rate=10) if listed else case.pause_all(server, rate=10)
    case.until(lambda: len(puts(world)) >= 20, 30)
    damage(case, which, keep=keep)
    ended = child.wait(90)
    case.exits(ended, {0, 5} if listed else {0, 5, 6})
    if not listed:
        case.all_suspended(world, keys)
    case.check("no traceback", "Traceback" not in ended.said)
    undone = undo(case, server, source="run")
    off = set(keys) & world.with_status(SUSPENDED)
    case.check(
        "exit 0 only for what can be undone",
        ended.exit_code != 0 or (undone.exit_code == 0 and not off),
        f"restore: exit {undone.exit_code}, {len(off)} of {len(keys)} off; {undone.err[-200:]!r}",
    )


for _name, _words, _which, _keep, _listed in (
    ("half", "a list's journal loses its second half", "both", 0.5, True),
    ("tenth", "a list's journal loses its last tenth", "both", 0.9, True),
    ("empty", "a list's journal is emptied, its log stays", "main", 0.0, True),
    ("log", "the log of a list's journal is emptied", "log", 0.0, True),
    ("log_half", "the log of a list's journal loses its second half", "log", 0.5, True),
    ("empty_all", "an emergency's journal is emptied: all stops", "both", 0.0, False),
    ("half_all", "an emergency's journal loses its second half", "both", 0.5, False),
    ("log_all", "the log of an emergency's journal is emptied", "log", 0.0, False),
):
    variant(12, f"journal_{_name}", f"{_words} in place", damaged, _which, _keep, listed=_listed,
            short=_name in {"half", "log"})  # fmt: skip


@scenario(12, "a list's journal emptied after its last PUT: exit 5, not 0")
def journal_late(case: Case) -> None:
    """Everything is settled; the verification is slow, the journal is gone."""
    world = running(10)
    keys = every(world)

    def delayed(world: World, entry: Entry) -> Reply:
        true = world.documented(entry)
        true.delay_s = 2.0
        return true

    world.fault = lies.after_puts(lies.during(delayed, kinds=("list",)), len(keys))
    child = case.pause(case.serve(world), keys)
    case.until(lambda: len(puts(world)) >= len(keys), 30)
    time.sleep(0.7)
    damage(case, "both", keep=0.0)
    case.exits(child.wait(60), 5)
