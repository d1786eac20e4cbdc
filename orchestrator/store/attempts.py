"""What was tried of each campaign, as a journal has it, and the history that this makes.

An intent without an answer from an earlier process is an attempt in doubt.
"""

from __future__ import annotations

import functools
import itertools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.isales.verdict import Kind
from orchestrator.model import Status
from orchestrator.policy.decide import Changed, Evidence, History, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

#: of `attempts`, in the order of `Attempt`
ATTEMPT_COLUMNS = (
    "seq, number, before, state, sent_at_ms, kind, in_doubt, code, descr, http_status, reason,"
    " life, answered_at_ms, intent_at_ms"
)
#: by what the journal holds; a table is quicker than the enum itself, and a report asks four times
#: a row
STATUSES: dict[int | None, Status] = {int(status): status for status in Status}
OUTCOMES = {outcome.value: outcome for outcome in Outcome}
EVIDENCES = {evidence.value: evidence for evidence in Evidence}
CHANGES = {changed.value: changed for changed in Changed}
KINDS = {kind.value: kind for kind in Kind}


class Attempt(NamedTuple):
    """One attempt on a campaign."""

    seq: int
    number: int
    before: int | None
    state: str
    sent_at_ms: int | None
    kind: str | None
    in_doubt: int | None
    code: str | None
    descr: str | None
    http_status: int | None
    reason: str | None
    process: int
    answered_at_ms: int | None
    intent_at_ms: int

    @property
    def doubtful(self) -> bool:
        """Whether nobody knows what came of it."""
        return bool(self.in_doubt) or self.state == "intended"


#: `Attempt(*row)` without a Python call in between: 0.2 against 0.9 µs
_to_attempt = functools.partial(tuple.__new__, Attempt)


def by_campaign(
    rows: Iterable[tuple[Any, ...]],
) -> Iterator[tuple[int, list[Attempt]]]:
    """Attempts that come in the order of their campaigns, campaign by campaign."""
    for seq, group in itertools.groupby(map(_to_attempt, rows), key=operator.itemgetter(0)):
        yield seq, list(group)


def history_of(attempts: Sequence[Attempt], before: Status | None) -> History:
    """What its attempts say of a campaign; `before` is what a look showed."""
    if not attempts:
        return History(before)
    sent, doubted, accepted = 0, False, False
    last: str | None = None
    known_before: Status | None = None
    for one in attempts:
        if one.state == "not_sent":
            continue
        sent += 1
        if one.doubtful:
            doubted = True
            known_before = STATUSES.get(one.before)
        if one.kind is not None:
            last = one.kind
            accepted = accepted or last == Kind.ACCEPTED
    return History(known_before or before, sent, doubted, accepted, KINDS[last] if last else None)
