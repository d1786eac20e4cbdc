"""What one answer to a pause or resume means.

Rule 1: success needs HTTP 200, strict JSON, at least one code, and every code present "0200000".
Rule 2: HTTP 5xx is never success, whatever its body says.
Rule 3: what a verdict entails (repeat it? in doubt? does the server work?) is a table.
Rule 4: an answer decides about its own request only; policy/decide.py decides about the campaign.
Rule 5: a body that cannot be read may tell a refusal or throttling by its code, never a success.

*In doubt*: sent, and answered neither by a definite code nor by a 3xx/4xx.
Source: docs/spec/contracts.md, "Outcomes"; docs/spec/interface.md, "Result codes".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from orchestrator.isales.answer import TLS_FAULTS, Answer, Fault
from orchestrator.isales.body import codes_by_pattern, read_document, read_listing_document
from orchestrator.isales.codes import RESULT_CODES, read_code
from orchestrator.isales.server_words import words_of
from orchestrator.isales.strict_json import BadJsonError, storable

_DESC_LIMIT = 500
_SHOWN_BODY = 80
_SHOWN_CODE = 40


class Kind(StrEnum):
    """What an answer says, in one word."""

    ACCEPTED = "accepted"
    WRONG_STATE = "wrong_state"
    NOT_FOUND = "not_found"
    REJECTED = "rejected"
    #: a code we have no meaning for
    CODE_UNKNOWN = "code_unknown"
    DATABASE_ERROR = "database_error"
    #: resultCode and returnCode say different things
    CODES_DISAGREE = "codes_disagree"
    #: no JSON, no code, HTML, an odd 2xx
    UNREADABLE = "unreadable"
    SERVER_ERROR = "server_error"
    THROTTLED = "throttled"
    #: sent, and the connection or the clock ended before an answer
    BROKEN = "broken"
    #: never sent: no name, no connection
    UNREACHABLE = "unreachable"
    #: the certificate or the protocol is wrong; asking again changes nothing
    TLS_REFUSED = "tls_refused"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    #: a redirect or another 4xx: this is not the interface we know
    NOT_THE_API = "not_the_api"


#: what only the API itself says
FROM_THE_API = frozenset(
    {
        Kind.ACCEPTED,
        Kind.WRONG_STATE,
        Kind.NOT_FOUND,
        Kind.REJECTED,
        Kind.CODE_UNKNOWN,
        Kind.DATABASE_ERROR,
        Kind.CODES_DISAGREE,
    }
)


class Repeat(StrEnum):
    """Whether the same request is worth sending again."""

    NEVER = "never"
    ONCE = "once"
    WHILE_ATTEMPTS_LAST = "while_attempts_last"


class Health(StrEnum):
    """What an answer says about the server; the breaker goes by it."""

    WELL = "well"
    ILL = "ill"
    SILENT = "silent"


class Consequence(NamedTuple):
    """What follows from a kind of answer."""

    in_doubt: bool
    repeat: Repeat
    health: Health


#: a definite answer
_FINAL = Consequence(in_doubt=False, repeat=Repeat.NEVER, health=Health.WELL)
#: nothing was done
_NOT_NOW = Consequence(in_doubt=False, repeat=Repeat.WHILE_ATTEMPTS_LAST, health=Health.ILL)
#: something may have been done
_UNKNOWN = Consequence(in_doubt=True, repeat=Repeat.WHILE_ATTEMPTS_LAST, health=Health.ILL)

CONSEQUENCES: dict[Kind, Consequence] = {
    Kind.ACCEPTED: _FINAL,
    Kind.WRONG_STATE: _FINAL,
    Kind.NOT_FOUND: _FINAL,
    Kind.REJECTED: _FINAL,
    Kind.CODE_UNKNOWN: _FINAL._replace(in_doubt=True),
    Kind.CODES_DISAGREE: _FINAL._replace(in_doubt=True, repeat=Repeat.ONCE),
    Kind.DATABASE_ERROR: _UNKNOWN,
    Kind.UNREADABLE: _UNKNOWN,
    Kind.SERVER_ERROR: _UNKNOWN,
    Kind.BROKEN: _UNKNOWN,
    Kind.THROTTLED: _NOT_NOW,
    Kind.UNREACHABLE: _NOT_NOW,
    # One answer is about one thing: a firewall refuses a request, a gateway is gone for a second.
    Kind.UNAUTHORIZED: _NOT_NOW,
    Kind.NOT_THE_API: _NOT_NOW,
    # Whether it says anything of the server is known by a read of the same VDN only.
    Kind.FORBIDDEN: _NOT_NOW._replace(health=Health.SILENT),
    Kind.TLS_REFUSED: _FINAL._replace(health=Health.SILENT),
}

#: what a code makes of an answer, and the reason in words; all others of the table are REJECTED
_BY_CODE = {
    "0200000": (Kind.ACCEPTED, "accepted"),
    "0200006": (Kind.DATABASE_ERROR, "database operation error"),
    "0200007": (Kind.NOT_FOUND, "no such campaign"),
    "0200011": (Kind.WRONG_STATE, "its present status does not allow this"),
    "0200022": (Kind.THROTTLED, "the server is called too fast"),
}

#: WAF and gateway refusals seen in the field
_FORBIDDEN_STATUSES = frozenset({403, 418})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One answer, judged."""

    kind: Kind
    #: one sentence for people
    reason: str
    code: str = ""
    desc: str = ""
    http_status: int | None = None
    in_doubt: bool = False
    #: the answer is nothing that this API sends: HTML, a redirect, a strange status
    foreign: bool = False
    fault: Fault | None = None
    #: why a listing that could be read in part proves nothing; empty: it was read whole
    flaw: str = ""
    #: the answer's JSON object, for whoever wants more of it than its codes; None: it had none
    document: Mapping[str, object] | None = field(default=None, compare=False, repr=False)

    @property
    def repeat(self) -> Repeat:
        """Whether the same request is worth sending again."""
        return CONSEQUENCES[self.kind].repeat

    @property
    def health(self) -> Health:
        """What this says about the server."""
        return CONSEQUENCES[self.kind].health


