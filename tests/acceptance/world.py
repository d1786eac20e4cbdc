"""What the independent server knows: campaigns, what each answer does, and the ledger.

- No socket and no loop in this file; `server.py` moves bytes.
- The world changes only through `Campaign.turn`, so the ledger and the world agree.
- a fault is a function of the request. It returns a Reply, or None for "as documented".
Source of paths, codes and paging: docs/spec/interface.md.
"""

import hashlib
import json
import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_plus

NOT_STARTED, STARTED, SUSPENDED, COMPLETED = 1, 2, 3, 4
OK = "0200000"
PARAMETER = "0200001"
DATABASE = "0200006"
MISSING = "0200007"
NOT_ALLOWED = "0200011"
EMPTY_PARAMETER = "02000001"
BAD_VALUE = "02000007"

_ROOT = "/rest/isales/v1/openapi/campaigns/"
_ONE = re.compile(re.escape(_ROOT) + r"([0-9]+)/([0-9]+)/(pause|resume)", re.ASCII)
_READ = re.compile(re.escape(_ROOT) + r"([0-9]+)/([0-9]+)", re.ASCII)
_LIST = re.compile(re.escape(_ROOT) + r"([0-9]+)", re.ASCII)
#: CC-CMS, another service: calls in progress of one campaign
_CALLS = "/rest/cmsapp/v1/openapi/fromisales/realstatistic"
CMS_OK = "0100000"
_LISTABLE = {"0": None, "2": STARTED, "3": SUSPENDED, "4": COMPLETED}
_DEVICES = {"0", "1", "2", "3", "5", "6"}


@dataclass(slots=True)
class Campaign:
    """One campaign as the server has it."""

    vdn_id: int
    campaign_id: int
    status: int = STARTED
    changed: float = 0.0
    name: str = ""
    begin: str = "2025-01-01 08:00:00"
    story: list[tuple[float, int]] = field(default_factory=list)

    def at(self, at_s: float) -> int:
        """The true status at a monotonic instant; before its first change it is the first one."""
        told = self.story[0][1] if self.story else self.status
        for since_s, status in self.story:
            if since_s > at_s:
                break
            told = status
        return told


@dataclass(slots=True)
class Entry:
    """One request as it arrived and what became of it. Times are monotonic seconds."""

    at_s: float
    wall_s: float
    peer: int
    method: str
    path: str
    query: str
    kind: str
    vdn_id: int = 0
    campaign_id: int = 0
    nth: int = 0
    status: int = 0
    code: str = ""
    fault: str = ""
    effect: bool = False
    refused: str = ""
    manners: str = ""
    answered_s: float = 0.0
    delivered: bool = False
    page: int = 0
    listed_status: str = ""
    body: bytes = b""

    @property
    def key(self) -> tuple[int, int]:
        """VDN and campaign."""
        return self.vdn_id, self.campaign_id


@dataclass(slots=True)
class Reply:
    """What goes back. `mode` says how the bytes travel; `effect` lets the change happen first."""

    status: int = 200
    body: bytes | None = None
    code: str = ""
    fault: str = ""
    effect: bool = False
    mode: str = "answer"
    headers: tuple[tuple[str, str], ...] = ()
    raw: bytes = b""
    delay_s: float = 0.0
    kind: str = "application/json; charset=UTF-8"


Fault = Callable[["World", Entry], "Reply | None"]


def four(code: str, text: str = "", more: Mapping[str, object] | None = None) -> bytes:
    """The documented envelope."""
    document = {"resultCode": code, "resultDesc": text, "returnCode": code, "returnDesc": text}
    return json.dumps(document | dict(more or {}), separators=(",", ":")).encode()


def coded(code: str, text: str = "", fault: str = "", *, effect: bool = False) -> Reply:
    """HTTP 200 with a result code."""
    return Reply(body=four(code, text), code=code, fault=fault, effect=effect)


