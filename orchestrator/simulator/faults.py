"""What goes wrong, and when: a seeded plan that gives the same faults for the same seed.

A decision depends on the seed, the campaign, which request to it this is, and the kind of request;
never on order, a clock, or chance. A fault is two things: does the change take effect (`effect`),
and what comes back. A campaign never meets more than `max_consecutive` seeded faults in a row.
Method: BLAKE2b over seed and request gives two numbers in [0, 1): one picks the fault by rate, the
other its variant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from math import inf
from typing import TYPE_CHECKING

from orchestrator.simulator.routes import CHANGES, HTML_TYPE, JSON_TYPE, Kind, html
from orchestrator.simulator.world import Page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.model import CampaignRef
    from orchestrator.simulator.lies import Wrapping
    from orchestrator.simulator.world import ListingQuery

#: in `codes`: the key is left out of the answer
ABSENT = object()


# -- one fault --------------------------------------------------------------------------------


class Ending(StrEnum):
    """What happens to the connection after whatever was written."""

    #: it stays open
    KEEP = "keep"
    #: it is closed in order
    CLOSE = "close"
    #: it is reset (RST)
    RESET = "reset"
    #: nothing more ever comes, until the client leaves or the server is shut down
    HANG = "hang"
    #: reset, and new connections are reset as soon as they are accepted
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing going wrong. Without `codes` and `body` the answer is the true one."""

    #: what the ledger shows
    name: str
    ending: Ending = Ending.KEEP
    #: the request is carried out as if nothing were wrong
    effect: bool = False
    #: resultCode and returnCode to answer with, any JSON value or ABSENT
    codes: tuple[object, object] | None = None
    #: codes are written as numbers, their leading zero lost
    numeric: bool = False
    http_status: int = 200
    body: bytes | None = None
    content_type: str = HTML_TYPE
    #: the header's text; "" for none
    retry_after: str = ""
    #: instead, the moment so many seconds from now, by the server's clock
    retry_after_date_s: int | None = None
    #: the body is only so many bytes long, with a Content-Length to match
    cut_body_bytes: int | None = None
    #: unless the connection stays open: only so many bytes of the whole answer are written
    cut_wire_bytes: int = 0
    #: seconds between the request (and its effect) and the answer
    wait_s: float = 0.0


def with_codes(
    result_code: object, return_code: object | None = None, *, effect: bool = False, name: str = ""
) -> Fault:
    """A 200 with these codes; the second is like the first unless given."""
    second = result_code if return_code is None else return_code
    return Fault(name or f"code {result_code}", effect=effect, codes=(result_code, second))


def with_http(
    status: int,
    *,
    effect: bool = False,
    retry_after: str = "",
    retry_after_date_s: int | None = None,
    body: bytes | None = None,
) -> Fault:
    """An HTML error page with this status; one that names the status unless `body` is given."""
    return Fault(
        f"http {status}",
        effect=effect,
        http_status=status,
        body=html(status) if body is None else body,
        retry_after=retry_after,
        retry_after_date_s=retry_after_date_s,
    )


def landed(fault: Fault) -> Fault:
    """The same fault, but the change took effect before it."""
    return replace(fault, effect=True, name=f"{fault.name}, landed")


def slow(wait_s: float) -> Fault:
    """The truth, after so many seconds."""
    return Fault("slow", effect=True, wait_s=wait_s)


def disagreeing(*, effect: bool) -> Fault:
    """One code says success, the other a database error."""
    return with_codes("0200000", "0200006", effect=effect, name="codes disagree")


