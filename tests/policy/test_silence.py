"""When a campaign is silent, whom to ask next, and when counting is over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.model import CampaignRef
from orchestrator.policy.silence import Silence, thin

A, B, C = CampaignRef(1, 11), CampaignRef(1, 12), CampaignRef(2, 13)


def begun(*refs: CampaignRef) -> Silence:
    """These campaigns have been stopped."""
    law = Silence()
    law.begin(refs)
    return law


def test_no_number_is_not_none() -> None:
    """0, no number, 0: the row is broken, and what is known of its calls stays what it was."""
    law = begun(A)

    law.note(A, 4)
    law.note(A, 0)
    law.note(A, None, problem="no statistics")
    law.note(A, 0)

    assert not law.is_silent
    assert law.by_vdn() == {1: 0}
    assert law.unread == 0


def test_who_gives_no_number_three_times_is_not_asked_again() -> None:
    """Campaign A has none, B is silent: counting is over, and silence is not claimed."""
    law = begun(A, B)

    for _ in range(3):
        law.note(A, None, problem="no statistics")
        law.note(B, 0)

    assert law.due() == []
    assert (law.is_silent, law.unread, law.problem) == (False, 1, "")


def test_three_failed_requests_in_a_row_end_the_counting() -> None:
    """Whoever they were about; the reason of the last one is kept."""
    law = begun(A, B, C)

    law.note(A, None, problem="HTTP 500", failed=True)
    law.note(B, None, problem="HTTP 500", failed=True)
    before = law.due()
    law.note(C, None, problem="HTTP 502", failed=True)

    assert before == [A, B, C]
    assert (law.due(), law.problem) == ([], "HTTP 502")


def test_an_answer_between_failures_begins_their_row_anew() -> None:
    """Two failures, a number, two failures: it goes on."""
    law = begun(A, B, C)

    for ref, number in ((A, None), (B, None), (C, 2), (A, None), (B, None)):
        law.note(ref, number, problem="HTTP 500", failed=number is None)

    assert law.due() == [A, B, C]


def test_who_is_stopped_anew_begins_anew() -> None:
    """A silent campaign was started and paused again: its old zeros say nothing."""
    law = begun(A)
    law.note(A, 0)
    law.note(A, 0)

    law.begin([A])

    assert (law.due(), law.is_silent, law.is_counted) == ([A], False, False)


def test_totals_are_by_vdn_and_of_the_newest_numbers() -> None:
    """Two campaigns of VDN 1, one of VDN 2 of which nothing is known."""
    law = begun(A, B, C)

    law.note(A, 9)
    law.note(A, 3)
    law.note(B, 2)
    before = law.is_counted
    law.note(C, None)

    assert law.by_vdn() == {1: 5}
    assert (before, law.is_counted, law.campaigns) == (False, True, 3)


def test_nobody_is_silent_where_nobody_was_stopped() -> None:
    """Nothing was counted: silence is not claimed, and there is nothing to ask."""
    assert (Silence().is_silent, Silence().due()) == (False, [])


@given(
    st.lists(
        st.tuples(
            st.sampled_from([A, B, C]), st.sampled_from([None, 0, 0, 0, 1, 7]), st.booleans()
        ),
        max_size=60,
    )
)
def test_silence_is_two_newest_zeros_of_everybody_and_nothing_else(
    events: list[tuple[CampaignRef, int | None, bool]],
) -> None:
    """Whatever is read in whatever order; and counting always comes to an end on zeros alone."""
    law = begun(A, B, C)
    read: dict[CampaignRef, list[int | None]] = {A: [], B: [], C: []}
    for ref, number, failed in events:
        law.note(ref, number, problem="why", failed=failed and number is None)
        read[ref].append(number)

    assert law.is_silent == all(numbers[-2:] == [0, 0] for numbers in read.values())
    for ref in law.due():
        assert read[ref][-2:] != [0, 0]
        assert read[ref][-3:] != [None] * 3
    rounds = 0
    while law.due():
        rounds += 1
        for ref in law.due():
            law.note(ref, 0)
    assert rounds <= 2


@given(st.integers(0, 400), st.integers(0, 40))
def test_thinned_rounds_keep_both_ends_and_their_order(made: int, most: int) -> None:
    """However many there are, the first and the newest stay, and never more than asked for."""
    rounds: list[int] = []
    for number in range(made):
        rounds.append(number)
        thin(rounds, most=most)

    assert rounds == sorted(set(rounds))
    assert len(rounds) <= max(2, most)
    if made:
        assert (rounds[0], rounds[-1]) == (0, made - 1)


def test_a_call_between_two_readings_of_none_begins_anew() -> None:
    """0, 1, 0: a call was being set up, so two more readings of 0 are needed."""
    law = begun(A)

    for number in (0, 1, 0):
        law.note(A, number)
    before = law.is_silent
    law.note(A, 0)

    assert (before, law.is_silent) == (False, True)