class Codes(NamedTuple):
    """The codes and the first description of one JSON answer."""

    #: resultCode and returnCode, as far as they are there
    present: tuple[str, ...]
    desc: str
    document: dict[str, object]
    flaw: str = ""


def judge(answer: Answer, *, reads: bool = False) -> Verdict:
    """Judge the answer to one request.

    What `reads` is taken as far as it can be read; its `flaw` then says why it is no proof.
    """
    if answer.fault is not None:
        return _judge_fault(answer, answer.fault)
    status = answer.http_status
    if status is None:
        return _verdict(Kind.BROKEN, answer, "no answer")
    if status == 200:
        return _judge_ok(answer, reads=reads)
    return _judge_status(answer, status)


def read_codes(answer: Answer, *, reads: bool = False) -> Codes:
    """Read the codes of an answer's JSON object.

    Raises:
        BadJsonError: the body is not a strict JSON object.
    """
    read = read_listing_document if reads else read_document
    document, flaw = read(answer.body, content_encoding=answer.content_encoding)
    desc = document.get("resultDesc") or document.get("returnDesc") or ""
    told = [document.get(name) for name in ("resultCode", "returnCode")]
    present = tuple(read_code(one) for one in told if one is not None)
    return Codes(present, storable(str(desc)[:_DESC_LIMIT]), document, flaw)


def _judge_ok(answer: Answer, *, reads: bool) -> Verdict:
    try:
        codes = read_codes(answer, reads=reads)
    except BadJsonError as error:
        told = _told_by_pattern(answer)
        if told is not None:
            return told
        shown = _shown(answer.body)
        reason = f"HTTP 200 without a readable answer: {error}" + (f": {shown}" if shown else "")
        is_markup = answer.body.lstrip()[:1] == b"<"
        return _verdict(Kind.UNREADABLE, answer, reason, foreign=is_markup)
    return _judge_codes(answer, codes)


#: what the code of a body that cannot be read may tell
_TOLD_BY_PATTERN = frozenset(
    {Kind.THROTTLED, Kind.NOT_FOUND, Kind.REJECTED, Kind.WRONG_STATE, Kind.DATABASE_ERROR}
)


def _told_by_pattern(answer: Answer) -> Verdict | None:
    """A refusal or throttling whose code alone can be made out; a success never can."""
    present = codes_by_pattern(answer.body, content_encoding=answer.content_encoding)
    if len(present) != 1:
        return None
    verdict = _judge_codes(answer, Codes(present, "", {}))
    return verdict if verdict.kind in _TOLD_BY_PATTERN else None