DATABASE_ERROR = with_codes("0200006", name="database error")
DATABASE_ERROR_LANDED = landed(DATABASE_ERROR)
#: the change lands and the connection is closed without an answer
ANSWER_LOST = Fault("answer lost", Ending.CLOSE, effect=True)
RESET = Fault("reset", Ending.RESET)
RESET_LANDED = landed(RESET)
HANG = Fault("hang", Ending.HANG)
HANG_LANDED = landed(HANG)
REFUSED = Fault("refused", Ending.REFUSE)
UNAUTHORIZED = with_http(401)
FORBIDDEN = with_http(403)
THROTTLED = with_http(429)
LOGIN = Fault(
    "login page",
    body=b"<!DOCTYPE html><html><head><title>Log in</title></head><body><form>User</form></body>",
)
UNKNOWN_CODE = with_codes("0299999", name="unknown code")
NO_CODES = Fault("no codes", codes=(ABSENT, ABSENT))
NUMERIC_CODES = Fault("numeric codes", effect=True, numeric=True)
TRUNCATED = Fault("truncated", effect=True, cut_body_bytes=30)
CUT_OFF = Fault("cut off", Ending.CLOSE, effect=True, cut_wire_bytes=60)
EMPTY = Fault("empty", body=b"", content_type=JSON_TYPE)
#: CC-CMS has no numbers
NO_CALLS = Fault(
    "no calls", body=b'{"resultCode":"0100000","resultDesc":[]}', content_type=JSON_TYPE
)
#: success is claimed and nothing has happened
LIE = with_codes("0200000", name="success without effect")
NOT_NOW = with_codes("0200011", name="status not allowed")
#: what a gateway says while it knows no server behind it
NO_BACKEND = replace(
    with_http(404, body=b"default backend - 404"), name="no backend", content_type="text/plain"
)
#: every parameter code that pause and resume document
PARAMETER_CODES = ("0200001", *(f"020000{n:02d}" for n in range(1, 12)))

_GATEWAY_ERRORS = tuple(with_http(status) for status in (500, 502, 504))


# -- faults by chance -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FaultRates:
    """How likely each fault is, 0 to 1; together at most 1. The rest of the answers is true."""

    database_error: float = 0.0
    database_error_landed: float = 0.0
    answer_lost: float = 0.0
    reset: float = 0.0
    reset_landed: float = 0.0
    hang: float = 0.0
    throttled: float = 0.0
    unavailable: float = 0.0
    #: 500, 502 or 504
    gateway_error: float = 0.0
    gateway_error_landed: float = 0.0
    unknown_code: float = 0.0
    codes_disagree: float = 0.0
    no_codes: float = 0.0
    numeric_codes: float = 0.0
    truncated: float = 0.0
    empty: float = 0.0
    lie: float = 0.0
    too_fast: float = 0.0
    waf: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no probability."""
        each = self.values()
        if not all(0 <= rate <= 1 for rate in each) or sum(each) > 1 + 1e-9:
            raise ValueError(f"fault rates must be 0 to 1, and together at most 1: {self}")

    def values(self) -> tuple[float, ...]:
        """The rates in the order of their names in the class."""
        return tuple(getattr(self, one.name) for one in fields(self))

    @classmethod
    def mixed(cls, total: float) -> FaultRates:
        """A mixture of everything that a repeat gets over, with this total rate.

        Left out, because they give another outcome: unknown codes, lies, a firewall. Left out,
        because it costs real time: hang. Add them with `dataclasses.replace`.
        """
        parts = sum(_MIXTURE.values())
        return cls(**{name: total * share / parts for name, share in _MIXTURE.items()})


#: shares of FaultRates.mixed: the database is the fault that the documentation knows
_MIXTURE = {
    "database_error": 8,
    "database_error_landed": 2,
    "answer_lost": 2,
    "reset": 2,
    "reset_landed": 2,
    "throttled": 1,
    "unavailable": 2,
    "gateway_error": 2,
    "gateway_error_landed": 2,
    "codes_disagree": 1,
    "no_codes": 1,
    "numeric_codes": 2,
    "truncated": 2,
    "empty": 1,
}

#: rate name: the faults it stands for, one of which is picked by the seed
_FAULTS = {
    "database_error": (DATABASE_ERROR,),
    "database_error_landed": (DATABASE_ERROR_LANDED,),
    "answer_lost": (ANSWER_LOST,),
    "reset": (RESET,),
    "reset_landed": (RESET_LANDED,),
    "hang": (HANG, HANG_LANDED),
    "throttled": (THROTTLED,),
    "unavailable": (with_http(503),),
    "gateway_error": _GATEWAY_ERRORS,
    "gateway_error_landed": tuple(landed(fault) for fault in _GATEWAY_ERRORS),
    "unknown_code": (UNKNOWN_CODE,),
    "codes_disagree": (disagreeing(effect=False), landed(disagreeing(effect=True))),
    "no_codes": (NO_CODES, landed(NO_CODES)),
    "numeric_codes": (NUMERIC_CODES,),
    "truncated": (TRUNCATED, CUT_OFF),
    "empty": (EMPTY, landed(EMPTY)),
    "lie": (LIE,),
    "too_fast": (with_codes("0200022", name="called too fast"),),
    # what a web application firewall says of a request that it dislikes
    "waf": (
        replace(
            with_http(403, body=b"<html><body>Request blocked. Event ID 7f3a</body></html>"),
            name="waf",
        ),
    ),
}


@lru_cache
def _ladder(rates: FaultRates) -> tuple[tuple[float, str], ...]:
    """The rates as a ladder of limits; empty when nothing can go wrong."""
    rungs = zip(accumulate(rates.values()), rates.values(), fields(rates), strict=True)
    return tuple((limit, one.name) for limit, rate, one in rungs if rate > 0)


def draw(
    seed: int, kind: Kind, about: CampaignRef | int | None, nth: int, *, purpose: str = ""
) -> tuple[float, float]:
    """Two numbers in [0, 1) that depend on nothing but the arguments."""
    # pause and resume share their count, so they share their luck too
    family = "change" if kind in CHANGES else kind.value
    where = "-".join(map(str, about)) if isinstance(about, tuple) else about
    digest = blake2b(f"{seed}/{family}/{where}/{nth}{purpose}".encode(), digest_size=14).digest()
    # 56 bits, cut to 53: a float in [0, 1) holds no more without rounding up to 1
    return (
        (int.from_bytes(digest[:7]) >> 3) / 2**53,
        (int.from_bytes(digest[7:]) >> 3) / 2**53,
    )


# -- outages, and reads that mislead ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """What a decision may depend on."""

    kind: Kind
    #: which request this is, from 1: for changes, among the changes of this campaign; for details,
    #: among its details calls; for listings, among those of its VDN
    nth: int
    vdn_id: int | None = None
    ref: CampaignRef | None = None
    #: which request this is of all that the server has had, from 1
    request_number: int = 1
    #: seconds since the server started
    now_s: float = 0.0
    #: which page a listing wants
    page: int = 0
    #: a listing that asks for one status only
    filtered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Something holds for a while only: seconds since the server started, the end not inside."""

    start_s: float = 0.0
    end_s: float = inf

    def is_now(self, asked: Asked) -> bool:
        """Whether this request falls into that time."""
        return self.start_s <= asked.now_s < self.end_s


