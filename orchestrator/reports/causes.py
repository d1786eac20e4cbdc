"""Why a campaign was not changed, in two words, for counting and for the last line.

The words follow from how its last answer was judged, so what the server writes never becomes a
group of its own.
"""

from __future__ import annotations

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome

#: outcomes whose own name leaves open why
_UNEXPLAINED = frozenset({Outcome.FAILED, Outcome.REJECTED, Outcome.DENIED, Outcome.STILL_RUNNING})

_WORDS = {
    Kind.ACCEPTED: "accepted, but not for long",
    Kind.WRONG_STATE: "status does not allow it",
    Kind.NOT_FOUND: "not found",
    Kind.REJECTED: "parameters",
    Kind.CODE_UNKNOWN: "unknown code",
    Kind.DATABASE_ERROR: "database",
    Kind.CODES_DISAGREE: "contradicting codes",
    Kind.UNREADABLE: "unreadable answer",
    Kind.SERVER_ERROR: "server error",
    Kind.THROTTLED: "too busy",
    Kind.BROKEN: "no answer",
    Kind.UNREACHABLE: "unreachable",
    Kind.TLS_REFUSED: "certificate",
    Kind.UNAUTHORIZED: "credentials",
    Kind.FORBIDDEN: "no permission",
    Kind.NOT_THE_API: "not the CC-iSales interface",
}


def main_reason(outcome: Outcome, cause: Kind | None) -> str:
    """Say in two words why this outcome came about; empty when the outcome says it.

    Args:
        outcome: how the campaign ended.
        cause: what its last answer was; None without one.
    """
    return "" if cause is None or outcome not in _UNEXPLAINED else _WORDS[cause]