def chance(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the parts."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@dataclass
class World:
    """Campaigns by (VDN, id), settings of this server, and everything it ever saw."""

    access_key: str = "AKACCEPT0001"
    secret: str = "unset"
    window_s: float = 900.0
    clock_ahead_s: float = 0.0
    blank_query_line: bool = False
    order: str = "id"
    empty_data: object = field(default_factory=list)
    ids_as_text: bool = False
    latency_s: float = 0.002
    fault: Fault | None = None
    #: seconds that the answer to a read is behind
    lag: Callable[[Entry], float] | None = None
    #: what execCount says of (VDN, campaign) at a monotonic instant; None: no CC-CMS here
    calls: Callable[[int, int, float], object] | None = None
    campaigns: dict[int, dict[int, Campaign]] = field(default_factory=dict)
    ledger: list[Entry] = field(default_factory=list)
    watchers: list[Callable[[Entry], None]] = field(default_factory=list)
    puts: dict[tuple[int, int], int] = field(default_factory=dict)
    version: int = 0
    _cache: dict[tuple[int, str], tuple[int, list[Campaign]]] = field(default_factory=dict)

    def add(
        self,
        vdn_id: int,
        ids: Iterable[int],
        status: int = STARTED,
        *,
        begin: str = "2025-01-01 08:00:00",
    ) -> list[int]:
        """Put campaigns into a VDN; the ids again, as a list."""
        there = self.campaigns.setdefault(vdn_id, {})
        added = list(ids)
        for number in added:
            name = f"C{vdn_id}-{number}"
            there[number] = Campaign(
                vdn_id, number, status, chance("order", vdn_id, number), name, begin
            )
        self.version += 1
        return added

    def find(self, vdn_id: int, campaign_id: int) -> Campaign | None:
        """The campaign, if there is one."""
        return self.campaigns.get(vdn_id, {}).get(campaign_id)

    def turn(self, vdn_id: int, campaign_id: int, status: int) -> None:
        """Change a status, as an operator, a schedule or a request would."""
        campaign = self.campaigns[vdn_id][campaign_id]
        if not campaign.story:
            campaign.story.append((0.0, campaign.status))
        campaign.status = status
        campaign.changed = time.monotonic()
        campaign.story.append((campaign.changed, status))
        self.version += 1

    def with_status(self, status: int) -> set[tuple[int, int]]:
        """Every (VDN, id) in that status now."""
        return {
            (vdn_id, number)
            for vdn_id, there in self.campaigns.items()
            for number, campaign in there.items()
            if campaign.status == status
        }

    @property
    def began_s(self) -> float:
        """When the first request came, monotonic; 0 before it."""
        return self.ledger[0].at_s if self.ledger else 0.0

    # -- what a request means ------------------------------------------------

    def identify(self, entry: Entry) -> None:
        """Fill in kind, VDN, campaign and how often this campaign was asked for."""
        if found := _ONE.fullmatch(entry.path):
            entry.kind = found[3] if entry.method == "PUT" else "other"
        elif found := _READ.fullmatch(entry.path):
            entry.kind = "read" if entry.method == "GET" else "other"
        elif found := _LIST.fullmatch(entry.path):
            entry.kind = "list" if entry.method == "GET" else "other"
        elif entry.path == _CALLS and entry.method == "POST" and self.calls:
            entry.kind = "calls"
            entry.vdn_id, entry.campaign_id = called_for(entry.body)
            return
        else:
            entry.kind = "other"
            return
        entry.vdn_id = int(found[1])
        entry.campaign_id = int(found[2]) if found.re is not _LIST else 0
        if entry.kind in {"pause", "resume"}:
            key = entry.key
            entry.nth = self.puts[key] = self.puts.get(key, 0) + 1
        if entry.kind == "list":
            asked = self._asked(entry.query)
            entry.listed_status = asked.get("status", "")
            page = asked.get("curPage", "")
            entry.page = max(1, int(page)) if page.isdigit() else 0

    def reply(self, entry: Entry) -> Reply:
        """The answer to a well-signed request, with its effect applied."""
        reply = (self.fault(self, entry) if self.fault else None) or self.documented(entry)
        if reply.effect:
            entry.effect = self.apply(entry)
        return reply

    def documented(self, entry: Entry) -> Reply:
        """What the documentation says this request gets."""
        if entry.kind == "other":
            return Reply(404, b"<html>not here</html>", fault="", kind="text/html")
        if entry.kind == "calls" and self.calls:
            if not 1 <= entry.vdn_id <= 5000 or not entry.campaign_id:
                return cms("0100006", "parameter error")
            number = self.calls(*entry.key, entry.at_s)
            return cms(CMS_OK, [statistics(number)])
        if not 1 <= entry.vdn_id <= 9999:
            return coded(BAD_VALUE, "vdnId")
        if entry.kind == "list":
            return self._listing(entry)
        campaign = self.find(*entry.key)
        if campaign is None:
            return coded(MISSING, "the outbound campaign does not exist")
        if entry.kind == "read":
            then = self._as_shown([campaign], entry)[0]
            body = four(OK, more={"returnObject": self.row(then) | {"description": ""}})
            return Reply(body=body, code=OK)
        wanted = STARTED if entry.kind == "pause" else SUSPENDED
        if campaign.status != wanted:
            return coded(NOT_ALLOWED, "the status does not allow this")
        return coded(OK, effect=True)

    def apply(self, entry: Entry) -> bool:
        """Let a pause or resume take effect; whether anything changed."""
        campaign = self.find(*entry.key)
        before, after = {"pause": (STARTED, SUSPENDED), "resume": (SUSPENDED, STARTED)}.get(
            entry.kind, (0, 0)
        )
        if campaign is None or campaign.status != before:
            return False
        self.turn(*entry.key, after)
        return True

    def row(self, campaign: Campaign) -> dict[str, object]:
        """One campaign as listings and details show it."""
        return {
            "id": str(campaign.campaign_id) if self.ids_as_text else campaign.campaign_id,
            "name": campaign.name,
            "status": campaign.status,
            "strBeginTime": campaign.begin,
            "strEndTime": "2030-12-31 20:00:00",
            "deviceType": 2,
            "callerNo": "5550100",
        }

    @staticmethod
    def _asked(query: str) -> dict[str, str]:
        pairs = (part.partition("=") for part in query.split("&") if part)
        return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}

    def rows_of(self, vdn_id: int, status: str) -> list[Campaign]:
        """The campaigns of a listing, in this server's order."""
        key = vdn_id, status
        held = self._cache.get(key)
        if held and held[0] == self.version:
            return held[1]
        wanted = _LISTABLE[status]
        rows = [
            campaign
            for campaign in self.campaigns.get(vdn_id, {}).values()
            if wanted is None or campaign.status == wanted
        ]
        if self.order == "recent":
            rows.sort(key=lambda campaign: -campaign.changed)
        else:
            rows.sort(key=lambda campaign: campaign.campaign_id)
        self._cache[key] = self.version, rows
        return rows

    def _as_shown(self, campaigns: Iterable[Campaign], entry: Entry) -> list[Campaign]:
        """These campaigns as a read shows them that is behind."""
        shown_s = entry.at_s - (self.lag(entry) if self.lag else 0.0)
        return [replace(one, status=one.at(shown_s), story=[]) for one in campaigns]

    def _listing(self, entry: Entry) -> Reply:
        asked = self._asked(entry.query)
        for name in ("status", "deviceType", "curPage", "rowsPerPage"):
            if not asked.get(name):
                return coded(EMPTY_PARAMETER, name)
        size, page = asked["rowsPerPage"], asked["curPage"]
        if asked["status"] not in _LISTABLE or asked["deviceType"] not in _DEVICES:
            return coded(BAD_VALUE, "status or deviceType")
        if not size.isdigit() or not 1 <= int(size) <= 100 or not page.lstrip("-").isdigit():
            return coded(BAD_VALUE, "rowsPerPage or curPage")
        if self.lag:
            wanted = _LISTABLE[asked["status"]]
            every = self._as_shown(self.rows_of(entry.vdn_id, "0"), entry)
            rows = [one for one in every if wanted in {None, one.status}]
        else:
            rows = self.rows_of(entry.vdn_id, asked["status"])
        number, count = max(1, int(page)), int(size)
        shown = [self.row(campaign) for campaign in rows[(number - 1) * count : number * count]]
        return listing(number, len(rows), count, shown or self.empty_data)