@dataclass(frozen=True, slots=True)
class Outage(Timed):
    """Every request of that time meets the same fault."""

    fault: Fault = DATABASE_ERROR
    #: number of the first request to the whole server that meets it, from 1
    first_request: int = 1
    #: None: every VDN
    vdn_id: int | None = None
    kinds: frozenset[Kind] = frozenset(Kind)
    #: None: every campaign
    refs: frozenset[CampaignRef] | None = None
    #: None: listings of both kinds; else those with a status filter, or those without
    filtered: bool | None = None

    def hits(self, asked: Asked) -> bool:
        """Whether this request meets it."""
        return (
            self.is_now(asked)
            and self.first_request <= asked.request_number
            and self.vdn_id in {None, asked.vdn_id}
            and asked.kind in self.kinds
            and (self.refs is None or asked.ref in self.refs)
            and self.filtered in {None, asked.filtered}
        )


class Read(StrEnum):
    """The three ways to learn a campaign's status."""

    #: a listing with a status filter
    FILTERED = "filtered"
    UNFILTERED = "unfiltered"
    DETAILS = "details"


@dataclass(frozen=True, slots=True)
class Lag(Timed):
    """Reads answer from a replica that is behind."""

    #: seconds
    lag_s: float
    #: each request is behind by anything from 0 to `lag_s`, decided by the seed
    varies: bool = False
    reads: frozenset[Read] = frozenset(Read)


class StatusFilter(StrEnum):
    """What a listing's status filter does."""

    WORKS = "works"
    #: the listing shows every campaign, as if all had been asked for
    IGNORED = "ignored"
    #: the listing shows none
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class ListingFaults(Timed):
    """What is wrong with the listings of one VDN."""

    #: these pages always fail
    failing_pages: frozenset[int] = frozenset()
    #: only so many listing requests are answered, all later ones fail; None: no such limit
    answered: int | None = None
    #: so many rows are missing at the end of each page while totalSize stays
    rows_missing: int = 0
    #: totalSize is so much too high in every second answer
    total_size_off: int = 0
    #: so many rows at the end of each page are its first row once more, so that the sum is right
    rows_repeated: int = 0
    status_filter: StatusFilter = StatusFilter.WORKS
    #: after so many listing requests all is well again
    last_request: float = inf

    def refuses(self, asked: Asked) -> bool:
        """Whether this listing request fails outright, with HTTP 500."""
        over = self.answered is not None and asked.nth > self.answered
        return over or asked.page in self.failing_pages

    def heeded(self, query: ListingQuery) -> ListingQuery:
        """What is heeded of a query."""
        ignored = self.status_filter is StatusFilter.IGNORED
        return replace(query, status=None) if ignored else query

    def bend(self, page: Page, asked: Asked) -> Page:
        """The page as this server shows it."""
        if asked.filtered and self.status_filter is StatusFilter.EMPTY:
            return Page((), 0)
        shown = max(0, len(page.rows) - self.rows_missing - self.rows_repeated)
        again = page.rows[:1] * min(self.rows_repeated, len(page.rows) - shown)
        off = self.total_size_off if asked.nth % 2 == 0 else 0
        return Page(page.rows[:shown] + again, page.total_size + off)


