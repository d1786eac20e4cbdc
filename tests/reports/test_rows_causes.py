"""Why, in two words."""

from __future__ import annotations

import pytest

from orchestrator.isales.verdict import Kind
from orchestrator.policy.decide import Outcome
from orchestrator.reports.rows import main_reason


@pytest.mark.parametrize("cause", Kind)
def test_a_failure_has_a_reason_whatever_the_last_answer_was(cause: Kind) -> None:
    """A few plain words for each kind of answer, and for each its own."""
    words = main_reason(Outcome.FAILED, cause)

    assert 1 <= len(words.split()) <= 5
    assert sum(main_reason(Outcome.FAILED, other) == words for other in Kind) == 1


@pytest.mark.parametrize(
    ("outcome", "cause"),
    [(Outcome.NOT_FOUND, Kind.NOT_FOUND), (Outcome.UNKNOWN, Kind.BROKEN), (Outcome.FAILED, None)],
)
def test_nothing_is_added_to_what_says_it_already(outcome: Outcome, cause: Kind | None) -> None:
    """`31 not found` needs no brackets; without an answer nobody knows."""
    assert main_reason(outcome, cause) == ""