def listing(page: int, total: int, size: int, shown: object) -> Reply:
    """One page; `shown` is a list, None for null, or the text "missing" for no `data` at all."""
    more: dict[str, object] = {
        "curPage": page,
        "totalSize": total,
        "rowsPerPage": size,
        "curSkillQueueCount": 0,
        "curIvrCount": 0,
    }
    if shown != "missing":
        more["data"] = shown
    return Reply(body=four(OK, more=more), code=OK)


def called_for(body: bytes) -> tuple[int, int]:
    """VDN and campaign in a request to CC-CMS; zeros where they are not as documented."""
    try:
        asked = json.loads(body)
    except ValueError:
        return 0, 0
    vdn_id, task = asked.get("vdn"), str(asked.get("taskId"))
    if type(vdn_id) is not int or not task.isdigit() or len(task) > 30:
        return 0, 0
    return vdn_id, int(task)


def cms(code: str, desc: object) -> Reply:
    """What CC-CMS answers: one code, and an array of objects on success."""
    body = json.dumps({"resultCode": code, "resultDesc": desc}).encode()
    return Reply(body=body, code=code)


def statistics(calls: object) -> dict[str, object]:
    """The statistics of one campaign, as documented."""
    return {
        "totalCount": 200,
        "succCount": 150,
        "failCount": 50,
        "compCount": 200,
        "waitCount": 7,
        "execCount": calls,
        "succRate": "75.00%",
        "compRate": "96.00%",
    }


