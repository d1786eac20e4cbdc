"""Why a campaign was not changed, in two words, for counting and for the last line.

The words come from a fixed list, so what the server writes never becomes a group of its own.
"""

from __future__ import annotations

from orchestrator.isales.codes import RESULT_CODES, Meaning
from orchestrator.policy.decide import Outcome

#: outcomes whose own name leaves open why
_UNEXPLAINED = frozenset({Outcome.FAILED, Outcome.REJECTED, Outcome.DENIED, Outcome.STILL_RUNNING})

_BY_MEANING = {
    Meaning.SUCCESS: "accepted, but not for long",
    Meaning.PARAMETER: "parameters",
    Meaning.DATABASE_ERROR: "database",
    Meaning.NOT_FOUND: "not found",
    Meaning.WRONG_STATE: "its status does not allow it",
}

_BY_STATUS = {401: "credentials", 403: "no permission", 408: "too busy", 418: "no permission"}
_BY_STATUS |= {429: "too busy", 503: "too busy"}

#: words in an error without an HTTP answer, in the order in which they are looked for
_BY_WORD = (
    ("certificate", "certificate"),
    ("tls", "certificate"),
    ("refused", "connection refused"),
    ("timeout", "no answer"),
    ("timed out", "no answer"),
    ("reset", "connection lost"),
    ("truncated", "connection lost"),
)


def main_reason(outcome: Outcome, *, code: str, http_status: int | None, error: str) -> str:
    """Say in two words why this outcome came about; empty when the outcome says it.

    Args:
        outcome: how the campaign ended.
        code: the last result code as the server wrote it, or empty.
        http_status: of the last answer; None when there was none.
        error: our own words for what went wrong.
    """
    if outcome not in _UNEXPLAINED:
        return ""
    if code:
        return _BY_MEANING[RESULT_CODES[code][0]] if code in RESULT_CODES else "unknown code"
    if http_status is not None:
        return _status_reason(http_status)
    return _error_reason(error.lower()) if error else ""


def _status_reason(status: int) -> str:
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return "server error"
    return "unreadable answer" if status == 200 else "not the CC-iSales interface"


def _error_reason(error: str) -> str:
    return next((reason for word, reason in _BY_WORD if word in error), "unreachable")
