"""What goes wrong, and when: a seeded plan that gives the same faults for the same seed.

A decision depends on the seed, the campaign, which request to it this is, and the kind of request;
never on order, a clock, or chance. A fault is two things: does the change take effect (`effect`),
and what comes back. A campaign never meets more than `max_consecutive` seeded faults in a row.
Method: BLAKE2b over seed and request gives two numbers in [0, 1): one picks the fault by rate, the
other its variant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import blake2b
from typing import TYPE_CHECKING

from orchestrator.simulator.reads import HONEST, Asked, Lag, ListingFaults, Read, Timed
from orchestrator.simulator.routes import CHANGES, HTML_TYPE, JSON_TYPE, Kind, html

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.model import CampaignRef
    from orchestrator.simulator.lies import Wrapping

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


#: shares of `mixed`: the database is the fault that the documentation knows
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

#: the faults that a name among rates stands for, one of which is picked by the seed
BY_CHANCE = {
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


def mixed(total: float) -> dict[str, float]:
    """Rates of everything that a repeat gets over, together `total`.

    Left out, because they give another outcome: unknown codes, lies, a firewall. Left out, because
    it costs real time: hang.
    """
    parts = sum(_MIXTURE.values())
    return {name: total * share / parts for name, share in _MIXTURE.items()}


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


# -- the plan ---------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """All that goes wrong with one server.

    Asked in this order, the first that has an opinion wins: outages, listing faults, faults for
    ever, scripts, seeded rates.
    """

    seed: int = 0
    #: for pause and resume: a name of BY_CHANCE → how likely it is, 0 to 1; the rest is true
    rates: Mapping[str, float] = field(default_factory=dict)
    #: the same for listings and details
    read_rates: Mapping[str, float] = field(default_factory=dict)
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

    def __post_init__(self) -> None:
        """Refuse what is no probability of a fault that we know."""
        for rates in (self.rates, self.read_rates):
            is_sound = min(rates.values(), default=0) >= 0 and sum(rates.values()) <= 1 + 1e-9
            if not is_sound or not rates.keys() <= BY_CHANCE.keys():
                raise ValueError(f"fault rates are 0 to 1, and together at most 1: {rates}")

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
            return HONEST
        found = self.listing_faults.get(asked.vdn_id, HONEST)
        return found if found.is_now(asked) and asked.nth <= found.last_request else HONEST

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
        rates = self.rates if asked.kind in CHANGES else self.read_rates
        if not rates:
            return None
        chance, variant = draw(self.seed, asked.kind, asked.ref or asked.vdn_id, nth)
        limit = 0.0
        for name, choices in BY_CHANCE.items():
            limit += rates.get(name, 0.0)
            if chance < limit:
                return choices[int(variant * len(choices))]
        return None