# -- faults, by the share of attempts they hit --------------------------------------------

HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def mixed(
    seed: int,
    *,
    database: float = 0.0,
    lost: float = 0.0,
    reset: float = 0.0,
    broken: float = 0.0,
    hang: float = 0.0,
    at_most: int = 5,
    kinds: frozenset[str] = frozenset({"pause", "resume"}),
) -> Fault:
    """Faults drawn for each attempt of each campaign; half of each kind after the effect.

    A lost answer is always after the effect. `at_most` faults hit one campaign, so that
    a run with that many attempts and one more can always end well.
    """

    def draw(world: World, entry: Entry) -> Reply | None:
        if entry.kind not in kinds or entry.nth > at_most:
            return None
        if world.documented(entry).code != OK:
            return None  # keep the documented refusals as they are
        key: tuple[object, ...] = (seed, entry.kind, *entry.key, entry.nth)
        if entry.kind in {"list", "read"}:
            key = (*key, len(world.ledger))
        point, half = chance("fault", *key), chance("half", *key) < 0.5
        status = (500, 502, 504)[int(chance("status", *key) * 3)]
        # a 5xx that claims success in its body is a 5xx all the same
        lying = chance("lie", *key) < 0.3
        body, kind = (four(OK), "application/json") if lying else (HTML, "text/html")
        for share, reply in (
            (database, coded(DATABASE, "database operation error", "database", effect=half)),
            (lost, Reply(mode="close", effect=True, fault="lost")),
            (reset, Reply(mode="reset", effect=half, fault="reset")),
            (broken, Reply(status, body, fault="5xx", effect=half, kind=kind)),
            (hang, Reply(mode="hang", effect=half, fault="hang")),
        ):
            if point < share:
                return reply
            point -= share
        return None

    return draw


def scripted(faults: dict[tuple[int, int], list[Reply]], *, kind: str = "pause") -> Fault:
    """The first answers of some campaigns, one after another; the last one is not repeated."""

    def read(world: World, entry: Entry) -> Reply | None:
        lines = faults.get(entry.key)
        if entry.kind != kind or lines is None or entry.nth > len(lines):
            return None
        return lines[entry.nth - 1]

    return read


def always(
    faults: dict[tuple[int, int], Callable[[], Reply]], *, kinds: tuple[str, ...] = ("pause",)
) -> Fault:
    """The same answer to some campaigns for ever."""

    def read(world: World, entry: Entry) -> Reply | None:
        make = faults.get(entry.key)
        return make() if make and entry.kind in kinds else None

    return read


def first_of(*faults: Fault | None) -> Fault:
    """The first fault that has something to say."""

    def read(world: World, entry: Entry) -> Reply | None:
        for fault in faults:
            if fault and (reply := fault(world, entry)):
                return reply
        return None

    return read


@dataclass
class Outage:
    """Everything gets the same answer for a while, from a request or an instant on."""

    lasts_s: float
    reply: Callable[[], Reply]
    after_puts: int = 0
    began_s: float = 0.0
    seen_puts: int = 0

    @property
    def ended_s(self) -> float:
        """When it was over, monotonic."""
        return self.began_s + self.lasts_s

    def __call__(self, world: World, entry: Entry) -> Reply | None:
        """The outage's answer while it lasts."""
        self.seen_puts += entry.kind in {"pause", "resume"}
        if not self.began_s and self.seen_puts >= self.after_puts:
            self.began_s = entry.at_s
        if self.began_s and entry.at_s < self.ended_s:
            return self.reply()
        return None


def shuffled(seed: int, ids: Iterable[int]) -> list[int]:
    """The ids in an order that the seed decides."""
    out = list(ids)
    random.Random(seed).shuffle(out)
    return out
