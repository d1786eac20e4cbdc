"""One request in, one answer out: state, signature check and faults meet here, without a socket.

The order of judgement: outage (in front of the server), signature, then the fault plan. A refused
request does not count as the campaign's nth: a client that signs again meets the same faults.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.simulator import cms, routes
from orchestrator.simulator.faults import ABSENT, Ending, Fault, FaultPlan
from orchestrator.simulator.ledger import Entry
from orchestrator.simulator.reads import Asked
from orchestrator.simulator.routes import CHANGES, Call, Kind, read_call
from orchestrator.simulator.world import NOT_FOUND, SUCCESS, Row

if TYPE_CHECKING:
    from orchestrator.model import CampaignRef
    from orchestrator.simulator.ledger import Ledger
    from orchestrator.simulator.routes import Received
    from orchestrator.simulator.signature import SignatureCheck
    from orchestrator.simulator.world import World


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


class _Answer(NamedTuple):
    """What would be written if nothing cut it."""

    http_status: int
    body: bytes
    content_type: str
    #: what `body` was made from, if from JSON
    document: dict[str, object] | None = None


class Handler:
    """Everything about the server that is not the network."""

    def __init__(
        self, world: World, *, faults: FaultPlan, signature: SignatureCheck | None, ledger: Ledger
    ) -> None:
        """Set it up; `faults`, and `signature` (None accepts all), may be replaced later."""
        self.world = world
        self.faults = faults
        self.signature = signature
        self.ledger = ledger
        #: authorised requests so far; pauses and resumes of a campaign are counted together
        self._asked: Counter[tuple[str, CampaignRef | int | None]] = Counter()

    def receive(self, received: Received, *, now_s: float, wall_ms: int) -> Played:
        """Carry one request out and decide the answer.

        `now_s` counts from the start of the server, `wall_ms` is the true wall clock.
        """
        self.world.advance(now_s=now_s)
        call = read_call(received.method, received.target)
        if call.kind is Kind.CALLS:
            call = cms.with_body(call, received.body)
        number = self.ledger.arrived(call.kind, call.ref, at_s=now_s)
        problem = self.signature.problem(received, wall_ms=wall_ms) if self.signature else ""
        asked = self._request(call, number, now_s, authorised=not problem)
        fault = self.faults.outage(asked) if problem else self.faults.decide(asked)
        took_effect = False
        if problem and (fault is None or fault.effect):
            answer, fault = _REFUSAL, None
        elif call.kind in CHANGES and call.ref is not None:
            answer, took_effect = self._change(call.kind, call.ref, fault)
        else:
            answer = self._look(call, asked)
        entry = Entry(
            number=number,
            at_s=now_s,
            target=received.target,
            kind=call.kind,
            vdn_id=call.vdn_id,
            ref=call.ref,
            signature_problem=problem,
            fault=fault.name if fault else "",
            took_effect=took_effect,
        )
        ahead_s = self.signature.clock_offset_s if self.signature else 0.0
        return self._play(answer, fault, entry, asked, server_s=int(wall_ms / 1000 + ahead_s))

    def refuses_connections(self, *, now_s: float) -> bool:
        """Whether a new connection is reset at once, in an outage of that kind."""
        asked = Asked(kind=Kind.OTHER, nth=1, now_s=now_s, request_number=self.ledger.total + 1)
        fault = self.faults.outage(asked)
        return fault is not None and fault.ending is Ending.REFUSE

    def _request(self, call: Call, number: int, now_s: float, *, authorised: bool) -> Asked:
        family = "change" if call.kind in CHANGES else call.kind.value
        about = call.ref or call.vdn_id
        if authorised:
            self._asked[family, about] += 1
        return Asked(
            kind=call.kind,
            nth=self._asked[family, about] if authorised else 0,
            vdn_id=call.vdn_id,
            ref=call.ref,
            request_number=number,
            now_s=now_s,
            page=call.query.page if call.query else 0,
            filtered=call.query is not None and call.query.status is not None,
        )

    def _change(self, kind: Kind, ref: CampaignRef, fault: Fault | None) -> tuple[_Answer, bool]:
        """The true answer, and whether the request changed anything."""
        if fault is not None and not fault.effect:
            return _document(routes.result(SUCCESS)), False
        code = self.world.change(CHANGES[kind], ref)
        document = routes.result(code)
        if fault is not None and fault.numeric:
            document |= {"resultCode": int(code), "returnCode": int(code)}
        return _document(document), code == SUCCESS

    def _look(self, call: Call, asked: Asked) -> _Answer:
        if call.http_status != 200:
            return _page(call.http_status)
        if call.kind is Kind.CALLS:
            return _document(cms.answer(call, self.world, now_s=asked.now_s))
        as_of_s = max(0.0, asked.now_s - self.faults.lag_s(asked))
        if call.query is not None and call.vdn_id is not None:
            bent = self.faults.listing(asked)
            page = self.world.listing(call.vdn_id, bent.heeded(call.query), as_of_s=as_of_s)
            return _document(routes.listing(bent.bend(page, asked), call.query))
        if call.ref is not None:
            campaign = self.world.campaign(call.ref)
            status, _ = self.world.since(call.ref, at_s=as_of_s)
            if campaign is not None and status is not None:
                return _document(routes.details(Row(campaign, status)))
        return _document(routes.result(NOT_FOUND if call.ref else routes.PARAMETER))

    def _play(
        self, truth: _Answer, fault: Fault | None, entry: Entry, asked: Asked, *, server_s: int
    ) -> Played:
        """Bend the true answer as the fault wants, dress it, and write it as bytes."""
        bent = fault or _NO_FAULT
        answer = _bent(truth, bent)
        headers = [("Retry-After", bent.retry_after)] if bent.retry_after else []
        if bent.retry_after_date_s is not None:
            headers.append(("Retry-After", routes.http_date(server_s + bent.retry_after_date_s)))
        body, result_code = answer.body, str((answer.document or {}).get("resultCode", ""))
        wrapping = self.faults.wrapping(asked)
        if wrapping is not None and answer.document is not None:
            body = wrapping.body(answer.document)
            if wrapping.coding:
                headers.append(("Content-Encoding", wrapping.coding))
        if bent.cut_body_bytes is not None:
            body, result_code = body[: bent.cut_body_bytes], ""
        date = routes.http_date(server_s)
        wire = routes.wire(
            answer.http_status, body, answer.content_type, date=date, headers=headers
        )
        complete = bent.ending is Ending.KEEP
        if complete:
            entry = replace(entry, http_status=answer.http_status, result_code=result_code)
        else:
            wire = wire[: bent.cut_wire_bytes]
        return Played(wire, bent.ending, bent.wait_s, entry, complete=complete)


_NO_FAULT = Fault("")


def _bent(truth: _Answer, fault: Fault) -> _Answer:
    if fault.codes is not None:
        document = routes.result(*fault.codes)
        return _document({name: said for name, said in document.items() if said is not ABSENT})
    if fault.body is not None:
        return _Answer(fault.http_status, fault.body, fault.content_type)
    return truth


def _document(document: dict[str, object]) -> _Answer:
    return _Answer(200, routes.encode(document), routes.JSON_TYPE, document)


def _page(status: int) -> _Answer:
    return _Answer(status, routes.html(status), routes.HTML_TYPE)


_REFUSAL = _Answer(401, routes.encode({"error": "Authentication failed"}), routes.JSON_TYPE)