_HONEST = ListingFaults()


# -- the plan ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """All that goes wrong with one server.

    Asked in this order, the first that has an opinion wins: outages, listing faults, faults for
    ever, scripts, seeded rates.
    """

    seed: int = 0
    #: for pause and resume
    rates: FaultRates = FaultRates()
    #: for listings and details
    read_rates: FaultRates = FaultRates()
    #: the longest row of seeded faults that one campaign meets
    max_consecutive: int = 3
    #: campaign: what its first, second … change request meets; None: nothing. Past the end: rates
    scripted: Mapping[CampaignRef, Sequence[Fault | None]] = field(default_factory=dict)
    #: campaigns whose every change request meets the same fault
    always: Mapping[CampaignRef, Fault] = field(default_factory=dict)
    outages: tuple[Outage, ...] = ()
    #: by VDN
    listing_faults: Mapping[int, ListingFaults] = field(default_factory=dict)
    #: reads that are behind; the first that applies counts
    lags: tuple[Lag, ...] = ()
    #: how answers are dressed; the first that applies counts
    wrappings: tuple[Wrapping, ...] = ()

    def outage(self, asked: Asked) -> Fault | None:
        """The fault of the first outage that hits this request."""
        return next((one.fault for one in self.outages if one.hits(asked)), None)

    def decide(self, asked: Asked) -> Fault | None:
        """What this request meets, or None: nothing."""
        fault = self.outage(asked)
        if fault is not None:
            return fault
        if self.listing(asked).refuses(asked):
            return with_http(500)
        if asked.kind in CHANGES and asked.ref is not None:
            if asked.ref in self.always:
                return self.always[asked.ref]
            script = self.scripted.get(asked.ref, ())
            if asked.nth <= len(script):
                return script[asked.nth - 1]
        return self._seeded(asked)

    def listing(self, asked: Asked) -> ListingFaults:
        """What is wrong with this listing; of another request: nothing."""
        if asked.kind is not Kind.LIST or asked.vdn_id is None:
            return _HONEST
        found = self.listing_faults.get(asked.vdn_id, _HONEST)
        return found if found.is_now(asked) and asked.nth <= found.last_request else _HONEST

    def lag_s(self, asked: Asked) -> float:
        """How far behind the answer to this read is, in seconds."""
        read = Read.DETAILS
        if asked.kind is Kind.LIST:
            read = Read.FILTERED if asked.filtered else Read.UNFILTERED
        for lag in self.lags:
            if lag.is_now(asked) and read in lag.reads:
                return lag.lag_s * (self._chance("lag", asked) if lag.varies else 1.0)
        return 0.0

    def wrapping(self, asked: Asked) -> Wrapping | None:
        """How the answer to this request is dressed."""
        for number, one in enumerate(self.wrappings):
            if one.is_now(asked) and self._chance(f"wrapping {number}", asked) < one.share:
                return one
        return None

    def _chance(self, purpose: str, asked: Asked) -> float:
        about = asked.ref or asked.vdn_id
        return draw(self.seed, asked.kind, about, asked.nth, purpose=purpose)[0]

    def _seeded(self, asked: Asked) -> Fault | None:
        fault = self._drawn(asked, asked.nth)
        if fault is None:
            return None
        row = 1
        while asked.nth > row and self._drawn(asked, asked.nth - row):
            row += 1
        return None if row % (self.max_consecutive + 1) == 0 else fault

    def _drawn(self, asked: Asked, nth: int) -> Fault | None:
        ladder = _ladder(self.rates if asked.kind in CHANGES else self.read_rates)
        if not ladder:
            return None
        chance, variant = draw(self.seed, asked.kind, asked.ref or asked.vdn_id, nth)
        for limit, name in ladder:
            if chance < limit:
                choices = _FAULTS[name]
                return choices[int(variant * len(choices))]
        return None