def _judge_codes(answer: Answer, codes: Codes) -> Verdict:
    present = codes.present
    if not present and codes.flaw and codes.document.get("data"):
        # Half a listing: its rows are worth pausing, and it proves nothing.
        return _verdict(Kind.ACCEPTED, answer, "read in part", codes=codes)
    if not present:
        return _verdict(Kind.UNREADABLE, answer, "HTTP 200 without a result code", codes=codes)
    if len(set(present)) > 1:
        reason = f"resultCode {_quoted(present[0])} and returnCode {_quoted(present[1])} disagree"
        return _verdict(Kind.CODES_DISAGREE, answer, reason, codes=codes)
    code = present[0]
    if code not in RESULT_CODES:
        return _verdict(Kind.CODE_UNKNOWN, answer, f"unknown code {_quoted(code)}", codes=codes)
    refused = f"refused: {RESULT_CODES[code].replace('_', ' ')}"
    kind, reason = _BY_CODE.get(code, (Kind.REJECTED, refused))
    return _verdict(kind, answer, f"{reason} ({code})", codes=codes)


def _judge_status(answer: Answer, status: int) -> Verdict:
    reason = f"HTTP {status}"
    if status == 401:
        refused = "HTTP 401: signature or access key refused"
        return _verdict(Kind.UNAUTHORIZED, answer, refused + _said(answer))
    if status in _FORBIDDEN_STATUSES:
        return _verdict(Kind.FORBIDDEN, answer, f"HTTP {status}: access refused{_said(answer)}")
    if status in {429, 503}:
        doubt = status == 503
        return _verdict(
            Kind.THROTTLED, answer, f"{reason}: too busy{_said(answer)}", in_doubt=doubt
        )
    if status >= 500:
        return _verdict(Kind.SERVER_ERROR, answer, f"{reason}: server error{_said(answer)}")
    if 300 <= status < 400:
        where = (answer.location or "").split("?")[0]
        shown = _shown(where.encode("utf-8", "replace"))
        told = f"{reason}: redirected" + (f" to {shown}" if shown else "")
        return _verdict(Kind.NOT_THE_API, answer, f"{told}, not followed", foreign=True)
    if status >= 400:
        return _judge_client_error(answer, status)
    return _verdict(Kind.UNREADABLE, answer, f"{reason} is not an answer of this interface")


def _judge_client_error(answer: Answer, status: int) -> Verdict:
    """A 4xx with a definite refusal in its JSON is that refusal; else it is not the API's."""
    try:
        verdict = _judge_codes(answer, read_codes(answer))
    except BadJsonError:
        pass
    else:
        if verdict.kind in {Kind.NOT_FOUND, Kind.REJECTED, Kind.WRONG_STATE, Kind.THROTTLED}:
            return verdict
    if status == 408:
        return _verdict(Kind.THROTTLED, answer, "HTTP 408: the server gave up waiting")
    what = "a proxy wants a login" if status == 407 else "not an answer of this interface"
    return _verdict(Kind.NOT_THE_API, answer, f"HTTP {status}: {what}{_said(answer)}", foreign=True)


def _said(answer: Answer) -> str:
    """The refusal's own words, to be added to ours."""
    words = words_of(answer.body, content_encoding=answer.content_encoding)
    return f' ("{words}")' if words else ""


def _judge_fault(answer: Answer, fault: Fault) -> Verdict:
    reason = answer.detail or fault.value
    if fault in TLS_FAULTS:
        return _verdict(Kind.TLS_REFUSED, answer, reason)
    if not answer.sent:
        return _verdict(Kind.UNREACHABLE, answer, reason)
    return _verdict(Kind.BROKEN, answer, reason)


def _verdict(  # noqa: PLR0913 - one constructor, so that every field is filled the same way
    kind: Kind,
    answer: Answer,
    reason: str,
    *,
    codes: Codes | None = None,
    in_doubt: bool | None = None,
    foreign: bool = False,
) -> Verdict:
    present = codes.present if codes else ()
    code = present[0] if len(set(present)) <= 1 and present else "/".join(present)
    return Verdict(
        kind=kind,
        reason=reason,
        code=storable(code[:80]),
        desc=codes.desc if codes else "",
        http_status=answer.http_status,
        in_doubt=CONSEQUENCES[kind].in_doubt if in_doubt is None else in_doubt,
        foreign=foreign,
        fault=answer.fault,
        flaw=codes.flaw if codes else "",
        document=codes.document if codes else None,
    )


def _quoted(text: str) -> str:
    """A code as it is when it is plain, else in quotes with everything odd about it visible."""
    plain = bool(text) and text.isascii() and text.isprintable() and " " not in text
    shown = text if plain else ascii(text)
    return shown if len(shown) <= _SHOWN_CODE else shown[:_SHOWN_CODE] + "…"


def _shown(body: bytes) -> str:
    text = body[: _SHOWN_BODY * 4].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text).strip()[:_SHOWN_BODY]
