"""`--dry`: is the instrument itself right?

The signature vectors, the documented answers, every way a reply can travel, and the arithmetic of
the checks.
"""

import gzip
import http.client
import json
import time
from collections.abc import Callable

from tests.acceptance import lies
from tests.acceptance.report import worst_second
from tests.acceptance.server import Server
from tests.acceptance.signature import Signed, sign, wrong_vectors
from tests.acceptance.world import (
    COMPLETED,
    NOT_STARTED,
    STARTED,
    SUSPENDED,
    Entry,
    Reply,
    World,
    always,
    coded,
    mixed,
)

P = "/rest/isales/v1/openapi/campaigns"
LIST = "curPage={}&deviceType=0&rowsPerPage=100&status={}"


class Caller:
    """A small signed client, made for this check alone."""

    def __init__(self, server: Server, *, blank: bool = False, secret: str = "") -> None:
        self.server, self.blank = server, blank
        self.secret = secret or server.world.secret
        self.link = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)

    def ask(self, method: str, path: str, query: str = "", ahead_s: float = 0) -> tuple[int, bytes]:
        """One signed request."""
        host = f"127.0.0.1:{self.server.port}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + ahead_s))
        signed = sign(
            Signed(method, path, query, {"host": host}),
            access_key=self.server.world.access_key,
            secret=self.secret,
            stamp=stamp,
            blank_query_line=self.blank,
        )
        kind = "application/json; charset=UTF-8"
        target = path + ("?" + query if query else "")
        self.link.request(
            method, target, headers={"Authorization": signed, "Content-Type": kind, "Host": host}
        )
        answer = self.link.getresponse()
        return answer.status, answer.read()

    def code(self, method: str, path: str, query: str = "") -> str:
        """The result code of one request."""
        status, body = self.ask(method, path, query)
        return str(json.loads(body).get("resultCode")) if status == 200 else f"HTTP {status}"


def instrument(check: Callable[[str, object, object], object]) -> None:
    """Everything the scenarios rely on."""
    check("eleven signature vectors", not wrong_vectors(), wrong_vectors())
    check("worst second counts [t, t+1)", worst_second([0, 0.5, 0.999, 1.0, 1.4]) == 4, "")
    world = World(secret="s3cret", latency_s=0)
    world.add(12, range(1, 151))
    world.add(12, [201], SUSPENDED)
    world.add(12, [202], COMPLETED)
    world.add(12, [203], NOT_STARTED)
    with Server(world) as server:
        _documented(check, world, Caller(server))
        _refusals(check, world, server)
        _ways(check, world, server)
        _lies(check, world, Caller(server))


def _documented(check: Callable[[str, object, object], object], world: World, me: Caller) -> None:
    wanted = {"1": "0200000", "201": "0200011", "202": "0200011", "203": "0200011", "9": "0200000"}
    got = {one: me.code("PUT", f"{P}/12/{one}/pause") for one in wanted}
    check("pause: codes", got == wanted, got)
    check("pause again", me.code("PUT", f"{P}/12/1/pause") == "0200011", "")
    check("missing campaign", me.code("PUT", f"{P}/12/999/pause") == "0200007", "")
    check("vdn out of range", me.code("PUT", f"{P}/10000/1/pause") == "02000007", "")
    check("resume", me.code("PUT", f"{P}/12/1/resume") == "0200000", "")
    check("unknown path", me.code("PUT", f"{P}/12/1/stop") == "HTTP 404", "")
    pages = [json.loads(me.ask("GET", f"{P}/12", LIST.format(n, 2))[1]) for n in (0, 1, 2, 3)]
    sizes = [(page["curPage"], page["totalSize"], len(page["data"])) for page in pages]
    check("paging", sizes == [(1, 149, 100), (1, 149, 100), (2, 149, 49), (3, 149, 0)], sizes)
    check("listing needs status", me.code("GET", f"{P}/12", "curPage=1") == "02000001", "")
    check(
        "101 rows a page",
        me.code("GET", f"{P}/12", LIST.format(1, 0).replace("100", "101")) == "02000007",
        "",
    )
    read = json.loads(me.ask("GET", f"{P}/12/201")[1])["returnObject"]
    check("details", (read["status"], read["id"]) == (3, 201), read)
    check("ledger has all of it", len(world.ledger) == 17, len(world.ledger))


def _refusals(check: Callable[[str, object, object], object], world: World, server: Server) -> None:
    wrong = Caller(server, secret="other")
    check("wrong secret", wrong.ask("GET", f"{P}/12/201")[0] == 401, "")
    late = Caller(server)
    check("901 s behind", late.ask("GET", f"{P}/12/201", ahead_s=-901)[0] == 401, "")
    check("890 s behind", late.ask("GET", f"{P}/12/201", ahead_s=-890)[0] == 200, "")
    world.blank_query_line = True
    check("switch A, read", Caller(server).ask("GET", f"{P}/12/201")[0] == 401, "")
    check("switch A, list", Caller(server).ask("GET", f"{P}/12", LIST.format(1, 0))[0] == 200, "")
    check("switch A, healed", Caller(server, blank=True).ask("GET", f"{P}/12/201")[0] == 200, "")
    world.blank_query_line = False


