"""What to make of a 401: three cures, each tried once, and taken back when it does not help."""

from __future__ import annotations

import pytest

from orchestrator.core.credentials import Cure, Signer
from orchestrator.core.signing import SigningRules

NOON_MS = 1_795_435_200_000
NOON = "Mon, 23 Nov 2026 12:00:00 GMT"
TWENTY_PAST = "Mon, 23 Nov 2026 12:20:00 GMT"


def refused(
    signer: Signer,
    *,
    date: str | None = NOON,
    has_query: bool = False,
    generation: int | None = None,
) -> Cure | None:
    """A 401 at noon to a request of the present generation."""
    return signer.cure(
        date=date,
        now_ms=NOON_MS,
        has_query=has_query,
        generation=signer.generation if generation is None else generation,
    )


def listed(*, blank: bool = False) -> Signer:
    """A signer of which the server has taken a listing, and nothing without a query."""
    signer = Signer(SigningRules(blank_query_line=blank))
    signer.note_accepted(has_query=True)
    return signer


def test_a_wrong_clock_is_corrected_once() -> None:
    """[S18] Twenty minutes behind: sign with the server's time; refused again: not once more."""
    signer = listed()
    signer.note_accepted(has_query=False)

    assert refused(signer, date=TWENTY_PAST) is Cure.CLOCK
    assert (signer.offset_ms, signer.generation) == (1_200_000, 1)
    assert refused(signer, date="Mon, 23 Nov 2026 13:00:00 GMT") is None
    assert (signer.offset_ms, signer.generation) == (1_200_000, 1)


@pytest.mark.parametrize("date", [None, "", NOON, "yesterday", "Mon, 23 Nov 2099 12:00:00 GMT"])
def test_without_a_clock_to_follow_a_401_of_an_accepted_key_is_final(date: str | None) -> None:
    """[S15] The right time, no time or no sense, and both forms taken before: the key it is."""
    signer = listed()
    signer.note_accepted(has_query=False)

    assert refused(signer, date=date) is None
    assert (signer.rules, signer.offset_ms, signer.generation) == (SigningRules(), 0, 0)


@pytest.mark.parametrize("millis", [False, True])
@pytest.mark.parametrize("has_query", [False, True])
def test_the_other_timestamp_is_tried_while_nothing_was_accepted(
    *, millis: bool, has_query: bool
) -> None:
    """The first request is refused and the clock is right: seconds become milliseconds, once."""
    signer = Signer(SigningRules(millis=millis))

    assert refused(signer, has_query=has_query) is Cure.MILLIS
    assert signer.rules == SigningRules(millis=not millis)
    signer.note_accepted(has_query=has_query)
    assert signer.confirm(has_query=has_query, generation=1) is Cure.MILLIS
    assert signer.confirm(has_query=has_query, generation=1) is None
    assert refused(signer, has_query=True) is None
    assert signer.rules == SigningRules(millis=not millis)


def test_the_other_timestamp_is_taken_back_when_it_is_refused_too() -> None:
    """[S15] A wrong key: the run records the form that was configured, not the one it tried."""
    signer = Signer(SigningRules())
    refused(signer)

    assert refused(signer) is None
    assert signer.rules == SigningRules()
    assert refused(signer) is None


@pytest.mark.parametrize("dates", [(TWENTY_PAST,) * 3, (NOON, TWENTY_PAST, TWENTY_PAST)])
def test_a_wrong_key_costs_three_requests_at_most(dates: tuple[str, ...]) -> None:
    """[S15] A clock that is off, or known late, and a wrong key: two cures, then the end."""
    signer = Signer(SigningRules())

    cures = [refused(signer, date=date) for date in dates]

    assert set(cures[:2]) == {Cure.CLOCK, Cure.MILLIS}
    assert cures[2] is None
    assert signer.rules == SigningRules()


def test_both_switches_are_found() -> None:
    """Milliseconds for the listing, then the blank line for the first PUT: both are kept."""
    signer = Signer(SigningRules())
    refused(signer, has_query=True)
    signer.note_accepted(has_query=True)
    signer.confirm(has_query=True, generation=1)

    assert refused(signer) is Cure.BLANK_QUERY_LINE
    assert signer.confirm(has_query=True, generation=2) is None
    assert signer.confirm(has_query=False, generation=1) is None
    assert signer.confirm(has_query=False, generation=2) is Cure.BLANK_QUERY_LINE
    assert signer.rules == SigningRules(millis=True, blank_query_line=True)


def test_a_clock_that_was_right_at_first_may_still_be_corrected() -> None:
    """[P29] A look at a correct clock does not use the cure up."""
    signer = listed()
    signer.note_accepted(has_query=False)

    assert refused(signer, date=NOON) is None
    assert refused(signer, date=TWENTY_PAST) is Cure.CLOCK


@pytest.mark.parametrize("blank", [False, True])
def test_the_other_form_is_tried_when_only_the_queryless_is_refused(*, blank: bool) -> None:
    """A listing was taken and a PUT is not: switch A stands wrong, whichever way it stands."""
    signer = listed(blank=blank)

    assert refused(signer) is Cure.BLANK_QUERY_LINE
    assert signer.rules == SigningRules(blank_query_line=not blank)
    assert signer.generation == 1


def test_the_other_form_is_kept_when_it_is_accepted() -> None:
    """Once a query-less request was taken, a later 401 does not change the form again."""
    signer = listed()
    refused(signer)
    signer.note_accepted(has_query=False)

    assert refused(signer) is None
    assert signer.rules.blank_query_line
    assert signer.generation == 1


def test_the_other_form_is_taken_back_when_it_is_refused_too() -> None:
    """[S17] It was not the form but an outage of the key: the form that stood is kept."""
    signer = listed()
    refused(signer)

    assert refused(signer) is None
    assert signer.rules == SigningRules()
    assert signer.generation == 2
    assert refused(signer) is None
    assert signer.generation == 2


def test_a_form_that_worked_is_never_given_up() -> None:
    """[S17] A 401 in the middle of a run, PUTs taken before: the key, not the form."""
    signer = listed()
    signer.note_accepted(has_query=False)

    assert refused(signer) is None
    assert signer.rules == SigningRules()


def test_the_form_is_not_touched_before_a_listing_was_taken() -> None:
    """Nothing with a query was accepted, so nothing says that the form is the matter."""
    assert refused(Signer(SigningRules())) is Cure.MILLIS
    assert refused(listed(), has_query=True) is None


def test_an_answer_from_before_the_cure_says_nothing() -> None:
    """A request signed in an older generation is signed again, and no cure is used up for it."""
    signer = listed()
    refused(signer, date=TWENTY_PAST)

    assert refused(signer, generation=0) is Cure.STALE
    assert signer.generation == 1
    assert refused(signer) is Cure.BLANK_QUERY_LINE


def test_what_was_accepted_is_remembered() -> None:
    """Whether any signature was taken decides if a 401 may be an outage."""
    signer = Signer(SigningRules())
    assert not signer.accepted

    signer.note_accepted(has_query=True)
    signer.note_accepted(has_query=False)

    assert (signer.accepted, signer.accepted_with_query, signer.accepted_without_query) == (
        True, True, True,
    )  # fmt: skip
