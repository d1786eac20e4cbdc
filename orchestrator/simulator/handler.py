"""One request in, one answer out: state, signature check and faults meet here, without a socket.

The order of judgement: outage (in front of the server), signature, then the fault plan. A refused
request does not count as the campaign's nth: a client that signs again meets the same faults.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.simulator import replies
from orchestrator.simulator.faults import ABSENT, Asked, Ending, Fault, FaultPlan
from orchestrator.simulator.ledger import Entry
from orchestrator.simulator.routes import CHANGES, Call, Kind, read_call
from orchestrator.simulator.signature import REFUSAL_BODIES
from orchestrator.simulator.world import NOT_FOUND, SUCCESS

if TYPE_CHECKING:
    from orchestrator.model import CampaignRef
    from orchestrator.simulator.ledger import Ledger
    from orchestrator.simulator.signature import SignatureCheck
    from orchestrator.simulator.world import World


@dataclass(frozen=True, slots=True)
class Received:
    """One request as the wire brought it."""

    method: str
    #: path and query exactly as sent
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    connection: int = 0


@dataclass(frozen=True, slots=True)
class Played:
    """What the server is to do: wait, write, and leave the connection in some state."""

    #: what to write; b"" for nothing
    wire: bytes
    ending: Ending
    wait_s: float
    #: as it stands if all goes well; `answered` is for the server to say
    entry: Entry
    #: whether `wire` is a whole answer
    complete: bool


@dataclass(frozen=True, slots=True)
class _Answer:
    """What would be written if nothing cut it."""

    http_status: int
    body: bytes
    content_type: str
    result_code: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    #: what `body` was made from, if from JSON
    document: dict[str, object] | None = None


class Handler:
    """Everything about the server that is not the network."""

    def __init__(
        self,
        world: World,
        *,
        faults: FaultPlan,
        signature: SignatureCheck | None,
        ledger: Ledger,
        prefix: str = "",
    ) -> None:
        """Set it up; `faults` and `signature` may be replaced at any time.

        Args:
            world: the campaigns.
            faults: what goes wrong.
            signature: the keys; None accepts every request.
            ledger: where requests are counted; writing entries is the server's business.
            prefix: what stands before the documented paths.
        """
        self.world = world
        self.faults = faults
        self.signature = signature
        self.ledger = ledger
        self.prefix = prefix
        # authorised requests so far; changes are in the ledger, less the refused ones
        self._refused_puts: Counter[CampaignRef] = Counter()
        self._details: Counter[CampaignRef] = Counter()
        self._listings: Counter[int | None] = Counter()

    def receive(self, received: Received, *, now_s: float, at_s: float, wall_ms: int) -> Played:
        """Carry one request out and decide the answer.

        Args:
            received: the request.
            now_s: seconds since the server started; drifts and outages go by it.
            at_s: the server's monotonic clock, in seconds, for the ledger.
            wall_ms: the true wall clock, in milliseconds since the epoch.
        """
        self.world.advance(now_s=now_s)
        call = read_call(received.method, received.target, prefix=self.prefix)
        number = self.ledger.arrived(call.kind, call.ref, at_s=at_s)
        problem = self._signature_problem(received, wall_ms)
        entry = Entry(
            number=number,
            at_s=at_s,
            wall_ms=wall_ms,
            method=received.method,
            target=received.target,
            kind=call.kind,
            vdn_id=call.vdn_id,
            campaign_id=call.ref.campaign_id if call.ref else None,
            connection=received.connection,
            authorised=not problem,
            signature_problem=problem,
        )
        asked = Asked(
            kind=call.kind,
            nth=0 if problem else self._nth(call),
            vdn_id=call.vdn_id,
            ref=call.ref,
            request_number=number,
            now_s=now_s,
            page=call.query.page if call.query else 0,
            filtered=call.query is not None and call.query.status is not None,
        )
        if problem:
            if call.kind in CHANGES and call.ref is not None:
                self._refused_puts[call.ref] += 1
            fault = self.faults.outage(asked)
            if fault is None or fault.effect:
                return self._play(_refusal(self.signature), None, entry, asked)
        else:
            fault = self.faults.decide(asked)
        truth, took_effect = self._truth(call, asked, fault)
        return self._play(truth, fault, replace(entry, took_effect=took_effect), asked)

    def refuses_connections(self, *, now_s: float) -> bool:
        """Whether a new connection is reset at once, in an outage of that kind."""
        asked = Asked(kind=Kind.OTHER, nth=1, now_s=now_s, request_number=self.ledger.total + 1)
        fault = self.faults.outage(asked)
        return fault is not None and fault.ending is Ending.REFUSE

    def _signature_problem(self, received: Received, wall_ms: int) -> str:
        if self.signature is None:
            return ""
        return self.signature.problem(
            method=received.method,
            target=received.target,
            headers=received.headers,
            body=received.body,
            wall_ms=wall_ms,
        )

    def _nth(self, call: Call) -> int:
        if call.kind is Kind.LIST:
            self._listings[call.vdn_id] += 1
            return self._listings[call.vdn_id]
        if call.ref is None:
            return 1
        if call.kind is Kind.DETAILS:
            self._details[call.ref] += 1
            return self._details[call.ref]
        refused = self._refused_puts.get(call.ref, 0)
        return self.ledger.puts(call.ref) - refused

    def _truth(self, call: Call, asked: Asked, fault: Fault | None) -> tuple[_Answer, bool]:
        """The true answer, and whether the request changed anything."""
        if call.kind in CHANGES and call.ref is not None:
            return self._change(call.kind, call.ref, fault)
        return self._look(call, asked), False

    def _change(self, kind: Kind, ref: CampaignRef, fault: Fault | None) -> tuple[_Answer, bool]:
        if fault is not None and not fault.effect:
            return _document(replies.result(SUCCESS)), False
        code = self.world.change(CHANGES[kind], ref)
        numeric = fault is not None and fault.numeric
        return _document(replies.result(code), numeric=numeric), code == SUCCESS

    def _look(self, call: Call, asked: Asked) -> _Answer:
        if call.http_status != 200:
            return _page(call.http_status)
        as_of_s = max(0.0, asked.now_s - self.faults.lag_s(asked))
        if call.query is not None and call.vdn_id is not None:
            query = call.query
            if not self.faults.filters(asked):
                query = replace(query, status=None)
            shown = self.world.listing(call.vdn_id, query, as_of_s=as_of_s)
            page = self.faults.bend(shown, asked)
            return _document(replies.listing(page, self.world.settings))
        campaign = None
        if call.ref is not None:
            campaign = self.world.campaign(call.ref, as_of_s=as_of_s)
        if campaign is None:
            return _document(replies.result(call.refusal or NOT_FOUND))
        return _document(replies.details(campaign, self.world.settings))

    def _play(self, truth: _Answer, fault: Fault | None, entry: Entry, asked: Asked) -> Played:
        """Bend the true answer as the fault wants, dress it, and write it as bytes."""
        server_s = entry.wall_ms / 1000
        if self.signature is not None:
            server_s += self.signature.clock_offset_s
        answer = truth if fault is None else _bent(truth, fault, server_s)
        wrapping = self.faults.wrapping(asked)
        if wrapping is not None and answer.document is not None:
            headers = answer.headers + wrapping.headers
            answer = replace(answer, body=wrapping.body(answer.document), headers=headers)
        if fault is not None and fault.cut_body_bytes is not None:
            answer = replace(answer, body=answer.body[: fault.cut_body_bytes], result_code="")
        whole = replies.wire(
            answer.http_status,
            answer.body,
            content_type=answer.content_type,
            date=replies.http_date(int(server_s)),
            headers=answer.headers,
        )
        if fault is None:
            entry = replace(entry, http_status=answer.http_status, result_code=answer.result_code)
            return Played(whole, Ending.KEEP, 0.0, entry, complete=True)
        complete = fault.ending is Ending.KEEP and fault.raw is None and not fault.cut_wire_bytes
        entry = replace(
            entry,
            fault=fault.name,
            http_status=answer.http_status if complete else None,
            result_code=answer.result_code if complete else "",
        )
        return Played(_cut(whole, fault), fault.ending, fault.wait_s, entry, complete=complete)


def _bent(truth: _Answer, fault: Fault, server_s: float) -> _Answer:
    answer = truth
    if fault.codes is not None:
        first, second = fault.codes
        document = replies.result(first, second)
        answer = _document({k: v for k, v in document.items() if v is not ABSENT})
    elif fault.body is not None:
        answer = _Answer(fault.http_status, fault.body, fault.content_type)
    headers = fault.headers
    if fault.retry_after_date_s is not None:
        moment = replies.http_date(int(server_s) + fault.retry_after_date_s)
        headers += (("Retry-After", moment),)
    return replace(
        answer,
        http_status=fault.http_status if fault.http_status != 200 else answer.http_status,
        headers=headers,
    )


def _cut(whole: bytes, fault: Fault) -> bytes:
    if fault.raw is not None:
        return fault.raw
    if fault.cut_wire_bytes is not None:
        return whole[: fault.cut_wire_bytes]
    return whole if fault.ending is Ending.KEEP else b""


def _document(document: dict[str, object], *, numeric: bool = False) -> _Answer:
    shown = replies.with_numeric_codes(document) if numeric else document
    code = shown.get("resultCode", "")
    body = replies.encode(shown)
    return _Answer(200, body, replies.JSON_TYPE, str(code), document=shown)


def _page(status: int) -> _Answer:
    return _Answer(status, replies.html(status), replies.HTML_TYPE)


def _refusal(signature: SignatureCheck | None) -> _Answer:
    assert signature is not None
    content_type, body = REFUSAL_BODIES[signature.refusal_body]
    return _Answer(401, body, content_type)
