"""Servers that mislead: faults that show a client what is not so, while the ledger stays true.

- a lie bends what a read shows, or says of a change what did not happen; the world changes through
  `World.turn` alone, so that `Campaign.story` is the truth.
- Instants are seconds since the first request that the server saw.
"""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from tests.acceptance.server import Server
from tests.acceptance.world import (
    DATABASE,
    NOT_ALLOWED,
    OK,
    PARAMETER,
    STARTED,
    SUSPENDED,
    Entry,
    Fault,
    Reply,
    World,
    chance,
    coded,
)

READS = frozenset({"list", "read"})
CHANGES = frozenset({"pause", "resume"})
EVERYTHING = READS | CHANGES

WAF = b"<html><head><title>403</title></head><body>Request blocked. Event 7f3a</body></html>"
BACKEND = b"default backend - 404"
LOGIN = b"<!DOCTYPE html><html><body><form>User <input name=u></form></body></html>"

#: description and name in Chinese; in Big5 the second byte of one character is a backslash
SUCCESS_WORDS, OTHER_WORDS, NAME_WORDS = "\u6210\u529f", "\u5931\u6557", "\u529f\u80fd\u63a8\u5ee3"


def now_s(world: World, entry: Entry) -> float:
    """Seconds since the first request."""
    return entry.at_s - world.began_s


def during(
    fault: Fault,
    start_s: float = 0.0,
    end_s: float = 1e9,
    *,
    kinds: Iterable[str] = EVERYTHING,
    vdn_id: int = 0,
    page: int = 0,
    status: str = "",
) -> Fault:
    """A fault for a while, for some kinds of requests, one VDN, one page, one status filter."""
    wanted = frozenset(kinds)

    def read(world: World, entry: Entry) -> Reply | None:
        fits = (
            entry.kind in wanted
            and vdn_id in {0, entry.vdn_id}
            and page in {0, entry.page}
            and (not status or (entry.kind == "list" and entry.listed_status == status))
            and start_s <= now_s(world, entry) < end_s
        )
        return fault(world, entry) if fits else None

    return read


def after_puts(fault: Fault, count: int = 1) -> Fault:
    """A fault that begins when so many PUTs have come."""

    def read(world: World, entry: Entry) -> Reply | None:
        return fault(world, entry) if sum(world.puts.values()) >= count else None

    return read


def only_for(campaign: tuple[int, int], fault: Fault, times: float = 1e9) -> Fault:
    """A fault for the PUTs of one campaign."""

    def read(world: World, entry: Entry) -> Reply | None:
        mine = entry.key == campaign and entry.kind in CHANGES
        return fault(world, entry) if mine and entry.nth <= times else None

    return read


def reply(make: Callable[[], Reply]) -> Fault:
    """Always this reply."""
    return lambda _world, _entry: make()


no_database = reply(lambda: coded(DATABASE, "database", "database"))
refused = reply(lambda: coded(PARAMETER, "parameter", "parameter"))


def http(status: int, body: bytes = b"<html>error</html>", **more: object) -> Fault:
    """Always this page; nothing takes effect."""
    page = Reply(status, body, kind="text/html", fault=f"http {status}", **more)  # type: ignore[arg-type]
    return lambda _world, _entry: replace(page)


waf = http(403, WAF)
backend = http(404, BACKEND)
login = http(200, LOGIN)
away = http(500)
elsewhere = http(302, b"", headers=(("Location", "https://login.invalid/"),))