def _lies(check: Callable[[str, object, object], object], world: World, me: Caller) -> None:
    """What is shown is a lie, what is kept is the truth."""

    def shown(status: int = 0) -> list[int]:
        page = json.loads(me.ask("GET", f"{P}/30", LIST.format(1, status))[1])
        return [row["status"] for row in page["data"]]

    world.fault = None
    world.add(30, [1, 2, 3])
    began_s = time.monotonic()
    me.code("PUT", f"{P}/30/1/pause")
    world.lag = lies.lagging(60)
    check("lag: the past", (shown(), shown(2)) == ([2, 2, 2], [2, 2, 2]), shown())
    world.lag = lies.lagging(60, only="filtered")
    check("lag of the filter alone", (shown(), shown(2)) == ([3, 2, 2], [2, 2, 2]), shown())
    world.lag = None
    check("no lag: the present", (shown(), shown(2)) == ([3, 2, 2], [2, 2]), shown())
    campaign = world.campaigns[30][1]
    told = campaign.at(began_s), campaign.at(time.monotonic())
    check("the truth has its times", told == (STARTED, SUSPENDED), campaign.story)
    for everything, wanted in ((True, [3, 2, 2]), (False, [])):
        world.fault = lies.shows(everything=everything)
        check(f"filter shows {everything}", shown(2) == wanted and len(shown()) == 3, shown(2))
    world.fault = lies.short()
    check("short listing", shown() == [2, 2], shown())
    world.fault = lies.without_effect([(30, 2)])
    codes = [me.code("PUT", f"{P}/30/2/pause") for _ in range(3)]
    check("no effect once", codes == ["0200000", "0200000", "0200011"], codes)
    world.fault = lies.foreign("big5")
    body = me.ask("GET", f"{P}/30", LIST.format(1, 0))[1]
    check("Big5 has a backslash within a character", b"\xa5\\" in body, body[:60])
    world.fault = lies.foreign(coding="gzip")
    packed = me.ask("GET", f"{P}/30", LIST.format(1, 0))[1]
    check("gzip", len(json.loads(gzip.decompress(packed))["data"]) == 3, len(packed))
    world.fault = None


def _ways(check: Callable[[str, object, object], object], world: World, server: Server) -> None:
    cut = (http.client.RemoteDisconnected, ConnectionResetError, TimeoutError)
    replies = {
        "close": Reply(mode="close", effect=True),
        "reset": Reply(mode="reset"),
        "hang": Reply(mode="hang"),
        "raw+close": Reply(mode="raw+close", raw=b"HTT"),
    }
    for name, reply in replies.items():
        world.fault = always({(12, 100): lambda reply=reply: reply})  # type: ignore[misc]
        me = Caller(server)
        me.link.timeout = 0.5
        try:
            got = str(me.ask("PUT", f"{P}/12/100/pause"))
        except (*cut, http.client.HTTPException) as error:
            got = type(error).__name__
        check(f"reply that ends in {name}", not got.startswith("("), got)
    check("lost answer took effect", world.campaigns[12][100].status == SUSPENDED, "")
    world.fault = None
    me = Caller(server)
    me.link.request("GET", "/", headers={"Host": "x"})
    check("an unsigned request is 401", me.link.getresponse().status == 401, "")
    world.fault = always({(12, 102): lambda: coded("0200006", effect=True)})
    check("after the effect", Caller(server).code("PUT", f"{P}/12/102/pause") == "0200006", "")
    check("effect in the ledger", world.ledger[-1].effect, world.ledger[-1])
    world.add(13, range(1, 2001))
    world.fault = mixed(1, database=0.08, lost=0.03, reset=0.02, broken=0.02)
    drawn = [world.fault(world, _entry(world, number)) for number in range(1, 2001)]
    shares = {
        name: sum(1 for d in drawn if d and d.fault == name) / 20
        for name in ("database", "lost", "reset", "5xx")
    }
    close = all(
        abs(shares[n] - p) < 1.5
        for n, p in (("database", 8), ("lost", 3), ("reset", 2), ("5xx", 2))
    )
    check("shares of mixed faults, percent", close, shares)
    world.fault = None


def _entry(world: World, number: int) -> Entry:
    entry = Entry(0, 0, 0, "PUT", f"{P}/13/{number}/pause", "", "")
    world.identify(entry)
    return entry