def truncated(world: World, entry: Entry) -> Reply:
    """The true answer, whose second half never comes."""
    whole = world.documented(entry).body or b""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return Reply(raw=head % len(whole) + whole[: len(whole) // 2], mode="raw+close", fault="cut")


def _bent(world: World, entry: Entry, bend: Callable[[dict[str, object]], object]) -> Reply:
    true = world.documented(entry)
    document = json.loads(true.body or b"{}")
    if "data" in document:
        bend(document)
    return replace(true, body=json.dumps(document).encode(), fault="bent")


def short(rows: int = 1) -> Fault:
    """Listings lack so many rows at the beginning of each page; totalSize stays."""

    def bend(document: dict[str, object]) -> None:
        data = document["data"]
        document["data"] = data[rows:] if isinstance(data, list) else data

    return lambda world, entry: _bent(world, entry, bend)


def twice(world: World, entry: Entry) -> Reply:
    """The first row of a listing is the second one once more, so that the sum is right."""

    def bend(document: dict[str, object]) -> None:
        data = document["data"]
        if isinstance(data, list) and len(data) > 1:
            data[0] = data[1]

    return _bent(world, entry, bend)


def shows(*, everything: bool) -> Fault:
    """Listings with a status filter show every campaign, or none."""

    def read(world: World, entry: Entry) -> Reply | None:
        if entry.kind != "list" or entry.listed_status == "0":
            return None
        if everything:
            query = entry.query.replace(f"status={entry.listed_status}", "status=0")
            return replace(world.documented(replace(entry, query=query)), fault="no filter")

        def bend(document: dict[str, object]) -> None:
            document["data"], document["totalSize"] = [], 0

        return _bent(world, entry, bend)

    return read


def without_effect(campaigns: Iterable[tuple[int, int]], times: float = 1) -> Fault:
    """The first so many pauses of these that would have an effect are accepted and have none."""
    chosen = frozenset(campaigns)
    told: Counter[tuple[int, int]] = Counter()

    def read(world: World, entry: Entry) -> Reply | None:
        key = entry.key
        if entry.kind not in CHANGES or key not in chosen or told[key] >= times:
            return None
        if world.documented(entry).code != OK:
            return None
        told[key] += 1
        return coded(OK, fault="no effect")

    return read


def starting(campaigns: Iterable[tuple[int, int]], until_s: float) -> Fault:
    """These answer 0200011 until then, although they are listed as started."""
    chosen = frozenset(campaigns)

    def read(world: World, entry: Entry) -> Reply | None:
        key = entry.key
        if entry.kind == "pause" and key in chosen and now_s(world, entry) < until_s:
            return coded(NOT_ALLOWED, "status", "starting")
        return None

    return read


def now_and_then(fault: Fault, share: float, seed: int = 1) -> Fault:
    """A fault for so many of the changes, never twice in a row for one campaign."""

    def read(world: World, entry: Entry) -> Reply | None:
        hit = chance(seed, entry.vdn_id, entry.campaign_id, entry.nth // 2) < share
        return fault(world, entry) if entry.kind in CHANGES and entry.nth % 2 and hit else None

    return read


def foreign(charset: str = "utf-8", *, coding: str = "", junk: bytes = b"") -> Fault:
    """True answers in another dress: Chinese words in an encoding, a coding, stray bytes."""

    def read(world: World, entry: Entry) -> Reply | None:
        true = world.documented(entry)
        document = json.loads(true.body or b"{}")
        words = SUCCESS_WORDS if true.code == OK else OTHER_WORDS
        if charset != "utf-8" or junk:
            document["resultDesc"] = document["returnDesc"] = words
            for row in document.get("data") or []:
                row["name"] = f"{NAME_WORDS} {row['id']}"
        body = json.dumps(document, ensure_ascii=False).encode(charset)
        if junk:
            body = body.replace(words.encode(charset), junk)
        if coding == "gzip":
            body = gzip.compress(body)
        elif coding == "deflate":
            body = zlib.compress(body)
        headers = (("Content-Encoding", coding),) if coding else ()
        return replace(true, body=body, headers=headers)

    return read


def misspelt(names: dict[tuple[int, int], bytes]) -> Fault:
    """Listings and details have these bytes where the campaign's name stands."""

    def read(world: World, entry: Entry) -> Reply | None:
        if entry.kind not in READS:
            return None
        true = world.documented(entry)
        body = true.body or b""
        for (vdn_id, number), name in names.items():
            if vdn_id == entry.vdn_id:
                body = body.replace(f'"C{vdn_id}-{number}"'.encode(), b'"%b"' % name)
        return replace(true, body=body)

    return read


def lagging(lag_s: float, *, varies: bool = False, only: str = "") -> Callable[[Entry], float]:
    """For `World.lag`: reads are so far behind; `only` is filtered, unfiltered or details."""

    def behind(entry: Entry) -> float:
        which = "details"
        if entry.kind == "list":
            which = "unfiltered" if entry.listed_status == "0" else "filtered"
        if only not in {"", which}:
            return 0.0
        return lag_s * (chance("lag", entry.at_s) if varies else 1.0)

    return behind


def restless(
    server: Server, campaigns: Iterable[tuple[int, int]], after_s: float, times: float = 1e9
) -> None:
    """These start again so long after each time that they were paused."""
    chosen, done = frozenset(campaigns), Counter[tuple[int, int]]()
    world = server.world

    def watch(entry: Entry) -> None:
        key = entry.key
        if entry.kind == "pause" and entry.effect and key in chosen and done[key] < times:
            done[key] += 1
            server.loop.call_later(after_s, turn, key)

    def turn(key: tuple[int, int]) -> None:
        if world.campaigns[key[0]][key[1]].status == SUSPENDED:
            world.turn(*key, STARTED)

    world.watchers.append(watch)


def later(server: Server, at_s: float, act: Callable[[], object]) -> None:
    """Something happens so long after the first request."""
    world = server.world

    def watch(_entry: Entry) -> None:
        world.watchers.remove(watch)
        server.loop.call_later(at_s, act)

    world.watchers.append(watch)


def starts(server: Server, campaign: tuple[int, int], at_s: float) -> None:
    """This campaign starts by itself so long after the first request."""
    later(server, at_s, lambda: server.world.turn(*campaign, STARTED))
